//! For tests of providers: an outcome as a person reviews it, and what damage to a sample may cost.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Reply;
use super::sample::pointers_of;
use crate::model::{Amount, UsageOutcome, WindowStatus};

/// The sample `tests/data/<vendor>/<name>.json`, with its name.
macro_rules! sample {
    ($vendor:literal, $name:literal) => {
        ($name, include_str!(concat!("../../tests/data/", $vendor, "/", $name, ".json")))
    };
}
pub(super) use sample;

/// A reply without headers.
pub(super) fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply { status, headers: Vec::new(), body: body.into() }
}

/// One line for the plan and one a window, with a dash for what is not known and percentages to two places; one line
/// for anything but an answer.
pub(super) fn told(outcome: &UsageOutcome) -> Vec<String> {
    let (windows, plan) = match outcome {
        UsageOutcome::Answered { windows, plan } => (windows, plan),
        UsageOutcome::Limited { demand } => return vec![format!("limited {demand:?}")],
        UsageOutcome::Rejected { permanent: false, said } => return vec![format!("rejected: {said}")],
        UsageOutcome::Rejected { permanent: true, said } => return vec![format!("revoked: {said}")],
        UsageOutcome::NoPermission { said } => return vec![format!("no permission: {said}")],
        UsageOutcome::Failed { failure, .. } => return vec![format!("failed: {failure:?}")],
    };
    let amount = |amount: &Option<Box<Amount>>| {
        amount.as_deref().map_or_else(|| "-".to_owned(), |Amount { amount, unit }| format!("{amount} {unit}"))
    };
    let lines = windows.iter().map(|window| {
        let status = match window.status {
            WindowStatus::Active => "",
            WindowStatus::NotStarted => " not started",
            WindowStatus::NotInPlan => " not in plan",
        };
        let percent = window
            .used_percent
            .map_or_else(|| "-".to_owned(), |percent| format!("{}%", (percent * 100.0).round() / 100.0));
        let mut line = format!("{} \"{}\"{status} {percent}", window.id, window.label);
        if window.used.is_some() || window.limit.is_some() || window.remaining.is_some() {
            let [used, limit, left] = [&window.used, &window.limit, &window.remaining].map(amount);
            let _ = write!(line, " | used {used}, limit {limit}, left {left}");
        }
        if let Some(at) = window.resets_at {
            let _ = write!(line, " | resets {at}");
        }
        line
    });
    plan.iter().map(|plan| format!("plan {plan}")).chain(lines).collect()
}

/// Holds a parser to "a bad entry costs that entry only": whatever a part of an entry is replaced by, the windows that
/// are there without the entry stay as they are. Entries are the elements or members of what `parents` point to. And
/// an answer that is cut short anywhere is no answer. Says how many windows were compared.
pub(super) fn damage_costs_one_entry_only(
    read: impl Fn(&Reply) -> UsageOutcome,
    (name, body): (&str, &str),
    parents: &[&str],
) -> usize {
    for end in 0..body.trim_end().len() {
        let cut = told(&read(&reply(200, &body.as_bytes()[..end])));
        assert!(cut[0].starts_with("failed"), "{name} cut at {end}: {cut:?}");
    }
    let wrong = [json!(null), json!(true), json!(-1), json!(1e300), json!("x"), json!([]), json!([null]), json!({})];
    let whole: Value = serde_json::from_str(body).unwrap();
    let (mut nodes, mut compared) = (Vec::new(), 0);
    pointers_of(&whole, "", &mut nodes);
    for (pointer, value) in nodes.iter().flat_map(|pointer| wrong.iter().map(move |value| (pointer, value))) {
        let mut mutant = whole.clone();
        *mutant.pointer_mut(pointer).unwrap() = value.clone();
        let outcome = read(&reply(200, mutant.to_string()));
        if let UsageOutcome::Answered { windows, .. } = &outcome {
            assert!(windows.iter().all(|w| w.used_percent.is_none_or(f64::is_finite)), "{name}{pointer} = {value}");
        }
        let Some(entry) = parents.iter().find_map(|parent| entry_of(parent, pointer)) else { continue };
        let UsageOutcome::Answered { windows: kept, .. } = read(&reply(200, without(&whole, entry).to_string())) else {
            continue;
        };
        if kept.is_empty() {
            continue;
        }
        let UsageOutcome::Answered { windows, .. } = &outcome else { panic!("{name}{pointer} = {value}: {outcome:?}") };
        for window in kept {
            assert!(windows.contains(&window), "{name}{pointer} = {value} lost {window:?}");
            compared += 1;
        }
    }
    compared
}

/// The entry of `parent` that `pointer` lies in.
fn entry_of<'p>(parent: &str, pointer: &'p str) -> Option<&'p str> {
    let inside = pointer.strip_prefix(parent)?.strip_prefix('/')?;
    Some(&pointer[..pointer.len() - inside.len() + inside.find('/').unwrap_or(inside.len())])
}

fn without(whole: &Value, entry: &str) -> Value {
    let mut rest = whole.clone();
    let (parent, key) = entry.rsplit_once('/').unwrap();
    match rest.pointer_mut(parent).unwrap() {
        Value::Array(items) => drop(items.remove(key.parse().unwrap())),
        Value::Object(members) => drop(members.remove(key)),
        _ => unreachable!("an entry has a parent"),
    }
    rest
}

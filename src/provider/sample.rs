//! What the tests of every vendor need: a reply, windows as lines a person can review, an outcome's class, and what
//! no reader may do whatever it is given.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};

use super::Reply;
use crate::model::{Amount, Failure, UsageOutcome, Window, WindowStatus};

/// A reply with this body.
pub(super) fn reply(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Reply { status, headers, body: body.as_ref().to_owned() }
}

/// `plan: pro`, then one line a window: `weekly (Fable) [weekly:fable] 12%, 3 of 20 requests, 17 left, resets 2026-…`.
/// Anything but an answer is its class.
pub(super) fn lines(outcome: &UsageOutcome) -> Vec<String> {
    let UsageOutcome::Answered { windows, plan } = outcome else { return vec![class(outcome)] };
    let plan = format!("plan: {}", plan.as_deref().unwrap_or("-"));
    std::iter::once(plan).chain(windows.iter().map(line)).collect()
}

fn line(window: &Window) -> String {
    let amount = |amount: &Amount| format!("{} {}", amount.amount, amount.unit);
    let used = match (&window.used, &window.limit) {
        (Some(used), Some(limit)) => Some(format!("{} of {}", used.amount, amount(limit))),
        (Some(used), None) => Some(format!("{} used", amount(used))),
        (None, Some(limit)) => Some(format!("of {}", amount(limit))),
        (None, None) => None,
    };
    let facts = [
        match window.status {
            WindowStatus::Active => None,
            WindowStatus::NotStarted => Some("not started".to_owned()),
            WindowStatus::NotInPlan => Some("not in plan".to_owned()),
        },
        window.used_percent.map(|percent| format!("{percent}%")),
        used,
        window.remaining.as_ref().map(|left| format!("{} left", amount(left))),
        window.resets_at.map(|at| format!("resets {at}")),
        window.model.as_ref().map(|model| format!("model {model}")),
        window.organisation.as_ref().map(|whose| format!("shared by {whose}")),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    format!("{} [{}] {}", window.label, window.id, facts.join(", ")).trim_end().to_owned()
}

/// The class of an outcome, with what tells it apart.
pub(super) fn class(outcome: &UsageOutcome) -> String {
    match outcome {
        UsageOutcome::Answered { .. } => "answered".to_owned(),
        UsageOutcome::Limited { demand: None } => "limited".to_owned(),
        UsageOutcome::Limited { demand: Some(demand) } => format!("limited for {} s", demand.as_secs()),
        UsageOutcome::Rejected { permanent: false, .. } => "rejected".to_owned(),
        UsageOutcome::Rejected { permanent: true, .. } => "revoked".to_owned(),
        UsageOutcome::NoPermission { .. } => "no permission".to_owned(),
        UsageOutcome::Failed { failure: Failure::Garbage(_), .. } => "garbage".to_owned(),
        UsageOutcome::Failed { failure, .. } => format!("{failure:?}").to_lowercase(),
    }
}

/// Cuts a sample short at every byte: no part of it is an answer.
pub(super) fn no_part_is_an_answer(name: &str, body: &str, read: impl Fn(&[u8]) -> UsageOutcome) {
    for end in 0..body.trim_end().len() {
        let outcome = read(&body.as_bytes()[..end]);
        assert!(matches!(outcome, UsageOutcome::Failed { .. }), "{name} cut at {end}: {}", class(&outcome));
    }
}

/// Puts wrong values in the place of every part of a sample: nothing panics, and every percentage stays a number.
pub(super) fn no_value_confuses(name: &str, body: &str, read: impl Fn(&[u8]) -> UsageOutcome) {
    let wrong = [json!(null), json!(true), json!(-1), json!(1e300), json!("x"), json!([]), json!([null]), json!({})];
    let body: Value = serde_json::from_str(body).expect("a sample is JSON");
    let mut pointers = Vec::new();
    pointers_of(&body, "", &mut pointers);
    for (pointer, value) in pointers.iter().flat_map(|pointer| wrong.iter().map(move |value| (pointer, value))) {
        let mut mutant = body.clone();
        *mutant.pointer_mut(pointer).expect("a pointer leads to a value") = value.clone();
        let outcome = quietly(|| read(mutant.to_string().as_bytes()), || format!("{name}{pointer} = {value}"));
        if let UsageOutcome::Answered { windows, .. } = outcome {
            assert!(windows.iter().all(|w| w.used_percent.is_none_or(f64::is_finite)), "{name}{pointer} = {value}");
        }
    }
}

/// Puts a wrong byte in the place of every byte of a sample: nothing panics, and every number that is told stands in
/// the body, or is what is left of 100 or of a limit; money may stand there in minor units.
pub(super) fn no_byte_makes_a_number(name: &str, body: &str, read: impl Fn(&[u8]) -> UsageOutcome) {
    for (at, old) in body.bytes().enumerate() {
        let byte = if old.is_ascii_digit() { b'7' } else { b"e,\""[at % 3] };
        let mut mutant = body.as_bytes().to_owned();
        mutant[at] = byte;
        let what = || format!("{name} with {:?} at {at}", char::from(byte));
        let UsageOutcome::Answered { windows, .. } = quietly(|| read(&mutant), what) else { continue };
        let mut told = Vec::new();
        numbers_of(&serde_json::from_slice(&mutant).expect("an answer is JSON"), &mut told);
        let stands = |number: f64| told.iter().any(|told| is_close(number, *told));
        for window in windows {
            let of_left = |percent: f64| told.iter().any(|left| is_close(percent, 100.0 - left));
            assert!(window.used_percent.is_none_or(|p| stands(p) || of_left(p)), "{}: {window:?}", what());
            let [used, limit, left] = [&window.used, &window.limit, &window.remaining]
                .map(|amount| amount.as_ref().map(|amount| amount.amount.parse().expect("an amount is a number")));
            let is_amount = |amount: f64| (0..=9).any(|exponent| stands(amount * 10_f64.powi(exponent)));
            assert!(used.into_iter().chain(limit).all(is_amount), "{}: {window:?}", what());
            let is_rest = |left| limit.zip(used).is_some_and(|(limit, used): (f64, f64)| is_close(left, limit - used));
            assert!(left.is_none_or(|left| is_amount(left) || is_rest(left)), "{}: {window:?}", what());
        }
    }
}

fn is_close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * one.abs().max(1.0)
}

/// What `read` answers; a panic is told with the case that caused it.
fn quietly(read: impl Fn() -> UsageOutcome, what: impl Fn() -> String) -> UsageOutcome {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| panic!("{} made the reader panic", what()))
}

/// The JSON pointers of a value and of everything in it.
pub(super) fn pointers_of(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    let parts: Vec<(String, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(key, part)| (escaped(key), part)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, part)| (at.to_string(), part)).collect(),
        _ => Vec::new(),
    };
    for (step, part) in parts {
        pointers_of(part, &format!("{at}/{step}"), found);
    }
}

/// Every number in a value, also those written as text.
fn numbers_of(value: &Value, found: &mut Vec<f64>) {
    match value {
        Value::Object(object) => object.values().for_each(|value| numbers_of(value, found)),
        Value::Array(items) => items.iter().for_each(|value| numbers_of(value, found)),
        value => found.extend(super::field::number(value)),
    }
}

//! The numbers: one JSON object in, every window it reports out.
//!
//! The same limit appears up to twice, as a top-level block (`five_hour`, `seven_day_opus`) and as a row of
//! `limits`; and code-named experiments come and go at the top level. So: whatever has a utilization is a window,
//! a window is known by kind and model and never by its place, and of two reports of one limit the first that has a
//! number is kept: blocks before rows, because a row's percent is rounded. `is_active` and `severity` are not read:
//! a nearly full weekly limit has been seen as inactive.

use serde_json::{Map, Value, json};

use crate::model::{Amount, Failure, UsageOutcome, Window, WindowStatus};
use crate::provider::field::{self, Decimal};
use crate::provider::{Reply, distinct};

pub(super) const SESSION: &str = "five_hour";
pub(super) const WEEKLY: &str = "seven_day";
const EXTRA_SPEND: &str = "extra_spend";

/// These mark an answer of the usage endpoint, even if all of them are null.
const KNOWN_KEYS: [&str; 5] = [SESSION, WEEKLY, "limits", "spend", "extra_usage"];

/// What a success of the usage endpoint says.
pub(super) fn read(reply: &Reply) -> UsageOutcome {
    let read = match field::json(&reply.body) {
        Some(body) => windows(&body).ok_or("the answer is JSON, but names no usage window"),
        None => Err("the answer is not JSON"),
    };
    match read {
        Ok(windows) => UsageOutcome::Answered { windows, plan: None },
        Err(how) => UsageOutcome::Failed { failure: Failure::Garbage(how), demand: None },
    }
}

/// Every window of a usage body, the session first; `None` if this is no usage body.
///
/// Reads as well what Claude Code caches of such a body (`cachedUsageUtilization.utilization`) and what it hands its
/// statusline (`rate_limits`, where the percentage is called `used_percentage`).
pub fn windows(body: &Value) -> Option<Vec<Window>> {
    let members = body.as_object()?;
    let blocks = members.iter().filter_map(|(key, block)| from_block(key, block));
    let rows = body["limits"].as_array().into_iter().flatten().filter_map(from_row);

    let mut windows = distinct(blocks.chain(rows).chain(extra_spend(body)));
    let session = match windows.iter().position(|window| window.id == SESSION) {
        Some(at) => Some(windows.remove(at)),
        None => idle_session(members, &windows),
    };
    windows.splice(0..0, session);

    (!windows.is_empty() || is_empty_answer(members)).then_some(windows)
}

/// Whether an answer without any window is one all the same: it has what this endpoint answers with, of the right
/// types. Of the wrong types it is no answer, and must not take the place of a good reading.
fn is_empty_answer(members: &Map<String, Value>) -> bool {
    let mut known = KNOWN_KEYS.iter().filter_map(|key| members.get(*key)).peekable();
    known.peek().is_some() && known.all(|value| value.is_null() || value.is_object() || value.is_array())
}

/// A top-level object with a utilization. `seven_day_breakdown` has none: it tells shares, not a limit.
fn from_block(key: &str, block: &Value) -> Option<Window> {
    let used = block.get("utilization").or_else(|| block.get("used_percentage"))?;
    if key == "extra_usage" {
        return None;
    }
    let (kind, model) = kind_and_model(key);
    Some(window(&field::printable(kind)?, model, None, used, &block["resets_at"]))
}

/// What a limit's one name stands for: `seven_day_opus` is the weekly limit of one model.
pub(super) fn kind_and_model(key: &str) -> (&str, Option<&'static str>) {
    match key {
        "seven_day_opus" => ("weekly", Some("Opus")),
        "seven_day_sonnet" => ("weekly", Some("Sonnet")),
        other => (other, None),
    }
}

/// A row of `limits`; an unknown kind is kept under its own name.
fn from_row(row: &Value) -> Option<Window> {
    let named = |part: &Value| {
        field::name(part).or_else(|| field::name(&part["display_name"])).or_else(|| field::name(&part["id"]))
    };
    let (model, surface) = (named(&row["scope"]["model"]), named(&row["scope"]["surface"]));
    let kind = field::name(&row["kind"])?;
    let kind = match (kind.as_str(), model.is_some() || surface.is_some()) {
        ("session", false) => SESSION,
        ("weekly_all", false) => WEEKLY,
        ("weekly_scoped", true) => "weekly",
        (other, _) => other,
    };
    Some(window(kind, model.as_deref(), surface.as_deref(), &row["percent"], &row["resets_at"]))
}

/// A window of some kind, limited to a model or a part of the product: `weekly:fable`, "weekly (Fable)".
pub(super) fn window(
    kind: &str,
    model: Option<&str>,
    surface: Option<&str>,
    used: &Value,
    resets_at: &Value,
) -> Window {
    let word = match kind {
        SESSION => "5-hour".to_owned(),
        WEEKLY => "weekly".to_owned(),
        other => other.replace('_', " "),
    };
    let names: Vec<&str> = model.into_iter().chain(surface).collect();
    let used_percent = field::number(used);
    let resets_at = field::timestamp(resets_at);
    let untouched = (used.is_null() || used_percent == Some(0.0)) && resets_at.is_none();
    Window {
        id: names.iter().fold(kind.to_owned(), |id, name| id + ":" + &field::slug(name)),
        label: if names.is_empty() { word } else { format!("{word} ({})", names.join(", ")) },
        model: model.map(str::to_owned),
        organisation: None,
        status: if untouched { WindowStatus::NotStarted } else { WindowStatus::Active },
        used_percent,
        used: None,
        limit: None,
        remaining: None,
        resets_at,
    }
}

/// Between sessions the block is null. It is also null where the plan has no such window (Enterprise, billed by
/// spend), so only beside a weekly window does null mean "not started".
fn idle_session(members: &Map<String, Value>, windows: &[Window]) -> Option<Window> {
    let idle = members.get(SESSION)?.is_null() && windows.iter().any(|window| window.id == WEEKLY);
    idle.then(|| window(SESSION, None, None, &Value::Null, &Value::Null))
}

/// Money spent beyond the plan, where that is switched on. `spend` before `extra_usage`: they have been seen to
/// contradict each other, and only the former says its unit for certain.
fn extra_spend(body: &Value) -> Option<Window> {
    let (spend, extra) = (&body["spend"], &body["extra_usage"]);
    let (percent, used, limit) = if spend["enabled"] == true {
        let money = |part: &Value| Money::read(&part["amount_minor"], &part["exponent"], &part["currency"]);
        (&spend["percent"], money(&spend["used"]), money(&spend["limit"]))
    } else if extra["is_enabled"] == true {
        let cents = json!(2);
        let places = Some(&extra["decimal_places"]).filter(|places| !places.is_null()).unwrap_or(&cents);
        let money = |minor: &Value| Money::read(minor, places, &extra["currency"]);
        (&extra["utilization"], money(&extra["used_credits"]), money(&extra["monthly_limit"]))
    } else {
        return None;
    };
    let remaining = limit.as_ref().zip(used.as_ref()).and_then(|(limit, used)| limit.less(used));
    let amount = |money: Money| Box::new(money.into_amount());
    Some(Window {
        id: EXTRA_SPEND.to_owned(),
        label: "extra spend".to_owned(),
        model: None,
        organisation: None,
        status: WindowStatus::Active,
        used_percent: field::number(percent),
        used: used.map(amount),
        limit: limit.map(amount),
        remaining: remaining.map(amount),
        resets_at: None,
    })
}

struct Money {
    value: Decimal,
    unit: String,
}

impl Money {
    /// Without a currency the unit is what the vendor calls these amounts elsewhere, never a guessed currency.
    fn read(minor: &Value, exponent: &Value, currency: &Value) -> Option<Self> {
        let value = Decimal::from_minor(minor, exponent)?;
        Some(Self { value, unit: field::name(currency).unwrap_or_else(|| "credits".to_owned()) })
    }

    fn less(&self, other: &Self) -> Option<Self> {
        let value = self.value.checked_sub(other.value).filter(|_| self.unit == other.unit)?;
        Some(Self { value, unit: self.unit.clone() })
    }

    fn into_amount(self) -> Amount {
        Amount { amount: self.value.to_string(), unit: self.unit }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provider::sample::no_byte_makes_a_number;

    macro_rules! sample {
        ($name:literal) => {
            (concat!($name), include_str!(concat!("../../../tests/data/claude/", $name, ".json")))
        };
    }

    type Sample = (&'static str, &'static str);

    /// Every shape the endpoint is known to have had, and what is read from it.
    const SAMPLES: [(Sample, &[&str]); 14] = [
        (
            sample!("v1_min"),
            &[
                "five_hour | 5-hour | active | 41 | 2026-02-10T16:00:00.123456Z",
                "seven_day | weekly | active | 17 | 2026-02-14T09:00:00.12349Z",
            ],
        ),
        (
            sample!("v2_codenames"),
            &[
                "five_hour | 5-hour | active | 31 | 2026-06-09T14:10:00.280411Z",
                "seven_day | weekly | active | 27 | 2026-06-13T08:00:00.280436Z",
                "weekly:sonnet | weekly (Sonnet) | active | 0 | 2026-06-13T08:00:01.280449Z",
                "seven_day_omelette | seven day omelette | not-started | 0 | -",
                "extra_spend | extra spend | active | 24.8 | - | 12.40 of 50.00 USD, 37.60 left",
            ],
        ),
        (
            sample!("v3_limits"),
            &[
                "five_hour | 5-hour | active | 14 | 2026-09-12T11:40:00.505112Z",
                "seven_day | weekly | active | 6 | 2026-09-16T06:00:00.50514Z",
                "nimbus_quill | nimbus quill | not-started | 0 | -",
                "weekly:fable | weekly (Fable) | active | 9 | 2026-09-16T05:59:59.505377Z",
            ],
        ),
        (
            sample!("v3b_extra_on"),
            &[
                "five_hour | 5-hour | active | 100 | 2026-09-14T20:00:00.000001Z",
                "seven_day | weekly | active | 81 | 2026-09-18T22:00:00Z",
                "extra_spend | extra spend | active | 26 | - | 25.75 of 100.00 USD, 74.25 left",
            ],
        ),
        (
            sample!("v4_enterprise"),
            &["extra_spend | extra spend | active | 21.15 | - | 63.45 of 300.00 EUR, 236.55 left"],
        ),
        (
            sample!("v5_team_uncapped"),
            &[
                "five_hour | 5-hour | active | 12.5 | 2026-07-01T15:00:00Z",
                "seven_day | weekly | active | 40 | 2026-07-04T09:00:00Z",
                "extra_spend | extra spend | active | - | - | 4123.50 USD",
            ],
        ),
        (
            sample!("v6_idle"),
            &["five_hour | 5-hour | not-started | - | -", "seven_day | weekly | active | 44 | 2026-07-04T09:00:00Z"],
        ),
        (
            sample!("v7_breakdown"),
            &["five_hour | 5-hour | not-started | 0 | -", "seven_day | weekly | active | 52 | 2026-09-28T10:00:00Z"],
        ),
        (
            sample!("v8_unknown_kind"),
            &[
                "five_hour | 5-hour | active | 3 | 2026-09-12T11:40:00Z",
                "monthly_spend | monthly spend | active | 35 | -",
                "quota:fable | quota (Fable) | active | 7 | -",
                "weekly:cowork | weekly (cowork) | active | 8 | 2026-09-16T06:00:00Z",
            ],
        ),
        (
            sample!("v9_spend_contradicts_extra"),
            &[
                "five_hour | 5-hour | not-started | 0 | -",
                "seven_day | weekly | active | 92 | 2026-07-30T06:00:00Z",
                "weekly:fable | weekly (Fable) | active | 100 | 2026-07-30T06:00:00Z",
                "extra_spend | extra spend | active | 100 | - | 50.03 of 50.00 EUR, -0.03 left",
            ],
        ),
        (
            sample!("opus_null_but_scoped_100"),
            &[
                "five_hour | 5-hour | active | 20 | 2026-09-12T11:40:00Z",
                "seven_day | weekly | active | 60 | 2026-09-16T06:00:00Z",
                "weekly:sonnet | weekly (Sonnet) | active | 12.4 | 2026-09-16T06:00:00Z",
                "weekly:opus | weekly (Opus) | active | 100 | 2026-09-16T06:00:00Z",
            ],
        ),
        (
            sample!("limits_not_array"),
            &["five_hour | 5-hour | active | 108.5 | 2026-09-12T11:40:00Z", "seven_day | weekly | active | -1 | -"],
        ),
        (
            sample!("limits_bad_element"),
            &[
                "five_hour | 5-hour | active | - | 2026-09-12T11:40:00Z",
                "weekly:fable | weekly (Fable) | active | 9 | -",
                "seven_day | weekly | active | 6 | 2026-09-16T06:00:00Z",
            ],
        ),
        (
            sample!("statusline"),
            &[
                "five_hour | 5-hour | active | 23.5 | 2026-09-14T15:33:20Z",
                "seven_day | weekly | active | 41 | 2026-09-18T06:40:00Z",
            ],
        ),
    ];

    fn answer(body: impl Into<Vec<u8>>) -> UsageOutcome {
        read(&Reply { status: 200, headers: Vec::new(), body: body.into() })
    }

    /// One line a window, with a dash for what is not known.
    fn line(window: &Window) -> String {
        fn or_dash(value: Option<impl ToString>) -> String {
            value.map_or_else(|| "-".to_owned(), |value| value.to_string())
        }
        let status = match window.status {
            WindowStatus::Active => "active",
            WindowStatus::NotStarted => "not-started",
            WindowStatus::NotInPlan => "not-in-plan",
        };
        let (used, resets) = (or_dash(window.used_percent), or_dash(window.resets_at));
        let money = match (&window.used, &window.limit, &window.remaining) {
            (Some(used), Some(limit), Some(left)) => {
                format!(" | {} of {} {}, {} left", used.amount, limit.amount, used.unit, left.amount)
            }
            (Some(used), None, None) => format!(" | {} {}", used.amount, used.unit),
            (None, None, None) => String::new(),
            odd => format!(" | {odd:?}"),
        };
        format!("{} | {} | {status} | {used} | {resets}{money}", window.id, window.label)
    }

    #[test]
    fn known_keys_of_the_wrong_types_are_no_answer() {
        assert_eq!(windows(&json!({"five_hour": null, "seven_day": null, "limits": []})), Some(Vec::new()));
        for body in [json!({"five_hour": 5, "limits": "x"}), json!({"seven_day": null, "spend": true}), json!({})] {
            assert_eq!(windows(&body), None, "{body}");
        }
    }

    #[test]
    fn every_known_shape_yields_every_window_it_reports() {
        for ((name, body), expected) in SAMPLES {
            let UsageOutcome::Answered { windows, plan: None } = answer(body) else { panic!("{name} was not read") };
            assert_eq!(windows.iter().map(line).collect::<Vec<_>>(), expected, "{name}");
        }
    }

    #[test]
    fn a_window_of_one_model_names_the_model_as_the_vendor_does() {
        let body = json!({"limits": [
            {"kind": "weekly_scoped", "percent": 1, "scope": {"model": {"id": null, "display_name": "Fable 2.5 (new)"}}},
            {"kind": "weekly_scoped", "percent": 2, "scope": {"model": {"display_name": "Opus"}, "surface": "Code"}},
        ]});
        let titles = windows(&body).unwrap().into_iter().map(|w| (w.id, w.label, w.model)).collect::<Vec<_>>();
        let title = |id: &str, label: &str, model: &str| (id.to_owned(), label.to_owned(), Some(model.to_owned()));
        assert_eq!(titles[0], title("weekly:fable-2-5-new", "weekly (Fable 2.5 (new))", "Fable 2.5 (new)"));
        assert_eq!(titles[1], title("weekly:opus:code", "weekly (Opus, Code)", "Opus"));
    }

    #[test]
    fn a_limit_told_twice_is_kept_once_as_the_report_with_a_number() {
        let scoped = json!({"kind": "weekly_scoped", "percent": 80, "scope": {"model": {"display_name": "Opus"}}});
        for (opus, expected) in [(json!(79.6), 79.6), (json!(null), 80.0), (json!("much"), 80.0)] {
            let body = json!({"seven_day_opus": {"utilization": opus, "resets_at": null}, "limits": [scoped]});
            let windows = windows(&body).unwrap();
            assert_eq!(windows.len(), 1, "{opus}");
            assert_eq!((windows[0].id.as_str(), windows[0].used_percent), ("weekly:opus", Some(expected)), "{opus}");
        }
    }

    #[test]
    fn spend_counts_only_where_it_is_switched_on_and_goes_before_the_older_block() {
        let minor = |amount| json!({"amount_minor": amount, "currency": "EUR", "exponent": 2});
        let extra = |on| json!({"is_enabled": on, "used_credits": 100, "currency": "USD", "decimal_places": 0});
        for (spend_on, extra_on, expected) in [
            (json!(true), json!(true), Some("7.00 EUR")),
            (json!(false), json!(true), Some("100 USD")),
            (json!("yes"), json!(true), Some("100 USD")),
            (json!(false), json!(false), None),
            (json!(null), json!(1), None),
        ] {
            let body = json!({"spend": {"enabled": spend_on, "used": minor(700)}, "extra_usage": extra(extra_on)});
            let used = windows(&body).unwrap().pop().and_then(|window| window.used);
            assert_eq!(used.map(|used| format!("{} {}", used.amount, used.unit)).as_deref(), expected);
        }
    }

    #[test]
    fn an_amount_in_another_unit_is_not_subtracted_and_a_missing_currency_is_not_guessed() {
        let spend = json!({"enabled": true, "used": {"amount_minor": 1, "currency": "EUR", "exponent": 2},
                           "limit": {"amount_minor": 5, "exponent": 0}});
        let window = windows(&json!({"spend": spend})).unwrap().remove(0);
        assert_eq!(window.limit, Some(Box::new(Amount { amount: "5".to_owned(), unit: "credits".to_owned() })));
        assert_eq!(window.remaining, None);
    }

    #[test]
    fn a_session_that_is_null_is_idle_only_beside_a_weekly_window() {
        let weekly = json!({"utilization": 5, "resets_at": "2026-09-16T06:00:00Z"});
        let ids = |body| windows(&body).unwrap().into_iter().map(|window| window.id).collect::<Vec<_>>();
        assert_eq!(ids(json!({"seven_day": weekly, "five_hour": null})), ["five_hour", "seven_day"]);
        assert_eq!(ids(json!({"seven_day": weekly})), ["seven_day"]);
        assert_eq!(ids(json!({"seven_day": null, "five_hour": null})), Vec::<String>::new());
    }

    #[test]
    fn what_names_no_window_is_garbage_and_known_keys_alone_are_an_answer() {
        for body in [
            "",
            "<!DOCTYPE html><html></html>",
            "null",
            "[]",
            "7",
            "{}",
            r#"{"type": "error", "error": {"type": "api_error"}}"#,
            r#"{"seven_day_breakdown": {"rows": []}}"#,
        ] {
            let outcome = answer(body);
            let garbage = matches!(outcome, UsageOutcome::Failed { failure: Failure::Garbage(_), demand: None });
            assert!(garbage, "{body}: {outcome:?}");
        }
        for key in KNOWN_KEYS {
            let nothing = UsageOutcome::Answered { windows: Vec::new(), plan: None };
            assert_eq!(answer(json!({key: null}).to_string()), nothing, "{key}");
        }
    }

    #[test]
    fn an_answer_cut_short_anywhere_is_garbage() {
        for ((name, body), _) in SAMPLES {
            for end in 0..body.trim_end().len() {
                let outcome = answer(&body.as_bytes()[..end]);
                assert!(matches!(outcome, UsageOutcome::Failed { .. }), "{name} cut at {end}");
            }
        }
    }

    #[test]
    fn no_byte_damaged_anywhere_makes_a_number_that_nobody_sent() {
        for ((name, body), _) in SAMPLES {
            no_byte_makes_a_number(name, body, |body: &[u8]| answer(body));
        }
    }

    /// The JSON pointers of a value and of everything in it.
    fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.to_owned());
        match value {
            Value::Object(members) => members.iter().for_each(|(key, v)| pointers(v, &format!("{at}/{key}"), found)),
            Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), found)),
            _ => {}
        }
    }

    /// The report that `pointer` lies in, a top-level block or one row of `limits`, and `body` without it.
    fn split_off(body: &Value, pointer: &str) -> (Value, Value) {
        let mut rest = body.clone();
        let mut steps = pointer.split('/').skip(1);
        match (steps.next(), steps.next()) {
            (Some("limits"), Some(row)) if body["limits"].is_array() => {
                let row = rest["limits"].as_array_mut().unwrap().remove(row.parse().unwrap());
                (json!({"limits": [row]}), rest)
            }
            (Some(block), _) => {
                let report = rest.as_object_mut().unwrap().remove(block);
                (json!({block: report}), rest)
            }
            (None, _) => (rest, json!({})),
        }
    }

    #[test]
    fn a_wrong_type_anywhere_costs_no_window_but_the_one_it_is_in() {
        let wrong =
            [json!(null), json!(true), json!(-1), json!(1e300), json!("x"), json!([]), json!([null]), json!({})];
        let mut compared = 0;
        for ((name, body), _) in SAMPLES {
            let body: Value = serde_json::from_str(body).unwrap();
            let mut nodes = Vec::new();
            pointers(&body, "", &mut nodes);
            for (pointer, value) in nodes.iter().flat_map(|pointer| wrong.iter().map(move |value| (pointer, value))) {
                let mut mutant = body.clone();
                *mutant.pointer_mut(pointer).unwrap() = value.clone();
                let survived = windows(&mutant).unwrap_or_default();
                assert!(survived.iter().all(|w| w.used_percent.is_none_or(f64::is_finite)), "{name}{pointer} {value}");
                let (report, rest) = split_off(&body, pointer);
                let told = windows(&report).unwrap_or_default();
                for window in windows(&rest).unwrap_or_default() {
                    let told_twice = told.iter().any(|told| told.id == window.id);
                    let survivor = survived.iter().find(|survivor| survivor.id == window.id);
                    let kept = survivor.is_some_and(|survivor| told_twice || *survivor == window);
                    assert!(kept, "{name}{pointer} = {value} lost {}", window.id);
                    compared += 1;
                }
            }
        }
        assert!(compared > 1000, "{compared}");
    }

    proptest! {
        #[test]
        fn every_block_with_a_number_is_a_window_whatever_stands_beside_it(
            blocks in prop::collection::btree_map("[a-z]{1,8}_[a-z]{1,8}", -50.0..500.0_f64, 1..8),
            junk in prop::collection::btree_map("[A-Z]{1,8}", prop_oneof![
                Just(json!(null)), Just(json!([])), Just(json!({"utilizations": 1})), any::<i64>().prop_map(|n| json!(n)),
            ], 0..6),
            first: bool,
        ) {
            let mut body = Map::new();
            let blocks = blocks.into_iter().filter(|(name, _)| !["extra_usage", "seven_day_opus"].contains(&name.as_str()));
            let told: Vec<(String, f64)> = blocks.collect();
            let told_json = told.iter().map(|(name, used)| (name.clone(), json!({"utilization": used})));
            if first { body.extend(told_json.clone()) }
            body.extend(junk);
            if !first { body.extend(told_json) }
            let read = windows(&Value::Object(body)).unwrap_or_default();
            let read: Vec<(String, f64)> = read.into_iter().map(|window| (window.id, window.used_percent.unwrap())).collect();
            prop_assert_eq!(read, told, "in the vendor's order, no more and no less");
        }
    }
}

//! The unified headers, which every inference answer carries, a refusal too: what is used of each limit, and which
//! limit a refusal is about.
//!
//! Each header is read on its own; none need be there, and scopes that nobody knows are kept under their own name.
//! Here a share is a fraction, which may exceed 1. `overage`, what is bought beyond the plan, is no window: the header
//! does not say of which amount it tells a share. Facts: `reference/credentials.md`, 6.2.

use serde_json::Value;

use super::usage::{self, SESSION, WEEKLY};
use crate::model::Window;
use crate::policy::time::Stamp;
use crate::provider::field::{self, Decimal};
use crate::provider::traffic::{current, header};

const PREFIX: &str = "anthropic-ratelimit-unified-";

/// How the headers shorten what the usage endpoint spells out.
const SHORT: [(&str, &str); 2] = [("5h", SESSION), ("7d", WEEKLY)];

/// Every window that the headers tell: the session first, then the weekly one, the others as they come.
pub(super) fn windows(headers: &[(String, String)], received: Stamp) -> Vec<Window> {
    let scope = |name: &str| {
        let scoped = name.strip_prefix(PREFIX)?;
        Some(scoped.strip_suffix("-utilization").or_else(|| scoped.strip_suffix("-reset"))?.to_owned())
    };
    let told = headers.iter().filter_map(|(name, _)| window(headers, &scope(name)?));
    let mut windows = current(told, received);
    windows.sort_by_key(|window| [SESSION, WEEKLY].iter().position(|id| *id == window.id).unwrap_or(2));
    windows
}

/// The window of a scope such as `5h` or `7d_sonnet`.
fn window(headers: &[(String, String)], scope: &str) -> Option<Window> {
    let name = field::slug(&field::printable(scope)?).replace('-', "_");
    if name.is_empty() || name == "overage" {
        return None;
    }
    let used = of(headers, &format!("{scope}-utilization")).and_then(percent);
    let resets_at = of(headers, &format!("{scope}-reset")).map_or(Value::Null, Value::from);
    let name = replaced(&name, SHORT);
    let (kind, model) = usage::kind_and_model(&name);
    Some(usage::window(kind, model, None, &used.map_or(Value::Null, Value::from), &resets_at))
}

/// A fraction as percent, without a float's noise: 0.29 is 29.
fn percent(fraction: &str) -> Option<f64> {
    Decimal::read(&Value::from(fraction))?.percent_of(Decimal::read(&Value::from(1))?)
}

/// Whether the vendor says that no limit stood in the way.
pub(in crate::provider) fn are_within_limits(headers: &[(String, String)]) -> bool {
    of(headers, "status").is_some_and(|status| matches!(status, "allowed" | "allowed_warning"))
}

/// When the limit that a request was refused for is reset: first what is said of the refusal, then of the limit.
pub(in crate::provider) fn refused_until(headers: &[(String, String)]) -> impl Iterator<Item = Stamp> {
    let is_rejected = of(headers, "status") == Some("rejected");
    let whole = of(headers, "reset").filter(|_| is_rejected);
    let own = of(headers, "representative-claim").and_then(|claim| {
        let scope = match claim {
            "seven_day_overage_included" => "7d_oi".to_owned(),
            claim => replaced(claim, SHORT.map(|(short, long)| (long, short))),
        };
        of(headers, &format!("{scope}-reset"))
    });
    whole.into_iter().chain(own).filter_map(|at| field::timestamp(&Value::from(at)))
}

/// The model that a refusal is limited to, if the limit is one model's.
pub(in crate::provider) fn refused_model(headers: &[(String, String)]) -> Option<&'static str> {
    usage::kind_and_model(of(headers, "representative-claim")?).1
}

fn of<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    header(headers, &format!("{PREFIX}{name}")).map(str::trim)
}

/// The name with its first word, if it is one of these, replaced: `7d_sonnet` is `seven_day_sonnet`.
fn replaced(name: &str, words: [(&str, &str); 2]) -> String {
    let begins = |word: &str| name.strip_prefix(word).filter(|rest| rest.is_empty() || rest.starts_with('_'));
    let mut replaced = words.into_iter().filter_map(|(word, other)| Some(format!("{other}{}", begins(word)?)));
    replaced.next().unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::UsageOutcome;
    use crate::provider::sample::lines;

    /// 2026-09-14T12:00:00Z.
    const NOW: i64 = 1_789_387_200;

    fn unified(told: &[(&str, &str)]) -> Vec<(String, String)> {
        told.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned())).collect()
    }

    /// These unified headers, read: one line a window.
    fn read(told: &[(&str, &str)]) -> Vec<String> {
        let windows = windows(&unified(told), Stamp::from_second(NOW).unwrap());
        lines(&UsageOutcome::Answered { windows, plan: None }).split_off(1)
    }

    #[test]
    fn every_limit_is_told_under_the_name_that_the_usage_endpoint_gives_it() {
        let told = [
            ("status", "allowed_warning"),
            ("reset", "1789397200"),
            ("representative-claim", "seven_day"),
            ("7d_sonnet-utilization", "0.27"),
            ("7d_sonnet-reset", "1789797200"),
            ("7d_opus-utilization", "1"),
            ("7d-status", "allowed_warning"),
            ("7d-utilization", "0.81"),
            ("7d-reset", "1789797200"),
            ("7d-surpassed-threshold", "0.75"),
            ("5h-utilization", "0.42"),
            ("5h-reset", "1789397200"),
            ("overage-status", "rejected"),
            ("overage-utilization", "0.5"),
            ("overage-reset", "1789797200"),
            ("overage-disabled-reason", "out_of_credits"),
            ("fallback-percentage", "0.5"),
        ];
        let expected = [
            "5-hour [five_hour] 42%, resets 2026-09-14T14:46:40Z",
            "weekly [seven_day] 81%, resets 2026-09-19T05:53:20Z",
            "weekly (Sonnet) [weekly:sonnet] 27%, resets 2026-09-19T05:53:20Z, model Sonnet",
            "weekly (Opus) [weekly:opus] 100%, model Opus",
        ];
        assert_eq!(read(&told), expected);
        let endpoint = serde_json::json!({
            "five_hour": {"utilization": 42.0, "resets_at": "2026-09-14T14:46:40Z"},
            "seven_day": {"utilization": 81.0, "resets_at": "2026-09-19T05:53:20Z"},
            "seven_day_sonnet": {"utilization": 27.0, "resets_at": "2026-09-19T05:53:20Z"},
            "seven_day_opus": {"utilization": 100.0, "resets_at": null},
        });
        let windows = usage::windows(&endpoint).unwrap();
        assert_eq!(lines(&UsageOutcome::Answered { windows, plan: None }).split_off(1), expected);
    }

    #[test]
    fn a_scope_that_nobody_knows_keeps_a_name_of_its_own() {
        for (scope, expected) in [
            ("7d_oi", "seven day oi [seven_day_oi] 102%"),
            ("7d_omelette", "seven day omelette [seven_day_omelette] 102%"),
            ("5h_code", "five hour code [five_hour_code] 102%"),
            ("30d", "30d [30d] 102%"),
            ("7days", "7days [7days] 102%"),
            ("7d \u{1b}[2J!", "seven day 2j [seven_day_2j] 102%"),
        ] {
            assert_eq!(read(&[(&format!("{scope}-utilization"), "1.02")]), [expected], "{scope}");
        }
        let long = read(&[(&format!("{}-utilization", "x".repeat(10_000)), "0.1")]);
        assert!(long[0].len() < 200, "{long:?}");
        for scope in ["overage", "", "-", "_", "\n"] {
            assert_eq!(read(&[(&format!("{scope}-utilization"), "0.1")]), [""; 0], "{scope:?}");
        }
    }

    #[test]
    fn a_bad_header_costs_its_own_field_only() {
        let (share, reset) = ("5-hour [five_hour] 7%", "resets 2026-09-14T14:46:40Z");
        for (utilization, resets, expected) in [
            ("0.07", "1789397200", vec![format!("{share}, {reset}")]),
            (" 0.07 ", "soon", vec![share.to_owned()]),
            ("0.07", "0", vec![share.to_owned()]),
            ("much", "1789397200", vec![format!("5-hour [five_hour] {reset}")]),
            ("NaN", "1789397200", vec![format!("5-hour [five_hour] {reset}")]),
            ("inf", "", vec![]),
            ("", "", vec![]),
            ("0.07", "1789387199", vec![]),
            ("0.07", "1789387200", vec![]),
            ("0.07", "1789387201", vec!["5-hour [five_hour] 7%, resets 2026-09-14T12:00:01Z".to_owned()]),
        ] {
            let told = [("5h-utilization", utilization), ("7d-utilization", "x"), ("5h-reset", resets)];
            assert_eq!(read(&told), expected, "{utilization:?} {resets:?}");
        }
        assert_eq!(read(&[("5h-utilization", "0.1"), ("5h-utilization", "0.2")]), ["5-hour [five_hour] 10%"]);
        assert_eq!(read(&[("utilization", "0.1"), ("reset", "1789397200")]), [""; 0], "that of no scope");
    }

    #[test]
    fn fractions_become_percentages_without_a_floats_noise() {
        for (fraction, expected) in [
            ("0", 0.0),
            ("0.07", 7.0),
            ("0.29", 29.0),
            ("0.57", 57.0),
            ("0.583", 58.3),
            ("1.02", 102.0),
            ("1.1", 110.0),
            ("4.2e-1", 42.0),
        ] {
            assert_eq!(percent(fraction).map(f64::to_bits), Some(f64::to_bits(expected)), "{fraction}");
        }
    }

    #[test]
    fn a_refusal_is_about_the_limit_that_it_names() {
        let resets =
            [("5h-reset", "1"), ("7d-reset", "2"), ("7d_opus-reset", "3"), ("7d_oi-reset", "4"), ("reset", "9")];
        for (status, claim, until, model) in [
            ("rejected", "five_hour", vec![9, 1], None),
            ("rejected", "seven_day", vec![9, 2], None),
            ("rejected", "seven_day_opus", vec![9, 3], Some("Opus")),
            ("rejected", "seven_day_sonnet", vec![9], Some("Sonnet")),
            ("rejected", "seven_day_overage_included", vec![9, 4], None),
            ("rejected", "overage", vec![9], None),
            ("rejected", "seven_daylight", vec![9], None),
            (" rejected ", " five_hour ", vec![9, 1], None),
            ("unheard_of", "five_hour", vec![1], None),
        ] {
            let headers = unified(&[&resets[..], &[("status", status), ("representative-claim", claim)]].concat());
            let seconds: Vec<i64> = refused_until(&headers).map(Stamp::as_second).collect();
            assert_eq!((seconds, refused_model(&headers)), (until, model), "{status} {claim}");
            assert!(!are_within_limits(&headers));
        }
        let status = |status| unified(&[("status", status)]);
        assert!(are_within_limits(&status("allowed")) && are_within_limits(&status("allowed_warning ")));
        assert!(!are_within_limits(&status("")) && !are_within_limits(&[]));
    }

    proptest! {
        #[test]
        fn no_header_makes_a_number_that_nobody_sent(
            told in prop::collection::vec(("(5h|7d|7d_oi|\\PC{0,9})-(utilization|reset|status)", "[0-9.eE+-]{0,12}|\\PC{0,9}"), 0..12),
        ) {
            let headers: Vec<_> = told.iter().map(|(name, value)| (format!("{PREFIX}{name}"), value.clone())).collect();
            for window in windows(&headers, Stamp::UNIX_EPOCH) {
                let said = |of: f64| told.iter().any(|(_, value)| {
                    value.trim().parse::<f64>().is_ok_and(|value| (value * 100.0 - of).abs() <= 1e-9 * of.abs())
                });
                prop_assert!(window.used_percent.is_none_or(said), "{:?}", window);
                prop_assert!(!(window.id.clone() + &window.label).chars().any(char::is_control), "{:?}", window);
            }
            let _ = (refused_until(&headers).count(), refused_model(&headers));
        }
    }
}

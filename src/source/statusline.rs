//! What Claude Code hands its statusline: `rate_limits`, live while a session renders (providers.md 1.2).
//!
//! Owns the reading of that member. When the numbers were true is not said: the hand-over is the latest moment, and a
//! session that has been idle repeats what it heard last.

use serde_json::Value;

use crate::model::{Reading, Source};
use crate::policy::time::Stamp;
use crate::provider::claude::usage;

/// The windows of a hand-over's `rate_limits` whose reset lies ahead; `None` if there is none.
pub fn reading(rate_limits: &Value, now: Stamp) -> Option<Reading> {
    let mut windows = usage::windows(rate_limits)?;
    windows.retain(|window| window.used_percent.is_some() && window.resets_at.is_some_and(|at| at > now));
    let reading = Reading { windows, plan: None, read_at: now, source: Source::Statusline, earlier: None };
    (!reading.windows.is_empty()).then_some(reading)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Stamp {
        Stamp::from_second(second).unwrap()
    }

    #[test]
    fn a_hand_over_gives_the_windows_whose_reset_lies_ahead() {
        let sample: Value = serde_json::from_str(include_str!("../../tests/data/claude/statusline.json")).unwrap();
        for (now, expected) in [
            (1_789_390_000, &[("five_hour", 23.5), ("seven_day", 41.0)][..]),
            (1_789_400_000, &[("seven_day", 41.0)]),
            (1_789_800_000, &[]),
        ] {
            let read = reading(&sample, at(now));
            assert!(read.as_ref().is_none_or(|read| read.read_at == at(now) && read.source == Source::Statusline));
            let windows: Vec<_> = read.iter().flat_map(|read| &read.windows).collect();
            let windows: Vec<_> = windows.iter().map(|w| (w.id.as_str(), w.used_percent.unwrap())).collect();
            assert_eq!(windows, expected, "{now}");
        }
    }

    #[test]
    fn what_holds_no_number_is_no_reading() {
        for limits in [
            json!(null),
            json!({}),
            json!([]),
            json!("x"),
            json!({"five_hour": null, "seven_day": null}),
            json!({"five_hour": {"used_percentage": "much", "resets_at": 1_789_400_000}}),
            json!({"five_hour": {"used_percentage": 5}}),
            json!({"five_hour": {"resets_at": 1_789_400_000}}),
        ] {
            assert_eq!(reading(&limits, at(1_789_390_000)), None, "{limits}");
        }
    }
}

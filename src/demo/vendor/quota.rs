//! The numbers behind the usage endpoint, and the budget of requests it allows an access token.

use std::time::Duration;

use serde_json::Value;

use super::answer::RetryAfter;
use crate::policy::time::Stamp;

/// One window of an account: grows with every answered request, starts over when its reset passes.
#[derive(Debug, Clone, PartialEq)]
pub struct Meter {
    /// Percent used.
    pub used: f64,
    /// Percent added by each answered request.
    pub growth: f64,
    /// When it starts over.
    pub resets_at: Stamp,
    /// How long it runs from one reset to the next; above 0.
    pub period: Duration,
}

impl Meter {
    fn new(used: f64, growth: f64, period: Duration, now: Stamp) -> Self {
        Self { used, growth, resets_at: now + period, period }
    }

    fn advance(&mut self, now: Stamp) {
        while self.resets_at <= now {
            self.resets_at += self.period;
            self.used = 0.0;
        }
    }
}

/// What an account has used of its plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    /// The session window.
    pub five_hour: Meter,
    /// The week, all models.
    pub seven_day: Meter,
    /// The week of one model.
    pub weekly_scoped: Meter,
    /// That model, as the vendor displays it.
    pub model: String,
    answered: u64,
}

impl Quota {
    pub(super) fn new(now: Stamp) -> Self {
        let hours = |n| Duration::from_hours(n);
        Self {
            five_hour: Meter::new(14.0, 0.5, hours(5), now),
            seven_day: Meter::new(6.0, 0.1, hours(7 * 24), now),
            weekly_scoped: Meter::new(9.0, 0.2, hours(7 * 24), now),
            model: "Fable".to_owned(),
            answered: 0,
        }
    }

    /// The body of one answered request: version 3 of providers.md 1.2. Reset times differ by microseconds from one
    /// answer to the next, as the vendor's do.
    pub(super) fn answer(&mut self, now: Stamp) -> String {
        self.answered += 1;
        for meter in [&mut self.five_hour, &mut self.seven_day, &mut self.weekly_scoped] {
            meter.advance(now);
            meter.used += meter.growth;
        }
        let jitter = Duration::from_micros(self.answered * 137 % 1_000);
        let shown = |meter: &Meter| {
            let resets_at = (meter.resets_at + jitter).strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00");
            (meter.used, meter.used.round() as i64, resets_at.to_string())
        };
        let [(session, session_percent, session_ends), (week, week_percent, week_ends), (_, scoped, scoped_ends)] =
            [&self.five_hour, &self.seven_day, &self.weekly_scoped].map(shown);
        let model = Value::from(self.model.as_str());
        format!(
            r#"{{
            "five_hour": {{"utilization": {session:?}, "resets_at": "{session_ends}", "limit_dollars": null,
                           "used_dollars": null, "remaining_dollars": null, "locked_reason": null}},
            "seven_day": {{"utilization": {week:?}, "resets_at": "{week_ends}", "limit_dollars": null,
                           "used_dollars": null, "remaining_dollars": null, "locked_reason": null}},
            "seven_day_oauth_apps": null, "seven_day_opus": null, "seven_day_sonnet": null,
            "tangelo": null, "iguana_necktie": null,
            "nimbus_quill": {{"utilization": 0.0, "resets_at": null, "locked_reason": null}},
            "extra_usage": {{"is_enabled": false, "monthly_limit": null, "used_credits": null, "utilization": null,
                             "currency": null, "decimal_places": null, "disabled_reason": null}},
            "limits": [
                {{"kind": "session", "group": "session", "percent": {session_percent}, "severity": "normal",
                  "resets_at": "{session_ends}", "scope": null, "is_active": true}},
                {{"kind": "weekly_all", "group": "weekly", "percent": {week_percent}, "severity": "normal",
                  "resets_at": "{week_ends}", "scope": null, "is_active": false}},
                {{"kind": "weekly_scoped", "group": "weekly", "percent": {scoped}, "severity": "normal",
                  "resets_at": "{scoped_ends}", "is_active": false,
                  "scope": {{"model": {{"id": null, "display_name": {model}}}, "surface": null}}}}
            ],
            "spend": {{"used": {{"amount_minor": 0, "currency": "USD", "exponent": 2}}, "limit": null, "percent": 0,
                       "severity": "normal", "enabled": false, "cap": null, "balance": null}},
            "member_dashboard_available": false,
            "seven_day_breakdown": null
        }}"#
        )
    }
}

/// How many requests one access token may make, and how it is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Requests answered per window, which opens with the first.
    pub requests: u32,
    /// How long the window lasts.
    pub window: Duration,
    /// Whether each refused request starts the window again (claudebar#8): the block that polling keeps alive.
    pub restarts: bool,
    /// What a refusal advises.
    pub retry_after: RetryAfter,
}

/// What one access token has used of its [`Budget`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    requests: u32,
    window_ends: Stamp,
}

impl Spent {
    /// Whether one more request would be within the budget.
    pub(super) fn would_allow(mut self, budget: &Budget, now: Stamp) -> bool {
        self.allows(budget, now)
    }

    /// Whether one more request is within the budget; counts it.
    pub(super) fn allows(&mut self, budget: &Budget, now: Stamp) -> bool {
        if now >= self.window_ends {
            *self = Self { requests: 0, window_ends: now + budget.window };
        }
        self.requests += 1;
        let within = self.requests <= budget.requests;
        if !within && budget.restarts {
            self.window_ends = now + budget.window;
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Starts inside a block, asks after each of `waits` and counts the answers.
    fn answers(window: u64, restarts: bool, waits: impl Iterator<Item = u64>) -> usize {
        let budget = Budget { requests: 5, window: seconds(window), restarts, retry_after: RetryAfter::Zero };
        let (mut spent, mut now) = (Spent::default(), Stamp::UNIX_EPOCH);
        let mut ask = |wait| {
            now += seconds(wait);
            spent.allows(&budget, now)
        };
        assert_eq!((0..6).filter(|_| ask(1)).count(), 5, "five of six at once");
        waits.filter(|wait| ask(*wait)).count()
    }

    #[test]
    fn a_window_that_restarts_blocks_whoever_asks_inside_it_for_ever() {
        let every_five_minutes = || std::iter::repeat_n(300, 288);
        assert_eq!(answers(240, true, every_five_minutes()), 288);
        assert_eq!(answers(600, true, every_five_minutes()), 0);
        assert_eq!(answers(990, true, every_five_minutes()), 0);
        assert_eq!(answers(990, false, every_five_minutes()), 288 - 3, "without the restart it ends by itself");
    }

    #[test]
    fn a_ladder_climbs_out_of_every_window() {
        for (window, tries) in [(240, 1), (600, 2), (990, 3)] {
            let ladder = [300, 600, 1_200];
            assert_eq!(answers(window, true, ladder.into_iter().take(tries - 1)), 0, "{window} s");
            assert_eq!(answers(window, true, ladder.into_iter().take(tries)), 1, "{window} s");
        }
    }

    #[test]
    fn numbers_grow_with_use_and_start_over_at_the_reset() {
        let start = Stamp::UNIX_EPOCH;
        let mut quota = Quota::new(start);
        let mut answer = |now| serde_json::from_str::<Value>(&quota.answer(now)).unwrap();
        assert_eq!(answer(start)["five_hour"]["utilization"], 14.5);
        let body = answer(start + seconds(60));
        assert_eq!(body["five_hour"]["utilization"], 15.0);
        assert_eq!(body["five_hour"]["resets_at"], "1970-01-01T05:00:00.000274+00:00");
        assert_eq!(body["limits"][2]["scope"]["model"]["display_name"], "Fable");
        let body = answer(start + seconds(11 * 3_600));
        assert_eq!(body["five_hour"]["utilization"], 0.5, "two resets later");
        assert_eq!(quota.five_hour.resets_at, start + seconds(15 * 3_600));
        assert!(body["seven_day"]["utilization"].as_f64().unwrap() > 6.0, "the week runs on");
    }
}

//! The rungs of a cooldown: 5, 10, 20 minutes, then doubling to a cap.
//!
//! Owns the arithmetic and the memory of where an incident stands ([`Climb`]). A rung is taken by a failure only:
//! the passing of a deadline grants a probe and changes nothing, so a ladder that is climbed really climbs.

use std::time::Duration;

use super::time::{Deadline, Moment};

/// How long to wait at each rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    cooldowns: Vec<Duration>,
    max: Duration,
}

impl Ladder {
    /// A ladder of these rungs, doubling past the last up to `max`. `config` guarantees that `cooldowns` is not
    /// empty and never decreases, and that `max` is at least the last; an empty list counts as `[max]`.
    pub fn new(cooldowns: Vec<Duration>, max: Duration) -> Self {
        Self { cooldowns, max }
    }

    /// The wait at `rung`, counted from 0.
    pub fn cooldown(&self, rung: u32) -> Duration {
        let Some(last) = self.cooldowns.last() else { return self.max };
        let index = rung as usize;
        if let Some(cooldown) = self.cooldowns.get(index) {
            return *cooldown;
        }
        let doublings = u32::try_from(index - (self.cooldowns.len() - 1)).unwrap_or(u32::MAX);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        last.saturating_mul(factor).min(self.max)
    }
}

/// Where an account stands on a ladder.
///
/// An incident begins with a failure and ends only with a success. A failure soon after that success
/// (`relapse_until`) goes on at the next rung: a server that answers every other request is still ill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Climb {
    /// The rung of the open incident, or of the one just closed.
    pub rung: Option<u32>,
    /// Set by the closing success: until then a failure continues the old incident.
    pub relapse_until: Option<Deadline>,
}

impl Climb {
    /// Takes the next rung. `began` is when the run of failures began that led here.
    pub fn next(&mut self, began: Moment) -> u32 {
        let rung = match (self.rung, self.relapse_until) {
            (None, _) => 0,
            (Some(rung), None) => rung.saturating_add(1),
            (Some(rung), Some(horizon)) if !horizon.passed(began) => rung.saturating_add(1),
            (Some(_), Some(_)) => 0,
        };
        *self = Self { rung: Some(rung), relapse_until: None };
        rung
    }

    /// A success closes the incident; failures within max(last cooldown, `two_intervals`) will continue it.
    pub fn close(&mut self, ladder: &Ladder, two_intervals: Duration, now: Moment) {
        if let (Some(rung), None) = (self.rung, self.relapse_until) {
            self.relapse_until = Some(Deadline::after(now, ladder.cooldown(rung).max(two_intervals)));
        }
        if self.relapse_until.is_some_and(|horizon| horizon.passed(now)) {
            *self = Self::default();
        }
    }

    /// The rung of the open incident; `None` when there is none.
    pub fn open_rung(&self) -> Option<u32> {
        if self.relapse_until.is_some() { None } else { self.rung }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    fn ladder() -> Ladder {
        Ladder::new(vec![minutes(5), minutes(10), minutes(20)], minutes(360))
    }

    #[test]
    fn rungs_are_5_10_20_minutes_then_double_to_the_cap() {
        let waits: Vec<u64> = (0..9).map(|rung| ladder().cooldown(rung).as_secs() / 60).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 360, 360]);
        assert_eq!(ladder().cooldown(u32::MAX), minutes(360));
    }

    #[test]
    fn only_failures_climb_and_a_success_closes() {
        let mut climb = Climb::default();
        let at = Moment::from_millis(0);
        assert_eq!((climb.next(at), climb.next(at), climb.next(at)), (0, 1, 2));
        climb.close(&ladder(), minutes(20), at);
        assert_eq!(climb.open_rung(), None);
    }

    #[test]
    fn a_failure_soon_after_the_closing_success_continues_at_the_next_rung() {
        for (minutes_later, rung) in [(19, 1), (20, 0), (500, 0)] {
            let mut climb = Climb::default();
            climb.next(Moment::default());
            climb.close(&ladder(), minutes(20), Moment::default());
            assert_eq!(climb.next(Moment::default() + minutes(minutes_later)), rung, "{minutes_later} min later");
        }
    }

    #[test]
    fn the_horizon_of_a_relapse_is_drawn_once_by_the_closing_success() {
        let mut climb = Climb::default();
        climb.next(Moment::default());
        climb.close(&ladder(), minutes(20), Moment::default());
        climb.close(&ladder(), minutes(20), Moment::default() + minutes(15));
        assert_eq!(climb.next(Moment::default() + minutes(25)), 0, "later successes do not extend it");
    }
}

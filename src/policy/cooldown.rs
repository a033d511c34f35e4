//! What both pause machines have in common: an incident, the rung it stands on, the wait it is in.
//!
//! Owns the rule of the rungs. A rung is taken by a failure only: the passing of a deadline grants one probe and
//! changes nothing else, a blocked attempt is no attempt, and only a success closes the incident. That is what makes
//! the ladder really climb (the best-known tool's never does: field report 1.5, 1).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ladder::Ladder;
use super::status::{GateState, GateView};
use super::time::{BootId, Deadline, Moment, Now, SavedDeadline};

/// An incident and its wait. Clear, cooling until a deadline, or probing: the deadline has passed and one request
/// decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cooldown {
    /// The rung of the open incident, or of the one just closed.
    rung: Option<u32>,
    /// Set by the closing success: a run of failures that begins before it continues the old incident at the next
    /// rung, because a server that answers every other request is still ill.
    relapse_until: Option<Deadline>,
    failures: u32,
    until: Option<Deadline>,
}

impl Cooldown {
    /// Counts a failure. Returns how many there were in a row.
    pub fn count(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// Takes the next rung and returns it. `began` is when the run of failures began that led here.
    pub fn climb(&mut self, began: Moment) -> u32 {
        let rung = match (self.rung, self.relapse_until) {
            (Some(rung), None) => rung.saturating_add(1),
            (Some(rung), Some(horizon)) if !horizon.passed(began) => rung.saturating_add(1),
            (None, _) | (Some(_), Some(_)) => 0,
        };
        self.rung = Some(rung);
        self.relapse_until = None;
        rung
    }

    /// Waits until `deadline`, or longer if a longer wait already stands.
    pub fn wait(&mut self, deadline: Deadline) {
        self.until = Some(self.until.map_or(deadline, |standing| standing.later(deadline)));
    }

    /// Ends the wait, not the incident: the next request is the probe.
    pub fn lift(&mut self) {
        self.until = None;
    }

    /// A success closes the incident; failures within max(last cooldown, `two_intervals`) will continue it.
    pub fn close(&mut self, ladder: &Ladder, two_intervals: Duration, now: Moment) {
        if let (Some(rung), None) = (self.rung, self.relapse_until) {
            self.relapse_until = Some(Deadline::after(now, ladder.cooldown(rung).max(two_intervals)));
        }
        if self.relapse_until.is_some_and(|horizon| horizon.passed(now)) {
            *self = Self::default();
        }
        self.failures = 0;
        self.until = None;
    }

    /// Whether a request may pass now.
    pub fn admits(&self, now: Moment) -> bool {
        self.until.is_none_or(|until| until.passed(now))
    }

    /// Whether an incident is open: a rung was taken, and nothing has succeeded since.
    pub fn is_open(&self) -> bool {
        self.open_rung().is_some()
    }

    /// The rung of the open incident.
    pub fn open_rung(&self) -> Option<u32> {
        if self.relapse_until.is_some() { None } else { self.rung }
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The deadline of the wait, also after it has passed.
    pub fn until(&self) -> Option<Deadline> {
        self.until
    }

    /// Of two pauses for the same endpoint, the one that waits longer; of two that do not wait, the one that remembers
    /// the later incident.
    pub fn is_harsher_than(&self, other: &Self) -> bool {
        let at = |deadline: Option<Deadline>| deadline.map(|deadline| deadline.at);
        let key =
            |pause: &Self| (at(pause.until), pause.open_rung(), pause.failures, at(pause.relapse_until), pause.rung);
        key(self) > key(other)
    }

    /// The pause as shown.
    pub fn view(&self, now: Now) -> GateView {
        let until = self.until.filter(|until| !until.passed(now.moment));
        let state = match until {
            Some(_) => GateState::Cooling,
            None if self.is_open() => GateState::Probing,
            None => GateState::Clear,
        };
        let until = until.map(|until| now.stamp_at(until.at));
        GateView { state, failures: self.failures, rung: self.open_rung(), until }
    }

    /// The form that survives a restart.
    pub fn save(&self, now: Now, boot: &BootId) -> CooldownRecord {
        CooldownRecord {
            rung: self.rung,
            relapse_until: self.relapse_until.map(|until| until.save(now, boot)),
            failures: self.failures,
            until: self.until.map(|until| until.save(now, boot)),
        }
    }
}

/// A [`Cooldown`] as `state.db` keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CooldownRecord {
    rung: Option<u32>,
    relapse_until: Option<SavedDeadline>,
    failures: u32,
    until: Option<SavedDeadline>,
}

impl CooldownRecord {
    /// Brings the pause back.
    pub fn restore(&self, now: Now, boot: &BootId) -> Cooldown {
        Cooldown {
            rung: self.rung,
            relapse_until: self.relapse_until.as_ref().map(|saved| saved.restore(now, boot)),
            failures: self.failures,
            until: self.until.as_ref().map(|saved| saved.restore(now, boot)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::time::Stamp;
    use super::*;

    const fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    fn ladder() -> Ladder {
        Ladder::new(vec![minutes(5), minutes(10), minutes(20)], minutes(360))
    }

    #[test]
    fn only_failures_climb_and_a_success_closes() {
        let mut pause = Cooldown::default();
        let at = Moment::default();
        assert_eq!((pause.climb(at), pause.climb(at), pause.climb(at)), (0, 1, 2));
        pause.close(&ladder(), minutes(20), at);
        assert!(!pause.is_open());
    }

    #[test]
    fn a_failure_soon_after_the_closing_success_continues_at_the_next_rung() {
        for (minutes_later, rung) in [(19, 1), (20, 0), (500, 0)] {
            let mut pause = Cooldown::default();
            pause.climb(Moment::default());
            pause.close(&ladder(), minutes(20), Moment::default());
            assert_eq!(pause.climb(Moment::default() + minutes(minutes_later)), rung, "{minutes_later} min later");
        }
    }

    #[test]
    fn the_horizon_of_a_relapse_is_drawn_once_by_the_closing_success() {
        let mut pause = Cooldown::default();
        pause.climb(Moment::default());
        pause.close(&ladder(), minutes(20), Moment::default());
        pause.close(&ladder(), minutes(20), Moment::default() + minutes(15));
        assert_eq!(pause.climb(Moment::default() + minutes(25)), 0, "later successes do not extend it");
    }

    #[test]
    fn of_two_pauses_the_longer_wait_is_the_harsher_then_the_higher_rung_then_the_failures() {
        let clear = Cooldown::default();
        let mut failed = clear;
        failed.count();
        let mut climbed = clear;
        climbed.climb(Moment::default());
        let mut waits = clear;
        waits.wait(Deadline::after(Moment::default(), minutes(5)));
        let mut waits_longer = clear;
        waits_longer.wait(Deadline::after(Moment::default(), minutes(6)));
        let rising = [clear, failed, climbed, waits, waits_longer];
        for (n, milder) in rising.iter().enumerate() {
            for harsher in &rising[n + 1..] {
                assert!(harsher.is_harsher_than(milder) && !milder.is_harsher_than(harsher), "{milder:?} {harsher:?}");
            }
        }
    }

    #[test]
    fn a_pause_is_shown_as_clear_then_cooling_then_probing_until_a_success() {
        let now = |minute| Now { moment: Moment::default() + minutes(minute), stamp: Stamp::UNIX_EPOCH };
        let mut pause = Cooldown::default();
        assert_eq!(pause.view(now(0)), GateView { state: GateState::Clear, failures: 0, rung: None, until: None });
        pause.count();
        let rung = pause.climb(Moment::default());
        pause.wait(Deadline::after(Moment::default(), ladder().cooldown(rung)));
        let shown = |pause: &Cooldown, minute| {
            let view = pause.view(now(minute));
            (view.state, view.failures, view.rung, view.until)
        };
        let until = Some(Stamp::from_second(60).unwrap());
        assert_eq!(shown(&pause, 4), (GateState::Cooling, 1, Some(0), until));
        assert_eq!(shown(&pause, 5), (GateState::Probing, 1, Some(0), None));
        pause.close(&ladder(), minutes(20), Moment::default() + minutes(6));
        assert_eq!(shown(&pause, 6), (GateState::Clear, 0, None, None));
    }

    #[test]
    fn a_closed_incident_is_harsher_than_none_because_a_relapse_continues_it() {
        let mut closed = Cooldown::default();
        closed.climb(Moment::default());
        closed.close(&ladder(), minutes(20), Moment::default());
        assert!(closed.is_harsher_than(&Cooldown::default()) && !Cooldown::default().is_harsher_than(&closed));
        let mut open = Cooldown::default();
        open.climb(Moment::default());
        assert!(open.is_harsher_than(&closed) && !closed.is_harsher_than(&open));
    }

    #[test]
    fn a_wait_is_never_shortened_by_another() {
        let mut pause = Cooldown::default();
        pause.wait(Deadline::after(Moment::default(), minutes(20)));
        pause.wait(Deadline::after(Moment::default(), minutes(5)));
        assert_eq!(pause.until().unwrap().length, minutes(20));
    }

    /// One thing that can happen to a pause.
    #[derive(Debug, Clone, Copy)]
    enum Turn {
        Fail(u64),
        Succeed,
        Lift,
        Restart,
    }

    proptest! {
        #[test]
        fn whatever_happens_a_rung_is_taken_by_a_failure_only_and_a_wait_ends_by_itself_a_success_or_a_lift(
            turns in prop::collection::vec((0..100_u64, prop_oneof![
                3 => (0..50_u64).prop_map(Turn::Fail),
                1 => Just(Turn::Succeed),
                1 => Just(Turn::Lift),
                1 => Just(Turn::Restart),
            ]), 1..60),
        ) {
            let (mut pause, mut at) = (Cooldown::default(), Moment::default());
            for (pass, turn) in turns {
                at = at + minutes(pass);
                let before = pause;
                match turn {
                    Turn::Fail(wait) => {
                        let rung = pause.climb(at);
                        prop_assert!(rung == 0 || before.rung == Some(rung - 1), "rungs are taken one by one");
                        prop_assert!(before.open_rung().is_none_or(|open| rung == open + 1), "and never again");
                        pause.wait(Deadline::after(at, minutes(wait)));
                        let until = pause.until().map(|until| until.at);
                        prop_assert!(until >= Some(at + minutes(wait)) && until >= before.until().map(|until| until.at));
                    }
                    Turn::Succeed => {
                        pause.close(&ladder(), minutes(20), at);
                        prop_assert!(!pause.is_open() && pause.admits(at) && pause.failures() == 0);
                    }
                    Turn::Lift => {
                        pause.lift();
                        prop_assert!(pause.admits(at) && pause.open_rung() == before.open_rung());
                    }
                    Turn::Restart => {
                        let now = Now { moment: at, stamp: Stamp::UNIX_EPOCH };
                        let stored = serde_json::to_string(&pause.save(now, &"boot".to_owned())).unwrap();
                        let record: CooldownRecord = serde_json::from_str(&stored).unwrap();
                        pause = record.restore(now, &"boot".to_owned());
                        prop_assert_eq!(pause, before);
                    }
                }
            }
        }
    }
}

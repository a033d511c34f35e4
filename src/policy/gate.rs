//! The rate-limit pause: one gate for the usage endpoint, one for the token endpoint, and the pace.
//!
//! Owns the wait after a 429. Never spends anything to get out sooner; a cooldown is served in full across commands,
//! reloads and restarts, because a server whose window restarts on every refused request (claudebar#8) is only left
//! by a client that really waits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cooldown::{Cooldown, CooldownRecord};
use super::ladder::Ladder;
use super::time::{BootId, Deadline, Dice, Moment, Now, jittered};

/// How a gate waits.
#[derive(Debug, Clone, PartialEq)]
pub struct GateRules {
    /// The rungs.
    pub ladder: Ladder,
    /// What a server may demand at most.
    pub max_retry_after: Duration,
    /// Lengthens every wait by up to this share, on top of any cap.
    pub jitter: f64,
}

/// One endpoint's rate-limit pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gate {
    pause: Cooldown,
    early_probe_spent: bool,
    /// What the server demanded in its last refusal, for the reason shown.
    demanded: Option<Duration>,
}

impl Gate {
    /// A gate of which nothing is known for sure: cooling on the first rung.
    pub fn cautious(rules: &GateRules, now: Moment, dice: &mut dyn Dice) -> Self {
        let mut gate = Self::default();
        gate.take_rung(Duration::ZERO, rules, now, dice);
        gate
    }

    /// Takes a refusal: the next rung or the server's demand, whichever is longer. A deadline that already stands is
    /// never shortened.
    pub fn refuse(&mut self, demand: Option<Duration>, rules: &GateRules, now: Moment, dice: &mut dyn Dice) {
        self.pause.count();
        self.demanded = demand.map(|wait| wait.min(rules.max_retry_after));
        self.take_rung(self.demanded.unwrap_or_default(), rules, now, dice);
    }

    /// Serves a demand that came without a refusal (503 with `Retry-After`): no rung, no incident.
    pub fn hold(&mut self, demand: Duration, rules: &GateRules, now: Moment, dice: &mut dyn Dice) {
        let wait = jittered(demand.min(rules.max_retry_after), rules.jitter, dice);
        self.pause.wait(Deadline::after(now, wait));
    }

    fn take_rung(&mut self, at_least: Duration, rules: &GateRules, now: Moment, dice: &mut dyn Dice) {
        let rung = self.pause.climb(now);
        let wait = rules.ladder.cooldown(rung).max(at_least);
        self.pause.wait(Deadline::after(now, jittered(wait, rules.jitter, dice)));
    }

    /// Takes a success: closes the incident. Returns whether there was one.
    pub fn succeed(&mut self, rules: &GateRules, two_intervals: Duration, now: Moment) -> bool {
        let was_open = self.pause.is_open();
        self.pause.close(&rules.ladder, two_intervals, now);
        *self = Self { pause: self.pause, ..Self::default() };
        was_open
    }

    /// Spends the one early probe of the open incident, if there is one left.
    pub fn spend_early_probe(&mut self) -> bool {
        let granted = self.pause.is_open() && !self.early_probe_spent;
        self.early_probe_spent |= granted;
        granted
    }

    /// The incident and its wait.
    pub fn pause(&self) -> &Cooldown {
        &self.pause
    }

    /// What the server demanded in its last refusal.
    pub fn demanded(&self) -> Option<Duration> {
        self.demanded
    }

    /// Of two gates for the same endpoint, the one that waits longer.
    pub fn harsher(self, other: Self) -> Self {
        if other.pause.is_harsher_than(&self.pause) { other } else { self }
    }

    /// The form that survives a restart.
    pub fn save(&self, now: Now, boot: &BootId) -> GateRecord {
        GateRecord {
            pause: self.pause.save(now, boot),
            early_probe_spent: self.early_probe_spent,
            demanded: self.demanded,
        }
    }
}

/// A [`Gate`] as `state.db` keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GateRecord {
    pause: CooldownRecord,
    early_probe_spent: bool,
    demanded: Option<Duration>,
}

impl GateRecord {
    /// Brings the gate back.
    pub fn restore(&self, now: Now, boot: &BootId) -> Gate {
        Gate {
            pause: self.pause.restore(now, boot),
            early_probe_spent: self.early_probe_spent,
            demanded: self.demanded,
        }
    }
}

/// What throttling taught about the pace: how much longer than configured the interval is.
///
/// Each incident doubles the interval once, to at most four times the configured one; every success takes a tenth
/// of the excess away. The idea is NTP's kiss-o'-death: "slow down" changes the rate, not only the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pace {
    excess: Duration,
}

impl Pace {
    /// The interval in force.
    pub fn interval(self, configured: Duration) -> Duration {
        configured + self.excess.min(configured * 3)
    }

    /// A new incident: twice the interval in force, at most four times the configured one.
    pub fn slow_down(&mut self, configured: Duration) {
        let doubled = self.interval(configured) * 2;
        self.excess = doubled.min(configured * 4).saturating_sub(configured);
    }

    /// A success: a tenth of the excess goes, and what is below a hundredth of the interval goes with it.
    pub fn recover(&mut self, configured: Duration) {
        // Of what is in force: a longer interval may have been configured when the excess came about.
        self.excess = self.excess.min(configured * 3);
        self.excess -= self.excess / 10;
        if self.excess < configured / 100 {
            self.excess = Duration::ZERO;
        }
    }

    /// The slower of two.
    pub fn slower(self, other: Self) -> Self {
        Self { excess: self.excess.max(other.excess) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::time::Loaded;
    use super::*;

    const fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    fn rules() -> GateRules {
        GateRules {
            ladder: Ladder::new(vec![minutes(5), minutes(10), minutes(20)], minutes(360)),
            max_retry_after: minutes(24 * 60),
            jitter: 0.0,
        }
    }

    fn at(n: u64) -> Moment {
        Moment::default() + minutes(n)
    }

    fn refuse(gate: &mut Gate, demand: Option<u64>, now: u64) {
        gate.refuse(demand.map(minutes), &rules(), at(now), &mut Loaded(0.0));
    }

    #[test]
    fn refusals_climb_and_the_passing_of_a_deadline_grants_a_probe_and_nothing_else() {
        let mut gate = Gate::default();
        let mut now = 0;
        for (rung, wait) in [(0, 5), (1, 10), (2, 20), (3, 40)] {
            refuse(&mut gate, None, now);
            assert_eq!(gate.pause.open_rung(), Some(rung));
            assert!(!gate.pause.admits(at(now + wait) - Duration::from_millis(1)));
            assert!(gate.pause.admits(at(now + wait)), "rung {rung} lasts {wait} minutes");
            now += wait + 1000;
            assert!(gate.pause.is_open(), "however long ago it passed");
        }
    }

    #[test]
    fn the_longer_of_rung_and_demand_is_waited_and_a_demand_is_clamped() {
        for (demand, wait) in [(None, 5), (Some(3), 5), (Some(16), 16), (Some(99_999), 24 * 60)] {
            let mut gate = Gate::default();
            refuse(&mut gate, demand, 0);
            assert_eq!(gate.pause.until().unwrap().at, at(wait), "{demand:?}");
        }
    }

    #[test]
    fn jitter_stands_on_top_of_every_cap() {
        let mut gate = Gate::default();
        let rules = GateRules { jitter: 0.1, ..rules() };
        gate.refuse(Some(minutes(99_999)), &rules, at(0), &mut Loaded(1.0));
        assert_eq!(gate.pause.until().unwrap().at, at(24 * 66));
    }

    #[test]
    fn a_refused_early_probe_leaves_the_later_deadline_and_there_is_one_per_incident() {
        let mut gate = Gate::default();
        assert!(!gate.spend_early_probe(), "no incident, nothing to probe early");
        refuse(&mut gate, Some(600), 0);
        assert!(gate.spend_early_probe());
        refuse(&mut gate, None, 1);
        assert_eq!(gate.pause.until().unwrap().at, at(600));
        assert!(!gate.spend_early_probe());
        gate.succeed(&rules(), minutes(20), at(700));
        refuse(&mut gate, None, 900);
        assert!(gate.spend_early_probe(), "a new incident has its own");
    }

    #[test]
    fn a_success_keeps_what_a_relapse_needs_and_forgets_what_the_server_demanded() {
        let mut gate = Gate::default();
        refuse(&mut gate, Some(16), 0);
        assert_eq!(gate.demanded(), Some(minutes(16)));
        assert!(gate.succeed(&rules(), minutes(20), at(16)), "it was open");
        assert!(!gate.succeed(&rules(), minutes(20), at(17)), "and is no more");
        assert_eq!(gate.demanded(), None);
        refuse(&mut gate, None, 18);
        assert_eq!(gate.pause.open_rung(), Some(1), "soon after the success the incident goes on");
    }

    #[test]
    fn of_two_gates_for_one_endpoint_the_longer_wait_counts_whichever_is_asked() {
        let (mut short, mut long) = (Gate::default(), Gate::default());
        refuse(&mut short, None, 0);
        refuse(&mut long, Some(600), 0);
        assert_eq!((short.harsher(long), long.harsher(short)), (long, long));
    }

    #[test]
    fn a_gate_that_was_stored_and_restored_is_the_same_gate() {
        let now = Now { moment: at(1), stamp: Stamp::from_second(1_800_000_000).unwrap() };
        let boot = "boot".to_owned();
        let mut gate = Gate::default();
        refuse(&mut gate, Some(7), 1);
        assert_eq!(gate.save(now, &boot).restore(now, &boot), gate);
        gate.succeed(&rules(), minutes(20), at(9));
        assert_eq!(gate.save(now, &boot).restore(now, &boot), gate);
    }

    #[test]
    fn an_unknown_past_starts_on_the_first_rung() {
        let gate = Gate::cautious(&rules(), at(0), &mut Loaded(0.0));
        assert_eq!(gate.pause.until().unwrap().at, at(5));
        assert_eq!(gate.pause.open_rung(), Some(0));
    }

    #[test]
    fn incidents_double_the_pace_to_four_times_and_successes_take_tenths_away() {
        let mut pace = Pace::default();
        let mut seen = Vec::new();
        for _ in 0..3 {
            pace.slow_down(minutes(10));
            seen.push(pace.interval(minutes(10)).as_secs() / 60);
        }
        assert_eq!(seen, [20, 40, 40]);
        pace.recover(minutes(10));
        assert_eq!(pace.interval(minutes(10)), minutes(37));
        for _ in 0..60 {
            pace.recover(minutes(10));
        }
        assert_eq!(pace, Pace::default());
    }

    #[test]
    fn an_excess_of_a_hundredth_still_counts_and_one_below_goes() {
        let (configured, hundredth) = (Duration::from_secs(1000), Duration::from_secs(10));
        let mut pace = Pace { excess: Duration::from_nanos(11_111_111_111) };
        pace.recover(configured);
        assert_eq!(pace.interval(configured), configured + hundredth);
        pace.recover(configured);
        assert_eq!(pace.interval(configured), configured);
    }

    #[test]
    fn a_success_takes_a_tenth_of_what_is_in_force_after_the_interval_was_shortened() {
        let mut pace = Pace::default();
        pace.slow_down(minutes(45));
        assert_eq!(pace.interval(minutes(6)), minutes(24));
        pace.recover(minutes(6));
        assert_eq!(pace.interval(minutes(6)), Duration::from_secs(22 * 60 + 12));
    }

    use super::super::time::Stamp;

    proptest! {
        #[test]
        fn every_demand_is_served_in_full_up_to_the_cap_and_jitter_only_lengthens(
            refusals in prop::collection::vec((0..2000_u64, prop::option::of(0..3000_u64)), 1..12),
            dice in 0.0..1.0,
        ) {
            let rules = GateRules { jitter: 0.1, ..rules() };
            let (mut gate, mut now, mut until, mut longest) = (Gate::default(), at(0), at(0), at(0));
            for (pass, demand) in refusals {
                now = now + minutes(pass);
                gate.refuse(demand.map(minutes), &rules, now, &mut Loaded(dice));
                let asked = minutes(demand.unwrap_or(0)).min(rules.max_retry_after);
                let rung = rules.ladder.cooldown(gate.pause.open_rung().unwrap());
                let stood = std::mem::replace(&mut until, gate.pause.until().unwrap().at);
                prop_assert!(until >= now + asked.max(rung) && until >= stood, "shorter than what was asked");
                longest = longest.max(now + asked.max(rung).mul_f64(1.1) + Duration::from_millis(1));
                prop_assert!(until <= longest, "longer than the longest draw");
            }
        }

        #[test]
        fn the_pace_stays_between_the_configured_interval_and_four_times_it(
            turns in prop::collection::vec((any::<bool>(), 1..100_000_u64), 1..60),
        ) {
            let mut pace = Pace::default();
            for (refused, seconds) in turns {
                let configured = Duration::from_secs(seconds);
                let before = pace.interval(configured);
                if refused { pace.slow_down(configured) } else { pace.recover(configured) }
                let after = pace.interval(configured);
                prop_assert!(after >= configured && after <= configured * 4);
                let (least, most) = if refused { (before, configured * 4) } else { (configured, before) };
                prop_assert!(least <= after && after <= most, "{:?} after {:?}", after, before);
            }
        }
    }
}

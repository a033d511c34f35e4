//! The auth pause: what rejected tokens lead to.
//!
//! Owns the count of rejections in a row and the pause that follows the third. Separate from the rate-limit gates:
//! a 429 says nothing about a login, a 401 nothing about the rate. Never decides that a login is dead; that is a
//! verdict about one fingerprint ([`super::refresh::Mark`]). Other errors neither count nor reset.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cooldown::{Cooldown, CooldownRecord};
use super::ladder::Ladder;
use super::time::{BootId, Deadline, Dice, Moment, Now, SavedDeadline, jittered};

/// How the auth pause waits.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthRules {
    /// Rejections in a row before the gate closes; at least 1.
    pub after: u32,
    /// The rungs.
    pub ladder: Ladder,
    /// Lengthens every wait by up to this share.
    pub jitter: f64,
}

/// One credential file's auth pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuthPause {
    pause: Cooldown,
    /// When the current run of rejections began.
    began: Option<Deadline>,
    /// A refresh has been sent since the last rung was taken: a probe may spend one, no more.
    refresh_spent: bool,
}

impl AuthPause {
    /// A pause of which nothing is known for sure: cooling on the first rung.
    pub fn cautious(rules: &AuthRules, now: Moment, dice: &mut dyn Dice) -> Self {
        let mut pause = Self::default();
        pause.take_rung(rules, now, dice);
        pause
    }

    /// Counts a rejection: the file still holds the token, and it had not expired. Does not yet wait: see
    /// [`Self::settle`].
    pub fn reject(&mut self, now: Moment) {
        self.pause.count();
        self.began.get_or_insert(Deadline::after(now, Duration::ZERO));
    }

    /// Takes the next rung if a rejection leaves nothing more to try: always inside an incident, else from the
    /// `after`th rejection in a row on. Returns whether the gate closed.
    pub fn settle(&mut self, rules: &AuthRules, now: Moment, dice: &mut dyn Dice) -> bool {
        let closes = self.pause.is_open() || self.pause.failures() >= rules.after;
        if closes {
            self.take_rung(rules, now, dice);
        }
        closes
    }

    fn take_rung(&mut self, rules: &AuthRules, now: Moment, dice: &mut dyn Dice) {
        let rung = self.pause.climb(self.began.map_or(now, |began| began.at));
        let wait = jittered(rules.ladder.cooldown(rung), rules.jitter, dice);
        self.pause.wait(Deadline::after(now, wait));
        self.refresh_spent = false;
    }

    /// A token was accepted: the run ends and the incident closes. Returns whether there was one.
    pub fn succeed(&mut self, rules: &AuthRules, two_intervals: Duration, now: Moment) -> bool {
        let was_open = self.pause.is_open();
        self.pause.close(&rules.ladder, two_intervals, now);
        *self = Self { pause: self.pause, ..Self::default() };
        was_open
    }

    /// A new token or a person lifts the pause: the next request is the probe, and its rejection may be answered with
    /// a refresh. The ladder stays where it is.
    pub fn lift(&mut self) {
        self.pause.lift();
        self.refresh_spent = false;
    }

    /// Whether a rejection may be answered with a refresh: the first rejection of a token that quotad did not mint,
    /// or a refused probe, once per rung.
    pub fn may_refresh(&self, minted_by_quotad: bool) -> bool {
        !self.refresh_spent && (!minted_by_quotad || self.pause.is_open())
    }

    /// A refresh answers the rejection.
    pub fn spend_refresh(&mut self) {
        self.refresh_spent = true;
    }

    /// The refresh never reached the server: it is not spent after all.
    pub fn return_refresh(&mut self) {
        self.refresh_spent = false;
    }

    /// The incident and its wait.
    pub fn pause(&self) -> &Cooldown {
        &self.pause
    }

    /// The form that survives a restart.
    pub fn save(&self, now: Now, boot: &BootId) -> AuthRecord {
        AuthRecord {
            pause: self.pause.save(now, boot),
            began: self.began.map(|began| began.save(now, boot)),
            refresh_spent: self.refresh_spent,
        }
    }
}

/// An [`AuthPause`] as `state.db` keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthRecord {
    pause: CooldownRecord,
    began: Option<SavedDeadline>,
    refresh_spent: bool,
}

impl AuthRecord {
    /// Brings the pause back.
    pub fn restore(&self, now: Now, boot: &BootId) -> AuthPause {
        AuthPause {
            pause: self.pause.restore(now, boot),
            began: self.began.as_ref().map(|began| began.restore(now, boot)),
            refresh_spent: self.refresh_spent,
        }
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

    fn rules() -> AuthRules {
        AuthRules {
            after: 3,
            ladder: Ladder::new(vec![minutes(5), minutes(10), minutes(20)], minutes(360)),
            jitter: 0.0,
        }
    }

    fn at(n: u64) -> Moment {
        Moment::default() + minutes(n)
    }

    fn rejected(pause: &mut AuthPause, now: u64) -> bool {
        pause.reject(at(now));
        pause.settle(&rules(), at(now), &mut Loaded(0.0))
    }

    #[test]
    fn the_third_rejection_in_a_row_closes_the_gate_and_each_refused_probe_takes_a_rung() {
        let mut pause = AuthPause::default();
        assert!(!rejected(&mut pause, 0));
        assert!(!rejected(&mut pause, 10));
        assert!(rejected(&mut pause, 20));
        assert_eq!(pause.pause.until().unwrap().at, at(25));
        assert!(rejected(&mut pause, 25));
        assert_eq!(pause.pause.until().unwrap().at, at(35));
        assert!(rejected(&mut pause, 35));
        assert_eq!(pause.pause.until().unwrap().at, at(55));
    }

    #[test]
    fn a_success_between_rejections_starts_the_count_again() {
        let mut pause = AuthPause::default();
        rejected(&mut pause, 0);
        rejected(&mut pause, 10);
        pause.succeed(&rules(), minutes(20), at(20));
        assert!(!rejected(&mut pause, 30));
        assert_eq!(pause.pause.failures(), 1);
    }

    #[test]
    fn a_run_that_begins_soon_after_the_closing_success_goes_on_at_the_next_rung() {
        for (first, expected) in [(30, 10), (500, 5)] {
            let mut pause = AuthPause::default();
            for now in [0, 10, 20] {
                rejected(&mut pause, now);
            }
            pause.succeed(&rules(), minutes(20), at(25));
            for now in [first, first + 10, first + 20] {
                rejected(&mut pause, now);
            }
            assert_eq!(pause.pause.until().unwrap().length, minutes(expected), "run began at {first}");
        }
    }

    #[test]
    fn the_first_rejection_earns_a_refresh_a_minted_token_only_a_probe_one_per_rung() {
        let mut pause = AuthPause::default();
        pause.reject(at(0));
        assert!(pause.may_refresh(false));
        assert!(!pause.may_refresh(true), "what quotad minted is not minted again at once");
        pause.spend_refresh();
        assert!(!pause.may_refresh(false), "one, not one per token");
        for now in [0, 10] {
            rejected(&mut pause, now);
        }
        assert!(pause.pause.is_open() && pause.may_refresh(true));
        pause.spend_refresh();
        assert!(!pause.may_refresh(true));
        rejected(&mut pause, 25);
        assert!(pause.may_refresh(true), "the next rung grants the next");
    }

    #[test]
    fn a_new_token_lifts_the_pause_but_not_the_ladder() {
        let mut pause = AuthPause::default();
        for now in [0, 10, 20] {
            rejected(&mut pause, now);
        }
        pause.lift();
        assert!(pause.pause.admits(at(20)));
        assert!(rejected(&mut pause, 21));
        assert_eq!(pause.pause.until().unwrap().length, minutes(10));
    }

    proptest! {
        #[test]
        fn the_gate_closes_at_the_after_th_rejection_in_a_row_and_at_each_one_then_and_at_no_other(
            after in 1..8_u32,
            answers in prop::collection::vec(any::<bool>(), 1..60),
        ) {
            let rules = AuthRules { after, ..rules() };
            let (mut pause, mut row) = (AuthPause::default(), 0);
            for (n, accepted) in answers.into_iter().enumerate() {
                let now = at(1000 * n as u64);
                if accepted {
                    pause.succeed(&rules, minutes(20), now);
                    row = 0;
                    prop_assert!(pause.pause.admits(now) && !pause.pause.is_open());
                    continue;
                }
                row += 1;
                pause.reject(now);
                let closed = pause.settle(&rules, now, &mut Loaded(0.0));
                prop_assert_eq!(closed, row >= after);
                prop_assert_eq!(pause.pause.admits(now), !closed);
                prop_assert_eq!(pause.pause.failures(), row);
            }
        }

        #[test]
        fn a_run_of_rejections_earns_one_refresh_before_the_gate_closes_and_one_a_rung_after_it(
            rejections in 1..20_usize,
            minted: bool,
        ) {
            let mut pause = AuthPause::default();
            let (mut refreshes, mut rungs) = (0, 0);
            for n in 0..rejections {
                pause.reject(at(1000 * n as u64));
                while pause.may_refresh(minted) {
                    pause.spend_refresh();
                    refreshes += 1;
                }
                rungs += u32::from(pause.settle(&rules(), at(1000 * n as u64), &mut Loaded(0.0)));
            }
            prop_assert!(refreshes <= rungs + u32::from(!minted), "{refreshes} refreshes and {rungs} rungs");
        }
    }
}

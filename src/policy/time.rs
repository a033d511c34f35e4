//! The only way time and chance enter the core.
//!
//! A [`Moment`] counts suspend and never steps, so every wait is measured in it. A [`Stamp`] is the wall clock: it
//! is for people, for what vendors write, and for surviving a reboot. Nothing here reads a clock.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Wall-clock time.
pub type Stamp = jiff::Timestamp;

/// A point on the boot clock (`CLOCK_BOOTTIME`), in milliseconds; suspend counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// A moment `millis` after boot.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since boot.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Saturates at the end of time; sub-millisecond parts are rounded up, so that no wait is ever shortened.
    fn add(self, wait: Duration) -> Self {
        let millis = wait.as_nanos().div_ceil(1_000_000);
        Self(self.0.saturating_add(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    /// Saturates at boot.
    fn sub(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// One reading of both clocks, taken together by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The boot clock.
    pub moment: Moment,
    /// The wall clock.
    pub stamp: Stamp,
}

impl Now {
    /// The wall time at `moment`, seen from here.
    pub fn stamp_at(self, moment: Moment) -> Stamp {
        let shifted = if moment >= self.moment {
            self.stamp.checked_add(moment.since(self.moment))
        } else {
            self.stamp.checked_sub(self.moment.since(moment))
        };
        shifted.unwrap_or(if moment >= self.moment { Stamp::MAX } else { Stamp::MIN })
    }

    /// Time from now until the wall clock shows `stamp`; zero once it has.
    pub fn until(self, stamp: Stamp) -> Duration {
        Duration::try_from(stamp.duration_since(self.stamp)).unwrap_or(Duration::ZERO)
    }

    /// Time since the wall clock showed `stamp`; zero if it has not yet.
    pub fn since(self, stamp: Stamp) -> Duration {
        Duration::try_from(self.stamp.duration_since(stamp)).unwrap_or(Duration::ZERO)
    }
}

/// Chance, as an argument.
pub trait Dice {
    /// A number in `[0, 1)`.
    fn roll(&mut self) -> f64;
}

/// Dice that always show the same number: for tests, and for waits that must not vary.
#[derive(Debug, Clone, Copy)]
pub struct Loaded(pub f64);

impl Dice for Loaded {
    fn roll(&mut self) -> f64 {
        self.0
    }
}

/// `wait` lengthened by up to `jitter` of itself. Jitter only ever lengthens, and stands on top of any cap.
pub fn jittered(wait: Duration, jitter: f64, dice: &mut dyn Dice) -> Duration {
    wait + wait.mul_f64(jitter.clamp(0.0, 1.0) * dice.roll())
}

/// Identifies one boot of one machine: boot-clock moments of different boots do not compare.
pub type BootId = String;

/// The end of a wait, drawn once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When it passes.
    pub at: Moment,
    /// How long the wait was when it was drawn.
    pub length: Duration,
}

impl Deadline {
    /// A deadline `length` from `from`.
    pub fn after(from: Moment, length: Duration) -> Self {
        Self { at: from + length, length }
    }

    /// Whether it has passed.
    pub fn passed(self, now: Moment) -> bool {
        now >= self.at
    }

    /// The later of two.
    pub fn later(self, other: Self) -> Self {
        if other.at > self.at { other } else { self }
    }

    /// The form that survives a restart.
    pub fn save(self, now: Now, boot: &BootId) -> SavedDeadline {
        SavedDeadline {
            boot: boot.clone(),
            boottime_ms: self.at.as_millis(),
            wall: now.stamp_at(self.at),
            length_ms: u64::try_from(self.length.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// A [`Deadline`] as `state.db` keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedDeadline {
    boot: BootId,
    boottime_ms: u64,
    wall: Stamp,
    length_ms: u64,
}

impl SavedDeadline {
    /// Brings the deadline back. On the same boot the boot clock decides, whatever the wall clock did meanwhile; on
    /// another, what remains by the wall clock, never less than nothing and never more than the wait ever was.
    pub fn restore(&self, now: Now, boot: &BootId) -> Deadline {
        let length = Duration::from_millis(self.length_ms);
        if self.boot == *boot {
            return Deadline { at: Moment::from_millis(self.boottime_ms), length };
        }
        Deadline { at: now.moment + now.until(self.wall).min(length), length }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    fn now(millis: u64, wall_s: i64) -> Now {
        Now { moment: Moment::from_millis(millis), stamp: Stamp::from_second(wall_s).unwrap() }
    }

    #[test]
    fn on_the_same_boot_a_wall_step_changes_no_deadline() {
        let boot = "a".to_owned();
        let saved = Deadline::after(Moment::from_millis(1_000), minutes(20)).save(now(1_000, 1_000_000), &boot);
        for wall in [0, 999_000, 1_000_000, 2_000_000] {
            assert_eq!(saved.restore(now(5_000, wall), &boot).at, Moment::from_millis(1_201_000));
        }
    }

    #[test]
    fn on_another_boot_the_wall_clock_decides_but_never_lengthens_the_wait() {
        let saved = Deadline::after(Moment::from_millis(0), minutes(20)).save(now(0, 1_000_000), &"a".to_owned());
        let restored = |wall| saved.restore(now(0, wall), &"b".to_owned()).at;
        assert_eq!(restored(1_000_600), Moment::default() + minutes(10), "half of it is left");
        assert_eq!(restored(2_000_000), Moment::default(), "it has passed");
        assert_eq!(restored(500_000), Moment::default() + minutes(20), "a clock set back lengthens nothing");
    }

    #[test]
    fn jitter_only_ever_lengthens() {
        assert_eq!(jittered(minutes(10), 0.1, &mut Loaded(0.0)), minutes(10));
        assert_eq!(jittered(minutes(10), 0.1, &mut Loaded(1.0)), minutes(11));
    }

    #[test]
    fn wall_times_before_and_after_now_are_told_from_it() {
        let now = now(10_000, 1_000_000);
        let wall = |second| Stamp::from_second(second).unwrap();
        for (millis, second) in [(4_000, 999_994), (10_000, 1_000_000), (13_000, 1_000_003)] {
            assert_eq!(now.stamp_at(Moment::from_millis(millis)), wall(second));
        }
        assert_eq!(now.stamp_at(Moment::from_millis(u64::MAX)), Stamp::MAX, "the end of time is shown as such");
        for (second, until, since) in [(999_990, 0, 10), (1_000_000, 0, 0), (1_000_007, 7, 0)] {
            assert_eq!(now.until(wall(second)), Duration::from_secs(until));
            assert_eq!(now.since(wall(second)), Duration::from_secs(since));
        }
    }

    #[test]
    fn fractions_of_a_millisecond_are_waited_in_full() {
        assert_eq!(Moment::default() + Duration::from_nanos(1), Moment::from_millis(1));
    }

    proptest! {
        #[test]
        fn a_stored_wait_is_never_lengthened_and_on_the_same_boot_never_touched(
            drawn_at in 0..10_000_000_000_u64,
            length in 0..10_000_000_000_u64,
            wall in -10_000_000_000..10_000_000_000_i64,
            later in 0..20_000_000_000_u64,
            step in -20_000_000..20_000_000_i64,
        ) {
            let drawn = Deadline::after(Moment::from_millis(drawn_at), Duration::from_millis(length));
            let saved = drawn.save(now(drawn_at, wall), &"a".to_owned());
            let saved: SavedDeadline = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
            let restart = now(drawn_at + later, wall + later.cast_signed() / 1000 + step);
            prop_assert_eq!(saved.restore(restart, &"a".to_owned()), drawn, "whatever the wall clock did");

            let reboot = now(7, wall + later.cast_signed() / 1000 + step);
            let restored = saved.restore(reboot, &"b".to_owned());
            prop_assert_eq!(restored.length, drawn.length);
            prop_assert!(restored.at >= reboot.moment && restored.at <= reboot.moment + drawn.length);
            if step == 0 {
                let left = Duration::from_millis(length.saturating_sub(later));
                prop_assert!(restored.at.since(reboot.moment).abs_diff(left) <= Duration::from_secs(1), "what was left");
            }
        }

        #[test]
        fn no_wait_is_ever_cut_short(millis in any::<u64>(), nanos in any::<u64>(), jitter in -1.0..3.0, dice in 0.0..1.0) {
            let (from, wait) = (Moment::from_millis(millis), Duration::from_nanos(nanos));
            prop_assert!(from + wait >= from);
            prop_assert!((from + wait).since(from) >= wait || from + wait == Moment::from_millis(u64::MAX));
            let lengthened = jittered(wait, jitter, &mut Loaded(dice));
            prop_assert!(lengthened >= wait && lengthened <= wait * 2);
        }
    }
}

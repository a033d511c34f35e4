//! The rungs of a cooldown: 5, 10, 20 minutes, then doubling to a cap.
//!
//! Owns the arithmetic. Where an incident stands on it is [`super::cooldown`]'s.

use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    #[test]
    fn rungs_are_5_10_20_minutes_then_double_to_the_cap() {
        let ladder = Ladder::new(vec![minutes(5), minutes(10), minutes(20)], minutes(360));
        let waits: Vec<u64> = (0..9).map(|rung| ladder.cooldown(rung).as_secs() / 60).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 360, 360]);
        assert_eq!(ladder.cooldown(u32::MAX), minutes(360));
    }

    proptest! {
        #[test]
        fn every_ladder_climbs_as_it_is_written_then_doubles_and_never_passes_its_cap(
            mut cooldowns in prop::collection::vec(1..100_000_u64, 1..6),
            above in 0..1_000_000_u64,
            rung in any::<u32>(),
        ) {
            cooldowns.sort_unstable();
            let last = Duration::from_secs(cooldowns[cooldowns.len() - 1]);
            let max = last + Duration::from_secs(above);
            let rungs = cooldowns.len();
            let ladder = Ladder::new(cooldowns.iter().map(|s| Duration::from_secs(*s)).collect(), max);
            for (n, seconds) in cooldowns.into_iter().enumerate() {
                prop_assert_eq!(ladder.cooldown(n as u32).as_secs(), seconds);
            }
            for n in rungs as u32..rungs as u32 + 50 {
                prop_assert_eq!(ladder.cooldown(n), (ladder.cooldown(n - 1) * 2).min(max));
            }
            prop_assert!(ladder.cooldown(rung) <= max && ladder.cooldown(rung) <= ladder.cooldown(rung.saturating_add(1)));
        }
    }
}

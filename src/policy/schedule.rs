//! All deadlines: what is due, and when to wake next.
//!
//! Owns the merging of nearby wake-ups: an entry may be served anywhere between its moment and its moment plus its
//! slack, and the next wake-up is the latest one that is still in time for the most urgent entry; everything due by
//! then rides along. Never holds two deadlines for one key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::time::Moment;

/// Deadlines by key.
#[derive(Debug, Clone)]
pub struct Schedule<K> {
    entries: BTreeMap<K, (Moment, Moment)>,
    /// By the moment from which an entry may be served.
    due: BTreeSet<(Moment, K)>,
    /// By the moment by which it must be.
    limits: BTreeSet<(Moment, K)>,
}

impl<K: Ord + Clone> Schedule<K> {
    /// No deadlines.
    pub fn new() -> Self {
        Self { entries: BTreeMap::new(), due: BTreeSet::new(), limits: BTreeSet::new() }
    }

    /// Sets the deadline of `key`, in place of the one it had; `None` takes it away.
    pub fn set(&mut self, key: &K, at: Option<Moment>, slack: Duration) {
        if let Some((due, limit)) = self.entries.remove(key) {
            self.due.remove(&(due, key.clone()));
            self.limits.remove(&(limit, key.clone()));
        }
        if let Some(at) = at {
            let limit = at + slack;
            self.entries.insert(key.clone(), (at, limit));
            self.due.insert((at, key.clone()));
            self.limits.insert((limit, key.clone()));
        }
    }

    /// Whether `key` has a deadline.
    pub fn is_set(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Takes out every key that may be served at `now`, the longest due first.
    pub fn take_due(&mut self, now: Moment) -> Vec<K> {
        let served: Vec<K> = self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| key.clone()).collect();
        for key in &served {
            self.set(key, None, Duration::ZERO);
        }
        served
    }

    /// When to wake; `None` when there is nothing to wake for.
    pub fn next_wake(&self) -> Option<Moment> {
        self.limits.first().map(|(limit, _)| *limit)
    }
}

impl<K: Ord + Clone> Default for Schedule<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn s(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn at(n: u64) -> Moment {
        Moment::default() + s(n)
    }

    #[test]
    fn one_wake_up_serves_everything_whose_slack_reaches_it() {
        let mut schedule = Schedule::new();
        schedule.set(&"watchdog", Some(at(30)), s(60));
        schedule.set(&"poll", Some(at(70)), s(0));
        schedule.set(&"look", Some(at(65)), s(30));
        assert_eq!(schedule.next_wake(), Some(at(70)));
        assert_eq!(schedule.take_due(at(70)), ["watchdog", "look", "poll"]);
        assert_eq!(schedule.next_wake(), None);
    }

    #[test]
    fn a_new_deadline_replaces_the_old_one_in_both_directions() {
        let mut schedule = Schedule::new();
        schedule.set(&1, Some(at(10)), s(0));
        schedule.set(&1, Some(at(99)), s(0));
        assert_eq!(schedule.take_due(at(50)), Vec::<i32>::new());
        schedule.set(&1, Some(at(20)), s(0));
        assert_eq!(schedule.take_due(at(50)), [1]);
    }

    #[test]
    fn nothing_is_served_before_its_time() {
        let mut schedule = Schedule::new();
        schedule.set(&1, Some(at(10)), s(5));
        assert_eq!(schedule.take_due(at(10) - Duration::from_millis(1)), Vec::<i32>::new());
        assert_eq!(schedule.next_wake(), Some(at(15)));
    }

    proptest! {
        #[test]
        fn every_key_is_served_once_not_before_its_time_and_not_after_its_slack(
            entries in prop::collection::vec((0..10_u8, 0..1000_u64, 0..300_u64), 1..30),
        ) {
            let mut schedule = Schedule::new();
            let mut wanted = BTreeMap::new();
            for (key, due, slack) in entries {
                schedule.set(&key, Some(at(due)), s(slack));
                wanted.insert(key, (at(due), at(due) + s(slack)));
            }
            while let Some(wake) = schedule.next_wake() {
                let served = schedule.take_due(wake);
                prop_assert!(!served.is_empty(), "a wake-up for nothing");
                for key in served {
                    let (due, limit) = wanted.remove(&key).expect("served once");
                    prop_assert!(due <= wake && wake <= limit, "{key}: due {due:?}, served {wake:?}, limit {limit:?}");
                }
                prop_assert!(wanted.values().all(|(due, _)| *due > wake), "what is due rides along");
            }
            prop_assert!(wanted.is_empty(), "never served: {wanted:?}");
        }
    }
}

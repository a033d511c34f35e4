//! What each window was at, for the sparklines.
//!
//! Owns the points, in the order of their time, whoever brings them. Invents none: between two readings there is nothing.

use std::collections::BTreeMap;

use crate::control::wire::Status;
use crate::policy::time::Stamp;

/// Points kept per window.
const MOST: usize = 64;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The points of every window, by account and id.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<(String, String), BTreeMap<Stamp, f64>>);

impl Seen {
    /// Takes in what a status says.
    pub(super) fn take(&mut self, status: &Status) {
        for account in &status.accounts {
            for window in &account.windows {
                let at = window.read_at.or(account.read_at);
                if let (Some(at), Some(used)) = (at, window.used_percent) {
                    self.add(&account.name, &window.id, at, used);
                }
            }
        }
    }

    /// One point, which may be older than those that are known.
    pub(super) fn add(&mut self, account: &str, window: &str, at: Stamp, used: f64) {
        let points = self.0.entry((account.to_owned(), window.to_owned())).or_default();
        points.insert(at, used);
        while points.len() > MOST {
            points.pop_first();
        }
    }

    /// The last points of a window, a character each, the newest last; empty where fewer than two are known, since one
    /// point is no course.
    pub(super) fn spark(&self, account: &str, window: &str, cells: usize) -> String {
        let points = self.0.get(&(account.to_owned(), window.to_owned()));
        let Some(points) = points.filter(|points| points.len() > 1) else { return String::new() };
        let level = |used: &f64| LEVELS[((used / 100.0 * LEVELS.len() as f64) as usize).min(LEVELS.len() - 1)];
        points.values().skip(points.len().saturating_sub(cells)).map(level).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::sample;

    #[test]
    fn a_sparkline_shows_the_last_points_in_the_order_of_their_time() {
        let mut seen = Seen::default();
        let at = |minute: i64| Stamp::from_second(1_800_000_000 + 60 * minute).unwrap();
        seen.add("a", "w", at(3), 50.0);
        assert_eq!(seen.spark("a", "w", 8), "", "one point is no course");
        for (minute, used) in [(1, 0.0), (2, 13.0), (4, 99.0), (5, 100.0), (6, 130.0), (7, -1.0), (7, 24.0)] {
            seen.add("a", "w", at(minute), used);
        }
        assert_eq!(seen.spark("a", "w", 8), "▁▂▅███▂");
        assert_eq!(seen.spark("a", "w", 2), "█▂");
        assert_eq!(seen.spark("b", "w", 8), "");
    }

    #[test]
    fn the_same_reading_seen_twice_is_one_point_and_old_ones_go() {
        let mut seen = Seen::default();
        let status = Status::of(&sample::snapshot(), sample::now());
        seen.take(&status);
        seen.take(&status);
        assert_eq!(seen.0.values().map(BTreeMap::len).collect::<Vec<_>>(), [1]);
        for minute in 0..200 {
            seen.add("a", "w", Stamp::from_second(60 * minute).unwrap(), 1.0);
        }
        assert_eq!(seen.0[&("a".to_owned(), "w".to_owned())].len(), MOST);
    }
}

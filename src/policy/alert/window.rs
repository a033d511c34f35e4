//! What is said of one window: each threshold once a period, and the end of a period in which one was crossed.
//!
//! A vendor names no periods, only numbers and the time of the next reset, and neither can be taken at its word: reset
//! times jitter and drift with a server's clock, windows are reset early, one answer in a thousand is nonsense. So a
//! period ends where number and time agree that it did, and what only one of them says needs a second reading.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::time::Stamp;

/// Reset times this close together are one.
const TOLERANCE: Duration = Duration::from_mins(1);
/// A server whose clock is put right moves a reset by minutes; a new period moves it by hours.
const SHIFT: Duration = Duration::from_mins(30);
/// Numbers waver by so many points without meaning it.
const WAVER: f64 = 5.0;
/// A window that has fallen by so many points from its peak is one to be used again, whatever its reset time says.
const RELIEF: f64 = 25.0;
/// A rise by more points is believed at the second reading.
const JUMP: f64 = 50.0;

/// The numbers of a window in one reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Numbers {
    pub(super) read_at: Stamp,
    pub(super) used: f64,
    pub(super) resets_at: Option<Stamp>,
}

/// What a reading leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// The period in which something was said is over.
    Reset,
    /// This is the highest threshold that is newly crossed.
    Crossed(u8),
}

/// Why a reading is not believed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Doubt {
    Jump,
    Fall,
}

/// A window's current period, as `state.db` keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Period {
    /// Of the last reading that was looked at.
    pub(super) read_at: Stamp,
    /// As last believed.
    used: f64,
    peak: f64,
    /// As last seen, so that a slow drift is followed.
    resets_at: Option<Stamp>,
    /// The highest threshold that was said.
    told: Option<u8>,
    doubt: Option<Doubt>,
}

/// How a reading stands to the period so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Within,
    /// In the next period: the old reset has passed.
    Next,
    /// In another period, by its looks: nobody said that one would begin.
    Early,
}

impl Period {
    /// A period of which nothing is known but this reading.
    pub(super) fn begin(numbers: Numbers) -> Self {
        let Numbers { read_at, used, resets_at } = numbers;
        Self { read_at, used, peak: used, resets_at, told: None, doubt: None }
    }

    /// Takes a reading in; the same one again is nothing new.
    pub(super) fn see(&mut self, numbers: Numbers, thresholds: &[u8]) -> Vec<News> {
        if numbers.read_at == self.read_at {
            return Vec::new();
        }
        self.read_at = numbers.read_at;
        let mut news = Vec::new();
        match self.place(numbers) {
            Place::Within => {}
            Place::Early if self.doubt != Some(Doubt::Fall) => {
                self.doubt = Some(Doubt::Fall);
                return news;
            }
            Place::Early => {
                news.extend(self.told.map(|_| News::Reset));
                *self = Self::begin(numbers);
            }
            Place::Next => {
                news.extend(self.told.map(|_| News::Reset));
                *self = Self::begin(Numbers { used: 0.0, ..numbers });
            }
        }
        if numbers.used - self.used > JUMP && self.doubt != Some(Doubt::Jump) {
            self.doubt = Some(Doubt::Jump);
            return news;
        }
        (self.used, self.peak, self.doubt) = (numbers.used, self.peak.max(numbers.used), None);
        self.resets_at = numbers.resets_at.or(self.resets_at);
        news.extend(self.crossed(thresholds).map(News::Crossed));
        news
    }

    /// The highest threshold that is newly crossed; it counts as said.
    pub(super) fn crossed(&mut self, thresholds: &[u8]) -> Option<u8> {
        let reached = thresholds.iter().copied().filter(|threshold| self.used >= f64::from(*threshold)).max();
        let new = reached.filter(|reached| self.told.is_none_or(|told| *reached > told))?;
        self.told = Some(new);
        Some(new)
    }

    fn place(&self, numbers: Numbers) -> Place {
        let later_by = |limit: Duration| match (self.resets_at, numbers.resets_at) {
            (Some(before), Some(after)) => after.duration_since(before) > signed(limit),
            _ => false,
        };
        let has_passed = self.resets_at.is_some_and(|at| at.duration_since(numbers.read_at) <= signed(TOLERANCE));
        let fell = self.used - numbers.used > WAVER;
        let is_named = later_by(TOLERANCE) || numbers.resets_at.is_none();
        if has_passed && ((fell && is_named) || later_by(SHIFT)) {
            Place::Next
        } else if (fell && later_by(SHIFT)) || self.peak - numbers.used > RELIEF {
            Place::Early
        } else {
            Place::Within
        }
    }

    /// Whether both would be stored as the same: the time alone is not worth a write.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        Self { read_at: other.read_at, ..self.clone() } == *other
    }
}

fn signed(length: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(length).unwrap_or(jiff::SignedDuration::MAX)
}

//! The past of the accounts, and what it lets expect.
//!
//! Owns when the forecasts are made anew, when a reset is told, and when old readings go. What a reset is and what is
//! to be expected is `policy`'s to say.

use std::sync::Arc;
use std::time::Duration;

use super::roster::Held;
use super::{Supervisor, Wake, tell};
use crate::model::{AccountName, Reading};
use crate::policy::account::Record;
use crate::policy::forecast::{self, Forecast, Sample};
use crate::policy::time::Stamp;
use crate::state::StoreError;
use crate::state::history::{Level, Series};

/// Forecasts look back so far: all that makes a difference to them,
const LOOK_BACK: Duration = Duration::from_hours(28 * 24);
/// and at so many levels of a window: one for every five minutes.
const MOST_LEVELS: usize = 28 * 24 * 12;
/// Forecasts that say anything are good for so long, unless a window starts over: four weeks of a busy window are
/// thousands of levels, and to read them at every poll would cost more than the poll.
const RENEW: Duration = Duration::from_mins(15);
/// Those that say nothing are made anew this soon: in less time hardly more is known.
const RENEW_SILENT: Duration = Duration::from_mins(1);
/// An answer holds so many levels at most; each window has an equal share.
const MOST_ANSWERED: usize = 20_000;
/// Old readings go about once a day, with another wake-up.
const PRUNE: (Duration, Duration) = (Duration::from_hours(20), Duration::from_hours(8));
/// The first time after a start, with another wake-up.
const PRUNE_FIRST: Duration = Duration::from_mins(10);
/// How long one step of it is from the next: the loop has other things to do.
const PRUNE_STEP: Duration = Duration::from_secs(1);

/// What is stored of an account's past.
#[derive(Debug, Clone)]
pub struct Past {
    /// Whose.
    pub account: AccountName,
    /// Every window, in the order in which they were first read.
    pub windows: Vec<PastWindow>,
    /// Older levels were left out.
    pub is_cut: bool,
}

/// What is stored of the past of one window.
#[derive(Debug, Clone)]
pub struct PastWindow {
    /// Which.
    pub series: Series,
    /// Its levels, in the order in which they were read; the first may be the one that stood when the asked time began.
    /// With each, whether the window had started over since the one before.
    pub levels: Vec<(Level, bool)>,
}

impl Supervisor {
    /// Stores a record. Of a reading it is also told which windows started over, and what is to be expected now.
    pub(super) fn put(&mut self, record: &Record) -> Result<(), StoreError> {
        let Record::Reading(login, reading) = record else { return self.state.store(record) };
        let mut is_new = false;
        let stored = self.state.store_reading(login, reading).map(|changes| {
            let name = self.accounts.values().find(|held| held.account.goes_by(login));
            let resets = changes.iter().filter(|change| is_reset(&change.before, &change.after));
            for (held, change) in name.iter().flat_map(|held| resets.clone().map(move |change| (held, change))) {
                tell::window_reset(held.account.name(), held.config.provider, change);
                is_new = true;
            }
        });
        let now = self.clock.now().moment;
        let is_good = |held: &Held| {
            let says_something = held.forecasts.iter().all(|(_, forecast)| forecast.burn_per_hour.is_some());
            let lasts = if says_something { RENEW } else { RENEW_SILENT };
            held.foreseen_at.is_some_and(|at| now < at + lasts)
        };
        if is_new || !self.accounts.values().any(|held| held.account.goes_by(login) && is_good(held)) {
            self.expect(login, reading);
        }
        stored
    }

    /// Makes the forecasts for a login anew.
    pub(super) fn expect(&mut self, login: &str, reading: &Reading) {
        let forecasts = self.forecasts(login, reading);
        let now = self.clock.now().moment;
        for held in self.accounts.values_mut().filter(|held| held.account.goes_by(login)) {
            held.forecasts.clone_from(&forecasts);
            held.foreseen_at = Some(now);
            held.touched = true;
        }
    }

    fn forecasts(&self, login: &str, reading: &Reading) -> Arc<[(String, Forecast)]> {
        let now = self.clock.now().stamp;
        let since = now.checked_sub(LOOK_BACK).unwrap_or(Stamp::MIN);
        let series = self.state.series(login);
        let expected = reading.every_window().filter_map(|(said, window)| {
            let used_percent = window.used_percent?;
            let of_window = series.iter().filter(|series| series.window == window.id);
            let levels =
                of_window.max_by_key(|series| series.read_at).map(|s| self.state.levels(s.id, since, MOST_LEVELS));
            let mut samples: Vec<Sample> = levels.into_iter().flatten().filter_map(|level| sample(&level)).collect();
            // It may have changed nothing.
            samples.push(Sample { at: said.read_at, used_percent, resets_at: window.resets_at });
            Some((window.id.clone(), forecast::forecast(&samples, now)))
        });
        expected.collect()
    }

    /// What is stored of an account's past since a moment; `None` when there is no such account.
    pub(super) fn past(&self, name: &AccountName, since: Stamp) -> Option<Past> {
        let login = self.accounts.get(name)?.account.login_key();
        let all = self.state.series(&login);
        let share = MOST_ANSWERED / all.len().max(1);
        let mut is_cut = false;
        let windows = all.into_iter().map(|series| {
            let levels = self.state.levels(series.id, since, share);
            is_cut |= levels.len() > share && levels[0].at >= since;
            let resets: Vec<bool> = levels.windows(2).map(|pair| is_reset(&pair[0], &pair[1])).collect();
            let levels = levels.into_iter().zip(std::iter::once(false).chain(resets)).collect();
            PastWindow { series, levels }
        });
        Some(Past { account: name.clone(), windows: windows.collect(), is_cut })
    }

    /// The first time that old readings go.
    pub(super) fn plan_pruning(&mut self) {
        let now = self.clock.now().moment;
        self.schedule.set(&Wake::Prune, Some(now), PRUNE_FIRST);
    }

    /// Deletes what is older than the config wants it kept, a step at a time.
    pub(super) fn prune(&mut self) {
        let now = self.clock.now();
        // A clock that runs ahead deletes nothing: it is the last reading that grows older.
        let newest = self.state.last_read().unwrap_or(now.stamp).min(now.stamp);
        let cutoff = newest.checked_sub(self.config.history.retention).unwrap_or(Stamp::MIN);
        let (wait, slack) = match self.state.prune(cutoff) {
            Ok(true) => (PRUNE_STEP * self.clock.speed(), Duration::ZERO),
            Ok(false) => PRUNE,
            Err(error) => {
                tracing::info!(event = "history-not-pruned", "{error}");
                PRUNE
            }
        };
        self.schedule.set(&Wake::Prune, Some(now.moment + wait), slack);
    }
}

fn sample(level: &Level) -> Option<Sample> {
    Some(Sample { at: level.at, used_percent: level.used_percent?, resets_at: level.resets_at })
}

fn is_reset(before: &Level, after: &Level) -> bool {
    sample(before).zip(sample(after)).is_some_and(|(before, after)| forecast::is_reset(&before, &after))
}

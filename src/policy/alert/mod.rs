//! What is worth an alert: views of accounts at a moment and what was said already in, alerts and what to store out.
//!
//! Owns the edges. Each is told once: a threshold per login, window and period (`window`), a bad state until the account
//! is well again (`trouble`); `face` is what goes in and comes out. What was said belongs to the login and to its file,
//! not to the account's name, and is stored before it is told: a process that dies in between has told nothing, rather
//! than the next one telling it twice. The end of a login is the account's own to foretell ([`super::account`]).
//!
//! Never says anything of a reading that is older than two intervals, or of a window whose reset has passed; never
//! chooses words or channels.

mod face;
mod trouble;
mod window;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::face::{Alert, AlertRules, AlertWindow, Kind, Severity, Subject};
pub use self::trouble::Trouble;
use self::trouble::{States, StatesRecord};
use self::window::{News, Numbers, Period};
use super::time::{BootId, Moment, Now};
use crate::model::{Reading, Window, WindowStatus};

/// So many windows of a login are remembered at most, those last read.
const MOST_WINDOWS: usize = 64;

/// What was said of one login's windows, or of one file's states.
#[derive(Debug, Clone, Default)]
struct Memory {
    /// A few by their ids: a map has room for eleven in each of its nodes.
    windows: Vec<(String, Period)>,
    states: States,
}

impl Memory {
    /// Whether both would be stored as the same.
    fn agrees(&self, other: &Self) -> bool {
        let same = |((id, one), (other_id, other)): (&(String, Period), &(String, Period))| {
            id == other_id && one.agrees(other)
        };
        self.states.agrees(&other.states)
            && self.windows.len() == other.windows.len()
            && self.windows.iter().zip(&other.windows).all(same)
    }

    fn period(&mut self, id: &str) -> Option<&mut Period> {
        self.windows.iter_mut().find(|(known, _)| known == id).map(|(_, period)| period)
    }
}

/// Everything that was said.
#[derive(Debug)]
pub struct Alerts {
    rules: AlertRules,
    boot: BootId,
    memories: BTreeMap<String, Memory>,
    /// What is not stored as it is.
    unstored: BTreeSet<String>,
    /// Not only numbers are unstored.
    urgent: bool,
}

impl Alerts {
    /// With what was stored.
    pub fn new(rules: AlertRules, boot: BootId, stored: Vec<(String, AlertRecord)>, now: Now) -> Self {
        let restore = |(key, record): (String, AlertRecord)| {
            let windows = record.windows.into_iter().collect();
            (key, Memory { windows, states: record.states.restore(now, &boot) })
        };
        let memories = stored.into_iter().map(restore).collect();
        Self { rules, boot, memories, unstored: BTreeSet::new(), urgent: false }
    }

    /// The config changed. A wait that has begun keeps its length.
    pub fn configured(&mut self, rules: AlertRules) {
        self.rules = rules;
    }

    /// Looks at an account; what is to be told, once [`Self::take_unstored`] is stored.
    pub fn look(&mut self, subject: &Subject<'_>, now: Now) -> Vec<Alert> {
        self.meet(subject);
        let mut alerts = self.look_at_windows(subject, now);
        let states = &mut self.memories.entry(subject.file.clone()).or_default().states;
        let before = states.clone();
        let kind = states.see(subject.view, self.rules.throttled_for, now);
        if !states.agrees(&before) {
            self.unstored.insert(subject.file.clone());
            self.urgent = true;
        }
        alerts.extend(kind.map(|kind| Alert::of(kind, subject.view, now.stamp)));
        alerts
    }

    fn look_at_windows(&mut self, subject: &Subject<'_>, now: Now) -> Vec<Alert> {
        let view = subject.view;
        let Some(reading) = &view.reading else { return Vec::new() };
        let memory = self.memories.entry(subject.login.clone()).or_default();
        let before = memory.clone();
        let mut alerts = Vec::new();
        let mut seen = BTreeSet::new();
        for (reading, window) in reading.every_window() {
            if !seen.insert(&window.id) {
                continue;
            }
            let Some(numbers) = numbers(reading, window, view.interval, now) else { continue };
            let news = if let Some(period) = memory.period(&window.id) {
                period.see(numbers, &self.rules.thresholds)
            } else {
                let mut period = Period::begin(numbers);
                let crossed = period.crossed(&self.rules.thresholds);
                memory.windows.push((window.id.clone(), period));
                crossed.map(News::Crossed).into_iter().collect()
            };
            for news in news {
                let kind = match news {
                    News::Reset => Kind::Reset,
                    News::Crossed(threshold) => Kind::Threshold(threshold),
                };
                let window = AlertWindow {
                    id: window.id.clone(),
                    label: window.label.clone(),
                    used_percent: numbers.used,
                    resets_at: numbers.resets_at,
                };
                let until = window.resets_at;
                alerts.push(Alert { window: Some(window), until, ..Alert::of(kind, view, now.stamp) });
            }
        }
        while memory.windows.len() > MOST_WINDOWS {
            let oldest = (0..memory.windows.len()).min_by_key(|i| memory.windows[*i].1.read_at);
            oldest.map(|oldest| memory.windows.remove(oldest));
        }
        if !memory.agrees(&before) {
            self.unstored.insert(subject.login.clone());
        }
        alerts
    }

    /// What was said of a login while it had no name is its own; of two memories of one window the later holds.
    fn meet(&mut self, subject: &Subject<'_>) {
        let Some(unnamed) = &subject.unnamed else { return };
        let Some(before) = self.memories.remove(unnamed) else { return };
        let named = self.memories.entry(subject.login.clone()).or_default();
        for (id, period) in before.windows {
            match named.period(&id) {
                Some(known) if known.read_at >= period.read_at => {}
                Some(known) => *known = period,
                None => named.windows.push((id, period)),
            }
        }
        self.unstored.extend([unnamed.clone(), subject.login.clone()]);
        self.urgent = true;
    }

    /// When to look again at the latest; `None` where only an event can bring news.
    pub fn next_wake(&self) -> Option<Moment> {
        self.memories.values().filter_map(|memory| memory.states.due).min()
    }

    /// The moment has come: everybody is to be looked at. Whoever is not there any more, or is not at rest, wakes nobody
    /// again; the next look says anew when.
    pub fn woke(&mut self, now: Moment) {
        for memory in self.memories.values_mut() {
            memory.states.due = memory.states.due.filter(|due| *due > now);
        }
    }

    /// Whether more is unstored than the numbers of readings that told nothing. Those may wait: a process that ends
    /// before they are stored leaves the next one as if it had not read them.
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Whether everything is stored.
    pub fn is_stored(&self) -> bool {
        self.unstored.is_empty()
    }

    /// What is to be stored before anything is told, by key; `None` is to be taken away.
    pub fn take_unstored(&mut self, now: Now) -> BTreeMap<String, Option<AlertRecord>> {
        let record = |key: &String| {
            let memory = self.memories.get(key).filter(|kept| !kept.windows.is_empty() || !kept.states.is_blank())?;
            let windows = memory.windows.iter().cloned().collect();
            Some(AlertRecord { windows, states: memory.states.save(now, &self.boot) })
        };
        let unstored = std::mem::take(&mut self.unstored);
        self.urgent = false;
        unstored.into_iter().map(|key| (key.clone(), record(&key))).collect()
    }

    /// These could not be stored: they are tried again with the next.
    pub fn owe(&mut self, keys: impl IntoIterator<Item = String>) {
        self.unstored.extend(keys);
        self.urgent = true;
    }
}

/// The numbers of a window that may be alarmed from now.
fn numbers(reading: &Reading, window: &Window, interval: std::time::Duration, now: Now) -> Option<Numbers> {
    let is_current = now.since(reading.read_at) <= interval * 2 && window.resets_at.is_none_or(|at| at > now.stamp);
    let used = window.used_percent.filter(|_| window.status != WindowStatus::NotInPlan && is_current)?;
    Some(Numbers { read_at: reading.read_at, used, resets_at: window.resets_at })
}

/// A memory as `state.db` keeps it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertRecord {
    windows: BTreeMap<String, Period>,
    states: StatesRecord,
}

#[cfg(test)]
mod tests;

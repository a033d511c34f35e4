//! What is known without a request: the vendor client's own files, what its statusline hands over, and what clients
//! report of their own traffic.
//!
//! Owns which of these readings are believed, when the files are read, and how long a fresh one puts the next request
//! off. Such a reading is shown, nothing more: it brings no request forward, opens and closes no gate, ends no
//! incident and counts as no answer, because it says nothing about the endpoint.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use super::look::DEBOUNCE;
use super::{Account, Action, Activity, Purpose, Record, Sources, Turn};
use crate::model::{LocalReading, Reading, Source, Window};
use crate::policy::time::{Moment, Now};

/// So many intervals after the last request the API is asked, however fresh the numbers are: local sources do not
/// report every window.
const EXACT_LASTS: u32 = 4;
/// The same where the numbers are only a floor.
const FLOOR_LASTS: u32 = 2;
/// Files that are written to all the time are read no more often.
const BUSY: Duration = Duration::from_secs(15);
/// One reset time differs by so much from report to report (providers.md A.1), and a clock from another.
const TOLERANCE: Duration = Duration::from_mins(1);
/// The same numbers again are news after this: they are confirmed with every request of a busy client.
const CONFIRMED: Duration = Duration::from_mins(1);
/// Percentage points by which one figure may differ from another that is rounded.
const ROUNDING: f64 = 1.0;

impl Account {
    /// What costs nothing is read before it is decided whether to ask.
    pub(super) fn consult(&mut self, turn: &mut Turn) {
        if self.rules.sources.has_local() {
            self.activity = Activity::Consulting;
            turn.act(Action::Consult);
        } else {
            self.decide(turn);
        }
    }

    pub(super) fn on_consulted(&mut self, said: Option<LocalReading>, turn: &mut Turn) {
        if self.activity != Activity::Consulting {
            return;
        }
        self.activity = Activity::Idle;
        self.consulted = turn.now.moment;
        if let Some(said) = said {
            self.take_local(said, turn);
        }
        self.decide(turn);
    }

    /// The files are read soon, by the look that every reading of them begins with.
    pub(super) fn on_heard(&mut self, now: Moment) {
        if self.rules.sources.has_local() && !matches!(self.next_purpose, Purpose::Verdict { .. }) {
            let soon = (now + DEBOUNCE).max(self.consulted + BUSY);
            self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// When the files are to be read where no request is near: once an interval.
    pub(super) fn consult_at(&self, poll: Option<Moment>) -> Option<Moment> {
        let poll_is_far = poll.is_none_or(|poll| poll > self.tick + self.rules.interval / 2);
        (self.rules.sources.has_local() && poll_is_far).then_some(self.tick)
    }

    /// Takes a reading in if it is this login's and news.
    pub(super) fn take_local(&mut self, said: LocalReading, turn: &mut Turn) {
        let LocalReading { reading, identity } = said;
        let is_ours = identity.is_none() || identity == self.identity;
        let is_of_its_time = self.believed_from.is_none_or(|from| reading.read_at >= from)
            && turn.now.until(reading.read_at) <= TOLERANCE;
        let known = self.reading.as_ref();
        if !self.rules.sources.has_local() || !self.is_started() || !is_ours || !is_of_its_time {
            return;
        }
        if known.is_some_and(|known| !is_news(&reading, known)) {
            return;
        }
        let reading = match self.reading.take() {
            Some(known) => reading.over(Arc::unwrap_or_clone(known)),
            None => reading,
        };
        let reading = Arc::new(reading.to_the_second());
        turn.act(Action::Persist(Record::Reading(self.login_key(), reading.clone())));
        self.reading = Some(reading);
    }

    /// Until when a fresh local reading puts a routine poll off: one interval after it was true. The probe of an
    /// incident, the poll a person wants, and the first one ever are not put off.
    pub(super) fn put_off_until(&self, now: Now) -> Option<Moment> {
        let is_routine = self.setback.is_none()
            && !self.usage.pause().is_open()
            && !self.auth.pause().is_open()
            && self.auth.pause().failures() == 0;
        if self.rules.sources != Sources::LocalFirst || self.wanted || !is_routine {
            return None;
        }
        let reading = self.reading.as_ref()?;
        let lasts = match reading.source {
            Source::Api => return None,
            Source::Cache => FLOOR_LASTS,
            Source::Statusline | Source::Sessions | Source::Client => EXACT_LASTS,
        };
        let asked = self.asked.map(|asked| asked.at - asked.length)?;
        let interval = self.interval();
        let fresh_until = now.moment + interval.saturating_sub(now.since(reading.read_at));
        Some(fresh_until.min(asked + interval * lasts))
    }
}

/// Whether a reading says something newer than what is known.
///
/// Time alone does not tell of a statusline: each of several sessions repeats what it heard last, be it hours ago. There
/// the windows must have moved on. Nor does it of a client's traffic, whose reports overtake each other; but its numbers
/// are of this moment, so the same again are known anew.
fn is_news(said: &Reading, known: &Reading) -> bool {
    let by_time_alone = !matches!(said.source, Source::Statusline | Source::Client);
    if by_time_alone || said.read_at <= known.read_at {
        return said.read_at > known.read_at;
    }
    let age = Duration::try_from(said.read_at.duration_since(known.read_at)).unwrap_or_default();
    let is_confirmed = said.source == Source::Client && age >= CONFIRMED;
    let of = |window: &Window| known.every_window().map(|(_, known)| known).find(|known| known.id == window.id);
    let moved = |window: &Window| of(window).map_or(Ordering::Greater, |known| moved_on(window, known));
    said.windows.iter().all(|window| moved(window).is_ge())
        && (is_confirmed || said.windows.iter().any(|window| moved(window).is_gt()))
}

/// Which of two reports of a window is the later: the one of the later period, and within one period the one with more
/// used.
fn moved_on(said: &Window, known: &Window) -> Ordering {
    let period = match (said.resets_at, known.resets_at) {
        (Some(said), Some(known)) if said.duration_since(known).unsigned_abs() <= TOLERANCE => Ordering::Equal,
        (said, known) => said.cmp(&known),
    };
    period.then_with(|| match (said.used_percent, known.used_percent) {
        (Some(said), Some(known)) if said < known - ROUNDING => Ordering::Less,
        (Some(said), Some(known)) if said <= known => Ordering::Equal,
        (Some(_), _) => Ordering::Greater,
        (None, _) => Ordering::Equal,
    })
}

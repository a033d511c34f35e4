//! What survives a restart: two records, by what they belong to.
//!
//! A [`LoginRecord`] belongs to (provider, origin, login), so that renaming an account, moving its file or running
//! `once` forgets nothing. A [`FileRecord`] belongs to the credential file: rejections are about the token in it. A
//! field that an older quotad did not write has its default, so that a new one costs nobody the memory of a wait.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::login_end::Foretold;
use super::poll::Setback;
use super::{Account, Action, Turn};
use crate::model::{Fingerprint, Reading};
use crate::policy::auth::{AuthPause, AuthRecord};
use crate::policy::gate::{Gate, GateRecord, Pace};
use crate::policy::refresh::Mark;
use crate::policy::time::{BootId, Deadline, Now, SavedDeadline, Stamp};

/// Something to be stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// Under this login key. Durable means on the platter before anything that follows.
    Login {
        /// See [`Account::login_key`].
        key: String,
        /// What to store.
        record: Box<LoginRecord>,
        /// Whether it must be on disk before the next action.
        durable: bool,
    },
    /// Under this file key; always durable.
    File {
        /// See [`Account::file_key`].
        key: String,
        /// What to store.
        record: Box<FileRecord>,
    },
    /// The last good reading of a login; the numbers it changes are kept as history.
    Reading(String, Arc<Reading>),
    /// What is known of a token; always durable.
    Mark(Fingerprint, Mark),
}

impl Record {
    /// Whether one takes the other's place.
    fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Login { key, .. }, Self::Login { key: other, .. })
            | (Self::File { key, .. }, Self::File { key: other, .. })
            | (Self::Reading(key, _), Self::Reading(other, _)) => key == other,
            (Self::Mark(token, _), Self::Mark(other, _)) => token == other,
            _ => false,
        }
    }
}

/// What could not be stored: a full disk is emptied some time, and the next process must know what this one knows.
#[derive(Debug, Default)]
pub struct Backlog(Vec<Record>);

impl Backlog {
    /// Whether everything is stored.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A newer record takes the place of what waits here, whether it could be stored or waits as well.
    pub fn supersede(&mut self, record: &Record) {
        self.0.retain(|waiting| !record.replaces(waiting));
    }

    /// This one could not be stored.
    pub fn keep(&mut self, record: &Record) {
        self.supersede(record);
        self.0.push(record.clone());
    }

    /// Takes out everything, the oldest first, for another try.
    pub fn take(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.0)
    }
}

/// What is as in the beginning is not written: this record is, at every poll.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Gates, pace and deadlines of a login.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginRecord {
    #[serde(skip_serializing_if = "is_default")]
    usage: GateRecord,
    #[serde(skip_serializing_if = "is_default")]
    token: GateRecord,
    #[serde(skip_serializing_if = "is_default")]
    pace: Pace,
    asked: Option<SavedDeadline>,
    next_poll: Option<SavedDeadline>,
    #[serde(skip_serializing_if = "is_default")]
    setback: Option<Setback>,
    answered: bool,
}

/// The auth pause of a credential file, and what a person decided about it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FileRecord {
    /// The access token last seen: a different one at the next start lifts the auth pause.
    known: Option<String>,
    /// How long that token was to live.
    life: Duration,
    identity: Option<String>,
    auth: AuthRecord,
    paused: bool,
    minted_at: Option<SavedDeadline>,
    lost_races: Vec<Stamp>,
    never_until: Option<SavedDeadline>,
    foretold: Option<Foretold>,
    runs: Vec<Stamp>,
    believed_from: Option<Stamp>,
}

/// A [`FileRecord`] brought back.
pub(super) struct File {
    pub(super) known: Option<Fingerprint>,
    pub(super) life: Duration,
    pub(super) identity: Option<String>,
    pub(super) auth: AuthPause,
    pub(super) paused: bool,
    pub(super) minted_at: Option<Deadline>,
    pub(super) lost_races: Vec<Stamp>,
    pub(super) never_until: Option<Deadline>,
    pub(super) foretold: Option<Foretold>,
    pub(super) runs: Vec<Stamp>,
    pub(super) believed_from: Option<Stamp>,
}

impl FileRecord {
    pub(super) fn restore(self, now: Now, boot: &BootId) -> File {
        File {
            known: self.known.as_deref().and_then(Fingerprint::from_hex),
            life: self.life,
            identity: self.identity,
            auth: self.auth.restore(now, boot),
            paused: self.paused,
            minted_at: self.minted_at.map(|saved| saved.restore(now, boot)),
            lost_races: self.lost_races,
            never_until: self.never_until.map(|saved| saved.restore(now, boot)),
            foretold: self.foretold,
            runs: self.runs,
            believed_from: self.believed_from,
        }
    }
}

impl Account {
    /// What gates belong to: provider, origin and login. The login is the account uuid where it is known, else the
    /// credential file's path.
    pub fn login_key(&self) -> String {
        self.login_parts().concat()
    }

    /// Whether that is its login key: asked of every account for every record.
    pub fn goes_by(&self, login_key: &str) -> bool {
        let rest = self.login_parts().iter().try_fold(login_key, |rest, part| rest.strip_prefix(*part));
        rest.is_some_and(str::is_empty)
    }

    fn login_parts(&self) -> [&str; 5] {
        let super::Rules { provider, origin, credentials, .. } = &self.rules;
        match &self.identity {
            Some(uuid) => [provider.as_str(), " ", origin, " uuid:", uuid],
            None => [provider.as_str(), " ", origin, " file:", credentials],
        }
    }

    /// The key of what may have been stored while the account was not known; `None` if that is the key in use.
    pub fn unnamed_key(&self) -> Option<String> {
        let unnamed = || format!("{} {} file:{}", self.rules.provider, self.rules.origin, self.rules.credentials);
        self.identity.is_some().then(unnamed)
    }

    /// What clients' reports belong to: provider and login, wherever its usage is asked; and the same while the login had
    /// no name, if it has one now.
    pub fn pool_keys(&self) -> (String, Option<String>) {
        let unnamed = format!("{} file:{}", self.rules.provider, self.rules.credentials);
        match &self.identity {
            Some(uuid) => (format!("{} uuid:{uuid}", self.rules.provider), Some(unnamed)),
            None => (unnamed, None),
        }
    }

    /// What the auth pause belongs to: provider and credential file.
    pub fn file_key(&self) -> String {
        Self::file_key_of(&self.rules)
    }

    /// [`Self::file_key`], before there is an account.
    pub fn file_key_of(rules: &super::Rules) -> String {
        format!("{} {}", rules.provider, rules.credentials)
    }

    /// Takes on what is stored for the login. What is already known of it, because it had no name so far, is kept
    /// where it is harsher.
    pub(super) fn restore_login(&mut self, record: &LoginRecord, now: Now) {
        let later = |known: Option<Deadline>, saved: &Option<SavedDeadline>| match (known, saved) {
            (known, None) => known,
            (None, Some(saved)) => Some(saved.restore(now, &self.boot)),
            (Some(known), Some(saved)) => Some(known.later(saved.restore(now, &self.boot))),
        };
        self.asked = later(self.asked, &record.asked);
        self.next_poll = later(self.next_poll, &record.next_poll);
        self.usage = self.usage.harsher(record.usage.restore(now, &self.boot));
        self.token = self.token.harsher(record.token.restore(now, &self.boot));
        self.pace = self.pace.slower(record.pace);
        self.setback = self.setback.take().or_else(|| record.setback.clone());
        self.answered |= record.answered;
    }

    /// Another account now: nothing of the old login's state is its own.
    pub(super) fn forget_login(&mut self) {
        self.usage = Gate::default();
        self.token = Gate::default();
        self.auth = AuthPause::default();
        self.pace = Pace::default();
        self.asked = None;
        self.next_poll = None;
        self.setback = None;
        self.answered = false;
        self.reading = None;
        self.poll = None;
        self.minted_at = None;
        self.refresh_not_before = None;
        self.held = None;
    }

    /// Takes note of what another account of this state directory, `teller`, has just had stored. What is known of a
    /// token, every account knows: copies of one file hold the same. Gates concern accounts of the same login: the
    /// server does not know our names. Returns whether it concerned this one.
    pub fn heed(&mut self, record: &Record, teller: &Self, now: Now) -> bool {
        match record {
            Record::Mark(token, mark) => {
                // The other is about to post it: what comes of that must be known before anyone posts it again.
                let is_ours = self.login().and_then(|login| login.refresh) == Some(*token);
                if is_ours && mark.fence.is_some() && mark.fence != self.marks.of(*token).fence {
                    let later = now.moment + self.rules.interval;
                    self.refresh_not_before = Some(self.refresh_not_before.map_or(later, |at| at.max(later)));
                }
                self.marks.set(*token, mark.clone());
            }
            Record::Login { .. } if self.login_parts() == teller.login_parts() => self.follow(teller),
            Record::Login { .. } | Record::File { .. } | Record::Reading(..) => return false,
        }
        true
    }

    /// Takes over the gates of another account of the same login, which has just been told something.
    pub(super) fn follow(&mut self, other: &Self) {
        let waits = |account: &Self| account.usage.pause().until().is_some();
        let wait_is_over = waits(self) && !waits(other);
        self.usage = other.usage;
        self.token = other.token;
        self.pace = other.pace;
        if let Some(asked) = other.asked.filter(|asked| self.asked.is_none_or(|own| own.at < asked.at)) {
            self.asked = Some(asked);
            self.next_poll = Some(self.next_poll.map_or(asked, |next| next.later(asked)));
        }
        // The other's early request was answered: what held the next poll back here as well holds it no longer.
        if let Some(asked) = self.asked.filter(|_| wait_is_over) {
            self.next_poll = Some(Deadline::after(asked.at - asked.length, self.distance()));
        }
        self.hold_back();
    }

    /// Stores gates and auth pause, durably: before the wait they describe begins.
    pub(super) fn persist_gates(&mut self, turn: &mut Turn) {
        self.persist_login(true, turn);
        self.persist_file(turn);
    }

    /// What was stored while the login had no name goes under its name: left behind, it would bring back waits that
    /// are long over at every start.
    pub(super) fn move_unnamed(&mut self, turn: &mut Turn) {
        if let Some(key) = self.unnamed_key() {
            self.persist_login(true, turn);
            turn.act(Action::Persist(Record::Login { key, record: Box::default(), durable: true }));
        }
    }

    pub(super) fn persist_login(&mut self, durable: bool, turn: &mut Turn) {
        let (now, boot) = (turn.now, &self.boot);
        let record = Box::new(LoginRecord {
            usage: self.usage.save(now, boot),
            token: self.token.save(now, boot),
            pace: self.pace,
            asked: self.asked.map(|at| at.save(now, boot)),
            next_poll: self.next_poll.map(|at| at.save(now, boot)),
            setback: self.setback.clone(),
            answered: self.answered,
        });
        turn.act(Action::Persist(Record::Login { key: self.login_key(), record, durable }));
    }

    pub(super) fn persist_file(&mut self, turn: &mut Turn) {
        let (now, boot) = (turn.now, &self.boot);
        let record = Box::new(FileRecord {
            known: self.known.map(Fingerprint::to_hex),
            life: self.life,
            identity: self.identity.clone(),
            auth: self.auth.save(now, boot),
            paused: self.paused,
            minted_at: self.minted_at.map(|at| at.save(now, boot)),
            lost_races: self.lost_races.clone(),
            never_until: self.never_until.map(|at| at.save(now, boot)),
            foretold: self.foretold,
            runs: self.runs.clone(),
            believed_from: self.believed_from,
        });
        turn.act(Action::Persist(Record::File { key: self.file_key(), record }));
    }
}

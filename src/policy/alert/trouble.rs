//! What is said of an account's state: once when it goes bad, once when it is well again.
//!
//! A state that comes back by itself within minutes is no alert. What was said is remembered until the account is well,
//! so that one that goes from bad to worse and back is not told at every step.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::face::Kind;
use crate::policy::status::{AccountState, AccountView};
use crate::policy::time::{BootId, Deadline, Moment, Now, SavedDeadline};

/// A bad state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The login was refused for good.
    Dead,
    /// There is no login.
    SignedOut,
    /// Scope, plan or organisation forbids it.
    NoPermission,
    /// The login was refused several times in a row.
    AuthPaused,
    /// Throttled for longer than the config says.
    Throttled,
}

impl Trouble {
    /// The word of the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dead => AccountState::Dead,
            Self::SignedOut => AccountState::SignedOut,
            Self::NoPermission => AccountState::NoPermission,
            Self::AuthPaused => AccountState::AuthPaused,
            Self::Throttled => AccountState::Throttled,
        }
        .as_str()
    }

    /// Whether only another login, or a person, ends it.
    fn is_verdict(self) -> bool {
        matches!(self, Self::Dead | Self::SignedOut | Self::NoPermission)
    }
}

/// What was said of the states of one credential file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct States {
    /// Since the account was last well, or, for a verdict, since it fell.
    told: BTreeSet<Trouble>,
    /// Whether anything was said since it was last well.
    ill: bool,
    /// Drawn when it was first throttled since it was last well.
    throttled: Option<Deadline>,
    /// When to look again, whatever happens.
    pub(super) due: Option<Moment>,
}

impl States {
    /// Takes the state of the moment in; what is worth an alert.
    pub(super) fn see(&mut self, view: &AccountView, throttled_for: Duration, now: Now) -> Option<Kind> {
        self.due = None;
        let trouble = match view.state {
            AccountState::Dead => Trouble::Dead,
            AccountState::SignedOut => Trouble::SignedOut,
            AccountState::NoPermission => Trouble::NoPermission,
            // Without a failure the pause is a precaution of the cautious state, and lifts itself.
            AccountState::AuthPaused if view.auth_gate.failures > 0 => Trouble::AuthPaused,
            AccountState::Throttled => {
                let until = *self.throttled.get_or_insert(Deadline::after(now.moment, throttled_for));
                self.told.retain(|told| !told.is_verdict());
                if !until.passed(now.moment) {
                    self.due = Some(until.at);
                    return None;
                }
                Trouble::Throttled
            }
            AccountState::Ok => {
                let was_ill = self.ill;
                *self = Self::default();
                return was_ill.then_some(Kind::Recovered);
            }
            // Another login took the place of the refused one.
            AccountState::Waiting | AccountState::AuthPaused => {
                self.told.retain(|told| !told.is_verdict());
                return None;
            }
            AccountState::Starting | AccountState::Offline | AccountState::Failing | AccountState::Paused => {
                return None;
            }
        };
        self.told.retain(|told| !told.is_verdict() || *told == trouble);
        self.ill = true;
        self.told.insert(trouble).then_some(Kind::Trouble(trouble))
    }

    /// The form that survives a restart.
    pub(super) fn save(&self, now: Now, boot: &BootId) -> StatesRecord {
        StatesRecord {
            told: self.told.clone(),
            ill: self.ill,
            throttled: self.throttled.map(|until| until.save(now, boot)),
        }
    }

    /// Whether there is anything to remember.
    pub(super) fn is_blank(&self) -> bool {
        self.told.is_empty() && !self.ill && self.throttled.is_none()
    }

    /// Whether both remember the same.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        (&self.told, self.ill, self.throttled) == (&other.told, other.ill, other.throttled)
    }
}

/// [`States`] as `state.db` keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StatesRecord {
    told: BTreeSet<Trouble>,
    ill: bool,
    throttled: Option<SavedDeadline>,
}

impl StatesRecord {
    /// Brings them back.
    pub(super) fn restore(&self, now: Now, boot: &BootId) -> States {
        States {
            told: self.told.clone(),
            ill: self.ill,
            throttled: self.throttled.as_ref().map(|until| until.restore(now, boot)),
            due: None,
        }
    }
}

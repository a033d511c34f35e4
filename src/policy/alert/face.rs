//! What goes into the decision whether something is worth an alert, and what an alert says.
//!
//! Owns facts, no words: a channel writes them for its reader, in the reader's own time zone.

use std::time::Duration;

use super::trouble::Trouble;
use crate::model::{AccountName, ProviderId};
use crate::policy::status::AccountView;
use crate::policy::time::Stamp;

/// Everything configurable about alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRules {
    /// Percent used, rising.
    pub thresholds: Vec<u8>,
    /// An account that has been throttled for so long is worth an alert.
    pub throttled_for: Duration,
}

/// An account at one moment, and what its memory belongs to.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// What is said of windows belongs to the login: see [`crate::policy::account::Account::login_key`].
    pub login: String,
    /// The same while the login had no name.
    pub unnamed: Option<String>,
    /// What is said of states belongs to the file: see [`crate::policy::account::Account::file_key`].
    pub file: String,
    /// How it is.
    pub view: &'a AccountView,
}

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// So many percent of a window are used.
    Threshold(u8),
    /// A window of which that was said has started over.
    Reset,
    /// The login ends within so many days.
    LoginEnding(u32),
    /// The account cannot be used or read.
    Trouble(Trouble),
    /// It can again, after it was said that it cannot.
    Recovered,
    /// Nothing happened: somebody tries the channels.
    Test,
}

impl Kind {
    /// The word used in JSON, in variables and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Threshold(_) => "threshold",
            Self::Reset => "reset",
            Self::LoginEnding(_) => "login-ending",
            Self::Trouble(trouble) => trouble.as_str(),
            Self::Recovered => "recovered",
            Self::Test => "test",
        }
    }

    /// How much it matters.
    pub fn severity(self) -> Severity {
        match self {
            Self::Reset | Self::Recovered | Self::Test => Severity::Info,
            Self::LoginEnding(days) if days > 1 => Severity::Warning,
            Self::Threshold(_) | Self::Trouble(Trouble::Throttled | Trouble::AuthPaused) => Severity::Warning,
            Self::LoginEnding(_) | Self::Trouble(Trouble::Dead | Trouble::SignedOut | Trouble::NoPermission) => {
                Severity::Urgent
            }
        }
    }
}

/// How much an alert matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look when it suits you.
    Warning,
    /// It stays so until a person acts.
    Urgent,
}

impl Severity {
    /// The word used in JSON and in variables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Urgent => "urgent",
        }
    }
}

/// The window an alert is about.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertWindow {
    /// Its id.
    pub id: String,
    /// What a person calls it.
    pub label: String,
    /// Percent used, as read.
    pub used_percent: f64,
    /// When it starts over.
    pub resets_at: Option<Stamp>,
}

/// One alert. Holds no secret: states, numbers and quotad's own phrases.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// What it is about.
    pub kind: Kind,
    /// Whose.
    pub account: AccountName,
    /// Its vendor.
    pub provider: ProviderId,
    /// When it was noticed.
    pub at: Stamp,
    /// The window, where it is about one.
    pub window: Option<AlertWindow>,
    /// How the account is, as a clause.
    pub reason: String,
    /// When that changes by itself, or the login ends.
    pub until: Option<Stamp>,
    /// What a person must do.
    pub action: String,
}

impl Alert {
    pub(super) fn of(kind: Kind, view: &AccountView, at: Stamp) -> Self {
        Self {
            kind,
            account: view.name.clone(),
            provider: view.provider,
            at,
            window: None,
            reason: view.reason.clone(),
            until: view.until,
            action: view.action.clone(),
        }
    }

    /// The login of this account ends within so many days. When that is said is the account's to decide, which
    /// remembers it.
    pub fn login_ending(view: &AccountView, days: u32, at: Stamp) -> Self {
        Self { until: view.credentials.login_ends_at, ..Self::of(Kind::LoginEnding(days), view, at) }
    }

    /// A made-up alert of an account of this name, to try the channels with.
    pub fn made_up(account: AccountName, provider: ProviderId, at: Stamp) -> Self {
        Self {
            kind: Kind::Test,
            account,
            provider,
            at,
            window: None,
            reason: "somebody ran `quotad test-alert`".to_owned(),
            until: None,
            action: "nothing to do".to_owned(),
        }
    }
}

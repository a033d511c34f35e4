//! What an account says of itself: state, reason, until when, and what a person must do.
//!
//! Owns the words. Holds no decision: [`super::account`] fills it from its own state, and every reader (status,
//! bars, metrics, logs) renders the same value.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::forecast::Forecast;
use super::time::Stamp;
use crate::model::{AccountName, CredentialOwner, Exchange, ProviderId, Reading, RefreshMode, Window};

/// The one word for how an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountState {
    /// Nothing has been asked yet.
    Starting,
    /// The last request was answered.
    Ok,
    /// The token expired; its owner is expected to refresh it.
    Waiting,
    /// A server asked to be left alone.
    Throttled,
    /// The login was refused several times in a row; it is probed again at `until`.
    AuthPaused,
    /// This login was refused for good; a new login is needed.
    Dead,
    /// The vendor emptied the file, or it is absent.
    SignedOut,
    /// Scope, plan or organisation forbids it.
    NoPermission,
    /// No network.
    Offline,
    /// Transient errors, or a file or an answer that cannot be read.
    Failing,
    /// Paused by the user.
    Paused,
}

impl AccountState {
    /// Every state, in the order of the contract.
    pub const ALL: [Self; 11] = [
        Self::Starting,
        Self::Ok,
        Self::Waiting,
        Self::Throttled,
        Self::AuthPaused,
        Self::Dead,
        Self::SignedOut,
        Self::NoPermission,
        Self::Offline,
        Self::Failing,
        Self::Paused,
    ];

    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Waiting => "waiting",
            Self::Throttled => "throttled",
            Self::AuthPaused => "auth-paused",
            Self::Dead => "dead",
            Self::SignedOut => "signed-out",
            Self::NoPermission => "no-permission",
            Self::Offline => "offline",
            Self::Failing => "failing",
            Self::Paused => "paused",
        }
    }
}

/// The word for a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateState {
    /// Requests pass.
    Clear,
    /// Nothing is sent until `until`.
    Cooling,
    /// The deadline passed; one request decides.
    Probing,
    /// Nothing is sent until the file or a person changes it.
    Blocked,
}

impl GateState {
    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Cooling => "cooling",
            Self::Probing => "probing",
            Self::Blocked => "blocked",
        }
    }
}

/// One gate, as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateView {
    /// Its state.
    pub state: GateState,
    /// Failures since the last success.
    pub failures: u32,
    /// The rung it stands on, from 0; `None` while clear.
    pub rung: Option<u32>,
    /// When it lets the next request through.
    pub until: Option<Stamp>,
}

/// What was counted since the daemon started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counters {
    /// Polls begun.
    pub polls: u64,
    /// Polls that brought a reading.
    pub ok: u64,
    /// 429s of the usage endpoint.
    pub throttled: u64,
    /// Rejections of a token.
    pub auth_failures: u64,
    /// Refreshes that brought a new token.
    pub refreshes: u64,
    /// Refreshes that did not.
    pub refresh_failures: u64,
}

/// One account, as everyone sees it. Whether a reading is stale depends on when one looks, so that is left to the
/// reader: see [`AccountView::is_stale`].
#[derive(Debug, Clone, PartialEq)]
pub struct AccountView {
    /// Its label.
    pub name: AccountName,
    /// Its vendor.
    pub provider: ProviderId,
    /// The plan, from the reading or the credential file.
    pub plan: Option<String>,
    /// How it is.
    pub state: AccountState,
    /// Why, as a sentence without a full stop.
    pub reason: String,
    /// Since when it is in this state.
    pub since: Stamp,
    /// When it changes by itself; `None` when it does not, or nothing is known.
    pub until: Option<Stamp>,
    /// What a person must do, or "nothing to do".
    pub action: String,
    /// The last good reading.
    pub reading: Option<Arc<Reading>>,
    /// What was expected when it was read, by window; the shell's to fill in.
    pub forecasts: Arc<[(String, Forecast)]>,
    /// When the next poll is due; `None` when none is planned.
    pub next_poll_at: Option<Stamp>,
    /// The interval in force (configured or learned), for staleness.
    pub interval: Duration,
    /// The credential file.
    pub credentials: CredentialView,
    /// The rate-limit pause of the usage endpoint.
    pub usage_gate: GateView,
    /// The rate-limit pause of the token endpoint.
    pub token_gate: GateView,
    /// The auth pause.
    pub auth_gate: GateView,
    /// Counters since the daemon started.
    pub counters: Counters,
    /// The last exchanges, oldest first; for `explain`.
    pub exchanges: Vec<Arc<Exchange>>,
}

/// The credential file of an account, as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialView {
    /// Where it lies.
    pub path: Arc<str>,
    /// Who writes it.
    pub owner: CredentialOwner,
    /// The refresh mode in force.
    pub refresh: RefreshMode,
    /// When its access token expires.
    pub expires_at: Option<Stamp>,
    /// When the login itself ends.
    pub login_ends_at: Option<Stamp>,
}

impl AccountView {
    /// What was expected of a window when `said` was read; nothing once that is older than two intervals, or the window
    /// was reset since.
    pub fn forecast(&self, window: &Window, said: &Reading, now: Stamp) -> Forecast {
        let is_over = self.is_old(said, now) || window.resets_at.is_some_and(|at| at <= now);
        let expected = self.forecasts.iter().find(|(id, _)| *id == window.id).map(|(_, forecast)| *forecast);
        expected.filter(|_| !is_over).unwrap_or_default()
    }

    /// Whether a reading is older than two intervals at `now`.
    pub fn is_old(&self, reading: &Reading, now: Stamp) -> bool {
        Duration::try_from(now.duration_since(reading.read_at)).unwrap_or_default() > self.interval * 2
    }

    /// Whether the last reading is older than two intervals at `now`, or one of its windows has been reset since.
    pub fn is_stale(&self, now: Stamp) -> bool {
        self.reading.as_ref().is_none_or(|reading| {
            self.is_old(reading, now) || reading.every_window().any(|(_, w)| w.resets_at.is_some_and(|at| at <= now))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Source;

    #[test]
    fn words_are_the_contracts() {
        assert_eq!(
            AccountState::ALL.map(AccountState::as_str).join(" "),
            "starting ok waiting throttled auth-paused dead signed-out no-permission offline failing paused"
        );
        for state in AccountState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str(), "JSON says the same");
        }
        for (state, word) in [
            (GateState::Clear, "clear"),
            (GateState::Cooling, "cooling"),
            (GateState::Probing, "probing"),
            (GateState::Blocked, "blocked"),
        ] {
            assert_eq!(state.as_str(), word);
            assert_eq!(serde_json::to_value(state).unwrap(), word);
        }
    }

    fn at(minute: i64) -> Stamp {
        Stamp::from_second(1_800_000_000 + 60 * minute).unwrap()
    }

    /// A view whose interval is ten minutes, with a reading of minute 0 whose one window is reset then.
    fn view(resets_at: Option<Stamp>) -> AccountView {
        let window = Window { used_percent: Some(41.0), resets_at, ..Window::named("five_hour", "5-hour") };
        let gate = GateView { state: GateState::Clear, failures: 0, rung: None, until: None };
        AccountView {
            name: AccountName::parse("personal").unwrap(),
            provider: ProviderId::new("claude"),
            plan: None,
            state: AccountState::Ok,
            reason: String::new(),
            since: at(0),
            until: None,
            action: String::new(),
            reading: Some(Arc::new(Reading {
                windows: vec![window],
                plan: None,
                read_at: at(0),
                source: Source::Api,
                earlier: None,
            })),
            forecasts: Arc::default(),
            next_poll_at: None,
            interval: Duration::from_mins(10),
            credentials: CredentialView {
                path: "".into(),
                owner: CredentialOwner::Vendor,
                refresh: RefreshMode::Never,
                expires_at: None,
                login_ends_at: None,
            },
            usage_gate: gate.clone(),
            token_gate: gate.clone(),
            auth_gate: gate,
            counters: Counters::default(),
            exchanges: Vec::new(),
        }
    }

    #[test]
    fn a_reading_is_stale_once_older_than_two_intervals_or_once_a_window_of_it_was_reset() {
        for (resets_at, now, stale) in [
            (None, 0, false),
            (None, 20, false),
            (None, 21, true),
            (None, -30, false),
            (Some(15), 14, false),
            (Some(15), 15, true),
            (Some(15), 16, true),
            (Some(90), 20, false),
            (Some(90), 21, true),
        ] {
            assert_eq!(view(resets_at.map(at)).is_stale(at(now)), stale, "reset at {resets_at:?}, looked at at {now}");
        }
        assert!(AccountView { reading: None, ..view(None) }.is_stale(at(0)), "nothing read is nothing current");
    }
}

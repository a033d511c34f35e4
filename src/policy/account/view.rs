//! The words: state, reason, until when, and what a person must do.

use std::sync::Arc;

use super::poll::SetbackKind;
use super::{Account, Activity, Event, Turn};
use crate::model::{Credential, RefreshMode};
use crate::policy::refresh::{self, Hold};
use crate::policy::status::{AccountState, AccountView, CredentialView, GateState, GateView};
use crate::policy::time::{Now, Stamp};

const NOTHING: &str = "nothing to do";

/// State, reason, until, action: what one look at the account says.
#[derive(Debug, Clone)]
pub(super) struct Words {
    pub(super) state: AccountState,
    reason: String,
    until: Option<Stamp>,
    action: String,
}

impl Words {
    /// Before the first look.
    pub(super) fn of_a_start() -> Self {
        words(AccountState::Starting, "not looked at yet".to_owned(), None, NOTHING.to_owned())
    }
}

impl Account {
    /// The account as everyone sees it. While something is under way, what was settled before stands.
    pub fn view(&self, now: Now) -> AccountView {
        // Reading local files is about to change numbers, not the state.
        let stands = self.is_settled() || (self.activity == Activity::Consulting && !self.is_judging());
        let mut words = if stands { self.words(now) } else { self.settled.clone() };
        if let (true, Some(warning)) = (words.action == NOTHING, &self.warning) {
            words.action.clone_from(warning);
        }
        if let (true, Some(action)) = (words.action.starts_with(NOTHING), self.action_before_end(now)) {
            words.action = action;
        }
        let login = self.login();
        AccountView {
            name: self.rules.name.clone(),
            provider: self.rules.provider,
            plan: self
                .reading
                .as_ref()
                .and_then(|reading| reading.plan.clone())
                .or_else(|| login.and_then(|login| login.plan.clone())),
            state: words.state,
            reason: words.reason,
            since: self.since,
            until: words.until,
            action: words.action,
            reading: self.reading.clone(),
            forecasts: Arc::default(),
            next_poll_at: self.poll_at(now).map(|at| now.stamp_at(at)),
            interval: self.interval(),
            credentials: CredentialView {
                path: self.rules.credentials.clone(),
                owner: self.rules.refresh.owner,
                refresh: self.mode_in_force(now),
                expires_at: login.and_then(|login| login.expires_at),
                login_ends_at: login.and_then(|login| login.login_ends_at),
            },
            usage_gate: self.usage.pause().view(now),
            token_gate: self.token.pause().view(now),
            auth_gate: self.auth_view(now, words.state),
            counters: self.counters,
            exchanges: self.exchanges.clone(),
        }
    }

    /// Where it is not safe, and for a day after two lost races, nothing is refreshed whatever the config says.
    fn mode_in_force(&self, now: Now) -> RefreshMode {
        let is_unsafe = self.login().is_some_and(|login| login.unsafe_because.is_some());
        let is_barred = self.never_until.is_some_and(|until| !until.passed(now.moment));
        if is_unsafe || is_barred { RefreshMode::Never } else { self.rules.refresh.mode }
    }

    /// A verdict blocks the auth gate: only the file or a person opens it.
    fn auth_view(&self, now: Now, state: AccountState) -> GateView {
        let view = self.auth.pause().view(now);
        if matches!(state, AccountState::Dead | AccountState::NoPermission | AccountState::SignedOut) {
            return GateView { state: GateState::Blocked, until: None, ..view };
        }
        view
    }

    /// Whether the state can be judged: nothing is under way that is about to change it.
    pub(super) fn is_settled(&self) -> bool {
        self.activity == Activity::Idle && !self.is_judging()
    }

    /// Tells when the state has changed.
    pub(super) fn note_state(&mut self, turn: &mut Turn) {
        let words = self.words(turn.now);
        let to = words.state;
        let from = std::mem::replace(&mut self.settled, words).state;
        if to != from {
            self.since = turn.now.stamp;
            turn.tell(Event::StateChanged { from, to });
            if to == AccountState::Dead {
                turn.tell(Event::AccountDead);
            }
        }
    }

    /// What is to be said at this moment.
    pub(super) fn words(&self, now: Now) -> Words {
        if self.paused {
            let resume = format!("`quotad resume {}` when you want it back", self.rules.name);
            return words(AccountState::Paused, "paused by you".to_owned(), None, resume);
        }
        match &self.credential {
            None => Words::of_a_start(),
            Some(Credential::Login(_)) => self.words_for_login(now),
            Some(Credential::Unreadable(why)) => {
                let action = format!("repair {} or {}", self.rules.credentials, self.log_in());
                words(AccountState::Failing, why.clone(), None, action)
            }
            Some(missing) => {
                let reason = match missing {
                    Credential::SignedOut => "the vendor's CLI signed out",
                    Credential::NoLogin => "the credential file holds no login of this vendor",
                    _ => "there is no credential file",
                };
                words(AccountState::SignedOut, reason.to_owned(), None, self.log_in())
            }
        }
    }

    fn words_for_login(&self, now: Now) -> Words {
        let Some(login) = self.login() else {
            return words(AccountState::Starting, String::new(), None, String::new());
        };
        if !self.rules.sources.has_api() {
            return self.words_for_local();
        }
        let expired = refresh::is_expired(login, now);
        if let Some(said) = self.marks.of(login.access).dead {
            let reason = format!("this access token was refused for good ({said})");
            return words(AccountState::Dead, reason, None, self.log_in());
        }
        let mark = self.refresh_mark();
        if self.rules.refresh.mode != RefreshMode::Never && mark.is_used_up() {
            let said = mark.dead.as_deref().unwrap_or("it was exchanged for another");
            let rest = match login.expires_at {
                Some(at) if !expired => format!("; readings go on until the access token expires ({})", clock(at)),
                _ => String::new(),
            };
            let reason = format!("this login's refresh token was refused for good ({said}){rest}");
            return words(AccountState::Dead, reason, None, self.log_in());
        }
        if !self.has_scope(login) {
            let scope = self.rules.usage_scope.unwrap_or_default();
            let reason = format!("the token lacks the scope {scope}");
            return words(AccountState::NoPermission, reason, None, self.log_in());
        }
        let until = self.next_request(now);
        if let Some(setback) = self.setback.as_ref().filter(|setback| setback.kind == SetbackKind::NoPermission) {
            let action = format!("check the plan and its permissions, or {}", self.log_in());
            return words(AccountState::NoPermission, setback.said.clone(), until, action);
        }
        // Where nothing will be sent with an expired token, no probe ends the pause: its owner does.
        if self.auth.pause().is_open() && until.is_some() {
            let said = self.setback.as_ref().map_or("the token was refused", |setback| setback.said.as_str());
            let reason = match self.auth.pause().failures() {
                0 => "what was known of this login was lost, so it begins as after a refusal".to_owned(),
                failures => format!("the login was refused {failures} times in a row: {said}"),
            };
            let action = format!("nothing yet; if it stays so, {}", self.log_in());
            return words(AccountState::AuthPaused, reason, until, action);
        }
        if expired {
            return self.words_for_expired(now);
        }
        if self.usage.pause().is_open() {
            let advice = match self.usage.demanded() {
                Some(wait) => format!("Retry-After {} s", wait.as_secs()),
                None => "no Retry-After".to_owned(),
            };
            let reason = format!("the usage endpoint answered 429 ({advice})");
            return words(AccountState::Throttled, reason, until, NOTHING.to_owned());
        }
        match &self.setback {
            Some(setback) => {
                let state = match setback.kind {
                    SetbackKind::Offline => AccountState::Offline,
                    _ => AccountState::Failing,
                };
                words(state, setback.said.clone(), until, NOTHING.to_owned())
            }
            None if self.answered => {
                words(AccountState::Ok, "the last request was answered".to_owned(), None, NOTHING.to_owned())
            }
            None => words(AccountState::Starting, "nothing asked yet".to_owned(), until, NOTHING.to_owned()),
        }
    }

    /// The API is never asked.
    fn words_for_local(&self) -> Words {
        let (state, reason) = match &self.reading {
            Some(_) => (AccountState::Ok, "the vendor's CLI said so; by your config the API is never asked"),
            None => (AccountState::Starting, "the vendor's CLI has said nothing yet, and the API is never asked"),
        };
        words(state, reason.to_owned(), None, NOTHING.to_owned())
    }

    /// When the next request leaves, to either endpoint; `None` when none is planned.
    fn next_request(&self, now: Now) -> Option<Stamp> {
        let at = self.poll_at(now).or_else(|| self.refresh_at(now))?;
        Some(now.stamp_at(at.max(now.moment)))
    }

    /// The access token has expired: who makes a new one, and when.
    fn words_for_expired(&self, now: Now) -> Words {
        let gate = self.token.pause();
        let next = self.refresh_at(now).map(|at| now.stamp_at(at.max(now.moment)));
        if self.rules.refresh.mode == RefreshMode::Never {
            let reason = "the access token has expired; its owner refreshes it at its next use".to_owned();
            let action = "nothing to do; using the vendor's CLI brings fresh numbers".to_owned();
            return words(AccountState::Waiting, reason, None, action);
        }
        if self.delegated.is_some() {
            let reason = "the access token has expired; its own CLI was asked to refresh it".to_owned();
            return words(AccountState::Waiting, reason, next, NOTHING.to_owned());
        }
        if gate.is_open() && self.rules.refresh.mode == RefreshMode::Command {
            let reason = "the access token has expired and its CLI did not refresh it".to_owned();
            return words(
                AccountState::Waiting,
                reason,
                next,
                "using the vendor's CLI brings fresh numbers".to_owned(),
            );
        }
        if self.rules.refresh.mode == RefreshMode::Command && next.is_none() {
            let unsafe_because = self.login().and_then(|login| login.unsafe_because.clone());
            let hold = unsafe_because.map_or(Hold::Owner, Hold::Unsafe);
            let reason = format!("the access token has expired and {}", hold.said());
            let action = "using the vendor's CLI brings fresh numbers".to_owned();
            return words(AccountState::Waiting, reason, None, action);
        }
        if let Some(login) = self.login()
            && self.rules.refresh.mode != RefreshMode::Command
            && let Err(hold) = self.may_post(login, now)
        {
            let reason = format!("the access token has expired and {}", hold.said());
            let action = match hold {
                Hold::Fenced => NOTHING.to_owned(),
                Hold::TriedEnough | Hold::Owner => "using the vendor's CLI brings fresh numbers".to_owned(),
                Hold::NoRefreshToken | Hold::UsedUp(_) | Hold::Unsafe(_) => self.log_in(),
            };
            return words(AccountState::Waiting, reason, next, action);
        }
        if gate.is_open() {
            let reason = "the token endpoint refused the last refresh; the access token has expired".to_owned();
            return words(AccountState::Throttled, reason, next, NOTHING.to_owned());
        }
        let reason = match &self.held {
            Some(why) => format!("the access token has expired and could not be refreshed: {why}"),
            None => "the access token has expired and is being refreshed".to_owned(),
        };
        let state = if self.held.is_some() { AccountState::Failing } else { AccountState::Waiting };
        words(state, reason, next, NOTHING.to_owned())
    }

    fn log_in(&self) -> String {
        format!("log in again: {}", self.rules.login_command)
    }
}

fn words(state: AccountState, reason: String, until: Option<Stamp>, action: String) -> Words {
    Words { state, reason, until, action }
}

/// A wall time within a sentence: UTC to the minute; readers of the JSON have the exact one beside it.
pub(super) fn clock(at: Stamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

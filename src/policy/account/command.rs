//! What a person asks of an account, and the answer.
//!
//! A command passes neither a floor nor a cooling rate gate, and there is no force: the people who pressed "refresh"
//! on the existing tools kept their own blocks alive.

use super::{Account, Action, Activity, Reason, Turn};
use crate::model::{Credential, CredentialOwner};
use crate::policy::refresh;
use crate::policy::time::{Deadline, Dice, Now, Stamp};

/// What a person asks of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Stop every request until `Resume`.
    Pause,
    /// Lift a user pause and an auth pause.
    Resume,
    /// Ask as soon as floor and gates allow.
    Poll,
}

/// The kind of an [`Answer`]; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done, or will be at `at`.
    Done,
    /// Not before `at`.
    Wait,
    /// A person must log in first.
    LoginNeeded,
}

/// What a [`Command`] came to, said at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which kind.
    pub verdict: Verdict,
    /// The moment a request will be sent, or may be; `None` when none is planned.
    pub at: Option<Stamp>,
    /// A sentence for the person who asked.
    pub said: String,
}

impl Account {
    /// Answers a command at once, and says what to do.
    pub fn command(&mut self, command: Command, now: Now, dice: &mut dyn Dice) -> (Answer, Vec<Action>) {
        let mut turn = Turn { now, dice, actions: Vec::new() };
        let answer = match command {
            Command::Pause => self.on_pause(&mut turn),
            Command::Resume => self.on_resume(&mut turn),
            Command::Poll => self.on_poll(&mut turn),
        };
        if self.is_settled() || self.paused {
            self.note_state(&mut turn);
        }
        (answer, turn.actions)
    }

    fn on_pause(&mut self, turn: &mut Turn) -> Answer {
        self.paused = true;
        self.poll = None;
        self.persist_file(turn);
        done(None, format!("{} is paused; `quotad resume {}` lifts it", self.name(), self.name()))
    }

    fn on_resume(&mut self, turn: &mut Turn) -> Answer {
        // Nobody looked at the file meanwhile.
        if std::mem::take(&mut self.paused) {
            self.on_touched(turn.now.moment);
        }
        self.auth.lift();
        self.persist_file(turn);
        if self.refresh_mark().dead.is_some() {
            return self.resume_dead(turn);
        }
        self.on_poll(turn)
    }

    /// The access token may still be good for a request; the refused refresh token is posted once more only for a
    /// grant of quotad's own, and only once ever.
    fn resume_dead(&mut self, turn: &mut Turn) -> Answer {
        if self.can_ask(turn.now) {
            return self.on_poll(turn);
        }
        if self.rules.refresh.owner != CredentialOwner::Quotad || self.refresh_mark().retried {
            return self.login_needed();
        }
        if !self.token.pause().admits(turn.now.moment) {
            let until = self.token.pause().until().map(|until| turn.now.stamp_at(until.at));
            return wait(until, "the token endpoint asked to be left alone".to_owned());
        }
        if self.activity != Activity::Idle {
            return wait(Some(turn.now.stamp), "something else is under way; try again in a moment".to_owned());
        }
        self.second_try = true;
        if self.login().is_some_and(|login| self.may_post(login, turn.now).is_err()) {
            self.second_try = false;
            return self.login_needed();
        }
        self.rotate(Reason::Expiry, turn);
        done(Some(turn.now.stamp), "the refused refresh token is tried once more, for the only time".to_owned())
    }

    fn on_poll(&mut self, turn: &mut Turn) -> Answer {
        let now = turn.now;
        if self.paused {
            return wait(None, format!("{} is paused by you; `quotad resume {}` lifts it", self.name(), self.name()));
        }
        if !self.rules.sources.has_api() {
            return wait(None, "the API is never asked: `sources` of this account names local ones only".to_owned());
        }
        if matches!(self.activity, Activity::Asking(_)) {
            return done(Some(now.stamp), "a request is under way".to_owned());
        }
        if self.credential.is_none() || self.next_poll.is_none() {
            return done(None, "the account is just starting; its first request is due in a moment".to_owned());
        }
        for (pause, whose) in [
            (self.usage.pause(), "the usage endpoint asked to be left alone"),
            (self.auth.pause(), "the login was refused too often in a row"),
        ] {
            if let Some(until) = pause.until().filter(|until| !until.passed(now.moment)) {
                return wait(Some(now.stamp_at(until.at)), whose.to_owned());
            }
        }
        if !self.can_ask(now) {
            return self.cannot_ask(now);
        }
        if self.is_forbidden() {
            return self.login_needed();
        }
        if let Some(retry) = self.poll.and_then(|poll| poll.retry_at) {
            return done(Some(now.stamp_at(retry)), "a poll is under way; its next try will be sent then".to_owned());
        }
        self.wanted = true;
        let floor = self.asked.map_or(now.moment, |asked| asked.at).max(now.moment).max(self.settle_until);
        let at = floor.min(self.next_poll.map_or(floor, |next| next.at)).max(now.moment);
        self.next_poll = Some(Deadline { at, length: at.since(now.moment) });
        self.persist_login(false, turn);
        let said = if at > now.moment {
            "two requests of one login are never closer; it will be sent then".to_owned()
        } else {
            "asking now".to_owned()
        };
        done(Some(now.stamp_at(at)), said)
    }

    /// Why no request makes sense, as an answer.
    fn cannot_ask(&mut self, now: Now) -> Answer {
        match self.login() {
            Some(login)
                if refresh::is_expired(login, now) && self.has_scope(login) && self.refresh_mark().dead.is_none() =>
            {
                let at = self.refresh_at(now).map(|at| now.stamp_at(at));
                wait(at, "the access token has expired".to_owned())
            }
            _ => self.login_needed(),
        }
    }

    fn login_needed(&self) -> Answer {
        let said = match &self.credential {
            Some(Credential::Unreadable(why)) => why.clone(),
            _ => format!("log in again: {}", self.rules.login_command),
        };
        Answer { verdict: Verdict::LoginNeeded, at: None, said }
    }
}

fn done(at: Option<Stamp>, said: String) -> Answer {
    Answer { verdict: Verdict::Done, at, said }
}

fn wait(at: Option<Stamp>, said: String) -> Answer {
    Answer { verdict: Verdict::Wait, at, said }
}

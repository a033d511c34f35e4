//! Letting the vendor's own CLI refresh its file (`refresh = "command"`).
//!
//! Owns when it is asked and how its success is told: by a changed file alone, since exit codes say nothing
//! (credentials.md 1B.1). Once per refresh token, then on the ladder of the token gate, at most six times a day, and
//! never while an earlier run may still be alive: it is never signalled, because a CLI killed in an exchange loses
//! the login.

use std::time::Duration;

use super::renewal::DAY;
use super::{Account, Action, Event, GateName, Turn};
use crate::policy::refresh::{self, Mark};
use crate::policy::time::{Moment, Now};

/// Runs within 24 hours.
const RUNS_A_DAY: usize = 6;
/// How long a run may take to show in the file; the wait, never a kill (credentials.md 8).
const WAIT: Duration = Duration::from_secs(90);

/// A run that has not shown in the file yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delegated {
    /// It has had no effect if nothing has changed by then.
    until: Moment,
}

impl Account {
    /// When the command is to be run, or its effect to be judged; `None` when neither is to be.
    pub(super) fn command_at(&self, now: Now) -> Option<Moment> {
        let login = self.login()?;
        login.refresh?;
        if let Some(delegated) = self.delegated {
            return Some(delegated.until);
        }
        if self.paused || login.unsafe_because.is_some() || self.refresh_mark().is_used_up() {
            return None;
        }
        let expiry = now.moment + now.until(login.expires_at?);
        let oldest = self.runs.iter().rev().nth(RUNS_A_DAY - 1);
        let budget = oldest.map(|at| now.moment + DAY.saturating_sub(now.since(*at)));
        let pauses = [self.token.pause().until(), self.auth.pause().until()];
        let holds = pauses.into_iter().flatten().map(|until| until.at).chain(budget).chain(self.refresh_not_before);
        Some(holds.fold(expiry, Moment::max))
    }

    /// It is time: judge the run that was, or start one.
    pub(super) fn run_command(&mut self, turn: &mut Turn) {
        let had_no_effect = self.delegated.take().is_some();
        let Some(token) = self.login().filter(|login| refresh::is_expired(login, turn.now)).and_then(|l| l.refresh)
        else {
            return;
        };
        let mark = self.marks.of(token);
        // A run of an earlier process whose effect nobody judged is one without effect.
        if had_no_effect || (mark.posts > 0 && !self.token.pause().is_open()) {
            self.counters.refresh_failures += 1;
            turn.tell(Event::RefreshFailed("its CLI ran and the file did not change".to_owned()));
            return self.token_refuses(None, turn);
        }
        self.mark(token, Mark { posts: mark.posts + 1, ..mark }, turn);
        self.runs.retain(|at| turn.now.since(*at) < DAY);
        self.runs.push(turn.now.stamp);
        self.persist_file(turn);
        self.delegated = Some(Delegated { until: turn.now.moment + WAIT });
        turn.tell(Event::RefreshSent);
        turn.act(Action::Run);
    }

    pub(super) fn on_launched(&mut self, result: Result<(), String>, turn: &mut Turn) {
        if let Err(why) = result {
            // Nothing ran, so nothing is used up.
            self.delegated = None;
            self.runs.pop();
            if let Some(token) = self.login().and_then(|login| login.refresh) {
                let mark = self.marks.of(token);
                self.mark(token, Mark { posts: mark.posts.saturating_sub(1), ..mark }, turn);
            }
            self.persist_file(turn);
            self.refresh_not_before = Some(turn.now.moment + self.rules.interval);
            turn.tell(Event::RefreshFailed(why.clone()));
            self.held = Some(why);
        }
    }

    /// The file holds another token: whatever was asked of the CLI is done.
    pub(super) fn on_delegated_change(&mut self, turn: &mut Turn) {
        if self.delegated.take().is_some() {
            self.counters.refreshes += 1;
            self.held = None;
            if self.token.succeed(&self.rules.gates, self.rules.interval * 2, turn.now.moment) {
                turn.tell(Event::GateCleared(GateName::Token));
            }
            turn.tell(Event::RefreshDone);
        }
    }
}

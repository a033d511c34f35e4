//! Looking at the credential file, and taking in what it holds.

use std::sync::Arc;
use std::time::Duration;

use super::{Account, Action, Activity, Event, LoginRecord, Look, Purpose, Recalled, Turn};
use crate::model::Credential;
use crate::policy::auth::AuthPause;
use crate::policy::gate::Gate;
use crate::policy::status::AccountState;
use crate::policy::time::{Deadline, Moment, Now};

/// How long a file must lie still before it is looked at again.
pub(super) const DEBOUNCE: Duration = Duration::from_millis(250);
/// First polls after a start leave within this, or a tenth of the interval if that is shorter.
const FIRST_POLLS: Duration = Duration::from_secs(5);

/// A fresh vendor lock: somebody is refreshing right now (credentials.md 9.1).
const IN_USE: Duration = Duration::from_secs(15);

impl Account {
    /// The debounce runs from the first sign of a change, so that a busy writer cannot put the look off for ever. The
    /// looks of a verdict keep their distances.
    pub(super) fn on_touched(&mut self, now: Moment) {
        if !matches!(self.next_purpose, Purpose::Verdict { .. }) {
            let soon = now + DEBOUNCE;
            self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
        }
    }

    pub(super) fn look(&mut self, purpose: Purpose, turn: &mut Turn) {
        self.activity = Activity::Looking(purpose);
        turn.act(Action::Look);
    }

    pub(super) fn on_looked(&mut self, look: Look, turn: &mut Turn) {
        let Activity::Looking(purpose) = self.activity.clone() else { return };
        self.activity = Activity::Idle;
        if let Some(again) = self.doubt(look.doubt, turn.now.moment) {
            return self.look_again(again, purpose);
        }
        self.warning = look.warning;
        if look.in_use {
            let soon = turn.now.moment + IN_USE;
            self.refresh_not_before = Some(self.refresh_not_before.map_or(soon, |at| at.max(soon)));
        }
        self.unplaced = look.unplaced;
        if self.take_in(look.credential, turn) {
            // Another login: its own gates come first; whatever the look was for belonged to the old one.
            self.activity = Activity::Recalling;
            turn.act(Action::Recall);
            return;
        }
        match purpose {
            Purpose::Turn => self.consult(turn),
            Purpose::Rejection { token, permanent, said } => self.on_rejection(token, permanent, said, turn),
            Purpose::Verdict { posted, said, looks, reason } => self.on_verdict(posted, said, looks, reason, turn),
        }
    }

    /// When to look again before this is believed; `None` when it is. A look that came early does not count: a busy
    /// directory proves nothing about the file.
    fn doubt(&mut self, waits: &[Duration], now: Moment) -> Option<Moment> {
        if waits.is_empty() {
            self.doubts = 0;
            self.doubted_until = None;
            return None;
        }
        if let Some(until) = self.doubted_until.filter(|until| *until > now) {
            return Some(until);
        }
        let again = waits.get(self.doubts).map(|wait| now + *wait);
        self.doubts += usize::from(again.is_some());
        self.doubted_until = again;
        again
    }

    fn look_again(&mut self, at: Moment, purpose: Purpose) {
        self.look_at = Some(self.look_at.map_or(at, |sooner| sooner.min(at)));
        if self.next_purpose == Purpose::Turn {
            self.next_purpose = purpose;
        }
    }

    /// Takes in what the file holds. Returns whether the login's stored state must be recalled first: at the first
    /// look, and when the file now belongs to another account.
    fn take_in(&mut self, credential: Credential, turn: &mut Turn) -> bool {
        let first = self.credential.is_none();
        let was_in_trouble = self.is_in_trouble(turn.now);
        self.credential = Some(credential);
        let Some(login) = self.login().cloned() else { return first };

        let known = self.known.replace(login.access);
        let is_new = known != Some(login.access);
        let is_foreign = is_new && (known.is_some() || !first) && !self.marks.of(login.access).minted;
        if is_new {
            self.life = login.expires_at.map_or(Duration::ZERO, |at| turn.now.until(at));
        }
        if self.cautious && first {
            self.fence_what_is_found(&login, turn);
        }
        if first {
            self.inherited_fence = self.refresh_mark().fence.is_some();
        }
        let switched = login.identity.is_some() && login.identity != self.identity;
        let is_another_account = switched && self.identity.is_some();
        if switched {
            self.identity.clone_from(&login.identity);
        }
        if is_another_account {
            self.forget_login();
            self.believed_from = Some(turn.now.stamp);
            turn.tell(Event::Warning("the credential file now belongs to another account".to_owned()));
        }
        if is_new {
            self.on_delegated_change(turn);
        }
        // What the file brought has been exchanged before it was asked with: a rotating token is no escape.
        self.early &= !is_new;
        if is_foreign {
            turn.tell(Event::CredentialsChanged);
            self.auth.lift();
            // While the user has paused it nothing leaves, so nothing is earned either: `resume` says what comes next.
            let may_earn = !self.paused;
            let is_cooling = !self.usage.pause().admits(turn.now.moment);
            self.early = may_earn && is_cooling && self.usage.spend_early_probe();
            self.earned = may_earn && (was_in_trouble || is_another_account || self.early);
            self.refresh_off = None;
            self.renewal_owed = false;
            self.tries = 0;
        }
        // What is stored under another key is recalled before anything is stored under it: a login that had no name
        // until now keeps what is known of it where that is harsher, see `restore_login`.
        let recalls = first || switched;
        if is_foreign && !recalls {
            self.persist_gates(turn);
        } else if is_new || switched {
            self.persist_file(turn);
        }
        recalls
    }

    /// Whether anything but the rate is wrong: then a new token is worth a request at once.
    fn is_in_trouble(&self, now: Now) -> bool {
        let fine = matches!(self.words(now).state, AccountState::Starting | AccountState::Ok | AccountState::Throttled);
        !fine || self.auth.pause().failures() > 0
    }

    pub(super) fn on_recalled(&mut self, recalled: &Recalled, turn: &mut Turn) {
        self.activity = Activity::Idle;
        let fresh = self.next_poll.is_none();
        for login in recalled.unnamed.iter().chain(&recalled.login) {
            self.restore_login(login, turn.now);
        }
        self.reading = self.reading.take().or_else(|| recalled.reading.clone().map(Arc::new));
        if self.cautious && fresh {
            self.usage = self.usage.harsher(Gate::cautious(&self.rules.gates, turn.now.moment, turn.dice));
            self.token = self.token.harsher(Gate::cautious(&self.rules.gates, turn.now.moment, turn.dice));
            self.auth = AuthPause::cautious(&self.rules.auth, turn.now.moment, turn.dice);
            self.cautious = false;
        }
        let spread = FIRST_POLLS.min(self.rules.interval / 10).mul_f64(turn.dice.roll());
        let first = Deadline::after(turn.now.moment, spread);
        self.next_poll = Some(self.next_poll.map_or(first, |stored| if fresh { stored.later(first) } else { stored }));
        self.hold_back();
        // Stored anew: on another boot, a deadline that a clock set back has lengthened must not begin again at each start.
        self.persist_gates(turn);
        if recalled.unnamed.as_ref().is_some_and(|unnamed| *unnamed != LoginRecord::default()) {
            self.move_unnamed(turn);
        }
        self.consult(turn);
    }
}

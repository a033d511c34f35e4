//! Renewing the access token: when a rotation starts, and what its end leads to.

use std::time::Duration;

use super::{Account, Action, Activity, Event, GateName, Purpose, Reason, Turn};
use crate::model::{CredentialOwner, Exchange, Fingerprint, Login, RefreshMode, Refusal};
use crate::policy::refresh::{self, Hold, Mark};
use crate::policy::rotation::{self, End, Next, Rotation, Step};
use crate::policy::time::{Deadline, Moment, Now};

/// An edge page on the token endpoint: at least this long (credentials.md 9.3, EDGE).
const EDGE_WAIT: Duration = Duration::from_mins(30);
/// A successor that waits for its place is tried again this often at least: until then the file holds a spent token.
const PLACING: Duration = Duration::from_mins(1);
pub(super) const DAY: Duration = Duration::from_hours(24);

impl Account {
    /// When a refresh for the sake of expiry is due; `None` when none will be sent by itself.
    pub(super) fn refresh_at(&self, now: Now) -> Option<Moment> {
        if self.rules.refresh.read_only {
            return None;
        }
        if self.unplaced.is_some() {
            return Some(self.refresh_not_before.unwrap_or(now.moment));
        }
        if !self.rules.sources.has_api() {
            // A token is for asking.
            return None;
        }
        if self.rules.refresh.mode == RefreshMode::Command {
            return self.command_at(now);
        }
        let login = self.login()?;
        let mark = self.refresh_mark();
        let due = match self.may_post(login, now) {
            Ok(_) if self.renewal_owed => now.moment,
            Ok(_) => refresh::due(&self.rules.refresh, login, self.life, now)?,
            // Behind an open fence nothing is sent while something could be lost; at expiry nothing is left to lose.
            Err(Hold::Fenced) => now.moment + now.until(login.expires_at?),
            Err(_) => return None,
        };
        // After an attempt without a definite answer the ladder decides, not the distance between refreshes.
        let is_first = mark.fence.is_none() && !self.renewal_owed;
        let spaced = self.minted_at.filter(|_| is_first).map(|at| at.at);
        let pauses = [self.token.pause().until(), self.auth.pause().until()];
        let holds = pauses.into_iter().flatten().map(|until| until.at).chain(spaced).chain(self.refresh_not_before);
        Some(holds.fold(due, Moment::max))
    }

    /// Whether a rejected token may be answered with a refresh at this moment.
    pub(super) fn may_refresh_now(&self, now: Now) -> bool {
        self.login().is_some_and(|login| self.may_post(login, now).is_ok())
            && self.token.pause().admits(now.moment)
            && self.refresh_not_before.is_none_or(|at| at <= now.moment)
    }

    /// Whether the rules allow the file's refresh token to be posted, timing apart.
    pub(super) fn may_post(&self, login: &Login, now: Now) -> Result<Fingerprint, Hold> {
        if self.paused {
            return Err(Hold::Unsafe("the account is paused".to_owned()));
        }
        if let Some(said) = self.refresh_off {
            return Err(Hold::Unsafe(said.to_owned()));
        }
        if self.never_until.is_some_and(|until| !until.passed(now.moment)) {
            return Err(Hold::Unsafe("somebody else refreshed this file twice in a day".to_owned()));
        }
        let mut mark = self.refresh_mark();
        if self.second_try {
            mark.dead = None;
        }
        refresh::may_post(&self.rules.refresh, login, &mark, now)
    }

    /// A refresh is due: place what was granted, or post.
    pub(super) fn renew(&mut self, turn: &mut Turn) {
        if let Some(unplaced) = self.unplaced.clone() {
            return self.begin(Rotation::placing(unplaced.posted, unplaced.minted), Reason::Placing, turn);
        }
        if self.rules.refresh.mode == RefreshMode::Command {
            return self.run_command(turn);
        }
        // A fence found open counts as a try whose outcome is unknown: a crash loop climbs like any other failure.
        if std::mem::take(&mut self.inherited_fence) {
            self.tries = self.refresh_mark().posts.saturating_sub(1);
            if !self.token.pause().is_open() {
                if !self.try_again_soon(turn) {
                    self.token_refuses(None, turn);
                }
                return;
            }
        }
        let reason = if self.renewal_owed { Reason::Rejection } else { Reason::Expiry };
        self.rotate(reason, turn);
    }

    /// Starts a rotation of the file's refresh token.
    pub(super) fn rotate(&mut self, reason: Reason, turn: &mut Turn) {
        let Some(posted) = self.login().and_then(|login| login.refresh) else { return };
        // Inside an auth incident one refresh per rung, whatever it is for.
        if self.auth.pause().is_open() {
            self.auth.spend_refresh();
        }
        self.fence_at_start = self.marks.of(posted).fence;
        self.begin(Rotation::of(posted), reason, turn);
    }

    fn begin(&mut self, rotation: Rotation, reason: Reason, turn: &mut Turn) {
        let step = rotation.step();
        self.activity = Activity::Rotating(Box::new(rotation), reason);
        turn.act(Action::Rotate(step));
    }

    pub(super) fn on_stepped(&mut self, event: rotation::Event, exchange: Option<Exchange>, turn: &mut Turn) {
        let Activity::Rotating(mut rotation, reason) = self.activity.clone() else { return };
        self.activity = Activity::Idle;
        if let Some(exchange) = exchange {
            self.note_exchange(exchange);
        }
        let posted = rotation.posted();
        self.note_answer(posted, &event, turn);
        if rotation.step() == Step::StoreSuccessor {
            self.note_successor(&rotation, event == rotation::Event::Done, reason, turn);
        }
        match rotation.on(event) {
            Next::Perform(step) => {
                self.activity = Activity::Rotating(rotation.clone(), reason);
                match step {
                    Step::OpenFence => {
                        let mark = self.marks.of(posted);
                        if mark.fence != self.fence_at_start || mark.is_used_up() && !self.second_try {
                            // Another account of ours holds the same token and was first.
                            let first = "another account posts the same token".to_owned();
                            return self.on_stepped(rotation::Event::Failed(first), None, turn);
                        }
                        self.unfenced = Some(mark.clone());
                        let mark = Mark {
                            fence: Some(turn.now.stamp),
                            posts: mark.posts + 1,
                            retried: mark.retried || self.second_try,
                            ..mark
                        };
                        self.marks.set(posted, mark.clone());
                        turn.act(Action::Fence(posted, mark));
                    }
                    Step::Post => {
                        turn.tell(Event::RefreshSent);
                        turn.act(Action::Rotate(step));
                    }
                    // The file is right again: the fence closes before a stored successor goes.
                    Step::Settle => {
                        self.close_fence(&rotation, turn);
                        turn.act(Action::Rotate(step));
                    }
                    _ => turn.act(Action::Rotate(step)),
                }
            }
            Next::Over(end) => self.on_rotated(posted, end, reason, turn),
        }
    }

    /// What the POST said about the posted token is stored at once, before the file is touched or a lock released.
    fn note_answer(&mut self, posted: Fingerprint, event: &rotation::Event, turn: &mut Turn) {
        let mark = self.marks.of(posted);
        let before = self.unfenced.clone().unwrap_or_default();
        match event {
            rotation::Event::Refused(Refusal::Terminal(said)) => {
                self.mark(posted, Mark { dead: Some((*said).to_owned()), fence: None, ..mark }, turn);
            }
            // The outcome stays unknown: the fence stays open.
            rotation::Event::Refused(Refusal::Unknown(_)) => {}
            rotation::Event::Refused(Refusal::NeverArrived(_)) => self.mark(posted, before, turn),
            // This POST spent nothing; what an earlier one did is as unknown as it was.
            rotation::Event::Refused(_) => self.mark(posted, Mark { fence: before.fence, ..mark }, turn),
            rotation::Event::Granted(minted) => {
                let access = self.marks.of(minted.access);
                self.mark(minted.access, Mark { minted: true, ..access }, turn);
                // A second try that succeeds takes the verdict back.
                if mark.dead.is_some() {
                    self.mark(posted, Mark { dead: None, ..mark }, turn);
                }
            }
            rotation::Event::Done
            | rotation::Event::Changed
            | rotation::Event::Busy(_)
            | rotation::Event::Failed(_) => return,
        }
        self.unfenced = None;
    }

    /// The successor is on disk, or could not be put there. Once it is, the posted token is spent for certain,
    /// whatever becomes of the file: a copy of it that lies elsewhere, or comes back, must not be posted.
    fn note_successor(&mut self, rotation: &Rotation, is_kept: bool, reason: Reason, turn: &mut Turn) {
        if reason != Reason::Placing {
            self.minted_at = Some(Deadline::after(turn.now.moment, self.rules.interval));
            self.persist_file(turn);
        }
        if is_kept {
            self.close_fence(rotation, turn);
        }
    }

    fn close_fence(&mut self, rotation: &Rotation, turn: &mut Turn) {
        let posted = rotation.posted();
        let mark = self.marks.of(posted);
        let spent = rotation.minted().is_some_and(|minted| minted.refresh != posted);
        if mark.fence.is_some() || mark.spent != spent {
            self.mark(posted, Mark { fence: None, spent: mark.spent || spent, ..mark }, turn);
        }
    }

    fn on_rotated(&mut self, posted: Fingerprint, end: End, reason: Reason, turn: &mut Turn) {
        let second_try = std::mem::take(&mut self.second_try);
        match end {
            End::Minted(_) => {
                turn.tell(Event::RefreshDone);
                self.on_minted(reason, turn);
                // Should it still count as unplaced, that is no reason to place it again at once.
                if reason == Reason::Placing {
                    self.refresh_not_before = Some(self.when_next_polled(turn.now));
                }
            }
            End::Unplaced(_, why) => {
                self.on_minted(reason, turn);
                let soon = turn.now.moment + self.rules.interval.min(PLACING);
                self.refresh_not_before = Some(soon);
                if reason != Reason::Placing {
                    turn.tell(Event::Warning(format!(
                        "the new token could not be written into the credential file: {why}; \
                         it is kept aside and used meanwhile"
                    )));
                }
            }
            End::Adopted => self.look(Purpose::Turn, turn),
            End::LostRace => self.on_lost_race(posted, turn),
            End::Busy(who) => self.on_busy(who, reason, turn),
            End::Held(why) => {
                // Nothing was sent: a fence that was opened for it is as it was before.
                if let Some(before) = self.unfenced.take() {
                    self.mark(posted, before, turn);
                }
                self.refresh_not_before = Some(self.when_next_polled(turn.now));
                self.second_try = false;
                self.auth.return_refresh();
                if self.held.as_ref() != Some(&why) {
                    turn.tell(Event::RefreshFailed(why.clone()));
                }
                self.held = Some(why);
                self.go_on_without(reason, turn);
            }
            End::Refused(refusal) => {
                self.counters.refresh_failures += 1;
                turn.tell(Event::RefreshFailed(refusal.said().to_owned()));
                self.on_refused(posted, refusal, reason, second_try, turn);
            }
        }
    }

    /// Not a failure: somebody else is refreshing, or was a moment ago. Five tries 1 to 2 s apart, as the vendor does,
    /// then the next look.
    fn on_busy(&mut self, who: String, reason: Reason, turn: &mut Turn) {
        const TRIES: u32 = 5;
        self.busy += 1;
        let again = if self.busy < TRIES {
            Duration::from_secs(1) + Duration::from_secs(1).mul_f64(turn.dice.roll())
        } else {
            self.busy = 0;
            self.rules.interval
        };
        self.refresh_not_before = Some(turn.now.moment + again);
        self.auth.return_refresh();
        self.held = Some(who);
        self.go_on_without(reason, turn);
    }

    fn on_minted(&mut self, reason: Reason, turn: &mut Turn) {
        self.refresh_not_before = None;
        self.held = None;
        if reason != Reason::Placing {
            let two_intervals = self.rules.interval * 2;
            if self.token.succeed(&self.rules.gates, two_intervals, turn.now.moment) {
                turn.tell(Event::GateCleared(GateName::Token));
            }
            self.tries = 0;
            self.renewal_owed = false;
            self.counters.refreshes += 1;
        }
        // One refresh and one request answer a rejection.
        self.earned |= reason == Reason::Rejection;
        self.persist_gates(turn);
        self.look(Purpose::Turn, turn);
    }

    pub(super) fn on_lost_race(&mut self, posted: Fingerprint, turn: &mut Turn) {
        turn.tell(Event::LostRace);
        let mark = self.marks.of(posted);
        self.mark(posted, Mark { fence: None, spent: true, ..mark }, turn);
        let now = turn.now;
        self.lost_races.retain(|at| now.since(*at) < DAY);
        self.lost_races.push(now.stamp);
        if self.lost_races.len() >= 2 {
            self.lost_races.clear();
            self.never_until = Some(Deadline::after(now.moment, DAY));
            turn.tell(Event::Warning(
                "somebody else refreshed this file first, twice in a day: not refreshing it for 24 h".to_owned(),
            ));
        }
        self.persist_file(turn);
        self.look(Purpose::Turn, turn);
    }

    fn on_refused(&mut self, posted: Fingerprint, refusal: Refusal, reason: Reason, second: bool, turn: &mut Turn) {
        match refusal {
            Refusal::Terminal(said) => {
                self.tries = 0;
                if second {
                    return self.go_on_without(reason, turn);
                }
                return self.look(Purpose::Verdict { posted, said, looks: 1, reason }, turn);
            }
            Refusal::Limited { demand } => self.token_refuses(demand, turn),
            Refusal::Challenge => self.token_refuses(Some(EDGE_WAIT), turn),
            Refusal::NeverArrived(_) => {
                self.renewal_owed = reason == Reason::Rejection;
                if self.try_again_soon(turn) {
                    self.second_try = second;
                    return self.decide(turn);
                }
                // Nothing was spent, so nothing is used up: the next poll may try again.
                self.tries = 0;
                self.renewal_owed = false;
                self.auth.return_refresh();
                self.refresh_not_before = Some(self.when_next_polled(turn.now));
            }
            Refusal::Unknown(_) => {
                let expired = self.login().is_some_and(|login| refresh::is_expired(login, turn.now));
                // While the access token lives the fence holds everything back; nothing to time. A token that others
                // use as well is not tried quickly.
                let is_shared = self.rules.refresh.owner == CredentialOwner::Vendor;
                if expired && (is_shared || !self.try_again_soon(turn)) {
                    self.token_refuses(None, turn);
                }
            }
            Refusal::Misconfigured(said) | Refusal::Account(said) => {
                self.refresh_off = Some(said);
                turn.tell(Event::Warning(format!("refreshing is switched off until a reload: {said}")));
            }
        }
        self.go_on_without(reason, turn);
    }

    /// A rotation brought nothing. A rejection that it was to answer is settled now.
    pub(super) fn go_on_without(&mut self, reason: Reason, turn: &mut Turn) {
        if reason == Reason::Rejection {
            let said = self.setback.as_ref().map_or_else(String::new, |setback| setback.said.clone());
            return self.settle_rejection(&said, turn);
        }
        self.decide(turn);
    }

    /// What was blocked is tried again with the next poll; where none is planned, an interval from now.
    fn when_next_polled(&self, now: Now) -> Moment {
        let next = self.next_poll.filter(|next| !next.passed(now.moment) && self.can_ask(now));
        next.map_or(now.moment + self.rules.interval, |next| next.at)
    }

    pub(super) fn token_refuses(&mut self, demand: Option<Duration>, turn: &mut Turn) {
        self.token.refuse(demand, &self.rules.gates, turn.now.moment, turn.dice);
        turn.tell(Event::GateCooling(GateName::Token));
        self.persist_gates(turn);
    }

    /// Draws the next quick try; `false` when they are used up.
    fn try_again_soon(&mut self, turn: &mut Turn) -> bool {
        let Some(wait) = refresh::retry_wait(&self.rules.refresh, self.tries) else { return false };
        self.tries += 1;
        self.refresh_not_before = Some(turn.now.moment + wait);
        true
    }

    /// In the cautious state the refresh token found may have been posted by a process nobody remembers.
    pub(super) fn fence_what_is_found(&mut self, login: &Login, turn: &mut Turn) {
        if let Some(token) = login.refresh {
            let mark = Mark { fence: Some(turn.now.stamp), posts: 1, ..self.marks.of(token) };
            self.mark(token, mark, turn);
        }
    }
}

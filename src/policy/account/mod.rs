//! One account: [`Input`] in, [`Action`]s out. Composes gates, auth pause, refresh and rotation.
//!
//! Owns the order of things: one operation at a time, every request preceded by a look at the credential file, and
//! one place (`decide`) where it is said what happens next. Never performs anything. `face` is what goes in and comes
//! out, `look` takes in what the file holds, `poll` what a request came to, `renewal` what a rotation came to, `verdict`
//! when a refusal is believed, `local` what is known without a request, `delegation` runs the vendor's CLI, `login_end`
//! foretells, `command` answers a person, `view` finds the words, `record` is what survives a restart.

mod command;
mod delegation;
mod face;
mod local;
mod login_end;
mod look;
mod poll;
mod record;
mod renewal;
mod verdict;
mod view;

use std::sync::Arc;
use std::time::Duration;

pub use command::{Answer, Command, Verdict};
pub use face::{Action, Event, GateName, Input, Look, Recalled, Rules, Sources, Unplaced};
pub use record::{Backlog, FileRecord, LoginRecord, Record};

use self::delegation::Delegated;
use self::login_end::Foretold;
use self::poll::{Poll, Setback};
use self::view::Words;
use super::auth::AuthPause;
use super::gate::{Gate, Pace};
use super::refresh::{Mark, Marks};
use super::rotation::Rotation;
use super::status::Counters;
use super::time::{BootId, Deadline, Dice, Moment, Now, Stamp, jittered};
use crate::model::{Credential, Exchange, Fingerprint, Login, Reading};

/// After a resume the network needs a moment; jitter comes on top.
const SETTLE: Duration = Duration::from_secs(10);

/// What the account waits for the shell to do. At most one thing at a time.
#[derive(Debug, Clone, PartialEq)]
enum Activity {
    Idle,
    Looking(Purpose),
    Recalling,
    Consulting,
    Asking(Fingerprint),
    Rotating(Box<Rotation>, Reason),
}

/// Why the file is looked at.
#[derive(Debug, Clone, PartialEq)]
enum Purpose {
    /// To decide what comes next.
    Turn,
    /// A token was rejected: is it still the one in the file?
    Rejection { token: Fingerprint, permanent: bool, said: &'static str },
    /// A refresh token was refused for good: is it still the one in the file? The count of looks so far.
    Verdict { posted: Fingerprint, said: &'static str, looks: usize, reason: Reason },
}

/// Why a rotation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Expiry,
    Rejection,
    Placing,
}

/// One call of [`Account::handle`]: the time, the dice, and what has been decided so far.
struct Turn<'a> {
    now: Now,
    dice: &'a mut dyn Dice,
    actions: Vec<Action>,
}

impl Turn<'_> {
    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn tell(&mut self, event: Event) {
        self.actions.push(Action::Tell(event));
    }
}

/// One account's whole state.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own; an enum would name their products")]
pub struct Account {
    rules: Rules,
    boot: BootId,
    /// Nothing is known for sure: see design.md, "Cautious state".
    cautious: bool,
    activity: Activity,

    /// The access token last seen, also before the last restart.
    known: Option<Fingerprint>,
    /// What the last look found; `None` before the first.
    credential: Option<Credential>,
    /// The account uuid, once known; forgotten never, replaced by a different one only.
    identity: Option<String>,
    /// How long the current access token was to live when it was first seen.
    life: Duration,
    unplaced: Option<Unplaced>,
    marks: Marks,

    usage: Gate,
    token: Gate,
    auth: AuthPause,
    pace: Pace,
    /// Set at each usage request: the floor ends then.
    asked: Option<Deadline>,
    /// When the next usage request is due. Drawn once.
    next_poll: Option<Deadline>,
    setback: Option<Setback>,
    answered: bool,
    reading: Option<Arc<Reading>>,
    /// The file changed hands then: no local reading from before is believed.
    believed_from: Option<Stamp>,
    /// When the local files were last read.
    consulted: Moment,
    paused: bool,

    /// A person wants the next poll: no local reading puts it off.
    wanted: bool,
    /// A changed credential earned one request: neither interval nor floor hold it back.
    earned: bool,
    /// The usage gate lets that request pass even while it cools.
    early: bool,
    /// The poll under way, between its first request and its end.
    poll: Option<Poll>,

    /// A successful refresh ended then; the next is at least one interval later.
    minted_at: Option<Deadline>,
    /// Tries since the last definite answer of the token endpoint.
    tries: u32,
    /// Tries in a row that found the lock held.
    busy: u32,
    /// Set by the outcome of a refresh: not before.
    refresh_not_before: Option<Moment>,
    /// The token endpoint refuses this client or account; until restart or reload.
    refresh_off: Option<&'static str>,
    /// A rejected token waits for a refresh that has not reached the server yet.
    renewal_owed: bool,
    /// `resume` has the dead token tried once more.
    second_try: bool,
    /// The mark of the token under rotation as it was before its fence was opened.
    unfenced: Option<Mark>,
    /// The fence the token stood behind when its rotation began.
    fence_at_start: Option<Stamp>,
    /// An earlier process left a fence open and nothing has been tried since.
    inherited_fence: bool,
    /// Why nothing was sent, the last time a refresh was due; for the reason shown.
    held: Option<String>,
    lost_races: Vec<Stamp>,
    never_until: Option<Deadline>,

    /// A look is due then: debounce, a torn or absent file, a verdict.
    look_at: Option<Moment>,
    next_purpose: Purpose,
    /// Looks in a row that found something doubtful.
    doubts: usize,
    /// The next look that counts among them is due then.
    doubted_until: Option<Moment>,
    warning: Option<String>,
    /// When the vendor's command was started, within the last day.
    runs: Vec<Stamp>,
    /// The command runs, or ran a moment ago.
    delegated: Option<Delegated>,
    /// What was said of the login's end.
    foretold: Option<Foretold>,
    /// The slow look at a file that nothing is asked with.
    tick: Moment,
    settle_until: Moment,
    /// How much later the next poll comes so that it is apart from those of other accounts; `None` before the first
    /// request since a start or a resume.
    apart: Option<Duration>,

    /// What was said when nothing was under way: half an operation is no news.
    settled: Words,
    since: Stamp,
    counters: Counters,
    exchanges: Vec<Arc<Exchange>>,
}

impl Account {
    /// An account that has looked at nothing yet. `file` and `marks` are what is stored; with `cautious`, nothing
    /// stored could be read, so every gate starts on the first rung and the refresh token found counts as posted.
    pub fn new(rules: Rules, boot: BootId, file: Option<&FileRecord>, marks: Marks, cautious: bool, now: Now) -> Self {
        let restored = file.cloned().unwrap_or_default().restore(now, &boot);
        Self {
            rules,
            boot,
            cautious,
            activity: Activity::Idle,
            known: restored.known,
            credential: None,
            identity: restored.identity,
            life: restored.life,
            unplaced: None,
            marks,
            usage: Gate::default(),
            token: Gate::default(),
            auth: restored.auth,
            pace: Pace::default(),
            asked: None,
            next_poll: None,
            setback: None,
            answered: false,
            reading: None,
            believed_from: restored.believed_from,
            consulted: Moment::default(),
            paused: restored.paused,
            wanted: false,
            earned: false,
            early: false,
            poll: None,
            minted_at: restored.minted_at,
            tries: 0,
            busy: 0,
            refresh_not_before: None,
            refresh_off: None,
            renewal_owed: false,
            second_try: false,
            unfenced: None,
            fence_at_start: None,
            inherited_fence: false,
            held: None,
            lost_races: restored.lost_races,
            never_until: restored.never_until,
            look_at: Some(now.moment),
            next_purpose: Purpose::Turn,
            doubts: 0,
            doubted_until: None,
            warning: None,
            runs: restored.runs,
            delegated: None,
            foretold: restored.foretold,
            tick: now.moment,
            settle_until: now.moment,
            apart: None,
            settled: Words::of_a_start(),
            since: now.stamp,
            counters: Counters::default(),
            exchanges: Vec::new(),
        }
    }

    /// Takes what happened and says what to do.
    pub fn handle(&mut self, input: Input, now: Now, dice: &mut dyn Dice) -> Vec<Action> {
        let mut turn = Turn { now, dice, actions: Vec::new() };
        match input {
            Input::Timer => self.on_timer(&mut turn),
            Input::Touched => self.on_touched(now.moment),
            Input::Looked(look) => self.on_looked(look, &mut turn),
            Input::Recalled(recalled) => self.on_recalled(&recalled, &mut turn),
            Input::Consulted(said) => self.on_consulted(said, &mut turn),
            Input::Heard => self.on_heard(now.moment),
            Input::HandedOver(said) => self.take_local(said, &mut turn),
            Input::Replied(outcome, exchange) => self.on_replied(outcome, exchange, &mut turn),
            Input::Stepped(event, exchange) => self.on_stepped(event, exchange, &mut turn),
            Input::Launched(result) => self.on_launched(result, &mut turn),
            Input::Configured(rules) => self.on_configured(*rules, &mut turn),
            Input::Woke => self.on_woke(&mut turn),
        }
        if self.is_settled() {
            self.note_state(&mut turn);
            self.foretell_end(&mut turn);
        }
        turn.actions
    }

    /// When [`Input::Timer`] is wanted; `None` while the account waits for the shell.
    pub fn next_wake(&self, now: Now) -> Option<Moment> {
        if self.activity != Activity::Idle {
            return None;
        }
        let turn = if self.paused {
            None
        } else if let Some(retry) = self.poll.and_then(|poll| poll.retry_at) {
            Some(retry)
        } else {
            let (poll, refresh) = (self.poll_at(now), self.refresh_at(now));
            [poll, refresh, self.consult_at(poll)].into_iter().flatten().min().or(Some(self.tick))
        };
        // What the file is about to say is waited for: nothing else is decided on half of it.
        let turn = turn.map(|at| self.doubted_until.map_or(at, |until| at.max(until)));
        let wake = turn.into_iter().chain(self.look_at).min()?;
        Some(wake.max(self.settle_until))
    }

    /// How much later than [`Self::next_wake`] the timer may come without anyone noticing: the slow look at a file
    /// rides along with whatever wakes the machine.
    pub fn slack(&self, now: Now) -> Duration {
        let idle = self.look_at.is_none() && !self.can_ask(now) && self.refresh_at(now).is_none();
        if idle { self.rules.interval / 2 } else { Duration::ZERO }
    }

    fn on_timer(&mut self, turn: &mut Turn) {
        if self.next_wake(turn.now).is_some_and(|at| at <= turn.now.moment) {
            let purpose = if self.look_at.is_some_and(|at| at <= turn.now.moment) {
                self.look_at = None;
                std::mem::replace(&mut self.next_purpose, Purpose::Turn)
            } else {
                Purpose::Turn
            };
            self.look(purpose, turn);
        }
    }

    fn on_configured(&mut self, rules: Rules, turn: &mut Turn) {
        let redraw = rules.interval != self.rules.interval || rules.jitter.to_bits() != self.rules.jitter.to_bits();
        self.rules = rules;
        self.refresh_off = None;
        if redraw && self.asked.is_some() {
            self.draw_next_poll(turn);
            self.persist_login(false, turn);
        }
        self.on_touched(turn.now.moment);
    }

    /// After a resume at most one request per endpoint leaves, once the network has had time to come back. Deadlines
    /// that passed meanwhile have merged into one by themselves: there is one of each.
    fn on_woke(&mut self, turn: &mut Turn) {
        let settle = SETTLE + SETTLE.mul_f64(turn.dice.roll());
        self.settle_until = turn.now.moment + settle;
        self.apart = None;
    }

    /// Says what happens next, whatever happened before: refresh, ask, or wait.
    fn decide(&mut self, turn: &mut Turn) {
        if self.activity != Activity::Idle || self.paused {
            return;
        }
        let now = turn.now;
        if now.moment < self.settle_until {
            self.look_at.get_or_insert(self.settle_until);
            return;
        }
        self.tick = now.moment + jittered(self.rules.interval, self.rules.jitter, turn.dice);
        if self.refresh_at(now).is_some_and(|at| at <= now.moment) {
            self.renew(turn);
        } else if self.may_ask_now(now) {
            self.ask(turn);
        } else {
            // What cannot leave now has no claim to leave later: only the schedule has.
            self.earned = false;
            self.early = false;
            if self.poll.is_some_and(|poll| poll.retry_at.is_some_and(|at| at <= now.moment)) {
                self.poll = None;
            }
        }
    }

    /// The login in the credential file, as last looked at.
    pub fn login(&self) -> Option<&Login> {
        self.credential.as_ref().and_then(Credential::login)
    }

    /// The mark of the file's refresh token.
    fn refresh_mark(&self) -> Mark {
        self.login().and_then(|login| login.refresh).map(|token| self.marks.of(token)).unwrap_or_default()
    }

    fn mark(&mut self, fingerprint: Fingerprint, mark: Mark, turn: &mut Turn) {
        self.marks.set(fingerprint, mark.clone());
        turn.act(Action::Persist(Record::Mark(fingerprint, mark)));
    }
}

#[cfg(test)]
mod tests;

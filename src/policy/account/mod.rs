//! One account: [`Input`] in, [`Action`]s out. Composes gates, auth pause, refresh and rotation.
//!
//! Owns the order of things: one operation at a time, every request preceded by a look at the credential file, and
//! one place ([`Account::decide`]) where it is said what happens next. Never performs anything. `poll` reads what a
//! request came to, `renewal` what a rotation came to, `command` answers a person, `view` finds the words, `record`
//! is what survives a restart.

mod command;
mod login_end;
mod poll;
mod record;
mod renewal;
mod view;

use std::time::Duration;

pub use command::{Answer, Command, Verdict};
pub use record::{FileRecord, LoginRecord, Record};

use self::login_end::Foretold;
use self::poll::{Poll, Setback};
use self::view::Words;
use super::auth::{AuthPause, AuthRules};
use super::gate::{Gate, GateRules, Pace};
use super::refresh::{self, Mark, Marks, RefreshRules};
use super::rotation::{self, Minted, Rotation, Step};
use super::status::{AccountState, Counters};
use super::time::{BootId, Deadline, Dice, Moment, Now, Stamp, jittered};
use crate::model::{AccountName, Credential, Exchange, Fingerprint, Login, ProviderId, Reading, UsageOutcome};

/// How long a file must lie still before it is looked at again.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// Looks after a terminal refusal of a refresh token, before it is believed (credentials.md 9.3).
const VERDICT_LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(4)];
/// After a resume the network needs a moment; jitter comes on top.
const SETTLE: Duration = Duration::from_secs(10);
/// First polls after a start leave within this, or a tenth of the interval if that is shorter.
const FIRST_POLLS: Duration = Duration::from_secs(5);

/// Everything configurable that an account's decisions depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Its label.
    pub name: AccountName,
    /// Its vendor.
    pub provider: ProviderId,
    /// The credential file, as shown.
    pub credentials: String,
    /// Scheme, host and port of the usage endpoint: gates belong to it.
    pub origin: String,
    /// The configured interval, already raised to the floor.
    pub interval: Duration,
    /// Two polls are never closer; zero for a loopback URL.
    pub floor: Duration,
    /// Lengthens the interval by up to this share.
    pub jitter: f64,
    /// Retries of transient failures within one poll.
    pub retries: u32,
    /// The first retry waits up to this; it doubles.
    pub retry_base: Duration,
    /// Up to this.
    pub retry_max: Duration,
    /// Consecutive 529s before the next source is used.
    pub overloaded_fallback: u32,
    /// Whether the account has another source than the API.
    pub has_other_source: bool,
    /// The scope a token needs to ask for usage.
    pub usage_scope: Option<&'static str>,
    /// What a person runs to log in again.
    pub login_command: String,
    /// Both rate-limit pauses.
    pub gates: GateRules,
    /// The auth pause.
    pub auth: AuthRules,
    /// The refresh.
    pub refresh: RefreshRules,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The moment of [`Account::next_wake`] has come.
    Timer,
    /// The credential file, or something beside it, may have changed.
    Touched,
    /// [`Action::Look`] was performed.
    Looked(Look),
    /// [`Action::Recall`] was performed: what is stored for the login.
    Recalled(Box<Recalled>),
    /// [`Action::Ask`] was performed.
    Replied(UsageOutcome, Exchange),
    /// [`Action::Fence`] or [`Action::Rotate`] was performed.
    Stepped(rotation::Event, Option<Exchange>),
    /// The configuration changed.
    Configured(Box<Rules>),
    /// The machine slept.
    Woke,
}

/// What a look at the credential file brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What the file holds, or, while a successor waits to be placed, what quotad knows to be newer.
    pub credential: Credential,
    /// How long to wait before each further look that must find the same before it is believed (a torn file, a
    /// missing one: credentials.md 9.1); empty when one look is enough.
    pub doubt: &'static [Duration],
    /// What a person should put right, although it keeps nothing from working.
    pub warning: Option<String>,
    /// A successor that was granted but does not lie in the file yet.
    pub unplaced: Option<Unplaced>,
}

/// A granted successor that waits for its place: the file still holds the posted token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unplaced {
    /// The token it replaces.
    pub posted: Fingerprint,
    /// The token that waits.
    pub minted: Minted,
}

/// What is stored for a login.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recalled {
    /// Gates, pace and deadlines.
    pub login: Option<LoginRecord>,
    /// The last good reading.
    pub reading: Option<Reading>,
}

/// What the shell must do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Read the credential file; answer with [`Input::Looked`].
    Look,
    /// Load what is stored under [`Account::login_key`]; answer with [`Input::Recalled`].
    Recall,
    /// Send one usage request with this access token; answer with [`Input::Replied`].
    Ask(Fingerprint),
    /// Store this mark durably; answer with [`Input::Stepped`], `Done` only if it is on disk.
    Fence(Fingerprint, Mark),
    /// Perform one step of a rotation; answer with [`Input::Stepped`].
    Rotate(Step),
    /// Store this, before anything that follows.
    Persist(Record),
    /// Tell the world.
    Tell(Event),
}

/// What is worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The state changed; the view says the rest.
    StateChanged {
        /// The state before.
        from: AccountState,
        /// The state now.
        to: AccountState,
    },
    /// A gate began to cool.
    GateCooling(GateName),
    /// A gate is clear again.
    GateCleared(GateName),
    /// The file holds a different access token, not of quotad's making.
    CredentialsChanged,
    /// A POST to the token endpoint leaves.
    RefreshSent,
    /// A new token lies in the file.
    RefreshDone,
    /// It does not; the phrase says why.
    RefreshFailed(String),
    /// Somebody else rotated first.
    LostRace,
    /// This login was refused for good; the view says the rest.
    AccountDead,
    /// The login ends within so many days.
    LoginEnding {
        /// 7, 3 or 1.
        days: u32,
    },
    /// Something a person should know; the phrase says what.
    Warning(String),
}

/// The three pauses an account can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateName {
    /// Rate limit of the usage endpoint.
    Usage,
    /// Rate limit of the token endpoint.
    Token,
    /// Rejected tokens.
    Auth,
}

impl GateName {
    /// The name used in JSON, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Token => "token",
            Self::Auth => "auth",
        }
    }
}

/// What the account waits for the shell to do. At most one thing at a time.
#[derive(Debug, Clone, PartialEq)]
enum Activity {
    Idle,
    Looking(Purpose),
    Recalling,
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
    reading: Option<Reading>,
    paused: bool,

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
    /// What was said of the login's end.
    foretold: Option<Foretold>,
    /// The slow look at a file that nothing is asked with.
    tick: Moment,
    settle_until: Moment,

    /// What was said when nothing was under way: half an operation is no news.
    settled: Words,
    since: Stamp,
    counters: Counters,
    exchanges: Vec<Exchange>,
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
            paused: restored.paused,
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
            inherited_fence: false,
            held: None,
            lost_races: restored.lost_races,
            never_until: restored.never_until,
            look_at: Some(now.moment),
            next_purpose: Purpose::Turn,
            doubts: 0,
            doubted_until: None,
            warning: None,
            foretold: restored.foretold,
            tick: now.moment,
            settle_until: now.moment,
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
            Input::Replied(outcome, exchange) => self.on_replied(outcome, exchange, &mut turn),
            Input::Stepped(event, exchange) => self.on_stepped(event, exchange, &mut turn),
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
            self.poll_at(now).into_iter().chain(self.refresh_at(now)).min().or(Some(self.tick))
        };
        let wake = turn.into_iter().chain(self.look_at).min()?;
        Some(wake.max(self.settle_until))
    }

    /// When the next poll may begin; `None` when none makes sense.
    fn poll_at(&self, now: Now) -> Option<Moment> {
        let next = self.next_poll.filter(|_| self.can_ask(now))?;
        let pauses = [self.usage.pause().until(), self.auth.pause().until()];
        Some(pauses.into_iter().flatten().map(|until| until.at).fold(next.at, Moment::max))
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

    /// The debounce runs from the first sign of a change, so that a busy writer cannot put the look off for ever. The
    /// looks of a verdict keep their distances.
    fn on_touched(&mut self, now: Moment) {
        if !matches!(self.next_purpose, Purpose::Verdict { .. }) {
            let soon = now + DEBOUNCE;
            self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
        }
    }

    fn look(&mut self, purpose: Purpose, turn: &mut Turn) {
        self.activity = Activity::Looking(purpose);
        turn.act(Action::Look);
    }

    fn on_looked(&mut self, look: Look, turn: &mut Turn) {
        let Activity::Looking(purpose) = std::mem::replace(&mut self.activity, Activity::Idle) else { return };
        if let Some(again) = self.doubt(look.doubt, turn.now.moment) {
            return self.look_again(again, purpose);
        }
        self.warning = look.warning;
        self.unplaced = look.unplaced;
        if self.take_in(look.credential, turn) {
            // Another login: its own gates come first; whatever the look was for belonged to the old one.
            self.activity = Activity::Recalling;
            turn.act(Action::Recall);
            return;
        }
        match purpose {
            Purpose::Turn => self.decide(turn),
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
            turn.tell(Event::Warning("the credential file now belongs to another account".to_owned()));
        }
        if is_foreign {
            turn.tell(Event::CredentialsChanged);
            self.auth.lift();
            self.early = !self.usage.pause().admits(turn.now.moment) && self.usage.spend_early_probe();
            self.earned = was_in_trouble || is_another_account || self.early;
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

    fn on_recalled(&mut self, recalled: &Recalled, turn: &mut Turn) {
        self.activity = Activity::Idle;
        let fresh = self.next_poll.is_none();
        if let Some(login) = &recalled.login {
            self.restore_login(login, turn.now);
        }
        self.reading = self.reading.take().or_else(|| recalled.reading.clone());
        if self.cautious && fresh {
            self.usage = Gate::cautious(&self.rules.gates, turn.now.moment, turn.dice);
            self.token = Gate::cautious(&self.rules.gates, turn.now.moment, turn.dice);
            self.auth = AuthPause::cautious(&self.rules.auth, turn.now.moment, turn.dice);
            self.cautious = false;
            self.persist_gates(turn);
        }
        let spread = FIRST_POLLS.min(self.rules.interval / 10).mul_f64(turn.dice.roll());
        let first = Deadline::after(turn.now.moment, spread);
        self.next_poll = Some(self.next_poll.map_or(first, |stored| if fresh { stored.later(first) } else { stored }));
        self.hold_back();
        if !fresh {
            self.persist_login(true, turn);
        }
        self.decide(turn);
    }

    fn on_configured(&mut self, rules: Rules, turn: &mut Turn) {
        let redraw = rules.interval != self.rules.interval || rules.jitter != self.rules.jitter;
        self.rules = rules;
        self.refresh_off = None;
        if redraw && self.asked.is_some() {
            self.draw_next_poll(turn);
            self.persist_login(false, turn);
        }
        self.tick = turn.now.moment;
    }

    /// After a resume at most one request per endpoint leaves, once the network has had time to come back. Deadlines
    /// that passed meanwhile have merged into one by themselves: there is one of each.
    fn on_woke(&mut self, turn: &mut Turn) {
        let settle = SETTLE + SETTLE.mul_f64(turn.dice.roll());
        self.settle_until = turn.now.moment + settle;
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

    fn login(&self) -> Option<&Login> {
        self.credential.as_ref().and_then(Credential::login)
    }

    /// The mark of the file's refresh token.
    fn refresh_mark(&self) -> Mark {
        self.login().and_then(|login| login.refresh).map(|token| self.marks.of(token)).unwrap_or_default()
    }

    /// Whether a usage request with the token at hand makes sense, timing apart.
    fn can_ask(&self, now: Now) -> bool {
        let Some(login) = self.login() else { return false };
        !self.paused
            && !refresh::is_expired(login, now)
            && self.marks.of(login.access).dead.is_none()
            && self.has_scope(login)
    }

    /// Whether it may leave now. An earned request passes interval and floor, and a cooling usage gate only as its
    /// one early probe.
    fn may_ask_now(&self, now: Now) -> bool {
        let at = now.moment;
        let due = self.next_poll.is_some_and(|next| next.passed(at))
            || self.poll.as_ref().is_some_and(|poll| poll.retry_at.is_some_and(|retry| retry <= at));
        self.can_ask(now)
            && self.auth.pause().admits(at)
            && (self.usage.pause().admits(at) || (self.earned && self.early))
            && (due || self.earned)
    }

    fn has_scope(&self, login: &Login) -> bool {
        match (&login.scopes, self.rules.usage_scope) {
            (Some(scopes), Some(needed)) => scopes.iter().any(|scope| scope == needed),
            _ => true,
        }
    }

    fn mark(&mut self, fingerprint: Fingerprint, mark: Mark, turn: &mut Turn) {
        self.marks.set(fingerprint, mark.clone());
        turn.act(Action::Persist(Record::Mark(fingerprint, mark)));
    }

    /// Takes note of a mark that another account of this state directory made.
    pub fn learn(&mut self, fingerprint: Fingerprint, mark: Mark) {
        self.marks.set(fingerprint, mark);
    }

    fn note_exchange(&mut self, exchange: Exchange) {
        const KEPT: usize = 20;
        if self.exchanges.len() >= KEPT {
            self.exchanges.remove(0);
        }
        self.exchanges.push(exchange);
    }

    /// Whether the state can be judged: nothing is under way that is about to change it.
    fn is_settled(&self) -> bool {
        self.activity == Activity::Idle && !matches!(self.next_purpose, Purpose::Verdict { .. })
    }

    /// Whether the first look and what is stored are in: from here on commands have answers.
    pub fn is_started(&self) -> bool {
        self.next_poll.is_some() && self.activity != Activity::Recalling
    }

    /// Whether something is under way, or due within a second.
    pub fn is_due_soon(&self, now: Now) -> bool {
        let soon = now.moment + Duration::from_secs(1);
        self.activity != Activity::Idle || self.poll.is_some() || self.next_wake(now).is_some_and(|at| at <= soon)
    }

    /// Whether a rotation is under way: it must not be cut off.
    pub fn is_rotating(&self) -> bool {
        matches!(self.activity, Activity::Rotating(..))
    }

    /// Whether the credential file is believed to be gone.
    pub fn is_absent(&self) -> bool {
        self.credential == Some(Credential::Absent)
    }

    /// The label.
    pub fn name(&self) -> &AccountName {
        &self.rules.name
    }

    /// The rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}

#[cfg(test)]
mod tests;

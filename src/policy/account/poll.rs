//! Asking for usage: the request, its retries, and what each answer leads to.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Account, Action, Activity, Event, GateName, Purpose, Reason, Record, Turn};
use crate::model::{Exchange, Failure, Fingerprint, Login, Reading, RefreshMode, Source, UsageOutcome, Window};
use crate::policy::auth::AuthPause;
use crate::policy::gate::{Gate, Pace};
use crate::policy::refresh::{self, Mark};
use crate::policy::time::{Deadline, Moment, Now, jittered};

const HOUR: Duration = Duration::from_hours(1);

/// One poll under way: a request and its retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Poll {
    /// It ends at the latest when the next one is due.
    pub(super) ends_at: Moment,
    pub(super) tries: u32,
    pub(super) overloaded: u32,
    /// The next try leaves then.
    pub(super) retry_at: Option<Moment>,
}

/// Polls that brought no reading and no verdict about token or rate, in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setback {
    pub(super) kind: SetbackKind,
    /// Why, as a clause.
    pub(super) said: String,
    pub(super) count: u32,
    /// What was counted: the kind itself, or, offline, what it interrupts.
    #[serde(default)]
    counted: Option<SetbackKind>,
}

/// Kinds of setback; each has its own wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SetbackKind {
    /// 5xx, timeouts, refused connections: 1, 2, then 4 intervals.
    Transient,
    /// No network: one interval; the count of what came before is kept as it is.
    Offline,
    /// An edge page: 30 minutes, doubling to 6 hours.
    Challenge,
    /// An answer nobody understands: 1 hour.
    Garbage,
    /// The endpoint is gone: 6 hours.
    Gone,
    /// Scope, plan, organisation or billing: once a day, and at each new token.
    NoPermission,
    /// The token was refused: one interval; the auth pause does the rest.
    Rejected,
}

impl SetbackKind {
    /// The wait after the `count`th in a row.
    fn wait(self, count: u32, interval: Duration) -> Duration {
        let doubled = |first: Duration, cap: Duration| {
            first.saturating_mul(1_u32.checked_shl(count.saturating_sub(1)).unwrap_or(u32::MAX)).min(cap)
        };
        let wait = match self {
            Self::Transient => doubled(interval, interval * 4),
            Self::Offline | Self::Rejected => interval,
            Self::Challenge => doubled(HOUR / 2, HOUR * 6),
            Self::Garbage => HOUR,
            Self::Gone => HOUR * 6,
            Self::NoPermission => HOUR * 24,
        };
        wait.max(interval)
    }
}

impl Account {
    /// The interval in force: configured, or learned from throttling.
    pub(super) fn interval(&self) -> Duration {
        self.pace.interval(self.rules.interval)
    }

    /// Whether a usage request with the token at hand makes sense, timing apart.
    pub(super) fn can_ask(&self, now: Now) -> bool {
        let Some(login) = self.login() else { return false };
        self.rules.sources.has_api()
            && !self.paused
            && !refresh::is_expired(login, now)
            && self.marks.of(login.access).dead.is_none()
            && self.has_scope(login)
    }

    /// Whether it may leave now. An earned request passes interval and floor, and a cooling usage gate only as its
    /// one early probe.
    pub(super) fn may_ask_now(&self, now: Now) -> bool {
        let at = now.moment;
        let due = self.due_at(now).is_some_and(|due| due <= at)
            || self.poll.as_ref().is_some_and(|poll| poll.retry_at.is_some_and(|retry| retry <= at));
        self.can_ask(now)
            && self.auth.pause().admits(at)
            && (self.usage.pause().admits(at) || (self.earned && self.early))
            && (due || self.earned)
    }

    pub(super) fn has_scope(&self, login: &Login) -> bool {
        match (&login.scopes, self.rules.usage_scope) {
            (Some(scopes), Some(needed)) => scopes.iter().any(|scope| scope == needed),
            _ => true,
        }
    }

    /// When the next poll may begin; `None` when none makes sense.
    pub(super) fn poll_at(&self, now: Now) -> Option<Moment> {
        let due = self.due_at(now).filter(|_| self.can_ask(now))?;
        let pauses = [self.usage.pause().until(), self.auth.pause().until()];
        Some(pauses.into_iter().flatten().map(|until| until.at).fold(due, Moment::max))
    }

    /// When the next poll is due: as drawn, or later where a local reading puts it off.
    fn due_at(&self, now: Now) -> Option<Moment> {
        let drawn = self.next_poll?.at;
        Some(self.put_off_until(now).map_or(drawn, |until| until.max(drawn)))
    }

    /// Sends one request. That it leaves, and when the next may, is stored first: a crash loop is no request loop.
    pub(super) fn ask(&mut self, turn: &mut Turn) {
        let Some(login) = self.login() else { return };
        let token = login.access;
        let now = turn.now.moment;
        self.asked = Some(Deadline::after(now, self.rules.floor));
        let interval = self.interval();
        if let Some(poll) = &mut self.poll {
            poll.retry_at = None;
        } else {
            self.poll = Some(Poll { ends_at: now + interval, tries: 0, overloaded: 0, retry_at: None });
            self.counters.polls += 1;
            self.apart = Some(self.apart.map_or(self.rules.spread, |_| Duration::ZERO));
        }
        // A pause that an early request goes through holds the next one back only while it stands: an answer ends it.
        self.next_poll = Some(Deadline::after(now, self.wait(interval, turn)));
        self.wanted = false;
        self.earned = false;
        self.early = false;
        self.persist_login(false, turn);
        self.activity = Activity::Asking(token);
        turn.act(Action::Ask(token));
    }

    /// Whether the vendor forbids the answer to this token: one try a day.
    pub(super) fn is_forbidden(&self) -> bool {
        self.setback.as_ref().is_some_and(|setback| setback.kind == SetbackKind::NoPermission)
    }

    /// No poll is due before the pauses let it pass.
    pub(super) fn hold_back(&mut self) {
        let pauses = [self.usage.pause().until(), self.auth.pause().until()];
        for until in pauses.into_iter().flatten() {
            self.next_poll = Some(self.next_poll.map_or(until, |next| next.later(until)));
        }
    }

    /// Keeps the last exchanges, for `explain`; of polls that brought a reading only a few, so that neither a refusal nor
    /// a refresh is lost among them.
    pub(super) fn note_exchange(&mut self, exchange: Exchange) {
        const KEPT: usize = 20;
        const ANSWERED: usize = 4;
        let is_answered = |exchange: &Exchange| exchange.meaning.ends_with(ANSWER);
        let mut answered = (0..self.exchanges.len()).filter(|i| is_answered(&self.exchanges[*i]));
        let oldest_answered = answered.next();
        if is_answered(&exchange) && answered.count() + 1 >= ANSWERED {
            oldest_answered.map(|oldest| self.exchanges.remove(oldest));
        } else if self.exchanges.len() >= KEPT {
            self.exchanges.remove(0);
        }
        self.exchanges.push(Arc::new(exchange));
    }

    pub(super) fn on_replied(&mut self, outcome: UsageOutcome, mut exchange: Exchange, turn: &mut Turn) {
        let Activity::Asking(token) = self.activity else { return };
        self.activity = Activity::Idle;
        exchange.meaning = meaning(&outcome);
        self.note_exchange(exchange);
        match outcome {
            UsageOutcome::Answered { windows, plan } => self.on_answered(windows, plan, turn),
            UsageOutcome::Limited { demand } => self.on_limited(demand, turn),
            UsageOutcome::Rejected { permanent, said } => {
                self.poll = None;
                self.look(Purpose::Rejection { token, permanent, said }, turn);
            }
            UsageOutcome::NoPermission { said } => self.set_back(SetbackKind::NoPermission, said, None, turn),
            UsageOutcome::Failed { failure, demand } => self.on_failed(failure, demand, turn),
        }
    }

    fn on_answered(&mut self, windows: Vec<Window>, plan: Option<String>, turn: &mut Turn) {
        let was_calm = self.is_calm();
        let two_intervals = self.interval() * 2;
        if self.usage.succeed(&self.rules.gates, two_intervals, turn.now.moment) {
            turn.tell(Event::GateCleared(GateName::Usage));
        }
        if self.auth.succeed(&self.rules.auth, two_intervals, turn.now.moment) {
            turn.tell(Event::GateCleared(GateName::Auth));
        }
        self.pace.recover(self.rules.interval);
        self.setback = None;
        self.poll = None;
        self.answered = true;
        self.counters.ok += 1;
        let plan = plan.or_else(|| self.login().and_then(|login| login.plan.clone()));
        let mut windows = windows;
        windows.shrink_to_fit();
        let reading = Reading { windows, plan, read_at: turn.now.stamp, source: Source::Api, earlier: None };
        let reading = Arc::new(reading.to_the_second());
        turn.act(Action::Persist(Record::Reading(self.login_key(), reading.clone())));
        self.reading = Some(reading);
        if !was_calm {
            self.persist_gates(turn);
        }
        self.decide(turn);
    }

    /// Whether a success changes nothing that is stored: then it costs no write of its own.
    fn is_calm(&self) -> bool {
        self.answered
            && self.setback.is_none()
            && self.pace == Pace::default()
            && self.usage == Gate::default()
            && self.auth == AuthPause::default()
    }

    /// A 429 fails fast: no retry, and the incident also changes the pace.
    fn on_limited(&mut self, demand: Option<Duration>, turn: &mut Turn) {
        self.poll = None;
        self.counters.throttled += 1;
        if !self.usage.pause().is_open() {
            self.pace.slow_down(self.rules.interval);
        }
        // The row of setbacks is over: the rate decides the wait now. Only a missing permission is not disproved.
        self.setback = self.setback.take().filter(|setback| setback.kind == SetbackKind::NoPermission);
        self.usage.refuse(demand, &self.rules.gates, turn.now.moment, turn.dice);
        turn.tell(Event::GateCooling(GateName::Usage));
        self.draw_next_poll(turn);
        self.persist_gates(turn);
        self.decide(turn);
    }

    fn on_failed(&mut self, failure: Failure, demand: Option<Duration>, turn: &mut Turn) {
        if let Some(retry_at) = self.retry_at(failure, demand, turn) {
            if let Some(poll) = &mut self.poll {
                poll.retry_at = Some(retry_at);
            }
            return;
        }
        let (kind, said) = match failure {
            Failure::Overloaded => (SetbackKind::Transient, "the vendor is overloaded (529)".to_owned()),
            Failure::Server(status) => (SetbackKind::Transient, format!("the usage endpoint answered {status}")),
            Failure::Timeout => (SetbackKind::Transient, "the usage endpoint did not answer in time".to_owned()),
            Failure::Connect => (SetbackKind::Transient, "the usage endpoint refused the connection".to_owned()),
            Failure::Offline => (SetbackKind::Offline, "this machine has no network".to_owned()),
            Failure::Challenge => (SetbackKind::Challenge, "an edge page stood before the usage endpoint".to_owned()),
            Failure::Garbage(how) => {
                (SetbackKind::Garbage, format!("the usage endpoint's answer made no sense: {how}"))
            }
            Failure::Gone(status) => (SetbackKind::Gone, format!("the usage endpoint is gone ({status})")),
            Failure::Refused(status) => {
                (SetbackKind::Gone, format!("the usage endpoint refused the request ({status})"))
            }
        };
        self.set_back(kind, &said, demand, turn);
    }

    /// When to try again within this poll; `None` ends it.
    fn retry_at(&mut self, failure: Failure, demand: Option<Duration>, turn: &mut Turn) -> Option<Moment> {
        let rules = &self.rules;
        let poll = self.poll.as_mut()?;
        poll.overloaded = if failure == Failure::Overloaded { poll.overloaded + 1 } else { 0 };
        let falls_back = rules.sources.has_local() && poll.overloaded >= rules.overloaded_fallback;
        if !failure.is_transient() || demand.is_some() || falls_back || poll.tries >= rules.retries {
            return None;
        }
        let cap = rules.retry_base.saturating_mul(1_u32.checked_shl(poll.tries).unwrap_or(u32::MAX));
        let at = turn.now.moment + cap.min(rules.retry_max).mul_f64(turn.dice.roll());
        poll.tries += 1;
        (at < poll.ends_at).then_some(at)
    }

    /// A poll ended without a reading: the next one waits what its kind of setback asks, and what the server asks.
    pub(super) fn set_back(&mut self, kind: SetbackKind, said: &str, demand: Option<Duration>, turn: &mut Turn) {
        self.poll = None;
        let row = self.setback.take().map_or((None, 0), |before| (before.counted, before.count));
        let (counted, count) = match kind {
            SetbackKind::Offline => row,
            _ if row.0 == Some(kind) => (row.0, row.1.saturating_add(1)),
            _ => (Some(kind), 1),
        };
        self.setback = Some(Setback { kind, said: said.to_owned(), count, counted });
        if let Some(demand) = demand {
            self.usage.hold(demand, &self.rules.gates, turn.now.moment, turn.dice);
        }
        self.draw_next_poll(turn);
        self.persist_login(true, turn);
        self.decide(turn);
    }

    /// Draws the next poll: an interval from the last request, or what the setback asks, and what the pauses ask.
    pub(super) fn draw_next_poll(&mut self, turn: &mut Turn) {
        let from = self.asked.map_or(turn.now.moment, |asked| asked.at - asked.length);
        self.next_poll = Some(Deadline::after(from, self.wait(self.distance(), turn)));
        self.hold_back();
    }

    fn wait(&self, distance: Duration, turn: &mut Turn) -> Duration {
        jittered(distance, self.rules.jitter, turn.dice) + self.apart.unwrap_or_default()
    }

    /// From the last request to the next, without jitter.
    pub(super) fn distance(&self) -> Duration {
        let interval = self.interval();
        self.setback.as_ref().map_or(interval, |setback| setback.kind.wait(setback.count, interval))
    }

    /// After a look: the file still holds the rejected token, or it does not and nothing is counted.
    pub(super) fn on_rejection(&mut self, token: Fingerprint, permanent: bool, said: &'static str, turn: &mut Turn) {
        let Some(login) = self.login().cloned() else { return self.decide(turn) };
        if login.access != token {
            self.earned = true;
            return self.decide(turn);
        }
        if refresh::is_expired(&login, turn.now) {
            return self.decide(turn);
        }
        self.counters.auth_failures += 1;
        self.auth.reject(turn.now.moment);
        if permanent {
            let mark = Mark { dead: Some(said.to_owned()), ..self.marks.of(token) };
            self.mark(token, mark, turn);
        }
        let minted = self.marks.of(token).minted;
        // The other modes leave a rejected token to its owner until it expires.
        let answers = self.rules.refresh.mode == RefreshMode::Always;
        if answers && self.auth.may_refresh(minted) && self.may_refresh_now(turn.now) {
            self.auth.spend_refresh();
            self.persist_gates(turn);
            self.setback = Some(rejected(said));
            return self.rotate(Reason::Rejection, turn);
        }
        self.settle_rejection(said, turn);
    }

    /// Nothing more can be tried with this rejection: wait.
    pub(super) fn settle_rejection(&mut self, said: &str, turn: &mut Turn) {
        self.setback = Some(rejected(said));
        if self.auth.settle(&self.rules.auth, turn.now.moment, turn.dice) {
            turn.tell(Event::GateCooling(GateName::Auth));
        }
        self.hold_back();
        self.persist_gates(turn);
        self.decide(turn);
    }
}

fn rejected(said: &str) -> Setback {
    let kind = SetbackKind::Rejected;
    Setback { kind, said: said.to_owned(), count: 1, counted: Some(kind) }
}

/// What ends the meaning of a reading, and of nothing else.
const ANSWER: &str = " windows";

/// The outcome in a few words, for `explain`.
fn meaning(outcome: &UsageOutcome) -> String {
    match outcome {
        UsageOutcome::Answered { windows, .. } => format!("{}{ANSWER}", windows.len()),
        UsageOutcome::Limited { demand: None } => "rate-limited, no advice".to_owned(),
        UsageOutcome::Limited { demand: Some(wait) } => format!("rate-limited, wait {} s", wait.as_secs()),
        UsageOutcome::Rejected { permanent: false, said } => (*said).to_owned(),
        UsageOutcome::Rejected { permanent: true, said } => format!("refused for good: {said}"),
        UsageOutcome::NoPermission { said } => format!("not allowed: {said}"),
        UsageOutcome::Failed { failure, .. } => match failure {
            Failure::Overloaded => "overloaded".to_owned(),
            Failure::Server(_) => "server error".to_owned(),
            Failure::Timeout => "no whole answer in time".to_owned(),
            Failure::Connect => "connection refused".to_owned(),
            Failure::Offline => "no network".to_owned(),
            Failure::Challenge => "edge page".to_owned(),
            Failure::Garbage(how) => format!("not understood: {how}"),
            Failure::Gone(_) => "endpoint gone".to_owned(),
            Failure::Refused(_) => "request refused".to_owned(),
        },
    }
}

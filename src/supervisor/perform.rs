//! Does what the policy says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handle::{Ask, Transition};
use super::pool::Owed;
use super::reach::relocation;
use super::{Supervisor, Wake, tell};
use crate::credential::delegate::Delegate;
use crate::credential::owner::telling_headers;
use crate::model::{AccountName, Endpoint, Exchange, Failure, Fingerprint, UsageOutcome};
use crate::policy::account::{Action, Answer, Command, Event, Input, Recalled, Record};
use crate::policy::alert::Alert;
use crate::policy::rotation::{self, Step};
use crate::provider::{self, Next, exchange, exchange::Broken};
use crate::state::StoreError;

/// What could not be stored is tried again after this, unless something else can be before.
const STORE_AGAIN: Duration = Duration::from_mins(1);

impl Supervisor {
    /// Hands an input to an account and performs what comes of it.
    pub(super) fn feed(&mut self, name: &AccountName, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.count(name, &input);
            let now = self.clock.now();
            let Some(held) = self.accounts.get_mut(name) else { return };
            held.touched = true;
            if let (Some(token), Input::Replied(UsageOutcome::Answered { .. }, exchange)) =
                (held.account.asking(), &input)
            {
                self.pool.vindicate(token, exchange.at, held.view.interval * 2, now.moment);
            }
            let actions = held.account.handle(input, now, &mut self.dice);
            inputs.extend(self.perform(name, actions));
        }
        self.retire(name);
    }

    /// Does what came over the socket; what is returned may be answered once it is stored.
    pub(super) fn serve(&mut self, ask: Ask) -> Option<Owed> {
        match ask {
            Ask::Command { account, command, answer } => {
                let answered = self.command(&account, command);
                let _ = answer.send(answered);
            }
            Ask::HandOver(account, said) => self.feed(&account, Input::HandedOver(said)),
            Ask::Select(asked, answer) => return self.select(&asked, answer),
            Ask::Report(said, answer) => match self.report(*said) {
                Some(reported) => return Some(Owed::Reported(answer, reported)),
                None => drop(answer.send(None)),
            },
            Ask::Pool(account, answer) => drop(answer.send(self.pool_view(&account))),
            Ask::History(account, since, answer) => drop(answer.send(self.past(&account, since))),
        }
        None
    }

    /// Hands a command to an account; `None` when there is no such account.
    pub(super) fn command(&mut self, name: &AccountName, command: Command) -> Option<Answer> {
        let now = self.clock.now();
        let held = self.accounts.get_mut(name)?;
        held.touched = true;
        if command == Command::Resume {
            self.pool.pardon(&held.candidate(now));
        }
        let (answer, actions) = held.account.command(command, now, &mut self.dice);
        for input in self.perform(name, actions) {
            self.feed(name, input);
        }
        Some(answer)
    }

    /// Hands a `poll` to every account.
    pub(super) fn poll_all(&mut self) {
        let accounts: Vec<_> = self.accounts.keys().cloned().collect();
        for account in accounts {
            self.command(&account, Command::Poll);
        }
    }

    /// Performs actions in their order. What could be answered on the spot is returned.
    fn perform(&mut self, name: &AccountName, actions: Vec<Action>) -> Vec<Input> {
        let mut answers = Vec::new();
        for action in actions {
            match action {
                Action::Look => answers.extend(self.look(name)),
                Action::Consult => answers.extend(self.consult(name)),
                Action::Recall => answers.extend(self.recall(name)),
                Action::Ask(token) => self.ask(name, token),
                Action::Fence(fingerprint, mark) => {
                    log_step(name, Step::OpenFence);
                    let record = Record::Mark(fingerprint, mark);
                    let stored = self.store(&record);
                    self.spread(name, &record);
                    let event = match stored {
                        Ok(()) => rotation::Event::Done,
                        Err(error) => rotation::Event::Failed(error.to_string()),
                    };
                    answers.push(Input::Stepped(event, None));
                }
                Action::Rotate(step) => answers.extend(self.rotate(name, step)),
                Action::Run => self.delegate(name),
                Action::Persist(record) => self.persist(name, &record),
                Action::Tell(event) => self.tell(name, &event),
            }
        }
        answers
    }

    fn look(&self, name: &AccountName) -> Option<Input> {
        self.accounts.get(name)?.owner.look().map(Input::Looked)
    }

    /// Has the local files read; where there are none, the answer is at hand.
    fn consult(&self, name: &AccountName) -> Option<Input> {
        let held = self.accounts.get(name)?;
        match &held.local {
            Some(local) => local.consult(self.clock.now().stamp, &held.reporter),
            None => Some(Input::Consulted(None)),
        }
    }

    fn recall(&mut self, name: &AccountName) -> Option<Input> {
        let account = &self.accounts.get(name)?.account;
        let (key, unnamed) = (account.login_key(), account.unnamed_key());
        if let Some(unnamed) = &unnamed {
            // Should that fail, the next start finds it still to be done.
            let _ = self.state.name_history(unnamed, &key);
        }
        let recalled = Recalled {
            unnamed: unnamed.and_then(|key| self.state.login(&key)),
            login: self.state.login(&key),
            reading: self.state.reading(&key),
        };
        if let Some(reading) = &recalled.reading {
            self.expect(&key, reading);
        }
        Some(Input::Recalled(Box::new(recalled)))
    }

    /// Sends one usage request beside the loop.
    fn ask(&mut self, name: &AccountName, token: Fingerprint) {
        let Some(held) = self.accounts.get(name) else { return };
        if self.stopping {
            return;
        }
        let (owner, config, reporter) = (held.owner.clone(), held.config.clone(), held.reporter.clone());
        let (transport, clock) = (self.transport.clone(), self.clock.clone());
        let deadline = self.config.poll.request_deadline;
        tokio::spawn(async move {
            let provider = provider::of(config.provider);
            let at = clock.now().stamp;
            let began = Instant::now();
            let lent = owner.lend(token).await;
            let mut replies = Vec::new();
            let mut broken = None;
            let outcome = loop {
                let tenant = lent.as_ref().and_then(|lent| lent.tenant.as_deref());
                let received = clock.now().stamp;
                let poll = provider::Poll { endpoints: &config.endpoints, tenant, replies: &replies, received };
                let (request, enough) = match provider.converse(&poll) {
                    Next::Send(request) => (request, None),
                    Next::Also(request, outcome) => (request, Some(outcome)),
                    Next::Over(outcome) => break outcome,
                };
                let answer = match &lent {
                    Some(lent) => transport.send(&request, &lent.access, deadline).await,
                    None => Err(Broken::Connect),
                };
                match (answer, enough) {
                    (Ok(reply), _) => replies.push(reply),
                    (Err(_), Some(outcome)) => break outcome,
                    (Err(cause), None) => break exchange::broken(broken.insert(cause), clock.now().stamp),
                }
            };
            let took = began.elapsed();
            let last = match &broken {
                Some(Broken::Cut(reply)) => reply.as_ref(),
                Some(_) => None,
                None => replies.last(),
            };
            let (status, headers) =
                last.map_or((None, Vec::new()), |reply| (Some(reply.status), telling_headers(reply)));
            let exchange = Exchange { at, endpoint: Endpoint::Usage, status, meaning: String::new(), headers, took };
            reporter.report(Input::Replied(outcome, exchange));
        });
    }

    /// Performs one step of a rotation. While the daemon stops, none is begun that has not been posted yet.
    fn rotate(&mut self, name: &AccountName, step: Step) -> Option<Input> {
        log_step(name, step);
        if self.stopping && step <= Step::Post {
            return Some(Input::Stepped(rotation::Event::Failed("quotad is stopping".to_owned()), None));
        }
        self.accounts.get(name)?.owner.perform(step);
        None
    }

    /// Starts the vendor's own command, beside the loop: a busy user manager can keep one waiting.
    fn delegate(&self, name: &AccountName) {
        let Some(held) = self.accounts.get(name) else { return };
        let config = &held.config;
        let write_lock = provider::of(config.provider).store().write_lock;
        let delegate = Delegate {
            account: name.clone(),
            command: config.command.clone(),
            relocation: relocation(config.provider, &config.credentials, &self.paths),
            write_lock: config.credentials.file().zip(write_lock).map(|(file, lock)| file.with_file_name(lock)),
            home: self.paths.home.clone(),
        };
        let reporter = held.reporter.clone();
        tokio::task::spawn_blocking(move || {
            reporter.report(Input::Launched(delegate.start()));
        });
    }

    /// A record that cannot be stored is kept in memory, said once, and stored as soon as it can be.
    fn persist(&mut self, name: &AccountName, record: &Record) {
        match self.store(record) {
            Ok(()) if !self.backlog.is_empty() => self.catch_up(),
            Ok(()) => {}
            Err(error) => {
                self.backlog.keep(record);
                self.note_unstored(&error, Some(name));
            }
        }
        self.spread(name, record);
    }

    /// Says once that something could not be stored, and sees to another try.
    pub(super) fn note_unstored(&mut self, error: &StoreError, of: Option<&AccountName>) {
        self.store_again();
        let said = error.to_string();
        if self.notice.as_ref() != Some(&said) {
            tracing::warn!(event = "state-not-stored", account = of.map(AccountName::as_str), "{said}");
            self.notice = Some(said);
        }
    }

    fn store(&mut self, record: &Record) -> Result<(), StoreError> {
        self.backlog.supersede(record);
        self.put(record)
    }

    /// Tries to store what could not be.
    pub(super) fn catch_up(&mut self) {
        for record in self.backlog.take() {
            if self.put(&record).is_err() {
                self.backlog.keep(&record);
            }
        }
        if !self.backlog.is_empty() {
            return self.store_again();
        }
        if !self.store_pool() || !self.store_alerts(false) {
            return;
        }
        self.schedule.set(&Wake::Storage, None, Duration::ZERO);
        if self.notice.as_ref().is_some_and(|notice| notice.starts_with("could not store")) {
            self.notice = None;
            tracing::info!(event = "state-stored", "the state can be stored again");
        }
    }

    fn store_again(&mut self) {
        let again = self.clock.now().moment + STORE_AGAIN;
        self.schedule.set(&Wake::Storage, Some(again), Duration::ZERO);
    }

    /// Once every account has its precautions stored, the loss of `state.db` is over.
    pub(super) fn note_recovery(&mut self) {
        let is_over = || self.accounts.values().all(|held| held.account.is_started());
        if self.state.set_aside().is_some() && self.backlog.is_empty() && is_over() {
            // Should that fail, the next start is cautious again, and no worse off.
            let _ = self.state.recovered();
        }
    }

    /// Lets the other accounts know what was stored, as far as it concerns them.
    fn spread(&mut self, name: &AccountName, record: &Record) {
        let Some(teller) = self.accounts.remove(name) else { return };
        let now = self.clock.now();
        for other in self.accounts.values_mut() {
            other.touched |= other.account.heed(record, &teller.account, now);
        }
        self.accounts.insert(name.clone(), teller);
    }

    /// Logs an event and passes a change of state on.
    fn tell(&mut self, name: &AccountName, event: &Event) {
        if let Some(held) = self.accounts.get(name) {
            let view = held.account.view(self.clock.now());
            tell::log(&view, event);
            if let Event::LoginEnding { days } = event {
                self.alerting.foretold.push(Alert::login_ending(&view, *days, self.clock.now().stamp));
            }
            if let Event::StateChanged { from, to } = event {
                let transition = Transition {
                    at: self.clock.now().stamp,
                    account: name.clone(),
                    from: *from,
                    to: *to,
                    reason: view.reason,
                    until: view.until,
                    action: view.action,
                };
                let _ = self.transitions.send(Arc::new(transition));
            }
        }
    }

    /// Counts what was sent, for the metrics.
    fn count(&mut self, name: &AccountName, input: &Input) {
        let (exchange, outcome) = match input {
            Input::Replied(outcome, exchange) => (exchange, usage_word(outcome)),
            Input::Stepped(event, Some(exchange)) => {
                let word = refresh_word(event);
                let traffic = Arc::make_mut(&mut self.traffic);
                *traffic.refreshes.entry((name.clone(), word)).or_default() += 1;
                (exchange, word)
            }
            _ => return,
        };
        let traffic = Arc::make_mut(&mut self.traffic);
        *traffic.requests.entry((name.clone(), exchange.endpoint, outcome)).or_default() += 1;
        traffic.timings.entry(exchange.endpoint).or_default().observe(exchange.took);
        tracing::debug!(
            account = %name,
            endpoint = exchange.endpoint.as_str(),
            status = exchange.status,
            outcome,
            took_ms = u64::try_from(exchange.took.as_millis()).unwrap_or(u64::MAX),
            "request"
        );
    }
}

/// Said right before the step is performed; the tests that kill the daemon at a step rely on it.
fn log_step(name: &AccountName, step: Step) {
    tracing::debug!(account = %name, step = step.as_str(), "rotation");
}

/// The outcome as a metric label.
fn usage_word(outcome: &UsageOutcome) -> &'static str {
    match outcome {
        UsageOutcome::Answered { .. } => "ok",
        UsageOutcome::Limited { .. } => "limited",
        UsageOutcome::Rejected { .. } => "rejected",
        UsageOutcome::NoPermission { .. } => "no-permission",
        UsageOutcome::Failed { failure, .. } => match failure {
            Failure::Overloaded => "overloaded",
            Failure::Server(_) => "server-error",
            Failure::Timeout => "timeout",
            Failure::Connect => "connect",
            Failure::Offline => "offline",
            Failure::Challenge => "challenge",
            Failure::Garbage(_) => "garbage",
            Failure::Gone(_) => "gone",
            Failure::Refused(_) => "refused",
        },
    }
}

/// The outcome of a POST as a metric label.
fn refresh_word(event: &rotation::Event) -> &'static str {
    use crate::model::Refusal;
    match event {
        rotation::Event::Granted(_) => "ok",
        rotation::Event::Refused(refusal) => match refusal {
            Refusal::Terminal(_) => "terminal",
            Refusal::Limited { .. } => "limited",
            Refusal::Unknown(_) => "unknown",
            Refusal::NeverArrived(_) => "never-arrived",
            Refusal::Misconfigured(_) => "misconfigured",
            Refusal::Challenge => "challenge",
            Refusal::Account(_) => "account",
        },
        rotation::Event::Done | rotation::Event::Changed | rotation::Event::Busy(_) | rotation::Event::Failed(_) => {
            "failed"
        }
    }
}

//! The pool's end of the loop: what the accounts are to the policy's pool, and that what it decided is stored before it is told.
//!
//! What waits in the queue is taken in together and stored in one transaction, so that many clients cost hardly more
//! than one. Decides nothing: who is chosen, and what a report changes, is `policy`'s to say.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Supervisor;
use super::handle::Ask;
use super::reach::Reach;
use super::roster::Held;
use crate::config::Config;
use crate::credential::holding::Lent;
use crate::model::{AccountName, Fingerprint, LocalReading, Outcome, ProviderId, Reading};
use crate::policy::account::{Command, Input};
use crate::policy::ladder::Ladder;
use crate::policy::pool::{Booked, Candidate, Choice, PassedOver, PoolRules, Report, Tally, Unavailable, Wish};
use crate::policy::refresh;
use crate::policy::time::{Now, Stamp};
use crate::provider;
use crate::provider::custom::Custom;

/// So many questions are taken in together at most: what the queue holds, and the one in hand.
const TOGETHER: usize = super::QUEUE + 1;
/// An unpaid account: longer than a card takes, shorter than a day (openclaw's billing lane).
const BILLING: (Duration, Duration) = (Duration::from_hours(5), Duration::from_hours(24));

/// What a caller asks for.
#[derive(Debug, Clone, Default)]
pub struct Selecting {
    /// Whose accounts; `None` for the only vendor there is.
    pub provider: Option<ProviderId>,
    /// The model, as the caller spells it.
    pub model: Option<String>,
    /// Who asks: the same caller keeps its account.
    pub caller: Option<String>,
    /// Whether the access token is wanted.
    pub token: bool,
    /// Whether a client has to be pointed at the login.
    pub reach: bool,
}

/// The account to use.
#[derive(Debug)]
pub struct Selected {
    /// Which, and why.
    pub choice: Choice,
    /// Its vendor.
    pub provider: ProviderId,
    /// How a client is made to use it.
    pub reach: Result<Reach, &'static str>,
    /// Names its access token, so that a report can say what it is about.
    pub credential: Option<Fingerprint>,
    /// The token, where it was asked for and may be given.
    pub token: Option<Lent>,
    /// When it expires.
    pub expires_at: Option<Stamp>,
}

/// Why there is no account to use.
#[derive(Debug)]
pub enum NotSelected {
    /// There is none of this vendor, or none at all.
    NoAccount(Option<ProviderId>),
    /// There are several vendors, and none was named.
    WhichProvider(Vec<ProviderId>),
    /// The accounts of this provider are those of several vendors, which only the config knows.
    Mixed,
    /// Tokens are not handed out.
    TokensStay,
    /// The token was replaced while it was fetched.
    TokenGone,
    /// None can be used now.
    Unavailable(Unavailable),
    /// The daemon ends.
    Stopping,
}

/// What a client says of a request.
#[derive(Debug, Clone)]
pub struct Reporting {
    /// Which account it used.
    pub account: AccountName,
    /// What became of the request.
    pub outcome: Outcome,
    /// How long the vendor asked to be left alone.
    pub demand: Option<Duration>,
    /// The model that was used.
    pub model: Option<String>,
    /// The model that a refusal is limited to.
    pub limited_to: Option<String>,
    /// Who used it.
    pub caller: Option<String>,
    /// The first digits of the name of the token that was used, as `select` gave them.
    pub credential: Option<String>,
    /// What the answer's headers said of the windows.
    pub reading: Option<Reading>,
}

/// What a report came to.
#[derive(Debug, Clone)]
pub struct Reported {
    /// What it changed.
    pub booked: Booked,
    /// When the daemon asks by itself, where that is due.
    pub check_at: Option<Stamp>,
    /// It is about another token than the one in the file now: what it says of token and windows is not held against
    /// this one.
    pub is_outdated: bool,
    /// Whether it is on disk.
    pub stored: bool,
}

/// How an account stands with its clients.
#[derive(Debug, Clone)]
pub struct PoolView {
    /// What was counted, ever.
    pub tally: Tally,
    /// Why it is out, if it is.
    pub out: Option<PassedOver>,
}

/// An answer that is owed until what led to it is stored.
pub(super) enum Owed {
    Selected(oneshot::Sender<Result<Selected, NotSelected>>, Result<Selected, NotSelected>),
    Reported(oneshot::Sender<Option<Reported>>, Reported),
}

impl Owed {
    fn send(self, stored: bool) {
        match self {
            Self::Selected(to, answer) => drop(to.send(answer)),
            Self::Reported(to, reported) => drop(to.send(Some(Reported { stored, ..reported }))),
        }
    }
}

/// What the config says of the pool.
pub(super) fn pool_rules(config: &Config) -> PoolRules {
    PoolRules {
        rate: config.rate_limit_pause.ladder.clone(),
        max_retry_after: config.rate_limit_pause.max_retry_after,
        auth_after: config.auth_pause.after,
        auth: config.auth_pause.ladder.clone(),
        billing: Ladder::new(vec![BILLING.0], BILLING.1),
        jitter: config.poll.jitter,
        overloaded_after: config.pool.overloaded_after,
        quiet: config.pool.quiet,
        fallback: config.pool.fallback.clone(),
    }
}

impl Held {
    /// The account as the pool sees it.
    pub(super) fn candidate(&self, now: Now) -> Candidate<'_> {
        let login = self.account.login();
        let (named, unnamed) = self.account.pool_keys();
        Candidate {
            name: self.account.name(),
            login: named,
            unnamed,
            token: self.account.token_seen(),
            is_readable: login.is_some(),
            by_token: self.by_token.is_ok_and(|token| token.is_some()),
            token_lives: login.is_some_and(|login| !refresh::is_expired(login, now)),
            unreachable: self.by_token.err(),
            state: self.view.state,
            until: self.view.until,
            reading: self.view.reading.as_deref(),
            weight: self.config.weight * provider::plan_weight(self.view.plan.as_deref()),
            interval: self.view.interval,
        }
    }
}

impl Supervisor {
    /// Takes in a question and everything that waits behind it.
    pub(super) fn serve_all(&mut self, first: Ask) {
        let mut answers: Vec<Owed> = self.serve(first).into_iter().collect();
        for _ in 1..TOGETHER {
            let Ok(ask) = self.asks.try_recv() else { break };
            answers.extend(self.serve(ask));
        }
        if !answers.is_empty() {
            let stored = self.store_pool();
            for answer in answers {
                answer.send(stored);
            }
        }
    }

    /// Chooses an account. A token is fetched beside the loop, so there may be nothing left to answer here.
    pub(super) fn select(
        &mut self,
        asked: &Selecting,
        answer: oneshot::Sender<Result<Selected, NotSelected>>,
    ) -> Option<Owed> {
        let (name, choice) = match self.choose(asked) {
            Ok(chosen) => chosen,
            Err(none) => return Some(Owed::Selected(answer, Err(none))),
        };
        let held = self.accounts.get(&name)?;
        let login = held.account.login();
        let selected = Selected {
            choice,
            provider: held.config.provider,
            reach: self.reach(&held.config),
            credential: login.map(|login| login.access),
            token: None,
            expires_at: login.and_then(|login| login.expires_at),
        };
        // Whoever wants to be led somewhere is given a token only where nothing else leads there.
        let is_needed = !asked.reach || held.by_token.is_ok_and(|token| token.is_some());
        let wants_token = asked.token && is_needed;
        let Some(token) = selected.credential.filter(|_| wants_token) else {
            return Some(Owed::Selected(answer, Ok(selected)));
        };
        self.pool.count_token(&held.account.pool_keys().0);
        let owner = held.owner.clone();
        tokio::spawn(async move {
            let lent = owner.lend(token).await;
            let selected = lent.map(|lent| Selected { token: Some(lent), ..selected });
            let _ = answer.send(selected.ok_or(NotSelected::TokenGone));
        });
        None
    }

    fn choose(&mut self, asked: &Selecting) -> Result<(AccountName, Choice), NotSelected> {
        let now = self.clock.now();
        if asked.token && !asked.reach && !self.config.pool.hand_out_tokens {
            return Err(NotSelected::TokensStay);
        }
        let mut providers: Vec<ProviderId> = self.accounts.values().map(|held| held.config.provider).collect();
        providers.sort_unstable();
        providers.dedup();
        let provider = match (asked.provider, &providers[..]) {
            (Some(provider), known) if known.contains(&provider) => provider,
            (None, [only]) => *only,
            (None, [_, ..]) => return Err(NotSelected::WhichProvider(providers)),
            (provider, _) => return Err(NotSelected::NoAccount(provider)),
        };
        self.look_again(now);
        let of_vendor: Vec<&Held> =
            self.accounts.values().map(|held| &**held).filter(|held| held.config.provider == provider).collect();
        // What `custom` describes are vendors of their own: a key of one must never reach another.
        let origin = |held: &&Held| provider::origin(&held.config.endpoints.usage_url).to_owned();
        let is_mixed = of_vendor.windows(2).any(|pair| origin(&pair[0]) != origin(&pair[1]));
        if provider == Custom::ID && is_mixed {
            return Err(NotSelected::Mixed);
        }
        let candidates: Vec<Candidate<'_>> = of_vendor.into_iter().map(|held| held.candidate(now)).collect();
        let wish = Wish {
            provider,
            model: asked.model.as_deref(),
            caller: asked.caller.as_deref(),
            needs_token: asked.token && !asked.reach,
            needs_environment: asked.reach,
        };
        let choice = self.pool.select(&wish, &candidates, now).map_err(NotSelected::Unavailable)?;
        Ok((choice.account.clone(), choice))
    }

    /// Takes in a report; `None` when there is no such account.
    pub(super) fn report(&mut self, said: Reporting) -> Option<Reported> {
        let now = self.clock.now();
        self.look_again(now);
        let held = self.accounts.get(&said.account)?;
        let of = held.candidate(now);
        let is_outdated = said
            .credential
            .as_deref()
            .is_some_and(|name| of.token.map(|token| token.to_string()).as_deref() != Some(name));
        let report = Report {
            outcome: said.outcome,
            demand: said.demand,
            model: said.model.as_deref(),
            limited_to: said.limited_to.as_deref(),
            caller: said.caller.as_deref(),
            is_outdated,
        };
        let booked = self.pool.report(&report, &of, held.config.provider, now, &mut self.dice);
        let (name, provider) = (said.account, held.config.provider);
        if let Some(out) = booked.out.as_ref().filter(|_| booked.is_news) {
            let until = out.until.map(|until| until.to_string());
            tracing::info!(event = "pool-left", account = %name, %provider, until, reason = out.reason, "clients are kept off it: {}", out.reason);
        }
        if let Some(model) = &booked.closed {
            // Only a name of the config's is told: any other comes from outside.
            let is_known = self.config.pool.fallback.iter().flatten().any(|known| known == model);
            let model = if is_known { model } else { "a model" };
            tracing::info!(event = "model-closed", %provider, "{model} is overloaded by the word of its clients");
        }
        if let Some(reading) = said.reading.filter(|_| !is_outdated) {
            self.feed(&name, Input::HandedOver(LocalReading { reading, identity: None }));
        }
        // Floor and gates hold: the answer says when.
        let check = if booked.check { self.command(&name, Command::Poll) } else { None };
        Some(Reported { booked, check_at: check.and_then(|answer| answer.at), is_outdated, stored: false })
    }

    /// How an account stands with its clients; `None` when there is no such account.
    pub(super) fn pool_view(&self, name: &AccountName) -> Option<PoolView> {
        let now = self.clock.now();
        let candidate = self.accounts.get(name)?.candidate(now);
        let tally = self.state.tally(&candidate.login);
        Some(PoolView { tally, out: self.pool.out(&candidate, None, now) })
    }

    /// Stores what the pool has to be stored. What cannot be is tried again; whether it is stored.
    pub(super) fn store_pool(&mut self) -> bool {
        if self.pool.is_stored() {
            return true;
        }
        let unstored = self.pool.take_unstored(self.clock.now());
        match self.state.store_pool(&unstored) {
            Ok(()) => true,
            Err(error) => {
                self.pool.owe(unstored);
                self.note_unstored(&error, None);
                false
            }
        }
    }
}

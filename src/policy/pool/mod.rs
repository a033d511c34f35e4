//! The account pool: which login and which model to use now.
//!
//! Owns who is passed over and why, the order among the others, which caller stays with which account, and what a
//! report changes. It says nothing of when quotad itself may ask: a usage gate that cools makes an account's numbers
//! older, not the account unusable, so such an account merely stands behind the others. `standing` is what clients
//! reported of a login, `headroom` what is left to use, `overload` which model.
//!
//! Never chooses among vendors, and never keeps a caller waiting: where nothing is available it says until when.

mod headroom;
mod overload;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::headroom::{Headroom, headroom, names};
use self::overload::{Overloads, in_order, listed};
pub use self::standing::StandingRecord;
use self::standing::{Booking, Standing};
use super::ladder::Ladder;
use super::status::AccountState;
use super::time::{BootId, Dice, Moment, Now, Stamp};
use crate::model::{AccountName, Fingerprint, Outcome, ProviderId, Reading};

/// Accounts whose headroom differs by less than this many points are used in turn.
const STEP: f64 = 5.0;
/// So many callers are remembered at most, the latest.
const MOST_CALLERS: usize = 4096;

/// Everything configurable that the pool's decisions depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolRules {
    /// The waits after rate limits of which the vendor did not say how long.
    pub rate: Ladder,
    /// What a vendor may demand at most.
    pub max_retry_after: Duration,
    /// So many refusals of a login in a row take the account out.
    pub auth_after: u32,
    /// The waits after those.
    pub auth: Ladder,
    /// The waits after unpaid bills.
    pub billing: Ladder,
    /// Lengthens every wait by up to this share.
    pub jitter: f64,
    /// So many overloads in a row close a model.
    pub overloaded_after: u32,
    /// For so long after the last of them.
    pub quiet: Duration,
    /// Models, each list in the order in which they take each other's place.
    pub fallback: Vec<Vec<String>>,
}

/// What a caller asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Whose accounts.
    pub provider: ProviderId,
    /// The model, as the caller spells it.
    pub model: Option<&'a str>,
    /// Who asks: the same caller gets the same account as long as it is available.
    pub caller: Option<&'a str>,
    /// Only a login whose access token is good now.
    pub needs_token: bool,
    /// Only a login that a client can be pointed at.
    pub needs_environment: bool,
}

/// An account of the provider, as the daemon knows it.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// Its label.
    pub name: &'a AccountName,
    /// What its standing belongs to: see [`super::account::Account::login_key`].
    pub login: String,
    /// The same while the login had no name.
    pub unnamed: Option<String>,
    /// Names the access token in the file; `None` where there is no login to use.
    pub token: Option<Fingerprint>,
    /// Whether that token has not expired.
    pub token_lives: bool,
    /// Why no client can be pointed at this login; `None` where one can.
    pub unreachable: Option<&'static str>,
    /// How it is.
    pub state: AccountState,
    /// When that changes by itself.
    pub until: Option<Stamp>,
    /// What is left.
    pub reading: Option<&'a Reading>,
    /// How much a point of its plan is worth beside one of another; above zero.
    pub weight: f64,
    /// The interval in force.
    pub interval: Duration,
}

/// What a client says of a request.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What became of it.
    pub outcome: Outcome,
    /// How long the vendor asked to be left alone.
    pub demand: Option<Duration>,
    /// The model that was used; without it the one that was last given out to this caller, or with this account.
    pub model: Option<&'a str>,
    /// The model that a refusal is limited to, by the vendor's word.
    pub limited_to: Option<&'a str>,
    /// Who used it.
    pub caller: Option<&'a str>,
    /// It is about another token than the one in the file now: that it was refused is counted, and says nothing of this one.
    pub is_outdated: bool,
}

/// The account to use.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Its label.
    pub account: AccountName,
    /// The model to use, where one was asked for.
    pub model: Option<String>,
    /// Points of percent left in its binding window; `None` where that is not known.
    pub headroom: Option<f64>,
    /// Why it is this one, as a clause.
    pub said: String,
    /// The others that were not available.
    pub passed_over: Vec<PassedOver>,
}

/// Nothing can be used now.
#[derive(Debug, Clone, PartialEq)]
pub struct Unavailable {
    /// The soonest moment something will be; `None` where nothing comes back by itself.
    pub until: Option<Stamp>,
    /// Whether a person must act on every one of them.
    pub needs_person: bool,
    /// Why, each.
    pub passed_over: Vec<PassedOver>,
}

/// An account that cannot be used now.
#[derive(Debug, Clone, PartialEq)]
pub struct PassedOver {
    /// Its label.
    pub account: AccountName,
    /// Why, as a clause.
    pub reason: String,
    /// Until when; `None` where that is not known, or not a matter of time.
    pub until: Option<Stamp>,
    /// Whether it stays so until a person acts.
    pub needs_person: bool,
}

/// What a report came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Booked {
    /// Why the account is out, if it is.
    pub out: Option<PassedOver>,
    /// Whether this report took it out.
    pub is_news: bool,
    /// The daemon had better find out by itself whether the login works.
    pub check: bool,
    /// The model that this report closed.
    pub closed: Option<String>,
}

/// What is counted of a login: sums to be added to what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Times it was given out.
    pub selects: u64,
    /// Access tokens handed out.
    pub tokens: u64,
    /// Reports about it.
    pub reports: u64,
    /// Of these, successes.
    pub successes: u64,
    /// Of these, failures; what a caller gave up, or should not have sent, is neither.
    pub failures: u64,
    /// Pauses that reports began.
    pub cooldowns: u64,
    /// When it was last given out.
    pub last_used: Option<Stamp>,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.selects += other.selects;
        self.tokens += other.tokens;
        self.reports += other.reports;
        self.successes += other.successes;
        self.failures += other.failures;
        self.cooldowns += other.cooldowns;
        self.last_used = self.last_used.max(other.last_used);
    }
}

/// When and for what a login was last given out.
#[derive(Debug, Clone, Default)]
struct Use {
    turn: u64,
    model: Option<String>,
}

/// Which account a caller has.
#[derive(Debug, Clone)]
struct Caller {
    login: String,
    model: Option<String>,
    turn: u64,
}

/// The whole pool.
#[derive(Debug)]
pub struct Pool {
    rules: PoolRules,
    boot: BootId,
    standings: BTreeMap<String, Standing>,
    uses: BTreeMap<String, Use>,
    callers: BTreeMap<(ProviderId, String), Caller>,
    overloads: Overloads,
    turn: u64,
    /// Whose standing is not stored as it is.
    unstored: BTreeSet<String>,
    owed: BTreeMap<String, Tally>,
}

/// An account that can be used, and how it ranks.
struct Available<'c, 'a> {
    candidate: &'c Candidate<'a>,
    headroom: Option<f64>,
    /// The lower the better.
    tier: u8,
    /// The higher the better.
    worth: f64,
    turn: u64,
}

impl Pool {
    /// The pool as it was: every standing, and when each login was last used.
    pub fn new(
        rules: PoolRules,
        boot: BootId,
        stored: Vec<(String, StandingRecord)>,
        mut used: Vec<(String, Stamp)>,
        now: Now,
    ) -> Self {
        used.sort_by_key(|(_, at)| *at);
        let standings = stored.into_iter().map(|(login, record)| (login, record.restore(now, &boot))).collect();
        let turn = used.len() as u64;
        let uses = used.into_iter().zip(1..).map(|((login, _), turn)| (login, Use { turn, model: None })).collect();
        Self {
            rules,
            boot,
            standings,
            uses,
            callers: BTreeMap::new(),
            overloads: Overloads::default(),
            turn,
            unstored: BTreeSet::new(),
            owed: BTreeMap::new(),
        }
    }

    /// The config changed.
    pub fn configured(&mut self, rules: PoolRules) {
        self.rules = rules;
    }

    /// Which of `candidates`, all of the wish's provider, to use now.
    ///
    /// # Errors
    /// [`Unavailable`]: none of them.
    pub fn select(&mut self, wish: &Wish<'_>, candidates: &[Candidate<'_>], now: Now) -> Result<Choice, Unavailable> {
        for candidate in candidates {
            self.meet(candidate);
        }
        let lists = std::mem::take(&mut self.rules.fallback);
        let models: Vec<Option<&str>> =
            wish.model.map_or_else(|| vec![None], |model| in_order(model, &lists).into_iter().map(Some).collect());
        let is_closed = |model: &Option<&str>| {
            model.is_some_and(|model| self.closed_until(wish.provider, listed(model, &lists), now.moment).is_some())
        };
        // Where every model is overloaded the order of the list stands: an overload is no refusal.
        let open = models.iter().filter(|model| !is_closed(model)).map(|model| (*model, false));
        let tries: Vec<_> =
            open.chain(models.iter().filter(|model| is_closed(model)).map(|model| (*model, true))).collect();
        let chosen = tries.into_iter().find_map(|(model, is_closed)| {
            let best = self.best(wish, model, candidates, now)?;
            let said = self.said(wish, model, is_closed, best.headroom, |wanted| {
                self.closed_until(wish.provider, listed(wanted, &lists), now.moment).is_some()
            });
            Some((best.candidate, model.map(str::to_owned), best.headroom, said))
        });
        let out = |candidate: &Candidate<'_>, model: Option<&str>| self.passed_over(wish, model, candidate, now);
        let result = match chosen {
            Some((candidate, model, headroom, said)) => {
                let passed_over = candidates.iter().filter_map(|one| out(one, model.as_deref())).collect();
                Ok((candidate, Choice { account: candidate.name.clone(), model, headroom, said, passed_over }))
            }
            None => {
                let of = |model: Option<&str>| candidates.iter().filter_map(|one| out(one, model)).collect::<Vec<_>>();
                let until = models.iter().flat_map(|model| of(*model)).filter_map(|one| one.until).min();
                let passed_over = of(wish.model);
                let needs_person = until.is_none() && passed_over.iter().all(|one| one.needs_person);
                Err(Unavailable { until, needs_person, passed_over })
            }
        };
        self.rules.fallback = lists;
        let (candidate, choice) = result?;
        self.hand_out(wish, candidate, choice.model.as_deref(), now);
        Ok(choice)
    }

    /// Takes a report about an account in.
    pub fn report(
        &mut self,
        report: &Report<'_>,
        of: &Candidate<'_>,
        provider: ProviderId,
        now: Now,
        dice: &mut dyn Dice,
    ) -> Booked {
        self.meet(of);
        let caller = report.caller.map(|caller| (provider, caller.to_owned()));
        let is_callers = |known: &&Caller| known.login == of.login;
        let last = caller
            .as_ref()
            .and_then(|caller| self.callers.get(caller))
            .filter(is_callers)
            .and_then(|c| c.model.clone());
        let last = last.or_else(|| self.uses.get(&of.login).and_then(|used| used.model.clone()));
        let model = report.model.map(str::to_owned).or(last);
        let closed = model.and_then(|model| self.weigh_model(provider, &model, report.outcome, now.moment));

        let is_refusal = matches!(report.outcome, Outcome::Auth | Outcome::AuthPermanent);
        let outcome = if report.is_outdated && is_refusal { Outcome::Refused } else { report.outcome };
        let standing = self.standings.entry(of.login.clone()).or_default();
        let before = standing.clone();
        let booking = Booking {
            outcome,
            demand: report.demand,
            model: report.limited_to,
            token: of.token,
            two_intervals: of.interval * 2,
        };
        let begins = standing.book(&booking, &self.rules, now.moment, dice);
        if *standing != before {
            self.unstored.insert(of.login.clone());
        }
        let is_out = self.out(of, None, now);
        // A timeout is no reason to keep the account from others, but this caller tries another one.
        if report.outcome == Outcome::Timeout || is_out.is_some() {
            caller.map(|caller| self.callers.remove(&caller));
        }
        self.tally(
            &of.login,
            Tally {
                reports: 1,
                successes: u64::from(report.outcome == Outcome::Ok),
                failures: u64::from(!matches!(report.outcome, Outcome::Ok | Outcome::Aborted | Outcome::Refused)),
                cooldowns: u64::from(begins),
                ..Tally::default()
            },
        );
        Booked { out: is_out, is_news: begins, check: begins && is_refusal, closed }
    }

    /// Counts access tokens that were handed out.
    pub fn count_token(&mut self, login: &str) {
        self.tally(login, Tally { tokens: 1, ..Tally::default() });
    }

    /// The daemon's own poll was answered with this token.
    pub fn vindicate(&mut self, login: &str, token: Fingerprint) {
        if self.standings.get_mut(login).is_some_and(|standing| standing.vindicate(token)) {
            self.unstored.insert(login.to_owned());
        }
    }

    /// A person resumed the account.
    pub fn pardon(&mut self, login: &str) {
        if self.standings.get_mut(login).is_some_and(Standing::pardon) {
            self.unstored.insert(login.to_owned());
        }
    }

    /// Why clients cannot use this account now, whatever the model; `None` where they can.
    pub fn out(&self, of: &Candidate<'_>, model: Option<&str>, now: Now) -> Option<PassedOver> {
        let standing = self.standings.get(&of.login)?;
        let out = standing.out(|own| model.is_some_and(|model| names(own, model)), now.moment)?;
        Some(PassedOver {
            account: of.name.clone(),
            reason: out.why.to_owned(),
            until: out.until.map(|at| now.stamp_at(at)),
            needs_person: out.until.is_none(),
        })
    }

    /// What has changed since it was last stored: standings, `None` for one that has nothing to say any more, and sums
    /// to be added. What cannot be stored is to be given back to [`Self::owe`].
    pub fn take_unstored(&mut self, now: Now) -> Unstored {
        let empty = StandingRecord::default();
        let record = |login: &String| self.standings.get(login).map(|standing| standing.save(now, &self.boot));
        let unstored = std::mem::take(&mut self.unstored);
        let standings = unstored.into_iter().map(|login| (record(&login).filter(|record| *record != empty), login));
        let standings = standings.map(|(record, login)| (login, record)).collect();
        Unstored { standings, tallies: std::mem::take(&mut self.owed) }
    }

    /// This could not be stored: it is tried again with the next.
    pub fn owe(&mut self, unstored: Unstored) {
        self.unstored.extend(unstored.standings.into_keys());
        for (login, tally) in unstored.tallies {
            self.tally(&login, tally);
        }
    }

    /// Whether everything is stored.
    pub fn is_stored(&self) -> bool {
        self.unstored.is_empty() && self.owed.is_empty()
    }

    /// What was said of a login while it had no name is its own, the harsher of both; what was said of another token
    /// than the one in the file is over.
    fn meet(&mut self, candidate: &Candidate<'_>) {
        if let Some(unnamed) = &candidate.unnamed
            && let Some(before) = self.standings.remove(unnamed)
        {
            let named = self.standings.remove(&candidate.login).unwrap_or_default();
            self.standings.insert(candidate.login.clone(), named.harsher(before));
            self.unstored.extend([unnamed.clone(), candidate.login.clone()]);
        }
        if let (Some(standing), Some(token)) = (self.standings.get_mut(&candidate.login), candidate.token)
            && standing.meet(token)
        {
            self.unstored.insert(candidate.login.clone());
        }
    }

    fn closed_until(&self, provider: ProviderId, model: &str, now: Moment) -> Option<Moment> {
        self.overloads.until(provider, model, self.rules.overloaded_after, self.rules.quiet, now)
    }

    /// What a report says of its model. Returns the model if this one closed it.
    fn weigh_model(&mut self, provider: ProviderId, model: &str, outcome: Outcome, now: Moment) -> Option<String> {
        let model = listed(model, &self.rules.fallback);
        match outcome {
            Outcome::Ok => self.overloads.clear(provider, model),
            Outcome::Overloaded if self.overloads.count(provider, model, self.rules.overloaded_after, now) => {
                return Some(model.to_owned());
            }
            _ => {}
        }
        None
    }

    /// The best account for a model: the caller's own while it is available, else the first in rank.
    fn best<'c, 'a>(
        &self,
        wish: &Wish<'_>,
        model: Option<&str>,
        candidates: &'c [Candidate<'a>],
        now: Now,
    ) -> Option<Available<'c, 'a>> {
        let own = wish.caller.and_then(|caller| self.callers.get(&(wish.provider, caller.to_owned())));
        let available = candidates.iter().filter(|one| self.passed_over(wish, model, one, now).is_none());
        let ranked = available.map(|candidate| {
            let headroom = match headroom(candidate.reading, model, now.stamp) {
                Headroom::Left(left) => Some(left),
                Headroom::Exhausted { .. } | Headroom::Unknown => None,
            };
            let is_doubted =
                self.standings.get(&candidate.login).is_some_and(|standing| standing.is_doubted(now.moment));
            let tier = match candidate.state {
                _ if is_doubted => 3,
                AccountState::Throttled | AccountState::Failing | AccountState::Offline => 2,
                _ if headroom.is_none() => 1,
                _ => 0,
            };
            let worth = headroom.map_or(1.0, |left| (left / STEP).ceil()) * candidate.weight;
            let turn = self.uses.get(&candidate.login).map_or(0, |used| used.turn);
            Available { candidate, headroom, tier, worth, turn }
        });
        let is_own = |one: &Available<'_, '_>| own.is_some_and(|own| own.login == one.candidate.login);
        ranked.min_by(|one, other| {
            let own = is_own(other).cmp(&is_own(one));
            let rank = own.then(one.tier.cmp(&other.tier)).then(other.worth.total_cmp(&one.worth));
            rank.then(one.turn.cmp(&other.turn))
        })
    }

    /// Why an account cannot be used for a model now; `None` where it can.
    fn passed_over(&self, wish: &Wish<'_>, model: Option<&str>, of: &Candidate<'_>, now: Now) -> Option<PassedOver> {
        let person = |reason: &str| Some((reason.to_owned(), None, true));
        let wait = |reason: String, until| Some((reason, until, false));
        let found = match of.state {
            AccountState::Paused => person("paused by you"),
            AccountState::Dead => person("this login was refused for good"),
            AccountState::SignedOut => person("nobody is logged in"),
            AccountState::NoPermission => person("scope, plan or organisation forbids it"),
            AccountState::AuthPaused => wait("this login was refused several times in a row".to_owned(), of.until),
            AccountState::Starting if of.token.is_none() => wait("not looked at yet".to_owned(), Some(now.stamp)),
            _ if of.token.is_none() => person("its credential file cannot be read"),
            _ if wish.needs_token && !of.token_lives => wait("its access token has expired".to_owned(), None),
            _ => None,
        };
        let unreachable = of.unreachable.filter(|_| wish.needs_environment);
        let found = found.or_else(|| unreachable.and_then(person));
        let found = found.map(|(reason, until, needs_person)| PassedOver {
            account: of.name.clone(),
            reason,
            until,
            needs_person,
        });
        found.or_else(|| self.out(of, model, now)).or_else(|| match headroom(of.reading, model, now.stamp) {
            Headroom::Exhausted { label, until } => {
                let reason = format!("its {label} window is used up");
                Some(PassedOver { account: of.name.clone(), reason, until, needs_person: false })
            }
            Headroom::Left(_) | Headroom::Unknown => None,
        })
    }

    /// Why this account and this model.
    fn said(
        &self,
        wish: &Wish<'_>,
        model: Option<&str>,
        is_closed: bool,
        headroom: Option<f64>,
        is_overloaded: impl Fn(&str) -> bool,
    ) -> String {
        let left = match headroom {
            Some(left) => format!("{left:.0} % is left in its binding window"),
            None => "what is left is not known".to_owned(),
        };
        match (wish.model, model) {
            _ if is_closed => format!("every model that could be used is overloaded; {left}"),
            (Some(wanted), Some(model)) if wanted != model => {
                let why = if is_overloaded(wanted) { "overloaded" } else { "used up or limited on every account" };
                format!("{wanted} is {why}, so {model}; {left}")
            }
            _ => left,
        }
    }

    fn hand_out(&mut self, wish: &Wish<'_>, to: &Candidate<'_>, model: Option<&str>, now: Now) {
        self.turn += 1;
        let model = model.map(str::to_owned);
        if let Some(standing) = self.standings.get_mut(&to.login) {
            standing.hand_out(|own| model.as_deref().is_some_and(|model| names(own, model)), now.moment);
        }
        self.uses.insert(to.login.clone(), Use { turn: self.turn, model: model.clone() });
        if let Some(caller) = wish.caller {
            let key = (wish.provider, caller.to_owned());
            if self.callers.len() >= MOST_CALLERS && !self.callers.contains_key(&key) {
                let oldest = self.callers.iter().min_by_key(|(_, caller)| caller.turn).map(|(key, _)| key.clone());
                oldest.map(|oldest| self.callers.remove(&oldest));
            }
            self.callers.insert(key, Caller { login: to.login.clone(), model, turn: self.turn });
        }
        self.tally(&to.login, Tally { selects: 1, last_used: Some(now.stamp), ..Tally::default() });
    }

    fn tally(&mut self, login: &str, tally: Tally) {
        self.owed.entry(login.to_owned()).or_default().add(&tally);
    }
}

/// What is to be stored: see [`Pool::take_unstored`].
#[derive(Debug, Default)]
pub struct Unstored {
    /// By login; durable.
    pub standings: BTreeMap<String, Option<StandingRecord>>,
    /// By login.
    pub tallies: BTreeMap<String, Tally>,
}

#[cfg(test)]
mod tests;

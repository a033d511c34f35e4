//! What the pool is asked and told, and what it answers.
//!
//! Owns the shape of the conversation, no decision.

use std::collections::BTreeMap;
use std::time::Duration;

use super::StandingRecord;
use crate::model::{AccountName, Fingerprint, Outcome, ProviderId, Reading};
use crate::policy::ladder::Ladder;
use crate::policy::status::AccountState;
use crate::policy::time::Stamp;

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
    /// Models, each list in the order in which one takes the place of the one before it.
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
    /// What its standing belongs to: vendor and login, wherever its usage is asked.
    pub login: String,
    /// The same while the login had no name.
    pub unnamed: Option<String>,
    /// Names the access token in the file, as last seen, be it before a restart.
    pub token: Option<Fingerprint>,
    /// Whether there is a login to use now.
    pub is_readable: bool,
    /// Whether its token has not expired.
    pub token_lives: bool,
    /// Whether a client can be led to it by its token alone.
    pub by_token: bool,
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
    /// It is about another token than the one in the file now: that it was refused is counted, and says nothing of this
    /// one.
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
    /// Why the account is out, for anything or for the model that was used; `None` where it is not.
    pub out: Option<PassedOver>,
    /// Whether this report began a pause.
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
    pub(super) fn add(&mut self, other: &Self) {
        self.selects += other.selects;
        self.tokens += other.tokens;
        self.reports += other.reports;
        self.successes += other.successes;
        self.failures += other.failures;
        self.cooldowns += other.cooldowns;
        self.last_used = self.last_used.max(other.last_used);
    }
}

/// What is to be stored: see [`super::Pool::take_unstored`].
#[derive(Debug, Default)]
pub struct Unstored {
    /// Logins that have a name now: what was counted under the first goes under the second.
    pub renamed: BTreeMap<String, String>,
    /// By login or token, `None` for one that has nothing to say any more; durable.
    pub standings: BTreeMap<String, Option<StandingRecord>>,
    /// By login.
    pub tallies: BTreeMap<String, Tally>,
}

//! What the shell gives an account and what it gets: rules and inputs in, actions and events out.
//!
//! Owns the shape of the conversation, no decision.

use std::sync::Arc;
use std::time::Duration;

use super::{Account, Activity, LoginRecord, Record};
use crate::model::{AccountName, Credential, Exchange, Fingerprint, LocalReading, ProviderId, Reading, UsageOutcome};
use crate::policy::auth::AuthRules;
use crate::policy::gate::GateRules;
use crate::policy::refresh::{Mark, RefreshRules};
use crate::policy::rotation::{self, Minted, Step};
use crate::policy::status::AccountState;
use crate::policy::time::{Moment, Now};

/// Everything configurable that an account's decisions depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Its label.
    pub name: AccountName,
    /// Its vendor.
    pub provider: ProviderId,
    /// The credential file, as shown.
    pub credentials: Arc<str>,
    /// Scheme, host and port of the usage endpoint: gates belong to it.
    pub origin: String,
    /// The configured interval, already raised to the floor.
    pub interval: Duration,
    /// Two polls are never closer; zero for a loopback URL.
    pub floor: Duration,
    /// Lengthens the interval by up to this share.
    pub jitter: f64,
    /// Lengthens the first interval after a start or a resume, so that many accounts do not go on asking at once; less
    /// than the interval.
    pub spread: Duration,
    /// Retries of transient failures within one poll.
    pub retries: u32,
    /// The first retry waits up to this; it doubles.
    pub retry_base: Duration,
    /// Up to this.
    pub retry_max: Duration,
    /// Consecutive 529s before the next source is used.
    pub overloaded_fallback: u32,
    /// Who is asked.
    pub sources: Sources,
    /// The scope a token needs to ask for usage.
    pub usage_scope: Option<&'static str>,
    /// Whether the end of a login is foretold: whoever only looks must not take that from the daemon.
    pub foretells: bool,
    /// What a person runs to log in again.
    pub login_command: String,
    /// Both rate-limit pauses.
    pub gates: GateRules,
    /// The auth pause.
    pub auth: AuthRules,
    /// The refresh.
    pub refresh: RefreshRules,
}

/// Who is asked what is left, and who first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// The vendor's API alone.
    Api,
    /// What costs no request; the API once that is older than an interval.
    LocalFirst,
    /// The API at its interval; in between and instead, what costs no request.
    ApiFirst,
    /// Only what costs no request: the API never.
    Local,
}

impl Sources {
    /// Whether readings that cost no request are taken.
    pub fn has_local(self) -> bool {
        self != Self::Api
    }

    /// Whether the API is asked at all.
    pub fn has_api(self) -> bool {
        self != Self::Local
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The moment of [`super::Account::next_wake`] has come.
    Timer,
    /// The credential file, or something beside it, may have changed.
    Touched,
    /// [`Action::Look`] was performed.
    Looked(Look),
    /// [`Action::Recall`] was performed: what is stored for the login.
    Recalled(Box<Recalled>),
    /// [`Action::Consult`] was performed: what the local files say, if they say anything.
    Consulted(Option<LocalReading>),
    /// A local file is being written to.
    Heard,
    /// The vendor's client handed its numbers over.
    HandedOver(LocalReading),
    /// [`Action::Ask`] was performed.
    Replied(UsageOutcome, Exchange),
    /// [`Action::Fence`] or [`Action::Rotate`] was performed.
    Stepped(rotation::Event, Option<Exchange>),
    /// The configuration changed.
    Configured(Box<Rules>),
    /// [`Action::Run`] was performed: whether the command runs, or why not.
    Launched(Result<(), String>),
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
    /// A vendor's CLI holds one of its locks on the file at this moment.
    pub in_use: bool,
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
    /// What was stored of it while its account was not known; the harsher of both holds.
    pub unnamed: Option<LoginRecord>,
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
    /// Load what is stored under [`super::Account::login_key`]; answer with [`Input::Recalled`].
    Recall,
    /// Read the local files; answer with [`Input::Consulted`].
    Consult,
    /// Send one usage request with this access token; answer with [`Input::Replied`].
    Ask(Fingerprint),
    /// Store this mark durably; answer with [`Input::Stepped`], `Done` only if it is on disk.
    Fence(Fingerprint, Mark),
    /// Perform one step of a rotation; answer with [`Input::Stepped`].
    Rotate(Step),
    /// Start the vendor's own command, which may refresh the file; answer with [`Input::Launched`].
    Run,
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
    /// This refresh token was refused for good.
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

impl Account {
    /// Whether the first look and what is stored are in: from here on commands have answers.
    pub fn is_started(&self) -> bool {
        self.next_poll.is_some() && self.activity != Activity::Recalling
    }

    /// Whether something is under way, or due within a second.
    pub fn is_due_soon(&self, now: Now) -> bool {
        let soon = now.moment + Duration::from_secs(1);
        self.activity != Activity::Idle || self.poll.is_some() || self.next_wake(now).is_some_and(|at| at <= soon)
    }

    /// Whether the shell does something for it.
    pub fn is_busy(&self) -> bool {
        self.activity != Activity::Idle
    }

    /// Whether all it would do now is to begin with its first look, a poll or a retry: nothing that has to do with the
    /// login, and nothing that a person waits for.
    pub fn is_about_to_begin(&self, now: Now) -> bool {
        let is_due = |at: Option<Moment>| at.is_some_and(|at| at <= now.moment);
        let asks = self.poll.and_then(|poll| poll.retry_at).or_else(|| self.poll_at(now));
        let polls = is_due(asks) && !is_due(self.look_at) && !self.wanted;
        (polls || !self.is_started()) && !is_due(self.refresh_at(now))
    }

    /// Whether the state it shows is more than a step on the way to another.
    pub fn is_at_rest(&self) -> bool {
        self.is_started() && self.is_settled()
    }

    /// Whether a rotation is under way: it must not be cut off.
    pub fn is_rotating(&self) -> bool {
        matches!(self.activity, Activity::Rotating(..))
    }

    /// The access token of the usage request under way.
    pub fn asking(&self) -> Option<Fingerprint> {
        match self.activity {
            Activity::Asking(token) => Some(token),
            _ => None,
        }
    }

    /// The access token last seen in the file, be it before a restart.
    pub fn token_seen(&self) -> Option<Fingerprint> {
        self.login().map(|login| login.access).or(self.known)
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

//! The nouns every room shares: accounts, providers, windows, readings, fingerprints, credential facts.
//!
//! Owns no behaviour beyond construction and display. Never holds a secret: a token appears here only as its
//! [`Fingerprint`], so these types may be logged, stored and sent without a second thought.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize, Serializer};

/// The name a user gives an account: `[a-z0-9][a-z0-9-]{0,31}`. A label, never a key: gates belong to the login.
///
/// Shared, since every event, deadline and report carries it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(Arc<str>);

impl AccountName {
    /// Checks the form.
    ///
    /// # Errors
    /// Returns the rule that `text` breaks, as a sentence fragment.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !text.chars().next().is_some_and(ok) {
            return Err("must begin with a lower-case letter or a digit");
        }
        if text.len() > 32 {
            return Err("must be at most 32 characters long");
        }
        if !text.chars().all(|c| ok(c) || c == '-') {
            return Err("may hold only lower-case letters, digits and hyphens");
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for AccountName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A vendor whose quota quotad can read, by the name used in the config, JSON and metrics. Which there are is
/// `provider`'s to say: its registry holds the only ones that mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ProviderId(&'static str);

impl ProviderId {
    /// The vendor of this name: lower case, as in `[accounts]`.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The name used in the config, JSON and metrics.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A keyed hash of a token: tells two tokens apart, across restarts, without revealing either.
///
/// The key lies in `state.db`. Displayed as its first 8 hex digits, which is how logs and status name a credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Wraps the first 16 bytes of the keyed hash.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// All 32 hex digits: the form used as a key in `state.db` and in a successor file's name.
    pub fn to_hex(self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(32), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// Reads the 32 hex digits that [`Self::to_hex`] wrote; `None` for anything else.
    pub fn from_hex(hex: &str) -> Option<Self> {
        if hex.len() != 32 || !hex.is_ascii() {
            return None;
        }
        let mut bytes = [0; 16];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// An exact decimal amount with its unit, such as 50.03 EUR. Kept as text: money is never a float.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Decimal digits, at most one point, an optional leading minus: `"50.03"`.
    pub amount: String,
    /// A currency code or a unit word: `"EUR"`, `"requests"`.
    pub unit: String,
}

/// Whether a window counts at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowStatus {
    /// The window runs and its numbers mean something.
    Active,
    /// The vendor reports the window, but no use has started it.
    NotStarted,
    /// The plan does not have it.
    NotInPlan,
}

/// One limit of a plan: what is used, and when it starts over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Stable identifier within the provider: `five_hour`, `seven_day`, `weekly:fable`, `extra_spend`.
    pub id: String,
    /// What a person calls it: `5-hour`, `weekly (Fable)`.
    pub label: String,
    /// The model it is limited to, as the vendor names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The team or organisation that shares it, as the vendor names it; `None` for a person's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// Whether it counts now.
    pub status: WindowStatus,
    /// Percent used as the vendor gave it: may exceed 100 or be negative. Never NaN or infinite.
    pub used_percent: Option<f64>,
    /// Amount used. Boxed, as the other amounts: most windows have none, and an account keeps many windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<Box<Amount>>,
    /// Amount allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Box<Amount>>,
    /// Amount left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<Box<Amount>>,
    /// When the vendor says the window starts over.
    pub resets_at: Option<Timestamp>,
}

impl Window {
    /// An active window of which nothing but its name is known.
    pub fn named(id: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            label: label.into(),
            model: None,
            organisation: None,
            status: WindowStatus::Active,
            used_percent: None,
            used: None,
            limit: None,
            remaining: None,
            resets_at: None,
        }
    }
}

/// Where a reading came from, in order of cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The vendor CLI's own cache file; a floor ("at least").
    Cache,
    /// Handed over by the vendor CLI's statusline.
    Statusline,
    /// The vendor CLI's session files.
    Sessions,
    /// The headers of a client's own traffic, as it reported them.
    Client,
    /// The vendor's API.
    Api,
}

impl Source {
    /// The name used in JSON and text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Statusline => "statusline",
            Self::Sessions => "sessions",
            Self::Client => "client",
            Self::Api => "api",
        }
    }
}

/// What was left, as of one moment, from one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Every window the vendor reported, known or not, in the vendor's order.
    pub windows: Vec<Window>,
    /// The plan, if the source names it: `max_20x`, `pro`.
    pub plan: Option<String>,
    /// When the numbers were true.
    pub read_at: Timestamp,
    /// Who said so.
    pub source: Source,
    /// What an earlier reading said of windows that this source does not report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Box<Self>>,
}

impl Reading {
    /// This reading with its reset times to the nearest second. A vendor's differ by microseconds from answer to answer
    /// (providers.md A.1), and a page of the stored reading would be written for that at every poll.
    pub fn to_the_second(mut self) -> Self {
        for at in self.windows.iter_mut().filter_map(|window| window.resets_at.as_mut()) {
            *at = at.round(Unit::Second).unwrap_or(*at);
        }
        self
    }

    /// This reading in front of what was known: windows that it does not report are kept with their own age and source,
    /// as far back as [`Self::DEEPEST`].
    pub fn over(mut self, known: Self) -> Self {
        self.plan = self.plan.or_else(|| known.plan.clone());
        self.earlier = known.without(&self.windows).map(Box::new);
        let mut last = &mut self;
        for _ in 0..Self::DEEPEST {
            match last.earlier.as_deref_mut() {
                Some(earlier) => last = earlier,
                None => return self,
            }
        }
        last.earlier = None;
        self
    }

    /// So many readings stand behind one another at most: each is of another source or moment, and whoever reports made-up
    /// windows must not make them grow.
    pub const DEEPEST: usize = 8;

    fn without(mut self, said: &[Window]) -> Option<Self> {
        self.windows.retain(|window| said.iter().all(|other| other.id != window.id));
        let earlier = self.earlier.take().and_then(|earlier| earlier.without(said));
        if self.windows.is_empty() {
            return earlier;
        }
        self.earlier = earlier.map(Box::new);
        Some(self)
    }

    /// Every window, each with the reading that says it, the newest reading first.
    pub fn every_window(&self) -> impl Iterator<Item = (&Self, &Window)> {
        let readings = std::iter::successors(Some(self), |reading| reading.earlier.as_deref());
        readings.flat_map(|reading| reading.windows.iter().map(move |window| (reading, window)))
    }
}

/// A reading that cost no request.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalReading {
    /// What it says.
    pub reading: Reading,
    /// The account it is about, as in [`Login::identity`]; `None` where the source lies with the login itself.
    pub identity: Option<String>,
}

/// Where an account's secret lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whereabouts {
    /// In this file, as spelt: symlinks are not followed.
    File(Arc<Path>),
    /// In this environment variable of the daemon: a key, never a refresh token.
    Variable(String),
}

impl Whereabouts {
    /// What the config writes before the name of a variable.
    pub const VARIABLE: &str = "env:";

    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Variable(_) => None,
        }
    }
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => write!(f, "{}{name}", Self::VARIABLE),
        }
    }
}

/// Who writes a credential file, and so who may rotate its refresh token by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialOwner {
    /// The vendor's CLI.
    Vendor,
    /// quotad: a grant of its own.
    Quotad,
}

/// When quotad may see to it that a new access token is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefreshMode {
    /// Wait for the owner.
    Never,
    /// Only when the token has lain expired and nobody uses the CLI.
    WhenIdle,
    /// Let the vendor's CLI do it.
    Command,
    /// Ahead of expiry; only for a grant of quotad's own by default.
    Always,
}

/// What a look at a credential file found. Facts only; what follows from them is `policy`'s to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A login with an access token.
    Login(Login),
    /// No file.
    Absent,
    /// The vendor emptied the tokens: its own verdict "signed out".
    SignedOut,
    /// The file holds other things (MCP logins) but no login of this provider.
    NoLogin,
    /// The file cannot be read or understood; the sentence says why and what to do. Never written.
    Unreadable(String),
}

impl Credential {
    /// The login, if there is one.
    pub fn login(&self) -> Option<&Login> {
        match self {
            Self::Login(login) => Some(login),
            Self::Absent | Self::SignedOut | Self::NoLogin | Self::Unreadable(_) => None,
        }
    }
}

/// The facts of a login, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Names the access token.
    pub access: Fingerprint,
    /// Names the refresh token; `None` for a login that has none (setup-token).
    pub refresh: Option<Fingerprint>,
    /// When the access token expires by its own word; `None` when the file does not say (absent, or 0 with tokens present).
    pub expires_at: Option<Timestamp>,
    /// When the login itself ends, whatever is refreshed (`refreshTokenExpiresAt`).
    pub login_ends_at: Option<Timestamp>,
    /// What the token may do; `None` when the file does not say.
    pub scopes: Option<Vec<String>>,
    /// The plan as the file names it: `max_20x`.
    pub plan: Option<String>,
    /// The account's uuid, where known. Unknown never delays and never counts as a switch.
    pub identity: Option<String>,
    /// When the file was last written.
    pub modified_at: Option<Timestamp>,
    /// Why a refresh of this file by quotad would not be safe; a sentence, `None` when it would be.
    pub unsafe_because: Option<String>,
}

/// What a client reports became of a request of its own, under an account that the pool gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It was answered.
    Ok,
    /// The vendor asked this account to wait.
    RateLimited,
    /// The vendor is overloaded: no account of it fares better, another model may.
    Overloaded,
    /// The login was refused, perhaps not for good.
    Auth,
    /// The login was refused for good: revoked, deactivated, spent, unknown.
    AuthPermanent,
    /// No answer in time, or the server failed.
    Timeout,
    /// The account has to be paid for first.
    Billing,
    /// The caller gave up: says nothing about the account.
    Aborted,
    /// The request itself was refused: says nothing about the account.
    Refused,
}

impl Outcome {
    /// Every outcome, those of the contract first.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::RateLimited,
        Self::Overloaded,
        Self::Auth,
        Self::AuthPermanent,
        Self::Timeout,
        Self::Billing,
        Self::Aborted,
        Self::Refused,
    ];

    /// The word used on the command line, in JSON and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::RateLimited => "rate-limited",
            Self::Overloaded => "overloaded",
            Self::Auth => "auth",
            Self::AuthPermanent => "auth-permanent",
            Self::Timeout => "timeout",
            Self::Billing => "billing",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
        }
    }
}

impl std::str::FromStr for Outcome {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let all = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL.into_iter().find(|known| known.as_str() == word).ok_or_else(|| format!("must be one of {}", all()))
    }
}

/// Wire facts of one exchange that `explain` shows: never a token, never a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// When the request left.
    pub at: Timestamp,
    /// Which endpoint it went to: `usage` or `token`.
    pub endpoint: Endpoint,
    /// HTTP status, or `None` when no answer came.
    pub status: Option<u16>,
    /// What it was taken to mean, as a short phrase.
    pub meaning: String,
    /// The response headers that mattered, lower-case names.
    pub headers: Vec<(String, String)>,
    /// From sending to the whole body.
    #[serde(skip)]
    pub took: Duration,
}

/// The two endpoints of a login, each with a gate of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    /// Where the quota is asked.
    Usage,
    /// Where a refresh token is exchanged.
    Token,
}

impl Endpoint {
    /// The name used in JSON, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Token => "token",
        }
    }
}

/// What one request to the usage endpoint came to.
///
/// Holds nothing the server wrote but numbers and names of windows: phrases are quotad's own, so that no byte of an
/// answer can carry a secret into a log.
#[derive(Debug, Clone, PartialEq)]
pub enum UsageOutcome {
    /// The numbers arrived.
    Answered {
        /// Every window, in the vendor's order.
        windows: Vec<Window>,
        /// The plan, if the answer names it.
        plan: Option<String>,
    },
    /// 429: this client must wait. `demand` is the server's own figure, `None` when it gave no advice.
    Limited {
        /// How long the server asked to be left alone.
        demand: Option<Duration>,
    },
    /// The server refused the token itself.
    Rejected {
        /// The server says that this token will never be good again (revoked, deactivated, unknown).
        permanent: bool,
        /// What it said, in our words.
        said: &'static str,
    },
    /// The token is good, but scope, plan, organisation or billing forbids the answer.
    NoPermission {
        /// What it said, in our words.
        said: &'static str,
    },
    /// No verdict about token or rate.
    Failed {
        /// What went wrong.
        failure: Failure,
        /// How long the server asked to be left alone, if it did (503 with `Retry-After`).
        demand: Option<Duration>,
    },
}

/// Ways an exchange can fail without a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// 529: the vendor is overloaded.
    Overloaded,
    /// Another 5xx or 408.
    Server(u16),
    /// No whole answer within the deadline, or the connection broke after the request was sent.
    Timeout,
    /// The server's address answered with a refusal to connect, or TLS failed.
    Connect,
    /// No route or no DNS: this machine has no network.
    Offline,
    /// An edge page (Cloudflare, a proxy): says nothing about the token.
    Challenge,
    /// A 200 whose body is not what this endpoint answers; the phrase says how.
    Garbage(&'static str),
    /// 404, 405, 410 or a redirect: the endpoint is not there any more.
    Gone(u16),
    /// Another 4xx that names neither token nor rate.
    Refused(u16),
}

impl Failure {
    /// Whether another try within the same poll makes sense.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Overloaded | Self::Server(_) | Self::Timeout | Self::Connect)
    }
}

/// Why the token endpoint gave no new token. Phrases are quotad's own, as in [`UsageOutcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A recognised code on the right endpoint says this refresh token is spent, revoked or expired.
    Terminal(&'static str),
    /// 429. `demand` is the server's own figure.
    Limited {
        /// How long the server asked to be left alone.
        demand: Option<Duration>,
    },
    /// The request was sent and the outcome is not known: the token may be spent.
    Unknown(&'static str),
    /// The request never reached the server (DNS, refused connection, TLS): nothing was spent.
    NeverArrived(&'static str),
    /// The request itself is wrong for this endpoint (client id, encoding, host): not the token's fault.
    Misconfigured(&'static str),
    /// An edge page answered: nothing is known, as far as known nothing was spent.
    Challenge,
    /// The account may not (403 with JSON): no retry.
    Account(&'static str),
}

impl Refusal {
    /// The refusal in a few words of ours.
    pub fn said(self) -> &'static str {
        match self {
            Self::Terminal(said)
            | Self::Unknown(said)
            | Self::NeverArrived(said)
            | Self::Misconfigured(said)
            | Self::Account(said) => said,
            Self::Limited { .. } => "the token endpoint answered 429",
            Self::Challenge => "an edge page stood before the token endpoint",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_stand_behind_one_another_only_so_deep() {
        let reading = |n: usize| Reading {
            windows: vec![Window::named(format!("w{n}"), "w")],
            plan: None,
            read_at: Timestamp::UNIX_EPOCH,
            source: Source::Client,
            earlier: None,
        };
        let deep = (1..100).fold(reading(0), |known, n| reading(n).over(known));
        let windows: Vec<_> = deep.every_window().map(|(_, window)| window.id.as_str()).collect();
        assert_eq!(windows.len(), Reading::DEEPEST + 1);
        assert_eq!((windows[0], windows[Reading::DEEPEST]), ("w99", "w91"));
    }
}

//! What each vendor's API says: a [`Request`] value out, a [`Reply`] value in.
//!
//! Owns the wire formats and the classification of every known answer. Pure: opens no socket, reads no clock, and
//! never exposes a secret; a request only marks where the token goes, and `transport` puts it there. Parsing is
//! lenient per field: one bad entry drops that entry, never the reply, because strict decoding has broken every
//! existing tool at least once.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod antigravity;
pub mod claude;
mod code_assist;
pub mod codex;
pub mod copilot;
pub mod cursor;
pub mod custom;
pub mod deepseek;
pub mod exchange;
mod fault;
pub mod field;
pub mod gemini;
mod grant;
pub mod grok;
pub mod jwt;
pub mod kimi;
pub mod minimax;
pub mod moonshot;
pub mod openrouter;
mod period;
#[cfg(test)]
mod sample;
pub mod store;
pub mod synthetic;
#[cfg(test)]
mod told;
pub mod traffic;
pub mod zai;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::store::{Store, Stored};
use crate::model::{ProviderId, Refusal, UsageOutcome, Whereabouts, Window};
use crate::policy::time::Stamp;

/// The registry: every vendor, in the order the documentation lists them. A new one needs its file, its `mod` and its
/// line here, its samples under `tests/data` and its page in `docs/providers.md`.
pub static ALL: [&dyn Provider; 15] = [
    &claude::Claude,
    &codex::Codex,
    &copilot::Copilot,
    &gemini::Gemini,
    &zai::Zai,
    &kimi::Kimi,
    &cursor::Cursor,
    &openrouter::OpenRouter,
    &minimax::MiniMax,
    &synthetic::Synthetic,
    &grok::Grok,
    &deepseek::DeepSeek,
    &moonshot::Moonshot,
    &antigravity::Antigravity,
    &custom::Custom,
];

/// HTTP method of a [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
}

/// How the body of a token request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenEncoding {
    /// `application/json`.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

/// How a person logs in again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogIn {
    /// Runs the vendor's client.
    Command {
        /// What to type.
        line: &'static str,
        /// The variables that make it keep its login elsewhere, all of which are set for that.
        moved_by: &'static [&'static str],
    },
    /// Does this.
    Words(&'static str),
}

/// Where the secret goes in a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    /// `Authorization: Bearer <access token>`.
    Bearer,
    /// Another header, or another word before the token: `Authorization: token gho_…`, a cookie.
    Header {
        /// Lower case.
        name: Cow<'static, str>,
        /// What stands right before the token; may be empty.
        prefix: String,
    },
    /// Nowhere: the request needs none.
    Nowhere,
    /// A field of the body, beside the others: the refresh token.
    Field {
        /// Its name, such as `refresh_token`.
        name: &'static str,
        /// The other fields, in order.
        others: Vec<(&'static str, String)>,
        /// How the body is written.
        encoding: TokenEncoding,
    },
}

/// One request, complete but for its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// Absolute URL.
    pub url: String,
    /// Headers besides authorization, content length and host.
    pub headers: Vec<(&'static str, String)>,
    /// The body of a POST whose secret stands in a header: JSON text. `None` sends none.
    pub body: Option<String>,
    /// Where `transport` puts the secret.
    pub secret: SecretPlace,
}

impl Request {
    /// Asks `url` for JSON, with the access token as a bearer and under the name that `endpoints` says.
    pub fn get(url: String, endpoints: &Endpoints) -> Self {
        let headers = vec![("accept", "application/json".to_owned()), ("user-agent", endpoints.user_agent.clone())];
        Self { method: Method::Get, url, headers, body: None, secret: SecretPlace::Bearer }
    }
}

/// One whole answer, as far as a vendor's parser needs it. Its `Debug` leaves out headers and body: a token answer
/// holds tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers in order, names in lower case; values that are not text are left out.
    pub headers: Vec<(String, String)>,
    /// The body, at most 1 MiB.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({}, {} bytes)", self.status, self.body.len())
    }
}

impl Reply {
    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        traffic::header(&self.headers, name)
    }
}

/// What a token endpoint granted. `access` is `None` when the answer was damaged but a refresh token could be saved.
#[derive(Debug)]
pub struct Grant {
    /// The new access token.
    pub access: Option<SecretString>,
    /// The new refresh token; `None` when the server did not send one, so the posted one stays good.
    pub refresh: Option<SecretString>,
    /// How long the access token lives; 1 h when the answer gave nothing usable.
    pub lease: Duration,
    /// How long the login itself lives, if the answer says.
    pub login_lasts: Option<Duration>,
    /// What the token may do, if the answer says.
    pub scopes: Option<Vec<String>>,
}

/// Where an account's requests go, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The usage endpoint.
    pub usage_url: String,
    /// The token endpoint.
    pub token_url: String,
    /// OAuth client id.
    pub client_id: String,
    /// How the token request is written.
    pub token_encoding: TokenEncoding,
    /// `User-Agent` of every request.
    pub user_agent: String,
    /// How the answer is read, where the config says it; `None` for a vendor that quotad knows.
    pub recipe: Option<Arc<custom::Recipe>>,
}

impl Endpoints {
    /// Those of a vendor of keys, which has a usage endpoint and nothing to refresh.
    pub fn keyed(usage_url: &str) -> Self {
        Self {
            usage_url: usage_url.to_owned(),
            token_url: String::new(),
            client_id: String::new(),
            token_encoding: TokenEncoding::Json,
            user_agent: concat!("quotad/", env!("CARGO_PKG_VERSION")).to_owned(),
            recipe: None,
        }
    }
}

/// One poll as far as it has come. Most vendors need one request; some first ask which project the login belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Poll<'a> {
    /// Where requests go.
    pub endpoints: &'a Endpoints,
    /// See [`store::StoredLogin::tenant`].
    pub tenant: Option<&'a str>,
    /// The answers so far, oldest first; none yet when the first request is wanted.
    pub replies: &'a [Reply],
    /// When the last of them arrived.
    pub received: Stamp,
}

/// How a poll goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Send this; its answer joins [`Poll::replies`]. A vendor sends at most four in one poll.
    Send(Request),
    /// Send this for what it may add. Where no whole answer comes, the poll is over all the same, with this outcome.
    Also(Request, UsageOutcome),
    /// The poll is over.
    Over(UsageOutcome),
}

/// One vendor.
pub trait Provider: Sync {
    /// Which vendor.
    fn id(&self) -> ProviderId;

    /// Two polls of one login are never closer than this. Loopback URLs have no floor.
    fn floor(&self) -> Duration {
        Duration::from_mins(1)
    }

    /// The public endpoints and client id.
    fn endpoints(&self) -> Endpoints;

    /// Those for the login that lies at `at`: a vendor with a host in each region tells by the place where a key
    /// belongs, because a key must never reach the host of another region.
    fn endpoints_for(&self, at: &Whereabouts) -> Endpoints {
        let _ = at;
        self.endpoints()
    }

    /// Where the vendor's own client keeps the login, and who may refresh it how.
    fn store(&self) -> &'static Store;

    /// How a person logs in again.
    fn log_in(&self) -> LogIn;

    /// The variable by which the vendor's client takes a token or key in the place of its own login.
    fn token_variable(&self) -> Option<&'static str> {
        self.store().variables.first().copied()
    }

    /// Variables that make the vendor's client leave its own login aside.
    fn overruled_by(&self) -> &'static [&'static str] {
        &[]
    }

    /// The scope a token must have to ask for usage, if the vendor has one.
    fn usage_scope(&self) -> Option<&'static str> {
        None
    }

    /// What the stored credential says: its JSON, or its text as a JSON string where it is no JSON.
    ///
    /// # Errors
    /// Why it is damage rather than a login or the absence of one, as a clause after the file's name.
    fn read_login(&self, content: Value) -> Result<Stored, &'static str>;

    /// The request that asks for usage. `tenant` as in [`Poll::tenant`].
    fn usage_request(&self, endpoints: &Endpoints, tenant: Option<&str>) -> Request {
        let _ = tenant;
        Request::get(endpoints.usage_url.clone(), endpoints)
    }

    /// What its answer means. `received` is when it arrived, for `Retry-After` dates without a `Date`.
    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome;

    /// The windows that the (lower-case) headers of an inference answer tell, under the names that
    /// [`Self::read_usage`] gives them; those whose reset has passed are left out. Most vendors tell none.
    fn read_headers(&self, headers: &[(String, String)], received: Stamp) -> Vec<Window> {
        let _ = (headers, received);
        Vec::new()
    }

    /// What comes next in a poll: the request, then its meaning. Only vendors that need more than one request have
    /// more to say.
    fn converse(&self, poll: &Poll<'_>) -> Next {
        match poll.replies.last() {
            None => Next::Send(self.usage_request(poll.endpoints, poll.tenant)),
            Some(reply) => Next::Over(self.read_usage(reply, poll.received)),
        }
    }

    /// The request that exchanges a refresh token (RFC 6749, section 6).
    fn refresh_request(&self, endpoints: &Endpoints) -> Request {
        grant::request(endpoints)
    }

    /// What its answer means.
    ///
    /// # Errors
    /// The class of refusal; see [`Refusal`].
    fn read_refresh(&self, reply: &Reply, received: Stamp) -> Result<Grant, Refusal> {
        match reply.status {
            200..=299 => grant::read(reply),
            _ => Err(fault::refresh(reply, received)),
        }
    }
}

/// The vendor behind an id.
///
/// # Panics
/// When no vendor of the registry has it, which is a bug: ids come from the registry.
pub fn of(id: ProviderId) -> &'static dyn Provider {
    named(id.as_str()).unwrap_or_else(|| unreachable!("{id} is no provider"))
}

/// The vendor of this name, if there is one.
pub fn named(name: &str) -> Option<&'static dyn Provider> {
    ALL.into_iter().find(|provider| provider.id().as_str() == name)
}

/// More windows than any plan has; what lies beyond is dropped.
const MOST_WINDOWS: usize = 100;

/// Every limit once: of two reports of one limit the first that has a percentage is kept. Of too many the first
/// are kept.
fn distinct(reports: impl Iterator<Item = Window>) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for report in reports {
        match windows.iter().position(|known| known.id == report.id) {
            None if windows.len() < MOST_WINDOWS => windows.push(report),
            Some(at) if windows[at].used_percent.is_none() && report.used_percent.is_some() => windows[at] = report,
            _ => {}
        }
    }
    windows
}

/// What `read` makes of the JSON of a success; of anything else, what it means.
fn answer(reply: &Reply, received: Stamp, read: impl FnOnce(Value) -> UsageOutcome) -> UsageOutcome {
    match reply.status {
        200..=299 => field::json(&reply.body).map_or(fault::garbage("the answer is not JSON"), read),
        _ => fault::usage(reply, received),
    }
}

/// An answer whose windows come of a list, each limit once: an empty list is one, a list of which nothing can be read
/// is none.
fn listed(list: &[Value], windows: impl IntoIterator<Item = Window>, plan: Option<String>) -> UsageOutcome {
    match answered(windows, plan) {
        UsageOutcome::Answered { windows, .. } if windows.is_empty() && !list.is_empty() => {
            fault::garbage("the answer lists limits, but none that can be read")
        }
        outcome => outcome,
    }
}

/// An answer with these windows, each limit once.
fn answered(windows: impl IntoIterator<Item = Window>, plan: Option<String>) -> UsageOutcome {
    UsageOutcome::Answered { windows: distinct(windows.into_iter()), plan }
}

/// How many of the vendor's smallest paid plans a plan is worth by its own name: 20 for `max_20x`, else 1.
pub fn plan_weight(plan: Option<&str>) -> f64 {
    let factor = plan.and_then(|plan| plan.strip_suffix('x')?.rsplit('_').next()?.parse::<u16>().ok());
    factor.filter(|factor| *factor > 0).map_or(1.0, f64::from)
}

/// Whether the host of this URL is this machine (`127.0.0.0/8`, `[::1]`, `localhost`): such a URL may be plain http,
/// has no floor and never goes through a proxy.
pub fn is_loopback(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_port = authority.rsplit('@').next().unwrap_or_default();
    let host = match host_port.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host_port.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Scheme, host and port of a URL: what a gate belongs to besides provider and login.
pub fn origin(url: &str) -> &str {
    let Some(start) = url.find("://").map(|at| at + 3) else { return url };
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_hosts_that_look_like_it() {
        for url in ["http://127.0.0.1:8080/x", "http://localhost/x", "http://[::1]:9/", "https://127.9.9.9"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://127.0.0.1.example.com/", "http://localhost.example/", "http://localhost@evil.example/", "x"]
        {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    fn a_limit_is_kept_once_and_more_than_any_plan_has_are_not_kept() {
        let report = |id: &str, used_percent| Window { used_percent, ..Window::named(id, id) };
        let reports = [report("a", None), report("b", Some(1.0)), report("a", Some(2.0)), report("b", Some(3.0))];
        let kept: Vec<_> = distinct(reports.into_iter()).into_iter().map(|w| (w.id, w.used_percent)).collect();
        assert_eq!(kept, [("a".to_owned(), Some(2.0)), ("b".to_owned(), Some(1.0))]);
        assert_eq!(distinct((0..5000).map(|n| report(&n.to_string(), None))).len(), 100);
    }

    #[test]
    fn a_plan_weighs_what_its_name_says() {
        for (plan, weight) in [
            (Some("max_20x"), 20.0),
            (Some("default_claude_max_5x"), 5.0),
            (Some("pro"), 1.0),
            (Some("max"), 1.0),
            (Some("x"), 1.0),
            (Some("max_0x"), 1.0),
            (None, 1.0),
        ] {
            assert!((plan_weight(plan) - weight).abs() < f64::EPSILON, "{plan:?}");
        }
    }

    #[test]
    fn an_origin_ends_before_the_path() {
        assert_eq!(origin("https://api.example.test:444/api/usage?x=1"), "https://api.example.test:444");
        assert_eq!(origin("https://api.example.test"), "https://api.example.test");
    }
}

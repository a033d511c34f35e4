//! What an exchange meant, read naively: the ledger's own idea of it, made from the bytes and from nothing of quotad.

use std::time::{Duration, SystemTime};

use quotad::provider::Reply;
use quotad::provider::exchange::Broken;

/// An exchange with the usage endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    /// Numbers.
    Good,
    /// 429, with the demand if there was one.
    Limited(Option<Duration>),
    /// 5xx, 408, 529, refused connections, timeouts; with the demand if there was one.
    Transient(Option<Duration>),
    /// No network.
    Offline,
    /// An edge page.
    Challenge,
    /// A 200 that nobody understands.
    Garbage,
    /// Redirects, 404 and the like.
    Gone,
    /// Scope, plan, billing.
    NoPermission,
    /// 401, or 403 that says revoked (for good).
    Rejected(bool),
}

/// An exchange with the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// New tokens: access (if it arrived whole), refresh (if one was sent), and how long the access token lives.
    Granted(Option<String>, Option<String>, Duration),
    /// 429.
    Limited(Option<Duration>),
    /// It never reached the server.
    NeverArrived,
    /// It may have been processed.
    Unknown,
    /// `invalid_grant`.
    Terminal,
    /// An edge page.
    Challenge,
    /// The request itself is wrong, or the account may not.
    Off,
}

impl Usage {
    /// Reads an answer; `spoilt` when the vendor was told to spoil it.
    pub(crate) fn read(answer: &Result<Reply, Broken>, spoilt: bool) -> Self {
        let reply = match answer {
            Ok(reply) => reply,
            Err(Broken::Offline) => return Self::Offline,
            Err(Broken::TooLong | Broken::Unsendable) => return Self::Garbage,
            Err(Broken::Cut(Some(reply))) if reply.status == 429 => return Self::Limited(demand(reply)),
            Err(Broken::Connect | Broken::Cut(_)) => return Self::Transient(None),
        };
        let body = String::from_utf8_lossy(&reply.body);
        let is_whole = body.trim_end().ends_with('}');
        match reply.status {
            200 if spoilt => Self::Garbage,
            200 => Self::Good,
            429 => Self::Limited(demand(reply)),
            _ if body.contains("Just a moment") => Self::Challenge,
            400 | 401 | 403 if !is_whole => Self::Challenge,
            402 => Self::NoPermission,
            403 if body.contains("scope") => Self::NoPermission,
            401 | 403 => Self::Rejected(body.contains("revoked")),
            408 | 500.. => Self::Transient(demand(reply)),
            _ => Self::Gone,
        }
    }
}

impl Token {
    /// Reads an answer.
    pub(crate) fn read(answer: &Result<Reply, Broken>) -> Self {
        let (reply, whole) = match answer {
            Ok(reply) => (reply, true),
            Err(Broken::Cut(Some(reply))) => (reply, false),
            Err(Broken::Offline | Broken::Connect) => return Self::NeverArrived,
            Err(Broken::Unsendable) => return Self::Off,
            Err(Broken::TooLong | Broken::Cut(None)) => return Self::Unknown,
        };
        let body = String::from_utf8_lossy(&reply.body);
        if reply.status == 200 {
            let (access, refresh) = (text(&body, "access_token"), text(&body, "refresh_token"));
            let whole = whole && body.trim_end().ends_with('}');
            return match (&access, &refresh) {
                (_, None) if !whole => Self::Unknown,
                (None, None) => Self::Unknown,
                _ if whole => Self::Granted(access, refresh, lease(&body)),
                _ => Self::Granted(access, refresh, Duration::from_secs(3600)),
            };
        }
        if !whole {
            return Self::Unknown;
        }
        match reply.status {
            429 => Self::Limited(demand(reply)),
            _ if body.contains("Just a moment") => Self::Challenge,
            400 | 401 | 403 if !body.trim_end().ends_with('}') => Self::Challenge,
            400 | 401 if body.contains("invalid_grant") => Self::Terminal,
            408 | 500.. => Self::Unknown,
            _ => Self::Off,
        }
    }
}

/// The text member of this name, if it arrived whole.
pub(crate) fn text(json: &str, name: &str) -> Option<String> {
    let rest = json.split_once(&format!("\"{name}\":"))?.1.trim_start().strip_prefix('"')?;
    let (value, _) = rest.split_once('"')?;
    (!value.is_empty()).then(|| value.to_owned())
}

fn lease(json: &str) -> Duration {
    let seconds = json.split_once("\"expires_in\":").map(|(_, rest)| rest.split([',', '}']).next().unwrap_or_default());
    let seconds = seconds.and_then(|seconds| seconds.trim().parse::<f64>().ok()).filter(|seconds| *seconds > 0.0);
    seconds.map_or(Duration::from_secs(3600), Duration::from_secs_f64)
}

/// What `Retry-After` asks for; 0, past and unreadable ask for nothing.
fn demand(reply: &Reply) -> Option<Duration> {
    let text = reply.header("retry-after")?;
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let date: SystemTime = httpdate::parse_http_date(text).ok()?;
        date.duration_since(httpdate::parse_http_date(reply.header("date")?).ok()?).ok()?
    };
    (!wait.is_zero()).then_some(wait)
}

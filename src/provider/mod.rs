//! What each vendor's API says: a [`Request`] value out, a [`Reply`] value in.
//!
//! Owns the wire formats and the classification of every known answer. Pure: opens no socket, reads no clock, and
//! never exposes a secret; a request only marks where the token goes, and `transport` puts it there. Parsing is
//! lenient per field: one bad entry drops that entry, never the reply, because strict decoding has broken every
//! existing tool at least once.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod claude;
pub mod exchange;
pub mod field;

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::model::{ProviderId, Refusal, UsageOutcome};
use crate::policy::time::Stamp;

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

/// Where the secret goes in a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    /// `Authorization: Bearer <access token>`.
    Bearer,
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
    /// Where `transport` puts the secret.
    pub secret: SecretPlace,
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
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
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
}

/// One vendor.
pub trait Provider: Sync {
    /// Which vendor.
    fn id(&self) -> ProviderId;

    /// Two polls of one login are never closer than this. Loopback URLs have no floor.
    fn floor(&self) -> Duration;

    /// The public endpoints and client id.
    fn endpoints(&self) -> Endpoints;

    /// The scope a token must have to ask for usage, if the vendor has one.
    fn usage_scope(&self) -> Option<&'static str>;

    /// The command a person runs to log in again.
    fn login_command(&self) -> &'static str;

    /// The request that asks for usage.
    fn usage_request(&self, endpoints: &Endpoints) -> Request;

    /// What its answer means. `received` is when it arrived, for `Retry-After` dates without a `Date`.
    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome;

    /// The request that exchanges a refresh token.
    fn refresh_request(&self, endpoints: &Endpoints) -> Request;

    /// What its answer means.
    ///
    /// # Errors
    /// The class of refusal; see [`Refusal`].
    fn read_refresh(&self, reply: &Reply, received: Stamp) -> Result<Grant, Refusal>;
}

/// The vendor behind an id: the registry, one line each.
pub fn of(id: ProviderId) -> &'static dyn Provider {
    match id {
        ProviderId::Claude => &claude::Claude,
    }
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
    fn an_origin_ends_before_the_path() {
        assert_eq!(origin("https://api.example.test:444/api/usage?x=1"), "https://api.example.test:444");
        assert_eq!(origin("https://api.example.test"), "https://api.example.test");
    }
}

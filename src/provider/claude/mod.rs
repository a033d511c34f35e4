//! Anthropic's Claude subscriptions: Pro, Max, Team, Enterprise.
//!
//! Owns the requests; [`usage`] reads the numbers, `headers` those of its inference answers, `login` the credential
//! file. Sends its own name as the user agent and never asks for a scope: some clients got `invalid_scope` for sending any.
//! Facts: `reference/providers.md`, section 1, and `reference/credentials.md`, 1A.7 and 2.

pub(super) mod headers;
mod login;
pub mod usage;

use std::time::Duration;

use serde_json::Value;

use super::store::{Store, Stored};
use super::{Endpoints, LogIn, Method, Provider, Reply, Request, SecretPlace, TokenEncoding, fault};
use crate::model::{ProviderId, UsageOutcome, Window};
use crate::policy::time::Stamp;

/// Anthropic, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct Claude;

impl Provider for Claude {
    fn id(&self) -> ProviderId {
        ProviderId::new("claude")
    }

    /// About five requests per access token are answered before a 429 that can last for hours (claude-code#31021).
    fn floor(&self) -> Duration {
        Duration::from_mins(5)
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            usage_url: "https://api.anthropic.com/api/oauth/usage".to_owned(),
            token_url: "https://platform.claude.com/v1/oauth/token".to_owned(),
            client_id: "9d1c250a-e61b-44d9-88ed-5944d1962f5e".to_owned(),
            token_encoding: TokenEncoding::Json,
            user_agent: concat!("quotad/", env!("CARGO_PKG_VERSION")).to_owned(),
            recipe: None,
        }
    }

    /// Tokens of `claude setup-token` lack it and are answered with 403 (claude-code#24654).
    fn usage_scope(&self) -> Option<&'static str> {
        Some("user:profile")
    }

    fn store(&self) -> &'static Store {
        &login::STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Command { line: "claude /login", moved_by: &["CLAUDE_CONFIG_DIR"] }
    }

    fn token_variable(&self) -> Option<&'static str> {
        Some("CLAUDE_CODE_OAUTH_TOKEN")
    }

    /// All of them go before the login of /login (code.claude.com, "Authentication precedence").
    fn overruled_by(&self) -> &'static [&'static str] {
        &[
            "CLAUDE_CODE_USE_BEDROCK",
            "CLAUDE_CODE_USE_VERTEX",
            "CLAUDE_CODE_USE_FOUNDRY",
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "CLAUDE_CODE_OAUTH_TOKEN",
        ]
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        login::read(content)
    }

    fn usage_request(&self, endpoints: &Endpoints, _tenant: Option<&str>) -> Request {
        Request {
            method: Method::Get,
            url: endpoints.usage_url.clone(),
            headers: vec![
                ("accept", "application/json".to_owned()),
                ("content-type", "application/json".to_owned()),
                ("anthropic-beta", "oauth-2025-04-20".to_owned()),
                ("user-agent", endpoints.user_agent.clone()),
            ],
            body: None,
            secret: SecretPlace::Bearer,
        }
    }

    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        match reply.status {
            200..=299 => usage::read(reply),
            _ => fault::usage(reply, received),
        }
    }

    fn read_headers(&self, headers: &[(String, String)], received: Stamp) -> Vec<Window> {
        headers::windows(headers, received)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_go_where_the_endpoints_say_under_the_name_they_say() {
        let endpoints = Endpoints {
            usage_url: "http://127.0.0.1:1/usage".to_owned(),
            token_url: "http://127.0.0.1:1/token".to_owned(),
            client_id: "client".to_owned(),
            token_encoding: TokenEncoding::Form,
            user_agent: "somebody/1".to_owned(),
            recipe: None,
        };
        let (usage, refresh) = (Claude.usage_request(&endpoints, None), Claude.refresh_request(&endpoints));
        assert_eq!((usage.method, usage.url, usage.secret), (Method::Get, endpoints.usage_url, SecretPlace::Bearer));
        assert!(usage.headers.contains(&("anthropic-beta", "oauth-2025-04-20".to_owned())));
        assert_eq!((refresh.method, refresh.url), (Method::Post, endpoints.token_url));
        assert!(refresh.headers.contains(&("content-type", "application/x-www-form-urlencoded".to_owned())));
        for headers in [usage.headers, refresh.headers] {
            assert!(headers.contains(&("user-agent", "somebody/1".to_owned())));
        }
        let others = vec![("grant_type", "refresh_token".to_owned()), ("client_id", "client".to_owned())];
        let secret = SecretPlace::Field { name: "refresh_token", others, encoding: TokenEncoding::Form };
        assert_eq!(refresh.secret, secret, "no scope");
    }

    #[test]
    fn the_public_endpoints_are_https_and_honest_about_who_asks() {
        let endpoints = Claude.endpoints();
        assert!(endpoints.usage_url.starts_with("https://") && endpoints.token_url.starts_with("https://"));
        assert!(endpoints.user_agent.starts_with("quotad/"));
    }

    #[test]
    fn a_success_is_read_for_its_numbers_or_tokens_and_anything_else_for_its_fault() {
        let reply = |status, body: &str| Reply { status, headers: Vec::new(), body: body.into() };
        let usage = r#"{"five_hour": {"utilization": 41, "resets_at": null}}"#;
        let grant = r#"{"access_token": "sk-ant-oat01-FAKE", "refresh_token": "sk-ant-ort01-FAKE"}"#;
        for (status, is_success) in [(199, false), (200, true), (204, true), (299, true), (300, false), (500, false)] {
            let read = Claude.read_usage(&reply(status, usage), Stamp::UNIX_EPOCH);
            assert_eq!(matches!(read, UsageOutcome::Answered { .. }), is_success, "{status}");
            assert_eq!(Claude.read_refresh(&reply(status, grant), Stamp::UNIX_EPOCH).is_ok(), is_success, "{status}");
        }
    }

    #[test]
    fn what_is_known_of_the_vendor_is_what_its_documents_and_users_say() {
        assert_eq!(Claude.id(), ProviderId::new("claude"));
        assert_eq!(Claude.floor(), Duration::from_mins(5));
        assert_eq!(Claude.usage_scope(), Some("user:profile"));
        let how = LogIn::Command { line: "claude /login", moved_by: &["CLAUDE_CONFIG_DIR"] };
        assert_eq!(Claude.log_in(), how);
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_reader_panic(status in any::<u16>(), body in any::<Vec<u8>>(), advice in "\\PC{0,9}") {
            let reply = Reply { status, headers: vec![("retry-after".to_owned(), advice)], body };
            let _ = Claude.read_usage(&reply, Stamp::UNIX_EPOCH);
            let _ = Claude.read_refresh(&reply, Stamp::UNIX_EPOCH);
        }
    }
}

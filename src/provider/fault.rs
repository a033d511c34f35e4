//! Everything that went wrong: which verdict, if any, an answer other than a success allows.
//!
//! A verdict about a token needs a JSON object: pages of HTML come from an edge or a proxy, with any status, and say
//! nothing about the token behind it. Codes decide, and words of a message only where the vendor sends no code.
//! Nothing of what the server wrote leaves: phrases are constants, and a [`Fault`] is only asked what it holds.

use std::time::Duration;

use serde_json::Value;

use super::{Reply, field};
use crate::model::{Failure, Refusal, UsageOutcome};
use crate::policy::retry_after;
use crate::policy::time::Stamp;

/// What is said of a login that no refresh revives.
pub(super) const ENDED: &str = "the login was revoked or deactivated";

/// A success that is not what the usage endpoint answers.
pub(super) fn garbage(how: &'static str) -> UsageOutcome {
    UsageOutcome::Failed { failure: Failure::Garbage(how), demand: None }
}

/// What an error inside a success means, if its code is one that HTTP has too.
pub(super) fn inside(reply: &Reply, code: Option<f64>, received: Stamp) -> UsageOutcome {
    match code {
        Some(code) if code.fract() == 0.0 && (400.0..600.0).contains(&code) => {
            usage(&Reply { status: code as u16, ..reply.clone() }, received)
        }
        _ => garbage("the answer is an error with a code that is not known"),
    }
}

/// As [`usage`], of a vendor that refuses keys in bare words: a body that is no page is a verdict too.
pub(super) fn bare(reply: &Reply, received: Stamp) -> UsageOutcome {
    let is_verdict = matches!(reply.status, 401 | 403) && Fault::read(&reply.body).is_none();
    if is_verdict && !is_challenge(reply, None) && !is_html(reply) && !shows_challenge(reply) {
        return Fault { codes: Vec::new(), messages: String::new() }.of_token(reply.status);
    }
    usage(reply, received)
}

/// What an answer of the usage endpoint other than a success means.
pub(super) fn usage(reply: &Reply, received: Stamp) -> UsageOutcome {
    let status = reply.status;
    let fault = Fault::read(&reply.body);
    let demand = demand(reply, received);
    let failure = match (status, &fault) {
        (429, _) => return UsageOutcome::Limited { demand },
        _ if is_challenge(reply, fault.as_ref()) || (fault.is_none() && shows_challenge(reply)) => Failure::Challenge,
        (401 | 403, Some(fault)) => return fault.of_token(status),
        (402, Some(fault)) if fault.ends_login() => return UsageOutcome::Rejected { permanent: true, said: ENDED },
        (400..=403, None) => Failure::Challenge,
        (402, Some(_)) => return UsageOutcome::NoPermission { said: "payment is required" },
        (300..=399 | 404 | 405 | 410, _) => Failure::Gone(status),
        (529, _) => Failure::Overloaded,
        (500.., Some(fault)) if fault.has("overloaded_error") => Failure::Overloaded,
        (408 | 500.., _) => Failure::Server(status),
        _ => Failure::Refused(status),
    };
    UsageOutcome::Failed { failure, demand }
}

/// What an answer of the token endpoint other than a success means.
///
/// Careful in both directions: only a recognised code kills a login, and only an answer that surely came before the
/// grant was touched counts as "not spent".
pub(super) fn refresh(reply: &Reply, received: Stamp) -> Refusal {
    let status = reply.status;
    let fault = Fault::read(&reply.body);
    if is_challenge(reply, fault.as_ref()) && status != 429 {
        return Refusal::Challenge;
    }
    if let Some(refusal) = fault.as_ref().and_then(|fault| fault.of_grant(status)) {
        return refusal;
    }
    match (status, &fault) {
        (429, _) => Refusal::Limited { demand: demand(reply, received) },
        (408 | 500.., _) => Refusal::Unknown("the server failed"),
        (300..=399, _) => Refusal::Misconfigured("the token URL answers with a redirect"),
        (400..=499, None) if is_html(reply) => Refusal::Challenge,
        (400 | 401 | 403, None) => Refusal::Challenge,
        (404 | 405 | 410, _) => Refusal::Misconfigured("there is no token endpoint at the token URL"),
        (403, Some(_)) => Refusal::Account("the account may not refresh"),
        _ => Refusal::Unknown("an answer that is not known"),
    }
}

/// How long an answer other than a success asks to be left alone.
pub(super) fn demand(reply: &Reply, received: Stamp) -> Option<Duration> {
    let refilled = refilled_at(reply);
    let wait = |header| retry_after::parse(header, reply.header("date"), received);
    wait(reply.header("retry-after")).or_else(|| wait(refilled.as_deref()))
}

/// When an empty budget is filled again, as an HTTP date: GitHub tells it so where it sends no `Retry-After`.
fn refilled_at(reply: &Reply) -> Option<String> {
    let at = field::timestamp(&Value::from(reply.header("x-ratelimit-reset")?))?;
    let is_empty = reply.header("x-ratelimit-remaining").is_some_and(|left| left.trim() == "0");
    (is_empty && at > Stamp::UNIX_EPOCH).then(|| httpdate::fmt_http_date(at.into()))
}

/// Cloudflare marks its own pages with a header; the vendor's API passes it on as a code.
pub(super) fn is_challenge(reply: &Reply, fault: Option<&Fault>) -> bool {
    reply.header("cf-mitigated").is_some_and(|value| value.trim().eq_ignore_ascii_case("challenge"))
        || fault.is_some_and(|fault| fault.has("cloudflare_challenge"))
}

/// Whether a page that is not JSON reads like an edge's own.
pub(super) fn shows_challenge(reply: &Reply) -> bool {
    let page = String::from_utf8_lossy(&reply.body);
    ["Just a moment", "challenge-platform", "Attention Required!"].iter().any(|marker| page.contains(marker))
}

/// Whether an answer is a page for people.
pub(super) fn is_html(reply: &Reply) -> bool {
    reply.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("text/html"))
        || reply.body.trim_ascii_start().starts_with(b"<")
}

/// An error body, reduced to what a verdict may rest on. It comes as an object or a plain string under `error`, or
/// as a code at the top level.
pub(super) struct Fault {
    /// Every type and code, in lower case.
    pub(super) codes: Vec<String>,
    /// Every message, in lower case.
    pub(super) messages: String,
}

impl Fault {
    /// `None` when the body is not a JSON object: then no API wrote it.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        Self::of(&field::json(body)?)
    }

    /// The same, of JSON that is read already.
    pub(super) fn of(body: &Value) -> Option<Self> {
        let mut fault = Self { codes: Vec::new(), messages: String::new() };
        body.is_object().then(|| fault.collect(body))?;
        Some(fault)
    }

    fn collect(&mut self, body: &Value) {
        for (key, value) in body.as_object().into_iter().flatten() {
            match (key.as_str(), value) {
                ("error" | "detail" | "details", Value::Object(_)) => self.collect(value),
                ("message" | "error_description" | "detail", Value::String(text)) => {
                    self.messages += &text.to_lowercase();
                    self.messages.push('\n');
                }
                ("error" | "type" | "code", Value::String(code)) => self.codes.push(code.trim().to_lowercase()),
                _ => {}
            }
        }
    }

    fn has(&self, code: &str) -> bool {
        self.codes.iter().any(|known| known == code)
    }

    fn first_of(&self, codes: &[&'static str]) -> Option<&'static str> {
        codes.iter().copied().find(|code| self.has(code))
    }

    fn says(&self, words: &str) -> bool {
        self.messages.contains(words)
    }

    /// A 401 or 403 of the usage endpoint. A revoked token has been seen with both: under 403 the message is taken
    /// at its word, under 401 only a code is, because a refresh may still help.
    fn of_token(&self, status: u16) -> UsageOutcome {
        const NAMES_THE_TOKEN: [&str; 4] =
            ["token_expired", "invalid_token", "authentication_error", "unauthenticated"];
        if self.says("not allowed for this organization") {
            return UsageOutcome::NoPermission { said: "the organisation does not allow OAuth" };
        }
        if self.ends_login() || (status == 403 && self.says("revoked")) {
            return UsageOutcome::Rejected { permanent: true, said: ENDED };
        }
        if self.says("scope requirement") {
            return UsageOutcome::NoPermission { said: "the token lacks the scope for usage (user:profile)" };
        }
        if status == 401 || self.first_of(&NAMES_THE_TOKEN).is_some() {
            return UsageOutcome::Rejected { permanent: false, said: "the token was refused" };
        }
        UsageOutcome::NoPermission { said: "the account may not read its usage" }
    }

    /// Codes that say revoked, deactivated or unknown account.
    fn ends_login(&self) -> bool {
        const UNKNOWN: [&str; 4] = ["unknown_account", "unknown_user", "account_not_found", "user_not_found"];
        self.first_of(&UNKNOWN).is_some()
            || self.codes.iter().any(|code| code.contains("revoked") || code.contains("deactivated"))
    }

    /// A 4xx of the token endpoint with a code that settles it. `invalid_request` and its like are about the request;
    /// believing them about the token would show a mistake of ours as "logged out".
    fn of_grant(&self, status: u16) -> Option<Refusal> {
        const SPENT: [&str; 3] = ["refresh_token_reused", "refresh_token_expired", "refresh_token_invalidated"];
        const REQUEST: [&str; 6] = [
            "invalid_request",
            "invalid_request_error",
            "invalid_client",
            "unauthorized_client",
            "unsupported_grant_type",
            "invalid_scope",
        ];
        let spent: &[&str] = match status {
            400 => &["invalid_grant"],
            // Here it is the refresh token that expired (9router#1821); at the usage endpoint it is the access token.
            401 => &["invalid_grant", "token_expired"],
            // The loser of a race for one refresh token was told so (claude-code#27933).
            404 => &["not_found_error"],
            402..=499 if status != 408 => &[],
            _ => return None,
        };
        let terminal = self.first_of(&SPENT).or_else(|| self.first_of(spent)).map(Refusal::Terminal);
        terminal.or_else(|| self.first_of(&REQUEST).map(Refusal::Misconfigured))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPIRED: &str = r#"{"type":"error","error":{"type":"authentication_error","message":"OAuth token has expired. Please obtain a new token or refresh your existing token."},"request_id":"req_0000000000000000"}"#;
    const REVOKED: &str =
        r#"{"type":"error","error":{"type":"permission_error","message":"OAuth token has been revoked"}}"#;
    const ORGANISATION: &str = r#"{"type":"error","error":{"type":"authentication_error","message":"OAuth authentication is currently not allowed for this organization."}}"#;
    const SCOPE: &str = r#"{"type":"error","error":{"type":"permission_error","message":"OAuth token does not meet scope requirement user:profile","details":{"error_visibility":"user_facing"}}}"#;
    const LIMITED: &str = r#"{"error":{"message":"Rate limited. Please try again later.","type":"rate_limit_error"}}"#;
    const OVERLOADED: &str = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    const SERVER: &str = r#"{"type":"error","error":{"type":"api_error","message":"Internal server error"}}"#;
    const NOT_FOUND: &str = r#"{"type":"error","error":{"type":"not_found_error","message":"Not found"}}"#;
    const PAGE: &str = "<html><body>nginx</body></html>";
    const MOMENT: &str = "<!DOCTYPE html><title>Just a moment...</title>";

    fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Reply { status, headers, body: body.into() }
    }

    /// The outcome in short: class, then what tells it apart.
    fn asked(status: u16, body: &str) -> &'static str {
        short(status, &usage(&reply(status, &[], body), Stamp::UNIX_EPOCH))
    }

    fn short(status: u16, outcome: &UsageOutcome) -> &'static str {
        match outcome {
            UsageOutcome::Answered { .. } => "answered",
            UsageOutcome::Limited { .. } => "limited",
            UsageOutcome::Rejected { permanent: false, .. } => "rejected",
            UsageOutcome::Rejected { permanent: true, .. } => "revoked",
            UsageOutcome::NoPermission { said } if said.contains("scope") => "scope",
            UsageOutcome::NoPermission { said } if said.contains("organisation") => "organisation",
            UsageOutcome::NoPermission { .. } => "no permission",
            UsageOutcome::Failed { failure, .. } => match failure {
                Failure::Overloaded => "overloaded",
                Failure::Server(code) if *code == status => "server",
                Failure::Challenge => "challenge",
                Failure::Gone(code) if *code == status => "gone",
                Failure::Refused(code) if *code == status => "refused",
                _ => "another failure",
            },
        }
    }

    #[test]
    fn bare_words_are_a_verdict_under_401_and_403_and_a_body_of_json_speaks_for_itself() {
        for (status, body, expected) in [
            (401, "no such key", "rejected"),
            (403, "no", "no permission"),
            (401, REVOKED, "rejected"),
            (403, REVOKED, "revoked"),
            (403, SCOPE, "scope"),
            (401, PAGE, "challenge"),
            (403, MOMENT, "challenge"),
            (500, "no", "server"),
        ] {
            assert_eq!(short(status, &bare(&reply(status, &[], body), Stamp::UNIX_EPOCH)), expected, "{status} {body}");
        }
    }

    #[test]
    fn every_known_refusal_of_the_usage_endpoint_is_told_apart() {
        let malformed = EXPIRED.replace("has expired", "The provided token was not found or is malformed");
        for (status, body, expected) in [
            (401, EXPIRED, "rejected"),
            (401, malformed.as_str(), "rejected"),
            (
                401,
                r#"{"error":{"type":"authentication_error","message":"OAuth access token has been revoked"}}"#,
                "rejected",
            ),
            (401, r#"{"error":{"code":"token_revoked"}}"#, "revoked"),
            (401, r#"{"detail":{"code":"Account_Deactivated"}}"#, "revoked"),
            (401, "{}", "rejected"),
            (401, ORGANISATION, "organisation"),
            (401, PAGE, "challenge"),
            (401, "Unauthorized", "challenge"),
            (401, "", "challenge"),
            (401, "401", "challenge"),
            (403, SCOPE, "scope"),
            (403, REVOKED, "revoked"),
            (403, r#"{"error":"unknown_account"}"#, "revoked"),
            (403, r#"{"error":{"type":"unknown_error","message":"no"}}"#, "no permission"),
            (403, r#"{"error":{"type":"permission_error","message":"no"}}"#, "no permission"),
            (403, MOMENT, "challenge"),
            (403, "error code: 1010", "challenge"),
            (400, PAGE, "challenge"),
            (400, SERVER, "refused"),
            (402, PAGE, "challenge"),
            (403, r#"{"error":{"code":"token_expired","message":"no"}}"#, "rejected"),
            (402, r#"{"detail":{"code":"deactivated_workspace"}}"#, "revoked"),
            (402, r#"{"detail":{"code":"payment_required"}}"#, "no permission"),
            (403, r#"{"error":"cloudflare_challenge"}"#, "challenge"),
            (503, r#"{"error":"cloudflare_challenge"}"#, "challenge"),
            (429, LIMITED, "limited"),
            (429, PAGE, "limited"),
            (404, NOT_FOUND, "gone"),
            (404, PAGE, "gone"),
            (405, "", "gone"),
            (410, "", "gone"),
            (301, "", "gone"),
            (307, PAGE, "gone"),
            (408, "", "server"),
            (500, SERVER, "server"),
            (500, OVERLOADED, "overloaded"),
            (502, PAGE, "server"),
            (503, MOMENT, "challenge"),
            (503, "", "server"),
            (529, OVERLOADED, "overloaded"),
            (529, "", "overloaded"),
            (418, PAGE, "refused"),
            (422, SERVER, "refused"),
        ] {
            assert_eq!(asked(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn an_edge_that_says_it_challenges_is_believed_whatever_the_body_is() {
        for status in [401, 403, 404, 503, 529] {
            let reply = reply(status, &[("cf-mitigated", "challenge")], EXPIRED);
            let failed = UsageOutcome::Failed { failure: Failure::Challenge, demand: None };
            assert_eq!(usage(&reply, Stamp::UNIX_EPOCH), failed, "{status}");
            assert_eq!(refresh(&reply, Stamp::UNIX_EPOCH), Refusal::Challenge, "{status}");
        }
    }

    #[test]
    fn advice_to_wait_is_kept_with_a_429_and_with_every_failure() {
        let dated = [("date", "Sun, 22 Nov 2026 12:00:00 GMT"), ("retry-after", "Sun, 22 Nov 2026 12:16:30 GMT")];
        let (minute, long) = (Some(Duration::from_mins(1)), Some(Duration::from_secs(990)));
        let limited = |demand| UsageOutcome::Limited { demand };
        let budget = |left| [("x-ratelimit-remaining", left), ("x-ratelimit-reset", "1795349790"), dated[0]];
        for (headers, demand) in [
            (&[("retry-after", "60")][..], minute),
            (&dated[..], long),
            (&[("retry-after", "0")][..], None),
            (&budget("0")[..], long),
            (&budget("1")[..], None),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1960-01-01")][..], None),
            (&[][..], None),
        ] {
            let received = Stamp::UNIX_EPOCH;
            assert_eq!(usage(&reply(429, headers, LIMITED), received), limited(demand));
            assert_eq!(refresh(&reply(429, headers, LIMITED), received), Refusal::Limited { demand });
            let failed = UsageOutcome::Failed { failure: Failure::Server(503), demand };
            assert_eq!(usage(&reply(503, headers, ""), received), failed);
        }
    }

    fn refused(status: u16, body: &str) -> &'static str {
        match refresh(&reply(status, &[], body), Stamp::UNIX_EPOCH) {
            Refusal::Terminal(code) => code,
            Refusal::Limited { .. } => "limited",
            Refusal::Unknown(_) => "unknown",
            Refusal::NeverArrived(_) => "never arrived",
            Refusal::Misconfigured(_) => "misconfigured",
            Refusal::Challenge => "challenge",
            Refusal::Account(_) => "account",
        }
    }

    #[test]
    fn every_known_refusal_of_the_token_endpoint_is_told_apart() {
        let invalid_grant = r#"{"error":"invalid_grant","error_description":"Refresh token not found or invalid"}"#;
        let nested = r#"{"type":"error","error":{"type":"invalid_request_error","details":{"code":"invalid_grant"}}}"#;
        let in_words = r#"{"error":{"type":"invalid_request_error","message":"invalid_grant or not"}}"#;
        for (status, body, expected) in [
            (400, invalid_grant, "invalid_grant"),
            (401, invalid_grant, "invalid_grant"),
            (401, r#"{"error":{"code":"token_expired"}}"#, "token_expired"),
            (400, r#"{"error":{"code":"token_expired"}}"#, "unknown"),
            (403, r#"{"error":"cloudflare_challenge"}"#, "challenge"),
            (400, r#"{"error":{"type":"invalid_grant"}}"#, "invalid_grant"),
            (400, nested, "invalid_grant"),
            (400, in_words, "misconfigured"),
            (403, invalid_grant, "account"),
            (429, invalid_grant, "limited"),
            (500, invalid_grant, "unknown"),
            (401, r#"{"error":{"code":"refresh_token_reused","message":"no"}}"#, "refresh_token_reused"),
            (400, r#"{"error":{"code":"refresh_token_expired"}}"#, "refresh_token_expired"),
            (403, r#"{"code":"refresh_token_invalidated"}"#, "refresh_token_invalidated"),
            (500, r#"{"code":"refresh_token_reused"}"#, "unknown"),
            (404, NOT_FOUND, "not_found_error"),
            (404, "", "misconfigured"),
            (404, r#"{"message":"no route"}"#, "misconfigured"),
            (404, PAGE, "challenge"),
            (400, NOT_FOUND, "unknown"),
            (405, "", "misconfigured"),
            (302, "", "misconfigured"),
            (308, PAGE, "misconfigured"),
            (400, r#"{"error":"invalid_request"}"#, "misconfigured"),
            (401, r#"{"error":"invalid_client"}"#, "misconfigured"),
            (400, r#"{"error":"unauthorized_client"}"#, "misconfigured"),
            (400, r#"{"error":"unsupported_grant_type"}"#, "misconfigured"),
            (400, r#"{"error":"invalid_scope"}"#, "misconfigured"),
            (403, MOMENT, "challenge"),
            (403, "error code: 1010", "challenge"),
            (400, PAGE, "challenge"),
            (451, PAGE, "challenge"),
            (403, r#"{"error":{"type":"permission_error","message":"no"}}"#, "account"),
            (429, LIMITED, "limited"),
            (429, PAGE, "limited"),
            (401, EXPIRED, "unknown"),
            (400, "{}", "unknown"),
            (409, "", "unknown"),
            (408, PAGE, "unknown"),
            (408, r#"{"code":"refresh_token_reused"}"#, "unknown"),
            (500, SERVER, "unknown"),
            (503, MOMENT, "unknown"),
            (529, OVERLOADED, "unknown"),
        ] {
            assert_eq!(refused(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn an_error_cut_short_anywhere_is_no_verdict() {
        for body in [EXPIRED, REVOKED, ORGANISATION, SCOPE] {
            for end in 0..body.len() {
                assert_eq!(asked(403, &body[..end]), "challenge", "{end}");
                assert_eq!(refused(401, &body[..end]), "challenge", "{end}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_words_and_no_unknown_code_kill_a_login(
            status in 300..600_u16,
            code in "[a-z_]{1,30}",
            words in "(invalid_grant|refresh_token_reused|revoked|\\PC){0,9}",
        ) {
            prop_assume!(!code.starts_with("refresh_token_") && !["invalid_grant", "not_found_error"].contains(&code.as_str()));
            let body = serde_json::json!({"error": {"type": code, "message": words}, "error_description": words});
            let refusal = refresh(&reply(status, &[], &body.to_string()), Stamp::UNIX_EPOCH);
            prop_assert!(!matches!(refusal, Refusal::Terminal(_)), "{:?}", refusal);
        }

        #[test]
        fn a_rate_limit_is_a_429_and_nothing_else_is(status in 300..600_u16, body in "\\PC{0,40}|\\{\"error\":\"[a-z_]{1,20}\"\\}") {
            let reply = reply(status, &[("retry-after", "60")], &body);
            let is_limit = matches!(usage(&reply, Stamp::UNIX_EPOCH), UsageOutcome::Limited { .. });
            prop_assert_eq!(is_limit, status == 429);
        }
    }
}

//! What a client reports of its own inference traffic: how it went, how long the vendor wants to be left alone, and
//! what is left.
//!
//! The vendor's answer is believed, not the client's judgement of it. Codes go before words, words before the status; a
//! page, which an edge or a proxy wrote, says nothing about the account behind it. Nothing that the server wrote leaves
//! but the names of windows: phrases are constants. Facts: `reference/credentials.md`, sections 2, 3 and 6.

mod words;

use std::time::Duration;

use self::words::{
    ABORTED, DENIED, ENDED, FAILED, Heard, LATE, LIMITED, MISTAKEN, OVERLOADED, Sign, UNPAID, UNREACHED,
};
use super::claude::headers;
use super::{Provider, Reply, codex, distinct, fault};
use crate::model::{Outcome, Window};
use crate::policy::retry_after;
use crate::policy::time::Stamp;

/// What a client has of one answer. Without `Debug`: the text may hold anything.
#[derive(Clone, Copy)]
pub struct Traffic<'a> {
    /// HTTP status; `None` where there was no answer, or the client does not know.
    pub status: Option<u16>,
    /// Headers, names in lower case.
    pub headers: &'a [(String, String)],
    /// The body or message of an error: JSON, words, or nothing.
    pub text: &'a str,
}

/// What it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// How it went.
    pub outcome: Outcome,
    /// How long the vendor wants to be left alone, if it says.
    pub demand: Option<Duration>,
    /// The model that a refusal is limited to, as the vendor names it: `Opus`.
    pub model: Option<String>,
    /// Why, as a clause of quotad's own.
    pub said: &'static str,
    /// What the headers tell of each limit.
    pub windows: Vec<Window>,
}

/// Reads a report. `received` is when the answer arrived.
pub fn read(provider: &dyn Provider, traffic: &Traffic<'_>, received: Stamp) -> Told {
    let report = Report::of(traffic);
    let windows = provider.read_headers(&report.reply.headers, received);
    let Verdict(outcome, said) = report.verdict();
    let (demand, model) = match outcome {
        Outcome::RateLimited => report.limit(&windows, received),
        Outcome::Overloaded | Outcome::Timeout | Outcome::Billing => (fault::demand(&report.reply, received), None),
        Outcome::Ok | Outcome::Auth | Outcome::AuthPermanent | Outcome::Aborted | Outcome::Refused => (None, None),
    };
    Told { outcome, demand, model, said, windows }
}

/// The first header of this (lower-case) name.
pub(super) fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

/// Of what headers tell, the windows that say something and whose reset lies ahead, each limit once.
pub(super) fn current(reports: impl Iterator<Item = Window>, received: Stamp) -> Vec<Window> {
    distinct(reports.filter(|window| {
        let is_told = window.used_percent.is_some() || window.remaining.is_some() || window.resets_at.is_some();
        is_told && window.resets_at.is_none_or(|at| at > received)
    }))
}

/// A class, and why.
struct Verdict(Outcome, &'static str);

const OVERLOAD: Verdict = Verdict(Outcome::Overloaded, "the vendor is overloaded");
const LIMIT: Verdict = Verdict(Outcome::RateLimited, "the vendor asks this account to wait");
const END: Verdict = Verdict(Outcome::AuthPermanent, fault::ENDED);
const DENIAL: Verdict = Verdict(Outcome::Auth, "the token was refused");
const DEBT: Verdict = Verdict(Outcome::Billing, "the account has to be paid for first");
const FAILURE: Verdict = Verdict(Outcome::Timeout, "the server failed");
const REFUSAL: Verdict = Verdict(Outcome::Refused, "the request was refused");

/// A report, cut to size and taken apart.
struct Report {
    status: Option<u16>,
    /// As an answer of the vendor's; the body is the text.
    reply: Reply,
    heard: Heard,
    is_page: bool,
}

impl Report {
    fn of(traffic: &Traffic<'_>) -> Self {
        /// No vendor says more of an error.
        const LONGEST: usize = 64 * 1024;
        /// No vendor sends more headers.
        const MOST_HEADERS: usize = 256;
        let text = &traffic.text[..traffic.text.floor_char_boundary(LONGEST)];
        let status = traffic.status.filter(|status| (100..600).contains(status));
        let headers = traffic.headers[..traffic.headers.len().min(MOST_HEADERS)].to_vec();
        let reply = Reply { status: status.unwrap_or_default(), headers, body: text.into() };

        let body = fault::Fault::read(&reply.body);
        let lower = text.to_ascii_lowercase();
        let is_marked = lower.contains("<html") || lower.contains("<!doctype");
        let looks_like_page = is_marked || fault::is_html(&reply) || fault::shows_challenge(&reply);
        let is_page = fault::is_challenge(&reply, body.as_ref()) || (body.is_none() && looks_like_page);
        let heard = if is_page { Heard::page() } else { Heard::of(text) };
        Self { status, reply, heard, is_page }
    }

    /// The class: as the answer has it, but for what the vendor itself calls a failure that passes.
    fn verdict(&self) -> Verdict {
        let verdict = self.by_code().or_else(|| self.by_words()).unwrap_or_else(|| self.by_status());
        let may_pass = matches!(verdict.0, Outcome::Refused) && self.is_status(|status| status >= 400);
        if may_pass && self.should_retry() {
            return Verdict(Outcome::Timeout, "the vendor says that it is worth another try");
        }
        verdict
    }

    /// What the vendor's codes mean.
    fn by_code(&self) -> Option<Verdict> {
        let has = |signs| self.heard.has(signs);
        match self.status {
            Some(..400) => None,
            _ if has(OVERLOADED) => Some(OVERLOAD),
            // A server that failed to look at the token has said nothing about it.
            None | Some(401 | 403) if has(FAILED) => Some(FAILURE),
            None | Some(400 | 401 | 403) if has(ENDED) => Some(END),
            Some(402) if has(&[Sign::InCode("deactivated")]) => Some(END),
            // At the usage endpoint a refresh may help; here the client has tried that.
            Some(401) if has(&[Sign::Code("invalid_token")]) => Some(END),
            None | Some(400 | 402 | 403 | 429) if has(UNPAID) => Some(DEBT),
            _ => None,
        }
    }

    /// What the words of its messages mean, of the client's own where there was no answer.
    fn by_words(&self) -> Option<Verdict> {
        let says = |signs| self.heard.says(signs);
        // The message is about the request, and may repeat some of it.
        let is_mistake = self.heard.has(MISTAKEN) && !self.is_status(|status| status == 429 || status >= 500);
        match self.status {
            Some(..400) => None,
            None if says(LATE) => Some(Verdict(Outcome::Timeout, "there was no answer in time")),
            None if says(ABORTED) || self.heard.is_barely_aborted() => {
                Some(Verdict(Outcome::Aborted, "the caller gave up"))
            }
            None if says(UNREACHED) => Some(Verdict(Outcome::Timeout, "there was no answer")),
            _ if says(OVERLOADED) && !is_mistake => Some(OVERLOAD),
            None | Some(400 | 401 | 403) if says(ENDED) => Some(END),
            None | Some(400 | 402 | 403 | 429) if says(UNPAID) => Some(DEBT),
            _ => None,
        }
    }

    /// What remains: the status, or without one what else is recognised.
    fn by_status(&self) -> Verdict {
        match self.status {
            Some(200..=299) => Verdict(Outcome::Ok, "the request was answered"),
            Some(300..=399) => Verdict(Outcome::Refused, "the answer is a redirect"),
            None | Some(400..=403) if self.is_page => {
                Verdict(Outcome::Refused, "a page of an edge or a proxy, which says nothing about the account")
            }
            Some(429) if self.should_retry() && headers::are_within_limits(&self.reply.headers) => OVERLOAD,
            Some(429) => LIMIT,
            Some(529) => OVERLOAD,
            Some(408 | 425 | 499 | 500..) => FAILURE,
            Some(401) => DENIAL,
            Some(402) => DEBT,
            Some(403) if self.is_denied() => Verdict(Outcome::Auth, "the token may not do this"),
            None if self.heard.tells(LIMITED) => LIMIT,
            None if self.heard.tells(DENIED) => DENIAL,
            None | Some(_) => REFUSAL,
        }
    }

    /// Whether a 403 is about the token: only a vendor's JSON says so.
    fn is_denied(&self) -> bool {
        const ACCESS: [&str; 6] = ["token", "oauth", "permission", "permissions", "scope", "scopes"];
        let is_about_request = self.heard.has(&[Sign::Code("invalid_scope")]);
        let names_access = self.heard.tells(DENIED) || self.heard.speaks_of(&ACCESS);
        self.heard.body.is_object() && !is_about_request && names_access
    }

    /// How long a rate limit lasts, and for which model: what the vendor says of this refusal, else of the limit that
    /// it names, else when the only limit that is used up is reset.
    fn limit(&self, windows: &[Window], received: Stamp) -> (Option<Duration>, Option<String>) {
        let headers = &self.reply.headers;
        let advised = fault::demand(&self.reply, received);
        if headers::are_within_limits(headers) {
            return (advised, None);
        }
        let wait = |at: Stamp| {
            let date = (at > Stamp::UNIX_EPOCH).then(|| httpdate::fmt_http_date(at.into()))?;
            retry_after::parse(Some(&date), self.reply.header("date"), received)
        };
        let model = headers::refused_model(headers).map(str::to_owned);
        let said = || headers::refused_until(headers).find_map(wait);
        let in_body = || codex::resets_at(&self.heard.body["error"], received).and_then(wait);
        if let Some(demand) = advised.or_else(said).or_else(in_body) {
            return (Some(demand), model);
        }
        let mut full = windows.iter().filter(|window| window.used_percent.is_some_and(|used| used >= 100.0));
        match (full.next(), full.next()) {
            (Some(full), None) => (full.resets_at.and_then(wait), model.or_else(|| full.model.clone())),
            _ => (None, model),
        }
    }

    fn should_retry(&self) -> bool {
        self.reply.header("x-should-retry").is_some_and(|word| word.trim().eq_ignore_ascii_case("true"))
    }

    fn is_status(&self, is: impl Fn(u16) -> bool) -> bool {
        self.status.is_some_and(is)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::provider::{claude::Claude, codex::Codex, copilot::Copilot};

    /// 2026-09-14T12:00:00Z.
    const NOW: i64 = 1_789_387_200;
    const UNIFIED: &str = "anthropic-ratelimit-unified-";

    fn now() -> Stamp {
        Stamp::from_second(NOW).unwrap()
    }

    fn told_by(provider: &dyn Provider, status: Option<u16>, headers: &[(&str, &str)], text: &str) -> Told {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        read(provider, &Traffic { status, headers: &headers, text }, now())
    }

    fn told(status: impl Into<Option<u16>>, headers: &[(&str, &str)], text: &str) -> Told {
        told_by(&Claude, status.into(), headers, text)
    }

    fn class(status: impl Into<Option<u16>>, text: &str) -> &'static str {
        told(status, &[], text).outcome.as_str()
    }

    fn error(code: &str, message: &str) -> String {
        json!({"type": "error", "error": {"type": code, "message": message}, "request_id": "req_0"}).to_string()
    }

    const PAGE: &str = "<html><body>nginx</body></html>";
    const MOMENT: &str = "<!DOCTYPE html><title>Just a moment...</title>";

    #[test]
    fn every_status_has_its_class_whatever_else_is_silent() {
        for (status, expected) in [
            (200, "ok"),
            (204, "ok"),
            (299, "ok"),
            (100, "refused"),
            (301, "refused"),
            (307, "refused"),
            (400, "refused"),
            (401, "auth"),
            (402, "billing"),
            (403, "refused"),
            (404, "refused"),
            (405, "refused"),
            (408, "timeout"),
            (409, "refused"),
            (413, "refused"),
            (418, "refused"),
            (422, "refused"),
            (425, "timeout"),
            (429, "rate-limited"),
            (451, "refused"),
            (499, "timeout"),
            (500, "timeout"),
            (502, "timeout"),
            (503, "timeout"),
            (504, "timeout"),
            (529, "overloaded"),
            (599, "timeout"),
            (0, "refused"),
            (600, "refused"),
            (999, "refused"),
        ] {
            for text in ["", "{}", "no"] {
                assert_eq!(class(status, text), expected, "{status} {text}");
            }
        }
        assert_eq!(class(None, ""), "refused");
    }

    #[test]
    fn every_known_answer_is_told_apart() {
        let organisation = "OAuth authentication is currently not allowed for this organization.";
        let scope = "OAuth token does not meet scope requirement user:profile";
        for (status, code, message, expected) in [
            (401, "authentication_error", "OAuth token has expired. Please obtain a new token.", "auth"),
            (401, "authentication_error", "Invalid authentication credentials", "auth"),
            (401, "authentication_error", "OAuth access token has been revoked", "auth-permanent"),
            (401, "authentication_error", organisation, "auth"),
            (401, "token_expired", "Please sign in again.", "auth"),
            (401, "token_expired", "Could not validate your token. Please try signing in again.", "auth-permanent"),
            (401, "invalid_request_error", "Missing bearer", "auth"),
            (401, "invalid_token", "no", "auth-permanent"),
            (403, "invalid_token", "no", "auth"),
            (400, "invalid_token", "no", "refused"),
            (401, "server_error", "no", "timeout"),
            (403, "server_error", "no", "timeout"),
            (403, "api_error", "OAuth token has been revoked", "timeout"),
            (401, "overloaded_error", "no", "overloaded"),
            (403, "overloaded_error", "no", "overloaded"),
            (403, "permission_error", "OAuth token has been revoked", "auth-permanent"),
            (403, "permission_error", scope, "auth"),
            (403, "permission_error", "no", "auth"),
            (403, "forbidden", organisation, "auth"),
            (403, "forbidden", "This token may not do that", "auth"),
            (403, "forbidden", "You have exceeded 4096 tokens", "refused"),
            (403, "unsupported_country_region_territory", "Country not supported", "refused"),
            (403, "invalid_scope", "The scope is not known", "refused"),
            (400, "invalid_scope", "The scope is not known", "refused"),
            (400, "invalid_request_error", "prompt is too long", "refused"),
            (400, "invalid_request_error", "an operator was overloaded at capacity", "refused"),
            (400, "invalid_request_error", "Invalid 'refresh_token': empty string", "refused"),
            (400, "invalid_request_error", "This organization has been disabled.", "auth-permanent"),
            (400, "invalid_request_error", "Your credit balance is too low to access the API.", "billing"),
            (400, "api_error", "no", "refused"),
            (400, "invalid_grant", "Refresh token not found or invalid", "auth-permanent"),
            (404, "invalid_grant", "Refresh token not found or invalid", "refused"),
            (404, "not_found_error", "no such model", "refused"),
            (500, "invalid_grant", "Refresh token not found or invalid", "timeout"),
            (429, "token_revoked", "OAuth token has been revoked", "rate-limited"),
            (402, "deactivated_workspace", "no", "auth-permanent"),
            (402, "token_revoked", "no", "billing"),
            (402, "payment_required", "no", "billing"),
            (403, "usage_not_included", "no", "billing"),
            (403, "billing_error", "no", "billing"),
            (429, "insufficient_quota", "You exceeded your current quota", "billing"),
            (429, "error", "You exceeded your current quota", "rate-limited"),
            (429, "billing_hard_limit_reached", "no", "billing"),
            (429, "workspace_owner_credits_depleted", "no", "billing"),
            (400, "out_of_credits", "no", "billing"),
            (403, "error", "402 Payment Required", "billing"),
            (401, "error", "Payment required", "auth"),
            (500, "insufficient_quota", "no", "timeout"),
            (429, "rate_limit_error", "This request would exceed your account's rate limit.", "rate-limited"),
            (429, "usage_limit_reached", "The usage limit has been reached", "rate-limited"),
            (400, "rate_limit_error", "no", "refused"),
            (429, "overloaded_error", "Overloaded", "overloaded"),
            (429, "engine_overloaded", "no", "overloaded"),
            (429, "invalid_request_error", "The engine is currently overloaded", "overloaded"),
            (429, "rate_limit_error", "Selected model is at capacity. Please try another.", "overloaded"),
            (429, "slow_down", "no", "overloaded"),
            (503, "server_is_overloaded", "no", "overloaded"),
            (500, "overloaded_error", "Overloaded", "overloaded"),
            (529, "overloaded_error", "Overloaded", "overloaded"),
            (529, "api_error", "no", "overloaded"),
            (404, "error", "the model is AT CAPACITY", "overloaded"),
            (500, "api_error", "Internal server error", "timeout"),
            (200, "overloaded_error", "Overloaded", "ok"),
            (302, "overloaded_error", "Overloaded", "refused"),
        ] {
            assert_eq!(class(status, &error(code, message)), expected, "{status} {code} {message}");
        }
    }

    #[test]
    fn a_login_that_is_over_is_recognised_in_every_wording_under_every_status_that_may_say_so() {
        let mut wordings = BTreeSet::new();
        for sign in ENDED {
            let (Sign::Code(wording) | Sign::InCode(wording) | Sign::Words(wording)) = *sign;
            wordings.insert(wording);
            let cases = [wording.to_owned(), wording.to_uppercase()];
            let texts: Vec<String> = cases
                .iter()
                .flat_map(|wording| match sign {
                    Sign::Code(_) => shapes_of(wording),
                    Sign::InCode(_) => shapes_of(&format!("the_{wording}_one")),
                    Sign::Words(_) => vec![error("some_error", &format!("Yes: {wording}. Sorry.")), wording.clone()],
                })
                .collect();
            for text in texts {
                for status in [Some(401), Some(403), Some(400), None] {
                    assert_eq!(class(status, &text), "auth-permanent", "{status:?} {text}");
                }
                for status in [200, 404, 429, 500] {
                    assert_ne!(class(status, &text), "auth-permanent", "{status} {text}");
                }
            }
        }
        assert!(wordings.len() >= 15, "{wordings:?}");
    }

    /// A code in every place where vendors put one, and in a client's own sentence.
    fn shapes_of(code: &str) -> Vec<String> {
        let bodies = [
            json!({"error": {"type": code}}),
            json!({"error": {"type": "invalid_request_error", "code": code, "message": "no"}}),
            json!({"error": code}),
            json!({"code": code}),
            json!({"detail": {"code": code}}),
        ];
        let sentence = format!("the client failed with {code}, sorry");
        bodies.iter().map(ToString::to_string).chain([sentence]).collect()
    }

    #[test]
    fn a_page_says_nothing_about_the_login() {
        let blocked = "403 <!DOCTYPE html><html>your token has been revoked</html>";
        let challenge = json!({"error": "cloudflare_challenge", "code": "token_revoked"}).to_string();
        for text in [PAGE, MOMENT, blocked, challenge.as_str(), " <p>payment required: overloaded"] {
            for status in [Some(400), Some(401), Some(402), Some(403), None] {
                let told = told(status, &[], text);
                assert_eq!(told.outcome, Outcome::Refused, "{status:?} {text}");
                assert!(told.said.contains("page"), "{}", told.said);
            }
            for (status, expected) in
                [(200, "ok"), (404, "refused"), (429, "rate-limited"), (503, "timeout"), (529, "overloaded")]
            {
                assert_eq!(class(status, text), expected, "{status} {text}");
            }
        }
        let revoked = error("token_revoked", "<html>");
        assert_eq!(class(401, &revoked), "auth-permanent", "what a vendor's message holds makes no page of it");
        let mitigated = told(403, &[("cf-mitigated", "challenge")], &revoked);
        assert_eq!(mitigated.outcome, Outcome::Refused);
        let html = told(401, &[("content-type", "text/html; charset=utf-8")], "has been revoked");
        assert_eq!(html.outcome, Outcome::Refused);
    }

    #[test]
    fn without_a_status_the_words_say_whether_the_caller_or_the_network_gave_up() {
        for (text, expected) in [
            ("AbortError: This operation was aborted", "aborted"),
            ("DOMException [AbortError]: The operation was aborted.", "aborted"),
            ("APIUserAbortError: Request was aborted.", "aborted"),
            ("context canceled", "aborted"),
            ("Aborted.", "aborted"),
            ("[Request interrupted by user]", "aborted"),
            ("the run was cancelled by the caller", "aborted"),
            (r#"{"name":"AbortError","message":"The operation was aborted"}"#, "aborted"),
            ("TimeoutError: The operation was aborted due to timeout", "timeout"),
            ("timeout of 60000ms exceeded (ECONNABORTED)", "timeout"),
            ("net/http: request canceled (Client.Timeout exceeded while awaiting headers)", "timeout"),
            ("context deadline exceeded", "timeout"),
            ("Request timed out.", "timeout"),
            ("read ECONNRESET", "timeout"),
            ("connect ECONNREFUSED 127.0.0.1:443", "timeout"),
            ("TypeError: fetch failed {\n  cause: Error: other side closed }", "timeout"),
            ("fetch failed {\"address\": \"127.0.0.1\"}", "timeout"),
            ("socket hang up", "timeout"),
            ("getaddrinfo ENOTFOUND api.example.test", "timeout"),
            ("dns error: failed to lookup address information", "timeout"),
            ("Connection reset by peer (os error 104)", "timeout"),
            ("API Error: 529 {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}", "overloaded"),
            (
                "Error code: 401 - {'error': {'type': 'authentication_error', 'message': 'OAuth token has expired'}}",
                "auth",
            ),
            (
                "Error: 400 {\"error\":{\"message\":\"This organization has been     disabled.\"}}\n at f ({x})",
                "auth-permanent",
            ),
            ("refresh failed: refresh_token_reused", "auth-permanent"),
            ("invalid_token", "auth"),
            ("Your credit balance is too low", "billing"),
            ("insufficient_quota", "billing"),
            ("Too Many Requests", "rate-limited"),
            (r#"{"error":{"type":"rate_limit_error","message":"no"}}"#, "rate-limited"),
            (r#"{"error":{"type":"api_error","message":"no"}}"#, "timeout"),
            (r#"{"error":{"type":"permission_error","message":"no"}}"#, "auth"),
            (r#"{"error":{"type":"invalid_request_error","message":"prompt is too long"}}"#, "refused"),
            ("Permission denied: /etc/shadow", "refused"),
            ("segmentation fault", "refused"),
        ] {
            assert_eq!(class(None, text), expected, "{text}");
            assert_eq!(class(0, text), expected, "{text}");
        }
        assert_eq!(class(500, "AbortError: This operation was aborted"), "timeout", "there was an answer");
    }

    #[test]
    fn what_the_vendor_says_is_worth_another_try_is_no_refusal() {
        let retry = |status: u16, word, text: &str| told(status, &[("x-should-retry", word)], text).outcome.as_str();
        for (status, text, expected) in [
            (400, "", "timeout"),
            (409, "", "timeout"),
            (403, PAGE, "timeout"),
            (401, "", "auth"),
            (400, r#"{"error":"invalid_grant"}"#, "auth-permanent"),
            (402, "", "billing"),
            (429, "", "rate-limited"),
            (503, "", "timeout"),
            (302, "", "refused"),
        ] {
            assert_eq!(retry(status, " True", text), expected, "{status} {text}");
        }
        assert_eq!(retry(409, "false", ""), "refused");
        assert_eq!(retry(503, "false", ""), "timeout");
        assert_eq!(told(None, &[("x-should-retry", "true")], "").outcome, Outcome::Refused, "there was no answer");
    }

    #[test]
    fn a_429_within_the_limits_is_an_overload_if_it_is_worth_another_try() {
        let status = format!("{UNIFIED}status");
        for (unified, retry, expected) in [
            ("allowed", "true", "overloaded"),
            ("allowed_warning", "true", "overloaded"),
            ("allowed", "false", "rate-limited"),
            ("rejected", "true", "rate-limited"),
            ("", "true", "rate-limited"),
        ] {
            let headers = [(status.as_str(), unified), ("x-should-retry", retry), ("retry-after", "7")];
            let told = told(429, &headers, &error("rate_limit_error", "no"));
            assert_eq!(
                (told.outcome.as_str(), told.demand),
                (expected, Some(Duration::from_secs(7))),
                "{unified} {retry}"
            );
        }
    }

    /// The wait that a 429 demands, in seconds, and the model it is limited to. Unified headers are spelt without
    /// their prefix.
    fn limit(headers: &[(&str, &str)], text: &str) -> (Option<u64>, Option<String>) {
        let long = |name: &str| match name {
            "retry-after" | "date" | "x-should-retry" => name.to_owned(),
            _ => format!("{UNIFIED}{name}"),
        };
        let headers: Vec<_> = headers.iter().map(|(name, value)| (long(name), *value)).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let told = told(429, &headers, text);
        assert_eq!(told.outcome, Outcome::RateLimited);
        (told.demand.map(|demand| demand.as_secs()), told.model)
    }

    #[test]
    fn the_first_that_says_how_long_a_rate_limit_lasts_is_believed() {
        let at = |seconds: i64| (NOW + seconds).to_string();
        let (whole, own, other, past) = (at(100), at(200), at(300), at(-1));
        let rejected = ("status", "rejected");
        let session = ("representative-claim", "five_hour");
        for (headers, expected) in [
            (vec![("retry-after", "50"), rejected, ("reset", whole.as_str())], Some(50)),
            (vec![("retry-after", "0"), rejected, ("reset", whole.as_str())], Some(100)),
            (vec![("x-should-retry", "false"), rejected, ("reset", whole.as_str())], Some(100)),
            (vec![rejected, session, ("reset", past.as_str()), ("5h-reset", own.as_str())], Some(200)),
            (vec![session, ("reset", whole.as_str()), ("5h-reset", own.as_str())], Some(200)),
            (vec![("7d-utilization", "1.02"), ("7d-reset", other.as_str())], Some(300)),
            (vec![("7d-utilization", "0.99"), ("7d-reset", other.as_str())], None),
            (vec![("7d-utilization", "1"), ("5h-utilization", "1"), ("7d-reset", other.as_str())], None),
            (vec![("7d-utilization", "1"), ("7d-reset", past.as_str())], None),
            (vec![("status", "allowed"), session, ("reset", whole.as_str()), ("5h-reset", own.as_str())], None),
            (vec![("status", "allowed"), ("retry-after", "50")], Some(50)),
            (vec![rejected, ("reset", "never")], None),
            (vec![], None),
        ] {
            assert_eq!(limit(&headers, ""), (expected, None), "{headers:?}");
        }
        let date = ("date", "Mon, 14 Sep 2026 11:59:00 GMT");
        assert_eq!(limit(&[rejected, ("reset", &whole), date], ""), (Some(160), None), "by the server's own clock");
        assert_eq!(limit(&[("retry-after", "Mon, 14 Sep 2026 12:00:00 GMT"), date], ""), (Some(60), None));
    }

    #[test]
    fn codex_says_in_the_body_how_long_a_rate_limit_lasts() {
        let headers = [
            ("x-codex-primary-used-percent", "100"),
            ("x-codex-primary-window-minutes", "300"),
            ("x-codex-primary-reset-after-seconds", "40"),
        ];
        for (error, expected) in [
            (json!({"resets_in_seconds": 90}), 90),
            (json!({"resets_at": NOW + 80, "resets_in_seconds": 90}), 80),
            (json!({"resets_at": NOW - 80}), 40),
            (json!({"resets_in_seconds": "soon"}), 40),
            (json!("usage_limit_reached"), 40),
        ] {
            let told = told_by(&Codex, Some(429), &headers, &json!({"error": error}).to_string());
            assert_eq!(
                (told.outcome, told.demand),
                (Outcome::RateLimited, Some(Duration::from_secs(expected))),
                "{error}"
            );
            assert_eq!(told.windows.len(), 1);
        }
        let budget = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1789387230")];
        let told = told_by(&Copilot, Some(429), &budget, "");
        assert_eq!((told.demand, told.windows), (Some(Duration::from_secs(30)), Vec::new()));
    }

    #[test]
    fn a_refusal_for_the_limit_of_one_model_is_limited_to_it() {
        let claim = |claim| ("representative-claim", claim);
        let opus = Some("Opus".to_owned());
        for (headers, expected) in [
            (vec![("retry-after", "9"), ("status", "rejected"), claim("seven_day_opus")], (Some(9), opus.clone())),
            (vec![claim("seven_day_opus")], (None, opus.clone())),
            (vec![claim("seven_day_sonnet")], (None, Some("Sonnet".to_owned()))),
            (vec![claim("seven_day")], (None, None)),
            (vec![claim("seven_day_overage_included")], (None, None)),
            (vec![("status", "allowed_warning"), claim("seven_day_opus")], (None, None)),
            (vec![("7d_opus-utilization", "1"), ("7d_opus-reset", "1789387209")], (Some(9), opus)),
        ] {
            assert_eq!(limit(&headers, ""), expected, "{headers:?}");
        }
        let model = format!("{UNIFIED}representative-claim");
        let overload = told(529, &[(&model, "seven_day_opus")], "");
        assert_eq!(overload.model, None, "only a rate limit is one model's");
    }

    #[test]
    fn advice_to_wait_is_kept_where_the_account_may_be_asked_again() {
        for (status, expected) in
            [(429, true), (529, true), (503, true), (402, true), (200, false), (400, false), (401, false), (403, false)]
        {
            let told = told(status, &[("retry-after", "7")], "{}");
            assert_eq!(told.demand.is_some(), expected, "{status}");
        }
    }

    #[test]
    fn headers_tell_windows_whatever_became_of_the_request() {
        let utilization = format!("{UNIFIED}5h-utilization");
        for status in [Some(200), Some(401), Some(429), Some(529), None] {
            let windows = told(status, &[(&utilization, "0.42")], "").windows;
            assert_eq!(windows.len(), 1, "{status:?}");
            assert_eq!((windows[0].id.as_str(), windows[0].used_percent), ("five_hour", Some(42.0)));
        }
        assert_eq!(told_by(&Copilot, Some(200), &[(&utilization, "0.42")], "").windows, []);
    }

    #[test]
    fn a_report_without_end_is_cut_short() {
        let text = "ä".repeat(40_000) + " has been revoked";
        assert_eq!(class(403, &text), "refused");
        let endless: Vec<_> = (0..5_000).map(|n| (format!("{UNIFIED}{n}d-utilization"), "0.5".to_owned())).collect();
        let told = read(&Claude, &Traffic { status: Some(200), headers: &endless, text: "" }, now());
        assert_eq!(told.windows.len(), 100);
        assert_eq!(class(400, &"{\"a\":".repeat(10_000)), "refused");
    }

    /// What vendors and clients say, with a mark among it.
    fn reports() -> impl Strategy<Value = String> {
        let known = prop::sample::select(vec![
            "has been revoked",
            "overloaded",
            "at capacity",
            "payment required",
            "token_revoked",
            "\"error\":",
            "{",
            "}",
            "AbortError",
            "timed out",
            "fetch failed",
            "<html>",
            "rate limit",
            "invalid_request_error",
            "\"message\":\"",
        ]);
        let word = prop_oneof![known.prop_map(str::to_owned), Just("QX7MARK".to_owned()), "\\PC{0,12}"];
        prop::collection::vec(word, 0..12).prop_map(|words| words.join(" "))
    }

    proptest! {
        #[test]
        fn nothing_that_the_server_wrote_leaves_but_the_names_of_windows(
            status in prop::option::of(0..700_u16),
            text in reports(),
            code in "QX7MARK|[a-z_]{1,20}|invalid_grant",
            is_json: bool,
            values in prop::collection::vec("QX7MARK|[0-9.]{1,12}|rejected|true|five_hour", 8),
            second in any::<i32>(),
        ) {
            let text = if is_json { error(&code, &text) } else { text };
            let names = ["retry-after", "date", "x-should-retry", "content-type", "cf-mitigated", "x-ratelimit-reset"];
            let unified = ["status", "reset", "representative-claim", "5h-utilization", "5h-reset"];
            let names = names.map(str::to_owned).into_iter().chain(unified.map(|name| format!("{UNIFIED}{name}")));
            let headers: Vec<_> = names.zip(values.into_iter().cycle()).collect();
            for provider in crate::provider::ALL {
                let traffic = Traffic { status, headers: &headers, text: &text };
                let told = read(provider, &traffic, Stamp::from_second(second.into()).unwrap());
                prop_assert!(!format!("{told:?}").to_lowercase().contains("qx7mark"), "{:?}", told);
                prop_assert_ne!(told.demand, Some(Duration::ZERO));
                prop_assert!(told.model.is_none() || told.outcome == Outcome::RateLimited);
            }
        }

        #[test]
        fn no_words_end_a_login_under_a_status_that_does_not_say_so(status in 404..600_u16, text in reports(), code in "[a-z_]{1,20}|invalid_grant") {
            for text in [error(&code, &text), text] {
                prop_assert_ne!(class(status, &text), "auth-permanent");
                prop_assert!(class(status, &text) != "rate-limited" || status == 429);
            }
        }
    }
}

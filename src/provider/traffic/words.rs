//! What a report says in words: its codes, its messages, and the tables of those that mean something.
//!
//! A client hands on what it has: the vendor's JSON, that JSON within a line of its own, or a sentence. Codes are the
//! types and codes of JSON, and in a sentence whatever is spelt like one. Nothing of it leaves: a report is only asked
//! whether it says this or that.

use serde_json::Value;

use self::Sign::{Code, InCode, Words};
use crate::provider::fault::Fault;

/// What is looked for in a report, in lower case.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sign {
    /// The whole of a code.
    Code(&'static str),
    /// A part of a code.
    InCode(&'static str),
    /// Words of a message.
    Words(&'static str),
}

/// The login is over: revoked, spent, deactivated or unknown. The numbers are sections of `reference/credentials.md`.
pub(super) const ENDED: &[Sign] = &[
    // 3: what makes Hermes call a login dead.
    Code("token_invalidated"),
    Code("invalid_grant"),
    Code("unauthorized_client"),
    Code("refresh_token_reused"),
    // 2.1 and 2.3: both token endpoints.
    Code("invalid_client"),
    Code("refresh_token_expired"),
    Code("refresh_token_invalidated"),
    // What `fault` believes at the usage endpoint; `token_revoked`, `account_deactivated` and more of the kind.
    InCode("revoked"),
    InCode("deactivated"),
    Code("unknown_account"),
    Code("unknown_user"),
    Code("account_not_found"),
    Code("user_not_found"),
    // 2.1 and 2.2, Anthropic; an organisation that was shut is a 400 of type `invalid_request_error` (claude-code#19028).
    Words("has been revoked"),
    Words("refresh token not found or invalid"),
    Words("refresh token expired"),
    Words("organization has been disabled"),
    Words("account has been disabled"),
    // 2.3, OpenAI, and how its CLI says the same.
    Words("could not validate your token"),
    Words("has been invalidated"),
    Words("refresh token has expired"),
    Words("refresh token was revoked"),
    Words("refresh token was already used"),
    Words("refresh token has already been used"),
    Words("account has been deactivated"),
    Words("workspace has been deactivated"),
    // 2.1: `invalid_client` in words.
    Words("unknown client"),
    Words("invalid client"),
];

/// The account has to be paid for first.
pub(super) const UNPAID: &[Sign] = &[
    Code("insufficient_quota"),
    Code("billing_error"),
    Code("billing_hard_limit_reached"),
    Code("billing_not_active"),
    Code("payment_required"),
    Code("usage_not_included"),
    InCode("credits"),
    Words("credit balance is too low"),
    Words("payment required"),
    Words("out of credits"),
    Words("insufficient credits"),
];

/// The vendor has more to do than it can.
pub(super) const OVERLOADED: &[Sign] =
    &[InCode("overloaded"), Code("slow_down"), Words("overloaded"), Words("at capacity")];

/// The vendor failed, whatever status it says so with.
pub(super) const FAILED: &[Sign] = &[
    Code("server_error"),
    Code("api_error"),
    Code("internal_error"),
    Code("internal_server_error"),
    Code("timeout_error"),
    Code("service_unavailable"),
    Code("service_unavailable_error"),
];

/// The account is asked to wait.
pub(super) const LIMITED: &[Sign] = &[
    InCode("rate_limit"),
    InCode("usage_limit"),
    Code("too_many_requests"),
    Code("resource_exhausted"),
    Words("rate limit"),
    Words("usage limit"),
    Words("too many requests"),
];

/// The request was wrong, not the login.
pub(super) const MISTAKEN: &[Sign] = &[Code("invalid_request_error"), Code("invalid_request"), Code("invalid_scope")];

/// What the login is not good for, or not good for any more.
pub(super) const DENIED: &[Sign] = &[
    Code("token_expired"),
    Code("invalid_token"),
    Code("invalid_api_key"),
    InCode("authentication"),
    Code("unauthenticated"),
    Code("unauthorized"),
    InCode("permission"),
    Code("insufficient_scope"),
    Words("oauth token"),
    Words("oauth authentication"),
    Words("not allowed for this organization"),
    Words("invalid authentication credentials"),
];

/// There was no answer in time.
pub(super) const LATE: &[Sign] =
    &[Words("timeout"), Words("timed out"), Words("time-out"), Words("deadline exceeded"), Words("etimedout")];

/// The caller gave up.
pub(super) const ABORTED: &[Sign] = &[
    Words("aborterror"),
    Words("operation was aborted"),
    Words("request was aborted"),
    Words("request aborted"),
    Words("signal is aborted"),
    Words("aborted by"),
    Words("user aborted"),
    Words("context canceled"),
    Words("context cancelled"),
    Words("canceled by"),
    Words("cancelled by"),
    Words("request canceled"),
    Words("request cancelled"),
    Words("operation was canceled"),
    Words("operation was cancelled"),
    Words("interrupted by user"),
    Words("cancelederror"),
    Words("cancellederror"),
];

/// The same, where it is all that is said.
const ABORTED_BARELY: [&str; 4] = ["abort", "aborted", "canceled", "cancelled"];

/// There was no answer at all.
pub(super) const UNREACHED: &[Sign] = &[
    Words("connection reset"),
    Words("connection refused"),
    Words("connection closed"),
    Words("connection abort"),
    Words("connection was aborted"),
    Words("connection error"),
    Words("broken pipe"),
    Words("socket hang up"),
    Words("other side closed"),
    Words("premature close"),
    Words("unexpected eof"),
    Words("fetch failed"),
    Words("failed to fetch"),
    Words("network error"),
    Words("network request failed"),
    Words("getaddrinfo"),
    Words("no such host"),
    Words("could not resolve host"),
    Words("name or service not known"),
    Words("name resolution"),
    Words("dns"),
    Words("econnreset"),
    Words("econnrefused"),
    Words("econnaborted"),
    Words("enotfound"),
    Words("eai_again"),
    Words("epipe"),
    Words("ehostunreach"),
    Words("enetunreach"),
];

/// A report's text, reduced to what a class may rest on.
pub(super) struct Heard {
    /// The JSON in it; null without.
    pub(super) body: Value,
    /// Every type and code, in lower case.
    codes: Vec<String>,
    /// Everything it says, in lower case, with single spaces: terminals wrap what they show.
    words: String,
}

impl Heard {
    /// Reads a text that is no page.
    pub(super) fn of(text: &str) -> Self {
        let (before, body) = json_in(text);
        let (codes, mut words) = match Fault::of(&body) {
            Some(Fault { codes, messages }) => (codes, format!("{before} {messages}")),
            None => (like_codes(text), text.to_owned()),
        };
        for code in &codes {
            words.push(' ');
            words += code;
        }
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        Self { body, codes, words }
    }

    /// Reads a page, which says nothing.
    pub(super) fn page() -> Self {
        Self { body: Value::Null, codes: Vec::new(), words: String::new() }
    }

    /// Whether it has one of these codes.
    pub(super) fn has(&self, signs: &[Sign]) -> bool {
        signs.iter().any(|sign| match sign {
            Code(code) => self.codes.iter().any(|known| known == code),
            InCode(part) => self.codes.iter().any(|known| known.contains(part)),
            Words(_) => false,
        })
    }

    /// Whether it says one of these in words.
    pub(super) fn says(&self, signs: &[Sign]) -> bool {
        signs.iter().any(|sign| matches!(sign, Words(words) if self.words.contains(words)))
    }

    /// Whether it says one of these in any way.
    pub(super) fn tells(&self, signs: &[Sign]) -> bool {
        self.has(signs) || self.says(signs)
    }

    /// Whether one of these is among its words, as a whole word.
    pub(super) fn speaks_of(&self, words: &[&str]) -> bool {
        self.words.split(|c: char| !c.is_alphanumeric()).any(|word| words.contains(&word))
    }

    /// Whether all it says is that something was aborted.
    pub(super) fn is_barely_aborted(&self) -> bool {
        let words = self.words.trim_end_matches('.');
        ABORTED_BARELY.contains(&words)
    }
}

/// The first JSON object in a text, and what stands before it; clients put the status there.
fn json_in(text: &str) -> (&str, Value) {
    /// Braces that are none of JSON's, before it is not looked for any more.
    const TRIES: usize = 4;
    let mut objects = text.match_indices('{').take(TRIES).filter_map(|(at, _)| {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        Some((&text[..at], values.next()?.ok()?))
    });
    objects.next().unwrap_or((text, Value::Null))
}

/// The words of a sentence that are spelt like codes: `invalid_grant`.
fn like_codes(text: &str) -> Vec<String> {
    let is_code = |word: &&str| word.contains('_');
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(is_code).map(str::to_lowercase).collect()
}

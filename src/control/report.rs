//! `POST /v1/report`: what became of a client's request.
//!
//! Owns the documents. A report of raw material (status, headers, text) is read here, by its vendor's rules, before it
//! goes to the loop; of its text nothing is kept.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::select::{PassedOver, name_fits};
use super::wire::{SCHEMA, deadline, past};
use crate::model::{AccountName, Outcome, Reading, Source};
use crate::policy::pool;
use crate::policy::time::Stamp;
use crate::provider;
use crate::provider::traffic::{self, Traffic};
use crate::supervisor::handle::Handle;
use crate::supervisor::pool::{PoolView, Reported, Reporting};

/// What `POST /v1/report` says: a word, or the status, headers and text of the answer, or both; then the word is believed,
/// and the headers are read for the wait and the windows.
///
/// It has no `Debug`: its text may hold anything.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// The account that was used.
    pub account: String,
    /// One of [`Outcome`]'s words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// How long the vendor asked to be left alone: seconds, or a duration such as "5m".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Wait>,
    /// The model that was used; without it, the one that was last given out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The caller's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What [`super::select::Selection`] named as the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// HTTP status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Its headers, each a text, a number, or a list of which the first counts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Value>,
    /// The error's body or words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// A length of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Wait {
    /// In seconds.
    Seconds(f64),
    /// In words.
    Text(String),
}

impl Wait {
    /// As a duration; `None` where it is none. Nothing at all, or less, is no advice, as in a vendor's own header.
    pub fn length(&self) -> Option<Option<Duration>> {
        let length = match self {
            Self::Seconds(seconds) => from_seconds(*seconds)?,
            Self::Text(text) => match text.trim().parse() {
                Ok(seconds) => from_seconds(seconds)?,
                Err(_) => Duration::try_from(text.parse::<SignedDuration>().ok()?).unwrap_or_default(),
            },
        };
        Some((!length.is_zero()).then_some(length))
    }
}

/// Seconds as a duration, the longest there is for what is longer.
fn from_seconds(seconds: f64) -> Option<Duration> {
    (!seconds.is_nan()).then(|| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

/// What a report came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The account it is about.
    pub account: String,
    /// What the report was taken for.
    pub outcome: String,
    /// Why, and what follows from it, as sentences.
    pub said: String,
    /// Whether the account is out of the pool now.
    pub out: bool,
    /// Until when; null where it is not out, or that is no matter of time.
    pub until: Option<Stamp>,
    /// When the daemon asks by itself whether the login works.
    pub check_at: Option<Stamp>,
}

/// How an account stands with its clients, within an explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pooled {
    /// Times it was given out, ever.
    pub selects: u64,
    /// Access tokens handed out.
    pub tokens: u64,
    /// Reports about it.
    pub reports: u64,
    /// Of these, successes.
    pub successes: u64,
    /// Of these, failures.
    pub failures: u64,
    /// Pauses that reports began.
    pub cooldowns: u64,
    /// When it was last given out.
    pub last_used: Option<Stamp>,
    /// Why clients are kept off it; null where they are not.
    pub out: Option<PassedOver>,
}

impl Pooled {
    /// As the daemon has it.
    pub fn of(view: PoolView) -> Self {
        let pool::Tally { selects, tokens, reports, successes, failures, cooldowns, last_used } = view.tally;
        let out = view.out.map(PassedOver::of);
        Self { selects, tokens, reports, successes, failures, cooldowns, last_used: last_used.map(past), out }
    }
}

/// Takes a report in.
///
/// # Errors
/// Why not, as status and detail of a problem document.
pub(super) async fn report(handle: &Handle, said: Report) -> Result<Receipt, (StatusCode, String)> {
    let wrong = |why: String| (StatusCode::UNPROCESSABLE_ENTITY, why);
    let known = || {
        let snapshot = handle.snapshot();
        let view = snapshot.accounts.iter().find(|view| view.name.as_str() == said.account)?;
        Some((view.name.clone(), view.provider))
    };
    let gone = || (StatusCode::NOT_FOUND, format!("there is no account {:?}", said.account));
    let (account, provider) = known().ok_or_else(gone)?;
    for (what, name) in [("model", &said.model), ("key", &said.key)] {
        name_fits(what, name.as_deref()).map_err(wrong)?;
    }
    let word = said.outcome.as_deref().map(str::parse::<Outcome>).transpose();
    let word = word.map_err(|rule| wrong(format!("outcome {rule}")))?;
    let length =
        |wait: &Wait| wait.length().ok_or_else(|| wrong("retry_after must be seconds, or such as \"5m\"".into()));
    let demand = said.retry_after.as_ref().map(length).transpose()?.flatten();
    if word.is_none() && said.status.is_none() && said.text.is_empty() {
        return Err(wrong("a report needs an outcome, or the status or text of an answer".to_owned()));
    }
    let now = handle.now();
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(list) => list.into_iter().find_map(|one| one.as_str().map(str::to_owned)),
        _ => None,
    };
    let headers = said.headers.into_iter().filter_map(|(name, value)| Some((name.to_ascii_lowercase(), text(value)?)));
    let headers: Vec<(String, String)> = headers.collect();
    let material = Traffic { status: said.status, headers: &headers, text: &said.text };
    let told = traffic::read(provider::of(provider), &material, now);
    let outcome = word.unwrap_or(told.outcome);
    // What the headers and the text say of a refusal holds for a word that says the same.
    let agrees = told.outcome == outcome;
    let windows = told.windows;
    let reporting = Reporting {
        account: account.clone(),
        outcome,
        demand: demand.or(told.demand.filter(|_| agrees)),
        model: said.model,
        limited_to: told.model.filter(|_| agrees),
        caller: said.key,
        credential: said.credential,
        reading: (!windows.is_empty()).then_some(Reading {
            windows,
            plan: None,
            read_at: now,
            source: Source::Client,
            earlier: None,
        }),
    };
    let reported = handle.report(reporting).await;
    let Some(reported) = reported else {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping: report again once it runs".to_owned()));
    };
    if !reported.stored {
        let why = "the report counts, but could not be stored: free the disk, or a restart forgets it";
        return Err((StatusCode::INSUFFICIENT_STORAGE, why.to_owned()));
    }
    Ok(Receipt::of(&account, outcome, word.is_none().then_some(told.said), reported))
}

impl Receipt {
    fn of(account: &AccountName, outcome: Outcome, why: Option<&str>, reported: Reported) -> Self {
        let Reported { booked, check_at, is_outdated, .. } = reported;
        let mut said: Vec<String> = why.map(str::to_owned).into_iter().collect();
        if is_outdated {
            said.push("it is about another token than the one in the file now".to_owned());
        }
        if let Some(out) = &booked.out {
            said.push(format!("clients are kept off {account}: {}", out.reason));
        }
        if let Some(model) = &booked.closed {
            said.push(format!("{model} counts as overloaded"));
        }
        if said.is_empty() {
            said.push("counted".to_owned());
        }
        Self {
            schema: SCHEMA,
            account: account.to_string(),
            outcome: outcome.as_str().to_owned(),
            said: said.join("; "),
            out: booked.out.is_some(),
            until: booked.out.and_then(|out| out.until).map(deadline),
            check_at: check_at.map(deadline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::sample;
    use crate::policy::pool::{Booked, PassedOver as Over};

    #[test]
    fn a_receipt_says_what_it_was_taken_for_and_what_follows() {
        let out = Over {
            account: sample::name("a"),
            reason: "a client reported a rate limit".to_owned(),
            until: Some(sample::at("2026-11-25T12:20:00.5Z")),
            needs_person: false,
        };
        let quiet = Booked { out: None, is_news: false, check: false, closed: None };
        let reported = |booked, is_outdated| Reported { booked, check_at: None, is_outdated, stored: true };
        for (why, reported, said) in [
            (None, reported(quiet.clone(), false), "counted"),
            (Some("so it is"), reported(quiet.clone(), false), "so it is"),
            (None, reported(quiet.clone(), true), "it is about another token than the one in the file now"),
            (
                Some("so it is"),
                reported(Booked { closed: Some("opus".to_owned()), ..quiet.clone() }, false),
                "so it is; opus counts as overloaded",
            ),
            (
                None,
                reported(Booked { out: Some(out), ..quiet }, false),
                "clients are kept off a: a client reported a rate limit",
            ),
        ] {
            let receipt = Receipt::of(&sample::name("a"), Outcome::RateLimited, why, reported);
            assert_eq!(receipt.said, said);
            assert_eq!(receipt.until.is_some(), receipt.out);
            assert!(receipt.until.is_none_or(|until| until == sample::at("2026-11-25T12:20:01Z")), "never too early");
        }
    }

    #[test]
    fn a_wait_is_seconds_or_words_and_nothing_else() {
        let wait = |json: Value| serde_json::from_value::<Wait>(json).ok().and_then(|wait| wait.length());
        for (json, seconds) in [
            (serde_json::json!(990), Some(Some(990.0))),
            (serde_json::json!(0.5), Some(Some(0.5))),
            (serde_json::json!("990"), Some(Some(990.0))),
            (serde_json::json!("5m"), Some(Some(300.0))),
            (serde_json::json!(0), Some(None)),
            (serde_json::json!("0s"), Some(None)),
            (serde_json::json!(-1), Some(None)),
            (serde_json::json!("-5m"), Some(None)),
            (serde_json::json!(1e300), Some(Some(Duration::MAX.as_secs_f64()))),
            (serde_json::json!("soon"), None),
            (serde_json::json!([]), None),
        ] {
            let length = wait(json.clone()).map(|length| length.map(|length| length.as_secs_f64()));
            assert_eq!(length, seconds, "{json}");
        }
    }
}

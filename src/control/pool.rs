//! `POST /v1/select` and `POST /v1/report`: what clients ask and say, and what they are told.
//!
//! Owns the four documents and how a problem among them is told. A report of raw material (status, headers, text) is
//! read here, by its vendor's rules, before it goes to the loop; of its text nothing is kept. The only token in any
//! answer of the socket is that of a selection that was asked for it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::reply::Problem;
use super::wire::{SCHEMA, deadline, past};
use crate::credential::secret::HandedOut;
use crate::model::{AccountName, Outcome, ProviderId, Reading, Source};
use crate::policy::pool;
use crate::policy::time::Stamp;
use crate::provider::traffic::{self, Traffic};
use crate::provider::{self};
use crate::supervisor::handle::Handle;
use crate::supervisor::pool::{NotSelected, PoolView, Reported, Reporting, Selected, Selecting};

/// Characters that a caller's key or the name of a model may have.
const LONGEST_NAME: usize = 128;

/// What `POST /v1/select` asks. Everything may be left out; what is not known here is an error, since a wish that is
/// silently not granted is worse.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Select {
    /// Whose accounts; may be left out where there is one vendor only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model, as the caller spells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Who asks: the same key gets the same account as long as that is available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether the access token is wanted; needs `hand-out-tokens`.
    pub token: bool,
    /// Whether a client has to be led to the login, by the answer's `environment`.
    pub environment: bool,
}

/// The account to use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Selection {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Its label.
    pub account: String,
    /// Its vendor.
    pub provider: String,
    /// The model to use; null where none was asked for.
    pub model: Option<String>,
    /// Points of percent left in the binding window; null where that is not known.
    pub headroom_percent: Option<f64>,
    /// Why, as a clause.
    pub said: String,
    /// Names the access token: a report that repeats it is never held against another one.
    pub credential: Option<String>,
    /// When the access token expires.
    pub expires_at: Option<Stamp>,
    /// The variables that lead the vendor's client to the login; null takes one away. Absent where no client can be led.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<BTreeMap<String, Option<String>>>,
    /// The variable that must hold the token, where no other leads there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_variable: Option<String>,
    /// The access token; only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<HandedOut>,
    /// The others that are not available.
    pub passed_over: Vec<PassedOver>,
}

/// An account that cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Its label.
    pub account: String,
    /// Why, as a clause.
    pub reason: String,
    /// Until when; null where that is not known, or not a matter of time.
    pub until: Option<Stamp>,
}

/// Nothing can be used now: a problem document, and since when something may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {
    /// What it is.
    #[serde(flatten)]
    pub problem: Problem,
    /// [`SCHEMA`].
    pub schema: u32,
    /// The soonest moment something will be available; null where nothing comes back by itself.
    pub until: Option<Stamp>,
    /// Why, each.
    pub passed_over: Vec<PassedOver>,
}

/// What `POST /v1/report` says: a word, or the status, headers and text of the answer, or both; then the word is believed,
/// and the headers are read for the wait and the windows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// [`Selection::credential`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// HTTP status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Its headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
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
    /// As a duration; `None` where it is none.
    pub fn length(&self) -> Option<Duration> {
        match self {
            Self::Seconds(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            Self::Text(text) => Duration::try_from(text.parse::<SignedDuration>().ok()?).ok(),
        }
    }
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

impl PassedOver {
    fn of(one: pool::PassedOver) -> Self {
        Self { account: one.account.to_string(), reason: one.reason, until: one.until.map(deadline) }
    }
}

impl Selection {
    fn of(selected: Selected, wants_token: bool) -> Self {
        let Selected { choice, provider, reach, credential, token, expires_at } = selected;
        let reach = reach.ok();
        let value = |dir: Option<std::path::PathBuf>| dir.map(|dir| dir.display().to_string());
        let token_variable = reach.as_ref().and_then(|reach| reach.token).map(str::to_owned);
        Self {
            schema: SCHEMA,
            account: choice.account.to_string(),
            provider: provider.to_string(),
            model: choice.model,
            headroom_percent: choice.headroom,
            said: choice.said,
            credential: credential.map(|credential| credential.to_string()),
            expires_at: expires_at.map(past),
            environment: reach
                .map(|reach| reach.variables.into_iter().map(|(name, dir)| (name.to_owned(), value(dir))).collect()),
            token: token.filter(|_| wants_token || token_variable.is_some()).map(|lent| HandedOut::new(lent.access)),
            token_variable,
            passed_over: choice.passed_over.into_iter().map(PassedOver::of).collect(),
        }
    }
}

/// Answers a selection.
///
/// # Errors
/// Why there is none, as a problem document.
pub(super) async fn select(handle: &Handle, asked: Select) -> Result<Selection, Nothing> {
    let provider = match asked.provider.as_deref().map(|name| (name, provider::named(name))) {
        None => None,
        Some((_, Some(provider))) => Some(provider.id()),
        Some((name, None)) => {
            let known: Vec<&str> = provider::ALL.iter().map(|provider| provider.id().as_str()).collect();
            let why = format!("there is no provider {name:?}; known: {}", known.join(", "));
            return Err(nothing(StatusCode::UNPROCESSABLE_ENTITY, why));
        }
    };
    for (what, name) in [("model", &asked.model), ("key", &asked.key)] {
        name_fits(what, name.as_deref()).map_err(|why| nothing(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    }
    let wants_token = asked.token;
    let selecting =
        Selecting { provider, model: asked.model, caller: asked.key, token: asked.token, reach: asked.environment };
    match handle.select(selecting).await {
        Ok(selected) => Ok(Selection::of(selected, wants_token)),
        Err(none) => Err(Nothing::of(none)),
    }
}

fn nothing(status: StatusCode, why: impl Into<String>) -> Nothing {
    let title = status.canonical_reason().unwrap_or_default();
    let problem = Problem::new(status.as_u16(), title, &why.into());
    Nothing { problem, schema: SCHEMA, until: None, passed_over: Vec::new() }
}

impl Nothing {
    fn of(none: NotSelected) -> Self {
        match none {
            NotSelected::NoAccount(provider) => {
                let of = provider.map(|provider| format!(" of {provider}")).unwrap_or_default();
                nothing(
                    StatusCode::NOT_FOUND,
                    format!("there is no account{of}: `quotad status` shows those there are"),
                )
            }
            NotSelected::WhichProvider(providers) => {
                let names: Vec<&str> = providers.into_iter().map(ProviderId::as_str).collect();
                let why = format!("there are accounts of several vendors, so name one: {}", names.join(", "));
                nothing(StatusCode::UNPROCESSABLE_ENTITY, why)
            }
            NotSelected::TokensStay => nothing(
                StatusCode::FORBIDDEN,
                "tokens are not handed out: set `hand-out-tokens = true` under [pool] in the config if programs of yours \
                 may have them",
            ),
            NotSelected::TokenGone => {
                nothing(StatusCode::SERVICE_UNAVAILABLE, "the token was just replaced by another: ask again")
            }
            NotSelected::Stopping => {
                nothing(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping: ask again once it runs")
            }
            NotSelected::Unavailable(none) => {
                // 403 for what only a person can change, as in the answer to a command.
                let (status, what) = if none.needs_person {
                    (StatusCode::FORBIDDEN, "no account can be used before a person acts")
                } else {
                    (StatusCode::CONFLICT, "no account can be used now")
                };
                let reasons: Vec<String> =
                    none.passed_over.iter().map(|one| format!("{}: {}", one.account, one.reason)).collect();
                Self {
                    until: none.until.map(deadline),
                    passed_over: none.passed_over.into_iter().map(PassedOver::of).collect(),
                    ..nothing(status, format!("{what} ({})", reasons.join("; ")))
                }
            }
        }
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
    let demand = said.retry_after.as_ref().map(length).transpose()?;
    if word.is_none() && said.status.is_none() && said.text.is_empty() {
        return Err(wrong("a report needs an outcome, or the status or text of an answer".to_owned()));
    }
    let now = handle.now();
    let headers: Vec<(String, String)> =
        said.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    let material = Traffic { status: said.status, headers: &headers, text: &said.text };
    let told = traffic::read(provider::of(provider), &material, now);
    let outcome = word.unwrap_or(told.outcome);
    // What the headers and the text say of a refusal holds for a word that says the same.
    let agrees = told.outcome == outcome;
    let windows = told.windows;
    let reporting = Reporting {
        account: account.clone(),
        outcome,
        demand: demand.or(told.demand),
        model: said.model,
        limited_to: told.model.filter(|_| agrees),
        caller: said.key,
        credential: said.credential,
        reading: (!windows.is_empty()).then(|| Reading {
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

/// What a client calls a model or itself.
fn name_fits(what: &str, name: Option<&str>) -> Result<(), String> {
    match name {
        Some(name) if name.trim().is_empty() || name.chars().count() > LONGEST_NAME => {
            Err(format!("{what} must have 1 to {LONGEST_NAME} characters"))
        }
        Some(name) if name.chars().any(char::is_control) => Err(format!("{what} must hold no control characters")),
        _ => Ok(()),
    }
}

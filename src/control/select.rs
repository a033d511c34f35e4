//! `POST /v1/select`: which account to use now.
//!
//! Owns the documents, and how it is told that there is none. The only token in any answer of the socket is that of a
//! selection that was asked for it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::reply::Problem;
use super::wire::{SCHEMA, deadline, past};
use crate::credential::secret::HandedOut;
use crate::model::ProviderId;
use crate::policy::pool;
use crate::policy::time::Stamp;
use crate::provider;
use crate::supervisor::handle::Handle;
use crate::supervisor::pool::{NotSelected, Selected, Selecting};

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
    /// Whether a client has to be led to the login, by the answer's `environment`. Then a token is given only where it was
    /// asked for and nothing else leads there.
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

impl PassedOver {
    pub(super) fn of(one: pool::PassedOver) -> Self {
        Self { account: one.account.to_string(), reason: one.reason, until: one.until.map(deadline) }
    }
}

impl Selection {
    fn of(selected: Selected) -> Self {
        let Selected { choice, provider, reach, credential, token, expires_at } = selected;
        let reach = reach.ok();
        // A path that is no text cannot be told, so no client can be led there.
        let value = |(name, dir): (&str, Option<PathBuf>)| {
            Some((name.to_owned(), dir.map(|dir| dir.to_str().map(str::to_owned).ok_or(())).transpose().ok()?))
        };
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
            environment: reach.and_then(|reach| reach.variables.into_iter().map(value).collect()),
            token: token.map(|lent| HandedOut::new(lent.access)),
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
    let selecting =
        Selecting { provider, model: asked.model, caller: asked.key, token: asked.token, reach: asked.environment };
    match handle.select(selecting).await {
        Ok(selected) => Ok(Selection::of(selected)),
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
            NotSelected::Mixed => nothing(
                StatusCode::UNPROCESSABLE_ENTITY,
                "accounts of `custom` vendors cannot take each other's place: name one by itself",
            ),
            NotSelected::TokenGone => {
                nothing(StatusCode::CONFLICT, "the token was just replaced by another: ask again")
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

/// What a client calls a model or itself.
pub(super) fn name_fits(what: &str, name: Option<&str>) -> Result<(), String> {
    match name {
        Some(name) if name.trim().is_empty() || name.chars().count() > LONGEST_NAME => {
            Err(format!("{what} must have 1 to {LONGEST_NAME} characters"))
        }
        Some(name) if name.chars().any(char::is_control) => Err(format!("{what} must hold no control characters")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::sample;
    use crate::policy::pool::{PassedOver as Over, Unavailable};

    fn unavailable(needs_person: bool) -> Nothing {
        let over = Over { account: sample::name("a"), reason: "so it is".to_owned(), until: None, needs_person };
        let until = (!needs_person).then(sample::now);
        Nothing::of(NotSelected::Unavailable(Unavailable { until, needs_person, passed_over: vec![over] }))
    }

    #[test]
    fn nothing_to_use_is_a_problem_whose_status_says_whether_waiting_helps() {
        let claude = ProviderId::new("claude");
        for (none, status, detail) in [
            (Nothing::of(NotSelected::NoAccount(Some(claude))), 404, "there is no account of claude"),
            (Nothing::of(NotSelected::NoAccount(None)), 404, "there is no account: "),
            (
                Nothing::of(NotSelected::WhichProvider(vec![claude, ProviderId::new("codex")])),
                422,
                "name one: claude, codex",
            ),
            (Nothing::of(NotSelected::TokensStay), 403, "hand-out-tokens = true"),
            (Nothing::of(NotSelected::TokenGone), 409, "ask again"),
            (Nothing::of(NotSelected::Mixed), 422, "cannot take each other's place"),
            (Nothing::of(NotSelected::Stopping), 503, "is stopping"),
            (unavailable(false), 409, "no account can be used now (a: so it is)"),
            (unavailable(true), 403, "before a person acts (a: so it is)"),
        ] {
            assert_eq!(none.problem.status, status, "{none:?}");
            assert!(none.problem.detail.contains(detail), "{none:?}");
            let json = serde_json::to_value(&none).unwrap();
            assert_eq!((&json["schema"], &json["status"]), (&1.into(), &status.into()));
            assert_eq!(serde_json::from_value::<Nothing>(json).unwrap(), none);
        }
    }

    #[test]
    fn names_from_outside_are_bounded() {
        let long = "é".repeat(LONGEST_NAME);
        for (name, fits) in [
            (None, true),
            (Some("opus"), true),
            (Some(long.as_str()), true),
            (Some(""), false),
            (Some(" "), false),
            (Some("a\tb"), false),
        ] {
            assert_eq!(name_fits("model", name).is_ok(), fits, "{name:?}");
        }
        assert!(name_fits("model", Some(&(long + "é"))).is_err());
    }

    #[test]
    fn a_selection_tells_how_a_client_is_led_there_and_prints_no_token() {
        use std::os::unix::ffi::OsStringExt as _;

        use crate::credential::holding::Lent;
        use crate::policy::pool::Choice;
        use crate::supervisor::reach::Reach;
        let selected = |dir: PathBuf, token: Option<Lent>| Selected {
            choice: Choice {
                account: sample::name("a"),
                model: None,
                headroom: Some(59.0),
                said: String::new(),
                passed_over: Vec::new(),
            },
            provider: ProviderId::new("claude"),
            reach: Ok(Reach { variables: vec![("A", None), ("B", Some(dir))], token: None }),
            credential: None,
            token,
            expires_at: None,
        };
        let lent = Lent { access: "sk-ant-oat01-FAKE".to_owned().into(), tenant: None };
        let selection = Selection::of(selected("/srv".into(), Some(lent)));
        let json = serde_json::to_value(&selection).unwrap();
        assert_eq!(json["environment"], serde_json::json!({"A": null, "B": "/srv"}));
        assert_eq!(json["token"], "sk-ant-oat01-FAKE");
        assert!(!format!("{selection:?}").contains("FAKE"));
        let no_text = std::ffi::OsString::from_vec(vec![b'/', 0xff]);
        let selection = Selection::of(selected(no_text.into(), None));
        assert!(selection.environment.is_none() && selection.token.is_none());
    }
}

//! xAI's Grok Build CLI (`SuperGrok` plans).
//!
//! The plan's credits are one window, weekly or monthly by what the answer calls its period. A share of zero is left
//! out of the answer, so beside a whole period an absent share means nothing is used. Amounts are cents; that they are
//! US cents is xAI's price list, not the answer. `productUsage` tells which product used how much of the same credits,
//! so it is no limit and not read.
//! Facts: `reference/providers.md`, section 11.

use serde_json::{Map, Value};

use super::field::{self, Decimal};
use super::period::{self, MONTH, WEEK};
use super::store::{self, Form, Place, Root, Store, Stored, StoredLogin, moment, text};
use super::{Endpoints, LogIn, Method, Provider, Reply, Request, SecretPlace, TokenEncoding, fault, jwt};
use crate::model::{Failure, ProviderId, RefreshMode, UsageOutcome, Window};
use crate::policy::time::Stamp;

/// xAI's Grok Build CLI, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct Grok;

static STORE: Store = Store {
    places: &[Place { moved_by: &["GROK_HOME"], root: Root::Home, dir: ".grok", file: "auth.json", apart: false }],
    variables: &["GROK_OAUTH_TOKEN"],
    form: Form::Json,
    layout: None,
    account_file: None,
    write_lock: None,
    vendors_modes: &[RefreshMode::Command],
    because: "the Grok CLI could find its refresh token spent, and you would be logged out",
};

/// Whose entries of the file are logins, today's before the older kind. The file may hold others.
const ISSUERS: [&str; 2] = ["https://auth.x.ai", "https://accounts.x.ai"];

/// How keys of xAI's API and management begin: another product, whose keys are never sent to this one.
const API_KEY: &str = "xai-";

impl Provider for Grok {
    fn id(&self) -> ProviderId {
        ProviderId::new("grok")
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            usage_url: "https://cli-chat-proxy.grok.com/v1/billing?format=credits".to_owned(),
            token_url: "https://auth.x.ai/oauth2/token".to_owned(),
            client_id: "b1a00492-073a-47ea-816f-4c329264a828".to_owned(),
            token_encoding: TokenEncoding::Form,
            user_agent: concat!("quotad/", env!("CARGO_PKG_VERSION")).to_owned(),
            recipe: None,
        }
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Command { line: "grok login", moved_by: &["GROK_HOME"] }
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        match content {
            Value::Object(entries) => from_entries(entries),
            Value::String(token) => from_token(token),
            _ => Err("is JSON, but not an object; log in again"),
        }
    }

    fn usage_request(&self, endpoints: &Endpoints, _tenant: Option<&str>) -> Request {
        Request {
            method: Method::Get,
            url: endpoints.usage_url.clone(),
            headers: vec![
                ("accept", "application/json".to_owned()),
                ("x-xai-token-auth", "xai-grok-cli".to_owned()),
                ("user-agent", endpoints.user_agent.clone()),
            ],
            body: None,
            secret: SecretPlace::Bearer,
        }
    }

    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        let body = field::json(&reply.body);
        let garbage = |how| UsageOutcome::Failed { failure: Failure::Garbage(how), demand: None };
        match (reply.status, body) {
            (200..=299, None) => garbage("the answer is not JSON"),
            (200..=299, Some(body)) => match windows(&body) {
                windows if windows.is_empty() => garbage("the answer is JSON, but names no limit and no balance"),
                windows => UsageOutcome::Answered { windows, plan: field::name(&body["subscriptionTier"]) },
            },
            (412, _) if is_team(reply) => {
                UsageOutcome::NoPermission { said: "xAI does not tell what is left of a team's plan" }
            }
            _ => fault::usage(reply, received),
        }
    }
}

/// The login among the entries of the file, each under the name of its issuer.
fn from_entries(mut entries: Map<String, Value>) -> Result<Stored, &'static str> {
    let mut verdict = Ok(Stored::NoLogin);
    for issuer in ISSUERS {
        for (_, entry) in entries.iter_mut().filter(|(scope, _)| scope.starts_with(issuer)) {
            let Value::Object(entry) = entry else { continue };
            match from_entry(entry) {
                Ok(Stored::NoLogin) => {}
                Ok(Stored::Login(login)) => return Ok(Stored::Login(login)),
                other => verdict = other,
            }
        }
    }
    verdict
}

fn from_entry(entry: &mut Map<String, Value>) -> Result<Stored, &'static str> {
    let key = text(entry, "key").unwrap_or_default();
    if key.starts_with(API_KEY) {
        return Ok(Stored::NoLogin);
    }
    let expires_at = jwt::expiry(&jwt::claims(key));
    let refresh = if entry.contains_key("refresh_token") { "refresh_token" } else { "refresh" };
    let Some(tokens) = StoredLogin::take(entry, "key", refresh)? else { return Ok(Stored::SignedOut) };
    Ok(Stored::Login(StoredLogin {
        expires_at: expires_at.or_else(|| moment(entry, "expires_at")).or_else(|| moment(entry, "expires")),
        identity: text(entry, "email").map(|email| match text(entry, "team_id") {
            Some(team) => format!("{email}/{team}"),
            None => email.to_owned(),
        }),
        ..tokens
    }))
}

/// A variable holds the bare token.
fn from_token(token: String) -> Result<Stored, &'static str> {
    let expires_at = jwt::expiry(&jwt::claims(token.trim()));
    if token.trim().starts_with(API_KEY) {
        return Ok(Stored::NoLogin);
    }
    Ok(match store::read_key(Value::String(token), &[])? {
        Stored::Login(key) => Stored::Login(StoredLogin { expires_at, ..key }),
        other => other,
    })
}

/// For a team the credits are refused with a 412.
fn is_team(reply: &Reply) -> bool {
    String::from_utf8_lossy(&reply.body).to_lowercase().contains("no personal team")
}

/// The plan's credits, what may be spent beyond them, and what was paid in advance. Without `format=credits` the
/// endpoint tells the plan as an amount of money instead.
fn windows(body: &Value) -> Vec<Window> {
    let config = if body["config"].is_object() { &body["config"] } else { body };
    let plan = credits(config).or_else(|| spent(config, period::window(MONTH, None), "used", "monthlyLimit"));
    let on_demand = (body["onDemandEnabled"] != false)
        .then(|| spent(config, Window::named("on_demand", "on-demand"), "onDemandUsed", "onDemandCap"))
        .flatten();
    let prepaid = cents(&config["prepaidBalance"])
        .map(|left| Window { remaining: Some(left.of("USD")), ..Window::named("balance", "balance") });
    [plan, on_demand, prepaid].into_iter().flatten().collect()
}

fn credits(config: &Value) -> Option<Window> {
    let period = &config["currentPeriod"];
    let end = field::timestamp(&period["end"]);
    let window = match period["type"].as_str() {
        Some("USAGE_PERIOD_TYPE_WEEKLY") => period::window(WEEK, None),
        Some("USAGE_PERIOD_TYPE_MONTHLY") => period::window(MONTH, None),
        _ => Window::named("credits", "credits"),
    };
    let used_percent = match config.get("creditUsagePercent") {
        Some(percent) => field::number(percent),
        None => (period["type"].is_string() && end.is_some()).then_some(0.0),
    };
    Some(Window {
        used_percent: Some(used_percent?),
        resets_at: end.or_else(|| field::timestamp(&config["billingPeriodEnd"])),
        ..window
    })
}

/// Money spent of a limit above zero; what is not limited has no window.
fn spent(config: &Value, window: Window, used: &str, limit: &str) -> Option<Window> {
    let limit = cents(&config[limit]).filter(|limit| limit.is_positive())?;
    let used = cents(&config[used]);
    Some(Window {
        used_percent: used.and_then(|used| used.percent_of(limit)),
        used: used.map(|used| used.of("USD")),
        limit: Some(limit.of("USD")),
        remaining: used.and_then(|used| limit.checked_sub(used)).map(|left| left.of("USD")),
        resets_at: field::timestamp(&config["billingPeriodEnd"]),
        ..window
    })
}

/// An amount in cents, bare or as `{"val": …}`.
fn cents(amount: &Value) -> Option<Decimal> {
    Decimal::from_minor(if amount.is_object() { &amount["val"] } else { amount }, &Value::from(2))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::sample::{class, lines, no_part_is_an_answer, no_value_confuses, reply};

    macro_rules! sample {
        ($name:literal) => {
            ($name, include_str!(concat!("../../tests/data/grok/", $name, ".json")))
        };
    }

    fn read(body: &[u8]) -> UsageOutcome {
        Grok.read_usage(&reply(200, &[], body), Stamp::UNIX_EPOCH)
    }

    #[test]
    fn every_known_shape_yields_what_a_person_expects() {
        let end = "resets 2026-08-21T10:05:31.204518Z";
        for ((name, body), expected) in [
            (
                sample!("credits"),
                vec![
                    "plan: SuperGrok Heavy".to_owned(),
                    format!("weekly [seven_day] 18.25%, {end}"),
                    format!("on-demand [on_demand] 25%, 2.50 of 10.00 USD, 7.50 USD left, {end}"),
                    "balance [balance] 5.00 USD left".to_owned(),
                ],
            ),
            (sample!("percent_omitted"), vec!["plan: SuperGrok".to_owned(), format!("weekly [seven_day] 0%, {end}")]),
            (
                sample!("over_100"),
                vec!["plan: -".to_owned(), "monthly [month] 104.5%, resets 2026-09-01T00:00:00Z".to_owned()],
            ),
            (
                sample!("on_demand_only"),
                vec![
                    "plan: -".to_owned(),
                    "on-demand [on_demand] 33.25%, 3.325 of 10.00 USD, 6.675 USD left".to_owned(),
                    "balance [balance] -1.50 USD left".to_owned(),
                ],
            ),
            (sample!("on_demand_off"), vec!["plan: SuperGrok".to_owned(), format!("weekly [seven_day] 18.25%, {end}")]),
            (
                sample!("unknown_period"),
                vec!["plan: -".to_owned(), "credits [credits] 7%, resets 2026-08-21T10:05:31Z".to_owned()],
            ),
            (
                sample!("plain_billing"),
                vec![
                    "plan: -".to_owned(),
                    "monthly [month] 41.23%, 41.23 of 100.00 USD, 58.77 USD left, resets 2026-09-01T00:00:00Z"
                        .to_owned(),
                ],
            ),
        ] {
            assert_eq!(lines(&read(body.as_bytes())), expected, "{name}");
        }
    }

    #[test]
    fn an_omitted_share_is_zero_only_beside_a_whole_period_and_an_unreadable_one_never() {
        let period = json!({"type": "USAGE_PERIOD_TYPE_WEEKLY", "end": "2026-08-21T10:05:31Z"});
        for (config, expected) in [
            (json!({"currentPeriod": period}), Some(0.0)),
            (json!({"currentPeriod": period, "creditUsagePercent": -3}), Some(-3.0)),
            (json!({"currentPeriod": period, "creditUsagePercent": null}), None),
            (json!({"currentPeriod": period, "creditUsagePercent": "much"}), None),
            (json!({"currentPeriod": {"type": "USAGE_PERIOD_TYPE_WEEKLY"}}), None),
            (json!({"currentPeriod": {"end": "2026-08-21T10:05:31Z"}}), None),
            (json!({}), None),
        ] {
            let told = windows(&json!({"config": config})).pop().and_then(|window| window.used_percent);
            assert_eq!(told, expected, "{config}");
        }
    }

    #[test]
    fn every_refusal_has_its_class() {
        for (status, body, expected) in [
            (200, "", "garbage"),
            (200, "{}", "garbage"),
            (200, r#"{"config": {"onDemandCap": {"val": 0}, "isUnifiedBillingUser": true}}"#, "garbage"),
            (200, "<html>", "garbage"),
            (401, sample!("401").1, "rejected"),
            (403, sample!("403").1, "no permission"),
            (412, sample!("412_team").1, "no permission"),
            (412, r#"{"error": "another condition"}"#, "refused(412)"),
            (403, "<html>", "challenge"),
            (429, "", "limited"),
            (502, "", "server(502)"),
        ] {
            let outcome = Grok.read_usage(&reply(status, &[], body), Stamp::UNIX_EPOCH);
            assert_eq!(class(&outcome), expected, "{status} {body}");
        }
    }

    #[test]
    fn damage_anywhere_in_an_answer_confuses_nothing() {
        for (name, body) in [sample!("credits"), sample!("plain_billing"), sample!("on_demand_only")] {
            no_part_is_an_answer(name, body, read);
            no_value_confuses(name, body, read);
        }
    }

    /// Which login is read, by its expiry and its owner.
    fn login(content: Value) -> String {
        match Grok.read_login(content) {
            Ok(Stored::Login(login)) => {
                let expiry = login.expires_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
                format!("{expiry} {} {}", login.identity.as_deref().unwrap_or("-"), login.refresh.is_some())
            }
            Ok(Stored::SignedOut) => "signed out".to_owned(),
            Ok(Stored::NoLogin) => "no login".to_owned(),
            Err(said) => said.to_owned(),
        }
    }

    #[test]
    fn the_login_is_todays_entry_and_never_a_key_of_the_api() {
        const JWT: &str = "e30.eyJleHAiOjE3ODk4MDAwMDB9.FAKE";
        let entry = |key: &str| json!({"key": key, "refresh_token": "FAKE-R", "expires_at": "2026-09-14T18:00:00Z"});
        let old =
            json!({"key": "eyJ.FAKE", "refresh": "FAKE-R", "expires": 1_789_400_000, "email": "old@example.test"});
        let (now, legacy) = ("https://auth.x.ai::client", "https://accounts.x.ai/sign-in");
        let file: Value = serde_json::from_str(sample!("auth").1).unwrap();
        for (content, expected) in [
            (file, "2026-09-14T18:00:00Z dev@example.test true"),
            (json!({legacy: old, now: entry(JWT)}), "2026-09-19T06:40:00Z - true"),
            (json!({legacy: old}), "2026-09-14T15:33:20Z old@example.test true"),
            (json!({now: {"key": "FAKE", "email": "a@example.test", "team_id": "t"}}), "- a@example.test/t false"),
            (json!({now: entry("xai-FAKE")}), "no login"),
            (json!({now: entry("xai-FAKE"), legacy: old}), "2026-09-14T15:33:20Z old@example.test true"),
            (json!({"https://evil.example": entry("FAKE")}), "no login"),
            (json!({now: {"key": "", "refresh_token": ""}}), "signed out"),
            (json!({now: "FAKE", legacy: null}), "no login"),
            (json!({now: {"key": 7}}), "holds a token that cannot be one; log in again"),
            (json!({}), "no login"),
            (json!(JWT), "2026-09-19T06:40:00Z - false"),
            (json!("FAKE"), "- - false"),
            (json!("xai-FAKE"), "no login"),
            (json!([]), "is JSON, but not an object; log in again"),
        ] {
            assert_eq!(login(content.clone()), expected, "{content}");
        }
    }

    #[test]
    fn the_request_says_what_kind_of_token_it_carries() {
        let request = Grok.usage_request(&Grok.endpoints(), None);
        assert!(request.url.ends_with("?format=credits"));
        assert!(request.headers.contains(&("x-xai-token-auth", "xai-grok-cli".to_owned())));
        assert_eq!((request.method, request.secret), (Method::Get, SecretPlace::Bearer));
    }
}

//! Google's Gemini CLI (Gemini Code Assist Standard and Enterprise).
//!
//! A poll is two requests: whose account this is, then its quota buckets. Personal plans were moved to Antigravity in
//! June 2026, which Google tells with either answer and which is a calm state here, not a fault. Each model has
//! several buckets (plain and Vertex, several versions), and a family of models is as empty as its emptiest. A bucket
//! without a fraction is left out: it could mean "all used" and is also sent for what was never used.
//! Facts: `reference/providers.md`, section 4.

use serde_json::{Value, json};

use super::code_assist::{self, Account, NOT_OFFERED};
use super::field::{self, Decimal};
use super::store::{Form, Place, Root, Store, Stored, StoredLogin, moment, scopes, text};
use super::{Endpoints, LogIn, Next, Poll, Provider, Reply, Request, TokenEncoding, jwt, period};
use crate::model::{Failure, ProviderId, RefreshMode, UsageOutcome, Window};
use crate::policy::time::Stamp;

/// Google's Gemini CLI, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct Gemini;

static STORE: Store = Store {
    places: &[Place {
        moved_by: &["GEMINI_CLI_HOME"],
        root: Root::Home,
        dir: "",
        file: ".gemini/oauth_creds.json",
        apart: false,
    }],
    variables: &[],
    form: Form::Json,
    layout: None,
    account_file: None,
    write_lock: None,
    vendors_modes: &[RefreshMode::Command],
    because: "Google wants the CLI's client secret for it, which quotad does not have",
};

/// The families in which the CLI counts its models, by a part of the model's id; the longer part first.
const FAMILIES: [(&str, &str); 3] = [("flash-lite", "Flash Lite"), ("flash", "Flash"), ("pro", "Pro")];

impl Provider for Gemini {
    fn id(&self) -> ProviderId {
        ProviderId::new("gemini")
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            usage_url: "https://cloudcode-pa.googleapis.com/v1internal:retrieveUserQuota".to_owned(),
            token_url: "https://oauth2.googleapis.com/token".to_owned(),
            client_id: "681255809395-oo8ft2oprdrnp9e3aqf6av3hmdib135j.apps.googleusercontent.com".to_owned(),
            token_encoding: TokenEncoding::Form,
            user_agent: concat!("quotad/", env!("CARGO_PKG_VERSION")).to_owned(),
            recipe: None,
        }
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Command { line: "gemini", moved_by: &["GEMINI_CLI_HOME"] }
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        let Value::Object(mut file) = content else { return Err("is JSON, but not an object; log in again") };
        let Some(tokens) = StoredLogin::take(&mut file, "access_token", "refresh_token")? else {
            return Ok(Stored::SignedOut);
        };
        Ok(Stored::Login(StoredLogin {
            expires_at: moment(&file, "expiry_date"),
            scopes: scopes(file.get("scope")),
            identity: text(&file, "id_token").and_then(|token| text(&jwt::claims(token), "sub").map(str::to_owned)),
            ..tokens
        }))
    }

    /// The second request of a poll; `tenant` is the project that the first one's answer named.
    fn usage_request(&self, endpoints: &Endpoints, tenant: Option<&str>) -> Request {
        code_assist::quota_request(endpoints, tenant)
    }

    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        code_assist::outcome(reply, received, windows)
    }

    fn converse(&self, poll: &Poll<'_>) -> Next {
        let Some(first) = poll.replies.first() else {
            let metadata = json!({"ideType": "GEMINI_CLI", "pluginType": "GEMINI"});
            return Next::Send(code_assist::load_request(poll.endpoints, &metadata));
        };
        let account = match (first.status, Account::read(first)) {
            (200..=299, Some(account)) if account.is_ineligible => {
                return Next::Over(UsageOutcome::NoPermission { said: NOT_OFFERED });
            }
            (200..=299, Some(account)) => account,
            (200..=299, None) => {
                let failure = Failure::Garbage("the answer about the account is not a JSON object");
                return Next::Over(UsageOutcome::Failed { failure, demand: None });
            }
            _ => return Next::Over(code_assist::refusal(first, poll.received)),
        };
        match poll.replies.get(1) {
            None => Next::Send(self.usage_request(poll.endpoints, account.project.as_deref())),
            Some(quota) => Next::Over(account.complete(self.read_usage(quota, poll.received))),
        }
    }
}

/// One window a family of models, as full as its fullest bucket.
fn windows(body: &Value) -> Result<Vec<Window>, &'static str> {
    /// More buckets than any plan has; what lies beyond is dropped.
    const MOST: usize = 100;
    let is_empty = body["buckets"].as_array().ok_or("the answer is JSON, but names no quota bucket")?.is_empty();
    let mut windows: Vec<Window> = Vec::new();
    for bucket in field::elements(&body["buckets"]).filter_map(bucket).take(MOST) {
        match windows.iter_mut().find(|known| known.id == bucket.id) {
            Some(known) if known.used_percent < bucket.used_percent => *known = bucket,
            Some(_) => {}
            None => windows.push(bucket),
        }
    }
    if windows.is_empty() && !is_empty { Err("no quota bucket has a number") } else { Ok(windows) }
}

/// All of these windows start over once a day.
fn bucket(bucket: &Value) -> Option<Window> {
    let model = family(&field::name(&bucket["modelId"])?);
    let used_percent = code_assist::used_percent(&bucket["remainingFraction"])?;
    let unit = field::name(&bucket["tokenType"]).map_or_else(|| "units".to_owned(), |unit| unit.to_lowercase());
    Some(Window {
        used_percent: Some(used_percent),
        remaining: Decimal::read(&bucket["remainingAmount"]).map(|left| left.of(&unit)),
        resets_at: field::timestamp(&bucket["resetTime"]),
        model: Some(model.clone()),
        ..period::window(period::DAY, Some(&model))
    })
}

/// `gemini-2.5-flash-lite_vertex` counts as `Flash Lite`; a model of no known family stands for itself.
fn family(model: &str) -> String {
    let model = model.trim_end_matches("_vertex");
    let is_part = |part: &str| format!("-{model}-").contains(&format!("-{part}-"));
    let family = FAMILIES.iter().find(|(part, _)| is_part(part));
    family.map_or_else(|| model.to_owned(), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::sample::{class, lines, no_part_is_an_answer, no_value_confuses, reply};
    use crate::provider::{Method, SecretPlace};

    macro_rules! sample {
        ($name:literal) => {
            include_str!(concat!("../../tests/data/gemini/", $name, ".json"))
        };
    }

    /// What a whole poll comes to when the service answers so, and the body of its last request.
    fn poll(replies: &[(u16, &str)]) -> (UsageOutcome, Option<String>) {
        let endpoints = Gemini.endpoints();
        let mut answered: Vec<Reply> = Vec::new();
        let mut asked = None;
        loop {
            let poll = Poll { endpoints: &endpoints, tenant: None, replies: &answered, received: Stamp::UNIX_EPOCH };
            match Gemini.converse(&poll) {
                Next::Over(outcome) => return (outcome, asked),
                Next::Send(request) | Next::Also(request, _) => {
                    asked = request.body;
                    let (status, body) = replies[answered.len()];
                    answered.push(reply(status, &[], body));
                }
            }
        }
    }

    fn read(body: &[u8]) -> UsageOutcome {
        Gemini.read_usage(&reply(200, &[], body), Stamp::UNIX_EPOCH)
    }

    #[test]
    fn every_known_pair_of_answers_yields_what_a_person_expects() {
        let day = "resets 2026-09-15T07:00:00Z";
        for (name, load, quota, asked, expected) in [
            (
                "standard_ok",
                sample!("load_standard"),
                sample!("standard_ok"),
                r#"{"project":"my-project-123456"}"#,
                vec![
                    "plan: Gemini Code Assist".to_owned(),
                    format!("daily (Pro) [day:pro] 25%, 750 requests left, {day}, model Pro"),
                    format!("daily (Flash) [day:flash] 0%, {day}, model Flash"),
                    format!("daily (Flash Lite) [day:flash-lite] 2.5%, {day}, model Flash Lite"),
                ],
            ),
            (
                "project_object, paid tier and credits",
                sample!("load_project_object"),
                sample!("vertex_dupes"),
                r#"{"project":"my-project-123456"}"#,
                vec![
                    "plan: Google AI Pro".to_owned(),
                    format!("daily (Pro) [day:pro] 60.5%, {day}, model Pro"),
                    format!("daily (Flash) [day:flash] 12.34567%, {day}, model Flash"),
                    format!("daily (gemma-4) [day:gemma-4] 100%, {day}, model gemma-4"),
                    "credits (GOOGLE_ONE_AI) [credits:google-one-ai] 120 credits left".to_owned(),
                ],
            ),
            (
                "no_project, missing_fraction",
                sample!("load_no_project"),
                sample!("missing_fraction"),
                "{}",
                vec![
                    "plan: Gemini Code Assist".to_owned(),
                    format!("daily (Flash) [day:flash] 0.5%, {day}, model Flash"),
                ],
            ),
            (
                "inaccurate_full: shown as told",
                sample!("load_standard"),
                sample!("inaccurate_full"),
                r#"{"project":"my-project-123456"}"#,
                vec![
                    "plan: Gemini Code Assist".to_owned(),
                    format!("daily (Pro) [day:pro] 5%, {day}, model Pro"),
                    "daily (Flash) [day:flash] 0%, model Flash".to_owned(),
                ],
            ),
        ] {
            let (outcome, last) = poll(&[(200, load), (200, quota)]);
            assert_eq!(lines(&outcome), expected, "{name}");
            assert_eq!(last.as_deref(), Some(asked), "{name}");
        }
    }

    #[test]
    fn every_refusal_has_its_class_whichever_request_it_answers() {
        for (status, body, expected) in [
            (401, sample!("401_expired"), "rejected"),
            (403, sample!("consumer_403"), "no permission"),
            (403, sample!("403_service_disabled"), "no permission"),
            (404, sample!("404_project"), "no permission"),
            (404, "<html>", "gone(404)"),
            (429, sample!("429_quota_exhausted"), "limited for 28811 s"),
            (429, "", "limited"),
            (403, "<html>", "challenge"),
            (503, "", "server(503)"),
        ] {
            assert_eq!(class(&poll(&[(status, body)]).0), expected, "first: {status} {body}");
            let (outcome, _) = poll(&[(200, sample!("load_standard")), (status, body)]);
            assert_eq!(class(&outcome), expected, "second: {status} {body}");
        }
    }

    #[test]
    fn a_plan_that_google_serves_elsewhere_is_told_calmly_and_not_asked_for_numbers() {
        let not_offered = UsageOutcome::NoPermission { said: NOT_OFFERED };
        assert_eq!(poll(&[(200, sample!("free_ineligible_200"))]).0, not_offered);
        assert_eq!(poll(&[(403, sample!("consumer_403"))]).0, not_offered);
        let (outcome, _) = poll(&[(200, sample!("load_standard")), (403, sample!("consumer_403"))]);
        assert_eq!(outcome, not_offered);
    }

    #[test]
    fn a_success_without_numbers_is_garbage_and_an_empty_list_is_an_answer() {
        for (quota, expected) in [
            (r#"{"buckets": []}"#, "answered"),
            (r#"{"buckets": [{"modelId": "gemini-2.5-pro", "resetTime": "2026-09-15T07:00:00Z"}]}"#, "garbage"),
            (r#"{"buckets": {}}"#, "garbage"),
            ("{}", "garbage"),
            ("<html>", "garbage"),
        ] {
            assert_eq!(class(&poll(&[(200, sample!("load_standard")), (200, quota)]).0), expected, "{quota}");
        }
        assert_eq!(class(&poll(&[(200, "[]")]).0), "garbage");
    }

    #[test]
    fn a_missing_fraction_is_not_all_used_and_the_fullest_of_a_family_wins_as_onwatch_had_neither() {
        let bucket = |model: &str, left: Value| json!({"modelId": model, "remainingFraction": left});
        for (buckets, expected) in [
            (json!([bucket("gemini-2.5-pro", json!(0.9)), bucket("gemini-3-pro-preview", json!(0.2))]), 80.0),
            (json!([bucket("gemini-2.5-pro", json!(0.2)), bucket("gemini-2.5-pro_vertex", json!(0.9))]), 80.0),
            (json!([bucket("gemini-2.5-pro", json!(0.9)), {"modelId": "gemini-3-pro"}]), 10.0),
            (json!([bucket("gemini-2.5-pro", json!("0.9")), bucket("gemini-3-pro", json!("x")), 7, null]), 10.0),
        ] {
            let windows = windows(&json!({"buckets": buckets})).unwrap();
            let told: Vec<_> = windows.iter().map(|window| (window.id.as_str(), window.used_percent)).collect();
            assert_eq!(told, [("day:pro", Some(expected))], "{buckets}");
        }
    }

    #[test]
    fn a_family_is_told_by_whole_parts_of_a_name() {
        for (model, expected) in [
            ("gemini-2.5-flash-lite_vertex", "Flash Lite"),
            ("gemini-3-flash-preview", "Flash"),
            ("gemini-2.5-pro", "Pro"),
            ("gemini-prompt-flashy", "gemini-prompt-flashy"),
        ] {
            assert_eq!(family(model), expected);
        }
    }

    #[test]
    fn damage_anywhere_in_an_answer_confuses_nothing() {
        for (name, body) in [("standard_ok", sample!("standard_ok")), ("vertex_dupes", sample!("vertex_dupes"))] {
            no_part_is_an_answer(name, body, read);
            no_value_confuses(name, body, read);
        }
        let load = sample!("load_project_object");
        no_value_confuses("load", load, |body| {
            let body = String::from_utf8_lossy(body);
            poll(&[(200, body.as_ref()), (200, sample!("standard_ok"))]).0
        });
    }

    #[test]
    fn the_login_is_read_with_its_milliseconds_and_whose_it_is() {
        let Ok(Stored::Login(login)) = Gemini.read_login(serde_json::from_str(sample!("oauth_creds")).unwrap()) else {
            panic!("no login")
        };
        assert_eq!(login.expires_at.unwrap().as_millisecond(), 1_789_400_000_000);
        assert_eq!(login.identity.as_deref(), Some("100000000000000000001"));
        assert!(login.refresh.is_some() && login.scopes.unwrap().contains(&"openid".to_owned()));
        for (content, expected) in [
            (json!({"access_token": "", "refresh_token": ""}), Some("signed out")),
            (json!({}), Some("signed out")),
            (json!({"access_token": "", "refresh_token": "1//FAKE"}), None),
            (json!({"access_token": 7}), None),
            (json!("ya29.FAKE"), None),
        ] {
            let read = Gemini.read_login(content.clone()).ok().map(|stored| match stored {
                Stored::SignedOut => "signed out",
                _ => "login",
            });
            assert_eq!(read, expected, "{content}");
        }
    }

    #[test]
    fn requests_carry_the_token_as_bearer_and_no_secret_of_googles() {
        let request = Gemini.usage_request(&Gemini.endpoints(), Some("p"));
        assert_eq!((request.method, &request.secret), (Method::Post, &SecretPlace::Bearer));
        let refresh = format!("{:?}", Gemini.refresh_request(&Gemini.endpoints()));
        assert!(!refresh.contains("client_secret"), "{refresh}");
        assert!(Gemini.store().layout.is_none(), "without the secret quotad does not refresh");
    }
}

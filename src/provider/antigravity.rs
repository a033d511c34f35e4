//! Google's Antigravity, the successor of Gemini CLI for personal plans.
//!
//! A poll is two requests: whose account this is, then the quota summary. The first only adds project and plan, so
//! where Google refuses it the second is sent without them. Pools are known by the id of their bucket alone, because
//! their order and names change. The older endpoints are not asked: a blocked pool looks full there. Nor is the
//! language server that a running Antigravity has on loopback.
//! Facts: `reference/providers.md`, section 13.

use serde_json::{Value, json};

use super::code_assist::{self, Account};
use super::field;
use super::period::{self, HOUR, WEEK};
use super::store::{Form, Place, Root, Store, Stored, StoredLogin, moment, text};
use super::{Endpoints, LogIn, Next, Poll, Provider, Reply, Request, TokenEncoding, jwt};
use crate::model::{Failure, ProviderId, RefreshMode, UsageOutcome, Window};
use crate::policy::time::Stamp;

/// Google's Antigravity, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct Antigravity;

static STORE: Store = Store {
    places: &[Place {
        moved_by: &[],
        root: Root::Home,
        dir: ".gemini/antigravity-cli",
        file: "antigravity-oauth-token",
        apart: false,
    }],
    variables: &[],
    form: Form::Json,
    layout: None,
    account_file: None,
    write_lock: None,
    vendors_modes: &[RefreshMode::Command],
    because: "Google wants Antigravity's client secret for it, which quotad does not have",
};

/// The buckets in the order they are shown: id, length in minutes, whose models share it.
const BUCKETS: [(&str, u64, &str); 4] = [
    ("gemini-5h", 5 * HOUR, "Gemini"),
    ("gemini-weekly", WEEK, "Gemini"),
    ("3p-5h", 5 * HOUR, "Claude and GPT"),
    ("3p-weekly", WEEK, "Claude and GPT"),
];

impl Provider for Antigravity {
    fn id(&self) -> ProviderId {
        ProviderId::new("antigravity")
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            usage_url: "https://daily-cloudcode-pa.googleapis.com/v1internal:retrieveUserQuotaSummary".to_owned(),
            token_url: "https://oauth2.googleapis.com/token".to_owned(),
            client_id: "1071006060591-tmhssin2h21lcre235vtolojh4g403ep.apps.googleusercontent.com".to_owned(),
            token_encoding: TokenEncoding::Form,
            user_agent: concat!("quotad/", env!("CARGO_PKG_VERSION")).to_owned(),
            recipe: None,
        }
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Command { line: "agy", moved_by: &[] }
    }

    /// The tokens stand in an object of their own; without it they are looked for in the file's (?).
    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        let Value::Object(mut file) = content else { return Err("is JSON, but not an object; log in again") };
        let identity = text(&file, "id_token").and_then(|token| text(&jwt::claims(token), "sub").map(str::to_owned));
        let mut login = match file.remove("token") {
            Some(Value::Object(login)) => login,
            _ => file,
        };
        let Some(tokens) = StoredLogin::take(&mut login, "access_token", "refresh_token")? else {
            return Ok(Stored::SignedOut);
        };
        Ok(Stored::Login(StoredLogin { expires_at: moment(&login, "expiry"), identity, ..tokens }))
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
            return Next::Send(code_assist::load_request(poll.endpoints, &json!({"ideType": "ANTIGRAVITY"})));
        };
        let account = match first.status {
            200..=299 => Account::read(first).unwrap_or_default(),
            _ => match code_assist::refusal(first, poll.received) {
                UsageOutcome::NoPermission { .. }
                | UsageOutcome::Failed { failure: Failure::Gone(_) | Failure::Refused(_), .. } => Account::default(),
                verdict => return Next::Over(verdict),
            },
        };
        match poll.replies.get(1) {
            None => Next::Send(self.usage_request(poll.endpoints, account.project.as_deref())),
            Some(summary) => Next::Over(account.complete(self.read_usage(summary, poll.received))),
        }
    }
}

/// A free plan has only weekly buckets, the largest only those of five hours. The language server wraps the same
/// answer in an object.
fn windows(body: &Value) -> Result<Vec<Window>, &'static str> {
    let summary = if body["response"].is_object() { &body["response"] } else { body };
    let groups = &summary["groups"];
    let is_empty = groups.as_array().ok_or("the answer is JSON, but names no quota group")?.is_empty();
    let buckets = || field::elements(groups).flat_map(|group| field::elements(&group["buckets"]));
    let windows: Vec<Window> = BUCKETS
        .iter()
        .filter_map(|(bucket, minutes, pool)| {
            let (used_percent, bucket) = buckets()
                .filter(|found| found["bucketId"] == *bucket)
                .find_map(|found| Some((code_assist::used_percent(&found["remainingFraction"])?, found)))?;
            Some(Window {
                used_percent: Some(used_percent),
                resets_at: field::timestamp(&bucket["resetTime"]),
                model: Some((*pool).to_owned()),
                ..period::window(*minutes, Some(pool))
            })
        })
        .collect();
    if windows.is_empty() && !is_empty { Err("no known quota bucket has a number") } else { Ok(windows) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::sample::{class, lines, no_part_is_an_answer, no_value_confuses, reply};

    macro_rules! sample {
        ($name:literal) => {
            include_str!(concat!("../../tests/data/antigravity/", $name, ".json"))
        };
    }

    /// What a whole poll comes to when the service answers so, and the bodies of its requests.
    fn poll(replies: &[(u16, &str)]) -> (UsageOutcome, Vec<String>) {
        let endpoints = Antigravity.endpoints();
        let (mut answered, mut asked) = (Vec::new(), Vec::new());
        loop {
            let poll = Poll { endpoints: &endpoints, tenant: None, replies: &answered, received: Stamp::UNIX_EPOCH };
            match Antigravity.converse(&poll) {
                Next::Over(outcome) => return (outcome, asked),
                Next::Send(request) | Next::Also(request, _) => {
                    let (status, body) = replies[answered.len()];
                    asked.extend(request.body);
                    answered.push(reply(status, &[], body));
                }
            }
        }
    }

    fn read(body: &[u8]) -> UsageOutcome {
        Antigravity.read_usage(&reply(200, &[], body), Stamp::UNIX_EPOCH)
    }

    #[test]
    fn every_known_summary_yields_what_a_person_expects_in_one_order() {
        for (name, body, expected) in [
            (
                "summary",
                sample!("summary"),
                &[
                    "plan: -",
                    "5-hour (Gemini) [five_hour:gemini] 100%, resets 2026-08-22T10:41:03Z, model Gemini",
                    "weekly (Gemini) [weekly:gemini] 56.78013%, resets 2026-08-28T07:15:20Z, model Gemini",
                    "5-hour (Claude and GPT) [five_hour:claude-and-gpt] 0%, resets 2026-08-22T13:30:12Z, model Claude and GPT",
                    "weekly (Claude and GPT) [weekly:claude-and-gpt] 0%, resets 2026-08-29T05:30:12Z, model Claude and GPT",
                ][..],
            ),
            (
                "weekly_only, a row without a fraction",
                sample!("weekly_only"),
                &["plan: -", "weekly (Gemini) [weekly:gemini] 12.5%, resets 2026-08-28T07:15:20Z, model Gemini"],
            ),
            (
                "five_hour_only, groups the other way round and an unknown bucket",
                sample!("five_hour_only"),
                &[
                    "plan: -",
                    "5-hour (Gemini) [five_hour:gemini] 25%, resets 2026-08-22T10:41:03Z, model Gemini",
                    "5-hour (Claude and GPT) [five_hour:claude-and-gpt] 90%, model Claude and GPT",
                ],
            ),
            (
                "wrapped",
                sample!("wrapped"),
                &["plan: -", "5-hour (Gemini) [five_hour:gemini] 75%, resets 2026-08-22T10:41:03Z, model Gemini"],
            ),
            ("empty", r#"{"groups": []}"#, &["plan: -"]),
            ("no groups", "{}", &["garbage"]),
            (
                "unknown ids only",
                r#"{"groups": [{"buckets": [{"bucketId": "x", "remainingFraction": 1}]}]}"#,
                &["garbage"],
            ),
            ("a page", "<html>", &["garbage"]),
        ] {
            assert_eq!(lines(&read(body.as_bytes())), expected, "{name}");
        }
    }

    #[test]
    fn the_first_answer_adds_project_and_plan_and_its_refusal_costs_no_numbers() {
        let load = r#"{"metadata":{"ideType":"ANTIGRAVITY"}}"#;
        let project = r#"{"project":"my-project-654321"}"#;
        for (first, second, plan) in [
            ((200, sample!("load_pro")), project, "plan: Google AI Pro"),
            ((200, sample!("load_free")), "{}", "plan: Antigravity"),
            ((200, "<html>"), "{}", "plan: -"),
            ((403, sample!("403_unsupported_client")), "{}", "plan: -"),
            ((404, ""), "{}", "plan: -"),
        ] {
            let (outcome, asked) = poll(&[first, (200, sample!("weekly_only"))]);
            assert_eq!(asked, [load, second], "{first:?}");
            assert_eq!(lines(&outcome)[0], plan, "{first:?}");
            assert!(lines(&outcome)[1].starts_with("weekly (Gemini)"), "{first:?}");
        }
    }

    #[test]
    fn every_refusal_has_its_class_and_what_is_no_opinion_about_the_account_ends_the_poll() {
        for (status, body, first, second) in [
            (401, sample!("401_expired"), "rejected", "rejected"),
            (429, "", "limited", "limited"),
            (503, "", "server(503)", "server(503)"),
            (403, "<html>", "challenge", "challenge"),
            (403, sample!("403_unsupported_client"), "answered", "no permission"),
            (404, "", "answered", "gone(404)"),
        ] {
            let (outcome, _) = poll(&[(status, body), (200, sample!("summary"))]);
            assert_eq!(class(&outcome), first, "first: {status} {body}");
            let (outcome, _) = poll(&[(200, sample!("load_pro")), (status, body)]);
            assert_eq!(class(&outcome), second, "second: {status} {body}");
        }
    }

    #[test]
    fn damage_anywhere_in_an_answer_confuses_nothing() {
        for (name, body) in [("summary", sample!("summary")), ("five_hour_only", sample!("five_hour_only"))] {
            no_part_is_an_answer(name, body, read);
            no_value_confuses(name, body, read);
        }
    }

    #[test]
    fn the_login_stands_in_an_object_of_its_own_or_in_the_files() {
        let file: Value = serde_json::from_str(sample!("antigravity_oauth_token")).unwrap();
        for content in [file.clone(), file["token"].clone()] {
            let Ok(Stored::Login(login)) = Antigravity.read_login(content) else { panic!("no login") };
            assert_eq!(login.expires_at.unwrap().to_string(), "2026-08-22T10:09:19.638123456Z");
            assert!(login.refresh.is_some());
        }
        let mut emptied = file;
        emptied["token"] = json!({"access_token": "", "refresh_token": ""});
        assert!(matches!(Antigravity.read_login(emptied), Ok(Stored::SignedOut)));
        for content in [json!([]), json!({"token": {"access_token": 7}})] {
            assert!(Antigravity.read_login(content.clone()).is_err(), "{content}");
        }
    }
}

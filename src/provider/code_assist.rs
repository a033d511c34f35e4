//! Google's Code Assist service, which Gemini CLI and Antigravity ask in the same two steps.
//!
//! Owns what the two have in common: the first request, which tells the project and the plan the numbers are asked
//! for, and Google's error envelope. Never asks another host than the account's own usage URL, so the project that
//! Google's resource manager could name is not looked up.
//! Facts: `reference/providers.md`, 4.2, 4.3 and 13.

use serde_json::{Value, json};

use super::field::{self, Decimal};
use super::{Endpoints, Method, Reply, Request, SecretPlace, fault};
use crate::model::{Failure, UsageOutcome, Window};
use crate::policy::time::Stamp;

/// Said calmly: a plan that Google serves elsewhere, or no longer, is no fault of the login.
pub(super) const NOT_OFFERED: &str = "Google does not offer this service to the account";

/// What the first answer says of the login.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Account {
    /// The project that quotas are counted in.
    pub(super) project: Option<String>,
    /// The plan as Google names it: `Google AI Pro`.
    plan: Option<String>,
    /// Credits that can be spent beyond the plan.
    credits: Vec<Window>,
    /// Google lists only reasons why the account may not use the service.
    pub(super) is_ineligible: bool,
}

impl Account {
    /// What the first answer says; `None` when it is no JSON object.
    pub(super) fn read(reply: &Reply) -> Option<Self> {
        let body = field::json(&reply.body).filter(Value::is_object)?;
        let project = &body["cloudaicompanionProject"];
        let project = field::name(project).or_else(|| field::name(&project["id"]));
        let tier = |name: &str| field::name(&body[name]["name"]).or_else(|| field::name(&body[name]["id"]));
        let is_listed = |name: &str| body[name].as_array().is_some_and(|list| !list.is_empty());
        Some(Self {
            is_ineligible: project.is_none() && body["currentTier"].is_null() && is_listed("ineligibleTiers"),
            plan: tier("paidTier").or_else(|| tier("currentTier")),
            credits: field::elements(&body["paidTier"]["availableCredits"]).filter_map(credit).collect(),
            project,
        })
    }

    /// The outcome of the whole poll: the plan and the credits join the numbers.
    pub(super) fn complete(self, outcome: UsageOutcome) -> UsageOutcome {
        match outcome {
            UsageOutcome::Answered { mut windows, .. } => {
                windows.extend(self.credits);
                UsageOutcome::Answered { windows, plan: self.plan }
            }
            other => other,
        }
    }
}

fn credit(entry: &Value) -> Option<Window> {
    let kind = field::name(&entry["creditType"])?;
    let left = Decimal::read(&entry["creditAmount"])?;
    let id = format!("credits:{}", field::slug(&kind));
    Some(Window { remaining: Some(left.of("credits")), ..Window::named(id, format!("credits ({kind})")) })
}

/// The first request: whose account is this? `metadata` says which of Google's clients the login was made for.
pub(super) fn load_request(endpoints: &Endpoints, metadata: &Value) -> Request {
    let (parent, last) = endpoints.usage_url.rsplit_once('/').unwrap_or_default();
    let service = last.split(':').next().unwrap_or_default();
    let url = format!("{parent}/{service}:loadCodeAssist");
    post(endpoints, url, &json!({"metadata": metadata}))
}

/// The request for the numbers of `project`.
pub(super) fn quota_request(endpoints: &Endpoints, project: Option<&str>) -> Request {
    let body = project.map_or_else(|| json!({}), |project| json!({"project": project}));
    post(endpoints, endpoints.usage_url.clone(), &body)
}

fn post(endpoints: &Endpoints, url: String, body: &Value) -> Request {
    Request {
        method: Method::Post,
        url,
        headers: vec![
            ("accept", "application/json".to_owned()),
            ("content-type", "application/json".to_owned()),
            ("user-agent", endpoints.user_agent.clone()),
        ],
        body: Some(body.to_string()),
        secret: SecretPlace::Bearer,
    }
}

/// What an answer means whose success `windows` reads.
pub(super) fn outcome(
    reply: &Reply,
    received: Stamp,
    windows: impl FnOnce(&Value) -> Result<Vec<Window>, &'static str>,
) -> UsageOutcome {
    let read = match reply.status {
        200..=299 => field::json(&reply.body).ok_or("the answer is not JSON"),
        _ => return refusal(reply, received),
    };
    match read.and_then(|body| windows(&body)) {
        Ok(windows) => UsageOutcome::Answered { windows, plan: None },
        Err(how) => UsageOutcome::Failed { failure: Failure::Garbage(how), demand: None },
    }
}

/// What an answer other than a success means. The reason stands in the details, or only in the message.
pub(super) fn refusal(reply: &Reply, received: Stamp) -> UsageOutcome {
    let body = field::json(&reply.body).unwrap_or_default();
    let error = &body["error"];
    let names = |reason: &str| {
        field::elements(&error["details"]).any(|detail| detail["reason"] == reason)
            || error["message"].as_str().is_some_and(|message| message.contains(reason))
    };
    match fault::usage(reply, received) {
        UsageOutcome::NoPermission { .. } if names("UNSUPPORTED_CLIENT") => {
            UsageOutcome::NoPermission { said: NOT_OFFERED }
        }
        UsageOutcome::NoPermission { .. } if names("SERVICE_DISABLED") => {
            UsageOutcome::NoPermission { said: "the service is not switched on for the Google Cloud project" }
        }
        UsageOutcome::Failed { failure: Failure::Gone(404), .. } if error["status"] == "NOT_FOUND" => {
            UsageOutcome::NoPermission { said: "the Google Cloud project is not known" }
        }
        UsageOutcome::Limited { demand: None } => {
            let told =
                field::elements(&error["details"]).find_map(|detail| detail["retryDelay"].as_str()?.strip_suffix('s'));
            UsageOutcome::Limited { demand: told.and_then(|seconds| field::seconds(&Value::from(seconds))) }
        }
        other => other,
    }
}

/// Percent used, where Google tells the share that is left.
pub(super) fn used_percent(left: &Value) -> Option<f64> {
    let whole = Decimal::read(&Value::from(1))?;
    whole.checked_sub(Decimal::read(left)?)?.percent_of(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::sample::{class, reply};

    #[test]
    fn the_first_request_goes_beside_the_second_whatever_the_host() {
        for (usage_url, expected) in [
            ("https://x.test/v1internal:retrieveUserQuota", "https://x.test/v1internal:loadCodeAssist"),
            ("http://127.0.0.1:81/g/v1internal:retrieveUserQuota", "http://127.0.0.1:81/g/v1internal:loadCodeAssist"),
            ("http://127.0.0.1:81/usage", "http://127.0.0.1:81/usage:loadCodeAssist"),
        ] {
            let endpoints = Endpoints { user_agent: "somebody/1".to_owned(), ..Endpoints::keyed(usage_url) };
            let load = load_request(&endpoints, &json!({"pluginType": "GEMINI"}));
            assert_eq!(load.url, expected);
            assert_eq!(load.body.as_deref(), Some(r#"{"metadata":{"pluginType":"GEMINI"}}"#));
            assert_eq!(quota_request(&endpoints, Some("p-1")).body.as_deref(), Some(r#"{"project":"p-1"}"#));
            let quota = quota_request(&endpoints, None);
            assert_eq!(
                (quota.method, quota.url.as_str(), quota.body.as_deref()),
                (Method::Post, usage_url, Some("{}"))
            );
            assert!(quota.headers.contains(&("user-agent", "somebody/1".to_owned())));
        }
    }

    #[test]
    fn an_account_is_ineligible_only_with_reasons_and_without_project_and_tier() {
        let reasons = json!([{"reasonCode": "UNSUPPORTED_CLIENT", "tierId": "free-tier"}]);
        for (body, project, is_ineligible) in [
            (json!({"ineligibleTiers": reasons}), None, true),
            (json!({"ineligibleTiers": reasons, "cloudaicompanionProject": "p-1"}), Some("p-1"), false),
            (json!({"ineligibleTiers": reasons, "cloudaicompanionProject": {"id": "p-1"}}), Some("p-1"), false),
            (json!({"ineligibleTiers": reasons, "currentTier": {"id": "standard-tier"}}), None, false),
            (json!({"ineligibleTiers": []}), None, false),
            (json!({"ineligibleTiers": "all", "cloudaicompanionProject": 7}), None, false),
            (json!({}), None, false),
        ] {
            let account = Account::read(&reply(200, &[], body.to_string())).unwrap();
            assert_eq!((account.project.as_deref(), account.is_ineligible), (project, is_ineligible), "{body}");
        }
        for body in ["", "[]", "<html>", "null"] {
            assert_eq!(Account::read(&reply(200, &[], body)), None, "{body}");
        }
    }

    #[test]
    fn the_wait_is_the_headers_and_else_the_one_in_the_details() {
        let told = json!({"error": {"code": 429, "details": [{"reason": "X"}, {"retryDelay": "90.5s"}]}}).to_string();
        let odd = json!({"error": {"details": [{"retryDelay": "soon"}, {"retryDelay": 7}]}}).to_string();
        let header = [("retry-after", "30")];
        for (headers, body, expected) in [
            (&header[..], told.as_str(), "limited for 30 s"),
            (&[][..], told.as_str(), "limited for 90 s"),
            (&[][..], odd.as_str(), "limited"),
            (&[][..], "<html>", "limited"),
        ] {
            assert_eq!(class(&refusal(&reply(429, headers, body), Stamp::UNIX_EPOCH)), expected, "{body}");
        }
    }
}

//! z.ai's GLM coding plans, in China under the name of `BigModel` (`reference/providers.md`, section 5).
//!
//! Two things mislead: `usage` is the limit, and an error comes as a success with a code. A limit is known by how long
//! it lasts: its type was renamed once (`TOKENS_LIMIT`, `CREDIT_LIMIT`), and its place in the list means nothing.

use serde_json::Value;

use super::field::{self, Decimal};
use super::store::{self, Place, Root, Store, Stored};
use super::{Endpoints, LogIn, MOST_WINDOWS, Provider, Reply, Request, answer, fault, listed, period};
use crate::model::{ProviderId, UsageOutcome, Whereabouts, Window, WindowStatus};
use crate::policy::time::Stamp;

const GLOBAL: &str = "https://api.z.ai/api/monitor/usage/quota/limit";
const CHINA: &str = "https://open.bigmodel.cn/api/monitor/usage/quota/limit";

/// `GLM_API_KEY` is not among the variables: some tools take it for a key of one region, some for one of the other.
static STORE: Store = Store::of_keys(
    &[
        Place { moved_by: &[], root: Root::Config, dir: "openusage", file: "zai.json", apart: false },
        Place { moved_by: &[], root: Root::Config, dir: "zai", file: "key.json", apart: false },
        Place { moved_by: &[], root: Root::Home, dir: ".coding-relay", file: "glm-api-key", apart: true },
        Place { moved_by: &[], root: Root::Config, dir: "bigmodel", file: "api_key", apart: false },
        Place { moved_by: &[], root: Root::Config, dir: "zhipu", file: "api_key", apart: false },
    ],
    &["ZAI_API_KEY", "Z_AI_API_KEY", "BIGMODEL_API_KEY", "ZHIPU_API_KEY", "ZHIPUAI_API_KEY"],
);

/// Where a key of the Chinese host lies.
const CHINAS_FILES: [&str; 3] = [".coding-relay/glm-api-key", "bigmodel/api_key", "zhipu/api_key"];
const CHINAS_VARIABLES: [&str; 3] = ["BIGMODEL_API_KEY", "ZHIPU_API_KEY", "ZHIPUAI_API_KEY"];

/// z.ai, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct Zai;

impl Provider for Zai {
    fn id(&self) -> ProviderId {
        ProviderId::new("zai")
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints::keyed(GLOBAL)
    }

    fn endpoints_for(&self, at: &Whereabouts) -> Endpoints {
        let is_chinas = match at {
            Whereabouts::File(path) => CHINAS_FILES.iter().any(|file| path.ends_with(file)),
            Whereabouts::Variable(name) => CHINAS_VARIABLES.contains(&name.as_str()),
        };
        Endpoints::keyed(if is_chinas { CHINA } else { GLOBAL })
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Words("make a new key at z.ai (or bigmodel.cn) and put it where the account reads it")
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        store::read_key(content, store::KEY_MEMBERS)
    }

    /// Messages are Chinese unless another language is asked for.
    fn usage_request(&self, endpoints: &Endpoints, _tenant: Option<&str>) -> Request {
        let mut request = Request::get(endpoints.usage_url.clone(), endpoints);
        request.headers.push(("accept-language", "en-US,en".to_owned()));
        request
    }

    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        let told = |body: Value| refusal(&body, reply, received).unwrap_or_else(|| read(&body));
        answer(reply, received, told)
    }
}

/// The error inside a success, if it is one.
fn refusal(body: &Value, reply: &Reply, received: Stamp) -> Option<UsageOutcome> {
    let code = field::number(&body["code"]);
    let said = body["msg"].as_str().unwrap_or_default().to_lowercase();
    match code {
        Some(200.0) | None if body["success"] != false => None,
        Some(500.0) if said.contains("coding plan") => {
            Some(UsageOutcome::NoPermission { said: "the key is good, but has no coding plan" })
        }
        Some(1001.0) => Some(fault::garbage("the server says that no key came with the request")),
        _ => Some(fault::inside(reply, code, received)),
    }
}

fn read(body: &Value) -> UsageOutcome {
    let data = &body["data"];
    let Some(limits) = [&data["limits"], data, &body["limits"]].into_iter().find_map(Value::as_array) else {
        return fault::garbage("the answer names no limits, as for a team's key without its organisation");
    };
    let mut windows: Vec<Window> = Vec::new();
    for (kind, mut window) in limits.iter().filter_map(window).take(MOST_WINDOWS) {
        if windows.iter().any(|known| known.id == window.id) {
            window.id = format!("{}:{}", window.id, field::slug(&kind));
        }
        windows.push(window);
    }
    let names = ["level", "planName", "plan", "plan_type", "packageName"];
    listed(limits, windows, names.iter().find_map(|name| field::name(&data[*name])))
}

/// The window of one limit, and the type of that limit.
fn window(limit: &Value) -> Option<(String, Window)> {
    let kind = field::name(&limit["type"]).or_else(|| field::name(&limit["name"])).unwrap_or_default();
    let [total, used, left] = ["usage", "currentValue", "remaining"].map(|name| Decimal::read(&limit[name]));
    // The percentage is rounded down, so the counts go before it.
    let counted = used.zip(total).and_then(|(used, total)| used.percent_of(total));
    let used_percent = counted.or_else(|| field::number(&limit["percentage"]));
    if used_percent.is_none() && used.is_none() && left.is_none() {
        return None;
    }
    let unit = match kind.as_str() {
        "TOKENS_LIMIT" => "tokens",
        "CREDIT_LIMIT" => "credits",
        "TIME_LIMIT" => "calls",
        _ => "units",
    };
    let amount = |amount: Option<Decimal>| amount.map(|amount| amount.of(unit));
    let resets_at = field::timestamp(&limit["nextResetTime"]);
    let untouched = used_percent == Some(0.0) && resets_at.is_none();
    let window = Window {
        status: if untouched { WindowStatus::NotStarted } else { WindowStatus::Active },
        used_percent,
        used: amount(used),
        limit: amount(total),
        remaining: amount(left),
        resets_at,
        ..named(&kind, limit)
    };
    Some((kind, window))
}

/// By its length, which is a number of units. A limit of an unknown unit is called by that.
fn named(kind: &str, limit: &Value) -> Window {
    let whole = |name: &str| field::number(&limit[name]).filter(|n| n.fract() == 0.0 && (1.0..=1000.0).contains(n));
    let (unit, number) = (whole("unit").map(|unit| unit as u64), whole("number").map(|number| number as u64));
    // Searches and pages that the tools of the plan may fetch: no part of the model's quota.
    let scope = (kind == "TIME_LIMIT").then_some("tools");
    let minutes = match unit {
        Some(1 | 4) => Some(period::DAY),
        Some(3) => Some(period::HOUR),
        // Months for some tools and minutes for others; nobody has a limit of many months, or of few minutes.
        Some(5) if number <= Some(12) => Some(period::MONTH),
        Some(5) => Some(1),
        Some(6) => Some(period::WEEK),
        _ => None,
    };
    match (minutes, unit, number) {
        (Some(minutes), _, Some(number)) => period::window(minutes * number, scope),
        (None, Some(unit), Some(number)) => {
            Window::named(format!("unit_{unit}_{number}"), format!("{number} of unit {unit}"))
        }
        _ => {
            let words = kind.to_lowercase().replace('_', " ");
            Window::named(field::slug(&words).replace('-', "_"), words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::told::{damage_costs_one_entry_only, reply, sample, told};

    fn read(reply: &Reply) -> UsageOutcome {
        Zai.read_usage(reply, Stamp::UNIX_EPOCH)
    }

    const SAMPLES: [((&str, &str), &[&str]); 7] = [
        (
            sample!("zai", "z1"),
            &[
                "month:tools \"monthly (tools)\" 2.4% | used 24 calls, limit 1000 calls, left 976 calls",
                "five_hour \"5-hour\" 48.13% | used 96250000 tokens, limit 200000000 tokens, left 103750000 tokens \
                 | resets 2026-09-14T18:08:41Z",
            ],
        ),
        (
            sample!("zai", "z2"),
            &[
                "plan pro",
                "five_hour \"5-hour\" 22% | resets 2026-09-14T18:08:41.407Z",
                "seven_day \"weekly\" 8% | resets 2026-09-20T11:58:06.12Z",
                "month:tools \"monthly (tools)\" 0% | used 0 calls, limit 1000 calls, left 1000 calls \
                 | resets 2026-10-08T20:51:26.555Z",
            ],
        ),
        (
            sample!("zai", "z3"),
            &[
                "plan lite",
                "five_hour \"5-hour\" not started 0% | used 0 credits, limit 2000 credits, left 2000 credits",
                "seven_day \"weekly\" 94.55% | used 9455 credits, limit 10000 credits, left 545 credits \
                 | resets 2026-09-20T12:01:19.31Z",
            ],
        ),
        (
            sample!("zai", "z3_weekly_only"),
            &[
                "plan GLM Coding Lite",
                "seven_day \"weekly\" 100.2% | used 10020 credits, limit 10000 credits, left -20 credits \
                 | resets 2026-09-20T12:01:19.31Z",
            ],
        ),
        (
            sample!("zai", "unknown_unit"),
            &[
                "plan max",
                "unit_9_2 \"2 of unit 9\" 30% | resets 2026-09-20T12:01:19.31Z",
                "day \"daily\" 12%",
                "30_minute \"30-minute\" 3%",
                "image_limit \"image limit\" 7%",
            ],
        ),
        (
            sample!("zai", "name_instead_of_type"),
            &[
                "five_hour \"5-hour\" 41% | resets 2026-09-14T18:08:41.407Z",
                "month:tools \"monthly (tools)\" 7% | used 7 calls, limit 100 calls, left 93 calls",
            ],
        ),
        (sample!("zai", "empty_limits"), &["plan pro"]),
    ];

    #[test]
    fn every_limit_is_a_window_known_by_how_long_it_lasts() {
        for ((name, body), expected) in SAMPLES {
            assert_eq!(told(&read(&reply(200, body))), expected, "{name}");
        }
    }

    /// onWatch keeps the last `TOKENS_LIMIT` alone, and does not know `CREDIT_LIMIT`.
    #[test]
    fn two_limits_of_one_type_and_one_limit_under_two_types_are_all_kept() {
        let limit = |kind, unit| format!(r#"{{"type": "{kind}", "unit": {unit}, "number": 5, "percentage": 1}}"#);
        let limits = [limit("TOKENS_LIMIT", 3), limit("TOKENS_LIMIT", 4), limit("CREDIT_LIMIT", 3)];
        let body = format!(r#"{{"code": 200, "data": {{"limits": [{}]}}}}"#, limits.join(", "));
        let UsageOutcome::Answered { windows, .. } = read(&reply(200, body)) else { panic!("not read") };
        let ids: Vec<_> = windows.iter().map(|window| window.id.as_str()).collect();
        assert_eq!(ids, ["five_hour", "5_day", "five_hour:credit-limit"]);
    }

    #[test]
    fn an_error_inside_a_success_is_told_apart_as_one_outside() {
        let nothing = "failed: Garbage(\"the answer names no limits, as for a team's key without its organisation\")";
        let unknown = "failed: Garbage(\"the answer is an error with a code that is not known\")";
        for (status, body, expected) in [
            (200, sample!("zai", "200_code_401").1, "rejected: the token was refused"),
            (200, sample!("zai", "200_code_500_no_plan").1, "no permission: the key is good, but has no coding plan"),
            (200, sample!("zai", "200_code_500_other").1, "failed: Server(500)"),
            (
                200,
                sample!("zai", "200_code_1001").1,
                "failed: Garbage(\"the server says that no key came with the request\")",
            ),
            (200, r#"{"code": "429", "success": false}"#, "limited None"),
            (200, r#"{"code": 7}"#, unknown),
            (200, r#"{"success": false, "data": {"limits": []}}"#, unknown),
            (200, sample!("zai", "team_missing_headers").1, nothing),
            (200, r#"{"code": 200, "success": true}"#, nothing),
            (200, "[]", nothing),
            (200, "<html>", "failed: Garbage(\"the answer is not JSON\")"),
            (401, sample!("zai", "http_401").1, "rejected: the token was refused"),
            (403, "<html>", "failed: Challenge"),
            (429, "", "limited None"),
            (503, "", "failed: Server(503)"),
        ] {
            assert_eq!(told(&read(&reply(status, body))), [expected], "{status} {body}");
        }
    }

    #[test]
    fn a_key_reaches_the_host_of_its_own_region_only() {
        let variable = |name: &str| Whereabouts::Variable(name.to_owned());
        let file = |path: &str| Whereabouts::File(std::path::Path::new(path).into());
        for (at, host) in [
            (variable("ZAI_API_KEY"), GLOBAL),
            (variable("Z_AI_API_KEY"), GLOBAL),
            (variable("GLM_API_KEY"), GLOBAL),
            (variable("BIGMODEL_API_KEY"), CHINA),
            (variable("ZHIPU_API_KEY"), CHINA),
            (variable("ZHIPUAI_API_KEY"), CHINA),
            (file("/home/ada/.config/zai/key.json"), GLOBAL),
            (file("/home/ada/.coding-relay/glm-api-key"), CHINA),
            (file("/home/ada/.config/bigmodel/api_key"), CHINA),
            (file("/srv/config/zhipu/api_key"), CHINA),
        ] {
            assert_eq!(Zai.endpoints_for(&at).usage_url, host, "{at}");
        }
        for place in STORE.places {
            let at = file(&format!("/home/ada/{}/{}", place.dir, place.file));
            let is_global = matches!(place.dir, "zai" | "openusage");
            assert_eq!(Zai.endpoints_for(&at).usage_url == GLOBAL, is_global, "{at}");
        }
    }

    #[test]
    fn a_damaged_limit_costs_no_other() {
        let compared = SAMPLES.map(|(sample, _)| damage_costs_one_entry_only(read, sample, &["/data/limits"]));
        assert!(compared.iter().sum::<usize>() > 500, "{compared:?}");
    }
}

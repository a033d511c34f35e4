//! Codex: the `ChatGPT` plans, as its CLI uses them: Free, Go, Plus, Pro, Team, Business, Enterprise.
//!
//! A window is known by its length alone: the vendor puts the weekly one now into the first slot, now into the
//! second. Never asks for `…/consume`, which spends a reset for good. Facts: `reference/providers.md`, section 2, and
//! `reference/credentials.md`, 1B.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::field::{self, Decimal};
use super::store::{Form, Layout, Place, Root, Store, Stored, StoredLogin, Unit, moment, take_token, text};
use super::traffic::{current, header};
use super::{
    Endpoints, LogIn, Method, Next, Poll, Provider, Reply, Request, SecretPlace, TokenEncoding, answer, distinct,
    fault, jwt,
};
use crate::model::{Failure, ProviderId, RefreshMode, UsageOutcome, Window};
use crate::policy::time::Stamp;

/// Codex, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct Codex;

impl Provider for Codex {
    fn id(&self) -> ProviderId {
        ProviderId::new("codex")
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            usage_url: "https://chatgpt.com/backend-api/wham/usage".to_owned(),
            token_url: "https://auth.openai.com/oauth/token".to_owned(),
            client_id: "app_EMoamEEZ73f0CkXaXp7hrann".to_owned(),
            token_encoding: TokenEncoding::Json,
            user_agent: concat!("quotad/", env!("CARGO_PKG_VERSION")).to_owned(),
            recipe: None,
        }
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Command { line: "codex login", moved_by: &["CODEX_HOME"] }
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        login(content)
    }

    /// Without the workspace's id a member of several gets the numbers of another one.
    fn usage_request(&self, endpoints: &Endpoints, tenant: Option<&str>) -> Request {
        let mut headers = vec![("accept", "application/json".to_owned()), ("user-agent", endpoints.user_agent.clone())];
        headers.extend(tenant.map(|workspace| ("chatgpt-account-id", workspace.to_owned())));
        Request {
            method: Method::Get,
            url: endpoints.usage_url.clone(),
            headers,
            body: None,
            secret: SecretPlace::Bearer,
        }
    }

    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        answer(reply, received, |body| match windows(&body, received) {
            Some(windows) => UsageOutcome::Answered { windows, plan: field::name(&body["plan_type"]) },
            None => fault::garbage("the answer is JSON, but names no rate limit"),
        })
    }

    fn read_headers(&self, headers: &[(String, String)], received: Stamp) -> Vec<Window> {
        told(headers, received)
    }

    /// The path depends on the base that is configured. So a 404 asks once at the other one; only a verdict from
    /// there counts.
    fn converse(&self, poll: &Poll<'_>) -> Next {
        let Some(first) = poll.replies.first() else {
            return Next::Send(self.usage_request(poll.endpoints, poll.tenant));
        };
        let outcome = self.read_usage(first, poll.received);
        let is_gone = matches!(outcome, UsageOutcome::Failed { failure: Failure::Gone(404), .. });
        match (poll.replies.get(1), other_path(&poll.endpoints.usage_url)) {
            (None, Some(url)) if is_gone => {
                Next::Send(Request { url, ..self.usage_request(poll.endpoints, poll.tenant) })
            }
            (Some(second), _) => match self.read_usage(second, poll.received) {
                UsageOutcome::Failed { .. } => Next::Over(outcome),
                verdict => Next::Over(verdict),
            },
            _ => Next::Over(outcome),
        }
    }
}

/// `…/backend-api/wham/usage` is `…/api/codex/usage` where the base is no `backend-api`.
fn other_path(usage_url: &str) -> Option<String> {
    const CHATGPT: &str = "/backend-api/wham/usage";
    const CODEX: &str = "/api/codex/usage";
    let to_codex = usage_url.strip_suffix(CHATGPT).map(|base| format!("{base}{CODEX}"));
    to_codex.or_else(|| usage_url.strip_suffix(CODEX).map(|base| format!("{base}{CHATGPT}")))
}

/// The windows that a session file's `token_count` event tells under `rate_limits`, shortest first. There a slot is
/// `primary` or `secondary`, and its length is told in minutes. Without a reset time the window ends a whole length
/// after the event at the latest.
pub fn noted(limits: &Value, at: Stamp) -> Vec<Window> {
    let window = |slot: &Value| {
        let length = length(slot)?;
        let window = window(slot, Share::All, at).filter(|window| window.used_percent.is_some())?;
        let resets_at = window.resets_at.or_else(|| at.checked_add(length).ok());
        Some((length, Window { resets_at, ..window }))
    };
    let mut slots: Vec<_> = ["primary", "secondary"].iter().filter_map(|slot| window(&limits[slot])).collect();
    slots.sort_by_key(|(length, _)| *length);
    distinct(slots.into_iter().map(|(_, window)| window))
}

/// The windows that an answer's headers tell, shortest first. A slot that does not tell its length has no name.
fn told(headers: &[(String, String)], received: Stamp) -> Vec<Window> {
    const PARTS: [&str; 5] = ["used_percent", "window_minutes", "reset_at", "reset_after_seconds", "resets_in_seconds"];
    let value = |name: String| header(headers, &format!("x-codex-{name}")).map(Value::from);
    let window = |slot: &str| {
        let part = |name: &str| Some((name.to_owned(), value(format!("{slot}-{}", name.replace('_', "-")))?));
        let slot = Value::Object(PARTS.into_iter().filter_map(part).collect());
        Some((length(&slot)?, window(&slot, Share::All, received)?))
    };
    let mut slots: Vec<_> = ["primary", "secondary"].into_iter().filter_map(window).collect();
    slots.sort_by_key(|(length, _)| *length);
    let has_credits =
        header(headers, "x-codex-credits-has-credits").map(|has| !has.trim().eq_ignore_ascii_case("false"));
    let credits = credits_left(&json!({"balance": value("credits-balance".to_owned()), "has_credits": has_credits}));
    current(slots.into_iter().map(|(_, window)| window).chain(credits), received)
}

/// Every window of a usage body; `None` if this is no usage body. `received` is what a reset without a date is
/// counted from.
fn windows(body: &Value, received: Stamp) -> Option<Vec<Window>> {
    let own = slots(&body["rate_limit"], Share::All, received);
    let review = slots(&body["code_review_rate_limit"], Share::Part("code review"), received);
    let models = body["additional_rate_limits"].as_array().into_iter().flatten().flat_map(|entry| {
        let model = field::name(&entry["limit_name"]).or_else(|| field::name(&entry["metered_feature"]));
        model.map_or_else(Vec::new, |model| slots(&entry["rate_limit"], Share::Model(&model), received))
    });
    let rest = [credits_left(&body["credits"]), spend_limit(body, received), blocked(body, &own)];
    let windows = distinct(own.into_iter().chain(review).chain(models).chain(rest.into_iter().flatten()));
    (!windows.is_empty() || is_empty_answer(body)).then_some(windows)
}

/// Whether an answer without any window is one all the same: a workspace billed by use has null for every limit. Of
/// the wrong types it is no answer, and must not take the place of a good reading.
fn is_empty_answer(body: &Value) -> bool {
    let mut limits = ["rate_limit", "credits"].iter().filter_map(|key| body.get(key)).peekable();
    limits.peek().is_some() && limits.all(|value| value.is_null() || value.is_object())
}

/// What a rate limit is about.
#[derive(Clone, Copy)]
enum Share<'a> {
    All,
    Part(&'a str),
    Model(&'a str),
}

/// The windows of one rate limit, in whatever slots they are.
fn slots(limit: &Value, share: Share<'_>, received: Stamp) -> Vec<Window> {
    ["primary_window", "secondary_window"].iter().filter_map(|slot| window(&limit[slot], share, received)).collect()
}

/// `limit_reached` beside a missing percentage is not taken for 100 %.
fn window(slot: &Value, share: Share<'_>, received: Stamp) -> Option<Window> {
    let length = length(slot);
    let used_percent = field::number(&slot["used_percent"]);
    if length.is_none() && used_percent.is_none() {
        return None;
    }
    let (kind, word) = kind(length);
    let shared = if kind == "seven_day" { "weekly" } else { &kind };
    let mut window = match share {
        Share::All => Window::named(kind, word),
        Share::Part(name) | Share::Model(name) => {
            Window::named(format!("{shared}:{}", field::slug(name)), format!("{word} ({name})"))
        }
    };
    if let Share::Model(name) = share {
        window.model = Some(name.to_owned());
    }
    Some(Window { used_percent, resets_at: resets_at(slot, received), ..window })
}

fn length(slot: &Value) -> Option<Duration> {
    let minutes = || field::seconds(&slot["window_minutes"])?.checked_mul(60);
    field::seconds(&slot["limit_window_seconds"]).or_else(minutes)
}

/// A window's kind and what people call it, by its length: `five_hour`, "5-hour".
fn kind(length: Option<Duration>) -> (String, String) {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    let (kind, word) = match length.map(|length| length.as_secs()) {
        None | Some(0) => ("limit", "limit"),
        Some(18_000) => ("five_hour", "5-hour"),
        Some(DAY) => ("day", "daily"),
        Some(604_800) => ("seven_day", "weekly"),
        Some(2_592_000) => ("month", "monthly"),
        Some(other) => {
            let units = [(DAY, "day"), (HOUR, "hour"), (60, "minute")];
            let whole = units.into_iter().find(|(unit, _)| other.is_multiple_of(*unit));
            let (unit, name) = whole.unwrap_or((1, "second"));
            return (format!("{}_{name}", other / unit), format!("{}-{name}", other / unit));
        }
    };
    (kind.to_owned(), word.to_owned())
}

/// The date goes before the time left, which drifts.
pub(super) fn resets_at(part: &Value, received: Stamp) -> Option<Stamp> {
    let dated = field::timestamp(&part["reset_at"]).or_else(|| field::timestamp(&part["resets_at"]));
    let left = || ["reset_after_seconds", "resets_in_seconds"].iter().find_map(|name| field::seconds(&part[name]));
    dated.or_else(|| received.checked_add(left()?).ok())
}

/// What no percentage shows: a workspace that lets its member no further.
fn blocked(body: &Value, own: &[Window]) -> Option<Window> {
    let is_full = own.iter().any(|window| window.used_percent.is_some_and(|used| used >= 100.0));
    if body["rate_limit"]["allowed"] != false || is_full {
        return None;
    }
    let reached = &body["rate_limit_reached_type"];
    let label = match reached["type"].as_str().or(reached.as_str()) {
        Some(kind) if kind.ends_with("credits_depleted") => "blocked (the workspace has no credits left)",
        Some(kind) if kind.ends_with("usage_limit_reached") => "blocked (a limit of the workspace)",
        _ => "blocked",
    };
    Some(Window::named("blocked", label))
}

/// Credits bought besides the plan; a plan that has none says 0 as well, which would read as "all spent".
fn credits_left(credits: &Value) -> Option<Window> {
    let balance = Decimal::read(&credits["balance"]).filter(|_| credits["has_credits"] != false)?;
    Some(Window { remaining: Some(balance.of(CREDITS)), ..Window::named("credits", "credits") })
}

/// The cap a workspace sets its member, in any of the places it has been seen at.
fn spend_limit(body: &Value, received: Stamp) -> Option<Window> {
    let places = [&body["spend_control"], &body["rate_limit"], body].map(|place| &place["individual_limit"]);
    let cap = places.into_iter().find(|cap| cap.is_object())?;
    let [limit, used, left] = ["limit", "used", "remaining"].map(|name| Decimal::read(&cap[name]));
    let left = left.or_else(|| limit?.checked_sub(used?));
    let used_percent = field::number(&cap["used_percent"]).or_else(|| field::used_of_left(&cap["remaining_percent"]));
    let is_told = limit.is_some() || used.is_some() || used_percent.is_some();
    is_told.then(|| Window {
        used_percent,
        used: used.map(|used| used.of(CREDITS)),
        limit: limit.map(|limit| limit.of(CREDITS)),
        remaining: left.map(|left| left.of(CREDITS)),
        resets_at: resets_at(cap, received),
        ..Window::named("spend_limit", "spend limit")
    })
}

/// The unit of balances and caps; what one is worth the vendor does not say.
const CREDITS: &str = "credits";

/// The first is where Codex keeps its login, the second where some put `CODEX_HOME` in their shell, the third is the
/// login of another client (opencode) with the same vendor.
static STORE: Store = Store {
    places: &[
        Place { moved_by: &["CODEX_HOME"], root: Root::Home, dir: ".codex", file: "auth.json", apart: false },
        Place { moved_by: &["CODEX_HOME"], root: Root::Config, dir: "codex", file: "auth.json", apart: false },
        Place { moved_by: &["OPENCODE_HOME"], root: Root::Data, dir: "opencode", file: "auth.json", apart: true },
    ],
    variables: &[],
    form: Form::Json,
    layout: Some(&Layout {
        object: &["tokens"],
        access: "access_token",
        refresh: "refresh_token",
        expires: None,
        login_ends: None,
        scopes: None,
        refreshed_at: Some(("last_refresh", Unit::Rfc3339)),
    }),
    account_file: None,
    write_lock: Some("auth.json.lock"),
    vendors_modes: &[RefreshMode::Command],
    because: "no lock of the Codex CLI covers its own exchange, so one refresh token could be spent twice, and you \
              would be logged out",
};

/// What an `auth.json` says. An API key is no login: it cannot ask for the quota of a plan.
fn login(content: Value) -> Result<Stored, &'static str> {
    const ELSE: &str = "holds something else where the login should be; log in again";
    let Value::Object(mut file) = content else { return Err("is JSON, but not an object; log in again") };
    if is_key_login(&file) {
        return Ok(Stored::NoLogin);
    }
    // What stands under `openai` in opencode's file is a login only if it says so, and only its owner refreshes it.
    let theirs = file.remove("openai").filter(|entry| entry["type"] == "oauth");
    let mut tokens = match file.remove("tokens").filter(|tokens| !tokens.is_null()).or(theirs) {
        Some(Value::Object(tokens)) => tokens,
        Some(_) => return Err(ELSE),
        None => return Ok(Stored::NoLogin),
    };
    let refresh = take(&mut tokens, &["refresh_token", "refreshToken"]);
    let Some(access) = take(&mut tokens, &["access_token", "accessToken", "access"])? else {
        return match refresh {
            Ok(None) => Ok(Stored::SignedOut),
            _ => Err("holds a refresh token but no access token; log in again"),
        };
    };
    let id = take(&mut tokens, &["id_token", "idToken"]).unwrap_or_default().unwrap_or_default();
    let claims = [jwt::claims(&id), jwt::claims(&access)];
    let account = ["account_id", "accountId"].iter().find_map(|name| text(&tokens, name)).map(str::to_owned);
    let account = account.or_else(|| claim(&claims, &["chatgpt_account_id"])).or_else(|| organisation(&claims));
    let user = claim(&claims, &["chatgpt_user_id", "user_id"]);
    Ok(Stored::Login(StoredLogin {
        // The id token expires much earlier; taking its word would refresh for ever.
        expires_at: jwt::expiry(&claims[1]).or_else(|| moment(&tokens, "expires")),
        access: access.into(),
        // A refresh token that cannot be one costs the refresh, not the polls.
        refresh: refresh.unwrap_or_default().map(Into::into),
        login_ends_at: None,
        scopes: None,
        plan: claim(&claims, &["chatgpt_plan_type"]),
        // All members of a team share the account.
        identity: account.as_ref().zip(user).map(|(account, user)| format!("{account}/{user}")),
        tenant: account.filter(|account| account.bytes().all(|byte| byte.is_ascii_graphic())),
    }))
}

/// The CLI's own rule: the mode decides where it is written, else a key goes before tokens.
fn is_key_login(file: &Map<String, Value>) -> bool {
    match text(file, "auth_mode") {
        Some(mode) => mode.eq_ignore_ascii_case("apikey"),
        None => text(file, "OPENAI_API_KEY").is_some(),
    }
}

/// The first of these members that holds a token.
fn take(tokens: &mut Map<String, Value>, names: &[&str]) -> Result<Option<String>, &'static str> {
    names.iter().find_map(|name| take_token(tokens, name).transpose()).transpose()
}

/// The namespace of the vendor's own claims; some tokens have them at the top.
const NAMESPACE: &str = "https://api.openai.com/auth";

/// The first of these claims that any of the tokens makes.
fn claim(tokens: &[Map<String, Value>], names: &[&str]) -> Option<String> {
    let levels =
        tokens.iter().flat_map(|claims| claims.get(NAMESPACE).and_then(Value::as_object).into_iter().chain([claims]));
    levels.flat_map(|level| names.iter().filter_map(|name| text(level, name))).map(str::to_owned).next()
}

fn organisation(tokens: &[Map<String, Value>]) -> Option<String> {
    let first = |claims: &Map<String, Value>| {
        let own = claims.get(NAMESPACE).map(|own| &own["organizations"][0]["id"]);
        let top = claims.get("organizations").map(|list| &list[0]["id"]);
        own.and_then(field::name).or_else(|| top.and_then(field::name))
    };
    tokens.iter().find_map(first)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::model::Refusal;
    use crate::provider::sample::{
        class, lines, no_byte_makes_a_number, no_part_is_an_answer, no_value_confuses, reply,
    };

    macro_rules! sample {
        ($name:literal) => {
            include_str!(concat!("../../tests/data/codex/", $name))
        };
    }

    /// Every shape the endpoint is known to have had, and what is read from it.
    const SAMPLES: [(&str, &str, &[&str]); 15] = [
        (
            "p1_plus",
            sample!("p1_plus.json"),
            &[
                "plan: plus",
                "5-hour [five_hour] 12%, resets 2026-09-14T18:08:41Z",
                "weekly [seven_day] 44%, resets 2026-09-19T07:15:17Z",
                "weekly (code review) [weekly:code-review] 0%, resets 2026-09-21T15:33:20Z",
                "5-hour (GPT-5.3-Codex-Spark) [five_hour:gpt-5-3-codex-spark] 3%, resets 2026-09-14T20:33:20Z, \
                 model GPT-5.3-Codex-Spark",
                "weekly (GPT-5.3-Codex-Spark) [weekly:gpt-5-3-codex-spark] 1%, resets 2026-09-21T15:33:20Z, \
                 model GPT-5.3-Codex-Spark",
            ],
        ),
        (
            "used_percent_float",
            sample!("used_percent_float.json"),
            &[
                "plan: plus",
                "5-hour [five_hour] 7.5%, resets 2026-09-14T18:08:41Z",
                "weekly [seven_day] 31.2%, resets 2026-09-19T07:15:17Z",
                "credits [credits] 20 credits left",
            ],
        ),
        (
            "p2_free_weekly_primary",
            sample!("p2_free_weekly_primary.json"),
            &["plan: free", "weekly [seven_day] 61%, resets 2026-09-15T16:00:00Z"],
        ),
        (
            "p3_team_exhausted",
            sample!("p3_team_exhausted.json"),
            &[
                "plan: team",
                "weekly [seven_day] 100%, resets 2026-09-15T05:47:10Z",
                "spend limit [spend_limit] 7%, 56.12345678 of 800 credits, 743.87654322 credits left, \
                 resets 2026-10-05T13:05:00Z",
            ],
        ),
        (
            "p4_enterprise_caps",
            sample!("p4_enterprise_caps.json"),
            &[
                "plan: enterprise",
                "credits [credits] 0 credits left",
                "spend limit [spend_limit] 12.24%, 6120 of 50000 credits, 43880 credits left, \
                 resets 2026-10-03T04:00:00Z",
            ],
        ),
        (
            "p4_top_level_individual_limit",
            sample!("p4_top_level_individual_limit.json"),
            &[
                "plan: enterprise_cbp_usage_based",
                "spend limit [spend_limit] 25%, 300.25 of 1200.5 credits, 900.25 credits left, \
                 resets 1970-01-01T01:00:00Z",
            ],
        ),
        ("p5_null_rate_limit", sample!("p5_null_rate_limit.json"), &["plan: business"]),
        (
            "p6_balance_exp",
            sample!("p6_balance_exp.json"),
            &["plan: pro", "weekly [seven_day] 2%, resets 2026-09-15T16:00:00Z", "credits [credits] 0 credits left"],
        ),
        (
            "balance_number",
            sample!("balance_number.json"),
            &["plan: pro", "weekly [seven_day] 2%, resets 2026-09-15T16:00:00Z", "credits [credits] 14.5 credits left"],
        ),
        (
            "plan_unknown",
            sample!("plan_unknown.json"),
            &[
                "plan: chimera_42",
                "weekly [seven_day] 2%, resets 2026-09-15T16:00:00Z",
                "credits [credits] 14.5 credits left",
            ],
        ),
        (
            "slots_swapped",
            sample!("slots_swapped.json"),
            &[
                "plan: pro",
                "weekly [seven_day] 44%, resets 2026-09-19T07:15:17Z",
                "5-hour [five_hour] 12%, resets 2026-09-14T18:08:41Z",
            ],
        ),
        (
            "reached_type_null_type",
            sample!("reached_type_null_type.json"),
            &["plan: plus", "9-hour [9_hour] 90%, resets 1970-01-01T00:01:40Z", "monthly [month] 5%"],
        ),
        (
            "reached_type_string",
            sample!("reached_type_string.json"),
            &[
                "plan: business",
                "5-hour [five_hour] resets 2026-09-14T15:43:20Z",
                "weekly [seven_day] 40%, resets 2026-09-19T07:15:17Z",
                "blocked (a limit of the workspace) [blocked]",
            ],
        ),
        (
            "reset_credit_claimed_midwindow",
            sample!("reset_credit_claimed_midwindow.json"),
            &[
                "plan: plus",
                "5-hour [five_hour] 0%, resets 2026-09-14T20:33:20Z",
                "weekly [seven_day] 0%, resets 2026-09-21T15:33:20Z",
            ],
        ),
        (
            "bad_entries",
            sample!("bad_entries.json"),
            &[
                "plan: -",
                "weekly [seven_day] 44%, resets 2026-09-19T07:15:17Z",
                "limit (code review) [limit:code-review] 4%",
                "3-day (GPT-6) [3_day:gpt-6] model GPT-6",
            ],
        ),
    ];

    fn answer(body: &[u8]) -> UsageOutcome {
        Codex.read_usage(&reply(200, &[], body), Stamp::UNIX_EPOCH)
    }

    #[test]
    fn every_known_shape_yields_every_window_it_reports() {
        for (name, body, expected) in SAMPLES {
            assert_eq!(lines(&answer(body.as_bytes())), expected, "{name}");
        }
    }

    #[test]
    fn both_slots_filled_do_not_make_the_first_the_session() {
        let read = |body: &str| lines(&answer(body.as_bytes()));
        let (mut swapped, usual) = (read(sample!("slots_swapped.json")), read(sample!("p1_plus.json")));
        swapped.reverse();
        assert_eq!(swapped[..2], usual[1..3]);
    }

    #[test]
    fn a_workspace_that_lets_nothing_through_is_shown_as_blocked_unless_a_full_window_says_why() {
        let blocked = |used: u32, allowed: bool, reached: &str| {
            let slot = format!(r#"{{"used_percent": {used}, "limit_window_seconds": 18000}}"#);
            let limit = format!(r#"{{"allowed": {allowed}, "primary_window": {slot}}}"#);
            let body = format!(r#"{{"rate_limit": {limit}, "rate_limit_reached_type": {reached}}}"#);
            lines(&answer(body.as_bytes())).into_iter().find(|line| line.contains("blocked"))
        };
        let credits = r#"{"type": "workspace_member_credits_depleted"}"#;
        let no_credits = "blocked (the workspace has no credits left) [blocked]";
        assert_eq!(blocked(40, false, credits).as_deref().map(str::trim), Some(no_credits));
        let limit = r#""workspace_owner_usage_limit_reached""#;
        assert!(blocked(40, false, limit).unwrap().starts_with("blocked (a limit of the workspace)"));
        assert!(blocked(40, false, "null").unwrap().starts_with("blocked [blocked]"));
        assert_eq!(blocked(100, false, credits), None);
        assert_eq!(blocked(40, true, "null"), None);
    }

    #[test]
    fn a_fraction_and_a_plan_of_tomorrow_cost_no_reading() {
        for body in [sample!("used_percent_float.json"), sample!("plan_unknown.json")] {
            assert!(lines(&answer(body.as_bytes())).len() > 2, "{body}");
        }
    }

    #[test]
    fn a_session_files_limits_are_read_as_the_answers_are() {
        let rollout: Value = serde_json::from_str(sample!("rollout.json")).unwrap();
        let expected = [
            "plan: -",
            "5-hour [five_hour] 19%, resets 2026-09-14T18:08:41Z",
            "weekly [seven_day] 40%, resets 2026-09-19T07:15:17Z",
        ];
        let windows = noted(&rollout, "2026-09-14T15:00:00Z".parse().unwrap());
        assert_eq!(lines(&UsageOutcome::Answered { windows, plan: None }), expected);
        for (slot, resets) in [
            (json!({"used_percent": 1, "window_minutes": 300, "resets_in_seconds": 600}), "2026-09-14T15:10:00Z"),
            (json!({"used_percent": 1, "window_minutes": 300}), "2026-09-14T20:00:00Z"),
        ] {
            let windows = noted(&json!({"secondary": slot}), "2026-09-14T15:00:00Z".parse().unwrap());
            assert_eq!(windows[0].resets_at, Some(resets.parse().unwrap()), "{slot}");
        }
    }

    #[test]
    fn the_headers_of_an_answer_tell_its_windows_by_their_length_alone() {
        let read = |told: &[(&str, &str)]| {
            let long = |(name, value): &(&str, &str)| (format!("x-codex-{name}"), (*value).to_owned());
            let headers: Vec<_> = told.iter().map(long).collect();
            let windows = Codex.read_headers(&headers, "2026-09-14T15:00:00Z".parse().unwrap());
            lines(&UsageOutcome::Answered { windows, plan: None }).split_off(1)
        };
        let weekly = [("primary-used-percent", "44.5"), ("primary-window-minutes", "10080")];
        let session = [("secondary-used-percent", "12"), ("secondary-window-minutes", "300")];
        let resets = [("primary-reset-at", "1789797200"), ("secondary-reset-after-seconds", "600")];
        let both = [
            "5-hour [five_hour] 12%, resets 2026-09-14T15:10:00Z",
            "weekly [seven_day] 44.5%, resets 2026-09-19T05:53:20Z",
        ];
        assert_eq!(read(&[weekly, session, resets].concat()), both);
        for (more, expected) in [
            (("primary-resets-in-seconds", "60"), "weekly [seven_day] 44.5%, resets 2026-09-14T15:01:00Z"),
            (("primary-reset-after-seconds", "0"), "weekly [seven_day] 44.5%"),
            (("primary-reset-at", "soon"), "weekly [seven_day] 44.5%"),
            (("plan-type", "plus"), "weekly [seven_day] 44.5%"),
        ] {
            assert_eq!(read(&[&weekly[..], &[more]].concat()), [expected], "{more:?}");
        }
        for nothing in [
            vec![("primary-used-percent", "44.5")],
            vec![("primary-used-percent", "44.5"), ("primary-window-minutes", "0")],
            vec![("primary-window-minutes", "300")],
            vec![("primary-used-percent", "much"), ("primary-window-minutes", "300")],
            [&weekly[..], &[("primary-reset-at", "1789397200")]].concat(),
            vec![("credits-balance", "0"), ("credits-has-credits", "False")],
            vec![("credits-balance", "")],
        ] {
            assert_eq!(read(&nothing), [""; 0], "{nothing:?}");
        }
        let credits = ["credits [credits] 9750.25 credits left"];
        assert_eq!(read(&[("credits-balance", "9750.2500000000"), ("credits-has-credits", "True")]), credits);
        assert_eq!(read(&[("credits-balance", "9750.2500000000")]), credits);
    }

    #[test]
    fn every_error_has_its_class() {
        for (status, body, expected) in [
            (401, sample!("401_token_expired.json"), "rejected"),
            (401, sample!("401_revoked.json"), "revoked"),
            (402, sample!("402_deactivated.json"), "revoked"),
            (402, "{}", "no permission"),
            (403, "{}", "no permission"),
            (403, sample!("403_cloudflare_challenge.json"), "challenge"),
            (403, sample!("html_503.html"), "challenge"),
            (503, sample!("html_503.html"), "challenge"),
            (404, sample!("html_503.html"), "challenge"),
            (404, "{}", "gone(404)"),
            (429, "{}", "limited"),
            (500, "", "server(500)"),
            (200, "", "garbage"),
            (200, sample!("html_503.html"), "garbage"),
            (200, "[]", "garbage"),
            (200, r#"{"plan_type": "plus"}"#, "garbage"),
            (200, r#"{"rate_limit": "none", "credits": null}"#, "garbage"),
            (200, r#"{"detail": {"code": "deactivated_workspace"}}"#, "garbage"),
        ] {
            let outcome = Codex.read_usage(&reply(status, &[], body), Stamp::UNIX_EPOCH);
            assert_eq!(class(&outcome), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_refresh_token_used_before_is_recognised_wherever_the_code_stands() {
        for (status, body, expected) in [
            (401, sample!("token_reused_nested.json"), Refusal::Terminal("refresh_token_reused")),
            (400, sample!("token_reused_nested.json"), Refusal::Terminal("refresh_token_reused")),
            (401, sample!("token_expired_top_level_code.json"), Refusal::Terminal("refresh_token_expired")),
            (401, sample!("token_invalidated.json"), Refusal::Terminal("refresh_token_invalidated")),
            (401, sample!("token_401_token_expired.json"), Refusal::Terminal("token_expired")),
            (400, sample!("token_invalid_grant_400.json"), Refusal::Terminal("invalid_grant")),
            (400, sample!("html_503.html"), Refusal::Challenge),
            (500, "{}", Refusal::Unknown("the server failed")),
        ] {
            let refusal = Codex.read_refresh(&reply(status, &[], body), Stamp::UNIX_EPOCH).unwrap_err();
            assert_eq!(refusal, expected, "{status} {body}");
        }
        let grant = |body: &str| Codex.read_refresh(&reply(200, &[], body), Stamp::UNIX_EPOCH).unwrap();
        let rotated = grant(sample!("token_ok_rotate.json"));
        assert!(rotated.access.is_some() && rotated.refresh.is_some());
        assert_eq!(rotated.lease, Duration::from_hours(240));
        assert!(grant(sample!("token_ok_without_refresh_token.json")).refresh.is_none());
    }

    #[test]
    fn the_workspace_is_named_in_the_vendors_own_header_and_never_guessed() {
        let endpoints = Codex.endpoints();
        let request = Codex.usage_request(&endpoints, Some("acct-FAKE"));
        assert!(request.headers.contains(&("chatgpt-account-id", "acct-FAKE".to_owned())));
        assert_eq!(
            (request.method, request.url, request.secret),
            (Method::Get, endpoints.usage_url.clone(), SecretPlace::Bearer)
        );
        let names: Vec<_> = Codex.usage_request(&endpoints, None).headers.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["accept", "user-agent"]);
    }

    /// What follows these replies when the usage URL is this: the next URL, or the class of the outcome.
    fn next(usage_url: &str, replies: &[Reply]) -> String {
        let endpoints = Endpoints { usage_url: usage_url.to_owned(), ..Codex.endpoints() };
        match Codex.converse(&Poll { endpoints: &endpoints, tenant: None, replies, received: Stamp::UNIX_EPOCH }) {
            Next::Send(request) | Next::Also(request, _) => request.url,
            Next::Over(outcome) => class(&outcome),
        }
    }

    #[test]
    fn a_path_that_is_not_there_is_asked_for_once_in_the_other_style() {
        let (chatgpt, codex) = ("http://127.0.0.1:1/backend-api/wham/usage", "http://127.0.0.1:1/api/codex/usage");
        let gone = || reply(404, &[], "{}");
        for (url, replies, expected) in [
            (chatgpt, vec![], chatgpt),
            (chatgpt, vec![gone()], codex),
            (codex, vec![gone()], chatgpt),
            ("http://127.0.0.1:1/elsewhere", vec![gone()], "gone(404)"),
            (chatgpt, vec![reply(401, &[], "{}")], "rejected"),
            (chatgpt, vec![reply(404, &[], sample!("html_503.html"))], "challenge"),
            (chatgpt, vec![reply(200, &[], sample!("p1_plus.json"))], "answered"),
            (chatgpt, vec![gone(), gone()], "gone(404)"),
            (chatgpt, vec![gone(), reply(403, &[], "<html>")], "gone(404)"),
            (chatgpt, vec![gone(), reply(401, &[], "{}")], "rejected"),
            (chatgpt, vec![gone(), reply(429, &[], "{}")], "limited"),
            (chatgpt, vec![gone(), reply(200, &[], sample!("p1_plus.json"))], "answered"),
        ] {
            assert_eq!(next(url, &replies), expected, "{url} {replies:?}");
        }
    }

    fn token(claims: &Value) -> String {
        format!("e30.{}.FAKE", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    /// A file with these tokens, read: what it comes to, and the facts of the login.
    fn read(content: Value) -> String {
        match login(content) {
            Ok(Stored::Login(login)) => format!(
                "identity {:?}, tenant {:?}, plan {:?}, expires {:?}, refresh {}",
                login.identity.unwrap_or_default(),
                login.tenant.unwrap_or_default(),
                login.plan.unwrap_or_default(),
                login.expires_at.map(jiff::Timestamp::as_second).unwrap_or_default(),
                login.refresh.is_some()
            ),
            Ok(Stored::SignedOut) => "signed out".to_owned(),
            Ok(Stored::NoLogin) => "no login".to_owned(),
            Err(_) => "damage".to_owned(),
        }
    }

    #[test]
    fn a_login_expires_with_its_access_token_and_is_known_by_account_and_user() {
        let claims = |exp| {
            json!({"exp": exp, NAMESPACE: {"chatgpt_account_id": "acct-JWT", "chatgpt_user_id": "user-FAKE",
                "chatgpt_plan_type": "plus", "organizations": [{"id": "org-FAKE", "is_default": true}]}})
        };
        let (id, access) = (token(&claims(1_700_000_000)), token(&claims(1_789_800_000)));
        let auth = sample!("auth.json").replace("@ID", &id).replace("@ACCESS", &access);
        let auth: Value = serde_json::from_str(&auth).unwrap();
        let account = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
        let whole = format!(
            "identity \"{account}/user-FAKE\", tenant \"{account}\", plan \"plus\", expires 1789800000, refresh true"
        );
        assert_eq!(read(auth.clone()), whole);

        let with = |pointer: &str, value: Value| {
            let mut auth = auth.clone();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            auth.pointer_mut(parent).unwrap()[name] = value;
            read(auth)
        };
        let of_claims = whole.replace(account, "acct-JWT");
        assert_eq!(with("/tokens/account_id", json!(null)), of_claims);
        assert_eq!(with("/tokens/id_token", json!("no JWT")), whole, "the access token has the claims too");
        assert_eq!(with("/auth_mode", json!(null)), whole);
        assert_eq!(with("/auth_mode", json!("apikey")), "no login");
        assert_eq!(with("/OPENAI_API_KEY", json!("sk-FAKE")), whole, "the mode says that the tokens are in use");
        assert_eq!(with("/tokens/refresh_token", json!("")), whole.replace("refresh true", "refresh false"));
        assert_eq!(with("/tokens/refresh_token", json!("two words")), whole.replace("refresh true", "refresh false"));
        assert_eq!(with("/tokens/access_token", json!("")), "damage");
        assert_eq!(with("/tokens/access_token", json!("two words")), "damage");
        assert_eq!(with("/tokens", json!(null)), "no login");
        assert_eq!(with("/tokens", json!([])), "damage");
        assert_eq!(with("/tokens/account_id", json!("a\u{e4}\n")), with("/tokens/account_id", json!("a\u{e4}")));
    }

    #[test]
    fn only_a_login_with_a_plan_is_a_login() {
        let nothing = "identity \"\", tenant \"\", plan \"\", expires 0, refresh";
        for (content, expected) in [
            (json!({"OPENAI_API_KEY": "sk-FAKE", "tokens": {"access_token": "FAKE"}}), "no login".to_owned()),
            (json!({"OPENAI_API_KEY": "sk-FAKE"}), "no login".to_owned()),
            (json!({"personal_access_token": "FAKE", "tokens": null}), "no login".to_owned()),
            (json!({"tokens": {"access_token": "", "refresh_token": ""}}), "signed out".to_owned()),
            (json!({"tokens": {"accessToken": "FAKE", "refreshToken": "FAKE"}}), format!("{nothing} true")),
            (json!({"tokens": {"access_token": "FAKE"}}), format!("{nothing} false")),
            (json!({"openai": {"type": "api", "key": "sk-FAKE"}}), "no login".to_owned()),
            (
                json!({"anthropic": {"type": "oauth", "access": "FAKE-OTHER"}, "openai": {"type": "oauth",
                    "refresh": "FAKE", "access": "FAKE", "expires": 1_789_400_000_000_i64, "accountId": "acct"}}),
                "identity \"\", tenant \"acct\", plan \"\", expires 1789400000, refresh false".to_owned(),
            ),
            (json!({}), "no login".to_owned()),
            (json!([]), "damage".to_owned()),
            (json!("sk-FAKE"), "damage".to_owned()),
        ] {
            assert_eq!(read(content.clone()), expected, "{content}");
        }
        let organisation = token(&json!({"organizations": [{"id": "org-FAKE"}]}));
        assert!(read(json!({"tokens": {"access_token": organisation}})).contains("tenant \"org-FAKE\""));
    }

    #[test]
    fn no_sample_cut_short_or_damaged_anywhere_tells_a_number_it_does_not_hold() {
        for (name, body, _) in SAMPLES {
            no_part_is_an_answer(name, body, answer);
            no_value_confuses(name, body, answer);
            no_byte_makes_a_number(name, body, answer);
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_reader_panic(status in any::<u16>(), body in any::<Vec<u8>>(), advice in "\\PC{0,9}") {
            let reply = reply(status, &[("retry-after", &advice)], body);
            let _ = (Codex.read_usage(&reply, Stamp::UNIX_EPOCH), Codex.read_refresh(&reply, Stamp::UNIX_EPOCH).is_ok());
        }
    }
}

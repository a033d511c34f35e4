//! Cursor: Free, Pro, Ultra, Team, Enterprise.
//!
//! The editor's own call tells an individual plan. Where it names none, the dashboard is asked with the same token as
//! a cookie: a team's plan, or one that counts requests. Money is in cents of a dollar. Facts:
//! `reference/providers.md`, section 7.

use serde_json::{Value, json};

use super::field::{self, Decimal};
use super::store::{Form, Place, Root, Store, Stored, StoredLogin, take_token, text};
use super::{
    Endpoints, LogIn, Method, Next, Poll, Provider, Reply, Request, SecretPlace, TokenEncoding, answer, answered,
    fault, jwt, origin,
};
use crate::model::{ProviderId, UsageOutcome, Window};
use crate::policy::time::Stamp;

/// Cursor, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct Cursor;

const USAGE_URL: &str = "https://api2.cursor.sh/aiserver.v1.DashboardService/GetCurrentPeriodUsage";
/// What of it follows its base; where another base is configured, the dashboard is asked below that one too.
const CALL: &str = "/aiserver.v1.DashboardService/GetCurrentPeriodUsage";

/// Where the dashboard is, unless the config moves the usage endpoint.
const DASHBOARD: &str = "https://cursor.com";

impl Provider for Cursor {
    fn id(&self) -> ProviderId {
        ProviderId::new("cursor")
    }

    /// The token endpoint is never asked: Cursor renews its session itself.
    fn endpoints(&self) -> Endpoints {
        Endpoints {
            usage_url: USAGE_URL.to_owned(),
            token_url: "https://api2.cursor.sh/oauth/token".to_owned(),
            client_id: "KbZUR41cY7W6zRSdpSUJ7I7mLYBKOCmB".to_owned(),
            token_encoding: TokenEncoding::Json,
            user_agent: concat!("quotad/", env!("CARGO_PKG_VERSION")).to_owned(),
            recipe: None,
        }
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Words("sign in in Cursor's settings")
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        login(content)
    }

    fn usage_request(&self, endpoints: &Endpoints, _tenant: Option<&str>) -> Request {
        Request {
            method: Method::Post,
            url: endpoints.usage_url.clone(),
            headers: vec![
                ("accept", "application/json".to_owned()),
                ("content-type", "application/json".to_owned()),
                ("connect-protocol-version", "1".to_owned()),
                ("user-agent", endpoints.user_agent.clone()),
            ],
            body: Some("{}".to_owned()),
            secret: SecretPlace::Bearer,
        }
    }

    /// Reads all three answers a poll may bring; each is known by its members.
    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        answer(reply, received, |body| {
            match of_period(&body).or_else(|| of_summary(&body)).or_else(|| of_requests(&body)) {
                Some(windows) => answered(windows, field::name(&body["membershipType"])),
                None => fault::garbage("the answer is JSON, but names no plan"),
            }
        })
    }

    /// The editor's call; where that names no individual plan the dashboard's summary; where that names no limit the
    /// counts of requests, whose failure costs nothing that the summary told.
    fn converse(&self, poll: &Poll<'_>) -> Next {
        let read = |reply| self.read_usage(reply, poll.received);
        let ask = |user: &str, path: &str| Next::Send(dashboard_request(poll.endpoints, user, path));
        match (poll.replies, poll.tenant) {
            ([], tenant) => Next::Send(self.usage_request(poll.endpoints, tenant)),
            ([period], Some(user)) if names_no_plan(period) => ask(user, "/api/usage-summary"),
            ([_, summary], Some(user)) if names_no_limit(&read(summary)) => {
                ask(user, &format!("/api/usage?user={user}"))
            }
            ([_, summary, requests], _) => Next::Over(joined(read(summary), read(requests), cycle_end(summary))),
            ([.., last], _) => Next::Over(read(last)),
        }
    }
}

/// The dashboard takes the token as the cookie of a browser's session.
fn dashboard_request(endpoints: &Endpoints, user: &str, path: &str) -> Request {
    let url = endpoints.usage_url.as_str();
    let base = if url == USAGE_URL { DASHBOARD } else { url.strip_suffix(CALL).unwrap_or_else(|| origin(url)) };
    Request {
        method: Method::Get,
        url: format!("{base}{path}"),
        headers: vec![("accept", "application/json".to_owned()), ("user-agent", endpoints.user_agent.clone())],
        body: None,
        secret: SecretPlace::Header { name: "cookie".into(), prefix: format!("WorkosCursorSessionToken={user}%3A%3A") },
    }
}

/// Whether the editor's call was answered, but not with an individual plan: a team's or an enterprise's login.
fn names_no_plan(reply: &Reply) -> bool {
    let body = field::json(&reply.body).filter(Value::is_object);
    body.is_some_and(|body| match reply.status {
        200..=299 => of_period(&body).is_none(),
        status => status == 404,
    })
}

/// Whether the dashboard's summary has no window of the plan itself.
fn names_no_limit(summary: &UsageOutcome) -> bool {
    let is_plan = |window: &Window| window.id.starts_with(MONTH);
    matches!(summary, UsageOutcome::Answered { windows, .. } if !windows.iter().any(is_plan))
}

/// The counts of requests, which end with the summary's cycle, before what the summary told.
fn joined(summary: UsageOutcome, requests: UsageOutcome, resets_at: Option<Stamp>) -> UsageOutcome {
    match (summary, requests) {
        (UsageOutcome::Answered { windows: told, plan }, UsageOutcome::Answered { windows: counts, .. }) => {
            let counts = counts.into_iter().map(|window| Window { resets_at, ..window });
            answered(counts.chain(told), plan)
        }
        // A server that asks for patience gets it.
        (_, limited @ UsageOutcome::Limited { .. }) => limited,
        (UsageOutcome::Answered { windows, plan }, _) if !windows.is_empty() => {
            UsageOutcome::Answered { windows, plan }
        }
        (_, requests) => requests,
    }
}

fn cycle_end(reply: &Reply) -> Option<Stamp> {
    field::timestamp(&field::json(&reply.body)?["billingCycleEnd"])
}

const MONTH: &str = "month";

/// What the editor's call tells. The message leaves out every zero, so of a plan in force that tells no number at all
/// nothing is used; a percentage goes before what spend and limit would give.
fn of_period(body: &Value) -> Option<Vec<Window>> {
    let plan = &body["planUsage"];
    let is_told = ["totalPercentUsed", "totalSpend", "limit"].iter().any(|name| field::number(&plan[name]).is_some());
    if !plan.is_object() || !(is_told || body["enabled"] == true) {
        return None;
    }
    let resets_at = field::timestamp(&body["billingCycleEnd"]);
    let own = Part::read(plan, ["totalSpend", "limit", "remaining"]).caught_up().with_zero();
    let is_untold = plan.as_object().is_some_and(|plan| plan.values().all(|value| field::number(value).is_none()));
    let untold = is_untold.then_some(0.0);
    let used_percent = field::number(&plan["totalPercentUsed"]).or_else(|| own.percent()).or(untold);
    let month = Window { used_percent, ..own.window(MONTH, "monthly", resets_at) };
    let extra = |names, id, label| {
        let part = Part::read(&body["spendLimitUsage"], names).with_zero();
        (part.limit.is_some() || part.used.is_some_and(Decimal::is_positive)).then(|| part.window(id, label, resets_at))
    };
    let own = extra(["individualUsed", "individualLimit", "individualRemaining"], "on_demand", "on demand");
    let team = extra(["pooledUsed", "pooledLimit", "pooledRemaining"], "on_demand:team", "on demand (team)");
    Some([month].into_iter().chain(shares(plan, resets_at)).chain(own).chain(team.map(of_team)).collect())
}

/// What the dashboard's summary tells: a plan or, for an enterprise, `overall`; and what a team shares.
fn of_summary(body: &Value) -> Option<Vec<Window>> {
    let (own, team) = (&body["individualUsage"], &body["teamUsage"]);
    if !own.is_object() && !team.is_object() {
        return None;
    }
    let resets_at = field::timestamp(&body["billingCycleEnd"]);
    let part = |part: &Value| {
        let is_on = part.is_object() && part["enabled"] != false;
        is_on.then(|| Part::read(part, ["used", "limit", "remaining"]).caught_up())
    };
    let plan = |of: &Value, id, label| {
        let part = part(of)?;
        let used_percent = field::number(&of["totalPercentUsed"]).or_else(|| part.percent())?;
        Some(Window { used_percent: Some(used_percent), ..part.window(id, label, resets_at) })
    };
    let extra = |of: &Value, id, label| {
        let part = part(of).filter(|part| part.used.is_some())?;
        Some(part.window(id, label, resets_at))
    };
    let month = plan(&own["plan"], MONTH, "monthly").or_else(|| plan(&own["overall"], MONTH, "monthly"));
    let pooled = plan(&team["pooled"], "month:team", "monthly (team)").map(of_team);
    let on_demand = extra(&own["onDemand"], "on_demand", "on demand");
    let team = extra(&team["onDemand"], "on_demand:team", "on demand (team)").map(of_team);
    let shares = shares(&own["plan"], resets_at);
    Some(month.into_iter().chain(shares).chain(pooled).chain(on_demand).chain(team).collect())
}

/// What is counted in requests, by the name of its model.
fn of_requests(body: &Value) -> Option<Vec<Window>> {
    let window = |(model, counts): (&String, &Value)| {
        let (name, used) = (field::printable(model)?, Decimal::read(&counts["numRequests"])?);
        let limit = Decimal::read(&counts["maxRequestUsage"]);
        Some(Window {
            used_percent: limit.and_then(|limit| used.percent_of(limit)),
            used: Some(used.of("requests")),
            limit: limit.map(|limit| limit.of("requests")),
            remaining: limit.and_then(|limit| limit.checked_sub(used)).map(|left| left.of("requests")),
            model: Some(name.clone()),
            ..Window::named(format!("{MONTH}:{}", field::slug(&name)), format!("monthly ({name})"))
        })
    };
    let windows: Vec<Window> = body.as_object()?.iter().filter_map(window).collect();
    (!windows.is_empty()).then_some(windows)
}

/// How much of the plan's two shares is used: what Cursor chooses itself, and what is asked for by name.
fn shares(plan: &Value, resets_at: Option<Stamp>) -> impl Iterator<Item = Window> {
    let shares =
        [("autoPercentUsed", "month:auto", "monthly (Auto)"), ("apiPercentUsed", "month:api", "monthly (API)")];
    shares
        .map(|(name, id, label)| {
            let used_percent = Some(field::number(&plan[name])?);
            Some(Window { used_percent, resets_at, ..Window::named(id, label) })
        })
        .into_iter()
        .flatten()
}

fn of_team(window: Window) -> Window {
    Window { organisation: Some("team".to_owned()), ..window }
}

/// Money of one kind. A limit of nothing is none.
struct Part {
    used: Option<Decimal>,
    limit: Option<Decimal>,
    left: Option<Decimal>,
}

impl Part {
    /// The members in cents.
    fn read(part: &Value, names: [&str; 3]) -> Self {
        let [used, limit, left] = names.map(|name| Decimal::from_minor(&part[name], &json!(2)));
        let limit = limit.filter(|limit| limit.is_positive());
        Self { used, limit, left: left.filter(|_| limit.is_some()) }
    }

    /// For a message that leaves out zeros: of a limit something is used, if only nothing.
    fn with_zero(self) -> Self {
        Self { used: self.used.or_else(|| self.limit?.checked_sub(self.limit?)), ..self }
    }

    /// `used` has been seen at 0 while less was left: the larger of the two counts.
    fn caught_up(self) -> Self {
        let rest = self.limit.zip(self.left).and_then(|(limit, left)| limit.checked_sub(left));
        let rest = rest.filter(|rest| self.used.is_none_or(|used| rest.is_more_than(used)));
        Self { used: rest.or(self.used), ..self }
    }

    fn percent(&self) -> Option<f64> {
        self.used?.percent_of(self.limit?)
    }

    fn window(&self, id: &str, label: &str, resets_at: Option<Stamp>) -> Window {
        let dollars = |amount: Option<Decimal>| amount.map(|amount| amount.of("USD"));
        Window {
            used: dollars(self.used),
            limit: dollars(self.limit),
            remaining: dollars(self.left),
            resets_at,
            ..Window::named(id, label)
        }
    }
}

const ACCESS: &str = "cursorAuth/accessToken";
const PLAN: &str = "cursorAuth/stripeMembershipType";

static STORE: Store = Store {
    places: &[Place {
        moved_by: &[],
        root: Root::Config,
        dir: "Cursor/User/globalStorage",
        file: "state.vscdb",
        apart: false,
    }],
    variables: &[],
    form: Form::ItemTable(&[ACCESS, PLAN]),
    layout: None,
    account_file: None,
    write_lock: None,
    vendors_modes: &[],
    because: "Cursor renews its session itself, and nobody else may write its database while it runs",
};

/// What the editor's database says. The refresh token is not even read.
fn login(content: Value) -> Result<Stored, &'static str> {
    let Value::Object(mut items) = content else { return Err("holds something else where the login should be") };
    let Some(access) = take_token(&mut items, ACCESS)? else { return Ok(Stored::SignedOut) };
    let claims = jwt::claims(&access);
    let user = text(&claims, "sub").and_then(user);
    Ok(Stored::Login(StoredLogin {
        expires_at: jwt::expiry(&claims),
        plan: text(&items, PLAN).map(str::to_owned),
        identity: user.clone(),
        tenant: user,
        ..StoredLogin::key(access.into())
    }))
}

/// `google-oauth2|user_01ABC` is the user `user_01ABC`, if it can stand in a cookie and in a URL.
fn user(subject: &str) -> Option<String> {
    let user = subject.rsplit('|').next()?;
    let is_plain = user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    (is_plain && !user.is_empty()).then(|| user.to_owned())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;
    use crate::model::Refusal;
    use crate::provider::sample::{class, lines, no_part_is_an_answer, no_value_confuses, reply};

    macro_rules! sample {
        ($name:literal) => {
            include_str!(concat!("../../tests/data/cursor/", $name))
        };
    }

    /// Every shape the three endpoints are known to have had, and what is read from it.
    const SAMPLES: [(&str, &str, &[&str]); 13] = [
        (
            "pro",
            sample!("pro.json"),
            &[
                "plan: -",
                "monthly [month] 33%, 23.10 of 20.00 USD, 0.00 USD left, resets 2026-10-01T00:00:00Z",
                "monthly (Auto) [month:auto] 12.5%, resets 2026-10-01T00:00:00Z",
                "monthly (API) [month:api] 40.1%, resets 2026-10-01T00:00:00Z",
                "on demand [on_demand] 1.50 of 50.00 USD, 48.50 USD left, resets 2026-10-01T00:00:00Z",
            ],
        ),
        (
            "free_zero_omitted",
            sample!("free_zero_omitted.json"),
            &["plan: -", "monthly [month] 0%, resets 2026-10-01T00:00:00Z"],
        ),
        (
            "zero_spend_omitted",
            sample!("zero_spend_omitted.json"),
            &[
                "plan: -",
                "monthly [month] 0%, 0.00 of 20.00 USD, 20.00 USD left, resets 2026-10-01T00:00:00Z",
                "on demand [on_demand] 0.00 of 50.00 USD, 50.00 USD left, resets 2026-10-01T00:00:00Z",
            ],
        ),
        (
            "number_ms",
            sample!("number_ms.json"),
            &[
                "plan: -",
                "monthly [month] 25%, 5.00 of 20.00 USD, 15.00 USD left, resets 2026-10-01T00:00:00Z",
                "on demand (team) [on_demand:team] 25.50 of 1000.00 USD, resets 2026-10-01T00:00:00Z, shared by team",
            ],
        ),
        (
            "spend_without_limit",
            sample!("spend_without_limit.json"),
            &[
                "plan: -",
                "monthly [month] 5.00 USD used, resets 2026-10-01T00:00:00Z",
                "monthly (Auto) [month:auto] 3%, resets 2026-10-01T00:00:00Z",
            ],
        ),
        ("team_no_plan", sample!("team_no_plan.json"), &["garbage"]),
        (
            "summary_individual",
            sample!("summary_individual.json"),
            &[
                "plan: pro",
                "monthly [month] 8.5%, 14.50 of 20.00 USD, 5.50 USD left, resets 2026-08-01T00:00:00Z",
                "monthly (Auto) [month:auto] 0%, resets 2026-08-01T00:00:00Z",
                "monthly (API) [month:api] 8.5%, resets 2026-08-01T00:00:00Z",
                "on demand [on_demand] 0.00 of 250.00 USD, 250.00 USD left, resets 2026-08-01T00:00:00Z",
                "on demand (team) [on_demand:team] 0.00 USD used, resets 2026-08-01T00:00:00Z, shared by team",
            ],
        ),
        (
            "enterprise_overall",
            sample!("enterprise_overall.json"),
            &[
                "plan: enterprise",
                "monthly [month] 40.8%, 61.20 of 150.00 USD, 88.80 USD left, resets 2026-05-01T00:00:00Z",
            ],
        ),
        (
            "team_pooled",
            sample!("team_pooled.json"),
            &[
                "plan: enterprise",
                "monthly [month] 40.8%, 61.20 of 150.00 USD, 88.80 USD left, resets 2026-05-01T00:00:00Z",
                "monthly (team) [month:team] 40.835208333333334%, 98004.50 of 240000.00 USD, 141995.50 USD left, \
                 resets 2026-05-01T00:00:00Z, shared by team",
                "on demand (team) [on_demand:team] 0.00 USD used, resets 2026-05-01T00:00:00Z, shared by team",
            ],
        ),
        (
            "limit_zero_with_percent",
            sample!("limit_zero_with_percent.json"),
            &["plan: free", "monthly [month] 62.5%, 0.00 USD used, resets 2026-08-01T00:00:00Z"],
        ),
        (
            "used_lags_behind",
            sample!("used_lags_behind.json"),
            &["plan: team", "monthly [month] 75%, 15.00 of 20.00 USD, 5.00 USD left, resets 2026-08-01T00:00:00Z"],
        ),
        ("summary_no_limits", sample!("summary_no_limits.json"), &["plan: enterprise"]),
        (
            "request_based",
            sample!("request_based.json"),
            &[
                "plan: -",
                "monthly (gpt-4) [month:gpt-4] 10.4%, 52 of 500 requests, 448 requests left, model gpt-4",
                "monthly (gpt-3.5-turbo) [month:gpt-3-5-turbo] 7 requests used, model gpt-3.5-turbo",
            ],
        ),
    ];

    fn answer(body: &[u8]) -> UsageOutcome {
        Cursor.read_usage(&reply(200, &[], body), Stamp::UNIX_EPOCH)
    }

    #[test]
    fn every_known_shape_yields_every_window_it_reports() {
        for (name, body, expected) in SAMPLES {
            assert_eq!(lines(&answer(body.as_bytes())), expected, "{name}");
        }
    }

    #[test]
    fn an_enterprises_overall_use_is_not_shown_as_none() {
        assert!(lines(&answer(sample!("enterprise_overall.json").as_bytes()))[1].starts_with("monthly [month] 40.8%"));
    }

    #[test]
    fn a_share_alone_does_not_make_the_plan_unused() {
        let body = json!({"planUsage": {"autoPercentUsed": 90}, "enabled": true});
        assert_eq!(
            lines(&answer(body.to_string().as_bytes()))[1..],
            ["monthly [month]", "monthly (Auto) [month:auto] 90%"]
        );
    }

    #[test]
    fn every_error_has_its_class() {
        for (status, body, expected) in [
            (401, sample!("401.json"), "rejected"),
            (403, r#"{"code": "permission_denied"}"#, "no permission"),
            (403, sample!("login.html"), "challenge"),
            (404, sample!("404_team.json"), "gone(404)"),
            (307, "", "gone(307)"),
            (429, sample!("429.json"), "limited"),
            (503, r#"{"code": "unavailable"}"#, "server(503)"),
            (200, sample!("login.html"), "garbage"),
            (200, sample!("should_logout_200.json"), "garbage"),
            (200, "{}", "garbage"),
            (200, "[]", "garbage"),
            (204, "", "garbage"),
        ] {
            let outcome = Cursor.read_usage(&reply(status, &[], body), Stamp::UNIX_EPOCH);
            assert_eq!(class(&outcome), expected, "{status} {body}");
        }
        let over = Cursor.read_refresh(&reply(200, &[], sample!("should_logout_200.json")), Stamp::UNIX_EPOCH);
        assert!(matches!(over, Err(Refusal::Unknown(_))), "a session that is over grants nothing");
    }

    /// What follows these replies: the next request, or what was read.
    fn next(usage_url: &str, tenant: Option<&str>, replies: &[Reply]) -> Vec<String> {
        let endpoints = Endpoints { usage_url: usage_url.to_owned(), ..Cursor.endpoints() };
        match Cursor.converse(&Poll { endpoints: &endpoints, tenant, replies, received: Stamp::UNIX_EPOCH }) {
            Next::Send(request) | Next::Also(request, _) => {
                vec![format!("{:?} {} {:?}", request.method, request.url, request.secret)]
            }
            Next::Over(outcome) => lines(&outcome),
        }
    }

    #[test]
    fn the_dashboard_is_asked_only_where_the_editors_call_names_no_plan() {
        let ok = |body| reply(200, &[], body);
        let (team, none) = (sample!("team_no_plan.json"), sample!("summary_no_limits.json"));
        let next = |replies: &[Reply]| next(USAGE_URL, Some("user_01FAKE"), replies).remove(0);
        let cookie = r#"Header { name: "cookie", prefix: "WorkosCursorSessionToken=user_01FAKE%3A%3A" }"#;
        let summary = format!("Get https://cursor.com/api/usage-summary {cookie}");
        let requests = format!("Get https://cursor.com/api/usage?user=user_01FAKE {cookie}");

        assert_eq!(next(&[]), format!("Post {USAGE_URL} Bearer"));
        assert_eq!(next(&[ok(sample!("pro.json"))]), "plan: -");
        assert_eq!(next(&[ok(team)]), summary);
        assert_eq!(next(&[reply(404, &[], sample!("404_team.json"))]), summary);
        assert_eq!(next(&[reply(404, &[], sample!("login.html"))]), "gone(404)");
        assert_eq!(next(&[reply(401, &[], sample!("401.json"))]), "rejected");
        assert_eq!(next(&[ok(sample!("login.html"))]), "garbage");
        assert_eq!(next(&[ok(team), ok(sample!("team_pooled.json"))]), "plan: enterprise");
        assert_eq!(next(&[ok(team), reply(307, &[], "")]), "gone(307)");
        assert_eq!(next(&[ok(team), ok(none)]), requests);
        assert_eq!(next(&[ok(team), ok(none), reply(429, &[], "{}")]), "limited");
    }

    #[test]
    fn counts_of_requests_end_with_the_summarys_cycle_and_their_failure_costs_none_of_its_numbers() {
        let ok = |body: &str| reply(200, &[], body);
        let on_demand = sample!("summary_no_limits.json")
            .replace(r#""teamUsage": {}"#, r#""teamUsage": {"onDemand": {"used": 7}}"#);
        let told = "on demand (team) [on_demand:team] 0.07 USD used, resets 2026-08-01T00:00:00Z, shared by team";
        let next = |last| next(USAGE_URL, Some("u"), &[ok(sample!("team_no_plan.json")), ok(&on_demand), last]);
        let expected = [
            "plan: enterprise",
            "monthly (gpt-4) [month:gpt-4] 10.4%, 52 of 500 requests, 448 requests left, \
                 resets 2026-08-01T00:00:00Z, model gpt-4",
            "monthly (gpt-3.5-turbo) [month:gpt-3-5-turbo] 7 requests used, resets 2026-08-01T00:00:00Z, \
             model gpt-3.5-turbo",
            told,
        ];
        assert_eq!(next(ok(sample!("request_based.json"))), expected);
        assert_eq!(next(reply(500, &[], "")), ["plan: enterprise", told]);
        assert_eq!(next(reply(429, &[], "")), ["limited"], "a server that asks for patience gets it");
    }

    #[test]
    fn a_configured_url_moves_the_dashboard_too_and_without_a_user_it_is_not_asked() {
        let team = [reply(200, &[], sample!("team_no_plan.json"))];
        let moved = next("http://127.0.0.1:1/a/GetCurrentPeriodUsage", Some("u"), &team);
        assert!(moved[0].starts_with("Get http://127.0.0.1:1/api/usage-summary "), "{moved:?}");
        assert_eq!(next(USAGE_URL, None, &team), ["garbage"]);
    }

    #[test]
    fn a_login_is_known_by_the_user_its_token_names() {
        let read = |content| match login(content) {
            Ok(Stored::Login(login)) => {
                let expires = login.expires_at.map(Stamp::as_second).unwrap_or_default();
                assert_eq!(login.identity, login.tenant);
                assert!(login.refresh.is_none());
                format!("{} {} {expires}", login.tenant.unwrap_or_default(), login.plan.unwrap_or_default())
            }
            Ok(Stored::SignedOut) => "signed out".to_owned(),
            Ok(Stored::NoLogin) => "no login".to_owned(),
            Err(_) => "damage".to_owned(),
        };
        let token = |sub: &str| {
            let claims = json!({"sub": sub, "exp": 1_789_800_000});
            json!({ACCESS: format!("e30.{}.FAKE", URL_SAFE_NO_PAD.encode(claims.to_string())), PLAN: "pro"})
        };
        for (content, expected) in [
            (token("auth0|user_01ABC"), "user_01ABC pro 1789800000"),
            (token("google-oauth2|x|user_01ABC"), "user_01ABC pro 1789800000"),
            (token("user_01ABC"), "user_01ABC pro 1789800000"),
            (token("auth0|a;b=c"), " pro 1789800000"),
            (token("auth0|"), " pro 1789800000"),
            (json!({ACCESS: "FAKE-OPAQUE"}), "  0"),
            (json!({ACCESS: "", PLAN: "pro"}), "signed out"),
            (json!({}), "signed out"),
            (json!({ACCESS: "two words"}), "damage"),
            (json!([]), "damage"),
        ] {
            assert_eq!(read(content.clone()), expected, "{content}");
        }
    }

    #[test]
    fn no_sample_cut_short_or_with_a_wrong_value_is_misread() {
        for (name, body, _) in SAMPLES {
            no_part_is_an_answer(name, body, answer);
            no_value_confuses(name, body, answer);
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_reader_panic(status in any::<u16>(), bodies in prop::collection::vec(any::<Vec<u8>>(), 0..4)) {
            let replies: Vec<Reply> = bodies.into_iter().map(|body| reply(status, &[], body)).collect();
            let _ = next(USAGE_URL, Some("u"), &replies);
        }
    }
}

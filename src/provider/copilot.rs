//! GitHub Copilot: Free, Pro, Business, Enterprise; on github.com and on a GitHub Enterprise host.
//!
//! What the vendor tells is what is left, and its zeros mean different things: "unlimited", "not told" and "not in the
//! plan". All windows are calendar months. Facts: `reference/providers.md`, section 3.

use serde_json::{Map, Value, json};

use super::field::{self, Decimal};
use super::store::{Form, Place, Root, Store, Stored, StoredLogin, read_key, take_token, text};
use super::{Endpoints, LogIn, Method, Provider, Reply, Request, SecretPlace, TokenEncoding, distinct, fault};
use crate::model::{ProviderId, UsageOutcome, Window, WindowStatus};
use crate::policy::time::Stamp;

/// GitHub, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct Copilot;

const HOST: &str = "github.com";
const USAGE_URL: &str = "https://api.github.com/copilot_internal/user";

impl Provider for Copilot {
    fn id(&self) -> ProviderId {
        ProviderId::new("copilot")
    }

    /// The token endpoint is never asked: these tokens are not refreshed.
    fn endpoints(&self) -> Endpoints {
        Endpoints {
            usage_url: USAGE_URL.to_owned(),
            token_url: "https://github.com/login/oauth/access_token".to_owned(),
            client_id: "Iv1.b507a08c87ecfe98".to_owned(),
            token_encoding: TokenEncoding::Form,
            user_agent: concat!("quotad/", env!("CARGO_PKG_VERSION")).to_owned(),
            recipe: None,
        }
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Words("sign in to Copilot in your editor, or gh auth login --insecure-storage")
    }

    fn token_variable(&self) -> Option<&'static str> {
        Some("COPILOT_GITHUB_TOKEN")
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        match content {
            Value::Object(hosts) => login(hosts),
            Value::String(text) if text.contains(':') => login(hosts_of_yaml(&text)),
            content => read_key(content, &[]),
        }
    }

    /// `tenant` is a GitHub Enterprise host: its token never goes to api.github.com.
    fn usage_request(&self, endpoints: &Endpoints, tenant: Option<&str>) -> Request {
        let url = match tenant {
            Some(host) if endpoints.usage_url == USAGE_URL => format!("https://api.{host}/copilot_internal/user"),
            _ => endpoints.usage_url.clone(),
        };
        Request {
            method: Method::Get,
            url,
            headers: vec![
                ("accept", "application/json".to_owned()),
                ("x-github-api-version", "2025-04-01".to_owned()),
                ("user-agent", endpoints.user_agent.clone()),
            ],
            body: None,
            secret: SecretPlace::Header { name: "authorization".into(), prefix: "token ".to_owned() },
        }
    }

    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        let body = field::json(&reply.body).filter(Value::is_object);
        match (reply.status, &body) {
            (200..=299, Some(body)) => quota(body),
            (200..=299, None) => fault::garbage("the answer is no JSON object"),
            // The limit of the whole API, which the user's own `gh` shares.
            (403, Some(body)) if is_rate_limit(reply, body) => {
                fault::usage(&Reply { status: 429, ..reply.clone() }, received)
            }
            (404, Some(_)) => UsageOutcome::NoPermission { said: "this GitHub account has no Copilot" },
            _ => fault::usage(reply, received),
        }
    }
}

fn is_rate_limit(reply: &Reply, body: &Value) -> bool {
    let message = body["message"].as_str().unwrap_or_default().to_lowercase();
    reply.header("retry-after").is_some()
        || reply.header("x-ratelimit-remaining").is_some_and(|left| left.trim() == "0")
        || message.contains("rate limit")
}

/// What a success says. A seat whose quota the organisation keeps to itself has no map of quotas at all.
fn quota(body: &Value) -> UsageOutcome {
    let resets = ["quota_reset_date_utc", "quota_reset_date"];
    let resets_at = resets.iter().find_map(|name| field::timestamp(&body[name]));
    let snapshots = body["quota_snapshots"].as_object().into_iter().flatten();
    let snapshots: Vec<Snapshot> = snapshots.filter_map(|(id, quota)| Snapshot::read(id, quota, resets_at)).collect();
    // Beside real snapshots the older maps are stale.
    let is_real = snapshots.iter().any(|snapshot| snapshot.standing != Standing::Untold);
    let counts = if is_real { Vec::new() } else { counts_left(body, resets_at) };

    let sku = text_of(&body["access_type_sku"]);
    let plan = if sku == Some("free_limited_copilot") { Some("free") } else { text_of(&body["copilot_plan"]) };
    if snapshots.is_empty() && counts.is_empty() {
        let is_filled = |name| body.get(name).is_some_and(|map: &Value| !map.is_null() && *map != json!({}));
        return if is_filled("quota_snapshots") || is_filled("limited_user_quotas") {
            fault::garbage("the answer names quotas, but tells none of them")
        } else if sku.or(plan).is_some() {
            UsageOutcome::NoPermission { said: "GitHub tells no quota for this seat" }
        } else {
            fault::garbage("the answer is JSON, but names no quota")
        };
    }
    let windows = distinct(counts.into_iter().chain(snapshots.into_iter().flat_map(|snapshot| snapshot.windows)));
    UsageOutcome::Answered { windows, plan: plan.and_then(field::printable) }
}

fn text_of(value: &Value) -> Option<&str> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// What a quota's numbers mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// So much is allowed, so much is left.
    Counted,
    /// No limit: said so, or an entitlement of -1.
    Unlimited,
    /// Nothing allowed, nothing left, 100 % left: a place holder, which has been shown as "0 % used".
    Untold,
    /// Nothing allowed, nothing left, 0 % left: not part of the plan, which has been shown as "used up".
    NotInPlan,
}

/// One entry of `quota_snapshots`.
struct Snapshot {
    standing: Standing,
    windows: Vec<Window>,
}

impl Snapshot {
    /// `None` for what tells nothing.
    fn read(id: &str, quota: &Value, resets_at: Option<Stamp>) -> Option<Self> {
        let name = field::printable(id)?;
        let unit = if quota["token_based_billing"] == true { "credits" } else { "requests" };
        let (limit, left) = (Decimal::read(&quota["entitlement"]), Decimal::read(left(quota)));
        let used = limit.zip(left).and_then(|(limit, left)| limit.checked_sub(left));
        let derived = || used?.percent_of(limit?);
        let used_percent = field::used_of_left(&quota["percent_remaining"]).or_else(derived);
        let standing = standing(quota);
        if standing == Standing::Counted && limit.or(left).is_none() && used_percent.is_none() {
            return None;
        }

        let resets_at = field::timestamp(&quota["quota_reset_at"]).or(resets_at);
        let window = Window { resets_at, ..Window::named(name.clone(), label(&name)) };
        let window = match standing {
            Standing::Counted => Some(Window {
                used_percent,
                used: used.map(|used| used.of(unit)),
                limit: limit.map(|limit| limit.of(unit)),
                remaining: left.map(|left| left.of(unit)),
                ..window
            }),
            Standing::NotInPlan => Some(Window { status: WindowStatus::NotInPlan, resets_at: None, ..window }),
            Standing::Unlimited | Standing::Untold => {
                Decimal::read(&quota["credits_used"]).map(|used| Window { used: Some(used.of("credits")), ..window })
            }
        };
        let over = &quota["overage_count"];
        let over = Decimal::read(over).filter(|_| field::number(over) > Some(0.0)).map(|over| Window {
            used: Some(over.of(unit)),
            resets_at,
            ..Window::named(format!("on_demand:{}", field::slug(&name)), format!("on demand ({})", label(&name)))
        });
        Some(Self { standing, windows: window.into_iter().chain(over).collect() })
    }
}

/// `remaining` is the same in whole numbers.
fn left(quota: &Value) -> &Value {
    quota.get("quota_remaining").unwrap_or(&quota["remaining"])
}

fn standing(quota: &Value) -> Standing {
    let limit = field::number(&quota["entitlement"]);
    let is_nothing = limit == Some(0.0) && field::number(left(quota)) == Some(0.0);
    if quota["unlimited"] == true || limit.is_some_and(|limit| limit < 0.0) {
        Standing::Unlimited
    } else if is_nothing && field::number(&quota["percent_remaining"]) == Some(0.0) {
        Standing::NotInPlan
    } else if is_nothing {
        Standing::Untold
    } else {
        Standing::Counted
    }
}

fn label(id: &str) -> String {
    match id {
        "premium_interactions" => "premium requests".to_owned(),
        other => other.replace('_', " "),
    }
}

/// The older form of the free plan. `limited_user_quotas` is what is left, despite its name.
fn counts_left(body: &Value, resets_at: Option<Stamp>) -> Vec<Window> {
    let resets_at = field::timestamp(&body["limited_user_reset_date"]).or(resets_at);
    let counts = body["limited_user_quotas"].as_object().into_iter().flatten();
    let window = |(id, left): (&String, &Value)| {
        let (name, left) = (field::printable(id)?, Decimal::read(left)?);
        let limit = Decimal::read(&body["monthly_quotas"][id]);
        let used = limit.and_then(|limit| limit.checked_sub(left));
        Some(Window {
            used_percent: used.zip(limit).and_then(|(used, limit)| used.percent_of(limit)),
            used: used.map(|used| used.of("requests")),
            limit: limit.map(|limit| limit.of("requests")),
            remaining: Some(left.of("requests")),
            resets_at,
            ..Window::named(name.clone(), label(&name))
        })
    };
    counts.filter_map(window).collect()
}

/// Editors write the first two, `gh` the third.
static STORE: Store = Store {
    places: &[
        Place { moved_by: &[], root: Root::Config, dir: "github-copilot", file: "apps.json", apart: false },
        Place { moved_by: &[], root: Root::Config, dir: "github-copilot", file: "hosts.json", apart: false },
        Place { moved_by: &["GH_CONFIG_DIR"], root: Root::Config, dir: "gh", file: "hosts.yml", apart: false },
    ],
    variables: &["COPILOT_TOKEN", "COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"],
    form: Form::Text,
    layout: None,
    account_file: None,
    write_lock: None,
    vendors_modes: &[],
    because: "a GitHub token lasts until it is revoked; there is nothing to refresh",
};

/// The login of the first host that has one, github.com before others. A host's key may go on with the id of an app:
/// `github.com:Iv1.…`. `gh` leaves an empty object behind when the last account logs out, and keeps the token in the
/// desktop's keyring where it can.
fn login(hosts: Map<String, Value>) -> Result<Stored, &'static str> {
    if hosts.is_empty() {
        return Ok(Stored::SignedOut);
    }
    let mut logins: Vec<_> = hosts.into_iter().filter_map(|(key, entry)| Some((host(&key)?, entry))).collect();
    logins.sort_by_key(|(host, _)| host != HOST);
    let mut damage = None;
    for (host, entry) in logins {
        let Value::Object(mut entry) = entry else { continue };
        match take_token(&mut entry, "oauth_token") {
            Ok(None) => {}
            Err(clause) => damage = Some(clause),
            Ok(Some(token)) => {
                return Ok(Stored::Login(StoredLogin {
                    identity: text(&entry, "user").map(|user| format!("{host}/{user}")),
                    tenant: (host != HOST).then_some(host),
                    ..StoredLogin::key(token.into())
                }));
            }
        }
    }
    damage.map_or(Ok(Stored::NoLogin), Err)
}

/// The host of a key, if it can be one: a token goes there.
fn host(key: &str) -> Option<String> {
    let host = key.split(':').next()?.to_ascii_lowercase();
    let is_plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    (is_plain && host.contains('.') && !host.starts_with(['.', '-'])).then_some(host)
}

/// The hosts of gh's `hosts.yml`, each with the members right below it: deeper ones belong to accounts that are not
/// in use.
fn hosts_of_yaml(yaml: &str) -> Map<String, Value> {
    let mut hosts: Map<String, Value> = Map::new();
    let mut level = None;
    for line in yaml.lines() {
        let member = line.trim_start();
        let Some((key, value)) = member.split_once(':').filter(|_| !member.starts_with('#')) else { continue };
        let (depth, value) = (line.len() - member.len(), value.trim().trim_matches(['"', '\'']));
        match hosts.values_mut().next_back() {
            _ if depth == 0 => {
                hosts.insert(key.trim_matches(['"', '\'']).to_owned(), json!({}));
                level = None;
            }
            Some(host) if depth == *level.get_or_insert(depth) => host[key] = value.into(),
            _ => {}
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::provider::sample::{class, lines, no_part_is_an_answer, no_value_confuses, reply};

    macro_rules! sample {
        ($name:literal) => {
            include_str!(concat!("../../tests/data/copilot/", $name))
        };
    }

    /// Every shape the endpoint is known to have had, and what is read from it.
    const SAMPLES: [(&str, &str, &[&str]); 17] = [
        (
            "c1_paid",
            sample!("c1_paid.json"),
            &[
                "plan: individual",
                "premium requests [premium_interactions] 38.53%, 115.6 of 300 requests, 184.4 requests left, \
                 resets 2026-10-01T00:00:00Z",
            ],
        ),
        (
            "c2_negative",
            sample!("c2_negative.json"),
            &[
                "plan: individual",
                "premium requests [premium_interactions] 100.7%, 302.1 of 300 requests, -2.1 requests left, \
                 resets 2026-10-01T00:00:00Z",
                "on demand (premium requests) [on_demand:premium-interactions] 2.1 requests used, \
                 resets 2026-10-01T00:00:00Z",
            ],
        ),
        (
            "c3_credits",
            sample!("c3_credits.json"),
            &[
                "plan: individual_pro",
                "chat [chat] 31.25 credits used, resets 2026-10-01T00:00:00Z",
                "premium requests [premium_interactions] 27.5%, 412.5 of 1500 credits, 1087.5 credits left, \
                 resets 2026-10-01T00:00:00Z",
            ],
        ),
        (
            "c3_reset_at_zero",
            sample!("c3_reset_at_zero.json"),
            &[
                "plan: individual_pro",
                "chat [chat] 31.25 credits used, resets 2026-10-01T00:00:00Z",
                "premium requests [premium_interactions] 27.5%, 412.5 of 1500 credits, 1087.5 credits left, \
                 resets 2026-10-01T00:00:00Z",
            ],
        ),
        (
            "c4_business_placeholder",
            sample!("c4_business_placeholder.json"),
            &[
                "plan: business",
                "premium requests [premium_interactions] 58 credits used, resets 2026-10-01T00:00:00Z",
                "chat [chat] 0 credits used, resets 2026-10-01T00:00:00Z",
            ],
        ),
        (
            "c4_unlimited_placeholder",
            sample!("c4_unlimited_placeholder.json"),
            &["plan: business", "premium requests [premium_interactions] 58 credits used, resets 2026-10-01T00:00:00Z"],
        ),
        (
            "c4_c5_mix",
            sample!("c4_c5_mix.json"),
            &[
                "plan: free",
                "chat [chat] 18%, 90 of 500 requests, 410 requests left, resets 2026-10-15T00:00:00Z",
                "completions [completions] 0.25%, 10 of 4000 requests, 3990 requests left, \
                 resets 2026-10-15T00:00:00Z",
                "premium requests [premium_interactions] 3 credits used, resets 2026-10-01T00:00:00Z",
            ],
        ),
        (
            "stale_limited_map",
            sample!("stale_limited_map.json"),
            &[
                "plan: individual",
                "premium requests [premium_interactions] 50%, 150 of 300 requests, 150 requests left, \
                 resets 2026-10-01T00:00:00Z",
            ],
        ),
        (
            "c5_free",
            sample!("c5_free.json"),
            &[
                "plan: free",
                "chat [chat] 18%, 90 of 500 requests, 410 requests left, resets 2026-10-01T00:00:00Z",
                "completions [completions] 0.25%, 10 of 4000 requests, 3990 requests left, \
                 resets 2026-10-01T00:00:00Z",
            ],
        ),
        (
            "c6_free_tbb",
            sample!("c6_free_tbb.json"),
            &[
                "plan: free",
                "chat [chat] 14.3%, 28.6 of 200 credits, 171.4 credits left, resets 2026-10-27T00:00:00Z",
                "completions [completions] 0%, 0 of 4000 credits, 4000 credits left, resets 2026-10-27T00:00:00Z",
                "premium requests [premium_interactions] not in plan",
            ],
        ),
        (
            "c7_minus_one",
            sample!("c7_minus_one.json"),
            &[
                "plan: individual_max",
                "premium requests [premium_interactions] 20%, 300 of 1500 requests, 1200 requests left, \
                 resets 2026-10-01T00:00:00Z",
            ],
        ),
        ("c8_enterprise_minimal", sample!("c8_enterprise_minimal.json"), &["no permission"]),
        (
            "c9_overage",
            sample!("c9_overage.json"),
            &[
                "plan: individual_pro",
                "premium requests [premium_interactions] 100%, 1500 of 1500 requests, 0 requests left, \
                 resets 2026-10-01T00:00:00Z",
                "on demand (premium requests) [on_demand:premium-interactions] 640 requests used, \
                 resets 2026-10-01T00:00:00Z",
            ],
        ),
        (
            "numbers_as_strings",
            sample!("numbers_as_strings.json"),
            &[
                "plan: individual",
                "premium requests [premium_interactions] 38.53%, 115.6 of 300 requests, 184.4 requests left, \
                 resets 2026-10-01T00:00:00Z",
            ],
        ),
        (
            "unknown_snapshot_key",
            sample!("unknown_snapshot_key.json"),
            &[
                "plan: individual",
                "chat messages [chat_messages] 20%, 10 of 50 requests, 40 requests left, resets 2026-10-01T00:00:00Z",
                "premium requests [premium_interactions] 50%, 150 of 300 requests, 150 requests left, \
                 resets 2026-10-01T00:00:00Z",
            ],
        ),
        (
            "snapshot_null",
            sample!("snapshot_null.json"),
            &["plan: individual", "premium requests [premium_interactions] 50%, resets 2026-10-01T00:00:00Z"],
        ),
        ("enterprise_all_unlimited", sample!("enterprise_all_unlimited.json"), &["plan: enterprise"]),
    ];

    fn answer(body: &[u8]) -> UsageOutcome {
        Copilot.read_usage(&reply(200, &[], body), Stamp::UNIX_EPOCH)
    }

    #[test]
    fn every_known_shape_yields_every_window_it_reports() {
        for (name, body, expected) in SAMPLES {
            assert_eq!(lines(&answer(body.as_bytes())), expected, "{name}");
        }
    }

    #[test]
    fn fractions_are_read_and_what_is_left_is_not_shown_as_used() {
        let body =
            json!({"quota_snapshots": {"chat": {"entitlement": 200.0, "remaining": 184.4, "overage_count": 0.5}}});
        let expected = [
            "plan: -",
            "chat [chat] 7.8%, 15.6 of 200 requests, 184.4 requests left",
            "on demand (chat) [on_demand:chat] 0.5 requests used",
        ];
        assert_eq!(lines(&answer(body.to_string().as_bytes())), expected);
    }

    #[test]
    fn every_error_has_its_class() {
        let secondary = sample!("403_secondary_limit.json");
        for (status, headers, body, expected) in [
            (401, &[][..], sample!("401.json"), "rejected"),
            (403, &[][..], sample!("403_pat.json"), "no permission"),
            (403, &[][..], secondary, "limited"),
            (403, &[("retry-after", "60")][..], secondary, "limited for 60 s"),
            (403, &[("retry-after", "60")][..], sample!("403_pat.json"), "limited for 60 s"),
            (403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "90")][..], secondary, "limited for 90 s"),
            (403, &[("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "90")][..], "{}", "no permission"),
            (403, &[("retry-after", "60")][..], "<html>", "challenge"),
            (404, &[][..], sample!("404.json"), "no permission"),
            (404, &[][..], "<html>", "gone(404)"),
            (429, &[][..], sample!("429.json"), "limited"),
            (429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "90")][..], "", "limited for 90 s"),
            (500, &[][..], "", "server(500)"),
            (200, &[][..], "", "garbage"),
            (200, &[][..], "<html>", "garbage"),
            (200, &[][..], "[]", "garbage"),
            (200, &[][..], "{}", "garbage"),
            (200, &[][..], r#"{"copilot_plan": "individual"}"#, "no permission"),
            (200, &[][..], r#"{"copilot_plan": "individual", "quota_snapshots": {}}"#, "no permission"),
            (200, &[][..], r#"{"copilot_plan": "individual", "quota_snapshots": {"chat": 7}}"#, "garbage"),
            (200, &[][..], r#"{"copilot_plan": "individual", "quota_snapshots": "many"}"#, "garbage"),
        ] {
            let outcome = Copilot.read_usage(&reply(status, headers, body), Stamp::UNIX_EPOCH);
            assert_eq!(class(&outcome), expected, "{status} {headers:?} {body}");
        }
    }

    #[test]
    fn an_enterprise_token_never_goes_to_github_com() {
        let url = |configured: &str, tenant| {
            let endpoints = Endpoints { usage_url: configured.to_owned(), ..Copilot.endpoints() };
            let request = Copilot.usage_request(&endpoints, tenant);
            let prefix = "token ".to_owned();
            assert_eq!(request.secret, SecretPlace::Header { name: "authorization".into(), prefix });
            request.url
        };
        let ghe = Some("ghe.example.test");
        assert_eq!(url(USAGE_URL, None), USAGE_URL);
        assert_eq!(url(USAGE_URL, ghe), "https://api.ghe.example.test/copilot_internal/user");
        assert_eq!(url("http://127.0.0.1:1/x", ghe), "http://127.0.0.1:1/x", "what the config says is kept");
    }

    /// What a stored credential comes to.
    fn read(content: Value) -> String {
        match Copilot.read_login(content) {
            Ok(Stored::Login(login)) => {
                format!("{} at {}", login.identity.unwrap_or_default(), login.tenant.unwrap_or_default())
            }
            Ok(Stored::SignedOut) => "signed out".to_owned(),
            Ok(Stored::NoLogin) => "no login".to_owned(),
            Err(_) => "damage".to_owned(),
        }
    }

    #[test]
    fn a_login_is_read_from_every_file_that_holds_one() {
        let parsed = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        for (text, expected) in [
            (sample!("login_apps.json"), "github.com/octo at "),
            (sample!("login_hosts.json"), "github.com/octo at "),
            (sample!("login_hosts.yml"), "github.com/octo at "),
            (sample!("login_ghe_host.json"), "ghe.example.test/octo-corp at ghe.example.test"),
            ("ghe.example.test:\n  oauth_token: 'gho_FAKE'\n  user: a\n", "ghe.example.test/a at ghe.example.test"),
            ("github.com:\n    user: octo\n    users:\n        octo:\n", "no login"),
            (r#"{"evil.test/x": {"oauth_token": "gho_FAKE"}}"#, "no login"),
            (r#"{"github.com@evil.test": {"oauth_token": "gho_FAKE"}}"#, "no login"),
            (r#"{"github.com": {"oauth_token": "two words"}}"#, "damage"),
            (r#"{"github.com": {"oauth_token": "two words"}, "github.com:a": {"oauth_token": "gho_FAKE"}}"#, " at "),
            (r#"{"github.com": 7, "github.com:b": {"oauth_token": ""}}"#, "no login"),
            ("{}", "signed out"),
            ("gho_FAKE\n", " at "),
            ("two words", "damage"),
            ("null", "no login"),
        ] {
            assert_eq!(read(parsed(text)), expected, "{text}");
        }
    }

    #[test]
    fn the_token_in_use_is_taken_and_not_that_of_another_account_or_host() {
        let hosts = hosts_of_yaml(sample!("login_hosts.yml"));
        assert_eq!(hosts["github.com"]["oauth_token"], "gho_FAKE");
        assert_eq!(hosts["ghe.example.test"]["oauth_token"], "gho_FAKE-GHE");
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
        fn no_answer_makes_a_reader_panic(status in any::<u16>(), body in any::<Vec<u8>>(), advice in "\\PC{0,9}") {
            let headers = [("retry-after", &*advice), ("x-ratelimit-reset", &*advice), ("x-ratelimit-remaining", "0")];
            let _ = Copilot.read_usage(&reply(status, &headers, body), Stamp::UNIX_EPOCH);
        }

        #[test]
        fn no_file_makes_a_reader_panic(text in "[ :a-z.'\"#\n]{0,60}") {
            let _ = read(json!(text));
        }
    }
}

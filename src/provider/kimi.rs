//! Kimi Code, Moonshot's subscription (not the platform that sells tokens).
//!
//! Two official clients keep two logins of their own, which do not know of each other. The numbers come in two models,
//! often in one answer: rows with counts, and newer pools with a share. They can contradict each other, and either may
//! be all zero while the other is right. The pools count, unless all of them are zero and a row is not; that the two
//! disagreed is not shown. `totalQuota` is not read: it stood at one percent used while plans were used up.
//! Facts: `reference/providers.md`, section 6.

use serde_json::Value;

use super::field::{self, Decimal};
use super::period::{self, DAY, HOUR, MONTH, WEEK};
use super::store::{self, Form, Layout, Place, Root, Store, Stored, StoredLogin, Unit, moment, text};
use super::{Endpoints, Grant, LogIn, Method, Provider, Reply, Request, SecretPlace, TokenEncoding};
use super::{answer, distinct, fault, grant, jwt};
use crate::model::{Failure, ProviderId, RefreshMode, Refusal, UsageOutcome, Window};
use crate::policy::time::Stamp;

/// Moonshot's Kimi Code, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct Kimi;

/// In both clients' directories.
const FILE: &str = "credentials/kimi-code.json";

static STORE: Store = Store {
    places: &[
        Place { moved_by: &["KIMI_CODE_HOME"], root: Root::Home, dir: ".kimi-code", file: FILE, apart: false },
        Place { moved_by: &["KIMI_SHARE_DIR"], root: Root::Home, dir: ".kimi", file: FILE, apart: true },
    ],
    variables: &["KIMI_CODE_API_KEY"],
    form: Form::Json,
    layout: Some(&Layout {
        object: &[],
        access: "access_token",
        refresh: "refresh_token",
        expires: Some(("expires_at", Unit::Seconds)),
        login_ends: None,
        scopes: None,
        refreshed_at: None,
    }),
    account_file: None,
    write_lock: None,
    vendors_modes: &[RefreshMode::Command],
    because: "the Kimi CLI would find its refresh token spent, and you would be logged out",
};

/// The pools that are known: key, length in minutes, which part of the plan. An unknown key is not taken for a window.
const POOLS: [(&str, u64, Option<&str>); 6] = [
    ("limit_5h", 5 * HOUR, None),
    ("limit_day", DAY, None),
    ("limit_7d", WEEK, None),
    ("limit_week", WEEK, None),
    ("limit_month_total", MONTH, None),
    ("limit_month_code", MONTH, Some("code")),
];

impl Provider for Kimi {
    fn id(&self) -> ProviderId {
        ProviderId::new("kimi")
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            usage_url: "https://api.kimi.com/coding/v1/usages".to_owned(),
            token_url: "https://auth.kimi.com/api/oauth/token".to_owned(),
            client_id: "17e5f671-d194-4dfb-9706-5516cb48c098".to_owned(),
            token_encoding: TokenEncoding::Form,
            user_agent: concat!("quotad/", env!("CARGO_PKG_VERSION")).to_owned(),
            recipe: None,
        }
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        // Two clients of the same name, each with a variable of its own.
        LogIn::Command { line: "kimi login", moved_by: &["KIMI_CODE_HOME", "KIMI_SHARE_DIR"] }
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        let mut file = match content {
            Value::Object(file) => file,
            Value::String(_) => return store::read_key(content, &[]),
            _ => return Err("is JSON, but not an object; log in again"),
        };
        let claims = text(&file, "access_token").map(jwt::claims).unwrap_or_default();
        let Some(tokens) = StoredLogin::take(&mut file, "access_token", "refresh_token")? else {
            return Ok(Stored::SignedOut);
        };
        Ok(Stored::Login(StoredLogin {
            expires_at: moment(&file, "expires_at").or_else(|| jwt::expiry(&claims)),
            scopes: store::scopes(file.get("scope")),
            identity: text(&claims, "sub").map(str::to_owned),
            ..tokens
        }))
    }

    fn usage_request(&self, endpoints: &Endpoints, _tenant: Option<&str>) -> Request {
        Request {
            method: Method::Get,
            url: endpoints.usage_url.clone(),
            headers: vec![("accept", "application/json".to_owned()), ("user-agent", endpoints.user_agent.clone())],
            body: None,
            secret: SecretPlace::Bearer,
        }
    }

    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        if !(200..=299).contains(&reply.status) {
            return refusal(reply, received);
        }
        answer(reply, received, |body| match windows(&body) {
            Some(windows) => UsageOutcome::Answered { windows, plan: plan(&body) },
            None => fault::garbage("the answer is JSON, but names no limit"),
        })
    }

    /// The vendor's own clients give a login up at any 401 or 403 of its API.
    fn read_refresh(&self, reply: &Reply, received: Stamp) -> Result<Grant, Refusal> {
        match reply.status {
            200..=299 => grant::read(reply),
            status => Err(match fault::refresh(reply, received) {
                Refusal::Unknown(_) | Refusal::Account(_) if matches!(status, 401 | 403) => {
                    Refusal::Terminal("the refresh token was refused")
                }
                refusal => refusal,
            }),
        }
    }
}

/// What an answer other than a success means. The API answers an unknown token with nothing at all, and an account
/// without the plan with a 404; a page says neither.
fn refusal(reply: &Reply, received: Stamp) -> UsageOutcome {
    let is_mute = reply.body.trim_ascii().is_empty() && reply.header("cf-mitigated").is_none();
    let is_json = field::json(&reply.body).is_some_and(|body| body.is_object());
    let rejected = UsageOutcome::Rejected { permanent: false, said: "the token was refused" };
    match (reply.status, fault::usage(reply, received)) {
        (401 | 403, UsageOutcome::NoPermission { .. }) => rejected,
        (401 | 403, UsageOutcome::Failed { failure: Failure::Challenge, .. }) if is_mute => rejected,
        (404, UsageOutcome::Failed { failure: Failure::Gone(_), .. }) if is_mute || is_json => {
            UsageOutcome::NoPermission { said: "the account has no Kimi Code plan" }
        }
        (_, outcome) => outcome,
    }
}

/// Every window and the wallet; `None` if this is no answer of this endpoint.
fn windows(body: &Value) -> Option<Vec<Window>> {
    let (pools, rows) = (from_pools(&body["usages"]), from_rows(body));
    let is_used = |window: &Window| window.used_percent.is_some_and(|percent| percent > 0.0);
    let rows_know_better = !pools.iter().any(is_used) && rows.iter().any(is_used);
    // A row of a span that no pool has is the older model's own.
    let pools = if rows_know_better { Vec::new() } else { pools };
    let windows = distinct(pools.into_iter().chain(rows).chain(from_wallet(member(body, "boosterWallet"))));
    (!windows.is_empty() || is_empty_answer(body)).then_some(windows)
}

/// Lists that are there and empty say that nothing is limited, which a list that cannot be read does not.
fn is_empty_answer(body: &Value) -> bool {
    let is_empty = |list: &Value| match list {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    let mut lists = ["usage", "usages", "limits"].into_iter().filter_map(|name| body.get(name)).peekable();
    lists.peek().is_some() && lists.all(is_empty)
}

/// The newer model: shares of pools. An array of this name is the web's form of the rows.
fn from_pools(usages: &Value) -> Vec<Window> {
    let pool = |(key, minutes, part): &(&str, u64, Option<&str>)| {
        let pool = usages.get(key)?;
        let used_percent = Decimal::read(member(pool, "usedRatio"))?.percent_of(Decimal::read(&Value::from(1))?);
        Some(Window { used_percent, resets_at: reset(pool), ..period::window(*minutes, *part) })
    };
    POOLS.iter().filter_map(pool).collect()
}

/// The older model: counts of each span in `limits`, and those of the week in `usage`.
fn from_rows(body: &Value) -> Vec<Window> {
    let of_web = field::elements(&body["usages"]).find(|usage| usage["scope"] == "FEATURE_CODING");
    let (week, limits) = of_web.map_or((&body["usage"], &body["limits"]), |usage| (&usage["detail"], &usage["limits"]));
    let spans = field::elements(limits).filter_map(|limit| row(span(&limit["window"]), &limit["detail"]));
    spans.chain(row(period::window(WEEK, None), week)).collect()
}

/// Fills a window with the counts of a row. Zeros are left out of the answer, so of `used` and `remaining` one is
/// enough; with neither, nothing is known.
fn row(window: Window, counts: &Value) -> Option<Window> {
    let count = |name| Decimal::read(member(counts, name));
    let limit = count("limit")?;
    let (used, remaining) = (count("used"), count("remaining"));
    let rest = |of: Option<Decimal>| of.and_then(|of| limit.checked_sub(of));
    let (used, remaining) = (used.or_else(|| rest(remaining)), remaining.or_else(|| rest(used)));
    let amount = |count: Decimal| count.of("units");
    Some(Window {
        used_percent: used.and_then(|used| used.percent_of(limit)),
        used: used.map(amount),
        limit: Some(amount(limit)),
        remaining: remaining.map(amount),
        resets_at: reset(counts),
        ..window
    })
}

/// The window of a span such as 300 minutes; one in a unit that is not known keeps the vendor's words.
fn span(window: &Value) -> Window {
    let count = field::number(&window["duration"]).filter(|count| count.fract() == 0.0 && (1.0..1e6).contains(count));
    let unit = field::name(&window["timeUnit"]).unwrap_or_default().to_lowercase();
    let unit = unit.trim_start_matches("time_unit_");
    let minutes = match unit {
        "minute" => Some(1),
        "hour" => Some(HOUR),
        "day" => Some(DAY),
        _ => None,
    };
    if let Some((count, minutes)) = count.zip(minutes) {
        return period::window(count as u64 * minutes, None);
    }
    let words = count.map_or_else(|| unit.to_owned(), |count| format!("{count} {unit}"));
    match field::slug(&words).as_str() {
        "" => Window::named("limit", "limit"),
        slug => Window::named(format!("limit:{slug}"), format!("limit ({})", words.trim())),
    }
}

fn reset(limit: &Value) -> Option<Stamp> {
    ["resetTime", "resetAt"].into_iter().find_map(|name| field::timestamp(member(limit, name)))
}

/// Money for use beyond the plan: what is left of it, and what of it may be spent this month. Its currency is told
/// with the monthly amounts only.
fn from_wallet(wallet: &Value) -> Vec<Window> {
    let balance = &wallet["balance"];
    // A million units are a cent.
    let money = |units: &Value| Some(Decimal::from_minor(units, &Value::from(8))?.trimmed(2));
    let is_filled = money(&balance["amount"]).is_some_and(Decimal::is_positive);
    if balance["type"] != "BOOSTER" || !is_filled {
        return Vec::new();
    }
    let (spent, cap) = (member(wallet, "monthlyUsed"), member(wallet, "monthlyChargeLimit"));
    let currency = field::name(&cap["currency"]).or_else(|| field::name(&spent["currency"]));
    let currency = currency.as_deref().unwrap_or("credits");
    let cents = |price: &Value| Decimal::from_minor(member(price, "priceInCents"), &Value::from(2));
    let (used, limit) = (cents(spent), cents(cap).filter(|_| *member(wallet, "monthlyChargeLimitEnabled") == true));
    let left = money(member(balance, "amountLeft"))
        .map(|left| Window { remaining: Some(left.of(currency)), ..Window::named("balance", "balance") });
    let on_demand = used.or(limit).map(|_| Window {
        used: used.map(|used| used.of(currency)),
        limit: limit.map(|limit| limit.of(currency)),
        remaining: limit.zip(used).and_then(|(limit, used)| limit.checked_sub(used)).map(|left| left.of(currency)),
        ..Window::named("on_demand", "on-demand")
    });
    left.into_iter().chain(on_demand).collect()
}

/// `LEVEL_INTERMEDIATE` is `intermediate`: the names that the vendor sells these under are told in contradictory ways.
fn plan(body: &Value) -> Option<String> {
    let level = field::name(&body["user"]["membership"]["level"])?;
    Some(level.trim_start_matches("LEVEL_").to_lowercase())
}

/// A member by its name, which some answers write in snake case.
fn member<'v>(object: &'v Value, name: &str) -> &'v Value {
    let snake = |name: &str| {
        let letter = |c: char| if c.is_uppercase() { format!("_{}", c.to_lowercase()) } else { c.to_string() };
        name.chars().map(letter).collect::<String>()
    };
    object.get(name).unwrap_or_else(|| &object[snake(name)])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::credential::edit::{NewTokens, edit};
    use crate::provider::sample::{class, lines, no_part_is_an_answer, no_value_confuses, reply};

    macro_rules! sample {
        ($name:literal) => {
            ($name, include_str!(concat!("../../tests/data/kimi/", $name, ".json")))
        };
    }

    fn read(body: &[u8]) -> UsageOutcome {
        Kimi.read_usage(&reply(200, &[], body), Stamp::UNIX_EPOCH)
    }

    #[test]
    fn every_known_shape_yields_what_a_person_expects() {
        let (week, month) = ("2026-09-18T09:41:27.3051182Z", "2026-10-01T00:00:00Z");
        for ((name, body), expected) in [
            (
                sample!("k1"),
                vec![
                    "plan: intermediate".to_owned(),
                    "5-hour [five_hour] 0%, 0 of 100 units, 100 units left, resets 2026-09-14T20:12:44.118204917Z"
                        .to_owned(),
                    format!("weekly [seven_day] 58%, 58 of 100 units, 42 units left, resets {week}"),
                    "balance [balance] 100.00 USD left".to_owned(),
                    "on-demand [on_demand] 50.00 of 200.00 USD, 150.00 USD left".to_owned(),
                ],
            ),
            (
                sample!("k1_counts"),
                vec![
                    "plan: -".to_owned(),
                    "5-hour [five_hour] 6.5%, 13 of 200 units, 187 units left, resets 2026-03-04T20:00:00Z".to_owned(),
                    "weekly [seven_day] 10.44921875%, 214 of 2048 units, 1834 units left, resets 2026-03-09T00:00:00Z"
                        .to_owned(),
                ],
            ),
            (
                sample!("k1_used_omitted"),
                vec![
                    "plan: free".to_owned(),
                    format!("weekly [seven_day] 0%, 0 of 100 units, 100 units left, resets {week}"),
                ],
            ),
            (
                sample!("k1_remaining_omitted"),
                vec![
                    "plan: -".to_owned(),
                    format!("weekly [seven_day] 100%, 100 of 100 units, 0 units left, resets {week}"),
                ],
            ),
            (
                sample!("no_reset"),
                vec![
                    "plan: -".to_owned(),
                    "3-hour [3_hour] 25%, 5 of 20 units, 15 units left".to_owned(),
                    "limit (2 fortnight) [limit:2-fortnight] 50%, 1 of 2 units, 1 units left".to_owned(),
                    "daily [day] of 50 units".to_owned(),
                    "weekly [seven_day] 3%, 3 of 100 units, 97 units left".to_owned(),
                ],
            ),
            (
                sample!("k2"),
                vec![
                    "plan: -".to_owned(),
                    "5-hour [five_hour] 30%, resets 2026-09-11T18:00:00Z".to_owned(),
                    "weekly [seven_day] 73.4512%, resets 2026-09-17T00:00:00Z".to_owned(),
                    format!("monthly [month] 40%, resets {month}"),
                    format!("monthly (code) [month:code] 25%, resets {month}"),
                ],
            ),
            (
                sample!("k2_strings"),
                vec![
                    "plan: -".to_owned(),
                    "5-hour [five_hour] 12.34%, resets 2026-09-11T18:00:00Z".to_owned(),
                    "daily [day] 7%, resets 2026-09-12T00:00:00Z".to_owned(),
                    "weekly [seven_day] 0.5%".to_owned(),
                ],
            ),
            (
                sample!("k2_over"),
                vec!["plan: -".to_owned(), "5-hour [five_hour] 107.25%, resets 2026-09-11T18:00:00Z".to_owned()],
            ),
            (
                sample!("k2_zero_vs_k1"),
                vec![
                    "plan: -".to_owned(),
                    "5-hour [five_hour] 44%, 44 of 100 units, 56 units left, resets 2026-09-23T06:47:09.122865Z"
                        .to_owned(),
                    format!("weekly [seven_day] 58%, 58 of 100 units, 42 units left, resets {week}"),
                ],
            ),
            (
                sample!("k2_month_only"),
                vec![
                    "plan: -".to_owned(),
                    "5-hour [five_hour] 43.72%, resets 2026-09-23T06:47:08Z".to_owned(),
                    "monthly [month] 78.77%, resets 2026-10-17T00:00:00Z".to_owned(),
                    "balance [balance] 3.50505 CNY left".to_owned(),
                    "on-demand [on_demand] 12.00 CNY used".to_owned(),
                ],
            ),
            (
                sample!("unknown_limit_key"),
                vec!["plan: -".to_owned(), "weekly [seven_day] 20%, resets 2026-09-17T00:00:00Z".to_owned()],
            ),
            (
                sample!("usages_array"),
                vec![
                    "plan: -".to_owned(),
                    "5-hour [five_hour] 8%, 8 of 100 units, 92 units left".to_owned(),
                    format!("weekly [seven_day] 31%, 31 of 100 units, 69 units left, resets {week}"),
                ],
            ),
        ] {
            assert_eq!(lines(&read(body.as_bytes())), expected, "{name}");
        }
    }

    #[test]
    fn pools_count_unless_all_are_zero_and_a_row_is_not() {
        let row = |used: u32| json!({"limit": "100", "used": used.to_string()});
        let pool = |ratio: f64| json!({"limit_5h": {"used_ratio": 0}, "limit_7d": {"used_ratio": ratio}});
        for (usage, usages, expected) in [
            (row(58), pool(0.2), 20.0),
            (row(0), pool(0.2), 20.0),
            (row(58), pool(0.0), 58.0),
            (row(0), pool(0.0), 0.0),
            (json!(null), pool(0.0), 0.0),
            (row(58), json!({"limit_9h": {"used_ratio": 0.9}}), 58.0),
            (row(58), json!({"limit_7d": {"used_ratio": "much"}}), 58.0),
        ] {
            let body = json!({"usage": usage, "usages": usages, "totalQuota": {"limit": "100", "remaining": "99"}});
            let week = windows(&body).unwrap().pop().map(|window| (window.id, window.used_percent));
            assert_eq!(week, Some(("seven_day".to_owned(), Some(expected))), "{body}");
        }
    }

    #[test]
    fn a_row_without_used_and_remaining_is_unknown_and_not_zero() {
        let of = |counts: Value| windows(&json!({"usage": counts})).map(|mut windows| windows.remove(0).used_percent);
        assert_eq!(of(json!({"limit": "100"})), Some(None));
        assert_eq!(of(json!({"limit": "100", "used": "", "remaining": null})), Some(None));
        assert_eq!(of(json!({"limit": "0", "used": "0"})), Some(None));
        assert_eq!(of(json!({"used": "3"})), None);
    }

    #[test]
    fn a_wallet_counts_a_million_units_as_a_cent_and_an_empty_or_other_one_is_ignored() {
        let left = |wallet: Value| {
            let left = from_wallet(&wallet).into_iter().find_map(|window| window.remaining);
            left.map(|left| format!("{} {}", left.amount, left.unit))
        };
        let balance =
            |kind: &str, amount: Value, left: Value| json!({"type": kind, "amount": amount, "amountLeft": left});
        for (balance, expected) in [
            (balance("BOOSTER", json!("20000000000"), json!("10000000000")), Some("100.00 credits")),
            (balance("BOOSTER", json!(20_000_000_000_i64), json!(1)), Some("0.00000001 credits")),
            (balance("BOOSTER", json!("20000000000"), json!(null)), None),
            (balance("BOOSTER", json!("0"), json!("0")), None),
            (balance("GIFT", json!("20000000000"), json!("10000000000")), None),
            (json!({}), None),
        ] {
            assert_eq!(left(json!({"balance": balance})).as_deref(), expected, "{balance}");
        }
    }

    #[test]
    fn every_refusal_has_its_class() {
        let error = r#"{"error":{"message":"The API Key appears to be invalid or may have expired.","type":"invalid_authentication_error"}}"#;
        for (status, body, expected) in [
            (200, "", "garbage"),
            (200, "{}", "garbage"),
            (200, r#"{"usages": {"limit_5h": {}}}"#, "garbage"),
            (200, r#"{"usages": {"limit_9h": {"used_ratio": 1}}, "limits": []}"#, "garbage"),
            (200, r#"{"usages": {}, "limits": [], "boosterWallet": {}}"#, "answered"),
            (401, error, "rejected"),
            (401, "", "rejected"),
            (403, error, "rejected"),
            (403, "", "rejected"),
            (403, "<html>", "challenge"),
            (403, r#"{"error": {"code": "account_deactivated"}}"#, "revoked"),
            (404, r#"{"error": {"message": "not found"}}"#, "no permission"),
            (404, "", "no permission"),
            (404, "<html>", "gone(404)"),
            (429, "", "limited"),
            (500, "", "server(500)"),
        ] {
            let outcome = Kimi.read_usage(&reply(status, &[], body), Stamp::UNIX_EPOCH);
            assert_eq!(class(&outcome), expected, "{status} {body}");
        }
        let challenge = Kimi.read_usage(&reply(403, &[("cf-mitigated", "challenge")], ""), Stamp::UNIX_EPOCH);
        assert_eq!(class(&challenge), "challenge");
    }

    #[test]
    fn damage_anywhere_in_an_answer_confuses_nothing() {
        for (name, body) in [sample!("k1"), sample!("no_reset"), sample!("k2"), sample!("k2_month_only")] {
            no_part_is_an_answer(name, body, read);
            no_value_confuses(name, body, read);
        }
    }

    #[test]
    fn the_token_endpoint_rotates_and_its_refusals_have_their_class() {
        let granted = Kimi.read_refresh(&reply(200, &[], sample!("token_rotated").1), Stamp::UNIX_EPOCH).unwrap();
        assert!(granted.access.is_some() && granted.refresh.is_some());
        assert_eq!(granted.lease.as_secs(), 900);
        for (status, body, is_terminal) in [
            (400, r#"{"error": "invalid_grant"}"#, true),
            (401, r#"{"error": "unauthorized"}"#, true),
            (403, r#"{"error": "forbidden"}"#, true),
            (401, r#"{"error": "invalid_client"}"#, false),
            (401, "<html>", false),
            (403, "", false),
            (400, "{}", false),
            (429, "", false),
            (503, r#"{"error": "unavailable"}"#, false),
        ] {
            let refusal = Kimi.read_refresh(&reply(status, &[], body), Stamp::UNIX_EPOCH).unwrap_err();
            assert_eq!(matches!(refusal, Refusal::Terminal(_)), is_terminal, "{status} {body} {refusal:?}");
        }
    }

    #[test]
    fn the_login_of_either_client_is_read_with_whole_or_broken_seconds() {
        let login = |body: &str| match Kimi.read_login(serde_json::from_str(body).unwrap()) {
            Ok(Stored::Login(login)) => login,
            other => panic!("{other:?}"),
        };
        let python = login(sample!("kimi_cli").1);
        assert_eq!(python.expires_at.unwrap().as_millisecond(), 1_789_400_000_123);
        assert_eq!(python.identity.as_deref(), Some("d0000000000000000000"));
        let typescript = login(sample!("kimi_code").1);
        assert_eq!(typescript.expires_at.unwrap().as_millisecond(), 1_789_400_000_000);
        assert!(typescript.refresh.is_some() && python.refresh.is_some());
        let key = Kimi.read_login(json!("sk-kimi-FAKE"));
        assert!(matches!(key, Ok(Stored::Login(StoredLogin { refresh: None, expires_at: None, .. }))));
        let tombstone = serde_json::from_str(sample!("tombstone_file").1).unwrap();
        assert!(matches!(Kimi.read_login(tombstone), Ok(Stored::SignedOut)));
        for content in [json!([]), json!({"access_token": 7}), json!({"refresh_token": "eyJ.FAKE"}), json!("two words")]
        {
            assert!(Kimi.read_login(content.clone()).is_err(), "{content}");
        }
    }

    #[test]
    fn a_refreshed_file_of_an_own_grant_keeps_all_else_as_onwatchs_writer_did_not() {
        let (access, refresh) = ("eyJ.FAKE-NEW".to_owned().into(), "eyJ.FAKE-R-NEW".to_owned().into());
        let new = NewTokens {
            access: Some(&access),
            refresh: Some(&refresh),
            expires_at: Some(Stamp::from_second(1_789_400_900).unwrap()),
            ..NewTokens::default()
        };
        let (_, before) = sample!("kimi_code");
        let after = edit(before.as_bytes(), STORE.layout.unwrap(), &new).unwrap();
        let after = String::from_utf8(secrecy::ExposeSecret::expose_secret(&after).to_vec()).unwrap();
        let wanted = before
            .replace("eyJ.FAKE-R", "eyJ.FAKE-R-NEW")
            .replace("\"eyJ.FAKE\"", "\"eyJ.FAKE-NEW\"")
            .replace("1789400000", "1789400900");
        assert!(after == wanted, "{after}");
    }

    #[test]
    fn a_refresh_is_a_form_with_the_public_client_id() {
        let SecretPlace::Field { name: "refresh_token", others, encoding: TokenEncoding::Form } =
            Kimi.refresh_request(&Kimi.endpoints()).secret
        else {
            panic!("no form")
        };
        let id = "17e5f671-d194-4dfb-9706-5516cb48c098".to_owned();
        assert_eq!(others, [("grant_type", "refresh_token".to_owned()), ("client_id", id)]);
    }
}

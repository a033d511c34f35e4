//! `MiniMax`'s coding and token plans (`reference/providers.md`, section 9).
//!
//! A row for each model, or for all (`general`), with a limit for a few hours and one for the week. Counted is what is
//! left, whatever the fields are called, and a total of 0 says nothing.

use serde_json::Value;

use super::field::{self, Decimal};
use super::store::{self, Store, Stored};
use super::{Endpoints, LogIn, Provider, Reply, answer, answered, fault, period};
use crate::model::{ProviderId, UsageOutcome, Window, WindowStatus};
use crate::policy::time::Stamp;

/// A key of a plan goes before one that is paid for as it is used, which has no quota.
static STORE: Store = Store::of_keys(&[], &["MINIMAX_CODING_API_KEY", "MINIMAX_API_KEY"]);

/// The row that is for every model.
const EVERY_MODEL: &str = "general";

/// `MiniMax`, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct MiniMax;

impl Provider for MiniMax {
    fn id(&self) -> ProviderId {
        ProviderId::new("minimax")
    }

    /// Those outside China. A key of `api.minimaxi.com` needs a `usage-url`.
    fn endpoints(&self) -> Endpoints {
        Endpoints::keyed("https://api.minimax.io/v1/api/openplatform/coding_plan/remains")
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Words("make a new key at platform.minimax.io (or minimaxi.com) and put it where the account reads it")
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        store::read_key(content, store::KEY_MEMBERS)
    }

    /// The code inside decides under a success and, since a refused key comes with 200 and with 403, about a key; any
    /// other status speaks for itself.
    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        let body = field::json(&reply.body).unwrap_or_default();
        let codes = [&body, &body["data"]].map(|holder| field::number(&holder["base_resp"]["status_code"]));
        let code = codes.into_iter().flatten().next();
        let meant = code.filter(|code| *code != 0.0).map(as_status);
        match (reply.status, meant) {
            (200..=299, Some(meant)) | (401 | 403, Some(meant @ Some(401.0))) => fault::inside(reply, meant, received),
            _ => answer(reply, received, |body| read(&body, received)),
        }
    }
}

/// The codes that `MiniMax` documents, as HTTP says the same.
fn as_status(code: f64) -> Option<f64> {
    const REFUSED: [f64; 2] = [1004.0, 2049.0];
    const LATER: [f64; 4] = [1000.0, 1001.0, 1024.0, 1033.0];
    match code {
        _ if REFUSED.contains(&code) => Some(401.0),
        1002.0 => Some(429.0),
        _ if LATER.contains(&code) => Some(500.0),
        _ => None,
    }
}

fn read(body: &Value, received: Stamp) -> UsageOutcome {
    let body = if body["data"].is_object() { &body["data"] } else { body };
    let Some(rows) = body["model_remains"].as_array() else {
        return fault::garbage("the answer names no model's quota");
    };
    let limits = rows.iter().flat_map(|row| [Limit::INTERVAL, Limit::WEEKLY].map(|limit| limit.window(row, received)));
    let points = Decimal::read(&body["points_balance"]).map(|points| points.of("points"));
    let balance = points.map(|left| Window { remaining: Some(left), ..Window::named("balance", "balance") });
    let titles = rows.iter().chain([body]).map(|holder| &holder["current_subscribe_title"]);
    answered(limits.flatten().chain(balance), titles.into_iter().find_map(field::name))
}

/// What the fields of a row's two limits are called.
struct Limit {
    /// How long it lasts, where its name says so.
    minutes: Option<u64>,
    total: &'static str,
    left: &'static str,
    percent_left: &'static str,
    status: &'static str,
    start: &'static str,
    end: &'static str,
    lasts: &'static str,
}

impl Limit {
    const INTERVAL: Self = Self {
        minutes: None,
        total: "current_interval_total_count",
        left: "current_interval_usage_count",
        percent_left: "current_interval_remaining_percent",
        status: "current_interval_status",
        start: "start_time",
        end: "end_time",
        lasts: "remains_time",
    };

    const WEEKLY: Self = Self {
        minutes: Some(period::WEEK),
        total: "current_weekly_total_count",
        left: "current_weekly_usage_count",
        percent_left: "current_weekly_remaining_percent",
        status: "current_weekly_status",
        start: "weekly_start_time",
        end: "weekly_end_time",
        lasts: "weekly_remains_time",
    };

    fn window(self, row: &Value, received: Stamp) -> Option<Window> {
        let model = field::name(&row["model_name"]);
        let scope = model.filter(|model| !model.eq_ignore_ascii_case(EVERY_MODEL));
        let total = Decimal::read(&row[self.total]).filter(|total| total.percent_of(*total).is_some());
        let left = total.and_then(|_| Decimal::read(&row[self.left]));
        let used = total.zip(left).and_then(|(total, left)| total.checked_sub(left));
        let percent_left = field::number(&row[self.percent_left]);
        let used_percent = percent_left.map(|left| 100.0 - left);
        let used_percent = used_percent.or_else(|| used?.percent_of(total?));
        let in_plan = field::number(&row[self.status]) != Some(3.0);
        if used_percent.is_none() && in_plan {
            return None;
        }
        let mut window = self.named(row, scope.as_deref());
        window.model = scope;
        if !in_plan {
            // Such a row says that all of it is left.
            return Some(Window { status: WindowStatus::NotInPlan, ..window });
        }
        let amount = |amount: Option<Decimal>| amount.map(|amount| amount.of("requests"));
        let (used, limit, remaining) = (amount(used), amount(total), amount(left));
        Some(Window { used_percent, used, limit, remaining, resets_at: self.end(row, received), ..window })
    }

    /// By how long it lasts; `interval` where that is not told.
    fn named(&self, row: &Value, scope: Option<&str>) -> Window {
        let [start, end] = [self.start, self.end].map(|field| field::timestamp(&row[field]));
        let told = || Some((end?.duration_since(start?).as_secs() + 30) / 60);
        let minutes = self.minutes.or_else(|| u64::try_from(told()?).ok().filter(|minutes| *minutes > 0));
        match (minutes, scope) {
            (Some(minutes), _) => period::window(minutes, scope),
            (None, None) => Window::named("interval", "interval"),
            (None, Some(model)) => {
                Window::named(format!("interval:{}", field::slug(model)), format!("interval ({model})"))
            }
        }
    }

    /// When it starts over: said outright, or as the time that is left.
    fn end(&self, row: &Value, received: Stamp) -> Option<Stamp> {
        let lasts = || field::seconds(&row[self.lasts]).map(|millis| millis / 1000);
        field::timestamp(&row[self.end]).or_else(|| received.checked_add(lasts()?).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::told::{damage_costs_one_entry_only, reply, sample, told};

    fn read(reply: &Reply) -> UsageOutcome {
        MiniMax.read_usage(reply, "2026-09-14T15:00:00Z".parse().unwrap())
    }

    const SAMPLES: [((&str, &str), &[&str]); 4] = [
        (
            sample!("minimax", "percent"),
            &[
                "five_hour \"5-hour\" 12% | resets 2026-09-14T18:00:00Z",
                "seven_day \"weekly\" 30% | resets 2026-09-21T00:00:00Z",
                "day:video \"daily (video)\" not in plan -",
                "weekly:video \"weekly (video)\" not in plan -",
            ],
        ),
        (
            sample!("minimax", "counts"),
            &[
                "plan Coding Plan Plus",
                "five_hour:minimax-m2 \"5-hour (MiniMax-M2)\" 6.67% | used 100 requests, limit 1500 requests, \
                 left 1400 requests | resets 2026-09-14T18:00:00Z",
            ],
        ),
        (
            sample!("minimax", "wrapped"),
            &[
                "five_hour \"5-hour\" 100% | resets 2026-09-14T18:00:00Z",
                "interval:speech \"interval (speech)\" 75% | resets 2026-09-14T16:00:00Z",
                "balance \"balance\" - | used -, limit -, left 1200 points",
            ],
        ),
        (sample!("minimax", "empty"), &[]),
    ];

    #[test]
    fn every_row_tells_a_limit_of_hours_and_one_of_a_week() {
        for ((name, body), expected) in SAMPLES {
            assert_eq!(told(&read(&reply(200, body))), expected, "{name}");
        }
        let UsageOutcome::Answered { windows, .. } = read(&reply(200, SAMPLES[0].0.1)) else { panic!("not read") };
        let models: Vec<_> = windows.iter().map(|window| window.model.as_deref()).collect();
        assert_eq!(models, [None, None, Some("video"), Some("video")]);
    }

    /// As a used count 1400 of 1500 would be nearly all.
    #[test]
    fn what_is_called_the_usage_count_is_what_is_left() {
        let UsageOutcome::Answered { windows, .. } = read(&reply(200, SAMPLES[1].0.1)) else { panic!("not read") };
        assert_eq!(windows[0].used.as_ref().unwrap().amount, "100");
    }

    #[test]
    fn a_total_of_zero_without_a_percentage_is_neither_exhausted_nor_untouched() {
        let row = r#"{"model_name": "general", "current_interval_total_count": 0, "current_interval_usage_count": 0}"#;
        assert!(told(&read(&reply(200, format!(r#"{{"model_remains": [{row}]}}"#)))).is_empty());
    }

    #[test]
    fn every_refusal_is_told_apart_whatever_its_status() {
        let unknown = "failed: Garbage(\"the answer is an error with a code that is not known\")";
        let auth = sample!("minimax", "200_code_1004").1;
        for (status, body, expected) in [
            (200, auth, "rejected: the token was refused"),
            (403, auth, "rejected: the token was refused"),
            (200, r#"{"data": {"base_resp": {"status_code": "1004"}}}"#, "rejected: the token was refused"),
            (200, r#"{"base_resp": {"status_code": 2049}}"#, "rejected: the token was refused"),
            (200, sample!("minimax", "200_code_1002").1, "limited None"),
            (200, r#"{"base_resp": {"status_code": 1033}}"#, "failed: Server(500)"),
            (200, r#"{"base_resp": {"status_code": 7}}"#, unknown),
            (401, r#"{"error": {"message": "no"}}"#, "rejected: the token was refused"),
            (403, "<html>Just a moment...</html>", "failed: Challenge"),
            (403, r#"{"base_resp": {"status_code": 0}}"#, "no permission: the account may not read its usage"),
            (429, "", "limited None"),
            (429, r#"{"base_resp": {"status_code": 2056}}"#, "limited None"),
            (429, r#"{"base_resp": {"status_code": 1000}}"#, "limited None"),
            (503, r#"{"base_resp": {"status_code": 7}}"#, "failed: Server(503)"),
            (500, "", "failed: Server(500)"),
            (200, "{}", "failed: Garbage(\"the answer names no model's quota\")"),
            (200, "<html>", "failed: Garbage(\"the answer is not JSON\")"),
        ] {
            assert_eq!(told(&read(&reply(status, body))), [expected], "{status} {body}");
        }
    }

    #[test]
    fn a_damaged_row_costs_no_other() {
        let parents = ["/model_remains", "/data/model_remains"];
        let compared = SAMPLES.map(|(sample, _)| damage_costs_one_entry_only(read, sample, &parents));
        assert!(compared.iter().sum::<usize>() > 100, "{compared:?}");
    }
}

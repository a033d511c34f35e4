//! Synthetic's plans (`reference/providers.md`, section 10).
//!
//! Blocks come and go, and any of them may be missing: whatever has a limit is a window. The newer limits refill
//! little by little; the moment of the next refill (`nextRegenAt`, `nextTickAt`) is no reset, so it is not read as one.

use serde_json::Value;

use super::field::{self, Decimal};
use super::store::{self, Store, Stored};
use super::{Endpoints, LogIn, Provider, Reply, answer, answered, fault, period};
use crate::model::{ProviderId, UsageOutcome, Window};
use crate::policy::time::Stamp;

static STORE: Store = Store::of_keys(&[], &["SYNTHETIC_API_KEY"]);

/// Synthetic, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct Synthetic;

impl Provider for Synthetic {
    fn id(&self) -> ProviderId {
        ProviderId::new("synthetic")
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints::keyed("https://api.synthetic.new/v2/quotas")
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Words("make a new key at synthetic.new and put it where the account reads it")
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        store::read_key(content, store::KEY_MEMBERS)
    }

    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        let told = |body: Value| match windows(&body) {
            Some(windows) => answered(windows, None),
            None => fault::garbage("the answer names no quota"),
        };
        match reply.status {
            401 | 403 => fault::bare(reply, received),
            _ => answer(reply, received, told),
        }
    }
}

/// The windows of every block, of every block within a block, and of the rows of a list; `None` if there is none, nor
/// an empty list.
fn windows(body: &Value) -> Option<Vec<Window>> {
    let mut windows = Vec::new();
    for (key, block) in body.as_object()? {
        match filled(block, || named(key)) {
            Some(window) => windows.push(window),
            None => windows.extend(parts(key, block)),
        }
    }
    let rows = body["quotas"].as_array();
    windows.extend(rows.into_iter().flatten().filter_map(|row| filled(row, || from_row(row))));
    (!windows.is_empty() || rows.is_some()).then_some(windows)
}

/// `rollingFiveHourLimit` and `weeklyTokenLimit` say their length; any other block is called as it is.
fn named(key: &str) -> Option<Window> {
    match key {
        "rollingFiveHourLimit" => Some(period::window(300, None)),
        "weeklyTokenLimit" => Some(period::window(period::WEEK, None)),
        _ => {
            let words = words(&field::printable(key)?);
            Some(Window::named(words.replace(' ', "_"), words))
        }
    }
}

/// `search: {hourly: …}`
fn parts(key: &str, block: &Value) -> Vec<Window> {
    let minutes = |part: &str| match part {
        "hourly" => Some(period::HOUR),
        "daily" => Some(period::DAY),
        "weekly" => Some(period::WEEK),
        "monthly" => Some(period::MONTH),
        _ => None,
    };
    let whole = |part: &str| {
        let scope = words(&field::printable(key)?);
        if let Some(minutes) = minutes(part) {
            return Some(period::window(minutes, Some(&scope)));
        }
        let part = words(&field::printable(part)?);
        let id = format!("{}:{}", part.replace(' ', "_"), field::slug(&scope));
        Some(Window::named(id, format!("{part} ({scope})")))
    };
    let parts = block.as_object().into_iter().flatten();
    parts.filter_map(|(part, block)| filled(block, || whole(part))).collect()
}

/// A row of the list that some answers have instead of blocks.
fn from_row(row: &Value) -> Option<Window> {
    let name = field::name(&row["name"]);
    match field::number(&row["window_minutes"]).filter(|minutes| *minutes >= 1.0) {
        Some(minutes) => Some(period::window(minutes as u64, name.as_deref())),
        None => name.map(|name| Window::named(field::slug(&name), name)),
    }
}

/// The window of a block, if it has numbers: requests of so many, or dollars as text with their sign.
fn filled(block: &Value, window: impl FnOnce() -> Option<Window>) -> Option<Window> {
    let first = |keys: &[&str]| keys.iter().find_map(|key| Decimal::dollars(&block[*key]));
    let limit = first(&["limit", "max", "maxCredits"]);
    let left = first(&["remaining", "remainingCredits"]);
    let used = first(&["requests", "used"]).or_else(|| limit?.checked_sub(left?));
    let percent_left = field::number(&block["percentRemaining"]);
    let used_percent = percent_left.map(|left| 100.0 - left).or_else(|| used?.percent_of(limit?));
    if used.is_none() && left.is_none() && used_percent.is_none() {
        return None;
    }
    let unit = if block["maxCredits"].is_null() { "requests" } else { "USD" };
    let amount = |amount: Option<Decimal>| amount.map(|amount| amount.of(unit));
    let resets_at = ["renewsAt", "renews_at", "reset_at"].iter().find_map(|key| field::timestamp(&block[*key]));
    Some(Window {
        used_percent,
        used: amount(used),
        limit: amount(limit),
        remaining: amount(left.or_else(|| limit?.checked_sub(used?))),
        resets_at,
        ..window()?
    })
}

/// `toolCallDiscounts` in words: "tool call discounts".
fn words(key: &str) -> String {
    let mut words = String::new();
    for c in key.chars() {
        match c {
            '_' | '-' => words.push(' '),
            c if c.is_uppercase() => words.extend([' '].into_iter().chain(c.to_lowercase())),
            c => words.push(c),
        }
    }
    words.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::told::{damage_costs_one_entry_only, reply, sample, told};

    fn read(reply: &Reply) -> UsageOutcome {
        Synthetic.read_usage(reply, Stamp::UNIX_EPOCH)
    }

    const SAMPLES: [((&str, &str), &[&str]); 3] = [
        (
            sample!("synthetic", "subscription"),
            &[
                "subscription \"subscription\" 9.26% | used 12.5 requests, limit 135 requests, left 122.5 requests \
                 | resets 2026-09-14T21:36:14Z",
                "hour:search \"hourly (search)\" 2% | used 5 requests, limit 250 requests, left 245 requests \
                 | resets 2026-09-14T17:20:03.118Z",
                "tool_call_discounts \"tool call discounts\" 1.91% | used 310 requests, limit 16200 requests, \
                 left 15890 requests | resets 2026-09-15T14:26:32Z",
            ],
        ),
        (
            sample!("synthetic", "rolling"),
            &[
                "subscription \"subscription\" 0% | used 0 requests, limit 500 requests, left 500 requests \
                 | resets 2026-09-14T21:36:14Z",
                "hour:search \"hourly (search)\" 2% | used 5 requests, limit 250 requests, left 245 requests \
                 | resets 2026-09-14T17:20:03.118Z",
                "seven_day \"weekly\" 9% | used 2.16 USD, limit 24 USD, left 21.84 USD",
                "five_hour \"5-hour\" 11.8% | used 59 requests, limit 500 requests, left 441 requests",
            ],
        ),
        (
            sample!("synthetic", "generic"),
            &[
                "five_hour:requests \"5-hour (Requests)\" 25% | used 125 requests, limit 500 requests, \
                 left 375 requests | resets 2026-09-14T21:00:00Z",
                "search \"Search\" 2% | used 5 requests, limit 250 requests, left 245 requests \
                 | resets 2026-09-14T17:00:00Z",
            ],
        ),
    ];

    #[test]
    fn whatever_has_a_limit_is_a_window() {
        for ((name, body), expected) in SAMPLES {
            assert_eq!(told(&read(&reply(200, body))), expected, "{name}");
        }
    }

    #[test]
    fn a_refusal_in_bare_words_is_a_verdict_and_a_page_is_none() {
        let no_quota = "failed: Garbage(\"the answer names no quota\")";
        for (status, body, expected) in [
            (401, "Unauthorized", "rejected: the token was refused"),
            (401, "", "rejected: the token was refused"),
            (401, r#"{"error": "bad key"}"#, "rejected: the token was refused"),
            (403, "Forbidden", "no permission: the account may not read its usage"),
            (401, "<html>nginx</html>", "failed: Challenge"),
            (403, "Just a moment...", "failed: Challenge"),
            (429, "", "limited None"),
            (500, "", "failed: Server(500)"),
            (200, "{}", no_quota),
            (200, "[]", no_quota),
            (200, r#"{"subscription": {"limit": null, "requests": null}}"#, no_quota),
        ] {
            assert_eq!(told(&read(&reply(status, body))), [expected], "{status} {body}");
        }
        assert!(told(&read(&reply(200, r#"{"quotas": []}"#))).is_empty());
    }

    #[test]
    fn a_plan_without_requests_has_no_percentage() {
        let outcome = read(&reply(200, r#"{"subscription": {"limit": 0, "requests": 0}}"#));
        let expected = "subscription \"subscription\" - | used 0 requests, limit 0 requests, left 0 requests";
        assert_eq!(told(&outcome), [expected]);
    }

    #[test]
    fn a_damaged_block_costs_no_other() {
        let compared = SAMPLES.map(|(sample, _)| damage_costs_one_entry_only(read, sample, &["/quotas", ""]));
        assert!(compared.iter().sum::<usize>() > 100, "{compared:?}");
    }
}

//! `OpenRouter`: what a key may still spend, and what is left of the credits it spends from (`reference/providers.md`,
//! section 8).
//!
//! Two requests: the key's own limit, and then the balance, which some keys may not see. What was spent a day, a week
//! or a month is not read: these are no limits.

use serde_json::Value;

use super::field::Decimal;
use super::store::{self, Store, Stored};
use super::{Endpoints, LogIn, Next, Poll, Provider, Reply, Request, answer, answered, fault};
use crate::model::{ProviderId, UsageOutcome, Window};
use crate::policy::time::Stamp;

static STORE: Store = Store::of_keys(&[], &["OPENROUTER_API_KEY"]);

const UNIT: &str = "USD";

/// `OpenRouter`, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct OpenRouter;

impl Provider for OpenRouter {
    fn id(&self) -> ProviderId {
        ProviderId::new("openrouter")
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints::keyed("https://openrouter.ai/api/v1/key")
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Words("make a new key at openrouter.ai and put it where the account reads it")
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        store::read_key(content, store::KEY_MEMBERS)
    }

    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        answer(reply, received, |body| of_key(&body["data"]))
    }

    fn converse(&self, poll: &Poll<'_>) -> Next {
        let Some(key) = poll.replies.first() else {
            return Next::Send(self.usage_request(poll.endpoints, poll.tenant));
        };
        let outcome = self.read_usage(key, poll.received);
        let UsageOutcome::Answered { mut windows, plan } = outcome else { return Next::Over(outcome) };
        match (poll.replies.get(1), credits_url(&poll.endpoints.usage_url)) {
            (None, Some(url)) => {
                Next::Also(Request::get(url, poll.endpoints), UsageOutcome::Answered { windows, plan })
            }
            (None, None) => Next::Over(UsageOutcome::Answered { windows, plan }),
            (Some(credits), _) => match answer(credits, poll.received, |body| answered(balance(&body["data"]), None)) {
                // A server that asks for patience gets it, even where it is only about what was asked besides.
                limited @ UsageOutcome::Limited { .. } => Next::Over(limited),
                UsageOutcome::Answered { windows: balance, .. } => {
                    windows.extend(balance);
                    Next::Over(UsageOutcome::Answered { windows, plan })
                }
                _ => Next::Over(UsageOutcome::Answered { windows, plan }),
            },
        }
    }
}

/// `…/credits` beside `…/key` or its alias `…/auth/key`.
fn credits_url(usage_url: &str) -> Option<String> {
    let base = usage_url.strip_suffix("/auth/key").or_else(|| usage_url.strip_suffix("/key"))?;
    Some(format!("{base}/credits"))
}

/// The key's own limit. Where the limit starts over each month, what was used in all is more than what was used of
/// it, so it counts only for a key without a limit.
fn of_key(key: &Value) -> UsageOutcome {
    let [spent, limit, remaining] = ["usage", "limit", "limit_remaining"].map(|field| Decimal::read(&key[field]));
    let used = limit.zip(remaining).and_then(|(limit, left)| limit.checked_sub(left)).or(spent);
    if used.is_none() && remaining.is_none() {
        return fault::garbage("the answer names neither use nor limit of the key");
    }
    let window = Window {
        used_percent: used.zip(limit).and_then(|(used, limit)| used.percent_of(limit)),
        used: used.map(|used| used.of(UNIT)),
        limit: limit.map(|limit| limit.of(UNIT)),
        remaining: remaining.map(|remaining| remaining.of(UNIT)),
        ..Window::named("key", "key")
    };
    let plan = (key["is_free_tier"] == true).then(|| "free".to_owned());
    answered([window], plan)
}

/// What is left of the credits: up to a minute old, and slightly below zero at times.
fn balance(credits: &Value) -> Option<Window> {
    let [bought, used] = ["total_credits", "total_usage"].map(|field| Decimal::read(&credits[field]));
    let remaining = bought?.checked_sub(used?)?;
    Some(Window { remaining: Some(remaining.of(UNIT)), ..Window::named("balance", "balance") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::told::{damage_costs_one_entry_only, reply, sample, told};

    const KEY: &str = sample!("openrouter", "key").1;

    /// The URL that a poll asks next, or else what it told.
    fn polled(usage_url: &str, replies: &[Reply]) -> Result<String, Vec<String>> {
        let endpoints = Endpoints::keyed(usage_url);
        match OpenRouter.converse(&Poll { endpoints: &endpoints, tenant: None, replies, received: Stamp::UNIX_EPOCH }) {
            Next::Send(request) | Next::Also(request, _) => Ok(request.url),
            Next::Over(outcome) => Err(told(&outcome)),
        }
    }

    #[test]
    fn the_key_is_asked_first_and_then_the_credits_beside_it() {
        for (key, credits) in [
            ("https://openrouter.ai/api/v1/key", Some("https://openrouter.ai/api/v1/credits")),
            ("http://127.0.0.1:1/api/v1/auth/key", Some("http://127.0.0.1:1/api/v1/credits")),
            ("http://127.0.0.1:1/quota", None),
        ] {
            assert_eq!(polled(key, &[]).as_deref(), Ok(key));
            assert_eq!(polled(key, &[reply(200, KEY)]).ok().as_deref(), credits);
            assert!(polled(key, &[reply(401, "{}")]).is_err());
        }
    }

    #[test]
    fn a_key_has_its_own_limit_and_a_share_of_the_balance() {
        let unlimited = sample!("openrouter", "key_unlimited").1;
        let renewed = sample!("openrouter", "key_reset").1;
        let credits = sample!("openrouter", "credits").1;
        let negative = sample!("openrouter", "credits_negative").1;
        let key = "key \"key\" 24.69% | used 12.345 USD, limit 50 USD, left 37.655 USD";
        let balance = "balance \"balance\" - | used -, limit -, left 57.5 USD";
        let mut table = vec![
            (KEY, reply(200, credits), vec![key, balance]),
            (
                unlimited,
                reply(200, negative),
                vec![
                    "plan free",
                    "key \"key\" - | used 12.345 USD, limit -, left -",
                    "balance \"balance\" - | used -, limit -, left -0.0003 USD",
                ],
            ),
            (renewed, reply(200, credits), vec!["key \"key\" 16% | used 8 USD, limit 50 USD, left 42 USD", balance]),
            (KEY, reply(429, "{}"), vec!["limited None"]),
        ];
        for credits in [reply(403, sample!("openrouter", "credits_403").1), reply(500, ""), reply(200, "{}")] {
            table.push((KEY, credits, vec![key]));
        }
        for (body, credits, expected) in table {
            let replies = [reply(200, body), credits];
            assert_eq!(polled("http://127.0.0.1:1/key", &replies).unwrap_err(), expected, "{replies:?}");
        }
    }

    #[test]
    fn credits_that_cannot_be_had_at_all_cost_nothing_of_the_key() {
        let endpoints = OpenRouter.endpoints();
        let replies = [reply(200, KEY)];
        let poll = Poll { endpoints: &endpoints, tenant: None, replies: &replies, received: Stamp::UNIX_EPOCH };
        let Next::Also(_, enough) = OpenRouter.converse(&poll) else { panic!("asks for the credits") };
        assert_eq!(enough, OpenRouter.read_usage(&replies[0], Stamp::UNIX_EPOCH));
    }

    #[test]
    fn every_refusal_is_told_apart() {
        let nothing = "failed: Garbage(\"the answer names neither use nor limit of the key\")";
        for (status, body, expected) in [
            (401, sample!("openrouter", "http_401").1, "rejected: the token was refused"),
            (402, sample!("openrouter", "http_402").1, "no permission: payment is required"),
            (429, "", "limited None"),
            (502, "", "failed: Server(502)"),
            (200, r#"{"data": {"limit": 5}}"#, nothing),
            (200, r#"{"data": []}"#, nothing),
            (200, "OK", "failed: Garbage(\"the answer is not JSON\")"),
        ] {
            assert_eq!(told(&OpenRouter.read_usage(&reply(status, body), Stamp::UNIX_EPOCH)), [expected], "{body}");
        }
    }

    #[test]
    fn damage_never_makes_a_reader_panic() {
        let both = |credits: &Reply| {
            let endpoints = OpenRouter.endpoints();
            let replies = [reply(200, KEY), credits.clone()];
            let poll = Poll { endpoints: &endpoints, tenant: None, replies: &replies, received: Stamp::UNIX_EPOCH };
            let Next::Over(outcome) = OpenRouter.converse(&poll) else { panic!("the second answer is the last") };
            outcome
        };
        for body in [sample!("openrouter", "credits").1, "{}", "null", "[[]]"] {
            for end in 0..=body.len() {
                assert!(matches!(both(&reply(200, &body[..end])), UsageOutcome::Answered { .. }), "{}", &body[..end]);
            }
        }
        let read = |reply: &Reply| OpenRouter.read_usage(reply, Stamp::UNIX_EPOCH);
        for sample in [sample!("openrouter", "key"), sample!("openrouter", "key_unlimited")] {
            damage_costs_one_entry_only(read, sample, &[]);
        }
    }
}

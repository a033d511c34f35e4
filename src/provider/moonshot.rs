//! Moonshot's open platform: a prepaid balance (`reference/providers.md`, section 12). Kimi Code's subscriptions are
//! another vendor here, and their keys are refused by this one.

use serde_json::Value;

use super::field::{self, Decimal};
use super::store::{self, Store, Stored};
use super::{Endpoints, LogIn, Next, Poll, Provider, Reply, answer, answered, fault, origin};
use crate::model::{ProviderId, UsageOutcome, Window};
use crate::policy::time::Stamp;

static STORE: Store = Store::of_keys(&[], &["MOONSHOT_API_KEY", "MOONSHOT_KEY"]);

/// What an amount is counted in where the host does not tell: never a guessed currency.
const UNTOLD: &str = "credits";

/// Moonshot, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct Moonshot;

impl Provider for Moonshot {
    fn id(&self) -> ProviderId {
        ProviderId::new("moonshot")
    }

    /// Those outside China. A key of `api.moonshot.cn` needs a `usage-url`.
    fn endpoints(&self) -> Endpoints {
        Endpoints::keyed("https://api.moonshot.ai/v1/users/me/balance")
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Words("make a new key at platform.moonshot.ai (or .cn) and put it where the account reads it")
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        store::read_key(content, store::KEY_MEMBERS)
    }

    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        read(reply, received, UNTOLD)
    }

    /// The answer does not name its currency; the region does.
    fn converse(&self, poll: &Poll<'_>) -> Next {
        let currency = match origin(&poll.endpoints.usage_url) {
            "https://api.moonshot.ai" => "USD",
            "https://api.moonshot.cn" => "CNY",
            _ => UNTOLD,
        };
        match poll.replies.last() {
            None => Next::Send(self.usage_request(poll.endpoints, poll.tenant)),
            Some(reply) => Next::Over(read(reply, poll.received, currency)),
        }
    }
}

fn read(reply: &Reply, received: Stamp, currency: &str) -> UsageOutcome {
    answer(reply, received, |body| {
        let code = field::number(&body["code"]);
        if code.is_some_and(|code| code != 0.0) {
            return fault::inside(reply, code, received);
        }
        let windows = balances(&body["data"], currency);
        if windows.is_empty() { fault::garbage("the answer names no balance") } else { answered(windows, None) }
    })
}

/// What is left, and the vouchers and the cash it consists of: a debt in cash does not show in the whole.
fn balances(data: &Value, currency: &str) -> Vec<Window> {
    let known = [
        ("available_balance", "balance", "balance"),
        ("voucher_balance", "balance:voucher", "balance (voucher)"),
        ("cash_balance", "balance:cash", "balance (cash)"),
    ];
    let balance = |(field, id, label)| {
        let remaining = Decimal::read(&data[field])?.of(currency);
        Some(Window { remaining: Some(remaining), ..Window::named(id, label) })
    };
    known.into_iter().filter_map(balance).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::told::{damage_costs_one_entry_only, reply, sample, told};

    fn read(reply: &Reply) -> UsageOutcome {
        Moonshot.read_usage(reply, Stamp::UNIX_EPOCH)
    }

    const SAMPLES: [((&str, &str), &[&str]); 2] = [
        (
            sample!("moonshot", "balance"),
            &[
                "balance \"balance\" - | used -, limit -, left 31.25 credits",
                "balance:voucher \"balance (voucher)\" - | used -, limit -, left 30 credits",
                "balance:cash \"balance (cash)\" - | used -, limit -, left 1.25 credits",
            ],
        ),
        (
            sample!("moonshot", "debt"),
            &[
                "balance \"balance\" - | used -, limit -, left 30 credits",
                "balance:voucher \"balance (voucher)\" - | used -, limit -, left 30 credits",
                "balance:cash \"balance (cash)\" - | used -, limit -, left -4.5 credits",
            ],
        ),
    ];

    #[test]
    fn a_debt_in_cash_is_shown_beside_the_balance_it_does_not_lower() {
        for ((name, body), expected) in SAMPLES {
            assert_eq!(told(&read(&reply(200, body))), expected, "{name}");
        }
    }

    #[test]
    fn the_host_tells_the_currency() {
        let replies = [reply(200, sample!("moonshot", "balance").1)];
        for (usage_url, currency) in [
            ("https://api.moonshot.ai/v1/users/me/balance", "USD"),
            ("https://api.moonshot.cn/v1/users/me/balance", "CNY"),
            ("https://api.moonshot.cn.example/v1/users/me/balance", "credits"),
            ("http://127.0.0.1:1/v1/users/me/balance", "credits"),
        ] {
            let endpoints = Endpoints::keyed(usage_url);
            let poll = |replies| Poll { endpoints: &endpoints, tenant: None, replies, received: Stamp::UNIX_EPOCH };
            let Next::Send(request) = Moonshot.converse(&poll(&[])) else { panic!("asks first") };
            assert_eq!(request.url, usage_url);
            let Next::Over(outcome) = Moonshot.converse(&poll(&replies)) else { panic!("one request") };
            assert!(told(&outcome)[0].ends_with(&format!("left 31.25 {currency}")), "{usage_url}: {outcome:?}");
        }
    }

    /// onWatch shows such an answer as a balance of 0.
    #[test]
    fn an_error_inside_a_success_is_no_balance() {
        let unknown = "failed: Garbage(\"the answer is an error with a code that is not known\")";
        for (status, body, expected) in [
            (200, sample!("moonshot", "200_code_not_0").1, unknown),
            (200, r#"{"code": "401"}"#, "rejected: the token was refused"),
            (200, r#"{"code": 429}"#, "limited None"),
            (200, r#"{"code": 503}"#, "failed: Server(503)"),
            (200, r#"{"code": 0, "data": {}}"#, "failed: Garbage(\"the answer names no balance\")"),
            (200, "", "failed: Garbage(\"the answer is not JSON\")"),
            (401, sample!("moonshot", "http_401").1, "rejected: the token was refused"),
            (429, "", "limited None"),
            (502, "<html>", "failed: Server(502)"),
        ] {
            assert_eq!(told(&read(&reply(status, body))), [expected], "{status} {body}");
        }
    }

    #[test]
    fn a_damaged_balance_costs_no_other() {
        let compared = SAMPLES.map(|(sample, _)| damage_costs_one_entry_only(read, sample, &["/data"]));
        assert!(compared.iter().sum::<usize>() > 10, "{compared:?}");
    }
}

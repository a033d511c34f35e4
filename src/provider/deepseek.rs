//! `DeepSeek`'s platform: a prepaid balance, one for each currency (`reference/providers.md`, section 12).

use serde_json::Value;

use super::field::{self, Decimal};
use super::store::{self, Store, Stored};
use super::{Endpoints, LogIn, Provider, Reply, answer, fault, listed};
use crate::model::{ProviderId, UsageOutcome, Window};
use crate::policy::time::Stamp;

static STORE: Store = Store::of_keys(&[], &["DEEPSEEK_API_KEY"]);

/// `DeepSeek`, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct DeepSeek;

impl Provider for DeepSeek {
    fn id(&self) -> ProviderId {
        ProviderId::new("deepseek")
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints::keyed("https://api.deepseek.com/user/balance")
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Words("make a new key at platform.deepseek.com and put it where the account reads it")
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        store::read_key(content, store::KEY_MEMBERS)
    }

    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        let told = |body: Value| match body["balance_infos"].as_array() {
            Some(balances) => listed(balances, balances.iter().filter_map(balance), None),
            None => fault::garbage("the answer names no balance"),
        };
        answer(reply, received, told)
    }
}

/// `balance:cny`. What was granted and what was paid for are parts of the total, and no balances of their own.
fn balance(balance: &Value) -> Option<Window> {
    let remaining = Decimal::read(&balance["total_balance"])?;
    let currency = field::name(&balance["currency"])?;
    let mut window = Window::named(format!("balance:{}", field::slug(&currency)), format!("balance ({currency})"));
    window.remaining = Some(remaining.of(&currency));
    Some(window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::told::{damage_costs_one_entry_only, reply, sample, told};

    fn read(reply: &Reply) -> UsageOutcome {
        DeepSeek.read_usage(reply, Stamp::UNIX_EPOCH)
    }

    const SAMPLES: [((&str, &str), &[&str]); 3] = [
        (sample!("deepseek", "one_currency"), &["balance:cny \"balance (CNY)\" - | used -, limit -, left 110 CNY"]),
        (
            sample!("deepseek", "two_currencies"),
            &[
                "balance:cny \"balance (CNY)\" - | used -, limit -, left 7.25 CNY",
                "balance:usd \"balance (USD)\" - | used -, limit -, left -0.03 USD",
            ],
        ),
        (sample!("deepseek", "empty"), &[]),
    ];

    #[test]
    fn a_list_of_which_nothing_can_be_read_is_no_answer() {
        let body = r#"{"is_available": true, "balance_infos": [{"currency": "CNY", "total_balance": null}, 7]}"#;
        assert!(told(&read(&reply(200, body)))[0].starts_with("failed: Garbage"));
    }

    #[test]
    fn every_currency_has_a_balance_of_its_own() {
        for ((name, body), expected) in SAMPLES {
            assert_eq!(told(&read(&reply(200, body))), expected, "{name}");
        }
    }

    #[test]
    fn every_refusal_is_told_apart() {
        for (status, body, expected) in [
            (401, sample!("deepseek", "http_401").1, "rejected: the token was refused"),
            (402, r#"{"error":{"message":"Insufficient Balance"}}"#, "no permission: payment is required"),
            (429, "{}", "limited None"),
            (503, "", "failed: Server(503)"),
            (200, "<html>", "failed: Garbage(\"the answer is not JSON\")"),
            (200, "{}", "failed: Garbage(\"the answer names no balance\")"),
            (200, r#"{"balance_infos": null}"#, "failed: Garbage(\"the answer names no balance\")"),
        ] {
            assert_eq!(told(&read(&reply(status, body))), [expected], "{status} {body}");
        }
    }

    #[test]
    fn a_damaged_balance_costs_no_other() {
        let compared = SAMPLES.map(|(sample, _)| damage_costs_one_entry_only(read, sample, &["/balance_infos"]));
        assert!(compared.iter().sum::<usize>() > 10, "{compared:?}");
    }
}

//! A vendor that quotad does not know, read as its user's config says.
//!
//! Owns what such a config can say ([`Recipe`]) and how an answer is read by it. Holds no secret: the key lies in a
//! file or a variable like any other.

use serde_json::Value;

use super::field::{self, Decimal};
use super::store::{self, Store, Stored};
use super::{Endpoints, LogIn, Next, Poll, Provider, Reply, Request, SecretPlace, answer, answered, fault};
use crate::model::{ProviderId, UsageOutcome, Window};
use crate::policy::time::Stamp;

/// It lies nowhere by itself: such an account is listed in the config, with its credential and its URL.
static STORE: Store = Store::of_keys(&[], &[]);

/// Where the key of a vendor goes in a request, and where its numbers stand in the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The header that carries the key, in lower case.
    pub header: String,
    /// What stands right before the key in it; may be empty.
    pub prefix: String,
    /// Its windows, in the order they are shown.
    pub windows: Vec<Part>,
}

/// Where the numbers of one window stand: JSON pointers (RFC 6901) into the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// [`Window::id`].
    pub id: String,
    /// [`Window::label`].
    pub label: String,
    /// What is used.
    pub used: Option<String>,
    /// What is allowed.
    pub limit: Option<String>,
    /// What is left.
    pub remaining: Option<String>,
    /// The percentage used, 0 to 100. Without it, it is worked out of the amounts.
    pub percent: Option<String>,
    /// When the window starts over.
    pub resets: Option<String>,
    /// What the amounts count: `requests`, `USD`.
    pub unit: String,
}

/// Whoever a [`Recipe`] is for, as a [`Provider`].
#[derive(Debug, Clone, Copy)]
pub struct Custom;

impl Custom {
    /// What the config calls it.
    pub const ID: ProviderId = ProviderId::new("custom");
}

impl Provider for Custom {
    fn id(&self) -> ProviderId {
        Self::ID
    }

    /// None of its own: the config has to name a URL and a recipe.
    fn endpoints(&self) -> Endpoints {
        Endpoints::keyed("")
    }

    fn store(&self) -> &'static Store {
        &STORE
    }

    fn log_in(&self) -> LogIn {
        LogIn::Words("make a new key at the vendor and put it where the account reads it")
    }

    fn read_login(&self, content: Value) -> Result<Stored, &'static str> {
        store::read_key(content, store::KEY_MEMBERS)
    }

    fn usage_request(&self, endpoints: &Endpoints, _tenant: Option<&str>) -> Request {
        let mut request = Request::get(endpoints.usage_url.clone(), endpoints);
        if let Some(recipe) = &endpoints.recipe {
            request.secret = SecretPlace::Header { name: recipe.header.clone().into(), prefix: recipe.prefix.clone() };
        }
        request
    }

    fn read_usage(&self, reply: &Reply, received: Stamp) -> UsageOutcome {
        read(reply, received, &[])
    }

    fn converse(&self, poll: &Poll<'_>) -> Next {
        let Some(reply) = poll.replies.last() else {
            return Next::Send(self.usage_request(poll.endpoints, poll.tenant));
        };
        let recipe = poll.endpoints.recipe.as_deref();
        Next::Over(read(reply, poll.received, recipe.map_or(&[], |recipe| &recipe.windows)))
    }
}

fn read(reply: &Reply, received: Stamp, parts: &[Part]) -> UsageOutcome {
    let told = |body: Value| {
        let mut windows = parts.iter().filter_map(|part| part.window(&body)).peekable();
        match windows.peek() {
            Some(_) => answered(windows, None),
            None => fault::garbage("none of the configured pointers leads to a number in the answer"),
        }
    };
    match reply.status {
        401 | 403 => fault::bare(reply, received),
        _ => answer(reply, received, told),
    }
}

impl Part {
    /// The window, if the answer tells what is used of it or left.
    fn window(&self, body: &Value) -> Option<Window> {
        let at = |pointer: &Option<String>| body.pointer(pointer.as_deref()?);
        let [used, limit, left] = [&self.used, &self.limit, &self.remaining].map(|p| at(p).and_then(Decimal::dollars));
        let taken = used.or_else(|| limit?.checked_sub(left?));
        let percent = at(&self.percent).and_then(field::number);
        let used_percent = percent.or_else(|| taken?.percent_of(limit?));
        if used.is_none() && left.is_none() && used_percent.is_none() {
            return None;
        }
        let amount = |amount: Option<Decimal>| amount.map(|amount| amount.of(&self.unit));
        Some(Window {
            used_percent,
            used: amount(used),
            limit: amount(limit),
            remaining: amount(left),
            resets_at: at(&self.resets).and_then(field::timestamp),
            ..Window::named(&self.id, &self.label)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::provider::told::{damage_costs_one_entry_only, reply, sample, told};

    fn part(id: &str, pointers: [&str; 5]) -> Part {
        let [used, limit, remaining, percent, resets] =
            pointers.map(|pointer| (!pointer.is_empty()).then(|| pointer.to_owned()));
        Part { id: id.into(), label: id.into(), used, limit, remaining, percent, resets, unit: "requests".into() }
    }

    fn endpoints() -> Endpoints {
        let windows = vec![
            part("month", ["/data/used", "/data/limit", "/data/remaining", "/data/percent", "/data/reset_at"]),
            part("tier", ["", "/tiers/0/max", "/tiers/0/left", "", "/tiers/0/a~1b"]),
            part("money", ["/spent", "", "", "", ""]),
            part("nowhere", ["/data/none", "/data/limit", "", "/tiers", ""]),
        ];
        let recipe = Recipe { header: "x-api-key".into(), prefix: String::new(), windows };
        Endpoints { recipe: Some(Arc::new(recipe)), ..Endpoints::keyed("https://api.newvendor.example/v1/quota") }
    }

    fn read(reply: &Reply) -> UsageOutcome {
        let (endpoints, replies) = (endpoints(), [reply.clone()]);
        let poll = Poll { endpoints: &endpoints, tenant: None, replies: &replies, received: Stamp::UNIX_EPOCH };
        let Next::Over(outcome) = Custom.converse(&poll) else { panic!("one request") };
        outcome
    }

    const SAMPLE: (&str, &str) = sample!("custom", "quota");

    #[test]
    fn the_key_goes_where_the_config_says() {
        let endpoints = endpoints();
        let poll = Poll { endpoints: &endpoints, tenant: None, replies: &[], received: Stamp::UNIX_EPOCH };
        let Next::Send(request) = Custom.converse(&poll) else { panic!("asks first") };
        assert_eq!(request.url, "https://api.newvendor.example/v1/quota");
        let place = SecretPlace::Header { name: "x-api-key".into(), prefix: String::new() };
        assert_eq!(request.secret, place);
    }

    #[test]
    fn every_pointer_that_leads_somewhere_is_followed() {
        let expected = [
            "month \"month\" 12.5% | used 41 requests, limit 300 requests, left 259 requests \
             | resets 2026-10-01T00:00:00Z",
            "tier \"tier\" 75% | used -, limit 20 requests, left 5 requests | resets 2026-09-14T18:08:41Z",
            "money \"money\" - | used 12.34 requests, limit -, left -",
        ];
        assert_eq!(told(&read(&reply(200, SAMPLE.1))), expected);
    }

    #[test]
    fn an_answer_without_any_of_the_numbers_is_none() {
        let nothing = "failed: Garbage(\"none of the configured pointers leads to a number in the answer\")";
        for (status, body, expected) in [
            (200, "{}", nothing),
            (200, "[1]", nothing),
            (200, r#"{"data": {"limit": 5}}"#, nothing),
            (200, "<html>", "failed: Garbage(\"the answer is not JSON\")"),
            (401, "no", "rejected: the token was refused"),
            (401, "<html>", "failed: Challenge"),
            (403, r#"{"error": "plan"}"#, "no permission: the account may not read its usage"),
            (429, "", "limited None"),
            (500, "", "failed: Server(500)"),
        ] {
            assert_eq!(told(&read(&reply(status, body))), [expected], "{status} {body}");
        }
        assert_eq!(told(&Custom.read_usage(&reply(200, SAMPLE.1), Stamp::UNIX_EPOCH)), [nothing], "without a recipe");
    }

    #[test]
    fn a_damaged_part_of_an_answer_costs_no_window_that_stands_elsewhere() {
        assert!(damage_costs_one_entry_only(read, SAMPLE, &[""]) > 100);
    }
}

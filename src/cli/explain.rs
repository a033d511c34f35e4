//! `quotad explain`: what was sent, what stands in the way and why, and when it goes on.

use clap::Args;

use super::page::{Page, Tone, plain};
use super::status::heading;
use super::{Daemon, Exit, Failure, print};
use crate::control::reply::Explanation;
use crate::control::report::Pooled;
use crate::control::wire::Gate;
use crate::model::{AccountName, Exchange};

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The account
    #[arg(value_parser = AccountName::parse)]
    account: AccountName,
    #[command(flatten)]
    daemon: Daemon,
}

impl Explain {
    /// Prints the explanation; the exit code is the account's.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let explanation = self.daemon.ask(async |client| client.explain(&self.account).await)?;
        print(&render(&explanation, &Page::here()))?;
        Ok(Exit::of(&explanation.account))
    }
}

/// Width of the keys.
const COLUMN: usize = "next request".len();

fn render(explanation: &Explanation, page: &Page) -> String {
    let Explanation { account, why, next_request_at, exchanges, pool, .. } = explanation;
    let next = next_request_at
        .map_or_else(|| "none before the file or a person changes something".to_owned(), |at| page.ahead(at));
    [
        heading(account, page),
        page.fact(COLUMN, "why", Tone::Plain, &account.reason),
        page.fact(COLUMN, "next request", Tone::Strong, &next),
        page.fact(COLUMN, "to do", Tone::Plain, &account.action),
        gate("usage gate", &account.gates.usage, &why.usage, page),
        gate("token gate", &account.gates.token, &why.token, page),
        gate("auth gate", &account.gates.auth, &why.auth, page),
        pool.as_ref().map(|pool| clients(pool, page)).unwrap_or_default(),
        "\n".to_owned(),
        if exchanges.is_empty() { "nothing was sent yet\n".to_owned() } else { "last exchanges\n".to_owned() },
        exchanges.iter().map(|exchange| line(exchange, page)).collect(),
    ]
    .concat()
}

fn gate(name: &str, gate: &Gate, why: &str, page: &Page) -> String {
    let rung = gate.rung.map(|rung| format!(" on rung {rung}")).unwrap_or_default();
    let until = gate.until.map(|until| format!(" until {}", page.due(until)));
    let tone = if gate.state == "clear" { Tone::Good } else { Tone::Warn };
    page.fact(COLUMN, name, tone, &format!("{}{rung}{}: {why}", gate.state, until.unwrap_or_default()))
}

/// What clients that use the account reported; nothing where nobody does.
fn clients(pool: &Pooled, page: &Page) -> String {
    let Pooled { selects, reports, successes, failures, cooldowns, last_used, out, .. } = pool;
    if (*selects, *reports) == (0, 0) {
        return String::new();
    }
    let last = last_used.map(|at| format!(", last {}", page.ago(at))).unwrap_or_default();
    let said = format!(
        "given out {selects} times{last}; {reports} reports: {successes} ok, {failures} failed, {cooldowns} pauses"
    );
    let (tone, said) = match out {
        None => (Tone::Good, said),
        Some(out) => {
            let until = out.until.map(|until| format!(" until {}", page.due(until))).unwrap_or_default();
            (Tone::Warn, format!("kept off{until}: {}; {said}", out.reason))
        }
    };
    page.fact(COLUMN, "clients", tone, &said)
}

/// `13:03:30  usage 429  the server asked to be left alone (retry-after: 990)`.
fn line(exchange: &Exchange, page: &Page) -> String {
    let status = exchange.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let headers: Vec<String> = exchange.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let headers = if headers.is_empty() { String::new() } else { format!(" ({})", headers.join(", ")) };
    let said = format!("{} {status}, {}{headers}", exchange.endpoint.as_str(), plain(&exchange.meaning));
    page.fact(COLUMN, &page.exact(exchange.at), Tone::Plain, &said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::select::PassedOver;
    use crate::control::wire::sample;

    #[test]
    fn an_explanation_shows_the_gates_and_the_last_exchanges() {
        assert_eq!(
            render(&Explanation::of(&sample::throttled(), sample::now()), &Page::for_tests()),
            "\
personal  claude max_20x  throttled since 13:03
  why           the usage endpoint answered 429 (Retry-After 990 s)
  next request  in 5 min (13:20)
  to do         nothing to do
  usage gate    cooling on rung 1 until 13:20 (in 5 min): the usage endpoint
                asked to be left alone 2 times in a row; nothing is sent until
                the wait is over
  token gate    clear: requests pass
  auth gate     clear: requests pass

last exchanges
  13:03:30      usage 429, the server asked to be left alone (retry-after: 990)
"
        );
    }

    #[test]
    fn what_clients_reported_is_shown_where_somebody_uses_the_account() {
        let pooled = |selects, out| Pooled {
            selects,
            tokens: 0,
            reports: 12,
            successes: 10,
            failures: 2,
            cooldowns: 1,
            last_used: Some(sample::at("2026-11-25T12:11:00Z")),
            out,
        };
        let shown = |pool| {
            let explanation = Explanation::of(&sample::throttled(), sample::now());
            let text = render(&Explanation { pool: Some(pool), ..explanation }, &Page::for_tests());
            text.split("  clients").nth(1).map(|rest| rest.split("\n\n").next().unwrap().to_owned())
        };
        let until = Some(sample::at("2026-11-25T12:20:00Z"));
        let out = PassedOver { account: "personal".into(), reason: "a client reported a rate limit".into(), until };
        assert_eq!(
            shown(pooled(12, None)).as_deref(),
            Some("       given out 12 times, last 4 min ago; 12 reports: 10 ok, 2 failed,\n                1 pauses")
        );
        assert!(shown(pooled(12, Some(out))).unwrap().contains("kept off until 13:20 (in 5 min): a client"));
        assert_eq!(shown(Pooled { reports: 0, ..pooled(0, None) }), None);
    }

    #[test]
    fn an_account_that_nothing_can_move_says_so() {
        let mut view = sample::throttled();
        (view.next_poll_at, view.until) = (None, None);
        view.exchanges.clear();
        let text = render(&Explanation::of(&view, sample::now()), &Page::for_tests());
        assert!(text.contains("next request  none before the file or a person changes something\n"), "{text}");
        assert!(text.ends_with("\nnothing was sent yet\n"), "{text}");
    }
}

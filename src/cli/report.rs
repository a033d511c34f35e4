//! `quotad report`: what became of a request that was made under an account of the pool.

use std::io::{self, Read as _};

use clap::Args;

use super::page::{Page, plain};
use super::{Daemon, Exit, Failure, print};
use crate::control::report::{Receipt, Report, Wait};
use crate::model::{AccountName, Outcome};

/// Bytes of an answer's text that are taken: what an error says stands at its beginning, and the socket takes no more than
/// 64 KiB, in which a byte may be six.
const LONGEST: usize = 8 * 1024;

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(super) struct Verb {
    /// The account that was used
    #[arg(value_parser = AccountName::parse)]
    account: AccountName,
    /// ok, rate-limited, overloaded, auth, auth-permanent, timeout or billing; aborted and refused say nothing of the
    /// account. May be left out where --status or --text tells it
    #[arg(required_unless_present_any = ["status", "text"])]
    outcome: Option<Outcome>,
    /// How long the vendor asked to be left alone: seconds, or such as 5m
    #[arg(long, value_name = "D", value_parser = wait)]
    retry_after: Option<Wait>,
    /// The model that was used; without it, the one that was last given out
    #[arg(long)]
    model: Option<String>,
    /// The key that was given to `select`
    #[arg(long)]
    key: Option<String>,
    /// The credential that `select --json` named
    #[arg(long)]
    credential: Option<String>,
    /// HTTP status of the answer
    #[arg(long)]
    status: Option<u16>,
    /// A header of the answer, as it stands there; once for each
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// What the error said, or - to read that from stdin
    #[arg(long)]
    text: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

impl Verb {
    /// Hands the report over: 0 once it is stored.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let mut text = match self.text {
            Some(text) if text == "-" => from_stdin()?,
            text => text.unwrap_or_default(),
        };
        text.truncate(text.floor_char_boundary(LONGEST));
        let said = Report {
            account: self.account.to_string(),
            outcome: self.outcome.map(|outcome| outcome.as_str().to_owned()),
            retry_after: self.retry_after,
            model: self.model,
            key: self.key,
            credential: self.credential,
            status: self.status,
            headers: self.headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
            text,
        };
        let receipt = self.daemon.ask(async |client| client.report(&said).await)?;
        print(&render(&receipt, &Page::here()))?;
        Ok(Exit::Ok)
    }
}

/// `rate-limited: clients are kept off personal: …; until 14:32 (in 5 min)`.
fn render(receipt: &Receipt, page: &Page) -> String {
    let until = receipt.until.map(|until| format!("; until {}", page.due(until)));
    let check = receipt.check_at.map(|at| format!("; the daemon asks for itself {}", page.ahead(at)));
    let more = until.into_iter().chain(check).collect::<String>();
    format!("{}: {}{more}\n", plain(&receipt.outcome), plain(&receipt.said))
}

fn from_stdin() -> Result<String, Failure> {
    let mut text = Vec::new();
    let read = io::stdin().lock().take(LONGEST as u64).read_to_end(&mut text);
    read.map_err(|error| Failure::new(Exit::Failed, format!("reading the answer's text from stdin: {error}")))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn wait(text: &str) -> Result<Wait, String> {
    let wait = Wait::Text(text.to_owned());
    wait.length().map(|_| wait).ok_or_else(|| "must be seconds, or a duration such as 5m".to_owned())
}

fn header(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| "must be NAME: VALUE".to_owned())?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::sample;

    #[test]
    fn a_receipt_is_what_it_was_taken_for_and_until_when() {
        let receipt = Receipt {
            schema: 1,
            account: "personal".to_owned(),
            outcome: "rate-limited".to_owned(),
            said: "clients are kept off personal: a client reported a rate limit".to_owned(),
            out: true,
            until: Some(sample::now() + jiff::Span::new().minutes(5)),
            check_at: None,
        };
        assert_eq!(
            render(&receipt, &Page::for_tests()),
            "rate-limited: clients are kept off personal: a client reported a rate limit; until 13:20 (in 5 min)\n"
        );
    }

    #[test]
    fn a_wait_is_seconds_or_words_and_a_header_a_name_and_its_value() {
        for (text, seconds) in
            [("990", Some(990.0)), ("7.5", Some(7.5)), ("5m", Some(300.0)), ("1h 30m", Some(5400.0)), ("0", None)]
        {
            let length = wait(text).unwrap().length().unwrap();
            assert_eq!(length.map(|length| length.as_secs_f64()), seconds, "{text}");
        }
        for text in ["", "soon", "nan"] {
            assert!(wait(text).is_err(), "{text}");
        }
        assert_eq!(header("Retry-After: 7"), Ok(("retry-after".to_owned(), "7".to_owned())));
        assert!(header("retry-after").is_err());
    }
}

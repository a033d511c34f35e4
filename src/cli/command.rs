//! `quotad pause`, `resume` and `poll`: one command, answered at once.

use clap::Args;

use super::page::{Page, plain};
use super::{Daemon, Exit, Failure, print};
use crate::control::reply::Answer;
use crate::model::AccountName;
use crate::policy::account::Command;

/// Arguments of a command.
#[derive(Debug, Args)]
pub(super) struct Ask {
    /// The account
    #[arg(value_parser = AccountName::parse)]
    account: AccountName,
    #[command(flatten)]
    daemon: Daemon,
}

impl Ask {
    /// Hands the command over and prints the answer: 0 done, 75 not yet, 77 a person must log in first.
    pub(super) fn run(self, command: Command) -> Result<Exit, Failure> {
        let answer = self.daemon.ask(async |client| client.command(&self.account, command).await)?;
        print(&render(&answer, &Page::here()))?;
        Ok(match answer.verdict.as_str() {
            "done" => Exit::Ok,
            "wait" => Exit::Limited,
            "login-needed" => Exit::Login,
            _ => Exit::Failed,
        })
    }
}

/// The sentence and its moment.
fn render(answer: &Answer, page: &Page) -> String {
    let at = answer.at.map(|at| format!("; the next request leaves {}", page.ahead(at)));
    let until = answer.until.map(|until| format!("; nothing is sent before {}", page.due(until)));
    format!("{}{}{}\n", plain(&answer.said), at.unwrap_or_default(), until.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::sample;
    use crate::policy::account::{self, Verdict};

    #[test]
    fn an_answer_is_a_sentence_and_its_moment() {
        let at = Some(sample::now() + jiff::Span::new().minutes(5));
        for (verdict, at, expected) in [
            (Verdict::Done, at, "so it is; the next request leaves in 5 min (13:20)\n"),
            (Verdict::Wait, at, "so it is; nothing is sent before 13:20 (in 5 min)\n"),
            (Verdict::LoginNeeded, None, "so it is\n"),
        ] {
            let answer = account::Answer { verdict, at, said: "so it is".to_owned() };
            let answer = Answer::of(&sample::name("personal"), Command::Poll, &answer);
            assert_eq!(render(&answer, &Page::for_tests()), expected);
        }
    }
}

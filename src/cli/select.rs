//! `quotad select`: which account, and which model, to use now.

use clap::Args;

use super::page::{Page, plain};
use super::{Daemon, Exit, Failure, print};
use crate::control::select::{Nothing, Select, Selection};
use crate::provider;

/// What to choose among, and for whom.
#[derive(Debug, Args)]
pub(super) struct Among {
    /// Whose accounts; may be left out where there is one vendor only
    #[arg(long, value_name = "VENDOR", value_parser = provider_name)]
    provider: Option<String>,
    /// The model that is wanted
    #[arg(long)]
    model: Option<String>,
    /// Who asks: the same key keeps its account for as long as that is available
    #[arg(long)]
    key: Option<String>,
}

impl Among {
    /// The question; `provider` where none was named.
    pub(super) fn question(self, provider: Option<&str>) -> Select {
        let provider = self.provider.or_else(|| provider.map(str::to_owned));
        Select { provider, model: self.model, key: self.key, token: false, environment: false }
    }
}

/// Arguments of `select`.
#[derive(Debug, Args)]
pub(super) struct Verb {
    #[command(flatten)]
    among: Among,
    /// Print the whole answer
    #[arg(long)]
    json: bool,
    /// Also ask for the access token, which only the JSON shows; needs `hand-out-tokens = true` in the config
    #[arg(long, requires = "json")]
    token: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Verb {
    /// Prints the account, and the model where one was asked for: 75 and until when where there is none.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let asked = Select { token: self.token, ..self.among.question(None) };
        let answer = self.daemon.ask(async |client| client.select(&asked).await)?;
        if self.json {
            let text = match &answer {
                Ok(selection) => serde_json::to_string(selection),
                Err(nothing) => serde_json::to_string(nothing),
            };
            let text = text.map_err(|error| Failure::new(Exit::Failed, format!("writing JSON: {error}")))?;
            print(&format!("{text}\n"))?;
            return Ok(answer.map_or_else(|nothing| exit(&nothing), |_| Exit::Ok));
        }
        let selection = answer.map_err(|nothing| failure(&nothing, &Page::here()))?;
        print(&render(&selection))?;
        note(&selection, asked.model.as_deref());
        Ok(Exit::Ok)
    }
}

/// The line a script reads: the account, then the model.
fn render(selection: &Selection) -> String {
    let model = selection.model.as_deref().map(|model| format!(" {}", plain(model))).unwrap_or_default();
    format!("{}{model}\n", selection.account)
}

/// What a person should hear besides: that it is not the model that was asked for.
#[expect(clippy::print_stderr, reason = "stdout is the script's")]
pub(super) fn note(selection: &Selection, wanted: Option<&str>) {
    if wanted.is_some() && selection.model.as_deref() != wanted {
        eprintln!("quotad: {}", plain(&selection.said));
    }
}

/// Why there is none, and until when.
pub(super) fn failure(nothing: &Nothing, page: &Page) -> Failure {
    let until = nothing.until.map(|until| format!("; the soonest is {}", page.due(until)));
    Failure::new(exit(nothing), format!("{}{}", plain(&nothing.problem.detail), until.unwrap_or_default()))
}

fn exit(nothing: &Nothing) -> Exit {
    match nothing.problem.status {
        403 if nothing.passed_over.is_empty() => Exit::Failed,
        403 => Exit::Login,
        409 => Exit::Limited,
        404 | 503 => Exit::Unknown,
        422 => Exit::Usage,
        _ => Exit::Failed,
    }
}

/// A vendor by the name the config gives it.
fn provider_name(name: &str) -> Result<String, String> {
    let known = || provider::ALL.iter().map(|provider| provider.id().as_str()).collect::<Vec<_>>().join(", ");
    provider::named(name).map(|_| name.to_owned()).ok_or_else(|| format!("known: {}", known()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::reply::Problem;
    use crate::control::select::PassedOver;
    use crate::control::wire::sample;

    fn nothing(status: u16, passed_over: bool) -> Nothing {
        let one = PassedOver { account: "personal".into(), reason: "so it is".into(), until: None };
        Nothing {
            problem: Problem::new(status, "", "no account can be used now (personal: so it is)"),
            schema: 1,
            until: (status == 409).then(sample::now),
            passed_over: if passed_over { vec![one] } else { Vec::new() },
        }
    }

    #[test]
    fn nothing_to_use_is_an_exit_code_and_the_soonest_moment() {
        for (status, passed_over, exit) in [
            (409, true, Exit::Limited),
            (403, true, Exit::Login),
            (403, false, Exit::Failed),
            (404, false, Exit::Unknown),
            (503, false, Exit::Unknown),
            (422, false, Exit::Usage),
        ] {
            assert_eq!(failure(&nothing(status, passed_over), &Page::for_tests()).exit, exit, "{status}");
        }
        assert_eq!(
            failure(&nothing(409, true), &Page::for_tests()).to_string(),
            "no account can be used now (personal: so it is); the soonest is 13:15 (now)"
        );
    }
}

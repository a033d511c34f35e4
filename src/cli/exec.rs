//! `quotad exec`: runs a vendor's client with the login that is best to use now.
//!
//! Owns the promise to the command: it takes this process over, so that terminal, exit code and signals are its own, in
//! the caller's environment but for the variables that choose the login. Nothing is reported when it ends: an exit code
//! says nothing of an account.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use clap::Args;

use super::page::Page;
use super::select::{Among, failure, note};
use super::{Daemon, Exit, Failure};
use crate::control::select::{Select, Selection};
use crate::provider::{self, LogIn};

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub(super) struct Exec {
    #[command(flatten)]
    among: Among,
    #[command(flatten)]
    daemon: Daemon,
    /// The command and its arguments; a vendor's client says whose accounts are meant
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Exec {
    /// Selects, then becomes the command.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(Failure::new(Exit::Usage, "there is no command to run"));
        };
        let asked = Select { environment: true, token: true, ..self.among.question(vendor_of(program.as_ref())) };
        let answer = self.daemon.ask(async |client| client.select(&asked).await)?;
        let selection = answer.map_err(|nothing| failure(&nothing, &Page::here()))?;
        note(&selection, asked.model.as_deref());
        let mut command = Command::new(program);
        command.args(arguments);
        lead(&mut command, &selection)?;
        let error = command.exec();
        Err(Failure::new(Exit::Failed, format!("running {}: {error}", program.display())))
    }
}

/// The vendor whose client this program is.
fn vendor_of(program: &Path) -> Option<&'static str> {
    let name = program.file_name()?.to_str()?;
    let is_client = |provider: &&&dyn provider::Provider| match provider.log_in() {
        LogIn::Command { line, .. } => line.split(' ').next() == Some(name),
        LogIn::Words(_) => false,
    };
    provider::ALL.iter().find(is_client).map(|provider| provider.id().as_str())
}

/// Sets the variables that lead a client to the login, and takes those away that lead elsewhere.
fn lead(command: &mut Command, selection: &Selection) -> Result<(), Failure> {
    let unled =
        || Failure::new(Exit::Failed, format!("the daemon does not say how a client is led to {}", selection.account));
    for (name, value) in selection.environment.as_ref().ok_or_else(unled)? {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    match (&selection.token_variable, &selection.token) {
        (None, _) => Ok(()),
        (Some(variable), Some(token)) => {
            token.give(command, variable);
            Ok(())
        }
        (Some(_), None) => Err(unled()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_client_is_known_by_its_name() {
        for (program, vendor) in [
            ("claude", Some("claude")),
            ("/usr/local/bin/codex", Some("codex")),
            ("gemini", Some("gemini")),
            ("kimi", Some("kimi")),
            ("agy", Some("antigravity")),
            ("bash", None),
            ("/", None),
        ] {
            assert_eq!(vendor_of(Path::new(program)), vendor, "{program}");
        }
    }

    #[test]
    fn variables_are_set_taken_away_or_given_the_token_and_without_any_word_of_them_nothing_runs() {
        let selection = Selection {
            schema: 1,
            account: "work".to_owned(),
            provider: "claude".to_owned(),
            model: None,
            headroom_percent: None,
            said: String::new(),
            credential: None,
            expires_at: None,
            environment: Some(BTreeMap::from([("A".to_owned(), Some("/srv".to_owned())), ("B".to_owned(), None)])),
            token_variable: Some("T".to_owned()),
            token: Some("sk-ant-oat01-FAKE".to_owned().into()),
            passed_over: Vec::new(),
        };
        let led = |selection: &Selection| {
            let mut command = Command::new("true");
            lead(&mut command, selection).map(|()| {
                let text = |value: &std::ffi::OsStr| value.to_str().unwrap().to_owned();
                command.get_envs().map(|(name, value)| (text(name), value.map(text))).collect::<Vec<_>>()
            })
        };
        let set = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        let expected = vec![set("A", Some("/srv")), set("B", None), set("T", Some("sk-ant-oat01-FAKE"))];
        assert_eq!(led(&selection).unwrap(), expected);
        assert!(led(&Selection { token: None, ..selection.clone() }).is_err());
        assert!(led(&Selection { environment: None, ..selection }).is_err());
    }
}

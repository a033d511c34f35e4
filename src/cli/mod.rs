//! The verbs: what a person or a script types, and the exit code they get.
//!
//! Owns the command line, the exit codes and everything written to a terminal; one file per verb. Decides nothing
//! about accounts: it shows what the daemon says.

mod bars;
mod check;
mod command;
mod completions;
mod demo;
mod doctor;
mod exec;
mod explain;
mod guard;
mod history;
mod ingest;
mod install;
mod man;
mod once;
mod page;
mod report;
mod run;
mod select;
mod shell;
#[cfg(test)]
mod snapshot;
mod status;
mod systemd;
mod test_alert;
mod uninstall;
mod watch;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::control::client::{Client, ClientError};
use crate::control::wire;
use crate::paths::Paths;
use crate::policy::account::Command;
use crate::policy::status::AccountState;

/// Keeps the quotas of AI subscriptions: knows what is left, looks after the logins, and never makes things worse.
#[derive(Debug, Parser)]
#[command(name = "quotad", version)]
pub struct Cli {
    /// Config file [default: ~/.config/quotad/config.toml]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon in the foreground
    Run(run::Run),
    /// Poll each account at most once, without a daemon
    Once(once::Once),
    /// Watch the real daemon meet a hostile vendor, in under a minute and without touching anything of yours
    Demo(demo::Demo),
    /// Show what is left, in which state each account is, and what you must do
    Status(status::Status),
    /// Show what was sent, what stands in the way, and when it goes on
    Explain(explain::Explain),
    /// Show what was read in the past, when windows started over, and how fast they fill
    History(history::History),
    /// Stop every request of an account
    Pause(command::Ask),
    /// Lift a pause of an account
    Resume(command::Ask),
    /// Ask as soon as the floor and the gates allow
    Poll(command::Ask),
    /// Tell a script whether enough is left: 0 enough, 75 not enough, 69 unknown, 77 a login is needed
    Guard(guard::Guard),
    /// Watch every account live: gauges, countdowns, states and the last events
    Watch(watch::Watch),
    /// Say which account, and which model, to use now
    Select(select::Verb),
    /// Say what became of a request that was made under an account of the pool
    Report(report::Verb),
    /// Run a vendor's client with the login that is best to use now
    Exec(exec::Exec),
    /// Hand over what a vendor's client says in passing, such as Claude Code to its statusline
    ///
    /// Takes the JSON on stdin and gives its limits to the daemon; then COMMAND takes this process over, with the same
    /// stdin, so that output, exit code and signals are its own. Without COMMAND nothing is printed. To hook it in, put
    /// it before your own command in ~/.claude/settings.json:
    ///
    /// "statusLine": {"type": "command", "command": "quotad ingest claude-statusline -- ~/.claude/statusline.sh"}
    ///
    /// The numbers go to the account whose login the session uses, as its environment says. Where no daemon answers
    /// within 10 ms, the command runs all the same.
    Ingest(ingest::Ingest),
    /// Validate the config file
    Check(check::Check),
    /// Send a made-up alert through each configured channel
    TestAlert(test_alert::TestAlert),
    /// Make quotad a service of this user, or fit an installed one to its config
    Install(install::Install),
    /// Stop and remove the service; config and state stay
    Uninstall(uninstall::Uninstall),
    /// Look at everything quotad depends on, and say what to do about what is wrong
    Doctor(doctor::Doctor),
    /// Print what a shell needs to complete the command line
    Completions(completions::Completions),
    /// Print the manual, or write all its pages into a directory
    Man(man::Man),
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// What could not be done, with its exit code.
    pub fn run(self) -> Result<Exit, Failure> {
        let config = self.config.as_deref();
        match self.verb {
            Verb::Run(verb) => verb.run(config),
            Verb::Once(verb) => verb.run(config),
            Verb::Demo(verb) => verb.run(),
            Verb::Status(verb) => verb.run(),
            Verb::Explain(verb) => verb.run(),
            Verb::History(verb) => verb.run(),
            Verb::Pause(verb) => verb.run(Command::Pause),
            Verb::Resume(verb) => verb.run(Command::Resume),
            Verb::Poll(verb) => verb.run(Command::Poll),
            Verb::Guard(verb) => verb.run(),
            Verb::Watch(verb) => verb.run(),
            Verb::Select(verb) => verb.run(),
            Verb::Report(verb) => verb.run(),
            Verb::Exec(verb) => verb.run(),
            Verb::Ingest(verb) => verb.run(),
            Verb::Check(verb) => verb.run(config),
            Verb::TestAlert(verb) => verb.run(config),
            Verb::Install(verb) => verb.run(config),
            Verb::Uninstall(verb) => verb.run(config),
            Verb::Doctor(verb) => verb.run(config),
            Verb::Completions(verb) => verb.run(),
            Verb::Man(verb) => verb.run(),
        }
    }
}

/// The exit codes of every verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or all is well.
    Ok = 0,
    /// It failed; trying again may help.
    Failed = 1,
    /// The command line is wrong.
    Usage = 64,
    /// The daemon cannot be reached, or nothing is known.
    Unknown = 69,
    /// Limited or paused, or a second daemon.
    Limited = 75,
    /// A person must log in or get permission.
    Login = 77,
    /// The config is wrong, or `state.db` is a newer version's.
    Config = 78,
}

impl Exit {
    /// What the state of one account comes to. `waiting` is well as long as there are numbers, because its owner is
    /// expected to act, not the user; `starting`, a state this version does not know, and an account without a reading
    /// are unknown.
    fn of(account: &wire::Account) -> Self {
        use AccountState as S;
        match account.known_state() {
            Some(S::Dead | S::SignedOut | S::NoPermission) => Self::Login,
            Some(S::Throttled | S::AuthPaused | S::Paused) => Self::Limited,
            Some(S::Failing | S::Offline) => Self::Failed,
            Some(S::Ok | S::Waiting) if account.read_at.is_some() => Self::Ok,
            Some(S::Ok | S::Waiting | S::Starting) | None => Self::Unknown,
        }
    }

    /// What several accounts come to: the first of 77, 75, 69, 1, 0 that applies to one; 69 without any.
    fn of_all(accounts: &[wire::Account]) -> Self {
        let order = [Self::Login, Self::Limited, Self::Unknown, Self::Failed, Self::Ok];
        let exits: Vec<Self> = accounts.iter().map(Self::of).collect();
        order.into_iter().find(|exit| exits.contains(exit)).unwrap_or(Self::Unknown)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// A fragment: what was attempted, why it failed, what to do.
    pub said: String,
}

impl Failure {
    /// A failure with its exit code and its words.
    pub fn new(exit: Exit, said: impl Into<String>) -> Self {
        Self { exit, said: said.into() }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::NoDaemon(_)
            | ClientError::Unreachable(..)
            | ClientError::Foreign(_)
            | ClientError::Silent(_) => Exit::Unknown,
            ClientError::Refused(problem) if matches!(problem.status, 404 | 503) => Exit::Unknown,
            ClientError::Refused(_) | ClientError::Garbled(..) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

/// Which daemon to ask.
#[derive(Debug, Args)]
struct Daemon {
    /// The daemon's socket [default: /run/user/UID/quotad/quotad.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Daemon {
    /// Asks it, and waits for the answer.
    fn ask<T>(&self, question: impl AsyncFnOnce(Client) -> Result<T, ClientError>) -> Result<T, Failure> {
        Ok(self.try_ask(question)??)
    }

    /// The same for who has something to say also where there is no answer.
    fn try_ask<T>(
        &self,
        question: impl AsyncFnOnce(Client) -> Result<T, ClientError>,
    ) -> Result<Result<T, ClientError>, Failure> {
        let failed = |error: &dyn std::error::Error| Failure::new(Exit::Failed, format!("asking the daemon: {error}"));
        let client = self.client()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(runtime.map_err(|error| failed(&error))?.block_on(question(client)))
    }

    /// A client of it.
    fn client(&self) -> Result<Client, Failure> {
        if let Some(socket) = &self.socket {
            return Ok(Client::new(socket));
        }
        let paths = Paths::of_this_user();
        let paths = paths.map_err(|error| Failure::new(Exit::Failed, format!("asking the daemon: {error}")))?;
        Ok(Client::new(&paths.socket))
    }
}

/// Writes to stdout. A reader that has gone away (`quotad status | head -1`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, format!("writing to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::control::wire::sample;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_takes_its_arguments() {
        for line in [
            "run --config c --state-dir d",
            "once --json --state-dir d --config c",
            "demo --config c",
            "--config c status",
            "status personal --json --socket s --config c",
            "explain personal --socket s --config c",
            "history personal --since 30d --window five_hour --json --socket s --config c",
            "history personal --since 2026-11-25T12:00:00Z --csv",
            "pause personal --socket s --config c",
            "resume personal --socket s --config c",
            "poll personal --socket s --config c",
            "status --format waybar",
            "status personal --format tmux --socket s",
            "guard --min 20 --config c",
            "guard personal --min 12.5% --window five_hour --socket s",
            "watch --socket s --config c",
            "select --socket s --config c",
            "select --provider claude --model opus --key k --json --token",
            "report personal ok",
            "report personal rate-limited --retry-after 5m --model opus --key k --credential 01234567 --socket s",
            "report personal --status 429 --header retry-after:7 --header x:y --text -",
            "report personal --text overloaded",
            "exec --provider claude --model opus --key k --socket s -- sh -c x --json",
            "ingest claude-statusline",
            "ingest claude-statusline --socket s -- sh -c x --json",
            "check --config c",
            "test-alert --config c",
            "test-alert --channel webhook",
            "install --refresh when-idle --dry-run --config c",
            "uninstall --dry-run --config c",
            "completions bash",
            "man",
            "man d",
        ] {
            Cli::try_parse_from(["quotad"].into_iter().chain(line.split(' ')))
                .unwrap_or_else(|e| panic!("{line}: {e}"));
        }
        for line in [
            "",
            "explain",
            "poll",
            "poll Nö",
            "history",
            "history personal --since soon",
            "history personal --json --csv",
            "select --provider nobody",
            "select --token",
            "report personal",
            "report personal fine",
            "report ok --retry-after 5m",
            "exec",
            "exec sh",
            "ingest",
            "ingest claude-statusline x",
            "status a b",
            "status --format html",
            "status --json --format line",
            "guard",
            "guard --min 101",
            "guard --min lots",
            "test-alert --channel pigeon",
            "resume --force personal",
        ] {
            let refused = Cli::try_parse_from(["quotad"].into_iter().chain(line.split_whitespace())).unwrap_err();
            assert!(refused.use_stderr(), "{line}");
        }
    }

    #[test]
    fn the_exit_code_is_the_worst_of_all_accounts_in_the_contracts_order() {
        let account = |state: &str| {
            let mut account = wire::Account::of(&sample::throttled(), sample::now());
            state.clone_into(&mut account.state);
            account
        };
        for (states, exit) in [
            (&["ok", "dead", "throttled", "starting", "failing"][..], Exit::Login),
            (&["ok", "throttled", "starting", "failing"], Exit::Limited),
            (&["ok", "starting", "failing"], Exit::Unknown),
            (&["ok", "offline", "waiting"], Exit::Failed),
            (&["ok", "waiting"], Exit::Ok),
            (&["hibernating"], Exit::Unknown),
            (&[], Exit::Unknown),
            (&["signed-out"], Exit::Login),
            (&["no-permission"], Exit::Login),
            (&["auth-paused"], Exit::Limited),
            (&["paused"], Exit::Limited),
        ] {
            let accounts: Vec<_> = states.iter().map(|state| account(state)).collect();
            assert_eq!(Exit::of_all(&accounts), exit, "{states:?}");
        }
        let unread = wire::Account { read_at: None, ..account("ok") };
        assert_eq!(Exit::of(&unread), Exit::Unknown);
    }
}

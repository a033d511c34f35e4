//! `quotad doctor`: looks at everything quotad depends on, one line each, with the remedy.
//!
//! Each group below turns facts into findings without looking at anything itself, so that every machine can be put
//! before it in a test; what gathers the facts stands beside it and is thin. Changes nothing: whatever a daemon at
//! work holds is not locked, written or opened for work.

mod ask;
mod config;
mod environment;
mod login;
mod machine;
mod state;

use std::path::{Path, PathBuf};

use clap::Args;

use self::environment::Environment;
use super::page::{Page, Tone};
use super::run::runtime;
use super::{Exit, Failure, print};
use crate::config::{Account, Accounts, Complaints, Loaded};
use crate::control::client::{Client, ClientError};
use crate::control::wire::Status;
use crate::model::{AccountName, Whereabouts};
use crate::paths::{LoginPlace, Paths, logins_in};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Where gates, fences and readings are kept [default: ~/.local/state/quotad]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The daemon's socket [default: /run/user/UID/quotad/quotad.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Doctor {
    /// Prints every finding: 0 when nothing failed, 77 when a login did, else 1.
    pub(super) fn run(self, config: Option<&Path>) -> Result<Exit, Failure> {
        let paths = Paths::of_this_user().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let page = Page::here();
        let socket = self.socket.as_ref().unwrap_or(&paths.socket);
        let findings = Patient {
            loaded: crate::config::load(config, &paths),
            config_file: config.unwrap_or(&paths.config_file),
            state_dir: self.state_dir.as_ref().unwrap_or(&paths.state_dir),
            socket,
            status: runtime()?.block_on(Client::new(socket).status(None)),
            environment: Environment::of_this_shell(),
            paths: &paths,
        }
        .findings(&page);
        print(&findings.iter().map(|finding| finding.render(&page)).collect::<String>())?;
        Ok(exit(&findings))
    }
}

/// Everything the groups are asked about.
struct Patient<'a> {
    loaded: Result<Loaded, Complaints>,
    config_file: &'a Path,
    state_dir: &'a Path,
    socket: &'a Path,
    status: Result<Status, ClientError>,
    environment: Environment,
    paths: &'a Paths,
}

impl Patient<'_> {
    fn findings(&self, page: &Page) -> Vec<Finding> {
        let file = config::File::of(self.config_file);
        let daemon = self.status.as_ref().ok();
        [
            config::findings(&self.loaded, self.config_file, file),
            self.logins(page),
            environment::findings(&self.environment, self.loaded.as_ref().ok().map(|loaded| &loaded.config.network)),
            self.relocations().iter().flat_map(environment::relocated).collect(),
            state::findings(&state::Facts::of(self.state_dir)),
            vec![state::socket(self.socket, &self.status)],
            machine::findings(&machine::Facts::gather(self.state_dir, daemon.is_some()), page.now()),
        ]
        .concat()
    }

    /// The accounts there are; none while the config is refused.
    fn accounts(&self) -> Vec<Account> {
        let Ok(loaded) = &self.loaded else { return Vec::new() };
        match &loaded.config.accounts {
            Accounts::Listed(accounts) => accounts.values().map(|account| (**account).clone()).collect(),
            Accounts::Discovered => self.discovered(loaded),
        }
    }

    /// What a daemon discovers in its own environment, which is not this shell's; where nothing lies anywhere, the
    /// first vendor's place, so that somebody says so.
    fn discovered(&self, loaded: &Loaded) -> Vec<Account> {
        let places = environment::places(&self.paths.home, self.environment.of_daemon());
        let mut found = logins_in(&places, |path| path.symlink_metadata().is_ok());
        if found.is_empty() {
            found = logins_in(&places[..1], |_| true);
        }
        let account = |(name, place): (String, &LoginPlace)| {
            let at = Whereabouts::File(place.here.as_path().into());
            Some(Account::discovered(AccountName::parse(&name).ok()?, place.provider, at, &loaded.config.poll))
        };
        found.into_iter().filter_map(account).collect()
    }

    fn logins(&self, page: &Page) -> Vec<Finding> {
        let known = |account: &Account| {
            let status = self.status.as_ref().ok()?;
            status.accounts.iter().find(|known| known.name == account.name.as_str())
        };
        let look = |account: Account| {
            let facts = login::Facts::of(&account, self.paths, known(&account));
            facts.map(|facts| login::findings(&facts, page)).unwrap_or_default()
        };
        self.accounts().into_iter().flat_map(look).collect()
    }

    fn relocations(&self) -> Vec<environment::Relocation> {
        let of_daemon =
            |status: &Status| status.accounts.iter().map(|known| known.credentials.path.clone().into()).collect();
        let of_config = || {
            self.accounts().into_iter().filter_map(|account| account.credentials.file().map(Path::to_owned)).collect()
        };
        let listed = self.loaded.as_ref().ok().and_then(|loaded| match &loaded.config.accounts {
            Accounts::Listed(accounts) => Some(accounts.keys().map(ToString::to_string).collect()),
            Accounts::Discovered => None,
        });
        let watched: Vec<PathBuf> = self.status.as_ref().map_or_else(|_| of_config(), of_daemon);
        let places = environment::places(&self.paths.home, &self.environment.shell).into_iter();
        let relocation = |place| environment::Relocation {
            place,
            watched: watched.clone(),
            config_file: self.config_file.to_owned(),
            listed: listed.clone(),
        };
        places.map(relocation).collect()
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// As it should be.
    Ok,
    /// It works, but a person should look.
    Warn,
    /// It does not work.
    Fail,
    /// A person must log in or get permission.
    LogIn,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    level: Level,
    /// What was found.
    what: String,
    /// What to do about it; empty when there is nothing. A line that begins with a space is to be typed as it stands.
    remedy: String,
}

impl Finding {
    fn ok(what: impl Into<String>) -> Self {
        Self { level: Level::Ok, what: what.into(), remedy: String::new() }
    }

    fn warn(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warn, what: what.into(), remedy: remedy.into() }
    }

    fn fail(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Fail, what: what.into(), remedy: remedy.into() }
    }

    fn log_in(what: impl Into<String>, how: &str) -> Self {
        Self { level: Level::LogIn, what: what.into(), remedy: how.to_owned() }
    }

    /// A finding of this level from one of quotad's own sentences, whose last clause says what to do.
    fn from_sentence(level: Level, sentence: &str) -> Self {
        let (what, remedy) = sentence.rsplit_once("; ").unwrap_or((sentence, ""));
        Self { level, what: what.to_owned(), remedy: remedy.to_owned() }
    }

    fn render(&self, page: &Page) -> String {
        let (word, tone) = match self.level {
            Level::Ok => ("ok", Tone::Plain),
            Level::Warn => ("warn", Tone::Warn),
            Level::Fail | Level::LogIn => ("fail", Tone::Bad),
        };
        let remedy = self.remedy.lines().map(|line| match line.strip_prefix(' ') {
            Some(typed) => format!("{:12}{}\n", "", super::page::plain(typed)),
            None => page.fact(6, "", Tone::Plain, line),
        });
        page.fact(4, word, tone, &self.what) + &remedy.collect::<String>()
    }
}

/// Lines to be typed as they stand.
fn typed(lines: &[&str]) -> String {
    lines.iter().map(|line| format!(" {line}")).collect::<Vec<_>>().join("\n")
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

fn exit(findings: &[Finding]) -> Exit {
    let any = |level| findings.iter().any(|finding| finding.level == level);
    if any(Level::LogIn) {
        Exit::Login
    } else if any(Level::Fail) {
        Exit::Failed
    } else {
        Exit::Ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_its_remedy_stands_below_commands_as_they_are_typed() {
        let finding = Finding::warn(
            "the daemon and this shell do not agree about something whose name is rather long: they go different ways",
            format!(
                "do this, or else wait for a moment until somebody has done it for you, then\n{}",
                typed(&["rmdir x"])
            ),
        );
        assert_eq!(
            finding.render(&Page::for_tests()),
            [
                "  warn  the daemon and this shell do not agree about something whose name is\n",
                "        rather long: they go different ways\n",
                "          do this, or else wait for a moment until somebody has done it for you,\n",
                "          then\n",
                "            rmdir x\n",
            ]
            .concat()
        );
        assert_eq!(Finding::ok("it is").render(&Page::for_tests()), "  ok    it is\n");
    }

    #[test]
    fn a_failed_login_outdoes_a_failure_and_warnings_are_no_failure() {
        let (ok, warn) = (Finding::ok("x"), Finding::warn("x", "y"));
        let (fail, log_in) = (Finding::fail("x", "y"), Finding::log_in("x", "claude /login"));
        assert_eq!(exit(&[ok.clone(), warn.clone()]), Exit::Ok);
        assert_eq!(exit(&[ok, fail.clone()]), Exit::Failed);
        assert_eq!(exit(&[fail, log_in, warn]), Exit::Login);
        assert_eq!(exit(&[]), Exit::Ok);
    }

    #[test]
    fn a_path_in_a_command_is_quoted_only_where_a_shell_needs_it() {
        for (path, shown) in [("/a/b-c.d", "/a/b-c.d"), ("/a b", "'/a b'"), ("/it's", r"'/it'\''s'")] {
            assert_eq!(quoted(Path::new(path)), shown);
        }
    }
}

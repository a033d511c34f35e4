//! `quotad install`: makes quotad a service of this user, and says every step.
//!
//! May be run as often as one likes: after an upgrade, after a change of refresh modes, out of doubt. A config that
//! stands is the user's and is not written; neither are drop-ins of the user's own.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};

use super::shell::Findings;
use super::systemd::{Sandbox, Step, UNIT, UserManager, perform};
use super::{Exit, Failure};
use crate::config::{self, Accounts, Config};
use crate::model::{CredentialOwner, RefreshMode};
use crate::paths::Paths;

/// Arguments of `install`.
#[derive(Debug, Args)]
pub(super) struct Install {
    /// Who refreshes the login of a vendor's CLI [default: never, which leaves it to that CLI]
    #[arg(long, value_name = "MODE")]
    refresh: Option<Mode>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// The refresh modes that need no more than a word.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Never,
    WhenIdle,
}

/// What is said to whoever asks for it.
const WHEN_IDLE: &str = "refresh = \"when-idle\": once its token has lain expired for a while and nobody uses the CLI, \
    quotad refreshes the CLI's own login, under the CLI's own locks. Should another machine or program that takes no \
    lock use a copy of that login, the vendor may end it, and you log in once more";

impl Install {
    /// Writes unit, drop-in and, where absent, config; then has the service run from now on.
    pub(super) fn run(self, config: Option<&Path>) -> Result<Exit, Failure> {
        let manager = UserManager::find()?;
        let paths = Paths::of_this_user().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let binary = binary()?;
        let findings =
            Findings::gather(&paths, &|name| env::var_os(name), &|name| manager.variable(name).map(Into::into));
        let first = FirstConfig::settle(config, &paths, self.mode(), &findings)?;
        let sandbox = match (UserManager::gives_namespaces(), only_reads(&first.config)) {
            (false, _) => Sandbox::Relaxed,
            (true, true) => Sandbox::Strict,
            (true, false) => Sandbox::Full,
        };
        let command_line = command_line(&binary, &first.file, config.is_some(), &paths, &manager);
        let command_line: Vec<&str> = command_line.iter().map(String::as_str).collect();

        let mut steps = vec![first.step];
        steps.extend(manager.unit_steps(&command_line, sandbox, &paths.state_dir));
        steps.extend(findings.notes.iter().cloned().chain(first.missing).map(Step::Say));
        steps.extend(remarks(sandbox, self.mode(), &binary).into_iter().map(Step::Say));
        steps.push(Step::Tell(&["daemon-reload"]));
        steps.push(Step::Tell(&["enable", UNIT]));
        // Starts it, or has a running one be the new binary under the new unit.
        steps.push(Step::Tell(&["restart", UNIT]));
        steps.extend(linger().map(Step::Say));
        perform(&steps, self.dry_run)?;
        Ok(Exit::Ok)
    }

    fn mode(&self) -> Option<RefreshMode> {
        self.refresh.map(|mode| match mode {
            Mode::Never => RefreshMode::Never,
            Mode::WhenIdle => RefreshMode::WhenIdle,
        })
    }
}

/// The config the service will read, found or about to be written.
struct FirstConfig {
    file: PathBuf,
    config: Config,
    step: Step,
    /// What a config that was found lacks.
    missing: Vec<String>,
}

impl FirstConfig {
    /// Nothing is installed over a config the daemon would refuse, nor over one that says otherwise than was asked.
    fn settle(
        explicit: Option<&Path>,
        paths: &Paths,
        mode: Option<RefreshMode>,
        findings: &Findings,
    ) -> Result<Self, Failure> {
        let bad = |complaints: config::Complaints| Failure::new(Exit::Config, complaints.to_string());
        let file = explicit.unwrap_or(&paths.config_file);
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        if file.symlink_metadata().is_err() {
            let text = findings.first_config(paths, mode);
            let config = config::parse(&text, &file, paths).map_err(bad)?.config;
            return Ok(Self { config, step: Step::Write(file.clone(), text), file, missing: Vec::new() });
        }
        let config = config::load(Some(&file), paths).map_err(bad)?.config;
        if let Some(mode) = mode.filter(|mode| !vendor_logins_have(*mode, &config)) {
            let line = if mode == RefreshMode::Never { "never" } else { "when-idle" };
            let said = format!(
                "{} is yours, so `install` does not change it: set `refresh = \"{line}\"` in the account's own table \
                 there, then run `quotad install` without --refresh",
                file.display()
            );
            return Err(Failure::new(Exit::Failed, said));
        }
        let step = Step::Say(format!("the config stays as it is: {}", file.display()));
        Ok(Self { missing: findings.missing_from(&config), config, step, file })
    }
}

/// Whether a config already has `mode` for every login of a vendor's CLI.
fn vendor_logins_have(mode: RefreshMode, config: &Config) -> bool {
    match &config.accounts {
        Accounts::Discovered => mode == RefreshMode::Never,
        Accounts::Listed(accounts) => {
            accounts.values().filter(|a| a.owner == CredentialOwner::Vendor).all(|account| account.refresh == mode)
        }
    }
}

/// Whether no account is ever refreshed, so that no credential file is ever written; and no alert needs the bus or a
/// program of the user's.
fn only_reads(config: &Config) -> bool {
    if config.alerts.desktop || config.alerts.exec.is_some() {
        return false;
    }
    match &config.accounts {
        Accounts::Discovered => true,
        Accounts::Listed(accounts) => accounts.values().all(|account| account.refresh == RefreshMode::Never),
    }
}

/// The running binary, by the path the service can start it from.
fn binary() -> Result<PathBuf, Failure> {
    let binary = env::current_exe()
        .map_err(|error| Failure::new(Exit::Failed, format!("could not tell where this binary lies: {error}")))?;
    if ["/tmp", "/var/tmp"].iter().any(|dir| binary.starts_with(dir)) {
        let said = format!(
            "{} lies in a directory for temporary files, and a service has one of its own: copy it to ~/.local/bin \
             and run `install` from there",
            binary.display()
        );
        return Err(Failure::new(Exit::Failed, said));
    }
    Ok(binary)
}

/// What the service runs. Directories that only this shell moves elsewhere are named.
fn command_line(binary: &Path, config: &Path, is_explicit: bool, paths: &Paths, manager: &UserManager) -> Vec<String> {
    let mut words = vec![binary.display().to_string(), "run".to_owned()];
    let service = manager.xdg_dir("XDG_CONFIG_HOME", &paths.home, ".config").join("quotad/config.toml");
    if is_explicit || config != service {
        words.extend(["--config".to_owned(), config.display().to_string()]);
    }
    if paths.state_dir != manager.xdg_dir("XDG_STATE_HOME", &paths.home, ".local/state").join("quotad") {
        words.extend(["--state-dir".to_owned(), paths.state_dir.display().to_string()]);
    }
    words
}

/// What the user should know about the choice that was made.
fn remarks(sandbox: Sandbox, mode: Option<RefreshMode>, binary: &Path) -> Vec<String> {
    let mut remarks = Vec::new();
    match sandbox {
        Sandbox::Full => {}
        Sandbox::Strict => remarks.push(
            "no account is refreshed by quotad, so its home is read-only: after changing a refresh mode, run `quotad \
             install` again"
                .to_owned(),
        ),
        Sandbox::Relaxed => remarks.push(
            "this machine refuses unprivileged user namespaces, so the sandbox is relaxed: system calls are filtered \
             as before, but files are protected by their modes alone"
                .to_owned(),
        ),
    }
    if mode == Some(RefreshMode::WhenIdle) {
        remarks.push(WHEN_IDLE.to_owned());
    }
    if binary.components().any(|part| part.as_os_str() == "target") {
        remarks.push(format!(
            "the service runs {}, which the next build replaces; better copy it to ~/.local/bin and install from there",
            binary.display()
        ));
    }
    remarks
}

/// What to do so that the service outlives the last session; nothing where it already does, or nobody can tell.
fn linger() -> Option<String> {
    let user = rustix::process::getuid().as_raw().to_string();
    let asked = ["show-user", &user, "--property=Linger", "--value"];
    let shown = Command::new("loginctl").args(asked).stdin(Stdio::null()).output().ok()?;
    // A user who has neither a session nor linger is unknown to it.
    (shown.stdout.trim_ascii() != b"yes")
        .then(|| "quotad ends with your last session; to have it run from boot on: loginctl enable-linger".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Config {
        config::parse(text, Path::new("c.toml"), &Paths::in_home(Path::new("/home/ada"))).unwrap().config
    }

    const VENDOR: &str = "[accounts.a]\nprovider = \"claude\"\ncredentials = \"~/a.json\"\n";
    const OWN: &str = "[accounts.b]\nprovider = \"claude\"\ncredentials = \"~/b.json\"\nowner = \"quotad\"\n";

    #[test]
    fn the_home_is_read_only_where_no_account_is_refreshed() {
        for (text, strict) in [
            (String::new(), true),
            (VENDOR.to_owned(), true),
            (OWN.to_owned(), false),
            (format!("{VENDOR}{OWN}"), false),
            (format!("{OWN}refresh = \"never\"\n"), true),
            ("[alerts.desktop]\nenabled = true\n".to_owned(), false),
            ("[alerts.exec]\ncommand = [\"x\"]\n".to_owned(), false),
            ("[alerts.webhook]\nurl = \"https://a/\"\n".to_owned(), true),
        ] {
            assert_eq!(only_reads(&parsed(&text)), strict, "{text}");
        }
    }

    #[test]
    fn a_config_that_stands_is_never_written_and_one_that_says_otherwise_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::in_home(dir.path());
        let file = dir.path().join("c.toml");
        let settle = |mode| FirstConfig::settle(Some(&file), &paths, mode, &Findings::default());
        assert!(matches!(settle(None).unwrap().step, Step::Write(..)), "there is none yet");
        for (text, mode, exit) in [
            ("", None, None),
            ("", Some(RefreshMode::Never), None),
            (OWN, Some(RefreshMode::Never), None),
            ("", Some(RefreshMode::WhenIdle), Some(Exit::Failed)),
            (VENDOR, Some(RefreshMode::WhenIdle), Some(Exit::Failed)),
            ("[poll]\ninterval = 5\n", None, Some(Exit::Config)),
        ] {
            std::fs::write(&file, text).unwrap();
            match (settle(mode), exit) {
                (Ok(first), None) => assert!(matches!(first.step, Step::Say(_)), "{text}"),
                (Err(failure), Some(exit)) => assert_eq!(failure.exit, exit, "{failure}"),
                (outcome, _) => panic!("{text}: {:?}", outcome.map(|first| first.step)),
            }
        }
    }

    #[test]
    fn a_directory_that_only_the_shell_moves_is_named_on_the_command_line() {
        let manager = UserManager::for_tests(&[("XDG_STATE_HOME", "/srv/state")]);
        let paths = Paths::in_home(Path::new("/home/ada"));
        let words = |paths: &Paths, is_explicit| {
            command_line(Path::new("/b/quotad"), &paths.config_file, is_explicit, paths, &manager).join(" ")
        };
        assert_eq!(words(&paths, false), "/b/quotad run --state-dir /home/ada/.local/state/quotad");
        let moved = Paths { config_file: "/c.toml".into(), state_dir: "/srv/state/quotad".into(), ..paths.clone() };
        assert_eq!(words(&moved, false), "/b/quotad run --config /c.toml");
        let explicit = Paths { state_dir: "/srv/state/quotad".into(), ..paths };
        assert_eq!(words(&explicit, true), "/b/quotad run --config /home/ada/.config/quotad/config.toml");
    }
}

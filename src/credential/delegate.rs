//! Starts the vendor's own CLI, which refreshes the file its own way.
//!
//! Owns how it is started: as a transient service of the user manager, which inherits none of quotad's sandbox and
//! outlives it; without a manager as a detached child. Stdin is null, it is never signalled, and whether it did
//! anything is told by the file alone (credentials.md 9.4, 1B.1).

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::model::AccountName;

/// What to start.
#[derive(Debug, Clone)]
pub struct Delegate {
    /// Whose file it is about; names the transient service.
    pub account: AccountName,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables that make the CLI look at this very file; empty for its usual one.
    pub relocation: Vec<(String, PathBuf)>,
    /// What the CLI locks to store what it was given.
    pub write_lock: Option<PathBuf>,
    /// The user's home, where CLIs are installed besides the system's places.
    pub home: PathBuf,
}

impl Delegate {
    /// Starts it and returns at once.
    ///
    /// # Errors
    /// A clause that says why it does not run: it is not installed, an earlier run is still alive, or it could not store
    /// what it is given.
    pub fn start(&self) -> Result<(), String> {
        let name = self.command.first().ok_or("no command is configured")?;
        let program = find(name, &self.home).ok_or_else(|| format!("{name} is not installed where quotad looks"))?;
        if let Some(lock) = self.write_lock.as_ref().filter(|lock| is_held(lock)) {
            return Err(format!("{} is held, and {name} would drop what it is given; it waits", lock.display()));
        }
        if has_manager() { self.start_service(&program) } else { self.start_child(&program) }
    }

    fn start_service(&self, program: &Path) -> Result<(), String> {
        let unit = format!("quotad-refresh-{}", self.account);
        let mut command = Command::new("systemd-run");
        command.args(["--user", "--collect", "--no-block", "--quiet", "--unit", &unit]);
        command.args(["--property=StandardInput=null", "--property=TimeoutStopSec=infinity"]);
        command.arg("--setenv").arg(joined("PATH=", &path_for(program)));
        for (name, value) in &self.relocation {
            command.arg("--setenv").arg(joined(&format!("{name}="), value.as_os_str()));
        }
        command.arg("--").arg(program).args(&self.command[1..]).stdin(Stdio::null()).stdout(Stdio::null());
        let output = command.output().map_err(|error| format!("systemd-run could not be started: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("the user manager did not start {}; an earlier run may still be alive", program.display()))
    }

    fn start_child(&self, program: &Path) -> Result<(), String> {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(program);
        command.args(&self.command[1..]).env("PATH", path_for(program)).envs(self.relocation.iter().cloned());
        for ours in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"] {
            command.env_remove(ours);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child =
            command.spawn().map_err(|error| format!("{} could not be started: {error}", program.display()))?;
        // Only to let go of it once it has ended; nobody waits for this thread.
        std::thread::spawn(move || child.wait());
        Ok(())
    }
}

/// Whether somebody holds this lock now. Takes it for an instant itself, shared: the CLI waits seconds for it.
fn is_held(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// A user manager that can be asked to run something.
fn has_manager() -> bool {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime.is_some_and(|dir| dir.join("systemd/private").exists() || dir.join("bus").exists())
}

/// The program of this name: as given if it is a path, else where the user's CLIs are. A user manager's own `PATH`
/// has neither `~/.local/bin` nor a node version's directory (systemd.md 1.9).
fn find(name: &str, home: &Path) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    let usual = [home.join(".local/bin"), home.join("bin"), home.join(".npm-global/bin"), "/usr/local/bin".into()];
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Its own directory first: what it calls lies beside it.
fn path_for(program: &Path) -> OsString {
    let own = program.parent().map(PathBuf::from);
    let rest = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(own.into_iter().chain(std::env::split_paths(&rest))).unwrap_or(rest)
}

fn joined(name: &str, value: &std::ffi::OsStr) -> OsString {
    let mut text = OsString::from(name);
    text.push(value);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_path_or_where_the_users_clis_are_and_nowhere_else() {
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join(".local/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("quotad-test-cli"), "").unwrap();
        assert_eq!(find("quotad-test-cli", home.path()), Some(bin.join("quotad-test-cli")));
        assert_eq!(find("quotad-no-such-cli", home.path()), None);
        assert_eq!(find("/bin/no/such", home.path()), None);
        assert!(find("/bin/sh", home.path()).is_some());
    }

    #[test]
    fn nothing_runs_while_somebody_holds_what_the_cli_needs_to_store_the_answer() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("auth.json.lock");
        assert!(!is_held(&path), "there is none");
        let lock = File::create(&path).unwrap();
        assert!(!is_held(&path), "it was left behind");
        lock.lock().unwrap();
        assert!(is_held(&path));
        let delegate = Delegate {
            account: AccountName::parse("codex").unwrap(),
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("touch {}/ran", home.path().display())],
            relocation: Vec::new(),
            write_lock: Some(path.clone()),
            home: home.path().to_owned(),
        };
        let why = delegate.start().unwrap_err();
        assert!(why.contains("auth.json.lock is held"), "{why}");
        drop(lock);
        assert!(!is_held(&path), "asking leaves nothing locked");
    }
}

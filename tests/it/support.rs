//! A home of its own, a vendor on loopback, and the real binary run in between.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quotad::clock::Clock;
use quotad::demo::vendor::{Tokens, Vendor, credential_file_json};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use crate::no_errors;

/// Cooldowns of 1, 2 and 4 seconds, no jitter, polls twice a second: the rules at a pace a test can watch.
pub(crate) const QUICK: &str = r#"
[poll]
interval = "500ms"
jitter = 0
retries = 0
[rate-limit-pause]
cooldowns = ["1s", "2s", "4s"]
max-cooldown = "1h"
[auth-pause]
cooldowns = ["1s", "2s", "4s"]
max-cooldown = "1h"
"#;

/// Long enough that nothing but a bug outlasts it, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long a test may take that only lengthens itself when asked to.
pub(crate) fn is_long() -> bool {
    std::env::var_os("QUOTAD_LONG").is_some()
}

/// A throw-away home, and the vendor its accounts talk to.
pub(crate) struct House {
    dir: tempfile::TempDir,
    pub(crate) vendor: Vendor,
    expects_error: AtomicBool,
}

impl House {
    pub(crate) fn new() -> Self {
        no_errors::watch();
        let (dir, vendor) = (tempfile::tempdir().unwrap(), Vendor::start(Clock::real()).unwrap());
        let house = Self { dir, vendor, expects_error: AtomicBool::new(false) };
        for dir in ["home", "run", "state"] {
            fs::create_dir(house.path(dir)).unwrap();
            fs::set_permissions(house.path(dir), fs::Permissions::from_mode(0o700)).unwrap();
        }
        house
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The credential file of the account of this name.
    pub(crate) fn credentials(&self, account: &str) -> PathBuf {
        self.path("home").join(account).join(".credentials.json")
    }

    /// A new login whose access token lives for `lease`, written into the account's file as a CLI does.
    pub(crate) fn log_in(&self, account: &str, lease: Duration) -> Tokens {
        let now = self.vendor.now();
        let tokens = self.vendor.with(|world| world.login(account, lease, now));
        self.write(account, &credential_file_json(&tokens, |_| {}));
        tokens
    }

    /// A new login whose access token, by the file's word, has just expired; what is minted from it lives an hour.
    pub(crate) fn log_in_expired(&self, account: &str) -> Tokens {
        let now = self.vendor.now();
        let tokens = self.vendor.with(|world| world.login(account, Duration::from_secs(3600), now));
        let expired = (now - Duration::from_secs(1)).as_millisecond();
        self.write(account, &credential_file_json(&tokens, |file| file["claudeAiOauth"]["expiresAt"] = expired.into()));
        tokens
    }

    /// Replaces the credential file by temp file and rename.
    pub(crate) fn write(&self, account: &str, content: &str) {
        let path = self.credentials(account);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let temp = path.with_extension("tmp");
        fs::write(&temp, content).unwrap();
        fs::set_permissions(&temp, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(temp, path).unwrap();
    }

    /// Writes the config: `settings`, then one account whose file the vendor's CLI writes.
    pub(crate) fn configure(&self, settings: &str, account: &str, more: &str) {
        let text = format!(
            "{settings}\n[accounts.{account}]\nprovider = \"claude\"\ncredentials = \"{}\"\nusage-url = \"{}\"\ntoken-url = \"{}\"\n{more}\n",
            self.credentials(account).display(),
            self.vendor.usage_url(),
            self.vendor.token_url(),
        );
        fs::write(self.path("config.toml"), text).unwrap();
    }

    /// The binary with this home and nothing of the real one.
    pub(crate) fn quotad(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quotad"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    /// Runs a verb to its end.
    pub(crate) fn ask(&self, args: &[&str]) -> Output {
        self.quotad(args).output().unwrap()
    }

    /// Starts the daemon on `config.toml` and waits for its socket.
    pub(crate) fn start(&self) -> Daemon<'_> {
        self.start_logging("debug")
    }

    /// The same with this log filter.
    pub(crate) fn start_logging(&self, filter: &str) -> Daemon<'_> {
        let config = self.path("config.toml");
        self.spawn(self.quotad(&["run", "--config", config.to_str().unwrap()]).env("QUOTAD_LOG", filter))
    }

    /// The same as [`Self::start`], where a write past [`Daemon::fill_disk`] fails instead of ending the process.
    pub(crate) fn start_on_a_small_disk(&self) -> Daemon<'_> {
        let config = self.path("config.toml");
        let plain = self.quotad(&["run", "--config", config.to_str().unwrap()]);
        let mut command = Command::new("env");
        command.args(["-i", "--ignore-signal=XFSZ"]);
        for (name, value) in plain.get_envs() {
            command.arg(format!("{}={}", name.to_str().unwrap(), value.unwrap_or_default().to_str().unwrap()));
        }
        self.spawn(command.arg(plain.get_program()).args(plain.get_args()))
    }

    fn spawn(&self, command: &mut Command) -> Daemon<'_> {
        let child = command.stderr(self.log_file()).stdout(Stdio::null()).spawn().unwrap();
        let daemon = Daemon { house: self, child };
        wait_for("the socket", || daemon.status().is_some());
        daemon
    }

    /// Where the daemons of this house log.
    pub(crate) fn log_file(&self) -> fs::File {
        fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap()
    }

    /// Everything they have logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// This test is about something that is broken: an ERROR in the log is what it wants.
    pub(crate) fn expects_error(&self) {
        self.expects_error.store(true, Ordering::Relaxed);
    }
}

/// No passing test leaves an ERROR in the log of its daemons, nor announces one that does not come.
impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let log = self.log();
        let is_error = |line: &&str| line.split_whitespace().nth(1) == Some("ERROR");
        let (error, expected) = (log.lines().find(is_error), self.expects_error.load(Ordering::Relaxed));
        assert!(
            error.is_some() == expected,
            "an error in the log was {}expected: {error:?}",
            if expected { "" } else { "not " }
        );
    }
}

/// A running daemon. Killed when dropped.
pub(crate) struct Daemon<'a> {
    house: &'a House,
    child: Child,
}

impl Daemon<'_> {
    /// No file of the daemon's can become longer than this one is.
    pub(crate) fn fill_disk(&self, file: &Path) {
        self.limit_files(Some(fs::metadata(file).unwrap().len()));
    }

    /// There is room again.
    pub(crate) fn empty_disk(&self) {
        self.limit_files(None);
    }

    fn limit_files(&self, current: Option<u64>) {
        let limit = Rlimit { current, maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    /// The status document, if the daemon answers.
    pub(crate) fn status(&self) -> Option<Value> {
        let output = self.house.ask(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).ok()
    }

    /// The first account of the status document.
    pub(crate) fn account(&self) -> Value {
        self.status().map(|status| status["accounts"][0].clone()).unwrap_or_default()
    }

    /// Waits until the first account is in this state.
    pub(crate) fn wait_for_state(&self, state: &str) {
        let began = Instant::now();
        loop {
            let account = self.account();
            if account["state"] == state {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "waited for {state}: {account:#}\n{}", self.house.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// kill -9, and gone when this returns.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit code it ends with.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `done`, or fails the test with what it waited for.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Seconds from the first of these moments to each.
pub(crate) fn offsets(moments: &[Instant]) -> Vec<f64> {
    moments.iter().map(|at| at.duration_since(moments[0]).as_secs_f64()).collect()
}

/// Whether each offset lies at its expected one or up to `late` seconds after it.
pub(crate) fn assert_at(got: &[f64], expected: &[f64], late: f64) {
    println!("at {got:.3?} s, expected {expected:?}");
    let fits =
        got.len() >= expected.len() && got.iter().zip(expected).all(|(got, at)| *got >= at - 0.02 && *got <= at + late);
    assert!(fits, "expected about {expected:?}, got {got:.3?}");
}

pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn an_error_in_this_process_ends_the_run() {
    no_errors::assert_ends(concat!(module_path!(), "::victim"));
}

/// Not a test by itself: the process that is ended.
#[test]
fn victim() {
    if no_errors::is_victim() {
        let _house = House::new();
        no_errors::err_unseen();
    }
}

#[test]
#[should_panic(expected = "was not expected: Some(\"2026-11-22T12:00:00Z ERROR event=\\\"stopped\\\"\")")]
fn an_error_in_the_log_of_a_daemon_fails_the_test() {
    let house = House::new();
    fs::write(house.path("log"), "2026-11-22T12:00:00Z  INFO ERROR\n2026-11-22T12:00:00Z ERROR event=\"stopped\"\n")
        .unwrap();
}

#[test]
#[should_panic(expected = "an error in the log was expected: None")]
fn an_error_that_was_announced_must_come() {
    House::new().expects_error();
}

//! How long a status bar or a script waits for `quotad status --format waybar` and `quotad guard`.
//!
//! `cargo bench --bench bars`. Runs them in turn with `/bin/true` and `quotad --version`, which say what a process costs
//! here in any case, with a daemon of five accounts and without one. Prints the percentiles from the start of the
//! process to its end, and fails where the median of one of the two is 10 ms or more; no network is used, and nothing
//! outside a temporary home.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should stop where it stands")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 500;
const QUOTAD: &str = env!("CARGO_BIN_EXE_quotad");
const WAYBAR: [&str; 3] = ["status", "--format", "waybar"];
const GUARD: [&str; 3] = ["guard", "--min", "10"];
const ACCOUNTS: usize = 5;

/// The median stays below this, in milliseconds.
const MOST: f64 = 10.0;

fn main() -> ExitCode {
    let home = tempfile::tempdir().unwrap();
    let private = |dir: &Path| {
        fs::create_dir(dir).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    };
    private(&home.path().join("run"));
    let login = r#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-FAKE","refreshToken":"sk-ant-ort01-FAKE"}}"#;
    let mut text = String::new();
    for account in 0..ACCOUNTS {
        let dir = home.path().join(format!("claude-{account}"));
        private(&dir);
        fs::write(dir.join(".credentials.json"), login.replace("FAKE", &format!("FAKE-{account}"))).unwrap();
        write!(text, "[accounts.work-{account}]\nprovider = \"claude\"\ncredentials = \"~/claude-{account}/.credentials.json\"\nsources = [\"local\"]\n").unwrap();
    }
    let config = home.path().join("config.toml");
    fs::write(&config, text).unwrap();

    let mut held = case("no daemon", home.path(), 69);
    let mut daemon = quotad(home.path()).args(["run", "--config"]).arg(&config).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while quotad(home.path()).args(GUARD).stderr(Stdio::null()).status().unwrap().code() != Some(0) {
        (0..ACCOUNTS).for_each(|account| hand_over(home.path(), account));
        assert!(began.elapsed() < Duration::from_secs(20), "the daemon did not start");
    }
    held &= case("a daemon with five accounts", home.path(), 0);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn quotad(home: &Path) -> Command {
    let mut command = Command::new(QUOTAD);
    command.env_clear().env("HOME", home).env("XDG_RUNTIME_DIR", home.join("run")).stdin(Stdio::null());
    command
}

/// Gives one account numbers, as Claude Code would.
fn hand_over(home: &Path, account: usize) {
    let resets_at = jiff::Timestamp::now().as_second() + 3600;
    let text = format!(r#"{{"rate_limits":{{"five_hour":{{"used_percentage":23.5,"resets_at":{resets_at}}}}}}}"#);
    let mut command = quotad(home);
    command.env("CLAUDE_CONFIG_DIR", home.join(format!("claude-{account}"))).args(["ingest", "claude-statusline"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Prints one case; whether both verbs stay below [`MOST`].
fn case(name: &str, home: &Path, exit: i32) -> bool {
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..RUNS {
        let commands = [
            (Command::new("/bin/true"), 0),
            (with(home, &["--version"]), 0),
            (with(home, &WAYBAR), exit),
            (with(home, &GUARD), exit),
        ];
        for (times, (mut command, exit)) in times.iter_mut().zip(commands) {
            times.push(once(&mut command, exit));
        }
    }
    println!("{name}, {RUNS} runs");
    let names = ["/bin/true", "quotad --version", "status --format waybar", "guard --min 10"];
    let medians: Vec<f64> = names.iter().zip(times).map(|(name, times)| print(name, times)).collect();
    medians[2].max(medians[3]) < MOST
}

fn with(home: &Path, args: &[&str]) -> Command {
    let mut command = quotad(home);
    command.args(args);
    command
}

/// Milliseconds from the start of a process to its end.
fn once(command: &mut Command, exit: i32) -> f64 {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let status = command.status().unwrap();
    let took = began.elapsed().as_secs_f64() * 1e3;
    assert_eq!(status.code(), Some(exit), "{command:?}");
    took
}

/// Prints the percentiles of a measure; returns the median.
fn print(what: &str, mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("    {what:<22} p50 {:6.2} ms   p99 {:6.2} ms   worst {:6.2} ms", at(0.5), at(0.99), at(1.0));
    at(0.5)
}

//! How much `quotad ingest claude-statusline -- COMMAND` adds to COMMAND alone.
//!
//! `cargo bench --bench ingest`. Runs both in turn, with a daemon that takes the hand-over, without one, and with one
//! that never answers, which costs the 10 ms that the verb waits at most. Prints the percentiles of both and of their
//! difference within each pair, and fails where its median is 20 ms or more; no network is used, and nothing outside a temporary home.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should stop where it stands")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 500;
const QUOTAD: &str = env!("CARGO_BIN_EXE_quotad");

/// Less than this may be added, in milliseconds.
const MOST: f64 = 20.0;

fn main() -> ExitCode {
    let home = tempfile::tempdir().unwrap();
    let (run, claude) = (home.path().join("run"), home.path().join(".claude"));
    for dir in [&run, &claude] {
        fs::create_dir(dir).unwrap();
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let login = r#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-FAKE","refreshToken":"sk-ant-ort01-FAKE"}}"#;
    fs::write(claude.join(".credentials.json"), login).unwrap();
    let config = home.path().join("config.toml");
    let account = "[accounts.work]\nprovider = \"claude\"\ncredentials = \"~/.claude/.credentials.json\"\nsources = [\"local\"]\n";
    fs::write(&config, account).unwrap();

    let mut held = case("no daemon", home.path());
    let mut daemon = quotad(home.path()).args(["run", "--config"]).arg(&config).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while !quotad(home.path()).arg("status").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success() {
        // Its account knows nothing yet, which is no success either: the first hand-over ends that.
        once(quotad(home.path()).args(["ingest", "claude-statusline"]));
        assert!(began.elapsed() < Duration::from_secs(20), "the daemon did not start");
    }
    held &= case("a daemon that takes it", home.path());
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let socket = run.join("quotad/quotad.sock");
    fs::remove_file(&socket).unwrap();
    let silent = UnixListener::bind(&socket).unwrap();
    silent.set_nonblocking(true).unwrap();
    held &= case("a daemon that never answers", home.path());
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn quotad(home: &Path) -> Command {
    let mut command = Command::new(QUOTAD);
    command.env_clear().env("HOME", home).env("XDG_RUNTIME_DIR", home.join("run"));
    command
}

/// Prints one case; whether what it adds stays below [`MOST`].
fn case(name: &str, home: &Path) -> bool {
    let mut pairs: Vec<[f64; 2]> = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let direct = once(Command::new("/bin/cat").env_clear());
        pairs.push([direct, once(quotad(home).args(["ingest", "claude-statusline", "--", "/bin/cat"]))]);
    }
    println!("{name}, {RUNS} runs");
    print("command alone", pairs.iter().map(|[direct, _]| *direct));
    print("through quotad", pairs.iter().map(|[_, through]| *through));
    print("added", pairs.iter().map(|[direct, through]| through - direct)) < MOST
}

/// Milliseconds from the start of a command that gets a hand-over on stdin to its end.
fn once(command: &mut Command) -> f64 {
    let resets_at = jiff::Timestamp::now().as_second() + 3600;
    let limits = format!(r#"{{"five_hour":{{"used_percentage":23.5,"resets_at":{resets_at}}}}}"#);
    let text = format!(r#"{{"session_id":"FAKE","workspace":"{}","rate_limits":{limits}}}"#, "x".repeat(3000));
    let began = Instant::now();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    began.elapsed().as_secs_f64() * 1e3
}

/// Prints the percentiles of a measure; returns the median.
fn print(what: &str, times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("    {what:<15} p50 {:6.2} ms   p99 {:6.2} ms   worst {:6.2} ms", at(0.5), at(0.99), at(1.0));
    at(0.5)
}

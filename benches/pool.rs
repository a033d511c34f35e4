//! How long `select` takes over the socket while 64 clients use six accounts.
//!
//! `cargo bench --bench pool`. Each client keeps one connection and sends one request every 50 ms, a select and the
//! report about it by turns, until there were 10,000 of both; meanwhile the verb `quotad select` is run again and again
//! by itself. Prints the percentiles of both requests and of the whole verb, each account's share, and what was counted;
//! fails where the p99 of `select` is 5 ms or more, a share is more than 5 % off, or a report was not counted. The
//! vendor is embedded, on loopback.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should stop where it stands")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quotad::clock::Clock;
use quotad::demo::vendor::{Vendor, credential_file_json};
use serde_json::{Value, json};

#[path = "../tests/it/line.rs"]
mod line;

use line::Line;

const ACCOUNTS: usize = 6;
const CLIENTS: usize = 64;
const PAIRS: usize = 10_000;
const EVERY: Duration = Duration::from_millis(50);
/// Milliseconds within which 99 of 100 selections are answered.
const MOST: f64 = 5.0;
const QUOTAD: &str = env!("CARGO_BIN_EXE_quotad");

fn main() -> ExitCode {
    let home = tempfile::tempdir().unwrap();
    let vendor = Vendor::start(Clock::real()).unwrap();
    let config = furnish(home.path(), &vendor);
    let mut daemon = quotad(home.path()).args(["run", "--config"]).arg(&config).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while !quotad(home.path()).arg("status").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success() {
        assert!(began.elapsed() < Duration::from_secs(20), "the daemon did not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    let held = storm(home.path());
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A config with six logins of one vendor.
fn furnish(home: &Path, vendor: &Vendor) -> std::path::PathBuf {
    fs::create_dir(home.join("run")).unwrap();
    fs::set_permissions(home.join("run"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut text = String::new();
    for n in 0..ACCOUNTS {
        let (name, now) = (format!("account-{n}"), vendor.now());
        let tokens = vendor.with(|world| world.login(&name, Duration::from_secs(3600), now));
        let file = home.join(format!("{name}.json"));
        fs::write(&file, credential_file_json(&tokens, |_| {})).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let (file, usage, token) = (file.display(), vendor.usage_url(), vendor.token_url());
        let _ = write!(text, "[accounts.{name}]\nprovider = \"claude\"\ncredentials = \"{file}\"\n");
        let _ = write!(text, "usage-url = \"{usage}\"\ntoken-url = \"{token}\"\n");
    }
    let config = home.join("config.toml");
    fs::write(&config, text).unwrap();
    config
}

fn quotad(home: &Path) -> Command {
    let mut command = Command::new(QUOTAD);
    command.env_clear().env("HOME", home).env("XDG_RUNTIME_DIR", home.join("run"));
    command
}

/// Prints what came of it; whether it holds.
fn storm(home: &Path) -> bool {
    let socket = home.join("run/quotad/quotad.sock");
    let (left, over) = (AtomicUsize::new(PAIRS), AtomicBool::new(false));
    let times = [Mutex::new(Vec::new()), Mutex::new(Vec::new())];
    let shares = Mutex::new(BTreeMap::new());
    let mut verb = Vec::new();
    let began = Instant::now();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let (left, times, shares, socket) = (&left, &times, &shares, &socket);
                scope.spawn(move || {
                    std::thread::sleep(EVERY.mul_f64(n as f64 / CLIENTS as f64));
                    let mut line = Line::open(socket).unwrap();
                    let mut next = Instant::now();
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                        let ask = |line: &mut Line, next: &mut Instant, at: usize, path: &str, document: &Value| {
                            std::thread::sleep(next.saturating_duration_since(Instant::now()));
                            *next += EVERY;
                            let asked = Instant::now();
                            let (status, answer) = line.post(path, document).unwrap();
                            assert_eq!(status, 200, "{answer}");
                            times[at].lock().unwrap().push(asked.elapsed().as_secs_f64() * 1e3);
                            answer
                        };
                        let chosen = ask(&mut line, &mut next, 0, "/v1/select", &json!({}));
                        let report = json!({"account": chosen["account"], "outcome": "ok"});
                        ask(&mut line, &mut next, 1, "/v1/report", &report);
                        let account = chosen["account"].as_str().unwrap().to_owned();
                        *shares.lock().unwrap().entry(account).or_insert(0_u64) += 1;
                    }
                })
            })
            .collect();
        let (over, verb) = (&over, &mut verb);
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                assert!(quotad(home).arg("select").stdout(Stdio::null()).status().unwrap().success());
                verb.push(asked.elapsed().as_secs_f64() * 1e3);
                std::thread::sleep(EVERY);
            }
        });
        for client in clients {
            client.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    let [selects, reports] = times.map(|times| times.into_inner().unwrap());
    println!("{} selects and {} reports of {CLIENTS} clients in {:.1?}", selects.len(), reports.len(), began.elapsed());
    let p99 = print("select, over the socket", selects);
    print("report, over the socket", reports);
    let verbs = verb.len() as u64;
    print("quotad select, the whole verb", verb);
    let mut held = p99 < MOST;
    let (shares, even) = (shares.into_inner().unwrap(), PAIRS as f64 / ACCOUNTS as f64);
    let mut line = Line::open(&socket).unwrap();
    let (mut counted, mut given) = (0, 0);
    for (account, share) in &shares {
        let explained = line.get(&format!("/v1/accounts/{account}/explain")).unwrap();
        let count = |what: &str| explained["pool"][what].as_u64().unwrap();
        println!(
            "  {account}: {share} selects, {:+.1} % of even; {} reports counted",
            (*share as f64 / even - 1.0) * 100.0,
            count("reports")
        );
        held &= (*share as f64 / even - 1.0).abs() <= 0.05 && count("reports") == *share;
        counted += count("reports");
        given += count("selects");
    }
    println!("  in all {counted} reports and {given} selects counted, {verbs} of these by the verb");
    held && shares.len() == ACCOUNTS && counted == PAIRS as u64 && given == PAIRS as u64 + verbs
}

/// Prints the percentiles; returns the last.
fn print(what: &str, mut milliseconds: Vec<f64>) -> f64 {
    milliseconds.sort_by(f64::total_cmp);
    let at = |share: f64| milliseconds[((milliseconds.len() - 1) as f64 * share).round() as usize];
    println!("  {what}: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", at(0.5), at(0.99), at(1.0));
    at(0.99)
}

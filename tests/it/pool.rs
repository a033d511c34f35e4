//! The account pool of the real daemon: many clients at once, reports that must not be lost, and who comes back when.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::line::Line;
use crate::support::{Daemon, House, PATIENCE, is_long, wait_for};

const HOUR: Duration = Duration::from_secs(3600);
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const CLIENTS: usize = 64;

/// A house with these accounts of one vendor, each logged in; `settings` come first.
fn house(accounts: &[&str], settings: &str) -> House {
    let house = House::new();
    let mut text = format!("{settings}\n");
    for account in accounts {
        house.log_in(account, HOUR);
        let _ = write!(
            text,
            "[accounts.{account}]\nprovider = \"claude\"\ncredentials = \"{}\"\nusage-url = \"{}\"\ntoken-url = \"{}\"\n",
            house.credentials(account).display(),
            house.vendor.usage_url(),
            house.vendor.token_url(),
        );
    }
    std::fs::write(house.path("config.toml"), text).unwrap();
    house
}

fn all_are_ok(daemon: &Daemon<'_>) {
    wait_for("every account to be read", || {
        let status = daemon.status().unwrap_or_default();
        status["accounts"].as_array().is_some_and(|all| all.iter().all(|account| account["state"] == "ok"))
    });
}

fn socket(house: &House) -> PathBuf {
    house.path("run").join("quotad/quotad.sock")
}

/// What stdout says, and the exit code.
fn said(house: &House, args: &[&str]) -> (String, Option<i32>) {
    let output = house.ask(args);
    (String::from_utf8(output.stdout).unwrap().trim().to_owned(), output.status.code())
}

/// What was counted of an account.
fn counted(house: &House, account: &str) -> Value {
    let mut explained = Value::Null;
    let mut line = Line::open(&socket(house)).unwrap();
    wait_for("an explanation", || {
        explained = line.get(&format!("/v1/accounts/{account}/explain")).unwrap_or_default();
        explained["pool"].is_object()
    });
    explained["pool"].clone()
}

/// Every client selects and reports, each seventh a `failure`, until `pairs` are done or the daemon is gone; the reports
/// that were answered, by account.
fn storm(socket: &std::path::Path, pairs: usize, failure: &str) -> BTreeMap<String, u64> {
    let turn = AtomicUsize::new(1);
    let (left, answered, gone) = (AtomicUsize::new(pairs), Mutex::new(BTreeMap::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let Ok(mut line) = Line::open(socket) else { return };
                while !gone.load(Ordering::Relaxed)
                    && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
                {
                    let Ok((200, chosen)) = line.post("/v1/select", &json!({})) else { break };
                    let account = chosen["account"].as_str().unwrap().to_owned();
                    let outcome = if turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(7) { failure } else { "ok" };
                    let report = json!({"account": account, "outcome": outcome, "credential": chosen["credential"]});
                    let Ok((200, _)) = line.post("/v1/report", &report) else { break };
                    *answered.lock().unwrap().entry(account).or_insert(0) += 1;
                }
                if left.load(Ordering::Relaxed) > 0 {
                    gone.store(true, Ordering::Relaxed);
                }
            });
        }
    });
    answered.into_inner().unwrap()
}

#[test]
fn many_clients_get_even_shares_and_every_report_is_counted() {
    let pairs = if is_long() { 10_000 } else { 2_000 };
    let house = house(&NAMES, "");
    let daemon = house.start_logging("info");
    all_are_ok(&daemon);
    let began = Instant::now();
    let answered = storm(&socket(&house), pairs, "ok");
    println!("{pairs} selects and reports of {CLIENTS} clients in {:?}: {answered:?}", began.elapsed());
    assert_eq!(answered.values().sum::<u64>(), pairs as u64, "{}", house.log());
    let even = pairs as f64 / NAMES.len() as f64;
    for account in NAMES {
        let pool = counted(&house, account);
        assert_eq!(pool["reports"].as_u64(), answered.get(account).copied(), "{account}");
        assert_eq!((&pool["successes"], &pool["selects"]), (&pool["reports"], &pool["reports"]), "{account}");
        let share = pool["selects"].as_f64().unwrap() / even;
        assert!((0.95..=1.05).contains(&share), "{account} has {share} of an even share");
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_verb_is_answered_however_many_clients_keep_their_connections() {
    let house = house(&["a"], "");
    let daemon = house.start();
    all_are_ok(&daemon);
    let mut lines = Vec::new();
    for kept in [0, 250, 254, 255, 256, 257, 400] {
        while lines.len() < kept {
            lines.push(Line::open(&socket(&house)).unwrap());
        }
        for _ in 0..3 {
            assert_eq!(said(&house, &["select"]), ("a".to_owned(), Some(0)), "beside {kept}");
        }
    }
}

#[test]
fn no_report_that_was_answered_is_lost_by_kill_9() {
    let rounds = if is_long() { 10 } else { 3 };
    let house = house(&NAMES, "");
    let mut known = BTreeMap::new();
    for round in 0..rounds {
        let daemon = house.start_logging("info");
        all_are_ok(&daemon);
        let socket = socket(&house);
        std::thread::scope(|scope| {
            let storm = scope.spawn(|| storm(&socket, 1_000_000, "timeout"));
            std::thread::sleep(Duration::from_millis(300 + 70 * round));
            daemon.kill();
            for (account, reports) in storm.join().unwrap() {
                *known.entry(account).or_insert(0) += reports;
            }
        });
    }
    let daemon = house.start();
    all_are_ok(&daemon);
    assert!(known.values().sum::<u64>() > 0);
    for (account, answered) in &known {
        let reports = counted(&house, account)["reports"].as_u64().unwrap();
        // What was stored and not answered any more may come on top: one for each client and round.
        println!("{account}: {answered} answered, {reports} stored");
        assert!((*answered..=answered + CLIENTS as u64 * rounds).contains(&reports), "{account}");
    }
}

#[test]
fn a_rate_limited_account_is_never_given_out_before_its_time_also_across_a_restart() {
    let house = house(&["a", "b"], "[poll]\njitter = 0\n");
    let daemon = house.start();
    all_are_ok(&daemon);
    let began = Instant::now();
    let (told, exit) = said(&house, &["report", "a", "rate-limited", "--retry-after", "4s"]);
    assert!(told.starts_with("rate-limited: clients are kept off a: a client reported a rate limit; until "), "{told}");
    assert_eq!(exit, Some(0));
    daemon.kill();
    let daemon = house.start();
    all_are_ok(&daemon);
    let mut line = Line::open(&socket(&house)).unwrap();
    let mut came_back = None;
    wait_for("it to come back", || {
        for _ in 0..20 {
            let asked = began.elapsed();
            let (_, chosen) = line.post("/v1/select", &json!({})).unwrap();
            if chosen["account"] == "a" {
                came_back.get_or_insert(asked);
            } else {
                assert_eq!(chosen["passed_over"][0]["account"], "a", "{chosen}");
            }
        }
        came_back.is_some()
    });
    println!("back after {came_back:?}");
    assert!(came_back >= Some(Duration::from_secs(4)) && came_back < Some(PATIENCE));
    // Both out: until when, and 75.
    for account in ["a", "b"] {
        assert_eq!(said(&house, &["report", account, "rate-limited", "--retry-after", "1h"]).1, Some(0));
    }
    let output = house.ask(&["select"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75));
    assert!(
        words.contains("a: a client reported a rate limit; b: a client") && words.contains("the soonest is"),
        "{words}"
    );
    drop(daemon);
}

#[test]
fn a_login_reported_as_refused_for_good_is_back_when_the_daemons_own_poll_a_person_or_the_file_says_so() {
    let house = house(&["a"], "");
    let tokens = house.log_in("a", HOUR);
    let daemon = house.start();
    all_are_ok(&daemon);
    let refused = |house: &House| {
        said(house, &["report", "a", "--status", "401", "--text", r#"{"error":{"code":"token_revoked"}}"#])
    };
    let is_out = || said(&house, &["select"]).1 == Some(77);

    // The check poll is due at once, and the vendor still answers: a false alarm.
    let polls = house.vendor.with(|world| world.usage_requests().count());
    let (told, _) = refused(&house);
    assert!(told.starts_with("auth-permanent: ") && told.contains("; the daemon asks for itself now"), "{told}");
    wait_for("the check", || house.vendor.with(|world| world.usage_requests().count()) > polls);
    wait_for("its return", || !is_out());

    // The vendor refuses it as well: nothing but a person or the file brings it back.
    house.vendor.with(|world| world.withdraw(&tokens.access));
    refused(&house);
    assert!(is_out());
    assert_eq!(said(&house, &["resume", "a"]).1, Some(0));
    wait_for("its return", || !is_out());
    refused(&house);
    assert!(is_out());
    house.log_in("a", HOUR);
    wait_for("its return", || !is_out());
    drop(daemon);
}

#[test]
fn what_a_client_reports_of_its_traffic_is_shown_and_puts_the_next_poll_off() {
    let house = house(&["a"], "[poll]\ninterval = \"10m\"\njitter = 0\n");
    let daemon = house.start();
    all_are_ok(&daemon);
    let before = daemon.account();
    let five_hour = |account: &Value| {
        let windows = account["windows"].as_array().cloned().unwrap_or_default();
        windows.into_iter().find(|window| window["id"] == "five_hour").unwrap()
    };
    let reset = five_hour(&before)["resets_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    std::thread::sleep(Duration::from_millis(1100));
    let reset = format!("anthropic-ratelimit-unified-5h-reset: {reset}");
    let args = [
        "report",
        "a",
        "--status",
        "200",
        "--header",
        "Anthropic-RateLimit-Unified-5h-Utilization: 0.83",
        "--header",
        &reset,
    ];
    assert_eq!(said(&house, &args), ("ok: the request was answered".to_owned(), Some(0)));
    wait_for("the reading", || daemon.account()["source"] == "client");
    let after = daemon.account();
    assert_eq!(five_hour(&after)["used_percent"], 83.0);
    assert!(after["next_poll_at"].as_str() > before["next_poll_at"].as_str(), "{before:#} {after:#}");
    let (told, _) = said(&house, &["select", "--json"]);
    let headroom = serde_json::from_str::<Value>(&told).unwrap()["headroom_percent"].as_f64();
    assert_eq!(headroom, Some(17.0), "{told}");
}

#[test]
fn three_overloads_lead_to_the_next_model_and_quiet_back_to_the_first() {
    let house = house(&["a"], "[pool]\nquiet = \"2s\"\nfallback = [[\"opus\", \"sonnet\"]]\n");
    let daemon = house.start();
    all_are_ok(&daemon);
    assert_eq!(said(&house, &["select", "--model", "opus"]), ("a opus".to_owned(), Some(0)));
    let told = [0, 1, 2].map(|_| said(&house, &["report", "a", "--status", "529"]).0);
    assert!(!told[1].contains("counts as overloaded") && told[2].contains("opus counts as overloaded"), "{told:?}");
    let output = house.ask(&["select", "--model", "opus"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "a sonnet");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("opus is overloaded, so sonnet"), "{words}");
    wait_for("the first model again", || said(&house, &["select", "--model", "opus"]).0 == "a opus");
    drop(daemon);
}

#[test]
fn a_command_runs_with_the_login_that_is_best_and_a_token_is_given_only_where_the_config_says_so() {
    let mut house = house(&["a", "b"], "");
    let tokens = house.log_in("b", HOUR);
    let daemon = house.start();
    all_are_ok(&daemon);
    said(&house, &["report", "a", "rate-limited", "--retry-after", "1h"]);
    let run = |house: &House| {
        let script = "echo \"$CLAUDE_CONFIG_DIR $ANTHROPIC_API_KEY\"; exit 7";
        let output = house
            .quotad(&["exec", "--", "sh", "-c", script])
            .env("ANTHROPIC_API_KEY", "sk-FAKE-of-the-shell")
            .output()
            .unwrap();
        (String::from_utf8(output.stdout).unwrap().trim().to_owned(), output.status.code())
    };
    let dir = house.credentials("b").parent().unwrap().display().to_string();
    assert_eq!(run(&house), (dir, Some(7)), "output and exit code are the command's own");
    assert_eq!(house.ask(&["exec", "--", "/nonexistent"]).status.code(), Some(1));

    let output = house.ask(&["select", "--token", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("tokens are not handed out"));
    let config = house.path("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("[pool]\nhand-out-tokens = true\n{text}")).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    let mut told = Value::Null;
    wait_for("the token", || {
        told = serde_json::from_slice(&house.ask(&["select", "--token", "--json"]).stdout).unwrap_or_default();
        told["token"].is_string()
    });
    assert_eq!((&told["account"], &told["token"]), (&json!("b"), &json!(tokens.access)));
    assert!(told["expires_at"].is_string() && counted(&house, "b")["tokens"] == 1, "{told}");
    // What a client says of its traffic may hold anything, and nothing of it is kept.
    said(&house, &["report", "b", "--status", "401", "--text", &format!("bad token {}", tokens.access)]);
    drop(daemon);
    let state = std::fs::read(house.path("state").join("quotad/state.db")).unwrap();
    let log = house.log();
    for secret in [&tokens.access, &tokens.refresh] {
        assert!(!log.contains(secret.as_str()), "in the log");
        assert!(!String::from_utf8_lossy(&state).contains(secret.as_str()), "in state.db");
    }
    house.vendor.stop();
}

#[test]
fn a_full_disk_is_said_and_the_report_holds_in_memory() {
    let house = house(&["a", "b"], "");
    let daemon = house.start_on_a_small_disk();
    all_are_ok(&daemon);
    daemon.fill_disk(&house.path("state/quotad/state.db-wal"));
    let output = house.ask(&["report", "a", "rate-limited", "--retry-after", "1h"]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(words.contains("could not be stored"), "{words}");
    daemon.empty_disk();
    assert_eq!(said(&house, &["select"]).0, "b");
    assert_eq!(said(&house, &["report", "b", "ok"]).1, Some(0), "and with the next it is stored");
    daemon.kill();
    let daemon = house.start();
    all_are_ok(&daemon);
    assert_eq!(said(&house, &["select"]).0, "b");
    drop(daemon);
}

#[test]
fn a_wrong_question_is_told_what_is_wrong_with_it() {
    let house = house(&["a"], "");
    let _daemon = house.start();
    let mut line = Line::open(&socket(&house)).unwrap();
    for (path, document, status, detail) in [
        ("/v1/select", json!({"provider": "nobody"}), 422, "there is no provider \"nobody\"; known: claude, codex"),
        ("/v1/select", json!({"provider": "codex"}), 404, "there is no account of codex"),
        ("/v1/select", json!({"modell": "opus"}), 400, "unknown field `modell`"),
        ("/v1/select", json!({"key": ""}), 422, "key must have 1 to 128 characters"),
        ("/v1/select", json!({"token": true}), 403, "tokens are not handed out"),
        ("/v1/report", json!({"account": "z", "outcome": "ok"}), 404, "there is no account \"z\""),
        ("/v1/report", json!({"account": "a"}), 422, "a report needs an outcome"),
        ("/v1/report", json!({"account": "a", "outcome": "fine"}), 422, "outcome must be one of ok, rate-limited"),
        ("/v1/report", json!({"account": "a", "outcome": "ok", "retry_after": "soon"}), 422, "retry_after must be"),
        ("/v1/report", json!({"account": "a", "outcome": "ok", "model": "x\ny"}), 422, "no control characters"),
        ("/v1/report", json!("x"), 400, "could not be read"),
    ] {
        let (got, problem) = line.post(path, &document).unwrap();
        assert_eq!(got, status, "{document}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{document}: {problem}");
    }
    assert_eq!(house.ask(&["select", "--socket", "/nonexistent"]).status.code(), Some(69));
}

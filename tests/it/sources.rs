//! Readings that cost no request, through the real daemon and the real binary.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{House, wait_for};

const HOUR: Duration = Duration::from_secs(3600);

/// What Claude Code writes to its statusline's stdin; its windows reset `hours` from now.
fn statusline(house: &House, used: f64, hours: i64) -> String {
    let resets_at = house.vendor.now().as_second() + hours * 3600;
    let rate_limits = json!({"five_hour": {"used_percentage": used, "resets_at": resets_at},
                             "seven_day": {"used_percentage": 93, "resets_at": resets_at + 604_800}});
    json!({"session_id": "FAKE", "cwd": "/home/u/secret", "cost": {"total_cost_usd": 1.5}, "rate_limits": rate_limits})
        .to_string()
}

/// Runs `quotad ingest claude-statusline` for the login of `account`, as Claude Code would.
fn ingest(house: &House, account: &str, stdin: &[u8], command: &[&str]) -> Output {
    let mut args = vec!["ingest", "claude-statusline"];
    args.extend((!command.is_empty()).then_some("--"));
    args.extend(command);
    let mut child = house
        .quotad(&args)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("CLAUDE_CONFIG_DIR", house.path("home").join(account))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap()
}

fn used(account: &Value, window: &str) -> Option<f64> {
    let windows = account["windows"].as_array()?;
    windows.iter().find(|w| w["id"] == window)?["used_percent"].as_f64()
}

#[test]
fn a_hand_over_is_shown_with_its_source_and_the_windows_it_lacks_keep_their_own() {
    let house = House::new();
    house.log_in("work", HOUR);
    house.configure("", "work", "");
    let daemon = house.start();
    daemon.wait_for_state("ok");
    let text = statusline(&house, 91.5, 5);
    let output = ingest(&house, "work", text.as_bytes(), &["sh", "-c", "cat; echo no >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!((output.stdout, output.stderr), (text.into_bytes(), b"no\n".to_vec()));
    // A busy machine may take longer than the 10 ms a statusline waits; sessions render again and again.
    wait_for("the hand-over", || {
        ingest(&house, "work", statusline(&house, 91.5, 5).as_bytes(), &[]);
        daemon.account()["source"] == "statusline"
    });
    let account = daemon.account();
    assert_eq!((used(&account, "five_hour"), used(&account, "seven_day")), (Some(91.5), Some(93.0)));
    let kept: Vec<_> = account["windows"].as_array().unwrap().iter().filter(|w| w["source"] == "api").collect();
    assert!(kept.iter().any(|window| window["id"] == "weekly:fable" && !window["read_at"].is_null()), "{account:#}");
    let page = String::from_utf8(house.ask(&["status"]).stdout).unwrap();
    assert!(page.contains(", from statusline\n"), "{page}");
    // The same login by another name.
    std::os::unix::fs::symlink(house.path("home/work"), house.path("home/link")).unwrap();
    wait_for("the hand-over", || {
        ingest(&house, "link", statusline(&house, 94.0, 5).as_bytes(), &[]);
        used(&daemon.account(), "five_hour") == Some(94.0)
    });
    assert_eq!(house.vendor.with(|world| world.usage_requests().count()), 1);
    assert!(!house.log().contains("/home/u/secret"), "only the limits are handed over");
}

#[test]
fn a_hand_over_of_another_login_and_one_to_an_account_of_the_api_alone_change_nothing() {
    let house = House::new();
    house.log_in("work", HOUR);
    house.configure("", "work", "sources = [\"api\"]");
    let daemon = house.start();
    daemon.wait_for_state("ok");
    for account in ["elsewhere", "work"] {
        let output = ingest(&house, account, statusline(&house, 91.5, 5).as_bytes(), &[]);
        assert_eq!((output.status.code(), output.stdout.len(), output.stderr.len()), (Some(0), 0, 0));
    }
    // The loop takes one thing after the other: what follows the answered command came after the hand-overs.
    assert_eq!(house.ask(&["pause", "work"]).status.code(), Some(0));
    assert_eq!(daemon.account()["source"], "api");
}

#[test]
fn whatever_the_daemon_does_the_users_own_command_runs_as_if_quotad_were_not_there() {
    let house = House::new();
    let big = format!("{{\"x\":\"{}\"}}", "x".repeat(3 << 20));
    let good = statusline(&house, 1.0, 5);
    for daemon in ["absent", "silent", "dead"] {
        let socket = house.path("run/quotad/quotad.sock");
        let _ = fs::remove_file(&socket);
        let listener = (daemon != "absent").then(|| {
            fs::create_dir_all(socket.parent().unwrap()).unwrap();
            UnixListener::bind(&socket).unwrap()
        });
        let listener = listener.filter(|_| daemon == "silent");
        for stdin in ["", "not json", "{}", "{\"rate_limits\":null}", &good, &big] {
            let shown = &stdin[..stdin.len().min(20)];
            let output = ingest(&house, "work", stdin.as_bytes(), &["cat"]);
            assert!(output.stdout == stdin.as_bytes() && output.stderr.is_empty(), "{daemon}: {shown}");
            assert_eq!(output.status.code(), Some(0), "{daemon}: {shown}");
            let output = ingest(&house, "work", stdin.as_bytes(), &[]);
            assert!(
                output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
                "{daemon}: {shown}"
            );
        }
        drop(listener);
    }
    let killed = ingest(&house, "work", good.as_bytes(), &["sh", "-c", "kill -TERM $$"]);
    assert_eq!(killed.status.signal(), Some(15));
    let piped = ingest(&house, "work", good.as_bytes(), &["sh", "-c", "yes | head -1"]);
    assert_eq!((piped.stdout, piped.stderr), (b"y\n".to_vec(), Vec::new()), "SIGPIPE is as it was");
    let missing = ingest(&house, "work", good.as_bytes(), &["/nonexistent/statusline"]);
    assert_eq!(missing.status.code(), Some(1));
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(said.starts_with("quotad: running /nonexistent/statusline: "), "{said}");
}

#[test]
fn claudes_cache_answers_for_an_account_that_never_asks_the_api_and_says_at_least() {
    let house = House::new();
    house.log_in("work", HOUR);
    house.configure("", "work", "sources = [\"local\"]");
    let now = house.vendor.now().as_second();
    let cache = json!({"oauthAccount": {"accountUuid": "u1", "emailAddress": "dev@example.test"},
        "cachedUsageUtilization": {"accountUuid": "u1", "fetchedAtMs": (now - 7200) * 1000, "utilization": {
            "five_hour": {"utilization": 88.0, "resets_at": now - 60}, "seven_day": {"utilization": 61.0, "resets_at": now + 86_400}}}});
    fs::write(house.path("home/work/.claude.json"), cache.to_string()).unwrap();
    let daemon = house.start();
    daemon.wait_for_state("ok");
    let account = daemon.account();
    assert_eq!((used(&account, "five_hour"), used(&account, "seven_day")), (None, Some(61.0)));
    assert_eq!((&account["source"], &account["at_least"]), (&json!("cache"), &json!(true)));
    let page = String::from_utf8(house.ask(&["status"]).stdout).unwrap();
    assert!(page.contains("from cache, at least so much, stale"), "{page}");
    assert_eq!(house.ask(&["poll", "work"]).status.code(), Some(75));
    assert_eq!(house.vendor.with(|world| world.usage_requests().count()), 0);
    let config = house.path("config.toml");
    drop(daemon);
    let once = house.ask(&["once", "--json", "--config", config.to_str().unwrap()]);
    let once: Value = serde_json::from_slice(&once.stdout).unwrap();
    assert_eq!(once["accounts"][0]["source"], "cache");
    assert_eq!(house.vendor.with(|world| world.usage_requests().count()), 0);
}

//! Alerts of the real daemon: one for each edge, to each channel, across kill -9, and past a server that hangs.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{House, QUICK, text, wait_for};

const HOUR: Duration = Duration::from_secs(3600);

/// A house whose only account is logged in, half used, and stays so.
fn house() -> House {
    let house = House::new();
    house.log_in("own", HOUR);
    use_up(&house, 50.0);
    house
}

fn use_up(house: &House, used: f64) {
    house.vendor.with(|world| {
        let quota = world.quota("own").unwrap();
        (quota.five_hour.used, quota.five_hour.growth) = (used, 0.0);
    });
}

/// A hook that writes down what it gets.
fn exec(house: &House) -> String {
    let hook = house.path("hook");
    fs::write(&hook, format!("#!/bin/sh\ncat >> '{}'\n", house.path("alerts").display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o700)).unwrap();
    format!("[alerts.exec]\ncommand = [\"{}\"]\n", hook.display())
}

/// What the hook was given, as `kind` and, where it is about one, the threshold.
fn told(house: &House) -> Vec<String> {
    let lines = fs::read_to_string(house.path("alerts")).unwrap_or_default();
    let said = |line: &str| {
        let alert: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&alert["schema"], &alert["account"]), (&1.into(), &"own".into()), "{alert}");
        let threshold = alert["threshold"].as_u64().map_or_else(String::new, |threshold| format!(" {threshold}"));
        format!("{}{threshold}", alert["kind"].as_str().unwrap())
    };
    lines.lines().map(said).collect()
}

fn polls(house: &House, more: usize) {
    let seen = house.vendor.with(|world| world.usage_requests().count());
    wait_for("more polls", || house.vendor.with(|world| world.usage_requests().count()) >= seen + more);
}

#[test]
fn the_hook_gets_one_document_for_each_edge_and_kill_9_repeats_none() {
    let house = house();
    house.configure(&format!("{QUICK}{}", exec(&house)), "own", "");
    let mut daemon = house.start_logging("info");
    daemon.wait_for_state("ok");
    let mut expected: Vec<&str> = Vec::new();
    let edges: [(&str, &dyn Fn()); 5] = [
        ("threshold 80", &|| use_up(&house, 85.0)),
        ("threshold 95", &|| use_up(&house, 96.0)),
        ("reset", &|| {
            house.vendor.with(|world| {
                let soon = jiff::Timestamp::now() + Duration::from_millis(1200);
                world.quota("own").unwrap().five_hour.resets_at = soon;
            });
        }),
        ("signed-out", &|| house.write("own", "{\"mcpOAuth\": {}}")),
        ("recovered", &|| drop(house.log_in("own", HOUR))),
    ];
    for (edge, happens) in edges {
        happens();
        expected.push(edge);
        wait_for(edge, || told(&house).len() >= expected.len());
        if edge != "signed-out" {
            polls(&house, 3);
        }
        daemon.kill();
        daemon = house.start_logging("info");
        if edge == "signed-out" {
            daemon.wait_for_state("signed-out");
        } else {
            daemon.wait_for_state("ok");
            polls(&house, 3);
        }
        assert_eq!(told(&house), expected, "{}", house.log());
    }
    assert_eq!(daemon.stop(), Some(0));
    let log = house.log();
    assert_eq!(log.matches("event=\"threshold-crossed\"").count(), 2, "{log}");
}

#[test]
fn without_a_channel_an_alert_is_logged() {
    let house = house();
    house.configure(QUICK, "own", "");
    let daemon = house.start_logging("info");
    daemon.wait_for_state("ok");
    use_up(&house, 85.0);
    wait_for("the line", || house.log().contains("event=\"threshold-crossed\""));
}

#[test]
fn a_webhook_that_hangs_blocks_neither_the_daemon_nor_the_hook_and_its_breaker_opens() {
    let house = house();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/secret-topic", listener.local_addr().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            held.push(stream);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let webhook = format!("[alerts.webhook]\nurl = \"{url}\"\nformat = \"ntfy\"\n");
    house.configure(&format!("{QUICK}{}{webhook}", exec(&house)), "own", "");
    let daemon = house.start_logging("info");
    daemon.wait_for_state("ok");
    use_up(&house, 85.0);
    wait_for("both channels", || calls.load(Ordering::SeqCst) == 1 && told(&house).len() == 1);
    let asked = Instant::now();
    assert_eq!(daemon.account()["state"], "ok");
    polls(&house, 3);
    println!("while the webhook hung: an answer and three polls in {:?}", asked.elapsed());
    wait_for("the breaker", || house.log().contains("event=\"alert-not-delivered\""));
    use_up(&house, 96.0);
    wait_for("the second alert", || told(&house).len() == 2);
    polls(&house, 3);
    assert_eq!(calls.load(Ordering::SeqCst), 1, "the breaker is open");
    let stopped = Instant::now();
    assert_eq!(daemon.stop(), Some(0));
    assert!(stopped.elapsed() < Duration::from_secs(5), "a stop waits for no channel");
    assert!(!house.log().contains("secret-topic"), "{}", house.log());
}

/// What `test-alert` says, and its exit code.
fn tried(house: &House, more: &[&str]) -> (String, Option<i32>) {
    let config = house.path("config.toml");
    let output = house.ask(&[&["test-alert", "--config", config.to_str().unwrap()], more].concat());
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (said, output.status.code())
}

#[test]
fn test_alert_says_of_each_channel_what_came_of_it() {
    let house = House::new();
    house.configure("", "own", "");
    let (said, exit) = tried(&house, &[]);
    assert!(exit == Some(1) && said.contains("[alerts.webhook]"), "{said}");

    let token = house.path("token");
    fs::write(&token, "tk_FAKE").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let webhook = "[alerts.webhook]\nurl = \"http://127.0.0.1:1/secret-topic\"\ntoken-file = ";
    let desktop = "[alerts.desktop]\nenabled = true\n";
    house.configure(&format!("{}{webhook}\"{}\"\n{desktop}", exec(&house), token.display()), "own", "");
    let (said, exit) = tried(&house, &[]);
    assert_eq!(exit, Some(1), "{said}");
    assert!(said.contains("hook): delivered; it ran\n"), "{said}");
    assert!(
        said.contains("webhook (http://127.0.0.1:1): not delivered; http://127.0.0.1:1 took no connection"),
        "{said}"
    );
    assert!(said.contains("desktop (the session's bus): not delivered; the session's bus did not take it"), "{said}");
    assert!(!said.contains("FAKE") && !said.contains("secret-topic"), "{said}");
    let alert: Value = serde_json::from_str(&text(&house.path("alerts"))).unwrap();
    assert_eq!((&alert["kind"], &alert["account"]), (&"test".into(), &"example".into()));

    assert_eq!(tried(&house, &["--channel", "exec"]).1, Some(0));
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let (said, exit) = tried(&house, &["--channel", "webhook"]);
    assert!(exit == Some(1) && said.contains("is open to other users"), "{said}");
}

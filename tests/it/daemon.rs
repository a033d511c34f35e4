//! The real daemon, started as systemd would start it, against the embedded vendor.

use std::time::{Duration, Instant};

use quotad::demo::vendor::{Answer, RetryAfter};
use rustix::process::Signal;

use crate::support::{House, QUICK, assert_at, offsets, text, wait_for};

const HOUR: Duration = Duration::from_secs(3600);

fn posts(house: &House) -> Vec<Instant> {
    house.vendor.with(|world| world.token_posts().map(|call| call.arrived).collect())
}

fn asked(house: &House) -> Vec<Instant> {
    house.vendor.with(|world| world.usage_requests().map(|call| call.arrived).collect())
}

#[test]
fn a_login_is_polled_and_its_windows_are_shown() {
    let house = House::new();
    house.log_in("work", HOUR);
    house.configure("", "work", "interval = \"10m\"");
    let daemon = house.start();
    daemon.wait_for_state("ok");
    let account = daemon.account();
    let five_hour = account["windows"].as_array().unwrap().iter().find(|window| window["id"] == "five_hour").unwrap();
    assert!(five_hour["used_percent"].as_f64().is_some(), "{account}");
    assert_eq!(account["stale"], false);
    assert_eq!(asked(&house).len(), 1);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_token_endpoint_that_always_answers_429_is_posted_to_at_the_ladders_times() {
    let house = House::new();
    house.vendor.token().always(Answer::RateLimited(RetryAfter::Zero));
    house.log_in_expired("own");
    house.configure(QUICK, "own", "owner = \"quotad\"");
    let _daemon = house.start();
    wait_for("four posts", || posts(&house).len() >= 4);
    assert_at(&offsets(&posts(&house)), &[0.0, 1.0, 3.0, 7.0], 3.0);
}

#[test]
fn a_demanded_wait_is_served_in_full_across_kill_poll_resume_and_reload() {
    let house = House::new();
    house.log_in("work", HOUR);
    house.configure(QUICK, "work", "");
    house.vendor.usage().always(Answer::RateLimited(RetryAfter::Seconds(7)));
    let daemon = house.start();
    wait_for("the first refusal", || asked(&house).len() == 1);
    daemon.wait_for_state("throttled");
    let until = daemon.account()["until"].clone();
    assert_eq!(house.ask(&["poll", "work"]).status.code(), Some(75));
    assert_eq!(house.ask(&["resume", "work"]).status.code(), Some(75));
    daemon.signal(Signal::HUP);
    daemon.signal(Signal::USR1);
    daemon.kill();
    house.configure(QUICK, "work", "interval = \"400ms\"");
    let daemon = house.start();
    assert_eq!(daemon.account()["until"], until, "drawn once, not again at a restart");
    daemon.signal(Signal::HUP);
    assert_eq!(house.ask(&["poll", "work"]).status.code(), Some(75));
    wait_for("the second request", || asked(&house).len() == 2);
    assert_at(&offsets(&asked(&house)), &[0.0, 7.0], 3.0);
}

#[test]
fn a_new_token_in_the_file_ends_the_auth_pause_within_a_second() {
    let house = House::new();
    let tokens = house.log_in("work", HOUR);
    house.vendor.with(|world| world.withdraw(&tokens.access));
    house.configure(QUICK, "work", "");
    let daemon = house.start();
    daemon.wait_for_state("auth-paused");
    wait_for("a pause of some length", || daemon.account()["gates"]["auth"]["rung"].as_u64() >= Some(2));
    // A busy machine may be late once, not three times.
    let waits: Vec<Duration> = (0..3)
        .map(|_| {
            let (written, before) = (Instant::now(), asked(&house).len());
            let tokens = house.log_in("work", HOUR);
            wait_for("the poll", || asked(&house).len() > before);
            let wait = asked(&house)[before] - written;
            daemon.wait_for_state("ok");
            house.vendor.with(|world| world.withdraw(&tokens.access));
            wait_for("the next pause", || daemon.account()["state"] != "ok");
            wait
        })
        .collect();
    println!("polled after {waits:?}");
    assert!(waits.iter().min() < Some(&Duration::from_secs(1)), "{waits:?}");
}

#[test]
fn a_grant_of_its_own_is_refreshed_and_the_file_keeps_what_is_not_ours() {
    let house = House::new();
    let tokens = house.log_in_expired("own");
    house.configure(QUICK, "own", "owner = \"quotad\"");
    let daemon = house.start();
    daemon.wait_for_state("ok");
    let file = text(&house.credentials("own"));
    let current = house.vendor.with(|world| world.current(&tokens.refresh)).unwrap();
    assert!(file.contains(&current.refresh) && file.contains(&current.access));
    assert!(file.contains("mcpOAuth") && file.contains("someFutureKey"));
    assert_eq!(posts(&house).len(), 1);
    assert_eq!(house.vendor.with(|world| world.replays().count()), 0);
    let leftovers: Vec<_> = std::fs::read_dir(house.path("state").join("quotad"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("successor"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[test]
fn a_closed_token_port_is_tried_three_times_and_costs_no_rung() {
    let mut house = House::new();
    house.log_in_expired("own");
    house.configure(&QUICK.replace("500ms", "1h"), "own", "owner = \"quotad\"");
    house.vendor.stop();
    let daemon = house.start();
    wait_for("three tries", || house.log().matches("outcome=\"never-arrived\"").count() == 3);
    let account = daemon.account();
    assert_eq!(account["gates"]["token"]["state"], "clear", "{account}");
    assert_eq!(account["gates"]["token"]["failures"], 0);
}

#[test]
fn an_answer_502_while_the_access_token_lives_is_posted_once() {
    let house = House::new();
    // Due at once: within a third of its life.
    let tokens = house.log_in("own", Duration::from_secs(6));
    house.vendor.token().always(Answer::ServerErrorAfter);
    house.configure(QUICK, "own", "owner = \"quotad\"");
    let _daemon = house.start();
    wait_for("the post after its expiry", || posts(&house).len() == 2);
    let at: Vec<_> = house.vendor.with(|world| world.token_posts().map(|call| call.at).collect());
    assert!(at[0] < tokens.expires_at, "ahead of expiry");
    assert!(at[1] >= tokens.expires_at, "not again while the access token lived");
}

#[test]
fn a_second_daemon_is_refused_and_names_the_first() {
    let house = House::new();
    house.log_in("work", HOUR);
    house.configure("", "work", "");
    let daemon = house.start();
    let config = house.path("config.toml");
    let second = house.ask(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(75));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("(pid "), "{said}");
    let once = house.ask(&["once", "--config", config.to_str().unwrap()]);
    assert!(String::from_utf8(once.stdout).unwrap().contains("work"), "the daemon's answer");
    drop(daemon);
}

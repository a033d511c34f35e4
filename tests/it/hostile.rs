//! Bad input: what lies in the credential file, and what the server says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use quotad::demo::vendor::{Answer, Garbage};
use serde_json::Value;

use crate::support::{House, QUICK, wait_for};

const HOUR: Duration = Duration::from_secs(3600);

/// Starts a daemon on a file that `prepare` made, waits for `state`, and returns the account.
fn account_of(house: &House, state: &str) -> Value {
    house.configure(QUICK, "work", "owner = \"quotad\"");
    let daemon = house.start();
    daemon.wait_for_state(state);
    let account = daemon.account();
    assert_eq!(daemon.stop(), Some(0), "{}", house.log());
    assert!(!house.log().contains("bug"), "{}", house.log());
    account
}

#[test]
fn whatever_lies_in_the_credential_files_place_is_said_and_never_written() {
    let cases: [(&str, &str, Vec<u8>, &str); 6] = [
        ("binary garbage", "failing", (0..=255).cycle().take(5000).collect(), "is not JSON"),
        ("nothing", "failing", Vec::new(), "is empty"),
        ("half a file", "failing", br#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-FAKE"#.to_vec(), "is not JSON"),
        ("ten megabytes", "failing", vec![b' '; 10 << 20], "larger than"),
        (
            "the vendor's stub",
            "signed-out",
            br#"{"claudeAiOauth":{"accessToken":"","refreshToken":"","expiresAt":0}}"#.to_vec(),
            "signed out",
        ),
        ("MCP logins only", "signed-out", br#"{"mcpOAuth":{"x":{"accessToken":"FAKE"}}}"#.to_vec(), "no login"),
    ];
    for (what, state, content, said) in cases {
        let house = House::new();
        let path = house.credentials("work");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &content).unwrap();
        let account = account_of(&house, state);
        assert!(account["reason"].as_str().unwrap().contains(said), "{what}: {account}");
        assert!(!account["action"].as_str().unwrap().is_empty(), "{what}: {account}");
        assert_eq!(fs::read(&path).unwrap(), content, "{what} was written");
        assert!(house.vendor.with(|world| world.calls().is_empty()), "{what}: something was sent");
    }
}

#[test]
fn a_directory_in_the_files_place_is_said() {
    let house = House::new();
    fs::create_dir_all(house.credentials("work")).unwrap();
    let account = account_of(&house, "failing");
    assert!(account["reason"].as_str().unwrap().contains("directory"), "{account}");
}

#[test]
fn a_missing_file_is_signed_out_and_a_login_that_appears_is_polled() {
    let house = House::new();
    fs::create_dir_all(house.credentials("work").parent().unwrap()).unwrap();
    house.configure(QUICK, "work", "");
    let daemon = house.start();
    daemon.wait_for_state("signed-out");
    house.log_in("work", HOUR);
    daemon.wait_for_state("ok");
}

#[test]
fn a_world_readable_file_is_read_but_never_rewritten_and_the_remedy_is_said() {
    let house = House::new();
    house.log_in_expired("work");
    let path = house.credentials("work");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let before = fs::read(&path).unwrap();
    let account = account_of(&house, "waiting");
    let words = format!("{} {}", account["reason"], account["action"]);
    assert!(words.contains("chmod") || words.contains("0600") || words.contains("600"), "{account}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(house.vendor.with(|world| world.token_posts().count()), 0);
}

#[test]
fn whatever_the_server_answers_the_last_good_reading_stays() {
    let odd = [
        ("HTML 200", Answer::Html(200)),
        ("truncated JSON", Answer::Garbage(Garbage::Truncated)),
        ("wrong types", Answer::Garbage(Garbage::WrongTypes)),
        ("10 MiB", Answer::Garbage(Garbage::Huge)),
        ("NaN", Answer::Garbage(Garbage::Nan)),
        ("half a body", Answer::HalfBody),
        ("a closed connection", Answer::DropBefore),
        ("an edge page", Answer::Html(403)),
        ("a redirect", Answer::Redirect("http://127.0.0.1:9/elsewhere".to_owned())),
        ("a slow drip", Answer::Drip { delay: Duration::from_secs(5) }),
    ];
    for (what, answer) in odd {
        let house = House::new();
        house.log_in("work", HOUR);
        house.configure(&QUICK.replace("[poll]", "[poll]\nrequest-deadline = \"1s\""), "work", "");
        let daemon = house.start();
        daemon.wait_for_state("ok");
        let good = daemon.account()["read_at"].clone();
        house.vendor.usage().always(answer);
        println!("{what}");
        daemon.wait_for_state("failing");
        let account = daemon.account();
        assert!(account["read_at"].is_string() && account["read_at"].as_str() >= good.as_str(), "{what}: {account}");
        assert!(!account["windows"].as_array().unwrap().is_empty(), "{what}: {account}");
        assert_eq!(daemon.stop(), Some(0), "{what}");
    }
}

#[test]
fn numbers_nobody_means_are_kept_out_or_kept_raw_but_never_panic() {
    let house = House::new();
    house.log_in("work", HOUR);
    house.configure(QUICK, "work", "");
    house.vendor.usage().always(Answer::Garbage(Garbage::WildNumbers));
    let daemon = house.start();
    daemon.wait_for_state("ok");
    assert!(!daemon.account()["windows"].as_array().unwrap().is_empty());
}

#[test]
fn a_state_file_nobody_can_read_is_set_aside_and_every_gate_starts_cooling() {
    let house = House::new();
    house.log_in("work", HOUR);
    house.configure(QUICK, "work", "");
    let dir = house.path("state").join("quotad");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(dir.join("state.db"), "not a database".repeat(100)).unwrap();
    let daemon = house.start();
    wait_for("the gates", || daemon.account()["gates"]["usage"]["rung"] == 0);
    let status = daemon.status().unwrap();
    assert!(status["daemon"]["notice"].as_str().unwrap().contains("set aside"), "{status}");
    assert_eq!(house.vendor.with(|world| world.calls().len()), 0, "asked before the first rung was over");
    daemon.wait_for_state("ok");
    assert!(dir.join("state.db.unreadable-1").exists() || fs::read_dir(&dir).unwrap().count() > 3);
}

#[test]
fn a_bad_config_is_refused_at_start_with_78_and_at_reload_without_effect() {
    let house = House::new();
    house.log_in("work", HOUR);
    house.configure(QUICK, "work", "");
    let daemon = house.start();
    daemon.wait_for_state("ok");
    house.configure(&format!("{QUICK}\n[nonsense]\nx = 1"), "work", "intervall = \"1s\"");
    wait_for("the refusal", || house.log().contains("reload-refused"));
    let log = house.log();
    assert!(log.contains("did you mean `interval`") && log.contains("nonsense"), "{log}");
    assert_eq!(daemon.account()["state"], "ok");
    assert_eq!(daemon.stop(), Some(0));
    let output = house.ask(&["run", "--config", house.path("config.toml").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
}

//! Metrics as a scraper gets them, and the rules and dashboards that stand on them.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{House, wait_for};

/// A port of this machine that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Status and body of a scrape; `None` where nobody listens.
fn scrape(port: u16, header: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // Who stops listening may have taken the connection just before.
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: quotad\r\n{header}\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// promtool with these arguments in `dir`, given this on stdin; `None` where it is not installed (Debian's package
/// prometheus).
fn promtool(dir: &Path, arguments: &[&str], stdin: &str) -> Option<(bool, String)> {
    let spawned = Command::new("promtool")
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        println!("skipped: no promtool here, so `promtool {}` was not run", arguments.join(" "));
        return None;
    };
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8(said).unwrap()))
}

#[test]
fn metrics_are_served_over_tcp_to_whoever_shows_the_token_as_long_as_the_config_says_so() {
    let house = House::new();
    house.log_in("work", Duration::from_secs(3600));
    let (port, token) = (free_port(), house.path("token"));
    std::fs::write(&token, "tk_FAKE\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let settings = format!("[http]\nlisten = \"127.0.0.1:{port}\"\ntoken-file = \"{}\"", token.display());
    house.configure(&settings, "work", "");
    let daemon = house.start();
    daemon.wait_for_state("ok");
    for (header, status) in
        [("", 401), ("authorization: Bearer tk_WRONG\r\n", 401), ("authorization: Bearer tk_FAKE\r\n", 200)]
    {
        assert_eq!(scrape(port, header).map(|(status, _)| status), Some(status), "{header}");
    }
    let (_, page) = scrape(port, "authorization: Bearer tk_FAKE\r\n").unwrap();
    assert!(page.contains("quotad_account_state{account=\"work\",state=\"ok\"} 1"), "{page}");
    if let Some((is_clean, said)) = promtool(house.path("").as_path(), &["check", "metrics"], &page) {
        println!("promtool check metrics: {said:?}");
        assert!(is_clean && said.is_empty(), "{said}");
    }
    // Open to others it is nobody's token.
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(scrape(port, "authorization: Bearer tk_FAKE\r\n").map(|(status, _)| status), Some(503));
    house.configure("", "work", "");
    daemon.signal(rustix::process::Signal::HUP);
    wait_for("the port to be closed", || scrape(port, "").is_none());
    assert!(!house.log().contains("tk_"), "a token in the log");
}

#[test]
fn a_port_that_is_taken_is_said_and_stops_nothing() {
    let house = House::new();
    house.log_in("work", Duration::from_secs(3600));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    house.configure(&format!("[http]\nlisten = \"127.0.0.1:{port}\""), "work", "");
    let daemon = house.start();
    daemon.wait_for_state("ok");
    assert!(house.log().contains(&format!("could not listen on 127.0.0.1:{port}")), "{}", house.log());
}

#[test]
fn every_alert_rule_fires_when_it_should_and_only_then() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/observability");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        if let Some((is_fine, said)) = promtool(&dir, &arguments, "") {
            println!("promtool {}: {}", arguments.join(" "), said.trim());
            assert!(is_fine, "{said}");
        }
    }
}

#[test]
fn the_dashboard_and_the_rules_name_only_metrics_that_are_exported() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(dir.join(path)).unwrap();
    let exported = read("src/export/metrics.rs");
    let mut found = 0;
    for file in ["alerts.yml", "grafana.json"] {
        let text = read(&format!("docs/observability/{file}"));
        let exported = exported.split("#[cfg(test)]").next().unwrap();
        for name in text.split("quotad_").skip(1) {
            let name: String = name.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let stem = ["_bucket", "_count", "_sum", "_total", "_info"]
                .iter()
                .fold(name.as_str(), |name, end| name.trim_end_matches(end));
            found += 1;
            assert!(exported.contains(&format!("\"{stem}\"")), "{file} names quotad_{name}, which is not exported");
        }
    }
    assert!(found > 30, "{found}");
    assert!(serde_json::from_str::<serde_json::Value>(&read("docs/observability/grafana.json")).is_ok());
}

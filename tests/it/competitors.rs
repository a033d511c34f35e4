//! Four processes share one login whose tokens live for two seconds: two quotad, and two clients that follow the
//! vendor's lock protocol. One of those is the real npm `proper-lockfile`, where node and the registry are to be had.
//! The vendor revokes the whole login at the first token that is posted twice.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quotad::credential::edit::{NewTokens, edit};
use quotad::credential::vendor_lock::{HEARTBEAT, VendorLocks};
use quotad::disk;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::support::{House, QUICK, is_long, text};

const LIFE: Duration = Duration::from_secs(2);
const CLIENT: &str = "QUOTAD_CLIENT_OF";
const TOKEN_URL: &str = "QUOTAD_CLIENT_URL";
const SECONDS: &str = "QUOTAD_CLIENT_SECONDS";

fn millis() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn is_due(document: &Value) -> bool {
    document["claudeAiOauth"]["expiresAt"].as_i64().unwrap() <= millis()
}

/// One POST over a connection of its own.
fn post(url: &str, refresh: &str) -> Option<Value> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_once('/')?;
    let body = serde_json::json!({
        "grant_type": "refresh_token", "refresh_token": refresh, "client_id": "9d1c250a-e61b-44d9-88ed-5944d1962f5e",
    })
    .to_string();
    let mut stream = std::net::TcpStream::connect(host).ok()?;
    write!(
        stream,
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: rust-client\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| serde_json::from_str(body).ok())?
}

/// Refreshes as the vendor's CLI does, with the locks as this repository makes them.
fn refresh(dir: &Path, url: &str) {
    let Ok(mut locks) = VendorLocks::try_acquire(dir, HEARTBEAT) else { return };
    let file = dir.join(".credentials.json");
    let before: Value = serde_json::from_str(&text(&file)).unwrap();
    if !is_due(&before) || locks.check().is_err() {
        return;
    }
    let posted = before["claudeAiOauth"]["refreshToken"].as_str().unwrap().to_owned();
    let Some(grant) = post(url, &posted) else { return };
    while locks.lock_store().is_err() {
        std::thread::sleep(Duration::from_millis(100));
    }
    let raw = fs::read(&file).unwrap();
    let now: Value = serde_json::from_slice(&raw).unwrap();
    assert_eq!(now["claudeAiOauth"]["refreshToken"], posted.as_str(), "nobody else writes under the locks");
    let token = |name: &str| SecretString::from(grant[name].as_str().unwrap().to_owned());
    let (access, refresh) = (token("access_token"), token("refresh_token"));
    let new = NewTokens {
        access: Some(&access),
        refresh: Some(&refresh),
        expires_at: jiff::Timestamp::now().checked_add(LIFE).ok(),
        ..NewTokens::default()
    };
    let edited = edit(&raw, quotad::provider::named("claude").unwrap().store().layout.unwrap(), &new).unwrap();
    disk::replace(&file, edited.expose_secret(), &fs::metadata(&file).unwrap()).unwrap();
}

/// Not a test by itself: the second kind of client, as a process of its own.
#[test]
fn client() {
    let Some(dir) = std::env::var_os(CLIENT).map(PathBuf::from) else { return };
    let (url, seconds) = (std::env::var(TOKEN_URL).unwrap(), std::env::var(SECONDS).unwrap().parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut wait = 37;
    while Instant::now() < end {
        wait = (wait * 61) % 397;
        std::thread::sleep(Duration::from_millis(50 + wait));
        if is_due(&serde_json::from_str(&text(&dir.join(".credentials.json"))).unwrap()) {
            refresh(&dir, &url);
        }
    }
}

fn rust_client(dir: &Path, url: &str, seconds: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["competitors::client", "--exact", "--nocapture"])
        .env(CLIENT, dir)
        .env(TOKEN_URL, url)
        .env(SECONDS, seconds.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The npm package beside the script that uses it; `None` where it is not to be had.
fn node_client(house: &House, dir: &Path, url: &str, seconds: u64) -> Option<Child> {
    let place = house.path("node");
    fs::create_dir(&place).unwrap();
    fs::copy("tests/data/competitor/client.js", place.join("client.js")).unwrap();
    let install = Command::new("npm")
        .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
        .arg(&place)
        .arg("proper-lockfile@4.1.2")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !install.is_ok_and(|status| status.success()) {
        println!("skipped: node, npm or proper-lockfile is not to be had; a second Rust client takes its place");
        return None;
    }
    let node = Command::new("node").arg(place.join("client.js")).arg(dir).arg(url).arg(seconds.to_string()).spawn();
    Some(node.unwrap())
}

#[test]
fn four_processes_on_one_file_replay_nothing_and_lose_nothing() {
    let seconds = if is_long() { 60 } else { 5 };
    let house = House::new();
    let now = house.vendor.now();
    let tokens = house.vendor.with(|world| world.login("shared", LIFE, now));
    house.write("shared", &quotad::demo::vendor::credential_file_json(&tokens, |_| {}));
    let quick = format!("{QUICK}\n[refresh]\nidle-grace = \"100ms\"\n");
    house.configure(&quick.replace("500ms", "200ms"), "shared", "refresh = \"when-idle\"");
    let dir = house.credentials("shared").parent().unwrap().to_owned();
    let url = house.vendor.token_url();

    let others = [Some(rust_client(&dir, &url, seconds)), node_client(&house, &dir, &url, seconds)];
    let second = others[1].is_none().then(|| rust_client(&dir, &url, seconds));
    let config = house.path("config.toml");
    let quotads: Vec<Child> = ["one", "two"]
        .into_iter()
        .map(|name| {
            let state = house.path(&format!("state-{name}"));
            let socket = house.path(&format!("run/{name}.sock"));
            let arguments = ["run", "--config", config.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
            let mut command = house.quotad(&arguments);
            command.arg("--socket").arg(socket).stderr(house.log_file()).spawn().unwrap()
        })
        .collect();

    let (stop, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let document: Value = serde_json::from_str(&text(&house.credentials("shared"))).expect("always whole");
                assert!(document["claudeAiOauth"]["refreshToken"].as_str().is_some_and(|token| !token.is_empty()));
                reads.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let ended: Vec<_> =
            others.into_iter().chain([second]).flatten().map(|mut other| other.wait().unwrap()).collect();
        // First let the reader go: what comes next may end the test.
        stop.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(std::process::ExitStatus::success), "{ended:?}");
    });
    for mut quotad in quotads {
        let pid = rustix::process::Pid::from_child(&quotad);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(quotad.wait().unwrap().success());
    }

    let by = |agent: &str| {
        house.vendor.with(|world| {
            world.token_posts().filter(|call| call.user_agent.as_deref().is_some_and(|a| a.starts_with(agent))).count()
        })
    };
    let (ours, rust, node) = (by("quotad"), by("rust-client"), by("node-client"));
    println!(
        "{seconds} s: {ours} posts by quotad, {rust} by the Rust client, {node} by node; {} reads",
        reads.into_inner()
    );
    assert_eq!(house.vendor.with(|world| world.replays().count()), 0);
    assert!(ours + rust + node >= 2, "somebody refreshed");
    let file: Value = serde_json::from_str(&text(&house.credentials("shared"))).unwrap();
    let held = file["claudeAiOauth"]["refreshToken"].as_str().unwrap().to_owned();
    assert!(!house.vendor.with(|world| world.login_lost(&held)), "the file holds the live login");
}

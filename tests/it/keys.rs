//! Vendors of keys, asked by the real binary: the key in a variable or a file, the host by configuration.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::House;

/// Serves one body a path, hangs up on any other, and keeps what was asked: request line and headers.
fn serve(answers: &'static [(&'static str, &'static str)]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let journal = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
            if let Some((_, body)) = answers.iter().find(|(known, _)| *known == path) {
                let length = body.len();
                let _ =
                    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            }
            journal.lock().unwrap().push(head.join("\n").to_lowercase());
        }
    });
    (origin, asked)
}

#[test]
fn a_custom_vendor_is_polled_and_an_optional_request_that_breaks_costs_nothing() {
    let house = House::new();
    let (origin, asked) = serve(&[
        ("/v1/quota", include_str!("../data/custom/quota.json")),
        ("/api/v1/key", include_str!("../data/openrouter/key.json")),
    ]);
    let key = house.path("home/key");
    fs::write(&key, "FAKE-KEY-OF-A-FILE\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let config = format!(
        r#"
        [poll]
        retries = 0
        [accounts.newvendor]
        provider = "custom"
        credentials = "env:NEWVENDOR_KEY"
        usage-url = "{origin}/v1/quota"
        header = "X-Api-Key"
        prefix = ""
        [accounts.newvendor.windows.month]
        used = "/data/used"
        limit = "/data/limit"
        [accounts.router]
        provider = "openrouter"
        credentials = "{}"
        usage-url = "{origin}/api/v1/key"
        "#,
        key.display()
    );
    fs::write(house.path("config.toml"), config).unwrap();
    let config = house.path("config.toml");
    let mut once = house.quotad(&["once", "--json", "--config", config.to_str().unwrap()]);
    let output = once.env("NEWVENDOR_KEY", "FAKE-KEY-OF-A-VARIABLE").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));

    let (custom, router) = (&status["accounts"][0], &status["accounts"][1]);
    assert_eq!((&custom["state"], &router["state"]), (&"ok".into(), &"ok".into()), "{status:#}");
    let percents = [custom, router].map(|account| account["windows"][0]["used_percent"].as_f64());
    assert_eq!(percents, [Some(41.0 * 100.0 / 300.0), Some(24.69)], "{status:#}");
    assert_eq!(custom["credentials"]["path"], "env:NEWVENDOR_KEY");
    assert!(!told.contains("FAKE-KEY"), "{told}");

    let asked = asked.lock().unwrap();
    let of = |path: &str| asked.iter().find(|head| head.starts_with(&format!("get {path} "))).expect(path).clone();
    let quota = of("/v1/quota");
    assert!(quota.contains("\nx-api-key: fake-key-of-a-variable") && !quota.contains("authorization"), "{quota}");
    for path in ["/api/v1/key", "/api/v1/credits"] {
        assert!(of(path).contains("\nauthorization: bearer fake-key-of-a-file"), "{asked:?}");
    }
    assert_eq!(asked.len(), 3, "nothing was asked twice: {asked:?}");
}

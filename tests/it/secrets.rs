//! No byte of a token shows anywhere but in the credential file, whatever the vendor answers.
//!
//! Each scene runs twice: with the real daemon at its most talkative, whose log, files, socket answers and `/proc`
//! entries are searched, and in [`victim`], this test binary run again with a subscriber that records every event of
//! every crate at trace level and a panic that quotes the credential file.

use std::collections::HashSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use quotad::clock::Clock;
use quotad::config;
use quotad::demo::vendor::{Answer, Tokens};
use quotad::logging;
use quotad::paths::Paths;
use quotad::state::State;
use quotad::supervisor::{Setup, Supervisor};
use serde_json::{Value, json};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::{House, QUICK, text, wait_for};

const HOUSE: &str = "QUOTAD_TALKER_HOUSE";

/// So many characters of a token's random part, found anywhere, are a leak.
const PIECE: usize = 12;

/// One way a day can go.
struct Scene {
    name: &'static str,
    /// Logs in and scripts the vendor.
    script: fn(&House) -> Tokens,
    /// Usage requests and POSTs after which it is over.
    over: (usize, usize),
    /// What the log says by then.
    said: &'static str,
}

const SCENES: [Scene; 6] = [
    Scene { name: "a refresh", script: |house| house.log_in_expired("own"), over: (2, 1), said: "refresh-done" },
    Scene {
        name: "a token that is rejected, refreshed and rejected again",
        script: |house| {
            let tokens = house.log_in("own", HOUR);
            house.vendor.usage().always(echo(401, &tokens, &json!({"type": "authentication_error"})));
            tokens
        },
        over: (3, 1),
        said: "rejected",
    },
    Scene {
        name: "usage answers that repeat the token",
        script: |house| {
            let tokens = house.log_in("own", HOUR);
            let usage = house.vendor.usage();
            usage.next(named_like(&tokens)).next(echo(500, &tokens, &json!(null)));
            usage.next(echo(429, &tokens, &json!({"type": "rate_limit_error"}))).always(bare(&tokens));
            tokens
        },
        over: (4, 0),
        said: "outcome=\"garbage\"",
    },
    Scene {
        name: "a refusal for want of permission that repeats the token",
        script: |house| {
            let tokens = house.log_in("own", HOUR);
            house.vendor.usage().always(echo(403, &tokens, &json!({"type": "permission_error"})));
            tokens
        },
        over: (1, 0),
        said: "to=\"no-permission\"",
    },
    Scene {
        name: "a refresh that is refused for good",
        script: |house| {
            let tokens = house.log_in_expired("own");
            house.vendor.token().always(echo(400, &tokens, &json!("invalid_grant")));
            tokens
        },
        over: (0, 1),
        said: "account-dead",
    },
    Scene {
        name: "token answers that are damaged, lost or repeat the token",
        script: |house| {
            let tokens = house.log_in_expired("own");
            let token = house.vendor.token();
            token.next(echo(500, &tokens, &json!(null))).next(bare(&tokens));
            token.next(echo(429, &tokens, &json!({"type": "rate_limit_error"})));
            token.next(Answer::DropBefore).next(Answer::Drip { delay: Duration::from_millis(20) });
            tokens
        },
        over: (1, 5),
        said: "refresh-done",
    },
];

const HOUR: Duration = Duration::from_secs(3600);

/// Every token of the first generations; a server that echoes one echoes them all.
fn texts(tokens: &Tokens) -> Vec<String> {
    let nth = |text: &str, kind: char, n: u32| text.replace(&format!("-{kind}1-"), &format!("-{kind}{n}-"));
    (1..=4).flat_map(|n| [nth(&tokens.access, 'A', n), nth(&tokens.refresh, 'R', n)]).collect()
}

/// An error whose headers and body repeat the tokens.
fn echo(code: u16, tokens: &Tokens, error: &Value) -> Answer {
    let all = texts(tokens);
    let headers = ["request-id", "retry-after", "anthropic-ratelimit-unified-reset", "www-authenticate"];
    let headers = headers.iter().zip(&all).map(|(name, text)| ((*name).to_owned(), format!("x{text}"))).collect();
    let body = json!({"error": error, "error_description": all.join(" "), "echo": all}).to_string();
    Answer::Status { code, headers, body }
}

/// 200 and a body that is nothing but the token.
fn bare(tokens: &Tokens) -> Answer {
    let headers = vec![("content-type".to_owned(), tokens.access.clone())];
    Answer::Status { code: 200, headers, body: texts(tokens).join("\n") }
}

/// A good answer in which the windows are called like the token.
fn named_like(tokens: &Tokens) -> Answer {
    let name = &tokens.access;
    let window = json!({"utilization": 41.0, "resets_at": null});
    let limit =
        json!({"kind": name, "group": name, "percent": 41, "scope": {"model": {"id": name, "display_name": name}}});
    let mut body = json!({"five_hour": window, "limits": [limit]});
    body[name] = window;
    Answer::Status { code: 200, headers: Vec::new(), body: body.to_string() }
}

/// Tells whether bytes hold a piece of any token of this world, whose tokens share one random part.
struct Search(HashSet<Vec<u8>>);

impl Search {
    fn new(tokens: &Tokens) -> Self {
        let random = tokens.access.rsplit('-').next().unwrap();
        let search = Self(random.as_bytes().windows(PIECE).map(<[u8]>::to_vec).collect());
        assert!(!search.0.is_empty() && search.finds(tokens.refresh.as_bytes()), "the search finds what it looks for");
        search
    }

    fn finds(&self, bytes: &[u8]) -> bool {
        bytes.windows(PIECE).any(|piece| self.0.contains(piece))
    }

    fn assert_clean(&self, whose: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let lines: Vec<_> = text.lines().filter(|line| self.finds(line.as_bytes())).take(5).collect();
        assert!(!self.finds(bytes), "{whose} holds a piece of a token:\n{}", lines.join("\n"));
    }
}

fn is_over(house: &House, scene: &Scene, log: &str) -> bool {
    let (usage, posts) = scene.over;
    house.vendor.with(|world| world.usage_requests().count() >= usage && world.token_posts().count() >= posts)
        && log.contains(scene.said)
}

#[test]
fn no_piece_of_a_token_is_in_the_log_the_state_the_socket_answers_or_proc() {
    for scene in &SCENES {
        let house = House::new();
        let tokens = (scene.script)(&house);
        let search = Search::new(&tokens);
        house.configure(QUICK, "own", "owner = \"quotad\"");
        let daemon = house.start_logging("trace");
        let events = Events::listen(&house);
        wait_for(scene.name, || is_over(&house, scene, &house.log()));
        for path in ["/v1/status", "/v1/accounts/own", "/v1/accounts/own/explain", "/metrics"] {
            let answer = get(&house, path);
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}");
            search.assert_clean(&format!("{}: {path}", scene.name), &answer);
        }
        for verb in [&["status"][..], &["status", "--json"], &["explain", "own"], &["poll", "own"]] {
            let output = house.ask(verb);
            search.assert_clean(&format!("{}: {verb:?}", scene.name), &[output.stdout, output.stderr].concat());
        }
        let pid = daemon.status().unwrap()["daemon"]["pid"].as_u64().unwrap();
        for (entry, bytes) in proc_entries(pid) {
            search.assert_clean(&format!("{}: {entry}", scene.name), &bytes);
        }
        assert_state_is_clean(&house, &search, scene.name);
        assert_eq!(daemon.stop(), Some(0), "{}", scene.name);
        assert_state_is_clean(&house, &search, scene.name);
        search.assert_clean(&format!("{}: the events", scene.name), &events.heard());
        search.assert_clean(&format!("{}: the log", scene.name), house.log().as_bytes());
        assert!(search.finds(&fs::read(house.credentials("own")).unwrap()), "{}: the file is real", scene.name);
    }
}

#[test]
fn no_piece_of_a_token_is_in_any_event_of_any_crate_or_in_a_panic() {
    for scene in &SCENES {
        let house = House::new();
        let tokens = (scene.script)(&house);
        house.configure(QUICK, "own", "owner = \"quotad\"");
        let recorded = house.path("recorded");
        let log = fs::File::create(&recorded).unwrap();
        let mut talker = Command::new(std::env::current_exe().unwrap())
            .args(["secrets::victim", "--exact", "--nocapture"])
            .env(HOUSE, house.path(""))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        wait_for(scene.name, || is_over(&house, scene, &text(&recorded)));
        fs::write(house.path("stop"), "").unwrap();
        talker.wait().unwrap();
        let recorded = text(&recorded);
        assert!(recorded.contains("TRACE hyper_util"), "{}: everything was recorded:\n{recorded}", scene.name);
        assert!(recorded.contains("quotad ran into a bug"), "{}: it panicked:\n{recorded}", scene.name);
        Search::new(&tokens).assert_clean(&format!("{}: what was recorded", scene.name), recorded.as_bytes());
        assert_state_is_clean(&house, &Search::new(&tokens), scene.name);
    }
}

/// Not a test by itself: the process that says everything.
#[test]
fn victim() {
    let Some(house) = std::env::var_os(HOUSE).map(PathBuf::from) else { return };
    let everything = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(everything)).unwrap();
    // For its panic hook; the subscriber above stays.
    let _ = logging::start(tracing::Level::TRACE);
    let paths = Paths::in_home(&house.join("home"));
    let loaded = config::load(Some(&house.join("config.toml")), &paths).unwrap();
    let state = State::open(&house.join("state/quotad")).unwrap();
    let clock = Clock::real();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let setup = Setup { loaded, config_file: None, paths, state, clock, logging: None, read_only: false };
        let (supervisor, _handle) = Supervisor::start(setup).unwrap();
        tracing::trace!("recording");
        let told = async {
            while !house.join("stop").exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        supervisor.run(None, told).await;
    });
    panic!("{}", text(&house.join("home/own/.credentials.json")));
}

/// Every file beside the credential file in which quotad keeps anything, and no successor among them.
fn assert_state_is_clean(house: &House, search: &Search, scene: &str) {
    for entry in fs::read_dir(house.path("state").join("quotad")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!name.starts_with("successor-"), "{scene}: {name} outlived the refresh");
        search.assert_clean(&format!("{scene}: {name}"), &fs::read(&path).unwrap_or_default());
    }
}

/// The command line and the environment of the daemon, of its threads' children, and of theirs.
fn proc_entries(pid: u64) -> Vec<(String, Vec<u8>)> {
    let mut entries = Vec::new();
    let mut pids = vec![pid];
    while let Some(pid) = pids.pop() {
        let place = PathBuf::from(format!("/proc/{pid}"));
        for name in ["cmdline", "environ"] {
            // The daemon's environment can be read by root alone: its memory is private.
            let bytes = fs::read(place.join(name)).unwrap_or_default();
            entries.push((format!("/proc/{pid}/{name}"), bytes));
        }
        let tasks = fs::read_dir(place.join("task")).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        pids.extend(children.flat_map(|line| line.split_whitespace().flat_map(str::parse).collect::<Vec<u64>>()));
    }
    assert!(!entries[0].1.is_empty(), "the daemon has a command line");
    entries
}

fn connect(house: &House, path: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket(house)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: quotad\r\nconnection: close\r\n\r\n").unwrap();
    stream
}

fn socket(house: &House) -> PathBuf {
    house.path("run").join(Path::new("quotad/quotad.sock"))
}

/// One raw answer of the socket.
fn get(house: &House, path: &str) -> Vec<u8> {
    let mut answer = Vec::new();
    connect(house, path).read_to_end(&mut answer).unwrap();
    answer
}

/// The event stream, read until the daemon ends.
struct Events(JoinHandle<Vec<u8>>);

impl Events {
    fn listen(house: &House) -> Self {
        let mut stream = connect(house, "/v1/events");
        Self(std::thread::spawn(move || {
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard);
            heard
        }))
    }

    fn heard(self) -> Vec<u8> {
        self.0.join().unwrap()
    }
}

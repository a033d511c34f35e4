//! What must hold for every byte that comes from outside, one function for each place where it comes in.
//!
//! Each takes any bytes and panics where a promise is broken. cargo-fuzz looks for such bytes (`fuzz.rs`); on stable
//! `tests/it/corpus.rs` runs the corpus, its truncations and its mutations through the same functions. The promises are
//! checked with other means than the code under test has: what a reader found must stand in the bytes it read.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use quotad::clock::Clock;
use quotad::config::{self, Accounts, Config};
use quotad::control::reply::{Answer, Explanation, Problem};
use quotad::control::server::{Socket, serve};
use quotad::control::wire::Status;
use quotad::credential::edit::{NewTokens, edit};
use quotad::credential::file::CredentialFile;
use quotad::credential::secret::{FingerprintKey, Tokens};
use quotad::credential::successor::{Place, Successor};
use quotad::export::metrics;
use quotad::model::{
    Amount, Credential, CredentialOwner, Outcome, ProviderId, Reading, Refusal, UsageOutcome, Whereabouts,
};
use quotad::paths::Paths;
use quotad::policy::account::{FileRecord, LoginRecord};
use quotad::policy::ladder::Ladder;
use quotad::policy::refresh::Mark;
use quotad::policy::retry_after;
use quotad::policy::time::{Deadline, Moment, Now, SavedDeadline, Stamp};
use quotad::provider::store::Layout;
use quotad::provider::traffic::{self, Traffic};
use quotad::provider::{self, Reply, field};
use quotad::state::State;
use quotad::supervisor::{Setup, Supervisor};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Checks one input.
pub(crate) type Check = fn(&[u8]);

/// Every target by its name: that of its binary in `Cargo.toml` and of its directory under `corpus/`.
pub(crate) const ALL: [(&str, Check); 12] = [
    ("usage", usage),
    ("token", token),
    ("fault", fault),
    ("retry_after", retry_after),
    ("traffic", traffic),
    ("credential", credential),
    ("identity", identity),
    ("successor", successor),
    ("config", config),
    ("record", record),
    ("request", request),
    ("answer", answer),
];

/// The target of this name.
pub(crate) fn of(name: &str) -> Check {
    ALL.into_iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("there is no target {name}")).1
}

const RECEIVED: Stamp = Stamp::UNIX_EPOCH;
const CLAUDE: ProviderId = ProviderId::new("claude");

fn layout() -> &'static Layout {
    provider::of(CLAUDE).store().layout.expect("Claude's file can be written")
}

fn reply(status: u16, body: &[u8]) -> Reply {
    Reply { status, headers: vec![("retry-after".to_owned(), "7".to_owned())], body: body.to_vec() }
}

/// A body of every provider's usage endpoint, sent with success.
fn usage(body: &[u8]) {
    for id in provider::ALL.map(provider::Provider::id) {
        let UsageOutcome::Answered { windows, .. } = provider::of(id).read_usage(&reply(200, body), RECEIVED) else {
            continue;
        };
        let json: Value = serde_json::from_slice(body).expect("an answer that is no JSON was believed");
        let said = Said::of(&json);
        let ids: BTreeSet<&str> = windows.iter().map(|window| window.id.as_str()).collect();
        assert_eq!(ids.len(), windows.len(), "{id}: two windows have one name");
        assert!(windows.len() < 200, "{id}: more windows than any plan has");
        for window in &windows {
            let text = [Some(&window.id), Some(&window.label), window.model.as_ref()];
            assert!(text.into_iter().flatten().all(|text| is_printable(text)), "{id}: {window:?}");
            let percent = window.used_percent;
            // Others work percentages and times out of what they say; their own tests know how.
            if id != CLAUDE {
                assert!(percent.is_none_or(f64::is_finite), "{id}: {window:?}");
                continue;
            }
            assert!(percent.is_none_or(|percent| said.has(percent)), "{id}: nobody said {percent:?}: {window:?}");
            assert!(window.resets_at.is_none_or(|at| said.times.contains(&at)), "{id}: nobody said when: {window:?}");
            let money = [&window.used, &window.limit];
            assert!(money.into_iter().flatten().all(|amount| said.has_minor(amount)), "{id}: {window:?}");
            assert!(window.remaining.iter().all(|amount| is_amount(amount)), "{id}: {window:?}");
        }
    }
}

/// A body of every provider's token endpoint, sent with success.
fn token(body: &[u8]) {
    const HOUR: Duration = Duration::from_hours(1);
    for id in provider::ALL.map(provider::Provider::id) {
        let json = serde_json::from_slice::<Value>(body);
        let grant = match provider::of(id).read_refresh(&reply(200, body), RECEIVED) {
            Ok(grant) => grant,
            // Nobody may take a success for a verdict: the posted token may be spent, or good.
            Err(refusal) => {
                assert!(matches!(refusal, Refusal::Unknown(_)), "{id}: {refusal:?} after a success");
                continue;
            }
        };
        let tokens: Vec<&str> =
            [&grant.access, &grant.refresh].into_iter().flatten().map(SecretString::expose_secret).collect();
        assert!(!tokens.is_empty() && tokens.iter().all(|token| !token.is_empty()), "{id}: a grant of nothing");
        assert!(tokens.iter().all(|token| token.len() < 8 || !format!("{grant:?}").contains(token)), "{id}: shown");
        assert!(!grant.lease.is_zero() && !grant.login_lasts.is_some_and(|lasts| lasts.is_zero()), "{id}: {grant:?}");
        if let Ok(json) = json {
            let said = Said::of(&json);
            assert!(tokens.iter().all(|token| said.texts.contains(*token)), "{id}: a token nobody sent");
            let lasts = [Some(grant.lease).filter(|lease| *lease != HOUR), grant.login_lasts];
            let was_said = |length: Duration| said.has(length.as_secs_f64());
            assert!(lasts.into_iter().flatten().all(was_said), "{id}: nobody said how long: {grant:?}");
        } else {
            // Its end may have held the successor: "none was sent" would mean that the posted token is good.
            assert!(grant.refresh.is_some(), "{id}: a damaged answer without a refresh token was believed");
            assert_eq!((grant.lease, grant.login_lasts), (HOUR, None), "{id}: a number may be cut short");
        }
    }
}

/// A body of both endpoints, sent with every status that is no success.
fn fault(body: &[u8]) {
    let json = serde_json::from_slice::<Value>(body).ok().filter(Value::is_object);
    let said = json.as_ref().map(Said::of).unwrap_or_default();
    for id in provider::ALL.map(provider::Provider::id) {
        for status in [100, 301, 400, 401, 402, 403, 404, 408, 410, 418, 429, 451, 500, 503, 529, 999] {
            let reply = reply(status, body);
            match provider::of(id).read_usage(&reply, RECEIVED) {
                UsageOutcome::Answered { .. } => panic!("{id}: {status} was taken for numbers"),
                UsageOutcome::Limited { demand } => {
                    // GitHub's secondary limit comes as 403.
                    let may_limit = status == 429 || (id.as_str() == "copilot" && status == 403);
                    assert!(may_limit && demand == Some(Duration::from_secs(7)), "{id}: {status}, {demand:?}: no 429");
                }
                // A verdict about a token needs an API that wrote it: pages come from anywhere. Three speak bare text, or nothing.
                UsageOutcome::Rejected { .. } => {
                    let is_bare = ["synthetic", "custom", "kimi"].contains(&id.as_str())
                        && !body.trim_ascii_start().starts_with(b"<");
                    assert!(json.is_some() || is_bare, "{id}: {status} and no JSON, and a verdict");
                }
                UsageOutcome::NoPermission { .. } | UsageOutcome::Failed { .. } => {
                    assert_ne!(status, 429, "{id}: a 429 that is none");
                }
            }
            let refusal = provider::of(id).read_refresh(&reply, RECEIVED).expect_err("a grant that was refused");
            if let Refusal::Terminal(code) = refusal {
                let is_said = said.texts.iter().any(|text| text.trim().to_lowercase() == code);
                // Kimi's own clients give a login up at these statuses, whatever the body says.
                let is_status = id.as_str() == "kimi" && matches!(status, 401 | 403);
                let is_code = is_said && (400..500).contains(&status);
                assert!(is_code || is_status, "{id}: {status} and {code:?} killed a login");
            }
        }
    }
}

/// `Retry-After`, a line feed, `Date`.
fn retry_after(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (header, date) = text.split_once('\n').map_or((text.as_ref(), None), |(header, date)| (header, Some(date)));
    let Some(wait) = retry_after::parse(Some(header), date, RECEIVED) else { return };
    assert!(!wait.is_zero(), "no advice is not advice to wait for nothing");
    let header = header.trim();
    if let Ok(at) = httpdate::parse_http_date(header) {
        let from = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(SystemTime::UNIX_EPOCH);
        assert_eq!(from + wait, at, "{header} after {date:?}");
    } else {
        let seconds: f64 = header.parse().expect("neither a date nor a number");
        let difference = (wait.as_secs_f64() - seconds).abs();
        assert!(difference <= 1e-9 + seconds * 1e-9 || seconds >= 1.8e19, "{header} is not {wait:?}");
    }
}

/// A client's report of its own traffic: the status or an empty line, headers, an empty line, text.
fn traffic(bytes: &[u8]) {
    let report = String::from_utf8_lossy(bytes);
    let (head, text) = report.split_once("\n\n").unwrap_or((&report, ""));
    let (status, headers) = head.split_once('\n').unwrap_or((head, ""));
    let headers: Vec<(String, String)> = headers
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let numbers: Vec<f64> = headers.iter().filter_map(|(_, value)| value.trim().parse().ok()).collect();
    let status = status.trim().parse::<u16>().ok();
    for provider in provider::ALL {
        let (id, received) = (provider.id(), RECEIVED);
        let told = traffic::read(provider, &Traffic { status, headers: &headers, text }, received);
        let outcome = told.outcome;
        let is = |known: &[u16]| status.is_some_and(|status| known.contains(&status));
        let has_status = status.is_some_and(|status| (100..600).contains(&status));
        match outcome {
            Outcome::Ok => assert!(status.is_some_and(|status| (200..300).contains(&status)), "{id}: {status:?} is ok"),
            Outcome::AuthPermanent => {
                assert!(!has_status || is(&[400, 401, 402, 403]), "{id}: {status:?} ends a login");
                assert!(!text.trim_start().starts_with('<'), "{id}: a page ends a login");
            }
            Outcome::RateLimited => assert!(!has_status || is(&[429]), "{id}: {status:?} limits"),
            Outcome::Aborted => assert!(!has_status, "{id}: {status:?} is an answer"),
            Outcome::Overloaded | Outcome::Auth | Outcome::Timeout | Outcome::Billing | Outcome::Refused => {}
        }
        assert!(
            told.demand.is_none_or(|demand| !demand.is_zero()),
            "{id}: no advice is not advice to wait for nothing"
        );
        assert!(told.model.is_none() || outcome == Outcome::RateLimited, "{id}: {outcome:?} is about the account");
        let ids: BTreeSet<&str> = told.windows.iter().map(|window| window.id.as_str()).collect();
        assert!(ids.len() == told.windows.len() && ids.len() <= 100, "{id}: {:?}", told.windows);
        for window in &told.windows {
            let text = [Some(&window.id), Some(&window.label), window.model.as_ref()];
            assert!(text.into_iter().flatten().all(|text| is_printable(text)), "{id}: {window:?}");
            assert!(window.resets_at.is_none_or(|at| at > received), "{id}: that is over: {window:?}");
            let was_sent = |percent: f64| {
                let near = |said: f64| (said - percent).abs() <= percent.abs() * 1e-9;
                numbers.iter().any(|number| near(*number) || near(number * 100.0))
            };
            assert!(window.used_percent.is_none_or(was_sent), "{id}: nobody said so: {window:?}");
        }
    }
}

/// A credential file: read, and edited.
fn credential(bytes: &[u8]) {
    let path = room().join(".claude/.credentials.json");
    put(&path, bytes);
    let at = Whereabouts::File(path.as_path().into());
    let found = CredentialFile::new(at, CLAUDE, CredentialOwner::Vendor, None).look(&key());
    let json = serde_json::from_slice::<Value>(bytes).ok();
    let login = json.as_ref().and_then(|json| json.get("claudeAiOauth"));
    match &found.credential {
        Credential::Login(_) => {
            let tokens = &found.contents.as_ref().expect("a login has contents").tokens;
            let text = |name: &str| login.and_then(|login| login[name].as_str());
            assert_eq!(text("accessToken"), Some(tokens.access.expose_secret()), "another token than the login's");
            let refresh = tokens.refresh.as_ref().map(SecretString::expose_secret);
            assert!(refresh.is_none() || text("refreshToken") == refresh, "another refresh token than the login's");
            for token in [Some(tokens.access.expose_secret()), refresh].into_iter().flatten() {
                assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()), "no header carries it");
                assert!(token.len() < 8 || !format!("{found:?}").contains(token), "a token is shown");
            }
        }
        // The vendor's verdict, not damage: believed only of a file that says so.
        Credential::SignedOut => assert!(login.is_some_and(Value::is_object), "signed out without a login object"),
        Credential::NoLogin => assert!(json.as_ref().is_some_and(Value::is_object), "no login in what is no object"),
        Credential::Absent => panic!("the file is there"),
        Credential::Unreadable(why) => {
            assert!(why.starts_with(&path.display().to_string()) && why.len() < 400, "{why}");
            assert_eq!(found.doubt.is_empty(), json.is_some(), "half a file may be whole a moment later");
        }
    }
    edited(bytes, json.as_ref());
}

/// What a refresh writes into a file: five values of the login, and not a thing besides.
fn edited(bytes: &[u8], before: Option<&Value>) {
    let scopes = ["user:profile".to_owned()];
    let (access, refresh) = (SecretString::from("sk-ant-oat01-FAKE-N\""), SecretString::from("sk-ant-ort01-FAKE-N"));
    let new = NewTokens {
        access: Some(&access),
        refresh: Some(&refresh),
        expires_at: Stamp::from_millisecond(1_800_000_000_000).ok(),
        login_ends_at: None,
        scopes: Some(&scopes),
        refreshed_at: None,
    };
    let Ok(text) = edit(bytes, layout(), &new) else { return };
    let mut meant = before.expect("what is no JSON was edited").clone();
    let after: Value = serde_json::from_slice(text.expose_secret()).expect("an edit broke the file");
    let login = meant["claudeAiOauth"].as_object_mut().expect("what holds no login was edited");
    for (name, value) in [
        ("accessToken", access.expose_secret().into()),
        ("refreshToken", refresh.expose_secret().into()),
        ("expiresAt", 1_800_000_000_000_i64.into()),
        ("scopes", Value::from(scopes.to_vec())),
    ] {
        login.insert(name.to_owned(), value);
    }
    // As text, because two objects with the same members in another order are equal.
    let (after, meant) = (after.to_string(), meant.to_string());
    assert!(after == meant, "an edit changed something besides, or its order");
    let again = edit(text.expose_secret(), layout(), &new).expect("an edited file can be edited");
    assert!(again.expose_secret() == text.expose_secret(), "the same edit twice is another edit");
}

/// The `.claude.json` beside a credential file, which names the account.
fn identity(bytes: &[u8]) {
    let dir = room().join("identity");
    let path = dir.join(".credentials.json");
    if !path.exists() {
        put(&path, br#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-FAKE"}}"#);
    }
    put(&dir.join(".claude.json"), bytes);
    let found = CredentialFile::new(Whereabouts::File(path.into()), CLAUDE, CredentialOwner::Vendor, None).look(&key());
    let Some(uuid) = found.credential.login().expect("the login is fine").identity.as_deref() else { return };
    // What is skipped, and it can be megabytes, need not even be UTF-8.
    let text = String::from_utf8_lossy(bytes);
    let json: Value = serde_json::from_str(&text).expect("a file that is no JSON named an account");
    let named = json["oauthAccount"]["accountUuid"].as_str().map(str::trim);
    assert!(!uuid.is_empty() && named == Some(uuid), "{uuid} is not what the file says");
}

/// A stored successor, as an earlier process left it.
fn successor(bytes: &[u8]) {
    let dir = room().join("state");
    put(&dir.join("successor-00112233445566778899aabbccddeeff.json"), bytes);
    let credentials = Path::new("/home/ada/.claude/.credentials.json");
    let in_file =
        Tokens { access: "sk-ant-oat01-FAKE-A".into(), refresh: Some("sk-ant-ort01-FAKE-R".into()), tenant: None };
    let raw = br#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-FAKE-A","refreshToken":"sk-ant-ort01-FAKE-R"},"z":1}"#;
    let stored = Successor::stored_for(credentials, &dir);
    assert!(stored.len() <= 1, "there is one");
    for successor in stored {
        // A member that nobody knows is skipped, be it no UTF-8.
        let json: Value = serde_json::from_str(&String::from_utf8_lossy(bytes)).expect("what is no JSON was believed");
        assert!(Successor::stored_for(Path::new("/home/ada/other.json"), &dir).is_empty(), "it is another file's");
        let tokens = successor.tokens(&in_file);
        for (token, name, old) in [
            (Some(&tokens.access), "access_token", Some(&in_file.access)),
            (tokens.refresh.as_ref(), "refresh_token", in_file.refresh.as_ref()),
        ] {
            let token = token.map(SecretString::expose_secret);
            let wanted = json[name].as_str().or(old.map(SecretString::expose_secret));
            assert!(token == wanted, "{name} is neither what is stored nor what is in the file");
        }
        let place = successor.place(&in_file);
        assert!(place != Place::Taken || tokens.access.expose_secret() == in_file.access.expose_secret(), "{place:?}");
        if let Ok(written) = successor.written_into(raw, layout()) {
            let file: Value = serde_json::from_slice(written.expose_secret()).expect("still a file");
            assert!(file["z"] == 1 && file["claudeAiOauth"]["accessToken"] == tokens.access.expose_secret());
        }
    }
}

/// A config file.
fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let paths = Paths::in_home(Path::new("/home/ada"));
    match config::parse(&text, Path::new("c.toml"), &paths) {
        Ok(loaded) => sound(&loaded.config),
        Err(complaints) => {
            let said = complaints.to_string();
            let heads: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("c.toml:")).collect();
            assert!(complaints.count() > 0 && heads.len() == complaints.count(), "{said}");
            for head in heads {
                let mut parts = head.splitn(3, ':');
                let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
                let (line, column) = number().zip(number()).unwrap_or_else(|| panic!("no place: {head}"));
                assert!(line >= 1 && line <= text.matches('\n').count() + 1 && column >= 1, "{head}");
                let what = parts.next().unwrap_or_default();
                assert!(what.starts_with(" is not TOML") || what.contains(": "), "no key: {head}");
            }
            for part in ["= consequence: ", "= example: "] {
                assert_eq!(said.lines().filter(|line| line.trim_start().starts_with(part)).count(), complaints.count());
            }
            assert!(!said.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{said:?}");
        }
    }
}

/// The ranges of the contract.
fn sound(config: &Config) {
    let Config { poll, rate_limit_pause, auth_pause, refresh, history, accounts, .. } = config;
    let lengths = [
        poll.interval,
        poll.request_deadline,
        poll.retry_base,
        poll.retry_max,
        refresh.retry_base,
        refresh.request_deadline,
        refresh.idle_grace,
        refresh.before_expiry,
        history.retention,
    ];
    assert!(lengths.iter().all(|length| !length.is_zero()), "{config:?}");
    assert!((0.0..=1.0).contains(&poll.jitter) && auth_pause.after >= 1 && poll.overloaded_fallback >= 1);
    assert!(rate_limit_pause.max_retry_after >= Duration::from_hours(1));
    for ladder in [&rate_limit_pause.ladder, &auth_pause.ladder] {
        climbs(ladder);
    }
    let Accounts::Listed(accounts) = accounts else { return };
    let files: BTreeSet<&Whereabouts> = accounts.values().map(|account| &account.credentials).collect();
    assert_eq!(files.len(), accounts.len(), "one file under two accounts");
    for account in accounts.values() {
        assert!(account.credentials.file().is_none_or(Path::is_absolute));
        assert!(!account.sources.is_empty() && !account.interval.is_zero());
        let ours = account.owner == CredentialOwner::Quotad;
        assert!(ours || account.refresh != quotad::model::RefreshMode::Always, "{account:?}");
        let loopback = provider::is_loopback(&account.endpoints.usage_url);
        assert!(loopback || account.interval >= provider::of(account.provider).floor(), "below the floor: {account:?}");
        for url in [&account.endpoints.usage_url, &account.endpoints.token_url] {
            assert!(url.starts_with("https://") || provider::is_loopback(url), "{url}");
        }
    }
}

fn climbs(ladder: &Ladder) {
    let rungs: Vec<Duration> = (0..80).map(|rung| ladder.cooldown(rung)).collect();
    assert!(rungs.is_sorted() && !rungs[0].is_zero() && rungs[79] == ladder.cooldown(u32::MAX), "{ladder:?}");
}

/// A record of `state.db`, of whichever kind.
fn record(bytes: &[u8]) {
    comes_back::<LoginRecord>(bytes);
    comes_back::<FileRecord>(bytes);
    comes_back::<Mark>(bytes);
    comes_back::<Reading>(bytes);
    let Some(saved) = comes_back::<SavedDeadline>(bytes) else { return };
    let now = Now { moment: Moment::from_millis(5_000_000), stamp: Stamp::UNIX_EPOCH };
    let Deadline { at, length } = saved.restore(now, &format!("other than {saved:?}"));
    assert!(at >= now.moment && at <= now.moment + length, "{saved:?}: a wait became longer, or began before it did");
}

/// The record, if the bytes are one: what is stored again is read again as the same.
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(bytes).ok()?;
    let stored = serde_json::to_vec(&read).expect("a record can be stored");
    let again: T = serde_json::from_slice(&stored).expect("a stored record can be read");
    assert_eq!(again, read);
    Some(read)
}

/// What a client writes into the socket.
fn request(bytes: &[u8]) {
    let said = ask(bytes);
    assert!(said.is_empty() || said.starts_with(b"HTTP/1."), "{}", said.escape_ascii());
    if is_stream(&said) {
        // A stream whose client sent more and hung up ends with the next event: make one.
        for command in ["pause", "resume"] {
            ask(format!("POST /v1/accounts/work/{command} HTTP/1.1\r\nhost: quotad\r\n{CLOSE}").as_bytes());
        }
    }
    let next = ask(format!("GET /v1/status HTTP/1.1\r\nhost: quotad\r\n{CLOSE}").as_bytes());
    let ok = next.starts_with(b"HTTP/1.1 200 ");
    assert!(ok, "after {}\nthe daemon said {}", bytes.escape_ascii(), next.escape_ascii());
}

const CLOSE: &str = "connection: close\r\n\r\n";

/// Everything the daemon says to this, to its end or to the beginning of a stream of events, which has none.
fn ask(bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(daemon()).expect("the daemon listens");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).and_then(|()| stream.set_write_timeout(patience)).expect("a socket has timeouts");
    // A daemon that has heard enough hangs up before everything is written.
    let _ = stream.write_all(bytes);
    if !bytes.ends_with(CLOSE.as_bytes()) {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let (mut said, mut piece) = (Vec::new(), [0; 4096]);
    while !is_stream(&said) {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => said.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the daemon holds on to a client that has hung up: {error}: {}", bytes.escape_ascii()),
        }
    }
    said
}

fn is_stream(said: &[u8]) -> bool {
    String::from_utf8_lossy(said).contains("content-type: text/event-stream")
}

/// The socket of a daemon with one account that never logged in.
fn daemon() -> &'static Path {
    static SOCKET: OnceLock<PathBuf> = OnceLock::new();
    SOCKET.get_or_init(|| {
        let home = tempfile::tempdir().expect("a directory").keep();
        let socket = home.join("run/quotad.sock");
        let paths = Paths::in_home(&home);
        let text = "[accounts.work]\nprovider = \"claude\"\ncredentials = \"~/none/.credentials.json\"\n";
        let loaded = config::parse(text, &home.join("c.toml"), &paths).expect("a config");
        let (told, ready) = std::sync::mpsc::channel();
        let place = socket.clone();
        std::thread::spawn(move || {
            let state = State::open(&paths.state_dir).expect("a state");
            let clock = Clock::real();
            let setup = Setup { loaded, config_file: None, paths, state, clock, logging: None, read_only: true };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let socket = Socket::bind(&place).await.expect("a socket");
                let (supervisor, handle) = Supervisor::start(setup).expect("a supervisor");
                tokio::spawn(serve(socket, handle, metrics::route(), std::future::pending()));
                let _ = told.send(());
                supervisor.run(None, std::future::pending()).await;
            });
        });
        ready.recv().expect("the daemon starts");
        socket
    })
}

/// What the daemon's end of the socket says, as the CLI reads it.
fn answer(bytes: &[u8]) {
    comes_back::<Status>(bytes);
    comes_back::<Explanation>(bytes);
    comes_back::<Answer>(bytes);
    comes_back::<Problem>(bytes);
}

/// Everything a JSON document says, wherever it says it.
#[derive(Default)]
struct Said {
    numbers: Vec<f64>,
    texts: BTreeSet<String>,
    times: Vec<Stamp>,
}

impl Said {
    fn of(json: &Value) -> Self {
        let mut said = Self::default();
        said.hear(json);
        said
    }

    fn hear(&mut self, json: &Value) {
        match json {
            Value::Array(items) => items.iter().for_each(|item| self.hear(item)),
            Value::Object(members) => members.values().for_each(|value| self.hear(value)),
            Value::Number(number) => self.numbers.extend(number.as_f64()),
            Value::String(text) => {
                self.numbers.extend(text.trim().parse::<f64>());
                self.texts.insert(text.clone());
            }
            Value::Null | Value::Bool(_) => {}
        }
        self.times.extend(field::timestamp(json));
    }

    fn has(&self, number: f64) -> bool {
        let near = |said: &f64| (said - number).abs() <= number.abs() * 1e-9;
        number.is_finite() && self.numbers.iter().any(near)
    }

    /// Whether the amount is some number with its point moved: vendors count in minor units.
    fn has_minor(&self, amount: &Amount) -> bool {
        let value: f64 = amount.amount.parse().unwrap_or(f64::NAN);
        is_amount(amount) && (0..=18).any(|places| self.has(value * 10_f64.powi(places)))
    }
}

/// Digits, at most one point, an optional minus; and a unit.
fn is_amount(amount: &Amount) -> bool {
    let digits = amount.amount.strip_prefix('-').unwrap_or(&amount.amount);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    plain(whole) && plain(fraction) && is_printable(&amount.unit)
}

fn is_printable(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

fn key() -> FingerprintKey {
    FingerprintKey::new(&[7; 32])
}

/// A directory of this thread's own, for what is read from files only.
fn room() -> PathBuf {
    thread_local! {
        static ROOM: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
    }
    ROOM.with(|room| room.get_or_init(|| tempfile::tempdir().expect("a directory")).path().to_owned())
}

/// Puts a file as its owner would leave it, in a new inode.
fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory");
    let _ = fs::remove_file(path);
    fs::write(path, bytes).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
}

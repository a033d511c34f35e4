//! What every setting is called, what it is without a file, and which settings do not go together.
//!
//! Reads from top to bottom like the file itself. Every complaint is collected; the config that comes out beside
//! complaints is thrown away.

use std::path::Path;

use toml::de::DeTable;
use tracing::Level;

use super::complaint::Complaint;
use super::raw::{Sheet, Table};
use super::value::{address, at_least_an_hour, count, duration, fallback, flag, path, rungs, share, spoken, url, word};
use super::{
    Accounts, AuthPause, Config, History, Http, Log, Network, Poll, Pool, RateLimitPause, Refresh, accounts, alerts,
};
use crate::paths::Paths;
use crate::policy::ladder::Ladder;

/// The config in `text`, with notes; or everything that is wrong with it.
pub(super) fn document(text: &str, paths: &Paths) -> Result<(Config, Vec<String>), Vec<Complaint>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut sheet = Sheet { text, complaints: Vec::new() };
    let document = DeTable::parse(text).map_err(|error| vec![syntax(text, &error)])?;
    let mut notes = Vec::new();
    let config = sheet.read(Some(document.get_ref()), |file| {
        let mut config = settings(file, &paths.home);
        config.accounts = file.table("accounts", |table| accounts::read(table, &config.poll, paths, &mut notes));
        config
    });
    if sheet.complaints.is_empty() { Ok((config, notes)) } else { Err(sheet.complaints) }
}

/// What applies without a file.
pub(super) fn defaults() -> Config {
    Sheet { text: "", complaints: Vec::new() }.read(None, |file| settings(file, Path::new("/")))
}

fn syntax(text: &str, error: &toml::de::Error) -> Complaint {
    let what = format!("is not TOML: {}", error.message());
    let span = error.span().unwrap_or(text.len()..text.len());
    Complaint::at(text, span, what, "nothing in the file can be read".into(), "interval = \"10m\"".into())
}

/// Everything but the accounts.
fn settings(file: &mut Table<'_, '_>, home: &Path) -> Config {
    Config {
        poll: file.table("poll", poll),
        rate_limit_pause: file.table("rate-limit-pause", rate_limit_pause),
        auth_pause: file.table("auth-pause", auth_pause),
        refresh: file.table("refresh", refresh),
        pool: file.table("pool", pool),
        history: file.table("history", history),
        alerts: file.table("alerts", |table| alerts::read(table, home)),
        network: file.table("network", |table| network(table, home)),
        http: file.table("http", |table| http(table, home)),
        log: file.table("log", log),
        accounts: Accounts::Discovered,
    }
}

fn poll(table: &mut Table<'_, '_>) -> Poll {
    Poll {
        interval: table.line(r#"interval = "10m""#, duration("polls would follow each other without a pause")),
        jitter: table.line("jitter = 0.1", share("waits would be shortened, or more than doubled")),
        request_deadline: table
            .line(r#"request-deadline = "90s""#, duration("every request would be given up at once")),
        retries: table.line("retries = 10", count(0, "there is no such number of tries")),
        retry_base: table.line(r#"retry-base = "500ms""#, duration("a failing server would be asked without a pause")),
        retry_max: table.line(r#"retry-max = "32s""#, duration("a failing server would be asked without a pause")),
        overloaded_fallback: table
            .line("overloaded-fallback = 3", count(1, "the next source would be used before anything failed")),
    }
}

fn rate_limit_pause(table: &mut Table<'_, '_>) -> RateLimitPause {
    RateLimitPause {
        ladder: ladder(table),
        max_retry_after: table.line(
            r#"max-retry-after = "24h""#,
            at_least_an_hour("a server that asked for longer would be hammered, and would answer with longer bans"),
        ),
    }
}

fn auth_pause(table: &mut Table<'_, '_>) -> AuthPause {
    AuthPause {
        after: table.line("after = 3", count(1, "the account would be paused before anything failed")),
        ladder: ladder(table),
    }
}

fn ladder(table: &mut Table<'_, '_>) -> Ladder {
    let cooldowns = table.line(r#"cooldowns = ["5m", "10m", "20m"]"#, rungs);
    let max = table.line(r#"max-cooldown = "6h""#, duration("the pauses would end as soon as they begin"));
    let last = cooldowns.last().copied().unwrap_or_default();
    if table.sound(&["cooldowns", "max-cooldown"]) && max < last {
        let key = if table.has("max-cooldown") { "max-cooldown" } else { "cooldowns" };
        let what = format!("max-cooldown ({}) must be at least the last of cooldowns ({})", spoken(max), spoken(last));
        let example = format!("max-cooldown = \"{}\"", spoken(last));
        table.complain(key, &what, "the pause would become shorter the longer a server refuses", &example);
    }
    Ladder::new(cooldowns, max)
}

fn refresh(table: &mut Table<'_, '_>) -> Refresh {
    Refresh {
        retries: table.line("retries = 2", count(0, "there is no such number of tries")),
        retry_base: table.line(r#"retry-base = "500ms""#, duration("tries would follow each other without a pause")),
        request_deadline: table
            .line(r#"request-deadline = "15s""#, duration("every refresh would be given up at once")),
        idle_grace: table.line(r#"idle-grace = "10m""#, duration("a refresh could race the vendor's CLI")),
        before_expiry: table
            .line(r#"before-expiry = "15m""#, duration("a token would expire before its successor came")),
    }
}

fn pool(table: &mut Table<'_, '_>) -> Pool {
    Pool {
        hand_out_tokens: table.line("hand-out-tokens = false", flag),
        overloaded_after: table.line("overloaded-after = 3", count(1, "no model would ever be answered")),
        quiet: table.line(r#"quiet = "5m""#, duration("an overloaded model would be offered again at once")),
        fallback: table.optional(r#"fallback = [["opus", "sonnet"]]"#, fallback).unwrap_or_default(),
    }
}

fn history(table: &mut Table<'_, '_>) -> History {
    History {
        retention: table
            .line(r#"retention = "90d""#, duration("every reading would be deleted as soon as it is stored")),
    }
}

fn network(table: &mut Table<'_, '_>, home: &Path) -> Network {
    Network {
        proxy: table.optional(r#"proxy = "http://proxy:3128""#, url),
        ca_file: table.optional(r#"ca-file = "/etc/ssl/corp.pem""#, path(home)),
    }
}

fn http(table: &mut Table<'_, '_>, home: &Path) -> Http {
    let listen = table.optional(r#"listen = "127.0.0.1:9779""#, address);
    let token_file = table.optional(r#"token-file = "~/.config/quotad/scrape-token""#, path(home));
    if listen.is_some_and(|at| !at.ip().is_loopback()) && !table.has("token-file") {
        let what = "is open to other machines, and there is no `token-file`";
        let consequence = "anybody on the network could read what you use, and when";
        table.complain("listen", what, consequence, r#"token-file = "~/.config/quotad/scrape-token""#);
    }
    Http { listen, token_file }
}

fn log(table: &mut Table<'_, '_>) -> Log {
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    Log { level: table.optional(r#"level = "info""#, word(&levels)).unwrap_or(Level::INFO) }
}

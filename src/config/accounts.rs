//! The accounts a config lists, and the rules that keep a listed login from being lost.
//!
//! Two keepers of one refresh token sign the user out; so who writes a file, and who may refresh it, is settled here
//! before anything runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::custom::recipe;
use super::raw::Table;
use super::value::{duration, endpoint, program, spoken, text, weight, whereabouts, word, words};
use super::{Account, Accounts, Poll, SourceKind, floor};
use crate::model::{AccountName, CredentialOwner, ProviderId, RefreshMode, Whereabouts};
use crate::paths::{Paths, lexical};
use crate::provider::{self, Endpoints, TokenEncoding};
use crate::source::LocalFiles;

const OWNERS: [(&str, CredentialOwner); 2] = [("vendor", CredentialOwner::Vendor), ("quotad", CredentialOwner::Quotad)];

const MODES: [(&str, RefreshMode); 4] = [
    ("never", RefreshMode::Never),
    ("when-idle", RefreshMode::WhenIdle),
    ("command", RefreshMode::Command),
    ("always", RefreshMode::Always),
];

const SOURCES: [(&str, SourceKind); 2] = [("local", SourceKind::Local), ("api", SourceKind::Api)];

const ENCODINGS: [(&str, TokenEncoding); 2] = [("json", TokenEncoding::Json), ("form", TokenEncoding::Form)];

/// The header of an account, as complaints show it.
const HEADER: &str = "[accounts.personal]";

/// What `[accounts]` lists, as far as it is free of complaints, each interval raised to the floor.
pub(super) fn read(table: &mut Table<'_, '_>, poll: &Poll, paths: &Paths, notes: &mut Vec<String>) -> Accounts {
    if !table.exists() {
        let mut by_floor: BTreeMap<Duration, Vec<&str>> = BTreeMap::new();
        for provider in provider::ALL.into_iter().filter(|provider| provider.store().is_known()) {
            by_floor.entry(provider.floor()).or_default().push(provider.id().as_str());
        }
        notes.extend(by_floor.iter().filter_map(|(floor, of)| raised(poll.interval, *floor, &of.join(", "))));
        return Accounts::Discovered;
    }
    let mut accounts = BTreeMap::new();
    let mut files = BTreeMap::new();
    for (key, _) in table.names() {
        let account = table.open(key, HEADER.to_owned(), |entry| account(entry, key, poll, paths, &mut files));
        if let Some(mut account) = account {
            let floor = floor(account.provider, &account.endpoints);
            notes.extend(
                raised(account.interval, floor, account.provider.as_str()).map(|note| format!("{key}: {note}")),
            );
            account.interval = account.interval.max(floor);
            accounts.insert(account.name.clone(), account);
        }
    }
    if accounts.is_empty() {
        notes.push("[accounts] is empty, so no account is watched; without that table they are discovered".to_owned());
    }
    Accounts::Listed(accounts.into_iter().map(|(name, account)| (name, Arc::new(account))).collect())
}

/// The note that an interval was raised, if it is below the floor.
fn raised(interval: Duration, floor: Duration, of: &str) -> Option<String> {
    let note = || format!("interval {} is below the floor of {} for {of}: raised", spoken(interval), spoken(floor));
    (interval < floor).then(note)
}

fn account<'d>(
    table: &mut Table<'d, '_>,
    key: &'d str,
    poll: &Poll,
    paths: &Paths,
    files: &mut BTreeMap<PathBuf, &'d str>,
) -> Option<Account> {
    let name = AccountName::parse(key);
    if let Err(rule) = name {
        let consequence = "commands, metrics and status bars could not all name it";
        table.complain_of_header(&format!("an account's name {rule}"), consequence, HEADER);
    }

    let providers = provider::ALL.map(|provider| (provider.id().as_str(), provider.id()));
    let whose = "quotad would have to guess whose login it is";
    let provider = table.required(r#"provider = "claude""#, whose, word(&providers));
    let credentials = table.required(r#"credentials = "~/.claude/.credentials.json""#, whose, whereabouts(&paths.home));
    let owner = table.optional(r#"owner = "vendor""#, word(&OWNERS)).unwrap_or(CredentialOwner::Vendor);
    let refresh = table.optional(r#"refresh = "never""#, word(&MODES)).unwrap_or(match owner {
        CredentialOwner::Vendor => RefreshMode::Never,
        CredentialOwner::Quotad => RefreshMode::Always,
    });
    let command = table.optional(r#"command = ["claude", "doctor"]"#, program).unwrap_or_default();
    let interval = duration("polls would follow each other without a pause");
    let interval = table.optional(r#"interval = "10m""#, interval).unwrap_or(poll.interval);
    let sources = table.line(r#"sources = ["local", "api"]"#, words(&SOURCES));
    let weight = table.optional("weight = 1.0", weight).unwrap_or(1.0);
    let endpoints = endpoints(table, provider, credentials.as_ref());

    if let Some(file) = credentials.as_ref().and_then(Whereabouts::file).map(lexical) {
        own_grant_lies_apart(table, owner, &file, paths);
        one_account_per_file(table, key, file, files);
    }
    if let Some(Whereabouts::Variable(_)) = credentials {
        a_variable_is_never_refreshed(table, owner, refresh);
    } else {
        the_vendor_allows_the_mode(table, provider, owner, refresh);
    }
    command_needs_a_program(table, refresh);
    somebody_can_be_asked(table, provider, credentials.as_ref(), &sources, &paths.home);

    Some(Account {
        name: name.ok()?,
        provider: provider?,
        credentials: credentials?,
        owner,
        refresh,
        command,
        interval,
        sources,
        weight,
        endpoints: Arc::new(endpoints?),
    })
}

/// Where requests go, and as whom: what the table says, for the rest the provider's own.
fn endpoints(
    table: &mut Table<'_, '_>,
    provider: Option<ProviderId>,
    credentials: Option<&Whereabouts>,
) -> Option<Endpoints> {
    let user_agent = table.optional(r#"user-agent = "quotad/1.0""#, text);
    let usage_url = table.optional(r#"usage-url = "https://api.example.com/usage""#, endpoint);
    let token_url = table.optional(r#"token-url = "https://api.example.com/token""#, endpoint);
    let client_id = table.optional(r#"client-id = "00000000-0000-0000-0000-000000000000""#, text);
    let token_encoding = table.optional(r#"token-encoding = "json""#, word(&ENCODINGS));
    let recipe = recipe(table, provider).map(Arc::new);
    let own = provider::of(provider?).endpoints_for(credentials?);
    Some(Endpoints {
        usage_url: usage_url.unwrap_or(own.usage_url),
        token_url: token_url.unwrap_or(own.token_url),
        client_id: client_id.unwrap_or(own.client_id),
        token_encoding: token_encoding.unwrap_or(own.token_encoding),
        user_agent: user_agent.unwrap_or(own.user_agent),
        recipe,
    })
}

fn own_grant_lies_apart(table: &mut Table<'_, '_>, owner: CredentialOwner, file: &Path, paths: &Paths) {
    let in_vendor_store = paths.vendor_stores().iter().any(|store| lexical(store) == file);
    if owner == CredentialOwner::Quotad && in_vendor_store {
        let what =
            "is where the vendor's CLI keeps its own login, which is never a grant of quotad's (owner = \"quotad\")";
        let consequence = "quotad and the CLI would spend the same refresh token, and you would be logged out";
        let example = r#"credentials = "~/.local/share/quotad/claude/.credentials.json""#;
        table.complain("credentials", what, consequence, example);
    }
}

fn one_account_per_file<'d>(
    table: &mut Table<'d, '_>,
    key: &'d str,
    file: PathBuf,
    files: &mut BTreeMap<PathBuf, &'d str>,
) {
    if let Some(other) = files.get(&file) {
        let what = format!("is the file of account `{}` too", other.escape_debug());
        let consequence = "one login would be polled twice as often, and its refresh token spent twice";
        table.complain("credentials", &what, consequence, r#"credentials = "~/.claude-work/.credentials.json""#);
    } else {
        files.insert(file, key);
    }
}

/// A variable holds a key, of which there is nothing to refresh and nothing that quotad could write back.
fn a_variable_is_never_refreshed(table: &mut Table<'_, '_>, owner: CredentialOwner, refresh: RefreshMode) {
    let wrong = [
        ("owner", owner == CredentialOwner::Quotad, r#"owner = "vendor""#),
        ("refresh", refresh != RefreshMode::Never && table.has("refresh"), r#"refresh = "never""#),
    ];
    for (key, _, example) in wrong.into_iter().filter(|(_, is_wrong, _)| *is_wrong) {
        let what = "is for the file of a login; a variable holds a key";
        let consequence = "quotad would look for a refresh token, which no variable holds";
        table.complain(key, what, consequence, example);
    }
}

/// Every vendor has rules of its own about who may exchange a refresh token, and breaking them costs the login.
fn the_vendor_allows_the_mode(
    table: &mut Table<'_, '_>,
    provider: Option<ProviderId>,
    owner: CredentialOwner,
    refresh: RefreshMode,
) {
    let Some(store) = provider.map(|id| provider::of(id).store()) else { return };
    let allowed = match owner {
        CredentialOwner::Quotad => refresh != RefreshMode::Always || store.layout.is_some(),
        CredentialOwner::Vendor => refresh == RefreshMode::Never || store.vendors_modes.contains(&refresh),
    };
    if allowed || !table.sound(&["owner"]) {
        return;
    }
    let word = MODES.iter().find(|(_, mode)| *mode == refresh).map_or("", |(word, _)| *word);
    let what = match (owner, refresh) {
        (CredentialOwner::Vendor, RefreshMode::Always) => {
            "\"always\" is only for a grant of quotad's own (owner = \"quotad\")".to_owned()
        }
        (CredentialOwner::Vendor, _) => format!("\"{word}\" is not safe for the file of this vendor's client"),
        (CredentialOwner::Quotad, _) => format!("\"{word}\" cannot be done for this vendor"),
    };
    table.complain("refresh", &what, store.because, r#"refresh = "never""#);
}

fn command_needs_a_program(table: &mut Table<'_, '_>, refresh: RefreshMode) {
    if refresh == RefreshMode::Command && !table.has("command") {
        let consequence = "there would be nothing to run when the token has expired";
        table.complain("refresh", "\"command\" needs `command`", consequence, r#"command = ["claude", "doctor"]"#);
    }
}

fn somebody_can_be_asked(
    table: &mut Table<'_, '_>,
    provider: Option<ProviderId>,
    credentials: Option<&Whereabouts>,
    sources: &[SourceKind],
    home: &Path,
) {
    let (Some(provider), Some(credentials)) = (provider, credentials) else { return };
    if sources == [SourceKind::Local] && LocalFiles::of(provider, credentials, home).is_none() {
        let what = format!("names \"local\" alone, and {provider} leaves no numbers of its own on this machine");
        table.complain("sources", &what, "nothing would ever be read", r#"sources = ["api"]"#);
    }
}

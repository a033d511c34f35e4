//! How a vendor's client is made to use one login: what to type, which variables to set.
//!
//! Owns the answer for a person who has to log in again, for the client that refreshes its own file, and for whoever
//! was told by the pool to use an account. Never points a client at a grant of quotad's own: two keepers of one refresh
//! token end the login.

use std::path::{Path, PathBuf};

use crate::config;
use crate::model::{CredentialOwner, ProviderId, Whereabouts};
use crate::paths::Paths;
use crate::provider::store::Place;
use crate::provider::{self, LogIn};

/// The environment in which a client uses one login and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Variables to set, and those to take away, which would lead the client elsewhere.
    pub variables: Vec<(&'static str, Option<PathBuf>)>,
    /// The variable that must hold the access token.
    pub token: Option<&'static str>,
}

/// How a client is made to use this account's login.
///
/// # Errors
/// Why none can be, as a clause.
pub(super) fn reach(account: &config::Account, paths: &Paths, hands_out: bool) -> Result<Reach, &'static str> {
    let provider = provider::of(account.provider);
    let overruled = provider.overruled_by().iter().copied();
    if let Some(moves) = moves(account, paths) {
        let elsewhere = overruled.filter(|name| moves.iter().all(|(moved, _)| moved != name)).map(|name| (name, None));
        return Ok(Reach { variables: moves.iter().cloned().chain(elsewhere).collect(), token: None });
    }
    match provider.token_variable() {
        Some(token) if hands_out => {
            let elsewhere = overruled.filter(|name| *name != token).map(|name| (name, None));
            Ok(Reach { variables: elsewhere.collect(), token: Some(token) })
        }
        Some(_) => Err("a client can use it by its token alone, and `hand-out-tokens` of [pool] is off"),
        None => Err("its client cannot be pointed at this login"),
    }
}

/// The variables by which the vendor's client finds this very file, each set or taken away; `None` where it cannot be
/// led there, or must not be.
fn moves(account: &config::Account, paths: &Paths) -> Option<Vec<(&'static str, Option<PathBuf>)>> {
    let provider = provider::of(account.provider);
    let LogIn::Command { moved_by, .. } = provider.log_in() else { return None };
    let file = account.credentials.file().filter(|_| account.owner == CredentialOwner::Vendor)?;
    let is_clients = |place: &&Place| place.moved_by.iter().any(|name| moved_by.contains(name));
    let (clients, others): (Vec<&Place>, Vec<&Place>) = provider.store().places.iter().partition(is_clients);
    let mut variables: Vec<&'static str> = clients.iter().flat_map(|place| place.moved_by).copied().collect();
    variables.extend(moved_by.iter().filter(|name| !variables.contains(name)).copied().collect::<Vec<_>>());
    variables.dedup();
    let places = paths.places.iter().filter(|place| place.provider == provider.id());
    let mut at = places.clone();
    if at.next().is_some_and(|place| place.usual == file) {
        return Some(variables.into_iter().map(|name| (name, None)).collect());
    }
    // A file of another client in a place of its own is of another form.
    let is_others = places.zip(provider.store().places).any(|(place, kind)| {
        (place.usual == file || place.here == file) && others.iter().any(|other| std::ptr::eq(*other, kind))
    });
    let dir = clients.iter().find_map(|place| dir_of(place, file)).filter(|_| !is_others)?;
    let set = |name: &'static str| (name, moved_by.contains(&name).then(|| dir.to_owned()));
    Some(variables.into_iter().map(set).collect())
}

/// The directory that stands for `<root>/<dir>` of a place, if the file can be one of it.
fn dir_of<'a>(place: &Place, file: &'a Path) -> Option<&'a Path> {
    let levels = Path::new(place.file).components().count();
    file.ends_with(place.file).then(|| file.ancestors().nth(levels))?
}

/// The line to type to log in again to this very file, with the relocation that leads there.
///
/// # Errors
/// Where there is nothing to type: what to do instead.
pub fn log_in(account: &config::Account, paths: &Paths) -> Result<String, &'static str> {
    match provider::of(account.provider).log_in() {
        LogIn::Command { line, .. } => {
            let moved = relocation(account.provider, &account.credentials, paths);
            let moved = moved.iter().map(|(variable, dir)| format!("{variable}={} ", dir.display()));
            Ok(moved.chain([line.to_owned()]).collect())
        }
        LogIn::Words(words) => Err(words),
    }
}

/// The variables and their value that make the vendor's client use this very file; none where it does by itself, or
/// cannot be made to.
pub(super) fn relocation(provider: ProviderId, at: &Whereabouts, paths: &Paths) -> Vec<(String, PathBuf)> {
    let provider = provider::of(provider);
    let LogIn::Command { moved_by, .. } = provider.log_in() else { return Vec::new() };
    // A client is started without the daemon's variables, so only its very default needs none.
    let default = paths.places.iter().find(|place| place.provider == provider.id()).map(|place| &*place.usual);
    let Some(file) = at.file().filter(|file| default != Some(*file)) else { return Vec::new() };
    let dir = provider.store().places.iter().find_map(|place| dir_of(place, file)).or(file.parent());
    let Some(dir) = dir else { return Vec::new() };
    moved_by.iter().map(|variable| ((*variable).to_owned(), dir.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::AccountName;

    #[test]
    fn a_login_elsewhere_is_reached_by_the_variables_of_every_client_that_the_command_may_be() {
        let paths = Paths::in_home(Path::new("/home/ada"));
        for (provider, file, line) in [
            ("claude", "/home/ada/.claude/.credentials.json", Ok("claude /login")),
            ("claude", "/srv/c/.credentials.json", Ok("CLAUDE_CONFIG_DIR=/srv/c claude /login")),
            ("codex", "/home/ada/.codex/auth.json", Ok("codex login")),
            ("codex", "/home/ada/.config/codex/auth.json", Ok("CODEX_HOME=/home/ada/.config/codex codex login")),
            ("codex", "/srv/c/auth.json", Ok("CODEX_HOME=/srv/c codex login")),
            ("codex", "/srv/c/work.json", Ok("CODEX_HOME=/srv/c codex login")),
            ("gemini", "/srv/g/.gemini/oauth_creds.json", Ok("GEMINI_CLI_HOME=/srv/g gemini")),
            (
                "kimi",
                "/home/ada/.kimi/credentials/kimi-code.json",
                Ok("KIMI_CODE_HOME=/home/ada/.kimi KIMI_SHARE_DIR=/home/ada/.kimi kimi login"),
            ),
            ("kimi", "/srv/k/credentials/kimi-code.json", Ok("KIMI_CODE_HOME=/srv/k KIMI_SHARE_DIR=/srv/k kimi login")),
            ("antigravity", "/srv/a/token", Ok("agy")),
            ("cursor", "/srv/c/state.vscdb", Err("sign in in Cursor's settings")),
        ] {
            let (name, id) = (AccountName::parse(provider).unwrap(), provider::ALL.map(provider::Provider::id));
            let id = id.into_iter().find(|id| id.as_str() == provider).unwrap();
            let account = config::Account::discovered(
                name,
                id,
                Whereabouts::File(Path::new(file).into()),
                &Config::default().poll,
            );
            assert_eq!(log_in(&account, &paths).as_deref(), line.as_ref().copied(), "{file}");
        }
    }

    #[test]
    fn a_client_is_led_to_a_file_of_its_own_and_given_a_token_only_where_nothing_else_helps() {
        let paths = Paths::in_home(Path::new("/home/ada"));
        let of = |provider: &str, at: Whereabouts, owner, hands_out| {
            let id = provider::named(provider).unwrap().id();
            let name = AccountName::parse("a").unwrap();
            let account = config::Account::discovered(name, id, at, &Config::default().poll);
            match reach(&config::Account { owner, ..account }, &paths, hands_out) {
                Ok(Reach { variables, token }) => {
                    let moved =
                        variables.into_iter().filter_map(|(name, dir)| Some(format!("{name}={}", dir?.display())));
                    moved.chain(token.map(str::to_owned)).collect::<Vec<_>>().join(" ")
                }
                Err(why) => why.rsplit(' ').next().unwrap().to_owned(),
            }
        };
        let (vendor, own) = (CredentialOwner::Vendor, CredentialOwner::Quotad);
        for (provider, file, owner, without, with) in [
            ("claude", "/home/ada/.claude/.credentials.json", vendor, "", ""),
            ("claude", "/srv/c/.credentials.json", vendor, "CLAUDE_CONFIG_DIR=/srv/c", "CLAUDE_CONFIG_DIR=/srv/c"),
            ("claude", "/srv/c/work.json", vendor, "off", "CLAUDE_CODE_OAUTH_TOKEN"),
            ("claude", "/srv/c/.credentials.json", own, "off", "CLAUDE_CODE_OAUTH_TOKEN"),
            (
                "codex",
                "/home/ada/.config/codex/auth.json",
                vendor,
                "CODEX_HOME=/home/ada/.config/codex",
                "CODEX_HOME=/home/ada/.config/codex",
            ),
            ("codex", "/home/ada/.local/share/opencode/auth.json", vendor, "login", "login"),
            ("codex", "/srv/c/auth.json", own, "login", "login"),
            ("cursor", "/srv/c/state.vscdb", vendor, "login", "login"),
            ("zai", "/srv/z/key", vendor, "off", "ZAI_API_KEY"),
        ] {
            let found = [false, true]
                .map(|hands_out| of(provider, Whereabouts::File(Path::new(file).into()), owner, hands_out));
            assert_eq!(found, [without, with], "{provider} {file} {owner:?}");
        }
        let variable = Whereabouts::Variable("ZAI_API_KEY".to_owned());
        assert_eq!(of("zai", variable, vendor, true), "ZAI_API_KEY");
    }

    #[test]
    fn what_would_lead_a_client_elsewhere_is_taken_away() {
        let paths = Paths::in_home(Path::new("/home/ada"));
        let file = Whereabouts::File(Path::new("/home/ada/.claude/.credentials.json").into());
        let name = AccountName::parse("a").unwrap();
        let account = config::Account::discovered(name, ProviderId::new("claude"), file, &Config::default().poll);
        let Reach { variables, token } = reach(&account, &paths, true).unwrap();
        let gone = [
            "CLAUDE_SECURESTORAGE_CONFIG_DIR",
            "CLAUDE_CONFIG_DIR",
            "CLAUDE_CODE_USE_BEDROCK",
            "CLAUDE_CODE_USE_VERTEX",
            "CLAUDE_CODE_USE_FOUNDRY",
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "CLAUDE_CODE_OAUTH_TOKEN",
        ];
        assert_eq!(variables, gone.map(|name| (name, None)));
        assert_eq!(token, None);
    }
}

//! Where things are: quotad's own files by the XDG rules, and where the vendor's CLI keeps its login.
//!
//! Owns the names only: creates, opens and checks nothing. The process environment is read in [`Paths::of_this_user`]
//! alone; everything below takes what it needs as arguments, so that a test, the demo and the installing shell can
//! each bring their own.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use directories::BaseDirs;

use crate::model::ProviderId;
use crate::provider;
use crate::provider::store::Root;

/// There is no home directory to look in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot tell where the home directory is: HOME is not set and the user has no entry in passwd; set HOME")]
pub struct NoHome;

/// Every path quotad knows by itself. All are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The user's home, e.g. `/home/ada`.
    pub home: PathBuf,
    /// The config file, e.g. `/home/ada/.config/quotad/config.toml`.
    pub config_file: PathBuf,
    /// The directory of `state.db` and the successors, e.g. `/home/ada/.local/state/quotad`.
    pub state_dir: PathBuf,
    /// The control socket, e.g. `/run/user/1000/quotad/quotad.sock`, else `/tmp/quotad-1000/quotad.sock`.
    pub socket: PathBuf,
    /// Every place where a vendor's client may keep its login, in the registry's order.
    pub places: Vec<LoginPlace>,
    /// Every variable of this environment that may hold a vendor's key, in the registry's order. Only its name: what
    /// it holds is `credential`'s to read.
    pub variables: Vec<(ProviderId, String)>,
}

/// Where one vendor's client may keep its login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginPlace {
    /// The vendor.
    pub provider: ProviderId,
    /// Where it lies when no variable moves it.
    pub usual: PathBuf,
    /// Where this environment puts it.
    pub here: PathBuf,
    /// The vendor's variable that moves it, if one does.
    pub moved_by: Option<&'static str>,
    /// Whether a login here is not the one of the vendor's places before it.
    pub apart: bool,
}

impl Paths {
    /// The paths of the user who runs this process, in this process's environment.
    ///
    /// # Errors
    /// [`NoHome`] when there is no home directory.
    pub fn of_this_user() -> Result<Self, NoHome> {
        let dirs = BaseDirs::new().ok_or(NoHome)?;
        let env = |name: &str| std::env::var_os(name);
        Ok(Self {
            places: login_places(dirs.home_dir(), env),
            variables: key_variables(env),
            config_file: dirs.config_dir().join("quotad/config.toml"),
            state_dir: dirs
                .state_dir()
                .map_or_else(|| dirs.home_dir().join(".local/state"), Path::to_owned)
                .join("quotad"),
            socket: socket(dirs.runtime_dir(), rustix::process::getuid().as_raw()),
            home: dirs.home_dir().to_owned(),
        })
    }

    /// The paths in `home` when no variable moves any of them; the socket lies in `home` too.
    pub fn in_home(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            config_file: home.join(".config/quotad/config.toml"),
            state_dir: home.join(".local/state/quotad"),
            socket: home.join(".run/quotad/quotad.sock"),
            places: login_places(home, |_| None),
            variables: Vec::new(),
        }
    }

    /// The files in which a vendor's client keeps its own login: the usual one and, where the environment moves it,
    /// that one too. A grant of quotad's own never lies there.
    pub fn vendor_stores(&self) -> Vec<PathBuf> {
        self.places.iter().flat_map(|place| [place.usual.clone(), place.here.clone()]).collect()
    }
}

/// Every place where a vendor's client may keep its login, in the registry's order, for the environment that `env`
/// reads. The first of a place's variables that is set decides, and an empty one means the default (providers.md 1.1).
pub fn login_places(home: &Path, env: impl Fn(&str) -> Option<OsString>) -> Vec<LoginPlace> {
    let set = |name: &str| env(name).filter(|dir| !dir.is_empty());
    let xdg = |name, usual| set(name).map(PathBuf::from).filter(|dir| dir.is_absolute()).unwrap_or(home.join(usual));
    let roots = (xdg("XDG_CONFIG_HOME", ".config"), xdg("XDG_DATA_HOME", ".local/share"));
    let known = provider::ALL.into_iter().flat_map(|provider| {
        let places = provider.store().places.iter();
        places.map(move |place| (provider.id(), place))
    });
    known
        .map(|(provider, place)| {
            let root = match place.root {
                Root::Home => home,
                Root::Config => &roots.0,
                Root::Data => &roots.1,
            };
            let usual = root.join(place.dir);
            let moved_by = place.moved_by.iter().copied().find(|name| env(name).is_some());
            let moved_by = moved_by.filter(|name| set(name).is_some());
            // The clients resolve a relative directory against their own working directory; so is it done here.
            let moved = moved_by.and_then(set).map(|dir| std::path::absolute(&dir).unwrap_or(dir.into()));
            let here = moved.unwrap_or_else(|| usual.clone()).join(place.file);
            LoginPlace { provider, usual: usual.join(place.file), here, moved_by, apart: place.apart }
        })
        .collect()
}

/// The logins that lie in `places`: of each client's places the first that is there. Each has its vendor's name, and a
/// number where that has several: `kimi`, `kimi-2`.
pub fn logins_in(places: &[LoginPlace], is_there: impl Fn(&Path) -> bool) -> Vec<(String, &LoginPlace)> {
    let mut logins: Vec<(String, &LoginPlace)> = Vec::new();
    let mut is_taken = false;
    for (at, place) in places.iter().enumerate() {
        let of_vendor = |(_, other): &&(String, &LoginPlace)| other.provider == place.provider;
        is_taken &= !place.apart && at > 0 && places[at - 1].provider == place.provider;
        if is_taken || logins.iter().any(|(_, other)| other.here == place.here) || !is_there(&place.here) {
            continue;
        }
        is_taken = true;
        let name = match logins.iter().filter(of_vendor).count() {
            0 => place.provider.to_string(),
            others => format!("{}-{}", place.provider, others + 1),
        };
        logins.push((name, place));
    }
    logins
}

/// Every variable of the environment that `env` reads which may hold a vendor's key, in the registry's order.
pub fn key_variables(env: impl Fn(&str) -> Option<OsString>) -> Vec<(ProviderId, String)> {
    let names = provider::ALL.into_iter().flat_map(|provider| {
        let names = provider.store().variables.iter();
        names.map(move |name| (provider.id(), (*name).to_owned()))
    });
    names.filter(|(_, name)| env(name).is_some_and(|key| !key.is_empty())).collect()
}

/// The control socket, e.g. `/run/user/1000/quotad/quotad.sock`; without `$XDG_RUNTIME_DIR`
/// `/tmp/quotad-1000/quotad.sock`, whose owner must be checked because anyone may create it.
pub fn socket(runtime_dir: Option<&Path>, uid: u32) -> PathBuf {
    let dir = runtime_dir.map_or_else(|| PathBuf::from(format!("/tmp/quotad-{uid}")), |dir| dir.join("quotad"));
    dir.join("quotad.sock")
}

/// `~` and `~/x` as a path in `home`, anything else as it stands: `~/x` is `/home/ada/x`. `~bob/x` stays relative.
pub fn expand_home(text: &str, home: &Path) -> PathBuf {
    match text.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(text),
    }
}

/// `path` with every `.` left out and every `..` taken back, by its text alone: `/a/./b/../c` is `/a/c`. For telling
/// whether two spellings name one file; symlinks are followed elsewhere, when the file is opened.
pub fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "/home/ada";

    #[test]
    fn a_place_follows_its_variables_in_the_clients_own_order() {
        let (storage, config) = ("CLAUDE_SECURESTORAGE_CONFIG_DIR", "CLAUDE_CONFIG_DIR");
        let table: [(&[(&str, &str)], &str); 7] = [
            (&[], "/home/ada/.claude"),
            (&[(config, "/srv/c")], "/srv/c"),
            (&[(storage, "/srv/s"), (config, "/srv/c")], "/srv/s"),
            (&[(storage, ""), (config, "/srv/c")], "/home/ada/.claude"),
            (&[(config, "")], "/home/ada/.claude"),
            (&[(config, "/a/~/c,/d")], "/a/~/c,/d"),
            (&[("XDG_CONFIG_HOME", "/x")], "/home/ada/.claude"),
        ];
        for (vars, want) in table {
            let env = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
            let place = login_places(Path::new(HOME), env).remove(0);
            assert_eq!(place.here, Path::new(want).join(".credentials.json"), "{vars:?}");
            assert_eq!(place.usual, Path::new("/home/ada/.claude/.credentials.json"));
        }
        let relative = login_places(Path::new(HOME), |name| (name == config).then(|| "rel".into())).remove(0);
        assert!(relative.here.is_absolute() && relative.here.ends_with("rel/.credentials.json"));
    }

    #[test]
    fn of_each_clients_places_the_first_that_holds_a_login_is_one() {
        let table: [(&[&str], &[&str]); 6] = [
            (&[], &[]),
            (&[".claude/.credentials.json"], &["claude .claude/.credentials.json"]),
            (&[".kimi/credentials/kimi-code.json"], &["kimi .kimi/credentials/kimi-code.json"]),
            (
                &[".kimi/credentials/kimi-code.json", ".kimi-code/credentials/kimi-code.json"],
                &["kimi .kimi-code/credentials/kimi-code.json", "kimi-2 .kimi/credentials/kimi-code.json"],
            ),
            (
                &[".config/codex/auth.json", ".codex/auth.json", ".local/share/opencode/auth.json"],
                &["codex .codex/auth.json", "codex-2 .local/share/opencode/auth.json"],
            ),
            (
                &[".config/zhipu/api_key", ".config/zai/key.json", ".config/github-copilot/hosts.json"],
                &[
                    "copilot .config/github-copilot/hosts.json",
                    "zai .config/zai/key.json",
                    "zai-2 .config/zhipu/api_key",
                ],
            ),
        ];
        let home = Path::new(HOME);
        for (files, want) in table {
            let places = login_places(home, |_| None);
            let found = logins_in(&places, |path| files.iter().any(|file| home.join(file) == path));
            let found: Vec<_> = found
                .iter()
                .map(|(name, place)| format!("{name} {}", place.here.strip_prefix(home).unwrap().display()))
                .collect();
            assert_eq!(found, want, "{files:?}");
        }
        let moved = login_places(home, |name| (name == "CODEX_HOME").then(|| "/srv/codex".into()));
        assert_eq!(logins_in(&moved, |path| path.starts_with("/srv")).len(), 1, "two places, moved to one file");
    }

    #[test]
    fn the_socket_lies_in_the_runtime_directory_or_else_in_a_directory_of_the_user_under_tmp() {
        assert_eq!(socket(Some(Path::new("/run/user/7")), 7), Path::new("/run/user/7/quotad/quotad.sock"));
        assert_eq!(socket(None, 7), Path::new("/tmp/quotad-7/quotad.sock"));
    }

    #[test]
    fn only_a_leading_tilde_of_ones_own_is_expanded() {
        for (text, want) in [
            ("~", "/home/ada"),
            ("~/x/y", "/home/ada/x/y"),
            ("~//x", "/home/ada/x"),
            ("~bob/x", "~bob/x"),
            ("/a/~/x", "/a/~/x"),
            ("", ""),
        ] {
            assert_eq!(expand_home(text, Path::new(HOME)), Path::new(want), "{text}");
        }
    }

    #[test]
    fn two_spellings_of_a_path_become_one() {
        for text in ["/a/c", "/a/./c", "/a/b/../c", "//a//c/", "/../a/c", "/a/b/x/../../c"] {
            assert_eq!(lexical(Path::new(text)), Path::new("/a/c"), "{text}");
        }
    }

    #[test]
    fn every_path_of_this_user_is_absolute() {
        let paths = Paths::of_this_user().unwrap();
        let places = paths.places.iter().flat_map(|place| [&place.usual, &place.here]);
        for path in [&paths.home, &paths.config_file, &paths.state_dir, &paths.socket].into_iter().chain(places) {
            assert!(path.is_absolute(), "{}", path.display());
        }
        assert!(paths.config_file.ends_with("quotad/config.toml") && paths.state_dir.ends_with("quotad"));
    }
}

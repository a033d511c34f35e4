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

/// The name of the Claude CLI's credential file, in whatever directory it lies.
const CLAUDE_FILE: &str = ".credentials.json";

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
    /// The Claude CLI's credential file as this environment places it, e.g. `/home/ada/.claude/.credentials.json`.
    pub claude_credentials: PathBuf,
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
}

impl Paths {
    /// The paths of the user who runs this process, in this process's environment.
    ///
    /// # Errors
    /// [`NoHome`] when there is no home directory.
    pub fn of_this_user() -> Result<Self, NoHome> {
        let dirs = BaseDirs::new().ok_or(NoHome)?;
        let env = |name: &str| std::env::var_os(name);
        let claude = claude_dir(dirs.home_dir(), env);
        let roots = Roots { home: dirs.home_dir(), config: dirs.config_dir(), data: dirs.data_dir() };
        Ok(Self {
            places: roots.places(env),
            variables: variables(env),
            config_file: dirs.config_dir().join("quotad/config.toml"),
            state_dir: dirs
                .state_dir()
                .map_or_else(|| dirs.home_dir().join(".local/state"), Path::to_owned)
                .join("quotad"),
            socket: socket(dirs.runtime_dir(), rustix::process::getuid().as_raw()),
            // The CLI resolves a relative directory against its own working directory; so is it done here.
            claude_credentials: std::path::absolute(&claude).unwrap_or(claude).join(CLAUDE_FILE),
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
            claude_credentials: claude_dir(home, |_| None).join(CLAUDE_FILE),
            places: Roots { home, config: &home.join(".config"), data: &home.join(".local/share") }.places(|_| None),
            variables: Vec::new(),
        }
    }

    /// The files in which a vendor's client keeps its own login: the usual one and, where the environment moves it,
    /// that one too. A grant of quotad's own never lies there.
    pub fn vendor_stores(&self) -> Vec<PathBuf> {
        let mut stores: Vec<_> =
            self.places.iter().flat_map(|place| [place.usual.clone(), place.here.clone()]).collect();
        stores.push(self.claude_credentials.clone());
        stores
    }
}

/// The directories that places begin in.
struct Roots<'a> {
    home: &'a Path,
    config: &'a Path,
    data: &'a Path,
}

impl Roots<'_> {
    fn places(&self, env: impl Fn(&str) -> Option<OsString>) -> Vec<LoginPlace> {
        let all = provider::ALL
            .into_iter()
            .flat_map(|provider| provider.store().places.iter().map(move |place| (provider.id(), place)));
        all.map(|(provider, place)| {
            let root = match place.root {
                Root::Home => self.home,
                Root::Config => self.config,
                Root::Data => self.data,
            };
            let usual = root.join(place.dir);
            let moved = place.moved_by.iter().find_map(|name| env(name)).filter(|dir| !dir.is_empty());
            // The clients resolve a relative directory against their own working directory; so is it done here.
            let moved = moved.map(PathBuf::from).map(|dir| std::path::absolute(&dir).unwrap_or(dir));
            let here = moved.unwrap_or_else(|| usual.clone());
            LoginPlace { provider, usual: usual.join(place.file), here: here.join(place.file) }
        })
        .collect()
    }
}

fn variables(env: impl Fn(&str) -> Option<OsString>) -> Vec<(ProviderId, String)> {
    let names = provider::ALL
        .into_iter()
        .flat_map(|provider| provider.store().variables.iter().map(move |name| (provider.id(), (*name).to_owned())));
    names.filter(|(_, name)| env(name).is_some_and(|key| !key.is_empty())).collect()
}

/// The control socket, e.g. `/run/user/1000/quotad/quotad.sock`; without `$XDG_RUNTIME_DIR`
/// `/tmp/quotad-1000/quotad.sock`, whose owner must be checked because anyone may create it.
pub fn socket(runtime_dir: Option<&Path>, uid: u32) -> PathBuf {
    let dir = runtime_dir.map_or_else(|| PathBuf::from(format!("/tmp/quotad-{uid}")), |dir| dir.join("quotad"));
    dir.join("quotad.sock")
}

/// The directory in which the Claude CLI keeps its credential file, e.g. `/home/ada/.claude`.
///
/// The CLI's own rule (providers.md 1.1): `CLAUDE_SECURESTORAGE_CONFIG_DIR` if it exists, and if it is empty
/// `~/.claude`; else `CLAUDE_CONFIG_DIR`, one literal directory without `~` and possibly relative; else `~/.claude`.
/// An empty `CLAUDE_CONFIG_DIR` counts as absent.
pub fn claude_dir(home: &Path, env: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    env("CLAUDE_SECURESTORAGE_CONFIG_DIR")
        .or_else(|| env("CLAUDE_CONFIG_DIR"))
        .filter(|dir| !dir.is_empty())
        .map_or_else(|| home.join(".claude"), PathBuf::from)
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
    fn the_claude_directory_follows_the_clis_own_order() {
        let (storage, config) = ("CLAUDE_SECURESTORAGE_CONFIG_DIR", "CLAUDE_CONFIG_DIR");
        let table: [(&[(&str, &str)], &str); 7] = [
            (&[], "/home/ada/.claude"),
            (&[(config, "/srv/c")], "/srv/c"),
            (&[(storage, "/srv/s"), (config, "/srv/c")], "/srv/s"),
            (&[(storage, ""), (config, "/srv/c")], "/home/ada/.claude"),
            (&[(config, "")], "/home/ada/.claude"),
            (&[(config, "~/c,/d")], "~/c,/d"),
            (&[(config, "rel")], "rel"),
        ];
        for (vars, want) in table {
            let env = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
            assert_eq!(claude_dir(Path::new(HOME), env), Path::new(want), "{vars:?}");
        }
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
        for path in [&paths.home, &paths.config_file, &paths.state_dir, &paths.socket, &paths.claude_credentials] {
            assert!(path.is_absolute(), "{}", path.display());
        }
        assert!(paths.config_file.ends_with("quotad/config.toml") && paths.state_dir.ends_with("quotad"));
    }
}

//! This shell's environment against the daemon's: a user service does not see what a shell exports.
//!
//! The daemon keeps its memory private, and with it `/proc/PID/environ`, so what it started with is taken from the
//! user manager, which hands its own environment to every service.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::ask::answer;
use super::{Finding, typed};
use crate::config::Network;
use crate::paths::{LoginPlace, lexical, login_places};

/// Variables by name.
pub(super) type Variables = BTreeMap<String, String>;

/// Both environments.
#[derive(Debug, Clone)]
pub(super) struct Environment {
    /// Of this process.
    pub(super) shell: Variables,
    /// What a service of the user manager is started with; `None` where no manager answers.
    pub(super) manager: Option<Variables>,
}

impl Environment {
    /// Reads this process's and asks the user manager for its own.
    pub(super) fn of_this_shell() -> Self {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let manager = answer("systemctl", &["--user", "show-environment"]).map(|text| parse(&text));
        Self { shell: std::env::vars_os().filter_map(text).collect(), manager }
    }

    /// What a daemon started by the manager, or else from this shell, finds.
    pub(super) fn of_daemon(&self) -> &Variables {
        self.manager.as_ref().unwrap_or(&self.shell)
    }
}

/// `NAME=value` lines, the value as `$'…'` where it holds anything odd; such a value is kept as it is written.
fn parse(text: &str) -> Variables {
    text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

/// What a variable decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// By which proxy requests leave; `[network] proxy` outdoes it.
    Proxy,
    /// For which hosts they do not.
    Exception,
    /// Which certificates are trusted; `[network] ca-file` adds to them.
    Certificates,
    /// Where quotad's own files lie.
    Place,
}

const VARIABLES: [(&str, Role); 11] = [
    ("HTTPS_PROXY", Role::Proxy),
    ("https_proxy", Role::Proxy),
    ("ALL_PROXY", Role::Proxy),
    ("all_proxy", Role::Proxy),
    ("NO_PROXY", Role::Exception),
    ("no_proxy", Role::Exception),
    ("SSL_CERT_FILE", Role::Certificates),
    ("SSL_CERT_DIR", Role::Certificates),
    ("XDG_CONFIG_HOME", Role::Place),
    ("XDG_STATE_HOME", Role::Place),
    ("XDG_RUNTIME_DIR", Role::Place),
];

/// Where the two differ in something that matters under these network settings.
pub(super) fn findings(environment: &Environment, network: Option<&Network>) -> Vec<Finding> {
    let Some(manager) = &environment.manager else {
        let what = "environment: not compared: no user manager answers here, and a daemon shows its own to nobody";
        return vec![Finding::ok(what)];
    };
    let settled = |role| match role {
        Role::Proxy | Role::Exception => network.is_some_and(|network| network.proxy.is_some()),
        Role::Certificates => network.is_some_and(|network| network.ca_file.is_some()),
        Role::Place => false,
    };
    let differing = VARIABLES.iter().filter(|(name, role)| {
        let set = |variables: &Variables| variables.get(*name).filter(|value| !value.is_empty()).cloned();
        !settled(*role) && set(&environment.shell) != set(manager)
    });
    let findings: Vec<_> = differing.map(|(name, role)| difference(name, *role, &environment.shell)).collect();
    if findings.is_empty() {
        let what = "environment: a service of the user manager sees what this shell sees (compared with the manager's, \
                    because a daemon shows its own to nobody)";
        return vec![Finding::ok(what)];
    }
    findings
}

fn difference(name: &str, role: Role, shell: &Variables) -> Finding {
    let consequence = match role {
        Role::Proxy | Role::Exception => "the daemon's requests leave by another way than this shell's",
        Role::Certificates => "the daemon trusts other certificates than this shell",
        Role::Place => "the daemon keeps its files in other places than this shell looks in",
    };
    let restart = "systemctl --user restart quotad";
    let Some(value) = shell.get(name).filter(|value| !value.is_empty()) else {
        let what = format!("environment: {name} is set for the daemon and not in this shell: {consequence}");
        let unset = format!("systemctl --user unset-environment {name}");
        return Finding::warn(what, format!("if that is not meant:\n{}", typed(&[&unset, restart])));
    };
    let what = format!("environment: {name} in this shell is not what the daemon sees: {consequence}");
    let setting = match role {
        // A proxy's URL may hold a password.
        Role::Proxy if value.contains('@') => Some(format!("proxy = \"the value of {name}\"")),
        Role::Proxy => Some(format!("proxy = {}", toml(value))),
        Role::Certificates if name == "SSL_CERT_FILE" => Some(format!("ca-file = {}", toml(value))),
        Role::Exception | Role::Certificates | Role::Place => None,
    };
    let remedy = if let Some(setting) = setting {
        format!("write it into the config:\n{}", typed(&["[network]", &setting]))
    } else {
        let import = format!("systemctl --user import-environment {name}");
        let lasting = "hand it to the manager, and for good through a file in ~/.config/environment.d/:";
        format!("{lasting}\n{}", typed(&[&import, restart]))
    };
    Finding::warn(what, remedy)
}

/// A TOML string.
fn toml(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

/// Where a client of this shell keeps its login, and who looks there.
#[derive(Debug, Clone)]
pub(super) struct Relocation {
    /// Where it lies in this shell.
    pub(super) place: LoginPlace,
    /// The files that are watched.
    pub(super) watched: Vec<PathBuf>,
    /// Where to say so.
    pub(super) config_file: PathBuf,
    /// The names of the listed accounts; `None` where accounts are discovered.
    pub(super) listed: Option<Vec<String>>,
}

/// Where the vendors' clients keep their logins under these variables.
pub(super) fn places(home: &Path, variables: &Variables) -> Vec<LoginPlace> {
    login_places(home, |name| variables.get(name).map(OsString::from))
}

/// A finding where a variable moves the login; none where nothing does.
pub(super) fn relocated(relocation: &Relocation) -> Vec<Finding> {
    let place = &relocation.place;
    let Some(variable) = place.moved_by else { return Vec::new() };
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| lexical(path));
    let file = place.here.display();
    if relocation.watched.iter().any(|watched| real(watched) == real(&place.here)) {
        return vec![Finding::ok(format!(
            "relocation: {variable} moves this shell's login to {file}, which is watched"
        ))];
    }
    let what = format!("relocation: {variable} moves this shell's login to {file}, which nobody watches");
    let taken = |name: &String| relocation.listed.as_ref().is_some_and(|listed| listed.contains(name));
    let provider = place.provider;
    let names = std::iter::once(provider.to_string()).chain((2..).map(|n| format!("{provider}-{n}")));
    let name = names.into_iter().find(|name| !taken(name)).unwrap_or_default();
    let table = [
        format!("[accounts.{name}]"),
        format!("provider = \"{provider}\""),
        format!("credentials = {}", toml(&file.to_string())),
    ];
    let once = "; once one account is listed, list every one you want";
    let only = if relocation.listed.is_none() { once } else { "" };
    let remedy = format!("add it to {}{only}:", relocation.config_file.display());
    vec![Finding::warn(what, format!("{remedy}\n{}", typed(&table.each_ref().map(String::as_str))))]
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn variables(list: &[(&str, &str)]) -> Variables {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn found(shell: &[(&str, &str)], manager: &[(&str, &str)], network: &Network) -> Vec<Finding> {
        let environment = Environment { shell: variables(shell), manager: Some(variables(manager)) };
        findings(&environment, Some(network))
    }

    const NONE: Network = Network { proxy: None, ca_file: None };

    #[test]
    fn what_only_the_shell_sees_goes_into_the_config_or_to_the_manager() {
        for (variable, value, remedy) in [
            ("HTTPS_PROXY", "http://proxy:3128", " proxy = \"http://proxy:3128\""),
            ("https_proxy", "http://ada:FAKE-PASSWORD@proxy", " proxy = \"the value of https_proxy\""),
            ("SSL_CERT_FILE", "/etc/corp.pem", " ca-file = \"/etc/corp.pem\""),
            ("NO_PROXY", ".corp", " systemctl --user import-environment NO_PROXY"),
            ("XDG_STATE_HOME", "/srv/state", " systemctl --user import-environment XDG_STATE_HOME"),
        ] {
            let found = found(&[(variable, value)], &[("PATH", "/bin")], &NONE);
            let [Finding { level: Level::Warn, what, remedy: was }] = &found[..] else { panic!("{found:?}") };
            assert!(what.contains(variable) && was.lines().any(|line| line == remedy), "{what}: {was}");
            assert!(!format!("{found:?}").contains("FAKE-PASSWORD"));
        }
    }

    #[test]
    fn what_is_equal_empty_or_settled_by_the_config_is_no_difference() {
        let proxy = Network { proxy: Some("http://p".to_owned()), ca_file: None };
        for (shell, manager, network) in [
            (("HTTPS_PROXY", "x"), ("HTTPS_PROXY", "x"), &NONE),
            (("HTTPS_PROXY", ""), ("PATH", "x"), &NONE),
            (("HTTPS_PROXY", "x"), ("PATH", "x"), &proxy),
            (("EDITOR", "vi"), ("EDITOR", "ed"), &NONE),
        ] {
            let found = found(&[shell], &[manager], network);
            assert!(found.len() == 1 && found[0].level == Level::Ok, "{found:?}");
        }
    }

    #[test]
    fn what_only_the_daemon_sees_can_be_taken_back() {
        let found = found(&[], &[("XDG_CONFIG_HOME", "/old")], &NONE);
        assert!(found[0].remedy.contains(" systemctl --user unset-environment XDG_CONFIG_HOME"), "{found:?}");
    }

    #[test]
    fn without_a_manager_it_is_said_that_nothing_was_compared() {
        let findings = findings(&Environment { shell: Variables::new(), manager: None }, None);
        assert!(findings[0].level == Level::Ok && findings[0].what.contains("not compared"));
    }

    fn claude(list: &[(&str, &str)]) -> LoginPlace {
        places(Path::new("/home/ada"), &variables(list)).remove(0)
    }

    fn relocation(listed: Option<Vec<String>>, watched: &str) -> Relocation {
        Relocation {
            place: claude(&[("CLAUDE_CONFIG_DIR", "/srv/claude")]),
            watched: vec![watched.into()],
            config_file: "/home/ada/.config/quotad/config.toml".into(),
            listed,
        }
    }

    #[test]
    fn a_relocated_directory_that_nobody_watches_comes_with_the_lines_that_have_it_watched() {
        for (listed, name) in [(None, "claude"), (Some(vec!["claude".to_owned()]), "claude-2")] {
            let found = relocated(&relocation(listed, "/home/ada/.claude/.credentials.json"));
            let [Finding { level: Level::Warn, what, remedy }] = &found[..] else { panic!("{found:?}") };
            assert!(what.contains("CLAUDE_CONFIG_DIR") && what.contains("nobody watches"), "{what}");
            let lines: String =
                remedy.lines().filter_map(|line| line.strip_prefix(' ')).map(|l| l.to_owned() + "\n").collect();
            let paths = crate::paths::Paths::in_home(Path::new("/home/ada"));
            let loaded = crate::config::parse(&lines, Path::new("config.toml"), &paths).unwrap();
            let crate::config::Accounts::Listed(accounts) = loaded.config.accounts else { panic!("{lines}") };
            let account = accounts.values().next().unwrap();
            assert_eq!(
                (account.name.as_str(), account.credentials.to_string()),
                (name, "/srv/claude/.credentials.json".to_owned())
            );
        }
    }

    #[test]
    fn a_relocated_directory_that_is_watched_is_fine_and_without_a_variable_nothing_is_said() {
        let watched = relocation(None, "/srv/./claude/.credentials.json");
        assert_eq!(relocated(&watched)[0].level, Level::Ok);
        assert_eq!(relocated(&Relocation { place: claude(&[]), ..watched.clone() }), []);
        assert_eq!(relocated(&Relocation { place: claude(&[("CLAUDE_CONFIG_DIR", "")]), ..watched }), []);
        let both = [("CLAUDE_SECURESTORAGE_CONFIG_DIR", "/s"), ("CLAUDE_CONFIG_DIR", "/c")];
        assert_eq!(claude(&both).moved_by, Some("CLAUDE_SECURESTORAGE_CONFIG_DIR"));
    }
}

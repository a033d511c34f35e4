//! What the installing shell knows and a user service does not see: a moved login, the proxy, a CA file.
//!
//! Owns what of it goes into a first config, and what a config that already stands is told to lack. A password goes
//! nowhere: not into the config, not to the terminal.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::{Accounts, Config, SAMPLE};
use crate::model::RefreshMode;
use crate::paths::{LoginPlace, Paths, key_variables, login_places};
use crate::provider;
use crate::transport::{Network, Transport};

/// Reads an environment: the shell's or the service's.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What differs between the two environments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Where the shell's clients keep logins that the service would not find.
    pub(super) moved: Vec<LoginPlace>,
    /// The shell's proxy.
    pub(super) proxy: Option<String>,
    /// Certificates that the shell's programs trust.
    pub(super) ca_file: Option<PathBuf>,
    /// What was found and cannot be used, as sentences.
    pub(super) notes: Vec<String>,
}

impl Findings {
    /// Looks at both environments.
    pub(super) fn gather(paths: &Paths, shell: Environment<'_>, service: Environment<'_>) -> Self {
        let mut found = Self::default();
        let known = login_places(&paths.home, service);
        let is_moved = |place: &LoginPlace| {
            (place.moved_by.is_some() || place.here.exists()) && known.iter().all(|known| known.here != place.here)
        };
        found.moved.extend(login_places(&paths.home, shell).into_iter().filter(is_moved));
        let known = key_variables(service);
        for (provider, name) in key_variables(shell).into_iter().filter(|key| !known.contains(key)) {
            found.notes.push(format!(
                "{name} holds a key of {provider} that a user service does not see: put it into \
                 ~/.config/environment.d/50-{provider}.conf (mode 0600) and log in again"
            ));
        }
        if proxy(shell) != proxy(service) {
            found.take_proxy(proxy(shell));
        }
        if ca_file(shell) != ca_file(service) {
            found.take_ca_file(ca_file(shell));
        }
        found
    }

    fn take_proxy(&mut self, variable: Option<(&'static str, String)>) {
        let Some((name, value)) = variable else { return };
        let url = if value.contains("://") { value } else { format!("http://{value}") };
        let environment = "put it into ~/.config/environment.d/50-proxy.conf (mode 0600) and log in again";
        if url.contains('@') {
            self.notes.push(format!("{name} holds a user name or password, which no config should: {environment}"));
        } else if !url.starts_with("http") || !is_usable(Network { proxy: Some(url.clone()), ca_file: None }) {
            self.notes.push(format!("{name} is no proxy that a config can name ({url}): {environment}"));
        } else {
            self.proxy = Some(url);
        }
    }

    fn take_ca_file(&mut self, variable: Option<(&'static str, PathBuf)>) {
        let Some((name, file)) = variable else { return };
        let file = std::path::absolute(&file).unwrap_or(file);
        if is_usable(Network { proxy: None, ca_file: Some(file.clone()) }) {
            self.ca_file = Some(file);
        } else {
            self.notes.push(format!("{name} names {}, which is no PEM file quotad can read: left out", file.display()));
        }
    }

    /// The commented sample, with what was found in it, and an account where one has to be named.
    pub(super) fn first_config(&self, paths: &Paths, refresh: Option<RefreshMode>) -> String {
        let mut text: String = SAMPLE
            .lines()
            .map(|line| match (&self.proxy, &self.ca_file) {
                (Some(proxy), _) if line.starts_with("#proxy = ") => setting("proxy", proxy),
                (_, Some(file)) if line.starts_with("#ca-file = ") => setting("ca-file", &file.to_string_lossy()),
                _ => format!("{line}\n"),
            })
            .collect();
        let refresh = refresh.filter(|mode| *mode != RefreshMode::Never);
        if self.moved.is_empty() && refresh.is_none() {
            return text;
        }
        text += "\n# Written by `quotad install`. Once one account is listed, only listed ones are watched.\n";
        for place in self.listed(paths, refresh) {
            let name = place.provider;
            text.extend([format!("[accounts.{name}]\n"), setting("provider", name.as_str())]);
            text += &setting("credentials", &place.here.to_string_lossy());
            if refresh == Some(RefreshMode::WhenIdle)
                && provider::of(name).store().vendors_modes.contains(&RefreshMode::WhenIdle)
            {
                text += &setting("refresh", "when-idle");
            }
        }
        text
    }

    /// One place a vendor: where this shell has it moved to, else where a login lies; with a refresh mode also those
    /// that may use it.
    fn listed<'a>(&'a self, paths: &'a Paths, refresh: Option<RefreshMode>) -> Vec<&'a LoginPlace> {
        let modes = |place: &LoginPlace| provider::of(place.provider).store().vendors_modes;
        let wanted = |place: &&LoginPlace| {
            self.moved.contains(place)
                || place.here.exists()
                || refresh.is_some_and(|mode| modes(place).contains(&mode))
        };
        let mut listed: Vec<&LoginPlace> = Vec::new();
        for place in self.moved.iter().chain(&paths.places).filter(wanted) {
            if listed.iter().all(|known| known.provider != place.provider) {
                listed.push(place);
            }
        }
        listed
    }

    /// What a config that already stands lacks, as sentences; it is the user's, so nothing is written into it.
    pub(super) fn missing_from(&self, config: &Config) -> Vec<String> {
        let mut missing = Vec::new();
        let mut lacks = |what: &str, table: &str, line: String| {
            missing.push(format!("the config is yours and lacks this shell's {what}: under {table}, {}", line.trim()));
        };
        if let Some(proxy) = self.proxy.as_ref().filter(|proxy| config.network.proxy.as_ref() != Some(proxy)) {
            lacks("proxy", "[network]", setting("proxy", proxy));
        }
        if let Some(file) = self.ca_file.as_ref().filter(|file| config.network.ca_file.as_ref() != Some(file)) {
            lacks("CA file", "[network]", setting("ca-file", &file.to_string_lossy()));
        }
        let is_listed = |file: &Path| match &config.accounts {
            Accounts::Discovered => false,
            Accounts::Listed(accounts) => accounts.values().any(|account| account.credentials.file() == Some(file)),
        };
        for place in self.moved.iter().filter(|place| !is_listed(&place.here)) {
            lacks("login", "an account of its own", setting("credentials", &place.here.to_string_lossy()));
        }
        missing
    }
}

/// A line of the config.
fn setting(key: &str, value: &str) -> String {
    format!("{key} = {}\n", toml::Value::from(value))
}

/// The variable that names the proxy of an https request, in the order in which they are heeded, and its value.
fn proxy(environment: Environment<'_>) -> Option<(&'static str, String)> {
    let set = |name| Some((name, environment(name)?.into_string().ok().filter(|value| !value.is_empty())?));
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].into_iter().find_map(set)
}

/// The variable that names certificates to trust, OpenSSL's before that of the vendors' CLIs (Node), and the file.
fn ca_file(environment: Environment<'_>) -> Option<(&'static str, PathBuf)> {
    let set = |name| Some((name, PathBuf::from(environment(name).filter(|value| !value.is_empty())?)));
    ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"].into_iter().find_map(set)
}

/// Whether the daemon would start with it.
fn is_usable(network: Network) -> bool {
    Transport::new(network).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    /// A certificate of nobody, made for this test.
    const PEM: &str = include_str!("../../tests/data/ca.pem");

    fn gather(shell: &[(&str, &str)], service: &[(&str, &str)]) -> Findings {
        let look = |variables: &[(&str, &str)], name: &str| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        };
        let home = Path::new("/home/ada");
        let paths = Paths { places: login_places(home, |name| look(shell, name)), ..Paths::in_home(home) };
        Findings::gather(&paths, &|name| look(shell, name), &|name| look(service, name))
    }

    #[test]
    fn only_what_the_service_would_not_see_is_found() {
        let proxy = [("HTTPS_PROXY", "http://proxy:3128")];
        assert_eq!(gather(&[], &[]), Findings::default());
        assert_eq!(gather(&proxy, &proxy), Findings::default());
        assert_eq!(gather(&[("CLAUDE_CONFIG_DIR", "/home/ada/.claude")], &[]), Findings::default());
        assert_eq!(gather(&proxy, &[]).proxy.as_deref(), Some("http://proxy:3128"));
        assert_eq!(gather(&[("all_proxy", "proxy:3128")], &[]).proxy.as_deref(), Some("http://proxy:3128"));
        let moved = gather(&[("CLAUDE_CONFIG_DIR", "/srv/c")], &[]).moved;
        assert_eq!(moved[0].here, Path::new("/srv/c/.credentials.json"));
    }

    #[test]
    fn a_password_is_neither_kept_nor_said() {
        for variable in ["http://ada:FAKE-secret@proxy:3128", "ada:FAKE-secret@proxy:3128", "socks5://a:FAKE-secret@p"]
        {
            let found = gather(&[("https_proxy", variable)], &[]);
            assert_eq!((&found.proxy, found.notes.len()), (&None, 1));
            assert!(!found.notes[0].contains("FAKE-secret"), "{}", found.notes[0]);
        }
    }

    #[test]
    fn what_would_keep_the_daemon_from_starting_is_said_and_left_out() {
        let found = gather(&[("SSL_CERT_FILE", "/no/such.pem"), ("HTTPS_PROXY", "socks5://proxy:1080")], &[]);
        assert_eq!((&found.proxy, &found.ca_file, found.notes.len()), (&None, &None, 2), "{found:?}");
    }

    #[test]
    fn a_first_config_is_the_sample_with_the_findings_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let pem = dir.path().join("ca.pem");
        std::fs::write(&pem, PEM).unwrap();
        let shell = [
            ("NODE_EXTRA_CA_CERTS", pem.to_str().unwrap()),
            ("HTTPS_PROXY", "http://proxy:3128"),
            ("CLAUDE_CONFIG_DIR", "/srv/\"c\""),
        ];
        let found = gather(&shell, &[]);
        let paths = Paths::in_home(Path::new("/home/ada"));
        let config = parse(&found.first_config(&paths, None), Path::new("c.toml"), &paths).unwrap().config;
        assert_eq!(config.network.proxy.as_deref(), Some("http://proxy:3128"));
        assert_eq!(config.network.ca_file, Some(pem));
        let Accounts::Listed(accounts) = &config.accounts else { panic!("discovered") };
        let account = accounts.values().next().unwrap();
        assert_eq!(account.credentials.file(), Some(Path::new("/srv/\"c\"/.credentials.json")));
        assert_eq!(account.refresh, RefreshMode::Never);
        assert!(found.missing_from(&config).is_empty());
        assert_eq!(found.missing_from(&Config::default()).len(), 3);
    }

    #[test]
    fn without_findings_a_first_config_is_the_sample_and_when_idle_names_the_account() {
        let paths = Paths::in_home(Path::new("/home/ada"));
        let found = Findings::default();
        assert_eq!(found.first_config(&paths, Some(RefreshMode::Never)), SAMPLE);
        let text = found.first_config(&paths, Some(RefreshMode::WhenIdle));
        let added = text.strip_prefix(SAMPLE).unwrap();
        assert!(added.contains("credentials = \"/home/ada/.claude/.credentials.json\"\nrefresh = \"when-idle\"\n"));
        assert!(parse(&text, Path::new("c.toml"), &paths).is_ok(), "{text}");
    }
}

//! quotad itself: the real accounts, provider and credential code, on the simulation's host.
//!
//! Its rules are what the default config comes to; only the owner of the file and the refresh mode are set.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quotad::config::{self, Accounts};
use quotad::demo::vendor::{Tokens, credential_file_json};
use quotad::paths::Paths;
use quotad::policy::account::Rules;
use quotad::provider::Reply;
use quotad::provider::exchange::Broken;

use super::Keeper;
use super::host::{self, Host, Saw, Sent, Surroundings};
use super::machine::{Machine, Ms, S};
use super::scenario::Mandate;

/// From a request to its answer.
const LATENCY: Duration = Duration::from_millis(200);

/// A host whose file, network and CLI are the [`Machine`]'s.
pub(crate) struct Quotad {
    host: Host,
    file: PathBuf,
    /// The refresh token that the host's file holds.
    lies: String,
}

impl Quotad {
    pub(crate) fn new(mandate: Mandate, seed: u64) -> Self {
        let rules = rules(mandate);
        let file = PathBuf::from(&*rules.credentials);
        Self { host: Host::new(seed, vec![rules]), file, lies: String::new() }
    }

    /// Brings what others wrote into the file, and the CLI's locks, to the host.
    fn mirror(&mut self, machine: &mut Machine) {
        let tokens = machine.file();
        if tokens.refresh != self.lies {
            self.host.machine.write(&self.file, Some(text(&tokens)));
            self.lies = tokens.refresh;
        }
        if let Some(lying) = self.host.machine.files.get_mut(&self.file) {
            lying.cli_lock_until = machine.cli_lands_at().unwrap_or_default();
        }
    }

    fn drive(&mut self, until: Ms, machine: &mut Machine) {
        let mut around = Around { machine, lies: &mut self.lies };
        if self.host.process().is_none() && self.host.machine.time() == 0 {
            self.host.start(&mut around);
        }
        self.host.run_until(until, &mut around);
        machine.now = until;
    }

    /// Whether it holds the CLI's locks.
    fn is_refreshing(&self) -> bool {
        self.host.machine.files[&self.file].ours
    }
}

impl Keeper for Quotad {
    fn run_until(&mut self, until: Ms, machine: &mut Machine) {
        while machine.now < until {
            self.mirror(machine);
            let next = machine.cli_lands_at().map_or(until, |lands_at| lands_at.min(until));
            self.drive(next, machine);
        }
    }

    fn restart(&mut self, machine: &mut Machine) {
        self.host.kill(S / 10, &mut Around { machine, lies: &mut self.lies });
    }

    fn slept(&mut self, length: Ms) {
        self.host.suspend(length);
    }

    fn finish(&mut self, machine: &mut Machine) {
        while self.is_refreshing() {
            self.run_until(machine.now + S / 10, machine);
        }
    }
}

/// The default config's rules for one account.
fn rules(mandate: Mandate) -> Rules {
    let account = match mandate {
        Mandate::Own => "credentials = \"~/own/.credentials.json\"\nowner = \"quotad\"",
        Mandate::WhenIdle => "credentials = \"~/.claude/.credentials.json\"\nrefresh = \"when-idle\"",
        Mandate::Never => "credentials = \"~/.claude/.credentials.json\"",
    };
    let text = format!("[accounts.storms]\nprovider = \"claude\"\n{account}\n");
    let paths = Paths::in_home(Path::new("/home/u"));
    let config = config::parse(&text, &paths.config_file, &paths).expect("a good config").config;
    let Accounts::Listed(accounts) = &config.accounts else { unreachable!("one is listed") };
    let account = accounts.values().next().expect("one account");
    quotad::supervisor::rules(account, &config, &paths, false)
}

/// The credential file that holds these tokens.
fn text(tokens: &Tokens) -> Vec<u8> {
    credential_file_json(tokens, |_| {}).into_bytes()
}

/// The machine, as the host sees it.
struct Around<'a> {
    machine: &'a mut Machine,
    lies: &'a mut String,
}

impl Surroundings for Around<'_> {
    fn exchange(&mut self, sent: &Sent<'_>, host: &mut host::Machine) -> (Result<Reply, Broken>, Duration) {
        self.machine.now = host.time();
        (self.machine.send(&sent.request), LATENCY)
    }

    fn saw(&mut self, _: usize, saw: Saw<'_>, host: &host::Machine) {
        let Saw::Replaced(_) = saw else { return };
        self.machine.now = host.time();
        let written = host.files.values().find_map(|file| file.bytes.as_deref());
        let refresh = written.and_then(refresh_in).expect("quotad writes a login");
        let tokens = self.machine.vendor.current(&refresh).filter(|tokens| tokens.refresh == refresh);
        if let Some(tokens) = tokens {
            self.machine.replace(tokens);
        }
        *self.lies = refresh;
    }
}

/// The refresh token in a credential file.
fn refresh_in(bytes: &[u8]) -> Option<String> {
    let file: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    file["claudeAiOauth"]["refreshToken"].as_str().map(str::to_owned)
}

//! Where the story is played: a home of its own, five logins, a vendor for each, and the running supervisor.
//!
//! Owns what people and their CLIs do there (log in, rotate a file), and the waiting until the daemon has got
//! somewhere. Waits are for states, with a generous limit in real time: how fast the machine is decides nothing.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::{NamedTempFile, TempDir};
use tokio::sync::{broadcast, watch};

use super::narrator::Narrator;
use super::vendor::{Call, Tokens, Vendor, credential_file_json};
use super::{DemoError, Line, Mood, Report, Tally, hour};
use crate::clock::Clock;
use crate::config;
use crate::model::AccountName;
use crate::paths::Paths;
use crate::policy::status::AccountView;
use crate::policy::time::Stamp;
use crate::state::State;
use crate::supervisor::handle::{Handle, Snapshot, Transition};
use crate::supervisor::{Setup, Supervisor};

/// The longest wait of the story takes five seconds of real time.
const LIMIT: Duration = Duration::from_secs(30);
/// How long an access token lives.
const LEASE: Duration = Duration::from_hours(8);

/// Everyone on the stage: name, config lines, and how much of the 5-hour window is used at first.
const CAST: [(&str, &str, f64); 5] = [
    ("laptop", "interval = \"10m\"", 38.0),
    ("eager", "interval = \"5m\"", 71.0),
    ("desktop", "interval = \"5m\"", 12.0),
    ("night-shift", "interval = \"10m\"\nowner = \"quotad\"", 55.0),
    ("studio", "interval = \"10m\"\nowner = \"quotad\"", 24.0),
];

/// The stage while the supervisor runs beside it.
pub(super) struct Stage<'t> {
    /// Goes with everything in it when the stage does.
    home: TempDir,
    clock: Clock,
    cast: Vec<Player>,
    narrator: Narrator<'t>,
    handle: Handle,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    transitions: broadcast::Receiver<Arc<Transition>>,
}

/// One account, with a vendor of its own, so that one's trouble is nobody else's.
struct Player {
    name: AccountName,
    vendor: Vendor,
    used: f64,
    /// What the last login or rotation by a CLI brought.
    tokens: Option<Tokens>,
}

impl<'t> Stage<'t> {
    /// Sets everything up under a fresh directory. Nobody is logged in yet; nothing runs before the supervisor does.
    pub(super) fn set_up(speed: u32, tell: &'t mut dyn FnMut(Line)) -> Result<(Self, Supervisor), DemoError> {
        let home = tempfile::Builder::new().prefix("quotad-demo-").tempdir().map_err(setup)?;
        let paths = Paths::in_home(home.path());
        let clock = Clock::compressed(speed);
        let mut cast = Vec::new();
        let mut text = String::new();
        for (name, lines, used) in CAST {
            std::fs::create_dir(home.path().join(name)).map_err(setup)?;
            let vendor = Vendor::start(clock.clone()).map_err(setup)?;
            let _ = writeln!(
                text,
                "[accounts.{name}]\nprovider = \"claude\"\ncredentials = \"~/{name}/.credentials.json\"\n\
                 usage-url = \"{}\"\ntoken-url = \"{}\"\n{lines}",
                vendor.usage_url(),
                vendor.token_url()
            );
            cast.push(Player { name: AccountName::parse(name).map_err(setup)?, vendor, used, tokens: None });
        }
        let config_file = home.path().join("config.toml");
        std::fs::write(&config_file, text).map_err(setup)?;
        let loaded = config::load(Some(&config_file), &paths).map_err(setup)?;
        let narrator = Narrator::new(tell, &loaded.config);
        let state = State::open(&paths.state_dir).map_err(setup)?;
        let setup_of_all = Setup {
            loaded,
            config_file: Some(config_file),
            paths,
            state,
            clock: clock.clone(),
            logging: None,
            read_only: false,
        };
        let (supervisor, handle) = Supervisor::start(setup_of_all).map_err(setup)?;
        let (snapshots, transitions) = (handle.watch(), handle.transitions());
        Ok((Self { home, clock, cast, narrator, handle, snapshots, transitions }, supervisor))
    }

    /// Begins a chapter about these accounts; the others go on unheard.
    pub(super) fn chapter(&mut self, title: &str, about: &[&str], prose: &str) {
        self.catch_up();
        self.narrator.follow(about);
        self.narrator.tell(Line::Chapter(title.to_owned()));
        self.remark(prose);
    }

    pub(super) fn remark(&mut self, prose: &str) {
        self.narrator.tell(Line::Remark(prose.to_owned()));
    }

    /// Something that happens now, by no doing of quotad's.
    pub(super) fn happens(&mut self, name: &str, said: &str) {
        let (at, account) = (self.now(), self.player(name).name.clone());
        self.narrator.tell(Line::Event { at, account, said: said.to_owned(), mood: Mood::Plain });
    }

    /// How an account has been for a while.
    pub(super) fn recall(&mut self, view: &AccountView) {
        let since = format!("{} since {}: {}", view.state.as_str(), hour(view.since), view.reason);
        self.happens(view.name.as_str(), &since);
    }

    pub(super) fn now(&self) -> Stamp {
        self.clock.now().stamp
    }

    /// Someone logs in, `left` before the new access token expires.
    pub(super) fn log_in(&mut self, name: &str, left: Duration) -> Result<(), DemoError> {
        let now = self.now();
        let player = self.player_mut(name);
        let used = player.used;
        let tokens = player.vendor.with(|world| {
            let is_new = world.quota(name).is_none();
            let tokens = world.login(name, LEASE, now + left - LEASE);
            if let (true, Some(quota)) = (is_new, world.quota(name)) {
                quota.five_hour.used = used;
                quota.five_hour.resets_at = now + Duration::from_secs(16_000);
            }
            tokens
        });
        self.write(name, tokens)
    }

    /// The vendor's CLI exchanges the refresh token in its file, as it does at its next use.
    pub(super) fn cli_rotates(&mut self, name: &str) -> Result<(), DemoError> {
        let now = self.now();
        let player = self.player(name);
        let refresh = player.tokens.as_ref().map(|tokens| tokens.refresh.clone()).unwrap_or_default();
        let rotated = player.vendor.with(|world| world.cli_rotate(&refresh, now));
        self.write(name, rotated.ok_or_else(|| derailed(format!("the CLI of {name} could not refresh")))?)
    }

    /// Replaces the credential file in one step, as the CLIs do.
    fn write(&mut self, name: &str, tokens: Tokens) -> Result<(), DemoError> {
        let path = self.home.path().join(name).join(".credentials.json");
        let text = credential_file_json(&tokens, |_| {});
        let staged = NamedTempFile::new_in(self.home.path()).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            Ok(file)
        });
        staged.map_err(setup)?.persist(path).map_err(setup)?;
        self.player_mut(name).tokens = Some(tokens);
        Ok(())
    }

    /// The vendor of an account.
    pub(super) fn vendor(&self, name: &str) -> &Vendor {
        &self.player(name).vendor
    }

    /// What its last login or its CLI left in the file.
    pub(super) fn tokens(&self, name: &str) -> Result<Tokens, DemoError> {
        self.player(name).tokens.clone().ok_or_else(|| derailed(format!("{name} never logged in")))
    }

    /// Its vendor's journal of one kind of call.
    pub(super) fn journal(&self, name: &str, kind: impl Fn(&Call) -> bool) -> Vec<Call> {
        self.vendor(name).with(|world| world.calls().iter().filter(|call| kind(call)).cloned().collect())
    }

    /// The account as quotad sees it now.
    pub(super) fn view(&self, name: &str) -> Result<Arc<AccountView>, DemoError> {
        let snapshot = self.handle.snapshot();
        let view = snapshot.accounts.iter().find(|view| view.name.as_str() == name);
        view.cloned().ok_or_else(|| derailed(format!("quotad does not know {name}")))
    }

    /// Tells what happens until the account has got where `reached` says; `aim` is that in words.
    pub(super) async fn until(
        &mut self,
        name: &str,
        aim: &str,
        reached: impl Fn(&AccountView) -> bool,
    ) -> Result<Arc<AccountView>, DemoError> {
        let limit = Instant::now() + LIMIT;
        loop {
            self.snapshots.mark_unchanged();
            self.catch_up();
            let view = self.view(name)?;
            if reached(&view) {
                return Ok(view);
            }
            match tokio::time::timeout_at(limit.into(), self.snapshots.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(DemoError::Interrupted),
                Err(_) => {
                    let (state, reason) = (view.state.as_str(), &view.reason);
                    let waited = LIMIT.as_secs();
                    return Err(derailed(format!("{name} should {aim}, but after {waited} s it is {state}: {reason}")));
                }
            }
        }
    }

    /// Tells what has happened so far.
    fn catch_up(&mut self) {
        let snapshot = self.handle.snapshot();
        self.narrator.see(&snapshot);
        while let Ok(transition) = self.transitions.try_recv() {
            self.narrator.hear(&transition);
        }
    }

    /// How things stand, by quotad and by the vendors.
    pub(super) fn report(&self) -> Report {
        let tallies = self.cast.iter().map(Player::tally).collect();
        Report { snapshot: self.handle.snapshot(), now: self.now(), tallies }
    }

    fn player(&self, name: &str) -> &Player {
        let found = self.cast.iter().find(|player| player.name.as_str() == name);
        found.unwrap_or_else(|| unreachable!("{name} is in the cast"))
    }

    fn player_mut(&mut self, name: &str) -> &mut Player {
        let found = self.cast.iter_mut().find(|player| player.name.as_str() == name);
        found.unwrap_or_else(|| unreachable!("{name} is in the cast"))
    }
}

impl Player {
    fn tally(&self) -> Tally {
        self.vendor.with(|world| {
            let answered = |statuses: &[u16]| {
                world.usage_requests().filter(|call| call.status.is_some_and(|s| statuses.contains(&s))).count()
            };
            Tally {
                account: self.name.clone(),
                requests: world.usage_requests().count(),
                limited: answered(&[429]),
                rejected: answered(&[401, 403]),
                posts: world.token_posts().count(),
                replays: world.replays().count(),
            }
        })
    }
}

pub(super) fn setup(error: impl Into<Box<dyn Error + Send + Sync>>) -> DemoError {
    DemoError::Setup(error.into())
}

pub(super) fn derailed(said: impl Into<String>) -> DemoError {
    DemoError::Derailed(said.into())
}

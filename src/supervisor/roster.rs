//! Which accounts there are: from the config, or from the credential files that lie in the known places.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::alert::alert_rules;
use super::pool::pool_rules;
use super::reach::{Reach, log_in, reach};
use super::{Supervisor, Wake};
use crate::config::{self, Accounts, Config, SourceKind};
use crate::credential::file::CredentialFile;
use crate::credential::owner::{self, OwnerHandle, Reporter};
use crate::credential::watch::Subject;
use crate::model::{AccountName, ProviderId, RefreshMode, Whereabouts};
use crate::paths::{Paths, logins_in};
use crate::policy::account::{Account, Input, Rules, Sources};
use crate::policy::auth::AuthRules;
use crate::policy::forecast::Forecast;
use crate::policy::gate::GateRules;
use crate::policy::refresh::RefreshRules;
use crate::policy::status::AccountView;
use crate::policy::time::Moment;
use crate::provider::{self, is_loopback, origin};
use crate::service;
use crate::source::{LocalFiles, Reader};
use crate::transport::{Network, Transport};

/// Without any event a login that appears is noticed within this.
const DISCOVERY: Duration = Duration::from_mins(10);

/// From the poll of one account to that of the next: a thousand fill a minute.
const TURN: Duration = Duration::from_millis(60);

/// One account and what belongs to it. Boxed in the map, whose nodes have room for eleven.
pub(super) struct Held {
    pub(super) account: Account,
    pub(super) owner: OwnerHandle,
    /// The reader of its local files, where there are any.
    pub(super) local: Option<Reader>,
    pub(super) config: Arc<config::Account>,
    /// The variable by which a client is given its token, where nothing else leads there; or why none can use it.
    pub(super) by_token: Result<Option<&'static str>, &'static str>,
    /// The way of what is done for it, to it and to no other of its name before or after it.
    pub(super) reporter: Reporter,
    pub(super) view: Arc<AccountView>,
    /// What is expected of its windows.
    pub(super) forecasts: Arc<[(String, Forecast)]>,
    /// As of when.
    pub(super) foreseen_at: Option<Moment>,
    /// Its view and its deadline are out of date.
    pub(super) touched: bool,
    /// Its view has not been looked at for alerts.
    pub(super) unheeded: bool,
}

impl Supervisor {
    /// Makes the accounts what the config says they are. Also called whenever a login may have appeared.
    pub(super) fn enrol(&mut self) {
        let wanted = self.wanted();
        let gone: Vec<_> = self.accounts.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            self.dismiss(&name);
        }
        for (name, config) in wanted {
            match self.accounts.get(&name) {
                Some(held)
                    if held.config == config && held.account.rules() == &self.rules(&config, held.reporter.born) => {}
                Some(held) if is_same_login(&held.config, &config) => {
                    let rules = Box::new(self.rules(&config, held.reporter.born));
                    if let Some(held) = self.accounts.get_mut(&name) {
                        held.config = config;
                    }
                    self.feed(&name, Input::Configured(rules));
                }
                _ => self.take_on(name, config),
            }
        }
        if matches!(self.config.accounts, Accounts::Discovered) {
            let places = self.paths.places.iter().map(|place| place.here.clone()).collect();
            self.watch.watch(Subject::Discovery, places);
            if self.accounts.is_empty() {
                let at = self.clock.now().moment + DISCOVERY;
                self.schedule.set(&Wake::Discovery, Some(at), DISCOVERY / 2);
            }
        } else {
            self.watch.forget(&Subject::Discovery);
        }
    }

    fn wanted(&self) -> BTreeMap<AccountName, Arc<config::Account>> {
        match &self.config.accounts {
            Accounts::Listed(accounts) => accounts.clone(),
            Accounts::Discovered => {
                let account = |(name, provider, at): (AccountName, _, _)| {
                    (name.clone(), Arc::new(config::Account::discovered(name, provider, at, &self.config.poll)))
                };
                self.discovered().into_iter().map(account).collect()
            }
        }
    }

    /// The logins in the known places; a key in a variable only for a vendor that has none there.
    fn discovered(&self) -> Vec<(AccountName, ProviderId, Whereabouts)> {
        // An account that is known stays until its file has been missed twice: see `retire`.
        let is_known = |path: &Path| {
            let of = |held: &Held| held.config.credentials.file() == Some(path) && !held.account.is_absent();
            self.accounts.values().any(|held| of(held))
        };
        let is_there = |path: &Path| path.symlink_metadata().is_ok() || is_known(path);
        let mut logins: Vec<_> = logins_in(&self.paths.places, is_there)
            .into_iter()
            .map(|(name, place)| (name, place.provider, Whereabouts::File(place.here.as_path().into())))
            .collect();
        for (provider, variable) in &self.paths.variables {
            if logins.iter().all(|(_, other, _)| other != provider) {
                logins.push((provider.to_string(), *provider, Whereabouts::Variable(variable.clone())));
            }
        }
        let named = |(name, provider, at): (String, _, _)| Some((AccountName::parse(&name).ok()?, provider, at));
        logins.into_iter().filter_map(named).collect()
    }

    fn take_on(&mut self, name: AccountName, config: Arc<config::Account>) {
        self.dismiss(&name);
        let now = self.clock.now();
        self.births += 1;
        let born = self.births;
        let rules = self.rules(&config, born);
        let stored = self.state.file(&Account::file_key_of(&rules));
        let account = Account::new(rules, self.boot.clone(), stored.as_ref(), self.state.marks(), self.cautious, now);
        let reporter = Reporter { account: name.clone(), born, reports: self.report.clone() };
        let setup = owner::Setup {
            reporter: reporter.clone(),
            provider: config.provider,
            owner: config.owner,
            endpoints: config.endpoints.clone(),
            deadline: self.config.refresh.request_deadline,
            state_dir: self.state.dir().to_owned(),
        };
        let home = Some(self.paths.home.as_path());
        let file = CredentialFile::new(config.credentials.clone(), config.provider, config.owner, home);
        let path = config.credentials.file();
        let beside =
            path.zip(provider::of(config.provider).store().account_file).map(|(path, name)| path.with_file_name(name));
        let watched = path.map(Path::to_owned).into_iter().chain(beside).collect();
        self.watch.watch(Subject::Account(name.clone()), watched);
        let owner = OwnerHandle::new(setup, file, self.key.clone(), self.transport.clone(), self.clock.clone());
        let local = LocalFiles::of(config.provider, &config.credentials, &self.paths.home).map(Reader::new);
        let by_token = self.reach(&config).map(|reach| reach.token);
        let view = Arc::new(account.view(now));
        tracing::debug!(account = %name, provider = %config.provider, "watching {}", config.credentials);
        let held = Held {
            account,
            owner,
            local,
            config,
            by_token,
            reporter,
            view,
            forecasts: Arc::default(),
            foreseen_at: None,
            touched: true,
            unheeded: false,
        };
        self.accounts.insert(name, Box::new(held));
    }

    fn dismiss(&mut self, name: &AccountName) {
        if self.accounts.remove(name).is_some() {
            self.watch.forget(&Subject::Account(name.clone()));
            self.watch.forget(&Subject::Local(name.clone()));
            self.schedule.set(&Wake::Account(name.clone()), None, Duration::ZERO);
        }
    }

    /// Watches the directories of an account's local files, as far as they have moved on since the last time.
    pub(super) fn watch_local(&mut self, name: &AccountName) {
        let held = self.accounts.get_mut(name).filter(|held| held.account.rules().sources.has_local());
        let dirs = held.and_then(|held| held.local.as_mut()).and_then(Reader::new_dirs);
        if let Some(dirs) = dirs.filter(|dirs| !self.read_only && !dirs.is_empty()) {
            self.watch.watch(Subject::Local(name.clone()), dirs);
            // What came while the watch was set is found by another look.
            self.feed(name, Input::Heard);
        }
    }

    /// A discovered account goes with its file.
    pub(super) fn retire(&mut self, name: &AccountName) {
        let is_absent = self.accounts.get(name).is_some_and(|held| held.account.is_absent());
        if is_absent && matches!(self.config.accounts, Accounts::Discovered) {
            self.enrol();
        }
    }

    /// Watches the config file for changes, in its directory.
    pub(super) fn watch_config(&mut self) {
        let file = self.config_file.clone().unwrap_or_else(|| self.paths.config_file.clone());
        if !self.read_only {
            self.watch.watch(Subject::Config, vec![file]);
        }
    }

    /// Reads the config again: applied whole, or refused whole.
    pub(super) fn reload(&mut self) {
        if !self.is_quiet() {
            // A rotation ends under the rules it began with.
            let at = self.clock.now().moment + Duration::from_secs(1) * self.clock.speed();
            self.schedule.set(&Wake::Config, Some(at), Duration::ZERO);
            return;
        }
        service::reloading();
        let refused = self.apply_file().err();
        let before = std::mem::replace(&mut self.refused, refused);
        match &self.refused {
            // The watch and a reload signal bring the same edit: one warning is enough.
            Some(complaint) if before.as_ref() == Some(complaint) => {
                tracing::info!(event = "reload-refused", "the config is still refused: {complaint}");
            }
            Some(complaint) => tracing::warn!(
                event = "reload-refused",
                reason = complaint.lines().next(),
                "the new config is refused and the old one stays in force: {complaint}"
            ),
            None => {}
        }
        // Who waits for the reload finds its outcome in the status line.
        self.publish(self.clock.now());
        service::ready();
    }

    /// Puts the config file in force, or says why not.
    fn apply_file(&mut self) -> Result<(), String> {
        let loaded = config::load(self.config_file.as_deref(), &self.paths).map_err(|refused| refused.to_string())?;
        if loaded.config == self.config {
            self.apply_again();
            return Ok(());
        }
        let transport = Transport::new(network(&loaded.config)).map_err(|error| error.to_string())?;
        self.apply(loaded.config, transport);
        Ok(())
    }

    fn apply(&mut self, config: Config, transport: Transport) {
        let before = std::mem::replace(&mut self.config, config);
        if let Some(logging) = &self.logging {
            logging.set_level(self.config.log.level);
        }
        self.pool.configured(pool_rules(&self.config));
        self.alerting.policy.configured(alert_rules(&self.config));
        self.http.send_if_modified(|known| {
            let is_new = *known != self.config.http;
            known.clone_from(&self.config.http);
            is_new
        });
        for held in self.accounts.values_mut() {
            held.by_token = reach(&held.config, &self.paths, self.config.pool.hand_out_tokens).map(|reach| reach.token);
        }
        let deadline_changed = before.refresh.request_deadline != self.config.refresh.request_deadline;
        if before.network != self.config.network || deadline_changed {
            self.transport = Arc::new(transport);
            let names: Vec<_> = self.accounts.keys().cloned().collect();
            for name in names {
                self.dismiss(&name);
            }
        }
        self.enrol();
        tracing::info!(event = "reloaded", accounts = self.accounts.len(), "the config was reloaded");
    }

    /// The same config: what was switched off until a reload is tried again.
    fn apply_again(&mut self) {
        let accounts: Vec<_> = self
            .accounts
            .iter()
            .map(|(name, held)| (name.clone(), self.rules(&held.config, held.reporter.born)))
            .collect();
        for (name, rules) in accounts {
            self.feed(&name, Input::Configured(Box::new(rules)));
        }
        tracing::debug!("the config is unchanged");
    }

    /// How a client is made to use an account's login, or why none can be.
    pub(super) fn reach(&self, account: &config::Account) -> Result<Reach, &'static str> {
        reach(account, &self.paths, self.config.pool.hand_out_tokens)
    }

    fn rules(&self, account: &config::Account, born: u64) -> Rules {
        // After its first poll each asks in a turn of its own.
        let turns = u32::try_from(born % u64::from(u32::MAX)).unwrap_or_default();
        let spread = Duration::from_nanos_u128((TURN * turns).as_nanos() % account.interval.as_nanos().max(1));
        Rules { spread, ..rules(account, &self.config, &self.paths, self.read_only) }
    }
}

/// Who is asked, in the config's order. Where the vendor's client leaves nothing here, the API alone could answer.
fn sources(account: &config::Account, paths: &Paths) -> Sources {
    let has_local = LocalFiles::of(account.provider, &account.credentials, &paths.home).is_some();
    match account.sources[..] {
        [SourceKind::Local] => Sources::Local,
        [SourceKind::Local, _] if has_local => Sources::LocalFirst,
        [_, SourceKind::Local] if has_local => Sources::ApiFirst,
        _ => Sources::Api,
    }
}

/// What a config says for one of its accounts. With `read_only` nothing but quotad's own directories is written.
pub fn rules(account: &config::Account, config: &Config, paths: &Paths, read_only: bool) -> Rules {
    let provider = provider::of(account.provider);
    let jitter = config.poll.jitter;
    let loopback = is_loopback(&account.endpoints.usage_url);
    Rules {
        name: account.name.clone(),
        provider: account.provider,
        credentials: account.credentials.to_string().into(),
        origin: origin(&account.endpoints.usage_url).to_owned(),
        interval: account.interval,
        floor: if loopback { Duration::ZERO } else { provider.floor() },
        jitter,
        spread: Duration::ZERO,
        retries: config.poll.retries,
        retry_base: config.poll.retry_base,
        retry_max: config.poll.retry_max,
        overloaded_fallback: config.poll.overloaded_fallback,
        sources: sources(account, paths),
        usage_scope: provider.usage_scope(),
        foretells: !read_only,
        login_command: log_in(account, paths).unwrap_or_else(str::to_owned),
        gates: GateRules {
            ladder: config.rate_limit_pause.ladder.clone(),
            max_retry_after: config.rate_limit_pause.max_retry_after,
            jitter,
        },
        auth: AuthRules { after: config.auth_pause.after, ladder: config.auth_pause.ladder.clone(), jitter },
        refresh: RefreshRules {
            mode: if read_only { RefreshMode::Never } else { account.refresh },
            owner: account.owner,
            read_only: read_only || matches!(config.accounts, Accounts::Discovered),
            retries: config.refresh.retries,
            retry_base: config.refresh.retry_base,
            before_expiry: config.refresh.before_expiry,
            idle_grace: config.refresh.idle_grace,
        },
    }
}

/// Whether an account can go on as it is under a changed config.
fn is_same_login(one: &config::Account, other: &config::Account) -> bool {
    one.provider == other.provider
        && one.credentials == other.credentials
        && one.owner == other.owner
        && one.endpoints == other.endpoints
}

/// How the config wants the network reached.
pub fn network(config: &Config) -> Network {
    Network { proxy: config.network.proxy.clone(), ca_file: config.network.ca_file.clone() }
}

//! The one loop: select, turn what happened into an [`Input`], let the policy decide, perform its actions.
//!
//! Owns every account's state machine, the schedule with its single timer, the state, and the snapshot that everyone
//! else reads. Never decides when to ask, wait or refresh, and never waits for anything but the next event: requests,
//! and file work that may take a while, run beside it and report back. `crowd` holds back who is one of many, `roster` turns the config into accounts, `perform` does what the
//! policy says, `pool` answers clients, `reach` knows how one is led to a login, `tell` finds the log lines, `history` keeps
//! the past, `alert` hands on what is worth an alert, `handle` is what others see.

pub mod alert;
mod crowd;
pub mod handle;
pub mod history;
mod perform;
pub mod pool;
pub mod reach;
mod roster;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};

use self::alert::Alerting;
use self::handle::{Ask, Handle, Snapshot, Traffic};
pub use self::reach::log_in;
use self::roster::Held;
pub use self::roster::{network, rules};
use crate::clock::{self, Chance, Clock, Timer};
use crate::config::{Config, Http, Loaded};
use crate::credential::owner::Report;
use crate::credential::secret::FingerprintKey;
use crate::credential::watch::{Subject, Watch};
use crate::logging::Logging;
use crate::model::AccountName;
use crate::paths::Paths;
use crate::policy::account::{Backlog, Command, Input};
use crate::policy::pool::Pool;
use crate::policy::schedule::Schedule;
use crate::policy::time::{BootId, Moment, Now, Stamp};
use crate::service::{self, Signal, Signals};
use crate::state::{State, StoreError};
use crate::transport::{NetworkError, Transport};

/// How long a changed config file must lie still before it is read.
const CONFIG_DEBOUNCE: Duration = Duration::from_millis(250);
/// How long a stop waits for a refresh in flight, beyond the deadline of its request: the file work takes time too.
const STOP_MARGIN: Duration = Duration::from_secs(15);
/// Questions that wait for the loop at most; more wait in their connections.
const QUEUE: usize = 16;
/// How often, at most, the watches are followed anew; it rides along with other wake-ups.
const REARM: Duration = Duration::from_mins(10);
/// A machine that slept longer than this has to find its network again.
const SLEPT: Duration = Duration::from_secs(2);

/// What a supervisor starts from.
#[derive(Debug)]
pub struct Setup {
    /// The checked config.
    pub loaded: Loaded,
    /// Where the config was asked to be read from; `None` for the user's own.
    pub config_file: Option<PathBuf>,
    /// Where everything lies.
    pub paths: Paths,
    /// The open state.
    pub state: State,
    /// The clocks.
    pub clock: Clock,
    /// To follow the configured level; `None` where somebody else logs.
    pub logging: Option<Logging>,
    /// No token endpoint is asked and no file but quotad's own is written, whatever the config says (`once`).
    pub read_only: bool,
}

/// Why a supervisor could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The network settings cannot be used.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The fingerprint key can be neither read nor stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kernel gives no timer.
    #[error("could not make a timer: {0}")]
    Timer(std::io::Error),
}

/// What the schedule wakes the loop for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    Account(AccountName),
    Config,
    Discovery,
    Watchdog,
    StopLimit,
    Storage,
    Alerts,
    Prune,
}

/// The daemon, from start to stop.
pub struct Supervisor {
    config: Config,
    config_file: Option<PathBuf>,
    paths: Paths,
    state: State,
    backlog: Backlog,
    pool: Pool,
    alerting: Alerting,
    clock: Clock,
    logging: Option<Logging>,
    read_only: bool,
    boot: BootId,
    key: FingerprintKey,
    dice: Chance,
    /// Nothing stored could be read at the start.
    cautious: bool,
    transport: Arc<Transport>,
    accounts: BTreeMap<AccountName, Box<Held>>,
    schedule: Schedule<Wake>,
    timer: Timer,
    watch: Watch,
    suspended: Duration,
    /// The watch is armed anew now and then: what inotify cannot see shows only when paths are followed again.
    rearm_at: Moment,
    watchdog: Option<Duration>,
    stopping: bool,
    started_at: Stamp,
    /// Something the user should know about the daemon itself.
    notice: Option<String>,
    /// Why the config file as it is now is not in force.
    refused: Option<String>,
    /// What systemd was last told.
    status_line: String,
    traffic: Arc<Traffic>,
    reports: mpsc::UnboundedReceiver<Report>,
    report: mpsc::UnboundedSender<Report>,
    /// Accounts taken on so far.
    births: u64,
    asks: mpsc::Receiver<Ask>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    http: watch::Sender<Http>,
    transitions: broadcast::Sender<Arc<handle::Transition>>,
}

/// Something the loop woke for.
enum Event {
    Report(Box<Report>),
    Ask(Ask),
    Changed(BTreeSet<Subject>),
    Timer,
    Signal(Signal),
}

impl Supervisor {
    /// Sets up every account; nothing is asked before [`Self::run`]. Needs a running runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(setup: Setup) -> Result<(Self, Handle), StartError> {
        let Setup { loaded, config_file, paths, state, clock, logging, read_only } = setup;
        let (report, reports) = mpsc::unbounded_channel();
        let (ask, asks) = mpsc::channel(QUEUE);
        let (transitions, _) = broadcast::channel(256);
        let now = clock.now();
        let notice = state.set_aside().map(|kept| {
            format!(
                "the state could not be read and was set aside as {}; every gate starts on its first rung",
                kept.display()
            )
        });
        let (snapshots, snapshot) = watch::channel(Arc::new(Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started_at: now.stamp,
            notice: notice.clone(),
            accounts: Vec::new(),
            unwatched: BTreeSet::new(),
            traffic: Arc::default(),
        }));
        let boot = clock::boot_id();
        let alerting = Alerting::new(&loaded.config, &boot, state.alerts(), now);
        let (http, settings) = watch::channel(loaded.config.http.clone());
        let handle = Handle {
            snapshots: snapshot,
            transitions: transitions.clone(),
            notices: alerting.out.clone(),
            asks: ask,
            http: settings,
            clock: clock.clone(),
        };
        let rules = pool::pool_rules(&loaded.config);
        let mut supervisor = Self {
            alerting,
            pool: Pool::new(rules, boot.clone(), state.standings(), state.last_used(), now),
            transport: Arc::new(Transport::new(network(&loaded.config))?),
            key: FingerprintKey::new(&state.fingerprint_key()?),
            timer: Timer::new(clock.clone()).map_err(StartError::Timer)?,
            cautious: state.set_aside().is_some(),
            config: loaded.config,
            config_file,
            paths,
            state,
            backlog: Backlog::default(),
            clock,
            logging,
            read_only,
            boot,
            dice: Chance,
            accounts: BTreeMap::new(),
            schedule: Schedule::new(),
            watch: Watch::new(),
            suspended: clock::suspended(),
            rearm_at: now.moment + REARM,
            watchdog: service::watchdog_wants(),
            stopping: false,
            started_at: now.stamp,
            notice,
            refused: None,
            status_line: String::new(),
            traffic: Arc::default(),
            reports,
            report,
            births: 0,
            asks,
            snapshots,
            http,
            transitions,
        };
        if let Some(notice) = &supervisor.notice {
            tracing::warn!(event = "state-set-aside", "{notice}");
        }
        for note in loaded.notes {
            tracing::info!(event = "config-note", "{note}");
        }
        supervisor.watch_config();
        supervisor.plan_pruning();
        supervisor.enrol();
        // From here on what is stored is known again.
        supervisor.cautious = false;
        supervisor.publish(supervisor.clock.now());
        Ok((supervisor, handle))
    }

    /// Runs until a stop signal, or until `stop` resolves; then finishes the refreshes in flight.
    pub async fn run(mut self, mut signals: Option<Signals>, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        self.feed_watchdog(self.clock.now());
        while !(self.stopping && self.is_quiet()) {
            self.timer.set(self.schedule.next_wake());
            let event = tokio::select! {
                biased;
                signal = next_signal(&mut signals) => Event::Signal(signal),
                () = &mut stop, if !self.stopping => Event::Signal(Signal::Stop),
                Some(report) = self.reports.recv() => Event::Report(Box::new(report)),
                Some(ask) = self.asks.recv() => Event::Ask(ask),
                () = self.timer.elapsed() => Event::Timer,
                subjects = self.watch.changed() => Event::Changed(subjects),
            };
            self.take(event);
        }
        self.store_alerts(false);
    }

    /// Runs until every account has had its one poll, or cannot have one now.
    pub async fn run_once(mut self) {
        let mut polled = BTreeSet::new();
        loop {
            let now = self.clock.now();
            // As soon as an account knows its gates it is asked for what `poll` asks.
            let started: Vec<_> = self.accounts.iter().filter(|(_, held)| held.account.is_started()).collect();
            let fresh: Vec<_> = started.into_iter().map(|(name, _)| name.clone()).collect();
            for name in fresh {
                if polled.insert(name.clone()) {
                    self.command(&name, Command::Poll);
                }
            }
            let done = |held: &Held| held.account.is_started() && !held.account.is_due_soon(now);
            if self.accounts.values().all(|held| done(held)) && polled.len() == self.accounts.len() {
                return;
            }
            self.timer.set(self.schedule.next_wake());
            let event = tokio::select! {
                Some(report) = self.reports.recv() => Event::Report(Box::new(report)),
                () = self.timer.elapsed() => Event::Timer,
            };
            self.take(event);
        }
    }

    fn take(&mut self, event: Event) {
        self.notice_sleep();
        match event {
            Event::Report(report) => {
                let Report { account, born, input } = *report;
                if self.accounts.get(&account).is_some_and(|held| held.reporter.born == born) {
                    self.feed(&account, input);
                    self.watch_local(&account);
                }
            }
            Event::Ask(ask) => self.serve_all(ask),
            Event::Changed(subjects) => subjects.into_iter().for_each(|subject| self.on_changed(subject)),
            Event::Timer => {}
            Event::Signal(Signal::Stop) => self.on_stop(),
            Event::Signal(Signal::Reload) => self.reload(),
            Event::Signal(Signal::Poll) => self.poll_all(),
        }
        let now = self.clock.now();
        if now.moment >= self.rearm_at {
            self.watch.rearm();
            self.rearm_at = now.moment + REARM;
        }
        for wake in self.schedule.take_due(now.moment) {
            self.on_wake(wake);
        }
        self.note_recovery();
        // While nothing can be stored, only what is asked for and the timer try.
        if !self.schedule.is_set(&Wake::Storage) {
            self.store_pool();
        }
        self.publish(now);
        self.alert(now);
    }

    fn on_wake(&mut self, wake: Wake) {
        match wake {
            Wake::Account(account) => self.wake(&account),
            Wake::Config => self.reload(),
            Wake::Discovery => self.enrol(),
            Wake::Watchdog => self.feed_watchdog(self.clock.now()),
            Wake::Storage => self.catch_up(),
            Wake::Alerts => self.look_everywhere(),
            Wake::Prune => self.prune(),
            Wake::StopLimit => {
                tracing::error!(event = "stopped", "a refresh did not end in time; its fence stays open");
                self.accounts.clear();
            }
        }
    }

    fn on_changed(&mut self, subject: Subject) {
        let still = Some(self.clock.now().moment + CONFIG_DEBOUNCE);
        match subject {
            Subject::Account(account) => self.feed(&account, Input::Touched),
            Subject::Local(account) => self.feed(&account, Input::Heard),
            Subject::Config => self.schedule.set(&Wake::Config, still, Duration::ZERO),
            Subject::Discovery => self.schedule.set(&Wake::Discovery, still, Duration::ZERO),
        }
    }

    fn on_stop(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        service::stopping();
        let wait = self.config.refresh.request_deadline + STOP_MARGIN;
        let limit = self.clock.now().moment + wait * self.clock.speed();
        self.schedule.set(&Wake::StopLimit, Some(limit), Duration::ZERO);
    }

    /// Whether nothing runs that must not be cut off.
    fn is_quiet(&self) -> bool {
        self.accounts.values().all(|held| !held.account.is_rotating())
    }

    /// A resume shows as a jump of the boot clock against the monotonic one, which stands still in suspend.
    fn notice_sleep(&mut self) {
        let suspended = clock::suspended();
        if suspended > self.suspended + SLEPT {
            for account in self.accounts.keys().cloned().collect::<Vec<_>>() {
                self.feed(&account, Input::Woke);
            }
        }
        self.suspended = suspended;
    }

    /// Tells systemd that the loop goes round, and draws the next time: it may come with any other wake-up of the
    /// second and third quarter of the period. So it rides on a poll whose interval, jitter and all, is half of it.
    fn feed_watchdog(&mut self, now: Now) {
        if let Some(period) = self.watchdog {
            service::watchdog();
            let quarter = period / 4 * self.clock.speed();
            self.schedule.set(&Wake::Watchdog, Some(now.moment + quarter), quarter * 2);
        }
    }
}

async fn next_signal(signals: &mut Option<Signals>) -> Signal {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

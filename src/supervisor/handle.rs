//! What everyone outside the loop sees of it: a snapshot, a stream of transitions, and a way to ask.
//!
//! Owns no state of its own. Readers never wait for the loop: a [`Snapshot`] is published after every change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::alert::Notice;
use super::history::Past;
use super::pool::{NotSelected, PoolView, Reported, Reporting, Selected, Selecting};
use super::{Supervisor, Wake, tell};
use crate::clock::Clock;
use crate::config::Http;
use crate::model::{AccountName, Endpoint, LocalReading};
use crate::policy::account::{Answer, Command};
use crate::policy::status::{AccountState, AccountView};
use crate::policy::time::{Now, Stamp};
use crate::service;

/// The whole daemon, at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// quotad's version.
    pub version: &'static str,
    /// The daemon's process id.
    pub pid: u32,
    /// When it started.
    pub started_at: Stamp,
    /// Something the user should know about the daemon itself (cautious state, state that cannot be stored), or `None`.
    pub notice: Option<String>,
    /// Every account, by name.
    pub accounts: Vec<Arc<AccountView>>,
    /// Accounts whose file watch does not work: changes are seen at the next poll only.
    pub unwatched: BTreeSet<AccountName>,
    /// What was sent since the start.
    pub traffic: Arc<Traffic>,
}

/// Upper bounds, in seconds, of the buckets of [`Timing`].
pub const TIMING_BOUNDS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 90.0];

/// How long exchanges with one endpoint took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Timing {
    /// Exchanges per bucket of [`TIMING_BOUNDS`] (not cumulative); the last entry holds what was longer.
    pub buckets: [u64; TIMING_BOUNDS.len() + 1],
    /// Their total.
    pub sum_seconds: f64,
}

impl Timing {
    /// Counts one exchange.
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = TIMING_BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(TIMING_BOUNDS.len());
        self.buckets[bucket] += 1;
        self.sum_seconds += seconds;
    }
}

/// Requests since the start, by what they came to.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// By account, endpoint and outcome word (`ok`, `limited`, `rejected`, …).
    pub requests: BTreeMap<(AccountName, Endpoint, &'static str), u64>,
    /// Refreshes by account and outcome word.
    pub refreshes: BTreeMap<(AccountName, &'static str), u64>,
    /// By endpoint.
    pub timings: BTreeMap<Endpoint, Timing>,
}

/// One change of an account's state.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// When.
    pub at: Stamp,
    /// Whose.
    pub account: AccountName,
    /// From which state.
    pub from: AccountState,
    /// To which.
    pub to: AccountState,
    /// Why.
    pub reason: String,
    /// When it changes by itself.
    pub until: Option<Stamp>,
    /// What a person must do.
    pub action: String,
}

impl Supervisor {
    /// Renews the view and the deadline of every account that something happened to.
    pub(super) fn look_again(&mut self, now: Now) {
        for (name, held) in &mut self.accounts {
            if std::mem::take(&mut held.touched) {
                held.view = Arc::new(AccountView { forecasts: held.forecasts.clone(), ..held.account.view(now) });
                held.unheeded = true;
                let wake = Wake::Account(name.clone());
                self.schedule.set(&wake, held.account.next_wake(now), held.account.slack(now));
            }
        }
    }

    /// Shows everyone what the daemon has come to.
    pub(super) fn publish(&mut self, now: Now) {
        self.look_again(now);
        let accounts = self.accounts.values().map(|held| held.view.clone()).collect();
        let refused = self.refused.as_ref().map(|why| format!("the new config is refused: {why}"));
        let snapshot = Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started_at: self.started_at,
            notice: self.notice.clone().or(refused),
            accounts,
            unwatched: self.watch.unhealthy().cloned().collect(),
            traffic: self.traffic.clone(),
        };
        self.snapshots.send_replace(Arc::new(snapshot));
        let line = if self.stopping {
            "stopping as soon as no refresh is under way".to_owned()
        } else {
            tell::status_line(self.accounts.values().map(|held| &*held.view), self.refused.as_deref())
        };
        if line != self.status_line {
            service::status(&line);
            self.status_line = line;
        }
    }
}

/// Something on its way to the loop.
pub(super) enum Ask {
    Command { account: AccountName, command: Command, answer: oneshot::Sender<Option<Answer>> },
    HandOver(AccountName, LocalReading),
    Select(Selecting, oneshot::Sender<Result<Selected, NotSelected>>),
    Report(Box<Reporting>, oneshot::Sender<Option<Reported>>),
    Pool(AccountName, oneshot::Sender<Option<PoolView>>),
    History(AccountName, Stamp, oneshot::Sender<Option<Past>>),
}

/// A cloneable way to see and to ask the running daemon.
#[derive(Clone)]
pub struct Handle {
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(super) transitions: broadcast::Sender<Arc<Transition>>,
    pub(super) notices: broadcast::Sender<Notice>,
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) http: watch::Receiver<Http>,
    pub(super) clock: Clock,
}

impl Handle {
    /// The daemon as of now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// A receiver that wakes at every change.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Where metrics are to be served besides the Unix socket, as the config says it now.
    pub fn http(&self) -> watch::Receiver<Http> {
        self.http.clone()
    }

    /// Every state change from here on. A reader that lags more than 256 behind is told so and goes on.
    pub fn transitions(&self) -> broadcast::Receiver<Arc<Transition>> {
        self.transitions.subscribe()
    }

    /// Every alert from here on. A reader that lags more than 64 behind is told so and goes on.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Wall time by the daemon's own clock.
    pub fn now(&self) -> Stamp {
        self.clock.now().stamp
    }

    /// Hands a command to an account; `None` when there is no such account or the daemon is stopping.
    pub async fn command(&self, account: AccountName, command: Command) -> Option<Answer> {
        let (answer, reply) = oneshot::channel();
        self.asks.send(Ask::Command { account, command, answer }).await.ok()?;
        reply.await.ok()?
    }

    /// Hands an account what its vendor's client said; whether the loop will hear of it.
    pub async fn hand_over(&self, account: AccountName, said: LocalReading) -> bool {
        self.asks.send(Ask::HandOver(account, said)).await.is_ok()
    }

    /// Chooses an account.
    ///
    /// # Errors
    /// Why there is none to use.
    pub async fn select(&self, asked: Selecting) -> Result<Selected, NotSelected> {
        let (answer, reply) = oneshot::channel();
        self.asks.send(Ask::Select(asked, answer)).await.map_err(|_| NotSelected::Stopping)?;
        reply.await.unwrap_or(Err(NotSelected::Stopping))
    }

    /// Takes in what a client says; `None` when there is no such account or the daemon is stopping.
    pub async fn report(&self, said: Reporting) -> Option<Reported> {
        let (answer, reply) = oneshot::channel();
        self.asks.send(Ask::Report(Box::new(said), answer)).await.ok()?;
        reply.await.ok()?
    }

    /// How an account stands with its clients; `None` when there is no such account or the daemon is stopping.
    pub async fn pool(&self, account: AccountName) -> Option<PoolView> {
        let (answer, reply) = oneshot::channel();
        self.asks.send(Ask::Pool(account, answer)).await.ok()?;
        reply.await.ok()?
    }

    /// What is stored of an account's past since a moment; `None` when there is no such account or the daemon is
    /// stopping.
    pub async fn history(&self, account: AccountName, since: Stamp) -> Option<Past> {
        let (answer, reply) = oneshot::channel();
        self.asks.send(Ask::History(account, since, answer)).await.ok()?;
        reply.await.ok()?
    }
}

#[cfg(test)]
impl Handle {
    /// A handle on no loop at all: it shows `snapshot` for ever, answers every command through `answer`, and passes on
    /// what is sent to the returned sender as transitions. Needs a running runtime.
    pub(crate) fn for_tests(
        snapshot: Snapshot,
        answer: impl Fn(&AccountName, Command) -> Option<Answer> + Send + 'static,
    ) -> (Self, broadcast::Sender<Arc<Transition>>) {
        let (_, snapshots) = watch::channel(Arc::new(snapshot));
        let (_, http) = watch::channel(Http::default());
        let (transitions, _) = broadcast::channel(4);
        let (notices, _) = broadcast::channel(4);
        let (asks, mut asked) = mpsc::channel::<Ask>(1);
        tokio::spawn(async move {
            while let Some(ask) = asked.recv().await {
                if let Ask::Command { account, command, answer: reply } = ask {
                    let _ = reply.send(answer(&account, command));
                }
            }
        });
        (Self { snapshots, transitions: transitions.clone(), notices, asks, http, clock: Clock::real() }, transitions)
    }
}

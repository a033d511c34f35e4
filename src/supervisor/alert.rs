//! The loop's end of alerts: what the accounts are to [`Alerts`], and that what was decided
//! is stored before it is handed on.
//!
//! Hands on to whoever listens (`export`), with the channels and the transport of the moment, and never waits for them.
//! Decides nothing, and knows no channel.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use super::{Supervisor, Wake};
use crate::config::{self, Config};
use crate::policy::alert::{Alert, AlertRecord, AlertRules, Alerts, Kind, Subject};
use crate::policy::time::{BootId, Moment, Now};
use crate::transport::Transport;

/// An alert may ride along with other wake-ups for so long.
const SLACK: Duration = Duration::from_mins(1);

/// Numbers that told nothing are stored once in so long: alone they would be a write at every poll.
const LAG: Duration = Duration::from_mins(30);

/// An alert on its way out, stored.
#[derive(Debug, Clone)]
pub struct Notice {
    /// What it says.
    pub alert: Arc<Alert>,
    /// Where it goes, as configured when it was noticed.
    pub channels: Arc<config::Alerts>,
    /// How it gets there.
    pub transport: Arc<Transport>,
}

/// What was told, what is about to be, and the way out.
pub(super) struct Alerting {
    pub(super) policy: Alerts,
    /// The ends of logins that were foretold since the last look.
    pub(super) foretold: Vec<Alert>,
    pub(super) out: broadcast::Sender<Notice>,
    /// When what is not urgent is stored again.
    store_at: Moment,
}

impl Alerting {
    /// With what was stored.
    pub(super) fn new(config: &Config, boot: &BootId, stored: Vec<(String, AlertRecord)>, now: Now) -> Self {
        let policy = Alerts::new(alert_rules(config), boot.clone(), stored, now);
        Self { policy, foretold: Vec::new(), out: broadcast::channel(64).0, store_at: now.moment }
    }
}

/// What the config says of alerts.
pub(super) fn alert_rules(config: &Config) -> AlertRules {
    AlertRules { thresholds: config.alerts.thresholds.clone(), throttled_for: config.alerts.throttled_for }
}

impl Supervisor {
    /// Looks at every account that has changed, and hands on what is worth an alert. Whoever only looks (`once`) tells
    /// nothing, so that the daemon still can.
    pub(super) fn alert(&mut self, now: Now) {
        let mut alerts = std::mem::take(&mut self.alerting.foretold);
        if self.read_only {
            return;
        }
        for held in self.accounts.values_mut() {
            if held.unheeded && held.account.is_at_rest() {
                held.unheeded = false;
                let subject = Subject {
                    login: held.account.login_key(),
                    unnamed: held.account.unnamed_key(),
                    file: held.account.file_key(),
                    view: &held.view,
                };
                alerts.extend(self.alerting.policy.look(&subject, now));
            }
        }
        self.schedule.set(&Wake::Alerts, self.alerting.policy.next_wake(), SLACK);
        // What cannot be stored is known to this process: better told twice, after a restart, than never.
        let is_due = self.alerting.policy.is_urgent() || now.moment >= self.alerting.store_at;
        // While nothing can be stored, only what is told and the timer try.
        if (is_due && !self.schedule.is_set(&Wake::Storage)) || !alerts.is_empty() {
            self.alerting.store_at = now.moment + LAG;
            self.store_alerts(!alerts.is_empty());
        }
        if alerts.is_empty() {
            return;
        }
        let channels = Arc::new(self.config.alerts.clone());
        for alert in alerts {
            log(&alert);
            let notice =
                Notice { alert: Arc::new(alert), channels: channels.clone(), transport: self.transport.clone() };
            // Nobody need listen.
            let _ = self.alerting.out.send(notice);
        }
    }

    /// Has every account looked at, whether it changed or not.
    pub(super) fn look_everywhere(&mut self) {
        self.alerting.policy.woke(self.clock.now().moment);
        self.accounts.values_mut().for_each(|held| held.unheeded = true);
    }

    /// Stores what was decided. What cannot be is tried again; whether it is stored.
    pub(super) fn store_alerts(&mut self, durable: bool) -> bool {
        if self.alerting.policy.is_stored() {
            return true;
        }
        let unstored = self.alerting.policy.take_unstored(self.clock.now());
        match self.state.store_alerts(&unstored, durable) {
            Ok(()) => true,
            Err(error) => {
                self.alerting.policy.owe(unstored.into_keys());
                self.note_unstored(&error, None);
                false
            }
        }
    }
}

/// Every alert is logged, whatever becomes of it. States and ends of logins have lines of their own at their levels.
fn log(alert: &Alert) {
    let (account, provider, kind) = (alert.account.as_str(), alert.provider.as_str(), alert.kind.as_str());
    let until = alert.until.map(|until| until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    match (&alert.window, alert.kind) {
        (Some(window), Kind::Threshold(threshold)) => tracing::info!(
            event = "threshold-crossed",
            account,
            provider,
            window = window.id,
            threshold,
            used = window.used_percent,
            until,
            "{account}: {:.0}% of the {} window is used",
            window.used_percent,
            window.label
        ),
        (Some(window), _) => tracing::info!(
            event = "alert",
            kind,
            account,
            provider,
            window = window.id,
            used = window.used_percent,
            until,
            "{account}: the {} window has started over",
            window.label
        ),
        (None, _) => {
            tracing::info!(event = "alert", kind, account, provider, until, "{account}: {kind}: {}", alert.reason);
        }
    }
}

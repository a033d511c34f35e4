//! Alerts on their way to people: the desktop, a program, a URL.
//!
//! Owns the channels. Each has a time limit and, in [`queue`], a queue and a breaker of its own, so that none can hold up
//! another or the loop. An alert was stored as told before it comes here, so what gets lost here stays lost: at most
//! once. Never decides what is worth an alert, and never shows a token or more of a URL than its origin.

mod desktop;
mod exec;
mod message;
pub mod queue;
mod webhook;

use std::fmt;
use std::time::Duration;

pub use self::message::document;
use crate::config::Alerts;
use crate::policy::alert::Alert;
use crate::transport::Transport;

/// A way to tell somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// A notice on the desktop.
    Desktop,
    /// A program of the user's.
    Exec,
    /// A URL.
    Webhook,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 3] = [Self::Desktop, Self::Exec, Self::Webhook];

    /// The name used in the config, on the command line and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Exec => "exec",
            Self::Webhook => "webhook",
        }
    }

    /// Whether the config has it.
    pub fn is_configured(self, config: &Alerts) -> bool {
        match self {
            Self::Desktop => config.desktop,
            Self::Exec => config.exec.is_some(),
            Self::Webhook => config.webhook.is_some(),
        }
    }

    /// How long one alert may take.
    pub fn limit(self) -> Duration {
        match self {
            Self::Desktop => Duration::from_secs(5),
            Self::Exec => Duration::from_secs(30),
            Self::Webhook => Duration::from_secs(10),
        }
    }

    /// Where it leads, as far as that may be shown.
    pub fn target(self, config: &Alerts) -> String {
        match self {
            Self::Desktop => "the session's bus".to_owned(),
            Self::Exec => config.exec.as_ref().and_then(|command| command.first()).cloned().unwrap_or_default(),
            Self::Webhook => config.webhook.as_ref().map_or_else(String::new, |webhook| webhook::shown(&webhook.url)),
        }
    }

    /// Delivers one alert; what went well is said as a clause.
    ///
    /// # Errors
    /// [`Undelivered`].
    pub async fn deliver(
        self,
        alert: &Alert,
        config: &Alerts,
        transport: &Transport,
        limit: Duration,
    ) -> Result<String, Undelivered> {
        let not_configured = || Undelivered::certainly("it is not configured any more");
        match self {
            Self::Desktop => desktop::deliver(alert, limit).await,
            Self::Exec => exec::deliver(alert, config.exec.as_deref().ok_or_else(not_configured)?, limit).await,
            Self::Webhook => {
                webhook::deliver(alert, config.webhook.as_ref().ok_or_else(not_configured)?, transport, limit).await
            }
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an alert was not delivered, as far as known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub struct Undelivered {
    /// A clause.
    pub said: String,
    /// It certainly reached nobody, so another try cannot tell it twice.
    pub is_certain: bool,
}

impl Undelivered {
    /// It reached nobody.
    fn certainly(said: impl Into<String>) -> Self {
        Self { said: said.into(), is_certain: true }
    }

    /// It may have reached somebody.
    fn perhaps(said: impl Into<String>) -> Self {
        Self { said: said.into(), is_certain: false }
    }
}

#[cfg(test)]
mod sample {
    use crate::model::{AccountName, ProviderId};
    use crate::policy::alert::{Alert, AlertWindow, Kind};
    use crate::policy::time::Stamp;

    fn at(text: &str) -> Stamp {
        text.parse().unwrap()
    }

    pub(super) fn threshold() -> Alert {
        let resets_at = Some(at("2026-11-25T13:59:59.5Z"));
        let window =
            AlertWindow { id: "five_hour".to_owned(), label: "5-hour".to_owned(), used_percent: 96.4, resets_at };
        Alert { window: Some(window), until: resets_at, ..trouble(Kind::Threshold(95)) }
    }

    pub(super) fn trouble(kind: Kind) -> Alert {
        Alert {
            kind,
            account: AccountName::parse("personal").unwrap(),
            provider: ProviderId::new("claude"),
            at: at("2026-11-25T12:15:00.25Z"),
            window: None,
            reason: "the usage endpoint answered 429".to_owned(),
            until: Some(at("2026-11-25T12:20:00Z")),
            action: "nothing to do".to_owned(),
        }
    }
}

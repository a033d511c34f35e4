//! `[alerts]`: what is worth one, and where it goes. Without a channel alerts are logged, no more.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::raw::Table;
use super::value::{duration, endpoint, flag, path, program, rising_percents, word};

const FORMATS: [(&str, WebhookFormat); 2] = [("json", WebhookFormat::Json), ("ntfy", WebhookFormat::Ntfy)];

/// `[alerts]` and its channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alerts {
    /// Percent used, rising; may be empty.
    pub thresholds: Vec<u8>,
    /// An account that has been throttled for so long is worth an alert.
    pub throttled_for: Duration,
    /// Whether the desktop is told.
    pub desktop: bool,
    /// The program that is told, with its arguments.
    pub exec: Option<Vec<String>>,
    /// The URL that is told.
    pub webhook: Option<Webhook>,
}

/// `[alerts.webhook]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// https, or http on loopback. May itself be a secret: only its origin is ever shown.
    pub url: String,
    /// What is posted.
    pub format: WebhookFormat,
    /// The file that holds the bearer token.
    pub token_file: Option<PathBuf>,
}

/// What a webhook takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// The alert as JSON.
    Json,
    /// ntfy: title, priority and tags as headers, text as body.
    Ntfy,
}

pub(super) fn read(table: &mut Table<'_, '_>, home: &Path) -> Alerts {
    Alerts {
        thresholds: table.line("thresholds = [80, 95]", rising_percents),
        throttled_for: table
            .line(r#"throttled-for = "3h""#, duration("every 429 would be an alert, though it passes by itself")),
        desktop: table.table("desktop", |desktop| desktop.line("enabled = false", flag)),
        exec: table.table("exec", |exec| {
            let nothing = "there would be nothing to run";
            exec.required(r#"command = ["/usr/local/bin/on-alert"]"#, nothing, program)
        }),
        webhook: table.table("webhook", |webhook| {
            let nowhere = "there would be nowhere to post to";
            let url = webhook.required(r#"url = "https://ntfy.example/quotad""#, nowhere, endpoint);
            let format = webhook.optional(r#"format = "json""#, word(&FORMATS)).unwrap_or(WebhookFormat::Json);
            let token_file = webhook.optional(r#"token-file = "~/.config/quotad/webhook.token""#, path(home));
            url.map(|url| Webhook { url, format, token_file })
        }),
    }
}

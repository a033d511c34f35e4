//! Where log lines go: journald with fields and true priorities under systemd, else text on stderr.
//!
//! Owns the filter. Whatever it is set to, crates other than quotad never log below `warn`: their debug output shows
//! request and response headers, and with them tokens.

use tracing::{Level, Metadata};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::{FilterFn, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

/// The environment variable that takes filter syntax (`debug`, `quotad::policy=trace`) and outdoes the config.
pub const FILTER_VARIABLE: &str = "QUOTAD_LOG";

/// Changes the level of the running process.
#[derive(Debug, Clone)]
pub struct Logging(reload::Handle<Targets, Registry>);

impl Logging {
    /// Sets the level, unless the environment has set a filter.
    pub fn set_level(&self, level: Level) {
        let _ = self.0.reload(filter(level));
    }
}

/// Starts logging. Called once, by `run` and `once`; later calls keep the first.
pub fn start(level: Level) -> Logging {
    let (filter, handle) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(filter);
    let started = if let Some(journald) = journald() {
        registry.with(journald.with_filter(FilterFn::new(may_speak))).try_init()
    } else {
        let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false);
        registry.with(text.with_filter(FilterFn::new(may_speak))).try_init()
    };
    if started.is_err() {
        tracing::debug!("logging was already started");
    }
    std::panic::set_hook(Box::new(|panic| {
        // The message may quote a value; the place says enough for a report.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "quotad ran into a bug and aborts; please report this line");
    }));
    Logging(handle)
}

fn filter(level: Level) -> Targets {
    let set = std::env::var(FILTER_VARIABLE).ok().and_then(|set| set.parse().ok());
    set.unwrap_or_else(|| Targets::new().with_default(level))
}

/// Whether this event may be written, whatever the filter says.
fn may_speak(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_ours = target == "quotad" || target.starts_with("quotad::");
    is_ours || *metadata.level() <= Level::WARN
}

/// Whether stderr goes to the journal, and log lines with it.
pub fn is_journal() -> bool {
    let stderr = rustix::fs::fstat(std::io::stderr()).map(|stderr| format!("{}:{}", stderr.st_dev, stderr.st_ino));
    std::env::var("JOURNAL_STREAM").is_ok_and(|stream| stderr == Ok(stream))
}

/// The journal, if that is where stderr goes.
fn journald() -> Option<tracing_journald::Layer> {
    if !is_journal() {
        return None;
    }
    let layer = tracing_journald::layer().ok()?;
    Some(
        layer
            .with_field_prefix(Some("QUOTAD".to_owned()))
            .with_syslog_identifier("quotad".to_owned())
            .with_priority_mappings(PriorityMappings {
                info: Priority::Informational,
                debug: Priority::Debug,
                ..PriorityMappings::new()
            }),
    )
}

//! No passing test logs at ERROR: `error` is for what is broken, so a test during which it was said has not passed.
//!
//! Shared by the unit tests, where every clock that is made calls [`watch`], and by the integration tests, where every
//! house does. The log of a daemon that runs as a process of its own is read when its house is torn down.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// From here on an ERROR on whatever thread ends this process and with it the run.
pub(crate) fn watch() {
    // The first one stays, and so do those of processes that have a subscriber of their own.
    let _ = tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(NoErrors.with_filter(LevelFilter::ERROR)),
    );
}

/// Aborts at the first ERROR. A panic would not do: the runtime swallows one in a task, and a thread nobody joins takes
/// it to its grave.
pub(crate) struct NoErrors;

impl<S: Subscriber> Layer<S> for NoErrors {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() != tracing::Level::ERROR {
            return;
        }
        let mut said = Said(String::new());
        event.record(&mut said);
        let thread = std::thread::current();
        // Not `eprintln!`: what a test prints is kept back until it ends, and this one never does.
        let _ = writeln!(
            std::io::stderr(),
            "\nno passing test logs an error, but `{}` did, in {}:{}",
            thread.name().unwrap_or("a thread without a name"),
            event.metadata().target(),
            said.0
        );
        std::process::abort();
    }
}

struct Said(String);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

/// Proves that `victim`, a test that does nothing unless [`is_victim`], watches for errors: it is run by itself and
/// must be ended by one.
pub(crate) fn assert_ends(victim: &str) {
    let victim = victim.split_once("::").map_or(victim, |(_, path)| path);
    let mut run = std::process::Command::new(std::env::current_exe().unwrap());
    let ended = run.args([victim, "--exact"]).env(VICTIM, "").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("no passing test logs an error") && said.contains("as it must"), "{victim}: {said}");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended.status), Some(6), "{victim}: {said}");
}

/// Whether this test is the process that [`assert_ends`] started.
pub(crate) fn is_victim() -> bool {
    std::env::var_os(VICTIM).is_some()
}

/// Logs an error where nobody looks.
pub(crate) fn err_unseen() {
    let _ = std::thread::spawn(|| tracing::error!("as it must")).join();
}

const VICTIM: &str = "QUOTAD_TEST_LOGS_AN_ERROR";

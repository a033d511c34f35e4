//! The process among others: signals in, notifications to systemd out.
//!
//! Owns the signal handlers (signal-hook's self-pipes, read by the loop, so no thread and no lost signal) and the
//! notify socket. Without systemd every notification is a no-op.

use std::io;
use std::time::Duration;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGWINCH};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// TERM or INT: finish what cannot be cancelled and end.
    Stop,
    /// HUP: read the config again.
    Reload,
    /// USR1: poll every account as soon as floors and gates allow.
    Poll,
}

/// The signals the daemon takes. Registered once, before READY.
#[derive(Debug)]
pub struct Signals {
    stop: UnixStream,
    reload: UnixStream,
    poll: UnixStream,
}

impl Signals {
    /// Takes over TERM, INT, HUP and USR1. Needs a running runtime.
    ///
    /// # Errors
    /// The handlers cannot be registered.
    pub fn take() -> io::Result<Self> {
        Ok(Self { stop: pipe(&[SIGTERM, SIGINT])?, reload: pipe(&[SIGHUP])?, poll: pipe(&[SIGUSR1])? })
    }

    /// The next signal; several of one kind may be told as one. Safe to cancel.
    pub async fn next(&mut self) -> Signal {
        let (mut stop, mut reload, mut poll) = ([0; 16], [0; 16], [0; 16]);
        tokio::select! {
            biased;
            _ = self.stop.read(&mut stop) => Signal::Stop,
            _ = self.reload.read(&mut reload) => Signal::Reload,
            _ = self.poll.read(&mut poll) => Signal::Poll,
        }
    }
}

/// The signals that whoever draws on a terminal takes.
#[derive(Debug)]
pub struct ScreenSignals {
    stop: UnixStream,
    resized: UnixStream,
}

/// What one of them says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScreenSignal {
    /// TERM, INT or HUP: leave the terminal as it was, and end.
    Stop,
    /// WINCH: the terminal has another size.
    Resized,
}

impl ScreenSignals {
    /// Takes over TERM, INT, HUP and WINCH. Needs a running runtime.
    ///
    /// # Errors
    /// The handlers cannot be registered.
    pub fn take() -> io::Result<Self> {
        Ok(Self { stop: pipe(&[SIGTERM, SIGINT, SIGHUP])?, resized: pipe(&[SIGWINCH])? })
    }

    /// The next signal; several of one kind may be told as one. Safe to cancel.
    pub async fn next(&mut self) -> ScreenSignal {
        let (mut stop, mut resized) = ([0; 16], [0; 16]);
        tokio::select! {
            biased;
            _ = self.stop.read(&mut stop) => ScreenSignal::Stop,
            _ = self.resized.read(&mut resized) => ScreenSignal::Resized,
        }
    }
}

fn pipe(signals: &[i32]) -> io::Result<UnixStream> {
    let (read, write) = std::os::unix::net::UnixStream::pair()?;
    for signal in signals {
        signal_hook::low_level::pipe::register(*signal, write.try_clone()?)?;
    }
    read.set_nonblocking(true)?;
    UnixStream::from_std(read)
}

/// Keeps the process's memory, and with it every token, out of core dumps and away from other processes of the user.
pub fn keep_memory_private() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Tells systemd that config, state and socket stand.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Tells systemd that a reload begins. [`ready`] must end it, also when the new config is refused: systemd would wait
/// for ever.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "could not read the monotonic clock"),
    }
}

/// Tells systemd how things are: the line of `systemctl status`.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// Tells systemd that the daemon is on its way out.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Tells systemd that the loop goes round.
pub fn watchdog() {
    notify(&[NotifyState::Watchdog]);
}

/// Within what time systemd wants to hear from the loop; `None` when it does not ask.
pub fn watchdog_wants() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|wanted| !wanted.is_zero())
}

/// A notification that cannot be delivered is not a reason to stop working.
fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "could not notify systemd");
    }
}

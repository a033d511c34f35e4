//! The one reader of `CLOCK_BOOTTIME`, the wall clock and the random number generator.
//!
//! Turns them into the values `policy::time` takes. Also the one place that knows compressed time: `demo` and the
//! tests run the real rules with their real durations, only faster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};

use crate::policy::time::{BootId, Dice, Moment, Now, Stamp};

/// Reads the clocks. With a `speed` above 1, both clocks run that many times faster from its creation on.
#[derive(Debug, Clone)]
pub struct Clock {
    origin: Now,
    speed: u32,
}

impl Clock {
    /// The machine's own clocks.
    pub fn real() -> Self {
        Self::compressed(1)
    }

    /// Clocks that run `speed` times as fast as the machine's, starting at the present.
    pub fn compressed(speed: u32) -> Self {
        // Whatever runs for real in a test needs a clock.
        #[cfg(test)]
        crate::no_errors::watch();
        Self { origin: machine(), speed: speed.max(1) }
    }

    /// Both clocks, read together.
    pub fn now(&self) -> Now {
        let real = machine();
        if self.speed == 1 {
            return real;
        }
        let elapsed = real.moment.since(self.origin.moment) * self.speed;
        let moment = self.origin.moment + elapsed;
        Now { moment, stamp: self.origin.stamp_at(moment) }
    }

    /// The boot-clock time, as the kernel counts it, at which this clock will show `moment`: what a timerfd is set to.
    pub fn kernel_time(&self, moment: Moment) -> Duration {
        let ahead = moment.since(self.origin.moment);
        Duration::from_millis(self.origin.moment.as_millis()) + ahead / self.speed
    }

    /// How many times faster than real time this clock runs.
    pub fn speed(&self) -> u32 {
        self.speed
    }
}

#[expect(clippy::cast_sign_loss, reason = "the boot clock is never negative")]
fn machine() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    let moment = Moment::from_millis(boot.tv_sec as u64 * 1_000 + boot.tv_nsec as u64 / 1_000_000);
    Now { moment, stamp: Stamp::now() }
}

/// Identifies this boot (`/proc/sys/kernel/random/boot_id`). Where that cannot be read, a value that no other run
/// has, so that stored deadlines are restored by the wall clock.
pub fn boot_id() -> BootId {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().to_owned(),
        Err(_) => format!("unknown-{:016x}", rand::random::<u64>()),
    }
}

/// The machine's randomness as [`Dice`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Chance;

impl Dice for Chance {
    fn roll(&mut self) -> f64 {
        rand::random()
    }
}

/// How long this machine has been suspended since it booted. Grows across a resume, else stands still.
pub fn suspended() -> Duration {
    let boot = clock_gettime(ClockId::Boottime);
    let monotonic = clock_gettime(ClockId::Monotonic);
    let total = |at: Timespec| Duration::new(at.tv_sec.unsigned_abs(), at.tv_nsec as u32);
    total(boot).saturating_sub(total(monotonic))
}

/// The zone that people here live in: `TZ`, else `/etc/localtime`.
///
/// Its name is nowhere shown, so the file is read as it is. To find the name, jiff lists the whole zone database first:
/// 110 KB that a daemon would hold for ever, and most of what a status bar would wait for.
pub fn zone() -> TimeZone {
    let file = match std::env::var_os("TZ") {
        None => PathBuf::from("/etc/localtime"),
        Some(name) => Path::new("/usr/share/zoneinfo").join(name.to_string_lossy().trim_start_matches(':')),
    };
    let zone = std::fs::read(file).ok().and_then(|data| TimeZone::tzif("Local", &data).ok());
    // A rule instead of a name, or nothing at all.
    zone.unwrap_or_else(TimeZone::system)
}

/// The daemon's one timer: a timerfd on `CLOCK_BOOTTIME`, so that suspend counts. One wake-up per expiry, where a
/// tokio timer costs three (systemd.md 6).
#[derive(Debug)]
pub struct Timer {
    clock: Clock,
    fd: tokio::net::unix::pipe::Receiver,
    set_to: Option<Moment>,
}

impl Timer {
    /// A timer that is not set. Needs a running runtime.
    ///
    /// # Errors
    /// The kernel gives no timerfd.
    pub fn new(clock: Clock) -> std::io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // A timerfd reads like a pipe: eight bytes once it expired, `WouldBlock` before.
        let fd = tokio::net::unix::pipe::Receiver::from_owned_fd_unchecked(fd)?;
        Ok(Self { clock, fd, set_to: None })
    }

    /// Wakes at `moment`; never, with `None`. Costs nothing if that is what it is set to.
    pub fn set(&mut self, moment: Option<Moment>) {
        if self.set_to == moment {
            return;
        }
        self.set_to = moment;
        // A time of zero would disarm it: a moment at or before boot is one nanosecond after it.
        let at = moment.map_or(Duration::ZERO, |moment| self.clock.kernel_time(moment).max(Duration::from_nanos(1)));
        let value = Timespec { tv_sec: at.as_secs().cast_signed(), tv_nsec: at.subsec_nanos().into() };
        let spec = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        if let Err(error) = timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &spec) {
            tracing::error!(%error, "could not set the timer");
        }
    }

    /// Waits until it expires. Safe to cancel.
    pub async fn elapsed(&mut self) {
        loop {
            let ready = self.fd.readable().await;
            if ready.is_ok() && self.fd.try_read(&mut [0; 8]).is_ok() {
                self.set_to = None;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::no_errors;

    #[test]
    fn the_zone_that_is_read_directly_is_the_systems() {
        for now in ["2026-07-01T12:15:00Z", "2026-12-01T12:15:00Z"] {
            let offset = |zone: TimeZone| now.parse::<Stamp>().unwrap().to_zoned(zone).offset();
            assert_eq!(offset(zone()), offset(TimeZone::system()));
        }
    }

    #[test]
    fn an_error_in_any_test_that_has_a_clock_ends_the_run() {
        no_errors::assert_ends(concat!(module_path!(), "::victim"));
    }

    /// Not a test by itself: the process that is ended.
    #[test]
    fn victim() {
        if no_errors::is_victim() {
            let _clock = Clock::real();
            no_errors::err_unseen();
        }
    }
}

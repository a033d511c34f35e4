//! The one reader of `CLOCK_BOOTTIME`, the wall clock and the random number generator.
//!
//! Turns them into the values `policy::time` takes. Also the one place that knows compressed time: `demo` and the
//! tests run the real rules with their real durations, only faster.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

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

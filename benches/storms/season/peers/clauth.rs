//! clauth 0.18.1, as its daemon.

use super::super::machine::{Answer, MIN, Machine, Ms, S};
use super::Ticking;

const TICK: Ms = 90 * S;
const LEAD: Ms = 15 * MIN;
const LONGEST: Ms = 5 * MIN;
const LONGEST_DEMAND: Ms = 15 * MIN;

/// Polls each 90 s; a ladder that stops at 5 min, a header that is believed for 15.
pub(crate) struct Clauth {
    tick: Ms,
    /// Deterministic per account, up to a quarter of the interval (section 2.5).
    jitter: Ms,
    limited: u32,
    refresh_failures: u32,
    refresh_after: Ms,
    /// The refresh token that was refused for good; persisted (section 2.5, "quarantine").
    dead: String,
    /// The access token that the last refresh brought. Persisted with the spent-token record.
    minted: String,
}

impl Clauth {
    pub(crate) fn new(share: f64) -> Self {
        let jitter = (TICK as f64 / 4.0 * share) as Ms;
        Self {
            tick: 0,
            jitter,
            limited: 0,
            refresh_failures: 0,
            refresh_after: 0,
            dead: String::new(),
            minted: String::new(),
        }
    }

    /// Section 2.5: `max(header, interval + 10 s · 3^(n-1))`, 5 min at most without a header, the header 15 min at most.
    fn gap(failures: u32, demand: Option<Ms>) -> Ms {
        let ladder = TICK + 10 * S * 3_u64.pow(failures.clamp(1, 10) - 1);
        ladder.min(LONGEST).max(demand.unwrap_or_default().min(LONGEST_DEMAND))
    }

    fn refresh(&mut self, machine: &mut Machine) {
        let held = machine.held().refresh;
        if held == self.dead || machine.now < self.refresh_after {
            return;
        }
        let demand = match machine.refresh() {
            Answer::Ok => {
                self.refresh_failures = 0;
                self.minted = machine.held().access;
                return;
            }
            Answer::InvalidGrant | Answer::Status(401) => {
                self.dead = held;
                return;
            }
            Answer::Limited(demand) => demand,
            Answer::Status(_) | Answer::Nothing => None,
        };
        self.refresh_failures += 1;
        self.refresh_after = machine.now + Self::gap(self.refresh_failures, demand);
    }
}

impl Ticking for Clauth {
    fn wake(&self) -> Ms {
        self.tick
    }

    fn act(&mut self, machine: &mut Machine) {
        self.tick = machine.now + TICK + self.jitter;
        if machine.left() <= LEAD {
            self.refresh(machine);
        }
        if machine.left() == 0 {
            return;
        }
        let held = machine.held().access;
        match machine.ask() {
            Answer::Ok => self.limited = 0,
            Answer::Limited(demand) => {
                self.limited += 1;
                self.tick = machine.now + Self::gap(self.limited, demand);
            }
            // The report does not say what follows a refused token that a refresh has just brought; the kinder
            // reading is: nothing, before it expires.
            Answer::Status(401) if held != self.minted => self.refresh(machine),
            _ => {}
        }
    }

    /// Section 2.5: "streaks are memory-only: a restart restarts the ladder".
    fn restart(&mut self, now: Ms) {
        (self.tick, self.limited, self.refresh_failures, self.refresh_after) = (now, 0, 0, 0);
    }
}

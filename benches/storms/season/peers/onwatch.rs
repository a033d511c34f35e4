//! onWatch, later master ("G2").

use super::super::machine::{Answer, HOUR, MIN, Machine, Ms, S};
use super::Ticking;

const TICK: Ms = 120 * S;
const BACKOFF: Ms = 5 * MIN;
const LONGEST: Ms = 6 * HOUR;
/// Recovery attempts while paused: 15, 30 min, … 6 h (peer 5).
const RECOVERY: Ms = 15 * MIN;
/// Refreshes so long before expiry (peer 7, 9: "the hour before expiry").
const LEAD: Ms = HOUR;

/// Polls each 120 s through everything; three auth failures pause it, and recovery rotates.
#[derive(Default)]
pub(crate) struct OnWatch {
    tick: Ms,
    /// The access token last seen: any other wipes everything below (peer 8).
    known: String,
    token_failures: u32,
    token_until: Option<Ms>,
    good_polls: u32,
    auth_failures: u32,
    paused: bool,
    recoveries: u32,
    recovery_at: Ms,
}

impl Ticking for OnWatch {
    fn wake(&self) -> Ms {
        self.tick
    }

    fn act(&mut self, machine: &mut Machine) {
        self.tick = machine.now + TICK;
        let held = machine.held().access;
        if held != self.known {
            *self = Self { tick: self.tick, known: held, ..Self::default() };
        }
        if self.paused {
            return self.recover(machine);
        }
        // Peer 32: a running `claude` keeps the proactive refresh from ever running.
        if machine.left() < LEAD && !machine.cli_runs() {
            self.refresh(machine);
            if self.paused {
                return;
            }
        }
        self.poll(machine);
        // Peer 11: consecutive means "since the last success", whatever came between.
        if self.auth_failures == 3 {
            if self.refresh(machine) {
                self.poll(machine);
            }
            if self.auth_failures >= 3 {
                self.pause(machine.now);
            }
        }
    }

    /// Peer 13: everything dies with the process, and the new one polls on start.
    fn restart(&mut self, now: Ms) {
        *self = Self { tick: now, ..Self::default() };
    }

    /// Peer 14: Go's timers do not count suspend.
    fn slept(&mut self, length: Ms) {
        self.tick += length;
        self.recovery_at += length;
        self.token_until = self.token_until.map(|until| until + length);
    }
}

impl OnWatch {
    /// Peer 3: a usage 429 has no pause, and its Retry-After is not read. 9: other errors have no back-off either.
    fn poll(&mut self, machine: &mut Machine) {
        match machine.ask() {
            Answer::Ok => {
                (self.auth_failures, self.recoveries) = (0, 0);
                self.good_polls += 1;
                // Peer 1: "two successful usage polls inside the 5 min also zero it".
                if self.good_polls >= 2 {
                    self.token_failures = 0;
                }
            }
            Answer::Status(401 | 403) => self.auth_failures += 1,
            _ => {}
        }
    }

    /// Posts the token in the file unless the back-off of the token endpoint stands. Whether a new one came.
    fn refresh(&mut self, machine: &mut Machine) -> bool {
        if let Some(until) = self.token_until {
            if machine.now < until {
                return false;
            }
            // Peer 1: the passing of the deadline lowers the count, so that the ladder never climbs.
            self.token_until = None;
            self.token_failures = self.token_failures.saturating_sub(1);
        }
        match machine.refresh() {
            Answer::Ok => {
                self.known = machine.held().access;
                true
            }
            Answer::Limited(demand) => {
                self.token_failures += 1;
                self.good_polls = 0;
                let ladder = (BACKOFF << (self.token_failures - 1).min(10)).min(LONGEST);
                // Section 2.4: the header replaces the ladder here.
                self.token_until = Some(machine.now + demand.filter(|wait| *wait > 0).unwrap_or(ladder));
                false
            }
            // Peer 7: pauses polling although the access token may live.
            Answer::InvalidGrant => {
                self.pause(machine.now);
                false
            }
            // Peer 9, 27: again at the next tick.
            Answer::Status(_) | Answer::Nothing => false,
        }
    }

    fn pause(&mut self, now: Ms) {
        if !self.paused {
            self.paused = true;
            self.recovery_at = now + self.gap();
        }
    }

    fn gap(&self) -> Ms {
        (RECOVERY << self.recoveries.min(10)).min(LONGEST)
    }

    /// Peer 5: a token the server called invalid is sent again at every rung, for ever.
    fn recover(&mut self, machine: &mut Machine) {
        if machine.now < self.recovery_at {
            return;
        }
        // Peer 4: count and deadline advance before the guard is asked.
        self.recoveries += 1;
        self.recovery_at = machine.now + self.gap();
        if self.refresh(machine) {
            // Peer 6: whatever made it fail may be no matter of tokens; then the next three polls pause it again.
            (self.paused, self.auth_failures) = (false, 0);
            self.poll(machine);
        }
    }
}

//! `CodexBar` 0.54.

use super::super::machine::{Answer, MIN, Machine, Ms};
use super::Ticking;

/// Its fallback interval, and the least it waits after a 429 or a failed delegated refresh (section 2.4: "flat 5 m").
const TICK: Ms = 5 * MIN;

/// Polls each 5 min; has the CLI refresh; remembers a 429 per access token and a dead refresh token for good.
#[derive(Default)]
pub(crate) struct CodexBar {
    tick: Ms,
    /// The access token that met a 429, and until when it waits; persisted (section 2.4).
    blocked: (String, Ms),
    /// The refresh token that was refused for good; persisted (section 2.4).
    dead: String,
    delegate_after: Ms,
}

impl Ticking for CodexBar {
    fn wake(&self) -> Ms {
        self.tick
    }

    fn act(&mut self, machine: &mut Machine) {
        self.tick = machine.now + TICK;
        if machine.left() == 0 && !self.delegate(machine) {
            return;
        }
        let held = machine.held().access;
        if self.blocked.0 == held && machine.now < self.blocked.1 {
            return;
        }
        match machine.ask() {
            Answer::Limited(demand) => {
                // providers.md A.3: at least 5 min, Retry-After in full, 0 means 5 min.
                self.blocked = (held, machine.now + demand.unwrap_or_default().max(TICK));
            }
            // Lets the CLI look; it refreshes only what is about to expire.
            Answer::Status(401) => drop(self.delegate(machine)),
            _ => {}
        }
    }

    fn restart(&mut self, now: Ms) {
        (self.tick, self.delegate_after) = (now, now);
    }
}

impl CodexBar {
    /// Runs the CLI, which refreshes under its own locks (providers.md 1.5, "Ownership"). Whether a token came.
    fn delegate(&mut self, machine: &mut Machine) -> bool {
        let held = machine.held().refresh;
        if machine.now < self.delegate_after || held == self.dead {
            return false;
        }
        let answer = machine.refresh_by_cli();
        // Section 2.4: the token endpoint's Retry-After is ignored.
        if answer != Some(Answer::Ok) {
            self.delegate_after = machine.now + TICK;
        }
        if answer == Some(Answer::InvalidGrant) {
            self.dead = held;
        }
        answer == Some(Answer::Ok)
    }
}

//! ai-usagebar 1.21.0, as its TUI.

use super::super::machine::{Answer, MIN, Machine, Ms, S};
use super::Ticking;

const TICK: Ms = 60 * S;
const LEAD: Ms = 5 * MIN;
const MARK: Ms = 5 * MIN;

/// Polls each 60 s; one marker file of 5 min for every 429, of either endpoint.
#[derive(Default)]
pub(crate) struct UsageBar {
    tick: Ms,
    /// A file, so it survives a restart; wall clock.
    marked_until: Ms,
}

impl Ticking for UsageBar {
    fn wake(&self) -> Ms {
        self.tick
    }

    fn act(&mut self, machine: &mut Machine) {
        self.tick = machine.now + TICK;
        if machine.now < self.marked_until {
            return;
        }
        // Section 2.5: "a refresh that answers 400/401 is tried again at the next poll": no class for invalid_grant.
        let refreshed = (machine.left() <= LEAD).then(|| machine.refresh());
        let answer = match refreshed {
            None | Some(Answer::Ok) => machine.ask(),
            Some(refused) => refused,
        };
        // Section 2.5: Retry-After is never read.
        if matches!(answer, Answer::Limited(_)) {
            self.marked_until = machine.now + MARK;
        }
    }

    fn restart(&mut self, now: Ms) {
        self.tick = now;
    }
}

//! openusage 0.7.10.

use super::super::machine::{Answer, MIN, Machine, Ms};
use super::Ticking;

const TICK: Ms = 5 * MIN;
/// providers.md 1.5: "lead time: openusage 5 min".
const LEAD: Ms = 5 * MIN;

/// Polls each 5 min; rotates at any 401 or 403; keeps nothing but the wait after a usage 429, and that in memory.
#[derive(Default)]
pub(crate) struct OpenUsage {
    tick: Ms,
    until: Ms,
}

impl Ticking for OpenUsage {
    fn wake(&self) -> Ms {
        self.tick
    }

    fn act(&mut self, machine: &mut Machine) {
        self.tick = machine.now + TICK;
        // Section 2.4: no ladder, no dead mark and no Retry-After for the token endpoint: again at every tick.
        if machine.left() <= LEAD && machine.refresh() != Answer::Ok && machine.left() == 0 {
            return;
        }
        if machine.now < self.until {
            return;
        }
        let mut answer = machine.ask();
        // providers.md A.2: any 401 or 403 rotates and retries once.
        if matches!(answer, Answer::Status(401 | 403)) && machine.refresh() == Answer::Ok {
            answer = machine.ask();
        }
        if let Answer::Limited(demand) = answer {
            // providers.md A.3: `Retry-After: 0` becomes a cooldown of zero.
            self.until = machine.now + demand.unwrap_or(5 * MIN);
        }
    }

    /// Section 2.4: the pause is not persisted.
    fn restart(&mut self, now: Ms) {
        *self = Self { tick: now, until: 0 };
    }
}

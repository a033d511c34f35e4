//! The oracle: a keeper that knows the server's state, and does what can be done with that and no more.
//!
//! It asks at the interval, and where the answer would be no success, at the first moment at which it is one (to ten
//! seconds): outages, blocks and windows cost it nothing but the time they last, and no request. It refreshes when the
//! token has expired and not before, as soon as the server would exchange it. It knows states, not fates: an answer
//! that will be lost is lost for it as well. It is bound by the same mandate as quotad, needs the network, and makes
//! no mistake about the CLI's locks. It forgets nothing at a restart.

use super::Ticking;
use super::machine::{Answer, Machine, Ms, S, stamp};
use super::scenario::Mandate;
use super::verdict::INTERVAL;

/// How often it looks while there is nothing to be had.
const GLANCE: Ms = 10 * S;

/// See the module.
pub(crate) struct Oracle {
    mandate: Mandate,
    at: Ms,
}

impl Oracle {
    pub(crate) fn new(mandate: Mandate) -> Self {
        Self { mandate, at: 0 }
    }

    fn may_refresh(&self, machine: &mut Machine) -> bool {
        self.mandate != Mandate::Never && !machine.cli_refreshes()
    }
}

impl Ticking for Oracle {
    fn wake(&self) -> Ms {
        self.at
    }

    fn act(&mut self, machine: &mut Machine) {
        self.at = machine.now + GLANCE;
        if !machine.is_online() {
            return;
        }
        let held = machine.held();
        if machine.left() == 0
            && machine.vendor.would_grant(&held.refresh, stamp(machine.now))
            && self.may_refresh(machine)
        {
            machine.refresh_by_cli();
        }
        let held = machine.held();
        if machine.vendor.would_answer(&held.access, stamp(machine.now)) {
            let answer = machine.ask();
            assert_eq!(answer, Answer::Ok, "an oracle is never refused");
            self.at = machine.now + INTERVAL;
        }
    }

    fn restart(&mut self, _: Ms) {}
}

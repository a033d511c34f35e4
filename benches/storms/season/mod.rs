//! Keepers in the same weather: quotad's rules, five peers' and an oracle's, through the same seasons.
//!
//! Virtual time, no sockets, no sleeping; the vendor is the strict one of `quotad::demo::vendor`. Same seed, same
//! season, same figures.

#[path = "../../../tests/sim/host.rs"]
#[expect(dead_code, unused_imports, reason = "the simulation's host does more than a season needs")]
mod host;
mod machine;
mod oracle;
mod peers;
mod quotad;
mod scenario;
mod score;
mod verdict;

use ::quotad::demo::vendor::{Answer, Reuse};
use ::quotad::policy::time::Dice as _;

use self::host::Random;
pub(crate) use self::machine::DAY;
use self::machine::{Machine, Ms};
use self::oracle::Oracle;
use self::peers::{Clauth, CodexBar, OnWatch, OpenUsage, UsageBar};
use self::quotad::Quotad;
pub(crate) use self::scenario::{ALL, Scenario};
use self::scenario::{Event, User};
pub(crate) use self::score::Score;
pub(crate) use self::verdict::broken;

/// Somebody who polls usage and looks after a login.
trait Keeper {
    /// Does what is due before `until`.
    fn run_until(&mut self, until: Ms, machine: &mut Machine);

    /// Its process is killed and starts again.
    fn restart(&mut self, machine: &mut Machine);

    /// The machine was suspended for `length`.
    fn slept(&mut self, length: Ms);

    /// The CLI is about to take its locks: a keeper that holds them finishes first.
    fn finish(&mut self, machine: &mut Machine) {
        let _ = machine;
    }
}

/// A keeper that is no more than a clock and its rules.
trait Ticking {
    /// When it acts next; a time that has passed means at once.
    fn wake(&self) -> Ms;

    /// It acts.
    fn act(&mut self, machine: &mut Machine);

    /// A new process begins `now`: what the old one did not store is forgotten.
    fn restart(&mut self, now: Ms);

    /// The machine was suspended for `length`: matters to timers that do not count that.
    fn slept(&mut self, length: Ms) {
        let _ = length;
    }
}

impl<T: Ticking> Keeper for T {
    fn run_until(&mut self, until: Ms, machine: &mut Machine) {
        while self.wake() < until {
            machine.now = self.wake().max(machine.now);
            self.act(machine);
        }
        machine.now = until;
    }

    fn restart(&mut self, machine: &mut Machine) {
        machine.lose_landing();
        Ticking::restart(self, machine.now);
    }

    fn slept(&mut self, length: Ms) {
        Ticking::slept(self, length);
    }
}

/// Who keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Quotad,
    Oracle,
    OnWatch,
    CodexBar,
    OpenUsage,
    Clauth,
    UsageBar,
}

impl Who {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 7] =
        [Self::Quotad, Self::Oracle, Self::OnWatch, Self::CodexBar, Self::OpenUsage, Self::Clauth, Self::UsageBar];

    /// The name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quotad => "quotad",
            Self::Oracle => "oracle",
            Self::OnWatch => "onWatch",
            Self::CodexBar => "CodexBar",
            Self::OpenUsage => "openusage",
            Self::Clauth => "clauth",
            Self::UsageBar => "ai-usagebar",
        }
    }

    fn start(self, scenario: &Scenario, seed: u64) -> Box<dyn Keeper> {
        match self {
            Self::Quotad => Box::new(Quotad::new(scenario.mandate, seed)),
            Self::Oracle => Box::new(Oracle::new(scenario.mandate)),
            Self::OnWatch => Box::<OnWatch>::default(),
            Self::CodexBar => Box::<CodexBar>::default(),
            Self::OpenUsage => Box::<OpenUsage>::default(),
            Self::Clauth => Box::new(Clauth::new(Random::new(seed, 12).roll())),
            Self::UsageBar => Box::<UsageBar>::default(),
        }
    }
}

/// Lives through one season of `length`.
pub(crate) fn live(scenario: &Scenario, who: Who, length: Ms, seed: u64) -> Score {
    let mut season = Season::new(scenario, who, seed);
    for (at, event) in scenario.events(length, &mut Random::new(seed, 11)) {
        season.run_until(at);
        season.happen(event);
    }
    season.run_until(length);
    season.end(length)
}

/// A keeper on its machine.
struct Season {
    machine: Machine,
    keeper: Box<dyn Keeper>,
    user: User,
    asleep: bool,
    /// Since when nothing on the machine can refresh the login.
    gone_since: Option<Ms>,
    /// The vendor revoked the login: not the keeper's doing.
    revoked: bool,
}

impl Season {
    fn new(scenario: &Scenario, who: Who, seed: u64) -> Self {
        let mut machine = Machine::new(seed, scenario.lease);
        machine.vendor.reuse = scenario.reuse;
        machine.vendor.budget = scenario.budget;
        let (keeper, user) = (who.start(scenario, seed), scenario.user);
        Self { machine, keeper, user, asleep: false, gone_since: None, revoked: false }
    }

    fn run_until(&mut self, until: Ms) {
        if self.asleep {
            self.machine.now = until;
        } else {
            self.keeper.run_until(until, &mut self.machine);
        }
    }

    fn happen(&mut self, event: Event) {
        if matches!(event, Event::Cli | Event::Glance) {
            self.keeper.finish(&mut self.machine);
        }
        let machine = &mut self.machine;
        match event {
            Event::Usage(answer) => drop(machine.vendor.usage().always(answer)),
            Event::Token(answer) => drop(machine.vendor.token().always(answer)),
            Event::LoseNextGrant => drop(machine.vendor.token().next(Answer::LoseResponse)),
            Event::Revoke => {
                let held = machine.file().refresh;
                self.revoked = machine.vendor.revoke(&held);
            }
            Event::Rival(requests) => (0..requests).for_each(|_| machine.ask_as_another()),
            Event::Cli => machine.use_cli(),
            Event::Suspend => self.asleep = true,
            Event::Resume(length) => {
                self.asleep = false;
                machine.resume();
                self.keeper.slept(length);
            }
            Event::Crash => self.keeper.restart(machine),
            Event::Glance => self.glance(),
        }
    }

    /// The user looks, once an hour, and logs in again if the login is gone and it is time for that.
    fn glance(&mut self) {
        let now = self.machine.now;
        let is_gone = self.machine.is_logged_out();
        let gone_since = is_gone.then(|| *self.gone_since.get_or_insert(now));
        self.gone_since = gone_since;
        if gone_since.is_some_and(|since| self.user.comes(since, now)) {
            self.note_loss();
            self.machine.log_in();
            (self.gone_since, self.revoked) = (None, false);
        }
    }

    /// Whose doing it was that the login is gone.
    fn note_loss(&mut self) {
        let grace = matches!(self.machine.vendor.reuse, Reuse::Grace(_));
        let by_weather = self.revoked || (self.machine.score.lost_an_answer() && !grace);
        self.machine.score.lost += u64::from(!by_weather);
    }

    fn end(mut self, length: Ms) -> Score {
        self.keeper.finish(&mut self.machine);
        if self.machine.is_logged_out() {
            self.note_loss();
        }
        self.machine.score.close(length);
        self.machine.score
    }
}

//! Keepers in the same weather: quotad's rules, five peers' and an oracle's, through the same seasons.
//!
//! Virtual time, no sockets, no sleeping; the vendor is the strict one of `quotad::demo::vendor`. Same seed, same
//! season, same figures.

mod machine;
mod oracle;
mod peers;
mod scenario;
mod score;

use quotad::policy::time::Dice;

use self::machine::{Machine, Ms};
pub(crate) use self::machine::{DAY, HOUR, MIN};
use self::oracle::Oracle;
use self::peers::{Clauth, CodexBar, OnWatch, OpenUsage, UsageBar};
use self::scenario::Event;
pub(crate) use self::scenario::{ALL, Scenario};
pub(crate) use self::score::Score;

/// A set of rules that polls usage and looks after a login.
trait Keeper {
    /// When it acts next; a time that has passed means at once.
    fn wake(&self) -> Ms;

    /// It acts.
    fn act(&mut self, machine: &mut Machine);

    /// Its process was killed, and starts again `now`: what it forgets.
    fn restart(&mut self, now: Ms);

    /// The machine was suspended for `length`: matters to timers that do not count that.
    fn slept(&mut self, length: Ms) {
        let _ = length;
    }
}

/// Who keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Oracle,
    OnWatch,
    CodexBar,
    OpenUsage,
    Clauth,
    UsageBar,
}

impl Who {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 6] =
        [Self::Oracle, Self::OnWatch, Self::CodexBar, Self::OpenUsage, Self::Clauth, Self::UsageBar];

    /// The name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Oracle => "oracle",
            Self::OnWatch => "onWatch",
            Self::CodexBar => "CodexBar",
            Self::OpenUsage => "openusage",
            Self::Clauth => "clauth",
            Self::UsageBar => "ai-usagebar",
        }
    }

    fn start(self, scenario: &Scenario, chance: &mut Random) -> Box<dyn Keeper> {
        match self {
            Self::Oracle => Box::new(Oracle::new(scenario.mandate)),
            Self::OnWatch => Box::<OnWatch>::default(),
            Self::CodexBar => Box::<CodexBar>::default(),
            Self::OpenUsage => Box::<OpenUsage>::default(),
            Self::Clauth => Box::new(Clauth::new(chance.roll())),
            Self::UsageBar => Box::<UsageBar>::default(),
        }
    }
}

/// Pseudo-random dice.
#[derive(Debug, Clone)]
struct Random(u64);

impl Dice for Random {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1_u32 << 31)
    }
}

/// Lives through one season of `length`.
pub(crate) fn live(scenario: &Scenario, who: Who, length: Ms, seed: u64) -> Score {
    let mut season = Season::new(scenario, who, seed);
    let mut chance = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    for (at, event) in scenario.events(length, &mut chance) {
        if at >= length {
            break;
        }
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
    score: Score,
    asleep: bool,
    /// The vendor revoked the login: not the keeper's doing.
    revoked: bool,
}

impl Season {
    fn new(scenario: &Scenario, who: Who, seed: u64) -> Self {
        let mut machine = Machine::new(seed, scenario.lease);
        machine.vendor.reuse = scenario.reuse;
        machine.vendor.budget = scenario.budget;
        let keeper = who.start(scenario, &mut Random(seed));
        Self { machine, keeper, score: Score::default(), asleep: false, revoked: false }
    }

    fn run_until(&mut self, until: Ms) {
        while !self.asleep && self.keeper.wake() < until {
            self.machine.now = self.keeper.wake().max(self.machine.now);
            let expires_at = self.machine.held().expires_at;
            self.keeper.act(&mut self.machine);
            self.score.count(&self.machine.vendor, self.machine.now, expires_at);
        }
        self.machine.now = until;
    }

    fn happen(&mut self, event: Event) {
        let machine = &mut self.machine;
        match event {
            Event::Usage(answer) => drop(machine.vendor.usage().always(answer)),
            Event::Token(answer) => drop(machine.vendor.token().always(answer)),
            Event::LoseNextGrant => drop(machine.vendor.token().next(quotad::demo::vendor::Answer::LoseResponse)),
            Event::Revoke => {
                let held = machine.file().refresh;
                self.revoked = machine.vendor.revoke(&held);
            }
            Event::Rival(requests) => (0..requests).for_each(|_| drop(machine.ask())),
            Event::Cli => machine.use_cli(10 * MIN),
            Event::Suspend => self.asleep = true,
            Event::Resume(length) => {
                self.asleep = false;
                machine.resume();
                self.keeper.slept(length);
            }
            Event::Crash => {
                machine.kill_keeper();
                self.keeper.restart(machine.now);
            }
            Event::Morning => self.look_after_login(true),
        }
        self.score.skip(&self.machine.vendor);
    }

    /// Counts a login that is gone, and has the user log in.
    fn look_after_login(&mut self, log_in: bool) {
        if self.machine.is_logged_out() {
            let grace = matches!(self.machine.vendor.reuse, quotad::demo::vendor::Reuse::Grace(_));
            let by_weather = self.revoked || (self.score.lost_an_answer() && !grace);
            self.score.lost += u64::from(!by_weather);
            if log_in {
                self.machine.log_in();
                self.revoked = false;
            }
        }
    }

    fn end(mut self, length: Ms) -> Score {
        self.look_after_login(false);
        self.score.close(length);
        self.score
    }
}

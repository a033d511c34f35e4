//! The waiting rules once more, the naive way, and the policy held to them.
//!
//! The reference keeps no state but the list of what has happened, and works everything out of it anew each time it is
//! asked, in the words of design.md and docs/policy.md. It shares no code with the policy. Both are taken through the
//! same random days; what they disagree on is printed as the shortest story that shows it.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use proptest::prelude::*;

use super::super::*;
use super::world::{DAY, HOUR, MIN, S, Token, World, answered, failed, limited, ms, own_grant, rejected, vendors_file};
use crate::model::{Failure, Refusal, UsageOutcome};
use crate::policy::time::Loaded;

/// An eighth, so that no draw is lost in rounding.
const JITTER: f64 = 0.125;
const FLOOR: u64 = 5 * MIN;
const MAX_DEMAND: u64 = DAY;

/// What the vendor says to a request.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    /// The numbers, or a new token.
    Yes,
    /// 429, and how long it wants to be left alone.
    Wait(Option<u64>),
    /// 401.
    No,
    /// 503, and how long it wants to be left alone.
    Ill(u64),
    /// Nothing: there is no network.
    Nothing,
}

/// One thing that happens.
#[derive(Clone, Copy)]
enum Step {
    Pass(u64),
    Weather(Says),
    Restart,
    Reboot(u64),
    Sleep(u64),
    SetWall(i64),
    Touch,
    Token,
    Reload(u64),
    Poll,
    Pause,
    Resume,
}

impl fmt::Debug for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => write!(f, "says yes"),
            Self::Wait(None) => write!(f, "says 429"),
            Self::Wait(Some(demand)) => write!(f, "says 429 with Retry-After {} s", demand / S),
            Self::No => write!(f, "says 401"),
            Self::Ill(demand) => write!(f, "says 503 with Retry-After {} s", demand / S),
            Self::Nothing => write!(f, "cannot be reached"),
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass(wait) => write!(f, "{} s pass", wait / S),
            Self::Weather(says) => write!(f, "from now on the vendor {says:?}"),
            Self::Restart => write!(f, "quotad is killed and started"),
            Self::Reboot(down) => write!(f, "the machine is down for {} s", down / S),
            Self::Sleep(wait) => write!(f, "the machine sleeps for {} s", wait / S),
            Self::SetWall(by) => write!(f, "the wall clock is set by {} s", by / 1000),
            Self::Touch => write!(f, "the file is touched"),
            Self::Token => write!(f, "the CLI writes a new token"),
            Self::Reload(interval) => write!(f, "the interval is set to {} s", interval / S),
            Self::Poll => write!(f, "`quotad poll`"),
            Self::Pause => write!(f, "`quotad pause`"),
            Self::Resume => write!(f, "`quotad resume`"),
        }
    }
}

/// What the reference remembers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fact {
    /// The machine begins, and with it a new boot clock: what was before is only known to have been.
    Booted,
    /// A process begins.
    Started,
    /// A request left and this is what came back.
    Asked(Says),
    /// The machine woke up.
    Woke,
    /// The file was seen with a new token of the CLI's.
    NewToken,
    Interval(u64),
    Poll,
    Pause,
    Resume,
}

/// The past of one account, fact by fact.
struct Past {
    entries: Vec<Entry>,
    /// How much every draw of the dice adds, of as much as it may: 0 to 1.
    dice: f64,
    /// How long an access token lives, if it is the token endpoint that is asked.
    life: Option<u64>,
}

/// One fact, and what followed from it and those before it, so that nothing is worked out twice.
#[derive(Debug, Clone, Copy)]
struct Entry {
    at: u64,
    fact: Fact,
    /// The rung it took.
    rung: Option<u32>,
    /// How much longer than configured the interval is to be from here on.
    excess: Duration,
    /// When the next poll is due by itself, pauses apart.
    plan: u64,
    /// It is a new token that may be asked with inside a wait.
    early: bool,
}

impl Past {
    /// Takes note of a fact. Everything is worked out of what was before, which is what `self` still is.
    fn note(&mut self, at: u64, fact: Fact) {
        let rung = self.rung(at, fact);
        let (excess, early) = (self.excess_after(fact), self.grants_early(at, fact));
        let (asked, was_set_to, stood) = (self.asked().next().copied(), self.configured(), self.plan());
        let was = self.interval();
        self.entries.push(Entry { at, fact, rung, excess, plan: stood, early });
        let pauses = self.rate_pause().max(self.auth_pause());
        let plan = match fact {
            Fact::Started => stood.max(at + self.share(5 * S)),
            // "A request leaves no sooner than the previous one + the interval", which a 429 has just doubled; what a
            // success takes back counts from the next one on.
            Fact::Asked(Says::Wait(_)) => (at + self.jittered(self.interval())).max(pauses),
            Fact::Asked(_) => (at + self.jittered(self.patience() * was)).max(pauses),
            Fact::Interval(set_to) => match asked {
                Some(last) if ms(set_to) != was_set_to => {
                    let known = last.at.max(self.booted().saturating_sub(FLOOR));
                    (known + self.jittered(self.patience() * self.interval())).max(pauses)
                }
                _ => stood,
            },
            // "They pass neither a floor nor a cooling rate gate."
            Fact::Poll | Fact::Resume if !self.is_paused() && pauses <= at => {
                let floor = asked.map_or(0, |last| last.at + FLOOR);
                stood.min(floor.max(self.settled())).max(at)
            }
            Fact::Booted | Fact::Poll | Fact::Resume | Fact::Pause | Fact::Woke | Fact::NewToken => stood,
        };
        if let Some(entry) = self.entries.last_mut() {
            entry.plan = plan;
        }
    }

    /// The past as it was before its `n`th fact.
    fn before(&self, n: usize) -> Self {
        Self { entries: self.entries[..n].to_vec(), ..*self }
    }

    fn jittered(&self, wait: Duration) -> u64 {
        (wait + wait.mul_f64(JITTER * self.dice)).as_nanos().div_ceil(1_000_000) as u64
    }

    fn share(&self, of: u64) -> u64 {
        (of as f64 * self.dice) as u64
    }

    fn plan(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.plan)
    }

    fn interval(&self) -> Duration {
        let excess = self.entries.last().map_or(Duration::ZERO, |entry| entry.excess);
        self.configured() + excess.min(3 * self.configured())
    }

    fn configured(&self) -> Duration {
        let set = |entry: &Entry| if let Fact::Interval(interval) = entry.fact { Some(ms(interval)) } else { None };
        self.entries.iter().rev().find_map(set).unwrap_or(ms(10 * MIN))
    }

    /// Every request, the last one first.
    fn asked(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().filter(|entry| matches!(entry.fact, Fact::Asked(_)))
    }

    /// The requests since the last success, the last one first.
    fn failed(&self) -> impl Iterator<Item = &Entry> {
        self.asked().take_while(|entry| entry.fact != Fact::Asked(Says::Yes))
    }

    /// "5, 10, 20 minutes, then doubling: 40, 80, 160, 320 min, to 6 h."
    fn cooldown(rung: u32) -> u64 {
        [5, 10, 20, 40, 80, 160, 320].get(rung as usize).map_or(6 * HOUR, |minutes| minutes * MIN)
    }

    /// "Throttling changes the pace", of polls: each incident doubles the interval, to at most four times the configured one;
    /// every success takes a tenth of the excess away, and all of it below a hundredth of the interval.
    fn excess_after(&self, fact: Fact) -> Duration {
        let (configured, in_force) = (self.configured(), self.interval());
        match fact {
            _ if self.life.is_some() => Duration::ZERO,
            Fact::Asked(Says::Wait(_)) if !self.is_throttled() => {
                (2 * in_force).min(4 * configured).saturating_sub(configured)
            }
            Fact::Asked(Says::Yes) => {
                let excess = in_force.saturating_sub(configured);
                Some(excess.saturating_sub(excess / 10)).filter(|left| *left >= configured / 100).unwrap_or_default()
            }
            _ => self.entries.last().map_or(Duration::ZERO, |entry| entry.excess),
        }
    }

    /// Whether an incident of the rate is open: a 429 came, and no success since.
    fn is_throttled(&self) -> bool {
        self.failed().any(|entry| matches!(entry.fact, Fact::Asked(Says::Wait(_))))
    }

    /// The 401s in a row, the last one first; other errors neither count nor reset.
    fn rejections(&self) -> impl Iterator<Item = &Entry> {
        self.failed().filter(|entry| entry.fact == Fact::Asked(Says::No))
    }

    /// The rung that a failure takes. "Only a success closes the incident; a new failure within max(last cooldown, two
    /// intervals) of the closing success continues at the next rung." The third 401 in a row closes the gate, and inside
    /// an incident each one does; such a run counts from its first.
    fn rung(&self, at: u64, fact: Fact) -> Option<u32> {
        let is_like = |entry: &Entry| match fact {
            Fact::Asked(Says::Wait(_)) => matches!(entry.fact, Fact::Asked(Says::Wait(_))),
            _ => entry.fact == fact,
        };
        let last = self.entries.iter().rposition(|entry| entry.rung.is_some() && is_like(entry));
        let rung = last.and_then(|last| self.entries[last].rung).unwrap_or(0);
        let since = last.map_or(&[][..], |last| &self.entries[last..]);
        let closing = since.iter().position(|entry| entry.fact == Fact::Asked(Says::Yes));
        let is_open = last.is_some() && closing.is_none();
        let began = match fact {
            Fact::Asked(Says::Wait(_)) => at,
            Fact::Asked(Says::No) if is_open || self.rejections().count() >= 2 => {
                self.rejections().last().map_or(at, |first| first.at.max(self.booted()))
            }
            _ => return None,
        };
        match closing {
            _ if last.is_none() => Some(0),
            None => Some(rung + 1),
            Some(closing) => {
                let before = self.before(last.unwrap_or(0) + closing);
                let two_intervals = (2 * before.interval()).as_nanos().div_ceil(1_000_000) as u64;
                let horizon = since[closing].at + Self::cooldown(rung).max(two_intervals);
                Some(if began < horizon { rung + 1 } else { 0 })
            }
        }
    }

    /// "In an incident no sooner than the refusal + max(rung, demanded wait)"; a wait is never shortened by another.
    fn rate_pause(&self) -> u64 {
        let wait = |entry: &Entry| match entry.fact {
            Fact::Asked(Says::Wait(demand)) => {
                let rung = entry.rung.map_or(0, Self::cooldown);
                entry.at + self.jittered(ms(rung.max(demand.unwrap_or(0).min(MAX_DEMAND))))
            }
            Fact::Asked(Says::Ill(demand)) => entry.at + self.jittered(ms(demand.min(MAX_DEMAND))),
            _ => 0,
        };
        self.failed().map(wait).max().unwrap_or(0)
    }

    /// The auth pause: the rungs that 401s took. A new token and `resume` lift the wait, not the ladder.
    fn auth_pause(&self) -> u64 {
        let is_lift = |entry: &Entry| matches!(entry.fact, Fact::NewToken | Fact::Resume);
        let since =
            self.entries.iter().rev().take_while(|entry| !is_lift(entry) && entry.fact != Fact::Asked(Says::Yes));
        let rejected = since.filter(|entry| entry.fact == Fact::Asked(Says::No));
        let wait = |entry: &Entry| entry.rung.map(|rung| entry.at + self.jittered(ms(Self::cooldown(rung))));
        rejected.filter_map(wait).max().unwrap_or(0)
    }

    fn is_paused(&self) -> bool {
        let said = self.entries.iter().rev().find(|entry| matches!(entry.fact, Fact::Pause | Fact::Resume));
        said.is_some_and(|entry| entry.fact == Fact::Pause)
    }

    fn booted(&self) -> u64 {
        self.entries.iter().rev().find(|entry| entry.fact == Fact::Booted).map_or(0, |entry| entry.at)
    }

    /// "After a resume: settle." Ten to twenty seconds; a new process does not know that the machine slept.
    fn settled(&self) -> u64 {
        let since = self.entries.iter().rev().take_while(|entry| entry.fact != Fact::Started);
        let woke = since.filter(|entry| entry.fact == Fact::Woke).map(|entry| entry.at + 10 * S + self.share(10 * S));
        woke.max().unwrap_or(0)
    }

    /// "A poll whose every retry failed waits 1, 2, then 4 intervals"; offline counts nothing.
    fn patience(&self) -> u32 {
        let is_ill = |entry: &&Entry| matches!(entry.fact, Fact::Asked(Says::Ill(_)));
        if !self.asked().next().as_ref().is_some_and(is_ill) {
            return 1;
        }
        let counted = self.failed().filter(|entry| entry.fact != Fact::Asked(Says::Nothing));
        [1, 1, 2].get(counted.take_while(is_ill).count()).copied().unwrap_or(4)
    }

    /// Whether a new token is worth a request at once: anything but the rate was wrong.
    fn is_in_trouble(&self) -> bool {
        let last = self.asked().next().map(|entry| entry.fact);
        let went_wrong = matches!(last, Some(Fact::Asked(Says::Ill(_) | Says::Nothing)));
        self.rejections().next().is_some() || (went_wrong && !self.is_throttled())
    }

    /// "The usage gate grants one early probe per incident when the file brings a different access token, even inside a
    /// demanded wait."
    fn grants_early(&self, at: u64, fact: Fact) -> bool {
        let incident = self.entries.iter().rev().take_while(|entry| entry.fact != Fact::Asked(Says::Yes));
        let is_spent = incident.into_iter().any(|entry| entry.early);
        let may = fact == Fact::NewToken && !self.is_paused() && !is_spent;
        may && self.is_throttled() && self.rate_pause() > at
    }

    /// Whether a new token has earned a request that has not left yet. What cannot leave when its time has come has no
    /// claim to leave later: then only the schedule has one.
    fn is_earned(&self) -> bool {
        let is_over = |entry: &Entry| matches!(entry.fact, Fact::Asked(_) | Fact::Started);
        let since = self.entries.iter().rposition(is_over).map_or(0, |n| n + 1);
        let Some(n) = self.entries[since..].iter().rposition(|entry| entry.fact == Fact::NewToken) else {
            return false;
        };
        let token = self.entries[since + n];
        let before = self.before(since + n);
        !before.is_paused() && (token.early || (before.is_in_trouble() && self.rate_pause() <= token.at))
    }

    /// When the next poll is due, as `next_poll_at` shows it.
    fn due(&self) -> Option<u64> {
        (!self.is_paused()).then(|| self.plan().max(self.rate_pause()).max(self.auth_pause()))
    }

    /// When the next request leaves, if nothing else happens; not before `now`.
    fn next(&self, now: u64) -> Option<u64> {
        let due = if self.life.is_some() { self.refresh_due() } else { self.due() }?;
        Some(if self.is_earned() { now } else { due.max(now) }.max(self.settled()))
    }

    /// "min(before-expiry, a third of the token's life) ahead, never twice within one interval"; "the token endpoint has
    /// no interval, so its waits are the bare ladder".
    fn refresh_due(&self) -> Option<u64> {
        let life = self.life.filter(|_| !self.is_paused())?;
        let grant = self.entries.iter().rposition(|entry| entry.fact == Fact::Asked(Says::Yes));
        let granted_at = grant.map_or(0, |n| self.entries[n].at);
        let again = grant.map_or(0, |n| granted_at + self.before(n).configured().as_millis() as u64);
        Some((granted_at + life - (15 * MIN).min(life / 3)).max(again).max(self.rate_pause()))
    }
}

impl Says {
    fn answer(self, life: u64) -> Token {
        match self {
            Self::Wait(demand) => Token::Refused(Refusal::Limited { demand: demand.map(ms) }),
            Self::Yes | Self::No | Self::Ill(_) | Self::Nothing => Token::Granted(life),
        }
    }

    fn outcome(self) -> UsageOutcome {
        match self {
            Self::Yes => answered(),
            Self::Wait(demand) => limited(demand),
            Self::No => rejected(),
            Self::Ill(demand) => UsageOutcome::Failed { failure: Failure::Server(503), demand: Some(ms(demand)) },
            Self::Nothing => failed(Failure::Offline),
        }
    }
}

/// The policy and the reference, side by side.
struct Pair {
    world: World,
    past: Past,
    weather: Rc<RefCell<Says>>,
    /// What came back, request by request.
    said: Rc<RefCell<Vec<Says>>>,
    compared: usize,
    next_token: u16,
    wall_was_set: bool,
}

impl Pair {
    fn of_polls(dice: f64) -> Self {
        Self::new(vendors_file(), dice, None)
    }

    fn of_refreshes(dice: f64, life: u64) -> Self {
        Self::new(own_grant(), dice, Some(life))
    }

    fn new(mut rules: Rules, dice: f64, life: Option<u64>) -> Self {
        (rules.jitter, rules.gates.jitter, rules.auth.jitter) = (JITTER, JITTER, JITTER);
        let weather = Rc::new(RefCell::new(Says::Yes));
        let said = Rc::new(RefCell::new(Vec::new()));
        let world = World::new(rules).with_life(life.unwrap_or(4000 * DAY)).with_dice(Loaded(dice));
        let (sky, noted) = (weather.clone(), said.clone());
        let hear = move || {
            noted.borrow_mut().push(*sky.borrow());
            *sky.borrow()
        };
        let world = match life {
            None => world.with_usage(move |_| hear().outcome()),
            Some(life) => world.with_token(move |_| hear().answer(life)),
        };
        let mut past = Past { entries: Vec::new(), dice, life };
        past.note(0, Fact::Started);
        let mut pair = Self { world, past, weather, said, compared: 0, next_token: 2, wall_was_set: false };
        pair.pass(0);
        pair
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Pass(wait) => return self.pass(wait),
            Step::Weather(says) => *self.weather.borrow_mut() = says,
            Step::Restart => self.start(World::restart),
            // Across a boot the wall clock decides, and what a step of it does then is time.rs's own property.
            Step::Reboot(_) if self.wall_was_set => self.start(World::restart),
            Step::SetWall(_) if self.past.booted() > 0 => {}
            Step::Reboot(down) => {
                self.past.note(self.world.at + down, Fact::Booted);
                self.start(|world| world.reboot(down));
            }
            Step::Sleep(wait) => {
                self.world.sleep(wait);
                self.past.note(self.world.at, Fact::Woke);
            }
            Step::SetWall(by) => {
                self.world.step_wall(by);
                self.wall_was_set = true;
            }
            Step::Touch => self.world.feed(Input::Touched),
            Step::Token => return self.bring_token(),
            Step::Reload(interval) => {
                self.world.reload(|rules| rules.interval = ms(interval));
                self.past.note(self.world.at, Fact::Interval(interval));
            }
            Step::Poll => self.command(Command::Poll, Fact::Poll),
            Step::Pause => self.command(Command::Pause, Fact::Pause),
            Step::Resume => self.command(Command::Resume, Fact::Resume),
        }
        self.pass(0);
    }

    fn start(&mut self, start: impl FnOnce(&mut World)) {
        start(&mut self.world);
        self.past.note(self.world.at, Fact::Started);
    }

    fn command(&mut self, command: Command, fact: Fact) {
        self.world.command(command);
        self.past.note(self.world.at, fact);
    }

    /// The CLI writes a token, and the file is seen with it: after 250 ms, once the machine has settled, or when the
    /// next poll looks anyway.
    fn bring_token(&mut self) {
        let now = self.world.at;
        let login = self.world.login(self.next_token, 4000 * DAY);
        self.next_token += 1;
        let seen = (now + 250).min(self.past.next(now).unwrap_or(u64::MAX)).max(self.past.settled());
        self.world.write(login);
        self.pass((seen - now).saturating_sub(1));
        self.past.note(seen, Fact::NewToken);
        self.pass(S);
    }

    /// Lets time pass for the policy, and asks the reference about each request.
    fn pass(&mut self, wait: u64) {
        let (mut now, end) = (self.world.at, self.world.at + wait);
        self.world.run(wait);
        let sent = if self.past.life.is_some() { self.world.posted_at() } else { self.world.asked_at() };
        for &at in &sent[self.compared..] {
            let next = self.past.next(now);
            self.assert(next.is_some_and(|next| next.abs_diff(at) <= 1), &format!("asked at {at}, not at {next:?}"));
            self.past.note(at, Fact::Asked(self.said.borrow()[self.compared]));
            (now, self.compared) = (at, self.compared + 1);
        }
        let missed = self.past.next(now).filter(|next| *next < end);
        self.assert(missed.is_none(), &format!("did not ask at {missed:?}"));
        if self.past.life.is_some() {
            return;
        }
        let ahead = |at: Stamp| at.duration_since(self.world.now().stamp).as_millis() as i64;
        let shown = self.world.view().next_poll_at.map(|at| end.saturating_add_signed(ahead(at)));
        let due = self.past.due();
        let agree = shown.zip(due).map_or(shown == due, |(shown, due)| shown.abs_diff(due) <= 1);
        self.assert(agree, &format!("shows {shown:?} as the next poll, not {due:?}"));
    }

    fn assert(&self, agree: bool, what: &str) {
        let past: Vec<String> = self.past.entries.iter().map(|entry| format!("{entry:?}")).collect();
        assert!(agree, "the policy {what}, as the reference says; so far:\n{}", past.join("\n"));
    }
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![
        3 => Just(Says::Yes),
        2 => prop::option::of((1..5000_u64).prop_map(|s| s * S)).prop_map(Says::Wait),
        1 => (20..40_u64).prop_map(|hours| Says::Wait(Some(hours * HOUR))),
        2 => Just(Says::No),
        1 => (1..5000_u64).prop_map(|s| Says::Ill(s * S)),
        1 => Just(Says::Nothing),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..1200_u64).prop_map(|s| Step::Pass(s * S)),
        4 => (20..300_u64).prop_map(|minutes| Step::Pass(minutes * MIN)),
        6 => says().prop_map(Step::Weather),
        1 => Just(Step::Restart),
        1 => (0..90_u64).prop_map(|minutes| Step::Reboot(minutes * MIN)),
        1 => (1..90_u64).prop_map(|minutes| Step::Sleep(minutes * MIN)),
        1 => (-90..90_i64).prop_map(|minutes| Step::SetWall(minutes * 60_000)),
        1 => Just(Step::Touch),
        2 => Just(Step::Token),
        1 => prop::sample::select(vec![6, 10, 20, 45]).prop_map(|minutes| Step::Reload(minutes * MIN)),
        2 => Just(Step::Poll),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
    ]
}

/// What happens to a grant of quotad's own: nobody else writes its file, and its expiry is a matter of the wall clock.
fn quiet_step() -> impl Strategy<Value = Step> {
    let demand = prop::option::of((1..5000_u64).prop_map(|s| s * S));
    let weather = prop_oneof![Just(Says::Yes), demand.prop_map(Says::Wait)].prop_map(Step::Weather);
    prop_oneof![
        1 => weather,
        2 => step().prop_filter("of others", |step| {
            !matches!(step, Step::Weather(_) | Step::Token | Step::SetWall(_))
        }),
    ]
}

proptest! {
    #[test]
    fn a_poll_leaves_exactly_when_the_reference_says(
        story in prop::collection::vec(step(), 1..40),
        dice in prop::sample::select(vec![0.0, 0.5, 1.0]),
    ) {
        let mut pair = Pair::of_polls(dice);
        for step in story {
            pair.take(step);
        }
    }

    #[test]
    fn a_refresh_leaves_exactly_when_the_reference_says(
        story in prop::collection::vec(quiet_step(), 1..40),
        dice in prop::sample::select(vec![0.0, 0.5, 1.0]),
        life in prop::sample::select(vec![MIN, 15 * MIN, HOUR, 8 * HOUR]),
    ) {
        let mut pair = Pair::of_refreshes(dice, life);
        for step in story {
            pair.take(step);
        }
    }
}

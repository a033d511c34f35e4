//! The seasons: what the vendor, the network, the user and the machine do, day by day.
//!
//! A season is told in events, drawn from its seed before anyone moves: every keeper meets the same. Lengths and hours
//! are those of the field reports and of design.md; none is chosen for its outcome.

use std::time::Duration;

use quotad::demo::vendor::{Answer, Budget, RetryAfter, Reuse};

use super::host::Random;
use super::machine::{DAY, HOUR, MIN, Ms, S};

/// What a keeper may do with the credential file. The oracle is bound by it like quotad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mandate {
    /// A grant of the keeper's own: `refresh = "always"`.
    Own,
    /// The CLI's file: `refresh = "when-idle"`.
    WhenIdle,
    /// The CLI's file: `refresh = "never"`, the default.
    Never,
}

/// When the user logs in again, once the login is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// At nine o'clock.
    NextMorning,
    /// Six hours later. For a loss whose hour depends on when a keeper refreshes: with a fixed hour, the wait for the
    /// user would be what is compared.
    SixHoursLater,
}

impl User {
    /// Whether the user comes at `now`, a full hour.
    pub(crate) fn comes(self, gone_since: Ms, now: Ms) -> bool {
        match self {
            Self::NextMorning => now % DAY == 9 * HOUR,
            Self::SixHoursLater => now >= gone_since + 6 * HOUR,
        }
    }
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The usage endpoint answers so from here on.
    Usage(Answer),
    /// The token endpoint answers so from here on.
    Token(Answer),
    /// The next exchange is made, and its answer lost on the way.
    LoseNextGrant,
    /// The vendor ends the login.
    Revoke,
    /// Another program asks so often with this access token.
    Rival(u32),
    /// The user works with the CLI.
    Cli,
    /// The machine is suspended.
    Suspend,
    /// It resumes after so long.
    Resume(Ms),
    /// The keeper's process is killed and started again.
    Crash,
    /// Another hour: the user may see that the login is gone.
    Glance,
}

/// One kind of weather.
pub(crate) struct Scenario {
    /// Its row in the table.
    pub(crate) name: &'static str,
    pub(crate) mandate: Mandate,
    /// How long an access token lives.
    pub(crate) lease: Ms,
    pub(crate) reuse: Reuse,
    pub(crate) budget: Option<Budget>,
    pub(crate) user: User,
    events: fn(Ms, &mut Random) -> Vec<(Ms, Event)>,
}

/// A scenario whose tokens outlive it, on a keeper's own grant.
const CALM: Scenario = Scenario {
    name: "fair weather",
    mandate: Mandate::Own,
    lease: 60 * DAY,
    reuse: Reuse::RevokeFamily,
    budget: None,
    user: User::NextMorning,
    events: |_, _| Vec::new(),
};

/// The same with the vendor's usual eight hours.
const LEASED: Scenario = Scenario { lease: 8 * HOUR, ..CALM };

/// An answer with new tokens that never arrives.
const LOST_GRANT: Scenario =
    Scenario { name: "lost token response", user: User::SixHoursLater, events: lost_grant, ..LEASED };

/// Five requests a window, and 429 without advice after them.
const fn five_per(seconds: u64, restarts: bool, retry_after: RetryAfter) -> Budget {
    Budget { requests: 5, window: Duration::from_secs(seconds), restarts, retry_after }
}

/// A window that begins again at each refused request; another program fills it at the start and once a day.
const fn restarting(name: &'static str, seconds: u64) -> Scenario {
    let budget = Some(five_per(seconds, true, RetryAfter::Zero));
    Scenario { name, budget, events: |length, chance| daily(length, chance, |_, _| vec![(0, Event::Rival(6))]), ..CALM }
}

/// Every scenario, in the order of the table.
pub(crate) const ALL: &[Scenario] = &[
    CALM,
    Scenario { name: "nobody at the CLI, own grant", ..LEASED },
    Scenario { name: "budget of 5 an hour", budget: Some(five_per(3_600, false, RetryAfter::Absent)), ..CALM },
    restarting("window of 240 s restarts", 240),
    restarting("window of 600 s restarts", 600),
    restarting("window of 990 s restarts", 990),
    Scenario { name: "Retry-After of 1, 3, 6 h", events: demands, ..LEASED },
    Scenario { name: "outage of 6 h (529, 500)", events: outage, ..LEASED },
    Scenario { name: "login revoked at night", events: revoked, ..LEASED },
    Scenario { name: "valid token refused for 8 h", events: refused, ..LEASED },
    Scenario { name: "token endpoint 429 for 24 h", events: token_storm, ..LEASED },
    LOST_GRANT,
    Scenario { name: "the same, 1 h of grace", reuse: Reuse::Grace(Duration::from_secs(3_600)), ..LOST_GRANT },
    Scenario {
        name: "CLI shares the file (never)",
        mandate: Mandate::Never,
        reuse: Reuse::Refuse,
        events: shared,
        ..LEASED
    },
    Scenario {
        name: "CLI shares the file (when-idle)",
        mandate: Mandate::WhenIdle,
        reuse: Reuse::Refuse,
        events: shared,
        ..LEASED
    },
    Scenario { name: "the same, reuse revokes", mandate: Mandate::WhenIdle, events: shared, ..LEASED },
    Scenario { name: "laptop sleeps every night", events: nights, ..LEASED },
    Scenario { name: "crash loops inside a cooldown", events: crashes, ..LEASED },
];

impl Scenario {
    /// Whether a refused request begins the vendor's window again.
    pub(crate) fn restarts(&self) -> bool {
        self.budget.is_some_and(|budget| budget.restarts)
    }

    /// What happens within `length`, in order.
    pub(crate) fn events(&self, length: Ms, chance: &mut Random) -> Vec<(Ms, Event)> {
        let mut events = (self.events)(length, chance);
        events.extend((0..length / HOUR).map(|hour| (hour * HOUR, Event::Glance)));
        events.retain(|(at, _)| *at < length);
        events.sort_by_key(|(at, _)| *at);
        events
    }
}

/// The same each day, from an hour drawn between 10 and 16 o'clock on the second day on; the first day, at the start.
fn daily(length: Ms, chance: &mut Random, day: fn(u64, &mut Random) -> Vec<(Ms, Event)>) -> Vec<(Ms, Event)> {
    let mut events = Vec::new();
    for n in 0..length / DAY {
        let from = if n == 0 { 0 } else { n * DAY + between(chance, 10 * HOUR, 16 * HOUR) };
        events.extend(day(n, chance).into_iter().map(|(at, event)| (from + at, event)));
    }
    events
}

fn between(chance: &mut Random, low: Ms, high: Ms) -> Ms {
    chance.within(low, high)
}

/// A block of the usage endpoint, which says how long it still lasts, to the next minute.
fn block(length: Ms) -> Vec<(Ms, Event)> {
    let demand = |left: Ms| Event::Usage(Answer::RateLimited(RetryAfter::Seconds(left / S)));
    let minutes = (0..length / MIN).map(|minute| (minute * MIN, demand(length - minute * MIN)));
    minutes.chain([(length, Event::Usage(Answer::Normal))]).collect()
}

fn demands(length: Ms, chance: &mut Random) -> Vec<(Ms, Event)> {
    daily(length, chance, |day, _| block([1, 3, 6][day as usize % 3] * HOUR))
}

fn fault(code: u16) -> Answer {
    Answer::Status { code, headers: Vec::new(), body: String::new() }
}

/// Both endpoints, once, on the second day: overloaded at first, then broken.
fn outage(_: Ms, chance: &mut Random) -> Vec<(Ms, Event)> {
    let from = DAY + between(chance, 0, 12 * HOUR);
    let stage = |at, answer: Answer| [(at, Event::Usage(answer.clone())), (at, Event::Token(answer))];
    let stages = [(0, fault(529)), (3 * HOUR, fault(500)), (6 * HOUR, Answer::Normal)];
    stages.into_iter().flat_map(|(at, answer)| stage(from + at, answer)).collect()
}

fn revoked(_: Ms, chance: &mut Random) -> Vec<(Ms, Event)> {
    vec![(DAY + between(chance, 18 * HOUR, 23 * HOUR), Event::Revoke)]
}

/// 401 for every token, in the evening of the second day.
fn refused(_: Ms, chance: &mut Random) -> Vec<(Ms, Event)> {
    let body = r#"{"type":"error","error":{"type":"authentication_error","message":"Invalid bearer token"}}"#;
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let from = DAY + between(chance, 17 * HOUR, 20 * HOUR);
    let refusal = Answer::Status { code: 401, headers, body: body.to_owned() };
    vec![(from, Event::Usage(refusal)), (from + 8 * HOUR, Event::Usage(Answer::Normal))]
}

/// 429 without advice for each refresh, for a day and a night.
fn token_storm(_: Ms, chance: &mut Random) -> Vec<(Ms, Event)> {
    let from = between(chance, 8 * HOUR, 16 * HOUR);
    let limited = Answer::RateLimited(RetryAfter::Absent);
    vec![(from, Event::Token(limited)), (from + DAY, Event::Token(Answer::Normal))]
}

fn lost_grant(_: Ms, chance: &mut Random) -> Vec<(Ms, Event)> {
    vec![(DAY + between(chance, 0, 12 * HOUR), Event::LoseNextGrant)]
}

/// The CLI works through days of nine hours, as an agent does: a request every five seconds to a minute, each of which
/// may find that the token is about to expire.
fn shared(length: Ms, chance: &mut Random) -> Vec<(Ms, Event)> {
    let mut events = Vec::new();
    for day in 0..length / DAY {
        let (mut at, evening) = (day * DAY + 9 * HOUR, day * DAY + 18 * HOUR);
        while at < evening {
            at += between(chance, 5 * S, MIN);
            events.push((at, Event::Cli));
        }
    }
    events
}

/// Suspended from about eleven to about half past seven.
fn nights(length: Ms, chance: &mut Random) -> Vec<(Ms, Event)> {
    let mut events = Vec::new();
    for day in 1..length / DAY {
        let from = day * DAY - between(chance, 0, 2 * HOUR);
        let until = day * DAY + between(chance, 7 * HOUR, 8 * HOUR);
        events.extend([(from, Event::Suspend), (until, Event::Resume(until - from))]);
    }
    events
}

/// Each day a block of six hours that says so; inside it, two runs of a process that dies every five seconds for five
/// minutes (`Restart=always`, `RestartSec=5`), and one in the fair weather after it.
fn crashes(length: Ms, chance: &mut Random) -> Vec<(Ms, Event)> {
    daily(length, chance, |_, chance| {
        let mut events = block(6 * HOUR);
        for from in [HOUR, 4 * HOUR, 7 * HOUR] {
            let from = from + between(chance, 0, HOUR);
            events.extend((0..60).map(|n| (from + n * 5 * S, Event::Crash)));
        }
        events
    })
}

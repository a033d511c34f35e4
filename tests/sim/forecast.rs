//! What happens to the machine in one run, drawn from a seed before anything begins.
//!
//! A [`Forecast`] is the config, the climate and a list of events with their times. Each event has a number, so that a
//! failing run can be made again without some of them.

use std::time::Duration;

use quotad::demo::vendor::{Budget, RetryAfter, Reuse};
use quotad::model::{AccountName, CredentialOwner, Endpoint, ProviderId, RefreshMode};
use quotad::policy::account::{Command, Rules, Sources};
use quotad::policy::auth::AuthRules;
use quotad::policy::gate::GateRules;
use quotad::policy::ladder::Ladder;
use quotad::policy::refresh::RefreshRules;
use quotad::policy::rotation::Step;

use crate::books::Rungs;
use crate::host::{DAY, Deed, HOUR, MINUTE, Random, SECOND, Time};
use crate::weather::{Happening, Spell, Sprung};

/// Where an account's login comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A login of an account of its own.
    Own,
    /// A copy of account 0's file.
    Copy,
    /// Another login of account 0's account.
    Sibling,
}

/// What does not change within a run.
#[derive(Debug, Clone)]
pub(crate) struct Climate {
    /// What a replayed refresh token costs.
    pub reuse: Reuse,
    /// Whether a refresh brings a new refresh token.
    pub rotates: bool,
    /// How long access tokens live.
    pub lease: Duration,
    /// Whether expired access tokens are answered with 429.
    pub expired_answers_429: bool,
    /// Whether `.claude.json` names the account from the start.
    pub named: bool,
    /// How often the vendor's command has an effect, of four times.
    pub command_works: u64,
    /// Per account: where its login comes from.
    pub origins: Vec<Origin>,
}

/// Everything that a seed says.
#[derive(Debug, Clone)]
pub(crate) struct Forecast {
    /// The config, one entry an account.
    pub rules: Vec<Rules>,
    /// The ladders of each account's rate gates and auth pause, as the config words them.
    pub ladders: Vec<[Rungs; 2]>,
    /// What stays.
    pub climate: Climate,
    /// What happens, in order of time.
    pub events: Vec<(Time, Happening)>,
    /// When the run ends.
    pub end: Time,
}

impl Forecast {
    /// Draws a run of `days` days.
    pub(crate) fn draw(seed: u64, days: u64) -> Self {
        let mut random = Random::new(seed, 10);
        let accounts = if random.one_in(4) { 2 } else { 1 };
        let (rules, ladders) = (0..accounts).map(|n| rules(n, &mut random)).unzip();
        let origins = (0..accounts).map(|n| match (n, random.below(3)) {
            (0, _) | (_, 0) => Origin::Own,
            (_, 1) => Origin::Copy,
            _ => Origin::Sibling,
        });
        let climate = Climate {
            origins: origins.collect(),
            reuse: *random.pick(&[
                Reuse::RevokeFamily,
                Reuse::RevokeFamily,
                Reuse::Refuse,
                Reuse::Grace(Duration::ZERO),
                Reuse::Grace(Duration::from_secs(10)),
                Reuse::Grace(Duration::from_secs(3600)),
            ]),
            rotates: !random.one_in(8),
            lease: Duration::from_secs(60 * random.pick(&[480, 480, 480, 60, 15, 2880])),
            expired_answers_429: random.one_in(3),
            named: !random.one_in(4),
            command_works: random.below(5),
        };
        let mut forecast = Self { events: Vec::new(), end: days * DAY, rules, ladders, climate };
        forecast.habits(&mut random);
        forecast.storms(&mut random);
        forecast.events.sort_by_key(|(at, _)| *at);
        forecast
    }

    /// One account with a plain config, and these events; then the weather clears.
    pub(crate) fn told(mode: RefreshMode, named: bool, events: &[(Time, Happening)]) -> Self {
        let rungs = Rungs { waits: [5, 10, 20].map(|wait| wait * MINUTE).to_vec(), max: 6 * HOUR, jitter: 0.0 };
        let ladders = [rungs.clone(), rungs];
        let end = events.last().map_or(0, |(at, _)| *at) + 2 * DAY;
        Self {
            rules: vec![plain(0, mode, &ladders)],
            ladders: vec![ladders],
            climate: Climate {
                reuse: Reuse::RevokeFamily,
                rotates: true,
                lease: minutes(480),
                expired_answers_429: false,
                named,
                command_works: 4,
                origins: vec![Origin::Own],
            },
            events: events.iter().copied().chain([(end, Happening::Clears)]).collect(),
            end,
        }
    }

    /// What happens anyway: CLIs are used, and users notice in the end that their login is gone.
    fn habits(&mut self, random: &mut Random) {
        for n in 0..self.rules.len() {
            if self.rules[n].refresh.owner == CredentialOwner::Vendor {
                let lease = self.climate.lease.as_millis() as Time;
                let every = lease.max(4 * HOUR);
                let mut at = 0;
                while at < self.end {
                    at += random.within(every / 4, 2 * every);
                    self.events.push((at, Happening::CliRotates(n, random.within(200, 4_000))));
                }
            }
            let mut at = 0;
            while at < self.end {
                at += random.within(DAY / 2, 5 * DAY);
                self.events.push((at, Happening::LogsInIfLost(n)));
            }
        }
    }

    fn storms(&mut self, random: &mut Random) {
        let mut at = 0;
        let mut clears = random.within(5 * DAY, 12 * DAY);
        loop {
            // Now and then everything comes at once.
            at += if random.one_in(4) { random.within(1, 10 * MINUTE) } else { random.within(MINUTE, 20 * HOUR) };
            if at >= self.end {
                break;
            }
            let happening = if at >= clears {
                clears = at + random.within(5 * DAY, 12 * DAY);
                Happening::Clears
            } else {
                happening(self.rules.len(), random)
            };
            self.events.push((at, happening));
        }
        self.events.push((self.end, Happening::Clears));
    }
}

fn happening(accounts: usize, random: &mut Random) -> Happening {
    let n = random.below(accounts as u64) as usize;
    let short = random.within(SECOND, 20 * MINUTE);
    let long = random.within(10 * MINUTE, 20 * HOUR);
    let span = if random.one_in(2) { short } else { long };
    match random.below(46) {
        0..=7 => Happening::Usage(usage_spell(random), span),
        8..=15 => Happening::Token(token_spell(random), span),
        16 => Happening::Offline(span),
        17 => Happening::Refused(span),
        18 => Happening::ClientBudget(random.within(1, 6) as u32, span, advice(random)),
        19 => {
            let window = Duration::from_secs(random.within(4, 120) * 60);
            let budget = Budget {
                requests: random.within(1, 8) as u32,
                window,
                restarts: random.one_in(2),
                retry_after: advice(random),
            };
            Happening::TokenBudget(budget, random.within(HOUR, 2 * DAY))
        }
        20 => Happening::CliRotates(n, random.within(200, 20_000)),
        21 => Happening::RudeCliRotates(n),
        22 => Happening::CliLocks(n, random.within(SECOND, 3 * MINUTE)),
        23 => Happening::Logs(n),
        24 => Happening::Switches(n),
        25 => match random.below(5) {
            0 => Happening::SignsOut(n),
            1 => Happening::Removed(n, if random.one_in(2) { random.within(10, 9_000) } else { long }),
            2 => Happening::Torn(n, if random.one_in(2) { random.within(10, 3_000) } else { short }),
            3 => Happening::ExpiryUnsaid(n),
            _ => Happening::Named(n),
        },
        26 => Happening::Unsafe(n, span),
        27 => {
            if random.one_in(2) {
                Happening::Revoked(n)
            } else {
                Happening::Withdrawn(n)
            }
        }
        28 => Happening::Withdrawn(n),
        29..=30 => Happening::Crash(random.within(100, 10 * MINUTE)),
        31 => Happening::Stop(random.within(100, 10 * MINUTE)),
        32 => Happening::PowerCut(random.within(20 * SECOND, 8 * HOUR)),
        33..=36 => Happening::Trap(deed(random), sprung(random)),
        37 => Happening::StateFull(span),
        38 => Happening::Unwritable(n, span),
        39 => {
            if random.one_in(3) {
                Happening::StateLost(short)
            } else {
                Happening::Blind(long)
            }
        }
        40..=41 => Happening::Suspend(random.within(5 * MINUTE, 12 * HOUR)),
        42 => {
            let hours = i64::try_from(random.within(0, 72)).unwrap_or_default();
            Happening::WallStep(if random.one_in(3) { 0 } else { (hours - 36) * HOUR.cast_signed() })
        }
        43 => Happening::Reload(n, *random.pick(&INTERVALS)),
        44 => Happening::Asks(n, *random.pick(&[Command::Pause, Command::Resume])),
        _ => Happening::Asks(n, *random.pick(&[Command::Resume, Command::Poll, Command::Poll])),
    }
}

fn advice(random: &mut Random) -> RetryAfter {
    *random.pick(&[
        RetryAfter::Absent,
        RetryAfter::Absent,
        RetryAfter::Zero,
        RetryAfter::Seconds(30),
        RetryAfter::Seconds(990),
        RetryAfter::Seconds(7_200),
        RetryAfter::Seconds(10_000_000),
        RetryAfter::Date(Duration::from_secs(1_800)),
        RetryAfter::Date(Duration::ZERO),
        RetryAfter::Text("soon"),
        RetryAfter::Text("Thu, 01 Jan 1970 00:16:30 GMT"),
    ])
}

fn usage_spell(random: &mut Random) -> Spell {
    if random.one_in(3) {
        return Spell::Limits(advice(random));
    }
    *random.pick(&[
        Spell::Fails(500),
        Spell::Fails(502),
        Spell::Fails(408),
        Spell::Overloaded,
        Spell::Unavailable(1_200),
        Spell::Page(403),
        Spell::Page(200),
        Spell::Page(503),
        Spell::Moved,
        Spell::Missing,
        Spell::Truncated,
        Spell::Nan,
        Spell::TooLong,
        Spell::Drops,
        Spell::Silent,
        Spell::LosesAnswers,
        Spell::HalfBodies,
        Spell::Drips,
        Spell::Unauthorized,
        Spell::Unauthorized,
        Spell::NoScope,
        Spell::Billing,
    ])
}

fn token_spell(random: &mut Random) -> Spell {
    if random.one_in(4) {
        return Spell::Limits(advice(random));
    }
    *random.pick(&[
        Spell::Fails(500),
        Spell::Fails(503),
        Spell::Page(403),
        Spell::Moved,
        Spell::Missing,
        Spell::Truncated,
        Spell::TooLong,
        Spell::Drops,
        Spell::Silent,
        Spell::LosesAnswers,
        Spell::LosesAnswers,
        Spell::LosesAnswers,
        Spell::FailsAfter,
        Spell::FailsAfter,
        Spell::HalfBodies,
        Spell::HalfBodies,
        Spell::Drips,
        Spell::InvalidGrant,
    ])
}

fn deed(random: &mut Random) -> Deed {
    if random.one_in(4) {
        return *random.pick(&[
            Deed::Look,
            Deed::Ask,
            Deed::Store,
            Deed::Hear(Endpoint::Usage),
            Deed::Hear(Endpoint::Token),
        ]);
    }
    Deed::Step(*random.pick(&Step::ALL))
}

fn sprung(random: &mut Random) -> Sprung {
    *random.pick(&[
        Sprung::Kill,
        Sprung::Kill,
        Sprung::Kill,
        Sprung::PowerCut,
        Sprung::Login,
        Sprung::Logout,
        Sprung::RudeCli,
        Sprung::BrokenLock,
        Sprung::FullDisk,
    ])
}

/// In minutes.
const INTERVALS: [u64; 8] = [10, 60, 120, 180, 240, 360, 360, 720];

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

fn rungs(jitter: f64, random: &mut Random) -> Rungs {
    let (waits, max) = *random.pick(&[
        (&[5, 10, 20][..], 360),
        (&[5, 10, 20], 360),
        (&[5, 10, 20], 20),
        (&[7], 120),
        (&[10, 10, 60], 240),
    ]);
    Rungs { waits: waits.iter().map(|wait| wait * MINUTE).collect(), max: max * MINUTE, jitter }
}

/// An account's config before anything is drawn: the defaults, without jitter, polling every hour.
fn plain(n: usize, mode: RefreshMode, [gate, auth]: &[Rungs; 2]) -> Rules {
    let ladder = |rungs: &Rungs| {
        let waits = rungs.waits.iter().map(|wait| Duration::from_millis(*wait));
        Ladder::new(waits.collect(), Duration::from_millis(rungs.max))
    };
    let name = ["first", "second"][n];
    let owner = if mode == RefreshMode::Always { CredentialOwner::Quotad } else { CredentialOwner::Vendor };
    Rules {
        name: AccountName::parse(name).expect("a name"),
        provider: ProviderId::new("claude"),
        credentials: format!("/home/u/{name}/.credentials.json").into(),
        origin: "https://api.example.test".to_owned(),
        interval: minutes(60),
        floor: minutes(5),
        jitter: gate.jitter,
        spread: Duration::ZERO,
        retries: 10,
        retry_base: Duration::from_millis(500),
        retry_max: Duration::from_secs(32),
        overloaded_fallback: 3,
        sources: Sources::Api,
        usage_scope: Some("user:profile"),
        foretells: true,
        login_command: "claude /login".to_owned(),
        gates: GateRules { ladder: ladder(gate), max_retry_after: minutes(1440), jitter: gate.jitter },
        auth: AuthRules { after: 3, ladder: ladder(auth), jitter: gate.jitter },
        refresh: RefreshRules {
            mode,
            owner,
            read_only: false,
            retries: 2,
            retry_base: Duration::from_millis(500),
            before_expiry: minutes(15),
            idle_grace: minutes(10),
        },
    }
}

fn rules(n: usize, random: &mut Random) -> (Rules, [Rungs; 2]) {
    let jitter = *random.pick(&[0.1, 0.1, 0.0, 0.5]);
    let ladders = [rungs(jitter, random), rungs(jitter, random)];
    let mode = *random.pick(&[
        RefreshMode::Always,
        RefreshMode::Always,
        RefreshMode::Always,
        RefreshMode::WhenIdle,
        RefreshMode::WhenIdle,
        RefreshMode::Never,
        RefreshMode::Command,
    ]);
    let mut rules = plain(n, mode, &ladders);
    rules.interval = minutes(*random.pick(&INTERVALS));
    rules.retries = *random.pick(&[10, 10, 3, 0]);
    rules.gates.max_retry_after = minutes(*random.pick(&[1440, 1440, 60]));
    rules.auth.after = *random.pick(&[3, 3, 1, 5]);
    rules.refresh.retries = *random.pick(&[2, 2, 0]);
    rules.refresh.before_expiry = minutes(*random.pick(&[15, 15, 5]));
    (rules, ladders)
}

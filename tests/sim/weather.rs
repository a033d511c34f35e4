//! What happens to the machine in one run, drawn from a seed before anything begins.
//!
//! A [`Forecast`] is the config, the climate and a list of events with their times. Each event has a name, so that a
//! run can be told, and a number, so that a failing run can be made again without some of them.

use std::fmt;
use std::time::Duration;

use quotad::demo::vendor::{Answer, Budget, Garbage, RetryAfter, Reuse};
use quotad::model::{AccountName, CredentialOwner, ProviderId, RefreshMode};
use quotad::policy::account::{Command, Rules};
use quotad::policy::auth::AuthRules;
use quotad::policy::gate::GateRules;
use quotad::policy::ladder::Ladder;
use quotad::policy::refresh::RefreshRules;
use quotad::policy::rotation::Step;

use crate::books::Rungs;
use crate::host::{DAY, Deed, HOUR, MINUTE, Random, SECOND, Time};

/// How an endpoint behaves instead of well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spell {
    /// 5xx or 408.
    Fails(u16),
    /// 529.
    Overloaded,
    /// 503 with `Retry-After`.
    Unavailable(u64),
    /// 429.
    Limits(RetryAfter),
    /// A page of the edge.
    Page(u16),
    /// 307.
    Moved,
    /// 404 without a body.
    Missing,
    /// Half the JSON as if it were whole.
    Truncated,
    /// JSON with NaN in it.
    Nan,
    /// More than 1 MiB.
    TooLong,
    /// The connection ends before the request is processed.
    Drops,
    /// No answer; not processed.
    Silent,
    /// Processed, and the answer lost.
    LosesAnswers,
    /// Processed, then 500.
    FailsAfter,
    /// Processed, and half the answer arrives.
    HalfBodies,
    /// The answer comes in pieces.
    Drips,
    /// 401 for a good token.
    Unauthorized,
    /// 403 for want of a scope.
    NoScope,
    /// 402.
    Billing,
    /// `invalid_grant` for a good refresh token.
    InvalidGrant,
}

impl Spell {
    /// For the vendor's script; `None` where the network does it.
    pub(crate) fn answer(self) -> Option<Answer> {
        let said = |code: u16, body: &str| Answer::Status { code, headers: Vec::new(), body: body.to_owned() };
        Some(match self {
            Self::Fails(code) => said(code, r#"{"error":{"type":"api_error","message":"Internal server error"}}"#),
            Self::Overloaded => said(529, r#"{"error":{"type":"overloaded_error","message":"Overloaded"}}"#),
            Self::Unavailable(seconds) => Answer::Status {
                code: 503,
                headers: vec![("retry-after".to_owned(), seconds.to_string())],
                body: "{}".to_owned(),
            },
            Self::Limits(advice) => Answer::RateLimited(advice),
            Self::Page(code) => Answer::Html(code),
            Self::Moved => Answer::Redirect("https://elsewhere.example.test/".to_owned()),
            Self::Missing => said(404, ""),
            Self::Truncated => Answer::Garbage(Garbage::Truncated),
            Self::Nan => Answer::Garbage(Garbage::Nan),
            Self::TooLong => return None,
            Self::Drops => Answer::DropBefore,
            Self::Silent => Answer::Hang,
            Self::LosesAnswers => Answer::LoseResponse,
            Self::FailsAfter => Answer::ServerErrorAfter,
            Self::HalfBodies => Answer::HalfBody,
            Self::Drips => Answer::Drip { delay: Duration::from_millis(300) },
            Self::Unauthorized => said(
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"Invalid bearer token"}}"#,
            ),
            Self::NoScope => said(
                403,
                r#"{"error":{"type":"permission_error","message":"OAuth token does not meet scope requirement"}}"#,
            ),
            Self::Billing => said(402, r#"{"error":{"type":"billing_error","message":"Payment required"}}"#),
            Self::InvalidGrant => {
                said(400, r#"{"error":"invalid_grant","error_description":"Refresh token not found or invalid"}"#)
            }
        })
    }
}

/// What a trap does when the process comes to the deed it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sprung {
    /// kill -9.
    Kill,
    /// The power fails.
    PowerCut,
    /// The user logs in anew.
    Login,
    /// The user signs out.
    Logout,
    /// A CLI that knows no locks rotates the file.
    RudeCli,
    /// Somebody breaks the locks.
    BrokenLock,
    /// The disk fills up for ten minutes.
    FullDisk,
}

/// Something that happens. The first number is the account.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Happening {
    /// The usage endpoint has a bad spell.
    Usage(Spell, Time),
    /// The token endpoint has one.
    Token(Spell, Time),
    /// No network.
    Offline(Time),
    /// Nobody listens at the vendor's address.
    Refused(Time),
    /// Each client may make so many usage requests a window.
    ClientBudget(u32, Time, RetryAfter),
    /// Each access token may.
    TokenBudget(Budget, Time),
    /// The vendor's CLI refreshes its file under its locks; for so long.
    CliRotates(usize, Time),
    /// A CLI that knows no locks does.
    RudeCliRotates(usize),
    /// The vendor's CLI holds its lock and changes nothing.
    CliLocks(usize, Time),
    /// The user logs in to the same account.
    Logs(usize),
    /// The user logs in if anything is wrong with the login.
    LogsInIfLost(usize),
    /// The user logs in to another account.
    Switches(usize),
    /// The vendor empties the tokens.
    SignsOut(usize),
    /// The file disappears for so long.
    Removed(usize, Time),
    /// The file is half written for so long.
    Torn(usize, Time),
    /// The file says nothing of its expiry from now on.
    ExpiryUnsaid(usize),
    /// `.claude.json` names the account from now on.
    Named(usize),
    /// The file lies where a refresh is not safe, for so long.
    Unsafe(usize, Time),
    /// The vendor revokes the login.
    Revoked(usize),
    /// The vendor forgets the access token.
    Withdrawn(usize),
    /// kill -9, and a start after so long.
    Crash(Time),
    /// SIGTERM, and a start after so long.
    Stop(Time),
    /// The power fails for so long.
    PowerCut(Time),
    /// The next time the process comes to this deed, that happens.
    Trap(Deed, Sprung),
    /// The state directory takes no writes.
    StateFull(Time),
    /// The credential directory takes none.
    Unwritable(usize, Time),
    /// `state.db` is damaged while the process is killed and started.
    StateLost(Time),
    /// The watch misses every change.
    Blind(Time),
    /// The machine sleeps.
    Suspend(Time),
    /// Somebody sets the wall clock so far from the truth, in milliseconds.
    WallStep(i64),
    /// The config is read again with this interval, in minutes.
    Reload(usize, u64),
    /// A person asks for something.
    Asks(usize, Command),
    /// Bad weather ends, and everyone sees to what is theirs: quotad must come back.
    Clears,
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |time: &Time| Span(*time);
        match self {
            Self::Usage(spell, time) => write!(f, "usage endpoint: {spell:?} for {}", span(time)),
            Self::Token(spell, time) => write!(f, "token endpoint: {spell:?} for {}", span(time)),
            Self::Offline(time) => write!(f, "no network for {}", span(time)),
            Self::Refused(time) => write!(f, "connections refused for {}", span(time)),
            Self::ClientBudget(n, time, advice) => {
                write!(f, "{n} usage requests a client in {} ({advice:?})", span(time))
            }
            Self::TokenBudget(budget, time) => write!(f, "{budget:?} for {}", span(time)),
            Self::CliRotates(n, time) => write!(f, "account {n}: the CLI refreshes, under locks for {}", span(time)),
            Self::RudeCliRotates(n) => write!(f, "account {n}: a CLI refreshes without locks"),
            Self::CliLocks(n, time) => write!(f, "account {n}: the CLI holds its lock for {}", span(time)),
            Self::Logs(n) => write!(f, "account {n}: the user logs in"),
            Self::LogsInIfLost(n) => write!(f, "account {n}: the user logs in if need be"),
            Self::Switches(n) => write!(f, "account {n}: the user logs in to another account"),
            Self::SignsOut(n) => write!(f, "account {n}: the vendor empties the file"),
            Self::Removed(n, time) => write!(f, "account {n}: the file is gone for {}", span(time)),
            Self::Torn(n, time) => write!(f, "account {n}: the file is torn for {}", span(time)),
            Self::ExpiryUnsaid(n) => write!(f, "account {n}: the file no longer says when its token expires"),
            Self::Named(n) => write!(f, "account {n}: .claude.json names the account"),
            Self::Unsafe(n, time) => write!(f, "account {n}: refreshing is unsafe for {}", span(time)),
            Self::Revoked(n) => write!(f, "account {n}: the vendor revokes the login"),
            Self::Withdrawn(n) => write!(f, "account {n}: the vendor forgets the access token"),
            Self::Crash(time) => write!(f, "kill -9, back after {}", span(time)),
            Self::Stop(time) => write!(f, "SIGTERM, back after {}", span(time)),
            Self::PowerCut(time) => write!(f, "the power fails for {}", span(time)),
            Self::Trap(deed, sprung) => write!(f, "at the next {deed:?}: {sprung:?}"),
            Self::StateFull(time) => write!(f, "the state directory takes no writes for {}", span(time)),
            Self::Unwritable(n, time) => write!(f, "account {n}: its directory takes no writes for {}", span(time)),
            Self::StateLost(time) => write!(f, "kill -9 and state.db damaged, back after {}", span(time)),
            Self::Blind(time) => write!(f, "the watch sees nothing for {}", span(time)),
            Self::Suspend(time) => write!(f, "suspend for {}", span(time)),
            Self::WallStep(by) => write!(f, "the wall clock is set {} s from the truth", by / 1000),
            Self::Reload(n, minutes) => write!(f, "account {n}: reload with interval {minutes} min"),
            Self::Asks(n, command) => write!(f, "account {n}: `quotad {command:?}`"),
            Self::Clears => f.write_str("the weather clears"),
        }
    }
}

/// A length of time, for people.
pub(crate) struct Span(pub Time);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms < 10 * SECOND => write!(f, "{ms} ms"),
            ms if ms < 2 * MINUTE => write!(f, "{} s", ms / SECOND),
            ms if ms < 3 * HOUR => write!(f, "{} min", ms / MINUTE),
            ms if ms < 3 * DAY => write!(f, "{} h", ms / HOUR),
            ms => write!(f, "{} d", ms / DAY),
        }
    }
}

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
    use quotad::model::Endpoint;
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
const INTERVALS: [u64; 6] = [10, 30, 60, 120, 240, 360];

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

fn rules(n: usize, random: &mut Random) -> (Rules, [Rungs; 2]) {
    let jitter = *random.pick(&[0.1, 0.1, 0.0, 0.5]);
    let ladders = [rungs(jitter, random), rungs(jitter, random)];
    let [gate, auth] = ladders.clone().map(|rungs| {
        Ladder::new(rungs.waits.into_iter().map(Duration::from_millis).collect(), Duration::from_millis(rungs.max))
    });
    let (mode, owner) = *random.pick(&[
        (RefreshMode::Always, CredentialOwner::Quotad),
        (RefreshMode::Always, CredentialOwner::Quotad),
        (RefreshMode::Always, CredentialOwner::Quotad),
        (RefreshMode::WhenIdle, CredentialOwner::Vendor),
        (RefreshMode::WhenIdle, CredentialOwner::Vendor),
        (RefreshMode::Never, CredentialOwner::Vendor),
        (RefreshMode::Command, CredentialOwner::Vendor),
    ]);
    let name = ["first", "second"][n];
    let rules = Rules {
        name: AccountName::parse(name).expect("a name"),
        provider: ProviderId::Claude,
        credentials: format!("/home/u/{name}/.credentials.json"),
        origin: "https://api.example.test".to_owned(),
        interval: minutes(*random.pick(&INTERVALS)),
        floor: minutes(5),
        jitter,
        retries: *random.pick(&[10, 10, 3, 0]),
        retry_base: Duration::from_millis(500),
        retry_max: Duration::from_secs(32),
        overloaded_fallback: 3,
        has_other_source: false,
        usage_scope: Some("user:profile"),
        login_command: "claude /login".to_owned(),
        gates: GateRules { ladder: gate, max_retry_after: minutes(*random.pick(&[1440, 1440, 60])), jitter },
        auth: AuthRules { after: *random.pick(&[3, 3, 1, 5]), ladder: auth, jitter },
        refresh: RefreshRules {
            mode,
            owner,
            read_only: false,
            retries: *random.pick(&[2, 2, 0]),
            retry_base: Duration::from_millis(500),
            before_expiry: minutes(*random.pick(&[15, 15, 5])),
            idle_grace: minutes(10),
        },
    };
    (rules, ladders)
}

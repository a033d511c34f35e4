//! The arithmetic of waiting, done again naively: a pause with its ladder, a login's book, a file's book, a token's.
//!
//! Every moment here is true time, and every wait a lower bound without jitter, beside the latest end with it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::host::{MINUTE, Time};

/// A duration in [`Time`], no longer than a century.
pub(crate) fn time(wait: Duration) -> Time {
    wait.as_millis().min(100 * 366 * 24 * 3_600_000) as Time
}

/// A ladder, as the config words it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rungs {
    /// The waits.
    pub waits: Vec<Time>,
    /// The longest.
    pub max: Time,
    /// Up to this share comes on top.
    pub jitter: f64,
}

impl Rungs {
    /// The wait at a rung: as configured, then doubling to the cap.
    pub(crate) fn wait(&self, rung: u32) -> Time {
        let mut wait = self.waits[(rung as usize).min(self.waits.len() - 1)];
        for _ in self.waits.len()..=rung as usize {
            wait = (wait * 2).min(self.max);
        }
        wait
    }
}

/// One of the three pauses.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pause {
    /// Refusals since the last success.
    pub failures: u32,
    /// The rung of the incident, or of the last one.
    pub rung: u32,
    /// Whether an incident is open.
    pub open: bool,
    /// A run that begins before this goes on at the next rung.
    pub relapse_until: Time,
    /// When the current run of failures began.
    pub began: Option<Time>,
    /// After a reboot under a wrong wall clock nobody can tell whether, and how long, a relapse still counts.
    pub fuzzy: bool,
    /// Nothing may leave before.
    pub until: Time,
    /// With jitter, nothing need wait longer.
    pub until_at_most: Time,
    /// What the machine's wall clock was to show at `until`, and how long the wait was.
    pub wall: (i64, Time),
    /// Everything that may have taken a rung: an upper bound of it.
    pub strikes: u32,
    /// A success forgets them from then on.
    pub struck_until: Time,
    /// The one early probe of the incident has been sent.
    pub early_spent: bool,
}

impl Pause {
    /// Takes a rung.
    pub(crate) fn refuse(&mut self, now: Time, demand: Option<Time>, rungs: &Rungs, wall: i64) {
        let began = self.began.unwrap_or(now);
        self.rung = if self.open || began < self.relapse_until { self.rung + 1 } else { 0 };
        self.open = true;
        self.relapse_until = 0;
        self.strike(now, rungs);
        self.hold(now, rungs.wait(self.rung).max(demand.unwrap_or(0)), rungs.jitter, wall);
    }

    /// Something that may have taken a rung.
    pub(crate) fn strike(&mut self, now: Time, rungs: &Rungs) {
        self.strikes += 1;
        self.struck_until = 0;
        let wait = rungs.wait(self.strikes.min(40));
        self.until_at_most = self.until_at_most.max(now + wait + (wait as f64 * rungs.jitter) as Time + 1);
    }

    /// Waits, without a rung.
    pub(crate) fn hold(&mut self, now: Time, wait: Time, jitter: f64, wall: i64) {
        if now + wait > self.until {
            self.until = now + wait;
            self.wall = (wall + wait.cast_signed(), wait);
        }
        self.until_at_most = self.until_at_most.max(now + wait + (wait as f64 * jitter) as Time + 1);
    }

    /// A success closes the incident.
    pub(crate) fn succeed(&mut self, now: Time, rungs: &Rungs, two_intervals: Time) {
        if self.open {
            self.open = false;
            self.relapse_until = now + rungs.wait(self.rung).max(two_intervals);
        }
        if self.strikes > 0 && self.struck_until == 0 {
            self.struck_until = now + rungs.wait(self.strikes.min(40)).max(two_intervals);
        } else if now >= self.struck_until {
            (self.strikes, self.struck_until) = (0, 0);
        }
        self.failures = 0;
        self.began = None;
        self.early_spent = false;
        self.lift();
    }

    /// Ends the wait, not the incident.
    pub(crate) fn lift(&mut self) {
        self.until = 0;
        self.until_at_most = 0;
    }

    /// The machine came up again: by its wall clock, no less than this is left.
    pub(crate) fn reboot(&mut self, now: Time, wall: i64, is_dated_well: bool) {
        let left = (self.wall.0 - wall).clamp(0, self.wall.1.cast_signed()).cast_unsigned();
        if self.until > now {
            self.until = self.until.min(now + left);
        }
        // A clock that was set back lengthens a wait to what it was in full at most.
        if self.until_at_most > now {
            self.until_at_most = self.until_at_most.max(now + 2 * self.wall.1);
        }
        // One that is over comes back with a clock that was set back.
        self.fuzzy |= !is_dated_well && self.relapse_until > 0;
    }
}

/// What is known of a login: its gates and its pace.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct LoginBook {
    /// The last usage request.
    pub last: Option<Time>,
    /// How much longer than configured the interval is.
    pub excess: Time,
    /// The gate of the usage endpoint.
    pub usage: Pause,
    /// The gate of the token endpoint.
    pub token: Pause,
    /// The access tokens that were refused in the open incident.
    pub refused: BTreeSet<String>,
}

impl LoginBook {
    /// The interval in force.
    pub(crate) fn interval(&self, configured: Time) -> Time {
        configured + self.excess.min(3 * configured)
    }

    /// An incident: twice as long, four times at most.
    pub(crate) fn slow_down(&mut self, configured: Time) {
        self.excess = (2 * self.interval(configured)).min(4 * configured) - configured;
    }

    /// A success takes a tenth of the excess.
    pub(crate) fn recover(&mut self, configured: Time) {
        self.excess = self.excess.min(3 * configured);
        self.excess -= self.excess / 10;
        // Rounded down, as a bound must be.
        if self.excess <= configured / 100 + 50 {
            self.excess = 0;
        }
    }

    /// Of what is known under two names, the harsher.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.last = self.last.max(other.last);
        self.excess = self.excess.max(other.excess);
        for (own, other) in [(&mut self.usage, &other.usage), (&mut self.token, &other.token)] {
            if other.until > own.until || (other.until == own.until && other.open && !own.open) {
                *own = other.clone();
            }
        }
    }
}

/// A kind of poll that brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Retries used up.
    Transient,
    /// No network.
    Offline,
    /// An edge page.
    Challenge,
    /// Not understood.
    Garbage,
    /// Not there.
    Gone,
    /// Not allowed.
    NoPermission,
}

impl Kind {
    /// The wait after the `count`th in a row.
    pub(crate) fn wait(self, count: u32, interval: Time) -> Time {
        let doubled = |first: Time, max: Time| (0..count.saturating_sub(1)).fold(first, |wait, _| (2 * wait).min(max));
        let wait = match self {
            Self::Transient => doubled(interval, 4 * interval),
            Self::Offline => interval,
            Self::Challenge => doubled(30 * MINUTE, 360 * MINUTE),
            Self::Garbage => 60 * MINUTE,
            Self::Gone => 360 * MINUTE,
            Self::NoPermission => 1440 * MINUTE,
        };
        wait.max(interval)
    }
}

/// How an account's polling goes: stored with its login.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PollBook {
    /// Its own last usage request.
    pub last: Option<Time>,
    /// The interval when the next poll was drawn.
    pub interval: Time,
    /// The kind of the last polls that brought nothing, and how many in a row.
    pub setback: Option<(Kind, u32)>,
    /// The kind that the last poll ended with; `None` when it brought a reading, or was cut off.
    pub ended_so: Option<Kind>,
    /// A person asked for a poll since.
    pub asked_for: bool,
}

impl PollBook {
    /// Another poll without a reading.
    pub(crate) fn set_back(&mut self, kind: Kind) {
        self.ended_so = Some(kind);
        // Without a network nothing is counted, and no count is forgotten.
        if kind != Kind::Offline {
            let before = self.setback.filter(|(was, _)| *was == kind);
            self.setback = Some((kind, before.map_or(0, |(_, count)| count) + 1));
        }
    }

    /// How long the last poll asks to wait: what cut it off before its end asks for nothing.
    pub(crate) fn wait(&self) -> Time {
        match (self.ended_so, self.setback) {
            (Some(Kind::Offline) | None, _) | (_, None) => self.interval,
            (Some(kind), Some((_, count))) => kind.wait(count, self.interval).max(self.interval),
        }
    }

    /// Whether the vendor forbids the answer: then a person's wish changes nothing.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.ended_so == Some(Kind::NoPermission)
    }
}

/// What is stored with a credential file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FileBook {
    /// Rejected tokens.
    pub auth: Pause,
    /// The rung of the pause has had its refresh.
    pub refreshed: bool,
    /// Paused by the user.
    pub paused: bool,
    /// An interval from the last grant: no refresh for the sake of expiry before.
    pub granted_until: Time,
    /// The vendor's command was started: when, and for which token.
    pub runs: Vec<(Time, String)>,
    /// The access token last seen in it.
    pub seen: Option<String>,
    /// The account it is known to belong to.
    pub identity: Option<String>,
}

/// What is known of a refresh token.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a verdict of its own")]
pub(crate) struct TokenBook {
    /// Posts whose outcome nobody knows.
    pub unknown: u32,
    /// The same before the post under way.
    pub unknown_before: u32,
    /// A post is under way.
    pub under_way: bool,
    /// Refused for good.
    pub dead: bool,
    /// A different successor came.
    pub spent: bool,
    /// The verdict is on disk.
    pub stored: bool,
    /// Tried once more by `resume`.
    pub retried: bool,
}

/// A value as the process has it, as a killed process finds it again, and as a power cut leaves it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept<T> {
    /// In memory.
    pub live: T,
    /// Written.
    pub stored: T,
    /// Synced.
    pub synced: T,
}

impl<T: Clone> Kept<T> {
    /// It was written.
    pub(crate) fn store(&mut self, durable: bool) {
        self.stored = self.live.clone();
        if durable {
            self.synced = self.live.clone();
        }
    }

    /// The process is gone.
    pub(crate) fn die(&mut self, power: bool) {
        if power {
            self.stored = self.synced.clone();
        }
        self.live = self.stored.clone();
    }
}

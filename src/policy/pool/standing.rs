//! How one login stands with the clients that use it: what they reported, and what that keeps it out for.
//!
//! Three pauses, because they end for different reasons: a rate limit by time alone, a refused login when it works
//! again, an unpaid bill much later. Besides, a login that was refused for good, which no time brings back. The rungs
//! are those of [`Cooldown`]; the passing of a wait grants one request, whose report decides.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PoolRules;
use crate::model::{Fingerprint, Outcome};
use crate::policy::cooldown::{Cooldown, CooldownRecord};
use crate::policy::ladder::Ladder;
use crate::policy::time::{BootId, Deadline, Dice, Moment, Now, jittered};

/// How long the one request that decides may take to report before another one may.
const PROBE: Duration = Duration::from_mins(2);
/// An account whose last report was a failure without a pause stands behind the others for this long.
const DOUBTED: Duration = Duration::from_mins(5);

/// One report, as far as a login's standing depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Booking<'a> {
    pub(super) outcome: Outcome,
    /// The vendor's own figure.
    pub(super) demand: Option<Duration>,
    /// The model that a refusal is limited to.
    pub(super) model: Option<&'a str>,
    /// The access token in the file now; `None` where there is none.
    pub(super) token: Option<Fingerprint>,
    /// Twice the account's interval: see [`Cooldown::close`].
    pub(super) two_intervals: Duration,
}

/// Why a login is out, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Out {
    pub(super) why: &'static str,
    pub(super) until: Option<Moment>,
}

/// One login, as its clients see it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Standing {
    rate: Cooldown,
    /// Rate limits that are about one model, by its name.
    models: BTreeMap<String, Cooldown>,
    auth: Cooldown,
    billing: Cooldown,
    /// The token that was refused for good.
    dead: Option<Fingerprint>,
    /// What `auth` is about.
    refused: Option<Fingerprint>,
    /// A wait has passed, and one request under way decides; no other before then.
    probe_until: Option<Moment>,
    doubted_until: Option<Moment>,
}

impl Standing {
    /// Takes a report in. Returns whether a pause began.
    pub(super) fn book(&mut self, said: &Booking<'_>, rules: &PoolRules, now: Moment, dice: &mut dyn Dice) -> bool {
        let mut refuse = |pause: &mut Cooldown, ladder: &Ladder, demand: Option<Duration>| {
            refuse(pause, ladder, demand.map(|wait| wait.min(rules.max_retry_after)), rules.jitter, now, dice)
        };
        // A caller that gave up, or sent what no account could have answered, has not found out what is asked.
        if !matches!(said.outcome, Outcome::Aborted | Outcome::Refused) {
            self.probe_until = None;
        }
        match said.outcome {
            Outcome::Ok => {
                self.succeed(said, rules, now);
                false
            }
            Outcome::RateLimited => {
                let pause = match said.model {
                    Some(model) => self.models.entry(model.to_lowercase()).or_default(),
                    None => &mut self.rate,
                };
                refuse(pause, &rules.rate, said.demand)
            }
            Outcome::Billing => refuse(&mut self.billing, &rules.billing, said.demand),
            Outcome::Auth => {
                self.doubt(now);
                if self.refused != said.token {
                    (self.refused, self.auth) = (said.token, Cooldown::default());
                }
                let is_probe = self.auth.is_open() && self.auth.admits(now);
                // What is under way when the pause begins is refused as well, and says nothing new.
                let trips = self.auth.admits(now) && (self.auth.count() >= rules.auth_after || is_probe);
                trips && refuse(&mut self.auth, &rules.auth, None)
            }
            Outcome::AuthPermanent => {
                let is_new = said.token.is_some() && self.dead != said.token;
                self.dead = said.token.or(self.dead);
                is_new
            }
            Outcome::Timeout => {
                self.doubt(now);
                false
            }
            // The vendor's trouble, not the account's.
            Outcome::Overloaded | Outcome::Aborted | Outcome::Refused => false,
        }
    }

    fn doubt(&mut self, now: Moment) {
        self.doubted_until = Some(now + DOUBTED);
    }

    /// A success ends what has been waited for. A wait that still runs is served: it may have been sent before.
    fn succeed(&mut self, said: &Booking<'_>, rules: &PoolRules, now: Moment) {
        self.doubted_until = None;
        let close = |pause: &mut Cooldown, ladder: &Ladder| {
            if pause.admits(now) {
                pause.close(ladder, said.two_intervals, now);
            }
        };
        close(&mut self.rate, &rules.rate);
        close(&mut self.billing, &rules.billing);
        self.models.values_mut().for_each(|pause| close(pause, &rules.rate));
        self.models.retain(|_, pause| *pause != Cooldown::default());
        // That the login works is what the wait was for.
        if self.refused == said.token {
            self.auth.close(&rules.auth, said.two_intervals, now);
        }
    }

    /// The daemon's own poll was answered with this token: it is good.
    pub(super) fn vindicate(&mut self, token: Fingerprint) -> bool {
        let before = (self.dead, self.auth);
        self.dead = self.dead.filter(|dead| *dead != token);
        if self.refused == Some(token) {
            self.auth = Cooldown::default();
        }
        before != (self.dead, self.auth)
    }

    /// The file holds this token now: what was said of another is over.
    pub(super) fn meet(&mut self, token: Fingerprint) -> bool {
        let before = (self.dead, self.auth);
        self.dead = self.dead.filter(|dead| *dead == token);
        if self.refused.is_some_and(|refused| refused != token) {
            (self.refused, self.auth) = (None, Cooldown::default());
        }
        before != (self.dead, self.auth)
    }

    /// A person says that it is put right: the login works and the bill is paid. No rate limit is lifted.
    pub(super) fn pardon(&mut self) -> bool {
        let before = self.clone();
        (self.dead, self.auth, self.billing) = (None, Cooldown::default(), Cooldown::default());
        *self != before
    }

    /// Of what was said of one login under two names, the harsher.
    pub(super) fn harsher(mut self, other: Self) -> Self {
        let harsher = |one: &mut Cooldown, other: Cooldown| {
            if other.is_harsher_than(one) {
                *one = other;
            }
        };
        harsher(&mut self.rate, other.rate);
        harsher(&mut self.auth, other.auth);
        harsher(&mut self.billing, other.billing);
        for (model, pause) in other.models {
            harsher(self.models.entry(model).or_default(), pause);
        }
        Self { dead: self.dead.or(other.dead), refused: self.refused.or(other.refused), ..self }
    }

    /// What keeps the login from being used, for anything or for `model`: of several, what lasts longest.
    pub(super) fn out(&self, is_for: impl Fn(&str) -> bool, now: Moment) -> Option<Out> {
        if self.dead.is_some() {
            return Some(Out { why: "a client reported that its login was refused for good", until: None });
        }
        let waits = self.pauses(is_for).filter_map(|(pause, why)| {
            let until = pause.until().filter(|until| !until.passed(now))?;
            Some(Out { why, until: Some(until.at) })
        });
        waits.max_by_key(|out| out.until).or_else(|| {
            let until = self.probe_until.filter(|until| *until > now)?;
            Some(Out { why: "one request is finding out whether its pause is over", until: Some(until) })
        })
    }

    /// It is handed out: where a wait has just passed, to one caller alone.
    pub(super) fn hand_out(&mut self, is_for: impl Fn(&str) -> bool, now: Moment) {
        let is_open = self.pauses(is_for).any(|(pause, _)| pause.is_open());
        self.probe_until = is_open.then(|| now + PROBE);
    }

    /// Whether its last report was a failure without a pause.
    pub(super) fn is_doubted(&self, now: Moment) -> bool {
        self.doubted_until.is_some_and(|until| until > now)
    }

    fn pauses(&self, is_for: impl Fn(&str) -> bool) -> impl Iterator<Item = (&Cooldown, &'static str)> {
        let models = self.models.iter().filter(move |(model, _)| is_for(model)).map(|(_, pause)| pause);
        let rate = models.chain([&self.rate]).map(|pause| (pause, "a client reported a rate limit"));
        rate.chain([
            (&self.auth, "clients reported that its login is refused"),
            (&self.billing, "a client reported that it has to be paid for"),
        ])
    }

    /// The form that survives a restart.
    pub(super) fn save(&self, now: Now, boot: &BootId) -> StandingRecord {
        let save = |pause: &Cooldown| pause.save(now, boot);
        StandingRecord {
            rate: save(&self.rate),
            models: self.models.iter().map(|(model, pause)| (model.clone(), save(pause))).collect(),
            auth: save(&self.auth),
            billing: save(&self.billing),
            dead: self.dead.map(Fingerprint::to_hex),
            refused: self.refused.map(Fingerprint::to_hex),
        }
    }
}

/// Takes a refusal: the vendor's own figure where it gave one, else the next rung; and a probe that is refused as well
/// waits for the later of both. Returns whether a wait began: what was sent before it takes no rung, but a longer
/// demand is heard.
fn refuse(
    pause: &mut Cooldown,
    ladder: &Ladder,
    demand: Option<Duration>,
    jitter: f64,
    now: Moment,
    dice: &mut dyn Dice,
) -> bool {
    let begins = pause.admits(now);
    let wait = if begins {
        let was_open = pause.is_open();
        let rung = ladder.cooldown(pause.climb(now));
        match demand {
            Some(demand) if was_open => demand.max(rung),
            Some(demand) => demand,
            None => rung,
        }
    } else {
        demand.unwrap_or_default()
    };
    if begins || pause.until().is_some_and(|until| until.at < now + wait) {
        pause.wait(Deadline::after(now, jittered(wait, jitter, dice)));
    }
    begins
}

/// A login's standing as `state.db` keeps it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StandingRecord {
    rate: CooldownRecord,
    models: BTreeMap<String, CooldownRecord>,
    auth: CooldownRecord,
    billing: CooldownRecord,
    dead: Option<String>,
    refused: Option<String>,
}

impl StandingRecord {
    /// Brings the standing back.
    pub(super) fn restore(&self, now: Now, boot: &BootId) -> Standing {
        let restore = |pause: &CooldownRecord| pause.restore(now, boot);
        let token = |hex: &Option<String>| hex.as_deref().and_then(Fingerprint::from_hex);
        Standing {
            rate: restore(&self.rate),
            models: self.models.iter().map(|(model, pause)| (model.clone(), restore(pause))).collect(),
            auth: restore(&self.auth),
            billing: restore(&self.billing),
            dead: token(&self.dead),
            refused: token(&self.refused),
            probe_until: None,
            doubted_until: None,
        }
    }
}

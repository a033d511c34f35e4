//! How one login stands with the clients that use it: what they reported, and what that keeps it out for.
//!
//! Three pauses, because they end for different reasons: a rate limit by time alone, a refused token when it works
//! again, an unpaid bill much later. Besides, a token that was refused for good, which no time brings back. What was
//! refused is the token: another one in the file has a standing of its own, while rate and bill are the login's. The
//! rungs are those of [`Cooldown`]; the passing of a wait grants one request, whose report decides.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PoolRules;
use super::headroom::names;
use crate::model::Outcome;
use crate::policy::cooldown::{Cooldown, CooldownRecord};
use crate::policy::ladder::Ladder;
use crate::policy::time::{BootId, Deadline, Dice, Moment, Now, Stamp, jittered};

/// How long the one request that decides may take to report. Clients that never report are not kept out for ever: after
/// this without a word the pause is over.
const PROBE: Duration = Duration::from_mins(2);

/// One report, as far as a standing depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Booking<'a> {
    pub(super) outcome: Outcome,
    /// The vendor's own figure.
    pub(super) demand: Option<Duration>,
    /// The model that was used.
    pub(super) model: Option<&'a str>,
    /// The model that a refusal is limited to.
    pub(super) limited_to: Option<&'a str>,
    /// Twice the account's interval: see [`Cooldown::close`].
    pub(super) two_intervals: Duration,
}

/// Why a login is out, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Out {
    pub(super) why: &'static str,
    pub(super) until: Option<Moment>,
}

/// A pause, and the one request that finds out whether it is over.
#[derive(Debug, Clone, Copy, Default)]
struct Pause {
    wait: Cooldown,
    /// The request that decides reports until then.
    probe_until: Option<Moment>,
}

impl Pause {
    /// Until when nobody may pass.
    fn until(&self, now: Moment) -> Option<Moment> {
        let waits = self.wait.until().map(|until| until.at);
        waits.into_iter().chain(self.probe_until).find(|until| *until > now)
    }

    /// Somebody is let through.
    fn hand_out(&mut self, now: Moment) {
        if self.probe_until.take().is_some() {
            // Nobody told.
            self.wait = Cooldown::default();
        } else if self.wait.is_open() {
            self.probe_until = Some(now + PROBE);
        }
    }

    fn close(&mut self, ladder: &Ladder, two_intervals: Duration, now: Moment) {
        self.wait.close(ladder, two_intervals, now);
        self.probe_until = None;
    }

    /// Takes a refusal: the next rung, or the vendor's own figure. What was sent before the wait began takes no rung,
    /// but a longer demand is heard. Returns whether a wait began.
    fn refuse(&mut self, wait: impl FnOnce(Duration, bool) -> Duration, how: &mut How<'_>) -> bool {
        let begins = self.wait.admits(how.now);
        let length = if begins {
            self.probe_until = None;
            let was_open = self.wait.is_open();
            wait(how.ladder.cooldown(self.wait.climb(how.now)), was_open)
        } else {
            how.demand.unwrap_or_default()
        };
        if begins || self.wait.until().is_some_and(|until| until.at < how.now + length) {
            self.wait.wait(Deadline::after(how.now, jittered(length, how.jitter, how.dice)));
        }
        begins
    }
}

/// What a refusal is weighed with.
struct How<'a> {
    ladder: &'a Ladder,
    demand: Option<Duration>,
    jitter: f64,
    now: Moment,
    dice: &'a mut dyn Dice,
}

/// One login, or one of its tokens, as clients see it.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    rate: Pause,
    /// Rate limits that are about one model, by its name.
    models: BTreeMap<String, Pause>,
    auth: Pause,
    billing: Pause,
    /// The token was refused for good.
    is_dead: bool,
    /// When it last was refused: a poll that left before then proves nothing.
    refused_at: Option<Stamp>,
}

impl Standing {
    /// Takes a report in. Returns whether a pause began.
    pub(super) fn book(&mut self, said: &Booking<'_>, rules: &PoolRules, now: Now, dice: &mut dyn Dice) -> bool {
        let demand = said.demand.map(|wait| wait.min(rules.max_retry_after));
        let ladder = match said.outcome {
            Outcome::Billing => &rules.billing,
            Outcome::Auth => &rules.auth,
            _ => &rules.rate,
        };
        let mut how = How { ladder, demand, jitter: rules.jitter, now: now.moment, dice };
        match said.outcome {
            Outcome::Ok => {
                self.succeed(said, rules, now.moment);
                false
            }
            Outcome::RateLimited => {
                let pause = match said.limited_to {
                    Some(model) => self.models.entry(model.to_lowercase()).or_default(),
                    None => &mut self.rate,
                };
                // The vendor's own figure is enough, but for a probe that was refused as well.
                let wait = |rung: Duration, was_open| match demand {
                    Some(demand) if was_open => demand.max(rung),
                    Some(demand) => demand,
                    None => rung,
                };
                pause.refuse(wait, &mut how)
            }
            Outcome::Billing => self.billing.refuse(|rung, _| rung.max(demand.unwrap_or_default()), &mut how),
            Outcome::Auth => {
                self.refused_at = Some(now.stamp);
                let is_probe = self.auth.wait.is_open();
                // What is under way when the pause begins is refused as well, and says nothing new.
                let trips =
                    self.auth.wait.admits(now.moment) && (self.auth.wait.count() >= rules.auth_after || is_probe);
                trips && self.auth.refuse(|rung, _| rung, &mut how)
            }
            Outcome::AuthPermanent => {
                self.refused_at = Some(now.stamp);
                !std::mem::replace(&mut self.is_dead, true)
            }
            // The vendor's trouble or the caller's, not the account's.
            Outcome::Timeout | Outcome::Overloaded | Outcome::Aborted | Outcome::Refused => false,
        }
    }

    /// A success ends what has been waited for. A wait that still runs is served: it may have been sent before.
    fn succeed(&mut self, said: &Booking<'_>, rules: &PoolRules, now: Moment) {
        let close = |pause: &mut Pause, ladder: &Ladder| {
            if pause.wait.admits(now) {
                pause.close(ladder, said.two_intervals, now);
            }
        };
        close(&mut self.rate, &rules.rate);
        close(&mut self.billing, &rules.billing);
        for (own, pause) in &mut self.models {
            if said.model.is_some_and(|model| names(own, model)) {
                close(pause, &rules.rate);
            }
        }
        self.models.retain(|_, pause| pause.wait != Cooldown::default());
        // That the token works is what the wait was for.
        self.auth.close(&rules.auth, said.two_intervals, now);
    }

    /// The daemon's own poll, sent then, was answered with this token: it is good. What it was refused for may well
    /// come again, so the rung is remembered.
    pub(super) fn vindicate(&mut self, sent: Stamp, rules: &PoolRules, two_intervals: Duration, now: Moment) {
        if self.refused_at.is_none_or(|refused| refused <= sent) {
            self.is_dead = false;
            if self.auth.wait.is_open() {
                self.auth.close(&rules.auth, two_intervals, now);
            }
        }
    }

    /// A person says that it is put right: the bill is paid, the token works. No rate limit is lifted.
    pub(super) fn pardon(&mut self) {
        (self.billing, self.auth, self.is_dead) = (Pause::default(), Pause::default(), false);
    }

    /// Of what was said of one login under two names, the harsher.
    pub(super) fn harsher(mut self, other: Self) -> Self {
        let harsher = |one: &mut Pause, other: Pause| {
            if other.wait.is_harsher_than(&one.wait) {
                *one = other;
            }
        };
        harsher(&mut self.rate, other.rate);
        harsher(&mut self.billing, other.billing);
        for (model, pause) in other.models {
            harsher(self.models.entry(model).or_default(), pause);
        }
        self
    }

    /// What keeps the login from being used, for anything or for `model`: of several, what lasts longest.
    pub(super) fn out(&self, model: Option<&str>, now: Moment) -> Option<Out> {
        if self.is_dead {
            return Some(Out { why: "a client reported that its login was refused for good", until: None });
        }
        let rate = self.models.iter().filter(|(own, _)| model.is_some_and(|model| names(own, model)));
        let rate =
            rate.map(|(_, pause)| pause).chain([&self.rate]).map(|pause| (pause, "a client reported a rate limit"));
        let pauses = rate.chain([
            (&self.auth, "clients reported that its login is refused"),
            (&self.billing, "a client reported that it has to be paid for"),
        ]);
        let waits = pauses.filter_map(|(pause, why)| Some(Out { why, until: Some(pause.until(now)?) }));
        waits.max_by_key(|out| out.until)
    }

    /// It is handed out for this: where a wait has just passed, to one caller alone.
    pub(super) fn hand_out(&mut self, model: Option<&str>, now: Moment) {
        let models = self.models.iter_mut().filter(|(own, _)| model.is_some_and(|model| names(own, model)));
        let models = models.map(|(_, pause)| pause);
        models.chain([&mut self.rate, &mut self.auth, &mut self.billing]).for_each(|pause| pause.hand_out(now));
    }

    /// Whether the same would be stored of both.
    pub(super) fn is_stored_like(&self, other: &Self) -> bool {
        let same = |one: &Pause, other: &Pause| one.wait == other.wait;
        let models = self.models.len() == other.models.len()
            && self.models.iter().all(|(model, pause)| other.models.get(model).is_some_and(|other| same(pause, other)));
        let rest = [(&self.rate, &other.rate), (&self.auth, &other.auth), (&self.billing, &other.billing)];
        models && rest.into_iter().all(|(one, other)| same(one, other)) && self.is_dead == other.is_dead
    }

    /// The form that survives a restart.
    pub(super) fn save(&self, now: Now, boot: &BootId) -> StandingRecord {
        let save = |pause: &Pause| pause.wait.save(now, boot);
        StandingRecord {
            rate: save(&self.rate),
            models: self.models.iter().map(|(model, pause)| (model.clone(), save(pause))).collect(),
            auth: save(&self.auth),
            billing: save(&self.billing),
            dead: self.is_dead,
        }
    }
}

/// A standing as `state.db` keeps it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StandingRecord {
    rate: CooldownRecord,
    models: BTreeMap<String, CooldownRecord>,
    auth: CooldownRecord,
    billing: CooldownRecord,
    dead: bool,
}

impl StandingRecord {
    /// Brings the standing back.
    pub(super) fn restore(&self, now: Now, boot: &BootId) -> Standing {
        let restore = |pause: &CooldownRecord| Pause { wait: pause.restore(now, boot), probe_until: None };
        Standing {
            rate: restore(&self.rate),
            models: self.models.iter().map(|(model, pause)| (model.clone(), restore(pause))).collect(),
            auth: restore(&self.auth),
            billing: restore(&self.billing),
            is_dead: self.dead,
            refused_at: None,
        }
    }
}

//! The account pool: which login and which model to use now.
//!
//! Owns who is passed over and why, the order among the others, which caller stays with which account, and what a
//! report changes. It says nothing of when quotad itself may ask: a usage gate that cools makes an account's numbers
//! older, not the account unusable, so such an account merely stands behind the others. `choice` ranks,
//! `standing` is what clients reported of a login, `headroom` what is left to use, `overload` which model; `face` is what
//! goes in and comes out.
//!
//! Never chooses among vendors, and never keeps a caller waiting: where nothing is available it says until when.

mod choice;
mod face;
mod headroom;
mod overload;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::choice::said;
pub use self::face::{Booked, Candidate, Choice, PassedOver, PoolRules, Report, Tally, Unavailable, Unstored, Wish};
pub use self::headroom::{BLOCKED, binding};
use self::overload::{Closing, Overloads, in_order, listed};
pub use self::standing::StandingRecord;
use self::standing::{Booking, Standing};
use super::time::{BootId, Dice, Moment, Now, Stamp};
use crate::model::{Fingerprint, Outcome, ProviderId};

/// So many callers are remembered at most, the latest.
const MOST_CALLERS: usize = 4096;
/// An account whose last report was a failure without a pause stands behind the others for this long.
const DOUBTED: Duration = Duration::from_mins(1);

/// When and for what a login was last given out.
#[derive(Debug, Clone, Default)]
struct Use {
    turn: u64,
    model: Option<String>,
    doubted_until: Option<Moment>,
}

/// Which account a caller has.
#[derive(Debug, Clone)]
struct Caller {
    login: String,
    model: Option<String>,
    turn: u64,
}

/// The whole pool.
#[derive(Debug)]
pub struct Pool {
    rules: PoolRules,
    boot: BootId,
    /// By login, and by token: see [`key_of`].
    standings: BTreeMap<String, Standing>,
    uses: BTreeMap<String, Use>,
    callers: BTreeMap<(ProviderId, String), Caller>,
    overloads: Overloads,
    turn: u64,
    /// What is not stored as it is.
    unstored: BTreeSet<String>,
    owed: BTreeMap<String, Tally>,
    renamed: BTreeMap<String, String>,
}

/// What the standing of a token is kept under, beside those of logins.
fn key_of(token: Fingerprint) -> String {
    format!("token {}", token.to_hex())
}

impl Pool {
    /// The pool as it was: every standing, and when each login was last used.
    pub fn new(
        rules: PoolRules,
        boot: BootId,
        stored: Vec<(String, StandingRecord)>,
        mut last_used: Vec<(String, Stamp)>,
        now: Now,
    ) -> Self {
        last_used.sort_by_key(|(_, at)| *at);
        let standings = stored.into_iter().map(|(login, record)| (login, record.restore(now, &boot))).collect();
        let turn = last_used.len() as u64;
        let uses =
            last_used.into_iter().zip(1..).map(|((login, _), turn)| (login, Use { turn, ..Use::default() })).collect();
        Self {
            rules,
            boot,
            standings,
            uses,
            callers: BTreeMap::new(),
            overloads: Overloads::default(),
            turn,
            unstored: BTreeSet::new(),
            owed: BTreeMap::new(),
            renamed: BTreeMap::new(),
        }
    }

    /// The config changed.
    pub fn configured(&mut self, rules: PoolRules) {
        self.rules = rules;
    }

    /// Which of `candidates`, all of the wish's provider, to use now.
    ///
    /// # Errors
    /// [`Unavailable`]: none of them.
    pub fn select(&mut self, wish: &Wish<'_>, candidates: &[Candidate<'_>], now: Now) -> Result<Choice, Unavailable> {
        for candidate in candidates {
            self.meet(candidate);
        }
        let models: Vec<Option<&str>> = wish
            .model
            .map_or_else(|| vec![None], |model| in_order(model, &self.rules.fallback).into_iter().map(Some).collect());
        let is_closed = |model: &str| self.is_closed(wish.provider, model, now.moment);
        // Where every model is overloaded the order of the list stands: an overload is no refusal.
        let (closed, open): (Vec<_>, Vec<_>) = models.iter().partition(|model| model.is_some_and(is_closed));
        let chosen = open.into_iter().chain(closed).find_map(|model: Option<&str>| {
            let best = self.best(wish, model, candidates, now)?;
            let said = said(wish, model, best.headroom, is_closed);
            Some((best.candidate, model.map(str::to_owned), best.headroom, said))
        });
        let out = |model: Option<&str>| {
            candidates.iter().filter_map(|one| self.passed_over(wish, model, one, now)).collect::<Vec<_>>()
        };
        let Some((candidate, model, headroom, said)) = chosen else {
            let until = models.iter().flat_map(|model| out(*model)).filter_map(|one| one.until).min();
            let passed_over = out(wish.model);
            let needs_person = until.is_none() && passed_over.iter().all(|one| one.needs_person);
            return Err(Unavailable { until, needs_person, passed_over });
        };
        let passed_over = out(model.as_deref());
        self.hand_out(wish, candidate, model.as_deref(), now);
        Ok(Choice { account: candidate.name.clone(), model, headroom, said, passed_over })
    }

    /// Takes a report about an account in.
    pub fn report(
        &mut self,
        report: &Report<'_>,
        of: &Candidate<'_>,
        provider: ProviderId,
        now: Now,
        dice: &mut dyn Dice,
    ) -> Booked {
        self.meet(of);
        let caller = report.caller.map(|caller| (provider, caller.to_owned()));
        let own = caller.as_ref().and_then(|caller| self.callers.get(caller)).filter(|own| own.login == of.login);
        let last = own.and_then(|own| own.model.clone());
        let last = last.or_else(|| self.uses.get(&of.login).and_then(|used| used.model.clone()));
        let model = report.model.map(str::to_owned).or(last);
        let closed = model.as_deref().and_then(|model| self.weigh_model(provider, model, report.outcome, now.moment));

        let begins = self.book(report, model.as_deref(), of, now, dice);
        let is_refusal = matches!(report.outcome, Outcome::Auth | Outcome::AuthPermanent);
        if report.outcome == Outcome::Ok {
            self.uses.entry(of.login.clone()).or_default().doubted_until = None;
        } else if matches!(report.outcome, Outcome::Auth | Outcome::Timeout) {
            self.uses.entry(of.login.clone()).or_default().doubted_until = Some(now.moment + DOUBTED);
        }
        let out = self.out(of, model.as_deref(), now);
        // Whoever met a failure tries another account, though this one may be kept from nobody.
        if out.is_some() || is_refusal || report.outcome == Outcome::Timeout {
            caller.map(|caller| self.callers.remove(&caller));
        }
        let is_failure = !matches!(report.outcome, Outcome::Ok | Outcome::Aborted | Outcome::Refused);
        let tally = Tally {
            reports: 1,
            successes: u64::from(report.outcome == Outcome::Ok),
            failures: u64::from(is_failure),
            cooldowns: u64::from(begins),
            ..Tally::default()
        };
        self.tally(&of.login, tally);
        Booked { out, is_news: begins, check: begins && is_refusal, closed }
    }

    /// What a report says of the login and its token. Returns whether a pause began.
    fn book(
        &mut self,
        report: &Report<'_>,
        model: Option<&str>,
        of: &Candidate<'_>,
        now: Now,
        dice: &mut dyn Dice,
    ) -> bool {
        let Report { outcome, demand, limited_to, .. } = *report;
        let booking = Booking { outcome, demand, model, limited_to, two_intervals: of.interval * 2 };
        let login = Some(of.login.clone());
        let token = of.token.filter(|_| !report.is_outdated).map(key_of);
        let concerned = match outcome {
            Outcome::Auth | Outcome::AuthPermanent => [None, token],
            Outcome::Ok => [login, token],
            _ => [login, None],
        };
        let mut begins = false;
        for key in concerned.into_iter().flatten() {
            let standing = self.standings.entry(key.clone()).or_default();
            let before = standing.clone();
            begins |= standing.book(&booking, &self.rules, now, dice);
            if !standing.is_stored_like(&before) {
                self.unstored.insert(key);
            }
        }
        begins
    }

    /// Counts access tokens that were handed out.
    pub fn count_token(&mut self, login: &str) {
        self.tally(login, Tally { tokens: 1, ..Tally::default() });
    }

    /// The daemon's own poll of an account, sent then, was answered with this token: it is good.
    pub fn vindicate(&mut self, token: Fingerprint, sent: Stamp, two_intervals: Duration, now: Moment) {
        if let Some(standing) = self.standings.get_mut(&key_of(token)) {
            standing.vindicate(sent, &self.rules, two_intervals, now);
            self.unstored.insert(key_of(token));
        }
    }

    /// A person resumed the account: its token works and its bill is paid.
    pub fn pardon(&mut self, of: &Candidate<'_>) {
        self.meet(of);
        for key in [Some(of.login.clone()), of.token.map(key_of)].into_iter().flatten() {
            if let Some(standing) = self.standings.get_mut(&key) {
                standing.pardon();
                self.unstored.insert(key);
            }
        }
    }

    /// Why clients are kept off this account now, for anything or for a model; `None` where they are not.
    pub fn out(&self, of: &Candidate<'_>, model: Option<&str>, now: Now) -> Option<PassedOver> {
        let token = of.token.and_then(|token| self.standings.get(&key_of(token)));
        let standings = self.standings.get(&of.login).into_iter().chain(token);
        let outs = standings.filter_map(|standing| standing.out(model, now.moment));
        // What no time ends lasts longest.
        let out = outs.max_by_key(|out| (out.until.is_none(), out.until))?;
        Some(PassedOver {
            account: of.name.clone(),
            reason: out.why.to_owned(),
            until: out.until.map(|at| now.stamp_at(at)),
            needs_person: out.until.is_none(),
        })
    }

    /// What has changed since it was last stored. What cannot be stored is to be given back to [`Self::owe`].
    pub fn take_unstored(&mut self, now: Now) -> Unstored {
        let empty = StandingRecord::default();
        let record = |login: &String| self.standings.get(login).map(|standing| standing.save(now, &self.boot));
        let unstored = std::mem::take(&mut self.unstored);
        let standings = unstored.into_iter().map(|login| (record(&login).filter(|record| *record != empty), login));
        let standings = standings.map(|(record, login)| (login, record)).collect();
        let (renamed, tallies) = (std::mem::take(&mut self.renamed), std::mem::take(&mut self.owed));
        Unstored { renamed, standings, tallies }
    }

    /// This could not be stored: it is tried again with the next.
    pub fn owe(&mut self, unstored: Unstored) {
        self.unstored.extend(unstored.standings.into_keys());
        self.renamed.extend(unstored.renamed);
        for (login, tally) in unstored.tallies {
            self.tally(&login, tally);
        }
    }

    /// Whether everything is stored.
    pub fn is_stored(&self) -> bool {
        self.unstored.is_empty() && self.owed.is_empty() && self.renamed.is_empty()
    }

    /// What was said and counted of a login while it had no name is its own, of two standings the harsher.
    fn meet(&mut self, candidate: &Candidate<'_>) {
        let Some(unnamed) = candidate.unnamed.as_ref() else { return };
        let (standing, used) = (self.standings.remove(unnamed), self.uses.remove(unnamed));
        if standing.is_none() && used.is_none() {
            return;
        }
        if let Some(standing) = standing {
            let named = self.standings.remove(&candidate.login).unwrap_or_default();
            self.standings.insert(candidate.login.clone(), named.harsher(standing));
            self.unstored.extend([unnamed.clone(), candidate.login.clone()]);
        }
        if let Some(used) = used {
            self.uses.entry(candidate.login.clone()).or_insert(used);
        }
        if let Some(tally) = self.owed.remove(unnamed) {
            self.tally(&candidate.login, tally);
        }
        for caller in self.callers.values_mut().filter(|caller| caller.login == *unnamed) {
            caller.login.clone_from(&candidate.login);
        }
        self.renamed.insert(unnamed.clone(), candidate.login.clone());
    }

    fn is_closed(&self, provider: ProviderId, model: &str, now: Moment) -> bool {
        self.overloads.is_closed(provider, listed(model, &self.rules.fallback), self.closing(), now)
    }

    fn closing(&self) -> Closing {
        Closing { after: self.rules.overloaded_after, quiet: self.rules.quiet }
    }

    /// What a report says of its model. Returns the model if this one closed it.
    fn weigh_model(&mut self, provider: ProviderId, model: &str, outcome: Outcome, now: Moment) -> Option<String> {
        let closing = self.closing();
        let model = listed(model, &self.rules.fallback);
        match outcome {
            Outcome::Ok => self.overloads.clear(provider, model),
            Outcome::Overloaded if self.overloads.count(provider, model, closing, now) => {
                return Some(model.to_owned());
            }
            _ => {}
        }
        None
    }

    fn hand_out(&mut self, wish: &Wish<'_>, to: &Candidate<'_>, model: Option<&str>, now: Now) {
        self.turn += 1;
        for key in [Some(to.login.clone()), to.token.map(key_of)].into_iter().flatten() {
            if let Some(standing) = self.standings.get_mut(&key) {
                let before = standing.clone();
                standing.hand_out(model, now.moment);
                if !standing.is_stored_like(&before) {
                    self.unstored.insert(key);
                }
            }
        }
        let model = model.map(str::to_owned);
        let used = self.uses.entry(to.login.clone()).or_default();
        (used.turn, used.model) = (self.turn, model.clone());
        if let Some(caller) = wish.caller {
            let key = (wish.provider, caller.to_owned());
            if self.callers.len() >= MOST_CALLERS && !self.callers.contains_key(&key) {
                let oldest = self.callers.iter().min_by_key(|(_, caller)| caller.turn).map(|(key, _)| key.clone());
                oldest.map(|oldest| self.callers.remove(&oldest));
            }
            self.callers.insert(key, Caller { login: to.login.clone(), model, turn: self.turn });
        }
        self.tally(&to.login, Tally { selects: 1, last_used: Some(now.stamp), ..Tally::default() });
    }

    fn tally(&mut self, login: &str, tally: Tally) {
        self.owed.entry(login.to_owned()).or_default().add(&tally);
    }
}

#[cfg(test)]
mod tests;

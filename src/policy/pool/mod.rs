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

pub use self::face::{Booked, Candidate, Choice, PassedOver, PoolRules, Report, Tally, Unavailable, Unstored, Wish};
use self::headroom::names;
use self::overload::{Overloads, in_order, listed};
pub use self::standing::StandingRecord;
use self::standing::{Booking, Standing};
use super::time::{BootId, Dice, Moment, Now, Stamp};
use crate::model::{Fingerprint, Outcome, ProviderId};

/// So many callers are remembered at most, the latest.
const MOST_CALLERS: usize = 4096;

/// When and for what a login was last given out.
#[derive(Debug, Clone, Default)]
struct Use {
    turn: u64,
    model: Option<String>,
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
    standings: BTreeMap<String, Standing>,
    uses: BTreeMap<String, Use>,
    callers: BTreeMap<(ProviderId, String), Caller>,
    overloads: Overloads,
    turn: u64,
    /// Whose standing is not stored as it is.
    unstored: BTreeSet<String>,
    owed: BTreeMap<String, Tally>,
}

impl Pool {
    /// The pool as it was: every standing, and when each login was last used.
    pub fn new(
        rules: PoolRules,
        boot: BootId,
        stored: Vec<(String, StandingRecord)>,
        mut used: Vec<(String, Stamp)>,
        now: Now,
    ) -> Self {
        used.sort_by_key(|(_, at)| *at);
        let standings = stored.into_iter().map(|(login, record)| (login, record.restore(now, &boot))).collect();
        let turn = used.len() as u64;
        let uses = used.into_iter().zip(1..).map(|((login, _), turn)| (login, Use { turn, model: None })).collect();
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
        let lists = std::mem::take(&mut self.rules.fallback);
        let models: Vec<Option<&str>> =
            wish.model.map_or_else(|| vec![None], |model| in_order(model, &lists).into_iter().map(Some).collect());
        let is_closed = |model: &Option<&str>| {
            model.is_some_and(|model| self.closed_until(wish.provider, listed(model, &lists), now.moment).is_some())
        };
        // Where every model is overloaded the order of the list stands: an overload is no refusal.
        let open = models.iter().filter(|model| !is_closed(model)).map(|model| (*model, false));
        let tries: Vec<_> =
            open.chain(models.iter().filter(|model| is_closed(model)).map(|model| (*model, true))).collect();
        let chosen = tries.into_iter().find_map(|(model, is_closed)| {
            let best = self.best(wish, model, candidates, now)?;
            let said = self.said(wish, model, is_closed, best.headroom, |wanted| {
                self.closed_until(wish.provider, listed(wanted, &lists), now.moment).is_some()
            });
            Some((best.candidate, model.map(str::to_owned), best.headroom, said))
        });
        let out = |candidate: &Candidate<'_>, model: Option<&str>| self.passed_over(wish, model, candidate, now);
        let result = match chosen {
            Some((candidate, model, headroom, said)) => {
                let passed_over = candidates.iter().filter_map(|one| out(one, model.as_deref())).collect();
                Ok((candidate, Choice { account: candidate.name.clone(), model, headroom, said, passed_over }))
            }
            None => {
                let of = |model: Option<&str>| candidates.iter().filter_map(|one| out(one, model)).collect::<Vec<_>>();
                let until = models.iter().flat_map(|model| of(*model)).filter_map(|one| one.until).min();
                let passed_over = of(wish.model);
                let needs_person = until.is_none() && passed_over.iter().all(|one| one.needs_person);
                Err(Unavailable { until, needs_person, passed_over })
            }
        };
        self.rules.fallback = lists;
        let (candidate, choice) = result?;
        self.hand_out(wish, candidate, choice.model.as_deref(), now);
        Ok(choice)
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
        let is_callers = |known: &&Caller| known.login == of.login;
        let last = caller
            .as_ref()
            .and_then(|caller| self.callers.get(caller))
            .filter(is_callers)
            .and_then(|c| c.model.clone());
        let last = last.or_else(|| self.uses.get(&of.login).and_then(|used| used.model.clone()));
        let model = report.model.map(str::to_owned).or(last);
        let closed = model.and_then(|model| self.weigh_model(provider, &model, report.outcome, now.moment));

        let is_refusal = matches!(report.outcome, Outcome::Auth | Outcome::AuthPermanent);
        let outcome = if report.is_outdated && is_refusal { Outcome::Refused } else { report.outcome };
        let standing = self.standings.entry(of.login.clone()).or_default();
        let before = standing.clone();
        let booking = Booking {
            outcome,
            demand: report.demand,
            model: report.limited_to,
            token: of.token,
            two_intervals: of.interval * 2,
        };
        let begins = standing.book(&booking, &self.rules, now.moment, dice);
        if *standing != before {
            self.unstored.insert(of.login.clone());
        }
        let is_out = self.out(of, None, now);
        // A timeout is no reason to keep the account from others, but this caller tries another one.
        if report.outcome == Outcome::Timeout || is_out.is_some() {
            caller.map(|caller| self.callers.remove(&caller));
        }
        self.tally(
            &of.login,
            Tally {
                reports: 1,
                successes: u64::from(report.outcome == Outcome::Ok),
                failures: u64::from(!matches!(report.outcome, Outcome::Ok | Outcome::Aborted | Outcome::Refused)),
                cooldowns: u64::from(begins),
                ..Tally::default()
            },
        );
        Booked { out: is_out, is_news: begins, check: begins && is_refusal, closed }
    }

    /// Counts access tokens that were handed out.
    pub fn count_token(&mut self, login: &str) {
        self.tally(login, Tally { tokens: 1, ..Tally::default() });
    }

    /// The daemon's own poll was answered with this token.
    pub fn vindicate(&mut self, login: &str, token: Fingerprint) {
        if self.standings.get_mut(login).is_some_and(|standing| standing.vindicate(token)) {
            self.unstored.insert(login.to_owned());
        }
    }

    /// A person resumed the account.
    pub fn pardon(&mut self, login: &str) {
        if self.standings.get_mut(login).is_some_and(Standing::pardon) {
            self.unstored.insert(login.to_owned());
        }
    }

    /// Why clients cannot use this account now, whatever the model; `None` where they can.
    pub fn out(&self, of: &Candidate<'_>, model: Option<&str>, now: Now) -> Option<PassedOver> {
        let standing = self.standings.get(&of.login)?;
        let out = standing.out(|own| model.is_some_and(|model| names(own, model)), now.moment)?;
        Some(PassedOver {
            account: of.name.clone(),
            reason: out.why.to_owned(),
            until: out.until.map(|at| now.stamp_at(at)),
            needs_person: out.until.is_none(),
        })
    }

    /// What has changed since it was last stored: standings, `None` for one that has nothing to say any more, and sums
    /// to be added. What cannot be stored is to be given back to [`Self::owe`].
    pub fn take_unstored(&mut self, now: Now) -> Unstored {
        let empty = StandingRecord::default();
        let record = |login: &String| self.standings.get(login).map(|standing| standing.save(now, &self.boot));
        let unstored = std::mem::take(&mut self.unstored);
        let standings = unstored.into_iter().map(|login| (record(&login).filter(|record| *record != empty), login));
        let standings = standings.map(|(record, login)| (login, record)).collect();
        Unstored { standings, tallies: std::mem::take(&mut self.owed) }
    }

    /// This could not be stored: it is tried again with the next.
    pub fn owe(&mut self, unstored: Unstored) {
        self.unstored.extend(unstored.standings.into_keys());
        for (login, tally) in unstored.tallies {
            self.tally(&login, tally);
        }
    }

    /// Whether everything is stored.
    pub fn is_stored(&self) -> bool {
        self.unstored.is_empty() && self.owed.is_empty()
    }

    /// What was said of a login while it had no name is its own, the harsher of both; what was said of another token
    /// than the one in the file is over.
    fn meet(&mut self, candidate: &Candidate<'_>) {
        if let Some(unnamed) = &candidate.unnamed
            && let Some(before) = self.standings.remove(unnamed)
        {
            let named = self.standings.remove(&candidate.login).unwrap_or_default();
            self.standings.insert(candidate.login.clone(), named.harsher(before));
            self.unstored.extend([unnamed.clone(), candidate.login.clone()]);
        }
        if let (Some(standing), Some(token)) = (self.standings.get_mut(&candidate.login), candidate.token)
            && standing.meet(token)
        {
            self.unstored.insert(candidate.login.clone());
        }
    }

    fn closed_until(&self, provider: ProviderId, model: &str, now: Moment) -> Option<Moment> {
        self.overloads.until(provider, model, self.rules.overloaded_after, self.rules.quiet, now)
    }

    /// What a report says of its model. Returns the model if this one closed it.
    fn weigh_model(&mut self, provider: ProviderId, model: &str, outcome: Outcome, now: Moment) -> Option<String> {
        let model = listed(model, &self.rules.fallback);
        match outcome {
            Outcome::Ok => self.overloads.clear(provider, model),
            Outcome::Overloaded if self.overloads.count(provider, model, self.rules.overloaded_after, now) => {
                return Some(model.to_owned());
            }
            _ => {}
        }
        None
    }

    fn hand_out(&mut self, wish: &Wish<'_>, to: &Candidate<'_>, model: Option<&str>, now: Now) {
        self.turn += 1;
        let model = model.map(str::to_owned);
        if let Some(standing) = self.standings.get_mut(&to.login) {
            standing.hand_out(|own| model.as_deref().is_some_and(|model| names(own, model)), now.moment);
        }
        self.uses.insert(to.login.clone(), Use { turn: self.turn, model: model.clone() });
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

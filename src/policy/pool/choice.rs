//! Who can be used, in which order, and why the others cannot.

use super::headroom::{Headroom, headroom};
use super::{Candidate, PassedOver, Pool, Wish};
use crate::policy::status::AccountState;
use crate::policy::time::Now;

/// Accounts whose headroom differs by less than this many points are used in turn.
const STEP: f64 = 5.0;

/// An account that can be used, and how it ranks.
pub(super) struct Available<'c, 'a> {
    pub(super) candidate: &'c Candidate<'a>,
    pub(super) headroom: Option<f64>,
    /// The lower the better.
    tier: u8,
    /// The higher the better.
    worth: f64,
    turn: u64,
}

impl Pool {
    /// The best account for a model: the caller's own while it is available, else the first in rank.
    pub(super) fn best<'c, 'a>(
        &self,
        wish: &Wish<'_>,
        model: Option<&str>,
        candidates: &'c [Candidate<'a>],
        now: Now,
    ) -> Option<Available<'c, 'a>> {
        let own = wish.caller.and_then(|caller| self.callers.get(&(wish.provider, caller.to_owned())));
        let available = candidates.iter().filter(|one| self.passed_over(wish, model, one, now).is_none());
        let ranked = available.map(|candidate| {
            let headroom = match headroom(candidate.reading, model, now.stamp) {
                Headroom::Left(left) => Some(left),
                Headroom::Exhausted { .. } | Headroom::Unknown => None,
            };
            let is_doubted =
                self.standings.get(&candidate.login).is_some_and(|standing| standing.is_doubted(now.moment));
            let tier = match candidate.state {
                _ if is_doubted => 3,
                AccountState::Throttled | AccountState::Failing | AccountState::Offline => 2,
                _ if headroom.is_none() => 1,
                _ => 0,
            };
            let worth = headroom.map_or(1.0, |left| (left / STEP).ceil()) * candidate.weight;
            let turn = self.uses.get(&candidate.login).map_or(0, |used| used.turn);
            Available { candidate, headroom, tier, worth, turn }
        });
        let is_own = |one: &Available<'_, '_>| own.is_some_and(|own| own.login == one.candidate.login);
        ranked.min_by(|one, other| {
            let own = is_own(other).cmp(&is_own(one));
            let rank = own.then(one.tier.cmp(&other.tier)).then(other.worth.total_cmp(&one.worth));
            rank.then(one.turn.cmp(&other.turn))
        })
    }

    /// Why an account cannot be used for a model now; `None` where it can.
    pub(super) fn passed_over(
        &self,
        wish: &Wish<'_>,
        model: Option<&str>,
        of: &Candidate<'_>,
        now: Now,
    ) -> Option<PassedOver> {
        let person = |reason: &str| Some((reason.to_owned(), None, true));
        let wait = |reason: String, until| Some((reason, until, false));
        let found = match of.state {
            AccountState::Paused => person("paused by you"),
            AccountState::Dead => person("this login was refused for good"),
            AccountState::SignedOut => person("nobody is logged in"),
            AccountState::NoPermission => person("scope, plan or organisation forbids it"),
            AccountState::AuthPaused => wait("this login was refused several times in a row".to_owned(), of.until),
            AccountState::Starting if of.token.is_none() => wait("not looked at yet".to_owned(), Some(now.stamp)),
            _ if of.token.is_none() => person("its credential file cannot be read"),
            _ if wish.needs_token && !of.token_lives => wait("its access token has expired".to_owned(), None),
            _ => None,
        };
        let unreachable = of.unreachable.filter(|_| wish.needs_environment);
        let found = found.or_else(|| unreachable.and_then(person));
        let found = found.map(|(reason, until, needs_person)| PassedOver {
            account: of.name.clone(),
            reason,
            until,
            needs_person,
        });
        found.or_else(|| self.out(of, model, now)).or_else(|| match headroom(of.reading, model, now.stamp) {
            Headroom::Exhausted { label, until } => {
                let reason = format!("its {label} window is used up");
                Some(PassedOver { account: of.name.clone(), reason, until, needs_person: false })
            }
            Headroom::Left(_) | Headroom::Unknown => None,
        })
    }

    /// Why this account and this model.
    pub(super) fn said(
        &self,
        wish: &Wish<'_>,
        model: Option<&str>,
        is_closed: bool,
        headroom: Option<f64>,
        is_overloaded: impl Fn(&str) -> bool,
    ) -> String {
        let left = match headroom {
            Some(left) => format!("{left:.0} % is left in its binding window"),
            None => "what is left is not known".to_owned(),
        };
        match (wish.model, model) {
            _ if is_closed => format!("every model that could be used is overloaded; {left}"),
            (Some(wanted), Some(model)) if wanted != model => {
                let why = if is_overloaded(wanted) { "overloaded" } else { "used up or limited on every account" };
                format!("{wanted} is {why}, so {model}; {left}")
            }
            _ => left,
        }
    }
}

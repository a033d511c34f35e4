//! Who can be used, in which order, and why the others cannot.

use super::headroom::{Headroom, headroom};
use super::{Candidate, PassedOver, Pool, Wish};
use crate::policy::status::AccountState;
use crate::policy::time::Now;

/// Accounts that have within so many points of the most are used in turn.
const NEAR: f64 = 5.0;

/// An account that can be used, and how it ranks.
pub(super) struct Available<'c, 'a> {
    pub(super) candidate: &'c Candidate<'a>,
    pub(super) headroom: Option<f64>,
    /// The lower the better.
    tier: u8,
    /// Points of headroom, by the weight of the plan.
    worth: f64,
    /// When it was last used.
    turn: u64,
}

impl Pool {
    /// The best account for a model: the caller's own while it is available, else of those with about the most
    /// headroom the one that was used least recently.
    pub(super) fn best<'c, 'a>(
        &self,
        wish: &Wish<'_>,
        model: Option<&str>,
        candidates: &'c [Candidate<'a>],
        now: Now,
    ) -> Option<Available<'c, 'a>> {
        let usable = candidates.iter().filter(|one| self.passed_over(wish, model, one, now).is_none());
        let mut available: Vec<_> = usable.map(|candidate| self.ranked(candidate, model, now)).collect();
        let own = wish.caller.and_then(|caller| self.callers.get(&(wish.provider, caller.to_owned())));
        let is_own = |one: &Available<'_, '_>| own.is_some_and(|own| own.login == one.candidate.login);
        if let Some(own) = available.iter().position(is_own) {
            return Some(available.swap_remove(own));
        }
        let tier = available.iter().map(|one| one.tier).min()?;
        available.retain(|one| one.tier == tier);
        let most = available.iter().map(|one| one.worth).max_by(f64::total_cmp)?;
        let is_near = |one: &Available<'_, '_>| one.worth + NEAR * one.candidate.weight >= most;
        available.into_iter().filter(is_near).min_by_key(|one| one.turn)
    }

    fn ranked<'c, 'a>(&self, candidate: &'c Candidate<'a>, model: Option<&str>, now: Now) -> Available<'c, 'a> {
        let headroom = match headroom(candidate.reading, model, now.stamp) {
            Headroom::Left(left) => Some(left),
            Headroom::Exhausted { .. } | Headroom::Unknown => None,
        };
        let used = self.uses.get(&candidate.login);
        let is_doubted = used.is_some_and(|used| used.doubted_until.is_some_and(|until| until > now.moment));
        let tier = match candidate.state {
            _ if is_doubted => 3,
            AccountState::Throttled | AccountState::NoPermission | AccountState::Failing | AccountState::Offline => 2,
            _ if headroom.is_none() => 1,
            _ => 0,
        };
        let turn = used.map_or(0, |used| used.turn);
        Available { candidate, headroom, tier, worth: headroom.unwrap_or_default() * candidate.weight, turn }
    }

    /// Why an account cannot be used for a model now; `None` where it can. Of several reasons the one that lasts
    /// longest: what a person must change, then what no moment is known for.
    pub(super) fn passed_over(
        &self,
        wish: &Wish<'_>,
        model: Option<&str>,
        of: &Candidate<'_>,
        now: Now,
    ) -> Option<PassedOver> {
        let over = |reason: &str, until, needs_person| {
            Some(PassedOver { account: of.name.clone(), reason: reason.to_owned(), until, needs_person })
        };
        let by_state = match of.state {
            AccountState::Paused => over("paused by you", None, false),
            AccountState::Dead => over("this login was refused for good", None, true),
            AccountState::SignedOut => over("nobody is logged in", None, true),
            AccountState::AuthPaused => over("this login was refused several times in a row", of.until, false),
            AccountState::Starting if !of.is_readable => over("not looked at yet", Some(now.stamp), false),
            _ if !of.is_readable => over("its credential file cannot be read", None, true),
            _ => None,
        };
        let by_token = wish.needs_token || (wish.needs_environment && of.by_token);
        let expired =
            if by_token && !of.token_lives { over("its access token has expired", None, false) } else { None };
        let unreachable = of.unreachable.filter(|_| wish.needs_environment).and_then(|why| over(why, None, true));
        let used_up = match headroom(of.reading, model, now.stamp) {
            Headroom::Exhausted { label, until } => over(&format!("its {label} window is used up"), until, false),
            Headroom::Left(_) | Headroom::Unknown => None,
        };
        let all = [by_state, expired, unreachable, self.out(of, model, now), used_up];
        all.into_iter().flatten().max_by_key(|one| (one.needs_person, one.until.is_none(), one.until))
    }
}

/// Why this account and this model.
pub(super) fn said(
    wish: &Wish<'_>,
    model: Option<&str>,
    headroom: Option<f64>,
    is_overloaded: impl Fn(&str) -> bool,
) -> String {
    let left = match headroom {
        Some(left) => format!("{left:.0} % is left in its binding window"),
        None => "what is left is not known".to_owned(),
    };
    match (wish.model, model) {
        _ if model.is_some_and(&is_overloaded) => format!("every model that could be used is overloaded; {left}"),
        (Some(wanted), Some(model)) if wanted != model => {
            let why = if is_overloaded(wanted) { "overloaded" } else { "used up or limited on every account" };
            format!("{wanted} is {why}, so {model}; {left}")
        }
        _ => left,
    }
}

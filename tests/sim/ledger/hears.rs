//! What the process hears: every answer changes what may leave next.

use std::time::Duration;

use super::{Facts, Grant, Ledger, wall};
use crate::books::{Kind, time};
use crate::host::{Machine, SECOND};
use crate::invariants::Promise;
use crate::verdict::{Token, Usage};

impl Ledger {
    /// The process hears an answer of the usage endpoint.
    pub(crate) fn hears_usage(&mut self, n: usize, verdict: Usage, machine: &Machine) {
        let (now, wall) = (machine.time(), wall(machine));
        let (rules, gate, auth) = (self.books[n].rules.clone(), self.books[n].gate.clone(), self.books[n].auth.clone());
        let configured = time(rules.interval);
        let token = self.books[n].asked_usage.clone();
        let clamp = |demand: Option<Duration>| demand.map(|wait| time(wait.min(rules.gates.max_retry_after)));
        self.books[n].calm = matches!(verdict, Usage::Good | Usage::Limited(_));
        let sharers = if verdict == Usage::Good { self.sharers(n) } else { Vec::new() };
        let login = &mut self.login(n).live;
        match verdict {
            Usage::Good => {
                let (was_held, last) = (login.usage.until > 0, login.last);
                let two_intervals = 2 * login.interval(configured);
                login.usage.succeed(now, &gate, two_intervals);
                login.refused.clear();
                login.recover(configured);
                let books = &mut self.books[n];
                books.file.live.auth.succeed(now, &auth, two_intervals);
                books.file.live.refreshed = false;
                books.poll.live.setback = None;
                books.back = true;
                books.heir = false;
                // A wait that is over is over for every account of the login: its request was the last of each.
                for other in sharers.into_iter().filter(|_| was_held) {
                    let configured = time(self.books[other].rules.interval);
                    let interval = self.login(other).live.interval(configured);
                    (self.books[other].poll.live.last, self.books[other].poll.live.interval) = (last, interval);
                }
            }
            Usage::Limited(demand) => {
                if !login.usage.open {
                    login.slow_down(configured);
                }
                login.usage.failures += 1;
                login.usage.refuse(now, clamp(demand), &gate, wall);
                login.refused.insert(token);
                let interval = login.interval(configured);
                self.stakes.count(Promise::WaitsAreServed);
                let poll = &mut self.books[n].poll.live;
                poll.interval = interval;
                // The rate decides now; only a missing permission is not disproved.
                poll.setback = poll.setback.filter(|(kind, _)| *kind == Kind::NoPermission);
            }
            Usage::Transient(None) => {
                let books = &mut self.books[n];
                // Some milliseconds lie between the retry's draw and its leaving: a look comes first.
                let cap = rules.retry_base.saturating_mul(1 << books.tries.min(20)).min(rules.retry_max);
                books.retry_until = Some(now + time(cap) + 2 * SECOND);
            }
            Usage::Transient(Some(demand)) => {
                let wait = time(demand.min(rules.gates.max_retry_after));
                login.usage.hold(now, wait, rules.gates.jitter, wall);
                self.books[n].poll.live.set_back(Kind::Transient);
            }
            Usage::Offline => self.books[n].poll.live.set_back(Kind::Offline),
            Usage::Challenge => self.books[n].poll.live.set_back(Kind::Challenge),
            Usage::Garbage => self.books[n].poll.live.set_back(Kind::Garbage),
            Usage::Gone => self.books[n].poll.live.set_back(Kind::Gone),
            Usage::NoPermission => self.books[n].poll.live.set_back(Kind::NoPermission),
            Usage::Rejected(permanent) => {
                let books = &mut self.books[n];
                books.rejected = Some((token, permanent));
                books.poll.live.setback = None;
            }
        }
    }

    /// The process hears an answer of the token endpoint.
    pub(crate) fn hears_token(&mut self, n: usize, verdict: &Token, machine: &Machine) {
        let (now, wall) = (machine.time(), wall(machine));
        let (rules, gate) = (self.books[n].rules.clone(), self.books[n].gate.clone());
        let posted = self.books[n].asked_token.clone();
        let clamp = |demand: Option<Duration>| demand.map(|wait| time(wait.min(rules.gates.max_retry_after)));
        let known = self.tokens.entry(posted.clone()).or_default();
        let was_second_try = known.dead;
        known.under_way = false;
        match verdict {
            Token::Granted(_, refresh, _) => {
                known.spent = refresh.as_ref().is_some_and(|refresh| *refresh != posted);
                known.dead = false;
                known.stored = false;
                known.unknown = 0;
            }
            Token::Unknown => {}
            Token::Terminal => {
                known.dead = true;
                known.stored = false;
                known.unknown = 0;
            }
            Token::Limited(_) | Token::NeverArrived | Token::Challenge | Token::Off => {
                known.unknown = known.unknown_before;
                known.retried &= *verdict != Token::NeverArrived;
            }
        }
        match verdict {
            Token::Granted(access, refresh, lease) => {
                let two_intervals = 2 * time(rules.interval);
                self.login(n).live.token.succeed(now, &gate, two_intervals);
                if let Some(access) = access {
                    self.minted.insert(access.clone());
                }
                self.granted(n, &posted, access.as_ref(), refresh.as_ref(), *lease, machine);
                let books = &mut self.books[n];
                books.file.live.granted_until = now + time(books.rules.interval);
                books.earned |= std::mem::take(&mut books.refresh_allowed);
                return;
            }
            Token::Limited(demand) => {
                let login = &mut self.login(n).live;
                login.token.failures += 1;
                login.token.refuse(now, clamp(*demand), &gate, wall);
                self.stakes.count(Promise::WaitsAreServed);
            }
            Token::Challenge => {
                let login = &mut self.login(n).live;
                login.token.failures += 1;
                login.token.refuse(now, clamp(Some(Duration::from_secs(1800))), &gate, wall);
            }
            Token::NeverArrived if self.books[n].refresh_allowed => {
                self.books[n].file.live.refreshed = false;
                return;
            }
            Token::Unknown => self.login(n).live.token.strike(now, &gate),
            Token::NeverArrived | Token::Terminal | Token::Off => {}
        }
        // Refused for good it may be because somebody else was first: the next look says whether a rung is taken.
        if self.books[n].refresh_allowed && *verdict != Token::Terminal {
            self.close_auth(n, now, wall);
        }
        if was_second_try && *verdict != Token::NeverArrived {
            self.books[n].resumed = false;
        }
    }

    fn granted(
        &mut self,
        n: usize,
        posted: &str,
        access: Option<&String>,
        refresh: Option<&String>,
        lease: Duration,
        machine: &Machine,
    ) {
        let Some(posting) = self.books[n].re_read.clone() else { return };
        let facts = Facts {
            access: access.cloned().unwrap_or(posting.access),
            refresh: refresh.cloned().unwrap_or(posting.refresh),
            expires_at: access.map_or(posting.expires_at, |_| Some(wall(machine) + time(lease).cast_signed())),
        };
        let books = &mut self.books[n];
        // Exchanged, or granted anew for the same token: the older one has done its work.
        books.grants.retain(|grant| grant.facts.refresh != posted && grant.posted != posted);
        self.granted.insert(facts.refresh.clone());
        let grant = Grant { posted: posted.to_owned(), facts, on_disk: false, offered: false };
        if grant.rotated() {
            self.stakes.count(Promise::NothingGrantedIsLost);
        }
        let books = &mut self.books[n];
        books.unrotated = (!grant.rotated()).then(|| grant.facts.clone());
        books.grants.push(grant);
    }
}

//! What leaves the machine: may it, and may it now?

use quotad::model::{CredentialOwner, RefreshMode};

use super::{Facts, Ledger, wall};
use crate::books::{Kind, time};
use crate::host::{DAY, MINUTE, Machine, Time};
use crate::invariants::Promise;

impl Ledger {
    /// A usage request leaves.
    pub(crate) fn asks(&mut self, n: usize, token: &str, machine: &Machine) {
        let (now, wall) = (machine.time(), wall(machine));
        self.check_usage_token(n, token, now, wall);
        let may_probe_early = {
            let is_minted = self.minted.contains(token);
            let login = &self.login(n).live;
            login.usage.open && !login.usage.early_spent && !is_minted && !login.refused.contains(token)
        };
        let is_inside = now < self.login(n).live.usage.until;
        if is_inside {
            if may_probe_early {
                self.login(n).live.usage.early_spent = true;
            } else {
                let until = self.login(n).live.usage.until;
                self.breaks(Promise::WaitsAreServed, now, format!("account {n} asked {} early", until - now));
            }
        }
        if self.books[n].file.live.paused {
            self.breaks(Promise::PauseIsServed, now, format!("account {n} asked while paused"));
        }
        let auth_until = self.books[n].file.live.auth.until;
        if now < auth_until {
            let early = auth_until - now;
            self.breaks(Promise::AuthPauseIsServed, now, format!("account {n} asked {early} ms early"));
        }
        if self.books[n].refresh_allowed {
            // It asked again without the refresh that might have come first.
            let rejected_at = self.books[n].rejected_at;
            self.close_auth(n, rejected_at, wall);
            if now < self.books[n].file.live.auth.until {
                self.breaks(Promise::AuthPauseIsServed, now, format!("account {n} asked right after a rejection"));
            }
        }
        if now < self.settle_until {
            self.breaks(Promise::SettleAfterSleep, now, format!("account {n} asked before the network was back"));
        }
        // The policy's wait has its jitter on top, and may still run where the ledger's is over.
        let may_still_cool = now < self.login(n).live.usage.until_at_most;
        self.check_spacing(n, may_still_cool && may_probe_early, now);
        let configured = time(self.books[n].rules.interval);
        let interval = self.login(n).live.interval(configured);
        let was_stored = !self.books[n].unstored[0];
        let login = self.login(n);
        login.live.last = Some(now);
        if was_stored {
            login.stored.last = Some(now);
        }
        let books = &mut self.books[n];
        books.poll.live.last = Some(now);
        books.poll.live.interval = interval;
        books.poll.live.asked_for = false;
        books.poll.live.ended_so = None;
        if was_stored {
            (books.poll.stored.last, books.poll.stored.interval) = (Some(now), interval);
            books.poll.stored.ended_so = None;
        }
        books.earned = false;
        books.retry_until = None;
        token.clone_into(&mut books.asked_usage);
    }

    fn check_usage_token(&mut self, n: usize, token: &str, now: Time, wall: i64) {
        self.stakes.count(Promise::OnlyGoodTokens);
        let is_same_login = |facts: &Facts| {
            let unrotated = self.books[n].unrotated.as_ref();
            unrotated.is_some_and(|grant| grant.access == token && grant.refresh == facts.refresh)
        };
        let how = match &self.books[n].at_look {
            None => Some("there was no login".to_owned()),
            Some(facts) if facts.access != token && !is_same_login(facts) => {
                Some(format!("the file holds {}", facts.access))
            }
            Some(facts) if facts.expires_at.is_some_and(|at| at <= wall) => Some("it had expired".to_owned()),
            Some(_) if self.dead.contains(token) => Some("it was refused for good".to_owned()),
            Some(_) => None,
        };
        if let Some(how) = how {
            self.breaks(Promise::OnlyGoodTokens, now, format!("account {n} asked with {token}, but {how}"));
        }
    }

    fn check_spacing(&mut self, n: usize, early: bool, now: Time) {
        let rules = self.books[n].rules.clone();
        let login_last = self.login(n).live.last;
        let books = &mut self.books[n];
        // A new token may have come right at the end of a poll, and begun the next.
        let may_go_on = books.earned && books.retry_until.is_some();
        if may_go_on {
            books.tries_before = books.tries + 1;
        }
        let has_tries_left = books.tries < books.tries_before + rules.retries;
        let is_retry = books.retry_until.is_some_and(|until| now <= until) && has_tries_left;
        if is_retry {
            books.tries += 1;
            self.stakes.count(Promise::Spacing);
            return;
        }
        // The poll before ended without a reading. If it had retries left, something else may have ended it.
        if books.retry_until.is_some() && !has_tries_left {
            books.poll.live.set_back(Kind::Transient);
        }
        // A poll that a logout cut short may go on with the next login, and its waits are as long as its tries say.
        let begun = if may_go_on { books.tries_before } else { 0 };
        (books.tries, books.tries_before) = (begun, begun);
        if books.earned || early {
            return;
        }
        self.stakes.count(Promise::Spacing);
        let poll = self.books[n].poll.live.clone();
        let floor = login_last.map_or(0, |last| last + time(rules.floor));
        let wait = if poll.asked_for && !poll.is_forbidden() { 0 } else { poll.wait() };
        let due = poll.last.map_or(0, |last| last + wait).max(floor);
        // The ledger counts whole milliseconds, the policy's excess has fractions.
        if now + 50 < due {
            let how = format!("account {n} asked {} ms early (last {:?}, {poll:?})", due - now, login_last);
            self.breaks(Promise::Spacing, now, how);
        }
    }

    /// A refresh token is posted; `arrives` unless it surely did not reach the vendor.
    pub(crate) fn posts(&mut self, n: usize, token: &str, arrives: bool, machine: &Machine) {
        let (now, wall) = (machine.time(), wall(machine));
        let rules = self.books[n].rules.clone();
        let began = self.books[n].rotating_since.unwrap_or(now);
        let mut broken = Vec::new();
        let facts = self.books[n].re_read.clone();
        let expires_at = facts.as_ref().and_then(|facts| facts.expires_at);
        let is_expired = expires_at.is_some_and(|at| at <= wall);
        let is_vendors = rules.refresh.owner == CredentialOwner::Vendor;

        let known = self.tokens.entry(token.to_owned()).or_default().clone();
        if known.under_way {
            broken.push((Promise::NoReplay, format!("posted {token} while another post of it is under way")));
        }
        if known.unknown > 0 {
            self.stakes.count(Promise::NoReplay);
            if !is_expired {
                broken.push((Promise::NoReplay, format!("posted {token} again, whose access token lives")));
            }
            if is_vendors {
                self.stakes.count(Promise::ThreePosts);
                if known.unknown >= 3 {
                    broken.push((Promise::ThreePosts, format!("posted {token} once more")));
                }
            }
        }
        if known.dead || known.spent {
            let second_try = known.dead && !is_vendors && self.books[n].resumed && !known.retried;
            if second_try {
                self.tokens.entry(token.to_owned()).or_default().retried = true;
            } else {
                broken.push((Promise::DeadStaysDead, format!("posted {token}, which was {known:?}")));
            }
        }

        self.stakes.count(Promise::OnlyWhenAllowed);
        let rejected = self.books[n].refresh_allowed;
        let lead = expires_at.map_or(i64::MAX, |at| at - wall);
        let granted_until = self.books[n].file.live.granted_until;
        let idle_since = self.books[n].re_read_written_at;
        let wrong = match rules.refresh.mode {
            _ if facts.as_ref().is_none_or(|facts| facts.refresh != token) => Some("it is not the file's".to_owned()),
            RefreshMode::Never | RefreshMode::Command => Some("the mode forbids it".to_owned()),
            RefreshMode::WhenIdle if lead > -time(rules.refresh.idle_grace).cast_signed() => {
                Some("the token had not lain expired".to_owned())
            }
            RefreshMode::WhenIdle if wall - idle_since < time(rules.refresh.idle_grace).cast_signed() => {
                Some("the file had just been touched".to_owned())
            }
            RefreshMode::Always if rejected || known.unknown > 0 || known.dead => None,
            RefreshMode::Always if lead > time(rules.refresh.before_expiry).cast_signed() => {
                Some(format!("the token lives for {lead} ms"))
            }
            RefreshMode::Always if now < granted_until && self.granted.contains(token) => {
                Some("the last was granted within an interval".to_owned())
            }
            _ => None,
        };
        if let Some(why) = wrong {
            broken.push((Promise::OnlyWhenAllowed, format!("account {n} posted {token}, but {why}")));
        }

        let until = self.login(n).live.token.until;
        if now < until {
            // With two accounts of one login the gate may close while the other is at its steps.
            if !(self.is_shared(n) && now < began + 5 * MINUTE) {
                broken.push((Promise::WaitsAreServed, format!("account {n} posted {} ms early", until - now)));
            }
        }
        if now < self.books[n].file.live.auth.until && began >= self.books[n].file.live.auth.began.unwrap_or(0) {
            broken.push((Promise::AuthPauseIsServed, format!("account {n} posted inside the auth pause")));
        }
        if self.books[n].file.live.paused && self.books[n].rotating_since.is_none() {
            broken.push((Promise::PauseIsServed, format!("account {n} posted while paused")));
        }
        if now < self.settle_until && self.woke_at.is_none_or(|woke| began >= woke) && !self.books[n].resumed {
            broken.push((Promise::SettleAfterSleep, format!("account {n} posted before the network was back")));
        }

        if arrives {
            self.stakes.count(Promise::TokenPace);
            let window = self.books[n].gate.waits[0].min(time(rules.interval));
            let most = rules.refresh.retries as usize + 2;
            let books = &mut self.books[n];
            books.posts.retain(|at| *at + window > now);
            books.posts.push(now);
            if books.posts.len() > most {
                broken.push((Promise::TokenPace, format!("account {n} posted {} times", books.posts.len())));
            }
        }
        let books = &mut self.books[n];
        token.clone_into(&mut books.asked_token);
        if books.refresh_allowed {
            // Once a rung; given back if it never arrives.
            books.file.live.refreshed = true;
        }
        let known = self.tokens.entry(token.to_owned()).or_default();
        known.unknown_before = known.unknown;
        if arrives {
            known.unknown += 1;
            known.under_way = true;
        }
        for (promise, how) in broken {
            self.breaks(promise, now, how);
        }
    }

    /// The vendor's command is started; whether it really runs.
    pub(crate) fn runs(&mut self, n: usize, machine: &Machine, really: bool) {
        let (now, wall) = (machine.time(), wall(machine));
        self.stakes.count(Promise::CommandIsRationed);
        let gate = self.books[n].gate.waits[0];
        let until = self.login(n).live.token.until;
        let facts = self.books[n].at_look.clone();
        let books = &mut self.books[n];
        books.file.live.runs.retain(|(at, _)| *at + DAY > now + MINUTE);
        let token = facts.as_ref().map(|facts| facts.refresh.clone()).unwrap_or_default();
        let same = books.file.live.runs.iter().rev().find(|(_, of)| *of == token).map(|(at, _)| *at);
        let how = match &facts {
            None => Some("there is no login"),
            Some(facts) if facts.expires_at.is_none_or(|at| at > wall) => Some("its token lives"),
            Some(_) if books.rules.refresh.mode != RefreshMode::Command => Some("the mode forbids it"),
            Some(_) if books.file.live.paused => Some("it is paused"),
            Some(_) if now < until => Some("the gate cools"),
            // A wall clock that is set about forgets days; that is said, and rare.
            Some(_) if books.file.live.runs.len() >= 6 && now > machine.wall_set_at() + 2 * DAY => {
                Some("it ran six times in a day")
            }
            Some(_) if same.is_some_and(|at| now < at + gate) => Some("it ran for this token a moment ago"),
            Some(_) => None,
        };
        if really {
            books.file.live.runs.push((now, token));
        }
        let gate = self.books[n].gate.clone();
        self.login(n).live.token.strike(now + 2 * MINUTE, &gate);
        if let Some(how) = how {
            self.breaks(Promise::CommandIsRationed, now, format!("account {n} ran the command, but {how}"));
        }
    }
}

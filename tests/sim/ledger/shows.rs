//! What can be seen afterwards: the files, the disk, and what an account says of itself.

use quotad::policy::account::Account;
use quotad::policy::status::{AccountState, AccountView};
use quotad::policy::time::Stamp;

use super::{Facts, Grant, Ledger, wall};
use crate::books::{Kind, time};
use crate::host::{HOUR, MINUTE, Machine, Time};
use crate::invariants::Promise;

impl Ledger {
    /// A successor was stored beside `state.db`, or could not be.
    pub(crate) fn kept_successor(&mut self, n: usize, kept: bool) {
        let Some(grant) = self.books[n].grants.last_mut() else { return };
        grant.offered = true;
        if kept {
            grant.on_disk = true;
            if let Some(known) = self.tokens.get_mut(&grant.posted) {
                known.stored = true;
            }
        }
    }

    /// quotad replaced a file.
    pub(crate) fn replaced(&mut self, n: usize, before: &[u8], now_there: Option<Facts>, machine: &Machine) {
        let now = machine.time();
        self.stakes.count(Promise::NoNewerLoginOverwritten);
        let after = machine.bytes(&self.books[n].path).unwrap_or_default().to_vec();
        let there = self.books[n].lying.clone();
        let is_predecessor = match (&there, &now_there) {
            // A server that does not rotate: it is one login, whichever access token is newer.
            (Some(there), Some(new)) if there.refresh == new.refresh => true,
            (Some(there), Some(new)) => {
                let mut grants = self.books[n].grants.iter().filter(|grant| grant.facts.refresh == new.refresh);
                grants.any(|grant| there.refresh == grant.posted || there.refresh == grant.facts.refresh)
            }
            _ => false,
        };
        if !is_predecessor {
            self.breaks(Promise::NoNewerLoginOverwritten, now, format!("account {n}: {there:?} was overwritten"));
        }
        if !same_but_for_the_login(before, &after) {
            self.breaks(Promise::NoNewerLoginOverwritten, now, format!("account {n}: more than the login changed"));
        }
        let books = &mut self.books[n];
        for grant in &mut books.grants {
            grant.on_disk |= now_there.as_ref().is_some_and(|facts| facts.refresh == grant.facts.refresh);
        }
        books.lying = now_there;
    }

    /// An account has taken in something.
    pub(crate) fn settled(&mut self, n: usize, account: &Account, machine: &Machine) {
        let now = machine.time();
        self.turns = if self.turns.0 == now { (now, self.turns.1 + 1) } else { (now, 1) };
        self.hour = if now < self.hour.0 + HOUR { (self.hour.0, self.hour.1 + 1) } else { (now, 1) };
        self.stakes.count(Promise::NoSpin);
        if self.turns.1 > 100 || self.hour.1 > 3_000 {
            let how = format!("{} turns at one moment, {} in the hour", self.turns.1, self.hour.1);
            self.breaks(Promise::NoSpin, now, how);
        }
        // While something is under way, what was settled before stands.
        let is_quiet = account.next_wake(machine.now()).is_some();
        if !account.is_started() || !self.books[n].looked || !is_quiet {
            return;
        }
        let view = account.view(machine.now());
        let usage = &self.login(n).live.usage.clone();
        let rung = usage.open.then_some(usage.rung);
        if usage.open {
            self.stakes.count(Promise::OnlyAnswersMoveALadder);
        }
        if !usage.fuzzy && (view.usage_gate.rung, view.usage_gate.failures) != (rung, usage.failures) {
            let how = format!(
                "account {n} shows rung {:?} after {} failures, and was told {rung:?} after {}",
                view.usage_gate.rung, view.usage_gate.failures, usage.failures
            );
            self.breaks(Promise::OnlyAnswersMoveALadder, now, how);
        }
        self.stakes.count(Promise::Explained);
        let is_named = !matches!(view.state, AccountState::Ok | AccountState::Starting);
        let is_unexplained = view.reason.is_empty() || view.action.is_empty();
        let has_no_end = is_named && view.until.is_none() && view.action == "nothing to do";
        // While a verdict is looked for, or a POST is under way, what was settled before stands.
        let has_passed = view.until.is_some_and(|until| until < machine.now().stamp);
        let over_since = self.books[n].over_since.filter(|_| has_passed).unwrap_or(now);
        self.books[n].over_since = has_passed.then_some(over_since);
        let is_over = now > over_since + MINUTE;
        if is_unexplained || has_no_end || is_over {
            let (state, reason, until, action) = (view.state, view.reason, view.until, view.action);
            self.breaks(Promise::Explained, now, format!("{state:?}: {reason:?}, until {until:?}, {action:?}"));
        } else if self.sees_good_token(n, &view, wall(machine)) && view.next_poll_at.is_none() {
            let how = format!("account {n} plans no poll: {:?}, {:?}", view.state, view.reason);
            self.breaks(Promise::GoodTokensAreUsed, now, how);
        }
    }

    /// Whether what the account shows of its file is a login whose access token is still good.
    fn sees_good_token(&mut self, n: usize, view: &AccountView, wall: i64) -> bool {
        let shown = view.credentials.expires_at.map(Stamp::as_millisecond);
        let file = &self.books[n].file.live;
        let is_good = self.current(n).is_some_and(|facts| {
            file.seen.as_ref() == Some(&facts.access)
                && shown.is_some_and(|at| at > wall && facts.expires_at == Some(at))
                && !self.dead.contains(&facts.access)
        });
        let counts = is_good && !file.paused;
        if counts {
            self.stakes.count(Promise::GoodTokensAreUsed);
        }
        counts
    }

    /// Whether every successor that reached the process is where it can be found.
    pub(crate) fn check_grants(&mut self, machine: &Machine, in_memory: impl Fn(usize, &str) -> bool) {
        for n in 0..self.books.len() {
            // One that no disk would take, over which somebody logged in, has no place left to be.
            let there = self.books[n].lying.as_ref().map(|facts| &facts.refresh);
            let is_outdone = |grant: &Grant| !grant.on_disk && there != Some(&grant.posted);
            let kept = self.books[n].grants.iter().filter(|grant| grant.rotated() && !is_outdone(grant));
            let lost = kept.into_iter().find(|grant| {
                let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&grant.facts.refresh);
                let in_file = self.books[n].hidden || machine.bytes(&self.books[n].path).is_some_and(holds);
                let beside = || machine.disk.successors.values().any(|bytes| holds(bytes));
                !in_file && !beside() && (grant.on_disk || !in_memory(n, &grant.facts.refresh))
            });
            if let Some(lost) = lost.cloned() {
                let how = format!("account {n}: {} is nowhere any more", lost.facts.refresh);
                self.breaks(Promise::NothingGrantedIsLost, machine.time(), how);
            }
        }
    }

    /// By when an account must have asked, if the weather stays fine: the longest wait that stands, with its jitter.
    pub(crate) fn back_by(&mut self, n: usize, machine: &Machine) -> Time {
        let now = machine.time();
        let rules = self.books[n].rules.clone();
        let interval = self.login(n).live.interval(time(rules.interval));
        let login = self.login(n).live.clone();
        let books = &self.books[n];
        let poll = &books.poll.live;
        let kind = poll.setback.map_or(interval, |(kind, count)| kind.wait(count + 1, interval));
        // Of a poll that ended before its retries did the books know nothing, and a record that is shared may be the
        // other's: then it is the longest wait of that kind.
        let kind = if books.calm && !books.shared { kind } else { kind.max(Kind::Transient.wait(3, interval)) };
        // A fence that an earlier process left counts as a try.
        let inherited = login.token.strikes + 1;
        let fenced = books.gate.wait(inherited) as f64 * (1.0 + rules.jitter);
        let is_fenced =
            books.lying.as_ref().and_then(|facts| self.tokens.get(&facts.refresh)).is_some_and(|t| t.unknown > 0);
        // What stood in a refresh's way is tried again with the next poll, or after an interval.
        let is_expired = books.lying.as_ref().and_then(|facts| facts.expires_at).is_none_or(|at| at <= wall(machine));
        let fenced = if is_expired { fenced.max(interval as f64 * (1.0 + rules.jitter)) } else { fenced };
        let is_fenced = is_fenced || is_expired;
        let fenced = if is_fenced { now + fenced as Time } else { now };
        let paused = [&login.usage, &login.token, &books.file.live.auth].map(|pause| pause.until_at_most);
        let longest = kind.max(interval) as f64 * (1.0 + rules.jitter);
        // A token that lives shorter than the interval is not always there when the poll is due.
        let longest = longest + interval as f64 * (1.0 + rules.jitter);
        let asked = poll.last.max(login.last).unwrap_or(now).max(now.saturating_sub(longest as Time));
        paused.into_iter().fold(asked + longest as Time, Time::max).max(fenced)
    }
}

/// Whether two credential files differ in the login's own five fields only.
fn same_but_for_the_login(before: &[u8], after: &[u8]) -> bool {
    let without = |bytes: &[u8]| {
        let mut file: serde_json::Value = str::from_utf8(bytes).ok()?.parse().ok()?;
        let login = file.get_mut("claudeAiOauth")?.as_object_mut()?;
        for field in ["accessToken", "refreshToken", "expiresAt", "refreshTokenExpiresAt", "scopes"] {
            login.remove(field);
        }
        Some(file)
    };
    without(before).is_some() && without(before) == without(after)
}

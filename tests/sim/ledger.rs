//! The checker: keeps its own books of what the vendor, the disk and the user saw, and says when a promise is broken.
//!
//! Knows nothing of the policy's state. It learns of a refusal when the process hears it, forgets with the process
//! what the process had not stored, and computes from design.md's rules, naively, when a request may leave. Where the
//! two could honestly differ it takes the bound that is surely right.

use std::collections::{BTreeMap, BTreeSet};

use quotad::model::{CredentialOwner, Endpoint, RefreshMode};
use quotad::policy::account::{Account, Answer, Command, Record, Rules, Verdict};
use quotad::policy::status::{AccountState, AccountView};

use crate::books::{FileBook, Kept, Kind, LoginBook, Pause, PollBook, Rungs, TokenBook, time};
use crate::host::{DAY, Deed, HOUR, MINUTE, Machine, SECOND, Time};
use crate::invariants::{Broken, Promise, Stakes};
use crate::verdict::{Token, Usage};

/// What lies in a credential file, or waits to: wall-clock milliseconds for the expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
    /// When the access token expires; `None` when the file does not say.
    pub expires_at: Option<i64>,
}

/// A successor that reached the process.
#[derive(Debug, Clone)]
struct Grant {
    posted: String,
    facts: Facts,
    /// Lay in the file or beside `state.db` once.
    on_disk: bool,
}

impl Grant {
    /// Whether the posted token was spent for it: then nothing else is left of the login.
    fn rotated(&self) -> bool {
        self.facts.refresh != self.posted
    }
}

/// One account.
#[derive(Debug)]
struct Books {
    rules: Rules,
    gate: Rungs,
    auth: Rungs,
    path: std::path::PathBuf,
    /// What the file holds.
    lying: Option<Facts>,
    /// What the last look showed: the file's, or a granted successor that belongs there.
    at_look: Option<Facts>,
    /// What the file held when it was read again under the lock.
    re_read: Option<Facts>,
    re_read_written_at: i64,
    /// Granted, and neither exchanged nor overwritten since; the newest last.
    grants: Vec<Grant>,
    poll: Kept<PollBook>,
    file: Kept<FileBook>,
    /// The tries of the poll under way, and until when another may follow.
    tries: u32,
    retry_until: Option<Time>,
    /// The file brought another token, and the account may have been in trouble.
    earned: bool,
    /// The last answer of the usage endpoint was numbers.
    calm: bool,
    /// The last request was refused for its token, which is compared with the file at the next look.
    rejected: Option<(String, bool)>,
    /// A rejection closed the pause, which one refresh may precede.
    refresh_allowed: bool,
    /// When that rejection was settled with the file.
    rejected_at: Time,
    /// When the rotation under way took its lock.
    rotating_since: Option<Time>,
    /// Posts that may have arrived, lately.
    posts: Vec<Time>,
    asked_usage: String,
    asked_token: String,
    /// The process could not store the login, or the file, the last time it wanted to.
    unstored: [bool; 2],
    resumed: bool,
    looked: bool,
    /// A success was heard since the weather cleared.
    back: bool,
    /// The file cannot be read for now.
    hidden: bool,
}

/// The books of a run.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// How often each promise was at stake.
    pub stakes: Stakes,
    /// The first promise that was broken.
    pub broken: Option<Broken>,
    books: Vec<Books>,
    logins: BTreeMap<String, Kept<LoginBook>>,
    tokens: BTreeMap<String, TokenBook>,
    /// Access tokens that quotad was granted, and those refused for good.
    minted: BTreeSet<String>,
    granted: BTreeSet<String>,
    dead: BTreeSet<String>,
    settle_until: Time,
    woke_at: Option<Time>,
    turns: (Time, u32),
    hour: (Time, u32),
}

impl Ledger {
    /// Empty books.
    pub(crate) fn new(rules: &[Rules], ladders: &[[Rungs; 2]]) -> Self {
        let books = rules.iter().zip(ladders).map(|(rules, [gate, auth])| Books {
            rules: rules.clone(),
            gate: gate.clone(),
            auth: auth.clone(),
            path: rules.credentials.clone().into(),
            lying: None,
            at_look: None,
            re_read: None,
            re_read_written_at: 0,
            grants: Vec::new(),
            poll: Kept::default(),
            file: Kept::default(),
            tries: 0,
            retry_until: None,
            earned: false,
            calm: false,
            rejected: None,
            refresh_allowed: false,
            rejected_at: 0,
            rotating_since: None,
            posts: Vec::new(),
            asked_usage: String::new(),
            asked_token: String::new(),
            unstored: [false; 2],
            resumed: false,
            looked: false,
            back: true,
            hidden: false,
        });
        Self {
            stakes: Stakes::default(),
            broken: None,
            books: books.collect(),
            logins: BTreeMap::new(),
            tokens: BTreeMap::new(),
            minted: BTreeSet::new(),
            granted: BTreeSet::new(),
            dead: BTreeSet::new(),
            settle_until: 0,
            woke_at: None,
            turns: (0, 0),
            hour: (0, 0),
        }
    }

    /// A promise is broken; the first is kept.
    pub(crate) fn breaks(&mut self, promise: Promise, at: Time, how: String) {
        self.broken.get_or_insert(Broken { promise, at, how });
    }

    /// What gates belong to: the account where it is known, else the file.
    fn key(&self, n: usize) -> String {
        let books = &self.books[n];
        books.file.live.identity.clone().unwrap_or_else(|| books.rules.credentials.clone())
    }

    fn login(&mut self, n: usize) -> &mut Kept<LoginBook> {
        self.logins.entry(self.key(n)).or_default()
    }

    /// Whether two accounts share this login's gates.
    pub(crate) fn is_shared(&self, n: usize) -> bool {
        let key = self.key(n);
        (0..self.books.len()).any(|other| other != n && self.key(other) == key)
    }

    /// The login that requests of this account are made with.
    fn current(&self, n: usize) -> Option<&Facts> {
        let lying = self.books[n].lying.as_ref()?;
        let waiting = self.books[n].grants.iter().rfind(|grant| grant.posted == lying.refresh);
        Some(waiting.map_or(lying, |grant| &grant.facts))
    }

    /// What lies in a file, as far as is known.
    pub(crate) fn lying(&self, n: usize) -> Option<&Facts> {
        self.books[n].lying.as_ref()
    }

    /// Whether a user's pause is in force.
    pub(crate) fn is_paused(&self, n: usize) -> bool {
        self.books[n].file.live.paused
    }

    /// Somebody other than quotad wrote a file; `facts` is what it holds now.
    pub(crate) fn written(&mut self, n: usize, facts: Option<Facts>) {
        let books = &mut self.books[n];
        // A successor that lay in the file is overwritten with it; one that did not must stay where it is kept.
        if let Some(old) = books.lying.clone().filter(|old| facts.as_ref() != Some(old)) {
            books.grants.retain(|grant| grant.facts.refresh != old.refresh);
        }
        books.lying = facts;
        books.hidden = false;
    }

    /// Something is about to be done; whatever interferes has interfered.
    pub(crate) fn before(&mut self, n: usize, deed: Deed, machine: &Machine) {
        use quotad::policy::rotation::Step;
        match deed {
            Deed::Look => self.on_look(n, machine),
            Deed::Step(Step::Lock) => {
                let books = &mut self.books[n];
                books.rotating_since = Some(machine.time());
                // What comes so late is not the rejection's answer.
                let rejected_at = books.rejected_at;
                if books.refresh_allowed && machine.time() > rejected_at + MINUTE {
                    self.close_auth(n, rejected_at, wall(machine));
                }
            }
            Deed::Step(Step::ReRead) => {
                self.books[n].re_read_written_at = written_at(n, self, machine);
                self.books[n].re_read = self.books[n].lying.clone();
            }
            _ => {}
        }
    }

    /// Identity and rejection are settled by what the file holds at a look.
    fn on_look(&mut self, n: usize, machine: &Machine) {
        let (now, wall) = (machine.time(), wall(machine));
        let named = machine.files[&self.books[n].path].identity.clone();
        let is_readable = !self.books[n].hidden;
        let now_seen = self.current(n).filter(|_| is_readable).cloned();
        let seen_before = std::mem::replace(&mut self.books[n].at_look, now_seen);
        if self.books[n].at_look.is_none() {
            return;
        }
        self.books[n].looked = true;
        if let Some(named) = named
            && self.books[n].file.live.identity.as_ref() != Some(&named)
        {
            let unnamed = self.key(n);
            let known = self.books[n].file.live.identity.replace(named);
            let books = &mut self.books[n];
            if known.is_some() {
                // Another account now: nothing of the old one's state is its own.
                books.file.live.auth = Pause::default();
                books.file.live.granted_until = 0;
                books.poll.live = PollBook::default();
                books.retry_until = None;
                books.earned = true;
                books.calm = false;
            } else if let Some(old) = self.logins.get(&unnamed).cloned() {
                let login = self.login(n);
                login.live.merge(&old.live);
                login.stored.merge(&old.stored);
                login.synced.merge(&old.synced);
            }
        }
        let current = self.current(n).cloned();
        if let Some(found) = &current
            && self.books[n].file.live.seen.as_ref() != Some(&found.access)
        {
            let is_first = self.books[n].file.live.seen.replace(found.access.clone()).is_none();
            if !is_first && !self.minted.contains(&found.access) {
                // A new token earns a request at once, unless all was well.
                let old = seen_before.as_ref().and_then(|old| self.tokens.get(&old.refresh));
                let used_up = old.is_some_and(|known| known.dead || known.spent);
                let books = &mut self.books[n];
                let lived = seen_before.is_some_and(|old| old.expires_at.is_none_or(|at| at > wall));
                let auth = &books.file.live.auth;
                let was_fine = books.calm
                    && books.poll.live.setback.is_none()
                    && lived
                    && auth.failures == 0
                    && !auth.open
                    && !used_up;
                books.earned |= !was_fine || books.rotating_since.is_some();
                self.lift_auth(n);
            }
        }
        let known = current.as_ref().and_then(|found| self.tokens.get(&found.refresh));
        if known.is_some_and(|known| known.dead || known.spent) {
            self.stakes.count(Promise::DeadStaysDead);
        }
        let books = &mut self.books[n];
        let Some((token, permanent)) = books.rejected.take() else { return };
        let Some(current) = current else { return };
        if current.access != token {
            books.earned = true;
            return;
        }
        if current.expires_at.is_some_and(|at| at <= wall) {
            return;
        }
        if permanent {
            self.dead.insert(token.clone());
        }
        let books = &mut self.books[n];
        books.rejected_at = now;
        let auth = &mut books.file.live.auth;
        auth.failures += 1;
        auth.began.get_or_insert(now);
        books.refresh_allowed = books.rules.refresh.mode == RefreshMode::Always
            && !books.file.live.refreshed
            && (books.file.live.auth.open || !self.minted.contains(&token));
        if !books.refresh_allowed {
            self.close_auth(n, now, wall);
        }
    }

    /// Nothing more can be tried with a rejection: the next rung, if the gate closes.
    fn close_auth(&mut self, n: usize, now: Time, wall: i64) {
        let books = &mut self.books[n];
        books.refresh_allowed = false;
        let auth = &mut books.file.live.auth;
        if auth.open || auth.failures >= books.rules.auth.after {
            auth.refuse(now, None, &books.auth, wall);
            books.file.live.refreshed = false;
            self.stakes.count(Promise::AuthPauseIsServed);
        }
    }

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
        if was_stored {
            (books.poll.stored.last, books.poll.stored.interval) = (Some(now), interval);
        }
        books.earned = false;
        books.retry_until = None;
        token.clone_into(&mut books.asked_usage);
    }

    fn check_usage_token(&mut self, n: usize, token: &str, now: Time, wall: i64) {
        self.stakes.count(Promise::OnlyGoodTokens);
        let how = match &self.books[n].at_look {
            None => Some("there was no login".to_owned()),
            Some(facts) if facts.access != token => Some(format!("the file holds {}", facts.access)),
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
        let is_retry = books.retry_until.is_some_and(|until| now <= until) && books.tries < rules.retries;
        if is_retry {
            books.tries += 1;
            self.stakes.count(Promise::Spacing);
            return;
        }
        // The poll before ended without a reading. If it had retries left, something else may have ended it.
        if books.retry_until.is_some() && books.tries >= rules.retries {
            books.poll.live.set_back(Kind::Transient);
        }
        books.tries = 0;
        if books.earned || early {
            return;
        }
        self.stakes.count(Promise::Spacing);
        let poll = self.books[n].poll.live.clone();
        let floor = login_last.map_or(0, |last| last + time(rules.floor));
        let setback = poll.setback.filter(|(kind, _)| !poll.asked_for || *kind == Kind::NoPermission);
        let wait = setback.map_or(0, |(kind, count)| kind.wait(count, poll.interval));
        let wait = if poll.asked_for { wait } else { wait.max(poll.interval) };
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

    /// The process hears an answer of the usage endpoint.
    pub(crate) fn hears_usage(&mut self, n: usize, verdict: Usage, machine: &Machine) {
        let (now, wall) = (machine.time(), wall(machine));
        let (rules, gate, auth) = (self.books[n].rules.clone(), self.books[n].gate.clone(), self.books[n].auth.clone());
        let configured = time(rules.interval);
        let token = self.books[n].asked_usage.clone();
        let clamp =
            |demand: Option<std::time::Duration>| demand.map(|wait| time(wait.min(rules.gates.max_retry_after)));
        self.books[n].calm = matches!(verdict, Usage::Good | Usage::Limited(_));
        let login = &mut self.login(n).live;
        match verdict {
            Usage::Good => {
                let two_intervals = 2 * login.interval(configured);
                login.usage.succeed(now, &gate, two_intervals);
                login.refused.clear();
                login.recover(configured);
                let books = &mut self.books[n];
                books.file.live.auth.succeed(now, &auth, two_intervals);
                books.file.live.refreshed = false;
                books.poll.live.setback = None;
                books.back = true;
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
                self.books[n].poll.live.interval = interval;
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
        let clamp =
            |demand: Option<std::time::Duration>| demand.map(|wait| time(wait.min(rules.gates.max_retry_after)));
        let known = self.tokens.entry(posted.clone()).or_default();
        let was_second_try = known.dead;
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
                login.token.refuse(now, clamp(Some(std::time::Duration::from_secs(1800))), &gate, wall);
            }
            Token::NeverArrived if self.books[n].refresh_allowed => {
                self.books[n].file.live.refreshed = false;
                return;
            }
            Token::Unknown => self.login(n).live.token.strike(now, &gate),
            Token::NeverArrived | Token::Terminal | Token::Off => {}
        }
        if self.books[n].refresh_allowed {
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
        lease: std::time::Duration,
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
        let grant = Grant { posted: posted.to_owned(), facts, on_disk: false };
        if grant.rotated() {
            self.stakes.count(Promise::NothingGrantedIsLost);
        }
        self.books[n].grants.push(grant);
    }

    /// A successor was stored beside `state.db`, or could not be.
    pub(crate) fn kept_successor(&mut self, n: usize, kept: bool) {
        if let Some(grant) = self.books[n].grants.last_mut().filter(|_| kept) {
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

    /// A rotation gave its lock back.
    pub(crate) fn unlocked(&mut self, n: usize) {
        self.books[n].rotating_since = None;
    }

    /// A record was written, or could not be.
    pub(crate) fn stored(&mut self, n: usize, record: &Record, ok: bool) {
        let books = &mut self.books[n];
        match record {
            Record::Login { .. } => books.unstored[0] = !ok,
            Record::File { .. } => books.unstored[1] = !ok,
            Record::Mark(..) | Record::Reading(..) => {}
        }
        if !ok {
            return;
        }
        let durable = match record {
            Record::Login { durable, .. } => {
                let durable = *durable;
                self.login(n).store(durable);
                self.books[n].poll.store(durable);
                durable
            }
            Record::File { .. } => {
                self.books[n].file.store(true);
                true
            }
            Record::Mark(_, mark) => {
                let token = self.books[n].asked_token.clone();
                if let Some(known) = self.tokens.get_mut(&token) {
                    known.stored |= known.dead && mark.dead.is_some() || known.spent && mark.spent;
                }
                true
            }
            Record::Reading(..) => false,
        };
        if durable {
            for login in self.logins.values_mut() {
                login.synced = login.stored.clone();
            }
            for books in &mut self.books {
                books.poll.synced = books.poll.stored.clone();
            }
        }
    }

    /// The process is gone.
    pub(crate) fn died(&mut self, power: bool) {
        for login in self.logins.values_mut() {
            login.die(power);
        }
        for token in self.tokens.values_mut() {
            // A verdict that was not stored leaves the fence open.
            if (token.dead || token.spent) && !token.stored {
                *token =
                    TokenBook { unknown: token.unknown_before + 1, retried: token.retried, ..TokenBook::default() };
            }
        }
        for n in 0..self.books.len() {
            let is_shared = self.is_shared(n);
            let books = &mut self.books[n];
            books.poll.die(power);
            books.file.die(power);
            if is_shared {
                // The record they share may be the other's.
                books.poll = Kept::default();
            }
            books.grants.retain(|grant| grant.on_disk);
            books.retry_until = None;
            books.rejected = None;
            books.refresh_allowed = false;
            books.rotating_since = None;
            books.unstored = [false; 2];
            books.looked = false;
        }
    }

    /// A process began.
    pub(crate) fn started(&mut self, cautious: bool, rebooted: bool, machine: &Machine) {
        let (now, wall) = (machine.time(), wall(machine));
        if rebooted {
            let is_dated_well = machine.wall_set_at() == 0 || machine.wall_set_at() + 3 * DAY < now;
            for login in self.logins.values_mut() {
                for book in [&mut login.live, &mut login.stored, &mut login.synced] {
                    book.usage.reboot(now, wall, is_dated_well);
                    book.token.reboot(now, wall, is_dated_well);
                }
            }
            for books in &mut self.books {
                for file in [&mut books.file.live, &mut books.file.stored, &mut books.file.synced] {
                    file.auth.reboot(now, wall, is_dated_well);
                    file.granted_until = 0;
                }
                for poll in [&mut books.poll.live, &mut books.poll.stored, &mut books.poll.synced] {
                    poll.last = None;
                }
            }
            for login in self.logins.values_mut() {
                for book in [&mut login.live, &mut login.stored, &mut login.synced] {
                    book.last = None;
                }
            }
        }
        if cautious {
            self.logins.clear();
            for token in self.tokens.values_mut() {
                *token = TokenBook { unknown: 1, stored: true, ..TokenBook::default() };
            }
            self.minted.clear();
            self.dead.clear();
            for n in 0..self.books.len() {
                let books = &mut self.books[n];
                books.poll = Kept::default();
                books.file = Kept::default();
                if let Some(facts) = &books.lying {
                    let fenced = TokenBook { unknown: 1, stored: true, ..TokenBook::default() };
                    self.tokens.insert(facts.refresh.clone(), fenced);
                }
                let (gate, auth) = (self.books[n].gate.clone(), self.books[n].auth.clone());
                self.books[n].file.live.auth.refuse(now, None, &auth, wall);
                let login = &mut self.login(n).live;
                login.usage = Pause::default();
                login.usage.refuse(now, None, &gate, wall);
                login.token = login.usage.clone();
            }
        }
    }

    /// The machine slept.
    pub(crate) fn woke(&mut self, machine: &Machine) {
        self.stakes.count(Promise::SettleAfterSleep);
        self.woke_at = Some(machine.time());
        self.settle_until = machine.time() + 10 * SECOND;
        for books in &mut self.books {
            // A retry that was waiting comes after the sleep.
            books.retry_until = books.retry_until.map(|until| until.max(machine.time() + MINUTE));
        }
    }

    /// The file brought a token that quotad did not mint, or a person asks.
    fn lift_auth(&mut self, n: usize) {
        let file = &mut self.books[n].file.live;
        file.auth.lift();
        file.refreshed = false;
        self.books[n].refresh_allowed = false;
    }

    /// A person asked for something, and was answered.
    pub(crate) fn commanded(&mut self, n: usize, command: Command, answer: &Answer) {
        match command {
            Command::Pause => {
                self.books[n].file.live.paused = true;
                self.stakes.count(Promise::PauseIsServed);
            }
            Command::Resume => {
                self.books[n].file.live.paused = false;
                self.books[n].resumed = true;
                self.lift_auth(n);
            }
            Command::Poll => {}
        }
        if command != Command::Pause && answer.verdict == Verdict::Done {
            self.books[n].poll.live.asked_for = true;
        }
    }

    /// The config was read again: by the running process, or by the next one.
    pub(crate) fn reloaded(&mut self, n: usize, rules: &Rules, running: bool) {
        let configured = time(rules.interval);
        let is_changed = self.books[n].rules.interval != rules.interval;
        let interval = self.login(n).live.interval(configured);
        let books = &mut self.books[n];
        books.rules = rules.clone();
        if running && is_changed {
            books.poll.live.interval = interval;
        }
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
        if !account.is_started() || !self.books[n].looked {
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
        // While something is under way, what was settled before stands; a verdict takes five seconds of looks.
        let is_quiet = account.next_wake(machine.now()).is_some();
        let a_while_ago = machine.now().stamp - std::time::Duration::from_secs(60);
        let is_over = is_quiet && view.until.is_some_and(|until| until < a_while_ago);
        if is_unexplained || has_no_end || is_over {
            let (state, reason, until, action) = (view.state, view.reason, view.until, view.action);
            self.breaks(Promise::Explained, now, format!("{state:?}: {reason:?}, until {until:?}, {action:?}"));
        } else if is_quiet && self.sees_good_token(n, &view, wall(machine)) && view.next_poll_at.is_none() {
            let how = format!("account {n} plans no poll: {:?}, {:?}", view.state, view.reason);
            self.breaks(Promise::GoodTokensAreUsed, now, how);
        }
    }

    /// Whether what the account shows of its file is a login whose access token is still good.
    fn sees_good_token(&mut self, n: usize, view: &AccountView, wall: i64) -> bool {
        let shown = view.credentials.expires_at.map(|at| at.as_millisecond());
        let books = &self.books[n];
        let is_good = self.current(n).is_some_and(|facts| {
            books.file.live.seen.as_ref() == Some(&facts.access)
                && shown.is_some_and(|at| at > wall && facts.expires_at == Some(at))
                && !self.dead.contains(&facts.access)
        });
        if is_good && !books.file.live.paused {
            self.stakes.count(Promise::GoodTokensAreUsed);
            return true;
        }
        false
    }

    /// Whether every successor that reached the process is where it can be found.
    pub(crate) fn check_grants(&mut self, machine: &Machine, in_memory: impl Fn(usize, &str) -> bool) {
        for n in 0..self.books.len() {
            let lost = self.books[n].grants.iter().filter(|grant| grant.rotated()).find(|grant| {
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

    /// From now on a success counts.
    pub(crate) fn watch_for_success(&mut self, n: usize) {
        self.books[n].back = false;
    }

    /// Whether there has been one since.
    pub(crate) fn is_back(&self, n: usize) -> bool {
        self.books[n].back
    }

    /// Whether the last thing that an account wanted to store could not be.
    pub(crate) fn is_unstored(&self) -> bool {
        self.books.iter().any(|books| books.unstored.contains(&true))
    }

    /// Whether the account has seen what lies in its file.
    pub(crate) fn has_seen(&self, n: usize) -> bool {
        let seen = &self.books[n].file.live.seen;
        let is_there = self.books[n].looked && !self.books[n].hidden;
        is_there && self.current(n).is_some_and(|facts| seen.as_ref() == Some(&facts.access))
    }

    /// What lay in the file cannot be read for now.
    pub(crate) fn hidden(&mut self, n: usize) {
        self.books[n].hidden = true;
    }

    /// Whether what lay in the file cannot be read for now.
    pub(crate) fn is_hidden(&self, n: usize) -> bool {
        self.books[n].hidden
    }

    /// It can be read again.
    pub(crate) fn shown(&mut self, n: usize) {
        self.books[n].hidden = false;
    }
}

/// The machine's wall clock, in milliseconds.
fn wall(machine: &Machine) -> i64 {
    machine.now().stamp.as_millisecond()
}

fn written_at(n: usize, ledger: &Ledger, machine: &Machine) -> i64 {
    machine.files[&ledger.books[n].path].written_at.as_millisecond()
}

/// Whether two credential files differ in the login's own five fields only.
fn same_but_for_the_login(before: &[u8], after: &[u8]) -> bool {
    let without = |bytes: &[u8]| {
        let mut file: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        let login = file.get_mut("claudeAiOauth")?.as_object_mut()?;
        for field in ["accessToken", "refreshToken", "expiresAt", "refreshTokenExpiresAt", "scopes"] {
            login.remove(field);
        }
        Some(file)
    };
    without(before).is_some() && without(before) == without(after)
}

//! The checker: keeps its own books of what the vendor, the disk and the user saw, and says when a promise is broken.
//!
//! Knows nothing of the policy's state. It learns of a refusal when the process hears it, forgets with the process
//! what the process had not stored, and computes from design.md's rules, naively, when a request may leave. Where the
//! two could honestly differ it takes the bound that is surely right.

mod hears;
mod leaves;
mod shows;

use std::collections::{BTreeMap, BTreeSet};

use quotad::credential::secret::FingerprintKey;
use quotad::model::{Fingerprint, RefreshMode};
use quotad::policy::account::{Answer, Command, Record, Rules, Verdict};

use secrecy::SecretString;

use crate::books::{FileBook, Kept, LoginBook, Pause, PollBook, Rungs, TokenBook, time};
use crate::host::{DAY, Deed, MINUTE, Machine, SECOND, Time};
use crate::invariants::{Broken, Promise, Stakes};

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
    /// Was about to be stored beside `state.db`, whether the disk took it or not.
    offered: bool,
}

impl Grant {
    /// Whether the posted token was spent for it: then nothing else is left of the login.
    fn rotated(&self) -> bool {
        self.facts.refresh != self.posted
    }
}

/// One account.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that was seen")]
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
    /// The last grant of a server that does not rotate: one login, whichever access token is newer.
    unrotated: Option<Facts>,
    poll: Kept<PollBook>,
    file: Kept<FileBook>,
    /// The tries of the poll under way, and until when another may follow.
    tries: u32,
    /// As many of them may have belonged to the poll before.
    tries_before: u32,
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
    /// When the last one gave it back.
    rotated_at: Time,
    /// Posts that may have arrived, lately.
    posts: Vec<Time>,
    asked_usage: String,
    asked_token: String,
    /// The process could not store the login, or the file, the last time it wanted to.
    unstored: [bool; 2],
    resumed: bool,
    looked: bool,
    /// This process has looked and found no login: the first that appears is a change.
    found_none: bool,
    shared: bool,
    /// What it started from may be what another account of its login stored.
    heir: bool,
    /// A record without a name stays in `state.db`, and is found again.
    left_behind: bool,
    /// Since when the end that the view names has passed.
    over_since: Option<Time>,
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
    /// The same, as far as it is stored.
    minted_on_record: BTreeSet<String>,
    dead_on_record: BTreeSet<String>,
    /// Tokens by the fingerprints that were stored.
    names: BTreeMap<Fingerprint, String>,
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
            path: (*rules.credentials).into(),
            lying: None,
            at_look: None,
            re_read: None,
            re_read_written_at: 0,
            grants: Vec::new(),
            unrotated: None,
            poll: Kept::default(),
            file: Kept::default(),
            tries: 0,
            tries_before: 0,
            retry_until: None,
            earned: false,
            calm: false,
            rejected: None,
            refresh_allowed: false,
            rejected_at: 0,
            rotating_since: None,
            rotated_at: 0,
            posts: Vec::new(),
            asked_usage: String::new(),
            asked_token: String::new(),
            unstored: [false; 2],
            resumed: false,
            looked: false,
            found_none: false,
            shared: false,
            heir: false,
            left_behind: false,
            over_since: None,
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
            minted_on_record: BTreeSet::new(),
            dead_on_record: BTreeSet::new(),
            names: BTreeMap::new(),
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
        books.file.live.identity.clone().unwrap_or_else(|| books.rules.credentials.to_string())
    }

    fn login(&mut self, n: usize) -> &mut Kept<LoginBook> {
        self.logins.entry(self.key(n)).or_default()
    }

    /// Whether this account ever shared its login with another: the record they share may hold the other's next poll.
    pub(crate) fn is_shared(&self, n: usize) -> bool {
        self.books[n].shared
    }

    /// The other accounts of the same login.
    fn sharers(&self, n: usize) -> Vec<usize> {
        let key = self.key(n);
        (0..self.books.len()).filter(|other| *other != n && self.key(*other) == key).collect()
    }

    fn note_sharing(&mut self, n: usize) {
        for other in self.sharers(n) {
            self.books[n].shared = true;
            self.books[other].shared = true;
        }
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
            books.grants.retain(|grant| grant.facts.access != old.access);
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
            // Killed from here on, the process would have taken it along.
            Deed::Step(Step::Compare) if self.books[n].grants.iter().any(|grant| !grant.offered) => {
                let how = format!("account {n}: a successor was not stored before it goes to its place");
                self.breaks(Promise::NothingGrantedIsLost, machine.time(), how);
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
            self.books[n].found_none = true;
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
                // What the disk did not let go of is found again by later starts.
                self.books[n].left_behind = machine.disk.unwritable;
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
            let seen = self.books[n].file.live.seen.replace(found.access.clone());
            let is_first = seen.is_none() && !self.books[n].found_none;
            if !is_first && !self.minted.contains(&found.access) {
                // A new token earns a request at once, unless all was well.
                let old = seen_before.as_ref().and_then(|old| self.tokens.get(&old.refresh));
                let used_up = old.is_some_and(|known| known.dead || known.spent);
                let books = &mut self.books[n];
                let lived = seen_before.is_some_and(|old| old.expires_at.is_none_or(|at| at > wall));
                let auth = &books.file.live.auth;
                let was_fine = books.calm
                    && !books.heir
                    && books.poll.live.setback.is_none()
                    && lived
                    && auth.failures == 0
                    && !auth.open
                    && !used_up;
                let just_rotated = books.rotating_since.is_some() || now < books.rotated_at + MINUTE;
                books.earned |= !was_fine || just_rotated;
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

    /// A rotation gave its lock back.
    pub(crate) fn unlocked(&mut self, n: usize, now: Time) {
        self.books[n].rotating_since = None;
        self.books[n].rotated_at = now;
    }

    /// A record was written, or could not be.
    pub(crate) fn stored(&mut self, n: usize, record: &Record, ok: bool, machine: &Machine) {
        self.note_sharing(n);
        let name = if let Record::Mark(token, _) = record { self.name_of(n, *token, machine) } else { None };
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
                if let Some(name) = name {
                    if let Some(known) = self.tokens.get_mut(&name) {
                        known.stored |= known.dead && mark.dead.is_some() || known.spent && mark.spent;
                    }
                    if mark.minted {
                        self.minted_on_record.insert(name.clone());
                    }
                    if mark.dead.is_some() {
                        self.dead_on_record.insert(name);
                    }
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

    /// The token of this fingerprint: the first time one is stored, it has just been on its way.
    fn name_of(&mut self, n: usize, token: Fingerprint, machine: &Machine) -> Option<String> {
        if !self.names.contains_key(&token) {
            let books = &self.books[n];
            let granted = books.grants.iter().flat_map(|grant| [&grant.facts.access, &grant.facts.refresh]);
            let mut candidates = [&books.asked_token, &books.asked_usage].into_iter().chain(granted);
            let key = FingerprintKey::new(&machine.disk.key);
            let name = candidates.find(|name| key.fingerprint(&SecretString::from(name.as_str())) == token)?;
            self.names.insert(token, name.clone());
        }
        self.names.get(&token).cloned()
    }

    /// The process is gone.
    pub(crate) fn died(&mut self, power: bool) {
        // Verdicts that were never stored.
        self.dead.retain(|token| self.dead_on_record.contains(token));
        self.minted.retain(|token| self.minted_on_record.contains(token));
        for login in self.logins.values_mut() {
            // Of what was not synced, some may have come through: the successes that shortened the interval.
            let excess = login.stored.excess.min(login.synced.excess);
            login.die(power);
            for book in [&mut login.live, &mut login.stored, &mut login.synced] {
                book.excess = excess.min(book.excess);
            }
        }
        for token in self.tokens.values_mut() {
            token.under_way = false;
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
                // The record they share may be the other's, and so may its trouble.
                books.poll = Kept::default();
                books.heir = true;
            }
            books.grants.retain(|grant| grant.on_disk);
            books.retry_until = None;
            books.rejected = None;
            books.refresh_allowed = false;
            books.rotating_since = None;
            books.unstored = [false; 2];
            books.looked = false;
            books.found_none = false;
        }
        // A new process does not know that the machine slept a moment ago.
        (self.settle_until, self.woke_at) = (0, None);
    }

    /// A process began.
    pub(crate) fn started(&mut self, cautious: bool, rebooted: bool, machine: &Machine) {
        let (now, wall) = (machine.time(), wall(machine));
        for n in 0..self.books.len() {
            if std::mem::take(&mut self.books[n].left_behind) {
                self.login(n).live.usage.fuzzy = true;
            }
        }
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
            self.minted_on_record.clear();
            self.dead_on_record.clear();
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
        // A retry that was waiting comes after the sleep.
        let (last_turn, soon) = (self.turns.0, machine.time() + MINUTE);
        for until in self.books.iter_mut().filter_map(|books| books.retry_until.as_mut()) {
            if *until > last_turn {
                *until = soon.max(*until);
            }
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
        self.books.iter().any(|books| books.unstored.contains(&true) || books.left_behind)
    }

    /// Whether the account has seen what lies in its file.
    pub(crate) fn has_seen(&self, n: usize) -> bool {
        let books = &self.books[n];
        let is_there = books.looked && !books.hidden && books.at_look.as_ref() == self.current(n);
        is_there && books.at_look.as_ref().map(|facts| &facts.access) == books.file.live.seen.as_ref()
    }

    /// Whether nobody knows what became of the file's refresh token.
    pub(crate) fn is_fenced(&self, n: usize) -> bool {
        let known = self.books[n].lying.as_ref().and_then(|facts| self.tokens.get(&facts.refresh));
        known.is_some_and(|known| known.unknown > 0)
    }

    /// What lay in the file cannot be read for now.
    pub(crate) fn hidden(&mut self, n: usize) {
        self.books[n].hidden = true;
    }

    /// Whether what lay in the file cannot be read for now.
    pub(crate) fn is_hidden(&self, n: usize) -> bool {
        self.books[n].hidden
    }
}

/// The machine's wall clock, in milliseconds.
fn wall(machine: &Machine) -> i64 {
    machine.now().stamp.as_millisecond()
}

fn written_at(n: usize, ledger: &Ledger, machine: &Machine) -> i64 {
    machine.files[&ledger.books[n].path].written_at.as_millisecond()
}

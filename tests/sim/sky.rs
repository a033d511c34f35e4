//! The weather at work: the vendor behind its network, the CLIs and users at the files, and whatever strikes the
//! process. Everything it does and sees goes into the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use quotad::demo::vendor::{Answer, Delivery, RetryAfter, Tokens, World, credential_file_json};
use quotad::model::Endpoint;
use quotad::provider::Reply;
use quotad::provider::exchange::Broken;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::forecast::{Climate, Forecast, Origin};
use crate::host::{Deed, Fate, MINUTE, Machine, Random, SECOND, Saw, Sent, Surroundings, Time};
use crate::ledger::{Facts, Ledger};
use crate::verdict;
use crate::weather::{Spell, Sprung};

/// Something that follows by itself.
#[derive(Debug, Clone)]
pub(crate) enum Later {
    /// The vendor's CLI begins to refresh, if nobody else is at it; it holds its locks for so long.
    CliBegins(usize, Time),
    /// It has its answer and writes.
    CliWrites(usize),
    /// The file is as it was, if nobody wrote it since.
    FileBack(usize, Option<Vec<u8>>, Vec<u8>),
    /// The state directory takes writes again.
    StateWritable,
    /// The credential directory does.
    Writable(usize),
    /// Refreshing is safe again.
    Safe(usize),
    /// The watch sees again.
    Sighted,
}

/// How many usage requests a client may make.
#[derive(Debug, Clone, Copy)]
struct ClientBudget {
    requests: u32,
    window: Time,
    advice: RetryAfter,
    until: Time,
    began: Time,
    used: u32,
}

/// One account, from outside.
#[derive(Debug, Clone)]
struct User {
    path: PathBuf,
    uuid: String,
}

/// Everything around the machine.
pub(crate) struct Sky {
    /// The vendor.
    pub vendor: World,
    /// The books.
    pub ledger: Ledger,
    /// What follows by itself, by time.
    pub later: BTreeMap<(Time, u64), Later>,
    /// What happened, if anyone wants to be told.
    pub told: Option<Vec<(Time, String)>>,
    /// A digest of every request and every state.
    pub digest: u64,
    /// Requests that left.
    pub requests: u64,
    climate: Climate,
    users: Vec<User>,
    usage: Option<(Spell, Time)>,
    token: Option<(Spell, Time)>,
    token_budget_until: Time,
    offline_until: Time,
    refused_until: Time,
    client: Option<ClientBudget>,
    traps: Vec<(Deed, Sprung)>,
    random: Random,
    count: u64,
    boots: u32,
    spoilt: Vec<bool>,
    withdrawn: BTreeSet<String>,
}

impl Sky {
    /// A fine day: every account has a login.
    pub(crate) fn new(seed: u64, forecast: &Forecast, machine: &mut Machine) -> Self {
        let climate = forecast.climate.clone();
        let mut vendor = World::new(seed);
        vendor.reuse = climate.reuse;
        vendor.rotates = climate.rotates;
        vendor.expired_answers_429 = climate.expired_answers_429;
        let users = forecast.rules.iter().enumerate().map(|(n, rules)| {
            let own = if climate.origins[n] == Origin::Own { n } else { 0 };
            User { path: (*rules.credentials).into(), uuid: format!("account-{own}") }
        });
        let mut sky = Self {
            ledger: Ledger::new(&forecast.rules, &forecast.ladders),
            later: BTreeMap::new(),
            told: None,
            digest: 0xCBF2_9CE4_8422_2325,
            requests: 0,
            users: users.collect(),
            usage: None,
            token: None,
            token_budget_until: 0,
            offline_until: 0,
            refused_until: 0,
            client: None,
            traps: Vec::new(),
            random: Random::new(seed, 20),
            count: 0,
            boots: 0,
            withdrawn: BTreeSet::new(),
            spoilt: vec![false; forecast.rules.len()],
            climate,
            vendor,
        };
        for n in 0..sky.users.len() {
            if sky.climate.origins[n] == Origin::Copy {
                let facts = sky.ledger.lying(0).cloned();
                let bytes = machine.bytes(&sky.users[0].path).map(<[u8]>::to_vec);
                sky.write(n, bytes, facts, machine);
            } else {
                sky.log_in(n, machine);
            }
            if sky.climate.named {
                sky.name(n, machine);
            }
        }
        sky
    }

    /// How many accounts there are.
    pub(crate) fn accounts(&self) -> usize {
        self.users.len()
    }

    /// Says what happened.
    pub(crate) fn tell(&mut self, at: Time, what: impl FnOnce() -> String) {
        if let Some(told) = &mut self.told {
            told.push((at, what()));
        }
    }

    fn note(&mut self, what: &[u8]) {
        for byte in what {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    /// Something follows after `wait`.
    pub(crate) fn after(&mut self, wait: Time, later: Later, machine: &Machine) {
        self.count += 1;
        self.later.insert((machine.time() + wait, self.count), later);
    }

    /// The usage endpoint behaves so until then.
    pub(crate) fn spell_usage(&mut self, spell: Spell, until: Time) {
        self.usage = Some((spell, until));
    }

    /// The token endpoint does.
    pub(crate) fn spell_token(&mut self, spell: Spell, until: Time) {
        self.token = Some((spell, until));
    }

    /// No network until then.
    pub(crate) fn unplug(&mut self, until: Time) {
        self.offline_until = until;
    }

    /// Nobody listens until then.
    pub(crate) fn close_port(&mut self, until: Time) {
        self.refused_until = until;
    }

    /// Each client has a budget until then.
    pub(crate) fn ration_clients(&mut self, requests: u32, window: Time, advice: RetryAfter, until: Time) {
        self.client = Some(ClientBudget { requests, window, advice, until, began: 0, used: 0 });
    }

    /// Each access token has one until then.
    pub(crate) fn ration_tokens(&mut self, budget: quotad::demo::vendor::Budget, until: Time) {
        self.vendor.budget = Some(budget);
        self.token_budget_until = until;
    }

    /// The next time the process comes to this deed, that happens.
    pub(crate) fn trap(&mut self, deed: Deed, sprung: Sprung) {
        self.traps.push((deed, sprung));
    }

    /// The vendor is well and reachable, and nothing lies in wait.
    pub(crate) fn clear(&mut self) {
        (self.usage, self.token, self.client, self.vendor.budget) = (None, None, None, None);
        (self.offline_until, self.refused_until) = (0, 0);
        self.traps.clear();
    }

    fn write(&mut self, n: usize, bytes: Option<Vec<u8>>, facts: Option<Facts>, machine: &mut Machine) {
        let path = self.users[n].path.clone();
        machine.write(&path, bytes);
        self.ledger.written(n, facts);
    }

    /// Somebody's client writes these tokens, dating the expiry by this machine's clock.
    fn write_tokens(&mut self, n: usize, tokens: &Tokens, machine: &mut Machine) {
        let mut tokens = tokens.clone();
        let lives = tokens.expires_at.duration_since(machine.true_stamp());
        tokens.expires_at = machine.now().stamp.checked_add(lives).unwrap_or(tokens.expires_at);
        let facts = Facts {
            access: tokens.access.clone(),
            refresh: tokens.refresh.clone(),
            expires_at: Some(tokens.expires_at.as_millisecond()),
        };
        let bytes = credential_file_json(&tokens, |_| {}).into_bytes();
        self.write(n, Some(bytes), Some(facts), machine);
    }

    /// The user logs in to the account the file belongs to.
    pub(crate) fn log_in(&mut self, n: usize, machine: &mut Machine) {
        let tokens = self.vendor.login(&self.users[n].uuid.clone(), self.climate.lease, machine.true_stamp());
        self.write_tokens(n, &tokens, machine);
    }

    /// The user logs in to another account.
    pub(crate) fn switch(&mut self, n: usize, machine: &mut Machine) {
        self.count += 1;
        self.users[n].uuid = format!("account-{n}-{}", self.random.below(3));
        if machine.files[&self.users[n].path].identity.is_some() {
            self.name(n, machine);
        }
        self.log_in(n, machine);
    }

    /// `.claude.json` names the account.
    pub(crate) fn name(&mut self, n: usize, machine: &mut Machine) {
        let user = self.users[n].clone();
        if let Some(file) = machine.files.get_mut(&user.path) {
            file.identity = Some(user.uuid);
        }
        machine.touch(&user.path);
    }

    /// The vendor's verdict: no tokens.
    pub(crate) fn sign_out(&mut self, n: usize, machine: &mut Machine) {
        let stub = json!({"claudeAiOauth": {"accessToken": "", "refreshToken": "", "expiresAt": 0, "scopes": []}});
        self.write(n, Some(stub.to_string().into_bytes()), None, machine);
    }

    /// The file is something else for a while.
    pub(crate) fn spoil(&mut self, n: usize, wait: Time, spoilt: Option<Vec<u8>>, machine: &mut Machine) {
        let before = machine.bytes(&self.users[n].path).map(<[u8]>::to_vec);
        if let Some(before) = before.filter(|_| !self.ledger.is_hidden(n)) {
            machine.write(&self.users[n].path.clone(), spoilt.clone());
            self.ledger.hidden(n);
            self.after(wait, Later::FileBack(n, spoilt, before), machine);
        }
    }

    /// The file no longer says when its token expires.
    pub(crate) fn unsay_expiry(&mut self, n: usize, machine: &mut Machine) {
        let Some(mut facts) = self.ledger.lying(n).cloned() else { return };
        let tokens =
            Tokens { access: facts.access.clone(), refresh: facts.refresh.clone(), expires_at: machine.now().stamp };
        facts.expires_at = None;
        let bytes = credential_file_json(&tokens, |file| file["claudeAiOauth"]["expiresAt"] = json!(0)).into_bytes();
        self.write(n, Some(bytes), Some(facts), machine);
    }

    /// Whether the vendor would take what the file holds, and the file says how long.
    pub(crate) fn is_login_good(&self, n: usize, machine: &Machine) -> bool {
        self.ledger.lying(n).is_some_and(|facts| {
            let newest = self.vendor.current(&facts.refresh);
            newest.is_some_and(|tokens| {
                let apart = facts.expires_at.map_or(u64::MAX, |at| at.abs_diff(tokens.expires_at.as_millisecond()));
                let same = tokens.refresh == facts.refresh && tokens.access == facts.access && apart < MINUTE;
                same && tokens.expires_at > machine.true_stamp() && !self.withdrawn.contains(&tokens.access)
            })
        })
    }

    /// Whether the file dates its token's end wrongly, or not at all: then no client can know.
    pub(crate) fn is_misdated(&self, n: usize) -> bool {
        let lying = self.ledger.lying(n);
        lying.is_some_and(|facts| {
            let newest = self.vendor.current(&facts.refresh).filter(|tokens| tokens.access == facts.access);
            let date = newest.map(|tokens| tokens.expires_at.as_millisecond());
            let apart = date.and_then(|date| Some(facts.expires_at?.abs_diff(date)));
            apart.is_none_or(|apart| apart >= MINUTE) || self.withdrawn.contains(&facts.access)
        })
    }

    /// The vendor revokes the login.
    pub(crate) fn revoke(&mut self, n: usize) {
        if let Some(facts) = self.ledger.lying(n).cloned() {
            self.vendor.revoke(&facts.refresh);
        }
    }

    /// The vendor forgets the access token.
    pub(crate) fn withdraw(&mut self, n: usize) {
        if let Some(facts) = self.ledger.lying(n).cloned() {
            self.vendor.withdraw(&facts.access);
            self.withdrawn.insert(facts.access);
        }
    }

    /// The vendor's CLI refreshes under its locks, or waits for who holds them.
    pub(crate) fn cli_begins(&mut self, n: usize, hold: Time, machine: &mut Machine) {
        let now = machine.time();
        let Some(file) = machine.files.get_mut(&self.users[n].path) else { return };
        if file.ours && !file.lock_broken {
            return self.after(5 * SECOND, Later::CliBegins(n, hold), machine);
        }
        file.cli_lock_until = now + hold;
        machine.touch(&self.users[n].path.clone());
        self.after(hold - 1, Later::CliWrites(n), machine);
    }

    /// A CLI exchanges what lies in the file, and writes what came of it.
    pub(crate) fn cli_rotates(&mut self, n: usize, machine: &mut Machine) {
        let Some(facts) = self.ledger.lying(n).cloned() else { return };
        match self.vendor.cli_rotate(&facts.refresh, machine.true_stamp()) {
            Some(tokens) => self.write_tokens(n, &tokens, machine),
            None => self.sign_out(n, machine),
        }
    }

    /// What was to follow follows.
    pub(crate) fn follow(&mut self, later: Later, machine: &mut Machine) {
        match later {
            Later::CliBegins(n, hold) => self.cli_begins(n, hold, machine),
            Later::CliWrites(n) => self.cli_rotates(n, machine),
            Later::FileBack(n, spoilt, before) => {
                if machine.bytes(&self.users[n].path) == spoilt.as_deref() {
                    let facts = facts(&before);
                    self.write(n, Some(before), facts, machine);
                }
            }
            Later::StateWritable => machine.disk.unwritable = false,
            Later::Writable(n) => self.file(n, machine, |file| file.unwritable = false),
            Later::Safe(n) => self.file(n, machine, |file| file.unsafe_because = None),
            Later::Sighted => machine.blind = false,
        }
    }

    /// Changes what lies around a credential file.
    pub(crate) fn file(&self, n: usize, machine: &mut Machine, change: impl FnOnce(&mut crate::host::Lying)) {
        if let Some(file) = machine.files.get_mut(&self.users[n].path) {
            change(file);
        }
    }

    /// The current spell of an endpoint.
    fn spell(&self, endpoint: Endpoint, now: Time) -> Option<Spell> {
        let spell = if endpoint == Endpoint::Usage { self.usage } else { self.token };
        spell.filter(|(_, until)| now < *until).map(|(spell, _)| spell)
    }

    fn over_client_budget(&mut self, now: Time) -> Option<RetryAfter> {
        let client = self.client.as_mut().filter(|client| now < client.until)?;
        if now >= client.began + client.window {
            (client.began, client.used) = (now, 0);
        }
        client.used += 1;
        (client.used > client.requests).then_some(client.advice)
    }

    /// What the network and the vendor make of a request.
    fn deliver(&mut self, sent: &Sent<'_>, machine: &Machine) -> (Result<Reply, Broken>, Time) {
        let now = machine.time();
        let quick = self.random.within(40, 2_000);
        let deadline = if sent.endpoint == Endpoint::Usage { 90 * SECOND } else { 15 * SECOND };
        if now < self.offline_until {
            return (Err(Broken::Offline), 5);
        }
        if now < self.refused_until {
            return (Err(Broken::Connect), 30);
        }
        let mut spell = self.spell(sent.endpoint, now);
        if sent.endpoint == Endpoint::Usage {
            if now >= self.token_budget_until {
                self.vendor.budget = None;
            }
            if spell.is_none() {
                spell = self.over_client_budget(now).map(Spell::Limits);
            }
        }
        self.spoilt[sent.account] = matches!(spell, Some(Spell::Page(200) | Spell::Truncated | Spell::Nan));
        let answer = spell.and_then(Spell::answer).unwrap_or(Answer::Normal);
        if sent.endpoint == Endpoint::Usage {
            self.vendor.usage().next(answer);
        } else {
            self.vendor.token().next(answer);
        }
        match self.vendor.serve(&sent.request, machine.true_stamp()) {
            _ if spell == Some(Spell::TooLong) => (Err(Broken::TooLong), quick),
            Delivery::Whole(reply) => (Ok(reply), quick),
            Delivery::Drip(reply, delay) => (Ok(reply), quick + 16 * delay.as_millis() as Time),
            Delivery::Half(mut reply) => {
                reply.body.truncate(reply.body.len() / 2);
                (Err(Broken::Cut(Some(reply))), quick)
            }
            Delivery::Closed => (Err(Broken::Cut(None)), quick),
            Delivery::Silence => (Err(Broken::Cut(None)), deadline),
        }
    }

    fn spring(&mut self, n: usize, sprung: Sprung, machine: &mut Machine) -> Fate {
        let soon = self.random.within(100, 10 * MINUTE);
        match sprung {
            Sprung::Kill => return Fate::Kill(soon),
            Sprung::PowerCut => return Fate::PowerCut(soon + 20 * SECOND),
            Sprung::Login => self.log_in(n, machine),
            Sprung::Logout => self.sign_out(n, machine),
            Sprung::RudeCli => self.cli_rotates(n, machine),
            Sprung::BrokenLock => self.file(n, machine, |file| file.lock_broken = file.ours),
            Sprung::FullDisk => {
                machine.disk.unwritable = true;
                self.after(10 * MINUTE, Later::StateWritable, machine);
            }
        }
        Fate::Done
    }
}

impl Surroundings for Sky {
    fn exchange(&mut self, sent: &Sent<'_>, machine: &mut Machine) -> (Result<Reply, Broken>, Duration) {
        let (n, now) = (sent.account, machine.time());
        if sent.endpoint == Endpoint::Usage {
            self.ledger.asks(n, sent.token, machine);
        }
        let (answer, took) = self.deliver(sent, machine);
        if sent.endpoint == Endpoint::Token {
            let arrives = !matches!(answer, Err(Broken::Offline | Broken::Connect));
            self.ledger.posts(n, sent.token, arrives, machine);
        }
        self.requests += 1;
        let status = answer.as_ref().map_or_else(|broken| brief(broken).to_owned(), |reply| reply.status.to_string());
        let line = format!("account {n}: {} {} -> {status}", sent.endpoint.as_str(), label(sent.token));
        self.note(&now.to_le_bytes());
        self.note(line.as_bytes());
        self.tell(now, || line);
        (answer, Duration::from_millis(took))
    }

    fn run_command(&mut self, n: usize, machine: &mut Machine) -> Result<(), String> {
        let really = !self.random.one_in(20);
        self.ledger.runs(n, machine, really);
        self.tell(machine.time(), || format!("account {n}: the vendor's command runs: {really}"));
        if !really {
            return Err("it is not installed where quotad looks".to_owned());
        }
        if self.random.below(4) < self.climate.command_works {
            let (wait, hold) = (self.random.within(SECOND, 40 * SECOND), self.random.within(200, 4_000));
            self.after(wait, Later::CliBegins(n, hold), machine);
        }
        Ok(())
    }

    fn before(&mut self, n: usize, deed: Deed, machine: &mut Machine) -> Fate {
        use quotad::policy::rotation::Step;
        let writes = |sprung| matches!(sprung, Sprung::Login | Sprung::Logout | Sprung::RudeCli);
        let may = |sprung| !(matches!(deed, Deed::Step(Step::Stage | Step::Replace)) && writes(sprung));
        let armed = self.traps.iter().position(|(at, sprung)| *at == deed && may(*sprung));
        let fate = match armed {
            Some(at) => {
                let (_, sprung) = self.traps.remove(at);
                self.tell(machine.time(), || format!("account {n}: at {deed:?} comes {sprung:?}"));
                self.spring(n, sprung, machine)
            }
            None => Fate::Done,
        };
        if fate == Fate::Done {
            self.ledger.before(n, deed, machine);
        }
        fate
    }

    fn saw(&mut self, n: usize, saw: Saw<'_>, machine: &Machine) {
        let now = machine.time();
        match saw {
            Saw::Started { cautious } => {
                let rebooted = machine.boots() != std::mem::replace(&mut self.boots, machine.boots());
                self.ledger.started(cautious, rebooted, machine);
                self.tell(now, || {
                    if cautious { "quotad starts without its state" } else { "quotad starts" }.to_owned()
                });
            }
            Saw::Died { power } => {
                self.ledger.died(power);
                self.tell(now, || if power { "the machine is down" } else { "quotad is gone" }.to_owned());
            }
            Saw::Woke => self.ledger.woke(machine),
            Saw::Heard(Endpoint::Usage, answer) => {
                let verdict = verdict::Usage::read(answer, self.spoilt[n]);
                self.ledger.hears_usage(n, verdict, machine);
            }
            Saw::Heard(Endpoint::Token, answer) => {
                let verdict = verdict::Token::read(answer);
                self.ledger.hears_token(n, &verdict, machine);
            }
            Saw::Stored(record, ok) => self.ledger.stored(n, record, ok, machine),
            Saw::KeptSuccessor(kept) => self.ledger.kept_successor(n, kept),
            Saw::Replaced(before) => {
                let facts = machine.bytes(&self.users[n].path).and_then(facts);
                self.ledger.replaced(n, before, facts, machine);
            }
            Saw::Reloaded(rules, running) => self.ledger.reloaded(n, rules, running),
            Saw::Unlocked => self.ledger.unlocked(n, now),
            Saw::Commanded(command, answer) => {
                self.ledger.commanded(n, command, answer);
                self.tell(now, || {
                    format!("account {n}: `quotad {command:?}` -> {:?}: {}", answer.verdict, answer.said)
                });
            }
            Saw::Settled(account, holding) => {
                let path = self.users[n].path.clone();
                self.ledger.settled(n, account, machine);
                self.ledger.check_grants(machine, |of, token| {
                    let held = holding.successor().map(|successor| successor.to_bytes(&path));
                    of != n || held.is_some_and(|held| String::from_utf8_lossy(held.expose_secret()).contains(token))
                });
            }
        }
    }

    fn is_over(&self) -> bool {
        self.ledger.broken.is_some()
    }
}

/// What a credential file holds, read naively.
fn facts(bytes: &[u8]) -> Option<Facts> {
    let file: serde_json::Value = str::from_utf8(bytes).ok()?.parse().ok()?;
    let login = &file["claudeAiOauth"];
    let text = |name: &str| login[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Some(Facts {
        access: text("accessToken")?,
        refresh: text("refreshToken")?,
        expires_at: login["expiresAt"].as_i64().filter(|at| *at > 0),
    })
}

/// `A3` of `sk-ant-oat01-FAKE-A3-…`.
pub(crate) fn label(token: &str) -> &str {
    token.split('-').nth(4).unwrap_or(token)
}

fn brief(broken: &Broken) -> &'static str {
    match broken {
        Broken::Offline => "offline",
        Broken::Connect => "refused",
        Broken::Cut(Some(_)) => "half an answer",
        Broken::Cut(None) => "no answer",
        Broken::TooLong => "too long",
        Broken::Unsendable => "not sent",
    }
}

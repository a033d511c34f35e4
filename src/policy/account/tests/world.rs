//! A small pure world around one account: a vendor made of two closures, a credential file, a disk, two clocks.
//!
//! Performs every action at once, keeps the moment of every request and the fingerprint of every POST, and checks
//! after every step that nothing spins and that what the account says of itself makes sense.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::super::*;
use crate::model::{
    AccountName, CredentialOwner, Endpoint, Failure, LocalReading, ProviderId, RefreshMode, Refusal, UsageOutcome,
};
use crate::policy::auth::AuthRules;
use crate::policy::gate::GateRules;
use crate::policy::ladder::Ladder;
use crate::policy::refresh::RefreshRules;
use crate::policy::rotation::{Event as Came, Minted, Step};
use crate::policy::status::{AccountState, AccountView};
use crate::policy::time::Loaded;

pub(super) const S: u64 = 1000;
pub(super) const MIN: u64 = 60 * S;
pub(super) const HOUR: u64 = 60 * MIN;
pub(super) const DAY: u64 = 24 * HOUR;

/// The world begins this long after boot.
const BEGAN: u64 = 5 * HOUR;
/// What the wall clock shows then, in milliseconds.
const WALL: i64 = 1_800_000_000_000;

pub(super) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What `credential::file` asks of a torn file.
pub(super) const TORN: &[Duration] = &[ms(50), ms(100), ms(150), ms(1000)];

/// Names the access token number `n`.
pub(super) fn access(n: u16) -> Fingerprint {
    fingerprint(b'a', n)
}

/// Names the refresh token number `n`.
pub(super) fn refresh(n: u16) -> Fingerprint {
    fingerprint(b'r', n)
}

fn fingerprint(kind: u8, n: u16) -> Fingerprint {
    let [high, low] = n.to_be_bytes();
    let mut bytes = [kind; 16];
    bytes[..2].copy_from_slice(&[high, low]);
    Fingerprint::new(bytes)
}

/// Pseudo-random dice.
pub(super) struct Random(pub(super) u64);

impl Dice for Random {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1_u32 << 31)
    }
}

/// The rules of `config/quotad.toml`, for a vendor's file.
pub(super) fn vendors_file() -> Rules {
    let ladder = Ladder::new(vec![ms(5 * MIN), ms(10 * MIN), ms(20 * MIN)], ms(6 * HOUR));
    Rules {
        name: AccountName::parse("personal").unwrap(),
        provider: ProviderId::new("claude"),
        credentials: "/home/u/.claude/.credentials.json".into(),
        origin: "https://api.example.test".to_owned(),
        interval: ms(10 * MIN),
        floor: ms(5 * MIN),
        jitter: 0.1,
        spread: ms(0),
        retries: 10,
        retry_base: ms(500),
        retry_max: ms(32 * S),
        overloaded_fallback: 3,
        sources: Sources::Api,
        usage_scope: Some("user:profile"),
        foretells: true,
        login_command: "claude /login".to_owned(),
        gates: GateRules { ladder: ladder.clone(), max_retry_after: ms(DAY), jitter: 0.1 },
        auth: AuthRules { after: 3, ladder, jitter: 0.1 },
        refresh: RefreshRules {
            mode: RefreshMode::Never,
            owner: CredentialOwner::Vendor,
            read_only: false,
            retries: 2,
            retry_base: ms(500),
            before_expiry: ms(15 * MIN),
            idle_grace: ms(10 * MIN),
        },
    }
}

/// The same for a grant of quotad's own.
pub(super) fn own_grant() -> Rules {
    let mut rules = vendors_file();
    rules.refresh.mode = RefreshMode::Always;
    rules.refresh.owner = CredentialOwner::Quotad;
    rules
}

pub(super) fn answered() -> UsageOutcome {
    UsageOutcome::Answered { windows: Vec::new(), plan: None }
}

pub(super) fn limited(demand: Option<u64>) -> UsageOutcome {
    UsageOutcome::Limited { demand: demand.map(ms) }
}

pub(super) fn rejected() -> UsageOutcome {
    UsageOutcome::Rejected { permanent: false, said: "invalid token" }
}

pub(super) fn failed(failure: Failure) -> UsageOutcome {
    UsageOutcome::Failed { failure, demand: None }
}

/// What the token endpoint answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Token {
    /// A new pair whose access token lives this long.
    Granted(u64),
    /// A new access token; the refresh token stays.
    SameRefresh(u64),
    Refused(Refusal),
}

pub(super) const UNKNOWN: Token = Token::Refused(Refusal::Unknown("502"));
pub(super) const CLOSED: Token = Token::Refused(Refusal::NeverArrived("connection refused"));
pub(super) const INVALID_GRANT: Token = Token::Refused(Refusal::Terminal("invalid_grant"));

/// What lies on the disk in `state.db`: everything went through its serialized form.
#[derive(Default)]
pub(super) struct Store {
    pub(super) logins: BTreeMap<String, String>,
    pub(super) files: BTreeMap<String, String>,
    readings: BTreeMap<String, Reading>,
    pub(super) marks: BTreeMap<Fingerprint, String>,
    /// The logins as a power cut would leave them.
    pub(super) synced_logins: BTreeMap<String, String>,
    /// How many writes had to be on disk before anything followed.
    pub(super) durable: usize,
}

/// One request to the usage endpoint, or one POST to the token endpoint; the moment counts from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) at: u64,
    pub(super) token: Fingerprint,
}

type Usage = Box<dyn FnMut(Sent) -> UsageOutcome>;
type TokenEndpoint = Box<dyn FnMut(Sent) -> Token>;

pub(super) struct World {
    /// A vendor's CLI holds a lock.
    pub(super) in_use: bool,
    /// Why the vendor's command cannot be started.
    pub(super) launch_fails: Option<String>,
    /// When the vendor's command was started.
    pub(super) ran: Vec<u64>,
    pub(super) account: Account,
    rules: Rules,
    boot: BootId,
    /// The boot clock, in milliseconds since the beginning.
    pub(super) at: u64,
    /// How far the boot clock was ahead when the current boot began: a reboot sets it back.
    booted_at: u64,
    /// What somebody did to the wall clock.
    wall_step: i64,
    dice: Box<dyn Dice>,
    pub(super) usage: Usage,
    pub(super) token: TokenEndpoint,
    pub(super) file: Credential,
    pub(super) doubt: &'static [Duration],
    /// What the local files say.
    pub(super) local: Option<LocalReading>,
    /// Whether the next looks find the file half written.
    pub(super) torn: VecDeque<bool>,
    pub(super) store: Store,
    /// The stored successor: the token it replaces, what it is, and the login it makes.
    successor: Option<(Unplaced, Login)>,
    /// Steps that come to something else than they should.
    pub(super) broken: BTreeMap<Step, Came>,
    /// At this step somebody else writes this login into the file.
    pub(super) rival: Option<(Step, Login)>,
    /// While the next usage request is under way somebody writes this login into the file.
    pub(super) meanwhile: Option<Login>,
    /// The process is killed instead of performing this step.
    pub(super) kill_at: Option<Step>,
    killed: bool,
    next_token: u16,
    /// Until when the access token lives that came with a refresh token.
    lives: BTreeMap<Fingerprint, u64>,
    pub(super) asks: Vec<Sent>,
    pub(super) posts: Vec<Sent>,
    pub(super) looks: Vec<u64>,
    pub(super) consults: Vec<u64>,
    pub(super) told: Vec<(u64, Event)>,
}

impl World {
    /// A file that holds token 1, good for 8 hours; a vendor that answers everything.
    pub(super) fn new(rules: Rules) -> Self {
        let boot = "boot 1".to_owned();
        let now = Now { moment: Moment::from_millis(BEGAN), stamp: Stamp::from_millisecond(WALL).unwrap() };
        let account = Account::new(rules.clone(), boot.clone(), None, Marks::default(), false, now);
        let mut world = Self {
            in_use: false,
            launch_fails: None,
            ran: Vec::new(),
            account,
            rules,
            boot,
            at: 0,
            booted_at: 0,
            wall_step: 0,
            dice: Box::new(Loaded(0.0)),
            usage: Box::new(|_| answered()),
            token: Box::new(|_| Token::Granted(8 * HOUR)),
            file: Credential::Absent,
            doubt: &[],
            local: None,
            torn: VecDeque::new(),
            store: Store::default(),
            successor: None,
            broken: BTreeMap::new(),
            rival: None,
            meanwhile: None,
            kill_at: None,
            killed: false,
            next_token: 100,
            lives: BTreeMap::new(),
            asks: Vec::new(),
            posts: Vec::new(),
            looks: Vec::new(),
            consults: Vec::new(),
            told: Vec::new(),
        };
        world.file = Credential::Login(world.login(1, 8 * HOUR));
        world
    }

    pub(super) fn with_usage(mut self, usage: impl FnMut(Sent) -> UsageOutcome + 'static) -> Self {
        self.usage = Box::new(usage);
        self
    }

    pub(super) fn with_token(mut self, token: impl FnMut(Sent) -> Token + 'static) -> Self {
        self.token = Box::new(token);
        self
    }

    pub(super) fn with_dice(mut self, dice: impl Dice + 'static) -> Self {
        self.dice = Box::new(dice);
        self
    }

    pub(super) fn with_life(mut self, life: u64) -> Self {
        self.file = Credential::Login(self.login(1, life));
        self
    }

    pub(super) fn now(&self) -> Now {
        let wall = WALL + i64::try_from(self.at).unwrap() + self.wall_step;
        Now {
            moment: Moment::from_millis(BEGAN + self.at - self.booted_at),
            stamp: Stamp::from_millisecond(wall).unwrap(),
        }
    }

    /// A login with the tokens of number `n`, from now.
    pub(super) fn login(&self, n: u16, life: u64) -> Login {
        Login {
            access: access(n),
            refresh: Some(refresh(n)),
            expires_at: Some(self.now().stamp.checked_add(ms(life)).unwrap()),
            login_ends_at: None,
            scopes: Some(vec!["user:profile".to_owned()]),
            plan: None,
            identity: None,
            modified_at: Some(self.now().stamp),
            unsafe_because: None,
        }
    }

    /// Somebody writes a login into the file, and the watch notices.
    pub(super) fn write(&mut self, login: Login) {
        self.file = Credential::Login(login);
        self.feed(Input::Touched);
    }

    /// Lets `wait` pass, serving every timer.
    pub(super) fn run(&mut self, wait: u64) {
        let until = self.at + wait;
        let mut spins = 0;
        while let Some(wake) = self.account.next_wake(self.now()) {
            let wake = (wake.as_millis() + self.booted_at).saturating_sub(BEGAN).max(self.at);
            if wake > until || self.killed {
                break;
            }
            spins = if wake == self.at { spins + 1 } else { 0 };
            assert!(spins < 20, "the account spins at {} ms: {:?}", self.at, self.account.activity);
            self.at = wake;
            self.feed(Input::Timer);
        }
        self.at = until;
    }

    /// The machine sleeps: time passes, nothing is served, and the shell notices.
    pub(super) fn sleep(&mut self, wait: u64) {
        self.at += wait;
        self.feed(Input::Woke);
    }

    /// Somebody sets the wall clock.
    pub(super) fn step_wall(&mut self, by: i64) {
        self.wall_step += by;
    }

    /// kill -9 and a new process.
    pub(super) fn restart(&mut self) {
        self.start(false);
    }

    /// The same after the machine was down for `down`.
    pub(super) fn reboot(&mut self, down: u64) {
        self.at += down;
        self.booted_at = self.at;
        self.boot.push('+');
        self.start(false);
    }

    /// A new process that can read nothing of what was stored.
    pub(super) fn restart_without_state(&mut self) {
        self.store = Store::default();
        self.start(true);
    }

    fn start(&mut self, cautious: bool) {
        let file: Option<FileRecord> =
            self.store.files.get(&Account::file_key_of(&self.rules)).map(|json| serde_json::from_str(json).unwrap());
        let marks = self.store.marks.iter().map(|(of, json)| (*of, serde_json::from_str(json).unwrap())).collect();
        self.account = Account::new(self.rules.clone(), self.boot.clone(), file.as_ref(), marks, cautious, self.now());
        self.killed = false;
        self.kill_at = None;
    }

    /// The config is read again.
    pub(super) fn reload(&mut self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules);
        self.feed(Input::Configured(Box::new(self.rules.clone())));
    }

    pub(super) fn command(&mut self, command: Command) -> Answer {
        let now = self.now();
        let (answer, actions) = self.account.command(command, now, self.dice.as_mut());
        let inputs = self.perform(actions);
        for input in inputs {
            self.feed(input);
        }
        self.check();
        answer
    }

    pub(super) fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut count = 0;
        while let Some(input) = inputs.pop_front() {
            count += 1;
            assert!(count < 100, "one thing leads to another without end at {} ms: {input:?}", self.at);
            let now = self.now();
            let actions = self.account.handle(input, now, self.dice.as_mut());
            inputs.extend(self.perform(actions));
            if self.killed {
                return;
            }
        }
        self.check();
    }

    fn perform(&mut self, actions: Vec<Action>) -> Vec<Input> {
        let mut inputs = Vec::new();
        for action in actions {
            match action {
                Action::Look => {
                    self.looks.push(self.at);
                    let mut look = self.look();
                    if self.torn.pop_front() == Some(true) {
                        look = Look { credential: Credential::Unreadable("is not JSON".into()), doubt: TORN, ..look };
                    }
                    inputs.push(Input::Looked(look));
                }
                Action::Recall => {
                    let key = self.account.login_key();
                    let stored =
                        |key: String| self.store.logins.get(&key).map(|json| serde_json::from_str(json).unwrap());
                    let unnamed = self.account.unnamed_key().and_then(stored);
                    let login = self.store.logins.get(&key).map(|json| serde_json::from_str(json).unwrap());
                    let reading = self.store.readings.get(&key).cloned();
                    inputs.push(Input::Recalled(Box::new(Recalled { unnamed, login, reading })));
                }
                Action::Consult => {
                    self.consults.push(self.at);
                    inputs.push(Input::Consulted(self.local.clone()));
                }
                Action::Ask(token) => {
                    let login = self.look().credential.login().cloned().expect("a login to ask with");
                    assert_eq!(login.access, token, "the token that lies in the file");
                    let expired = login.expires_at.is_some_and(|at| at <= self.now().stamp);
                    assert!(!expired, "an expired token is never sent");
                    let sent = Sent { at: self.at, token };
                    self.asks.push(sent);
                    let outcome = (self.usage)(sent);
                    if let Some(login) = self.meanwhile.take() {
                        self.file = Credential::Login(login);
                    }
                    inputs.push(Input::Replied(outcome, self.exchange(Endpoint::Usage)));
                }
                Action::Fence(token, mark) => {
                    if self.kill_at == Some(Step::OpenFence) {
                        self.killed = true;
                        return Vec::new();
                    }
                    let event = self.broken.get(&Step::OpenFence).cloned().unwrap_or(Came::Done);
                    if event == Came::Done {
                        self.store.marks.insert(token, serde_json::to_string(&mark).unwrap());
                    }
                    inputs.push(Input::Stepped(event, None));
                }
                Action::Rotate(step) => {
                    if self.kill_at == Some(step) {
                        self.killed = true;
                        return Vec::new();
                    }
                    if self.rival.as_ref().is_some_and(|(at, _)| *at == step) {
                        self.file = self.rival.take().map_or(Credential::Absent, |(_, login)| Credential::Login(login));
                    }
                    let exchange = (step == Step::Post).then(|| self.exchange(Endpoint::Token));
                    let event = self.broken.get(&step).cloned();
                    let event = event.unwrap_or_else(|| self.step(step));
                    inputs.push(Input::Stepped(event, exchange));
                }
                Action::Run => {
                    if let Some(why) = &self.launch_fails {
                        inputs.push(Input::Launched(Err(why.clone())));
                    } else {
                        self.ran.push(self.at);
                        inputs.push(Input::Launched(Ok(())));
                    }
                }
                Action::Persist(record) => self.persist(record),
                Action::Tell(event) => self.told.push((self.at, event)),
            }
        }
        inputs
    }

    fn look(&self) -> Look {
        let mut look = Look {
            credential: self.file.clone(),
            doubt: self.doubt,
            warning: None,
            in_use: self.in_use,
            unplaced: None,
        };
        if let (Some((unplaced, login)), Some(lying)) = (&self.successor, self.file.login())
            && lying.refresh == Some(unplaced.posted)
            && lying.access != login.access
        {
            look.credential = Credential::Login(login.clone());
            look.unplaced = Some(unplaced.clone());
        }
        look
    }

    fn step(&mut self, step: Step) -> Came {
        let lying = self.file.login().and_then(|login| login.refresh);
        let Activity::Rotating(rotation, _) = &self.account.activity else { panic!("{step:?} without a rotation") };
        let posted = rotation.posted();
        match step {
            Step::ReRead if lying != Some(posted) => Came::Changed,
            Step::Post => self.post(posted),
            Step::Compare if lying != Some(posted) => {
                self.successor = None;
                Came::Changed
            }
            Step::Replace => {
                let (_, login) = self.successor.clone().expect("something to put in its place");
                self.file = Credential::Login(login);
                Came::Done
            }
            Step::Settle => {
                self.successor = None;
                Came::Done
            }
            _ => Came::Done,
        }
    }

    fn post(&mut self, token: Fingerprint) -> Came {
        let sent = Sent { at: self.at, token };
        self.posts.push(sent);
        let (life, rotates) = match (self.token)(sent) {
            Token::Granted(life) => (life, true),
            Token::SameRefresh(life) => (life, false),
            Token::Refused(refusal) => return Came::Refused(refusal),
        };
        let mut login = self.login(self.next_token, life);
        self.next_token += 1;
        if !rotates {
            login.refresh = Some(token);
        }
        self.lives.insert(login.refresh.unwrap_or(token), self.at + life);
        login.identity = self.file.login().and_then(|login| login.identity.clone());
        let minted = Minted { access: login.access, refresh: login.refresh.unwrap_or(token), lease: ms(life) };
        self.successor = Some((Unplaced { posted: token, minted: minted.clone() }, login));
        Came::Granted(minted)
    }

    fn persist(&mut self, record: Record) {
        let durable = !matches!(record, Record::Login { durable: false, .. } | Record::Reading(..));
        match record {
            Record::Login { key, record, .. } => {
                self.store.logins.insert(key, serde_json::to_string(&record).unwrap());
            }
            Record::File { key, record } => {
                self.store.files.insert(key, serde_json::to_string(&record).unwrap());
            }
            Record::Reading(key, reading) => {
                self.store.readings.insert(key, (*reading).clone());
            }
            Record::Mark(of, mark) => {
                self.store.marks.insert(of, serde_json::to_string(&mark).unwrap());
            }
        }
        if durable {
            self.store.synced_logins.clone_from(&self.store.logins);
            self.store.durable += 1;
        }
    }

    fn exchange(&self, endpoint: Endpoint) -> Exchange {
        Exchange {
            at: self.now().stamp,
            endpoint,
            status: None,
            meaning: String::new(),
            headers: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// What holds after every step.
    fn check(&self) {
        let now = self.now();
        let view = self.view();
        assert_eq!(self.account.activity, Activity::Idle, "everything asked for was answered");
        assert!(!view.reason.is_empty() && !view.action.is_empty(), "{view:?}");
        assert!(view.until.is_none_or(|until| until >= now.stamp), "the end it names has passed: {view:?}");
        let stuck = matches!(
            view.state,
            AccountState::Throttled
                | AccountState::AuthPaused
                | AccountState::Offline
                | AccountState::Failing
                | AccountState::NoPermission
                | AccountState::Dead
                | AccountState::SignedOut
                | AccountState::Waiting
                | AccountState::Paused
        );
        assert!(!stuck || view.until.is_some() || view.action != "nothing to do", "no way out is named: {view:?}");
        assert!(
            self.account.paused || self.account.next_wake(now).is_some(),
            "the account will never wake again: {view:?}"
        );
    }

    pub(super) fn view(&self) -> AccountView {
        self.account.view(self.now())
    }

    pub(super) fn state(&self) -> AccountState {
        self.view().state
    }

    pub(super) fn asked_at(&self) -> Vec<u64> {
        self.asks.iter().map(|sent| sent.at).collect()
    }

    pub(super) fn posted_at(&self) -> Vec<u64> {
        self.posts.iter().map(|sent| sent.at).collect()
    }

    /// Until when the access token lives that came with this refresh token.
    pub(super) fn lives_until(&self, token: Fingerprint) -> u64 {
        self.lives.get(&token).copied().unwrap_or_default()
    }

    /// How often this token was posted.
    pub(super) fn posts_of(&self, token: Fingerprint) -> usize {
        self.posts.iter().filter(|sent| sent.token == token).count()
    }

    pub(super) fn was_told(&self, event: &Event) -> usize {
        self.told.iter().filter(|(_, told)| told == event).count()
    }
}

//! The machine: two clocks, credential files, a disk, and one quotad process that can be killed at any point.
//!
//! The process is made of the real parts: the policy's accounts and schedule, the provider that reads every byte of
//! an answer, and the pure half of `credential/`. Only what the shell does with sockets, files and SQLite is played
//! here, in virtual time, with the shell's own order and the shell's own concurrency: looks, steps and exchanges take
//! time, and other things happen meanwhile. Between the comparison of a credential file and its replacement no time
//! passes: nobody's rename can be tied to what was read a moment before.
//!
//! Decides nothing about the weather: [`Surroundings`] answers requests, interferes and watches. `benches/storms`
//! uses this file as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quotad::credential::file::{self, MISSING, Shape};
use quotad::credential::holding::Holding;
use quotad::credential::secret::{FingerprintKey, Tokens};
use quotad::credential::successor::Successor;
use quotad::demo::vendor;
use quotad::model::{Credential, CredentialOwner, Endpoint, Exchange, Fingerprint, ProviderId, Reading};
use quotad::policy::account::{
    Account, Action, Answer, Command, FileRecord, Input, LoginRecord, Look, Recalled, Record, Rules,
};
use quotad::policy::refresh::Mark;
use quotad::policy::rotation::{Event, Step};
use quotad::policy::schedule::Schedule;
use quotad::policy::time::{Dice, Moment, Now, Stamp};
use quotad::provider::exchange::{self, Broken};
use quotad::provider::{self, Endpoints, Reply, SecretPlace};
use secrecy::{ExposeSecret as _, SecretString};

/// Milliseconds of true time since the world began.
pub(crate) type Time = u64;

/// A second, in [`Time`].
pub(crate) const SECOND: Time = 1_000;
/// A minute.
pub(crate) const MINUTE: Time = 60 * SECOND;
/// An hour.
pub(crate) const HOUR: Time = 60 * MINUTE;
/// A day.
pub(crate) const DAY: Time = 24 * HOUR;

/// What the true wall clock shows when the world begins, in milliseconds.
const WALL: i64 = 1_800_000_000_000;
/// How long the machine had been up then.
const UP: Time = 5 * HOUR;

/// Where quotad keeps successors.
const STATE_DIR: &str = "/home/u/.local/state/quotad";

/// Chance, from a seed: splitmix64. One stream for each purpose, so that one draw more here shifts nothing there.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of `purpose` for `seed`.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mut random = Self(seed ^ purpose.wrapping_mul(0xA24B_AED4_963E_E407));
        random.next();
        random
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is above 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

impl Dice for Random {
    fn roll(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What lies at a credential file's path, and around it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lying {
    /// Its bytes; `None` when there is no file.
    pub bytes: Option<Vec<u8>>,
    /// Its modification time, by the machine's wall clock.
    pub written_at: Stamp,
    /// The account uuid that `.claude.json` names.
    pub identity: Option<String>,
    /// Why a refresh would not be safe.
    pub unsafe_because: Option<String>,
    /// Until when a vendor's CLI holds its locks.
    pub cli_lock_until: Time,
    /// quotad holds the vendor's locks.
    pub ours: bool,
    /// Somebody broke the locks while quotad held them.
    pub lock_broken: bool,
    /// The directory takes no writes.
    pub unwritable: bool,
}

/// What is on disk besides: `state.db` and the successors.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    logins: BTreeMap<String, LoginRecord>,
    files: BTreeMap<String, FileRecord>,
    readings: BTreeMap<String, Reading>,
    marks: BTreeMap<Fingerprint, Mark>,
    /// What a power cut may undo: written since the last durable write, oldest first, with what it replaced.
    unsynced: Vec<Undo>,
    /// The stored successors, by path.
    pub successors: BTreeMap<PathBuf, Vec<u8>>,
    key: [u8; 32],
    /// `state.db` cannot be understood: it is set aside at the next start.
    pub damaged: bool,
    /// The state directory takes no writes.
    pub unwritable: bool,
}

#[derive(Debug, Clone)]
enum Undo {
    Login(String, Option<LoginRecord>),
    Reading(String, Option<Reading>),
}

/// Everything that survives a process.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    time: Time,
    booted_at: Time,
    boots: u32,
    wall_step: i64,
    wall_set_at: Time,
    /// The credential files, by path.
    pub files: BTreeMap<PathBuf, Lying>,
    /// Everything else.
    pub disk: Disk,
    /// Changes that the watch has not reported yet.
    noticed: Vec<PathBuf>,
    /// The watch misses every change.
    pub blind: bool,
}

impl Machine {
    /// True time.
    pub(crate) fn time(&self) -> Time {
        self.time
    }

    /// What the two clocks show.
    pub(crate) fn now(&self) -> Now {
        Now { moment: self.moment(self.time), stamp: self.stamp(self.time) }
    }

    /// How often the machine has been started again.
    pub(crate) fn boots(&self) -> u32 {
        self.boots
    }

    /// True wall-clock time, as the vendor has it.
    pub(crate) fn true_stamp(&self) -> Stamp {
        stamp(WALL + self.time.cast_signed())
    }

    /// The boot clock at `time`.
    fn moment(&self, time: Time) -> Moment {
        Moment::from_millis((UP + time).saturating_sub(self.booted_at))
    }

    fn stamp(&self, time: Time) -> Stamp {
        stamp(WALL + time.cast_signed() + self.wall_step)
    }

    fn time_of(&self, moment: Moment) -> Time {
        (moment.as_millis() + self.booted_at).saturating_sub(UP)
    }

    /// When somebody last set the wall clock.
    pub(crate) fn wall_set_at(&self) -> Time {
        self.wall_set_at
    }

    /// Sets the wall clock this far from the truth.
    pub(crate) fn set_wall(&mut self, step: i64) {
        self.wall_step = step;
        self.wall_set_at = self.time;
    }

    /// Somebody other than quotad writes a credential file, or removes it; the watch may notice.
    pub(crate) fn write(&mut self, path: &Path, bytes: Option<Vec<u8>>) {
        let stamp = self.now().stamp;
        let file = self.files.entry(path.to_owned()).or_default();
        file.bytes = bytes;
        file.written_at = stamp;
        self.touch(path);
    }

    /// Something happened at this path or beside it.
    pub(crate) fn touch(&mut self, path: &Path) {
        if !self.blind {
            self.noticed.push(path.to_owned());
        }
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self, path: &Path) -> Option<&[u8]> {
        self.files.get(path)?.bytes.as_deref()
    }
}

fn stamp(millis: i64) -> Stamp {
    Stamp::from_millisecond(millis).expect("a time within reach")
}

impl Disk {
    fn store(&mut self, record: &Record) -> Result<(), String> {
        if self.unwritable {
            return Err("could not store it in state.db: the disk is full".to_owned());
        }
        let durable = match record.clone() {
            Record::Login { key, record, durable } => {
                let before = self.logins.insert(key.clone(), *record);
                self.unsynced.push(Undo::Login(key, before));
                durable
            }
            Record::File { key, record } => {
                self.files.insert(key, *record);
                true
            }
            Record::Reading(key, reading) => {
                let before = self.readings.insert(key.clone(), reading);
                self.unsynced.push(Undo::Reading(key, before));
                false
            }
            Record::Mark(token, mark) => {
                self.marks.insert(token, mark);
                true
            }
        };
        if durable {
            self.unsynced.clear();
        }
        Ok(())
    }

    /// The power fails: of what was not synced, the last `undone` writes at least are gone.
    fn lose_power(&mut self, undone: usize) {
        for undo in self.unsynced.drain(..).rev().take(undone) {
            match undo {
                Undo::Login(key, before) => put_back(&mut self.logins, key, before),
                Undo::Reading(key, before) => put_back(&mut self.readings, key, before),
            }
        }
    }

    fn set_aside(&mut self, random: &mut Random) {
        let successors = std::mem::take(&mut self.successors);
        *self = Self { successors, unwritable: self.unwritable, ..Self::default() };
        self.key[..8].copy_from_slice(&random.next().to_le_bytes());
    }

    /// Whether `state.db` holds writes that a power cut would undo.
    pub(crate) fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }
}

fn put_back<V>(map: &mut BTreeMap<String, V>, key: String, before: Option<V>) {
    match before {
        Some(before) => map.insert(key, before),
        None => map.remove(&key),
    };
}

/// Through the form it has in `state.db`, and back.
fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(record: &T) -> T {
    let json = serde_json::to_string(record).expect("a record can be written");
    serde_json::from_str(&json).expect("a record can be read back")
}

/// A request that leaves the machine.
pub(crate) struct Sent<'a> {
    /// Which account sends it.
    pub account: usize,
    /// Where to.
    pub endpoint: Endpoint,
    /// The token it carries.
    pub token: &'a str,
    /// As it arrives at the vendor.
    pub request: vendor::Request,
}

/// Something the process is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Look at the credential file.
    Look,
    /// Send a usage request.
    Ask,
    /// Write a record to `state.db` (a fence is the step [`Step::OpenFence`]).
    Store,
    /// Perform a step of a rotation.
    Step(Step),
    /// Take in the answer of an endpoint.
    Hear(Endpoint),
}

/// Whether it comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done.
    Done,
    /// The process is killed before it, and started again after so long.
    Kill(Time),
    /// The machine loses power before it, and is up again after so long.
    PowerCut(Time),
}

/// Something that has just happened.
pub(crate) enum Saw<'a> {
    /// A process began; whether it could read nothing of what was stored.
    Started {
        /// See design.md, "Cautious state".
        cautious: bool,
    },
    /// The process is gone, and with it everything in memory.
    Died {
        /// The machine went with it.
        power: bool,
    },
    /// The machine slept.
    Woke,
    /// An account heard how an exchange ended.
    Heard(Endpoint, &'a Result<Reply, Broken>),
    /// A record was written to `state.db`, or could not be.
    Stored(&'a Record, bool),
    /// The successor was stored beside `state.db`, or could not be.
    KeptSuccessor(bool),
    /// quotad replaced a credential file: what lay there before.
    Replaced(&'a [u8]),
    /// A rotation gave its lock back, or never got it.
    Unlocked,
    /// The config changed; whether a process runs that reads it again.
    Reloaded(&'a Rules, bool),
    /// A person asked for something, and was answered.
    Commanded(Command, &'a Answer),
    /// An account has taken in something and said what follows; and what is held of its login in memory.
    Settled(&'a Account, &'a Holding),
}

/// The world around the machine: answers, interferes, watches.
pub(crate) trait Surroundings {
    /// What comes back for a request, and after how long.
    fn exchange(&mut self, sent: &Sent<'_>, machine: &mut Machine) -> (Result<Reply, Broken>, Duration);

    /// The vendor's command is started for an account.
    ///
    /// # Errors
    /// Why it does not run.
    fn run_command(&mut self, _account: usize, _machine: &mut Machine) -> Result<(), String> {
        Ok(())
    }

    /// Something is about to be done.
    fn before(&mut self, _account: usize, _deed: Deed, _machine: &mut Machine) -> Fate {
        Fate::Done
    }

    /// Something was done.
    fn saw(&mut self, _account: usize, _saw: Saw<'_>, _machine: &Machine) {}

    /// Whether enough was seen: nothing more happens then.
    fn is_over(&self) -> bool {
        false
    }
}

/// One account of the process, with what its owner actor holds.
#[derive(Debug)]
struct Held {
    account: Account,
    holding: Holding,
    path: PathBuf,
    /// What the last read under the lock found.
    posting: Option<(Tokens, Vec<u8>)>,
    staged: Option<Vec<u8>>,
    /// Its view and its deadline are out of date.
    touched: bool,
}

/// A running quotad.
#[derive(Debug)]
pub(crate) struct Process {
    held: Vec<Held>,
    key: FingerprintKey,
    schedule: Schedule<usize>,
    stopping: bool,
    slept: bool,
}

impl Process {
    /// An account.
    pub(crate) fn account(&self, n: usize) -> &Account {
        &self.held[n].account
    }

    /// What it holds in memory of its login.
    pub(crate) fn holding(&self, n: usize) -> &Holding {
        &self.held[n].holding
    }

    /// Whether an account is in the middle of a rotation.
    pub(crate) fn is_rotating(&self, n: usize) -> bool {
        self.held[n].account.is_rotating()
    }
}

/// Something on its way to the process.
#[derive(Debug)]
enum Arrival {
    Look,
    Step(Step),
    Answered(Endpoint, Result<Reply, Broken>, Stamp),
    Input(Box<Input>),
}

/// A machine with quotad on it.
pub(crate) struct Host {
    /// Everything that survives a process.
    pub machine: Machine,
    /// The accounts that the config lists: rules and credential file.
    rules: Vec<Rules>,
    process: Option<Process>,
    under_way: BTreeMap<(Time, u64), (usize, Arrival)>,
    count: u64,
    start_at: Option<Time>,
    dice: Random,
    delays: Random,
    /// The last bytes read, and what they came to: reading the same bytes again brings the same.
    read: Vec<Option<(Vec<u8>, Understood)>>,
}

type Understood = Result<(Credential, Option<Tokens>), file::Damage>;

impl Host {
    /// A machine whose config lists these accounts. Nothing runs before [`Self::start`].
    pub(crate) fn new(seed: u64, rules: Vec<Rules>) -> Self {
        let mut random = Random::new(seed, 1);
        let mut disk = Disk::default();
        disk.set_aside(&mut random);
        let files = rules.iter().map(|rules| (PathBuf::from(&rules.credentials), Lying::default())).collect();
        Self {
            machine: Machine {
                time: 0,
                booted_at: 0,
                boots: 0,
                wall_step: 0,
                wall_set_at: 0,
                files,
                disk,
                noticed: Vec::new(),
                blind: false,
            },
            read: rules.iter().map(|_| None).collect(),
            rules,
            process: None,
            under_way: BTreeMap::new(),
            count: 0,
            start_at: None,
            dice: Random::new(seed, 2),
            delays: Random::new(seed, 3),
        }
    }

    /// The running process.
    pub(crate) fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// The rules that the config gives an account.
    pub(crate) fn rules(&self, n: usize) -> &Rules {
        &self.rules[n]
    }

    /// Starts quotad; does nothing while it runs.
    pub(crate) fn start(&mut self, around: &mut impl Surroundings) {
        self.start_at = None;
        if self.process.is_some() {
            return;
        }
        let cautious = std::mem::take(&mut self.machine.disk.damaged);
        if cautious {
            self.machine.disk.set_aside(&mut self.delays);
        }
        self.read.fill_with(|| None);
        let held = (0..self.rules.len()).map(|n| self.revive(n, cautious)).collect();
        let key = FingerprintKey::new(&self.machine.disk.key);
        self.process = Some(Process { held, key, schedule: Schedule::new(), stopping: false, slept: false });
        around.saw(0, Saw::Started { cautious }, &self.machine);
        self.publish();
    }

    /// An account as a new process makes it from what is stored.
    fn revive(&self, n: usize, cautious: bool) -> Held {
        let (rules, disk, now) = (self.rules[n].clone(), &self.machine.disk, self.machine.now());
        let stored = disk.files.get(&Account::file_key_of(&rules)).map(through_json);
        let marks = disk.marks.iter().map(|(token, mark)| (*token, through_json(mark))).collect();
        let path = PathBuf::from(&rules.credentials);
        let successors = disk.successors.iter();
        let found = successors.filter_map(|(file, bytes)| Successor::from_bytes(bytes, file.clone(), &path)).collect();
        let account = Account::new(rules, self.boot(), stored.as_ref(), marks, cautious, now);
        let holding = Holding::new(FingerprintKey::new(&disk.key), found);
        Held { account, holding, path, posting: None, staged: None, touched: true }
    }

    /// What an account would be if the process were killed and started now: it has looked at its file and recalled
    /// what is stored. `None` if something keeps it from settling at once.
    pub(crate) fn twin(&self, n: usize) -> Option<Account> {
        let mut random = self.dice.clone();
        let mut twin = Self {
            machine: self.machine.clone(),
            rules: self.rules.clone(),
            process: None,
            under_way: BTreeMap::new(),
            count: 0,
            start_at: None,
            dice: self.dice.clone(),
            delays: self.delays.clone(),
            read: self.rules.iter().map(|_| None).collect(),
        };
        let mut held = twin.revive(n, false);
        let key = FingerprintKey::new(&twin.machine.disk.key);
        let now = twin.machine.now();
        let mut actions = held.account.handle(Input::Timer, now, &mut random);
        for _ in 0..10 {
            twin.process = Some(Process {
                held: vec![held],
                key: key.clone(),
                schedule: Schedule::new(),
                stopping: false,
                slept: false,
            });
            twin.rules = vec![self.rules[n].clone()];
            let input = match actions.iter().find(|action| matches!(action, Action::Look | Action::Recall)) {
                Some(Action::Look) => Input::Looked(twin.look(0)),
                Some(_) => twin.recall(0)?,
                None => return twin.process.take()?.held.pop().map(|held| held.account),
            };
            held = twin.process.take()?.held.pop()?;
            actions = held.account.handle(input, now, &mut random);
        }
        None
    }

    fn boot(&self) -> String {
        format!("boot-{}", self.machine.boots)
    }

    /// kill -9, and a new process after so long.
    pub(crate) fn kill(&mut self, back_after: Time, around: &mut impl Surroundings) {
        self.die(false, around);
        self.start_at = Some(self.machine.time + back_after);
    }

    /// The machine loses power, and is up again with quotad running after so long.
    pub(crate) fn cut_power(&mut self, back_after: Time, around: &mut impl Surroundings) {
        let most = self.machine.disk.unsynced.len() as u64;
        let undone = self.delays.within(0, most) as usize;
        self.machine.disk.lose_power(undone);
        self.die(true, around);
        self.machine.boots += 1;
        self.machine.booted_at = self.machine.time + back_after;
        for file in self.machine.files.values_mut() {
            file.cli_lock_until = 0;
        }
        self.start_at = Some(self.machine.booted_at);
    }

    fn die(&mut self, power: bool, around: &mut impl Surroundings) {
        if self.process.take().is_some() || power {
            self.under_way.clear();
            self.machine.noticed.clear();
            for file in self.machine.files.values_mut() {
                file.ours = false;
                file.lock_broken = false;
            }
            around.saw(0, Saw::Died { power }, &self.machine);
        }
    }

    /// SIGTERM: refreshes in flight are finished, nothing else; a new process after so long.
    pub(crate) fn stop(&mut self, back_after: Time, around: &mut impl Surroundings) {
        if let Some(process) = &mut self.process {
            process.stopping = true;
            self.start_at = Some(self.machine.time + back_after);
            self.end_if_quiet(around);
        }
    }

    fn end_if_quiet(&mut self, around: &mut impl Surroundings) {
        let quiet = |process: &Process| process.stopping && process.held.iter().all(|held| !held.account.is_rotating());
        if self.process.as_ref().is_some_and(quiet) {
            self.die(false, around);
        }
    }

    /// The machine sleeps. Connections do not survive that, and neither do the vendor's locks.
    pub(crate) fn suspend(&mut self, wait: Time) {
        let end = self.machine.time + wait;
        let asleep = std::mem::take(&mut self.under_way);
        for ((at, count), (n, mut arrival)) in asleep {
            if let Arrival::Answered(_, answer, _) = &mut arrival {
                *answer = Err(Broken::Cut(None));
            }
            self.under_way.insert((at.max(end), count), (n, arrival));
        }
        for file in self.machine.files.values_mut() {
            file.lock_broken |= file.ours;
        }
        self.machine.time = end;
        if let Some(process) = &mut self.process {
            process.slept = true;
        }
    }

    /// The config is read again; refused while a rotation runs, as by the supervisor.
    pub(crate) fn reload(&mut self, n: usize, rules: Rules, around: &mut impl Surroundings) -> bool {
        let busy = |process: &Process| process.held.iter().any(|held| held.account.is_rotating());
        if self.process.as_ref().is_some_and(busy) {
            return false;
        }
        self.rules[n] = rules.clone();
        around.saw(n, Saw::Reloaded(&rules, self.process.is_some()), &self.machine);
        self.feed(n, Input::Configured(Box::new(rules)), around);
        self.publish();
        true
    }

    /// A person asks for something; `None` while nothing runs.
    pub(crate) fn command(&mut self, n: usize, command: Command, around: &mut impl Surroundings) -> Option<Answer> {
        self.wake_up(around);
        let now = self.machine.now();
        let process = self.process.as_mut().filter(|process| !process.stopping)?;
        process.held[n].touched = true;
        let (answer, actions) = process.held[n].account.command(command, now, &mut self.dice);
        around.saw(n, Saw::Commanded(command, &answer), &self.machine);
        for input in self.perform(n, actions, around) {
            self.feed(n, input, around);
        }
        self.settle(n, around);
        self.publish();
        Some(answer)
    }

    /// Lets time pass until `end`, serving whatever is due.
    pub(crate) fn run_until(&mut self, end: Time, around: &mut impl Surroundings) {
        while !around.is_over() {
            self.notice();
            let arrival = self.under_way.first_key_value().map(|((at, _), _)| *at);
            let wake = self.process.as_ref().and_then(|process| process.schedule.next_wake());
            let wake = wake.map(|moment| self.machine.time_of(moment));
            let Some(at) = arrival.into_iter().chain(wake).chain(self.start_at).min() else { break };
            if at > end {
                break;
            }
            self.machine.time = self.machine.time.max(at);
            if self.start_at.is_some_and(|start| start <= self.machine.time) {
                // One that is still stopping is cut off: systemd's patience has an end.
                self.die(false, around);
                self.start(around);
            }
            self.turn(around);
        }
        self.machine.time = self.machine.time.max(end);
    }

    /// One turn of the loop: something arrived, or a deadline has come.
    fn turn(&mut self, around: &mut impl Surroundings) {
        self.wake_up(around);
        let time = self.machine.time;
        if let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= time) {
            let (n, arrival) = entry.remove();
            if let Some(input) = self.receive(n, arrival, around) {
                self.feed(n, input, around);
            }
        }
        let now = self.machine.now();
        let due = self.process.as_mut().map(|process| process.schedule.take_due(now.moment));
        for n in due.into_iter().flatten() {
            self.feed(n, Input::Timer, around);
        }
        self.publish();
        self.end_if_quiet(around);
    }

    /// A resume is noticed before anything else.
    fn wake_up(&mut self, around: &mut impl Surroundings) {
        if self.process.as_mut().is_some_and(|process| std::mem::take(&mut process.slept)) {
            around.saw(0, Saw::Woke, &self.machine);
            for n in 0..self.rules.len() {
                self.feed(n, Input::Woke, around);
            }
        }
    }

    /// What the watch saw reaches the accounts of that file a moment later.
    fn notice(&mut self) {
        for path in std::mem::take(&mut self.machine.noticed) {
            for n in 0..self.rules.len() {
                if self.process.is_some() && Path::new(&self.rules[n].credentials) == path {
                    let delay = self.delays.within(1, 30);
                    self.later(n, delay, Arrival::Input(Box::new(Input::Touched)));
                }
            }
        }
    }

    fn later(&mut self, n: usize, delay: Time, arrival: Arrival) {
        self.count += 1;
        self.under_way.insert((self.machine.time + delay, self.count), (n, arrival));
    }

    /// Whether something happens to the process first.
    fn strikes(&mut self, n: usize, deed: Deed, around: &mut impl Surroundings) -> bool {
        match around.before(n, deed, &mut self.machine) {
            Fate::Done => return false,
            Fate::Kill(back_after) => self.kill(back_after, around),
            Fate::PowerCut(back_after) => self.cut_power(back_after, around),
        }
        true
    }

    fn feed(&mut self, n: usize, input: Input, around: &mut impl Surroundings) {
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.machine.now();
            let Some(process) = &mut self.process else { return };
            let held = &mut process.held[n];
            held.touched = true;
            let actions = held.account.handle(input, now, &mut self.dice);
            inputs.extend(self.perform(n, actions, around));
            self.settle(n, around);
        }
    }

    fn settle(&self, n: usize, around: &mut impl Surroundings) {
        if let Some(process) = &self.process {
            around.saw(n, Saw::Settled(&process.held[n].account, &process.held[n].holding), &self.machine);
        }
    }

    /// The deadlines of everything that changed.
    fn publish(&mut self) {
        let now = self.machine.now();
        let Some(process) = &mut self.process else { return };
        for (n, held) in process.held.iter_mut().enumerate() {
            if std::mem::take(&mut held.touched) {
                process.schedule.set(&n, held.account.next_wake(now), held.account.slack(now));
            }
        }
    }

    /// Does what the policy says, as `supervisor::perform` does; what is answered on the spot is returned.
    fn perform(&mut self, n: usize, actions: Vec<Action>, around: &mut impl Surroundings) -> Vec<Input> {
        let mut answers = Vec::new();
        for action in actions {
            match action {
                Action::Look => {
                    let delay = self.delays.within(1, 20);
                    self.later(n, delay, Arrival::Look);
                }
                Action::Recall => answers.extend(self.recall(n)),
                Action::Ask(token) => {
                    if self.strikes(n, Deed::Ask, around) {
                        return Vec::new();
                    }
                    self.ask(n, token, around);
                }
                Action::Fence(token, mark) => {
                    if self.strikes(n, Deed::Step(Step::OpenFence), around) {
                        return Vec::new();
                    }
                    let stored = self.store(n, &Record::Mark(token, mark), around);
                    let event = stored.map_or_else(Event::Failed, |()| Event::Done);
                    answers.push(Input::Stepped(event, None));
                }
                Action::Rotate(step) => {
                    if self.process.as_ref().is_some_and(|process| process.stopping) && step <= Step::Post {
                        answers.push(Input::Stepped(Event::Failed("quotad is stopping".to_owned()), None));
                        continue;
                    }
                    let at_once = matches!(step, Step::Stage | Step::Replace);
                    let delay = if at_once { 0 } else { self.delays.within(1, 20) };
                    self.later(n, delay, Arrival::Step(step));
                }
                Action::Run => {
                    let launched = around.run_command(n, &mut self.machine);
                    self.later(n, 50, Arrival::Input(Box::new(Input::Launched(launched))));
                }
                Action::Persist(record) => {
                    if self.strikes(n, Deed::Store, around) {
                        return Vec::new();
                    }
                    let _ = self.store(n, &record, around);
                }
                Action::Tell(_) => {}
            }
        }
        answers
    }

    /// Stores a record and lets the other accounts know, as far as it concerns them.
    fn store(&mut self, n: usize, record: &Record, around: &mut impl Surroundings) -> Result<(), String> {
        let stored = self.machine.disk.store(record);
        around.saw(n, Saw::Stored(record, stored.is_ok()), &self.machine);
        let Some(process) = &mut self.process else { return stored };
        let (before, rest) = process.held.split_at_mut(n);
        if let Some((teller, after)) = rest.split_first_mut() {
            for other in before.iter_mut().chain(after) {
                other.touched |= other.account.heed(record, &teller.account);
            }
        }
        stored
    }

    fn recall(&self, n: usize) -> Option<Input> {
        let account = &self.process.as_ref()?.held[n].account;
        let (key, unnamed) = (account.login_key(), account.unnamed_key());
        let disk = &self.machine.disk;
        let recalled = Recalled {
            unnamed: unnamed.and_then(|key| disk.logins.get(&key)).map(through_json),
            login: disk.logins.get(&key).map(through_json),
            reading: disk.readings.get(&key).map(through_json),
        };
        Some(Input::Recalled(Box::new(recalled)))
    }

    fn ask(&mut self, n: usize, token: Fingerprint, around: &mut impl Surroundings) {
        let Some(process) = self.process.as_ref().filter(|process| !process.stopping) else { return };
        let sent_at = self.machine.now().stamp;
        let (answer, took) = match process.held[n].holding.lend(token) {
            Some(bearer) => self.send(n, Endpoint::Usage, &bearer, around),
            None => (Err(Broken::Connect), Duration::ZERO),
        };
        self.later(n, took.as_millis() as Time, Arrival::Answered(Endpoint::Usage, answer, sent_at));
    }

    fn send(
        &mut self,
        n: usize,
        endpoint: Endpoint,
        token: &SecretString,
        around: &mut impl Surroundings,
    ) -> (Result<Reply, Broken>, Duration) {
        let token = token.expose_secret();
        let request = request(&self.rules[n], endpoint, token);
        around.exchange(&Sent { account: n, endpoint, token, request }, &mut self.machine)
    }

    /// Something arrives, or its time has come.
    fn receive(&mut self, n: usize, arrival: Arrival, around: &mut impl Surroundings) -> Option<Input> {
        let deed = match &arrival {
            Arrival::Look => Some(Deed::Look),
            Arrival::Step(step) => Some(Deed::Step(*step)),
            Arrival::Answered(endpoint, ..) => Some(Deed::Hear(*endpoint)),
            Arrival::Input(_) => None,
        };
        if deed.is_some_and(|deed| self.strikes(n, deed, around)) {
            return None;
        }
        match arrival {
            Arrival::Look => Some(Input::Looked(self.look(n))),
            Arrival::Input(input) => Some(*input),
            Arrival::Step(Step::Post) => {
                let sent_at = self.machine.now().stamp;
                let posted = self.held(n)?.posting.as_ref().and_then(|(tokens, _)| tokens.refresh.clone());
                let (answer, took) = match &posted {
                    Some(token) => self.send(n, Endpoint::Token, token, around),
                    None => (Err(Broken::Unsendable), Duration::ZERO),
                };
                self.later(n, took.as_millis() as Time, Arrival::Answered(Endpoint::Token, answer, sent_at));
                None
            }
            Arrival::Step(step) => {
                let event = self.step(n, step, around)?;
                Some(Input::Stepped(event, None))
            }
            Arrival::Answered(endpoint, answer, at) => {
                around.saw(n, Saw::Heard(endpoint, &answer), &self.machine);
                let received = self.machine.now().stamp;
                let provider = provider::of(self.rules[n].provider);
                let exchange = Exchange {
                    at,
                    endpoint,
                    status: answer.as_ref().ok().map(|reply| reply.status),
                    meaning: String::new(),
                    headers: Vec::new(),
                    took: Duration::ZERO,
                };
                if endpoint == Endpoint::Usage {
                    return Some(Input::Replied(exchange::usage(provider, answer, received), exchange));
                }
                let granted = exchange::refresh(provider, answer, received);
                let held = self.held(n)?;
                let event = match (granted, &held.posting) {
                    (Ok(grant), Some((in_file, _))) => {
                        let in_file = in_file.clone();
                        let posted = in_file.refresh.clone()?;
                        let dir = Path::new(STATE_DIR);
                        Event::Granted(held.holding.take_grant(&posted, &in_file, grant, received, dir))
                    }
                    (Ok(_), None) => return None,
                    (Err(refusal), _) => Event::Refused(refusal),
                };
                Some(Input::Stepped(event, Some(exchange)))
            }
        }
    }

    fn held(&mut self, n: usize) -> Option<&mut Held> {
        self.process.as_mut().map(|process| &mut process.held[n])
    }

    /// What the file's bytes say, by the real reader.
    fn understood(&mut self, n: usize) -> Option<Understood> {
        let path = Path::new(&self.rules[n].credentials);
        let bytes = self.machine.files.get(path)?.bytes.as_ref()?;
        if let Some((seen, understood)) = &self.read[n]
            && seen == bytes
        {
            return Some(understood.clone());
        }
        let process = self.process.as_ref()?;
        let understood = match file::understand(bytes, &process.key) {
            Ok(Shape::Login(tokens, login)) => Ok((Credential::Login(login), Some(tokens))),
            Ok(Shape::SignedOut) => Ok((Credential::SignedOut, None)),
            Ok(Shape::NoLogin) => Ok((Credential::NoLogin, None)),
            Err(damage) => Err(damage),
        };
        self.read[n] = Some((bytes.clone(), understood.clone()));
        Some(understood)
    }

    /// The tokens that lie in the file.
    fn in_file(&mut self, n: usize) -> Option<Tokens> {
        self.understood(n)?.ok()?.1
    }

    fn look(&mut self, n: usize) -> Look {
        let (now, time) = (self.machine.now().stamp, self.machine.time);
        let is_vendors = self.rules[n].refresh.owner == CredentialOwner::Vendor;
        let understood = self.understood(n);
        let path = PathBuf::from(&self.rules[n].credentials);
        let place = &self.machine.files[&path];
        let (credential, tokens, doubt) = match understood {
            None => (Credential::Absent, None, MISSING),
            Some(Err(damage)) => (Credential::Unreadable(format!("it {}", damage.said)), None, damage.doubt),
            Some(Ok((Credential::Login(mut login), tokens))) => {
                login.identity.clone_from(&place.identity);
                login.modified_at = Some(place.written_at);
                login.unsafe_because.clone_from(&place.unsafe_because);
                (Credential::Login(login), tokens, [].as_slice())
            }
            Some(Ok((credential, tokens))) => (credential, tokens, [].as_slice()),
        };
        let in_use = is_vendors && place.cli_lock_until > time && tokens.is_some();
        let Some(process) = &mut self.process else { unreachable!("only a process looks") };
        let stock = process.held[n].holding.take_stock(credential, tokens.as_ref(), now);
        for successor in &stock.placed {
            if !self.machine.disk.unwritable {
                self.machine.disk.successors.remove(successor.file());
            }
        }
        let warning = stock.keeps_stranger.then(|| "a refreshed token of an earlier login is kept".to_owned());
        Look { credential: stock.credential, doubt, warning, in_use, unplaced: stock.unplaced }
    }

    /// Performs one step of a rotation, as `credential::steps` does; `None` if nothing runs any more.
    fn step(&mut self, n: usize, step: Step, around: &mut impl Surroundings) -> Option<Event> {
        let failed = |why: &str| Some(Event::Failed(why.to_owned()));
        let path = PathBuf::from(&self.rules[n].credentials);
        let is_vendors = self.rules[n].refresh.owner == CredentialOwner::Vendor;
        let in_file = self.in_file(n);
        let (time, stamp) = (self.machine.time, self.machine.now().stamp);
        let Machine { files, disk, .. } = &mut self.machine;
        let place = files.get_mut(&path)?;
        let held = &mut self.process.as_mut()?.held[n];
        match step {
            Step::Lock if is_vendors && place.cli_lock_until > time => {
                around.saw(n, Saw::Unlocked, &self.machine);
                Some(Event::Busy("the vendor's CLI holds its lock".to_owned()))
            }
            Step::Lock => {
                place.ours = true;
                place.lock_broken = false;
                Some(Event::Done)
            }
            Step::Probe if place.unwritable || disk.unwritable => failed("the directory cannot be written"),
            Step::Probe => Some(Event::Done),
            Step::ReRead => {
                let (Some(tokens), Some(bytes)) = (in_file, &place.bytes) else { return Some(Event::Changed) };
                let same = held.holding.still_in(&tokens);
                held.posting = Some((tokens, bytes.clone()));
                Some(if same { Event::Done } else { Event::Changed })
            }
            Step::CheckLock if is_vendors && place.lock_broken => failed("the lock was taken over"),
            Step::CheckLock => Some(Event::Done),
            Step::StoreSuccessor => {
                let Some(successor) = held.holding.successor() else { return failed("there is no successor") };
                let kept = !disk.unwritable;
                if kept {
                    let bytes = successor.to_bytes(&path);
                    disk.successors.insert(successor.file().to_owned(), bytes.expose_secret().to_vec());
                }
                around.saw(n, Saw::KeptSuccessor(kept), &self.machine);
                Some(if kept { Event::Done } else { Event::Failed("the disk is full".to_owned()) })
            }
            Step::Compare if is_vendors && place.lock_broken => failed("the locks were taken over"),
            Step::Compare => {
                if held.holding.successor().is_none() {
                    return failed("there is no successor");
                }
                let (Some(tokens), Some(bytes)) = (in_file, &place.bytes) else {
                    return failed("the file holds no login any more");
                };
                let may = held.holding.may_replace(&tokens);
                held.posting = Some((tokens, bytes.clone()));
                Some(if may { Event::Done } else { Event::Changed })
            }
            Step::Stage => {
                let (Some(successor), Some((_, raw))) = (held.holding.successor(), &held.posting) else {
                    return failed("there is nothing to write");
                };
                if place.unwritable {
                    return failed("the directory cannot be written");
                }
                match successor.written_into(raw) {
                    Ok(written) => held.staged = Some(written.expose_secret().to_vec()),
                    Err(error) => return Some(Event::Failed(error.to_string())),
                }
                Some(Event::Done)
            }
            Step::Replace => {
                let Some(staged) = held.staged.take() else { return failed("there is nothing to put in place") };
                if place.unwritable {
                    return failed("the directory cannot be written");
                }
                let before = place.bytes.replace(staged).unwrap_or_default();
                place.written_at = stamp;
                self.machine.touch(&path);
                around.saw(n, Saw::Replaced(&before), &self.machine);
                Some(Event::Done)
            }
            Step::ReadBack => match in_file {
                Some(tokens) if held.holding.is_placed(&tokens) => Some(Event::Done),
                _ => failed("the file did not read back as written"),
            },
            Step::Settle => {
                if let Some(successor) = held.holding.settle()
                    && !disk.unwritable
                {
                    disk.successors.remove(successor.file());
                }
                Some(Event::Done)
            }
            Step::Unlock => {
                held.staged = None;
                held.posting = None;
                place.ours = false;
                around.saw(n, Saw::Unlocked, &self.machine);
                Some(Event::Done)
            }
            Step::OpenFence | Step::Post => failed("not a step of the file"),
        }
    }
}

/// The provider's request with its secret, as it arrives at the vendor.
fn request(rules: &Rules, endpoint: Endpoint, token: &str) -> vendor::Request {
    let endpoints = Endpoints {
        usage_url: vendor::USAGE_PATH.to_owned(),
        token_url: vendor::TOKEN_PATH.to_owned(),
        ..provider::of(ProviderId::Claude).endpoints()
    };
    let provider = provider::of(rules.provider);
    let request = match endpoint {
        Endpoint::Usage => provider.usage_request(&endpoints),
        Endpoint::Token => provider.refresh_request(&endpoints),
    };
    let mut headers: Vec<_> = request.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut body = Vec::new();
    match request.secret {
        SecretPlace::Bearer => headers.push(("authorization".to_owned(), format!("Bearer {token}"))),
        SecretPlace::Field { name, others, .. } => {
            let fields = others.into_iter().chain([(name, token.to_owned())]);
            let fields: serde_json::Map<_, _> = fields.map(|(name, value)| (name.to_owned(), value.into())).collect();
            body = serde_json::Value::Object(fields).to_string().into_bytes();
        }
    }
    let method = match request.method {
        provider::Method::Get => "GET",
        provider::Method::Post => "POST",
    };
    vendor::Request { method: method.to_owned(), path: request.url, headers, body, arrived: Instant::now() }
}

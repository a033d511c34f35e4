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

#[path = "host/machine.rs"]
mod machine;
#[path = "host/shell.rs"]
mod shell;
#[path = "host/surroundings.rs"]
mod surroundings;
#[path = "host/twin.rs"]
mod twin;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use quotad::credential::file;
use quotad::credential::holding::Holding;
use quotad::credential::secret::{FingerprintKey, Tokens};
use quotad::credential::successor::Successor;
use quotad::model::{Credential, Endpoint};
use quotad::policy::account::{Account, Answer, Backlog, Command, Input, Rules};
use quotad::policy::rotation::Step;
use quotad::policy::schedule::Schedule;
use quotad::policy::time::Stamp;
use quotad::provider::Reply;
use quotad::provider::exchange::Broken;

use self::machine::through_json;
pub(crate) use self::machine::{DAY, HOUR, Lying, MINUTE, Machine, Random, SECOND, Time};
pub(crate) use self::surroundings::{Deed, Fate, Saw, Sent, Surroundings};

/// One account of the process, with what its owner actor holds.
#[derive(Debug)]
struct Held {
    account: Account,
    holding: Holding,
    /// What the last read under the lock found.
    posting: Option<(Tokens, Vec<u8>)>,
    staged: Option<Vec<u8>>,
    /// What could not be stored.
    backlog: Backlog,
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
    /// When what could not be stored is tried again.
    store_at: Option<Time>,
}

impl Process {
    /// An account.
    pub(crate) fn account(&self, n: usize) -> &Account {
        &self.held[n].account
    }

    /// Whether something could not be stored yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.held.iter().any(|held| !held.backlog.is_empty())
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
        let paths = rules.iter().map(|rules| PathBuf::from(&*rules.credentials));
        Self {
            machine: Machine::new(paths, &mut Random::new(seed, 1)),
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
        // Whoever waits for it switches the machine on.
        self.machine.booted_at = self.machine.booted_at.min(self.machine.time);
        if self.process.is_some() {
            return;
        }
        if std::mem::take(&mut self.machine.disk.damaged) {
            self.machine.disk.set_aside(&mut self.delays);
            self.machine.disk.lost = true;
        }
        let cautious = self.machine.disk.lost;
        self.read.fill_with(|| None);
        let held = (0..self.rules.len()).map(|n| self.revive(n, cautious)).collect();
        let key = FingerprintKey::new(&self.machine.disk.key);
        self.process =
            Some(Process { held, key, schedule: Schedule::new(), stopping: false, slept: false, store_at: None });
        around.saw(0, Saw::Started { cautious }, &self.machine);
        self.publish();
    }

    /// An account as a new process makes it from what is stored.
    fn revive(&self, n: usize, cautious: bool) -> Held {
        let (rules, disk, now) = (self.rules[n].clone(), &self.machine.disk, self.machine.now());
        let stored = disk.files.get(&Account::file_key_of(&rules)).map(through_json);
        let marks = disk.marks.iter().map(|(token, mark)| (*token, mark.clone())).collect();
        let account = Account::new(rules, self.boot(), stored.as_ref(), marks, cautious, now);
        self.held(n, account)
    }

    /// What belongs to an account in a process that has looked at nothing yet.
    fn held(&self, n: usize, account: Account) -> Held {
        let (path, disk) = (Path::new(&*self.rules[n].credentials), &self.machine.disk);
        let successors = disk.successors.iter();
        let found = successors.filter_map(|(file, bytes)| Successor::from_bytes(bytes, file.clone(), path)).collect();
        let holding = Holding::new(FingerprintKey::new(&disk.key), found);
        Held { account, holding, posting: None, staged: None, backlog: Backlog::default(), touched: true }
    }

    fn boot(&self) -> String {
        format!("boot-{}", self.machine.boots)
    }

    /// kill -9, and a new process after so long; does nothing while none runs.
    pub(crate) fn kill(&mut self, back_after: Time, around: &mut impl Surroundings) {
        if self.process.is_some() {
            self.die(false, around);
            self.start_at = Some(self.machine.time + back_after);
        }
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
            let store = self.process.as_ref().and_then(|process| process.store_at);
            let Some(at) = arrival.into_iter().chain(wake).chain(store).chain(self.start_at).min() else { break };
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
        if self.process.as_ref().and_then(|process| process.store_at).is_some_and(|at| at <= time) {
            self.catch_up(around);
        }
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
                if self.process.is_some() && Path::new(&*self.rules[n].credentials) == path {
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
        let mut inputs = VecDeque::from([input]);
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

    /// The deadlines of everything that changed, and that the loss of `state.db` is over.
    fn publish(&mut self) {
        let now = self.machine.now();
        let Some(process) = &mut self.process else { return };
        let is_over = !process.is_behind() && process.held.iter().all(|held| held.account.is_started());
        self.machine.disk.lost &= !is_over;
        for (n, held) in process.held.iter_mut().enumerate() {
            if std::mem::take(&mut held.touched) {
                process.schedule.set(&n, held.account.next_wake(now), held.account.slack(now));
            }
        }
    }
}

//! What the shell does with an action: looks, requests, records, and the steps of a rotation.
//!
//! The counterpart of `supervisor::perform` and `credential::{owner, steps}`, over a disk and a network in memory. Every
//! decision that could be shared is theirs: reading a file's bytes, holding a successor, taking an exchange for what it
//! means.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quotad::credential::file::{self, MISSING, Shape};
use quotad::credential::secret::Tokens;
use quotad::demo::vendor;
use quotad::model::{Credential, CredentialOwner, Endpoint, Exchange, Fingerprint, ProviderId};
use quotad::policy::account::{Action, Input, Look, Recalled, Record, Rules};
use quotad::policy::rotation::{Event, Step};
use quotad::provider::exchange::{self, Broken};
use quotad::provider::store::Layout;
use quotad::provider::{self, Endpoints, Reply, SecretPlace};
use secrecy::{ExposeSecret as _, SecretString};

use super::machine::{MINUTE, Machine, STATE_DIR, Time, through_json};
use super::surroundings::{Deed, Saw, Sent, Surroundings};
use super::{Arrival, Held, Host, Understood};

impl Host {
    /// Does what the policy says, as `supervisor::perform` does; what is answered on the spot is returned.
    pub(super) fn perform(&mut self, n: usize, actions: Vec<Action>, around: &mut impl Surroundings) -> Vec<Input> {
        let mut answers = Vec::new();
        for action in actions {
            match action {
                Action::Look => {
                    let delay = self.delays.within(1, 20);
                    self.later(n, delay, Arrival::Look);
                }
                Action::Recall => answers.extend(self.recall(n)),
                // No local files in this world.
                Action::Consult => answers.push(Input::Consulted(None)),
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
                    let stored = self.store(n, &record, around);
                    let Some(process) = &mut self.process else { return Vec::new() };
                    match stored {
                        Ok(()) if process.is_behind() => self.catch_up(around),
                        Ok(()) => {}
                        Err(_) => {
                            process.held[n].backlog.keep(&record);
                            process.store_at = Some(self.machine.time() + MINUTE);
                        }
                    }
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
        process.held.iter_mut().for_each(|held| held.backlog.supersede(record));
        let now = self.machine.now();
        let (before, rest) = process.held.split_at_mut(n);
        if let Some((teller, after)) = rest.split_first_mut() {
            for other in before.iter_mut().chain(after) {
                other.touched |= other.account.heed(record, &teller.account, now);
            }
        }
        stored
    }

    /// Tries to store what could not be.
    pub(super) fn catch_up(&mut self, around: &mut impl Surroundings) {
        let Some(process) = &mut self.process else { return };
        for (n, held) in process.held.iter_mut().enumerate() {
            for record in held.backlog.take() {
                let stored = self.machine.disk.store(&record);
                around.saw(n, Saw::Stored(&record, stored.is_ok()), &self.machine);
                if stored.is_err() {
                    held.backlog.keep(&record);
                }
            }
        }
        process.store_at = process.is_behind().then(|| self.machine.time() + MINUTE);
    }

    pub(super) fn recall(&self, n: usize) -> Option<Input> {
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
            Some(lent) => self.send(n, Endpoint::Usage, &lent.access, around),
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
    pub(super) fn receive(&mut self, n: usize, arrival: Arrival, around: &mut impl Surroundings) -> Option<Input> {
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
                let posted = self.held_by_process(n)?.posting.as_ref().and_then(|(tokens, _)| tokens.refresh.clone());
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
                let held = self.held_by_process(n)?;
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

    fn held_by_process(&mut self, n: usize) -> Option<&mut Held> {
        self.process.as_mut().map(|process| &mut process.held[n])
    }

    /// What the file's bytes say, by the real reader.
    fn understood(&mut self, n: usize) -> Option<Understood> {
        let path = Path::new(&*self.rules[n].credentials);
        let bytes = self.machine.files.get(path)?.bytes.as_ref()?;
        if let Some((seen, understood)) = &self.read[n]
            && seen == bytes
        {
            return Some(understood.clone());
        }
        let process = self.process.as_ref()?;
        let understood = match file::understand(provider::of(CLAUDE), bytes, &process.key) {
            Ok(Shape::Login(tokens, login)) => Ok((Credential::Login(*login), Some(tokens))),
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

    pub(super) fn look(&mut self, n: usize) -> Look {
        let (now, time) = (self.machine.now().stamp, self.machine.time);
        let is_vendors = self.rules[n].refresh.owner == CredentialOwner::Vendor;
        let understood = self.understood(n);
        let path = PathBuf::from(&*self.rules[n].credentials);
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
        let path = PathBuf::from(&*self.rules[n].credentials);
        let is_vendors = self.rules[n].refresh.owner == CredentialOwner::Vendor;
        let reads = matches!(step, Step::ReRead | Step::Compare | Step::ReadBack);
        let in_file = if reads { self.in_file(n) } else { None };
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
            Step::ReRead => {
                let (Some(tokens), Some(bytes)) = (in_file, &place.bytes) else { return Some(Event::Changed) };
                let same = held.holding.still_in(&tokens);
                held.posting = Some((tokens, bytes.clone()));
                Some(if same { Event::Done } else { Event::Changed })
            }
            Step::CheckLock if is_vendors && place.lock_broken => failed("the lock was taken over"),
            Step::Probe | Step::CheckLock => Some(Event::Done),
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
                match successor.written_into(raw, layout()) {
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

const CLAUDE: ProviderId = ProviderId::new("claude");

fn layout() -> &'static Layout {
    provider::of(CLAUDE).store().layout.expect("Claude's file can be written")
}

/// The provider's request with its secret, as it arrives at the vendor.
fn request(rules: &Rules, endpoint: Endpoint, token: &str) -> vendor::Request {
    let endpoints = Endpoints {
        usage_url: vendor::USAGE_PATH.to_owned(),
        token_url: vendor::TOKEN_PATH.to_owned(),
        ..provider::of(CLAUDE).endpoints()
    };
    let provider = provider::of(rules.provider);
    let request = match endpoint {
        Endpoint::Usage => provider.usage_request(&endpoints, None),
        Endpoint::Token => provider.refresh_request(&endpoints),
    };
    let mut headers: Vec<_> = request.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut body = Vec::new();
    match request.secret {
        SecretPlace::Nowhere => {}
        SecretPlace::Bearer => headers.push(("authorization".to_owned(), format!("Bearer {token}"))),
        SecretPlace::Header { name, prefix } => headers.push((name.into_owned(), format!("{prefix}{token}"))),
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

//! The owner of one credential file: an actor behind a handle.
//!
//! Performs looks and the steps of a rotation, one at a time, and lends the current access token to `transport`'s
//! callers. Owns the only copies of the tokens. Never decides which step comes next: `policy::rotation` does. A step
//! once begun is not cancelled; whoever stops the daemon waits for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{mpsc, oneshot};

use super::file::{Contents, CredentialFile, Found};
use super::secret::{FingerprintKey, Tokens};
use super::successor::{Place, Successor};
use super::vendor_lock::{HEARTBEAT, LockFailure, LockState, VendorLocks};
use crate::clock::Clock;
use crate::disk::{self, Lock, Staged};
use crate::model::{AccountName, Credential, CredentialOwner, Endpoint, Exchange, Fingerprint, ProviderId, Refusal};
use crate::policy::account::{Input, Look, Unplaced};
use crate::policy::rotation::{Event, Step};
use crate::provider::{self, Endpoints, Reply};
use crate::transport::{Broken, Transport};

/// What the probe writes before anything is spent: more than any credential file seen.
const PROBE_BYTES: usize = 64 * 1024;

/// The store lock is tried as often as the vendor tries it, over about 7.5 s (credentials.md 1A.1).
const STORE_TRIES: u32 = 10;
const STORE_WAIT: Duration = Duration::from_millis(750);

/// What an owner needs to know of its account.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Whose file it is.
    pub account: AccountName,
    /// The vendor.
    pub provider: ProviderId,
    /// Who writes the file, and so which locks exclude others.
    pub owner: CredentialOwner,
    /// Where requests go.
    pub endpoints: Endpoints,
    /// For one whole token request.
    pub deadline: Duration,
    /// Where successors are kept.
    pub state_dir: PathBuf,
}

/// A handle to the actor. Dropping every handle ends it once its current step is done.
#[derive(Debug, Clone)]
pub struct OwnerHandle {
    orders: mpsc::UnboundedSender<Order>,
}

#[derive(Debug)]
enum Order {
    Look,
    Perform(Step),
    Lend(Fingerprint, oneshot::Sender<Option<SecretString>>),
}

impl OwnerHandle {
    /// Has the file looked at; the report is [`Input::Looked`].
    pub fn look(&self) {
        let _ = self.orders.send(Order::Look);
    }

    /// Has one step performed; the report is [`Input::Stepped`].
    pub fn perform(&self, step: Step) {
        let _ = self.orders.send(Order::Perform(step));
    }

    /// The access token of this name, if it is still the current one.
    pub async fn lend(&self, access: Fingerprint) -> Option<SecretString> {
        let (reply, lent) = oneshot::channel();
        self.orders.send(Order::Lend(access, reply)).ok()?;
        lent.await.ok()?
    }
}

/// Starts the actor. Every report goes to `reports` under the account's name.
pub fn spawn(
    setup: Setup,
    file: CredentialFile,
    key: FingerprintKey,
    transport: Arc<Transport>,
    clock: Clock,
    reports: mpsc::UnboundedSender<(AccountName, Input)>,
) -> OwnerHandle {
    let (orders, inbox) = mpsc::unbounded_channel();
    let successors = Successor::stored_for(file.path(), &setup.state_dir);
    let owner = Owner {
        setup,
        file,
        key,
        clock,
        current: None,
        posting: None,
        exclusion: None,
        staged: None,
        successor: None,
        successors,
    };
    tokio::spawn(run(owner, transport, inbox, reports));
    OwnerHandle { orders }
}

async fn run(
    mut owner: Owner,
    transport: Arc<Transport>,
    mut inbox: mpsc::UnboundedReceiver<Order>,
    reports: mpsc::UnboundedSender<(AccountName, Input)>,
) {
    while let Some(order) = inbox.recv().await {
        let account = owner.setup.account.clone();
        let report = match order {
            Order::Lend(access, reply) => {
                let _ = reply.send(owner.lend(access));
                continue;
            }
            Order::Look => {
                let Some((back, look)) = on_a_thread(owner, Owner::look).await else { return };
                owner = back;
                Input::Looked(look)
            }
            Order::Perform(Step::Post) => {
                let (event, exchange) = owner.post(&transport).await;
                Input::Stepped(event, Some(exchange))
            }
            Order::Perform(step) => {
                let Some((back, event)) = on_a_thread(owner, move |owner| owner.perform(step)).await else { return };
                owner = back;
                Input::Stepped(event, None)
            }
        };
        if reports.send((account, report)).is_err() {
            return;
        }
    }
}

/// Files can be slow: a step that syncs, or a file system that hangs, must not stop the loop.
async fn on_a_thread<T: Send + 'static>(
    mut owner: Owner,
    work: impl FnOnce(&mut Owner) -> T + Send + 'static,
) -> Option<(Owner, T)> {
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&mut owner);
        (owner, result)
    });
    done.await.ok()
}

/// What keeps everyone else from refreshing or writing the file; released when dropped.
enum Exclusion {
    /// A grant of our own: a lock beside the file.
    Own(Lock),
    /// The vendor's file: its own locks.
    Vendor(Box<VendorLocks>),
}

struct Owner {
    setup: Setup,
    file: CredentialFile,
    key: FingerprintKey,
    clock: Clock,
    /// The tokens that are good now: the file's, or those of a successor that waits for its place.
    current: Option<Tokens>,
    /// What the last read under the lock found.
    posting: Option<Contents>,
    exclusion: Option<Exclusion>,
    /// The new file, written beside the old one.
    staged: Option<Staged>,
    /// Granted, and not yet read back from the file.
    successor: Option<Successor>,
    /// Found in the state directory at the start, not yet compared with the file.
    successors: Vec<Successor>,
}

impl Owner {
    fn lend(&self, access: Fingerprint) -> Option<SecretString> {
        let current = self.current.as_ref()?;
        (self.key.fingerprint(&current.access) == access).then(|| current.access.clone())
    }

    fn look(&mut self) -> Look {
        let found = self.file.look(&self.key);
        self.take_stock(found)
    }

    /// What the file and a waiting successor say together.
    fn take_stock(&mut self, found: Found) -> Look {
        let Found { mut credential, doubt, mut warning, in_use, contents } = found;
        let mut unplaced = None;
        self.current = contents.as_ref().map(|contents| contents.tokens.clone());
        if let (Some(contents), Credential::Login(login)) = (&contents, &credential) {
            for successor in std::mem::take(&mut self.successors) {
                match successor.place(&contents.tokens) {
                    Place::Vacant => self.successor = Some(successor),
                    Place::Taken => drop(successor.remove()),
                    Place::Foreign => {
                        warning.get_or_insert_with(|| {
                            "a refreshed token of an earlier login is kept in the state directory".to_owned()
                        });
                    }
                }
            }
            if let Some(successor) = &self.successor
                && successor.place(&contents.tokens) == Place::Vacant
                && let Some(posted) = login.refresh
            {
                let tokens = successor.tokens(&contents.tokens);
                let minted = successor.minted(&tokens, posted, &self.key, self.clock.now().stamp);
                let login = successor.login(&tokens, login, &self.key);
                unplaced = Some(Unplaced { posted, minted });
                credential = Credential::Login(login);
                self.current = Some(tokens);
            }
        }
        Look { credential, doubt, warning, in_use, unplaced }
    }

    fn perform(&mut self, step: Step) -> Event {
        match step {
            Step::Lock => self.lock(),
            Step::Probe => self.probe(),
            Step::ReRead => self.re_read(),
            Step::CheckLock => self.check_lock(),
            Step::StoreSuccessor => self.store_successor(),
            Step::Compare => self.compare(),
            Step::Stage => self.stage(),
            Step::Replace => self.replace(),
            Step::ReadBack => self.read_back(),
            Step::Settle => self.settle(),
            Step::Unlock => {
                self.staged = None;
                self.posting = None;
                self.exclusion = None;
                Event::Done
            }
            // `OpenFence` is the state's to perform and `Post` the transport's.
            Step::OpenFence | Step::Post => Event::Failed(format!("{} is not a step of the file", step.as_str())),
        }
    }

    /// The directory the file really lies in.
    fn real_dir(&self) -> Option<PathBuf> {
        let path = std::fs::canonicalize(self.file.path()).unwrap_or_else(|_| self.file.path().to_owned());
        path.parent().map(PathBuf::from)
    }

    fn lock(&mut self) -> Event {
        let (Some(dir), Some(real_dir)) = (self.file.path().parent(), self.real_dir()) else {
            return Event::Failed("the credential file has no directory".to_owned());
        };
        let taken = match self.setup.owner {
            CredentialOwner::Quotad => Lock::acquire(&real_dir.join(".quotad.lock"))
                .map(Exclusion::Own)
                .map_err(|error| Event::Busy(error.to_string())),
            CredentialOwner::Vendor => VendorLocks::try_acquire(dir, HEARTBEAT)
                .map(|locks| Exclusion::Vendor(Box::new(locks)))
                .map_err(|error| match &error {
                    LockFailure::Contended(standing) if matches!(standing.state, LockState::Fresh(_)) => {
                        Event::Busy(error.to_string())
                    }
                    LockFailure::Contended(_) | LockFailure::Disk(_) => Event::Failed(error.to_string()),
                }),
        };
        match taken {
            Ok(exclusion) => {
                self.exclusion = Some(exclusion);
                // What a killed quotad left behind holds tokens; under the lock nobody is writing it.
                let _ = disk::remove_leftovers(&real_dir);
                Event::Done
            }
            Err(event) => event,
        }
    }

    /// Right before the one thing that cannot be undone.
    fn check_lock(&self) -> Event {
        match &self.exclusion {
            Some(Exclusion::Own(lock)) if lock.is_in_place() => Event::Done,
            Some(Exclusion::Own(_)) => Event::Failed("the lock beside the credential file was removed".to_owned()),
            Some(Exclusion::Vendor(locks)) => done_or(locks.check()),
            None => Event::Failed("the lock is not held".to_owned()),
        }
    }

    /// The vendor's clients read, change and write their store under a third lock.
    fn lock_store(&mut self) -> Result<(), Event> {
        let Some(Exclusion::Vendor(locks)) = &mut self.exclusion else { return Ok(()) };
        for remaining in (0..STORE_TRIES).rev() {
            match locks.lock_store() {
                Ok(()) => return Ok(()),
                Err(LockFailure::Contended(_)) if remaining > 0 => std::thread::sleep(STORE_WAIT),
                Err(error) => return Err(Event::Failed(error.to_string())),
            }
        }
        Ok(())
    }

    fn probe(&self) -> Event {
        let path = std::fs::canonicalize(self.file.path()).unwrap_or_else(|_| self.file.path().to_owned());
        let dirs = self.real_dir().into_iter().chain([self.setup.state_dir.clone()]);
        for dir in dirs {
            if let Err(error) = disk::probe_writable(&dir, PROBE_BYTES) {
                return Event::Failed(error.to_string());
            }
        }
        if disk::is_mount_point(&path) {
            return Event::Failed(format!("{} is a mount of its own and cannot be replaced", path.display()));
        }
        Event::Done
    }

    /// The file under the lock: is the token to be posted still the one that was decided on?
    fn re_read(&mut self) -> Event {
        let decided = self.current.as_ref().and_then(|tokens| tokens.refresh.clone());
        let found = self.file.look(&self.key);
        let Some(contents) = found.contents else { return Event::Changed };
        let same = same(decided.as_ref(), contents.tokens.refresh.as_ref());
        self.posting = Some(contents);
        if same { Event::Done } else { Event::Changed }
    }

    async fn post(&mut self, transport: &Transport) -> (Event, Exchange) {
        let provider = provider::of(self.setup.provider);
        let posted = self.posting.as_ref().and_then(|contents| contents.tokens.refresh.clone());
        let at = self.clock.now().stamp;
        let began = Instant::now();
        let answer = match &posted {
            Some(token) => {
                let request = provider.refresh_request(&self.setup.endpoints);
                transport.send(&request, token, self.setup.deadline).await
            }
            None => Err(Broken::Unsendable),
        };
        let now = self.clock.now().stamp;
        let took = began.elapsed();
        let (status, headers) = match &answer {
            Ok(reply) | Err(Broken::Cut(Some(reply))) => (Some(reply.status), telling_headers(reply)),
            Err(_) => (None, Vec::new()),
        };
        let granted = match answer {
            Ok(reply) => provider.read_refresh(&reply, now),
            // A refresh token that arrived whole is saved even if the rest of the answer is not.
            Err(Broken::Cut(Some(reply))) if reply.status == 200 => provider
                .read_refresh(&reply, now)
                .map_err(|_| Refusal::Unknown("the answer of the token endpoint broke off")),
            Err(Broken::Cut(_)) => Err(Refusal::Unknown("no answer from the token endpoint after sending")),
            Err(Broken::TooLong) => Err(Refusal::Unknown("the answer of the token endpoint is longer than 1 MiB")),
            Err(Broken::Offline) => Err(Refusal::NeverArrived("this machine has no network")),
            Err(Broken::Connect) => Err(Refusal::NeverArrived("the token endpoint refused the connection")),
            Err(Broken::Unsendable) => Err(Refusal::Misconfigured("the token request cannot be written")),
        };
        let meaning = granted.as_ref().map_or_else(|refusal| refusal.said(), |_| "granted").to_owned();
        let exchange = Exchange { at, endpoint: Endpoint::Token, status, meaning, headers, took };
        (self.take_grant(posted, granted, now), exchange)
    }

    fn take_grant(
        &mut self,
        posted: Option<SecretString>,
        granted: Result<provider::Grant, Refusal>,
        now: jiff::Timestamp,
    ) -> Event {
        match (granted, posted, &self.posting) {
            (Ok(grant), Some(token), Some(contents)) => {
                let posted = self.key.fingerprint(&token);
                let successor = Successor::new(&token, grant, &self.key, now, &self.setup.state_dir);
                let tokens = successor.tokens(&contents.tokens);
                let minted = successor.minted(&tokens, posted, &self.key, now);
                self.current = Some(tokens);
                self.successor = Some(successor);
                Event::Granted(minted)
            }
            (Err(refusal), ..) => Event::Refused(refusal),
            (Ok(_), ..) => Event::Refused(Refusal::Unknown("nothing was posted")),
        }
    }

    fn store_successor(&self) -> Event {
        let Some(successor) = &self.successor else { return Event::Failed("there is no successor".to_owned()) };
        done_or(successor.store(self.file.path()))
    }

    fn compare(&mut self) -> Event {
        if let Err(event) = self.lock_store() {
            return event;
        }
        let Some(successor) = &self.successor else { return Event::Failed("there is no successor".to_owned()) };
        let found = self.file.look(&self.key);
        let Some(contents) = found.contents else {
            let why = match found.credential {
                Credential::SignedOut => "the vendor's CLI signed out meanwhile; its verdict stands",
                Credential::Absent => "the file is gone",
                Credential::NoLogin => "the file holds no login any more",
                Credential::Unreadable(_) | Credential::Login(_) => "the file cannot be read",
            };
            return Event::Failed(why.to_owned());
        };
        let place = successor.place(&contents.tokens);
        self.posting = Some(contents);
        match place {
            Place::Vacant | Place::Taken => Event::Done,
            Place::Foreign => {
                // Kept aside in the state directory; what is in the file is newer.
                self.successor = None;
                Event::Changed
            }
        }
    }

    /// Writes the new file beside the old one.
    fn stage(&mut self) -> Event {
        let (Some(successor), Some(contents)) = (&self.successor, &self.posting) else {
            return Event::Failed("there is nothing to write".to_owned());
        };
        let Some(dir) = contents.real_path.parent() else {
            return Event::Failed("the credential file has no directory".to_owned());
        };
        let written = match successor.written_into(contents.raw.expose_secret()) {
            Ok(written) => written,
            Err(error) => return Event::Failed(error.to_string()),
        };
        match Staged::write(dir, written.expose_secret(), Some(&contents.metadata)) {
            Ok(staged) => {
                self.staged = Some(staged);
                Event::Done
            }
            Err(error) => Event::Failed(error.to_string()),
        }
    }

    /// Puts it in the old one's place.
    fn replace(&mut self) -> Event {
        let (Some(staged), Some(contents)) = (self.staged.take(), &self.posting) else {
            return Event::Failed("there is nothing to put in place".to_owned());
        };
        done_or(staged.commit(&contents.real_path))
    }

    fn read_back(&mut self) -> Event {
        let found = self.file.look(&self.key);
        match (&self.successor, found.contents) {
            (Some(successor), Some(contents)) if successor.place(&contents.tokens) == Place::Taken => Event::Done,
            _ => Event::Failed("the file did not read back as written".to_owned()),
        }
    }

    fn settle(&mut self) -> Event {
        match self.successor.take().map(|successor| successor.remove()) {
            Some(Err(error)) => Event::Failed(error.to_string()),
            Some(Ok(())) | None => Event::Done,
        }
    }
}

fn done_or(result: Result<(), impl std::fmt::Display>) -> Event {
    result.map_or_else(|error| Event::Failed(error.to_string()), |()| Event::Done)
}

fn same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.expose_secret() == other.expose_secret(),
        _ => false,
    }
}

/// The headers of an answer that explain it; none of them can hold a token.
pub fn telling_headers(reply: &Reply) -> Vec<(String, String)> {
    const TELLING: [&str; 6] = ["retry-after", "date", "x-should-retry", "cf-mitigated", "request-id", "content-type"];
    let telling = |name: &str| TELLING.contains(&name) || name.starts_with("anthropic-ratelimit-");
    reply
        .headers
        .iter()
        .filter(|(name, _)| telling(name))
        .map(|(name, value)| (name.clone(), value.chars().take(120).collect()))
        .collect()
}

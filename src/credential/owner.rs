//! The owner of one credential file: an actor behind a handle.
//!
//! Performs looks and the steps of a rotation, one at a time, and lends the current access token to `transport`'s
//! callers. Owns the only copies of the tokens. Never decides which step comes next: `policy::rotation` does. A step
//! once begun is not cancelled; whoever stops the daemon waits for it.
//!
//! Its mailbox is a lock: it has a task only while something is being done, and none for a look at a file on a disk of
//! this machine. A channel, and a task that waits for it, were a quarter of what an account holds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};

use super::file::{Contents, CredentialFile, Found};
use super::holding::{Holding, Lent};
use super::secret::FingerprintKey;
use super::steps::Exclusion;
use super::successor::Successor;
use crate::clock::Clock;
use crate::disk::{self, Staged};
use crate::model::{AccountName, CredentialOwner, Endpoint, Exchange, Fingerprint, ProviderId, Refusal};
use crate::policy::account::{Input, Look};
use crate::policy::rotation::{Event, Step};
use crate::provider::exchange::{self, Broken};
use crate::provider::{self, Endpoints, Reply};
use crate::transport::Transport;

/// What an owner needs to know of its account.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where it is told what was done.
    pub reporter: Reporter,
    /// The vendor.
    pub provider: ProviderId,
    /// Who writes the file, and so which locks exclude others.
    pub owner: CredentialOwner,
    /// Where requests go.
    pub endpoints: Arc<Endpoints>,
    /// For one whole token request.
    pub deadline: Duration,
    /// Where successors are kept.
    pub state_dir: PathBuf,
}

/// Something that was performed for an account.
#[derive(Debug)]
pub struct Report {
    /// Whose it is.
    pub account: AccountName,
    /// Which of the accounts that have borne this name: a late report must not reach its successor.
    pub born: u64,
    /// What it came to.
    pub input: Input,
}

/// The way of reports from one account to the loop.
#[derive(Debug, Clone)]
pub struct Reporter {
    /// See [`Report::account`].
    pub account: AccountName,
    /// See [`Report::born`].
    pub born: u64,
    /// To the loop.
    pub reports: mpsc::UnboundedSender<Report>,
}

impl Reporter {
    /// Tells the loop what something came to, if there still is one.
    pub fn report(&self, input: Input) {
        let _ = self.reports.send(Report { account: self.account.clone(), born: self.born, input });
    }
}

/// A handle to the actor. What was begun is ended, whether or not a handle is left.
#[derive(Debug, Clone)]
pub struct OwnerHandle(Arc<Mutex<Owner>>);

impl OwnerHandle {
    /// An owner that has looked at nothing yet. Its token requests go by `transport`.
    pub fn new(
        setup: Setup,
        file: CredentialFile,
        key: FingerprintKey,
        transport: Arc<Transport>,
        clock: Clock,
    ) -> Self {
        let successors = Successor::stored_for(file.path(), &setup.state_dir);
        let holding = Holding::new(key.clone(), successors);
        let (posting, exclusion, staged, is_near) = (None, None, None, false);
        let owner = Owner { setup, file, key, transport, clock, holding, posting, exclusion, staged, is_near };
        Self(Arc::new(Mutex::new(owner)))
    }

    /// Looks at the file. `None` where that may take a while: then it is done on another thread, and the report is
    /// [`Input::Looked`].
    pub fn look(&self) -> Option<Look> {
        match self.0.try_lock() {
            Ok(mut owner) if owner.is_near => return Some(owner.look()),
            Ok(_) | Err(_) => {}
        }
        let owner = self.0.clone();
        tokio::spawn(async move {
            let mut owner = owner.lock_owned().await;
            // A file system that hangs must not stop the loop.
            let _ = tokio::task::spawn_blocking(move || {
                let look = owner.look();
                owner.setup.reporter.report(Input::Looked(look));
            })
            .await;
        });
        None
    }

    /// Has one step performed; the report is [`Input::Stepped`].
    pub fn perform(&self, step: Step) {
        let owner = self.0.clone();
        tokio::spawn(async move {
            let mut owner = owner.lock_owned().await;
            if step != Step::Post {
                return perform_apart(owner, step).await;
            }
            let (event, exchange) = owner.post().await;
            owner.setup.reporter.report(Input::Stepped(event, Some(exchange)));
        });
    }

    /// The access token of this name, if it is still the current one.
    pub async fn lend(&self, access: Fingerprint) -> Option<Lent> {
        self.0.lock().await.holding.lend(access)
    }
}

/// Performs a step on a thread of its own: what was granted must not wait in the runtime's queue behind a slow disk or
/// DNS. Where the system gives no thread, the loop waits instead: what was granted must reach the disk.
async fn perform_apart(owner: OwnedMutexGuard<Owner>, step: Step) {
    let shared = OwnedMutexGuard::mutex(&owner).clone();
    let perform = move |mut owner: OwnedMutexGuard<Owner>| {
        let event = owner.perform(step);
        owner.setup.reporter.report(Input::Stepped(event, None));
    };
    if std::thread::Builder::new().spawn(move || perform(owner)).is_err() {
        perform(shared.lock_owned().await);
    }
}

#[derive(Debug)]
pub(super) struct Owner {
    pub(super) setup: Setup,
    pub(super) file: CredentialFile,
    pub(super) key: FingerprintKey,
    transport: Arc<Transport>,
    clock: Clock,
    pub(super) holding: Holding,
    /// What the last read under the lock found. Boxed: it is there during a rotation only.
    pub(super) posting: Option<Box<Contents>>,
    pub(super) exclusion: Option<Exclusion>,
    /// The new file, written beside the old one.
    pub(super) staged: Option<Staged>,
    /// The last look found the file on a disk of this machine, where the next takes no longer than it takes to hand it
    /// to a thread.
    is_near: bool,
}

impl Owner {
    fn look(&mut self) -> Look {
        let found = self.file.look(&self.key);
        // To be safe it had to be near.
        let is_safe = found.credential.login().is_some_and(|login| login.unsafe_because.is_none());
        let is_near = found.doubt.is_empty() && (is_safe || disk::is_near(self.file.path()));
        self.is_near = self.file.is_small() && is_near;
        self.take_stock(found)
    }

    /// What the file and a waiting successor say together.
    fn take_stock(&mut self, found: Found) -> Look {
        let Found { credential, doubt, warning, in_use, contents } = found;
        let in_file = contents.as_ref().map(|contents| &contents.tokens);
        let stock = self.holding.take_stock(credential, in_file, self.clock.now().stamp);
        for successor in &stock.placed {
            // Should it stay, the next start finds it and removes it.
            let _ = successor.remove();
        }
        let kept = stock
            .keeps_stranger
            .then(|| "a refreshed token of an earlier login is kept in the state directory".to_owned());
        Look { credential: stock.credential, doubt, warning: warning.or(kept), in_use, unplaced: stock.unplaced }
    }

    async fn post(&mut self) -> (Event, Exchange) {
        let provider = provider::of(self.setup.provider);
        let posted = self.posting.as_ref().and_then(|contents| contents.tokens.refresh.clone());
        let at = self.clock.now().stamp;
        let began = Instant::now();
        let answer = match &posted {
            Some(token) => {
                let request = provider.refresh_request(&self.setup.endpoints);
                self.transport.send(&request, token, self.setup.deadline).await
            }
            None => Err(Broken::Unsendable),
        };
        let now = self.clock.now().stamp;
        let took = began.elapsed();
        let (status, headers) = match &answer {
            Ok(reply) | Err(Broken::Cut(Some(reply))) => (Some(reply.status), telling_headers(reply)),
            Err(_) => (None, Vec::new()),
        };
        let granted = exchange::refresh(provider, answer, now);
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
                let dir = &self.setup.state_dir;
                Event::Granted(self.holding.take_grant(&token, &contents.tokens, grant, now, dir))
            }
            (Err(refusal), ..) => Event::Refused(refusal),
            (Ok(_), ..) => Event::Refused(Refusal::Unknown("nothing was posted")),
        }
    }
}

/// The headers of an answer that explain it, where it is not simply granted; none of them can hold a token.
pub fn telling_headers(reply: &Reply) -> Vec<(String, String)> {
    const TELLING: [&str; 6] = ["retry-after", "date", "x-should-retry", "cf-mitigated", "request-id", "content-type"];
    if reply.status == 200 {
        return Vec::new();
    }
    let telling = |name: &str| TELLING.contains(&name) || name.starts_with("anthropic-ratelimit-");
    reply
        .headers
        .iter()
        .filter(|(name, _)| telling(name))
        .map(|(name, value)| (name.clone(), value.chars().take(120).collect()))
        .collect()
}

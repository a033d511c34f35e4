//! The owner of one credential file: an actor behind a handle.
//!
//! Performs looks and the steps of a rotation, one at a time, and lends the current access token to `transport`'s
//! callers. Owns the only copies of the tokens. Never decides which step comes next: `policy::rotation` does. A step
//! once begun is not cancelled; whoever stops the daemon waits for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot};

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
    /// Whose file it is.
    pub account: AccountName,
    /// See [`Report::born`].
    pub born: u64,
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

/// A handle to the actor. Dropping every handle ends it once its current step is done.
#[derive(Debug, Clone)]
pub struct OwnerHandle {
    orders: mpsc::UnboundedSender<Order>,
}

#[derive(Debug)]
enum Order {
    Look,
    Perform(Step),
    /// Boxed: a channel keeps 32 places ready for each account.
    Lend(Box<(Fingerprint, oneshot::Sender<Option<Lent>>)>),
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
    pub async fn lend(&self, access: Fingerprint) -> Option<Lent> {
        let (reply, lent) = oneshot::channel();
        self.orders.send(Order::Lend(Box::new((access, reply)))).ok()?;
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
    reports: mpsc::UnboundedSender<Report>,
) -> OwnerHandle {
    let (orders, inbox) = mpsc::unbounded_channel();
    let successors = Successor::stored_for(file.path(), &setup.state_dir);
    let holding = Holding::new(key.clone(), successors);
    // On the heap, as the POST is: the task of each account lives for ever, and was 10 KB with both in it.
    let owner = Box::new(Owner {
        setup,
        file,
        key,
        clock,
        holding,
        posting: None,
        exclusion: None,
        staged: None,
        is_near: false,
    });
    tokio::spawn(run(owner, transport, inbox, reports));
    OwnerHandle { orders }
}

async fn run(
    mut owner: Box<Owner>,
    transport: Arc<Transport>,
    mut inbox: mpsc::UnboundedReceiver<Order>,
    reports: mpsc::UnboundedSender<Report>,
) {
    while let Some(order) = inbox.recv().await {
        let (account, born) = (owner.setup.account.clone(), owner.setup.born);
        let input = match order {
            Order::Lend(asked) => {
                let (access, reply) = *asked;
                let _ = reply.send(owner.holding.lend(access));
                continue;
            }
            Order::Look if owner.is_near => Input::Looked(owner.look()),
            Order::Look => {
                let done = tokio::task::spawn_blocking(move || with(owner, Owner::look));
                let Ok((back, look)) = done.await else { return };
                owner = back;
                Input::Looked(look)
            }
            Order::Perform(Step::Post) => {
                let (event, exchange) = Box::pin(owner.post(&transport)).await;
                Input::Stepped(event, Some(exchange))
            }
            Order::Perform(step) => {
                let Some((back, event)) = perform_apart(owner, step).await else { return };
                owner = back;
                Input::Stepped(event, None)
            }
        };
        if reports.send(Report { account, born, input }).is_err() {
            return;
        }
    }
}

/// Performs a step on a thread of its own: what was granted must not wait in the runtime's queue behind a slow disk or
/// DNS. Where the system gives no thread, the loop waits instead: what was granted must reach the disk.
async fn perform_apart(owner: Box<Owner>, step: Step) -> Option<(Box<Owner>, Event)> {
    let (reply, done) = oneshot::channel();
    // The owner follows once there is a thread: with a closure that cannot be started, its tokens would be gone.
    let (hand_over, taken) = std::sync::mpsc::channel();
    let work = move || taken.recv().map(|owner| reply.send(with(owner, |owner| owner.perform(step))));
    match std::thread::Builder::new().spawn(work) {
        Ok(_) => hand_over.send(owner).ok()?,
        Err(_) => return Some(with(owner, |owner| owner.perform(step))),
    }
    done.await.ok()
}

/// Files can be slow: a step that syncs, or a file system that hangs, must not stop the loop. So this runs on a thread.
fn with<T>(mut owner: Box<Owner>, work: impl FnOnce(&mut Owner) -> T) -> (Box<Owner>, T) {
    let result = work(&mut owner);
    (owner, result)
}

pub(super) struct Owner {
    pub(super) setup: Setup,
    pub(super) file: CredentialFile,
    pub(super) key: FingerprintKey,
    clock: Clock,
    pub(super) holding: Holding,
    /// What the last read under the lock found.
    pub(super) posting: Option<Contents>,
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
        self.is_near = self.file.is_small() && disk::is_near(self.file.path()) && found.doubt.is_empty();
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

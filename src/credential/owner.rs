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
use super::secret::{FingerprintKey, Tokens};
use super::steps::Exclusion;
use super::successor::{Place, Successor};
use crate::clock::Clock;
use crate::disk::Staged;
use crate::model::{AccountName, Credential, CredentialOwner, Endpoint, Exchange, Fingerprint, ProviderId, Refusal};
use crate::policy::account::{Input, Look, Unplaced};
use crate::policy::rotation::{Event, Step};
use crate::provider::{self, Endpoints, Reply};
use crate::transport::{Broken, Transport};

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
    Lend(Fingerprint, oneshot::Sender<Option<Lent>>),
}

/// An access token on its way into a request.
#[derive(Debug)]
pub struct Lent {
    /// The token.
    pub access: SecretString,
    /// See [`crate::provider::Poll::tenant`].
    pub tenant: Option<String>,
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
    reports: mpsc::UnboundedSender<Report>,
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
    reports: mpsc::UnboundedSender<Report>,
) {
    while let Some(order) = inbox.recv().await {
        let (account, born) = (owner.setup.account.clone(), owner.setup.born);
        let input = match order {
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
        if reports.send(Report { account, born, input }).is_err() {
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

pub(super) struct Owner {
    pub(super) setup: Setup,
    pub(super) file: CredentialFile,
    pub(super) key: FingerprintKey,
    clock: Clock,
    /// The tokens that are good now: the file's, or those of a successor that waits for its place.
    pub(super) current: Option<Tokens>,
    /// What the last read under the lock found.
    pub(super) posting: Option<Contents>,
    pub(super) exclusion: Option<Exclusion>,
    /// The new file, written beside the old one.
    pub(super) staged: Option<Staged>,
    /// Granted, and not yet read back from the file.
    pub(super) successor: Option<Successor>,
    /// Found in the state directory at the start, not yet compared with the file.
    successors: Vec<Successor>,
}

impl Owner {
    fn lend(&self, access: Fingerprint) -> Option<Lent> {
        let current = self.current.as_ref()?;
        let lent = || Lent { access: current.access.clone(), tenant: current.tenant.clone() };
        (self.key.fingerprint(&current.access) == access).then(lent)
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

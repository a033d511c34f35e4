//! The CLI's end of the socket: one request, one answer, within five seconds.
//!
//! Owns how a missing daemon is told from a broken one. Knows nothing of exit codes or terminals.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::process::geteuid;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::history::{History, Since};
use super::ingest::HandOver;
use super::reply::{Answer, Explanation, Problem, command_word};
use super::report::{Receipt, Report};
use super::select::{Nothing, Select, Selection};
use super::wire::Status;
use crate::model::AccountName;
use crate::policy::account::Command;

/// How long a whole exchange may take. The daemon answers at once or is in trouble.
const DEADLINE: Duration = Duration::from_secs(5);
/// Bytes an answer may take: thousands of accounts.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers on {0}: start it with `systemctl --user start quotad`, or run `quotad run`")]
    NoDaemon(PathBuf),
    /// The socket is there and cannot be reached.
    #[error("connecting to {0}: {1}: the socket is for the user whose daemon it is")]
    Unreachable(PathBuf, io::Error),
    /// Somebody else listens: whoever may write to a shared directory could.
    #[error("refusing to talk to {0}: another user listens there; remove it, or set XDG_RUNTIME_DIR")]
    Foreign(PathBuf),
    /// The daemon took the request and said nothing.
    #[error("the daemon on {0} did not answer within 5 s: see `journalctl --user -u quotad`")]
    Silent(PathBuf),
    /// What came back is not what quotad says.
    #[error("reading the answer from {0}: {1}: is the daemon of another version? `systemctl --user restart quotad`")]
    Garbled(PathBuf, String),
    /// The daemon said no.
    #[error("{}", .0.detail)]
    Refused(Problem),
}

/// Asks the daemon behind one socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon on this socket; connects with each request.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Everything, or one account.
    ///
    /// # Errors
    /// See [`ClientError`]; an unknown account is [`ClientError::Refused`] with status 404.
    pub async fn status(&self, account: Option<&AccountName>) -> Result<Status, ClientError> {
        match account {
            None => self.get("/v1/status").await,
            Some(name) => self.get(&format!("/v1/accounts/{name}")).await,
        }
    }

    /// Why an account is as it is.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn explain(&self, account: &AccountName) -> Result<Explanation, ClientError> {
        self.get(&format!("/v1/accounts/{account}/explain")).await
    }

    /// What was read of an account in the past.
    ///
    /// # Errors
    /// See [`ClientError`]; an unknown account is [`ClientError::Refused`] with status 404.
    pub async fn history(&self, account: &AccountName, since: Since) -> Result<History, ClientError> {
        self.get(&format!("/v1/history/{account}?since={since}")).await
    }

    /// Hands a command to an account. That it was not done is an answer, not an error.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn command(&self, account: &AccountName, command: Command) -> Result<Answer, ClientError> {
        let path = format!("/v1/accounts/{account}/{}", command_word(command));
        let (_, body) = self.exchange(Method::POST, &path, Bytes::new()).await?;
        // A refused command is a problem document too, so the fuller document is tried first.
        serde_json::from_slice(&body).map_err(|_| self.refused(&body))
    }

    /// Hands over what Claude Code told its statusline. The caller's to bound: a statusline waits for nobody.
    ///
    /// # Errors
    /// See [`ClientError`]; a login that no account has is [`ClientError::Refused`] with status 404.
    pub async fn hand_over(&self, said: &HandOver) -> Result<(), ClientError> {
        let body = serde_json::to_vec(said).map_err(|e| self.garbled(&e))?;
        match self.exchange_unbounded(Method::POST, HandOver::PATH, body.into()).await? {
            (StatusCode::NO_CONTENT, _) => Ok(()),
            (_, body) => Err(self.refused(&body)),
        }
    }

    /// Asks for an account to use. That there is none now is an answer, not an error.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn select(&self, asked: &Select) -> Result<Result<Selection, Nothing>, ClientError> {
        let body = serde_json::to_vec(asked).map_err(|e| self.garbled(&e))?;
        match self.exchange(Method::POST, "/v1/select", body.into()).await? {
            (StatusCode::OK, body) => serde_json::from_slice(&body).map(Ok).map_err(|e| self.garbled(&e)),
            (_, body) => serde_json::from_slice(&body).map(Err).map_err(|_| self.refused(&body)),
        }
    }

    /// Says what became of a request.
    ///
    /// # Errors
    /// See [`ClientError`]; an unknown account is [`ClientError::Refused`] with status 404.
    pub async fn report(&self, said: &Report) -> Result<Receipt, ClientError> {
        let body = serde_json::to_vec(said).map_err(|e| self.garbled(&e))?;
        match self.exchange(Method::POST, "/v1/report", body.into()).await? {
            (StatusCode::OK, body) => serde_json::from_slice(&body).map_err(|e| self.garbled(&e)),
            (_, body) => Err(self.refused(&body)),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        match self.exchange(Method::GET, path, Bytes::new()).await? {
            (StatusCode::OK, body) => serde_json::from_slice(&body).map_err(|e| self.garbled(&e)),
            (_, body) => Err(self.refused(&body)),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), ClientError> {
        self.in_time(self.exchange_unbounded(method, path, body)).await
    }

    /// An answer, within five seconds.
    pub(super) async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let answer = tokio::time::timeout(DEADLINE, answer).await;
        answer.unwrap_or_else(|_| Err(ClientError::Silent(self.socket.clone())))
    }

    async fn exchange_unbounded(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let (_sender, response) = self.send(method, path, body).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| self.garbled(&e))?;
        Ok((head.status, body.to_bytes()))
    }

    /// Asks, and returns as soon as the head of the answer is here. The connection lives as long as the sender.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(SendRequest<Full<Bytes>>, Response<Incoming>), ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoDaemon(self.socket.clone()),
            _ => ClientError::Unreachable(self.socket.clone(), error),
        })?;
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == geteuid().as_raw()) {
            return Err(ClientError::Foreign(self.socket.clone()));
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.garbled(&e))?;
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header(HOST, "quotad").body(Full::new(body));
        let request = request.map_err(|e| self.garbled(&e))?;
        let response = sender.send_request(request).await.map_err(|e| self.garbled(&e))?;
        Ok((sender, response))
    }

    /// The daemon's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn refused(&self, body: &[u8]) -> ClientError {
        serde_json::from_slice(body).map_or_else(|e| self.garbled(&e), ClientError::Refused)
    }

    pub(super) fn garbled(&self, why: &impl ToString) -> ClientError {
        ClientError::Garbled(self.socket.clone(), why.to_string())
    }
}

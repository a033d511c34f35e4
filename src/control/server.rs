//! The daemon's end of the socket: HTTP/1.1 over a Unix socket that only its owner can reach.
//!
//! Owns the socket file from [`Socket::bind`] to the end of [`serve`], the routes of the contract, and the bounds on
//! what a client may send. Sets no timer: an idle connection or event stream costs no wake-up. Serves what the
//! supervisor published and waits for the loop only to hand it a command.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{self, DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response, Sse, sse};
use axum::routing::{get, post};
use futures_core::Stream;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::history;
use super::ingest::{self, HandOver};
use super::reply::{Answer, Event, Explanation, Problem};
use super::report::{self, Pooled};
use super::select;
use super::wire::Status;
use crate::model::AccountName;
use crate::policy::account::Command;
use crate::supervisor::handle::{Handle, Transition};

/// Connections served at once. Where there are as many, those that are idle are closed: whoever keeps one open for long
/// opens another.
const CONNECTIONS: usize = 256;
/// Bytes a request line and its headers may take.
const MAX_HEAD: usize = 16 * 1024;
/// Bytes a request body may take.
const MAX_BODY: usize = 64 * 1024;
/// How long answers under way may take once the daemon stops.
const GRACE: Duration = Duration::from_secs(1);

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon answers there.
    #[error("another daemon already answers on {0}: stop it first, or use it")]
    AlreadyRunning(PathBuf),
    /// The directory is somebody else's, or no directory.
    #[error(
        "refusing to put the socket into {0}: it is not a directory of this user; remove it, or set XDG_RUNTIME_DIR"
    )]
    ForeignDirectory(PathBuf),
    /// Something that is no socket lies in its place.
    #[error("refusing to replace {0}: it is not a socket; move it away")]
    NotASocket(PathBuf),
    /// The file system said no.
    #[error("opening the socket {path}: {doing}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// The step that failed.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// The socket, bound and listening.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that only this one is ever removed.
    file: (u64, u64),
    /// The only user that is answered.
    user: u32,
}

impl Socket {
    /// Makes the directory (0700), removes a socket nobody answers on, binds (0600) and listens.
    ///
    /// # Errors
    /// See [`BindError`]; a live daemon's socket is never touched.
    pub async fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |doing| move |source| BindError::Io { path: path.to_owned(), doing, source };
        let user = geteuid().as_raw();
        let directory = private_directory(path, user)?;
        // Held until the socket listens: two daemons starting at once must not each find the other's socket dead.
        flock(&directory, FlockOperation::LockExclusive).map_err(|e| failed("locking its directory")(e.into()))?;
        clear_the_way(path).await?;
        let listener = UnixListener::bind(path).map_err(failed("binding"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed("setting mode 0600"))?;
        let file = fs::symlink_metadata(path).map_err(failed("looking at it"))?;
        Ok(Self { listener, path: path.to_owned(), file: (file.dev(), file.ino()), user })
    }

    /// The next connection of this user. Others are hung up on: the directory keeps them out, except root.
    async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(peer) if peer.uid() == self.user => return stream,
                    Ok(peer) => tracing::info!(uid = peer.uid(), "refused a socket connection of another user"),
                    Err(error) => tracing::info!(%error, "refused a socket connection of an unknown user"),
                },
                Err(error) => {
                    tracing::warn!(%error, "accepting a socket connection failed; trying again in a second");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn remove(&self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.file);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::info!(%error, socket = %self.path.display(), "the socket could not be removed");
        }
    }
}

/// Opens the socket's own directory, made with mode 0700 where absent.
fn private_directory(path: &Path, user: u32) -> Result<fs::File, BindError> {
    let failed = |doing| move |source| BindError::Io { path: path.to_owned(), doing, source };
    let directory = path.parent().unwrap_or(Path::new("."));
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("making its directory")(error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(directory).map_err(failed("looking at its directory"))?;
    if !found.is_dir() || found.uid() != user {
        return Err(BindError::ForeignDirectory(directory.to_owned()));
    }
    if found.mode() & 0o077 != 0 {
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(directory, private).map_err(failed("setting mode 0700 of its directory"))?;
    }
    fs::File::open(directory).map_err(failed("opening its directory"))
}

/// Removes a socket that nobody answers on.
async fn clear_the_way(path: &Path) -> Result<(), BindError> {
    let failed = |doing| move |source| BindError::Io { path: path.to_owned(), doing, source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("looking at it")(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(BindError::AlreadyRunning(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("removing a dead socket"))
        }
        Err(error) => Err(failed("asking whether a daemon answers")(error)),
    }
}

/// Answers until `stop` completes, then removes the socket and lets answers under way finish. `more` are the routes of
/// modules that stand above this one.
pub async fn serve(socket: Socket, handle: Handle, more: Router<Handle>, stop: impl Future<Output = ()>) {
    let stopping = CancellationToken::new();
    let service = TowerToHyperService::new(router(handle, more, stopping.clone()));
    let mut connections = JoinSet::new();
    let mut crowded = CancellationToken::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            stream = socket.accept(), if connections.len() < CONNECTIONS => {
                if connections.len() + 1 == CONNECTIONS {
                    std::mem::take(&mut crowded).cancel();
                }
                let closing = [stopping.clone(), crowded.clone()];
                connections.spawn(converse(stream, service.clone(), closing));
            }
        }
    }
    stopping.cancel();
    socket.remove();
    let _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

async fn converse(stream: UnixStream, service: TowerToHyperService<Router>, closing: [CancellationToken; 2]) {
    let mut connection =
        pin!(http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(TokioIo::new(stream), service));
    let [stopping, crowded] = &closing;
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { tokio::select! { () = stopping.cancelled() => {} () = crowded.cancelled() => {} } } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a socket connection broke");
    }
}

fn router(handle: Handle, more: Router<Handle>, stopping: CancellationToken) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/accounts/{name}", get(account))
        .route("/v1/accounts/{name}/explain", get(explain))
        .route("/v1/accounts/{name}/pause", post(|handle, name| command(handle, name, Command::Pause)))
        .route("/v1/accounts/{name}/resume", post(|handle, name| command(handle, name, Command::Resume)))
        .route("/v1/accounts/{name}/poll", post(|handle, name| command(handle, name, Command::Poll)))
        .route("/v1/events", get(|State(handle): State<Handle>| async move { events(&handle, stopping) }))
        .route(HandOver::PATH, post(hand_over))
        .route("/v1/select", post(select))
        .route("/v1/report", post(report))
        .merge(history::routes())
        .merge(more)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(handle)
}

async fn status(State(handle): State<Handle>) -> Json<Status> {
    Json(Status::of(&handle.snapshot(), handle.now()))
}

async fn account(State(handle): State<Handle>, extract::Path(name): extract::Path<String>) -> Response {
    let found = AccountName::parse(&name).ok().and_then(|n| Status::of_one(&handle.snapshot(), &n, handle.now()));
    found.map_or_else(|| no_account(&handle, &name), |status| Json(status).into_response())
}

async fn explain(State(handle): State<Handle>, extract::Path(name): extract::Path<String>) -> Response {
    let snapshot = handle.snapshot();
    let Some(view) = snapshot.accounts.iter().find(|view| view.name.as_str() == name) else {
        return no_account(&handle, &name);
    };
    let pool = handle.pool(view.name.clone()).await.map(Pooled::of);
    Json(Explanation { pool, ..Explanation::of(view, handle.now()) }).into_response()
}

async fn command(
    State(handle): State<Handle>,
    extract::Path(name): extract::Path<String>,
    command: Command,
) -> Response {
    let known = handle.snapshot().accounts.iter().map(|view| view.name.clone()).find(|known| known.as_str() == name);
    let Some(account) = known else { return no_account(&handle, &name) };
    let Some(answer) = handle.command(account.clone(), command).await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping: ask again once it runs");
    };
    let document = Answer::of(&account, command, &answer);
    match document.problem.as_ref().map(|problem| problem.status) {
        None => Json(document).into_response(),
        Some(status) => problem_json(status, &document),
    }
}

async fn hand_over(State(handle): State<Handle>, body: Result<Bytes, BytesRejection>) -> Response {
    let taken = async { ingest::take(&handle, document(body)?).await };
    match taken.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err((status, why)) => problem(status, &why),
    }
}

async fn select(State(handle): State<Handle>, body: Result<Bytes, BytesRejection>) -> Response {
    let asked = match document(body.map(|body| if body.is_empty() { Bytes::from_static(b"{}") } else { body })) {
        Ok(asked) => asked,
        Err((status, why)) => return problem(status, &why),
    };
    match select::select(&handle, asked).await {
        // It may hold a token.
        Ok(selection) => ([(header::CACHE_CONTROL, "no-store")], Json(selection)).into_response(),
        Err(nothing) => problem_json(nothing.problem.status, &nothing),
    }
}

async fn report(State(handle): State<Handle>, body: Result<Bytes, BytesRejection>) -> Response {
    let taken = async { report::report(&handle, document(body)?).await };
    match taken.await {
        Ok(receipt) => Json(receipt).into_response(),
        Err((status, why)) => problem(status, &why),
    }
}

/// The document in a request, or what is wrong with it, as status and detail of a problem.
fn document<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, (StatusCode, String)> {
    let body = body.map_err(|refused| (refused.status(), refused.body_text()))?;
    serde_json::from_slice(&body)
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("the request's body could not be read: {error}")))
}

fn events(handle: &Handle, stopping: CancellationToken) -> Sse<Events> {
    let source = EventSource { transitions: handle.transitions(), stopping };
    Sse::new(Events { next: Box::pin(source.next()) })
}

/// Every transition from now on, until the daemon stops, as a stream.
struct Events {
    next: NextEvent,
}

type NextEvent = Pin<Box<dyn Future<Output = Option<(sse::Event, EventSource)>> + Send>>;

impl Stream for Events {
    type Item = Result<sse::Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some((event, source)) = ready!(self.next.as_mut().poll(cx)) else { return Poll::Ready(None) };
        self.next = Box::pin(source.next());
        Poll::Ready(Some(Ok(event)))
    }
}

struct EventSource {
    transitions: Receiver<Arc<Transition>>,
    stopping: CancellationToken,
}

impl EventSource {
    async fn next(mut self) -> Option<(sse::Event, Self)> {
        let received = tokio::select! {
            () = self.stopping.cancelled() => return None,
            received = self.transitions.recv() => received,
        };
        let event = match received {
            Ok(transition) => sse::Event::default().event("state-changed").json_data(Event::of(&transition)).ok()?,
            Err(RecvError::Lagged(missed)) => {
                sse::Event::default().event("lagged").data(format!(r#"{{"missed":{missed}}}"#))
            }
            Err(RecvError::Closed) => return None,
        };
        Some((event, self))
    }
}

async fn no_route(uri: Uri) -> Response {
    problem(StatusCode::NOT_FOUND, &format!("there is no {} on this socket", uri.path()))
}

async fn no_method(method: Method, uri: Uri) -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, &format!("{} does not take {method}: see the Allow header", uri.path()))
}

pub(super) fn no_account(handle: &Handle, name: &str) -> Response {
    let snapshot = handle.snapshot();
    let mut known: Vec<&str> = snapshot.accounts.iter().map(|view| view.name.as_str()).collect();
    known.sort_by_key(|known| edits(known, name));
    known.truncate(3);
    let hint =
        if known.is_empty() { "no account is known yet".to_owned() } else { format!("nearest: {}", known.join(", ")) };
    problem(StatusCode::NOT_FOUND, &format!("there is no account {name:?}; {hint}"))
}

/// How many letters must be added, dropped or changed to turn one word into the other (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.chars().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}

pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    problem_json(status.as_u16(), &Problem::new(status.as_u16(), title, detail))
}

fn problem_json(status: u16, document: &impl serde::Serialize) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(document)).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use hyper::body::Incoming;
    use tokio::sync::{broadcast, oneshot};

    use super::*;
    use crate::control::client::{Client, ClientError};
    use crate::control::wire::sample;
    use crate::policy::account::{self, Verdict};
    use crate::policy::status::AccountState;

    /// A daemon without a loop: `poll` must wait, `resume` needs a login, `pause` is done.
    struct Daemon {
        directory: tempfile::TempDir,
        transitions: broadcast::Sender<Arc<Transition>>,
        stop: oneshot::Sender<()>,
        served: tokio::task::JoinHandle<()>,
    }

    impl Daemon {
        async fn start() -> Self {
            Self::start_for(0).await
        }

        /// Answers the user whose id is `shift` above ours.
        async fn start_for(shift: u32) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let mut socket = Socket::bind(&directory.path().join("quotad/quotad.sock")).await.unwrap();
            socket.user += shift;
            let (handle, transitions) = Handle::for_tests(sample::snapshot(), |name, command| {
                assert_eq!(name.as_str(), "personal");
                let verdict = match command {
                    Command::Pause => Verdict::Done,
                    Command::Poll => Verdict::Wait,
                    Command::Resume => Verdict::LoginNeeded,
                };
                Some(account::Answer { verdict, at: Some(sample::now()), said: "so it is".to_owned() })
            });
            let (stop, stopped) = oneshot::channel::<()>();
            let more = Router::new().route("/metrics", get(async || "from above"));
            let stopped = async move { drop(stopped.await) };
            Self { directory, transitions, stop, served: tokio::spawn(serve(socket, handle, more, stopped)) }
        }

        fn socket(&self) -> PathBuf {
            self.directory.path().join("quotad/quotad.sock")
        }

        fn client(&self) -> Client {
            Client::new(&self.socket())
        }

        async fn ask(&self, method: &str, path: &str) -> hyper::Response<Incoming> {
            self.send(method, path, "").await
        }

        async fn send(&self, method: &str, path: &str, body: &str) -> hyper::Response<Incoming> {
            let stream = UnixStream::connect(self.socket()).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let request = hyper::Request::builder().method(method).uri(path).header("host", "quotad");
            sender.send_request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.unwrap()
        }
    }

    async fn text(response: hyper::Response<Incoming>) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    async fn next_chunk(events: &mut hyper::Response<Incoming>) -> Option<String> {
        let frame = events.body_mut().frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    fn transition(reason: &str) -> Transition {
        Transition {
            at: sample::now(),
            account: sample::name("personal"),
            from: AccountState::Throttled,
            to: AccountState::Ok,
            reason: reason.to_owned(),
            until: None,
            action: "nothing to do".to_owned(),
        }
    }

    #[tokio::test]
    async fn the_client_reads_what_the_server_says() {
        let daemon = Daemon::start().await;
        let (client, personal) = (daemon.client(), sample::name("personal"));
        let status = client.status(None).await.unwrap();
        assert_eq!(status.accounts[0].reason, "the usage endpoint answered 429 (Retry-After 990 s)");
        assert_eq!(client.status(Some(&personal)).await.unwrap(), status, "one of one account");
        assert_eq!(client.explain(&personal).await.unwrap().exchanges[0].status, Some(429));
        for (command, verdict) in [(Command::Pause, "done"), (Command::Poll, "wait"), (Command::Resume, "login-needed")]
        {
            let answer = client.command(&personal, command).await.unwrap();
            assert_eq!((answer.verdict.as_str(), answer.said.as_str()), (verdict, "so it is"));
        }
        assert_eq!(text(daemon.ask("GET", "/metrics").await).await, "from above");
    }

    #[tokio::test]
    async fn every_error_is_a_problem_document_with_its_status() {
        let daemon = Daemon::start().await;
        for (method, path, status, detail) in [
            ("GET", "/v1/accounts/persnal", 404, "there is no account \"persnal\"; nearest: personal"),
            ("GET", "/v1/accounts/%2e%2e%2f", 404, "there is no account \"../\"; nearest: personal"),
            ("GET", "/v1/accounts/x/explain", 404, "there is no account \"x\"; nearest: personal"),
            ("POST", "/v1/accounts/x/poll", 404, "there is no account \"x\"; nearest: personal"),
            ("GET", "/v2/status", 404, "there is no /v2/status on this socket"),
            ("POST", "/v1/status", 405, "/v1/status does not take POST: see the Allow header"),
            ("DELETE", "/metrics", 405, "/metrics does not take DELETE: see the Allow header"),
            ("POST", "/v1/accounts/personal/poll", 409, "so it is"),
            ("POST", "/v1/accounts/personal/resume", 403, "so it is"),
        ] {
            let response = daemon.ask(method, path).await;
            assert_eq!(response.status(), status, "{method} {path}");
            assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {path}");
            assert_eq!(response.headers().contains_key("allow"), status == 405, "{method} {path}");
            let problem: Problem = serde_json::from_str(&text(response).await).unwrap();
            assert_eq!((problem.status, problem.detail.as_str()), (status, detail));
        }
    }

    #[tokio::test]
    async fn a_hand_over_goes_to_the_account_whose_login_it_is_and_anything_else_is_a_problem() {
        let daemon = Daemon::start().await;
        let body =
            |credentials: &str, limits: &str| format!(r#"{{"credentials":"{credentials}","rate_limits":{limits}}}"#);
        let ahead = r#"{"five_hour":{"used_percentage":5,"resets_at":4102444800}}"#;
        let huge = format!(r#"{{"five_hour":"{}"}}"#, "x".repeat(MAX_BODY));
        let own = "/home/u/.claude/.credentials.json";
        for (body, status, detail) in [
            (body(own, ahead), 204, ""),
            (body("/home/u/x/../.claude/.credentials.json", ahead), 204, ""),
            (
                body("/home/u/.claude-work/.credentials.json", ahead),
                404,
                "no claude account has its login in /home/u/.claude-work",
            ),
            (body(own, "{}"), 422, "rate_limits names no window"),
            (body(own, r#"{"five_hour":{"used_percentage":5,"resets_at":1}}"#), 422, "rate_limits names no window"),
            (
                body(own, "null").replace("rate_limits", "limits"),
                400,
                "the request's body could not be read: missing field",
            ),
            ("[".repeat(1000), 400, "the request's body could not be read"),
            (String::new(), 400, "the request's body could not be read"),
            (body(own, &huge), 413, "length limit exceeded"),
        ] {
            let response = daemon.send("POST", HandOver::PATH, &body).await;
            let shown = &body[..body.len().min(90)];
            assert_eq!(response.status(), status, "{shown}");
            let text = text(response).await;
            assert!(text.contains(detail) && text.is_empty() == (status == 204), "{shown}: {text}");
        }
        let said = HandOver { credentials: own.into(), rate_limits: serde_json::from_str(ahead).unwrap() };
        daemon.client().hand_over(&said).await.unwrap();
        let stranger = HandOver { credentials: "/x".into(), ..said };
        assert!(
            matches!(daemon.client().hand_over(&stranger).await, Err(ClientError::Refused(problem)) if problem.status == 404)
        );
    }

    #[tokio::test]
    async fn an_event_stream_tells_each_transition_and_what_was_missed_and_ends_at_the_stop() {
        let daemon = Daemon::start().await;
        let mut events = daemon.ask("GET", "/v1/events").await;
        assert_eq!(events.headers()["content-type"], "text/event-stream");
        daemon.transitions.send(transition("first").into()).unwrap();
        let first = next_chunk(&mut events).await.unwrap();
        assert!(
            first.starts_with("event: state-changed\ndata: {\"schema\":1,\"at\":\"2026-11-25T12:15:00Z\""),
            "{first}"
        );
        for i in 0..6 {
            daemon.transitions.send(transition(&i.to_string()).into()).unwrap();
        }
        assert_eq!(next_chunk(&mut events).await.unwrap(), "event: lagged\ndata: {\"missed\":2}\n\n");
        daemon.stop.send(()).unwrap();
        while next_chunk(&mut events).await.is_some() {}
        daemon.served.await.unwrap();
    }

    #[tokio::test]
    async fn an_oversized_head_is_refused_and_the_daemon_goes_on() {
        let daemon = Daemon::start().await;
        let response = daemon.ask("GET", &format!("/v1/status?{}", "x".repeat(2 * MAX_HEAD))).await;
        assert!(response.status().is_client_error(), "{}", response.status());
        daemon.client().status(None).await.unwrap();
    }

    #[tokio::test]
    async fn another_user_is_hung_up_on() {
        let daemon = Daemon::start_for(1).await;
        assert!(matches!(daemon.client().status(None).await, Err(ClientError::Garbled(..))));
    }

    #[tokio::test]
    async fn the_socket_is_private_refuses_a_second_daemon_and_goes_at_the_stop() {
        let daemon = Daemon::start().await;
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&daemon.socket()), 0o600);
        assert_eq!(mode(daemon.socket().parent().unwrap()), 0o700);
        assert!(matches!(Socket::bind(&daemon.socket()).await, Err(BindError::AlreadyRunning(_))));
        daemon.client().status(None).await.unwrap();
        let (client, socket) = (daemon.client(), daemon.socket());
        daemon.stop.send(()).unwrap();
        daemon.served.await.unwrap();
        assert!(!socket.exists());
        assert!(matches!(client.status(None).await, Err(ClientError::NoDaemon(_))));
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_successors_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("quotad.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(matches!(Client::new(&path).status(None).await, Err(ClientError::NoDaemon(_))));
        let first = Socket::bind(&path).await.unwrap();
        fs::rename(&path, directory.path().join("aside")).unwrap();
        let _second = Socket::bind(&path).await.unwrap();
        first.remove();
        assert!(path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_and_what_is_no_directory_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("quotad.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::bind(&path).await, Err(BindError::NotASocket(_))));
        let below_a_link = directory.path().join("link/quotad.sock");
        std::os::unix::fs::symlink(directory.path(), directory.path().join("link")).unwrap();
        assert!(matches!(Socket::bind(&below_a_link).await, Err(BindError::ForeignDirectory(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn edits_count_letters() {
        for (from, to, n) in [("", "abc", 3), ("work", "work", 0), ("persnal", "personal", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(edits(from, to), n, "{from} {to}");
            assert_eq!(edits(to, from), n, "{to} {from}");
        }
    }
}

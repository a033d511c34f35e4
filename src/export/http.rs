//! `GET /metrics` over TCP, for a scraper that cannot read a Unix socket: off unless the config says where.
//!
//! Owns the listener, which follows the config, and who is answered: anyone who reaches it, or, with a token file, whoever
//! shows the token. Serves nothing but the metrics, one request a connection, each within `PATIENCE`. That it cannot
//! listen is said and stops nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::metrics;
use crate::config::Http;
use crate::credential::secret::is_shown;
use crate::credential::token_file;
use crate::supervisor::handle::Handle;

/// How long one connection may take, from the first byte to the last.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long until an address that could not be listened on is tried again.
const AGAIN: Duration = Duration::from_mins(1);
/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 16;
/// Bytes a request line and its headers may take.
const MAX_HEAD: usize = 16 * 1024;

/// Listens where the config says, and follows it, until `stop`. An address may come later than the daemon (a VPN's, or
/// one that is still held), so it is tried again.
pub async fn serve(handle: Handle, stop: CancellationToken) {
    let mut settings = handle.http();
    let mut said = None;
    loop {
        let Http { listen, token_file } = settings.borrow_and_update().clone();
        let listener = match listen {
            Some(at) => bind(at, &mut said).await,
            None => None,
        };
        let is_missing = listen.is_some() && listener.is_none();
        tokio::select! {
            () = stop.cancelled() => return,
            changed = settings.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if is_missing => {}
            () = answer(listener, &handle, token_file) => {}
        }
    }
}

/// Why it cannot listen is said once for each address.
async fn bind(at: SocketAddr, said: &mut Option<SocketAddr>) -> Option<TcpListener> {
    match TcpListener::bind(at).await {
        Ok(listener) => {
            *said = None;
            tracing::info!(event = "http-listening", "metrics are served on http://{at}/metrics");
            Some(listener)
        }
        Err(error) => {
            if said.replace(at) != Some(at) {
                let why = format!("could not listen on {at} ({error})");
                tracing::warn!(
                    event = "http-failed",
                    "{why}: metrics are on the Unix socket alone until that is possible"
                );
            }
            None
        }
    }
}

/// Serves connections for ever; without a listener it waits as long.
async fn answer(listener: Option<TcpListener>, handle: &Handle, token_file: Option<PathBuf>) {
    let Some(listener) = listener else { return std::future::pending().await };
    let guard = token_file.map(|path| Arc::new(Guard { path, is_said: AtomicBool::new(false) }));
    let guarded = middleware::from_fn_with_state(guard, admit);
    let router = metrics::route().fallback(async || StatusCode::NOT_FOUND).layer(guarded).with_state(handle.clone());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, router.clone()));
                }
                Err(error) => {
                    tracing::info!(%error, "accepting a connection for metrics failed; trying again in a second");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

async fn converse(stream: TcpStream, router: Router) {
    let service = TowerToHyperService::new(router);
    let connection =
        http1::Builder::new().keep_alive(false).max_buf_size(MAX_HEAD).serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(PATIENCE, connection).await;
}

/// The file that holds the token.
struct Guard {
    path: PathBuf,
    /// That it cannot be read was said, and it has not been read since: whoever asks must not fill the journal.
    is_said: AtomicBool,
}

/// Whoever shows the token, where there is a file that holds one. It is read each time: a new one needs no reload.
async fn admit(State(guard): State<Option<Arc<Guard>>>, request: Request, next: Next) -> Response {
    let Some(guard) = guard else { return next.run(request).await };
    let path = guard.path.clone();
    let token = tokio::task::spawn_blocking(move || token_file::read(&path)).await;
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match token {
        Ok(Ok(token)) => {
            guard.is_said.store(false, Ordering::Relaxed);
            if is_shown(&token, shown) {
                return next.run(request).await;
            }
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response()
        }
        Ok(Err(why)) => {
            if !guard.is_said.swap(true, Ordering::Relaxed) {
                tracing::warn!(event = "http-failed", "no one is answered over TCP: {why}");
            }
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

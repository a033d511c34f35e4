//! `GET /metrics` over TCP, for a scraper that cannot read a Unix socket: off unless the config says where.
//!
//! Owns the listener, which follows the config, and who is answered: anyone who reaches it, or, with a token file, whoever
//! shows the token. Serves nothing but the metrics, one request a connection, each within [`PATIENCE`]. That it cannot
//! listen is said and stops nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
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
/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 16;
/// Bytes a request line and its headers may take.
const MAX_HEAD: usize = 16 * 1024;

/// Listens where the config says, and follows it, until `stop`.
pub async fn serve(handle: Handle, stop: CancellationToken) {
    let mut settings = handle.http();
    loop {
        let Http { listen, token_file } = settings.borrow_and_update().clone();
        let listener = match listen {
            Some(at) => bind(at).await,
            None => None,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = settings.changed() => if changed.is_err() { return },
            () = answer(listener, &handle, token_file) => {}
        }
    }
}

async fn bind(at: SocketAddr) -> Option<TcpListener> {
    match TcpListener::bind(at).await {
        Ok(listener) => {
            tracing::info!(event = "http-listening", "metrics are served on http://{at}/metrics");
            Some(listener)
        }
        Err(error) => {
            tracing::warn!(
                event = "http-failed",
                "could not listen on {at} ({error}): metrics are on the Unix socket alone"
            );
            None
        }
    }
}

/// Serves connections for ever; without a listener it waits as long.
async fn answer(listener: Option<TcpListener>, handle: &Handle, token_file: Option<PathBuf>) {
    let Some(listener) = listener else { return std::future::pending().await };
    let guarded = middleware::from_fn_with_state(token_file, admit);
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

/// Whoever shows the token, where there is a file that holds one. It is read each time: a new one needs no reload.
async fn admit(State(token_file): State<Option<PathBuf>>, request: Request, next: Next) -> Response {
    let Some(path) = token_file else { return next.run(request).await };
    let token = tokio::task::spawn_blocking(move || token_file::read(&path)).await;
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match token {
        Ok(Ok(token)) if is_shown(&token, shown) => next.run(request).await,
        Ok(Ok(_)) => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response(),
        Ok(Err(why)) => {
            tracing::warn!(event = "http-failed", "no one is answered over TCP: {why}");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

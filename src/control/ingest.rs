//! `POST /v1/ingest/claude-statusline`: the hand-over of what Claude Code tells its statusline.
//!
//! Owns the document and whose reading it is: the account with the login that the session uses, known by its
//! credential file. Of the statusline's JSON only the limits come here: the rest is paths and costs of a session.

use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{AccountName, LocalReading};
use crate::paths::lexical;
use crate::source::statusline;
use crate::supervisor::handle::Handle;

/// What a session hands over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HandOver {
    /// The credential file of the login that the session uses.
    pub credentials: PathBuf,
    /// `rate_limits`, as Claude Code wrote it.
    pub rate_limits: Value,
}

impl HandOver {
    /// Where it is posted to.
    pub const PATH: &str = "/v1/ingest/claude-statusline";
}

/// Hands it to its account.
///
/// # Errors
/// Why not, as the status and detail of a problem document.
pub(super) async fn take(handle: &Handle, said: HandOver) -> Result<(), (StatusCode, String)> {
    let HandOver { credentials, rate_limits } = said;
    let Some(reading) = statusline::reading(&rate_limits, handle.now()) else {
        let why = "rate_limits names no window with a percentage and a reset that lies ahead";
        return Err((StatusCode::UNPROCESSABLE_ENTITY, why.to_owned()));
    };
    let Some(account) = whose(handle, credentials.clone()).await else {
        let why = format!("no claude account has its login in {}", credentials.display());
        return Err((StatusCode::NOT_FOUND, why));
    };
    if handle.hand_over(account, LocalReading { reading, identity: None }).await {
        Ok(())
    } else {
        Err((StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned()))
    }
}

/// The account whose login lies there, however either path is spelt.
async fn whose(handle: &Handle, credentials: PathBuf) -> Option<AccountName> {
    let snapshot = handle.snapshot();
    let claude = snapshot.accounts.iter().filter(|view| view.provider.as_str() == "claude");
    let known: Vec<(AccountName, PathBuf)> =
        claude.map(|view| (view.name.clone(), PathBuf::from(&*view.credentials.path))).collect();
    let find = |known: &[(AccountName, PathBuf)], is_it: &dyn Fn(&Path) -> bool| {
        known.iter().find(|(_, path)| is_it(path)).map(|(name, _)| name.clone())
    };
    let plain = lexical(&credentials);
    if let Some(name) = find(&known, &|path| lexical(path) == plain) {
        return Some(name);
    }
    // Symlinks are followed beside the loop: a file system can be slow.
    let followed = tokio::task::spawn_blocking(move || {
        let real = credentials.canonicalize().ok()?;
        find(&known, &|path| path.canonicalize().is_ok_and(|path| path == real))
    });
    followed.await.ok()?
}

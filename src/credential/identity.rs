//! Whose login a file holds, where the vendor's client notes that in a file beside it.
//!
//! Owns when that is read again. Keeps of it nothing but the account's uuid.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::file::{Wanted, read_regular};

/// Larger `.claude.json` files are not read.
const LARGEST: u64 = 16 << 20;

/// A file that may name the account, remembered until it changes: it can be megabytes of other things.
#[derive(Debug)]
pub(super) struct IdentityFile {
    path: PathBuf,
    seen: Option<(Option<SystemTime>, u64, u64)>,
    uuid: Option<String>,
}

impl IdentityFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, seen: None, uuid: None }
    }

    pub(super) fn uuid(&mut self) -> Option<String> {
        let now = fs::metadata(&self.path).ok().map(|found| (found.modified().ok(), found.len(), found.ino()));
        if now.is_none() || now != self.seen {
            self.seen = now;
            self.uuid = now.and_then(|_| account_uuid(&self.path));
        }
        self.uuid.clone()
    }
}

fn account_uuid(path: &Path) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Config {
        oauth_account: Option<Value>,
    }
    let (raw, ..) = read_regular(path, Wanted::Whole(LARGEST)).ok()?;
    let config: Config = serde_json::from_slice(raw.expose_secret()).ok()?;
    let uuid = config.oauth_account?.get("accountUuid")?.as_str()?.trim().to_owned();
    (!uuid.is_empty()).then_some(uuid)
}

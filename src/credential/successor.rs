//! A granted token on its way into the credential file.
//!
//! Owns the one place beside the credential file where quotad ever stores a token: `successor-<fingerprint>.json` in
//! the state directory, 0600, durable before the file is touched and gone once the file has been read back. What it
//! replaces is named by a salted hash of its own, so that a successor is recognised even if `state.db`, and with it
//! the fingerprint key, is lost.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};

use super::edit::{EditError, NewTokens, edit};
use super::secret::{FingerprintKey, Tokens};
use crate::disk::{self, DiskError};
use crate::model::{Fingerprint, Login};
use crate::policy::rotation::Minted;
use crate::policy::time::Stamp;
use crate::provider::Grant;

/// A successor, in memory.
#[derive(Debug, Clone)]
pub struct Successor {
    posted_salt: [u8; 32],
    posted_hash: Fingerprint,
    /// `None` when the answer was damaged and held only a refresh token.
    access: Option<SecretString>,
    /// `None` when the server did not rotate: the posted token stays good.
    refresh: Option<SecretString>,
    expires_at: Stamp,
    login_ends_at: Option<Stamp>,
    scopes: Option<Vec<String>>,
    file: PathBuf,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    credentials: PathBuf,
    posted_salt: [u8; 32],
    posted_hash: String,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_at_ms: i64,
    login_ends_at_ms: Option<i64>,
    scopes: Option<Vec<String>>,
}

/// How a successor and what lies in the file relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The file still holds the token that was posted: the successor belongs there.
    Vacant,
    /// The file holds the successor.
    Taken,
    /// The file holds something else.
    Foreign,
}

impl Successor {
    /// What `grant` puts in the place of `posted`, in the state directory `dir`.
    pub fn new(posted: &SecretString, grant: Grant, key: &FingerprintKey, granted_at: Stamp, dir: &Path) -> Self {
        let posted_salt: [u8; 32] = rand::random();
        let after = |wait| granted_at.checked_add(wait).unwrap_or(Stamp::MAX);
        Self {
            posted_salt,
            posted_hash: FingerprintKey::new(&posted_salt).fingerprint(posted),
            access: grant.access,
            refresh: grant.refresh,
            expires_at: after(grant.lease),
            login_ends_at: grant.login_lasts.map(after),
            scopes: grant.scopes,
            file: dir.join(format!("successor-{}.json", key.fingerprint(posted).to_hex())),
        }
    }

    /// The path of its stored form.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its stored form: `credentials` is the file it belongs into.
    pub fn to_bytes(&self, credentials: &Path) -> SecretSlice<u8> {
        let text = |token: &Option<SecretString>| token.as_ref().map(|token| token.expose_secret().to_owned());
        let stored = Stored {
            version: 1,
            credentials: credentials.to_owned(),
            posted_salt: self.posted_salt,
            posted_hash: self.posted_hash.to_hex(),
            access_token: text(&self.access),
            refresh_token: text(&self.refresh),
            expires_at_ms: self.expires_at.as_millisecond(),
            login_ends_at_ms: self.login_ends_at.map(Stamp::as_millisecond),
            scopes: self.scopes.clone(),
        };
        serde_json::to_vec_pretty(&stored).unwrap_or_default().into()
    }

    /// Reads the stored form back; `None` if it cannot be understood or belongs into another file.
    pub fn from_bytes(bytes: &[u8], file: PathBuf, credentials: &Path) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        if stored.credentials != credentials {
            return None;
        }
        Some(Self {
            posted_salt: stored.posted_salt,
            posted_hash: Fingerprint::from_hex(&stored.posted_hash)?,
            access: stored.access_token.map(SecretString::from),
            refresh: stored.refresh_token.map(SecretString::from),
            expires_at: Stamp::from_millisecond(stored.expires_at_ms).ok()?,
            login_ends_at: stored.login_ends_at_ms.and_then(|ms| Stamp::from_millisecond(ms).ok()),
            scopes: stored.scopes,
            file,
        })
    }

    /// Stores it durably.
    ///
    /// # Errors
    /// The disk is full or gone; the successor is then only in memory.
    pub fn store(&self, credentials: &Path) -> Result<(), DiskError> {
        disk::store_private(&self.file, self.to_bytes(credentials).expose_secret())
    }

    /// Every stored successor of this credential file. One that cannot be read is left where it is.
    pub fn stored_for(credentials: &Path, dir: &Path) -> Vec<Self> {
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("successor-") && Path::new(name).extension().is_some_and(|ending| ending == "json")
        };
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(is_ours)
            .filter_map(|path| Self::load(path, credentials))
            .collect()
    }

    fn load(path: PathBuf, credentials: &Path) -> Option<Self> {
        let bytes: SecretSlice<u8> = std::fs::read(&path).ok()?.into();
        Self::from_bytes(bytes.expose_secret(), path, credentials)
    }

    /// Removes the stored form: the successor lies in its place.
    ///
    /// # Errors
    /// The disk refuses; the next start finds it and removes it.
    pub fn remove(&self) -> Result<(), DiskError> {
        if self.file.exists() { disk::remove_durably(&self.file) } else { Ok(()) }
    }

    /// How it relates to the tokens in the file.
    pub fn place(&self, in_file: &Tokens) -> Place {
        let same = |ours: &Option<SecretString>, theirs: Option<&SecretString>| {
            ours.as_ref().is_none_or(|ours| theirs.is_some_and(|theirs| ours.expose_secret() == theirs.expose_secret()))
        };
        if same(&self.access, Some(&in_file.access)) && same(&self.refresh, in_file.refresh.as_ref()) {
            return Place::Taken;
        }
        let salted = FingerprintKey::new(&self.posted_salt);
        match &in_file.refresh {
            Some(token) if salted.fingerprint(token) == self.posted_hash => Place::Vacant,
            _ => Place::Foreign,
        }
    }

    /// The tokens that are good while it waits for its place.
    pub fn tokens(&self, in_file: &Tokens) -> Tokens {
        Tokens {
            access: self.access.clone().unwrap_or_else(|| in_file.access.clone()),
            refresh: self.refresh.clone().or_else(|| in_file.refresh.clone()),
        }
    }

    /// The login as it is once the successor has its place.
    pub fn login(&self, tokens: &Tokens, in_file: &Login, key: &FingerprintKey) -> Login {
        Login {
            access: key.fingerprint(&tokens.access),
            refresh: tokens.refresh.as_ref().map(|token| key.fingerprint(token)),
            expires_at: if self.access.is_some() { Some(self.expires_at) } else { in_file.expires_at },
            login_ends_at: self.login_ends_at.or(in_file.login_ends_at),
            scopes: self.scopes.clone().or_else(|| in_file.scopes.clone()),
            ..in_file.clone()
        }
    }

    /// What was minted, for the policy.
    pub fn minted(&self, tokens: &Tokens, posted: Fingerprint, key: &FingerprintKey, now: Stamp) -> Minted {
        Minted {
            access: key.fingerprint(&tokens.access),
            refresh: tokens.refresh.as_ref().map_or(posted, |token| key.fingerprint(token)),
            lease: std::time::Duration::try_from(self.expires_at.duration_since(now)).unwrap_or_default(),
        }
    }

    /// The credential file's bytes with the successor in them.
    ///
    /// # Errors
    /// The file is not one that can be edited; nothing is written then.
    pub fn written_into(&self, raw: &[u8]) -> Result<SecretSlice<u8>, EditError> {
        edit(
            raw,
            &NewTokens {
                access: self.access.as_ref(),
                refresh: self.refresh.as_ref(),
                expires_at_ms: self.access.as_ref().map(|_| self.expires_at.as_millisecond()),
                login_ends_at_ms: self.login_ends_at.map(Stamp::as_millisecond),
                scopes: self.scopes.as_deref(),
            },
        )
    }
}

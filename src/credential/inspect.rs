//! What `doctor` wants to know of a credential file: the way to it, where it lies, what it holds, which locks stand.
//!
//! Touches nothing, takes no lock and keeps no secret: the tokens that a look brings are dropped here, and their
//! fingerprints are made with a key of this one look, so that they mean nothing to anybody.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::CredentialFile;
use super::secret::FingerprintKey;
use super::trail::trail;
use super::vendor_lock::{self, Standing};
use crate::disk;
use crate::model::{Credential, CredentialOwner, ProviderId, Whereabouts};

/// A person waits: a look that must be repeated later than this is not.
const PATIENCE: Duration = Duration::from_millis(500);

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Each symlink on the way in a directory of this user's, with what it says.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// The file behind them; `None` when nothing is there.
    pub place: Option<Place>,
    /// What it holds.
    pub credential: Credential,
    /// The vendor's locks that are not free, for a file that the vendor's CLI writes.
    pub locks: Vec<Standing>,
}

/// Where a file lies and what may be done to it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each said by itself")]
pub struct Place {
    /// Permission bits.
    pub mode: u32,
    /// Whether it belongs to this user.
    pub is_own: bool,
    /// Whether it has other names on the same disk.
    pub is_hard_linked: bool,
    /// Whether it lies on a network or FUSE file system, or that cannot be told.
    pub is_remote: bool,
    /// Whether it is a mount point of its own, which can be written but not replaced.
    pub is_mount_point: bool,
}

/// Looks at the file at `path` of an account of `provider`, which `owner` writes; `home` as in
/// [`CredentialFile::new`].
pub fn inspect(path: &Path, provider: ProviderId, owner: CredentialOwner, home: Option<&Path>) -> Inspection {
    let mut ways = trail(path);
    ways.pop();
    let said = |(dir, name): (PathBuf, _)| {
        let link = dir.join(name);
        let target = fs::read_link(&link).unwrap_or_default();
        (link, target)
    };
    let dir = path.parent().unwrap_or(path);
    Inspection {
        links: ways.into_iter().map(said).collect(),
        place: place(path),
        credential: look(CredentialFile::new(Whereabouts::File(path.into()), provider, owner, home)),
        locks: if owner == CredentialOwner::Vendor { vendor_lock::observe(dir) } else { Vec::new() },
    }
}

/// A torn file is looked at again at once; a missing one is not waited for.
fn look(mut file: CredentialFile) -> Credential {
    let key = FingerprintKey::new(&rand::random());
    let mut found = file.look(&key);
    for wait in found.doubt.iter().take_while(|wait| **wait < PATIENCE) {
        std::thread::sleep(*wait);
        found = file.look(&key);
        if found.doubt.is_empty() {
            break;
        }
    }
    found.credential
}

fn place(path: &Path) -> Option<Place> {
    let metadata = fs::metadata(path).ok()?;
    Some(Place {
        mode: metadata.mode() & 0o777,
        is_own: disk::is_own(&metadata),
        is_hard_linked: metadata.is_file() && metadata.nlink() > 1,
        is_remote: disk::is_remote(path).unwrap_or(true),
        is_mount_point: disk::is_mount_point(path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::{PermissionsExt as _, symlink};

    const CLAUDE: ProviderId = ProviderId::new("claude");

    #[test]
    fn the_way_the_place_the_login_and_the_locks_are_seen_and_nothing_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        let real = dir.join("real");
        fs::create_dir(&real).unwrap();
        fs::write(real.join("cred"), r#"{"claudeAiOauth":{"accessToken":"sk-ant-oat01-FAKE"}}"#).unwrap();
        fs::set_permissions(real.join("cred"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real", dir.join("link")).unwrap();
        fs::create_dir(real.join(".oauth_refresh.lock")).unwrap();
        let seen = inspect(&dir.join("link/cred"), CLAUDE, CredentialOwner::Vendor, None);
        assert_eq!(seen.links, [(dir.join("link"), PathBuf::from("real"))]);
        let place = seen.place.unwrap();
        assert_eq!((place.mode, place.is_own, place.is_hard_linked), (0o640, true, false));
        assert!(seen.credential.login().is_some());
        assert_eq!(seen.locks.len(), 1);
        assert!(!format!("{seen:?}").contains("FAKE"));

        let seen = inspect(&dir.join("absent"), CLAUDE, CredentialOwner::Vendor, None);
        assert_eq!((seen.place, seen.credential), (None, Credential::Absent));
    }
}

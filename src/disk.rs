//! Durable files: staged atomic replacement, locks, private directories, and what a place on disk allows.
//!
//! Knows nothing of what the bytes mean. Never writes into a file that others read: every write goes to a temporary
//! file in the same directory, is synced, and takes the target's name in one step, so that a reader sees the old
//! bytes or the new ones and a crash loses neither. Ownership is judged against the effective uid alone: inside the
//! unit's user namespace every other owner, root too, looks like nobody.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, OFlags, StatxAttributes, StatxFlags};
use tempfile::NamedTempFile;

/// A file operation that failed: what was attempted on what, why it failed, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("could not {attempt} {}: {cause}{}", path.display(), remedy(cause))]
pub struct DiskError {
    /// What was attempted, as a verb phrase that takes `path` as its object.
    pub attempt: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the system answered.
    pub cause: io::Error,
}

impl DiskError {
    /// For `map_err`: names the attempt and the path of an [`io::Error`].
    pub fn on(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self { attempt, path, cause }
    }
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        ErrorKind::StorageFull => "; free some space there",
        ErrorKind::QuotaExceeded => "; raise the disk quota or free some space",
        ErrorKind::PermissionDenied => "; give it to the user quotad runs as (chown, chmod u+rwX)",
        ErrorKind::ReadOnlyFilesystem => {
            "; check its mount options or, for a service, run `quotad install` again, which fits the sandbox to the config"
        }
        ErrorKind::ResourceBusy => "; it is a mount point of its own: mount the directory instead",
        _ => "",
    }
}

/// New content of a file: written and synced under a temporary name, in force only after [`Self::commit`].
///
/// Dropped uncommitted it removes itself; a process killed meanwhile leaves it for [`remove_leftovers`].
#[derive(Debug)]
pub struct Staged(NamedTempFile);

const TEMP_PREFIX: &str = ".quotad-";
const TEMP_SUFFIX: &str = ".tmp";

impl Staged {
    /// Writes `bytes` to a new file in `dir`, which must be the directory of the later target. Private (0600) from
    /// birth; then it takes over mode and group of `like`, the file it is to replace.
    ///
    /// # Errors
    /// Whatever creating, writing or syncing runs into; nothing is left behind.
    pub fn write(dir: &Path, bytes: &[u8], like: Option<&Metadata>) -> Result<Self, DiskError> {
        let stage = || {
            let mut temp = tempfile::Builder::new().prefix(TEMP_PREFIX).suffix(TEMP_SUFFIX).tempfile_in(dir)?;
            temp.write_all(bytes)?;
            if let Some(like) = like {
                take_after(temp.as_file(), like)?;
            }
            temp.as_file().sync_all()?;
            Ok(temp)
        };
        stage().map(Self).map_err(DiskError::on("write a temporary file in", dir))
    }

    /// Gives the content its name, replacing what was there, and syncs the directory.
    ///
    /// # Errors
    /// When the rename fails (the target is untouched then) or the directory cannot be synced (the target holds the
    /// new content, which a power cut may still undo): read back to tell.
    pub fn commit(self, target: &Path) -> Result<(), DiskError> {
        self.0.persist(target).map_err(|refused| DiskError::on("replace", target)(refused.error))?;
        sync_dir(parent(target))
    }
}

/// Mode and group of `like`; where the group cannot be had, its permissions go to nobody.
fn take_after(file: &File, like: &Metadata) -> io::Result<()> {
    let mut mode = like.mode() & 0o777;
    if file.metadata()?.gid() != like.gid() && fchown(file, None, Some(like.gid())).is_err() {
        mode &= !0o070;
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// Replaces the content of `target` in one step, keeping mode and group of `like`.
///
/// # Errors
/// As [`Staged::write`] and [`Staged::commit`].
pub fn replace(target: &Path, bytes: &[u8], like: &Metadata) -> Result<(), DiskError> {
    Staged::write(parent(target), bytes, Some(like))?.commit(target)
}

/// Stores `bytes` durably under `path` with mode 0600, replacing what was there.
///
/// # Errors
/// As [`Staged::write`] and [`Staged::commit`].
pub fn store_private(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    Staged::write(parent(path), bytes, None)?.commit(path)
}

/// Removes a file and syncs its directory. An absent file is as good as removed.
///
/// # Errors
/// When the file cannot be removed or the directory cannot be synced.
pub fn remove_durably(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(DiskError::on("remove", path)(cause)),
        _ => sync_dir(parent(path)),
    }
}

/// Removes what killed processes had staged in `dir`. Only under the lock that whoever stages there also holds.
///
/// # Errors
/// When the directory cannot be listed or a file cannot be removed.
pub fn remove_leftovers(dir: &Path) -> Result<(), DiskError> {
    for entry in fs::read_dir(dir).map_err(DiskError::on("list", dir))?.flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(TEMP_PREFIX.as_bytes()) && name.ends_with(TEMP_SUFFIX.as_bytes()) {
            remove_durably(&entry.path())?;
        }
    }
    Ok(())
}

/// Renames an unreadable file to `<name>.unreadable-<n>`, the first such name that is free, and returns that path.
///
/// # Errors
/// When neither reserving a name nor renaming works; the file is still where it was.
pub fn set_aside(path: &Path) -> Result<PathBuf, DiskError> {
    let is_dir = path.is_dir();
    for n in 1_u32.. {
        let aside = aside(path, n);
        // An empty reservation, which only its maker renames over: nothing that was set aside before is lost.
        let reserved = if is_dir { fs::create_dir(&aside) } else { File::create_new(&aside).map(drop) };
        match reserved {
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => continue,
            Err(cause) => return Err(DiskError::on("create", &aside)(cause)),
            Ok(()) => {}
        }
        if let Err(cause) = fs::rename(path, &aside) {
            let _ = if is_dir { fs::remove_dir(&aside) } else { fs::remove_file(&aside) };
            return Err(DiskError::on("set aside", path)(cause));
        }
        sync_dir(parent(path))?;
        return Ok(aside);
    }
    Err(DiskError::on("set aside", path)(ErrorKind::AlreadyExists.into()))
}

/// The path that [`set_aside`] gave the file last set aside from here; `None` if none ever was.
pub fn last_set_aside(path: &Path) -> Option<PathBuf> {
    (1..u32::MAX).map(|n| aside(path, n)).take_while(|aside| aside.exists()).last()
}

fn aside(path: &Path, n: u32) -> PathBuf {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".unreadable-{n}"));
    PathBuf::from(aside)
}

/// Makes sure that `path` is a directory of this user's with mode 0700, creating it and its parents as needed.
///
/// # Errors
/// When it cannot be made, is no directory, or it (or the symlink that stands for it) belongs to someone else.
pub fn private_dir(path: &Path) -> Result<(), DiskError> {
    let fail = |cause| DiskError::on("use the private directory", path)(cause);
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
    let (named, meant) = (fs::symlink_metadata(path).map_err(fail)?, fs::metadata(path).map_err(fail)?);
    if !is_own(&named) || !is_own(&meant) {
        return Err(fail(io::Error::new(ErrorKind::PermissionDenied, "it belongs to another user")));
    }
    if meant.mode() & 0o777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(fail)?;
    }
    Ok(())
}

/// Whether a file belongs to the user this process acts as.
pub fn is_own(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Writes, syncs and removes a temporary file of `bytes` bytes: what fits now will very likely fit in a moment.
///
/// # Errors
/// Why a file of that size cannot be written there.
pub fn probe_writable(dir: &Path, bytes: usize) -> Result<(), DiskError> {
    // Noise, because a file system that compresses would store zeros in no space at all.
    let noise = (0..bytes).scan(1_u64, |state, _| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some((*state >> 56) as u8)
    });
    Staged::write(dir, &noise.collect::<Vec<_>>(), None).map(drop)
}

/// Whether this user may create and remove entries in `dir`, as far as permissions and mount options go.
pub fn is_writable_dir(dir: &Path) -> bool {
    rustix::fs::accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

/// Whether `path` is a mount point of its own, such as a single file bound into a container: it can be written but
/// not replaced. `false` where the kernel does not say.
pub fn is_mount_point(path: &Path) -> bool {
    rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Magic numbers of file systems whose locks and renames depend on another machine or process (statfs(2)).
const REMOTE: [u32; 15] = [
    0x6969,      // NFS
    0x517B,      // SMB
    0xFF53_4D42, // CIFS
    0xFE53_4D42, // SMB2
    0x564C,      // NCP
    0x0102_1997, // 9p
    0x6573_5546, // FUSE (sshfs, virtiofs)
    0x5346_414F, // AFS
    0x6B41_4653, // kAFS
    0x7375_7245, // Coda
    0x00C3_6400, // Ceph
    0x0116_1970, // GFS2
    0x7461_636F, // OCFS2
    0x0BD0_0BD0, // Lustre
    0x786F_4256, // VirtualBox shared folder
];

/// Whether `path` lies on a file system that is, or may be, shared with another machine.
///
/// # Errors
/// When the file system cannot be asked.
pub fn is_remote(path: &Path) -> Result<bool, DiskError> {
    let found =
        rustix::fs::statfs(path).map_err(|errno| DiskError::on("ask for the file system of", path)(errno.into()))?;
    Ok(REMOTE.contains(&(found.f_type as u32)))
}

/// Whether what lies at `path` answers at once as a rule, for whoever cannot wait: it is there, and on a file system of
/// this machine's own. To find that out takes as long as the file system likes.
pub fn is_near(path: &Path) -> bool {
    is_remote(path).is_ok_and(|remote| !remote)
}

/// An exclusive lock on a file, held until dropped. It dies with the process; the file stays, so that nobody ever
/// locks a name that someone else has just removed.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// Why a [`Lock`] was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is held by {}", path.display(), pid.map_or("another process".to_owned(), |pid| format!("process {pid}")))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, if it has said so yet.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Lock {
    /// Takes the lock now or not at all, and writes this process id into the file.
    ///
    /// # Errors
    /// [`LockError::Held`] when another open file holds it, in this process or another.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(DiskError::on("open the lock file", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.take(16).read_to_string(&mut pid);
                return Err(LockError::Held { path: path.to_owned(), pid: pid.trim().parse().ok() });
            }
            Err(TryLockError::Error(cause)) => return Err(DiskError::on("lock", path)(cause).into()),
        }
        let signed = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        signed.map_err(DiskError::on("write the process id into", path))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Whether the lock file is still the one at its path: removed or replaced, it excludes nobody who comes now.
    pub fn is_in_place(&self) -> bool {
        match (self.file.metadata(), fs::symlink_metadata(&self.path)) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }
}

/// Syncs a directory, so that the names in it survive a power cut.
fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    match File::open(dir).and_then(|dir| dir.sync_all()) {
        // Some file systems have no such thing as a synced directory.
        Err(cause) if !matches!(cause.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Err(DiskError::on("sync the directory", dir)(cause))
        }
        _ => Ok(()),
    }
}

/// The directory a path's last name stands in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_replacement_is_a_new_file_with_the_mode_of_the_old_one() {
        for wanted in [0o600, 0o400, 0o640, 0o644] {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("file");
            fs::write(&target, "old").unwrap();
            fs::set_permissions(&target, Permissions::from_mode(wanted)).unwrap();
            let like = fs::metadata(&target).unwrap();
            replace(&target, b"new", &like).unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"new");
            assert_eq!(mode(&target), wanted);
            assert_ne!(fs::metadata(&target).unwrap().ino(), like.ino());
            assert_eq!(names(dir.path()), ["file"]);
        }
    }

    #[test]
    fn what_is_staged_is_private_changes_nothing_yet_and_vanishes_uncommitted() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        fs::write(&target, "old").unwrap();
        let staged = Staged::write(dir.path(), b"new", None).unwrap();
        assert_eq!(mode(staged.0.path()), 0o600);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        drop(staged);
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn a_commit_that_fails_leaves_the_target_and_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("taken");
        fs::create_dir(&target).unwrap();
        let failed = Staged::write(dir.path(), b"new", None).unwrap().commit(&target).unwrap_err();
        assert!(failed.to_string().starts_with("could not replace "), "{failed}");
        assert_eq!(names(dir.path()), ["taken"]);
    }

    #[test]
    fn a_private_file_is_0600_even_where_a_public_one_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("successor");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        store_private(&path, b"new").unwrap();
        assert_eq!(mode(&path), 0o600);
        remove_durably(&path).unwrap();
        remove_durably(&path).unwrap();
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn leftovers_of_a_killed_process_are_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".quotad-abc.tmp", ".quotad.lock", ".credentials.json", "x.tmp"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        remove_leftovers(dir.path()).unwrap();
        assert_eq!(names(dir.path()), [".credentials.json", ".quotad.lock", "x.tmp"]);
    }

    #[test]
    fn what_is_set_aside_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        for n in 1..=3 {
            fs::write(&path, format!("broken {n}")).unwrap();
            let aside = set_aside(&path).unwrap();
            assert_eq!(aside, dir.path().join(format!("state.db.unreadable-{n}")));
            assert_eq!(fs::read_to_string(aside).unwrap(), format!("broken {n}"));
            assert!(!path.exists());
        }
        fs::create_dir(&path).unwrap();
        assert!(set_aside(&path).unwrap().is_dir());
        assert!(set_aside(&path).is_err(), "nothing is there any more");
        assert_eq!(names(dir.path()).len(), 4);
    }

    #[test]
    fn a_private_directory_is_0700_however_it_was_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        private_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        private_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(private_dir(&dir.path().join("file")).is_err());
    }

    #[test]
    fn a_held_lock_names_its_holder_and_is_free_once_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::acquire(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        match Lock::acquire(&path) {
            Err(LockError::Held { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(held);
        Lock::acquire(&path).unwrap();
    }

    #[test]
    fn a_probe_writes_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        probe_writable(dir.path(), 8192).unwrap();
        assert!(names(dir.path()).is_empty());
        assert!(probe_writable(&dir.path().join("absent"), 1).is_err());
        assert!(is_writable_dir(dir.path()));
        assert!(!is_writable_dir(&dir.path().join("absent")));
    }

    #[test]
    fn a_local_file_is_neither_remote_nor_a_mount_point() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_mount_point(dir.path()));
        assert!(is_mount_point(Path::new("/proc")));
        assert!(!is_remote(Path::new("/proc")).unwrap());
        assert!(is_remote(&dir.path().join("absent")).is_err());
    }
}

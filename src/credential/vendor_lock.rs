//! The lock protocol of Claude Code: proper-lockfile's, as its CLI uses it around a refresh.
//!
//! A lock is a directory: `mkdir` takes it, `rmdir` gives it back, its modification time in whole milliseconds is the
//! holder's heartbeat. The primary lock (`<dir>/.oauth_refresh.lock`) and the legacy one (`<real dir>.lock`) are held
//! across the exchange, in this order; the store lock (`<dir>/.storage-write.lock`) around the write only.
//!
//! A lock that is not ours is never touched: no file goes into it, no time is set on it, and however old it looks it
//! is only reported. The vendor's clients break a stale lock in two steps that are not atomic, and two of them can
//! each believe to have won; whoever adds a third breaker makes that worse. For the same reason holding a lock proves
//! little, and [`VendorLocks::check`] looks again right before anything that cannot be undone.
//!
//! Reads the real clock itself, never a simulated one: the times here are compared with those of other processes.

use std::convert::Infallible;
use std::fmt;
use std::fs::{self, File, FileTimes, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

use crate::disk::{self, DiskError};

/// How often a held lock is touched. The vendor does it every 5 s; 3 s also holds against its old versions, which
/// take a lock for stale after 10 s.
pub const HEARTBEAT: Duration = Duration::from_secs(3);

/// Nothing irreversible begins later than this after the locks were taken.
const LONGEST_HOLD: Duration = Duration::from_secs(10);

/// How far the wall clock may run apart from the monotonic one meanwhile: more is a suspend or a clock step, and
/// then others may rightly take our locks for stale.
const LARGEST_STEP: Duration = Duration::from_secs(1);

/// A healthy lock may be dated ahead: on file systems that keep whole seconds every heartbeat rounds up.
const FUTURE_TOLERANCE: Duration = Duration::from_secs(2);

/// When the vendor's clients take the primary and the legacy lock for stale.
const STALE: Duration = Duration::from_mins(1);
/// And the store lock.
const STORE_STALE: Duration = Duration::from_secs(15);

fn primary(dir: &Path) -> PathBuf {
    dir.join(".oauth_refresh.lock")
}

fn store(dir: &Path) -> PathBuf {
    dir.join(".storage-write.lock")
}

/// Beside the directory, under its real name: the lock older versions know.
fn legacy(dir: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(dir).map(|real| beside(&real))
}

fn beside(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// How a lock that someone else may hold looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockState {
    /// Nobody holds it.
    Free,
    /// Its holder touched it this long ago.
    Fresh(Duration),
    /// Nobody touched it for so long that its holder must be gone: an orphan, if it is still the same later.
    Stale(Duration),
    /// It is dated this far ahead, so it will not be stale for that much longer: the clock was set back.
    Future(Duration),
    /// It can never be released by the protocol: a file, not empty, or somebody else's. The phrase says which.
    Poisoned(&'static str),
}

/// A lock that is not ours, and how it looks; prints as a sentence with the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The lock's path.
    pub path: PathBuf,
    /// How it looks.
    pub state: LockState,
}

impl Standing {
    fn of(path: PathBuf, limit: Duration) -> Self {
        let state = state_of(&path, limit);
        Self { path, state }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.state {
            LockState::Free => write!(f, "{path} is free"),
            LockState::Fresh(age) => {
                write!(f, "{path} was touched {} s ago: the vendor's CLI is at work, nothing to do", age.as_secs())
            }
            LockState::Stale(age) => write!(
                f,
                "{path} was left behind {} s ago; if no vendor CLI is running, remove it: rmdir {path}",
                age.as_secs()
            ),
            LockState::Future(ahead) => write!(
                f,
                "{path} is dated {} s in the future and so never becomes stale in time; \
                 if no vendor CLI is running, remove it: rmdir {path}",
                ahead.as_secs()
            ),
            LockState::Poisoned(how) => {
                write!(f, "{path} {how}, so nobody can take this lock; look what it is and move it away")
            }
        }
    }
}

/// Every lock around the credential directory `dir` that is not free, in the order they are taken. Touches nothing.
pub fn observe(dir: &Path) -> Vec<Standing> {
    observe_of(dir, legacy(dir).ok())
}

/// [`observe`] where no symlink leads to `dir`.
pub fn observe_real(dir: &Path) -> Vec<Standing> {
    observe_of(dir, Some(beside(dir)))
}

fn observe_of(dir: &Path, legacy: Option<PathBuf>) -> Vec<Standing> {
    let locks = [Some((primary(dir), STALE)), legacy.map(|lock| (lock, STALE)), Some((store(dir), STORE_STALE))];
    let standings = locks.into_iter().flatten().map(|(lock, limit)| Standing::of(lock, limit));
    standings.filter(|standing| standing.state != LockState::Free).collect()
}

fn state_of(path: &Path, limit: Duration) -> LockState {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return LockState::Free,
        Err(_) => return LockState::Poisoned("cannot be looked at"),
    };
    if !found.is_dir() {
        return LockState::Poisoned("is not a directory");
    }
    if !disk::is_own(&found) {
        return LockState::Poisoned("belongs to another user");
    }
    if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
        return LockState::Poisoned("is not empty");
    }
    let Ok(touched) = found.modified() else { return LockState::Poisoned("has no modification time") };
    match SystemTime::now().duration_since(touched) {
        Ok(age) if age > limit => LockState::Stale(age),
        Ok(age) => LockState::Fresh(age),
        Err(ahead) if ahead.duration() > FUTURE_TOLERANCE => LockState::Future(ahead.duration()),
        Err(_) => LockState::Fresh(Duration::ZERO),
    }
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockFailure {
    /// It exists. Nothing was left behind; another try after 1 to 2 s may find it free.
    #[error("{0}")]
    Contended(Standing),
    /// It cannot be made.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why locks that were taken protect nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Compromised {
    /// The directory is gone, is another one, or was touched by somebody else.
    #[error("the lock {} was taken over by another process", .0.display())]
    Taken(PathBuf),
    /// They have been held too long to begin anything.
    #[error("the vendor's locks were held for {} s, too long to begin an exchange", .0.as_secs())]
    HeldTooLong(Duration),
    /// The machine slept or the clock was set.
    #[error("the clock jumped or the machine slept while the vendor's locks were held")]
    ClockStepped,
}

/// The primary and the legacy lock, and during a write the store lock. Dropping it releases them in reverse order,
/// each on its own and only if it is still ours.
#[derive(Debug)]
pub struct VendorLocks {
    store: Option<Held>,
    legacy: Held,
    primary: Held,
    dir: PathBuf,
    heartbeat: Duration,
    since: (Instant, SystemTime),
}

impl VendorLocks {
    /// One try at the primary and the legacy lock of the credential directory `dir`; with the legacy lock contended
    /// the primary is released again. [`HEARTBEAT`] is the usual period.
    ///
    /// # Errors
    /// [`LockFailure::Contended`] says by what, [`LockFailure::Disk`] what else went wrong.
    pub fn try_acquire(dir: &Path, heartbeat: Duration) -> Result<Self, LockFailure> {
        let since = (Instant::now(), SystemTime::now());
        let legacy_path = legacy(dir).map_err(DiskError::on("resolve the directory", dir))?;
        let primary = Held::take(primary(dir), STALE, heartbeat)?;
        let legacy = Held::take(legacy_path, STALE, heartbeat)?;
        Ok(Self { store: None, legacy, primary, dir: dir.to_owned(), heartbeat, since })
    }

    /// One try at the store lock, which guards the read-modify-write of the file. The vendor tries ten times over
    /// about 7.5 s.
    ///
    /// # Errors
    /// As [`Self::try_acquire`].
    pub fn lock_store(&mut self) -> Result<(), LockFailure> {
        self.store = Some(Held::take(store(&self.dir), STORE_STALE, self.heartbeat)?);
        Ok(())
    }

    /// Releases the store lock.
    pub fn unlock_store(&mut self) {
        self.store = None;
    }

    /// Whether an exchange may begin now: the locks still ours, held under 10 s, and no clock step meanwhile.
    ///
    /// # Errors
    /// Why not. The caller drops everything and begins with a re-read.
    pub fn check(&self) -> Result<(), Compromised> {
        self.still_ours()?;
        judge_hold(self.since.0.elapsed(), SystemTime::now().duration_since(self.since.1).ok())
    }

    /// Whether every lock is still ours, however long it was held: the question before the write.
    ///
    /// # Errors
    /// [`Compromised::Taken`] names the first that is not.
    pub fn still_ours(&self) -> Result<(), Compromised> {
        let lost = [Some(&self.primary), Some(&self.legacy), self.store.as_ref()]
            .into_iter()
            .flatten()
            .find(|held| !held.mark().is_ours(&held.path));
        lost.map_or(Ok(()), |held| Err(Compromised::Taken(held.path.clone())))
    }
}

/// `wall` is `None` when the wall clock went back.
fn judge_hold(monotonic: Duration, wall: Option<Duration>) -> Result<(), Compromised> {
    if wall.is_none_or(|wall| wall.abs_diff(monotonic) > LARGEST_STEP) {
        return Err(Compromised::ClockStepped);
    }
    if monotonic >= LONGEST_HOLD {
        return Err(Compromised::HeldTooLong(monotonic));
    }
    Ok(())
}

/// One lock of ours, with its heartbeat.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    mark: Arc<Mutex<Mark>>,
    /// `Some` until the drop, which hangs up on the heart to stop it.
    heart: Option<(Sender<Infallible>, JoinHandle<()>)>,
}

impl Held {
    fn take(path: PathBuf, limit: Duration, period: Duration) -> Result<Self, LockFailure> {
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {
                return Err(LockFailure::Contended(Standing::of(path, limit)));
            }
            Err(cause) => return Err(DiskError::on("make the lock directory", &path)(cause).into()),
        }
        let begun = Mark::make(&path).and_then(|mark| {
            let mark = Arc::new(Mutex::new(mark));
            let heart = start_heart(path.clone(), Arc::clone(&mark), period)?;
            Ok((mark, heart))
        });
        match begun {
            Ok((mark, heart)) => Ok(Self { path, mark, heart: Some(heart) }),
            Err(cause) => {
                let _ = fs::remove_dir(&path);
                Err(DiskError::on("hold the lock", &path)(cause).into())
            }
        }
    }

    fn mark(&self) -> MutexGuard<'_, Mark> {
        lock(&self.mark)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((hang_up, heart)) = self.heart.take() {
            drop(hang_up);
            let _ = heart.join();
        }
        if !self.mark().is_ours(&self.path) {
            tracing::warn!(path = %self.path.display(), "a vendor lock was taken over while quotad held it; left alone");
        } else if let Err(cause) = fs::remove_dir(&self.path) {
            tracing::warn!(path = %self.path.display(), %cause, "a vendor lock could not be released");
        }
    }
}

/// Touches the lock every `period` until hung up on or until it is not ours any more. A thread of its own, so that
/// nothing the runtime is busy with can make the lock look stale.
fn start_heart(
    path: PathBuf,
    mark: Arc<Mutex<Mark>>,
    period: Duration,
) -> io::Result<(Sender<Infallible>, JoinHandle<()>)> {
    let (hang_up, line) = channel::<Infallible>();
    let beat = move || {
        while matches!(line.recv_timeout(period), Err(RecvTimeoutError::Timeout)) && lock(&mark).beat(&path) {}
    };
    Ok((hang_up, std::thread::Builder::new().name("vendor-lock".to_owned()).spawn(beat)?))
}

fn lock(mark: &Mutex<Mark>) -> MutexGuard<'_, Mark> {
    mark.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What makes a lock directory ours: the very inode we made, with the time we gave it.
#[derive(Debug)]
struct Mark {
    /// Kept open: no other directory can get this inode number meanwhile, and a time set through it can never land
    /// on somebody else's lock.
    directory: File,
    touched_ms: u128,
}

impl Mark {
    fn make(path: &Path) -> io::Result<Self> {
        let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
        let directory = File::options().read(true).custom_flags(flags).open(path)?;
        let mut mark = Self { directory, touched_ms: 0 };
        mark.touch()?;
        Ok(mark)
    }

    fn is_ours(&self, path: &Path) -> bool {
        let Ok((found, made)) = fs::symlink_metadata(path).and_then(|found| Ok((found, self.directory.metadata()?)))
        else {
            return false;
        };
        (found.dev(), found.ino()) == (made.dev(), made.ino()) && millis(&found) == Some(self.touched_ms)
    }

    /// One heartbeat; `false` once the lock is not ours, and then for ever.
    fn beat(&mut self, path: &Path) -> bool {
        self.is_ours(path) && self.touch().is_ok()
    }

    /// Dates the directory now, in whole milliseconds, and remembers what the file system made of that.
    fn touch(&mut self) -> io::Result<()> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or_default());
        self.directory.set_times(FileTimes::new().set_accessed(now).set_modified(now))?;
        self.touched_ms = millis(&self.directory.metadata()?).ok_or(ErrorKind::Unsupported)?;
        Ok(())
    }
}

fn millis(metadata: &Metadata) -> Option<u128> {
    Some(metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    use tempfile::TempDir;

    /// A credential directory of its own, whose legacy lock lies beside it.
    fn credential_dir() -> (TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(".claude");
        fs::create_dir(&dir).unwrap();
        (home, dir)
    }

    fn acquire(dir: &Path) -> Result<VendorLocks, LockFailure> {
        VendorLocks::try_acquire(dir, HEARTBEAT)
    }

    fn contended_by(dir: &Path) -> LockState {
        match acquire(dir) {
            Err(LockFailure::Contended(standing)) => standing.state,
            other => panic!("{other:?}"),
        }
    }

    fn date(path: &Path, at: SystemTime) {
        File::open(path).unwrap().set_times(FileTimes::new().set_modified(at)).unwrap();
    }

    fn touched(path: &Path) -> SystemTime {
        fs::metadata(path).unwrap().modified().unwrap()
    }

    #[test]
    fn the_locks_lie_where_the_vendor_looks_and_are_gone_afterwards() {
        let (home, dir) = credential_dir();
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        let mut locks = acquire(&link).unwrap();
        locks.lock_store().unwrap();
        let all = [dir.join(".oauth_refresh.lock"), home.path().join(".claude.lock"), dir.join(".storage-write.lock")];
        assert!(all.iter().all(|path| path.is_dir()), "the legacy lock carries the real name");
        assert_eq!(observe(&dir).into_iter().map(|s| s.path).collect::<Vec<_>>(), all);
        locks.unlock_store();
        assert!(!all[2].exists());
        drop(locks);
        assert!(observe(&dir).is_empty());
    }

    #[test]
    fn two_holders_exclude_each_other() {
        let (_home, dir) = credential_dir();
        let first = acquire(&dir).unwrap();
        assert!(matches!(contended_by(&dir), LockState::Fresh(_)));
        drop(first);
        acquire(&dir).unwrap();
    }

    #[test]
    fn a_contended_legacy_lock_gives_the_primary_back() {
        let (home, dir) = credential_dir();
        fs::create_dir(home.path().join(".claude.lock")).unwrap();
        assert!(matches!(contended_by(&dir), LockState::Fresh(_)));
        assert!(!dir.join(".oauth_refresh.lock").exists());
        assert!(home.path().join(".claude.lock").exists());
    }

    #[test]
    fn a_lock_that_is_not_ours_is_reported_with_its_remedy_and_untouched() {
        type Looks = fn(LockState) -> bool;
        enum Made {
            /// A directory dated this many seconds ago; negative is ahead.
            Dated(i64),
            File,
            Full,
            Link,
        }
        let fresh = |state| matches!(state, LockState::Fresh(_));
        let stale = |state| matches!(state, LockState::Stale(_));
        let future = |state| matches!(state, LockState::Future(_));
        let poisoned = |state| matches!(state, LockState::Poisoned(_));
        let cases: [(Made, Looks, &str); 7] = [
            (Made::Dated(55), fresh, "at work"),
            (Made::Dated(61), stale, "rmdir"),
            (Made::Dated(-1), fresh, "at work"),
            (Made::Dated(-9), future, "rmdir"),
            (Made::File, poisoned, "not a directory"),
            (Made::Full, poisoned, "not empty"),
            (Made::Link, poisoned, "not a directory"),
        ];
        for (made, expected, remedy) in cases {
            let (_home, dir) = credential_dir();
            let path = dir.join(".oauth_refresh.lock");
            match made {
                Made::Dated(seconds) => {
                    fs::create_dir(&path).unwrap();
                    let age = Duration::from_secs(seconds.unsigned_abs());
                    date(&path, if seconds < 0 { SystemTime::now() + age } else { SystemTime::now() - age });
                }
                Made::File => fs::write(&path, "").unwrap(),
                Made::Full => fs::create_dir_all(path.join("owner")).unwrap(),
                Made::Link => std::os::unix::fs::symlink("/nonexistent", &path).unwrap(),
            }
            let before = fs::symlink_metadata(&path).unwrap();
            let refused = acquire(&dir).unwrap_err();
            let LockFailure::Contended(standing) = &refused else { panic!("{refused:?}") };
            assert!(expected(standing.state), "{standing:?}");
            assert!(refused.to_string().contains(remedy), "{refused}");
            let after = fs::symlink_metadata(&path).unwrap();
            assert_eq!((before.ino(), millis(&before)), (after.ino(), millis(&after)));
        }
    }

    #[test]
    fn a_lock_someone_else_touched_is_compromised_and_not_removed() {
        let (_home, dir) = credential_dir();
        let path = dir.join(".oauth_refresh.lock");
        let locks = acquire(&dir).unwrap();
        locks.check().unwrap();
        date(&path, touched(&path) + Duration::from_millis(1));
        assert_eq!(locks.check(), Err(Compromised::Taken(path.clone())));
        drop(locks);
        assert!(path.exists(), "it may be somebody else's by now");
        assert_eq!(observe(&dir).len(), 1, "its sibling was released all the same");
    }

    #[test]
    fn a_lock_someone_else_made_anew_is_compromised_and_not_removed() {
        let (home, dir) = credential_dir();
        let path = home.path().join(".claude.lock");
        let locks = acquire(&dir).unwrap();
        let ours = touched(&path);
        fs::remove_dir(&path).unwrap();
        assert_eq!(locks.check(), Err(Compromised::Taken(path.clone())));
        fs::create_dir(&path).unwrap();
        date(&path, ours);
        assert_eq!(locks.check(), Err(Compromised::Taken(path.clone())), "the same time on another directory");
        drop(locks);
        assert!(path.exists());
    }

    #[test]
    fn a_heartbeat_dates_the_lock_now_in_whole_milliseconds() {
        let (_home, dir) = credential_dir();
        let path = dir.join("lock");
        fs::create_dir(&path).unwrap();
        let mut mark = Mark::make(&path).unwrap();
        let old = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        date(&path, old);
        assert!(!mark.beat(&path), "a foreign time is never overwritten");
        assert_eq!(touched(&path), old);
        mark.touched_ms = 1_700_000_000_123;
        assert!(mark.beat(&path));
        assert!(touched(&path).elapsed().unwrap() < Duration::from_mins(1));
        assert_eq!(fs::metadata(&path).unwrap().mtime_nsec() % 1_000_000, 0);
        assert!(mark.is_ours(&path));
    }

    #[test]
    fn the_heart_beats_by_itself_while_the_lock_is_held() {
        let (_home, dir) = credential_dir();
        let locks = VendorLocks::try_acquire(&dir, Duration::from_millis(1)).unwrap();
        let (path, begun) = (dir.join(".oauth_refresh.lock"), Instant::now());
        let first = touched(&path);
        while touched(&path) == first {
            assert!(begun.elapsed() < Duration::from_secs(20), "no heartbeat");
            std::thread::yield_now();
        }
        locks.check().unwrap();
        drop(locks);
        assert!(observe(&dir).is_empty());
    }

    #[test]
    fn nothing_begins_after_ten_seconds_or_a_clock_step() {
        let ms = Duration::from_millis;
        for (monotonic, wall, verdict) in [
            (ms(9_999), Some(ms(9_000)), Ok(())),
            (ms(10_000), Some(ms(10_000)), Err(Compromised::HeldTooLong(ms(10_000)))),
            (ms(500), Some(ms(60_000)), Err(Compromised::ClockStepped)),
            (ms(5_000), Some(ms(3_900)), Err(Compromised::ClockStepped)),
            (ms(500), None, Err(Compromised::ClockStepped)),
        ] {
            assert_eq!(judge_hold(monotonic, wall), verdict);
        }
    }

    #[test]
    fn a_directory_that_cannot_hold_locks_is_said_so() {
        let (_home, dir) = credential_dir();
        let refused = acquire(&dir.join("absent")).unwrap_err();
        assert!(matches!(refused, LockFailure::Disk(_)), "{refused:?}");
    }
}

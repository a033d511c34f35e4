//! Tells when a file that matters to an account may have changed, however the path leads to it.
//!
//! Watches directories, never files: a watch on a file falls silent for ever once a rename replaces it. Watched are
//! the directory a file lies in (or the nearest one that exists), and the directory of every symlink on the way, since
//! a link that is swapped moves the file without touching it. Only names that matter in those directories are
//! signalled, and the kernel is not even asked to tell of mere reading: one of them is often the home directory, where
//! every shell reads as it starts. That, and a thread less, is why inotify is used as it is and not by way of a crate
//! for every platform.
//!
//! A signal means "look", nothing more. Signals are merged per account until they are taken; the debounce is the
//! caller's. One inotify instance serves all accounts, since a user has only 128. What inotify cannot see (another
//! machine's writes, a parent directory renamed) is left to the look at every poll, which also calls
//! [`Watch::rearm`].

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::mem::{self, MaybeUninit};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::net::unix::pipe::Receiver;

use super::trail::{LONGEST_CHAIN, trail};
use crate::model::AccountName;

/// Whose files they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An account's credential file and what tells whose login it is.
    Account(AccountName),
    /// Directories in which an account's local files lie: whatever changes in them matters.
    Local(AccountName),
    /// The config file.
    Config,
    /// Places where a login may appear.
    Discovery,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(name) | Self::Local(name) => name.fmt(f),
            Self::Config => f.write_str("(the config file)"),
            Self::Discovery => f.write_str("(logins that may appear)"),
        }
    }
}

/// What matters of a directory and its entries: whatever can make a path lead to something else, or to other contents.
const CHANGES: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    // Two paths can be one directory, which has one watch.
    .union(WatchFlags::MASK_ADD);
/// What matters besides where files grow under the hands of their writer, as a client's sessions do.
const GROWTH: WatchFlags = WatchFlags::MODIFY;

/// The watch over every file that matters. Needs a running runtime.
#[derive(Debug, Default)]
pub struct Watch {
    paths: BTreeMap<Subject, Vec<PathBuf>>,
    /// `None` when the system would not give one; tried again at every [`Self::rearm`].
    inotify: Option<Receiver>,
    armed: BTreeMap<PathBuf, Armed>,
    unhealthy: BTreeSet<Subject>,
    interest: Interest,
    /// Whose files may have changed since that was last taken.
    changed: BTreeSet<Subject>,
    /// Watched directories that were removed or renamed: their watches are void.
    lost: BTreeSet<PathBuf>,
}

/// A directory under watch.
#[derive(Debug)]
struct Armed {
    /// The kernel's number for it, never used twice.
    watch: i32,
    flags: WatchFlags,
    /// The device and inode it had.
    identity: (u64, u64),
}

/// Which names matter to whom, by directory. The empty name stands for every entry.
type Interest = BTreeMap<PathBuf, Vec<(OsString, Subject)>>;

impl Watch {
    /// A watch over nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches `paths` for `subject`, instead of what it watched before. They need not exist. Follows these paths only:
    /// a thousand accounts are set up one by one.
    pub fn watch(&mut self, subject: Subject, paths: Vec<PathBuf>) {
        let only = subject.clone();
        self.paths.insert(subject, paths);
        self.settle(Some(&only));
    }

    /// Stops watching for `subject`.
    pub fn forget(&mut self, subject: &Subject) {
        self.paths.remove(subject);
        self.unhealthy.remove(subject);
        self.settle(Some(subject));
        self.changed.remove(subject);
    }

    /// Waits until files may have changed and says whose; at least one subject. Safe to cancel: what was not taken
    /// comes with the next call.
    pub async fn changed(&mut self) -> BTreeSet<Subject> {
        while self.changed.is_empty() {
            match &self.inotify {
                // An instance that is broken says so when it is read.
                Some(inotify) => drop(inotify.readable().await),
                None => std::future::pending().await,
            }
            self.hear();
        }
        self.rearm();
        mem::take(&mut self.changed)
    }

    /// Whether changes of this subject's files are seen as they happen.
    pub fn healthy(&self, subject: &Subject) -> bool {
        !self.unhealthy.contains(subject)
    }

    /// Accounts for which it is not so.
    pub fn unhealthy(&self) -> impl Iterator<Item = &AccountName> {
        self.unhealthy.iter().filter_map(|subject| match subject {
            Subject::Account(name) => Some(name),
            Subject::Local(_) | Subject::Config | Subject::Discovery => None,
        })
    }

    /// Follows the paths anew and moves the watches to where they lead now. Done with every change by itself; calling
    /// it at polls catches what went unseen and mends a watch the system had refused.
    pub fn rearm(&mut self) {
        self.settle(None);
    }

    /// Takes in every event that has come.
    fn hear(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(inotify, &mut buffer);
        let mut said = Vec::new();
        let error = loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                    said.push((event.wd(), event.events(), name));
                }
                Err(Errno::INTR) => {}
                Err(error) => break error,
            }
        };
        // Has tokio notice that nothing is left. What came meanwhile is longer than a byte, and so stays.
        let _ = inotify.try_read(&mut [0]);
        for (watch, what, name) in said {
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.suspect_everything();
            }
            for (dir, _) in self.armed.iter().filter(|(_, armed)| armed.watch == watch) {
                let (changed, lost) = meaning(&self.interest, dir, name.as_deref(), what);
                self.changed.extend(changed);
                self.lost.extend(lost);
            }
        }
        if error != Errno::AGAIN {
            self.suspect_everything();
            self.armed.clear();
            self.inotify = None;
        }
    }

    /// Events were dropped, or could not be read: anything may have happened.
    fn suspect_everything(&mut self) {
        self.changed.extend(self.paths.keys().cloned());
    }

    /// Follows the paths of one subject, or of all, and moves the watches.
    fn settle(&mut self, only: Option<&Subject>) {
        // Of a watch that goes, what it had to say is lost.
        self.hear();
        // What appears while the watches are being set is seen by following the paths again afterwards.
        for _ in 0..LONGEST_CHAIN {
            let followed = self.follow(only);
            let concerned = |subject: &Subject| only.is_none_or(|only| only == subject);
            for (dir, names) in &mut self.interest {
                let kept = followed.get(dir);
                for place in names.extract_if(.., |(_, subject)| concerned(subject)) {
                    // A path that leads elsewhere has changed, and the watch that saw it may go before it is heard.
                    if !kept.is_some_and(|kept| kept.contains(&place)) {
                        self.changed.insert(place.1);
                    }
                }
            }
            for (dir, names) in &followed {
                let of_all = self.interest.entry(dir.clone()).or_default();
                of_all.reserve_exact(names.len());
                of_all.extend(names.iter().cloned());
            }
            self.interest.retain(|_, names| !names.is_empty());
            let refused = self.arm(&followed);
            if self.follow(only) == followed {
                self.report(only, refused);
                return;
            }
        }
    }

    /// Everything that matters now, to one subject or to all.
    fn follow(&self, only: Option<&Subject>) -> Interest {
        let mut interest = Interest::new();
        for (subject, paths) in self.paths.iter().filter(|(subject, _)| only.is_none_or(|only| only == *subject)) {
            for (dir, name) in paths.iter().flat_map(|path| trail(path)) {
                interest.entry(dir).or_default().push((name, subject.clone()));
            }
            let wants_entries = matches!(subject, Subject::Local(_));
            for dir in paths.iter().filter(|path| wants_entries && path.is_dir()) {
                interest.entry(dir.clone()).or_default().push((OsString::new(), subject.clone()));
            }
        }
        interest
    }

    /// Watches the directories of `followed`, and none that matters to nobody any more; returns whose directories the
    /// system refused, and why.
    fn arm(&mut self, followed: &Interest) -> BTreeMap<Subject, String> {
        let lost = mem::take(&mut self.lost);
        let identities: BTreeMap<_, _> = followed.keys().map(|dir| (dir, identity(dir))).collect();
        let stays = |dir: &PathBuf, armed: &mut Armed| {
            let is_same = identities.get(dir).is_none_or(|identity| *identity == Some(armed.identity));
            !lost.contains(dir) && is_same && self.interest.contains_key(dir)
        };
        let gone: Vec<_> = self.armed.extract_if(.., |dir, armed| !stays(dir, armed)).collect();
        for (dir, gone) in gone {
            let names = self.interest.get(&dir).into_iter().flatten();
            self.changed.extend(names.map(|(_, subject)| subject.clone()));
            if let (Some(inotify), false) = (&self.inotify, self.armed.values().any(|armed| armed.watch == gone.watch))
            {
                // It may be gone already, which is as good.
                let _ = inotify::remove_watch(inotify, gone.watch);
            }
        }
        let mut refused = BTreeMap::new();
        for (dir, names) in followed {
            let grows = names.iter().any(|(_, subject)| matches!(subject, Subject::Local(_)));
            let flags = if grows { CHANGES | GROWTH } else { CHANGES };
            if self.armed.get(dir).is_some_and(|armed| armed.flags.contains(flags)) {
                continue;
            }
            let watch = match &self.inotify {
                Some(inotify) => Ok(inotify),
                None => start().map(|started| &*self.inotify.insert(started)),
            }
            .and_then(|inotify| Ok(inotify::add_watch(inotify, dir, flags)?));
            match watch {
                Ok(watch) => {
                    let identity = identities[dir].unwrap_or_default();
                    self.armed.insert(dir.clone(), Armed { watch, flags, identity });
                }
                Err(error) => {
                    let why = refusal(dir, &error);
                    refused.extend(names.iter().map(|(_, subject)| (subject.clone(), why.clone())));
                }
            }
        }
        refused
    }

    /// Says once of each subject that its watch does not work, and once that it does again.
    fn report(&mut self, only: Option<&Subject>, refused: BTreeMap<Subject, String>) {
        for (subject, why) in &refused {
            if !self.unhealthy.contains(subject) {
                tracing::warn!(account = %subject, "{why}; until then changes of its file are seen at polls only");
            }
        }
        self.unhealthy.retain(|subject| {
            let is_mended = only.is_none_or(|only| only == subject) && !refused.contains_key(subject);
            if is_mended {
                tracing::info!(account = %subject, "changes of its file are seen as they happen again");
            }
            !is_mended
        });
        self.unhealthy.extend(refused.into_keys());
    }
}

/// The one inotify instance, made when first needed.
fn start() -> io::Result<Receiver> {
    let instance = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    // It reads like a pipe: `WouldBlock` until an event came.
    Receiver::from_owned_fd_unchecked(instance)
}

fn refusal(dir: &Path, error: &io::Error) -> String {
    let dir = dir.display();
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC) => {
            format!("{dir} cannot be watched: too many inotify watches; raise fs.inotify.max_user_watches")
        }
        Some(Errno::MFILE) => {
            format!("{dir} cannot be watched: too many inotify instances; raise fs.inotify.max_user_instances")
        }
        _ => format!("{dir} cannot be watched: {error}"),
    }
}

/// Whose files may have changed, and which watched directories are not what they were, by an event of the watched
/// directory `dir` and maybe of an entry in it.
fn meaning(
    interest: &Interest,
    dir: &Path,
    name: Option<&OsStr>,
    what: ReadFlags,
) -> (BTreeSet<Subject>, BTreeSet<PathBuf>) {
    const MOVES: ReadFlags = ReadFlags::DELETE
        .union(ReadFlags::MOVED_FROM)
        .union(ReadFlags::MOVED_TO)
        .union(ReadFlags::DELETE_SELF)
        .union(ReadFlags::MOVE_SELF)
        .union(ReadFlags::IGNORED)
        .union(ReadFlags::UNMOUNT);
    let (mut changed, mut lost) = (BTreeSet::new(), BTreeSet::new());
    let path = name.map_or_else(|| dir.to_owned(), |name| dir.join(name));
    let moves = what.intersects(MOVES);
    for (dir, names) in interest {
        // Of a watched directory itself anything may be meant: a watch dies with it or walks away with it.
        if *dir == path || (moves && dir.starts_with(&path)) {
            changed.extend(names.iter().map(|(_, subject)| subject.clone()));
            lost.extend(moves.then(|| dir.clone()));
        }
    }
    if let Some(name) = name {
        let matters = |(of, _): &&(OsString, Subject)| of == name || of.is_empty();
        let names = interest.get(dir).into_iter().flatten();
        changed.extend(names.filter(matters).map(|(_, subject)| subject.clone()));
    }
    (changed, lost)
}

fn identity(dir: &Path) -> Option<(u64, u64)> {
    fs::metadata(dir).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk;

    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::Duration;

    use tempfile::TempDir;

    fn name(text: &str) -> Subject {
        Subject::Account(AccountName::parse(text).unwrap())
    }

    /// A directory under its real name.
    fn place() -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap();
        (dir, path)
    }

    fn watching(path: &Path) -> Watch {
        let mut watch = Watch::new();
        watch.watch(name("a"), vec![path.to_owned()]);
        assert!(watch.healthy(&name("a")));
        watch
    }

    async fn next(watch: &mut Watch) -> BTreeSet<Subject> {
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("no signal came")
    }

    /// Replaces a file as the vendor's CLI does.
    fn rename_over(path: &Path, text: &str) {
        disk::store_private(path, text.as_bytes()).unwrap();
    }

    /// Takes signals until the file has been seen to hold `text`, as a caller would who looks after each.
    async fn until_seen(watch: &mut Watch, path: &Path, text: &str) {
        while fs::read_to_string(path).ok().as_deref() != Some(text) {
            next(watch).await;
        }
    }

    /// Everything signalled so far: events come in order, so what happened before the marker came before its signal.
    async fn signalled(watch: &mut Watch, dir: &Path, marker: &str) -> BTreeSet<Subject> {
        watch.watch(name(marker), vec![dir.join(marker)]);
        rename_over(&dir.join(marker), "x");
        let mut signalled = BTreeSet::new();
        while !signalled.contains(&name(marker)) {
            signalled.append(&mut next(watch).await);
        }
        watch.forget(&name(marker));
        signalled.remove(&name(marker));
        signalled
    }

    #[tokio::test]
    async fn replacement_and_in_place_writing_are_seen_and_neighbours_are_not() {
        let (_dir, dir) = place();
        let path = dir.join("cred");
        rename_over(&path, "1");
        let mut watch = watching(&path);
        let changes: [(&str, &dyn Fn()); 4] = [
            ("replaced", &|| rename_over(&path, "2")),
            ("written", &|| fs::write(&path, "3").unwrap()),
            ("closed", &|| fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap()),
            ("removed", &|| fs::remove_file(&path).unwrap()),
        ];
        for (marker, change) in changes {
            change();
            assert_eq!(signalled(&mut watch, &dir, marker).await, BTreeSet::from([name("a")]), "{marker}");
        }
        rename_over(&dir.join("neighbour"), "x");
        fs::create_dir(dir.join(".oauth_refresh.lock")).unwrap();
        assert_eq!(signalled(&mut watch, &dir, "neighbours").await, BTreeSet::new());
    }

    #[tokio::test]
    async fn reading_is_no_change() {
        let (_dir, dir) = place();
        let path = dir.join("cred");
        rename_over(&path, "1");
        let mut watch = watching(&path);
        for _ in 0..10 {
            fs::read(&path).unwrap();
            fs::read_dir(&dir).unwrap().for_each(drop);
        }
        assert_eq!(signalled(&mut watch, &dir, "read").await, BTreeSet::new());
    }

    #[tokio::test]
    async fn a_replaced_target_and_a_swapped_link_are_seen_behind_any_chain() {
        let (_dir, dir) = place();
        for sub in ["link", "hop", "real"] {
            fs::create_dir(dir.join(sub)).unwrap();
        }
        let (path, target) = (dir.join("link/cred"), dir.join("real/cred"));
        rename_over(&target, "1");
        symlink("../real/cred", dir.join("hop/cred")).unwrap();
        symlink(dir.join("hop/cred"), &path).unwrap();
        let mut watch = watching(&path);
        rename_over(&target, "2");
        until_signal_and(&mut watch, &path, "2").await;

        rename_over(&dir.join("real/other"), "3");
        symlink("../real/other", dir.join("hop/new")).unwrap();
        fs::rename(dir.join("hop/new"), dir.join("hop/cred")).unwrap();
        until_signal_and(&mut watch, &path, "3").await;
        rename_over(&dir.join("real/other"), "4");
        until_signal_and(&mut watch, &path, "4").await;
    }

    async fn until_signal_and(watch: &mut Watch, path: &Path, text: &str) {
        next(watch).await;
        until_seen(watch, path, text).await;
    }

    #[tokio::test]
    async fn a_directory_that_comes_goes_moves_and_comes_again_is_followed() {
        let (_dir, dir) = place();
        let (outer, inner) = (dir.join("x"), dir.join("x/y"));
        let path = inner.join("cred");
        let mut watch = watching(&path);
        for text in ["1", "2"] {
            fs::create_dir_all(&inner).unwrap();
            rename_over(&path, text);
            until_signal_and(&mut watch, &path, text).await;
            rename_over(&path, "again");
            until_signal_and(&mut watch, &path, "again").await;
            fs::remove_dir_all(&outer).unwrap();
            next(&mut watch).await;
        }
        fs::create_dir_all(&inner).unwrap();
        rename_over(&path, "3");
        until_signal_and(&mut watch, &path, "3").await;
        // Renamed away: what happens in the old directory is not this file's any more.
        fs::rename(&inner, outer.join("old")).unwrap();
        fs::create_dir(&inner).unwrap();
        rename_over(&path, "4");
        until_signal_and(&mut watch, &path, "4").await;
        rename_over(&path, "5");
        until_signal_and(&mut watch, &path, "5").await;
    }

    #[tokio::test]
    async fn a_directory_made_anew_under_its_old_inode_number_is_watched_anew() {
        let (_dir, dir) = place();
        let sub = dir.join("sub");
        let path = sub.join("cred");
        fs::create_dir(&sub).unwrap();
        let mut watch = watching(&path);
        fs::remove_dir(&sub).unwrap();
        fs::create_dir(&sub).unwrap();
        // Many file systems give the number out again at once; this makes it so on all.
        watch.armed.get_mut(&sub).unwrap().identity = identity(&sub).unwrap();
        assert_eq!(signalled(&mut watch, &dir, "removed").await, BTreeSet::from([name("a")]));
        rename_over(&path, "1");
        assert_eq!(signalled(&mut watch, &dir, "written").await, BTreeSet::from([name("a")]));
    }

    #[tokio::test]
    async fn one_account_is_told_from_another_and_a_forgotten_account_gets_none() {
        let (_dir, dir) = place();
        let (a, b) = (dir.join("a"), dir.join("b"));
        let mut watch = watching(&a);
        watch.watch(name("b"), vec![b.clone()]);
        watch.forget(&name("a"));
        for n in 0..50 {
            rename_over(&a, &n.to_string());
        }
        rename_over(&b, "x");
        assert_eq!(signalled(&mut watch, &dir, "b-only").await, BTreeSet::from([name("b")]));
        assert_eq!(watch.armed.len(), 1);
        watch.forget(&name("b"));
        assert!(watch.armed.is_empty());
    }

    #[tokio::test]
    async fn every_entry_of_a_local_directory_matters_as_soon_as_there_is_one() {
        let (_dir, dir) = place();
        let (local, day) = (Subject::Local(AccountName::parse("a").unwrap()), dir.join("sessions/14"));
        let mut watch = Watch::new();
        watch.watch(local.clone(), vec![day.clone(), dir.join("sessions")]);
        let expected = BTreeSet::from([local.clone()]);
        fs::create_dir(dir.join("sessions")).unwrap();
        assert_eq!(next(&mut watch).await, expected, "the directory itself");
        fs::create_dir(&day).unwrap();
        assert_eq!(next(&mut watch).await, expected, "a new day");
        let file = day.join("rollout-1.jsonl");
        fs::write(&file, "1").unwrap();
        assert_eq!(signalled(&mut watch, &dir, "created").await, expected, "a new file");
        let before = signalled(&mut watch, &dir, "quiet").await;
        assert_eq!(before, BTreeSet::new(), "nothing happened");
        fs::write(&file, "2").unwrap();
        assert_eq!(signalled(&mut watch, &dir, "written").await, expected, "a file that grows");
        let _ = fs::read(&file).unwrap();
        assert_eq!(signalled(&mut watch, &dir, "read").await, BTreeSet::new(), "reading is no news");
    }

    #[test]
    fn a_lost_directory_is_told_from_a_lost_file() {
        let account = |text: &str| BTreeSet::from([name(text)]);
        let interest: Interest = [
            (PathBuf::from("/h/x"), vec![(OsString::from("cred"), name("a"))]),
            (PathBuf::from("/h/z"), vec![(OsString::from("cred"), name("b"))]),
        ]
        .into();
        let heard =
            |dir: &str, name: Option<&str>, what| meaning(&interest, Path::new(dir), name.map(OsStr::new), what);
        let nothing = BTreeSet::<PathBuf>::new;
        let both: BTreeSet<_> = account("a").union(&account("b")).cloned().collect();

        assert_eq!(heard("/h/x", Some("cred"), ReadFlags::DELETE), (account("a"), nothing()));
        assert_eq!(heard("/h/x", None, ReadFlags::DELETE_SELF), (account("a"), BTreeSet::from(["/h/x".into()])));
        assert_eq!(heard("/h/x", None, ReadFlags::IGNORED), (account("a"), BTreeSet::from(["/h/x".into()])));
        assert_eq!(heard("/", Some("h"), ReadFlags::MOVED_FROM).0, both);
        assert_eq!(heard("/h", Some("xx"), ReadFlags::DELETE), (BTreeSet::new(), nothing()));
        assert_eq!(heard("/h/x", None, ReadFlags::ATTRIB), (account("a"), nothing()));
        assert_eq!(heard("/h/x", Some("other"), ReadFlags::CLOSE_WRITE), (BTreeSet::new(), nothing()));
    }

    /// As many events as the kernel keeps, and more, while nobody listens.
    #[tokio::test]
    async fn lost_events_make_everything_suspect() {
        let (_dir, dir) = place();
        let mut watch = watching(&dir.join("cred"));
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        for n in 0..=limit.trim().parse::<u32>().unwrap().min(100_000) / 2 {
            let file = dir.join(if n % 2 == 0 { "even" } else { "odd" });
            fs::write(&file, "x").unwrap();
            fs::remove_file(file).unwrap();
        }
        rename_over(&dir.join("cred"), "missed");
        assert_eq!(next(&mut watch).await, BTreeSet::from([name("a")]));
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_watched_makes_the_account_unhealthy_until_it_can() {
        let (_dir, dir) = place();
        let mut watch = watching(&dir.join("cred"));
        let why = refusal(&dir, &Errno::NOSPC.into());
        assert!(why.contains("max_user_watches"), "{why}");
        watch.report(None, BTreeMap::from([(name("a"), why)]));
        assert!(!watch.healthy(&name("a")));
        watch.rearm();
        assert!(watch.healthy(&name("a")));
    }

    /// The watch that would tell is the one that is moved; so the move itself must tell.
    #[tokio::test]
    async fn a_path_that_leads_elsewhere_is_told_of_by_whoever_finds_it() {
        let (_dir, dir) = place();
        for sub in ["one", "two"] {
            fs::create_dir(dir.join(sub)).unwrap();
        }
        symlink("one", dir.join("link")).unwrap();
        let mut watch = watching(&dir.join("link/cred"));
        symlink("two", dir.join("new")).unwrap();
        fs::rename(dir.join("new"), dir.join("link")).unwrap();
        watch.inotify = Some(start().unwrap());
        watch.rearm();
        assert_eq!(next(&mut watch).await, BTreeSet::from([name("a")]));
    }
}

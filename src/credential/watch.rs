//! Tells when a file that matters to an account may have changed, however the path leads to it.
//!
//! Watches directories, never files: a watch on a file falls silent for ever once a rename replaces it. Watched are
//! the directory a file lies in (or the nearest one that exists), and the directory of every symlink on the way, since
//! a link that is swapped moves the file without touching it. Only names that matter in those directories are
//! signalled, and no mere reading: inotify reports that too, quotad's own included.
//!
//! A signal means "look", nothing more. Signals are merged per account until they are taken; the debounce is the
//! caller's. One inotify instance serves all accounts, since a user has only 128. What inotify cannot see (another
//! machine's writes, a parent directory renamed) is left to the look at every poll, which also calls
//! [`Watch::rearm`].

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::{fmt, fs};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

use crate::disk;
use crate::model::AccountName;

/// As many symlinks as the kernel follows in one path.
const LONGEST_CHAIN: usize = 40;

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

/// The watch over every file that matters.
#[derive(Debug)]
pub struct Watch {
    paths: BTreeMap<Subject, Vec<PathBuf>>,
    /// `None` when the system would not give one; tried again at every [`Self::rearm`].
    inotify: Option<RecommendedWatcher>,
    /// Directories under watch, with the device and inode they had.
    armed: BTreeMap<PathBuf, (u64, u64)>,
    unhealthy: BTreeSet<Subject>,
    interest: watch::Sender<Interest>,
    news: watch::Sender<News>,
    arrived: watch::Receiver<News>,
}

/// Which names matter to whom, by directory. The empty name stands for every entry.
type Interest = BTreeMap<PathBuf, Vec<(OsString, Subject)>>;

/// What was seen since it was last taken.
#[derive(Debug, Default)]
struct News {
    changed: BTreeSet<Subject>,
    /// Watched directories that were removed or renamed: their watches are void.
    lost: BTreeSet<PathBuf>,
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

impl Watch {
    /// A watch over nothing yet.
    pub fn new() -> Self {
        let (news, arrived) = watch::channel(News::default());
        Self {
            paths: BTreeMap::new(),
            inotify: None,
            armed: BTreeMap::new(),
            unhealthy: BTreeSet::new(),
            interest: watch::Sender::default(),
            news,
            arrived,
        }
    }

    /// Watches `paths` for `subject`, instead of what it watched before. They need not exist. Follows these paths only:
    /// a thousand accounts are set up one by one.
    pub fn watch(&mut self, subject: Subject, paths: Vec<PathBuf>) {
        let only = subject.clone();
        self.paths.insert(subject, paths);
        self.settle(Some(&only), &BTreeSet::new());
    }

    /// Stops watching for `subject`.
    pub fn forget(&mut self, subject: &Subject) {
        self.paths.remove(subject);
        self.unhealthy.remove(subject);
        self.settle(Some(subject), &BTreeSet::new());
    }

    /// Waits until files may have changed and says whose; at least one subject. Safe to cancel: what was not taken
    /// comes with the next call.
    pub async fn changed(&mut self) -> BTreeSet<Subject> {
        loop {
            if self.arrived.changed().await.is_err() {
                // Cannot happen, since `self.news` lives; never claim a change for it.
                std::future::pending::<()>().await;
            }
            if !self.arrived.borrow().changed.is_empty() {
                self.rearm();
                return self.take(|news| &mut news.changed);
            }
        }
    }

    /// Whether changes of this subject's files are seen as they happen.
    pub fn healthy(&self, subject: &Subject) -> bool {
        !self.unhealthy.contains(subject)
    }

    /// Follows the paths anew and moves the watches to where they lead now. Done with every change by itself; calling
    /// it at polls catches what went unseen and mends a watch the system had refused.
    pub fn rearm(&mut self) {
        let lost = self.take(|news| &mut news.lost);
        self.settle(None, &lost);
    }

    /// Follows the paths of one subject, or of all, and moves the watches.
    fn settle(&mut self, only: Option<&Subject>, lost: &BTreeSet<PathBuf>) {
        let mut lost = Some(lost);
        // What appears while the watches are being set is seen by following the paths again afterwards.
        for _ in 0..LONGEST_CHAIN {
            let followed = self.follow(only);
            self.interest.send_modify(|interest| {
                interest.retain(|_, names| {
                    names.retain(|(_, subject)| only.is_some_and(|only| only != subject));
                    !names.is_empty()
                });
                for (dir, names) in &followed {
                    interest.entry(dir.clone()).or_default().extend(names.iter().cloned());
                }
            });
            let refused = self.arm(&followed, lost.take());
            if self.follow(only) == followed {
                self.report(only, refused);
                return;
            }
        }
    }

    fn take<T: Default>(&self, part: impl FnOnce(&mut News) -> &mut T) -> T {
        let mut taken = T::default();
        self.news.send_if_modified(|news| {
            taken = std::mem::take(part(news));
            false
        });
        taken
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
    fn arm(&mut self, followed: &Interest, lost: Option<&BTreeSet<PathBuf>>) -> BTreeMap<Subject, String> {
        let identities: BTreeMap<_, _> = followed.keys().map(|dir| (dir, identity(dir))).collect();
        let Self { armed, inotify, interest, news, .. } = self;
        armed.retain(|dir, known| {
            let is_lost = lost.is_some_and(|lost| lost.contains(dir));
            let is_same = identities.get(dir).is_none_or(|identity| *identity == Some(*known));
            let stays = !is_lost && is_same && interest.borrow().contains_key(dir);
            if let (false, Some(inotify)) = (stays, inotify.as_mut()) {
                // Its kernel watch may be gone already, which is as good.
                let _ = inotify.unwatch(dir);
            }
            stays
        });
        let mut refused = BTreeMap::new();
        for (dir, names) in followed {
            if armed.contains_key(dir) {
                continue;
            }
            match start(inotify, interest, news).and_then(|it| it.watch(dir, RecursiveMode::NonRecursive)) {
                Ok(()) => {
                    armed.insert(dir.clone(), identities[dir].unwrap_or_default());
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
fn start<'w>(
    inotify: &'w mut Option<RecommendedWatcher>,
    interest: &watch::Sender<Interest>,
    news: &watch::Sender<News>,
) -> notify::Result<&'w mut RecommendedWatcher> {
    if inotify.is_none() {
        let (interest, news) = (interest.subscribe(), news.clone());
        let on_event = move |event| pass_on(&event, &interest.borrow(), &news);
        *inotify = Some(notify::recommended_watcher(on_event)?);
    }
    inotify.as_mut().ok_or_else(|| notify::Error::generic("no watcher"))
}

fn refusal(dir: &Path, error: &notify::Error) -> String {
    let dir = dir.display();
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            format!("{dir} cannot be watched: too many inotify watches; raise fs.inotify.max_user_watches")
        }
        notify::ErrorKind::Io(cause) if cause.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            format!("{dir} cannot be watched: too many inotify instances; raise fs.inotify.max_user_instances")
        }
        _ => format!("{dir} cannot be watched: {error}"),
    }
}

/// Runs on notify's thread for every event: keeps what matters.
fn pass_on(event: &notify::Result<Event>, interest: &Interest, news: &watch::Sender<News>) {
    let (mut changed, mut lost) = (BTreeSet::new(), BTreeSet::new());
    match event {
        Ok(event) if is_mere_reading(event.kind) => return,
        Ok(event) if !event.need_rescan() => {
            let moves = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
            for path in &event.paths {
                for (dir, names) in interest {
                    // Of a watched directory itself anything may be meant: a watch dies with it or walks away with it.
                    if dir == path || (moves && dir.starts_with(path)) {
                        changed.extend(names.iter().map(|(_, subject)| subject.clone()));
                        lost.extend(moves.then(|| dir.clone()));
                    }
                }
                if let (Some(dir), Some(name)) = (path.parent(), path.file_name()) {
                    let matters = |(of, _): &&(OsString, Subject)| of == name || of.is_empty();
                    let names = interest.get(dir).into_iter().flatten();
                    changed.extend(names.filter(matters).map(|(_, subject)| subject.clone()));
                }
            }
        }
        // Events were dropped, or could not be read: anything may have happened.
        Ok(_) | Err(_) => changed.extend(interest.values().flatten().map(|(_, subject)| subject.clone())),
    }
    if changed.is_empty() {
        return;
    }
    news.send_if_modified(|news| {
        let before = (news.changed.len(), news.lost.len());
        news.changed.append(&mut changed);
        news.lost.append(&mut lost);
        (news.changed.len(), news.lost.len()) != before
    });
}

fn is_mere_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// Every place at which a change can make `path` lead to something else, as a directory and the name in it: each
/// symlink on the way, then the file itself or, short of it, the first thing that is missing.
pub(super) fn trail(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut places = Vec::new();
    let mut here = PathBuf::from("/");
    let mut ahead: Vec<Step> = steps(path).collect();
    ahead.reverse();
    while let Some(step) = ahead.pop() {
        let name = match step {
            Step::Root => {
                here = PathBuf::from("/");
                continue;
            }
            Step::Up => {
                here.pop();
                continue;
            }
            Step::Into(name) => name,
        };
        let next = here.join(&name);
        match fs::symlink_metadata(&next) {
            Ok(found) if found.is_symlink() && places.len() < LONGEST_CHAIN => {
                let Ok(target) = fs::read_link(&next) else { continue };
                let onward: Vec<Step> = steps(&target).collect();
                ahead.extend(onward.into_iter().rev());
                // A link in a directory of the system's (`/home` in `/`) hardly ever moves, but everyone reads there.
                if fs::metadata(&here).is_ok_and(|dir| disk::is_own(&dir)) {
                    places.push((here.clone(), name));
                }
            }
            Ok(found) if found.is_dir() && !ahead.is_empty() => here = next,
            _ => {
                places.push((here, name));
                break;
            }
        }
    }
    places
}

/// One part of a path that has an effect.
enum Step {
    Root,
    Up,
    Into(OsString),
}

fn steps(path: &Path) -> impl Iterator<Item = Step> {
    path.components().filter_map(|part| match part {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Into(OsStr::to_owned(name))),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

fn identity(dir: &Path) -> Option<(u64, u64)> {
    fs::metadata(dir).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        watch.armed.insert(sub.clone(), identity(&sub).unwrap());
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
    fn lost_events_make_everything_suspect_and_a_lost_directory_is_told_from_a_lost_file() {
        let account = |text: &str| BTreeSet::from([name(text)]);
        let interest: Interest = [
            (PathBuf::from("/h/x"), vec![(OsString::from("cred"), name("a"))]),
            (PathBuf::from("/h/z"), vec![(OsString::from("cred"), name("b"))]),
        ]
        .into();
        let heard = |event: notify::Result<Event>| {
            let news = watch::Sender::new(News::default());
            pass_on(&event, &interest, &news);
            let heard = news.borrow();
            (heard.changed.clone(), heard.lost.clone())
        };
        let event = |kind, path: &str| Ok(Event::new(kind).add_path(path.into()));
        let removed = EventKind::Remove(notify::event::RemoveKind::Any);
        let nothing = BTreeSet::<PathBuf>::new;
        let both: BTreeSet<_> = account("a").union(&account("b")).cloned().collect();

        let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        assert_eq!(heard(Ok(overflow)), (both.clone(), nothing()));
        assert_eq!(heard(Err(notify::Error::generic("x"))), (both.clone(), nothing()));
        assert_eq!(heard(event(removed, "/h/x/cred")), (account("a"), nothing()));
        assert_eq!(heard(event(removed, "/h/x")), (account("a"), BTreeSet::from(["/h/x".into()])));
        assert_eq!(heard(event(removed, "/h")).0, both);
        assert_eq!(heard(event(removed, "/h/xx")), (BTreeSet::new(), nothing()));
        let metadata = EventKind::Modify(ModifyKind::Metadata(notify::event::MetadataKind::Any));
        assert_eq!(heard(event(metadata, "/h/x")), (account("a"), nothing()));
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert_eq!(heard(event(opened, "/h/x/cred")), (BTreeSet::new(), nothing()));
    }

    #[test]
    fn a_directory_that_cannot_be_watched_makes_the_account_unhealthy_until_it_can() {
        let (_dir, dir) = place();
        let mut watch = watching(&dir.join("cred"));
        let why = refusal(&dir, &notify::Error::new(notify::ErrorKind::MaxFilesWatch));
        assert!(why.contains("max_user_watches"), "{why}");
        watch.report(None, BTreeMap::from([(name("a"), why)]));
        assert!(!watch.healthy(&name("a")));
        watch.rearm();
        assert!(watch.healthy(&name("a")));
    }

    #[test]
    fn a_trail_names_every_link_and_ends_at_the_file_or_where_it_breaks_off() {
        let (_dir, dir) = place();
        fs::create_dir(dir.join("real")).unwrap();
        symlink("real", dir.join("link")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        let at = |sub: &str, name: &str| (dir.join(sub), OsString::from(name));
        let same = |sub: &str| (dir.clone(), OsString::from(sub));
        assert_eq!(trail(&dir.join("link/cred")), [same("link"), at("real", "cred")]);
        assert_eq!(trail(&dir.join("link/../real/./cred")), [same("link"), at("real", "cred")]);
        assert_eq!(trail(&dir.join("absent/b/cred")), [same("absent")]);
        assert_eq!(trail(&dir.join("loop/cred")).len(), LONGEST_CHAIN + 1, "a loop ends");
    }
}

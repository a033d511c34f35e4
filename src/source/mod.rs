//! Readings that cost no request: what the vendors' own clients leave on this machine.
//!
//! Owns which vendor leaves what where ([`claude_cache`], [`codex_sessions`], [`statusline`]) and the reading of it,
//! beside the loop. Files are opened read-only, regular ones only, and never past a bound; of what they hold nothing
//! but the limits is kept. Never decides whether a reading is believed, shown, or puts a request off: `policy` does.

pub mod claude_cache;
pub mod codex_sessions;
pub mod statusline;

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::OFlags;
use tokio::sync::{mpsc, watch};

use self::claude_cache::ClaudeCache;
use self::codex_sessions::CodexSessions;
use crate::clock::Clock;
use crate::credential::owner::Report;
use crate::model::{AccountName, LocalReading, ProviderId, Whereabouts};
use crate::policy::account::Input;
use crate::policy::time::Stamp;

/// The local files of one account.
#[derive(Debug)]
pub enum LocalFiles {
    /// What Claude Code caches of the usage endpoint's answer.
    Claude(ClaudeCache),
    /// What Codex notes in its session files.
    Codex(CodexSessions),
}

impl LocalFiles {
    /// The files that belong to a login; `None` where the vendor's client leaves none.
    pub fn of(provider: ProviderId, credentials: &Whereabouts, home: &Path) -> Option<Self> {
        let dir = credentials.file()?.parent()?;
        match provider.as_str() {
            "claude" => Some(Self::Claude(ClaudeCache::new(dir, home))),
            "codex" => Some(Self::Codex(CodexSessions::new(dir))),
            _ => None,
        }
    }

    /// The newest limits they tell of, without windows whose reset has passed; `None` where they tell nothing.
    pub fn read(&mut self, now: Stamp) -> Option<LocalReading> {
        match self {
            Self::Claude(cache) => cache.read(now),
            Self::Codex(sessions) => sessions.read(now).map(|reading| LocalReading { reading, identity: None }),
        }
    }

    /// Whether nothing is to be read that has not been read already, and finding that out takes no time to speak of.
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Claude(cache) => cache.is_settled(),
            Self::Codex(_) => false,
        }
    }

    /// Directories in which anything new is worth a look, as of the last read. Claude's cache is not among them: its
    /// file is written all the time, and the cache in it hardly ever.
    pub fn dirs(&self) -> Vec<PathBuf> {
        match self {
            Self::Claude(_) => Vec::new(),
            Self::Codex(sessions) => sessions.dirs(),
        }
    }
}

/// A handle to the reader of one account's files. Dropping it ends the reader.
#[derive(Debug)]
pub struct SourceHandle {
    orders: mpsc::UnboundedSender<()>,
    dirs: watch::Receiver<Vec<PathBuf>>,
}

impl SourceHandle {
    /// Has the files read; the report is [`Input::Consulted`].
    pub fn consult(&self) {
        let _ = self.orders.send(());
    }

    /// [`LocalFiles::dirs`], if they have changed since this was last asked.
    pub fn new_dirs(&mut self) -> Option<Vec<PathBuf>> {
        self.dirs.has_changed().is_ok_and(|changed| changed).then(|| self.dirs.borrow_and_update().clone())
    }
}

/// Starts the reader. It reads on other threads, since a tree of session files can be slow; where a look shows that
/// nothing is new, that would cost more than the look.
pub fn spawn(
    account: AccountName,
    born: u64,
    mut files: LocalFiles,
    clock: Clock,
    reports: mpsc::UnboundedSender<Report>,
) -> SourceHandle {
    let (orders, mut inbox) = mpsc::unbounded_channel();
    let (publish, mut dirs) = watch::channel(files.dirs());
    dirs.mark_changed();
    tokio::spawn(async move {
        while inbox.recv().await.is_some() {
            let now = clock.now().stamp;
            let said = if files.is_settled() {
                files.read(now)
            } else {
                let read = tokio::task::spawn_blocking(move || {
                    let said = files.read(now);
                    (files, said)
                });
                let Ok((back, said)) = read.await else { return };
                files = back;
                said
            };
            publish.send_if_modified(|known| {
                let dirs = files.dirs();
                let changed = *known != dirs;
                *known = dirs;
                changed
            });
            let report = Report { account: account.clone(), born, input: Input::Consulted(said) };
            if reports.send(report).is_err() {
                return;
            }
        }
    });
    SourceHandle { orders, dirs }
}

/// Opens a regular file for reading. Never waits for a writer of a fifo.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    modified: SystemTime,
    length: u64,
    inode: u64,
}

impl Version {
    fn of(metadata: &Metadata) -> io::Result<Self> {
        Ok(Self { modified: metadata.modified()?, length: metadata.len(), inode: metadata.ino() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::credential::watch::{Subject, Watch};

    #[test]
    fn a_login_in_a_file_of_claude_or_codex_has_local_files() {
        let home = Path::new("/home/u");
        let file = || Whereabouts::File("/home/u/.x/login.json".into());
        let has = |provider, at| LocalFiles::of(ProviderId::new(provider), &at, home).is_some();
        assert!(has("claude", file()) && has("codex", file()));
        assert!(!has("copilot", file()) && !has("codex", Whereabouts::Variable("KEY".into())));
    }

    /// Reader, watch and files together: a session of a new day is noticed and read.
    #[tokio::test]
    async fn a_session_file_of_a_new_day_is_noticed_and_read() {
        let home = tempfile::tempdir().unwrap();
        let name = AccountName::parse("codex").unwrap();
        let at = Whereabouts::File(home.path().join("auth.json"));
        let files = LocalFiles::of(ProviderId::new("codex"), &at, home.path()).unwrap();
        let (report, mut reports) = mpsc::unbounded_channel();
        let mut source = spawn(name.clone(), 7, files, Clock::real(), report);
        let mut watch = Watch::new();
        let now = Stamp::now();
        for (day, used) in [("2026/09/14", 19.0), ("2026/10/01", 23.0)] {
            watch.watch(Subject::Local(name.clone()), source.new_dirs().unwrap());
            let dir = home.path().join("sessions").join(day);
            fs::create_dir_all(&dir).unwrap();
            let slot = json!({"used_percent": used, "window_minutes": 300, "resets_at": now.as_second() + 3600});
            let payload = json!({"type": "token_count", "rate_limits": {"primary": slot}});
            let event = json!({"timestamp": now.to_string(), "payload": payload});
            fs::write(dir.join("rollout-x.jsonl"), event.to_string() + "\n").unwrap();
            let noticed = tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap();
            assert!(noticed.contains(&Subject::Local(name.clone())), "{day}");
            source.consult();
            let Report { born, input, .. } = reports.recv().await.unwrap();
            let Input::Consulted(Some(said)) = input else { panic!("{day}: {input:?}") };
            assert_eq!((born, said.reading.windows[0].used_percent, said.identity), (7, Some(used), None));
        }
    }
}

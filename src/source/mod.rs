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
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::SystemTime;

use rustix::fs::OFlags;

use self::claude_cache::ClaudeCache;
use self::codex_sessions::CodexSessions;
use crate::credential::owner::Reporter;
use crate::model::{LocalReading, ProviderId, Whereabouts};
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

    /// The same without reading, if nothing is to be read that has not been read already, and finding that out takes no
    /// time to speak of.
    fn settled(&self, now: Stamp) -> Option<Input> {
        match self {
            Self::Claude(cache) => cache.is_settled().then(|| Input::Consulted(cache.known(now))),
            Self::Codex(_) => None,
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

/// The reader of one account's files.
#[derive(Debug)]
pub struct Reader {
    files: Arc<Mutex<LocalFiles>>,
    /// The directories told last.
    told: Option<Vec<PathBuf>>,
}

impl Reader {
    /// A reader that has read nothing yet.
    pub fn new(files: LocalFiles) -> Self {
        Self { files: Arc::new(Mutex::new(files)), told: None }
    }

    /// Reads the files as of `now`: what comes of it is [`Input::Consulted`]. `None` where there is something to read:
    /// then it is done on another thread, since a tree of session files can be slow, and reported. Where a look shows
    /// that nothing is new, that would cost more than the look.
    pub fn consult(&self, now: Stamp, reporter: &Reporter) -> Option<Input> {
        if let Some(known) = self.files.try_lock().ok().and_then(|files| files.settled(now)) {
            return Some(known);
        }
        let (files, reporter) = (self.files.clone(), reporter.clone());
        tokio::task::spawn_blocking(move || {
            let said = files.lock().unwrap_or_else(PoisonError::into_inner).read(now);
            reporter.report(Input::Consulted(said));
        });
        None
    }

    /// [`LocalFiles::dirs`], if they have changed since this was last asked.
    pub fn new_dirs(&mut self) -> Option<Vec<PathBuf>> {
        let dirs = match self.files.try_lock() {
            Ok(files) => files.dirs(),
            Err(TryLockError::Poisoned(files)) => files.into_inner().dirs(),
            // They are being read, and about to be told.
            Err(TryLockError::WouldBlock) => return None,
        };
        (self.told.as_ref() != Some(&dirs)).then(|| self.told.insert(dirs).clone())
    }
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
    use tokio::sync::mpsc;

    use super::*;
    use crate::credential::owner::Report;
    use crate::credential::watch::{Subject, Watch};
    use crate::model::AccountName;

    #[test]
    fn a_login_in_a_file_of_claude_or_codex_has_local_files() {
        let home = Path::new("/home/u");
        let file = || Whereabouts::File(Path::new("/home/u/.x/login.json").into());
        let has = |provider, at| LocalFiles::of(ProviderId::new(provider), &at, home).is_some();
        assert!(has("claude", file()) && has("codex", file()));
        assert!(!has("copilot", file()) && !has("codex", Whereabouts::Variable("KEY".into())));
    }

    /// Reader, watch and files together: a session of a new day is noticed and read.
    #[tokio::test]
    async fn a_session_file_of_a_new_day_is_noticed_and_read() {
        let home = tempfile::tempdir().unwrap();
        let name = AccountName::parse("codex").unwrap();
        let at = Whereabouts::File(home.path().join("auth.json").into());
        let files = LocalFiles::of(ProviderId::new("codex"), &at, home.path()).unwrap();
        let (report, mut reports) = mpsc::unbounded_channel();
        let reporter = Reporter { account: name.clone(), born: 7, reports: report };
        let mut source = Reader::new(files);
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
            assert!(source.consult(now, &reporter).is_none(), "{day}");
            let Report { born, input, .. } = reports.recv().await.unwrap();
            let Input::Consulted(Some(said)) = input else { panic!("{day}: {input:?}") };
            assert_eq!((born, said.reading.windows[0].used_percent, said.identity), (7, Some(used), None));
        }
    }
}

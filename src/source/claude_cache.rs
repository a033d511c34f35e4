//! What Claude Code caches of the usage endpoint's answer, in `.claude.json` (providers.md 1.2).
//!
//! Owns the choice of the file and which part of it is believed. The client refreshes the cache when it pleases, gaps
//! of days were seen: so it is a floor ("at least"), and only windows whose reset lies ahead count. The file holds
//! machine ids, project paths and more; nothing but the two members below is looked at.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::Version;
use crate::disk;
use crate::model::{LocalReading, Reading, Source, Window};
use crate::policy::time::Stamp;
use crate::provider::claude::usage;
use crate::provider::field;

/// Larger files are not read.
const LARGEST: u64 = 16 << 20;

/// What one file has cached.
#[derive(Debug, Clone, PartialEq)]
pub struct Cached {
    /// Whose numbers they are.
    pub account: String,
    /// When the client fetched them.
    pub fetched_at: Stamp,
    /// Every window, whether its reset has passed or not.
    pub windows: Vec<Window>,
}

/// What the bytes of a `.claude.json` have cached; `None` where there is no cache, or it belongs to another account
/// than the file's own, as after a switch.
pub fn cached(raw: &[u8]) -> Option<Cached> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct File {
        oauth_account: Option<Value>,
        cached_usage_utilization: Option<Value>,
    }
    let file: File = serde_json::from_slice(raw).ok()?;
    let uuid = |of: &Value| Some(of.get("accountUuid")?.as_str()?.trim().to_owned()).filter(|uuid| !uuid.is_empty());
    let (own, cache) = (file.oauth_account?, file.cached_usage_utilization?);
    let account = uuid(&cache).filter(|account| uuid(&own).as_ref() == Some(account))?;
    let fetched_at = field::timestamp(cache.get("fetchedAtMs")?)?;
    Some(Cached { account, fetched_at, windows: usage::windows(cache.get("utilization")?)? })
}

/// The files that may hold one login's cache.
#[derive(Debug)]
pub struct ClaudeCache {
    files: Box<[CacheFile]>,
}

impl ClaudeCache {
    /// The cache of the login in `dir`: beside it, or in the home. Of two files one is often a small bootstrap file.
    /// The home's may be another login's; the reading says whose it is.
    pub fn new(dir: &Path, home: &Path) -> Self {
        let other = (dir != home).then_some(home);
        let files = [Some(dir), other].into_iter().flatten().map(|dir| CacheFile::new(dir.join(".claude.json")));
        Self { files: files.collect::<Box<[_]>>() }
    }

    /// Whether all its files lie on this machine's disks and are as they were when they were last read, or still absent.
    pub fn is_settled(&self) -> bool {
        self.files.iter().all(|file| file.is_near && file.is_settled())
    }

    /// Reads what has changed: the newest cache that still has a window.
    pub fn read(&mut self, now: Stamp) -> Option<LocalReading> {
        self.files.iter_mut().for_each(CacheFile::renew);
        self.known(now)
    }

    /// The same of what was read last.
    pub fn known(&self, now: Stamp) -> Option<LocalReading> {
        let caches = self.files.iter().filter_map(|file| file.cached.clone());
        let readings = caches.filter_map(|cached| {
            let mut windows = cached.windows;
            windows.retain(|window| window.resets_at.is_some_and(|at| at > now));
            let (read_at, source) = (cached.fetched_at, Source::Cache);
            let reading = Reading { windows, plan: None, read_at, source, earlier: None };
            (!reading.windows.is_empty()).then_some(LocalReading { reading, identity: Some(cached.account) })
        });
        readings.max_by_key(|said| said.reading.read_at)
    }
}

/// One file, remembered until it changes: it can be megabytes of other things.
#[derive(Debug)]
struct CacheFile {
    path: PathBuf,
    /// Its directory, as of the last [`Self::renew`] that found the file another one, or none.
    is_near: bool,
    seen: Option<Version>,
    cached: Option<Cached>,
}

impl CacheFile {
    fn new(path: PathBuf) -> Self {
        Self { path, is_near: false, seen: None, cached: None }
    }

    fn is_settled(&self) -> bool {
        match std::fs::metadata(&self.path) {
            Ok(found) => found.is_file() && Version::of(&found).ok() == self.seen,
            Err(error) => error.kind() == io::ErrorKind::NotFound && self.seen.is_none() && self.lies_near(),
        }
    }

    fn lies_near(&self) -> bool {
        self.path.parent().is_some_and(disk::is_near)
    }

    /// A file that has changed and cannot be read says nothing.
    fn renew(&mut self) {
        let before = self.seen;
        if self.read().is_err() {
            (self.seen, self.cached) = (None, None);
        }
        if !self.is_near || self.seen.is_none() || self.seen != before {
            self.is_near = self.lies_near();
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let (file, metadata) = super::open(&self.path)?;
        let version = Some(Version::of(&metadata)?);
        if version == self.seen {
            return Ok(());
        }
        let mut raw = Vec::new();
        if metadata.len() <= LARGEST {
            file.take(LARGEST).read_to_end(&mut raw)?;
        }
        self.cached = cached(&raw);
        self.seen = version;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_789_400_000;

    fn now() -> Stamp {
        Stamp::from_second(NOW).unwrap()
    }

    /// A `.claude.json` as the client writes it, with much that is nobody's business.
    fn file(owner: &str, cache_of: &str, fetched: i64, resets: [i64; 2]) -> Value {
        json!({
            "userID": "FAKE-MACHINE", "projects": {"/home/u/secret": {"history": []}},
            "oauthAccount": {"accountUuid": owner, "emailAddress": "dev@example.test"},
            "cachedUsageUtilization": {"fetchedAtMs": fetched * 1000, "accountUuid": cache_of, "utilization": {
                "five_hour": {"utilization": 12.0, "resets_at": resets[0]},
                "seven_day": {"utilization": 61.0, "resets_at": resets[1]},
                "limits": [{"kind": "weekly_scoped", "percent": 9, "resets_at": resets[1],
                            "scope": {"model": {"id": null, "display_name": "Fable"}, "surface": null}}],
                "spend": {"enabled": true, "percent": 5, "used": {"amount_minor": 1, "exponent": 2, "currency": "EUR"}}}}
        })
    }

    fn ids(said: Option<&LocalReading>) -> Vec<&str> {
        said.into_iter().flat_map(|said| &said.reading.windows).map(|window| window.id.as_str()).collect()
    }

    #[test]
    fn only_windows_whose_reset_lies_ahead_are_told_as_of_the_fetch() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".claude.json");
        let mut cache = ClaudeCache::new(dir.path(), dir.path());
        assert_eq!(cache.read(now()), None, "no file");
        for (resets, expected) in [
            ([NOW + 60, NOW + 86_400], &["five_hour", "seven_day", "weekly:fable"][..]),
            ([NOW, NOW + 86_400], &["seven_day", "weekly:fable"]),
            ([NOW - 86_400, NOW - 60], &[]),
        ] {
            fs::write(&path, file("u1", "u1", NOW - 7200, resets).to_string()).unwrap();
            let said = cache.read(now());
            assert_eq!(ids(said.as_ref()), expected, "{resets:?}");
            if let Some(said) = said {
                assert_eq!(said.identity.as_deref(), Some("u1"));
                assert_eq!((said.reading.read_at.as_second(), said.reading.source), (NOW - 7200, Source::Cache));
            }
        }
    }

    #[test]
    fn what_is_settled_is_what_was_read_and_a_file_that_went_is_read_once_more_and_then_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".claude.json");
        let mut cache = ClaudeCache::new(dir.path(), dir.path());
        assert!(!cache.is_settled(), "nobody has asked yet where it lies");
        cache.read(now());
        assert!(cache.is_settled(), "absent");
        fs::write(&path, file("u1", "u1", NOW, [NOW + 60, NOW + 60]).to_string()).unwrap();
        assert!(!cache.is_settled(), "it appeared");
        let said = cache.read(now());
        assert!(cache.is_settled() && said.is_some());
        assert_eq!(cache.known(now()), said);
        fs::remove_file(&path).unwrap();
        assert!(!cache.is_settled(), "it went");
        assert_eq!(cache.read(now()), None);
        assert!(cache.is_settled() && cache.known(now()).is_none());
    }

    #[test]
    fn the_cache_of_another_account_than_the_files_own_is_not_believed() {
        let resets = [NOW + 60, NOW + 60];
        assert!(cached(file("u1", "u1", NOW, resets).to_string().as_bytes()).is_some());
        assert_eq!(cached(file("u2", "u1", NOW, resets).to_string().as_bytes()), None, "after a switch");
        for (part, value) in [
            ("/oauthAccount", json!(null)),
            ("/oauthAccount/accountUuid", json!(7)),
            ("/cachedUsageUtilization", json!(null)),
            ("/cachedUsageUtilization/accountUuid", json!("")),
            ("/cachedUsageUtilization/fetchedAtMs", json!("long ago")),
            ("/cachedUsageUtilization/utilization", json!([])),
        ] {
            let mut file = file("u1", "u1", NOW, resets);
            *file.pointer_mut(part).unwrap() = value;
            assert_eq!(cached(file.to_string().as_bytes()), None, "{part}");
        }
        assert_eq!(cached(b"{\"cachedUsage"), None, "half a file");
    }

    #[test]
    fn of_two_files_the_one_that_carries_the_key_speaks_and_of_two_caches_the_newer() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(".claude");
        fs::create_dir(&dir).unwrap();
        let (beside, above) = (dir.join(".claude.json"), home.path().join(".claude.json"));
        let resets = [NOW + 60, NOW + 60];
        let mut cache = ClaudeCache::new(&dir, home.path());
        fs::write(&beside, r#"{"installMethod": "native", "oauthAccount": {"accountUuid": "u1"}}"#).unwrap();
        fs::write(&above, file("u1", "u1", NOW - 300, resets).to_string()).unwrap();
        assert_eq!(cache.read(now()).unwrap().reading.read_at.as_second(), NOW - 300);
        fs::write(&beside, file("u1", "u1", NOW - 100, resets).to_string()).unwrap();
        assert_eq!(cache.read(now()).unwrap().reading.read_at.as_second(), NOW - 100);
    }

    #[test]
    fn an_unchanged_file_is_not_read_again_and_an_oversized_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".claude.json");
        let text = file("u1", "u1", NOW, [NOW + 60, NOW + 60]).to_string();
        fs::write(&path, &text).unwrap();
        let mut cache = ClaudeCache::new(dir.path(), dir.path());
        assert!(cache.read(now()).is_some());
        // The same file to all appearances: what was read of it stands.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, " ".repeat(text.len())).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert!(cache.read(now()).is_some());
        fs::write(&path, text + &" ".repeat(usize::try_from(LARGEST).unwrap())).unwrap();
        assert_eq!(cache.read(now()), None);
    }
}

//! The only owner of `state.db`: gates, fences, marks, readings; in `pool`, what clients reported; in
//! [`mod@history`], what was read in the past; in `alert`, what was told.
//!
//! SQLite in WAL mode. What a wait or a fence rests on is written with `synchronous=FULL` before it takes effect;
//! readings with NORMAL. Never holds a token, in any form but its keyed hash. A file that cannot be understood is
//! set aside, never deleted, and the daemon starts in the cautious state; a file of a newer quotad is refused.

mod alert;
mod examine;
mod file;
pub mod history;
mod pool;
mod reading;

use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::examine::{Examined, examine};
use self::file::{Unreadable, create, open_existing};
use crate::disk::{self, DiskError, Lock, LockError};
use crate::model::{Fingerprint, Reading};
use crate::policy::account::{FileRecord, LoginRecord, Record};
use crate::policy::refresh::{Mark, Marks};

/// The version of the tables. A higher one in the file means a newer quotad wrote it.
const VERSION: i64 = 4;

/// Why the state could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another quotad holds the directory.
    #[error("another quotad{} already uses {}; stop it first, or give this one a `--state-dir` of its own", holder(*.pid), .dir.display())]
    Held {
        /// Its process id, if the lock file says.
        pid: Option<u32>,
        /// The directory.
        dir: PathBuf,
    },
    /// A newer quotad wrote the file.
    #[error("{} was written by a newer quotad (version {found}, this one knows {VERSION}); upgrade quotad, or move the file away", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The directory or the file could not be made or opened.
    #[error("could not open the state: {0}")]
    Disk(#[from] DiskError),
    /// SQLite could not make a new file.
    #[error("could not open {}: {cause}; check the disk and the directory's permissions", .path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        cause: rusqlite::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

/// Why something could not be stored.
#[derive(Debug, thiserror::Error)]
#[error("could not store {what} in state.db: {cause}; it is kept in memory")]
pub struct StoreError {
    what: &'static str,
    cause: rusqlite::Error,
}

/// The open state. Holds the directory's lock for as long as it lives.
#[derive(Debug)]
pub struct State {
    db: Connection,
    dir: PathBuf,
    set_aside: Option<PathBuf>,
    /// What `synchronous` was last set to: FULL for what is durable.
    durable: Cell<Option<bool>>,
    _lock: Lock,
}

impl State {
    /// Opens or creates `state.db` in `dir`, which becomes ours alone until this value is dropped.
    ///
    /// # Errors
    /// [`OpenError`]; an unreadable file is none: it is set aside, see [`Self::set_aside`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        disk::private_dir(dir)?;
        let lock = Lock::acquire(&dir.join("quotad.lock")).map_err(|error| match error {
            LockError::Held { pid, .. } => OpenError::Held { pid, dir: dir.to_owned() },
            LockError::Disk(error) => OpenError::Disk(error),
        })?;
        let path = dir.join("state.db");
        let db = match open_existing(&path) {
            Ok(Some(db)) => db,
            // An earlier start may have come no further than setting the old one aside.
            Ok(None) => create(&path, disk::last_set_aside(&path).as_deref())?,
            Err(Unreadable::Newer(found)) => return Err(OpenError::Newer { path, found }),
            Err(Unreadable::Unopened(cause)) => return Err(OpenError::Database { path, cause }),
            Err(Unreadable::Damaged) => {
                let set_aside = disk::set_aside(&path)?;
                for suffix in ["-wal", "-shm"] {
                    let beside = dir.join(format!("state.db{suffix}"));
                    if beside.exists() {
                        disk::set_aside(&beside)?;
                    }
                }
                create(&path, Some(&set_aside))?
            }
        };
        let set_aside: Option<Vec<u8>> =
            db.query_row("SELECT value FROM meta WHERE name = 'set-aside'", [], |row| row.get(0)).ok();
        let set_aside = set_aside.map(|path| PathBuf::from(OsString::from_vec(path)));
        Ok(Self { db, dir: dir.to_owned(), set_aside, durable: Cell::new(None), _lock: lock })
    }

    /// Where an unreadable file was put, until [`Self::recovered`]. If there is one, nothing stored is known: the
    /// cautious state.
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// What the cautious state asks for is stored for every account: from here on what is stored is known again. A
    /// process that ended before would leave the next one as ignorant, and not know it.
    ///
    /// # Errors
    /// [`StoreError`]: the next start is cautious as well.
    pub fn recovered(&mut self) -> Result<(), StoreError> {
        self.write("that the state is known again", true, |db| {
            db.execute("DELETE FROM meta WHERE name = 'set-aside'", [])
        })?;
        self.set_aside = None;
        Ok(())
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The key of every fingerprint. Made once, from the system's randomness.
    ///
    /// # Errors
    /// When it can be neither read nor stored: without it no token could be recognised after a restart.
    pub fn fingerprint_key(&self) -> Result<[u8; 32], StoreError> {
        let stored: Option<Vec<u8>> = self
            .db
            .query_row("SELECT value FROM meta WHERE name = 'fingerprint-key'", [], |row| row.get(0))
            .optional()
            .map_err(|cause| StoreError { what: "the fingerprint key", cause })?;
        if let Some(key) = stored.and_then(|key| key.try_into().ok()) {
            return Ok(key);
        }
        let key: [u8; 32] = rand::random();
        self.write("the fingerprint key", true, |db| {
            db.execute("INSERT OR REPLACE INTO meta VALUES ('fingerprint-key', ?1)", params![key.as_slice()])
        })?;
        Ok(key)
    }

    /// What is stored for a login.
    pub fn login(&self, key: &str) -> Option<LoginRecord> {
        self.read("SELECT record FROM login WHERE key = ?1", key)
    }

    /// What is stored for a credential file.
    pub fn file(&self, key: &str) -> Option<FileRecord> {
        self.read("SELECT record FROM file WHERE key = ?1", key)
    }

    /// The last good reading of a login.
    pub fn reading(&self, login: &str) -> Option<Reading> {
        self.read("SELECT record FROM reading WHERE login = ?1", login)
    }

    /// What is known of every token.
    pub fn marks(&self) -> Marks {
        let rows = self.db.prepare("SELECT fingerprint, record FROM mark").and_then(|mut statement| {
            statement
                .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?
                .collect::<Result<Vec<_>, _>>()
        });
        let parsed = |(hex, json): (String, String)| {
            Some((Fingerprint::from_hex(&hex)?, serde_json::from_str::<Mark>(&json).ok()?))
        };
        rows.unwrap_or_default().into_iter().filter_map(parsed).collect()
    }

    /// Stores one record; when it is durable, it is on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError`]: the disk is full or gone. The caller keeps the record in memory, or, for a fence, does not
    /// post.
    pub fn store(&self, record: &Record) -> Result<(), StoreError> {
        match record {
            Record::Login { key, record, durable } => {
                let sql = "INSERT INTO login VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET record = excluded.record";
                self.upsert("the gates", *durable, sql, key, record)
            }
            Record::File { key, record } => {
                let sql = "INSERT INTO file VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET record = excluded.record";
                self.upsert("the auth pause", true, sql, key, record)
            }
            Record::Reading(login, reading) => self.store_reading(login, reading).map(|_| ()),
            Record::Mark(fingerprint, mark) => {
                let hex = fingerprint.to_hex();
                let sql =
                    "INSERT INTO mark VALUES (?1, ?2) ON CONFLICT (fingerprint) DO UPDATE SET record = excluded.record";
                self.upsert("a fence or verdict", true, sql, &hex, mark)
            }
        }
    }

    fn upsert<T: Serialize>(
        &self,
        what: &'static str,
        durable: bool,
        sql: &'static str,
        key: &str,
        record: &T,
    ) -> Result<(), StoreError> {
        let json = in_full_steps(record).map_err(|cause| StoreError { what, cause })?;
        self.write(what, durable, |db| db.prepare_cached(sql)?.execute(params![key, json]))
    }

    fn write(
        &self,
        what: &'static str,
        durable: bool,
        statement: impl FnOnce(&Connection) -> rusqlite::Result<usize>,
    ) -> Result<(), StoreError> {
        let done = || {
            if self.durable.get() != Some(durable) {
                self.db.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })?;
                self.durable.set(Some(durable));
            }
            statement(&self.db)
        };
        done().map(drop).map_err(|cause| StoreError { what, cause })
    }

    fn read<T: DeserializeOwned>(&self, sql: &'static str, key: &str) -> Option<T> {
        let json: String =
            self.db.prepare_cached(sql).ok()?.query_row(params![key], |row| row.get(0)).optional().ok()??;
        serde_json::from_str(&json).ok()
    }
}

/// JSON with blanks behind it up to the next multiple of 64 bytes. A record that is as long as the one before is written
/// in its place: a poll writes 4 pages then, and 8 where one of them takes its pages anew.
fn in_full_steps<T: Serialize>(record: &T) -> rusqlite::Result<String> {
    let json =
        serde_json::to_string(record).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let length = json.len().next_multiple_of(64);
    Ok(format!("{json:length$}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mark(said: &str) -> (Fingerprint, Mark) {
        (Fingerprint::new([7; 16]), Mark { dead: Some(said.to_owned()), posts: 1, ..Mark::default() })
    }

    /// With the plan of an empty table a thousand rows are read no slower: all goes by primary keys.
    #[test]
    fn no_statement_is_planned_anew_for_the_values_it_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let sql = "SELECT n FROM sample WHERE series = ?1 AND n < ?2 ORDER BY n DESC LIMIT ?3";
        for value in 0..10 {
            let mut statement = state.db.prepare_cached(sql).unwrap();
            assert!(statement.query([value, 7 - value, value]).unwrap().next().unwrap().is_none());
        }
        let statement = state.db.prepare_cached(sql).unwrap();
        assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
    }

    #[test]
    fn what_was_stored_is_there_after_a_restart_and_the_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let (fingerprint, dead) = mark("invalid_grant");
        let key = {
            let state = State::open(dir.path()).unwrap();
            state.store(&Record::Mark(fingerprint, dead.clone())).unwrap();
            state.fingerprint_key().unwrap()
        };
        let state = State::open(dir.path()).unwrap();
        assert_eq!(state.marks().of(fingerprint), dead);
        assert_eq!(state.fingerprint_key().unwrap(), key);
        assert_eq!(state.set_aside(), None);
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        }
    }

    #[test]
    fn an_unreadable_file_is_set_aside_whole_and_said() {
        for content in [b"not a database at all, but long enough to be one".repeat(50), vec![0; 4096], b"x".to_vec()] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("state.db"), &content).unwrap();
            let state = State::open(dir.path()).unwrap();
            let kept = state.set_aside().expect("set aside");
            assert!(std::fs::read(kept).unwrap() == content, "it is kept as it was");
            assert!(state.store(&Record::Mark(mark("x").0, mark("x").1)).is_ok(), "the new file works");
        }
    }

    #[test]
    fn a_start_after_a_loss_is_cautious_until_one_has_come_so_far_as_to_store_what_that_asks_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        std::fs::write(&path, b"no database").unwrap();
        let kept = State::open(dir.path()).unwrap().set_aside().expect("set aside").to_owned();
        assert_eq!(State::open(dir.path()).unwrap().set_aside(), Some(&*kept), "killed before anything was stored");
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            let _ = std::fs::remove_file(dir.path().join(name));
        }
        let mut state = State::open(dir.path()).unwrap();
        assert_eq!(state.set_aside(), Some(&*kept), "killed before there was a new file");
        state.recovered().unwrap();
        assert_eq!(state.set_aside(), None);
        drop(state);
        assert_eq!(State::open(dir.path()).unwrap().set_aside(), None);
    }

    #[test]
    fn a_record_that_does_not_parse_is_as_bad_as_a_broken_file() {
        let dir = tempfile::tempdir().unwrap();
        drop(State::open(dir.path()).unwrap());
        let db = Connection::open(dir.path().join("state.db")).unwrap();
        db.execute("INSERT INTO login VALUES ('k', '{\"usage\": 7}')", []).unwrap();
        drop(db);
        assert!(State::open(dir.path()).unwrap().set_aside().is_some());
    }

    #[test]
    fn damage_at_any_page_never_panics_and_never_loses_the_file() {
        let dir = tempfile::tempdir().unwrap();
        {
            let state = State::open(dir.path()).unwrap();
            for n in 0..200_u8 {
                state.store(&Record::Mark(Fingerprint::new([n; 16]), mark("y").1)).unwrap();
            }
            state.db.pragma_update(None, "wal_checkpoint", "TRUNCATE").ok();
        }
        let whole = std::fs::read(dir.path().join("state.db")).unwrap();
        for at in (0..whole.len()).step_by(509) {
            let dir = tempfile::tempdir().unwrap();
            let mut damaged = whole.clone();
            let end = (at + 64).min(damaged.len());
            damaged[at..end].fill(0xA5);
            std::fs::write(dir.path().join("state.db"), &damaged).unwrap();
            match State::open(dir.path()) {
                Ok(state) => assert!(state.set_aside().is_none_or(Path::exists)),
                Err(OpenError::Newer { .. }) => {}
                Err(error) => panic!("at {at}: {error}"),
            }
        }
    }

    #[test]
    fn a_file_of_an_older_quotad_is_added_to_and_keeps_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let (fingerprint, dead) = mark("x");
        drop(State::open(dir.path()).map(|state| state.store(&Record::Mark(fingerprint, dead.clone())).unwrap()));
        let old = Connection::open(dir.path().join("state.db")).unwrap();
        let new =
            ["standing", "tally", "series", "sample", "alert"].map(|table| format!("DROP TABLE {table};")).concat();
        old.execute_batch(&format!("{new} PRAGMA user_version = 1;")).unwrap();
        drop(old);
        let state = State::open(dir.path()).unwrap();
        assert_eq!((state.set_aside(), state.marks().of(fingerprint)), (None, dead));
        assert!(state.standings().is_empty() && state.tally("k").reports == 0, "the new tables are there");
    }

    #[test]
    fn a_file_of_an_older_quotad_that_cannot_be_added_to_is_neither_set_aside_nor_half_done() {
        let dir = tempfile::tempdir().unwrap();
        drop(State::open(dir.path()).unwrap());
        let path = dir.path().join("state.db");
        // Of the two new tables one cannot be made.
        let old = Connection::open(&path).unwrap();
        old.execute_batch("DROP TABLE standing; PRAGMA user_version = 1;").unwrap();
        let error = State::open(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::Database { .. }), "{error}");
        let made: i64 =
            old.query_row("SELECT count(*) FROM sqlite_master WHERE name = 'standing'", [], |row| row.get(0)).unwrap();
        assert_eq!(made, 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().filter(|e| e.as_ref().unwrap().path() == path).count(), 1);
    }

    #[test]
    fn a_file_of_a_newer_quotad_is_refused_and_untouched() {
        let dir = tempfile::tempdir().unwrap();
        drop(State::open(dir.path()).unwrap());
        let path = dir.path().join("state.db");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", VERSION + 1).unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = State::open(dir.path()).unwrap_err();
        let said = format!("written by a newer quotad (version {}, this one knows {VERSION})", VERSION + 1);
        assert!(error.to_string().contains(&said), "{error}");
        assert!(std::fs::read(&path).unwrap() == before, "it was touched");
    }

    #[test]
    fn an_examination_tells_how_the_file_is_and_touches_nothing_also_while_it_is_open() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(examine(dir.path()).unwrap(), Examined::Absent);
        let state = State::open(dir.path()).unwrap();
        state.store(&Record::Mark(mark("x").0, mark("x").1)).unwrap();
        let bytes = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        let before = ["state.db", "state.db-wal"].map(bytes);
        assert_eq!(examine(dir.path()).unwrap(), Examined::Sound);
        assert_eq!(["state.db", "state.db-wal"].map(bytes), before);
        state.db.pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert_eq!(examine(dir.path()).unwrap(), Examined::Newer(VERSION + 1));
        drop(state);
        std::fs::write(dir.path().join("state.db"), "not a database".repeat(100)).unwrap();
        assert_eq!(examine(dir.path()).unwrap(), Examined::Damaged);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is set aside");
    }

    #[test]
    fn a_second_daemon_is_refused_by_pid() {
        let dir = tempfile::tempdir().unwrap();
        let _first = State::open(dir.path()).unwrap();
        let error = State::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("(pid {})", std::process::id())), "{error}");
    }
}

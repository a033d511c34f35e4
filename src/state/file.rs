//! The file `state.db` itself: how a new one is made, and what makes an old one one that can be read.

use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};
use serde::de::DeserializeOwned;

use super::{OpenError, VERSION, alert, history, pool};
use crate::disk::DiskError;
use crate::model::Reading;
use crate::policy::account::{FileRecord, LoginRecord};
use crate::policy::pool::StandingRecord;
use crate::policy::refresh::Mark;

/// `quot` in ASCII: tells our file from any other SQLite file.
const APPLICATION_ID: i64 = 0x7175_6f74;

/// What each version added to the one before it, from nothing.
const TABLES: [&str; VERSION as usize] = [
    "
        CREATE TABLE meta    (name        TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE login   (key         TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE file    (key         TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE mark    (fingerprint TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE reading (login       TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
    ",
    pool::TABLES,
    history::TABLES,
    alert::TABLES,
];

pub(super) enum Unreadable {
    Newer(i64),
    /// Nothing is known to be wrong with it, but it could not be opened, or what is new could not be added to it: the disk
    /// is full or fails, somebody holds it.
    Unopened(rusqlite::Error),
    Damaged,
}

impl From<rusqlite::Error> for Unreadable {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as E;
        match error.sqlite_error_code() {
            // What is in it is not what should be: no database, a torn one, or other tables.
            None | Some(E::NotADatabase | E::DatabaseCorrupt | E::Unknown | E::TypeMismatch | E::TooBig) => {
                Self::Damaged
            }
            Some(_) => Self::Unopened(error),
        }
    }
}

/// Opens a file that is already there, and reads every record once: what does not parse now would be a silent hole
/// in the memory of a gate later. `None` when there is no file, or an empty one.
pub(super) fn open_existing(path: &Path) -> Result<Option<Connection>, Unreadable> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(None) };
    if !metadata.is_file() {
        return Err(Unreadable::Damaged);
    }
    if metadata.len() == 0 {
        return Ok(None);
    }
    // SQLite takes a file of a few bytes for an empty database and writes over it.
    let mut magic = [0; 16];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
    if read.is_err() || &magic != b"SQLite format 3\0" {
        return Err(Unreadable::Damaged);
    }
    let db = Connection::open(path)?;
    configure(&db)?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION_ID {
        return Err(Unreadable::Damaged);
    }
    if version > VERSION {
        return Err(Unreadable::Newer(version));
    }
    let verdict: String = db.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if verdict != "ok" || version < 1 {
        return Err(Unreadable::Damaged);
    }
    extend(&db, version).map_err(Unreadable::Unopened)?;
    all_parse::<LoginRecord>(&db, "SELECT record FROM login")?;
    all_parse::<FileRecord>(&db, "SELECT record FROM file")?;
    all_parse::<Mark>(&db, "SELECT record FROM mark")?;
    all_parse::<Reading>(&db, "SELECT record FROM reading")?;
    all_parse::<StandingRecord>(&db, "SELECT record FROM standing")?;
    for check in history::CHECKS {
        db.prepare(check)?.query([])?.next()?;
    }
    history::rebuild(&db);
    Ok(Some(db))
}

/// Adds what a file of this version lacks, all of it or nothing.
fn extend(db: &Connection, version: i64) -> rusqlite::Result<()> {
    let missing: String = TABLES.iter().skip(usize::try_from(version).unwrap_or(0)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let done = db.execute_batch(&format!("BEGIN; {missing} PRAGMA user_version = {VERSION}; COMMIT;"));
    if done.is_err() {
        let _ = db.execute_batch("ROLLBACK");
    }
    done
}

fn all_parse<T: DeserializeOwned>(db: &Connection, sql: &str) -> Result<(), Unreadable> {
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let json: String = row.get(0)?;
        serde_json::from_str::<T>(&json).map_err(|_| Unreadable::Damaged)?;
    }
    Ok(())
}

/// Makes a new file, which remembers what was `set_aside` for it.
pub(super) fn create(path: &Path, set_aside: Option<&Path>) -> Result<Connection, OpenError> {
    // The mode must be right from the first byte; SQLite gives its WAL the mode of the database.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(DiskError::on("create", path))?;
    let fresh = || -> rusqlite::Result<Connection> {
        let db = Connection::open(path)?;
        // Rows are small, and every page that one of them changes is written: of 4096 bytes a poll writes 28 KB.
        db.pragma_update(None, "page_size", 512)?;
        history::prepare(&db)?;
        configure(&db)?;
        db.execute_batch(&format!("BEGIN; {} PRAGMA application_id = {APPLICATION_ID};", TABLES.concat()))?;
        if let Some(set_aside) = set_aside {
            let path = set_aside.as_os_str().as_bytes();
            db.execute("INSERT INTO meta VALUES ('set-aside', ?1)", params![path])?;
        }
        db.execute_batch(&format!("PRAGMA user_version = {VERSION}; COMMIT;"))?;
        Ok(db)
    };
    fresh().map_err(|cause| OpenError::Database { path: path.to_owned(), cause })
}

pub(super) fn configure(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(Duration::from_secs(2))?;
    // More than there are statements; and none of them is planned anew for each value it is given: of the CPU of a poll
    // that was a fifth.
    db.set_prepared_statement_cache_capacity(64);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // The directory is this process's alone (`quotad.lock`). So the index of the log can lie in memory; in a file of its
    // own, which others could see, it was two thirds of what a poll writes.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // KiB. With twice as much a poll of ten accounts takes a twentieth less CPU, but what is held goes on
    // growing: by a twelfth in a day's polls.
    db.pragma_update(None, "cache_size", -64)
}

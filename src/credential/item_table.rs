//! Reads a login out of an editor's key-value database (VS Code's `state.vscdb` and its relatives).
//!
//! Read-only, and without leaving a trace: a database whose writer is away is opened as immutable, so that no `-wal`
//! and no `-shm` file appears beside it. Never writes one while its editor may run.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value};

/// The values of `keys` as one object; keys that are absent or no text are left out. Values that are JSON strings lose
/// their quotes: some versions store them so.
///
/// # Errors
/// The clause for a file that is no such database.
pub(super) fn read(path: &Path, keys: &[&str]) -> Result<Value, &'static str> {
    rows(path, keys).map(Value::Object).map_err(|_| "is not the editor's database, or it is locked; start the editor")
}

fn rows(path: &Path, keys: &[&str]) -> rusqlite::Result<Map<String, Value>> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let has_writer = Path::new(&wal).exists();
    let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let url = format!("file:{escaped}?{}", if has_writer { "mode=ro" } else { "immutable=1" });
    let database = Connection::open_with_flags(url, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?;
    let mut query = database.prepare("SELECT value FROM ItemTable WHERE key = ?1")?;
    let mut object = Map::new();
    for key in keys {
        let text: Option<String> = match query.query_row([key], |row| row.get_ref(0).map(|value| text_of(value))) {
            Ok(text) => text,
            Err(rusqlite::Error::QueryReturnedNoRows) => None,
            Err(error) => return Err(error),
        };
        if let Some(text) = text {
            let unquoted = serde_json::from_str::<String>(&text).unwrap_or(text);
            object.insert((*key).to_owned(), unquoted.into());
        }
    }
    Ok(object)
}

/// Text, or the text of a blob.
fn text_of(value: rusqlite::types::ValueRef<'_>) -> Option<String> {
    value.as_bytes().ok().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_quoted_or_not_as_text_or_blob_and_no_file_appears_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.vscdb");
        let database = Connection::open(&path).unwrap();
        database
            .execute_batch(
                "CREATE TABLE ItemTable (key TEXT UNIQUE ON CONFLICT REPLACE, value BLOB);
                 INSERT INTO ItemTable VALUES ('a', '\"FAKE-A\"'), ('b', CAST('FAKE-B' AS BLOB)), ('c', NULL);",
            )
            .unwrap();
        drop(database);
        let read = read(&path, &["a", "b", "c", "d"]).unwrap();
        assert_eq!(read, serde_json::json!({"a": "FAKE-A", "b": "FAKE-B"}));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_database_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.vscdb");
        std::fs::write(&path, "{}").unwrap();
        assert!(read(&path, &["a"]).is_err());
    }
}

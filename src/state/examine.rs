//! How a `state.db` is, for whoever only wants to know: neither locked nor written, so a running daemon notices nothing.

use std::io::ErrorKind;
use std::path::Path;

use super::file::{Unreadable, open_existing};
use crate::disk::DiskError;

/// What is known of a state directory's `state.db` without opening it for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Examined {
    /// There is none yet.
    Absent,
    /// It can be read.
    Sound,
    /// A newer quotad wrote it; its version.
    Newer(i64),
    /// It cannot be read: the next start would set it aside.
    Damaged,
}

/// Examines a copy of `state.db`: the file itself is neither locked nor written, so a running daemon notices nothing.
///
/// # Errors
/// The copy cannot be made.
pub fn examine(dir: &Path) -> Result<Examined, DiskError> {
    let mut examined = Examined::Absent;
    // A daemon may write between the two copies; what is truly damaged is so each time.
    for _ in 0..3 {
        let apart = tempfile::tempdir().map_err(DiskError::on("make a directory in", &std::env::temp_dir()))?;
        let copy = |name: &str| match std::fs::copy(dir.join(name), apart.path().join(name)) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => Err(DiskError::on("read", &dir.join(name))(cause)),
            _ => Ok(()),
        };
        // In this order, what the log repeats is at worst in the database already.
        copy("state.db-wal")?;
        copy("state.db")?;
        examined = match open_existing(&apart.path().join("state.db")) {
            // What could not be added to the copy says nothing of the file.
            Ok(Some(_)) | Err(Unreadable::Unopened(_)) => Examined::Sound,
            Ok(None) => Examined::Absent,
            Err(Unreadable::Newer(version)) => Examined::Newer(version),
            Err(Unreadable::Damaged) => Examined::Damaged,
        };
        if examined != Examined::Damaged {
            break;
        }
    }
    Ok(examined)
}

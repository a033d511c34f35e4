//! A bearer token that a person keeps in a file of its own: read at each use, never kept, never quoted.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use secrecy::SecretString;

use crate::disk;

/// Longer files hold no token.
const LARGEST: u64 = 4096;

/// The token in a file, without the white space around it.
///
/// # Errors
/// A sentence: the file cannot be read, is open to others, or holds no token.
pub fn read(path: &Path) -> Result<SecretString, String> {
    let shown = path.display();
    let unread = |error: std::io::Error| format!("could not read {shown}: {error}");
    // Opening a pipe must not wait for a writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unread)?;
    let metadata = file.metadata().map_err(unread)?;
    if !metadata.is_file() {
        return Err(format!("{shown} is not a regular file"));
    }
    if !disk::is_own(&metadata) {
        return Err(format!("{shown} belongs to another user; chown it to the user quotad runs as"));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("{shown} is open to other users (mode {mode:04o}); close it: chmod 600 {shown}"));
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(unread)?;
    let token = text.trim();
    if text.len() as u64 > LARGEST || token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(format!("{shown} holds no token: one line of printable ASCII without spaces, 4 KiB at most"));
    }
    Ok(SecretString::from(token))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_token_is_read_only_from_a_private_file_that_holds_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let write = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            read(&path)
        };
        for text in ["tk_FAKE", "tk_FAKE\n", " tk_FAKE\r\n"] {
            assert_eq!(write(text, 0o600).unwrap().expose_secret(), "tk_FAKE");
        }
        for (text, mode, why) in [
            ("tk_FAKE", 0o644, "is open to other users (mode 0644); close it: chmod 600"),
            ("tk_FAKE", 0o610, "is open to other users"),
            ("", 0o600, "holds no token"),
            ("two words", 0o600, "holds no token"),
            ("tk_FAKE\nsecond-line", 0o600, "holds no token"),
            (&"x".repeat(5000), 0o600, "holds no token"),
        ] {
            let refused = write(text, mode).unwrap_err();
            assert!(refused.contains(why) && !refused.contains("FAKE"), "{refused}");
        }
        assert!(read(dir.path()).unwrap_err().contains("is not a regular file"));
        assert!(read(&dir.path().join("absent")).unwrap_err().contains("could not read"));
    }
}

//! quotad's own places: the state directory and the socket.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Finding, Level, quoted, typed};
use crate::control::client::ClientError;
use crate::control::wire::Status;
use crate::disk;
use crate::state::{self, Examined};

/// With less than this free, gates, fences and new tokens may soon not be stored.
const SCARCE: u64 = 16 << 20;
/// With less than this, they cannot be.
const NOTHING_LEFT: u64 = 256 << 10;

/// What lies in the state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    dir: PathBuf,
    /// Mode, and whether it is this user's; `None` where there is none.
    access: Option<(u32, bool)>,
    /// Bytes that may still be written there.
    free: Option<u64>,
    /// The file, or why it could not be looked at.
    examined: Result<Examined, String>,
    /// Files that could not be read once and were kept.
    set_aside: Vec<PathBuf>,
    /// Granted tokens that are not in their credential file yet.
    successors: Vec<PathBuf>,
}

impl Facts {
    /// Looks at the directory and changes nothing in it.
    pub(super) fn of(dir: &Path) -> Self {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut entries: Vec<PathBuf> = entries.collect();
        entries.sort();
        let named = |is: fn(&str) -> bool| {
            let fits = |path: &&PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(is);
            entries.iter().filter(fits).cloned().collect()
        };
        let space = rustix::fs::statvfs(dir).ok();
        Self {
            dir: dir.to_owned(),
            access: fs::metadata(dir).ok().map(|found| (found.mode() & 0o777, disk::is_own(&found))),
            free: space.map(|space| space.f_bavail.saturating_mul(space.f_frsize)),
            examined: state::examine(dir).map_err(|error| error.to_string()),
            set_aside: named(|name| name.contains(".unreadable-")),
            successors: named(|name| name.starts_with("successor-")),
        }
    }
}

/// Every finding about the state directory.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let dir = facts.dir.display();
    let Some((mode, is_own)) = facts.access else {
        return vec![Finding::ok(format!("state: there is no {dir} yet; the first start makes it"))];
    };
    let mut findings = vec![if !is_own {
        let what = format!("state: {dir} belongs to another user, so no daemon of yours starts");
        Finding::fail(what, typed(&[&format!("sudo chown -R $(id -un) {}", quoted(&facts.dir))]))
    } else if mode & 0o077 != 0 {
        let what = format!("state: {dir} is open to other users (mode {mode:04o})");
        Finding::warn(what, typed(&[&format!("chmod 700 {}", quoted(&facts.dir))]))
    } else {
        Finding::ok(format!("state: {dir} is private and yours"))
    }];
    findings.extend(facts.free.map(space));
    findings.push(database(facts));
    findings.extend(facts.set_aside.iter().map(|path| {
        let what = format!("state: {} could not be read once and was kept", path.display());
        Finding::warn(what, format!("when nobody needs it any more:\n{}", typed(&[&format!("rm {}", quoted(path))])))
    }));
    findings.extend(facts.successors.iter().map(|path| {
        let what = format!("state: a refreshed token waits in {} for its place", path.display());
        let remedy = "never delete it: it may be the only good one; a running daemon puts it in place once the \
                      credential file can be written";
        Finding::warn(what, remedy)
    }));
    findings
}

fn space(free: u64) -> Finding {
    let what = format!("state: {} MiB are free there", free >> 20);
    let remedy = "free some space: gates, fences and new tokens must be stored before they count";
    match free {
        ..NOTHING_LEFT => Finding::fail(what, remedy),
        NOTHING_LEFT..SCARCE => Finding::warn(what, remedy),
        SCARCE.. => Finding::ok(what),
    }
}

fn database(facts: &Facts) -> Finding {
    let path = facts.dir.join("state.db");
    let shown = path.display();
    match &facts.examined {
        Ok(Examined::Absent) => Finding::ok(format!("state: there is no {shown} yet")),
        Ok(Examined::Sound) => Finding::ok(format!("state: {shown} can be read")),
        Ok(Examined::Newer(version)) => Finding::fail(
            format!("state: {shown} was written by a newer quotad (version {version})"),
            "upgrade quotad, or move the file away",
        ),
        Ok(Examined::Damaged) => Finding::fail(
            format!("state: {shown} cannot be read"),
            "nothing to type: the next start sets it aside and begins with every gate on its first rung",
        ),
        Err(why) => Finding::from_sentence(Level::Fail, &format!("state: {why}")),
    }
}

/// Whether a daemon answers, and which.
pub(super) fn socket(socket: &Path, status: &Result<Status, ClientError>) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    let shown = socket.display();
    match status {
        Ok(status) if status.daemon.version != own => Finding::warn(
            format!("socket: the daemon on {shown} is version {}, this is {own}", status.daemon.version),
            typed(&["systemctl --user restart quotad"]),
        ),
        Ok(Status { daemon, .. }) => match &daemon.notice {
            Some(notice) => Finding::warn(format!("socket: the daemon (pid {}) says: {notice}", daemon.pid), ""),
            None => Finding::ok(format!("socket: the daemon answers on {shown} (pid {}, version {own})", daemon.pid)),
        },
        Err(ClientError::NoDaemon(_)) => Finding::warn(
            format!("socket: no daemon answers on {shown}"),
            format!("start it, or run `quotad run`:\n{}", typed(&["systemctl --user start quotad"])),
        ),
        Err(error) => Finding::fail(format!("socket: {error}"), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Facts {
        Facts {
            dir: "/s/quotad".into(),
            access: Some((0o700, true)),
            free: Some(1 << 30),
            examined: Ok(Examined::Sound),
            set_aside: Vec::new(),
            successors: Vec::new(),
        }
    }

    fn trouble(facts: &Facts) -> Vec<(Level, String)> {
        let bad = findings(facts).into_iter().filter(|finding| finding.level != Level::Ok);
        bad.map(|finding| (finding.level, finding.what + " / " + &finding.remedy)).collect()
    }

    #[test]
    fn each_fault_of_the_state_directory_is_found_alone_and_with_its_remedy() {
        assert!(trouble(&sound()).is_empty());
        assert!(trouble(&Facts { access: None, ..sound() }).is_empty(), "nothing has been made yet");
        let cases = [
            (Facts { access: Some((0o755, true)), ..sound() }, Level::Warn, "chmod 700 /s/quotad"),
            (Facts { access: Some((0o700, false)), ..sound() }, Level::Fail, "chown -R"),
            (Facts { free: Some(1 << 20), ..sound() }, Level::Warn, "free some space"),
            (Facts { free: Some(0), ..sound() }, Level::Fail, "free some space"),
            (Facts { examined: Ok(Examined::Newer(9)), ..sound() }, Level::Fail, "upgrade quotad"),
            (Facts { examined: Ok(Examined::Damaged), ..sound() }, Level::Fail, "sets it aside"),
            (Facts { examined: Err("could not read x; chmod it".into()), ..sound() }, Level::Fail, "/ chmod it"),
            (Facts { set_aside: vec!["/s/state.db.unreadable-1".into()], ..sound() }, Level::Warn, "rm /s/state.db"),
            (Facts { successors: vec!["/s/successor-1.json".into()], ..sound() }, Level::Warn, "never delete it"),
        ];
        for (facts, level, said) in cases {
            let found = trouble(&facts);
            assert!(found.len() == 1 && found[0].0 == level && found[0].1.contains(said), "{said}: {found:?}");
        }
    }

    #[test]
    fn what_lies_in_a_directory_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["state.db.unreadable-1", "successor-00.json", "quotad.lock"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let facts = Facts::of(dir.path());
        assert_eq!((facts.set_aside.len(), facts.successors.len()), (1, 1));
        assert!(facts.free.is_some() && facts.examined == Ok(Examined::Absent));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing was made there");
    }

    #[test]
    fn a_daemon_of_another_version_a_missing_and_a_silent_one_are_told_apart() {
        let path = Path::new("/run/quotad.sock");
        let answer = |version: &str, notice: Option<&str>| {
            let started_at = crate::control::wire::sample::now();
            let (version, notice) = (version.to_owned(), notice.map(str::to_owned));
            let daemon = crate::control::wire::Daemon { version, pid: 7, started_at, notice };
            Ok(Status { schema: 1, daemon, accounts: Vec::new() })
        };
        let own = env!("CARGO_PKG_VERSION");
        for (status, level, said) in [
            (answer(own, None), Level::Ok, "pid 7"),
            (answer("0.0.1", None), Level::Warn, "restart quotad"),
            (answer(own, Some("the state was set aside")), Level::Warn, "set aside"),
            (Err(ClientError::NoDaemon(path.to_owned())), Level::Warn, "systemctl --user start quotad"),
            (Err(ClientError::Silent(path.to_owned())), Level::Fail, "journalctl"),
        ] {
            let found = socket(path, &status);
            assert!(found.level == level && (found.what.clone() + &found.remedy).contains(said), "{found:?}");
        }
    }
}

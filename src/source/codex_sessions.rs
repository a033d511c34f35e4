//! The limits that Codex notes in its session files, `$CODEX_HOME/sessions/YYYY/MM/DD/rollout-*.jsonl` (providers.md
//! 2.2): as fresh as the last turn on this machine.
//!
//! Owns where to look and how little of it to read: days newest first, in them the files last written first, each from
//! its end. A tree of thousands of files costs the names of a few days and the last blocks of one file.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::Version;
use crate::model::{Reading, Source, Window};
use crate::policy::time::Stamp;
use crate::provider::{codex, field};

/// Days that are looked into: a session taken up again goes on in the file of the day it began.
const DAYS: usize = 7;
/// Files whose times are looked at.
const LOOKED_AT: usize = 1000;
/// Files that are opened.
const OPENED: usize = 20;
/// Bytes that are read of all of them together. Codex notes its limits after every turn: a session that ran on a plan
/// has them near its end.
const BUDGET: u64 = 4 << 20;
/// Read at a time.
const BLOCK: u64 = 64 << 10;
/// Longer lines are passed over: pictures and the like, while the one looked for has a few hundred bytes.
const LONGEST: usize = 64 << 10;

/// What one `token_count` event says of the plan's own limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// When it was written.
    pub at: Stamp,
    /// The windows, shortest first.
    pub windows: Vec<Window>,
    /// The plan, where it is named.
    pub plan: Option<String>,
}

/// What a line of a session file says; `None` for every other line, and for limits of something else than the plan.
pub fn noted(line: &[u8]) -> Option<Noted> {
    // Most lines are something else, and need not be taken apart to tell.
    let line = str::from_utf8(line).ok().filter(|line| line.contains("\"token_count\""))?;
    let event: Value = serde_json::from_str(line).ok()?;
    let payload = &event["payload"];
    let limits = &payload["rate_limits"];
    let is_the_plans = limits["limit_id"].is_null() || limits["limit_id"] == "codex";
    if payload["type"] != "token_count" || !is_the_plans {
        return None;
    }
    let at = field::timestamp(&event["timestamp"])?;
    let windows = codex::noted(limits, at);
    (!windows.is_empty()).then(|| Noted { at, windows, plan: field::name(&limits["plan_type"]) })
}

/// The session files of one Codex home.
#[derive(Debug)]
pub struct CodexSessions {
    root: PathBuf,
    /// The file last written to, as it was then, and what was found.
    seen: Option<(PathBuf, Version, Option<Noted>)>,
    dirs: Vec<PathBuf>,
}

impl CodexSessions {
    /// The sessions of the Codex whose `auth.json` lies in `home`.
    pub fn new(home: &Path) -> Self {
        let root = home.join("sessions");
        Self { dirs: vec![root.clone()], root, seen: None }
    }

    /// The newest limits, without windows whose reset has passed; `None` where none is left.
    pub fn read(&mut self, now: Stamp) -> Option<Reading> {
        let Noted { at, mut windows, plan } = self.newest()?;
        windows.retain(|window| window.resets_at.is_some_and(|reset| reset > now));
        let reading = Reading { windows, plan, read_at: at, source: Source::Sessions, earlier: None };
        (!reading.windows.is_empty()).then_some(reading)
    }

    /// The newest day's directory and all above it, and the directory of the file last written to.
    pub fn dirs(&self) -> Vec<PathBuf> {
        self.dirs.clone()
    }

    fn newest(&mut self) -> Option<Noted> {
        let days = days(&self.root);
        self.dirs = days.first().unwrap_or(&self.root).ancestors().take(4).map(Path::to_owned).collect();
        self.dirs.retain(|dir| dir.starts_with(&self.root));
        let files = files(&days);
        let (path, latest) = files.first()?;
        self.dirs.extend(path.parent().map(Path::to_owned).filter(|dir| !self.dirs.contains(dir)));
        match &self.seen {
            Some((seen, version, noted)) if seen == path && version == latest => noted.clone(),
            _ => {
                let noted = newest_in(&files);
                self.seen = Some((path.clone(), *latest, noted.clone()));
                noted
            }
        }
    }
}

/// The newest days' directories, newest first.
fn days(root: &Path) -> Vec<PathBuf> {
    let months = numbered(root, 4).into_iter().flat_map(|year| numbered(&year, 2));
    months.flat_map(|month| numbered(&month, 2)).take(DAYS).collect()
}

/// The entries of a directory whose names are numbers of so many digits, the highest first.
fn numbered(dir: &Path, digits: usize) -> Vec<PathBuf> {
    let is_number = |name: &str| name.len() == digits && name.bytes().all(|byte| byte.is_ascii_digit());
    sorted(dir, is_number).into_iter().map(|name| dir.join(name)).collect()
}

/// The names in a directory that `fits` approves, the last first.
fn sorted(dir: &Path, fits: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| fits(name));
    names.sort_unstable_by(|one, other| other.cmp(one));
    names
}

/// The session files of these days, the last written first.
fn files(days: &[PathBuf]) -> Vec<(PathBuf, Version)> {
    let is_session =
        |name: &str| name.strip_prefix("rollout-").is_some_and(|rest| rest.strip_suffix(".jsonl").is_some());
    let paths = days.iter().flat_map(|day| sorted(day, is_session).into_iter().map(|name| day.join(name)));
    let version = |path: PathBuf| {
        let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some((path, Version::of(&metadata).ok()?))
    };
    let mut files: Vec<_> = paths.take(LOOKED_AT).filter_map(version).collect();
    files.sort_by_key(|(_, version)| Reverse(version.modified));
    files
}

/// The newest note in these files. One that was last written before it cannot hold a newer one.
fn newest_in(files: &[(PathBuf, Version)]) -> Option<Noted> {
    let mut budget = BUDGET;
    let mut newest: Option<Noted> = None;
    for (path, version) in files.iter().take(OPENED) {
        if newest.as_ref().is_some_and(|noted| version.modified < SystemTime::from(noted.at)) {
            break;
        }
        let read = |(mut file, metadata): (File, fs::Metadata)| last(&mut file, metadata.len(), &mut budget, noted);
        if let Ok(Some(noted)) = super::open(path).and_then(read)
            && newest.as_ref().is_none_or(|newest| newest.at < noted.at)
        {
            newest = Some(noted);
        }
    }
    newest
}

/// What `read` makes of the last line that it makes something of, reading backwards from `length`.
fn last<T>(
    file: &mut (impl Read + Seek),
    length: u64,
    budget: &mut u64,
    read: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    // The rest of the line whose beginning lies further ahead.
    let mut rest = Vec::new();
    let mut is_overlong = false;
    let mut start = length;
    while start > 0 && *budget > 0 {
        let size = start.min(BLOCK).min(*budget);
        *budget -= size;
        start -= size;
        let mut block = vec![0; usize::try_from(size).unwrap_or_default()];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        while let Some(newline) = block.iter().rposition(|byte| *byte == b'\n') {
            let mut line = block.split_off(newline + 1);
            block.pop();
            line.append(&mut rest);
            if let (false, Some(found)) = (std::mem::take(&mut is_overlong), read(&line)) {
                return Ok(Some(found));
            }
        }
        block.append(&mut rest);
        is_overlong |= block.len() > LONGEST;
        rest = if is_overlong { Vec::new() } else { block };
    }
    Ok(if start == 0 && !is_overlong { read(&rest) } else { None })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Cursor;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_789_400_000;

    fn now() -> Stamp {
        Stamp::from_second(NOW).unwrap()
    }

    fn stamp(offset: i64) -> Stamp {
        Stamp::from_second(NOW + offset).unwrap()
    }

    /// An event of `NOW + at`: the 5-hour window used by so much, and resetting so long after `NOW`.
    fn event(at: i64, id: Option<&str>, used: f64, resets: i64) -> Value {
        json!({"timestamp": stamp(at).to_string(), "type": "event_msg", "payload": {"type": "token_count", "info": null,
            "rate_limits": {"limit_id": id, "limit_name": null, "plan_type": "pro",
                "primary": {"used_percent": used, "window_minutes": 300, "resets_at": NOW + resets},
                "secondary": {"used_percent": 40.0, "window_minutes": 10_080, "resets_at": NOW + 400_000},
                "credits": {"has_credits": false, "unlimited": false, "balance": "0"}}}})
    }

    fn write(root: &Path, name: &str, lines: &[Value], modified: i64) {
        let path = root.join("sessions").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = lines.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        });
        fs::write(&path, text).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(stamp(modified).into()).unwrap();
    }

    fn shown(reading: Option<Reading>) -> String {
        let Some(reading) = reading else { return "nothing".to_owned() };
        let windows = reading.windows.iter().map(|w| format!("{} {}%", w.id, w.used_percent.unwrap()));
        format!("{} at {}", windows.collect::<Vec<_>>().join(", "), reading.read_at.as_second() - NOW)
    }

    #[test]
    fn windows_are_known_by_their_length_and_never_by_their_slot() {
        let line = |limits: Value| {
            let payload = json!({"type": "token_count", "rate_limits": limits});
            json!({"timestamp": "2026-09-14T15:00:00.000Z", "payload": payload}).to_string()
        };
        let slot = |minutes: i64| json!({"used_percent": 7.5, "window_minutes": minutes, "resets_at": NOW});
        for (limits, expected) in [
            (json!({"limit_id": "codex", "primary": slot(300), "secondary": slot(10_080)}), "five_hour seven_day"),
            (json!({"primary": slot(10_080), "secondary": slot(300)}), "five_hour seven_day"),
            (json!({"limit_id": null, "primary": slot(10_080), "secondary": null}), "seven_day"),
            (json!({"primary": slot(43_200), "secondary": slot(540)}), "9_hour month"),
            (json!({"primary": slot(2880)}), "2_day"),
            (json!({"primary": slot(300), "secondary": slot(300)}), "five_hour"),
            (json!({"primary": {"used_percent": null, "window_minutes": 300}, "secondary": slot(45)}), "45_minute"),
            (json!({"limit_id": "codex_bengalfox", "primary": slot(300)}), "-"),
            (json!({"limit_id": "premium", "primary": slot(300)}), "-"),
            (json!({"limit_id": "codex"}), "-"),
            (json!({"primary": {"used_percent": 5}}), "-"),
            (json!(null), "-"),
        ] {
            let noted = noted(line(limits.clone()).as_bytes());
            let ids = noted.map(|noted| noted.windows.iter().map(|w| w.id.clone()).collect::<Vec<_>>().join(" "));
            assert_eq!(ids.as_deref().unwrap_or("-"), expected, "{limits}");
        }
    }

    #[test]
    fn the_newest_event_of_the_plans_own_limits_wins_whatever_stands_behind_it() {
        let home = tempfile::tempdir().unwrap();
        let mut sessions = CodexSessions::new(home.path());
        assert_eq!(shown(sessions.read(now())), "nothing", "no tree");
        let (old, new) =
            ("2026/09/13/rollout-2026-09-13T10-00-00-a.jsonl", "2026/09/14/rollout-2026-09-14T10-00-00-b.jsonl");
        write(home.path(), old, &[event(-90_000, Some("codex"), 5.0, 100)], -90_000);
        assert_eq!(shown(sessions.read(now())), "five_hour 5%, seven_day 40% at -90000");
        let empty = json!({"timestamp": stamp(-10).to_string(), "payload": {"type": "token_count", "rate_limits": {"limit_id": "codex"}}});
        let lines = [
            event(-900, None, 17.0, 100),
            event(-600, Some("codex"), 19.0, 100),
            event(-500, Some("codex_bengalfox"), 99.0, 100),
            json!({"timestamp": stamp(-400).to_string(), "type": "response_item", "payload": {"text": "\"token_count\""}}),
            empty,
            json!({"picture": "x".repeat(2 * LONGEST)}),
        ];
        write(home.path(), new, &lines, -5);
        assert_eq!(shown(sessions.read(now())), "five_hour 19%, seven_day 40% at -600");
        // A session of the day before was taken up again: its file holds the newer event.
        write(home.path(), old, &[event(-60, Some("codex"), 23.0, 100)], -1);
        assert_eq!(shown(sessions.read(now())), "five_hour 23%, seven_day 40% at -60");
        assert_eq!(shown(sessions.read(stamp(100))), "seven_day 40% at -60", "a passed window is void");
        assert_eq!(shown(sessions.read(stamp(500_000))), "nothing");
    }

    #[test]
    fn a_half_written_line_and_a_file_without_limits_are_passed_over() {
        let home = tempfile::tempdir().unwrap();
        let name = |n: u8| format!("2026/09/14/rollout-2026-09-14T1{n}-00-00-x.jsonl");
        write(home.path(), &name(1), &[event(-900, None, 17.0, 100)], -900);
        write(home.path(), &name(2), &[json!({"type": "session_meta"})], -10);
        let path = home.path().join("sessions").join(name(1));
        let half = event(-5, None, 99.0, 100).to_string();
        let text = fs::read_to_string(&path).unwrap() + &half[..half.len() - 9];
        fs::write(&path, text).unwrap();
        assert_eq!(shown(CodexSessions::new(home.path()).read(now())), "five_hour 17%, seven_day 40% at -900");
    }

    #[test]
    fn the_newest_day_its_ancestors_and_the_directory_last_written_to_are_worth_a_watch() {
        let home = tempfile::tempdir().unwrap();
        let mut sessions = CodexSessions::new(home.path());
        let shown = |sessions: &CodexSessions| {
            let below = |dir: &PathBuf| dir.strip_prefix(home.path()).unwrap().display().to_string();
            sessions.dirs().iter().map(below).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&sessions), "sessions");
        write(home.path(), "2026/09/13/rollout-a.jsonl", &[event(-5, None, 1.0, 100)], -5);
        write(home.path(), "2026/08/30/rollout-b.jsonl", &[event(-9, None, 1.0, 100)], -9);
        fs::create_dir_all(home.path().join("sessions/2026/09/14")).unwrap();
        fs::create_dir_all(home.path().join("sessions/2026/notes")).unwrap();
        sessions.read(now());
        let expected = "sessions/2026/09/14 sessions/2026/09 sessions/2026 sessions sessions/2026/09/13";
        assert_eq!(shown(&sessions), expected);
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let home = tempfile::tempdir().unwrap();
        let day = home.path().join("sessions/2026/09/14");
        fs::create_dir_all(day.join("rollout-dir.jsonl")).unwrap();
        let fifo = day.join("rollout-fifo.jsonl");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(CodexSessions::new(home.path()).read(now()), None);
    }

    proptest! {
        /// The same lines as reading forwards would give, the last first, however blocks and lines fall.
        #[test]
        fn reading_backwards_finds_the_last_line_that_reading_forwards_finds(
            lengths in proptest::collection::vec(0_usize..LONGEST - 9, 1..12), marked in any::<prop::sample::Index>()
        ) {
            let lines: Vec<String> = lengths.iter().enumerate().map(|(n, length)| {
                let mark = if n <= marked.index(lengths.len()) { "!" } else { "." };
                format!("{n}{mark}{}", "x".repeat(*length))
            }).collect();
            let text = lines.join("\n");
            let read = |line: &[u8]| line.contains(&b'!').then(|| line.to_owned());
            let mut budget = BUDGET;
            let found = last(&mut Cursor::new(text.as_bytes()), text.len() as u64, &mut budget, read).unwrap();
            let expected = lines.iter().rev().find(|line| line.contains('!')).map(|line| line.clone().into_bytes());
            prop_assert!(found == expected);
        }

        #[test]
        fn no_line_makes_the_reader_panic(line in any::<Vec<u8>>(), text in "\\PC{0,60}") {
            let _ = (noted(&line), noted(format!("{{\"payload\":{{\"type\":\"token_count\",{text}}}}}").as_bytes()));
        }
    }
}

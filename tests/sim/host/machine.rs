//! What survives a process: two clocks, the credential files, the disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quotad::model::{Fingerprint, Reading};
use quotad::policy::account::{FileRecord, LoginRecord, Record};
use quotad::policy::refresh::Mark;
use quotad::policy::time::{Dice, Moment, Now, Stamp};

/// Milliseconds of true time since the world began.
pub(crate) type Time = u64;

/// A second, in [`Time`].
pub(crate) const SECOND: Time = 1_000;
/// A minute.
pub(crate) const MINUTE: Time = 60 * SECOND;
/// An hour.
pub(crate) const HOUR: Time = 60 * MINUTE;
/// A day.
pub(crate) const DAY: Time = 24 * HOUR;

/// What the true wall clock shows when the world begins, in milliseconds.
const WALL: i64 = 1_800_000_000_000;
/// How long the machine had been up then.
const UP: Time = 5 * HOUR;

/// Where quotad keeps successors.
pub(super) const STATE_DIR: &str = "/home/u/.local/state/quotad";

/// Chance, from a seed: splitmix64. One stream for each purpose, so that one draw more here shifts nothing there.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of `purpose` for `seed`.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mut random = Self(seed ^ purpose.wrapping_mul(0xA24B_AED4_963E_E407));
        random.next();
        random
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is above 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

impl Dice for Random {
    fn roll(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What lies at a credential file's path, and around it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lying {
    /// Its bytes; `None` when there is no file.
    pub bytes: Option<Vec<u8>>,
    /// Its modification time, by the machine's wall clock.
    pub written_at: Stamp,
    /// The account uuid that `.claude.json` names.
    pub identity: Option<String>,
    /// Why a refresh would not be safe.
    pub unsafe_because: Option<String>,
    /// Until when a vendor's CLI holds its locks.
    pub cli_lock_until: Time,
    /// quotad holds the vendor's locks.
    pub ours: bool,
    /// Somebody broke the locks while quotad held them.
    pub lock_broken: bool,
    /// The directory takes no writes.
    pub unwritable: bool,
}

/// What is on disk besides: `state.db` and the successors.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(super) logins: BTreeMap<String, LoginRecord>,
    pub(super) files: BTreeMap<String, FileRecord>,
    pub(super) readings: BTreeMap<String, Reading>,
    pub(super) marks: BTreeMap<Fingerprint, Mark>,
    /// What a power cut may undo: written since the last durable write, oldest first, with what it replaced.
    pub(super) unsynced: Vec<Undo>,
    /// The stored successors, by path.
    pub successors: BTreeMap<PathBuf, Vec<u8>>,
    /// The key of every fingerprint.
    pub key: [u8; 32],
    /// `state.db` cannot be understood: it is set aside at the next start.
    pub damaged: bool,
    /// It was, and not every account has stored yet what follows from that.
    pub(super) lost: bool,
    /// The state directory takes no writes.
    pub unwritable: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Undo {
    Login(String, Option<Box<LoginRecord>>),
    Reading(String, Option<Reading>),
}

/// Everything that survives a process.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(super) time: Time,
    pub(super) booted_at: Time,
    pub(super) boots: u32,
    wall_step: i64,
    wall_set_at: Time,
    /// The credential files, by path.
    pub files: BTreeMap<PathBuf, Lying>,
    /// Everything else.
    pub disk: Disk,
    /// Changes that the watch has not reported yet.
    pub(super) noticed: Vec<PathBuf>,
    /// The watch misses every change.
    pub blind: bool,
}

impl Machine {
    /// A machine that has been up for some hours, with nothing at these paths.
    pub(super) fn new(paths: impl Iterator<Item = PathBuf>, random: &mut Random) -> Self {
        let mut disk = Disk::default();
        disk.set_aside(random);
        Self {
            time: 0,
            booted_at: 0,
            boots: 0,
            wall_step: 0,
            wall_set_at: 0,
            files: paths.map(|path| (path, Lying::default())).collect(),
            disk,
            noticed: Vec::new(),
            blind: false,
        }
    }

    /// True time.
    pub(crate) fn time(&self) -> Time {
        self.time
    }

    /// What the two clocks show.
    pub(crate) fn now(&self) -> Now {
        Now { moment: self.moment(self.time), stamp: self.stamp(self.time) }
    }

    /// How often the machine has been started again.
    pub(crate) fn boots(&self) -> u32 {
        self.boots
    }

    /// True wall-clock time, as the vendor has it.
    pub(crate) fn true_stamp(&self) -> Stamp {
        stamp(WALL + self.time.cast_signed())
    }

    /// The boot clock at `time`.
    pub(super) fn moment(&self, time: Time) -> Moment {
        Moment::from_millis((UP + time).saturating_sub(self.booted_at))
    }

    fn stamp(&self, time: Time) -> Stamp {
        stamp(WALL + time.cast_signed() + self.wall_step)
    }

    pub(super) fn time_of(&self, moment: Moment) -> Time {
        (moment.as_millis() + self.booted_at).saturating_sub(UP)
    }

    /// When somebody last set the wall clock.
    pub(crate) fn wall_set_at(&self) -> Time {
        self.wall_set_at
    }

    /// Sets the wall clock this far from the truth.
    pub(crate) fn set_wall(&mut self, step: i64) {
        self.wall_step = step;
        self.wall_set_at = self.time;
    }

    /// Somebody other than quotad writes a credential file, or removes it; the watch may notice.
    pub(crate) fn write(&mut self, path: &Path, bytes: Option<Vec<u8>>) {
        let stamp = self.now().stamp;
        let file = self.files.entry(path.to_owned()).or_default();
        file.bytes = bytes;
        file.written_at = stamp;
        self.touch(path);
    }

    /// Something happened at this path or beside it.
    pub(crate) fn touch(&mut self, path: &Path) {
        if !self.blind {
            self.noticed.push(path.to_owned());
        }
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self, path: &Path) -> Option<&[u8]> {
        self.files.get(path)?.bytes.as_deref()
    }
}

fn stamp(millis: i64) -> Stamp {
    Stamp::from_millisecond(millis).expect("a time within reach")
}

impl Disk {
    pub(super) fn store(&mut self, record: &Record) -> Result<(), String> {
        if self.unwritable {
            return Err("could not store it in state.db: the disk is full".to_owned());
        }
        let durable = match record.clone() {
            Record::Login { key, record, durable } => {
                let before = self.logins.insert(key.clone(), *record);
                self.unsynced.push(Undo::Login(key, before.map(Box::new)));
                durable
            }
            Record::File { key, record } => {
                self.files.insert(key, *record);
                true
            }
            Record::Reading(key, reading) => {
                let before = self.readings.insert(key.clone(), (*reading).clone());
                self.unsynced.push(Undo::Reading(key, before));
                false
            }
            Record::Mark(token, mark) => {
                self.marks.insert(token, through_json(&mark));
                true
            }
        };
        if durable {
            self.unsynced.clear();
        }
        Ok(())
    }

    /// The power fails: of what was not synced, the last `undone` writes at least are gone.
    pub(super) fn lose_power(&mut self, undone: usize) {
        for undo in self.unsynced.drain(..).rev().take(undone) {
            match undo {
                Undo::Login(key, before) => put_back(&mut self.logins, key, before.map(|before| *before)),
                Undo::Reading(key, before) => put_back(&mut self.readings, key, before),
            }
        }
    }

    pub(super) fn set_aside(&mut self, random: &mut Random) {
        let successors = std::mem::take(&mut self.successors);
        *self = Self { successors, unwritable: self.unwritable, ..Self::default() };
        self.key[..8].copy_from_slice(&random.next().to_le_bytes());
    }
}

fn put_back<V>(map: &mut BTreeMap<String, V>, key: String, before: Option<V>) {
    match before {
        Some(before) => map.insert(key, before),
        None => map.remove(&key),
    };
}

/// Through the form it has in `state.db`, and back.
pub(super) fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(record: &T) -> T {
    let json = serde_json::to_string(record).expect("a record can be written");
    serde_json::from_str(&json).expect("a record can be read back")
}

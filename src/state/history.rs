//! What was read in the past: one row per window and change.
//!
//! Owns how it is read and how long rows are kept; `reading` writes them. A series is one window of one login in one
//! unit; a level is what its numbers were from one moment on, until the next level. Rows stand in the order in which
//! they were written, whatever the clock did. Never says what a change means: that a window started over is `policy`'s
//! to tell.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{State, StoreError};
use crate::policy::time::Stamp;

pub(super) const TABLES: &str = "
    CREATE TABLE series (
        id      INTEGER PRIMARY KEY,
        login   TEXT NOT NULL,
        window  TEXT NOT NULL,
        unit    TEXT NOT NULL,
        label   TEXT NOT NULL,
        read_at INTEGER NOT NULL,
        UNIQUE (login, window, unit)
    ) STRICT;
    CREATE TABLE sample (
        series    INTEGER NOT NULL,
        n         INTEGER NOT NULL,
        at        INTEGER NOT NULL,
        thousandths  INTEGER,
        resets_in INTEGER,
        used      TEXT,
        allowed   TEXT,
        remaining TEXT,
        PRIMARY KEY (series, n)
    ) STRICT, WITHOUT ROWID;
";

/// Read once when a file is opened: it holds the tables, as they should be.
pub(super) const CHECKS: [&str; 2] = [
    "SELECT id, login, window, unit, label, read_at FROM series LIMIT 1",
    "SELECT series, n, at, thousandths, resets_in, used, allowed, remaining FROM sample LIMIT 1",
];

/// [`Series::read_at`] lags behind by less than this, in seconds: the page it is on would be written at every poll.
pub(super) const LAG: u64 = 3600;
/// So many rows are deleted in one step, and so many pages given back: neither may keep the loop.
const STEP_ROWS: i64 = 5_000;
const STEP_PAGES: i64 = 1_000;

pub(super) const COLUMNS: &str = "at, thousandths, resets_in, used, allowed, remaining";

/// What the numbers of a window were from one moment on.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// When they were read, in whole seconds.
    pub at: Stamp,
    /// Percent used.
    pub used_percent: Option<f64>,
    /// Amount used, in the unit of the series.
    pub used: Option<String>,
    /// Amount allowed.
    pub limit: Option<String>,
    /// Amount left.
    pub remaining: Option<String>,
    /// When the vendor said the window starts over, in whole seconds.
    pub resets_at: Option<Stamp>,
}

/// One window of one login, in one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// For [`State::levels`].
    pub id: i64,
    /// The window's identifier.
    pub window: String,
    /// What a person calls it.
    pub label: String,
    /// The unit of its amounts; empty where it has none.
    pub unit: String,
    /// When it was last read, changed or not; up to an hour too early.
    pub read_at: Stamp,
}

/// A level in the place of another.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The window's identifier.
    pub window: String,
    /// What a person calls it.
    pub label: String,
    /// The level that stood so far.
    pub before: Level,
    /// The one that stands now.
    pub after: Level,
}

/// So many rows in a row that are too old end the search for younger ones.
const OUT_OF_ORDER: u32 = 100;

impl State {
    /// Every window of a login of which something is known, in the order in which they were first read.
    pub fn series(&self, login: &str) -> Vec<Series> {
        let sql = "SELECT id, window, label, unit, read_at FROM series WHERE login = ?1 ORDER BY id";
        let read = self.db.prepare_cached(sql).and_then(|mut statement| {
            let rows = statement.query_map([login], |row| {
                Ok(Series {
                    id: row.get(0)?,
                    window: row.get(1)?,
                    label: row.get(2)?,
                    unit: row.get(3)?,
                    read_at: stamp(row.get(4)?),
                })
            })?;
            rows.collect()
        });
        read.unwrap_or_default()
    }

    /// The levels of a series since a moment, in the order in which they were read, at most the newest `most`; and before
    /// them the one that stood when the first of them was read.
    pub fn levels(&self, series: i64, since: Stamp, most: usize) -> Vec<Level> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let newest = format!("SELECT n, {COLUMNS} FROM sample WHERE series = ?1 ORDER BY n DESC LIMIT ?2");
        let before = format!("SELECT {COLUMNS} FROM sample WHERE series = ?1 AND n < ?2 ORDER BY n DESC LIMIT 1");
        let read = || -> rusqlite::Result<Vec<Level>> {
            let (mut first, mut older) = (i64::MAX, 0);
            let mut levels = Vec::new();
            let mut statement = self.db.prepare_cached(&newest)?;
            let mut rows = statement.query(params![series, most])?;
            // Read from the newest on, and no further than it takes: a clock that was set back leaves a few in between.
            while let Some(row) = rows.next()? {
                let level = level(row, 1)?;
                if level.at >= since {
                    first = row.get(0)?;
                    levels.push(level);
                    older = 0;
                } else if older == OUT_OF_ORDER {
                    break;
                } else {
                    older += 1;
                }
            }
            let mut statement = self.db.prepare_cached(&before)?;
            levels.extend(statement.query_row(params![series, first], |row| level(row, 0)).optional()?);
            levels.reverse();
            Ok(levels)
        };
        read().unwrap_or_default()
    }

    /// What was read of a login while it had no name is its own history, where it has none yet.
    ///
    /// # Errors
    /// [`StoreError`]: it stays where it is.
    pub fn name_history(&self, unnamed: &str, login: &str) -> Result<(), StoreError> {
        self.write("whose the history is", false, |db| {
            let is_free = "NOT EXISTS (SELECT 1 FROM series WHERE login = ?2)";
            let sql = format!("UPDATE series SET login = ?2 WHERE login = ?1 AND {is_free}");
            db.prepare_cached(&sql)?.execute([unnamed, login])
        })
    }

    /// When anything was read last; `None` where nothing ever was.
    pub fn last_read(&self) -> Option<Stamp> {
        let read = self.db.query_row("SELECT max(read_at) FROM series", [], |row| row.get::<_, Option<i64>>(0));
        read.ok().flatten().map(stamp)
    }

    /// Deletes what was read before `cutoff`, and gives room back to the file system, in one step of bounded length;
    /// whether more is left to do. The level that stands stays as long as its window is read.
    ///
    /// # Errors
    /// [`StoreError`]: to be tried again another day.
    pub fn prune(&self, cutoff: Stamp) -> Result<bool, StoreError> {
        let mut left = false;
        self.write("that old readings go", false, |db| {
            let mut room = STEP_ROWS;
            let transaction = db.unchecked_transaction()?;
            let all: Vec<(i64, i64)> = transaction
                .prepare_cached("SELECT id, read_at FROM series ORDER BY id")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            for (series, read_at) in all {
                let is_gone = read_at.saturating_add_unsigned(LAG) < cutoff.as_second();
                let deleted =
                    transaction.prepare_cached(DELETE)?.execute(params![series, cutoff.as_second(), is_gone, room])?;
                room -= i64::try_from(deleted).unwrap_or(room);
                if room <= 0 {
                    left = true;
                    break;
                }
                if is_gone {
                    transaction.prepare_cached("DELETE FROM series WHERE id = ?1")?.execute([series])?;
                }
            }
            transaction.commit()?;
            // Every row of the pragma is one page.
            let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            let free: i64 = db.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
            let is_incremental = auto_vacuum(db)? == INCREMENTAL;
            left |= free > 0 && is_incremental;
            Ok(0)
        })?;
        Ok(left)
    }
}

/// Rows of series ?1 from before ?2, all of them if ?3, at most ?4.
const DELETE: &str = "
    DELETE FROM sample WHERE series = ?1 AND n IN (
        SELECT n FROM sample
        WHERE series = ?1 AND at < ?2 AND (?3 OR n < (SELECT max(n) FROM sample WHERE series = ?1))
        ORDER BY n LIMIT ?4
    )
";

const INCREMENTAL: i64 = 2;

fn auto_vacuum(db: &Connection) -> rusqlite::Result<i64> {
    db.pragma_query_value(None, "auto_vacuum", |row| row.get(0))
}

/// Makes a new file one that can give room back; for a file with tables, see [`rebuild`].
pub(super) fn prepare(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update(None, "auto_vacuum", INCREMENTAL)
}

/// Makes a file of an older quotad one that can give room back, by writing it anew once. Where that cannot be done, the
/// file is as it was, and only stays as large as it ever became: the next start tries again.
pub(super) fn rebuild(db: &Connection) {
    let done = || -> rusqlite::Result<()> {
        if auto_vacuum(db)? != INCREMENTAL {
            // Before there was a history, a file was small; and the sandbox may leave no other place.
            db.pragma_update(None, "temp_store", "MEMORY")?;
            db.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
            db.execute_batch("VACUUM")?;
        }
        Ok(())
    };
    if let Err(error) = done() {
        tracing::info!(event = "state-not-rebuilt", "state.db cannot give room back yet: {error}");
    }
    let _ = db.pragma_update(None, "temp_store", "DEFAULT");
}

/// In thousandths of a point: exact for what vendors give, and a third of the room.
pub(super) fn thousandths(percent: f64) -> i64 {
    (percent * 1000.0).round() as i64
}

pub(super) fn level(row: &Row<'_>, first: usize) -> rusqlite::Result<Level> {
    let at: i64 = row.get(first)?;
    let resets_in: Option<i64> = row.get(first + 2)?;
    Ok(Level {
        at: stamp(at),
        used_percent: row.get::<_, Option<i64>>(first + 1)?.map(|thousandths| thousandths as f64 / 1000.0),
        resets_at: resets_in.map(|wait| stamp(at.saturating_add(wait))),
        used: row.get(first + 3)?,
        limit: row.get(first + 4)?,
        remaining: row.get(first + 5)?,
    })
}

pub(super) fn stamp(second: i64) -> Stamp {
    Stamp::from_second(second).unwrap_or(if second < 0 { Stamp::MIN } else { Stamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::super::reading::record;
    use super::*;
    use crate::model::{Amount, Reading, Source, Window};
    use crate::state::{Examined, examine};

    const LOGIN: &str = "claude https://x uuid:1";

    fn at(second: i64) -> Stamp {
        Stamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn window(percent: impl Into<Option<f64>>, resets_at: impl Into<Option<i64>>) -> Window {
        Window {
            used_percent: percent.into(),
            resets_at: resets_at.into().map(at),
            ..Window::named("five_hour", "5-hour")
        }
    }

    fn euros(amount: &str) -> Amount {
        Amount { amount: amount.to_owned(), unit: "EUR".to_owned() }
    }

    fn reading(second: i64, windows: Vec<Window>) -> Reading {
        Reading { windows, plan: None, read_at: at(second), source: Source::Api, earlier: None }
    }

    fn open() -> (tempfile::TempDir, State) {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        (dir, state)
    }

    fn store(state: &State, second: i64, window: Window) -> Vec<Change> {
        state.store_reading(LOGIN, &reading(second, vec![window])).unwrap()
    }

    fn rows(state: &State) -> i64 {
        state.db.query_row("SELECT count(*) FROM sample", [], |row| row.get(0)).unwrap()
    }

    /// The seconds at which the levels of the first series were read.
    fn read_at(state: &State, since: i64, most: usize) -> Vec<i64> {
        let series = &state.series(LOGIN)[0];
        state.levels(series.id, at(since), most).iter().map(|l| l.at.as_second() - 1_800_000_000).collect()
    }

    #[test]
    fn a_row_is_written_when_a_number_changes_or_the_reset_moves_by_more_than_jitter() {
        type Case = (&'static str, Window, Window, bool);
        let spent = |used: Option<Box<Amount>>| Window { used, ..window(None, 900) };
        let cases: [Case; 14] = [
            ("the same", window(40.0, 900), window(40.0, 900), false),
            ("a thousandth", window(40.0, 900), window(40.001, 900), true),
            ("less than that", window(40.0, 900), window(40.0004, 900), false),
            ("it fell", window(40.0, 900), window(39.0, 900), true),
            ("a minute of jitter", window(40.0, 900), window(40.0, 960), false),
            ("and back", window(40.0, 900), window(40.0, 840), false),
            ("more than that", window(40.0, 900), window(40.0, 961), true),
            ("a time is told for the first time", window(40.0, None), window(40.0, 900), true),
            ("no time is told, before it has passed", window(40.0, 900), window(40.0, None), false),
            ("no time is told, after it has passed", window(40.0, 50), window(40.0, None), true),
            ("no percentage is told", window(40.0, 900), window(None, 900), false),
            (
                "money, to the last digit",
                spent(Some(euros("50.030").into())),
                spent(Some(euros("50.031").into())),
                true,
            ),
            ("the same money", spent(Some(euros("50.03").into())), spent(Some(euros("50.03").into())), false),
            (
                "money is not told",
                spent(Some(euros("50.03").into())),
                Window { used_percent: Some(3.0), ..spent(None) },
                true,
            ),
        ];
        for (why, before, after, is_news) in cases {
            let (_dir, state) = open();
            assert!(store(&state, 0, before).is_empty(), "the first is no change: {why}");
            let changes = store(&state, 60, after);
            assert_eq!((changes.len() == 1, rows(&state)), (is_news, 1 + i64::from(is_news)), "{why}");
        }
    }

    #[test]
    fn a_reset_time_that_creeps_is_written_as_soon_as_it_has_crept_for_more_than_a_minute() {
        let (_dir, state) = open();
        for n in 0..10 {
            store(&state, n * 300, window(0.0, 18_000 + n * 25));
        }
        assert_eq!(read_at(&state, 0, 99), [0, 900, 1800, 2700]);
    }

    #[test]
    fn a_level_comes_back_as_it_was_read_with_what_it_replaced() {
        let (dir, state) = open();
        let spent =
            Window { used: Some(euros("50.03").into()), limit: Some(euros("100.00").into()), ..window(41.5, 900) };
        store(&state, 0, window(0.1 + 0.2, None));
        let changes = store(&state, 60, spent.clone());
        let before =
            Level { at: at(0), used_percent: Some(0.3), used: None, limit: None, remaining: None, resets_at: None };
        let after = Level {
            at: at(60),
            used_percent: Some(41.5),
            used: Some("50.03".to_owned()),
            limit: Some("100.00".to_owned()),
            remaining: None,
            resets_at: Some(at(900)),
        };
        let change = Change { window: "five_hour".into(), label: "5-hour".into(), before, after };
        assert_eq!(changes, std::slice::from_ref(&change));
        store(&state, 120, spent);
        drop(state);
        let state = State::open(dir.path()).unwrap();
        let [series] = &state.series(LOGIN)[..] else { panic!("one series") };
        assert_eq!((&*series.unit, series.read_at), ("EUR", at(60)), "the first amount names the unit");
        assert_eq!(state.levels(series.id, at(0), 9), [change.before, change.after]);
        assert_eq!(state.reading(LOGIN).map(|reading| reading.read_at), Some(at(120)));
        assert!(state.series("another").is_empty());
    }

    #[test]
    fn another_currency_is_another_series_and_a_window_without_a_number_is_none() {
        let (_dir, state) = open();
        let spent = |unit: &str| Window {
            used: Some(Box::new(Amount { amount: "1.00".to_owned(), unit: unit.to_owned() })),
            ..window(None, None)
        };
        for (second, unit) in [(0, "EUR"), (1, "USD"), (2, "EUR")] {
            store(&state, second, spent(unit));
        }
        store(&state, 9, Window::named("seven_day", "weekly"));
        let series: Vec<_> = state.series(LOGIN).into_iter().map(|series| (series.window, series.unit)).collect();
        assert_eq!(series, [("five_hour".into(), "EUR".into()), ("five_hour".into(), "USD".into())]);
        assert_eq!(rows(&state), 2);
    }

    #[test]
    fn the_newest_levels_since_a_moment_come_after_the_one_that_stood_then() {
        let (_dir, state) = open();
        for n in 0..10 {
            store(&state, n * 10, window(n as f64, None));
        }
        assert_eq!(read_at(&state, 75, 99), [70, 80, 90]);
        assert_eq!(read_at(&state, 0, 2), [70, 80, 90]);
        assert_eq!(read_at(&state, 500, 99), [90], "nothing changed since: what stands");
    }

    #[test]
    fn rows_stand_as_they_were_written_though_the_clock_stepped_back() {
        let (_dir, state) = open();
        for (n, second) in [0, 5000, 100, 200].into_iter().enumerate() {
            store(&state, second, window(n as f64, None));
        }
        assert_eq!(read_at(&state, 0, 99), [0, 5000, 100, 200]);
    }

    #[test]
    fn a_vendor_of_ever_new_windows_cannot_fill_the_disk() {
        let (_dir, state) = open();
        let windows = (0..300).map(|n| Window { id: n.to_string(), ..window(1.0, None) }).collect();
        state.store_reading(LOGIN, &reading(0, windows)).unwrap();
        assert_eq!((state.series(LOGIN).len(), rows(&state)), (100, 100));
    }

    #[test]
    fn what_is_past_its_time_goes_step_by_step_but_not_the_level_that_stands() {
        let (dir, state) = open();
        let fill = |login: &str, from: i64, rows: i64| {
            let transaction = state.db.unchecked_transaction().unwrap();
            for n in 0..rows {
                record(&transaction, login, &reading(from + n, vec![window((n % 100) as f64, None)])).unwrap();
            }
            transaction.commit().unwrap();
        };
        fill("gone", 0, 7_000);
        fill(LOGIN, 0, 8_000);
        state.db.pragma_update(None, "wal_checkpoint", "TRUNCATE").ok();
        let size = || std::fs::metadata(dir.path().join("state.db")).unwrap().len();
        let before = size();
        assert!(!state.prune(at(0)).unwrap(), "nothing is that old");
        assert_eq!(rows(&state), 15_000);
        let mut steps = 1;
        while state.prune(at(7_500)).unwrap() {
            steps += 1;
        }
        assert!((3..8).contains(&steps), "{steps}");
        assert_eq!((rows(&state), state.series("gone").len()), (500, 0));
        assert_eq!(read_at(&state, 7_500, 1_000).len(), 500);
        while state.prune(at(12_000)).unwrap() {}
        assert_eq!(rows(&state), 0, "not read since either");
        fill(LOGIN, 9_000, 3);
        store(&state, 20_000, window(2.0, None));
        assert!(!state.prune(at(15_000)).unwrap());
        assert_eq!(read_at(&state, 15_000, 9), [9_002], "it stands");
        state.db.pragma_update(None, "wal_checkpoint", "TRUNCATE").ok();
        assert!(size() < before / 3, "{} of {before} bytes", size());
    }

    #[test]
    fn when_a_window_was_last_read_is_written_once_an_hour() {
        let (_dir, state) = open();
        for minute in (0..=125).step_by(5) {
            store(&state, minute * 60, window(40.0, None));
        }
        assert_eq!(state.series(LOGIN)[0].read_at, at(120 * 60));
    }

    /// A file as version 2 had it, with something in each of its tables.
    fn version_2() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        state.fingerprint_key().unwrap();
        state.store_reading(LOGIN, &reading(0, vec![window(40.0, 900)])).unwrap();
        drop(state);
        let db = Connection::open(dir.path().join("state.db")).unwrap();
        let newer: Vec<String> = db
            .prepare(
                "SELECT 'DROP TABLE ' || name FROM sqlite_master WHERE type = 'table'
                 AND name NOT IN ('meta', 'login', 'file', 'mark', 'reading', 'standing', 'tally')",
            )
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        db.execute_batch(&newer.join(";")).unwrap();
        db.execute_batch("PRAGMA user_version = 2; PRAGMA auto_vacuum = 0; VACUUM").unwrap();
        assert_eq!(auto_vacuum(&db).unwrap(), 0);
        dir
    }

    #[test]
    fn a_file_of_version_2_keeps_what_it_holds_and_can_give_room_back_from_then_on() {
        let dir = version_2();
        let state = State::open(dir.path()).unwrap();
        assert_eq!((state.set_aside(), auto_vacuum(&state.db).unwrap()), (None, INCREMENTAL));
        assert_eq!(state.reading(LOGIN).map(|reading| reading.read_at), Some(at(0)));
        assert!(state.series(LOGIN).is_empty());
        store(&state, 60, window(41.0, 900));
        drop(state);
        let state = State::open(dir.path()).unwrap();
        assert_eq!((state.series(LOGIN).len(), auto_vacuum(&state.db).unwrap()), (1, INCREMENTAL));
    }

    #[test]
    fn on_a_full_disk_the_file_is_left_sound_and_rebuilt_another_time() {
        let dir = version_2();
        let db = Connection::open(dir.path().join("state.db")).unwrap();
        crate::state::file::configure(&db).unwrap();
        let pages: i64 = db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        // A rebuilt file is larger by the map of its pages.
        db.pragma_update(None, "max_page_count", pages).unwrap();
        rebuild(&db);
        let verdict: String = db.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
        assert_eq!((&*verdict, auto_vacuum(&db).unwrap()), ("ok", 0), "it was too full");
        drop(db);
        assert_eq!(examine(dir.path()).unwrap(), Examined::Sound);
        let state = State::open(dir.path()).unwrap();
        assert_eq!((state.set_aside(), auto_vacuum(&state.db).unwrap()), (None, INCREMENTAL));
        assert_eq!(state.reading(LOGIN).map(|reading| reading.read_at), Some(at(0)));
    }

    #[test]
    fn a_reading_that_does_not_fit_on_the_disk_leaves_neither_reading_nor_row() {
        let (_dir, state) = open();
        store(&state, 0, window(40.0, 900));
        let pages: i64 = state.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        state.db.pragma_update(None, "max_page_count", pages).unwrap();
        let windows = (0..60).map(|n| Window { id: format!("{n:0>200}"), ..window(1.0, None) }).collect();
        let error = state.store_reading(LOGIN, &reading(60, windows)).unwrap_err();
        assert!(error.to_string().starts_with("could not store a reading in state.db: "), "{error}");
        assert_eq!((rows(&state), state.reading(LOGIN).map(|reading| reading.read_at)), (1, Some(at(0))));
        state.db.pragma_update(None, "max_page_count", 100_000).unwrap();
        assert_eq!(store(&state, 90, window(41.0, 900)).len(), 1, "and it works again");
    }

    #[test]
    fn a_broken_history_is_as_bad_as_a_broken_file() {
        for harm in [
            "DROP TABLE sample",
            "ALTER TABLE series DROP COLUMN read_at",
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_master SET rootpage = 1 WHERE name = 'sample'",
            "DROP TABLE sample; CREATE TABLE sample (series, n, at TEXT)",
        ] {
            let (dir, state) = open();
            store(&state, 0, window(40.0, 900));
            drop(state);
            Connection::open(dir.path().join("state.db")).unwrap().execute_batch(harm).unwrap();
            assert_eq!(examine(dir.path()).unwrap(), Examined::Damaged, "{harm}");
            assert!(State::open(dir.path()).unwrap().set_aside().is_some(), "{harm}");
        }
    }

    #[test]
    fn a_row_of_the_wrong_kind_cannot_be_written() {
        let (_dir, state) = open();
        let error = state.db.execute("INSERT INTO sample (series, n, at) VALUES (1, 1, 'noon')", []).unwrap_err();
        assert!(error.to_string().contains("cannot store TEXT"), "{error}");
    }

    /// Five accounts of four windows, asked every five minutes, whose every number changes every time.
    #[test]
    #[expect(clippy::print_stdout, reason = "`--nocapture` shows the size")]
    fn ninety_days_of_five_busy_accounts_stay_under_twenty_megabytes() {
        const DAYS: i64 = 90;
        let (dir, state) = open();
        let began = std::time::Instant::now();
        let polls = DAYS * 288;
        for account in 0..5 {
            let windows = ["five_hour", "seven_day", "weekly:fable", "extra"].map(|id| Window::named(id, id));
            let windows =
                windows.map(|named| Window { used_percent: Some(0.1), resets_at: Some(at(604_800)), ..named });
            let login = format!("claude https://x uuid:{account}");
            state.store_reading(&login, &reading(0, windows.to_vec())).unwrap();
        }
        // What `record` writes, in the order in which it does.
        let filling = "
            WITH RECURSIVE poll (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM poll WHERE n < ?1)
            INSERT INTO sample SELECT
                id, n, ?2 + n * 300, (n * 37 + id * 11) % 1000 * 100, 604800 - n * 300 % 604800, NULL, NULL, NULL
            FROM poll CROSS JOIN series";
        state.db.pragma_update(None, "cache_size", -32_000).unwrap();
        state.db.execute(filling, [polls, at(0).as_second()]).unwrap();
        assert_eq!(rows(&state), polls * 20);
        let filled = began.elapsed();
        drop(state);
        let began = std::time::Instant::now();
        let state = State::open(dir.path()).unwrap();
        let opened = began.elapsed();
        let began = std::time::Instant::now();
        let id = state.series("claude https://x uuid:3")[0].id;
        assert_eq!(state.levels(id, at((DAYS - 28) * 86_400), 8_064).len(), 8_065);
        let read = began.elapsed();
        let size = std::fs::metadata(dir.path().join("state.db")).unwrap().len();
        println!(
            "{} rows: {:.1} MB, {:.1} bytes a row; filled in {filled:.1?}, opened in {opened:.1?}, 28 days of a window read in {read:.1?}",
            polls * 20,
            size as f64 / 1e6,
            size as f64 / (polls * 20) as f64
        );
        assert!(size < 20_000_000, "{size} bytes");
    }
}

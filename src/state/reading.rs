//! Stores a reading, and what it changed as history.
//!
//! Owns what counts as a change, and which series a window belongs to. Percents are kept to a thousandth of a point;
//! money stays the text the vendor gave.

use rusqlite::{Connection, Row, params};

use super::history::{COLUMNS, Change, LAG, Level, level, stamp, thousandths};
use super::{State, StoreError, in_full_steps};
use crate::model::{Amount, Reading, Window};
use crate::policy::time::Stamp;

/// A reset time differs by so much from answer to answer, in seconds (providers.md A.1).
const JITTER: i64 = 60;
/// A vendor that thinks of ever new windows cannot fill the disk.
const MOST_SERIES: usize = 100;

impl State {
    /// Stores a reading as the last one of its login and what it changed as history, both or neither. It outlives the
    /// process. What was changed is returned, without levels that are the first of their series.
    ///
    /// # Errors
    /// [`StoreError`]: the caller keeps the reading.
    pub fn store_reading(&self, login: &str, reading: &Reading) -> Result<Vec<Change>, StoreError> {
        let mut changes = Vec::new();
        self.write("a reading", false, |db| {
            let json = in_full_steps(reading)?;
            let sql = "INSERT INTO reading VALUES (?1, ?2) ON CONFLICT (login) DO UPDATE SET record = excluded.record";
            changes = as_one(db, || {
                db.prepare_cached(sql)?.execute(params![login, json])?;
                record(db, login, reading)
            })?;
            Ok(0)
        })?;
        Ok(changes)
    }
}

/// Writes what a reading changed.
pub(super) fn record(db: &Connection, login: &str, reading: &Reading) -> rusqlite::Result<Vec<Change>> {
    let mut known = standing(db, login)?;
    let mut changes = Vec::new();
    for window in &reading.windows {
        let (level, unit) = level_of(window, reading.read_at);
        let Some(standing) = series_of(db, login, &mut known, window, unit, &level)? else { continue };
        if standing.newest.as_ref().is_some_and(|(_, before)| !is_news(before, &level)) {
            continue;
        }
        let n = standing.newest.as_ref().map_or(1, |(n, _)| n + 1);
        let resets_in = level.resets_at.map(|at| at.as_second() - level.at.as_second());
        db.prepare_cached("INSERT INTO sample VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(params![
            standing.id,
            n,
            level.at.as_second(),
            level.used_percent.map(thousandths),
            resets_in,
            level.used,
            level.limit,
            level.remaining
        ])?;
        if let Some((_, before)) = standing.newest.replace((n, level.clone())) {
            changes.push(Change { window: window.id.clone(), label: window.label.clone(), before, after: level });
        }
    }
    Ok(changes)
}

/// A series as it stands.
struct Standing {
    id: i64,
    window: String,
    unit: String,
    label: String,
    read_at: i64,
    /// Its last level, and the number of that.
    newest: Option<(i64, Level)>,
}

/// Every series of a login, at one go: a poll asks for all of them.
fn standing(db: &Connection, login: &str) -> rusqlite::Result<Vec<Standing>> {
    let sql = format!(
        "SELECT id, window, unit, label, read_at, n, {COLUMNS} FROM series
         LEFT JOIN sample ON series = id AND n = (SELECT max(n) FROM sample WHERE series = id) WHERE login = ?1"
    );
    let standing = |row: &Row<'_>| {
        let newest = row.get::<_, Option<i64>>(5)?.map(|n| level(row, 6).map(|level| (n, level))).transpose()?;
        let (window, unit, label) = (row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(Standing { id: row.get(0)?, window, unit, label, read_at: row.get(4)?, newest })
    };
    db.prepare_cached(&sql)?.query_map([login], standing)?.collect()
}

/// The series that a level belongs to, read now; `None` where it is none: it holds no number, or there are too many.
fn series_of<'a>(
    db: &Connection,
    login: &str,
    known: &'a mut Vec<Standing>,
    window: &Window,
    unit: &str,
    level: &Level,
) -> rusqlite::Result<Option<&'a mut Standing>> {
    let at = level.at.as_second();
    // A source that knows the percentage alone speaks of the same series; the first amount gives it its unit.
    let fits = |one: &Standing| one.window == window.id && (one.unit == unit || one.unit.is_empty() || unit.is_empty());
    let best = (0..known.len()).filter(|i| fits(&known[*i])).max_by_key(|i| (known[*i].unit == unit, known[*i].id));
    if let Some(best) = best {
        let standing = &mut known[best];
        let is_named = standing.label == window.label && (standing.unit == unit || unit.is_empty());
        if !is_named || standing.read_at.abs_diff(at) >= LAG {
            if !unit.is_empty() {
                unit.clone_into(&mut standing.unit);
            }
            window.label.clone_into(&mut standing.label);
            standing.read_at = at;
            let sql = "UPDATE series SET label = ?2, unit = ?3, read_at = ?4 WHERE id = ?1";
            db.prepare_cached(sql)?.execute(params![standing.id, standing.label, standing.unit, at])?;
        }
        return Ok(Some(standing));
    }
    let holds_a_number = level.used_percent.is_some() || level.used.is_some() || level.remaining.is_some();
    if !holds_a_number || known.len() >= MOST_SERIES {
        return Ok(None);
    }
    let sql = "INSERT INTO series (login, window, unit, label, read_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    db.prepare_cached(sql)?.execute(params![login, window.id, unit, window.label, at])?;
    let (window, label) = (window.id.clone(), window.label.clone());
    known.push(Standing {
        id: db.last_insert_rowid(),
        window,
        unit: unit.to_owned(),
        label,
        read_at: at,
        newest: None,
    });
    Ok(known.last_mut())
}

/// A window as a level, and the unit of its amounts. An amount in yet another unit is left out.
fn level_of(window: &Window, at: Stamp) -> (Level, &str) {
    let amounts = [&window.used, &window.limit, &window.remaining];
    let unit = amounts.iter().find_map(|amount| amount.as_ref()).map_or("", |amount| &*amount.unit);
    let of = |amount: &Option<Box<Amount>>| amount.as_ref().filter(|a| a.unit == unit).map(|a| a.amount.clone());
    let level = Level {
        at: stamp(at.as_second()),
        used_percent: window.used_percent.filter(|percent| percent.is_finite()),
        used: of(&window.used),
        limit: of(&window.limit),
        remaining: of(&window.remaining),
        resets_at: window.resets_at.map(|at| stamp(at.as_second())),
    };
    (level, unit)
}

/// Whether a level says anything else than the one that stands. What it does not say, it does not change; but once a
/// reset was due, no reset time means that none is under way.
fn is_news(before: &Level, after: &Level) -> bool {
    let said = |before: &Option<String>, after: &Option<String>| after.is_some() && before != after;
    let percent = after.used_percent.map(thousandths);
    (percent.is_some() && percent != before.used_percent.map(thousandths))
        || said(&before.used, &after.used)
        || said(&before.limit, &after.limit)
        || said(&before.remaining, &after.remaining)
        || match (before.resets_at, after.resets_at) {
            (Some(due), Some(next)) => (next.as_second() - due.as_second()).abs() > JITTER,
            (Some(due), None) => after.at >= due,
            (None, next) => next.is_some(),
        }
}

/// All that `work` writes, or nothing of it. With statements that are kept, which `rusqlite::Transaction` has compiled
/// anew for every poll: a hundredth of its CPU.
fn as_one<T>(db: &Connection, work: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    db.prepare_cached("BEGIN")?.execute([])?;
    let done = work().and_then(|done| db.prepare_cached("COMMIT")?.execute([]).map(|_| done));
    if done.is_err() {
        // What failed may have rolled back by itself.
        let _ = db.execute_batch("ROLLBACK");
    }
    done
}

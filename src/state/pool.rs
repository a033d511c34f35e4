//! What clients reported, on disk: how each login stands with them, and how often it was used.
//!
//! Sums are only ever added to, in one statement each: no value that was read before is ever written back. What a
//! report changed is stored in one transaction before the report is answered, so that what was answered outlives the
//! process.

use rusqlite::{Connection, params};

use super::{State, StoreError};
use crate::policy::pool::{StandingRecord, Tally, Unstored};
use crate::policy::time::Stamp;

pub(super) const TABLES: &str = "
    CREATE TABLE standing (login TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE tally (
        login     TEXT PRIMARY KEY,
        selects   INTEGER NOT NULL,
        tokens    INTEGER NOT NULL,
        reports   INTEGER NOT NULL,
        successes INTEGER NOT NULL,
        failures  INTEGER NOT NULL,
        cooldowns INTEGER NOT NULL,
        last_used INTEGER
    ) WITHOUT ROWID;
";

const ADD: &str = "
    INSERT INTO tally VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
    ON CONFLICT (login) DO UPDATE SET
        selects   = selects + excluded.selects,
        tokens    = tokens + excluded.tokens,
        reports   = reports + excluded.reports,
        successes = successes + excluded.successes,
        failures  = failures + excluded.failures,
        cooldowns = cooldowns + excluded.cooldowns,
        last_used = max(coalesce(last_used, excluded.last_used), coalesce(excluded.last_used, last_used))
";

impl State {
    /// How every login stands with its clients.
    pub fn standings(&self) -> Vec<(String, StandingRecord)> {
        let rows: Vec<(String, String)> = self.rows("SELECT login, record FROM standing");
        rows.into_iter().filter_map(|(login, json)| Some((login, serde_json::from_str(&json).ok()?))).collect()
    }

    /// When each login was last given out.
    pub fn last_used(&self) -> Vec<(String, Stamp)> {
        let rows: Vec<(String, i64)> = self.rows("SELECT login, last_used FROM tally WHERE last_used IS NOT NULL");
        rows.into_iter().filter_map(|(login, at)| Some((login, Stamp::from_millisecond(at).ok()?))).collect()
    }

    /// What was counted of a login; nothing where nothing was.
    pub fn tally(&self, login: &str) -> Tally {
        let sql =
            "SELECT selects, tokens, reports, successes, failures, cooldowns, last_used FROM tally WHERE login = ?1";
        let read = self.db.prepare_cached(sql).and_then(|mut statement| {
            statement.query_row(params![login], |row| {
                let count = |at| row.get::<_, i64>(at).map(|count| u64::try_from(count).unwrap_or(0));
                Ok(Tally {
                    selects: count(0)?,
                    tokens: count(1)?,
                    reports: count(2)?,
                    successes: count(3)?,
                    failures: count(4)?,
                    cooldowns: count(5)?,
                    last_used: row.get::<_, Option<i64>>(6)?.and_then(|at| Stamp::from_millisecond(at).ok()),
                })
            })
        });
        read.unwrap_or_default()
    }

    /// Stores what the pool has to be stored, all of it or nothing. Pauses are on the platter when this returns, sums
    /// outlive the process.
    ///
    /// # Errors
    /// [`StoreError`]: give it back to the pool.
    pub fn store_pool(&self, unstored: &Unstored) -> Result<(), StoreError> {
        let durable = !unstored.standings.is_empty();
        self.write("what clients reported", durable, |db| {
            let transaction = db.unchecked_transaction()?;
            for (login, record) in &unstored.standings {
                match record {
                    Some(record) => {
                        let json = serde_json::to_string(record)
                            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
                        transaction
                            .prepare_cached("INSERT OR REPLACE INTO standing VALUES (?1, ?2)")?
                            .execute(params![login, json])?
                    }
                    None => transaction.prepare_cached("DELETE FROM standing WHERE login = ?1")?.execute([login])?,
                };
            }
            for (before, login) in &unstored.renamed {
                add(&transaction, login, &self.tally(before))?;
                transaction.prepare_cached("DELETE FROM tally WHERE login = ?1")?.execute([before])?;
            }
            for (login, tally) in &unstored.tallies {
                add(&transaction, login, tally)?;
            }
            transaction.commit()?;
            Ok(0)
        })
    }

    pub(super) fn rows<A: rusqlite::types::FromSql, B: rusqlite::types::FromSql>(&self, sql: &str) -> Vec<(A, B)> {
        let rows = self.db.prepare(sql).and_then(|mut statement| {
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<_>, _>>()
        });
        rows.unwrap_or_default()
    }
}

fn add(db: &Connection, login: &str, tally: &Tally) -> rusqlite::Result<usize> {
    let Tally { selects, tokens, reports, successes, failures, cooldowns, last_used } = *tally;
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let last_used = last_used.map(Stamp::as_millisecond);
    let [selects, tokens, reports, successes, failures, cooldowns] =
        [selects, tokens, reports, successes, failures, cooldowns].map(count);
    db.prepare_cached(ADD)?.execute(params![login, selects, tokens, reports, successes, failures, cooldowns, last_used])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn unstored(tally: Tally) -> Unstored {
        Unstored { tallies: BTreeMap::from([("a".to_owned(), tally)]), ..Unstored::default() }
    }

    #[test]
    fn sums_are_added_to_what_is_stored_and_the_last_use_is_the_latest() {
        let dir = tempfile::tempdir().unwrap();
        let at = |second| Some(Stamp::from_second(second).unwrap());
        let state = State::open(dir.path()).unwrap();
        assert_eq!(state.tally("a"), Tally::default());
        let report = Tally { reports: 1, successes: 1, ..Tally::default() };
        state.store_pool(&unstored(report)).unwrap();
        assert!(state.last_used().is_empty());
        for (selects, last_used) in [(1, at(20)), (2, at(10))] {
            state.store_pool(&unstored(Tally { selects, last_used, ..report })).unwrap();
        }
        state.store_pool(&unstored(Tally { failures: 1, ..report })).unwrap();
        drop(state);
        let state = State::open(dir.path()).unwrap();
        let expected =
            Tally { selects: 3, reports: 4, successes: 4, failures: 1, last_used: at(20), ..Tally::default() };
        assert_eq!(state.tally("a"), expected);
        assert_eq!(state.last_used(), [("a".to_owned(), at(20).unwrap())]);
    }

    #[test]
    fn what_was_counted_under_one_name_goes_on_under_another() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let report = Tally { reports: 1, ..Tally::default() };
        state.store_pool(&unstored(report)).unwrap();
        let renamed = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let tallies = BTreeMap::from([("b".to_owned(), report)]);
        state.store_pool(&Unstored { renamed, tallies, ..Unstored::default() }).unwrap();
        assert_eq!((state.tally("a").reports, state.tally("b").reports), (0, 2));
    }

    #[test]
    fn a_standing_is_stored_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let store = |record| {
            let standings = BTreeMap::from([("a".to_owned(), record)]);
            state.store_pool(&Unstored { standings, ..Unstored::default() }).unwrap();
        };
        store(Some(StandingRecord::default()));
        assert_eq!(state.standings(), [("a".to_owned(), StandingRecord::default())]);
        store(None);
        assert!(state.standings().is_empty());
    }
}

//! What was told, on disk, so that no start tells it again.
//!
//! Stored before it is told. A record that does not parse is forgotten: it costs one alert too many, and is no reason to
//! distrust the gates beside it. What only makes the next comparison better outlives the process, what was told also the
//! machine.

use std::collections::BTreeMap;

use rusqlite::params;

use super::{State, StoreError};
use crate::policy::alert::AlertRecord;

pub(super) const TABLES: &str = "
    CREATE TABLE alert (key TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
";

impl State {
    /// Everything that was told.
    pub fn alerts(&self) -> Vec<(String, AlertRecord)> {
        let rows: Vec<(String, String)> = self.rows("SELECT key, record FROM alert");
        rows.into_iter().filter_map(|(key, json)| Some((key, serde_json::from_str(&json).ok()?))).collect()
    }

    /// Stores what is about to be told, all of it or nothing; when `durable`, it is on the platter when this returns.
    ///
    /// # Errors
    /// [`StoreError`]: give the keys back to [`crate::policy::alert::Alerts::owe`].
    pub fn store_alerts(
        &self,
        unstored: &BTreeMap<String, Option<AlertRecord>>,
        durable: bool,
    ) -> Result<(), StoreError> {
        self.write("what was told", durable, |db| {
            let transaction = db.unchecked_transaction()?;
            for (key, record) in unstored {
                match record {
                    Some(record) => {
                        let json = serde_json::to_string(record)
                            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
                        transaction
                            .prepare_cached("INSERT OR REPLACE INTO alert VALUES (?1, ?2)")?
                            .execute(params![key, json])?
                    }
                    None => transaction.prepare_cached("DELETE FROM alert WHERE key = ?1")?.execute([key])?,
                };
            }
            transaction.commit()?;
            Ok(0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_known_after_a_restart_and_can_be_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        assert!(state.alerts().is_empty());
        let record = AlertRecord::default();
        state.store_alerts(&BTreeMap::from([("a".to_owned(), Some(record.clone()))]), true).unwrap();
        drop(state);
        let state = State::open(dir.path()).unwrap();
        assert_eq!((state.set_aside(), state.alerts()), (None, vec![("a".to_owned(), record)]));
        state.store_alerts(&BTreeMap::from([("a".to_owned(), None)]), false).unwrap();
        assert!(state.alerts().is_empty());
    }
}

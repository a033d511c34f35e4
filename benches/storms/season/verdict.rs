//! What quotad promises about its figures, in every season of every scenario.

use super::machine::{DAY, MIN, Ms};
use super::scenario::Scenario;
use super::score::Score;

/// quotad's default interval.
pub(crate) const INTERVAL: Ms = 10 * MIN;
/// Requests, at most, for each one of the oracle's.
const REQUESTS: f64 = 1.2;
/// Blindness, at most, in those of the oracle; one interval comes on top.
const BLINDNESS: Ms = 4;

/// Every promise that quotad broke in one season, as sentences; nothing if it kept them.
pub(crate) fn broken(scenario: &Scenario, quotad: &Score, oracle: &Score) -> Vec<String> {
    let out = quotad.blind < DAY || !scenario.restarts();
    [
        (quotad.lost == 0, format!("lost {} logins", quotad.lost)),
        (quotad.replays == 0, format!("replayed {} tokens", quotad.replays)),
        (out, "never got out of a window that restarts".to_owned()),
        (
            quotad.requests as f64 <= REQUESTS * oracle.requests as f64,
            format!("sent {} requests, the oracle {}", quotad.requests, oracle.requests),
        ),
        (
            quotad.blind <= BLINDNESS * oracle.blind + INTERVAL,
            format!("was blind for {} min, the oracle for {}", quotad.blind / MIN, oracle.blind / MIN),
        ),
    ]
    .into_iter()
    .filter_map(|(kept, how)| (!kept).then(|| format!("{}: quotad {how}", scenario.name)))
    .collect()
}

//! Seeds that once broke a promise. Each is lived again at every run.

use std::collections::BTreeSet;

use crate::host::Time;
use crate::life::live;
use crate::story;

/// The seed, its days, and what the product did wrong.
const SEEDS: &[(u64, u64, &str)] = &[
    (
        7,
        30,
        "the record of a login that had no name yet was recalled at every start, and with it a gate closed long ago",
    ),
    (49, 30, "the same, with an old rung of the token gate"),
    (173, 30, "a restart forgot that a refusal soon after a success continues the old incident"),
    (195, 30, "a login whose command may not run was 'being refreshed', with neither an end nor an action"),
];

#[test]
fn what_once_broke_a_promise_breaks_none_any_more() {
    for (seed, days, wrong) in SEEDS {
        let life = live(*seed, *days, Time::MAX, &BTreeSet::new(), false);
        assert!(life.broken.is_none(), "{wrong}\n{}", story::tell(*seed, *days, &life));
    }
}

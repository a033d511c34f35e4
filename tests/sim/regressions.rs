//! What the simulation has found: seeds that once broke a promise, and stories that still would, however the weather
//! is drawn. Each is lived again at every run.

use std::collections::BTreeSet;

use quotad::demo::vendor::RetryAfter;
use quotad::model::RefreshMode;

use crate::forecast::Forecast;
use crate::host::{HOUR, MINUTE, Time};
use crate::life::{live, play};
use crate::story;
use crate::weather::{Happening, Spell};

/// The seed, its days, and what was wrong.
const SEEDS: &[(u64, u64, &str)] = &[];

const REFUSED: Spell = Spell::Limits(RetryAfter::Absent);

/// What the product did wrong, the mode, whether the account is named from the start, and what happens.
type Story = (&'static str, RefreshMode, bool, &'static [(Time, Happening)]);

const STORIES: &[Story] = &[
    (
        "the record of a login that had no name was recalled at every start, and with it a gate closed long ago",
        RefreshMode::Always,
        false,
        &[
            (30 * MINUTE, Happening::Usage(REFUSED, HOUR)),
            (2 * HOUR, Happening::Named(0)),
            (10 * HOUR, Happening::Crash(MINUTE)),
        ],
    ),
    (
        "a restart forgot that a refusal soon after a success continues the old incident",
        RefreshMode::Always,
        true,
        &[
            (30 * MINUTE, Happening::Usage(REFUSED, HOUR)),
            (3 * HOUR + 30 * MINUTE, Happening::Crash(MINUTE)),
            (4 * HOUR, Happening::Usage(REFUSED, 3 * HOUR)),
        ],
    ),
    (
        "a login whose command may not run was 'being refreshed', with neither an end nor an action",
        RefreshMode::Command,
        true,
        &[(HOUR, Happening::Unsafe(0, 20 * HOUR)), (20 * HOUR, Happening::CliRotates(0, MINUTE))],
    ),
];

#[test]
fn what_once_broke_a_promise_breaks_none_any_more() {
    for (seed, days, wrong) in SEEDS {
        let life = live(*seed, *days, Time::MAX, &BTreeSet::new(), false);
        assert!(life.broken.is_none(), "{wrong}\n{}", story::tell(*seed, *days, &life));
    }
    for (wrong, mode, named, events) in STORIES {
        let life = play(1, &Forecast::told(*mode, *named, events), Time::MAX, &BTreeSet::new(), true);
        assert!(life.broken.is_none(), "{wrong}\n{}", story::unshrunk(&life));
    }
}

//! Months of hostile weather, in virtual time: the real policy, the real provider and the pure parts of `credential/`
//! live beside a strict vendor, and a ledger of its own checks every promise after every step.
//!
//! `QUOTAD_SIM_DAYS` says how many account-days are lived (10 000), `QUOTAD_SEED` replays one seed and tells its story.

mod books;
mod forecast;
mod host;
mod invariants;
mod ledger;
mod life;
mod mutants;
mod regressions;
mod sky;
mod story;
mod verdict;
mod weather;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::host::Time;
use crate::invariants::{Promise, Stakes};
use crate::life::{Life, live};

/// Most runs last a month; one in 64 lasts a year.
const MONTH: u64 = 30;

fn days_of(seed: u64) -> u64 {
    if seed % 64 == 63 { 365 } else { MONTH }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn whole(seed: u64, telling: bool) -> Life {
    live(seed, days_of(seed), Time::MAX, &BTreeSet::new(), telling)
}

/// What the workers found together.
#[derive(Default)]
struct Suite {
    days: f64,
    requests: u64,
    runs: u64,
    stakes: Stakes,
    broken: Option<(u64, Life)>,
}

/// Lives seeds 0, 1, 2, … on two threads until so many account-days have passed, or a promise is broken.
fn suite(days: f64) -> Suite {
    let (next, suite) = (AtomicU64::new(0), Mutex::new(Suite::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            {
                let suite = suite.lock().expect("no worker panicked");
                if suite.days >= days || suite.broken.is_some() {
                    return;
                }
            }
            let life = whole(seed, false);
            let mut suite = suite.lock().expect("no worker panicked");
            suite.days += life.days;
            suite.requests += life.requests;
            suite.runs += 1;
            suite.stakes.add(&life.stakes);
            // Of two, the smaller seed: the same each time.
            let is_first = suite.broken.as_ref().is_none_or(|(known, _)| seed < *known);
            if life.broken.is_some() && is_first {
                suite.broken = Some((seed, life));
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    suite.into_inner().expect("no worker panicked")
}

#[test]
#[expect(clippy::print_stdout, reason = "the count, the speed and the coverage are wanted with --nocapture")]
fn no_weather_breaks_a_promise_and_every_promise_is_put_to_the_test() {
    if let Some(seed) = number("QUOTAD_SEED") {
        let life = whole(seed, true);
        let story = story::tell(seed, days_of(seed), &life);
        assert!(life.broken.is_none(), "\n{story}");
        println!("{story}");
        return;
    }
    let days = number("QUOTAD_SIM_DAYS").unwrap_or(10_000);
    let began = Instant::now();
    let suite = suite(days as f64);
    if let Some((seed, life)) = &suite.broken {
        panic!("\n{}", story::tell(*seed, days_of(*seed), life));
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "{:.0} account-days in {} runs, {} requests, {took:.1} s: {:.0} account-days a second",
        suite.days,
        suite.runs,
        suite.requests,
        suite.days / took
    );
    for promise in Promise::ALL {
        println!("{:9} times at stake: {}", suite.stakes.of(promise), promise.sentence());
        // A thousand days may be short of one; ten thousand are not.
        let enough = days < 5_000 || suite.stakes.of(promise) >= 20;
        assert!(enough, "{promise:?} was at stake {} times only", suite.stakes.of(promise));
    }
}

#[test]
fn the_same_seed_lives_the_same_life() {
    let (once, again, other) = (whole(3, true), whole(3, true), whole(4, false));
    assert!(once.told == again.told, "two stories of one seed");
    assert_eq!((once.digest, once.requests), (again.digest, again.requests));
    assert_ne!(once.digest, other.digest, "the digest tells lives apart");
}

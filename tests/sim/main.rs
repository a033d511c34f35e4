//! Months of hostile weather, in virtual time: the real policy, the real provider and the pure parts of `credential/`
//! live beside a strict vendor, and a ledger of its own checks every promise after every step.

mod books;
mod host;
mod invariants;
mod ledger;
mod life;
mod sky;
mod verdict;
mod weather;

use std::collections::BTreeSet;

#[test]
fn first() {
    let from: u64 = std::env::var("QUOTAD_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let n: u64 = std::env::var("N").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let (mut days, mut requests) = (0.0, 0);
    let mut kinds = std::collections::BTreeMap::<_, Vec<u64>>::new();
    let mut stakes = invariants::Stakes::default();
    let began = std::time::Instant::now();
    for seed in from..from + n {
        let life = life::live(seed, 30, &BTreeSet::new(), n == 1);
        days += life.days;
        requests += life.requests;
        stakes.add(&life.stakes);
        if let Some(b) = &life.broken {
            kinds.entry(b.promise).or_default().push(seed);
            if n == 1 {
                for (at, line) in life.told.iter().rev().take(30).rev() {
                    eprintln!("{:>12} {line}", at);
                }
                eprintln!("{} {b}", b.at);
            }
        }
    }
    eprintln!("{days} days, {requests} requests, {:?}", began.elapsed());
    for (p, s) in kinds {
        eprintln!("{p:?}: {} {:?}", s.len(), &s[..s.len().min(8)]);
    }
    for p in invariants::Promise::ALL {
        eprint!("{p:?} {} ", stakes.of(p));
    }
    eprintln!();
}

//! 100,000 deadlines within an hour, their keys the names of accounts, as the daemon's are.

use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use quotad::model::AccountName;
use quotad::policy::schedule::Schedule;
use quotad::policy::time::Moment;

const KEYS: u64 = 100_000;
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: u64 = 3_600_000;

fn keys() -> Vec<AccountName> {
    (0..KEYS).map(|n| AccountName::parse(&format!("account-{n:05}")).unwrap()).collect()
}

/// Moments in no order, within the hour that begins at `from`.
fn moment(n: u64, from: u64) -> Moment {
    Moment::from_millis(from + (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % HOUR)
}

fn full(keys: &[AccountName]) -> Schedule<AccountName> {
    let mut schedule = Schedule::new();
    for (key, n) in keys.iter().zip(0..) {
        schedule.set(key, Some(moment(n, HOUR)), Duration::ZERO);
    }
    schedule
}

/// From none to all of them.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn set_all(bencher: Bencher<'_, '_>) {
    let keys = keys();
    bencher.counter(ItemsCount::new(KEYS)).bench_local(|| full(&keys));
}

/// Another deadline for one of them.
#[divan::bench(sample_size = 100)]
fn replace_one(bencher: Bencher<'_, '_>) {
    let keys = keys();
    let (mut schedule, mut n) = (full(&keys), 0_u64);
    bencher.bench_local(|| {
        n += 1;
        // A prime, so that neighbours in time are no neighbours by name.
        let key = &keys[(n * 7_919 % KEYS) as usize];
        schedule.set(key, Some(moment(n, 2 * HOUR)), Duration::ZERO);
    });
}

#[divan::bench]
fn next_wake(bencher: Bencher<'_, '_>) {
    let schedule = full(&keys());
    bencher.bench_local(|| divan::black_box(&schedule).next_wake());
}

/// All of them, sixty times what one minute brought.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn take_due_by_the_minute(bencher: Bencher<'_, '_>) {
    let schedule = full(&keys());
    bencher.counter(ItemsCount::new(KEYS)).with_inputs(|| schedule.clone()).bench_local_refs(|schedule| {
        let (mut now, mut taken) = (Moment::from_millis(HOUR), 0);
        while schedule.next_wake().is_some() {
            now = now + MINUTE;
            taken += schedule.take_due(now).len() as u64;
        }
        assert_eq!(taken, KEYS);
    });
}

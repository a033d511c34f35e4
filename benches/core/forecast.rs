//! The forecast of a 5-hour window from as much history as it looks at.

use divan::Bencher;
use divan::counter::ItemsCount;
use quotad::policy::forecast::{self, Sample};
use quotad::policy::time::Stamp;

/// Seconds.
const STEP: i64 = 300;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const PERIOD: i64 = 5 * HOUR;

/// Four weeks, a sample every five minutes, 12 points an hour from nine to five.
fn samples() -> Vec<Sample> {
    let stamp = |second: i64| Stamp::from_second(1_767_571_200 + second).unwrap();
    let mut level = 0.0;
    let sample = |second: i64| {
        if second % PERIOD == 0 {
            level = 0.0;
        }
        if (9 * HOUR..17 * HOUR).contains(&(second % DAY)) {
            level += 1.0;
        }
        let resets_at = Some(stamp(second - second % PERIOD + PERIOD));
        Sample { at: stamp(second), used_percent: level, resets_at }
    };
    (0..28 * DAY).step_by(STEP as usize).map(sample).collect()
}

#[divan::bench]
fn four_weeks(bencher: Bencher<'_, '_>) {
    let samples = samples();
    let now = samples[samples.len() - 1].at;
    assert!(samples.len() == 8064 && forecast::forecast(&samples, now).burn_per_hour.is_some());
    bencher.counter(ItemsCount::new(samples.len())).bench_local(|| forecast::forecast(divan::black_box(&samples), now));
}

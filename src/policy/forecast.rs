//! How fast a window fills, and whether it runs out before it starts over.
//!
//! Owns the rule by which two samples lie in different periods of a window ([`is_reset`]) and the forecast drawn from
//! them ([`forecast`]). Knows no vendor and no length of a window: what it is told is levels and reset times.
//!
//! The obvious way, the slope of the last hour drawn on to the reset, is wrong twice: a burst of agents at ten in the
//! morning does not go on until Sunday, and an idle hour at night does not mean that nobody works tomorrow. So the
//! rate expected for an hour ahead mixes two things:
//!
//! - **the present rate**, an exponentially weighted mean over about the last half hour, which fades: in an hour and a
//!   half only a third of it is still believed;
//! - **the usual rate** of that hour, which takes over: what was used at the same time of day on each of the last 28
//!   days, idle ones included, where the same day of the week counts twenty times, so that a free weekend is expected
//!   to be free. Nothing here knows a time zone: "the same time of day" is a whole number of 24 hours ago.
//!
//! Against nonsense from little: an hour never seen is expected to be like the mean of all that was seen, to which
//! eight idle hours are added, since whoever just began to work will not go on day and night; and in a habit no hour
//! counts for more than eight usual busy ones, because a jump may be a vendor's correction, or the use of three days in
//! which nobody read.
//!
//! Straight lines through the points (Theil–Sen, medians of slopes over several horizons) were left out: what makes
//! forecasts of a week wrong is its nights, which no line has. `cargo bench --bench forecast` sets this beside the last
//! hour's slope and fails if it is not better. The price: of the 5-hour windows that run out it foretells fewer.

use std::time::Duration;

use super::time::Stamp;

/// The level of one window at one moment, as `state.db` keeps it: a row is written only when a number changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When the numbers were read.
    pub at: Stamp,
    /// Percent used, as the vendor gave it, mostly in whole points: may exceed 100 or be negative.
    pub used_percent: f64,
    /// When the vendor says the window starts over.
    pub resets_at: Option<Stamp>,
}

/// What is expected of one window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Forecast {
    /// Points of percent per hour, on average from now until the reset, idle time included: the level plus this times
    /// the hours left is the level expected at the reset. Finite and never negative. `None` when too little is known.
    pub burn_per_hour: Option<f64>,
    /// When the window runs out: not before now, not after the reset. `None` when it is not expected to run out
    /// before the reset, when too little is known, and when it has run out already.
    pub exhausts_at: Option<Stamp>,
}

/// Two reset times this close are the same one: vendors compute it anew for every answer (Claude's differ by up to a
/// second), and some count from a clock of their own.
const JITTER: Duration = Duration::from_secs(60);
/// Points by which a level may fall without meaning anything: vendors round to whole points.
const ROUNDING: f64 = 1.0;

/// With fewer samples nothing is said.
const FEWEST: usize = 3;
/// With less history nothing is said, in hours.
const SHORTEST: f64 = 0.25;
/// How far ahead is looked at most, in hours, and where no reset is known (prepaid credit): the longest month.
const FARTHEST: f64 = 31.0 * 24.0;

/// Time constant of the present rate, in hours.
const RECENT: f64 = 0.5;
/// Time constant of the belief in it, in hours ahead.
const FADE: f64 = 1.5;
const DAY: usize = 24;
const WEEK: usize = 7 * DAY;
/// How far back habits are looked for, in hours.
const LOOK_BACK: usize = 4 * WEEK;
/// What an hour counts for that lies whole weeks before the one asked for; on any other day it counts for one, as much
/// as the mean of all hours.
const SAME_WEEKDAY: f64 = 20.0;
/// Idle hours added to what was seen.
const IDLE: f64 = 8.0;
/// In a habit no hour counts for more than this many times the median of the busy ones,
const ODD: f64 = 8.0;
/// of which there must be so many to judge by.
const BUSY: usize = 5;

/// Whether the window started over between two samples of it, `before` read first.
///
/// It did when the earlier reset time passed, unless the later sample still names that same time: then it is an echo of
/// the earlier one. It also did, early, when the level fell by more than rounding and either the reset time moved on by
/// more than a minute or less than half of the level is left; a smaller fall under the same reset time is a vendor's
/// correction. A reset time that moves while the level does not fall is no reset: Codex's moves with every answer as
/// long as nothing is used, and some move with the vendor's clock.
pub fn is_reset(before: &Sample, after: &Sample) -> bool {
    let fell = before.used_percent - after.used_percent > ROUNDING;
    let Some(due) = before.resets_at else {
        return fell && after.used_percent < before.used_percent / 2.0;
    };
    let moved = after.resets_at.map(|resets_at| resets_at.duration_since(due));
    let passed = after.at >= due && moved.is_none_or(|moved| moved.unsigned_abs() > JITTER);
    let moved_on = moved.is_some_and(|moved| moved.is_positive() && moved.unsigned_abs() > JITTER);
    passed || fell && (moved_on || after.used_percent < before.used_percent / 2.0)
}

/// What is expected of the window of which these are samples, in the order in which they were written, the last one
/// giving the level that stands now.
///
/// The last four weeks are looked at; what the caller gives beyond them costs time and changes nothing. The latest
/// reading may be added as a last sample though it changed nothing. Since a row is written only on change, the level is
/// taken to stand still between a sample and the next, and from the last until `now`. A sample later than the one
/// written after it, or than `now`, was read under a clock that ran ahead: it counts as read just then. Once the
/// reset has passed, nothing is said: nobody knows the level.
pub fn forecast(samples: &[Sample], now: Stamp) -> Forecast {
    let samples = in_order(samples, now);
    let ([first, ..], [.., last]) = (samples.as_slice(), samples.as_slice()) else { return Forecast::default() };
    let seen = hours(first.at, now);
    if samples.len() < FEWEST || seen < SHORTEST || last.resets_at.is_some_and(|at| at <= now) {
        return Forecast::default();
    }
    let habit = Habit::of(&samples, seen, now);
    let ahead = last.resets_at.map_or(FARTHEST, |at| hours(now, at).min(FARTHEST));
    let left = 100.0 - last.used_percent;
    let (mut gain, mut exhausts) = (0.0, None);
    for hour in (0..).take_while(|hour| f64::from(*hour) < ahead) {
        let rate = habit.rate(hour);
        let gained = rate * (ahead - f64::from(hour)).min(1.0);
        if left > gain && left <= gain + gained {
            exhausts = Some(f64::from(hour) + (left - gain) / rate);
        }
        gain += gained;
    }
    let burn = gain / ahead;
    if !burn.is_finite() {
        return Forecast::default();
    }
    let at = |hours: f64| now.checked_add(Duration::try_from_secs_f64(hours * 3600.0).ok()?).ok();
    let exhausts_at = exhausts.and_then(at).map(|at| last.resets_at.map_or(at, |resets_at| at.min(resets_at)));
    Forecast { burn_per_hour: Some(burn), exhausts_at }
}

/// Samples that hold a number, none later than the next one or than now.
fn in_order(samples: &[Sample], now: Stamp) -> Vec<Sample> {
    let mut samples: Vec<_> = samples.iter().copied().filter(|sample| sample.used_percent.is_finite()).collect();
    let mut next = now;
    for sample in samples.iter_mut().rev() {
        sample.at = sample.at.min(next);
        next = sample.at;
    }
    samples
}

/// Hours from one time to a later one.
fn hours(from: Stamp, to: Stamp) -> f64 {
    to.duration_since(from).as_secs_f64() / 3600.0
}

/// How the window is used, seen from now. Rates are in points of percent per hour.
struct Habit {
    /// Just now.
    present: f64,
    /// In each hour ahead, repeated every week.
    usual: [f64; WEEK],
}

impl Habit {
    /// From at least two samples in order; `seen` is how many hours ago the first was read.
    fn of(samples: &[Sample], seen: f64, now: Stamp) -> Self {
        let seen = seen.min(LOOK_BACK as f64);
        // Points used in each hour, the hour that ends now first.
        let mut used = vec![0.0; seen.ceil() as usize];
        let mut present = 0.0;
        for (at, points) in steps(samples) {
            let ago = hours(at, now);
            if let Some(hour) = used.get_mut(ago as usize) {
                *hour += points;
                present += points * (-ago / RECENT).exp();
            }
        }
        present /= RECENT * (1.0 - (-seen / RECENT).exp());
        let most = most(&used);
        for hour in &mut used {
            *hour = hour.min(most);
        }
        let mean = used.iter().sum::<f64>() / (seen + IDLE);
        let mut usual = [0.0; WEEK];
        for (ahead, rate) in usual.iter_mut().enumerate() {
            // The hour that begins `ahead` hours from now has its like a whole number of days before.
            let like = (DAY - 1 - ahead % DAY..used.len()).step_by(DAY);
            let weight = |ago: usize| if (ago + 1 + ahead).is_multiple_of(WEEK) { SAME_WEEKDAY } else { 1.0 };
            let all = like.clone().map(weight).sum::<f64>() + 1.0;
            *rate = (like.map(|ago| weight(ago) * used[ago]).sum::<f64>() + mean) / all;
        }
        Self { present, usual }
    }

    /// What is expected in the hour that begins `ahead` hours from now.
    fn rate(&self, ahead: u16) -> f64 {
        let belief = (-(f64::from(ahead) + 0.5) / FADE).exp();
        belief * self.present + (1.0 - belief) * self.usual[usize::from(ahead) % WEEK]
    }
}

/// Each rise of the level, with the time at which it was read; after a reset the level itself has risen from nothing.
fn steps(samples: &[Sample]) -> impl Iterator<Item = (Stamp, f64)> {
    let mut top = samples.first().map_or(0.0, |sample| sample.used_percent);
    samples.windows(2).filter_map(move |pair| {
        let [before, after] = pair else { return None };
        let level = after.used_percent;
        if is_reset(before, after) {
            top = level.min(0.0);
        } else if top - level > ROUNDING {
            top = level;
        }
        // A level that rounding moves to and fro is no use.
        let rise = level - top;
        top = top.max(level);
        (rise > 0.0).then_some((after.at, rise))
    })
}

/// What an hour counts for in a habit at most.
fn most(used: &[f64]) -> f64 {
    let mut busy: Vec<f64> = used.iter().copied().filter(|points| *points > 0.0).collect();
    if busy.len() < BUSY {
        return f64::INFINITY;
    }
    busy.sort_by(f64::total_cmp);
    ODD * busy[busy.len() / 2]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Minutes.
    const HOUR: i64 = 60;
    const DAY: i64 = 24 * HOUR;

    /// A time, in minutes after some Monday's midnight.
    fn at(minute: i64) -> Stamp {
        Stamp::from_second(1_767_571_200 + 60 * minute).unwrap()
    }

    fn sample(minute: i64, used_percent: f64, resets_at: impl Into<Option<i64>>) -> Sample {
        Sample { at: at(minute), used_percent, resets_at: resets_at.into().map(at) }
    }

    /// A window that begins anew every five hours, and at midnight, until `end`: asked every ten minutes, in whole
    /// points, a row only when a number changed. `rate` is in points per hour, by the minute of the week.
    fn history(end: i64, rate: fn(i64) -> f64) -> Vec<Sample> {
        let (mut rows, mut level) = (Vec::<Sample>::new(), 0.0);
        for minute in 0..=end {
            let resets_at = minute - minute % DAY + ((minute % DAY) / (5 * HOUR) + 1) * 5 * HOUR;
            let resets_at = resets_at.min(minute - minute % DAY + DAY);
            if minute % DAY % (5 * HOUR) == 0 {
                level = 0.0;
            }
            level = f64::min(100.0, level + rate(minute % (7 * DAY)) / 60.0);
            let row = sample(minute, level.floor(), resets_at);
            let is_news = |last: &Sample| last.used_percent < row.used_percent || last.resets_at != row.resets_at;
            if minute == end || minute % 10 == 0 && rows.last().is_none_or(is_news) {
                rows.push(row);
            }
        }
        rows
    }

    /// Twelve points an hour from nine to five, Monday to Friday.
    fn office(minute: i64) -> f64 {
        if minute < 5 * DAY && (9 * HOUR..17 * HOUR).contains(&(minute % DAY)) { 12.0 } else { 0.0 }
    }

    /// The same for a window of a week that begins at Monday's midnight, every reading kept.
    fn weekly(end: i64, rate: fn(i64) -> f64) -> Vec<Sample> {
        let (mut rows, mut level) = (vec![sample(0, 0.0, 7 * DAY)], 0.0);
        for minute in 1..=end {
            level = if minute % (7 * DAY) == 0 { 0.0 } else { level + rate(minute % (7 * DAY)) / 60.0 };
            if minute % 10 == 0 || minute == end {
                rows.push(sample(minute, f64::round(level), minute - minute % (7 * DAY) + 7 * DAY));
            }
        }
        rows
    }

    fn minutes_ahead(forecast: Forecast, now: i64) -> Option<f64> {
        forecast.exhausts_at.map(|stamp| stamp.duration_since(at(now)).as_secs_f64() / 60.0)
    }

    #[test]
    fn a_window_started_over_when_its_time_passed_or_the_level_fell_by_more_than_rounding() {
        for (why, before, after, is) in [
            ("it rose", (40.0, Some(300)), (10, 41.0, Some(300)), false),
            ("a minute of jitter", (40.0, Some(300)), (10, 40.0, Some(301)), false),
            ("jitter the other way", (40.0, Some(300)), (10, 40.0, Some(299)), false),
            ("rounding", (40.0, Some(300)), (10, 39.0, Some(300)), false),
            ("rounding and jitter", (40.0, Some(300)), (10, 39.0, Some(302)), false),
            ("its time passed", (40.0, Some(300)), (300, 0.0, Some(600)), true),
            ("its time passed, and more is used", (4.0, Some(300)), (310, 9.0, Some(600)), true),
            ("its time passed, and none has begun", (4.0, Some(300)), (310, 0.0, None), true),
            ("an echo of the old period", (40.0, Some(300)), (310, 40.0, Some(300)), false),
            ("early, with a new time", (40.0, Some(300)), (10, 3.0, Some(310)), true),
            ("early, with a new time, and much is used", (40.0, Some(300)), (10, 30.0, Some(310)), true),
            ("early, under the old time", (40.0, Some(300)), (10, 3.0, Some(300)), true),
            ("early, and none has begun", (40.0, Some(300)), (10, 0.0, None), true),
            ("a correction", (40.0, Some(300)), (10, 30.0, Some(300)), false),
            ("an idle window's time slides", (0.0, Some(300)), (10, 0.0, Some(310)), false),
            ("the vendor's clock moved", (40.0, Some(300)), (10, 40.0, Some(400)), false),
            ("the vendor's clock moved back", (40.0, Some(300)), (10, 41.0, Some(200)), false),
            ("credit is used", (40.0, None), (10, 41.0, None), false),
            ("credit was bought", (40.0, None), (10, 2.0, None), true),
            ("the first time is told", (40.0, None), (10, 41.0, Some(300)), false),
        ] {
            let (before, after) = (sample(0, before.0, before.1), sample(after.0, after.1, after.2));
            assert_eq!(is_reset(&before, &after), is, "{why}");
        }
    }

    #[test]
    fn of_two_samples_or_ten_minutes_nothing_is_said() {
        let samples = [sample(0, 10.0, 300), sample(5, 20.0, 300), sample(10, 30.0, 300), sample(16, 40.0, 300)];
        assert_eq!(forecast(&[], at(20)), Forecast::default());
        assert_eq!(forecast(&samples[2..], at(100)), Forecast::default(), "two samples");
        assert_eq!(forecast(&samples[..3], at(14)), Forecast::default(), "less than a quarter of an hour");
        assert!(forecast(&samples[..3], at(15)).burn_per_hour.is_some());
    }

    #[test]
    fn steady_use_goes_on() {
        let end = 5 * DAY + 3 * HOUR;
        let samples = history(end, |_| 12.0);
        let forecast = forecast(&samples, at(end));
        let burn = forecast.burn_per_hour.unwrap();
        assert!((11.0..13.0).contains(&burn), "{burn}");
        assert_eq!(forecast.exhausts_at, None, "60 points of 100");

        let samples = history(end, |_| 25.0);
        let ahead = minutes_ahead(super::forecast(&samples, at(end)), end).unwrap();
        assert!((50.0..70.0).contains(&ahead), "a quarter is left: {ahead}");
    }

    #[test]
    fn a_window_that_nobody_uses_does_not_burn() {
        let samples = history(3 * DAY + 100, |_| 0.0);
        let forecast = forecast(&samples, at(3 * DAY + 100));
        assert_eq!(forecast, Forecast { burn_per_hour: Some(0.0), exhausts_at: None });
    }

    #[test]
    fn an_idle_night_does_not_hide_tomorrow_and_a_busy_evening_does_not_last_until_sunday() {
        let level_at_reset = |end: i64| {
            let samples = weekly(end, |minute| office(minute) / 6.0);
            let burn = forecast(&samples, at(end)).burn_per_hour.unwrap();
            samples.last().unwrap().used_percent + burn * (7 - end / DAY % 7) as f64 * 24.0
                - burn * (end % DAY) as f64 / 60.0
        };
        let full = 5.0 * 8.0 * 2.0;
        for (end, when) in [
            (14 * DAY + 30, "Monday, past midnight"),
            (14 * DAY + 16 * HOUR, "Monday, at work"),
            (15 * DAY + 4 * HOUR, "Tuesday, at night"),
            (17 * DAY + 12 * HOUR, "Thursday, noon"),
            (18 * DAY + 17 * HOUR, "Friday, in the evening"),
            (19 * DAY + 12 * HOUR, "Saturday"),
        ] {
            let level = level_at_reset(end);
            assert!((level - full).abs() < 15.0, "{when}: {level} of {full}");
        }
    }

    #[test]
    fn the_beginning_of_work_is_expected_in_the_night_before() {
        let burn = |end: i64| forecast(&history(end, office), at(end)).burn_per_hour.unwrap();
        let night = burn(21 * DAY + 30);
        assert!(night < 1.0, "nobody works before five: {night}");
        let morning = burn(21 * DAY + 7 * HOUR);
        assert!(morning > 2.0, "an hour of the three that are left: {morning}");
        let saturday = burn(26 * DAY + 7 * HOUR);
        assert!(saturday < morning / 2.0, "a free day: {saturday}");
    }

    #[test]
    fn a_burst_is_seen_while_it_lasts() {
        let mut samples = history(20 * DAY + 12 * HOUR, |minute| office(minute) / 6.0);
        let resets_at = 20 * DAY + 15 * HOUR;
        for n in 1..=4 {
            samples.push(sample(20 * DAY + 12 * HOUR + 10 * n, 4.0 + 15.0 * n as f64, resets_at));
        }
        let now = 20 * DAY + 12 * HOUR + 40;
        let ahead = minutes_ahead(forecast(&samples, at(now)), now).unwrap();
        assert!((20.0..60.0).contains(&ahead), "36 points are left, 90 an hour are used: {ahead}");
        assert_eq!(forecast(&samples, at(now + 60)).exhausts_at, None, "an hour after its end");
    }

    #[test]
    fn the_first_half_hour_of_a_week_does_not_go_on_until_sunday() {
        let samples = [0, 10, 20, 30].map(|minute| sample(minute, minute as f64 / 10.0, 7 * DAY));
        assert_eq!(forecast(&samples, at(30)).exhausts_at, None);
    }

    #[test]
    fn after_an_early_reset_the_new_level_counts() {
        let mut samples = history(5 * DAY + 3 * HOUR, |_| 25.0);
        let now = 5 * DAY + 3 * HOUR + 10;
        assert!(forecast(&samples, at(now)).exhausts_at.is_some());
        samples.push(sample(now, 2.0, 5 * DAY + 5 * HOUR));
        let forecast = forecast(&samples, at(now));
        assert!((15.0..30.0).contains(&forecast.burn_per_hour.unwrap()), "{forecast:?}");
        assert_eq!(forecast.exhausts_at, None);
    }

    #[test]
    fn once_the_reset_has_passed_nothing_is_said() {
        let samples = history(5 * DAY + 3 * HOUR, |_| 25.0);
        assert!(forecast(&samples, at(5 * DAY + 5 * HOUR - 1)).burn_per_hour.is_some());
        assert_eq!(forecast(&samples, at(5 * DAY + 5 * HOUR)), Forecast::default());
    }

    #[test]
    fn what_has_run_out_does_not_run_out_again() {
        let end = 5 * DAY + 4 * HOUR + 30;
        for rate in [|_| 25.0, |_| 40.0] {
            let samples = history(end, rate);
            assert!(samples.last().unwrap().used_percent >= 100.0);
            let forecast = forecast(&samples, at(end));
            assert!(forecast.exhausts_at.is_none() && forecast.burn_per_hour.is_some());
        }
    }

    #[test]
    fn a_jump_out_of_all_proportion_is_no_habit() {
        let end = 14 * DAY + 9 * HOUR;
        let samples = weekly(end, |minute| office(minute) / 6.0);
        let mut jumped = samples.clone();
        // On Tuesday at ten, days of somebody else's use were read at once.
        let since = jumped.iter_mut().filter(|sample| (at(8 * DAY + 10 * HOUR)..at(14 * DAY)).contains(&sample.at));
        since.for_each(|sample| sample.used_percent += 60.0);
        let burn = |samples: &[Sample], now: i64| forecast(samples, at(now)).burn_per_hour.unwrap();
        let difference = (burn(&jumped, end) - burn(&samples, end)) * (7.0 * 24.0 - 9.0);
        assert!(difference < 20.0, "{difference} points more in the next week");

        jumped.retain(|sample| sample.at <= at(8 * DAY + 13 * HOUR));
        let difference = burn(&jumped, 8 * DAY + 13 * HOUR) * (5.0 * 24.0 + 11.0) - (80.0 - 24.0);
        assert!(difference < 15.0, "{difference} points more, three hours after it");
    }

    #[test]
    fn prepaid_credit_without_a_reset_runs_out_within_a_month_or_nothing_is_said_of_it() {
        let credit = |rate: f64| -> Vec<Sample> {
            (0..=10 * 24).map(|hour| sample(hour * HOUR, (hour as f64 * rate).round(), None)).collect()
        };
        let now = 10 * DAY;
        let days = minutes_ahead(forecast(&credit(0.2), at(now)), now).unwrap() / DAY as f64;
        assert!((10.0..12.0).contains(&days), "52 points at 0.2 an hour: {days}");
        let slow = forecast(&credit(0.1), at(now));
        assert!(slow.burn_per_hour.unwrap() > 0.08 && slow.exhausts_at.is_none(), "{slow:?}");
    }

    #[test]
    fn a_level_that_wobbles_by_rounding_is_not_used_and_after_a_correction_it_rises_from_there() {
        let wobbling: Vec<Sample> =
            (0..48).map(|hour| sample(hour * HOUR, 40.0 + (hour % 2) as f64, 7 * DAY)).collect();
        let burn = forecast(&wobbling, at(2 * DAY)).burn_per_hour.unwrap();
        assert!(burn < 0.02, "one point, once: {burn}");
        let rises = |corrected: f64| [0.0, 60.0, corrected, corrected + 1.0, corrected + 2.0, corrected + 3.0];
        let steps = |levels: [f64; 6]| -> Vec<f64> {
            let samples: Vec<Sample> = (0..).zip(levels).map(|(n, level)| sample(10 * n, level, 7 * DAY)).collect();
            steps(&samples).map(|(_, points)| points).collect()
        };
        assert_eq!(steps(rises(40.0)), [60.0, 1.0, 1.0, 1.0], "a correction");
        assert_eq!(steps(rises(5.0)), [60.0, 5.0, 1.0, 1.0, 1.0], "an early reset");
    }

    #[test]
    fn a_clock_that_ran_ahead_or_stood_still_changes_little() {
        let end = 5 * DAY + 3 * HOUR;
        let samples = history(end, |_| 12.0);
        let burn = |samples: &[Sample]| forecast(samples, at(end)).burn_per_hour.unwrap();
        let mut ahead = samples.clone();
        let until = at(3 * DAY);
        for sample in ahead.iter_mut().filter(|sample| (at(3 * DAY - 60)..until).contains(&sample.at)) {
            sample.at = at(3000 * DAY);
        }
        let mut doubled: Vec<Sample> = samples.iter().flat_map(|sample| [*sample; 2]).collect();
        assert!((burn(&doubled) - burn(&samples)).abs() < 1e-9, "each sample twice");
        assert!((burn(&ahead) - burn(&samples)).abs() < 1.0, "{} {}", burn(&ahead), burn(&samples));
        for sample in &mut doubled {
            sample.at = at(end + 1);
        }
        assert_eq!(forecast(&doubled, at(end)), Forecast::default(), "all of it in the future");
    }

    prop_compose! {
        fn any_sample()(
            at in prop_oneof![8 => -2_000_000..2_000_000_i64, 1 => any::<i32>().prop_map(i64::from)],
            used_percent in prop_oneof![8 => (0..=100_u8).prop_map(f64::from), 2 => -50.0..200.0, 1 => any::<f64>()],
            resets_at in prop_oneof![1 => Just(None), 4 => (0..900_000_i64).prop_map(Some)],
        ) -> Sample {
            let stamp = |second| Stamp::from_second(second).unwrap();
            Sample { at: stamp(at), used_percent, resets_at: resets_at.map(|wait| stamp(at + wait)) }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_given_no_nonsense_is_said(
            mut samples in prop::collection::vec(any_sample(), 0..60),
            is_in_order in any::<bool>(),
            now in -2_000_000..2_500_000_i64,
        ) {
            if is_in_order {
                samples.sort_by_key(|sample| sample.at);
            }
            let now = Stamp::from_second(now).unwrap();
            let said = forecast(&samples, now);
            prop_assert!(said.burn_per_hour.is_none_or(|burn| burn.is_finite() && burn >= 0.0), "{:?}", said);
            let last = samples.iter().rfind(|sample| sample.used_percent.is_finite());
            if let (Some(at), Some(last)) = (said.exhausts_at, last) {
                prop_assert!(at >= now && last.resets_at.is_none_or(|resets_at| at <= resets_at), "{:?}", said);
                prop_assert!(last.used_percent < 100.0);
                let ahead = last.resets_at.map_or(FARTHEST, |resets_at| hours(now, resets_at).min(FARTHEST));
                let level = last.used_percent + said.burn_per_hour.unwrap() * ahead;
                prop_assert!(level > 99.999, "both figures say the same: {}", level);
            }
            if samples.len() < FEWEST || last.is_some_and(|last| last.resets_at.is_some_and(|at| at <= now)) {
                prop_assert_eq!(said, Forecast::default());
            }
        }

        #[test]
        fn reset_times_that_jitter_change_nothing(
            jitters in prop::collection::vec(-30..=30_i64, 400),
            end in 20_000..30_000_i64,
        ) {
            let steady = history(end, office);
            let mut jittered = steady.clone();
            let (last, earlier) = jittered.split_last_mut().unwrap();
            for (sample, jitter) in earlier.iter_mut().zip(jitters.iter().cycle()) {
                sample.resets_at = sample.resets_at.map(|at| Stamp::from_second(at.as_second() + jitter).unwrap());
            }
            let now = last.at;
            prop_assert_eq!(forecast(&jittered, now), forecast(&steady, now));
        }

        #[test]
        fn a_level_that_only_rises_under_one_reset_time_never_starts_over(
            rises in prop::collection::vec((1..1000_i64, 0..10_u8, -1..=1_i64), 1..50),
        ) {
            let (mut minute, mut level) = (0, 0.0);
            let samples: Vec<Sample> = rises.iter().map(|(pass, rise, wobble)| {
                (minute, level) = (minute + pass, level + f64::from(*rise));
                sample(minute, level + 0.5 * *wobble as f64, 100_000 + wobble.max(&0))
            }).collect();
            prop_assert!(samples.windows(2).all(|pair| !is_reset(&pair[0], &pair[1])));
        }
    }
}

//! `cargo bench --bench forecast`: quotad's forecast beside "the last hour's slope, drawn on to the reset".
//!
//! People of several kinds work for five weeks, each under a 5-hour and a weekly window of the shape vendors keep:
//! whole points, asked every ten minutes, kept only where a number changed, reset times that jitter by a second, now and
//! then a reset ahead of its time, a laptop that sleeps at night. Nearly every hour both forecasters are asked what will
//! be used at the reset and whether and when it runs out, and then the truth is looked up. Everything comes from seeds,
//! none of which was used to choose the constants of `policy::forecast`. Prints one table, and fails unless quotad is
//! better in the median error and in false alarms, on the whole and in either kind of window.
#![expect(clippy::print_stdout, reason = "the table is what this is for")]

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use quotad::policy::forecast::{Forecast, Sample, forecast, is_reset};
use quotad::policy::time::Stamp;

const SEEDS: std::ops::Range<u64> = 100..110;
/// Minutes.
const HOUR: usize = 60;
const DAY: usize = 24 * HOUR;
const WEEK: usize = 7 * DAY;
const WEEKS: usize = 5;
const POLL: usize = 10;
/// Polls between two questions: not an hour, so that the time of day wanders.
const ASKED_EVERY: usize = 5;
/// Monday, 2026-01-05.
const BEGIN: i64 = 1_767_571_200;
/// What a person's mean week comes to, in percent of a weekly window without an end: some run out, some do not.
const PLANS: [f64; 5] = [50.0, 80.0, 95.0, 110.0, 150.0];

fn main() -> ExitCode {
    let began = Instant::now();
    let (mut rows, mut totals) = (Vec::new(), Vec::new());
    for (window, kind) in ["5-hour", "weekly"].iter().enumerate() {
        let of = |person: &Person| (format!("{}, {kind}", person.name), score(person, window));
        let scores: Vec<_> = PEOPLE.iter().map(of).collect();
        let total = Pair::sum(scores.iter().map(|(_, pair)| pair));
        rows.extend(scores);
        totals.push((format!("all {kind}"), total));
    }
    totals.push(("on the whole".to_owned(), Pair::sum(totals.iter().map(|(_, pair)| pair))));
    println!("quotad / the last hour's slope (ratio), {} seeds of {WEEKS} weeks each.\n", SEEDS.count());
    print!("{}", table(rows.iter().chain(&totals)));

    let worse: Vec<&str> = totals.iter().filter(|(_, pair)| !pair.is_won()).map(|(name, _)| name.as_str()).collect();
    println!("\n({:.1} s)", began.elapsed().as_secs_f64());
    if worse.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("quotad is not better in the median error and in false alarms: {}", worse.join(", "));
    ExitCode::FAILURE
}

/// Chance, from a seed: splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.roll()
    }

    fn minutes(&mut self, least: usize, most: usize) -> usize {
        self.between(least as f64, most as f64) as usize
    }

    fn says(&mut self, chance: f64) -> bool {
        self.roll() < chance
    }
}

/// A stretch of work: first minute of the day (may run into the next day), minutes, and how hard; 1 is a person at
/// steady work.
type Stint = (usize, usize, f64);

struct Person {
    name: &'static str,
    /// The stints of a day, Monday being day 0.
    day: fn(day: usize, dice: &mut Dice) -> Vec<Stint>,
    /// Whether the machine sleeps until seven, and quotad with it.
    sleeps: bool,
}

const PEOPLE: [Person; 7] = [
    Person { name: "office hours", day: office, sleeps: true },
    Person { name: "bursts of agents", day: bursts, sleeps: false },
    Person { name: "agents overnight", day: overnight, sleeps: false },
    Person { name: "evenings and weekends", day: evenings, sleeps: true },
    Person { name: "little, with spikes", day: spikes, sleeps: false },
    Person { name: "round the clock", day: round_the_clock, sleeps: false },
    Person { name: "office, two runaways", day: runaways, sleeps: false },
];

fn is_weekend(day: usize) -> bool {
    day % 7 >= 5
}

/// Half past eight to half past five or so, with lunch and meetings; a day off now and then.
fn office(day: usize, dice: &mut Dice) -> Vec<Stint> {
    let mut stints = Vec::new();
    if is_weekend(day) || dice.says(0.05) {
        return stints;
    }
    let (hard, end) = (dice.between(0.6, 1.4), dice.minutes(17 * HOUR, 18 * HOUR + 30));
    let mut at = dice.minutes(8 * HOUR, 9 * HOUR + 30);
    while at < end {
        let length = dice.minutes(15, 90).min(end - at);
        if at / HOUR != 12 && !dice.says(0.2) {
            stints.push((at, length, hard * dice.between(0.5, 1.5)));
        }
        at += length;
    }
    stints
}

/// Several agents at once for an hour, some times a day, whenever.
fn bursts(day: usize, dice: &mut Dice) -> Vec<Stint> {
    let count = dice.between(0.0, if is_weekend(day) { 2.0 } else { 8.0 }).round() as usize;
    (0..count).map(|_| (dice.minutes(9 * HOUR, 23 * HOUR), dice.minutes(15, 80), dice.between(1.5, 5.0))).collect()
}

/// A little by day; most nights a run of hours.
fn overnight(day: usize, dice: &mut Dice) -> Vec<Stint> {
    let mut stints = little(if is_weekend(day) { 0 } else { 3 }, dice);
    if dice.says(0.6) {
        stints.push((dice.minutes(21 * HOUR, 23 * HOUR + 30), dice.minutes(180, 480), dice.between(0.8, 2.0)));
    }
    stints
}

fn evenings(day: usize, dice: &mut Dice) -> Vec<Stint> {
    let hard = dice.between(0.6, 1.4);
    if !is_weekend(day) {
        let works = dice.says(0.6);
        let evening = (dice.minutes(19 * HOUR, 20 * HOUR + 30), dice.minutes(60, 200), hard * dice.between(0.5, 1.5));
        return works.then_some(evening).into_iter().collect();
    }
    let mut at = dice.minutes(10 * HOUR, 14 * HOUR);
    let count = if dice.says(0.8) { 4 } else { 0 };
    let mut stint = || {
        let stint = (at, dice.minutes(30, 120), hard * dice.between(0.6, 1.6));
        at += stint.1 + dice.minutes(10, 90);
        stint
    };
    (0..count).map(|_| stint()).collect()
}

/// A little by day, and every fourth day something that uses a week's worth of that within twenty minutes.
fn spikes(day: usize, dice: &mut Dice) -> Vec<Stint> {
    let mut stints = little(if is_weekend(day) { 0 } else { 4 }, dice);
    if dice.says(0.25) {
        stints.push((dice.minutes(9 * HOUR, 20 * HOUR), dice.minutes(10, 25), dice.between(6.0, 14.0)));
    }
    stints
}

fn little(times: usize, dice: &mut Dice) -> Vec<Stint> {
    (0..times).map(|_| (dice.minutes(9 * HOUR, 18 * HOUR), dice.minutes(10, 60), dice.between(0.3, 0.9))).collect()
}

/// A machine that works.
fn round_the_clock(_: usize, dice: &mut Dice) -> Vec<Stint> {
    (0..36).map(|n| (40 * n, 40, 0.5 * dice.between(0.3, 1.7))).collect()
}

/// Office hours, and twice in five weeks two hours of something that nobody wanted.
fn runaways(day: usize, dice: &mut Dice) -> Vec<Stint> {
    let mut stints = office(day, dice);
    if day == 8 || day == 22 {
        stints.push((10 * HOUR, 120, 12.0));
    }
    stints
}

/// What is true of a window in one minute.
#[derive(Clone, Copy, Default)]
struct Truth {
    level: f64,
    /// The minute in which it starts over.
    resets_at: Option<usize>,
}

/// Five weeks of one person, minute by minute: the 5-hour window, which begins with the first use, and the weekly one,
/// which begins at its own hour. Who has run out of either waits.
fn live(person: &Person, seed: u64, dice: &mut Dice) -> Vec<[Truth; 2]> {
    let mut work = vec![0.0; WEEKS * WEEK];
    for day in 0..WEEKS * 7 {
        for (at, length, hard) in (person.day)(day, dice) {
            work.iter_mut().skip(day * DAY + at).take(length).for_each(|minute| *minute += hard);
        }
    }
    let weekly = PLANS[seed as usize % PLANS.len()] * WEEKS as f64 / work.iter().sum::<f64>();
    let five_hour = weekly * dice.between(6.0, 10.0);
    // The vendor starts everything over ahead of time: in the third week of every third person.
    let early = (seed % 3 == 1).then_some(17 * DAY + 700);
    let (mut five, mut week) = (Truth::default(), Truth { level: 0.0, resets_at: Some(4 * DAY + 320) });
    let mut minute = |(now, work): (usize, &f64)| {
        if five.resets_at == Some(now) || early == Some(now) {
            five = Truth::default();
        }
        if week.resets_at == Some(now) || early == Some(now) {
            week = Truth { level: 0.0, resets_at: Some(now + WEEK) };
        }
        if *work > 0.0 && five.level < 100.0 && week.level < 100.0 {
            five.resets_at = five.resets_at.or(Some(now + 5 * HOUR));
            five.level = (five.level + work * five_hour).min(100.0);
            week.level = (week.level + work * weekly).min(100.0);
        }
        [five, week]
    };
    work.iter().enumerate().map(&mut minute).collect()
}

/// Both forecasters against the truth, over all seeds.
fn score(person: &Person, window: usize) -> Pair {
    let mut pair = Pair::default();
    for seed in SEEDS {
        let mut dice = Dice(seed * 1000 + person.name.len() as u64);
        let truth: Vec<Truth> = live(person, seed, &mut dice).iter().map(|windows| windows[window]).collect();
        let mut rows: Vec<Sample> = Vec::new();
        for (poll, minute) in (dice.minutes(0, POLL)..truth.len()).step_by(POLL).enumerate() {
            if person.sleeps && minute % DAY < 7 * HOUR {
                continue;
            }
            let latest = read(minute, truth[minute], &mut dice);
            if rows.last().is_none_or(|last| is_news(last, &latest)) {
                rows.push(latest);
            }
            if poll % ASKED_EVERY == 0 {
                ask(&rows, &latest, &truth[minute..], &mut pair);
            }
        }
    }
    pair
}

/// What a vendor answers.
fn read(minute: usize, truth: Truth, dice: &mut Dice) -> Sample {
    let stamp = |second: i64| Stamp::from_second(second).expect("a time of this century");
    let second = |minute: usize| BEGIN + 60 * i64::try_from(minute).expect("five weeks");
    let jitter = dice.between(-1.0, 1.0).round() as i64;
    Sample {
        at: stamp(second(minute)),
        used_percent: truth.level.round(),
        resets_at: truth.resets_at.map(|at| stamp(second(at) + jitter)),
    }
}

/// Whether a row is written.
fn is_news(last: &Sample, latest: &Sample) -> bool {
    let moved = match (last.resets_at, latest.resets_at) {
        (Some(a), Some(b)) => a.duration_since(b).unsigned_abs() > Duration::from_secs(60),
        (a, b) => a != b,
    };
    last.used_percent.to_bits() != latest.used_percent.to_bits() || moved
}

/// One question to both; `truth` begins now. Not asked: what has run out, what resets outside the five weeks, what an
/// early reset will cut short (nobody can know), and what either has no answer to.
fn ask(rows: &[Sample], latest: &Sample, truth: &[Truth], pair: &mut Pair) {
    let Some(resets_at) = latest.resets_at else { return };
    let now = latest.at;
    let hours = resets_at.duration_since(now).as_secs_f64() / 3600.0;
    let minutes = (hours * 60.0).round() as usize;
    let Some(period) = truth.get(..minutes) else { return };
    let is_cut = period.iter().any(|minute| minute.resets_at != truth[0].resets_at);
    if latest.used_percent >= 100.0 || minutes == 0 || is_cut {
        return;
    }
    let mut samples = rows.to_vec();
    samples.push(*latest);
    let level = period[minutes - 1].level;
    let runs_out = period.iter().position(|minute| minute.level >= 100.0);
    let answers = [forecast(&samples, now), last_hours_slope(&samples, now)];
    let [Some(quotad), Some(slope)] = answers.map(|answer| answer.burn_per_hour) else { return };
    let said = answers.map(|answer| answer.exhausts_at);
    pair.ran_out += u32::from(runs_out.is_some());
    for ((score, answer), burn) in [&mut pair.quotad, &mut pair.slope].into_iter().zip(answers).zip([quotad, slope]) {
        score.errors.push(((latest.used_percent + burn * hours).min(100.0) - level).abs());
        score.false_alarms += u32::from(answer.exhausts_at.is_some() && runs_out.is_none());
        score.misses += u32::from(answer.exhausts_at.is_none() && runs_out.is_some());
        if let (Some(truth), [Some(_), Some(_)], Some(said)) = (runs_out, said, answer.exhausts_at) {
            score.late.push((said.duration_since(now).as_secs_f64() / 60.0 - truth as f64).abs());
        }
    }
}

/// The other forecaster: the rise of this period within the last hour, or since the period began if that is less (but a
/// quarter of an hour at least), goes on until the reset.
fn last_hours_slope(samples: &[Sample], now: Stamp) -> Forecast {
    let began = samples.windows(2).rposition(|pair| is_reset(&pair[0], &pair[1])).map_or(0, |at| at + 1);
    let period = &samples[began..];
    let ago = |sample: &Sample| now.duration_since(sample.at).as_secs_f64() / 3600.0;
    let then = period.iter().rfind(|sample| ago(sample) >= 1.0).unwrap_or(&period[0]);
    let (last, span) = (samples[samples.len() - 1], ago(then).min(1.0));
    let burn = if span < 0.25 { 0.0 } else { (last.used_percent - then.used_percent).max(0.0) / span };
    let at = || now.checked_add(Duration::try_from_secs_f64((100.0 - last.used_percent) / burn * 3600.0).ok()?).ok();
    Forecast { burn_per_hour: Some(burn), exhausts_at: at().filter(|at| last.resets_at.is_some_and(|end| *at <= end)) }
}

/// How one forecaster fared.
#[derive(Default, Clone)]
struct Score {
    /// Of the level at the reset, in points.
    errors: Vec<f64>,
    /// Said that it runs out, and it did not.
    false_alarms: u32,
    /// It ran out, and nothing was said.
    misses: u32,
    /// How far the time of exhaustion was off, where there was one and both forecasters said so; in minutes.
    late: Vec<f64>,
}

#[derive(Default, Clone)]
struct Pair {
    /// How often the window ran out before the reset.
    ran_out: u32,
    quotad: Score,
    slope: Score,
}

impl Pair {
    fn sum<'a>(pairs: impl Iterator<Item = &'a Self>) -> Self {
        pairs.fold(Self::default(), |mut sum, pair| {
            sum.ran_out += pair.ran_out;
            for (sum, score) in [(&mut sum.quotad, &pair.quotad), (&mut sum.slope, &pair.slope)] {
                sum.errors.extend(&score.errors);
                sum.late.extend(&score.late);
                sum.false_alarms += score.false_alarms;
                sum.misses += score.misses;
            }
            sum
        })
    }

    fn is_won(&self) -> bool {
        let median = |score: &Score| quantile(&score.errors, 0.5);
        median(&self.quotad) < median(&self.slope) && self.quotad.false_alarms < self.slope.false_alarms
    }
}

fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((part * sorted.len().saturating_sub(1) as f64) as usize).copied().unwrap_or(f64::NAN)
}

type Figure = (&'static str, usize, fn(&Score) -> f64);

const FIGURES: [Figure; 5] = [
    ("level at reset: median error", 1, |score| quantile(&score.errors, 0.5)),
    ("p90 error", 1, |score| quantile(&score.errors, 0.9)),
    ("false alarms", 0, |score| f64::from(score.false_alarms)),
    ("misses", 0, |score| f64::from(score.misses)),
    ("minutes off where both said so: median", 0, |score| quantile(&score.late, 0.5)),
];

fn table<'a>(rows: impl Iterator<Item = &'a (String, Pair)>) -> String {
    let titles = FIGURES.map(|(title, _, _)| title).join(" | ");
    let mut text = format!("| who, window | asked | ran out | {titles} |");
    text += "\n|---|--:|--:|--:|--:|--:|--:|--:|\n";
    for (name, pair) in rows {
        let _ = write!(text, "| {name} | {} | {} |", pair.quotad.errors.len(), pair.ran_out);
        for (_, digits, of) in FIGURES {
            let figures @ [quotad, slope] = [of(&pair.quotad), of(&pair.slope)];
            let [quotad_said, slope_said] =
                figures.map(|figure| if figure.is_nan() { "–".to_owned() } else { format!("{figure:.digits$}") });
            let ratio = if (quotad / slope).is_finite() { format!("{:.2}", quotad / slope) } else { "–".to_owned() };
            let _ = write!(text, " {quotad_said} / {slope_said} ({ratio}) |");
        }
        text += "\n";
    }
    text
}

//! `cargo bench --bench storms`: quotad's rules beside those of five tools, and of an oracle, in the same weather.
//!
//! Prints the tables of docs/policy.md and then the verdict: it fails if quotad breaks a promise in any season.
#![expect(clippy::print_stdout, reason = "the table is what this is for")]

mod season;
mod table;

use std::num::NonZero;
use std::thread;
use std::time::Instant;

use season::{ALL, DAY, Scenario, Score, Who, broken, live};
use table::{Row, tables};

const DAYS: u64 = 7;
const SEEDS: [u64; 3] = [1, 2, 3];

fn main() {
    let began = Instant::now();
    let seasons = live_through_all();
    let rows: Vec<_> = ALL.iter().zip(&seasons).map(|(scenario, scores)| (scenario.name, rows(scores))).collect();
    println!("{DAYS} days of each, {} seeds: counts on average, blindness at its worst.\n", SEEDS.len());
    print!("{}", tables(&rows));

    let judged = |(scenario, scores): (&Scenario, &Vec<Vec<Score>>)| -> Vec<String> {
        scores[0].iter().zip(&scores[1]).flat_map(|(quotad, oracle)| broken(scenario, quotad, oracle)).collect()
    };
    let verdict: Vec<String> = ALL.iter().zip(&seasons).flat_map(judged).collect();
    assert!(verdict.is_empty(), "\n{}", verdict.join("\n"));
    println!("\nIn each of {} scenarios quotad:", ALL.len());
    println!("- lost no login and replayed no token;");
    println!("- got out of every window that restarts;");
    println!("- sent at most 1.2 times the oracle's requests;");
    println!("- was blind at most four times as long as the oracle, plus one interval.");
    println!("({:.0} s)", began.elapsed().as_secs_f64());
}

fn rows(scores: &[Vec<Score>]) -> Vec<Row<'_>> {
    scores.iter().map(|seeds| Row(seeds)).collect()
}

/// By scenario, by keeper (as in [`Who::ALL`]), by seed; on every core.
fn live_through_all() -> Vec<Vec<Vec<Score>>> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let of = |scenario: &Scenario| {
        Who::ALL.map(|who| SEEDS.map(|seed| live(scenario, who, DAYS * DAY, seed)).to_vec()).to_vec()
    };
    let mut seasons: Vec<_> = ALL.iter().map(|_| Vec::new()).collect();
    thread::scope(|scope| {
        let share = |core: usize| ALL.iter().enumerate().skip(core).step_by(cores).map(|(n, s)| (n, of(s))).collect();
        let shares: Vec<_> = (0..cores).map(|core| scope.spawn(move || -> Vec<_> { share(core) })).collect();
        for share in shares {
            for (n, scores) in share.join().expect("every season ends") {
                seasons[n] = scores;
            }
        }
    });
    seasons
}

//! `cargo bench --bench storms`: quotad's rules beside those of five tools, in the same weather.
#![expect(clippy::print_stdout, reason = "the table is what this is for")]

mod season;

use season::{ALL, DAY, HOUR, MIN, Who, live};

fn main() {
    let who: &[Who] = if std::env::args().any(|a| a == "--all") { &Who::ALL } else { &Who::ALL[..2] };
    for scenario in ALL {
        println!("\n{}", scenario.name);
        for who in who {
            let began = std::time::Instant::now();
            let score = live(scenario, *who, 7 * DAY, 1);
            println!(
                "{:12} {:6} {:6} {:3}h{:02} {:5} {:5} {:3}  {:?}",
                who.name(),
                score.requests,
                score.successes,
                score.blind / HOUR,
                score.blind % HOUR / MIN,
                score.burnt,
                score.replays,
                score.lost,
                began.elapsed()
            );
        }
    }
}

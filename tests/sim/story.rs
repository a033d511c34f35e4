//! A broken promise as a story: the run made again without everything that does not matter.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::forecast::Forecast;
use crate::host::{DAY, HOUR, MINUTE, SECOND, Time};
use crate::life::{Life, live};

/// How long a story may take to be found. That of a deliberate fault (`mutants`) nobody reads.
fn patience() -> Duration {
    let is_deliberate = std::env::var_os("QUOTAD_FAULT").is_some();
    if is_deliberate { Duration::ZERO } else { Duration::from_secs(60) }
}

/// Requests that are told; the last ones matter.
const REQUESTS: usize = 10;

/// The smallest set of events, of `count`, that still `fails`, as far as leaving out halves, quarters and single ones
/// finds it; returned is what was left out.
pub(crate) fn shrink(count: usize, mut fails: impl FnMut(&BTreeSet<usize>) -> bool) -> BTreeSet<usize> {
    let mut masked = BTreeSet::new();
    let mut chunk = count.next_power_of_two();
    while chunk > 0 {
        for start in (0..count).step_by(chunk) {
            let mut more = masked.clone();
            more.extend(start..(start + chunk).min(count));
            if more.len() > masked.len() && fails(&more) {
                masked = more;
            }
        }
        chunk /= 2;
    }
    masked
}

/// Tells how `seed` breaks a promise within `days`, in as few events as were found.
pub(crate) fn tell(seed: u64, days: u64, life: &Life) -> String {
    let Some(broken) = &life.broken else { return format!("seed {seed} breaks nothing\n{}", lines(life)) };
    let began = Instant::now();
    let until = broken.at + 2 * DAY;
    let masked = shrink(Forecast::draw(seed, days).events.len(), |masked| {
        let again = || live(seed, days, until, masked, false).broken;
        began.elapsed() < patience() && again().is_some_and(|again| again.promise == broken.promise)
    });
    let small = live(seed, days, until, &masked, true);
    let again = small.broken.as_ref().unwrap_or(broken);
    format!(
        "seed {seed} breaks a promise on day {}.\n\n{again}\n\n{}\nreplay: QUOTAD_SEED={seed} cargo test --test sim -- --nocapture\n",
        again.at / DAY,
        lines(&small)
    )
}

/// A story that is short already.
pub(crate) fn unshrunk(life: &Life) -> String {
    let how = life.broken.as_ref().map_or_else(String::new, ToString::to_string);
    format!("{how}\n\n{}", lines(life))
}

/// The story of a run: every event, and the last requests.
fn lines(life: &Life) -> String {
    let is_request = |line: &str| line.contains(" -> ") && (line.contains(": usage ") || line.contains(": token "));
    let requests = life.told.iter().filter(|(_, line)| is_request(line)).count();
    let mut seen = 0;
    let mut text = String::new();
    for (at, line) in &life.told {
        seen += usize::from(is_request(line));
        if !is_request(line) || seen + REQUESTS > requests {
            let _ = writeln!(text, "  {}  {line}", clock(*at));
        }
    }
    text
}

fn clock(at: Time) -> String {
    let (hours, minutes, seconds) = (at % DAY / HOUR, at % HOUR / MINUTE, at % MINUTE / SECOND);
    format!("day {:3} {hours:02}:{minutes:02}:{seconds:02}.{:03}", at / DAY, at % SECOND)
}

#[test]
fn a_story_is_shrunk_to_what_makes_it_fail() {
    for needed in [&[][..], &[0], &[41], &[3, 17], &[5, 6, 40]] {
        let masked = shrink(42, |masked| needed.iter().all(|event| !masked.contains(event)));
        let left: Vec<_> = (0..42).filter(|event| !masked.contains(event)).collect();
        assert_eq!(left, needed);
    }
}

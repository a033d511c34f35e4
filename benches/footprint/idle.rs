//! What happens while nothing has to: system calls, wake-ups and expiries of the timer, seen by `strace`.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::house::{House, Plan};
use super::table::{Row, Table};
use super::{MINUTE, SECOND};

/// Of the unit; the interval of its account is 5 minutes.
const WATCHDOG: Duration = Duration::from_mins(10);
const INTERVAL: Duration = Duration::from_mins(5);
/// What belongs to a poll is over by then.
const AFTER_A_POLL: Duration = Duration::from_secs(15);
/// How much faster the hour in a minute goes.
const FASTER: u32 = 60;

/// A trace of a process, in whole lines.
struct Trace(Vec<String>);

impl Trace {
    fn syscalls(&self) -> usize {
        self.0.iter().filter(|line| line.contains('(') && !line.contains(" resumed>")).count()
    }

    /// How often the timer ran out.
    fn expiries(&self) -> usize {
        self.0.iter().filter(|line| line.contains("[timerfd]>") && line.ends_with("= 8")).count()
    }

    /// How often a thread that slept went on.
    fn wake_ups(&self) -> usize {
        let sleeps = ["epoll_wait(", "epoll_wait resumed", "poll(", "poll resumed", "futex(", "futex resumed"];
        self.0.iter().filter(|line| sleeps.iter().any(|sleep| line.contains(sleep)) && line.contains(" = ")).count()
    }
}

/// Runs the daemon or the floor with one account, and traces it from `after` its first request on.
fn traced(interval: Duration, watchdog: Duration, after: Duration, window: Duration, is_floor: bool) -> Option<Trace> {
    let is_there = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_there {
        println!("    skipped: no strace here, so neither system calls nor wake-ups are counted");
        return None;
    }
    let house = House::new(Plan { accounts: 1, interval, secure: false, poll: "" });
    let file = house.path("trace");
    let tracer = ["strace", "-D", "-f", "-y", "-qq", "-o", file.to_str().unwrap()];
    let (process, _) = if is_floor { house.start_floor(&tracer) } else { house.start(&tracer, Some(watchdog)) };
    house.await_requests(1);
    std::thread::sleep(after);
    let lines = || fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    let before = lines().len();
    std::thread::sleep(window);
    let trace = Trace(lines().split_off(before));
    process.stop();
    Some(trace)
}

/// A minute in which nothing is due, and an hour sixty times as fast: the interval of its account and the watchdog's,
/// and so whatever comes with them.
pub(crate) fn idle(table: &mut Table) {
    let minute = |is_floor| move || traced(INTERVAL, WATCHDOG, AFTER_A_POLL, MINUTE, is_floor);
    let hour = |is_floor| move || traced(INTERVAL / FASTER, WATCHDOG / FASTER, 2 * SECOND, MINUTE, is_floor);
    // All at once: what they do is to wait.
    let traces = std::thread::scope(|scope| {
        let all =
            [scope.spawn(minute(false)), scope.spawn(minute(true)), scope.spawn(hour(false)), scope.spawn(hour(true))];
        all.map(|trace| trace.join().unwrap())
    });
    let [Some(quotad), Some(floor), Some(hour), Some(floor_hour)] = traces else { return };
    let row = |name, quotad: usize, floor: usize| Row::new(name, quotad as f64).beside(floor as f64);
    table.add(false, row("system calls in an idle minute", quotad.syscalls(), floor.syscalls()).at_most(0.0));
    table.add(false, row("wake-ups in an idle minute", quotad.wake_ups(), floor.wake_ups()).at_most(0.0));
    table.add(false, row("timer expiries an hour", hour.expiries(), floor_hour.expiries()).at_most(15.0));
    table.add(false, row("wake-ups an hour, of any thread", hour.wake_ups(), floor_hour.wake_ups()));
    table.add(false, row("system calls an hour", hour.syscalls(), floor_hour.syscalls()));
}

/// An hour of one account, in an hour.
pub(crate) fn an_hour(table: &mut Table) {
    let Some(hour) = traced(INTERVAL, WATCHDOG, AFTER_A_POLL, 60 * MINUTE, false) else { return };
    table.add(false, Row::new("timer expiries in a real hour", hour.expiries() as f64).at_most(15.0));
    table.add(false, Row::new("wake-ups in a real hour, of any thread", hour.wake_ups() as f64));
    table.add(false, Row::new("system calls in a real hour", hour.syscalls() as f64));
}

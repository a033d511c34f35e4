//! A thousand accounts, once a minute each: memory, lateness, and how evenly the requests are spread.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::house::{House, Plan};
use super::process::Memory;
use super::table::{Row, Table, percentile};
use super::{MINUTE, SECOND};

const ACCOUNTS: usize = 1_000;
/// Polls of each account: the first, the second, and two whose lateness counts.
const ROUNDS: u32 = 4;

pub(crate) fn a_thousand(table: &mut Table, secure: bool) {
    let first = super::weigh(1, secure);
    // Without jitter a request is due one interval after the one before it.
    let house = House::new(Plan { accounts: ACCOUNTS, interval: MINUTE, secure, poll: "jitter = 0" });
    let began = Instant::now();
    let (daemon, ready) = house.start(&[], None);
    std::thread::sleep((MINUTE * ROUNDS + 20 * SECOND).saturating_sub(began.elapsed()));
    let quotad = daemon.memory();
    let mut sent: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
    house.vendor.with(|world| {
        for call in world.usage_requests() {
            sent.entry(call.token.clone()).or_default().push(call.arrived);
        }
    });
    daemon.stop();
    assert!(sent.len() == ACCOUNTS && sent.values().all(|sent| sent.len() >= 3), "not every account was polled");
    let late = |pair: &[Instant]| (pair[1] - pair[0]).as_secs_f64() - MINUTE.as_secs_f64();
    let mut lateness: Vec<f64> = sent.values().flat_map(|sent| sent[1..].windows(2).map(late)).collect();
    table.add(secure, Row::new("lateness of 1000 accounts, p99, s", percentile(&mut lateness, 0.99)).at_most(1.0));
    table.add(secure, Row::new("the same, longest, s", percentile(&mut lateness, 1.0)));
    let even = ACCOUNTS as f64 / MINUTE.as_secs_f64();
    let settled = began + 2 * MINUTE + 30 * SECOND;
    let mut seconds: BTreeMap<u64, f64> = BTreeMap::new();
    for at in sent.values().flatten().filter(|at| **at > settled) {
        *seconds.entry((*at - settled).as_secs()).or_default() += 1.0;
    }
    let busiest = seconds.values().copied().fold(0.0, f64::max);
    table.add(
        secure,
        Row::new("their busiest second, beside the mean", busiest).beside(even).at_most_times_the_floor(3.0),
    );
    table.add(secure, Row::new("start to READY, 1000 accounts, ms", ready.as_secs_f64() * 1e3));

    // Faster, so that each account was asked for as often.
    let house = House::new(Plan { accounts: ACCOUNTS, interval: 10 * SECOND, secure, poll: "" });
    let floor = house.start_floor(&[]).0;
    std::thread::sleep(Duration::from_secs(25));
    let floor = floor.stop_and_weigh();
    super::memory_rows(table, secure, ACCOUNTS, [quotad, floor]);
    let each = |now: Memory, first: Memory| (now.private - first.private) / 1024.0 / (ACCOUNTS - 1) as f64;
    let row = Row::new("private memory of each further account, KiB", each(quotad, first[0]));
    table.add(secure, row.beside(each(floor, first[1])).at_most(12.0));
}

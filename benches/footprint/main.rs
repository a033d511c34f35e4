//! What quotad costs to run, beside the floor: the least program that makes the same requests.
//!
//! `cargo bench --bench footprint` builds the release binary and `benches/floor.rs` with its profile, runs both against
//! the embedded vendor, with TLS and without, and prints one table. It fails where a limit is broken. Parts can be asked
//! for by name: `-- polls size`; `-- ratchets` are those that no clock decides, with room to spare (`.ci/run`), `-- soak`
//! is a day in ten minutes, `-- hour` an idle hour in an hour. `house` is where it all happens, `process` what is seen
//! of a process, `front` the TLS, `idle` the wake-ups, `table` the figures and their limits.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should stop where it stands")]

mod front;
mod house;
mod idle;
#[expect(dead_code, reason = "only what is asked for is used here")]
#[path = "../../tests/it/line.rs"]
mod line;
mod pace;
mod process;
mod table;
mod upkeep;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use self::house::{House, Plan};
use self::process::{Memory, Process};
use self::table::{Row, Table};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Of the interval of one account.
const POLLS_A_DAY: f64 = 288.0;

/// What can be measured by itself. Over plain HTTP and HTTPS what stands before `idle`; unasked what stands before `soak`.
const PARTS: [&str; 12] =
    ["memory", "polls", "thousand", "bytes", "start", "change", "idle", "local", "status", "size", "soak", "hour"];
/// Those of them that no clock decides, for every change.
const RATCHETS: [&str; 4] = ["polls", "bytes", "idle", "size"];

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_ratchets = asked.iter().any(|part| part == "ratchets");
    let parts: Vec<&str> = match &asked[..] {
        [] => PARTS[..10].to_vec(),
        _ if is_ratchets => RATCHETS.to_vec(),
        asked => asked.iter().map(String::as_str).collect(),
    };
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(*part)) {
        println!("there is no part \"{unknown}\", but {}, and ratchets", PARTS.join(", "));
        return ExitCode::FAILURE;
    }
    build();
    // What runs with every change must not fail by chance.
    let mut table = Table::new(if is_ratchets { 1.75 } else { 1.0 });
    for secure in [false, true] {
        for part in &parts {
            match *part {
                "memory" => {
                    for accounts in [1, 100] {
                        memory_rows(&mut table, secure, accounts, weigh(accounts, secure));
                    }
                }
                "polls" => polls(&mut table, secure),
                "thousand" => pace::a_thousand(&mut table, secure),
                "bytes" => upkeep::bytes(&mut table, secure),
                "start" => upkeep::start_and_stop(&mut table, secure),
                "change" => upkeep::credential_change(&mut table, secure),
                "soak" => upkeep::soak(&mut table, secure),
                _ => {}
            }
        }
    }
    for part in parts {
        match part {
            "idle" => idle::idle(&mut table),
            "hour" => idle::an_hour(&mut table),
            "local" => upkeep::local_sources(&mut table),
            "status" => upkeep::status(&mut table),
            "size" => size(&mut table),
            _ => {}
        }
    }
    if table.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Builds what is measured. The binary that cargo hands to a bench unwinds at a panic; this one is what users have.
fn build() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--bin", "quotad", "--example", "floor", "--quiet"]);
    assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
}

/// Where one of the two lies.
fn built(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("release").join(name)
}

/// What both hold with so many accounts, after each was polled a few times.
fn weigh(accounts: usize, secure: bool) -> [Memory; 2] {
    // Ten requests a second at most: a crowd of them at once would be weighed, and not the accounts.
    let interval = (SECOND / 10 * u32::try_from(accounts).unwrap()).max(2 * SECOND);
    let house = House::new(Plan { accounts, interval, secure, poll: "" });
    let daemon = house.start(&[], None).0;
    std::thread::sleep(interval * 3);
    let quotad = daemon.stop_and_weigh();
    let floor = house.start_floor(&[]).0;
    std::thread::sleep(interval * 3 / 2);
    [quotad, floor.stop_and_weigh()]
}

fn memory_rows(table: &mut Table, secure: bool, accounts: usize, [quotad, floor]: [Memory; 2]) {
    let mb = |bytes: f64| bytes / 1e6;
    let row =
        Row::new(format!("private memory, {accounts} accounts, MB"), mb(quotad.private)).beside(mb(floor.private));
    table.add(secure, if accounts == 10 { row.at_most_times_the_floor(2.5) } else { row });
    let row = Row::new(format!("resident, {accounts} accounts, MB"), mb(quotad.resident)).beside(mb(floor.resident));
    table.add(secure, if accounts == 10 { row.at_most(12.0) } else { row });
}

/// Ten accounts that are polled once a second each, and used for the middle third of the time: what a poll costs, and what
/// is held after hundreds of them. Both run at the same time: a machine that is slow for a minute is slow for both.
fn polls(table: &mut Table, secure: bool) {
    let plan = Plan { accounts: 10, interval: SECOND, secure, poll: "jitter = 0" };
    let run = |seconds: u32| {
        let houses = [House::new(plan), House::new(plan)];
        let processes = [houses[0].start(&[], None).0, houses[1].start_floor(&[]).0];
        for third in 0..3 {
            for (house, account) in houses.iter().flat_map(|house| (0..plan.accounts).map(move |n| (house, n))) {
                house.set_in_use(account, third == 1);
            }
            std::thread::sleep(SECOND * seconds / 3);
        }
        let requests = houses.each_ref().map(|house| house.requests() as f64);
        let memory = processes.each_ref().map(Process::memory);
        (processes.map(|process| process.stop().0), requests, memory)
    };
    let ((short, few, _), (long, many, memory)) = (run(6), run(45));
    let [quotad, floor] = [0, 1].map(|one| long[one].each(short[one], many[one] - few[one]));
    memory_rows(table, secure, plan.accounts, memory);
    let row = Row::new("CPU per poll, \u{b5}s", quotad.cpu * 1e6).beside(floor.cpu * 1e6);
    table.add(secure, row.at_most_times_the_floor(2.0));
    table.add(secure, Row::new("voluntary switches per poll", quotad.switches).beside(floor.switches));
}

fn size(table: &mut Table) {
    let of = |name: &str| std::fs::metadata(built(name)).unwrap().len() as f64 / 1e6;
    table.add(false, Row::new("binary, MB", of("quotad")).beside(of("examples/floor")).at_most(12.0));
}

//! What else it does: writing, starting, stopping, noticing, answering, and going on for a day.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::house::{House, Plan};
use super::line::Line;
use super::table::{Row, Table, percentile};
use super::{MINUTE, POLLS_A_DAY, SECOND};

/// What one account writes in a day whose middle third is work. All polls of the day are run, two a second; every poll's
/// writing reaches the disk by itself, as it does when polls are minutes apart.
pub(crate) fn bytes(table: &mut Table, secure: bool) {
    let house = House::new(Plan { accounts: 1, interval: SECOND / 2, secure, poll: "" });
    house.set_in_use(0, false);
    let daemon = house.start(&[], None).0;
    let mut polls = 0;
    let mut written_in = |more: usize| {
        let before = daemon.written();
        for _ in 0..more {
            polls += 1;
            house.await_requests(polls);
            std::thread::sleep(SECOND / 6);
            house.write_out();
        }
        daemon.written() - before
    };
    // What a start writes is no day's.
    written_in(1);
    let third = POLLS_A_DAY as usize / 3;
    let morning = written_in(third);
    house.set_in_use(0, true);
    let work = written_in(third);
    house.set_in_use(0, false);
    let evening = written_in(third);
    daemon.stop();
    table.add(secure, Row::new("written per poll at work, KB", work / third as f64 / 1e3));
    table.add(secure, Row::new("written per poll at rest, KB", (morning + evening) / third as f64 / 2e3));
    table.add(secure, Row::new("written per account and day, MB", (morning + work + evening) / 1e6).at_most(3.0));
}

/// Ten accounts: start to READY and to the first request, and from SIGTERM to the end.
pub(crate) fn start_and_stop(table: &mut Table, secure: bool) {
    let house = House::new(Plan { accounts: 10, interval: MINUTE, secure, poll: "" });
    let (mut ready, mut ended, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..20 {
        let (daemon, took) = house.start(&[], None);
        ready.push(took.as_secs_f64() * 1e3);
        std::thread::sleep(SECOND / 4);
        ended.push(daemon.stop().1.as_secs_f64() * 1e3);
        let (program, took) = house.start_floor(&[]);
        floor.push(took.as_secs_f64() * 1e3);
        program.stop();
    }
    let row = Row::new("start to READY, 10 accounts, p50, ms", percentile(&mut ready, 0.5));
    table.add(secure, row.beside(percentile(&mut floor, 0.5)).at_most(50.0));
    table.add(secure, Row::new("the same, longest of 20, ms", percentile(&mut ready, 1.0)));
    table.add(secure, Row::new("SIGTERM to exit, p50, ms", percentile(&mut ended, 0.5)));
}

/// From the new login of an account that waits for it to the request with it.
pub(crate) fn credential_change(table: &mut Table, secure: bool) {
    let house = House::new(Plan { accounts: 10, interval: 5 * MINUTE, secure, poll: "" });
    (0..10).for_each(|account| house.log_in_expired(account));
    let daemon = house.start(&[], None).0;
    std::thread::sleep(SECOND);
    let mut took = Vec::new();
    for account in 0..10 {
        let began = Instant::now();
        house.log_in(account);
        house.await_requests(account + 1);
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    daemon.stop();
    table.add(secure, Row::new("credential change to request, p50, ms", percentile(&mut took, 0.5)));
    table.add(secure, Row::new("the same, longest of 10, ms", percentile(&mut took, 1.0)).at_most(400.0));
}

/// How many requests an account makes in a day, by a day of an hour sixty times as fast; with a client at work that
/// caches its usage, and without.
pub(crate) fn local_sources(table: &mut Table) {
    let requests = |is_client_at_work: bool| {
        let house = House::new(Plan { accounts: 1, interval: 5 * SECOND, secure: false, poll: "" });
        if is_client_at_work {
            house.cache_usage(0);
        }
        let daemon = house.start(&[], None).0;
        let began = Instant::now();
        while began.elapsed() < MINUTE {
            std::thread::sleep(2 * SECOND);
            if is_client_at_work {
                house.cache_usage(0);
            }
        }
        daemon.stop();
        house.requests() as f64 * 24.0
    };
    table.add(false, Row::new("requests per account and day", requests(false)).beside(POLLS_A_DAY));
    table.add(false, Row::new("the same, with its client at work", requests(true)).beside(POLLS_A_DAY));
}

/// `quotad status`, whole and over the socket alone.
pub(crate) fn status(table: &mut Table) {
    let house = House::new(Plan { accounts: 10, interval: MINUTE, secure: false, poll: "" });
    let daemon = house.start(&[], None).0;
    house.await_requests(10);
    let mut line = Line::open(&house.socket()).unwrap();
    let (mut socket, mut verb) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        let began = Instant::now();
        line.get("/v1/status").unwrap();
        socket.push(began.elapsed().as_secs_f64() * 1e3);
        let began = Instant::now();
        assert!(house.quotad(&[], &["status"]).stdout(Stdio::null()).status().unwrap().success());
        verb.push(began.elapsed().as_secs_f64() * 1e3);
    }
    daemon.stop();
    for (what, times) in [("over the socket", &mut socket), ("the whole verb", &mut verb)] {
        table.add(false, Row::new(format!("status, {what}, p50, ms"), percentile(times, 0.5)));
        table.add(false, Row::new(format!("status, {what}, p99, ms"), percentile(times, 0.99)));
    }
}

/// A day in ten minutes: as many polls of ten accounts, new logins, and somebody who looks. What stands as the floor is
/// quotad itself after the first minute.
pub(crate) fn soak(table: &mut Table, secure: bool) {
    const DAY: Duration = Duration::from_mins(10);
    let house = House::new(Plan { accounts: 10, interval: DAY.div_f64(POLLS_A_DAY), secure, poll: "" });
    let daemon = house.start(&[], None).0;
    house.await_requests(10);
    // Until they are answered, nobody knows how an account is.
    std::thread::sleep(SECOND);
    let began = Instant::now();
    let mut first = None;
    for account in 0.. {
        assert!(house.quotad(&[], &["status"]).stdout(Stdio::null()).status().unwrap().success());
        // Three times a day each.
        house.log_in(account % 10);
        std::thread::sleep(DAY / 30);
        if began.elapsed() >= MINUTE {
            first.get_or_insert_with(|| daemon.memory());
        }
        if began.elapsed() >= DAY {
            break;
        }
    }
    let (first, last, polls) = (first.unwrap(), daemon.memory(), house.requests());
    daemon.stop();
    println!("    {polls} requests in {:?}", began.elapsed());
    for (name, last, first) in [
        ("resident after a day, MB", last.resident, first.resident),
        ("private after a day, MB", last.private, first.private),
    ] {
        table.add(secure, Row::new(name, last / 1e6).beside(first / 1e6).at_most_times_the_floor(1.05));
    }
}

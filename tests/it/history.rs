//! The history of the real daemon: what it keeps of its readings, what it tells of resets, and what survives.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quotad::state::{Examined, examine};
use rusqlite::Connection;
use serde_json::Value;

use crate::line::Line;
use crate::support::{Daemon, House, QUICK, is_long, wait_for};

const HOUR: Duration = Duration::from_secs(3600);

/// A house with one account, logged in.
fn house(settings: &str) -> House {
    let house = House::new();
    house.log_in("personal", HOUR);
    house.configure(settings, "personal", "");
    house
}

fn state(house: &House) -> PathBuf {
    house.path("state").join("quotad")
}

fn database(dir: &Path) -> Connection {
    Connection::open(dir.join("state.db")).unwrap()
}

/// What stdout says, and the exit code.
fn said(house: &House, args: &[&str]) -> (String, Option<i32>) {
    let output = house.ask(args);
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

/// One window of the history document.
fn window(house: &House, id: &str) -> Value {
    let (text, _) = said(house, &["history", "personal", "--json", "--window", id]);
    serde_json::from_str::<Value>(&text).map(|document| document["windows"][0].clone()).unwrap_or_default()
}

fn samples(house: &House, id: &str) -> Vec<Value> {
    window(house, id)["samples"].as_array().cloned().unwrap_or_default()
}

/// How often a reset was logged.
fn resets_logged(house: &House) -> usize {
    house.log().lines().filter(|line| line.contains("\"window-reset\"")).count()
}

#[test]
fn readings_become_a_history_that_every_form_shows_and_a_reset_is_told_once() {
    let house = house(QUICK);
    let daemon = house.start();
    daemon.wait_for_state("ok");
    wait_for("three changes", || samples(&house, "five_hour").len() >= 3);
    assert_eq!(resets_logged(&house), 0);

    let soon = house.vendor.now() + Duration::from_millis(800);
    house.vendor.with(|world| world.quota("personal").unwrap().five_hour.resets_at = soon);
    let resets = |id: &str| samples(&house, id).iter().filter(|sample| sample["reset"] == true).count();
    wait_for("the reset", || resets("five_hour") == 1);
    house.vendor.with(|world| world.quota("personal").unwrap().seven_day.used = 60.0);
    wait_for("much use", || {
        samples(&house, "seven_day").iter().any(|sample| sample["used_percent"].as_f64() > Some(59.0))
    });
    house.vendor.with(|world| world.quota("personal").unwrap().seven_day.used = 0.0);
    wait_for("the early reset", || resets("seven_day") == 1);

    let (csv, exit) = said(&house, &["history", "personal", "--csv", "--since", "1h"]);
    assert!(exit == Some(0) && csv.starts_with("account,window,label,unit,at,used_percent,"), "{csv}");
    assert_eq!(csv.matches(",true\n").count(), 2, "{csv}");
    let (page, exit) = said(&house, &["history", "personal", "--since", "1h"]);
    assert!(exit == Some(0) && page.contains("^ started over") && page.contains(" early\n"), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    assert_eq!(said(&house, &["history", "nobody"]).1, Some(69));
    assert_eq!(said(&house, &["history", "personal", "--window", "nothing"]).1, Some(69));

    let mut line = Line::open(&house.path("run").join("quotad/quotad.sock")).unwrap();
    let problem = line.get("/v1/history/personal?since=soon").unwrap();
    assert_eq!((&problem["status"], &problem["title"]), (&400.into(), &"Bad Request".into()));
    let none = line.get("/v1/history/personal?since=4000-01-01T00:00:00Z").unwrap();
    assert_eq!(none["windows"][0]["samples"].as_array().map(Vec::len), Some(1), "what stands: {none}");
    drop(line);

    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(said(&house, &["history", "personal"]).1, Some(69), "no daemon");
    let daemon = house.start();
    let before = samples(&house, "five_hour").len();
    wait_for("more changes", || samples(&house, "five_hour").len() > before + 1);
    assert_eq!(resets_logged(&house), 2, "{}", house.log());
    drop(daemon);
}

#[test]
fn forecasts_are_there_after_a_restart_without_a_request() {
    let house = house("[poll]\ninterval = \"1h\"\njitter = 0\n");
    let daemon = house.start();
    daemon.wait_for_state("ok");
    let first = |daemon: &Daemon<'_>| daemon.account()["windows"][0].clone();
    assert!(first(&daemon)["burn_per_hour"].is_null(), "of one sample nothing is said");
    assert_eq!(daemon.stop(), Some(0));

    let requests = || house.vendor.with(|world| world.usage_requests().count());
    let asked = requests();
    let db = database(&state(&house));
    // An hour before there was less, and another hour before still less: 5 points an hour.
    db.execute_batch(
        "UPDATE sample SET n = n + 2;
         INSERT INTO sample SELECT series, 1, at - 7200, thousandths - 10000, resets_in + 7200, NULL, NULL, NULL
             FROM sample WHERE n = 3;
         INSERT INTO sample SELECT series, 2, at - 3600, thousandths - 5000, resets_in + 3600, NULL, NULL, NULL
             FROM sample WHERE n = 3;",
    )
    .unwrap();
    drop(db);
    let daemon = house.start();
    wait_for("the forecast", || first(&daemon)["burn_per_hour"].is_number());
    let window = first(&daemon);
    let burn = window["burn_per_hour"].as_f64().unwrap();
    assert!((0.5..6.0).contains(&burn), "{window}");
    assert!(window["exhausts_at"].is_null(), "not before the reset: {window}");
    assert_eq!(requests(), asked, "nobody was asked");
    drop(daemon);
}

#[test]
fn kill_9_leaves_a_sound_file_whose_history_ends_with_the_last_reading() {
    let house = house(&QUICK.replace("500ms", "20ms"));
    let mut kept = 0;
    for round in 0..if is_long() { 20 } else { 4 } {
        let daemon = house.start_logging("info");
        std::thread::sleep(Duration::from_millis(300 + 37 * round));
        daemon.kill();
        assert_eq!(examine(&state(&house)).unwrap(), Examined::Sound);
        let db = database(&state(&house));
        let (reading, newest, rows): (f64, f64, i64) = db
            .query_row(
                "SELECT (SELECT json_extract(record, '$.windows[0].used_percent') FROM reading),
                        thousandths / 1000.0, (SELECT count(*) FROM sample)
                 FROM sample JOIN series ON id = series WHERE window = 'five_hour' ORDER BY n DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap();
        assert!((reading - newest).abs() < 0.001, "both or neither: {reading}, {newest}");
        assert!(rows > kept, "what was kept stays: {rows} after {kept}");
        kept = rows;
    }
    println!("{kept} rows");
}

#[test]
fn what_is_older_than_the_retention_goes_after_a_start() {
    let house = house(&format!("{QUICK}\n[history]\nretention = \"30d\"\n"));
    let daemon = house.start();
    daemon.wait_for_state("ok");
    assert_eq!(daemon.stop(), Some(0));
    database(&state(&house))
        .execute_batch(
            "UPDATE sample SET n = n + 100;
             INSERT INTO sample SELECT series, 1, at - 31 * 86400, 1, NULL, NULL, NULL, NULL FROM sample WHERE n = 101;
             INSERT INTO sample SELECT series, 2, at - 29 * 86400, 2, NULL, NULL, NULL, NULL FROM sample WHERE n = 101;",
        )
        .unwrap();
    let daemon = house.start();
    let first = || {
        let (text, _) = said(&house, &["history", "personal", "--json", "--since", "90d"]);
        serde_json::from_str::<Value>(&text)
            .map(|document| document["windows"][0]["samples"][0]["used_percent"].clone())
    };
    wait_for("the oldest to go", || first().is_ok_and(|percent| percent == 0.002));
    drop(daemon);
}

#[test]
fn an_answer_is_bounded_and_says_what_it_left_out() {
    let house = house("[poll]\ninterval = \"1h\"\n");
    let daemon = house.start();
    daemon.wait_for_state("ok");
    assert_eq!(daemon.stop(), Some(0));
    database(&state(&house))
        .execute_batch(
            "UPDATE sample SET n = n + 50000;
             WITH RECURSIVE poll (m) AS (SELECT 1 UNION ALL SELECT m + 1 FROM poll WHERE m < 20000)
             INSERT INTO sample SELECT series, m, at - 300 * (20001 - m), m % 1000 * 100, 18000, NULL, NULL, NULL
                 FROM sample, poll WHERE n > 50000;",
        )
        .unwrap();
    let daemon = house.start();
    for (since, cut) in [("90d", true), ("1d", false)] {
        let began = std::time::Instant::now();
        let (text, exit) = said(&house, &["history", "personal", "--json", "--since", since]);
        println!("{} bytes of {since} in {:?}", text.len(), began.elapsed());
        let document: Value = serde_json::from_str(&text).unwrap();
        let windows = document["windows"].as_array().unwrap();
        let samples: usize = windows.iter().map(|window| window["samples"].as_array().unwrap().len()).sum();
        assert_eq!((exit, &document["cut"]), (Some(0), &cut.into()), "{since}");
        assert!(samples <= 20_000 + windows.len() && samples > 288 * windows.len() - 5, "{since}: {samples}");
    }
    drop(daemon);
}

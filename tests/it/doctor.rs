//! `quotad doctor` on a real home: what is wrong is found, and the remedy it prints, typed as it stands, puts it right.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::{House, QUICK, text};

const HOUR: Duration = Duration::from_secs(3600);

/// A house with one good login.
fn house() -> House {
    let house = House::new();
    house.log_in("work", HOUR);
    house.configure("", "work", "");
    house
}

fn examine(house: &House, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let config = house.path("config.toml");
    let mut doctor = house.quotad(&["doctor", "--config", config.to_str().unwrap()]);
    let Output { status, stdout, stderr } = doctor.envs(environment.iter().copied()).output().unwrap();
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    (status.code(), String::from_utf8(stdout).unwrap())
}

/// The lines below the finding that says `what` that are meant to be typed.
fn remedy(report: &str, what: &str) -> Vec<String> {
    let flat = |lines: &[&str]| lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let lines: Vec<&str> = report.lines().collect();
    let starts: Vec<usize> = (0..lines.len()).filter(|at| !lines[*at].starts_with("     ")).collect();
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    let found = starts.iter().copied().zip(ends).find(|(start, end)| flat(&lines[*start..*end]).contains(what));
    let (start, end) = found.unwrap_or_else(|| panic!("no finding says {what}:\n{report}"));
    lines[start..end].iter().filter_map(|line| line.strip_prefix("            ")).map(str::to_owned).collect()
}

#[test]
fn a_good_home_is_all_well_with_and_without_a_daemon() {
    let house = house();
    let (code, report) = examine(&house, &[]);
    assert_eq!(code, Some(0), "{report}");
    assert!(!report.contains("fail") && report.contains("no daemon answers"), "{report}");
    let daemon = house.start();
    daemon.wait_for_state("ok");
    let state = || ["state.db", "state.db-wal"].map(|name| fs::read(house.path("state/quotad").join(name)).unwrap());
    let before = state();
    let (code, report) = examine(&house, &[]);
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains("the daemon answers on") && report.contains("state.db can be read"), "{report}");
    assert_eq!(state(), before, "the state was touched");
    assert!(!report.contains("FAKE"), "{report}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_world_readable_file_is_closed_by_the_command_doctor_prints() {
    let house = house();
    let file = house.credentials("work");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, report) = examine(&house, &[]);
    assert_eq!(code, Some(1), "{report}");
    let typed = remedy(&report, "is open to other users (mode 0644)");
    assert!(Command::new("sh").args(["-c", &typed.join("\n")]).status().unwrap().success(), "{typed:?}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(examine(&house, &[]).0, Some(0));
}

#[test]
fn a_relocated_directory_is_watched_once_the_lines_doctor_prints_stand_in_the_config() {
    let house = house();
    house.log_in("moved", HOUR);
    let moved = house.path("home").join("moved");
    let environment = [("CLAUDE_CONFIG_DIR", moved.to_str().unwrap())];
    let (code, report) = examine(&house, &environment);
    assert_eq!(code, Some(0), "{report}");
    let lines = remedy(&report, "which nobody watches");
    assert!(lines[0].starts_with("[accounts."), "{lines:?}");
    let config = house.path("config.toml");
    fs::write(&config, text(&config) + &lines.join("\n")).unwrap();
    let (code, report) = examine(&house, &environment);
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains("which is watched") || report.contains("watched\n"), "{report}");
    assert!(!report.contains("which nobody watches"), "{report}");
}

#[test]
fn a_bad_config_is_found_whole_and_well_once_its_examples_are_followed() {
    let house = house();
    house.configure("[poll]\nintervall = \"20m\"\njitter = 7\n", "work", "");
    let (code, report) = examine(&house, &[]);
    assert_eq!(code, Some(1), "{report}");
    let lines = remedy(&report, "is refused").join("\n");
    assert!(lines.contains("did you mean `interval`") && lines.contains("= example: jitter = 0.1"), "{lines}");
    house.configure("[poll]\ninterval = \"20m\"\njitter = 0.1\n", "work", "");
    assert_eq!(examine(&house, &[]).0, Some(0));
}

#[test]
fn a_login_that_is_gone_or_refused_ends_with_77() {
    let house = house();
    fs::remove_file(house.credentials("work")).unwrap();
    let (code, report) = examine(&house, &[]);
    assert_eq!(code, Some(77), "{report}");
    assert!(remedy(&report, "there is no credential file")[0].contains("claude /login"), "{report}");

    let house = House::new();
    let tokens = house.log_in_expired("own");
    house.vendor.with(|world| world.revoke(&tokens.refresh));
    house.configure(QUICK, "own", "owner = \"quotad\"");
    let daemon = house.start();
    daemon.wait_for_state("dead");
    let (code, report) = examine(&house, &[]);
    assert_eq!(code, Some(77), "{report}");
    assert!(report.contains("the daemon says dead"), "{report}");
}

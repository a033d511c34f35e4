//! The promises of `cargo bench --bench storms`, kept by every test run: shorter seasons, quotad and the oracle only;
//! and the peers' models against the figures that the field reports give for their rules.

#[path = "../../benches/storms/season/mod.rs"]
mod season;

use std::thread;

use season::{ALL, DAY, Scenario, Who, broken, live};

/// The seasons of a third of the scenarios.
fn in_every_season_of_a_third(third: usize) {
    let judged = |scenario: &Scenario| {
        let [quotad, oracle] = [Who::Quotad, Who::Oracle].map(|who| live(scenario, who, 4 * DAY, 7));
        assert!(oracle.successes > 100 && quotad.successes > 100, "{}: there was a season", scenario.name);
        broken(scenario, &quotad, &oracle)
    };
    let verdict: Vec<String> = ALL.iter().skip(third).step_by(3).flat_map(judged).collect();
    assert!(verdict.is_empty(), "\n{}", verdict.join("\n"));
}

#[test]
fn quotad_keeps_every_promise_in_every_weather() {
    let thirds = [0, 1, 2].map(|third| thread::spawn(move || in_every_season_of_a_third(third)));
    for third in thirds {
        third.join().unwrap();
    }
}

/// Field reports, section 2.6: a day, begun inside a block whose window restarts on each refused request.
#[test]
fn the_models_of_the_peers_do_what_the_field_reports_say_of_their_rules() {
    let day = |name: &str, who| {
        let scenario = ALL.iter().find(|scenario| scenario.name == name).expect("a scenario of that name");
        let score = live(scenario, who, DAY, 1);
        (score.requests, score.successes)
    };
    for (window, on_watch, tick_of_5_min, usage_bar) in [
        ("window of 240 s restarts", (720, 0), (288, 287), (1436, 1435)),
        ("window of 600 s restarts", (720, 0), (288, 0), (288, 0)),
        ("window of 990 s restarts", (720, 0), (288, 0), (288, 0)),
    ] {
        assert_eq!(day(window, Who::OnWatch), on_watch, "{window}");
        assert_eq!(day(window, Who::OpenUsage), tick_of_5_min, "{window}");
        assert_eq!(day(window, Who::CodexBar), tick_of_5_min, "{window}");
        assert_eq!(day(window, Who::UsageBar), usage_bar, "{window}");
        let (requests, answered) = day(window, Who::Clauth);
        let got_out = requests > 700 && requests - answered == 4;
        assert!(if usage_bar.1 > 0 { got_out } else { (requests, answered) == (290, 0) }, "{window}: {requests}");
    }
}

#[test]
fn every_promise_can_be_broken() {
    let scenario = ALL.iter().find(|scenario| scenario.name == "window of 990 s restarts").expect("a scenario");
    let [mut keeper, oracle] = [Who::OnWatch, Who::Oracle].map(|who| live(scenario, who, DAY, 1));
    assert_eq!(broken(scenario, &keeper, &oracle).len(), 3, "requests, blindness, and the window");
    (keeper.replays, keeper.lost) = (1, 1);
    let all = broken(scenario, &keeper, &oracle).join("\n");
    for promise in ["lost 1 logins", "replayed 1 tokens", "never got out", "sent 720 requests", "blind for 1440 min"] {
        assert!(all.contains(promise), "{promise}: {all}");
    }
    assert_eq!(broken(scenario, &oracle, &oracle), Vec::<String>::new());
}

#[test]
fn same_seed_same_season() {
    for who in [Who::Quotad, Who::Clauth] {
        let scenario = ALL.last().expect("a scenario");
        assert_eq!(live(scenario, who, DAY, 3), live(scenario, who, DAY, 3), "{}", who.name());
    }
}

#[test]
fn the_policy_page_carries_every_scenario_and_keeper() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/policy.md")).unwrap();
    for scenario in ALL {
        let rows = page.lines().filter(|line| line.starts_with(&format!("| {} ", scenario.name))).count();
        assert_eq!(rows, 4, "docs/policy.md: `{}` in each of four tables", scenario.name);
    }
    let heads: Vec<&str> = page.lines().filter(|line| line.contains(" onWatch |")).collect();
    assert_eq!(heads.len(), 4);
    for who in Who::ALL {
        assert!(heads.iter().all(|head| head.contains(&format!(" {} |", who.name()))), "{}", who.name());
    }
}

//! Every plan: each vendor and each of its scenarios, asked by the real supervisor, answered by one embedded vendor.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use quotad::clock::Clock;
use quotad::config;
use quotad::demo::vendor::Vendor;
use quotad::demo::{CAST, Plan};
use quotad::paths::Paths;
use quotad::policy::status::{AccountState, AccountView};
use quotad::provider;
use quotad::state::State;
use quotad::supervisor::{Setup, Supervisor};
use tokio_util::sync::CancellationToken;

use crate::support::House;

#[test]
fn the_demo_shows_every_vendor_side_by_side() {
    let house = House::new();
    let output = house.quotad(&["demo", "--all"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let headings: Vec<&str> = said.lines().filter(|line| line.contains(" since ")).collect();
    // The custom provider is whatever a config makes of it.
    for id in provider::ALL.map(provider::Provider::id).into_iter().filter(|id| id.as_str() != "custom") {
        let heading = headings.iter().find(|line| line.starts_with(&format!("{id}  {id}")));
        assert!(heading.is_some_and(|line| line.contains("  ok since ")), "{id} is not well: {said}");
    }
    assert_eq!(headings.len(), provider::ALL.len() - 1, "{said}");
    for home in ["home", "state", "run"] {
        assert_eq!(fs::read_dir(house.path(home)).unwrap().count(), 0, "{home} was touched");
    }
}

/// Each vendor's scenarios, those that end alike in one line: what the account says, then the samples it was given.
const EXPECTED: &str = "";

#[tokio::test]
async fn one_vendor_plays_every_scenario_of_every_provider() {
    let home = tempfile::tempdir().unwrap();
    let clock = Clock::real();
    let vendor = Vendor::start(clock.clone()).unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    vendor.with(|world| world.shelf.put_all(&data).unwrap());
    let mut text = "[poll]\nretries = 0\n".to_owned();
    let mut scenarios = BTreeMap::new();
    for plan in &CAST {
        for scenario in scenarios_of(plan, &vendor) {
            let name = format!("{}-{}", plan.provider, scenarios.len());
            text += &plan.account(&name, &scenario, home.path(), &vendor).unwrap();
            scenarios.insert(name, (plan.provider, scenario));
        }
    }
    let config_file = home.path().join("config.toml");
    fs::write(&config_file, text).unwrap();
    let paths = Paths::in_home(home.path());
    let loaded = config::load(Some(&config_file), &paths).unwrap();
    let state = State::open(&paths.state_dir).unwrap();
    let setup = Setup { loaded, config_file: Some(config_file), paths, state, clock, logging: None, read_only: false };
    let (supervisor, handle) = Supervisor::start(setup).unwrap();
    let stop = CancellationToken::new();
    let mut snapshots = handle.watch();
    let looking_on = async {
        let asked = async {
            while handle.snapshot().accounts.iter().any(|view| view.counters.polls == 0 || is_under_way(view)) {
                snapshots.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asked).await.unwrap();
        stop.cancel();
        handle.snapshot()
    };
    let (snapshot, ()) = tokio::join!(looking_on, supervisor.run(None, stop.cancelled()));
    let mut ends: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
    for view in &snapshot.accounts {
        let (provider, scenario) = &scenarios[view.name.as_str()];
        ends.entry((provider, end(view))).or_default().push(scenario);
    }
    let mut told = String::new();
    for ((provider, end), scenarios) in ends {
        writeln!(told, "{provider}, {end}: {}", scenarios.join(" ")).unwrap();
    }
    assert_eq!(told, EXPECTED, "\n{told}");
}

fn is_under_way(view: &AccountView) -> bool {
    view.state == AccountState::Starting
}

/// The state, and how many windows are known.
fn end(view: &AccountView) -> String {
    let windows = view.reading.as_ref().map_or(0, |reading| reading.windows.len());
    if view.state == AccountState::Ok { format!("ok with {windows}") } else { view.state.as_str().to_owned() }
}

/// What this vendor's samples come to as scenarios; those of files and of the token endpoint are none.
fn scenarios_of(plan: &Plan, vendor: &Vendor) -> Vec<String> {
    const NO_ANSWER: [&str; 8] =
        ["token_", "login", "auth", "oauth_creds", "kimi_c", "tombstone", "statusline", "rollout"];
    let samples =
        vendor.with(|world| world.shelf.samples(plan.provider).into_iter().map(str::to_owned).collect::<Vec<_>>());
    let is_answer =
        |sample: &String| !NO_ANSWER.iter().any(|word| sample.starts_with(word)) && !sample.ends_with("_token");
    let scenario = |sample: String| match (plan.provider, sample.as_str()) {
        ("gemini" | "antigravity", name) if name.starts_with("load_") => {
            format!("{name}+{}", plan.samples.last().unwrap().0)
        }
        ("gemini", "free_ineligible_200") => sample,
        ("gemini" | "antigravity", name) => format!("{}+{name}", plan.samples[0].0),
        ("openrouter", name) if name.starts_with("credits") => format!("key+{name}"),
        ("openrouter", name) => format!("{name}+credits"),
        ("cursor", name) if name.starts_with("summary_") || name == "enterprise_overall" => {
            format!("team_no_plan+{name}")
        }
        ("cursor", "request_based") => "team_no_plan+summary_no_limits+request_based".to_owned(),
        _ => sample,
    };
    samples.into_iter().filter(is_answer).map(scenario).collect()
}

//! Every plan: each vendor and each of its scenarios, asked by the real supervisor, answered by one embedded vendor.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
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
use serde_json::Value;
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

#[test]
fn without_a_config_every_login_in_a_known_place_becomes_an_account() {
    let house = House::new();
    // Emptied by their clients, so that nobody is asked.
    let emptied = r#"{"access_token": "", "refresh_token": "", "expires_at": 0}"#;
    for (file, content) in [
        (".kimi-code/credentials/kimi-code.json", emptied),
        (".kimi/credentials/kimi-code.json", emptied),
        (".codex/auth.json", "{}"),
        (".config/codex/auth.json", "{}"),
        (".local/share/opencode/auth.json", "{}"),
    ] {
        let path = house.path("home").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let output = house.quotad(&["once", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let accounts = status["accounts"].as_array().unwrap().iter();
    let home = house.path("home").display().to_string();
    let told: Vec<String> = accounts
        .map(|account| {
            let path = account["credentials"]["path"].as_str().unwrap().replace(&home, "~");
            format!("{} {} {path}", account["name"].as_str().unwrap(), account["state"].as_str().unwrap())
        })
        .collect();
    let expected = [
        "codex signed-out ~/.codex/auth.json",
        "codex-2 signed-out ~/.local/share/opencode/auth.json",
        "kimi signed-out ~/.kimi-code/credentials/kimi-code.json",
        "kimi-2 signed-out ~/.kimi/credentials/kimi-code.json",
    ];
    assert_eq!(told, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

/// Each vendor's scenarios, those that end alike in one line: what the account says, then the samples it was given.
const EXPECTED: &str = "\
antigravity, auth-paused: load_pro+401_expired
antigravity, no-permission: load_pro+403_unsupported_client
antigravity, ok with 1: load_pro+weekly_only load_pro+wrapped
antigravity, ok with 2: load_pro+five_hour_only
antigravity, ok with 4: load_free+summary load_pro+summary
claude, ok with 1: v4_enterprise
claude, ok with 2: limits_not_array v1_min v6_idle v7_breakdown
claude, ok with 3: limits_bad_element v3b_extra_on v5_team_uncapped
claude, ok with 4: opus_null_but_scoped_100 v3_limits v8_unknown_kind v9_spend_contradicts_extra
claude, ok with 5: v2_codenames
codex, auth-paused: 401_token_expired
codex, dead: 401_revoked 402_deactivated
codex, failing: 403_cloudflare_challenge html_503
codex, ok with 0: p5_null_rate_limit
codex, ok with 1: p2_free_weekly_primary p4_top_level_individual_limit
codex, ok with 2: balance_number p3_team_exhausted p4_enterprise_caps p6_balance_exp plan_unknown \
    reached_type_null_type reset_credit_claimed_midwindow slots_swapped
codex, ok with 3: bad_entries reached_type_string used_percent_float
codex, ok with 5: p1_plus
copilot, auth-paused: 401
copilot, no-permission: 403_pat 404 c8_enterprise_minimal
copilot, ok with 0: enterprise_all_unlimited
copilot, ok with 1: c1_paid c4_unlimited_placeholder c7_minus_one numbers_as_strings snapshot_null \
    stale_limited_map
copilot, ok with 2: c2_negative c3_credits c3_reset_at_zero c4_business_placeholder c5_free c9_overage \
    unknown_snapshot_key
copilot, ok with 3: c4_c5_mix c6_free_tbb
copilot, throttled: 403_secondary_limit 429
cursor, auth-paused: 401
cursor, failing: 404_team
cursor, ok with 1: free_zero_omitted limit_zero_with_percent team_no_plan+enterprise_overall used_lags_behind
cursor, ok with 2: number_ms spend_without_limit team_no_plan+summary_no_limits+request_based zero_spend_omitted
cursor, ok with 3: team_pooled
cursor, ok with 4: pro
cursor, ok with 5: team_no_plan+summary_individual
cursor, throttled: 429
deepseek, auth-paused: http_401
deepseek, ok with 0: empty
deepseek, ok with 1: one_currency
deepseek, ok with 2: two_currencies
gemini, auth-paused: load_standard+401_expired
gemini, no-permission: free_ineligible_200 load_standard+403_service_disabled load_standard+404_project \
    load_standard+consumer_403
gemini, ok with 1: load_standard+missing_fraction
gemini, ok with 2: load_standard+inaccurate_full
gemini, ok with 3: load_no_project+standard_ok load_standard+standard_ok load_standard+vertex_dupes
gemini, ok with 4: load_project_object+standard_ok
gemini, throttled: load_standard+429_quota_exhausted
grok, auth-paused: 401
grok, no-permission: 403 412_team
grok, ok with 1: on_demand_off over_100 percent_omitted plain_billing unknown_period
grok, ok with 2: on_demand_only
grok, ok with 3: credits
kimi, auth-paused: 401 403
kimi, no-permission: 404
kimi, ok with 1: k1_remaining_omitted k1_used_omitted k2_over unknown_limit_key
kimi, ok with 2: k1_counts k2_zero_vs_k1 usages_array
kimi, ok with 3: k2_strings
kimi, ok with 4: k1 k2 k2_month_only no_reset
minimax, auth-paused: 200_code_1004
minimax, ok with 0: empty
minimax, ok with 1: counts
minimax, ok with 3: wrapped
minimax, ok with 4: percent
minimax, throttled: 200_code_1002
moonshot, auth-paused: http_401
moonshot, failing: 200_code_not_0
moonshot, ok with 3: balance debt
openrouter, auth-paused: http_401+credits
openrouter, no-permission: http_402+credits
openrouter, ok with 1: key+credits_403
openrouter, ok with 2: key+credits key+credits_negative key_reset+credits key_unlimited+credits
synthetic, ok with 2: generic
synthetic, ok with 3: subscription
synthetic, ok with 4: rolling
zai, auth-paused: 200_code_401 http_401
zai, failing: 200_code_1001 200_code_500_other team_missing_headers
zai, no-permission: 200_code_500_no_plan
zai, ok with 0: empty_limits
zai, ok with 1: z3_weekly_only
zai, ok with 2: name_instead_of_type z1 z3
zai, ok with 3: z2
zai, ok with 4: unknown_unit
";

#[tokio::test]
async fn one_vendor_plays_every_scenario_of_every_provider() {
    let home = tempfile::tempdir().unwrap();
    let clock = Clock::real();
    let vendor = Vendor::start(clock.clone()).unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    vendor.with(|world| world.shelf.put_all(&data).unwrap());
    // Kimi refuses without a word.
    vendor.with(|world| ["401", "403", "404"].map(|status| world.shelf.put("kimi", status, "")));
    // One failure tells, and is told.
    let mut text = "[poll]\nretries = 0\n[auth-pause]\nafter = 1\n".to_owned();
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
    for ((provider, end), mut scenarios) in ends {
        scenarios.sort_unstable();
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
fn scenarios_of(plan: &Plan, vendor: &Vendor) -> BTreeSet<String> {
    const NO_ANSWER: [&str; 9] =
        ["token_", "login", "auth", "oauth_creds", "kimi_c", "tombstone", "statusline", "rollout", "should_logout"];
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
        ("cursor", "summary_individual" | "enterprise_overall") => format!("team_no_plan+{sample}"),
        ("cursor", "team_no_plan" | "summary_no_limits" | "request_based") => {
            "team_no_plan+summary_no_limits+request_based".to_owned()
        }
        _ => sample,
    };
    samples.into_iter().filter(is_answer).map(scenario).collect()
}

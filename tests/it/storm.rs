//! A usage endpoint whose window starts again at every refused request (claudebar#8): whoever keeps asking stays out.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use quotad::clock::Clock;
use quotad::config;
use quotad::demo::vendor::{Answer, Budget, RetryAfter, Vendor, credential_file_json};
use quotad::paths::Paths;
use quotad::state::State;
use quotad::supervisor::{Setup, Supervisor};

/// One second here is 25 minutes.
const SPEED: u32 = 1500;

/// Six hours of polling every five minutes; the minutes at which requests left, and which were refused.
fn six_hours(window: Duration) -> Vec<(u64, bool)> {
    crate::no_errors::watch();
    let clock = Clock::compressed(SPEED);
    let home = tempfile::tempdir().unwrap();
    let vendor = Vendor::start(clock.clone()).unwrap();
    let began = vendor.now();
    let tokens = vendor.with(|world| {
        world.budget = Some(Budget { requests: 1, window, restarts: true, retry_after: RetryAfter::Zero });
        world.login("storm", Duration::from_secs(24 * 3600), began)
    });
    let file = home.path().join("login.json");
    quotad::disk::store_private(&file, credential_file_json(&tokens, |_| {}).as_bytes()).unwrap();
    let text = format!(
        "[accounts.storm]\nprovider = \"claude\"\ncredentials = \"{}\"\ninterval = \"5m\"\nusage-url = \"{}\"\ntoken-url = \"{}\"\n",
        file.display(),
        vendor.usage_url(),
        vendor.token_url()
    );
    let paths = Paths::in_home(home.path());
    let loaded = config::parse(&text, &home.path().join("config.toml"), &paths).unwrap();
    let state = State::open(&paths.state_dir).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let setup = Setup { loaded, config_file: None, paths, state, clock, logging: None, read_only: false };
        let (supervisor, _handle) = Supervisor::start(setup).unwrap();
        supervisor.run(None, tokio::time::sleep(Duration::from_secs(6 * 3600) / SPEED)).await;
    });
    vendor.with(|world| {
        world
            .usage_requests()
            .map(|call| (call.at.duration_since(began).as_secs().unsigned_abs() / 60, call.status == Some(429)))
            .collect()
    })
}

#[test]
fn a_window_that_restarts_on_every_refused_request_is_got_out_of() {
    let windows = [240, 600, 990].map(Duration::from_secs);
    let told = windows.map(|window| std::thread::spawn(move || six_hours(window))).map(|run| run.join().unwrap());
    for (window, requests) in windows.into_iter().zip(told) {
        let refused = requests.iter().filter(|(_, refused)| *refused).count();
        let minutes: Vec<String> =
            requests.iter().map(|(at, refused)| format!("{at}{}", if *refused { "!" } else { "" })).collect();
        println!(
            "window {} s: {} requests in 6 h, {refused} refused; minutes (! refused): {}",
            window.as_secs(),
            requests.len(),
            minutes.join(" ")
        );
        let answered = requests.len() - refused;
        assert!(answered > refused, "it stays out: {requests:?}");
        assert!(requests.len() <= 75, "more than one every five minutes: {requests:?}");
    }
}

/// Eighty accounts that are due at the same moment, at a server that takes a third of a second for each.
#[test]
fn of_many_accounts_that_are_due_at_once_few_ask_at_once_and_all_are_asked() {
    const AT_ONCE: usize = 16;
    crate::no_errors::watch();
    let home = tempfile::tempdir().unwrap();
    let vendor = Vendor::start(Clock::real()).unwrap();
    vendor.usage().always(Answer::Drip { delay: Duration::from_millis(20) });
    let mut text = "[poll]\ninterval = \"2s\"\n".to_owned();
    for account in 0..80 {
        let name = format!("a{account}");
        let tokens = vendor.with(|world| world.login(&name, Duration::from_secs(24 * 3600), vendor.now()));
        let file = home.path().join(&name);
        quotad::disk::store_private(&file, credential_file_json(&tokens, |_| {}).as_bytes()).unwrap();
        let (file, url) = (file.display(), vendor.usage_url());
        let _ =
            writeln!(text, "[accounts.{name}]\nprovider = \"claude\"\ncredentials = \"{file}\"\nusage-url = \"{url}\"");
    }
    let paths = Paths::in_home(home.path());
    let loaded = config::parse(&text, &home.path().join("config.toml"), &paths).unwrap();
    let state = State::open(&paths.state_dir).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked = || vendor.with(|world| world.usage_requests().map(|call| call.token.clone()).collect::<BTreeSet<_>>());
    let deadline = Instant::now() + Duration::from_secs(60);
    runtime.block_on(async {
        let clock = Clock::real();
        let setup = Setup { loaded, config_file: None, paths, state, clock, logging: None, read_only: false };
        let (supervisor, _handle) = Supervisor::start(setup).unwrap();
        let all_asked = async {
            while asked().len() < 80 && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        supervisor.run(None, all_asked).await;
    });
    assert_eq!(asked().len(), 80);
    let mut arrived: Vec<Instant> = vendor.with(|world| world.usage_requests().map(|call| call.arrived).collect());
    arrived.sort();
    // Of so many and one more, the first to be answered was answered before the last one left.
    let takes = Duration::from_millis(15 * 20);
    let crowd = arrived.windows(AT_ONCE + 1).find(|crowd| crowd[AT_ONCE] - crowd[0] < takes);
    assert!(crowd.is_none(), "{} asked within {takes:?}", AT_ONCE + 1);
}

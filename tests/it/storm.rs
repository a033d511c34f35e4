//! A usage endpoint whose window starts again at every refused request (claudebar#8): whoever keeps asking stays out.

use std::time::Duration;

use quotad::clock::Clock;
use quotad::config;
use quotad::demo::vendor::{Budget, RetryAfter, Vendor, credential_file_json};
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

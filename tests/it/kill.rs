//! kill -9 at every step of a refresh, against a vendor that revokes the whole login on any reuse.
//!
//! The victim is this test binary run again as [`victim`]: the real supervisor, with a log subscriber that kills the
//! process when the named step is announced. What it leaves behind is then found by the real daemon.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use quotad::clock::Clock;
use quotad::config;
use quotad::demo::vendor::{Answer, Tokens, credential_file_json};
use quotad::paths::Paths;
use quotad::policy::rotation::Step;
use quotad::state::State;
use quotad::supervisor::{Setup, Supervisor};
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use crate::support::{House, QUICK, is_long, text, wait_for};

const HOUSE: &str = "QUOTAD_VICTIM_HOUSE";
const STEP: &str = "QUOTAD_VICTIM_STEP";

/// The access token in the file lives this long: its refresh is due after two thirds of it.
const LIFE: Duration = Duration::from_millis(1500);

/// Where the credential file lies.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Plain,
    LinkedFile,
    LinkedDirectory,
}

const LAYOUTS: [Layout; 3] = [Layout::Plain, Layout::LinkedFile, Layout::LinkedDirectory];

fn lay_out(house: &House, layout: Layout) {
    let path = house.credentials("own");
    let dir = path.parent().unwrap();
    let elsewhere = house.path("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    match layout {
        Layout::Plain => fs::create_dir_all(dir).unwrap(),
        Layout::LinkedFile => {
            fs::create_dir_all(dir).unwrap();
            std::os::unix::fs::symlink(elsewhere.join("real.json"), path).unwrap();
        }
        Layout::LinkedDirectory => std::os::unix::fs::symlink(elsewhere, dir).unwrap(),
    }
}

/// A login whose access token has `LIFE` left by the file's word; the vendor would honour it for an hour.
fn log_in(house: &House) -> (Tokens, Timestamp) {
    let now = house.vendor.now();
    let tokens = house.vendor.with(|world| world.login("own", Duration::from_secs(3600), now));
    let expires = now.checked_add(LIFE).unwrap();
    let json = credential_file_json(&tokens, |file| {
        file["claudeAiOauth"]["expiresAt"] = expires.as_millisecond().into();
    });
    let real = fs::canonicalize(house.credentials("own").parent().unwrap()).unwrap();
    let real = fs::read_link(house.credentials("own")).unwrap_or_else(|_| real.join(".credentials.json"));
    fs::write(&real, json).unwrap();
    fs::set_permissions(&real, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    (tokens, expires)
}

fn start_victim(house: &House, step: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["kill::victim", "--exact", "--nocapture"])
        .env(HOUSE, house.path(""))
        .env(STEP, step)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test by itself: the process that is killed.
#[test]
fn victim() {
    let (Some(house), Ok(step)) = (std::env::var_os(HOUSE).map(PathBuf::from), std::env::var(STEP)) else { return };
    let killer = tracing_subscriber::registry().with(KillAt(step)).with(crate::no_errors::NoErrors);
    tracing::subscriber::set_global_default(killer).unwrap();
    let paths = Paths::in_home(&house.join("home"));
    let loaded = config::load(Some(&house.join("config.toml")), &paths).unwrap();
    let state = State::open(&house.join("state/quotad")).unwrap();
    let clock = Clock::real();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let setup = Setup { loaded, config_file: None, paths, state, clock, logging: None, read_only: false };
        let (supervisor, _handle) = Supervisor::start(setup).unwrap();
        supervisor.run(None, tokio::time::sleep(Duration::from_secs(20))).await;
    });
}

struct KillAt(String);

impl<S: tracing::Subscriber> Layer<S> for KillAt {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Find<'a>(&'a str, bool);
        impl Visit for Find<'_> {
            fn record_str(&mut self, field: &Field, value: &str) {
                self.1 |= field.name() == "step" && value == self.0;
            }
            fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
        }
        let mut find = Find(&self.0, false);
        event.record(&mut find);
        if find.1 {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

/// What must be true after a kill at this step and a restart.
fn kill_and_recover(layout: Layout, step: Step) {
    let context = format!("{layout:?}, killed before {}", step.as_str());
    let house = House::new();
    fs::create_dir(house.path("state").join("quotad")).unwrap();
    lay_out(&house, layout);
    house.configure(QUICK, "own", "owner = \"quotad\"");
    let (tokens, expires) = log_in(&house);
    let killed = start_victim(&house, step.as_str()).wait().unwrap();
    assert_eq!(killed.signal(), Some(9), "{context}: the victim was to die");

    let daemon = house.start();
    let was_lost = step == Step::StoreSuccessor;
    if was_lost {
        daemon.wait_for_state("dead");
        let account = daemon.account();
        // On a busy machine the victim itself may come to it late.
        let posts = posts_before(&house, &tokens, expires);
        assert!(posts <= 1, "{context}: posted {posts} times while the access token lived");
        assert!(account["action"].as_str().unwrap().contains("log in"), "{context}: {account}");
        return;
    }
    wait_for(&format!("the refreshed file ({context})"), || {
        let newest = current(&house, &tokens).refresh;
        newest != tokens.refresh && text(&house.credentials("own")).contains(&newest)
    });
    daemon.wait_for_state("ok");
    assert_eq!(house.vendor.with(|world| world.replays().count()), 0, "{context}");
    assert_eq!(house.vendor.with(|world| world.posts_of(&tokens.refresh).count()), 1, "{context}");
    let kept = fs::symlink_metadata(house.credentials("own")).unwrap().is_symlink();
    assert_eq!(kept, matches!(layout, Layout::LinkedFile), "{context}");
    assert_no_leftovers(&house, &context);
}

fn current(house: &House, tokens: &Tokens) -> Tokens {
    house.vendor.with(|world| world.current(&tokens.refresh)).expect("the login lives")
}

fn posts_before(house: &House, tokens: &Tokens, expires: Timestamp) -> usize {
    house.vendor.with(|world| world.posts_of(&tokens.refresh).filter(|call| call.at < expires).count())
}

/// No temp file and no successor is left behind.
fn assert_no_leftovers(house: &House, context: &str) {
    let dirs = [house.path("state").join("quotad"), house.path("elsewhere"), house.path("home").join("own")];
    let names = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
        entries.into_iter().map(|entry| entry.file_name().into_string().unwrap()).collect()
    };
    for name in dirs.iter().flat_map(|dir| names(dir)) {
        let left = name.starts_with("successor-") || Path::new(&name).extension().is_some_and(|end| end == "tmp");
        assert!(!left, "{context}: {name} was left behind");
    }
}

fn storm(layout: Layout) {
    for _ in 0..if is_long() { 6 } else { 1 } {
        for step in Step::ALL {
            kill_and_recover(layout, step);
        }
    }
}

#[test]
fn killed_at_any_step_a_plain_file_loses_nothing_that_arrived() {
    storm(Layout::Plain);
}

#[test]
fn killed_at_any_step_a_symlinked_file_loses_nothing_that_arrived() {
    storm(Layout::LinkedFile);
}

#[test]
fn killed_at_any_step_a_symlinked_directory_loses_nothing_that_arrived() {
    storm(Layout::LinkedDirectory);
}

#[test]
fn killed_between_sending_and_the_answer_nothing_is_posted_while_the_access_token_lives() {
    for layout in LAYOUTS {
        let house = House::new();
        fs::create_dir(house.path("state").join("quotad")).unwrap();
        lay_out(&house, layout);
        house.configure(QUICK, "own", "owner = \"quotad\"");
        let (tokens, expires) = log_in(&house);
        house.vendor.token().next(Answer::Drip { delay: Duration::from_millis(100) });
        let mut victim = start_victim(&house, "none");
        wait_for("the post", || house.vendor.with(|world| world.token_posts().count()) == 1);
        victim.kill().unwrap();
        victim.wait().unwrap();
        let daemon = house.start();
        daemon.wait_for_state("dead");
        assert_eq!(posts_before(&house, &tokens, expires), 1, "{layout:?}");
        let posts = house.vendor.with(|world| world.posts_of(&tokens.refresh).count());
        assert_eq!(posts, 2, "{layout:?}: once more after expiry, when nothing was left to lose");
    }
}

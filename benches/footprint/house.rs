//! A home with accounts, the embedded vendor they talk to, with or without TLS before it, and the two programs that
//! are started in it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quotad::clock::Clock;
use quotad::demo::vendor::{Tokens, Vendor, credential_file_json};
use serde_json::{Value, json};

use super::front::Front;
use super::process::Process;

/// Longer than anything here takes.
const LEASE: Duration = Duration::from_hours(240);

/// The home.
pub(crate) struct House {
    dir: tempfile::TempDir,
    pub(crate) vendor: Vendor,
    front: Option<Front>,
    accounts: Vec<Tokens>,
    interval: Duration,
}

/// How a house differs from the plainest one.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) accounts: usize,
    pub(crate) interval: Duration,
    pub(crate) secure: bool,
    /// More lines for `[poll]`.
    pub(crate) poll: &'static str,
}

impl House {
    pub(crate) fn new(plan: Plan) -> Self {
        let (dir, vendor) =
            (tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(), Vendor::start(Clock::real()).unwrap());
        let front = plan.secure.then(|| Front::before(&vendor, dir.path()));
        let mut house = Self { dir, vendor, front, accounts: Vec::new(), interval: plan.interval };
        for name in ["home", "run", "state"] {
            fs::create_dir(house.path(name)).unwrap();
            fs::set_permissions(house.path(name), fs::Permissions::from_mode(0o700)).unwrap();
        }
        let mut config = format!("[poll]\ninterval = \"{}ms\"\n{}\n", plan.interval.as_millis(), plan.poll);
        if plan.secure {
            let _ = write!(config, "[network]\nca-file = \"{}\"\n", house.ca_file().display());
        }
        let mut requests = String::new();
        let (usage, token) = (house.outward(&house.vendor.usage_url()), house.outward(&house.vendor.token_url()));
        for account in 0..plan.accounts {
            fs::create_dir(house.home(account)).unwrap();
            let tokens = house.log_in(account);
            let file = house.credentials(account);
            let _ =
                writeln!(config, "[accounts.a{account}]\nprovider = \"claude\"\ncredentials = \"{}\"", file.display());
            let _ = writeln!(config, "usage-url = \"{usage}\"\ntoken-url = \"{token}\"");
            let _ = writeln!(requests, "{usage} {}", tokens.access);
            house.accounts.push(tokens);
        }
        fs::write(house.path("config.toml"), config).unwrap();
        fs::write(house.path("requests"), requests).unwrap();
        house
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory of an account's files.
    pub(crate) fn home(&self, account: usize) -> PathBuf {
        self.path("home").join(format!("a{account}"))
    }

    fn credentials(&self, account: usize) -> PathBuf {
        self.home(account).join(".credentials.json")
    }

    fn ca_file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/quotad/quotad.sock")
    }

    /// A new login, written as the vendor's CLI does.
    pub(crate) fn log_in(&self, account: usize) -> Tokens {
        self.write_login(account, |_| {})
    }

    /// A login that waits for the vendor's CLI: its access token has just expired.
    pub(crate) fn log_in_expired(&self, account: usize) {
        let expired = self.vendor.now() - Duration::from_secs(1);
        self.write_login(account, |file| file["claudeAiOauth"]["expiresAt"] = expired.as_millisecond().into());
    }

    /// Somebody uses the plan from now on, or nobody does. In use, the numbers of the session and the week grow at every request, that of a
    /// model's week at every fifth; in a third of a day's requests the session crosses its thresholds.
    pub(crate) fn set_in_use(&self, account: usize, is_used: bool) {
        self.vendor.with(|world| {
            let quota = world.quota(&format!("a{account}")).unwrap();
            let meters = [(&mut quota.five_hour, 0.9), (&mut quota.seven_day, 0.1), (&mut quota.weekly_scoped, 0.2)];
            for (meter, growth) in meters {
                meter.growth = if is_used { growth } else { 0.0 };
            }
        });
    }

    fn write_login(&self, account: usize, edit: impl FnOnce(&mut Value)) -> Tokens {
        let now = self.vendor.now();
        let tokens = self.vendor.with(|world| world.login(&format!("a{account}"), LEASE, now));
        let (path, temp) = (self.credentials(account), self.home(account).join("temp"));
        fs::write(&temp, credential_file_json(&tokens, edit)).unwrap();
        fs::set_permissions(&temp, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(temp, path).unwrap();
        tokens
    }

    /// Caches usage in the account's files, as the vendor's CLI does when it has asked for it.
    pub(crate) fn cache_usage(&self, account: usize) {
        let now = self.vendor.now();
        let resets_at = now + Duration::from_hours(3);
        let cache = json!({
            "oauthAccount": {"accountUuid": "FAKE-UUID"},
            "cachedUsageUtilization": {
                "accountUuid": "FAKE-UUID",
                "fetchedAtMs": now.as_millisecond(),
                "utilization": {"five_hour": {"utilization": 23.0, "resets_at": resets_at.to_string()}},
            },
        });
        let (path, temp) = (self.home(account).join(".claude.json"), self.home(account).join("temp"));
        fs::write(&temp, cache.to_string()).unwrap();
        fs::rename(temp, path).unwrap();
    }

    /// How many usage requests have come so far.
    pub(crate) fn requests(&self) -> usize {
        self.vendor.with(|world| world.usage_requests().count())
    }

    /// A vendor's URL as its clients are given it.
    fn outward(&self, url: &str) -> String {
        self.front.as_ref().map_or_else(|| url.to_owned(), |front| front.outward(url))
    }

    /// A verb of the binary, with this home and nothing of the real one. Behind `tracer`, where there is one.
    pub(crate) fn quotad(&self, tracer: &[&str], args: &[&str]) -> Command {
        let binary = super::built("quotad");
        let mut command = match tracer {
            [] => Command::new(binary),
            [program, args @ ..] => {
                let mut command = Command::new(program);
                command.args(args).arg(binary);
                command
            }
        };
        command.args(args).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.path("home"));
        command.env("XDG_RUNTIME_DIR", self.path("run")).env("XDG_STATE_HOME", self.path("state")).env("TZ", "UTC");
        command.stdin(Stdio::null()).stderr(fs::File::create(self.path("log")).unwrap());
        command
    }

    /// Starts the daemon; returns once it is ready, and after how long that was.
    pub(crate) fn start(&self, tracer: &[&str], watchdog: Option<Duration>) -> (Process, Duration) {
        let notify = self.path("notify");
        let _ = fs::remove_file(&notify);
        let told = UnixDatagram::bind(&notify).unwrap();
        told.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let config = self.path("config.toml");
        let mut command = self.quotad(tracer, &["run", "--config", config.to_str().unwrap()]);
        command.env("NOTIFY_SOCKET", &notify);
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let began = Instant::now();
        let process = Process::start(&mut command);
        let mut message = [0; 4096];
        loop {
            let length = told.recv(&mut message).unwrap_or_else(|_| panic!("not ready: {}", self.log()));
            if String::from_utf8_lossy(&message[..length]).contains("READY=1") {
                let took = began.elapsed();
                // As systemd does: a datagram that nobody takes would hold the daemon up.
                told.set_read_timeout(None).unwrap();
                std::thread::spawn(move || while told.recv(&mut message).is_ok() {});
                return (process, took);
            }
        }
    }

    /// Starts the floor, at the pace of the daemon.
    pub(crate) fn start_floor(&self, tracer: &[&str]) -> (Process, Duration) {
        let binary = super::built("examples/floor");
        let gap = self.interval / u32::try_from(self.accounts.len()).unwrap();
        let mut command = match tracer {
            [] => Command::new(binary),
            [program, args @ ..] => {
                let mut command = Command::new(program);
                command.args(args).arg(binary);
                command
            }
        };
        command.arg(self.path("requests")).arg(gap.as_millis().to_string());
        if self.front.is_some() {
            command.arg(self.ca_file());
        }
        let (began, before) = (Instant::now(), self.requests());
        let process = Process::start(command.env_clear().stdin(Stdio::null()));
        self.await_requests(before + 1);
        (process, began.elapsed())
    }

    /// Waits until so many usage requests have come in all.
    pub(crate) fn await_requests(&self, wanted: usize) {
        let began = Instant::now();
        while self.requests() < wanted {
            assert!(began.elapsed() < Duration::from_secs(90), "no request came: {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Has the state written out, as the kernel does between two polls that are minutes apart.
    pub(crate) fn write_out(&self) {
        let state: &Path = &self.path("state");
        rustix::fs::syncfs(fs::File::open(state).unwrap()).unwrap();
    }
}

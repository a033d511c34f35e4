//! The service in a real user manager: systemd, journald and `systemd --user`, booted by `tests/systemd-box` in
//! throw-away namespaces. Outside it is booted; inside, this test binary runs again as [`inside`], once for
//! each of the box's users, with the vendor in its own process.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quotad::clock::Clock;
use quotad::demo::vendor::{Answer, RetryAfter, Tokens, Vendor, credential_file_json};
use serde_json::Value;

use crate::support::{QUICK, wait_for};

/// Set inside the box.
const INSIDE: &str = "QUOTAD_IN_THE_BOX";
const HOUR: Duration = Duration::from_secs(3600);
const WITHIN: &str = "170";

#[test]
fn the_service_keeps_its_promises_in_a_real_user_manager() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let the_box = root.join("tests/systemd-box");
    let can = Command::new(&the_box).arg("--can").output().unwrap();
    if !can.status.success() {
        let why = String::from_utf8_lossy(&can.stdout).trim().replace('\n', "; ");
        println!("skipped: no real systemd can be booted here ({why}), so the service was not tried in one");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    fs::write(&script, format!("#!/bin/sh\nexport {INSIDE}=1\nexec /io/it systemd::inside --exact --nocapture\n"))
        .unwrap();
    let tests = dir.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    let quotad = Path::new(env!("CARGO_BIN_EXE_quotad"));
    let files = [&tests, quotad, &root.join("docs/getting-started.md")];
    let ran = Command::new(&the_box).arg(script).arg(WITHIN).args(files).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    println!("{said}");
    assert!(
        ran.status.success(),
        "the box ended with {:?}: {}",
        ran.status.code(),
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(said.contains("ok  probe: ") && said.contains("ok  walled: "), "both users had their turn");
}

/// Not a test by itself: what happens in the box, as the user whose turn it is.
#[test]
fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let user = User::new();
    if user.name == "walled" {
        user.lives_without_user_namespaces();
    } else {
        user.follows_the_getting_started_page();
        user.cannot_write_outside_its_places_when_strict();
        user.installs_again();
        user.reloads();
        user.cannot_write_outside_its_places_when_it_refreshes();
        user.stops_during_a_refresh();
        user.is_stopped_by_the_watchdog();
        user.starts_with_a_bad_config();
        user.searches_the_journal();
        user.uninstalls();
    }
}

/// One user of the box, whose home has never seen quotad.
struct User {
    name: String,
    home: PathBuf,
    vendor: Vendor,
}

/// How a command ended, and all it said.
struct Ran {
    code: Option<i32>,
    said: String,
}

impl User {
    fn new() -> Self {
        let of = |name| std::env::var(name).unwrap();
        Self { name: of("USER"), home: of("HOME").into(), vendor: Vendor::start(Clock::real()).unwrap() }
    }

    /// From a checkout to numbers with the commands of the page, the login found by itself, over TLS with a CA that
    /// only this shell knows.
    fn follows_the_getting_started_page(&self) {
        self.log_in(".claude", HOUR);
        self.pose_as_the_vendor();
        let untouched = self.files();
        let dry = self.run("/io/quotad install --dry-run");
        assert!(dry.said.contains("write     /home/probe/.config/systemd/user/quotad.service"), "{}", dry.said);
        assert_eq!(self.files(), untouched, "{}", dry.said);
        self.proved("install --dry-run names every file and writes none");

        // The build has been done: this binary is what it makes.
        self.write("stubs/cargo", "#!/bin/sh\ninstall -D /io/quotad target/release/quotad\n", 0o755);
        fs::create_dir(self.home.join("checkout")).unwrap();
        let page = fs::read_to_string("/io/getting-started.md").unwrap();
        let commands: Vec<&str> = page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap().lines().collect();
        assert!(commands.len() <= 5 && commands.last().unwrap().ends_with("quotad status"), "{commands:?}");
        for command in &commands {
            let ran = self.run(&format!(
                "cd ~/checkout; PATH=~/stubs:$PATH SSL_CERT_FILE=~/ca.pem; export SSL_CERT_FILE; {command}"
            ));
            println!("$ {command}\n{}", ran.said);
            assert!(
                ran.code == Some(0) || (command.ends_with("status") && ran.code == Some(69)),
                "{command}: {:?}",
                ran.code
            );
        }
        self.wait_for_quotad("numbers", "status", |ran| ran.code == Some(0) && ran.said.contains("5-hour"));
        println!("{}", self.quotad("status").said);
        assert_eq!(self.vendor.with(|world| world.usage_requests().count()), 1);
        self.proved(&format!(
            "{} commands lead from a checkout to numbers in a home that has never seen it",
            commands.len()
        ));
        assert!(self.text(".config/quotad/config.toml").contains("\nca-file = \"/home/probe/ca.pem\"\n"));
        self.proved("the installing shell's CA file is in the config, and the first poll trusted it");
        assert_eq!((self.shown("ActiveState"), self.shown("Type")), ("active".into(), "notify".into()));
        self.proved("the unit is ready (Type=notify)");
        self.wait_for_line("1 of 1 accounts ok\"");
        assert!(self.shown("DropInPaths").ends_with("10-quotad-strict.conf"));
        self.proved("the strict drop-in starts");
        self.exposure("strict");
    }

    fn cannot_write_outside_its_places_when_strict(&self) {
        let tried = self.try_everything();
        assert_eq!(tried, ["read-login", "runtime", "state"].map(String::from).into());
        self.proved(
            "strict: a process of the unit writes its state and beside its socket, nothing else, and has no bus",
        );
        assert_eq!(self.shown("MemoryDenyWriteExecute"), "yes");
    }

    fn installs_again(&self) {
        self.write(
            ".config/systemd/user/quotad.service.d/mine.conf",
            "[Service]\nRestartSec=200ms\nEnvironment=MINE=1\n",
            0o644,
        );
        let (before, pid) = (self.files(), self.pid());
        let again = self.run("~/.local/bin/quotad install");
        assert_eq!(
            (again.code, again.said.matches("keep ").count(), again.said.contains("replace")),
            (Some(0), 2, false),
            "{}",
            again.said
        );
        assert_eq!(self.files(), before);
        assert!(self.pid() != pid && self.shown("Environment").contains("MINE=1"));
        self.proved("install twice changes nothing, restarts the daemon and leaves the user's own drop-in in force");
        assert!(again.said.contains("loginctl enable-linger"), "{}", again.said);
        self.proved("install says how the daemon outlives the last session");
        let bad = self.run("HTTPS_PROXY=http://ada:FAKE-secret@proxy:3128 ~/.local/bin/quotad install --dry-run");
        assert!(bad.said.contains("HTTPS_PROXY holds") && !bad.said.contains("FAKE-secret"), "{}", bad.said);
        let refused = self.run("~/.local/bin/quotad install --refresh when-idle");
        assert!(refused.code == Some(1) && refused.said.contains("config.toml is yours"), "{}", refused.said);
        self.proved("install neither shows a password nor changes a config that stands");
    }

    fn reloads(&self) {
        self.log_in(".claude-work", HOUR);
        self.log_in("own", HOUR);
        let pid = self.pid();
        self.configure("");
        assert_eq!(self.run("systemctl --user reload quotad").code, Some(0));
        self.wait_for_line("2 of 2 accounts ok\"");
        assert_eq!(self.pid(), pid);
        self.proved("a reload keeps the pid and applies the new config");

        self.configure("[poll]\nintervall = \"5m\"\n");
        assert_eq!(self.run("systemctl --user reload quotad").code, Some(0));
        self.wait_for_line("2 of 2 accounts ok; the new config is refused: ");
        assert_eq!((self.pid(), self.shown("ActiveState")), (pid, "active".to_owned()));
        self.wait_for_journal("QUOTAD_EVENT=reload-refused -p warning", "did you mean `interval`?");
        self.proved("a bad config is refused at a reload: the old one stays, the status line and a warning say why");
        self.configure("");
        self.wait_for_line("2 of 2 accounts ok\"");
        self.proved("a good config takes the refusal away, by being saved alone");
    }

    fn cannot_write_outside_its_places_when_it_refreshes(&self) {
        let install = self.run("~/.local/bin/quotad install");
        assert!(install.code == Some(0) && install.said.contains("remove    "), "{}", install.said);
        assert!(!self.shown("DropInPaths").contains("quotad-"), "{}", self.shown("DropInPaths"));
        self.wait_for_line("2 of 2 accounts ok\"");
        self.proved("install takes the strict drop-in away once an account is refreshed");
        let tried = self.try_everything();
        let expected = ["bus", "login", "lock-in-home", "read-login", "runtime", "state"];
        assert_eq!(tried, expected.map(String::from).into());
        self.proved("full: it also writes logins and lock directories, and no place that runs code later");
        self.exposure("full");
    }

    fn stops_during_a_refresh(&self) {
        let posts = || self.vendor.with(|world| world.token_posts().count());
        let before = posts();
        self.vendor.token().next(Answer::Drip { delay: Duration::from_millis(100) });
        let tokens = self.log_in_expired("own");
        wait_for("the refresh to be under way", || posts() > before);
        let began = Instant::now();
        assert_eq!(self.run("systemctl --user stop quotad").code, Some(0));
        assert!(began.elapsed() > Duration::from_millis(800), "the answer took longer to come: {:?}", began.elapsed());
        let current = self.vendor.with(|world| world.current(&tokens.refresh)).unwrap();
        assert!(current.refresh != tokens.refresh && self.text("own/.credentials.json").contains(&current.refresh));
        assert_eq!((self.shown("Result"), self.shown("ActiveState")), ("success".into(), "inactive".into()));
        self.proved("a stop during a refresh completes it: the new login is in the file");
    }

    fn is_stopped_by_the_watchdog(&self) {
        self.vendor.usage().always(Answer::RateLimited(RetryAfter::Seconds(3600)));
        self.write(".config/systemd/user/quotad.service.d/watchdog.conf", "[Service]\nWatchdogSec=5s\n", 0o644);
        assert_eq!(self.run("systemctl --user daemon-reload; systemctl --user start quotad").code, Some(0));
        self.wait_for_line("0 of 2 accounts ok; own throttled until ");
        let until = |user: &Self| -> Vec<Value> {
            let status: Value = serde_json::from_str(&user.quotad("status --json").said).unwrap_or_default();
            let accounts = status["accounts"].as_array().into_iter().flatten();
            accounts.map(|account| account["until"].clone()).collect()
        };
        let (pid, waits) = (self.pid(), until(self));
        assert!(waits.len() == 2 && waits.iter().all(Value::is_string), "{waits:?}");
        let asked = self.vendor.with(|world| world.usage_requests().count());
        let began = Instant::now();
        self.run(&format!("kill -STOP {pid}"));
        wait_for("a new process", || self.shown("ActiveState") == "active" && self.pid() != pid);
        println!("    after {:.1} s: {}", began.elapsed().as_secs_f64(), self.shown("StatusText"));
        self.wait_for_quotad("the socket", "status --json", |ran| ran.code == Some(75));
        assert_eq!(until(self), waits);
        assert_eq!(self.shown("NRestarts"), "1");
        assert_eq!(self.vendor.with(|world| world.usage_requests().count()), asked);
        self.wait_for_journal("", "Watchdog timeout (limit 5s)!");
        self.proved(
            "stopped for 5 s it is killed by the watchdog and restarted, and every wait goes on to the same moment",
        );
    }

    fn starts_with_a_bad_config(&self) {
        self.configure("[poll]\nintervall = \"5m\"\n");
        let start = self.run("systemctl --user restart quotad");
        assert_ne!(start.code, Some(0));
        // Five times as long as a restart would take.
        std::thread::sleep(Duration::from_secs(1));
        let shown = ["ActiveState", "ExecMainStatus", "NRestarts"].map(|property| self.shown(property));
        assert_eq!(shown, ["failed", "78", "0"].map(String::from));
        self.wait_for_journal("QUOTAD_EVENT=failed QUOTAD_STATUS=78 -p err", "did you mean `interval`?");
        assert!(self.shown("StatusText").contains("intervall"), "{}", self.shown("StatusText"));
        self.proved("a bad config at start ends with 78, one error in the journal, and no restart");
        let install = self.run("~/.local/bin/quotad install");
        assert_eq!(install.code, Some(78), "{}", install.said);
        self.proved("install refuses a bad config with 78 and all its complaints");
        self.configure("");
        assert_eq!(self.run("systemctl --user start quotad").code, Some(0));
    }

    fn searches_the_journal(&self) {
        let accounts = |matches: &str| -> BTreeSet<String> {
            let lines = self.journal(matches);
            lines.iter().map(|line| line["QUOTAD_ACCOUNT"].as_str().unwrap_or("none").to_owned()).collect()
        };
        let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(accounts("QUOTAD_ACCOUNT=work"), named(&["work"]));
        assert_eq!(accounts("QUOTAD_ACCOUNT=work QUOTAD_ACCOUNT=own"), named(&["own", "work"]));
        assert_eq!(self.journal("QUOTAD_ACCOUNT=own QUOTAD_EVENT=refresh-done").len(), 1);
        let cooling = self.journal("QUOTAD_ACCOUNT=work QUOTAD_EVENT=gate-cooling");
        let fields = ["PRIORITY", "QUOTAD_STATUS", "QUOTAD_GATE", "QUOTAD_PROVIDER", "_SYSTEMD_USER_UNIT"];
        let fields = fields.map(|field| cooling[0][field].as_str().unwrap_or_default());
        assert_eq!(fields, ["6", "429", "usage", "claude", "quotad.service"]);
        self.proved("journalctl --user QUOTAD_ACCOUNT=… finds that account's lines alone, with their fields");
        let warnings = self.journal("SYSLOG_IDENTIFIER=quotad -p warning");
        let events: Vec<_> = warnings.iter().map(|line| line["QUOTAD_EVENT"].as_str().unwrap_or_default()).collect();
        assert_eq!(events, ["reload-refused", "failed"], "{warnings:#?}");
        self.proved("journalctl --user -p warning finds the refused config and the failed start, and no cooldown");
        let all = self.run("journalctl --user -o verbose --all --no-pager").said;
        assert!(all.contains("QUOTAD_EVENT=refresh-done") && !all.contains("sk-ant-"), "a token in the journal");
        self.proved("no token is in the journal");
    }

    fn uninstalls(&self) {
        let ran = self.run("~/.local/bin/quotad uninstall");
        assert_eq!(ran.code, Some(0), "{}", ran.said);
        println!("{}", ran.said);
        assert_eq!((self.shown("ActiveState"), self.shown("LoadState")), ("inactive".into(), "not-found".into()));
        let left: Vec<_> = self.files().into_iter().filter(|file| file.contains("systemd/user")).collect();
        assert_eq!(left.len(), 2, "the user's own drop-ins: {left:?}");
        for kept in [".config/quotad/config.toml", ".local/state/quotad/state.db"] {
            assert!(self.home.join(kept).exists() && ran.said.contains(kept.rsplit_once('/').unwrap().0), "{kept}");
        }
        self.proved(
            "uninstall removes the unit and quotad's drop-ins, and keeps config, state and the user's drop-ins",
        );
    }

    /// A user manager that may make no user namespace.
    fn lives_without_user_namespaces(&self) {
        self.log_in(".claude-work", HOUR);
        self.log_in("own", HOUR);
        self.configure("");
        self.run("install -D /io/quotad ~/.local/bin/quotad");
        let install = self.run("~/.local/bin/quotad install");
        println!("{}", install.said);
        assert!(
            install.code == Some(0) && install.said.contains("refuses unprivileged user namespaces"),
            "{}",
            install.said
        );
        assert!(self.shown("DropInPaths").ends_with("10-quotad-relaxed.conf"));
        self.wait_for_line("2 of 2 accounts ok\"");
        self.proved("where user namespaces are refused install says so and the relaxed drop-in starts");
        let pid = self.pid();
        assert_eq!(self.run("systemctl --user reload quotad").code, Some(0));
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
        assert_eq!(self.pid(), pid);
        self.proved("relaxed: system calls are filtered, no privilege can be gained, and a reload works");
        self.exposure("relaxed");
        self.run("rm ~/.config/systemd/user/quotad.service.d/*; systemctl --user daemon-reload");
        self.run("systemctl --user restart quotad");
        assert_eq!(self.shown("ExecMainStatus"), "217");
        self.proved("without that drop-in it would end with 217/USER");
        assert_eq!(self.run("~/.local/bin/quotad uninstall").code, Some(0));
    }
}

/// What a process may want to do, by name; and what it takes.
const ATTEMPTS: &str = r#"
try() { if eval "$2" >/dev/null 2>&1; then echo "$1"; fi; }
try state 'touch ~/.local/state/quotad/tried-it'
try runtime 'touch "$RUNTIME_DIRECTORY/tried-it"'
try read-login 'cat ~/.claude/.credentials.json'
try login 'touch ~/.claude/tried-it'
try lock-in-home 'mkdir ~/.claude.lock && rmdir ~/.claude.lock'
try units 'touch ~/.config/systemd/user/tried-it'
try config 'touch ~/.config/quotad/tried-it'
try programs 'touch ~/.local/bin/tried-it'
try profile 'touch ~/.profile'
try keys 'cat ~/.ssh/id'
for dir in usr/local etc srv opt; do try "$dir" "touch /$dir/$USER/tried-it"; done
try shared-tmp 'test -e "/tmp/marker-$USER"'
try kernel-log 'test -e /dev/kmsg'
try user-namespace 'unshare --user true'
try setuid 'touch ~/.local/state/quotad/s && chmod u+s ~/.local/state/quotad/s'
try bus 'busctl --user list'
"#;

impl User {
    /// What a shell in the unit's own sandbox can do; and, so that the attempts are known to be real, one without.
    fn try_everything(&self) -> BTreeSet<String> {
        self.write("attempts", ATTEMPTS, 0o755);
        self.write(".ssh/id", "a key\n", 0o600);
        fs::write(format!("/tmp/marker-{}", self.name), "").unwrap();
        let units = self.home.join(".config/systemd/user");
        let drop_ins = units.join("tried.service.d");
        fs::create_dir_all(&drop_ins).unwrap();
        fs::copy(units.join("quotad.service"), units.join("tried.service")).unwrap();
        for drop_in in fs::read_dir(units.join("quotad.service.d")).into_iter().flatten().flatten() {
            fs::copy(drop_in.path(), drop_ins.join(drop_in.file_name())).unwrap();
        }
        self.write(
            ".config/systemd/user/tried.service.d/zz.conf",
            "[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart=/bin/bash %h/attempts\nExecReload=\n\
             RuntimeDirectory=\nRuntimeDirectory=tried\nStandardOutput=truncate:%h/.local/state/quotad/tried\n",
            0o644,
        );
        let start =
            self.run("systemctl --user daemon-reload; systemctl --user start tried; systemctl --user status tried");
        let inside = self.text(".local/state/quotad/tried");
        assert!(inside.contains("state"), "{}", start.said);
        let outside = self.run("mkdir -p ~/r; RUNTIME_DIRECTORY=~/r bash ~/attempts");
        // One `try` is a loop over four directories.
        let count = ATTEMPTS.matches("try ").count() + 3;
        let possible: BTreeSet<String> = outside.said.lines().map(str::to_owned).collect();
        assert_eq!(possible.len(), count, "every attempt succeeds without a sandbox: {possible:?}");
        println!("    without the sandbox: {}", Vec::from_iter(possible).join(" "));
        println!("    within it: {}", inside.split_whitespace().collect::<Vec<_>>().join(" "));
        fs::remove_dir_all(drop_ins).unwrap();
        fs::remove_file(units.join("tried.service")).unwrap();
        self.run("systemctl --user daemon-reload; find ~ -name tried-it -delete");
        inside.lines().map(str::to_owned).collect()
    }

    /// Prints what `systemd-analyze` says; at most 1.8 where the sandbox is whole.
    fn exposure(&self, sandbox: &str) {
        let said = self.run("systemd-analyze --user security --no-pager quotad.service").said;
        let line = said.lines().find(|line| line.contains("Overall exposure")).unwrap_or_else(|| panic!("{said}"));
        let score: f64 = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
        assert!(score <= if sandbox == "relaxed" { 5.5 } else { 1.8 }, "{line}");
        self.proved(&format!("{sandbox}: {}", line.trim_start_matches(|c: char| !c.is_ascii_alphabetic())));
    }

    /// Lets `https://api.anthropic.com` of this box be the embedded vendor, with a certificate of a CA in `~/ca.pem`.
    fn pose_as_the_vendor(&self) {
        let made = self.run(
            "set -e; new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
             $new -x509 -days 2 -subj /CN=box -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem
             $new -subj /CN=api.anthropic.com -keyout front.key -out front.csr
             echo subjectAltName=DNS:api.anthropic.com >front.ext
             openssl x509 -req -in front.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile front.ext \\
                 -out front.pem",
        );
        assert_eq!(made.code, Some(0), "{}", made.said);
        let home = self.home.clone();
        let address = self.vendor.usage_url().split('/').nth(2).unwrap().to_owned();
        std::thread::spawn(move || {
            loop {
                serve_one_connection(&home, &address);
            }
        });
    }

    /// Two accounts at the vendor on loopback: `work` of a CLI, `own` of quotad; after `settings`.
    fn configure(&self, settings: &str) {
        let account = |name: &str, dir: &str, more: &str| {
            format!(
                "[accounts.{name}]\nprovider = \"claude\"\ncredentials = \"~/{dir}/.credentials.json\"\n\
                 usage-url = \"{}\"\ntoken-url = \"{}\"\n{more}\n",
                self.vendor.usage_url(),
                self.vendor.token_url(),
            )
        };
        let accounts = account("work", ".claude-work", "") + &account("own", "own", "owner = \"quotad\"");
        let settings = if settings.is_empty() { QUICK } else { settings };
        self.write(".config/quotad/config.toml", &format!("{settings}{accounts}"), 0o600);
    }

    /// A new login in `dir`, whose access token lives for `lease`.
    fn log_in(&self, dir: &str, lease: Duration) -> Tokens {
        let now = self.vendor.now();
        let tokens = self.vendor.with(|world| world.login(dir, lease, now));
        self.write(&format!("{dir}/.credentials.json"), &credential_file_json(&tokens, |_| {}), 0o600);
        tokens
    }

    /// A new login in `dir` that has expired by the file's word.
    fn log_in_expired(&self, dir: &str) -> Tokens {
        let now = self.vendor.now();
        let tokens = self.vendor.with(|world| world.login(dir, HOUR, now));
        let expired = (now - Duration::from_secs(1)).as_millisecond();
        let json = credential_file_json(&tokens, |file| file["claudeAiOauth"]["expiresAt"] = expired.into());
        self.write(&format!("{dir}/.credentials.json"), &json, 0o600);
        tokens
    }

    /// Replaces a file in the home.
    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.home.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let temp = path.with_extension("tmp");
        fs::write(&temp, text).unwrap();
        fs::set_permissions(&temp, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(temp, path).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.home.join(name)).unwrap_or_default()
    }

    /// Every file and link in the home with its content, except what a daemon keeps changing.
    fn files(&self) -> BTreeSet<String> {
        let found = self.run("find ~ -path ~/.local/state -prune -o -type l -print -o -type f -exec sha256sum {} +");
        found.said.lines().map(str::to_owned).collect()
    }

    /// Runs a line in a shell, at home.
    fn run(&self, line: &str) -> Ran {
        let ran =
            Command::new("bash").args(["-c", line]).current_dir(&self.home).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        Ran { code: ran.status.code(), said }
    }

    fn quotad(&self, arguments: &str) -> Ran {
        self.run(&format!("~/.local/bin/quotad {arguments}"))
    }

    fn wait_for_quotad(&self, what: &str, arguments: &str, done: impl Fn(&Ran) -> bool) {
        let began = Instant::now();
        loop {
            let ran = self.quotad(arguments);
            if done(&ran) {
                return;
            }
            let journal = || self.run("journalctl --user --no-pager -n 30").said;
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "waited for {what}: {:?} {}\n{}",
                ran.code,
                ran.said,
                journal()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A property of the unit.
    fn shown(&self, property: &str) -> String {
        self.run(&format!("systemctl --user show quotad --value -p {property}")).said.trim().to_owned()
    }

    fn pid(&self) -> u32 {
        self.shown("MainPID").parse().unwrap()
    }

    /// Waits until `systemctl --user status` shows a line that begins so, and prints it.
    fn wait_for_line(&self, line: &str) {
        let wanted = format!("Status: \"{line}");
        let began = Instant::now();
        loop {
            let said = self.run("systemctl --user status quotad --no-pager").said;
            if let Some(found) = said.lines().find(|found| found.contains(&wanted)) {
                println!("    {}", found.trim());
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "waited for `{line}`: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The entries that match, oldest first.
    fn journal(&self, matches: &str) -> Vec<Value> {
        let found = self.run(&format!("journalctl --user --no-pager --all -o json {matches}")).said;
        found.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn wait_for_journal(&self, matches: &str, text: &str) {
        let says_it = |entry: &Value| entry["MESSAGE"].as_str().is_some_and(|message| message.contains(text));
        wait_for(text, || self.journal(matches).iter().any(says_it));
    }

    fn proved(&self, what: &str) {
        println!("ok  {}: {what}", self.name);
    }
}

/// Takes one TLS connection on port 443 and hands it to the vendor in the clear.
fn serve_one_connection(home: &Path, vendor: &str) {
    let files = ["front.pem", "front.key"].map(|name| home.join(name));
    let mut tls = Command::new("openssl")
        .args(["s_server", "-quiet", "-naccept", "1", "-accept", "127.0.0.1:443", "-cert"])
        .arg(&files[0])
        .arg("-key")
        .arg(&files[1])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut to_client, mut from_client) = (tls.stdin.take().unwrap(), tls.stdout.take().unwrap());
    let mut to_vendor = std::net::TcpStream::connect(vendor).unwrap();
    let mut from_vendor = to_vendor.try_clone().unwrap();
    let back = std::thread::spawn(move || {
        pass_on(&mut from_vendor, &mut to_client);
        // Kept open: its end would end the connection before the client has read everything.
        to_client
    });
    pass_on(&mut from_client, &mut to_vendor);
    let _ = to_vendor.shutdown(std::net::Shutdown::Both);
    let _ = tls.wait();
    drop(back.join());
}

/// Every piece as it comes, until one side has had enough.
fn pass_on(from: &mut impl std::io::Read, to: &mut impl std::io::Write) {
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..length]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

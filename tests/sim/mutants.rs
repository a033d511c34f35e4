//! Deliberate faults: each promise of `invariants` is proven able to fail.
//!
//! A fault stands in a copy of the sources, never in the product: every rule of [`MUTANTS`] is wrapped there in a
//! question to the environment (`QUOTAD_FAULT`), the copy is compiled once, and the simulation runs once as it is and
//! once per fault. Most faults are real ones, of the tools that people use today: `weakness` is the number under which
//! section 1 of field-reports.md describes it. `docs/testing.md`, "Mutants", names the command.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;
use std::{env, fs, io};

use crate::invariants::Promise;

/// One rule of the product, and a fault that could stand in its place.
struct Mutant {
    name: &'static str,
    /// The weakness of the existing tools that this is, where it is one.
    weakness: Option<u8>,
    /// Where the rule stands, below `src/`.
    file: &'static str,
    /// An expression, or a statement with its semicolon, as it stands there: once.
    rule: &'static str,
    fault: &'static str,
    /// What the simulation must say. `None`: that one seed has two stories.
    breaks: Option<Promise>,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "a-fence-holds-nothing-back",
        weakness: Some(18),
        file: "policy/refresh.rs",
        rule: "mark.fence.is_some() && !is_expired(login, now)",
        fault: "false",
        breaks: Some(Promise::NoReplay),
    },
    Mutant {
        name: "the-fence-is-not-stored",
        weakness: Some(18),
        file: "policy/account/renewal.rs",
        rule: "turn.act(Action::Fence(posted, mark));",
        fault: "return self.on_stepped(rotation::Event::Done, None, turn);",
        breaks: Some(Promise::NoReplay),
    },
    Mutant {
        name: "a-vendors-token-is-posted-without-end",
        weakness: None,
        file: "policy/refresh.rs",
        rule: "is_shared && mark.fence.is_some() && mark.posts >= VENDOR_POSTS",
        fault: "false",
        breaks: Some(Promise::ThreePosts),
    },
    Mutant {
        name: "a-dead-token-is-tried-again",
        weakness: Some(5),
        file: "policy/refresh.rs",
        rule: "self.dead.is_some() || self.spent",
        fault: "self.spent",
        breaks: Some(Promise::DeadStaysDead),
    },
    Mutant {
        name: "quick-tries-never-end",
        weakness: Some(9),
        file: "policy/refresh.rs",
        rule: "(tries < rules.retries)",
        fault: "true",
        breaks: Some(Promise::TokenPace),
    },
    Mutant {
        name: "what-the-owner-wrote-meanwhile-is-not-adopted",
        weakness: Some(16),
        file: "policy/rotation.rs",
        rule: "self.finish(Step::Unlock, End::Adopted)",
        fault: "self.go(Step::OpenFence)",
        breaks: Some(Promise::OnlyWhenAllowed),
    },
    Mutant {
        name: "an-unknown-expiry-is-due-at-once",
        weakness: Some(26),
        file: "policy/refresh.rs",
        rule: "login.expires_at?",
        fault: "login.expires_at.unwrap_or(now.stamp)",
        breaks: Some(Promise::OnlyWhenAllowed),
    },
    Mutant {
        name: "a-refused-token-that-quotad-minted-is-minted-again",
        weakness: Some(6),
        file: "policy/auth.rs",
        rule: "!self.refresh_spent && (!minted_by_quotad || self.pause.is_open())",
        fault: "true",
        breaks: Some(Promise::OnlyWhenAllowed),
    },
    Mutant {
        name: "an-idle-file-is-not-waited-for",
        weakness: Some(17),
        file: "policy/refresh.rs",
        rule: "touched.checked_add(rules.idle_grace).ok()?",
        fault: "touched",
        breaks: Some(Promise::OnlyWhenAllowed),
    },
    Mutant {
        name: "the-successor-is-dropped-when-the-write-fails",
        weakness: Some(20),
        file: "policy/rotation.rs",
        rule: "self.minted = Some(minted);",
        fault: "self.minted = Some(minted); return self.go(Step::Compare);",
        breaks: Some(Promise::NothingGrantedIsLost),
    },
    Mutant {
        name: "the-stored-successor-goes-before-it-is-in-its-place",
        weakness: Some(20),
        file: "policy/rotation.rs",
        rule: "self.go(Step::Replace)",
        fault: "self.finish(Step::Settle, End::Held(String::new()))",
        breaks: Some(Promise::NothingGrantedIsLost),
    },
    Mutant {
        name: "a-newer-login-is-overwritten",
        weakness: Some(22),
        file: "credential/holding.rs",
        rule: "successor.place(in_file) != Place::Foreign",
        fault: "true",
        breaks: Some(Promise::NoNewerLoginOverwritten),
    },
    Mutant {
        name: "each-missed-poll-is-made-up-for",
        weakness: None,
        file: "policy/account/poll.rs",
        rule: "Deadline::after(now, self.wait(interval, turn))",
        fault: "Deadline::after(self.next_poll.map_or(now, |missed| missed.at), interval)",
        breaks: Some(Promise::Spacing),
    },
    Mutant {
        name: "a-command-passes-the-floor",
        weakness: None,
        file: "policy/account/command.rs",
        rule: "self.asked.map_or(now.moment, |asked| asked.at)",
        fault: "now.moment",
        breaks: Some(Promise::Spacing),
    },
    Mutant {
        name: "a-short-demand-replaces-the-rung",
        weakness: None,
        file: "policy/gate.rs",
        rule: "rules.ladder.cooldown(rung).max(at_least)",
        fault: "if at_least.is_zero() { rules.ladder.cooldown(rung) } else { at_least }",
        breaks: Some(Promise::WaitsAreServed),
    },
    Mutant {
        name: "a-demand-is-not-read",
        weakness: Some(3),
        file: "policy/gate.rs",
        rule: "self.demanded.unwrap_or_default()",
        fault: "Duration::ZERO",
        breaks: Some(Promise::WaitsAreServed),
    },
    Mutant {
        name: "resume-wipes-the-rate-limits",
        weakness: Some(12),
        file: "policy/account/command.rs",
        rule: "self.auth.lift();",
        fault: "self.auth.lift(); self.usage = Default::default(); self.token = Default::default();",
        breaks: Some(Promise::WaitsAreServed),
    },
    Mutant {
        name: "each-new-token-earns-an-early-probe",
        weakness: Some(8),
        file: "policy/gate.rs",
        rule: "self.pause.is_open() && !self.early_probe_spent",
        fault: "self.pause.is_open()",
        breaks: Some(Promise::WaitsAreServed),
    },
    Mutant {
        name: "a-429-of-the-token-endpoint-is-shrugged-off",
        weakness: Some(9),
        file: "policy/account/renewal.rs",
        rule: "self.token_refuses(demand, turn)",
        fault: "()",
        breaks: Some(Promise::WaitsAreServed),
    },
    Mutant {
        name: "rejections-are-counted-and-not-waited-for",
        weakness: None,
        file: "policy/auth.rs",
        rule: "self.pause.wait(Deadline::after(now, wait));",
        fault: "let _ = wait;",
        breaks: Some(Promise::AuthPauseIsServed),
    },
    Mutant {
        name: "the-ladder-never-climbs",
        weakness: Some(1),
        file: "policy/cooldown.rs",
        rule: "self.rung = Some(rung);",
        fault: "self.rung = rung.checked_sub(1);",
        breaks: Some(Promise::OnlyAnswersMoveALadder),
    },
    Mutant {
        name: "a-429-is-retried-within-the-poll",
        weakness: Some(3),
        file: "policy/account/poll.rs",
        rule: "self.usage.refuse(demand, &self.rules.gates, turn.now.moment, turn.dice);",
        fault: "self.pace = Pace::default();",
        breaks: Some(Promise::OnlyAnswersMoveALadder),
    },
    Mutant {
        name: "a-new-token-wipes-the-rate-limits",
        weakness: Some(8),
        file: "policy/account/look.rs",
        rule: "self.auth.lift();",
        fault: "self.auth.lift(); self.usage = Gate::default(); self.token = Gate::default();",
        breaks: Some(Promise::OnlyAnswersMoveALadder),
    },
    Mutant {
        name: "a-reload-wipes-the-rate-limits",
        weakness: None,
        file: "policy/account/mod.rs",
        rule: "self.refresh_off = None;",
        fault: "self.refresh_off = None; self.usage = Gate::default(); self.token = Gate::default();",
        breaks: Some(Promise::OnlyAnswersMoveALadder),
    },
    Mutant {
        name: "a-blocked-attempt-takes-a-rung",
        weakness: Some(4),
        file: "policy/account/mod.rs",
        rule: "self.early = false;",
        fault: "self.early = false; if !self.usage.pause().admits(now.moment) { self.usage.refuse(None, &self.rules.gates, now.moment, turn.dice); }",
        breaks: Some(Promise::OnlyAnswersMoveALadder),
    },
    Mutant {
        name: "the-passing-of-a-deadline-ends-the-run",
        weakness: Some(2),
        file: "policy/cooldown.rs",
        rule: "GateView { state, failures: self.failures, rung: self.open_rung(), until }",
        fault: "GateView { state, failures: if until.is_some() { self.failures } else { 0 }, rung: self.open_rung(), until }",
        breaks: Some(Promise::OnlyAnswersMoveALadder),
    },
    Mutant {
        name: "one-success-in-a-storm-resets-the-ladder",
        weakness: Some(1),
        file: "policy/cooldown.rs",
        rule: "!horizon.passed(began)",
        fault: "false",
        breaks: Some(Promise::OnlyAnswersMoveALadder),
    },
    Mutant {
        name: "a-restart-lifts-the-users-pause",
        weakness: None,
        file: "policy/account/mod.rs",
        rule: "restored.paused",
        fault: "false",
        breaks: Some(Promise::PauseIsServed),
    },
    Mutant {
        name: "an-expired-token-is-sent",
        weakness: None,
        file: "policy/account/poll.rs",
        rule: "!refresh::is_expired(login, now)",
        fault: "true",
        breaks: Some(Promise::OnlyGoodTokens),
    },
    Mutant {
        name: "a-resume-does-not-wait-for-the-network",
        weakness: Some(14),
        file: "policy/account/mod.rs",
        rule: "self.settle_until = turn.now.moment + settle;",
        fault: "let _ = settle;",
        breaks: Some(Promise::SettleAfterSleep),
    },
    Mutant {
        name: "runs-of-the-command-are-not-counted",
        weakness: None,
        file: "policy/account/delegation.rs",
        rule: "self.runs.push(turn.now.stamp);",
        fault: "",
        breaks: Some(Promise::CommandIsRationed),
    },
    Mutant {
        name: "the-boot-clock-of-another-boot-is-believed",
        weakness: Some(14),
        file: "policy/time.rs",
        rule: "self.boot == *boot",
        fault: "true",
        breaks: Some(Promise::ComesBack),
    },
    Mutant {
        name: "a-dead-refresh-token-ends-the-polls",
        weakness: Some(7),
        file: "policy/account/poll.rs",
        rule: "self.marks.of(login.access).dead.is_none()",
        fault: "self.marks.of(login.access).dead.is_none() && self.refresh_mark().dead.is_none()",
        breaks: Some(Promise::GoodTokensAreUsed),
    },
    Mutant {
        name: "the-cap-of-the-ladder-is-not-kept",
        weakness: None,
        file: "policy/ladder.rs",
        rule: "last.saturating_mul(factor).min(self.max)",
        fault: "last.saturating_mul(factor)",
        breaks: Some(Promise::ComesBack),
    },
    Mutant {
        name: "a-demand-has-no-cap",
        weakness: None,
        file: "policy/gate.rs",
        rule: "wait.min(rules.max_retry_after)",
        fault: "wait",
        breaks: Some(Promise::ComesBack),
    },
    Mutant {
        name: "an-unknown-expiry-has-passed",
        weakness: Some(26),
        file: "policy/refresh.rs",
        rule: "login.expires_at.is_some_and(|at| at <= now.stamp)",
        fault: "login.expires_at.is_none_or(|at| at <= now.stamp)",
        breaks: Some(Promise::Explained),
    },
    Mutant {
        name: "a-pause-does-not-say-what-to-do",
        weakness: Some(34),
        file: "policy/account/view.rs",
        rule: r#"format!("nothing yet; if it stays so, {}", self.log_in())"#,
        fault: "String::new()",
        breaks: Some(Promise::Explained),
    },
    Mutant {
        name: "a-restart-wipes-the-rate-limits",
        weakness: Some(13),
        file: "policy/account/look.rs",
        rule: "self.restore_login(login, turn.now);",
        fault: "let _ = login;",
        breaks: Some(Promise::RestoredIsTheSame),
    },
    Mutant {
        name: "a-restart-lifts-the-auth-pause",
        weakness: Some(13),
        file: "policy/account/mod.rs",
        rule: "restored.auth",
        fault: "AuthPause::default()",
        breaks: Some(Promise::RestoredIsTheSame),
    },
    Mutant {
        name: "a-restart-forgets-when-the-incident-closed",
        weakness: Some(13),
        file: "policy/cooldown.rs",
        rule: "self.relapse_until.as_ref().map(|saved| saved.restore(now, boot))",
        fault: "None",
        breaks: Some(Promise::RestoredIsTheSame),
    },
    Mutant {
        name: "the-slow-look-is-due-for-ever",
        weakness: None,
        file: "policy/account/mod.rs",
        rule: "self.tick = now.moment + jittered(self.rules.interval, self.rules.jitter, turn.dice);",
        fault: "",
        breaks: Some(Promise::NoSpin),
    },
    Mutant {
        name: "chance-comes-from-the-clock",
        weakness: None,
        file: "policy/time.rs",
        rule: "wait.mul_f64(jitter.clamp(0.0, 1.0) * dice.roll())",
        fault: "wait.mul_f64(jitter.clamp(0.0, 1.0) * f64::from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().subsec_nanos()) / 1e9)",
        breaks: None,
    },
];

/// Weaknesses of the closest peer whose absence must be provable.
const MUST_BE_FOUND: [u8; 10] = [1, 2, 4, 5, 7, 8, 13, 14, 20, 26];

/// Account-days within which a fault must be found; nearly all are within a few hundred.
const DAYS: &str = "3000";
/// Account-days of the run without a fault: the suite itself lives more.
const SOUND_DAYS: &str = "300";

/// What a copy needs beside sources and manifest of its own.
const SHARED: [&str; 4] = ["benches", "config", "systemd", "tests"];

#[test]
fn every_rule_stands_where_its_mutant_says_and_every_promise_is_broken_by_one() {
    for mutant in MUTANTS {
        let text = fs::read_to_string(root().join("src").join(mutant.file)).unwrap();
        let found = text.matches(mutant.rule).count();
        assert_eq!(found, 1, "{}: src/{} has `{}` {found} times", mutant.name, mutant.file, mutant.rule);
    }
    let names: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
    assert_eq!(names.len(), MUTANTS.len(), "two mutants of one name");
    for promise in Promise::ALL.map(Some).into_iter().chain([None]) {
        assert!(MUTANTS.iter().any(|mutant| mutant.breaks == promise), "no mutant breaks {promise:?}");
    }
    for weakness in MUST_BE_FOUND {
        assert!(MUTANTS.iter().any(|mutant| mutant.weakness == Some(weakness)), "no mutant has weakness {weakness}");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "`--nocapture` shows what each fault breaks, and how soon")]
fn the_simulation_finds_every_fault_and_names_the_promise_it_breaks() {
    if env::var_os("QUOTAD_LONG").is_none() {
        println!("skipped: QUOTAD_LONG is not set");
        return;
    }
    let sim = compile(&woven());
    let sound = run(&sim, None);
    assert!(sound.status.success(), "without a fault:\n{}", said(&sound));
    let mut survivors = Vec::new();
    for mutant in MUTANTS {
        let began = Instant::now();
        let output = run(&sim, Some(mutant));
        let said = said(&output);
        let expected = mutant.breaks.map_or("two stories of one seed", Promise::sentence);
        if output.status.success() || !said.contains(expected) {
            survivors.push(format!("{} should have broken: {expected}\n{said}", mutant.name));
        }
        println!("{:5.1} s  {:<50}  {expected}", began.elapsed().as_secs_f64(), mutant.name);
    }
    assert!(survivors.is_empty(), "{} of {}:\n{}", survivors.len(), MUTANTS.len(), survivors.join("\n"));
}

/// A copy of the sources in which every rule asks first whether its fault stands in its place.
fn woven() -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
    if let Err(error) = fs::remove_dir_all(&copy) {
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{}: {error}", copy.display());
    }
    copy_sources(&root().join("src"), &copy.join("src"));
    // No binary: the product's own lies where it would be put.
    fs::remove_file(copy.join("src/main.rs")).expect("the copy is made");
    for name in SHARED {
        std::os::unix::fs::symlink(root().join(name), copy.join(name)).expect("the copy is made");
    }
    // A package of another name: cargo tells two builds of one name apart by the age of their files at most, and would
    // take the copy's library for the product's.
    for (file, more) in [("Cargo.toml", "\n[lib]\nname = \"quotad\"\n"), ("Cargo.lock", "")] {
        let text = fs::read_to_string(root().join(file)).expect("the copy is made");
        let renamed = text.replacen("name = \"quotad\"", "name = \"quotad-with-faults\"", 1);
        assert_ne!(text, renamed, "{file} names the package");
        fs::write(copy.join(file), renamed + more).expect("the copy is made");
    }
    for Mutant { name, file, rule, fault, .. } in MUTANTS {
        let (open, close) = if rule.ends_with(';') { ('{', '}') } else { ('(', ')') };
        let choice = format!("{open}if crate::fault::is(\"{name}\") {{ {fault} }} else {{ {rule} }}{close}");
        let file = copy.join("src").join(file);
        let text = fs::read_to_string(&file).expect("the copy is made");
        fs::write(file, text.replace(rule, &choice)).expect("the copy is made");
    }
    let lib = copy.join("src/lib.rs");
    let text = fs::read_to_string(&lib).expect("the copy is made");
    fs::write(lib, text + FAULT_MODULE).expect("the copy is made");
    copy
}

const FAULT_MODULE: &str = r#"
mod fault {
    static CHOSEN: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("QUOTAD_FAULT").unwrap_or_default());

    pub(crate) fn is(name: &str) -> bool {
        *CHOSEN == name
    }
}
"#;

fn copy_sources(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the copy is made");
    for entry in fs::read_dir(from).expect("the copy is made") {
        let entry = entry.expect("the copy is made");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("the copy is made").is_dir() {
            copy_sources(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("the copy is made");
        }
    }
}

/// Compiles the simulation of the copy beside the outer build, whose dependencies it shares; returns its path.
fn compile(copy: &Path) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the copy is made");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--offline", "--locked", "--no-run", "--test", "sim", "--target-dir"]).arg(target);
    // What cargo told this test of its own build is not so for the copy.
    let of_this_build = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars().filter(|(name, _)| of_this_build(name)) {
        cargo.env_remove(name);
    }
    let output = cargo.env_remove("LD_LIBRARY_PATH").current_dir(copy).output().expect("the copy is made");
    let said = said(&output);
    let path = said.lines().find_map(|line| line.trim().strip_prefix("Executable")?.rsplit_once('('));
    let Some((_, path)) = path else { panic!("the copy does not compile:\n{said}") };
    copy.join(path.trim_end_matches(')'))
}

fn run(sim: &Path, mutant: Option<&Mutant>) -> Output {
    let test = match mutant {
        Some(Mutant { breaks: None, .. }) => "the_same_seed_lives_the_same_life",
        _ => "no_weather_breaks_a_promise",
    };
    let mut sim = Command::new(sim);
    sim.arg(test).env("RUST_BACKTRACE", "0").env_remove("QUOTAD_SEED");
    match mutant {
        Some(mutant) => sim.env("QUOTAD_FAULT", mutant.name).env("QUOTAD_SIM_DAYS", DAYS),
        None => sim.env_remove("QUOTAD_FAULT").env("QUOTAD_SIM_DAYS", SOUND_DAYS),
    };
    sim.output().expect("the copy is made")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

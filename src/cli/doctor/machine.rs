//! The machine around the daemon: unit, sandbox, linger, journal, clock.
//!
//! What works in a user manager, and what its refusals look like, was measured: systemd.md 1.5 and 4.9.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::ask::{answer, ask};
use super::{Finding, typed};
use crate::policy::time::Stamp;

/// Properties of the unit that matter here.
const PROPERTIES: &str = "LoadState,UnitFileState,ActiveState,Result,ExecMainStatus,NeedDaemonReload,DropInPaths,\
                          FragmentPath,PrivateUsers";

/// What systemd exits with when it is refused a user namespace.
const REFUSED: i32 = 217;

/// No clock that shows less is right.
const BUILT_AFTER: &str = "2026-01-01T00:00:00Z";

/// What was asked of the machine; `None` where nobody answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// The unit's properties; `None` without a user manager.
    pub(super) unit: Option<BTreeMap<String, String>>,
    /// Whether a daemon answers on the socket, whoever started it.
    pub(super) daemon: bool,
    /// Exit code of a trial service in the unit's sandbox.
    pub(super) trial: Option<i32>,
    /// Whether services of this user outlive the session.
    pub(super) lingers: Option<bool>,
    /// Whether the journal is kept on disk; `None` without a journal.
    pub(super) journal_kept: Option<bool>,
    /// Whether the clock is set by a time server.
    pub(super) synchronised: Option<bool>,
    /// When a file of quotad's own was last written, by the clock of that moment.
    pub(super) last_written: Option<Stamp>,
}

impl Facts {
    /// Asks each part of the machine, none for more than two seconds.
    pub(super) fn gather(state_dir: &Path, daemon: bool) -> Self {
        let unit = answer("systemctl", &["--user", "show", "quotad.service", "-p", PROPERTIES]);
        let unit = unit.map(|text| properties(&text));
        let trial = ["--user", "--wait", "-q", "-p", "PrivateUsers=yes", "-p", "ProtectSystem=strict", "/bin/true"];
        let uid = rustix::process::getuid().as_raw().to_string();
        let yes = |text: String| text.trim() == "yes";
        let written = fs::metadata(state_dir.join("state.db")).and_then(|found| found.modified()).ok();
        Self {
            trial: unit.as_ref().and_then(|_| ask("systemd-run", &trial)?.code),
            unit,
            daemon,
            lingers: answer("loginctl", &["show-user", &uid, "-p", "Linger", "--value"]).map(yes),
            journal_kept: journal_kept(),
            synchronised: answer("timedatectl", &["show", "-p", "NTPSynchronized", "--value"]).map(yes),
            last_written: written.and_then(|at| Stamp::try_from(at).ok()),
        }
    }
}

/// `Name=value` lines.
fn properties(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

fn journal_kept() -> Option<bool> {
    if !Path::new("/run/systemd/journal/socket").exists() {
        return None;
    }
    let machine = fs::read_to_string("/etc/machine-id").ok()?;
    Some(Path::new("/var/log/journal").join(machine.trim()).is_dir())
}

/// Every finding about the machine at `now`.
pub(super) fn findings(facts: &Facts, now: Stamp) -> Vec<Finding> {
    let mut findings = match &facts.unit {
        None => vec![Finding::ok("unit: not looked at: no systemd user manager answers here")],
        Some(unit) => unit_findings(unit, facts),
    };
    findings.push(journal(facts.journal_kept));
    findings.extend(clock(facts, now));
    findings
}

fn unit_findings(unit: &BTreeMap<String, String>, facts: &Facts) -> Vec<Finding> {
    let of = |name: &str| unit.get(name).map_or("", String::as_str);
    let is_installed = of("LoadState") == "loaded";
    if !is_installed {
        let what = if of("LoadState") == "masked" {
            Finding::fail("unit: quotad.service is masked", typed(&["systemctl --user unmask quotad"]))
        } else {
            Finding::warn("unit: quotad.service is not installed", typed(&["quotad install"]))
        };
        return std::iter::once(what).chain(facts.trial.map(|code| sandbox(code, true))).collect();
    }
    let mut findings = vec![enabled(of("UnitFileState")), active(unit, facts.daemon)];
    if of("NeedDaemonReload") == "yes" {
        let remedy = typed(&["systemctl --user daemon-reload", "systemctl --user restart quotad"]);
        findings.push(Finding::warn("unit: its file is newer than what the manager has loaded", remedy));
    }
    if !of("DropInPaths").is_empty() {
        findings.push(Finding::ok(format!("unit: changed by {}", of("DropInPaths"))));
    }
    findings.extend(facts.trial.map(|code| sandbox(code, of("PrivateUsers") != "no")));
    findings.extend(facts.lingers.map(linger));
    findings
}

fn enabled(state: &str) -> Finding {
    match state {
        "disabled" => {
            let what = "unit: quotad.service is not enabled, so it does not start with your session";
            Finding::warn(what, typed(&["systemctl --user enable quotad"]))
        }
        _ => Finding::ok("unit: quotad.service is installed and enabled"),
    }
}

fn active(unit: &BTreeMap<String, String>, daemon: bool) -> Finding {
    let of = |name: &str| unit.get(name).map_or("", String::as_str);
    let restart = "systemctl --user restart quotad";
    match of("ActiveState") {
        "failed" => match of("ExecMainStatus") {
            "78" => {
                let what = "unit: quotad.service has failed: the config, or a newer version's state, is refused (78)";
                Finding::fail(what, typed(&["quotad check", restart]))
            }
            "217" => Finding::fail("unit: quotad.service has failed: its sandbox is refused (217)", sandbox_remedy()),
            code => {
                let what = format!("unit: quotad.service has failed ({}, exit {code})", of("Result"));
                Finding::fail(what, typed(&["journalctl --user -u quotad -n 20", restart]))
            }
        },
        "inactive" if daemon => Finding::ok("unit: quotad.service is not running; another daemon answers"),
        "inactive" => Finding::fail("unit: quotad.service is not running", typed(&["systemctl --user start quotad"])),
        state => Finding::ok(format!("unit: quotad.service is {state}")),
    }
}

/// Whether services may have user namespaces, which every mount-based line of the unit rests on.
fn sandbox(code: i32, is_wanted: bool) -> Finding {
    match code {
        0 => Finding::ok("sandbox: a service with the unit's sandbox starts"),
        REFUSED if is_wanted => {
            let what = "sandbox: this system refuses user namespaces to services, so the unit cannot start (217)";
            Finding::fail(what, sandbox_remedy())
        }
        REFUSED => Finding::ok("sandbox: this system refuses user namespaces; the unit does without"),
        code => Finding::warn(format!("sandbox: a trial service ended with {code}"), ""),
    }
}

fn sandbox_remedy() -> String {
    let lines = [
        "d=~/.config/systemd/user/quotad.service.d; mkdir -p \"$d\"",
        // Unquoted, bash would take the tilde for the home directory.
        "printf '%s\\n' '[Service]' PrivateUsers=no 'CapabilityBoundingSet=~' \\",
        "  PrivateDevices=no ProtectKernelModules=no ProtectKernelLogs=no \\",
        "  ProtectClock=no > \"$d/relaxed.conf\"",
        "systemctl --user daemon-reload",
        "systemctl --user restart quotad",
    ];
    format!("`quotad install` writes the drop-in that does without; by hand:\n{}", typed(&lines))
}

fn linger(lingers: bool) -> Finding {
    if lingers {
        return Finding::ok("linger: services of yours outlive your session");
    }
    let what = "linger: the daemon ends with your last session and starts with the next";
    Finding::warn(what, format!("if it is to go on without you:\n{}", typed(&["loginctl enable-linger"])))
}

fn journal(kept: Option<bool>) -> Finding {
    match kept {
        None => Finding::ok("journal: there is none here; the daemon logs to its stderr"),
        Some(true) => Finding::ok("journal: kept on disk; read it with `journalctl --user -u quotad`"),
        Some(false) => {
            let what = "journal: kept in memory only: every reboot forgets it, and `journalctl --user -u quotad` shows \
                        you nothing; in the group adm or systemd-journal, `journalctl --user-unit quotad` does";
            let lines = [
                "sudo mkdir -p /var/log/journal",
                "sudo systemd-tmpfiles --create --prefix /var/log/journal",
                "sudo journalctl --flush",
            ];
            Finding::warn(what, format!("to keep it on disk:\n{}", typed(&lines)))
        }
    }
}

fn clock(facts: &Facts, now: Stamp) -> Vec<Finding> {
    let set = typed(&["sudo timedatectl set-ntp true"]);
    let is_unset = BUILT_AFTER.parse::<Stamp>().is_ok_and(|built| now < built);
    if is_unset {
        let what = format!("clock: it shows {}, so it was never set", now.strftime("%Y-%m-%d"));
        return vec![Finding::fail(what, set)];
    }
    let mut findings = Vec::new();
    let ahead = facts.last_written.map_or(0, |at| at.duration_since(now).as_secs());
    if ahead > 120 {
        let what = format!("clock: it was set back: the state was written {} min ahead of it", ahead / 60);
        let remedy =
            "nothing for quotad's sake, whose waits are measured by the boot clock; what vendors date may be off";
        findings.push(Finding::warn(what, remedy));
    }
    findings.push(match facts.synchronised {
        Some(true) => Finding::ok("clock: set by a time server"),
        Some(false) => Finding::warn("clock: not set by a time server: tokens may seem expired, or alive", set),
        None => Finding::ok("clock: nobody here says whether a time server sets it"),
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::control::wire::sample;

    const UNIT: &str = "LoadState=loaded\nUnitFileState=enabled\nActiveState=active\nResult=success\nExecMainStatus=0\n\
                        NeedDaemonReload=no\nDropInPaths=\nPrivateUsers=yes\n";

    fn machine(unit: &str) -> Facts {
        Facts {
            unit: Some(properties(unit)),
            daemon: true,
            trial: Some(0),
            lingers: Some(true),
            journal_kept: Some(true),
            synchronised: Some(true),
            last_written: Some(sample::now()),
        }
    }

    fn trouble(facts: &Facts) -> Vec<(Level, String)> {
        let bad = findings(facts, sample::now()).into_iter().filter(|finding| finding.level != Level::Ok);
        bad.map(|finding| (finding.level, finding.what + " / " + &finding.remedy)).collect()
    }

    #[test]
    fn a_good_machine_is_ok_and_so_is_one_where_nobody_answers() {
        assert!(trouble(&machine(UNIT)).is_empty());
        let silent = Facts {
            unit: None,
            trial: None,
            lingers: None,
            journal_kept: None,
            synchronised: None,
            last_written: None,
            ..machine(UNIT)
        };
        assert!(trouble(&silent).is_empty());
    }

    #[test]
    fn each_fault_of_the_machine_is_found_alone_and_with_its_remedy() {
        let with = |from: &str, to: &str| machine(&UNIT.replace(from, to));
        let stopped = with("ActiveState=active", "ActiveState=inactive");
        let failed = |code: &str| {
            with(
                "ActiveState=active\nResult=success\nExecMainStatus=0",
                &format!("ActiveState=failed\nResult=exit-code\nExecMainStatus={code}"),
            )
        };
        let cases = [
            (with("LoadState=loaded", "LoadState=not-found"), Level::Warn, " quotad install"),
            (with("LoadState=loaded", "LoadState=masked"), Level::Fail, " systemctl --user unmask quotad"),
            (with("=enabled", "=disabled"), Level::Warn, " systemctl --user enable quotad"),
            (Facts { daemon: false, ..stopped }, Level::Fail, " systemctl --user start quotad"),
            (failed("78"), Level::Fail, " quotad check"),
            (failed("217"), Level::Fail, "PrivateUsers=no"),
            (failed("1"), Level::Fail, " journalctl --user -u quotad"),
            (with("Reload=no", "Reload=yes"), Level::Warn, " systemctl --user daemon-reload"),
            (Facts { trial: Some(217), ..machine(UNIT) }, Level::Fail, "PrivateUsers=no 'CapabilityBoundingSet=~'"),
            (Facts { lingers: Some(false), ..machine(UNIT) }, Level::Warn, " loginctl enable-linger"),
            (Facts { journal_kept: Some(false), ..machine(UNIT) }, Level::Warn, " sudo journalctl --flush"),
            (Facts { synchronised: Some(false), ..machine(UNIT) }, Level::Warn, " sudo timedatectl set-ntp true"),
            (Facts { last_written: Some(sample::at("2026-11-25T13:15:00Z")), ..machine(UNIT) }, Level::Warn, "60 min"),
        ];
        for (facts, level, said) in cases {
            let found = trouble(&facts);
            assert!(found.len() == 1 && found[0].0 == level && found[0].1.contains(said), "{said}: {found:?}");
        }
        let unset = findings(&machine(UNIT), Stamp::UNIX_EPOCH);
        assert!(unset.iter().any(|finding| finding.level == Level::Fail && finding.what.contains("never set")));
    }

    #[test]
    fn the_drop_in_that_relaxes_the_sandbox_is_written_by_the_lines_as_they_are_typed() {
        let remedy = sandbox_remedy();
        let typed = remedy.lines().filter_map(|line| line.strip_prefix(' '));
        let script = typed.take_while(|line| !line.starts_with("systemctl")).collect::<Vec<_>>().join("\n");
        for shell in ["sh", "bash"] {
            let home = tempfile::tempdir().unwrap();
            let run = std::process::Command::new(shell).args(["-c", &script]).env("HOME", home.path()).status();
            // Not every machine has bash.
            let Ok(status) = run else { continue };
            assert!(status.success(), "{shell}: {script}");
            let written = home.path().join(".config/systemd/user/quotad.service.d/relaxed.conf");
            assert_eq!(
                fs::read_to_string(written).unwrap(),
                "[Service]\nPrivateUsers=no\nCapabilityBoundingSet=~\nPrivateDevices=no\nProtectKernelModules=no\n\
                 ProtectKernelLogs=no\nProtectClock=no\n"
            );
        }
    }

    #[test]
    fn a_unit_that_was_relaxed_needs_no_sandbox_and_says_what_changed_it() {
        let relaxed =
            UNIT.replace("PrivateUsers=yes", "PrivateUsers=no").replace("DropInPaths=", "DropInPaths=/x.conf");
        let facts = Facts { trial: Some(217), ..machine(&relaxed) };
        assert!(trouble(&facts).is_empty());
        assert!(findings(&facts, sample::now()).iter().any(|finding| finding.what.contains("/x.conf")));
    }
}

//! A program of the user's: the alert as JSON on stdin and in a few variables.
//!
//! Run by no shell, in a process group of its own, and killed with it after the limit. Of the daemon's environment it
//! gets what a program of the session needs; variables may hold keys, so the rest stays here.

use std::env;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Undelivered, document};
use crate::policy::alert::Alert;

/// What a program of the session needs of the environment.
const PASSED_ON: [&str; 14] = [
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "XDG_CURRENT_DESKTOP",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// How often it is looked whether the program has ended.
const LOOK: Duration = Duration::from_millis(20);

pub(super) async fn deliver(alert: &Alert, command: &[String], limit: Duration) -> Result<String, Undelivered> {
    let document = document(alert);
    let [program, arguments @ ..] = command else { return Err(Undelivered::certainly("no program is configured")) };
    let mut hook = Command::new(program);
    hook.args(arguments).env_clear().envs(PASSED_ON.into_iter().filter_map(|name| Some((name, env::var_os(name)?))));
    hook.envs(variables(&document));
    hook.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let (ended, end) = oneshot::channel();
    // A thread, and not the runtime's: those are waited for when the daemon stops.
    let run = move || ended.send(run(hook, &format!("{document}\n"), limit));
    thread::Builder::new()
        .name("alert-exec".to_owned())
        .spawn(run)
        .map_err(|error| Undelivered::certainly(format!("no thread could be started: {error}")))?;
    end.await.unwrap_or_else(|_| Err(Undelivered::perhaps("what became of it is not known")))
}

/// `QUOTAD_ALERT_KIND` and so on: what a line of shell can use without reading JSON.
fn variables(document: &Value) -> Vec<(String, String)> {
    let of = |name: &str, value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (!value.is_null()).then(|| (format!("QUOTAD_ALERT_{name}"), text))
    };
    let top = ["kind", "severity", "account", "provider", "title", "text", "threshold"];
    let top = top.into_iter().filter_map(|key| of(&key.to_uppercase(), &document[key]));
    top.chain(of("WINDOW", &document["window"]["id"]))
        .chain(of("USED_PERCENT", &document["window"]["used_percent"]))
        .collect()
}

fn run(mut hook: Command, input: &str, limit: Duration) -> Result<String, Undelivered> {
    let began = Instant::now();
    let mut child =
        hook.spawn().map_err(|error| Undelivered::certainly(format!("it could not be started: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // It fits into the pipe, and nobody has to read it.
        let _ = stdin.write_all(input.as_bytes());
    }
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok("it ran".to_owned()),
            Ok(Some(status)) => return Err(Undelivered::perhaps(format!("it ended with {status}"))),
            Ok(None) if began.elapsed() < limit => thread::sleep(LOOK),
            Ok(None) => {
                kill(&mut child);
                return Err(Undelivered::perhaps(format!("it took longer than {} s and was killed", limit.as_secs())));
            }
            Err(error) => return Err(Undelivered::perhaps(format!("it cannot be waited for: {error}"))),
        }
    }
}

/// Kills it and what it started.
fn kill(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    async fn ran(script: &str, limit: Duration) -> Result<String, Undelivered> {
        deliver(&sample::threshold(), &shell(script), limit).await
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn it_gets_the_document_and_the_variables_and_nothing_else_of_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let script = format!("cat > {0}; env >> {0}", out.display());
        ran(&script, LONG).await.unwrap();
        let text = std::fs::read_to_string(&out).unwrap();
        let (json, variables) = text.split_once('\n').unwrap();
        assert_eq!(serde_json::from_str::<Value>(json).unwrap(), document(&sample::threshold()));
        for line in [
            "QUOTAD_ALERT_KIND=threshold",
            "QUOTAD_ALERT_SEVERITY=warning",
            "QUOTAD_ALERT_ACCOUNT=personal",
            "QUOTAD_ALERT_WINDOW=five_hour",
            "QUOTAD_ALERT_THRESHOLD=95",
            "QUOTAD_ALERT_USED_PERCENT=96.4",
        ] {
            assert!(variables.lines().any(|known| known == line), "{line}\n{variables}");
        }
        let names = variables.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
        // The shell adds its own three.
        let is_known = |name: &str| {
            PASSED_ON.contains(&name)
                || name.starts_with("QUOTAD_ALERT_")
                || ["PWD", "OLDPWD", "_", "SHLVL"].contains(&name)
        };
        assert_eq!(names.filter(|name| !is_known(name)).collect::<Vec<_>>(), [""; 0]);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_told_nobody_and_one_that_fails_may_have() {
        let missing = deliver(&sample::threshold(), &["/no/such".to_owned()], LONG).await.unwrap_err();
        assert!(missing.is_certain && missing.said.contains("could not be started"), "{missing}");
        let failed = ran("exit 3", LONG).await.unwrap_err();
        assert!(!failed.is_certain && failed.said.contains("exit status: 3"), "{failed}");
        ran("exec <&-; exit 0", LONG).await.unwrap();
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_everything_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let began = Instant::now();
        let killed = ran(&format!("(sleep 2; touch {}) & sleep 60", out.display()), Duration::from_millis(200)).await;
        assert!(killed.unwrap_err().said.contains("was killed") && began.elapsed() < LONG);
        thread::sleep(Duration::from_millis(2200));
        assert!(!out.exists(), "its child lived on");
    }
}

//! Asks a program of the system, for at most two seconds. That it is missing or silent is no finding by itself.

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(2);

/// What a program answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// Its exit code; `None` when a signal ended it.
    pub(super) code: Option<i32>,
    /// Its stdout.
    pub(super) text: String,
}

/// Runs `program` without input; `None` when it is not there or does not end in time.
pub(super) fn ask(program: &str, args: &[&str]) -> Option<Said> {
    let child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let pid = Pid::from_child(&child);
    let (ended, answer) = mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait_with_output()));
    let Ok(Ok(output)) = answer.recv_timeout(PATIENCE) else {
        let _ = kill_process(pid, Signal::KILL);
        return None;
    };
    Some(Said { code: output.status.code(), text: String::from_utf8_lossy(&output.stdout).into_owned() })
}

/// The stdout of a program that succeeded.
pub(super) fn answer(program: &str, args: &[&str]) -> Option<String> {
    ask(program, args).filter(|said| said.code == Some(0)).map(|said| said.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_with_its_code_and_a_missing_or_silent_program_brings_none() {
        assert_eq!(ask("sh", &["-c", "echo x; exit 3"]), Some(Said { code: Some(3), text: "x\n".to_owned() }));
        assert_eq!(answer("sh", &["-c", "echo x; exit 3"]), None);
        assert_eq!(ask("no-such-program-at-all", &[]), None);
        let began = std::time::Instant::now();
        assert_eq!(ask("sleep", &["60"]), None);
        assert!(began.elapsed() < PATIENCE * 5);
    }
}

//! A running process, seen from outside: its memory while it runs, what it cost once it has ended.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{Pid, Signal, kill_process};

/// Memory, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// In RAM, what is shared with others included (`VmRSS`).
    pub(crate) resident: f64,
    /// Nobody else's, and nowhere else (`RssAnon`).
    pub(crate) private: f64,
}

/// What a process and all its threads cost from start to end.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    /// Seconds of CPU.
    pub(crate) cpu: f64,
    /// Times a thread went to sleep.
    pub(crate) switches: f64,
}

impl Cost {
    fn of_the_dead() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        Self {
            cpu: seconds(usage.user_time()) + seconds(usage.system_time()),
            switches: usage.voluntary_context_switches() as f64,
        }
    }

    /// What one of `more` things cost, by the difference to a run in which they were not done.
    pub(crate) fn each(self, without: Self, more: f64) -> Self {
        Self { cpu: (self.cpu - without.cpu) / more, switches: (self.switches - without.switches) / more }
    }
}

pub(crate) struct Process {
    child: Option<Child>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self { child: Some(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))) }
    }

    fn child(&self) -> &Child {
        self.child.as_ref().unwrap()
    }

    pub(crate) fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child().id())).unwrap();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
        };
        Memory { resident: of("VmRSS:"), private: of("RssAnon:") }
    }

    /// Bytes that it has had written to a disk so far, in whole pages.
    pub(crate) fn written(&self) -> f64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.child().id())).unwrap();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
        written.parse().unwrap()
    }

    /// Asks it to end: what it cost in all, and how long it took to end. Others must not end meanwhile.
    pub(crate) fn stop(mut self) -> (Cost, Duration) {
        let before = Cost::of_the_dead();
        let mut child = self.child.take().unwrap();
        let began = Instant::now();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        child.wait().unwrap();
        let took = began.elapsed();
        (Cost::of_the_dead().each(before, 1.0), took)
    }
}

impl Process {
    /// Its memory, before it was asked to end.
    pub(crate) fn stop_and_weigh(self) -> Memory {
        let memory = self.memory();
        self.stop();
        memory
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

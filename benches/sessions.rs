//! How long and how much memory it takes to read the newest Codex limits out of 10,000 session files of 1 MB.
//!
//! `cargo bench --bench sessions`. The files of the newest three days (300 MB) hold real lines; the 9,700 older ones
//! are sparse, so that the tree fits on a disk: reading any of them would show as a wrong answer, since they hold
//! nothing but zeros. Each case is measured in a process of its own, first with the file contents dropped from the page
//! cache (names and inodes stay in memory: dropping those takes root), then warm. The limits of issue 6, 50 ms and 10
//! MB, end it with a failure.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should stop where it stands")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime};

use quotad::policy::time::Stamp;
use quotad::source::codex_sessions::CodexSessions;
use rustix::fs::{Advice, fadvise};

const FILES: usize = 10_000;
const REAL: usize = 300;
const A_DAY: usize = 100;
const SIZE: usize = 1_000_000;
const RUNS: usize = 50;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--measure") {
        measure(Path::new(&arguments[at + 1]));
        return ExitCode::SUCCESS;
    }
    let home = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let files = build(home.path());
    println!("built {FILES} files of {SIZE} bytes, {REAL} of them real, in {:.1} s", began.elapsed().as_secs_f64());

    let mut held = true;
    held &= case("the newest file ends with limits, as after any turn", home.path());
    overwrite(&files[0], &[limits("codex", 19.0)], &pictures());
    held &= case("the newest file's only limits stand at its beginning", home.path());
    for file in &files[..3] {
        overwrite(file, &[], &pictures());
    }
    held &= case("the three newest files hold no limits at all", home.path());
    let day = files[0].parent().unwrap();
    for file in &files[A_DAY..] {
        fs::rename(file, day.join(file.file_name().unwrap())).unwrap();
    }
    held &= case("all 10,000 files in one directory, the three newest without limits", home.path());
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The tree, its files newest first: a hundred a day, a minute between any two.
fn build(home: &Path) -> Vec<PathBuf> {
    let real = format!("{}{}", pictures(), limits("codex", 19.0));
    let newest = SystemTime::now() - Duration::from_secs(60);
    let mut files = Vec::with_capacity(FILES);
    for n in 0..FILES {
        let day = FILES / A_DAY - 1 - n / A_DAY;
        let dir = home.join(format!("sessions/2026/{:02}/{:02}", day / 28 + 1, day % 28 + 1));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join(format!("rollout-2026-{:05}-x.jsonl", FILES - n));
        let mut file = File::create(&path).unwrap();
        if n < REAL {
            file.write_all(real.as_bytes()).unwrap();
            file.sync_data().unwrap();
        } else {
            file.set_len(SIZE as u64).unwrap();
        }
        file.set_modified(newest - Duration::from_secs(60) * u32::try_from(n).unwrap()).unwrap();
        files.push(path);
    }
    files
}

/// Nearly a megabyte of what sessions are full of: messages, tool output, other limits, one very long line.
fn pictures() -> String {
    let mut text = format!("{{\"type\":\"response_item\",\"picture\":\"{}\"}}\n", "A".repeat(400_000));
    for n in 0.. {
        let _ = writeln!(text, "{{\"type\":\"response_item\",\"n\":{n},\"text\":\"{}\"}}", "word ".repeat(n % 900));
        if n % 8 == 0 {
            text += &limits("codex_bengalfox", 3.0);
        }
        if text.len() > SIZE - 6000 {
            return text;
        }
    }
    text
}

/// One `token_count` line of this moment.
fn limits(id: &str, used: f64) -> String {
    let now = Stamp::now() - Duration::from_secs(3600);
    let resets = now.as_second() + 10_000;
    format!(
        "{{\"timestamp\":\"{now}\",\"type\":\"event_msg\",\"payload\":{{\"type\":\"token_count\",\"info\":null,\"rate_limits\":\
         {{\"limit_id\":\"{id}\",\"primary\":{{\"used_percent\":{used},\"window_minutes\":300,\"resets_at\":{resets}}}}}}}}}\n"
    )
}

/// Puts other content into a file and leaves its time.
fn overwrite(path: &Path, first: &[String], rest: &str) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, first.concat() + rest).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.sync_data().unwrap();
    file.set_modified(modified).unwrap();
}

/// Measures in a process of its own, prints, and says whether the limits were held.
fn case(name: &str, home: &Path) -> bool {
    let output = Command::new(std::env::current_exe().unwrap()).arg("--measure").arg(home).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures = String::from_utf8(output.stdout).unwrap();
    let [cold, p50, worst, memory]: [f64; 4] =
        figures.split_whitespace().map(|figure| figure.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap();
    println!("{name}:\n    cold {cold:.2} ms, warm p50 {p50:.2} ms, worst {worst:.2} ms; peak memory +{memory:.1} MB");
    cold < 50.0 && worst < 50.0 && memory < 10.0
}

/// Prints the first time, the median and the worst of the rest in ms, and by how many MB the peak rose.
fn measure(home: &Path) {
    drop_contents(&home.join("sessions"));
    let before = status("VmRSS:");
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            let reading = CodexSessions::new(home).read(Stamp::now()).expect("limits were found");
            let took = began.elapsed().as_secs_f64() * 1e3;
            assert_eq!(reading.windows[0].used_percent, Some(19.0));
            took
        })
        .collect();
    let memory = (status("VmHWM:") - before) / 1e3;
    let cold = times.remove(0);
    times.sort_by(f64::total_cmp);
    println!("{cold} {} {} {memory}", times[times.len() / 2], times[times.len() - 1]);
}

/// Has the kernel forget what the files hold.
fn drop_contents(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            drop_contents(&path);
        } else {
            fadvise(File::open(&path).unwrap(), 0, None, Advice::DontNeed).unwrap();
        }
    }
}

/// A figure of `/proc/self/status`, in kB.
fn status(key: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

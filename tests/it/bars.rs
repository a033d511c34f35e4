//! What a bar, a script and a terminal get from the real binary, with a daemon and without.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;

use crate::support::{House, wait_for};

const HOUR: Duration = Duration::from_secs(3600);

/// One account with numbers, and the daemon that has them.
fn house() -> House {
    let house = House::new();
    house.log_in("work", HOUR);
    house.configure("", "work", "interval = \"10m\"");
    house
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn bars_get_a_whole_document_without_a_daemon_and_with_one() {
    let house = house();
    let (exit, text, _) = said(&house.ask(&["status", "--format", "waybar"]));
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (exit, &document["text"], &document["alt"]),
        (Some(69), &"quotad: no daemon".into(), &"no-daemon".into())
    );
    let line = said(&house.ask(&["status", "--format", "line"]));
    assert_eq!(line, (Some(69), "quotad: no daemon\n".to_owned(), String::new()));

    let daemon = house.start();
    daemon.wait_for_state("ok");
    let left = daemon.account()["headroom_percent"].as_f64().unwrap();
    let (exit, text, _) = said(&house.ask(&["status", "--format", "waybar"]));
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(exit, Some(0));
    assert_eq!(document["percentage"].as_f64(), Some((100.0 - left).round()), "{document}");
    assert_eq!((&document["alt"], &document["class"][0]), (&"ok".into(), &"ok".into()));
    let tooltip = document["tooltip"].as_str().unwrap();
    assert!(tooltip.starts_with("work  claude") && tooltip.lines().count() > 3, "{tooltip}");
    let (exit, text, _) = said(&house.ask(&["status", "nobody", "--format", "tmux"]));
    assert_eq!((exit, text.as_str()), (Some(69), "#[fg=red]quotad: no such account#[default]\n"));
}

#[test]
fn guard_answers_a_script_by_its_exit_code_and_says_why_only_where_it_is_not_enough() {
    let house = house();
    let (exit, out, why) = said(&house.ask(&["guard", "--min", "1"]));
    assert_eq!((exit, out.as_str()), (Some(69), ""));
    assert!(why.contains("no daemon answers"), "{why}");

    let daemon = house.start();
    daemon.wait_for_state("ok");
    assert_eq!(said(&house.ask(&["guard", "work", "--min", "0"])), (Some(0), String::new(), String::new()));
    let (exit, out, why) = said(&house.ask(&["guard", "--min", "100"]));
    assert_eq!((exit, out.as_str(), why.lines().count()), (Some(75), "", 1), "{why}");
    assert!(why.starts_with("quotad: work: ") && why.contains("less than 100%"), "{why}");
    assert_eq!(said(&house.ask(&["guard", "--min", "0", "--window", "five_hour"])).0, Some(0));
    assert_eq!(said(&house.ask(&["guard", "--min", "0", "--window", "daily"])).0, Some(69));
    assert_eq!(said(&house.ask(&["guard", "nobody", "--min", "0"])).0, Some(69));
    assert_eq!(said(&house.ask(&["guard", "--min", "lots"])).0, Some(64));

    std::fs::remove_file(house.credentials("work")).unwrap();
    daemon.wait_for_state("signed-out");
    let (exit, _, why) = said(&house.ask(&["guard", "--min", "0"]));
    assert_eq!((exit, why.lines().count()), (Some(77), 1), "{why}");
}

/// `quotad watch` on a terminal of its own.
struct Watching {
    child: Child,
    person: File,
    tty: File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Watching {
    fn start(house: &House) -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&person, size).unwrap();
        let tty: OwnedFd =
            open(ptsname(&person, Vec::new()).unwrap(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let (tty, person) = (File::from(tty), File::from(person));
        let end = || tty.try_clone().unwrap();
        let child = house.quotad(&["watch"]).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, kept) = (person.try_clone().unwrap(), shown.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read) = reader.read(&mut piece) {
                kept.lock().unwrap().extend_from_slice(&piece[..read]);
            }
        });
        Self { child, person, tty, shown }
    }

    /// What a person sees: the terminal's rows.
    fn screen(&self) -> String {
        let shown = String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned();
        let mut rows = vec![[' '; 80]; 24];
        let (mut row, mut column) = (0, 0);
        let mut chars = shown.chars();
        while let Some(c) = chars.next() {
            if c != '\u{1b}' {
                if let Some(cell) = rows.get_mut(row).and_then(|row| row.get_mut(column)) {
                    *cell = c;
                }
                column += 1;
                continue;
            }
            let mut sequence: String = chars.by_ref().skip(1).take_while(|c| !c.is_alphabetic()).collect();
            // The letter is gone, but only a place has two numbers that start at 1.
            sequence.retain(|c| c != '?');
            let place = |text: &str| text.parse::<usize>().ok()?.checked_sub(1);
            let to = sequence.split_once(';').and_then(|(y, x)| place(y).zip(place(x)));
            (row, column) = to.unwrap_or((row, column));
        }
        rows.iter().map(|row| row.iter().collect::<String>() + "\n").collect()
    }

    fn wait_for(&self, text: &str) {
        wait_for(text, || self.screen().contains(text));
    }

    /// What it left behind: its exit code, the last that was written, and whether the terminal is as it was.
    fn end(mut self, end: impl FnOnce(&mut Self)) -> (Option<i32>, bool) {
        end(&mut self);
        let exit = self.child.wait().unwrap().code();
        wait_for("the old screen", || String::from_utf8_lossy(&self.shown.lock().unwrap()).contains("\u{1b}[?1049l"));
        let modes = tcgetattr(&self.tty).unwrap().local_modes;
        (exit, modes.contains(rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn watch_waits_for_a_daemon_follows_it_and_gives_the_terminal_back() {
    let house = house();
    let watching = Watching::start(&house);
    watching.wait_for("no daemon");
    let daemon = house.start();
    watching.wait_for("5-hour");
    // The change is told by an event, long before the next look, and stays among the last events.
    std::fs::remove_file(house.credentials("work")).unwrap();
    watching.wait_for("ok → signed-out");
    assert_eq!(daemon.stop(), Some(0));
    watching.wait_for("below is what it said last");
    assert_eq!(watching.end(|watching| watching.person.write_all(b"q").unwrap()), (Some(0), true));
}

#[test]
fn watch_gives_the_terminal_back_at_sigterm_and_refuses_what_is_no_terminal_as_bars_do_not() {
    let house = house();
    let watching = Watching::start(&house);
    watching.wait_for("no daemon");
    let stopped = watching.end(|watching| {
        let pid = rustix::process::Pid::from_child(&watching.child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
    });
    assert_eq!(stopped, (Some(0), true));
    let (exit, out, why) = said(&house.ask(&["watch"]));
    assert_eq!((exit, out.as_str()), (Some(64), ""));
    assert!(why.contains("quotad status"), "{why}");
}

//! The terminal: taken, drawn on, and given back as it was.
//!
//! Owns the raw mode and the alternate screen. Gives both back when dropped and also on a panic, before its message is
//! written; whoever holds it must not end in any other way.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::{Frame, Terminal};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::backend::Ansi;

/// The other screen, without a cursor.
const TAKE: &[u8] = b"\x1b[?1049h\x1b[?25l";
/// No colour, a cursor, the screen that was there before.
const GIVE_BACK: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";

/// The terminal, while it is ours.
pub(super) struct Screen {
    terminal: Terminal<Ansi>,
    taken: Arc<Taken>,
}

/// How to give it back.
struct Taken {
    tty: File,
    before: Termios,
    is_ours: AtomicBool,
}

impl Screen {
    /// Takes the terminal that stdout is.
    pub(super) fn take() -> io::Result<Self> {
        let tty = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let taken = Taken::take(tty.try_clone()?)?;
        let make = || {
            let mut terminal = Terminal::new(Ansi::on(tty))?;
            terminal.clear()?;
            Ok(terminal)
        };
        match make() {
            Ok(terminal) => Ok(Self { terminal, taken }),
            Err(error) => {
                taken.give_back();
                Err(error)
            }
        }
    }

    /// Draws what has changed.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.taken.give_back();
    }
}

impl Taken {
    /// Takes a terminal, and sees to it that a panic gives it back.
    fn take(tty: File) -> io::Result<Arc<Self>> {
        let before = tcgetattr(&tty)?;
        let mut raw = before.clone();
        raw.make_raw();
        let taken = Arc::new(Self { tty, before, is_ours: AtomicBool::new(true) });
        let (at_panic, usual) = (taken.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            at_panic.give_back();
            usual(panic);
        }));
        tcsetattr(&taken.tty, OptionalActions::Now, &raw)?;
        if let Err(error) = (&taken.tty).write_all(TAKE) {
            taken.give_back();
            return Err(error);
        }
        Ok(taken)
    }

    /// Gives it back, once. Nothing can be done where it is gone.
    fn give_back(&self) {
        if self.is_ours.swap(false, Ordering::SeqCst) {
            let _ = (&self.tty).write_all(GIVE_BACK);
            let _ = tcsetattr(&self.tty, OptionalActions::Now, &self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{InputModes, LocalModes, OutputModes};

    use super::*;

    /// A terminal, and the end at which a person would sit.
    fn terminal() -> (File, File) {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let tty: OwnedFd = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        (File::from(tty), File::from(person))
    }

    fn modes(tty: &File) -> (InputModes, OutputModes, LocalModes) {
        let now = tcgetattr(tty).unwrap();
        (now.input_modes, now.output_modes, now.local_modes)
    }

    fn shown(person: &mut File, length: usize) -> Vec<u8> {
        let mut shown = vec![0; length];
        person.read_exact(&mut shown).unwrap();
        shown
    }

    /// One test, because a panic concerns every terminal of the process.
    #[test]
    fn the_terminal_is_given_back_once_also_by_a_panic() {
        let (tty, mut person) = terminal();
        let before = modes(&tty);
        let both = [TAKE, GIVE_BACK].concat();

        let taken = Taken::take(tty.try_clone().unwrap()).unwrap();
        taken.give_back();
        taken.give_back();
        assert_eq!(modes(&tty), before);
        assert_eq!(shown(&mut person, both.len()), both);

        let _taken = Taken::take(tty.try_clone().unwrap()).unwrap();
        std::thread::spawn(|| panic!("on purpose")).join().unwrap_err();
        assert_eq!(modes(&tty), before);
        assert_eq!(shown(&mut person, both.len()), both);
    }
}

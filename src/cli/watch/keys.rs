//! The keyboard: bytes in, keys out.
//!
//! Owns the thread that waits for it, which ends with the process. Knows no meaning beyond the key.

use std::io;
use std::os::fd::AsFd as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

/// How long the rest of an escape sequence may take; over a slow line it comes in pieces.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

const ESCAPE: u8 = 0x1b;
const CONTROL_C: u8 = 0x03;

/// What was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Escape,
    Up,
    Down,
    First,
    Last,
    Poll,
    Help,
}

/// Every key from now on; the end of it when the terminal is gone.
pub(super) fn listen() -> mpsc::Receiver<Key> {
    let (press, pressed) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(bytes) = read() {
            if bytes.is_empty() || keys(&bytes).into_iter().any(|key| press.blocking_send(key).is_err()) {
                return;
            }
        }
    });
    pressed
}

/// What was typed at once, to the end of the escape sequence it may end with.
fn read() -> io::Result<Vec<u8>> {
    let stdin = io::stdin();
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 64];
        let read = loop {
            match rustix::io::read(stdin.as_fd(), &mut piece) {
                Err(rustix::io::Errno::INTR) => {}
                read => break read?,
            }
        };
        bytes.extend_from_slice(&piece[..read]);
        let is_done = read == 0 || !is_unfinished(&bytes);
        if is_done || poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&PATIENCE)).unwrap_or(0) == 0 {
            return Ok(bytes);
        }
    }
}

/// Whether it ends within what may be an escape sequence.
fn is_unfinished(bytes: &[u8]) -> bool {
    let Some(start) = bytes.iter().rposition(|byte| *byte == ESCAPE) else { return false };
    match &bytes[start + 1..] {
        [] | [b'O'] => true,
        [b'[', rest @ ..] => !rest.iter().any(|byte| is_final(*byte)),
        _ => false,
    }
}

fn is_final(byte: u8) -> bool {
    (0x40..=0x7e).contains(&byte)
}

/// The keys in what was typed. A sequence that means nothing here is passed over whole.
fn keys(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        let key = match *first {
            b'q' | b'Q' | CONTROL_C => Some(Key::Quit),
            b'k' => Some(Key::Up),
            b'j' => Some(Key::Down),
            b'g' => Some(Key::First),
            b'G' => Some(Key::Last),
            b'p' => Some(Key::Poll),
            b'?' | b'h' => Some(Key::Help),
            ESCAPE => match rest {
                [b'[', tail @ ..] => {
                    let end = tail.iter().position(|byte| is_final(*byte));
                    bytes = end.map_or(&[][..], |end| &tail[end + 1..]);
                    end.and_then(|end| sequence(&tail[..=end]))
                }
                [b'O', last, tail @ ..] => {
                    bytes = tail;
                    sequence(&[*last])
                }
                _ => Some(Key::Escape),
            },
            _ => None,
        };
        keys.extend(key);
    }
    keys
}

/// What a sequence means, without its head.
fn sequence(tail: &[u8]) -> Option<Key> {
    match tail {
        b"A" | b"5~" => Some(Key::Up),
        b"B" | b"6~" => Some(Key::Down),
        b"H" | b"1~" | b"7~" => Some(Key::First),
        b"F" | b"4~" | b"8~" => Some(Key::Last),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_arrows_and_escape_are_told_apart() {
        use Key::{Down, Escape, First, Help, Last, Poll, Quit, Up};
        for (typed, expected) in [
            (&b"q"[..], &[Quit][..]),
            (b"\x03", &[Quit]),
            (b"\x1b", &[Escape]),
            (b"\x1b\x1b", &[Escape, Escape]),
            (b"jk\x1b[A\x1b[B\x1bOA\x1bOBp?", &[Down, Up, Up, Down, Up, Down, Poll, Help]),
            (b"\x1b[H\x1b[4~gG", &[First, Last, First, Last]),
            (b"\x1b[5~\x1b[6~", &[Up, Down]),
            (b"\x1b[1;5Cj\x1b[200~", &[Down]),
            ("ü枠x".as_bytes(), &[]),
            (b"\x1b[1;", &[]),
        ] {
            assert_eq!(keys(typed), expected, "{typed:?}");
        }
    }

    #[test]
    fn a_sequence_that_came_in_part_is_waited_for() {
        for (typed, unfinished) in [
            (&b"\x1b"[..], true),
            (b"j\x1b[", true),
            (b"\x1b[1;5", true),
            (b"\x1bO", true),
            (b"\x1b[A", false),
            (b"\x1bOA", false),
            (b"\x1bj", false),
            (b"j", false),
            (b"", false),
        ] {
            assert_eq!(is_unfinished(typed), unfinished, "{typed:?}");
        }
    }
}

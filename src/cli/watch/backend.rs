//! What ratatui draws, as the few sequences that every terminal knows.
//!
//! Owns the bytes between the picture and the terminal, and its size. Never asks the terminal anything: the answer would
//! come among the keys.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};
use rustix::termios::tcgetwinsize;

/// A terminal that does not say how large it is.
const USUAL: Size = Size { width: 80, height: 24 };

/// Writes to a terminal.
pub(super) struct Ansi {
    out: BufWriter<File>,
    /// Where the next character goes, as far as that is known.
    cursor: Option<Position>,
}

impl Ansi {
    /// Writes to this one.
    pub(super) fn on(tty: File) -> Self {
        Self { out: BufWriter::new(tty), cursor: None }
    }
}

impl Backend for Ansi {
    type Error = io::Error;

    fn draw<'a, I: Iterator<Item = (u16, u16, &'a Cell)>>(&mut self, cells: I) -> io::Result<()> {
        let mut ink = None;
        for (x, y, cell) in cells {
            if self.cursor != Some(Position { x, y }) {
                self.set_cursor_position((x, y))?;
            }
            let this = (cell.fg, cell.modifier);
            if ink != Some(this) {
                self.out.write_all(look(this).as_bytes())?;
                ink = Some(this);
            }
            self.out.write_all(cell.symbol().as_bytes())?;
            // Terminals differ in how wide they think some characters are: after one that is not plain, say where we are.
            let next = Position { x: x + 1, y };
            self.cursor = Some(next).filter(|_| cell.symbol().is_ascii() || matches!(cell.symbol(), "█" | "░" | "─"));
        }
        self.out.write_all(b"\x1b[0m")
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[?25l")
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[?25h")
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(self.cursor.unwrap_or_default())
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let position: Position = position.into();
        self.cursor = Some(position);
        write!(self.out, "\x1b[{};{}H", position.y + 1, position.x + 1)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, clear: ClearType) -> io::Result<()> {
        self.out.write_all(match clear {
            ClearType::All => b"\x1b[2J",
            ClearType::AfterCursor => b"\x1b[0J",
            ClearType::BeforeCursor => b"\x1b[1J",
            ClearType::CurrentLine => b"\x1b[2K",
            ClearType::UntilNewLine => b"\x1b[0K",
        })
    }

    fn size(&self) -> io::Result<Size> {
        let size = tcgetwinsize(self.out.get_ref())?;
        let told = Size { width: size.ws_col, height: size.ws_row };
        Ok(if told.width == 0 || told.height == 0 { USUAL } else { told })
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::default() })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The sequence for a colour and a weight; the picture has few.
fn look((colour, weight): (Color, Modifier)) -> String {
    let colour = match colour {
        Color::Red => ";31",
        Color::Green => ";32",
        Color::Yellow => ";33",
        _ => "",
    };
    let bold = if weight.contains(Modifier::BOLD) { ";1" } else { "" };
    let faint = if weight.contains(Modifier::DIM) { ";2" } else { "" };
    format!("\x1b[0{bold}{faint}{colour}m")
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use ratatui::style::Style;
    use ratatui::{Terminal, TerminalOptions, Viewport};

    use super::*;

    #[test]
    fn only_what_changes_is_written_and_the_place_is_said_after_wide_characters() {
        let mut file = tempfile::tempfile().unwrap();
        let options = TerminalOptions { viewport: Viewport::Fixed(ratatui::layout::Rect::new(0, 0, 12, 2)) };
        let mut terminal = Terminal::with_options(Ansi::on(file.try_clone().unwrap()), options).unwrap();
        let mut draw = |text: &str, style: Style| {
            let from = file.stream_position().unwrap();
            let put = |frame: &mut ratatui::Frame<'_>| {
                frame.buffer_mut().set_string(0, 0, text, style);
            };
            terminal.draw(put).unwrap();
            let mut written = String::new();
            file.seek(io::SeekFrom::Start(from)).unwrap();
            file.read_to_string(&mut written).unwrap();
            written.replace('\x1b', "␛")
        };
        assert_eq!(draw("週 ab", Style::new()), "␛[1;1H␛[0m週␛[1;4Hab␛[0m␛[?25l");
        assert_eq!(draw("週 ab", Style::new()), "␛[0m␛[?25l");
        assert_eq!(draw("週 ac", Style::new().fg(Color::Red)), "␛[1;1H␛[0;31m週␛[1;3H ac␛[0m␛[?25l");
    }
}

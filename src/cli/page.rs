//! How moments, spans and facts are written for people.
//!
//! Owns the look of every text verb. Pure once made: what is shown depends on the page and the document alone, so a
//! test can compare whole pages. Widths are columns of a terminal, not characters: an ideograph takes two.

use std::io::{self, IsTerminal as _};

use jiff::Zoned;
use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr as _;

use crate::clock::{self, Clock};
use crate::policy::time::Stamp;

/// Where text goes: as of when, in which zone, how wide, and whether colour is welcome.
#[derive(Debug, Clone)]
pub(super) struct Page {
    now: Stamp,
    zone: TimeZone,
    /// Columns.
    pub(super) width: usize,
    colour: bool,
}

/// Columns of a terminal that a text takes.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// A text in exactly so many columns: cut with `…`, or filled with spaces.
pub(super) fn fit(text: &str, width: usize) -> String {
    let mut text = cut(text, width);
    text += &" ".repeat(width.saturating_sub(columns(&text)));
    text
}

/// A text in so many columns at most, cut with `…`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for character in text.chars() {
        kept.push(character);
        if columns(&kept) >= width {
            kept.pop();
            break;
        }
    }
    if width > 0 { kept + "…" } else { kept }
}

/// What a word should look like where colour is welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it comes.
    Plain,
    /// A name.
    Strong,
    /// Beside the point.
    Faint,
    /// All is well.
    Good,
    /// Worth a look.
    Warn,
    /// Someone must act.
    Bad,
}

impl Page {
    /// The stdout of this process: local time, `COLUMNS` or 80 wide (at least 72), coloured only on a terminal and
    /// without `NO_COLOR`.
    pub(super) fn here() -> Self {
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            now: Clock::real().now().stamp,
            zone: clock::zone(),
            width: columns.unwrap_or(80).max(72),
            colour: io::stdout().is_terminal() && !no_colour,
        }
    }

    /// The same page at another time: for a document whose clock is not this machine's.
    pub(super) fn at(self, now: Stamp) -> Self {
        Self { now, ..self }
    }

    /// The same page without colour: for a reader that is no terminal, whatever stdout is.
    pub(super) fn uncoloured(self) -> Self {
        Self { colour: false, ..self }
    }

    /// Whether colour is welcome.
    pub(super) fn is_coloured(&self) -> bool {
        self.colour
    }

    /// As of when the page is written.
    pub(super) fn now(&self) -> Stamp {
        self.now
    }

    /// A moment on the local calendar.
    pub(super) fn local(&self, at: Stamp) -> Zoned {
        at.to_zoned(self.zone.clone())
    }

    /// A moment of local time, as short as it stays clear: `14:32`, `Fri 14:32`, `24 Dec`, `24 Dec 2027`.
    pub(super) fn clock(&self, at: Stamp) -> String {
        let (now, then) = (self.now.to_zoned(self.zone.clone()), at.to_zoned(self.zone.clone()));
        let format = if now.date() == then.date() {
            "%H:%M"
        } else if self.seconds_to(at).abs() < 6 * DAY {
            "%a %H:%M"
        } else if now.year() == then.year() {
            "%-d %b"
        } else {
            "%-d %b %Y"
        };
        then.strftime(format).to_string()
    }

    /// A moment to the second: `14:32:07`, with the weekday if it is another day's.
    pub(super) fn exact(&self, at: Stamp) -> String {
        let (now, then) = (self.now.to_zoned(self.zone.clone()), at.to_zoned(self.zone.clone()));
        then.strftime(if now.date() == then.date() { "%H:%M:%S" } else { "%a %H:%M:%S" }).to_string()
    }

    /// How far away: `in 2 h 13 min`, `now`, `4 min ago`.
    pub(super) fn distance(&self, at: Stamp) -> String {
        match self.seconds_to(at) {
            0 => "now".to_owned(),
            ahead @ 1.. => format!("in {}", span(ahead)),
            behind => format!("{} ago", span(-behind)),
        }
    }

    /// What is still to come: `in 2 h 13 min (14:32)`. A moment that just passed is `now`: it is about to happen.
    pub(super) fn ahead(&self, at: Stamp) -> String {
        format!("{} ({})", self.distance(at.max(self.now)), self.clock(at))
    }

    /// A deadline: `14:32 (in 16 min)`.
    pub(super) fn due(&self, at: Stamp) -> String {
        format!("{} ({})", self.clock(at), self.distance(at))
    }

    /// What lies behind: `4 min ago`. A moment a clock puts ahead is `now`.
    pub(super) fn ago(&self, at: Stamp) -> String {
        self.distance(at.min(self.now))
    }

    /// How long until then, where room is short: `2h13m`, `45s`, `3d4h`; nothing once it has passed.
    pub(super) fn countdown(&self, at: Stamp) -> Option<String> {
        let ahead = self.seconds_to(at);
        (ahead > 0).then(|| span(ahead).replace("min", "m").replace(' ', ""))
    }

    /// Text in a tone.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Plain => return text.to_owned(),
        };
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Lines of `key  text`, the key padded to `column`, the text wrapped at the page's width and aligned below itself.
    pub(super) fn fact(&self, column: usize, key: &str, tone: Tone, text: &str) -> String {
        let lines = wrap(&plain(text), self.width.saturating_sub(column + 4));
        let keys = std::iter::once(key).chain(std::iter::repeat(""));
        keys.zip(lines).fold(String::new(), |text, (key, line)| {
            text + &format!("  {}  {}\n", fill(key, column), self.paint(tone, &line))
        })
    }

    fn seconds_to(&self, at: Stamp) -> i64 {
        at.duration_since(self.now).as_secs()
    }
}

/// What the outside world wrote, without control characters and without what turns the direction of writing: nothing in
/// it can steer a terminal, nor show what follows in another order.
pub(super) fn plain(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|c| !c.is_control() && !turns(*c)).collect()
}

/// A text in so many columns at least.
fn fill(text: &str, width: usize) -> String {
    text.to_owned() + &" ".repeat(width.saturating_sub(columns(text)))
}

const DAY: i64 = 86_400;

/// A length of time: `45 s`, `3 d 4 h`.
pub(super) fn length(from: Stamp, to: Stamp) -> String {
    span(to.duration_since(from).as_secs())
}

/// Two units at most: `45 s`, `13 min`, `2 h 13 min`, `3 d 4 h`.
fn span(seconds: i64) -> String {
    let (big, unit, small, small_unit) = match seconds {
        ..60 => return format!("{seconds} s"),
        60..3600 => return format!("{} min", seconds / 60),
        3600..DAY => (seconds / 3600, "h", seconds / 60 % 60, "min"),
        DAY.. => (seconds / DAY, "d", seconds / 3600 % 24, "h"),
    };
    if small == 0 { format!("{big} {unit}") } else { format!("{big} {unit} {small} {small_unit}") }
}

/// Breaks at spaces; a word longer than `width` (a path) stays whole.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
impl Page {
    /// 80 columns, a quarter past one in a zone one hour ahead of UTC, without colour.
    pub(super) fn for_tests() -> Self {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        Self { now: crate::control::wire::sample::now(), zone, width: 80, colour: false }
    }

    /// The same page, wider or narrower.
    pub(super) fn of_width(self, width: usize) -> Self {
        Self { width, ..self }
    }

    /// The same page on a terminal.
    pub(super) fn coloured(self) -> Self {
        Self { colour: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::sample::at;

    #[test]
    fn a_moment_is_as_short_as_it_stays_clear() {
        let page = Page::for_tests();
        for (stamp, clock, ahead, ago) in [
            ("2026-11-25T12:15:00Z", "13:15", "now (13:15)", "now"),
            ("2026-11-25T12:15:59Z", "13:15", "in 59 s (13:15)", "now"),
            ("2026-11-25T14:28:30Z", "15:28", "in 2 h 13 min (15:28)", "now"),
            ("2026-11-25T23:00:00Z", "Thu 00:00", "in 10 h 45 min (Thu 00:00)", "now"),
            ("2026-11-28T12:15:00Z", "Sat 13:15", "in 3 d (Sat 13:15)", "now"),
            ("2026-12-24T00:00:00Z", "24 Dec", "in 28 d 11 h (24 Dec)", "now"),
            ("2027-01-01T00:00:00Z", "1 Jan 2027", "in 36 d 11 h (1 Jan 2027)", "now"),
            ("2026-11-25T12:11:00Z", "13:11", "now (13:11)", "4 min ago"),
            ("2026-11-23T12:11:00Z", "Mon 13:11", "now (Mon 13:11)", "2 d ago"),
        ] {
            assert_eq!(
                (page.clock(at(stamp)), page.ahead(at(stamp)), page.ago(at(stamp))),
                (clock.into(), ahead.into(), ago.into())
            );
        }
    }

    #[test]
    fn a_fact_wraps_below_itself_and_cannot_steer_the_terminal() {
        let page = Page { width: 30, ..Page::for_tests() };
        assert_eq!(
            page.fact(5, "why", Tone::Bad, "one two three four \u{1b}[31mfive\n /a/path/longer/than/the/line"),
            "  why    one two three four\n         [31mfive\n         /a/path/longer/than/the/line\n"
        );
        assert_eq!(page.fact(5, "why", Tone::Plain, ""), "", "nothing to say");
    }

    #[test]
    fn a_text_is_cut_and_filled_by_columns_not_by_characters() {
        for (text, width, fitted) in [
            ("weekly", 8, "weekly  "),
            ("weekly", 6, "weekly"),
            ("weekly", 4, "wee…"),
            ("週間の枠", 8, "週間の枠"),
            ("週間の枠", 7, "週間の…"),
            ("週間の枠", 6, "週間… "),
            ("週間の枠", 10, "週間の枠  "),
            ("🚀 rocket", 5, "🚀 r…"),
            ("e\u{301}te\u{301}", 4, "e\u{301}te\u{301} "),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(fit(text, width), fitted, "{text} in {width}");
            assert_eq!(columns(&fit(text, width)), width, "{text} in {width}");
        }
    }

    #[test]
    fn a_countdown_is_short_and_ends() {
        let page = Page::for_tests();
        for (stamp, shown) in [
            ("2026-11-25T14:28:30Z", Some("2h13m")),
            ("2026-11-25T12:15:45Z", Some("45s")),
            ("2026-11-28T16:15:00Z", Some("3d4h")),
            ("2026-11-25T12:15:00Z", None),
            ("2026-11-25T12:14:00Z", None),
        ] {
            assert_eq!(page.countdown(at(stamp)).as_deref(), shown);
        }
    }

    #[test]
    fn colour_comes_only_where_it_is_welcome() {
        assert_eq!(Page::for_tests().paint(Tone::Bad, "x"), "x");
        assert_eq!(Page::for_tests().coloured().paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}

//! What is wrong with a config file, said so that it can be mended: where, what, what it would lead to, and a line
//! that is right.
//!
//! Owns the rendering. Never shows what may be a secret: a complaint goes to the journal, and a config into which
//! somebody pasted a token is exactly one that is complained about. So a value behind the faulty place is left out,
//! and anything shaped like a token is masked.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Characters of a source line that are shown; a longer one is cut around the fault.
const SHOWN: usize = 120;

/// Everything that is wrong with one file. Displays all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaints {
    file: PathBuf,
    list: Vec<Complaint>,
}

impl Complaints {
    /// The complaints about `file`, put in the order of their places.
    pub(super) fn new(file: &Path, mut list: Vec<Complaint>) -> Self {
        list.sort_by_key(|complaint| complaint.place.as_ref().map(|place| (place.line, place.column)));
        Self { file: file.to_owned(), list }
    }

    /// One complaint about the file as such, such as that it cannot be read.
    pub(super) fn about_file(file: &Path, what: String, consequence: &str, example: &str) -> Self {
        let complaint =
            Complaint { place: None, what, consequence: consequence.to_owned(), example: example.to_owned() };
        Self::new(file, vec![complaint])
    }

    /// How many there are; never 0.
    pub fn count(&self) -> usize {
        self.list.len()
    }
}

impl std::error::Error for Complaints {}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Complaint { place, what, consequence, example }) in self.list.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.file.display())?;
            let gutter = place.as_ref().map_or(0, |place| place.line.to_string().len());
            match place {
                None => writeln!(f, " {what}")?,
                Some(Place { line, column, source, caret }) => {
                    writeln!(f, "{line}:{column}: {what}")?;
                    writeln!(f, " {line} | {source}")?;
                    writeln!(f, " {:gutter$} | {caret}", "")?;
                }
            }
            writeln!(f, " {:gutter$} = consequence: {consequence}", "")?;
            writeln!(f, " {:gutter$} = example: {example}", "")?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    place: Option<Place>,
    what: String,
    consequence: String,
    example: String,
}

impl Complaint {
    /// A complaint about the bytes `span` of `text`.
    pub(super) fn at(text: &str, span: Range<usize>, what: String, consequence: String, example: String) -> Self {
        Self { place: Some(Place::of(text, span)), what, consequence, example }
    }
}

/// Where it stands, as a person sees it: lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    line: usize,
    column: usize,
    source: String,
    caret: String,
}

impl Place {
    fn of(text: &str, span: Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let end = text.floor_char_boundary(span.end).clamp(start, line_end);
        let before = text[line_start..start].chars().count();
        let width = text[start..end].chars().count().clamp(1, SHOWN);

        let mut shown = masked(text[line_start..line_end].trim_end_matches('\r'));
        let at_fault = before + width;
        if let Some(equals) = shown.iter().skip(at_fault).position(|c| *c == '=') {
            shown.truncate(at_fault + equals + 1);
            shown.extend([' ', '…']);
        }
        let from = if at_fault > SHOWN { before.saturating_sub(SHOWN / 4) } else { 0 };
        let source: String = shown.iter().skip(from).take(SHOWN + SHOWN / 4).collect();
        // Tabs before the fault are kept, so that the caret stands below it however wide they are.
        let margin: String =
            shown[..before.min(shown.len())].iter().skip(from).map(|c| if *c == '\t' { '\t' } else { ' ' }).collect();
        let line = text[..line_start].matches('\n').count() + 1;
        Self { line, column: before + 1, source: source.trim_end().to_owned(), caret: margin + &"^".repeat(width) }
    }
}

/// The line, character for character, with control characters made harmless and everything starred that has the
/// shape of a token or of a password in a URL.
fn masked(line: &str) -> Vec<char> {
    let of_token = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut shown: Vec<char> =
        line.chars().map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect();
    for word in shown.chunk_by_mut(|a, b| of_token(a) == of_token(b)) {
        if word.starts_with(&['s', 'k', '-']) || (word.len() >= 40 && of_token(&word[0])) {
            word.fill('*');
        }
    }
    if let Some(scheme) = shown.windows(3).position(|three| three == [':', '/', '/']) {
        let authority = &mut shown[scheme + 3..];
        let end = authority.iter().position(|c| matches!(c, '/' | '"' | '\'' | ' ')).unwrap_or(authority.len());
        if let Some(at) = authority[..end].iter().rposition(|c| *c == '@') {
            authority[..at].fill('*');
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, span: Range<usize>) -> String {
        let complaint = Complaint::at(text, span, "poll.x: is odd".into(), "it would be odd".into(), "x = 1".into());
        Complaints::new(Path::new("c.toml"), vec![complaint]).to_string()
    }

    #[test]
    fn a_complaint_shows_file_line_column_source_caret_consequence_and_example() {
        let want = "\
c.toml:2:5: poll.x: is odd
 2 | x = ü2
   |     ^^
   = consequence: it would be odd
   = example: x = 1
";
        assert_eq!(rendered("[poll]\nx = ü2\r\n", 11..14), want);
    }

    #[test]
    fn the_caret_stands_below_the_fault_whatever_the_span() {
        let table = [
            ("\tx = 1", 5..6, "\t    ^"),
            ("x", 1..1, " ^"),
            ("", 0..0, "^"),
            ("x = 1\n", 6..6, "^"),
            ("x = \"\"\"a\nb\"\"\"", 4..13, "    ^^^^"),
            ("ü = 1", 1..2, "^"),
            ("x = 1", 90..99, "     ^"),
        ];
        for (text, span, caret) in table {
            assert_eq!(Place::of(text, span.clone()).caret, caret, "{text:?} {span:?}");
        }
    }

    #[test]
    fn nothing_that_may_be_a_secret_is_shown() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJGQUtFIjoiRkFLRSIsIkZBS0UyIjoiRkFLRSJ9FAKEFAKE.x";
        for (text, span, source) in [
            ("token = \"hunter2\"", 0..5, "token = …"),
            ("a = { token = \"hunter2\" }", 6..11, "a = { token = …"),
            ("token = sk-ant-oat01-FAKE!", 8..26, "token = *****************!"),
            ("proxy = \"http://ada:pw@proxy:3128/\"", 8..35, "proxy = \"http://******@proxy:3128/\""),
            ("x = 1\u{1b}[2J", 4..5, "x = 1\u{fffd}[2J"),
        ] {
            assert_eq!(Place::of(text, span).source, source, "{text}");
        }
        assert!(!Place::of(jwt, 0..1).source.contains("FAKE"));
    }

    #[test]
    fn a_very_long_line_is_cut_around_the_fault() {
        let text = format!("{}x = 1", "y ".repeat(5_000));
        let place = Place::of(&text, 10_000..10_001);
        assert_eq!((place.column, place.source.len()), (10_001, SHOWN / 4 + "x = …".len()));
        assert_eq!(place.caret.find('^'), Some(SHOWN / 4));
        assert!(place.source[SHOWN / 4..].starts_with('x'));
    }
}

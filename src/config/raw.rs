//! The file as it is written: a TOML document that knows where each of its values stands, read line by line.
//!
//! Takes the place of a serde mirror, which stops at its first error: a [`Table`] goes on after a complaint, so one
//! run finds them all. A setting is looked up by the line that sets it (`interval = "10m"`), which is key, default
//! and example in one. Keys that nobody looked up are unknown, and are complained about when the table has been read.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::complaint::Complaint;

/// A value with its place in the file.
pub(super) type Value<'d> = Spanned<DeValue<'d>>;

/// What a reader made of a value: the setting, or every flaw it found.
pub(super) type Read<T> = Result<T, Vec<Flaw>>;

/// What is wrong with a value, or with an element of it.
pub(super) struct Flaw {
    pub(super) span: Range<usize>,
    pub(super) what: String,
    pub(super) consequence: String,
}

impl Flaw {
    /// The only flaw of `value`.
    pub(super) fn of<T>(value: &Value<'_>, what: impl Into<String>, consequence: impl Into<String>) -> Read<T> {
        Err(vec![Self { span: value.span(), what: what.into(), consequence: consequence.into() }])
    }
}

/// One file being read, and all that was found wrong so far.
pub(super) struct Sheet<'d> {
    pub(super) text: &'d str,
    pub(super) complaints: Vec<Complaint>,
}

/// One table of the file; an absent one reads as an empty one.
pub(super) struct Table<'d, 's> {
    sheet: &'s mut Sheet<'d>,
    /// `poll`, `accounts.personal`; empty for the file itself.
    name: String,
    /// Where to point at what is missing: the key or header that opened the table.
    header: Range<usize>,
    entries: Option<&'d DeTable<'d>>,
    known: Vec<Known<'d>>,
}

/// A key that was looked up.
struct Known<'d> {
    key: &'d str,
    line: String,
    flawed: bool,
}

impl<'d> Table<'d, '_> {
    /// Whether the file has this table.
    pub(super) fn exists(&self) -> bool {
        self.entries.is_some()
    }

    /// Whether `key` is there, in whatever form.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    /// What `read` makes of the table `key` in this one.
    pub(super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Table<'d, '_>) -> T) -> T {
        self.open(key, format!("[{}]", self.full(key)), read)
    }

    /// The names of the tables in this one, whose names are the user's to choose, with their places, in file order.
    pub(super) fn names(&self) -> Vec<(&'d str, Range<usize>)> {
        let keys = self.entries.into_iter().flat_map(DeTable::keys);
        let mut names: Vec<_> = keys.map(|key| (key.get_ref().as_ref(), key.span())).collect();
        names.sort_by_key(|(_, span)| span.start);
        names
    }

    /// What `read` makes of the table of one of [`Self::names`]; `example` is a header that would open one.
    pub(super) fn open<T>(&mut self, key: &'d str, example: String, read: impl FnOnce(&mut Table<'d, '_>) -> T) -> T {
        let name = self.full(key);
        let found = self.entries.and_then(|entries| entries.get_key_value(key));
        let header = found.map_or(self.header.clone(), |(key, _)| key.span());
        let entries = found.and_then(|(_, value)| {
            if value.get_ref().as_table().is_none() {
                let what = format!("{name}: must be a table, not {}", kind(value.get_ref()));
                self.sheet.complain(value.span(), what, "none of its settings could be found", &example);
            }
            value.get_ref().as_table()
        });
        self.known.push(Known { key, line: example, flawed: false });
        let mut table = Table { sheet: &mut *self.sheet, name, header, entries, known: Vec::new() };
        let made = read(&mut table);
        table.end();
        made
    }

    /// The setting of `line`'s key; where it is absent, what `line` itself sets.
    pub(super) fn line<T: Default>(&mut self, line: &'static str, read: impl Fn(&Value<'_>) -> Read<T>) -> T {
        let read = &read;
        let default = || DeValue::parse(split(line).1).ok().and_then(|value| read(&value).ok());
        self.optional(line, read).or_else(default).unwrap_or_default()
    }

    /// The setting of `line`'s key; `None` where it is absent or was complained about.
    pub(super) fn optional<T>(&mut self, line: &'static str, read: impl Fn(&Value<'_>) -> Read<T>) -> Option<T> {
        let (key, _) = split(line);
        let value = self.entries.and_then(|entries| entries.get(key));
        let result = value.map(read);
        self.known.push(Known { key, line: line.to_owned(), flawed: matches!(result, Some(Err(_))) });
        match result? {
            Ok(setting) => Some(setting),
            Err(flaws) => {
                for Flaw { span, what, consequence } in flaws {
                    let what = format!("{}: {what}", self.full(key));
                    self.sheet.complain(span, what, &consequence, line);
                }
                None
            }
        }
    }

    /// The setting of `line`'s key, which must be there: complains with `consequence` where it is not.
    pub(super) fn required<T>(
        &mut self,
        line: &'static str,
        consequence: &str,
        read: impl Fn(&Value<'_>) -> Read<T>,
    ) -> Option<T> {
        let (key, _) = split(line);
        if self.exists() && !self.has(key) {
            self.sheet.complain(self.header.clone(), format!("{}: is missing", self.full(key)), consequence, line);
        }
        self.optional(line, read)
    }

    /// Whether nothing was wrong with any of `keys`: a rule between settings says nothing where one of them already
    /// had a complaint of its own.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        !self.known.iter().any(|known| known.flawed && keys.contains(&known.key))
    }

    /// Complains about `key`, at its value or, where it is absent, at the table's header.
    pub(super) fn complain(&mut self, key: &str, what: &str, consequence: &str, example: &str) {
        let value = self.entries.and_then(|entries| entries.get(key));
        let span = value.map_or(self.header.clone(), Spanned::span);
        self.sheet.complain(span, format!("{}: {what}", self.full(key)), consequence, example);
    }

    /// Complains about the table as such, at its header.
    pub(super) fn complain_of_header(&mut self, what: &str, consequence: &str, example: &str) {
        self.sheet.complain(self.header.clone(), format!("{}: {what}", self.name), consequence, example);
    }

    /// Complains about every key that was not looked up, naming the nearest that is known.
    fn end(self) {
        for (key, span) in self.names() {
            if self.known.iter().any(|known| known.key == key) {
                continue;
            }
            let near = nearest(key, &self.known);
            let keys: Vec<&str> = self.known.iter().map(|known| known.key).collect();
            let hint = match near {
                Some(near) => format!("did you mean `{}`?", near.key),
                None => format!("known here: {}", keys.join(", ")),
            };
            let what = format!("{}: is not a known key; {hint}", self.full(key));
            let example = near.or(self.known.first()).map_or("", |known| &known.line);
            self.sheet.complain(span, what, "the setting that was meant would silently not apply", example);
        }
    }

    /// The key as `check` names it, from the top of the file.
    fn full(&self, key: &str) -> String {
        let key = key.escape_debug();
        if self.name.is_empty() { key.to_string() } else { format!("{}.{key}", self.name) }
    }
}

impl<'d> Sheet<'d> {
    /// What `read` makes of the whole file; `None` is a file that does not exist.
    pub(super) fn read<T>(
        &mut self,
        entries: Option<&'d DeTable<'d>>,
        read: impl FnOnce(&mut Table<'d, '_>) -> T,
    ) -> T {
        let mut table = Table { sheet: self, name: String::new(), header: 0..0, entries, known: Vec::new() };
        let made = read(&mut table);
        table.end();
        made
    }

    fn complain(&mut self, span: Range<usize>, what: String, consequence: &str, example: &str) {
        self.complaints.push(Complaint::at(self.text, span, what, consequence.to_owned(), example.to_owned()));
    }
}

/// What a value is, with its article.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Key and value of a line.
fn split(line: &'static str) -> (&'static str, &'static str) {
    line.split_once(" = ").unwrap_or((line, ""))
}

/// The known key that `key` is most likely a slip of: at most a third of its letters wrong.
fn nearest<'k, 'd>(key: &str, known: &'k [Known<'d>]) -> Option<&'k Known<'d>> {
    let slips = |known: &&Known<'_>| edits(key, known.key);
    known.iter().min_by_key(slips).filter(|known| edits(key, known.key) <= known.key.len().div_ceil(3))
}

/// How many letters must be added, left out or changed to make `b` of `a`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // `row[j]` is the distance from what was read of `a` to the first `j` letters of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted_letter_by_letter() {
        for (a, b, count) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("retry", "retries", 3),
            ("jiter", "jitter", 1),
            ("ab", "ba", 2),
        ] {
            assert_eq!(edits(a, b), count, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_key_is_named_only_when_it_is_near() {
        let known: Vec<Known> = ["interval", "jitter", "retries", "retry-base", "retry-max"]
            .map(|key| Known { key, line: String::new(), flawed: false })
            .into();
        for (key, near) in [
            ("intervall", Some("interval")),
            ("retry_base", Some("retry-base")),
            ("retry", Some("retries")),
            ("Jitter", Some("jitter")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(key, &known).map(|known| known.key), near, "{key}");
        }
    }
}

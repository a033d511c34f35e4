//! What every setting means, read from the commented sample, so that the manual, the documentation and the sample are
//! one text.
//!
//! The sample is written to be read by a person first. Of its form only this is fixed: paragraphs before the first
//! table are about the whole file; a comment above a header is about its table; a comment above a setting or behind it
//! is about that setting, and ends with its range in parentheses, unless it is a duration, whose range is always the
//! same. A `#` right before a header or a key puts it out of force: its value is an example.

use super::SAMPLE;

/// What is said of the whole file, and its tables in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reference {
    /// Paragraphs.
    pub intro: Vec<String>,
    /// `[poll]` and so on.
    pub tables: Vec<Table>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its header without brackets: `poll`, `accounts.personal`.
    pub name: String,
    /// What it is about.
    pub about: String,
    /// What it may set.
    pub settings: Vec<Setting>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `retry-base`
    pub key: String,
    /// As TOML: `"500ms"`.
    pub value: String,
    /// Whether the value is the default; else it is an example, and the meaning says what applies without it.
    pub is_default: bool,
    /// What it does, as a fragment or as sentences.
    pub meaning: String,
    /// What it may be; empty where everything goes that has the form of the value.
    pub range: String,
}

/// The reference of every setting.
pub fn reference() -> Reference {
    let mut reference = Reference::default();
    let mut above = Vec::new();
    for line in SAMPLE.lines() {
        let is_remark = line == "#" || line.starts_with("# ");
        let active = line.strip_prefix('#').filter(|_| !is_remark);
        let (line, is_default) = (active.unwrap_or(line), active.is_none());
        if is_remark {
            above.push(line.trim_start_matches('#').trim());
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let about = std::mem::take(&mut above).join(" ");
            reference.tables.push(Table { name: name.to_owned(), about, settings: Vec::new() });
        } else if let (Some((key, rest)), Some(table)) = (line.split_once(" = "), reference.tables.last_mut()) {
            let (value, behind) = rest.split_once("  ").unwrap_or((rest, ""));
            above.push(behind.trim_start_matches([' ', '#']));
            let remarks = std::mem::take(&mut above).join(" ");
            table.settings.push(Setting::new(key, value, is_default, remarks.trim()));
        } else if reference.tables.is_empty() {
            let paragraphs = above.split(|line| line.is_empty()).map(|lines| lines.join(" "));
            reference.intro.extend(paragraphs.filter(|paragraph| !paragraph.is_empty()));
            above.clear();
        }
    }
    reference
}

impl Setting {
    fn new(key: &str, value: &str, is_default: bool, remarks: &str) -> Self {
        let in_parentheses = remarks.strip_suffix(')').and_then(|text| text.rsplit_once('('));
        let is_duration = value.starts_with('"') && value[1..].starts_with(|c: char| c.is_ascii_digit());
        let (meaning, range) = match in_parentheses {
            Some((meaning, range)) => (meaning, range),
            None if is_duration => (remarks, "longer than 0"),
            None => (remarks, ""),
        };
        Self {
            key: key.to_owned(),
            value: value.to_owned(),
            is_default,
            meaning: meaning.trim().to_owned(),
            range: range.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;
    use crate::config::parse;
    use crate::paths::Paths;

    /// The account that a table belongs to: `accounts.personal`.
    fn account(table: &Table) -> Option<&str> {
        let name = table.name.strip_prefix("accounts.")?;
        Some(&table.name[..table.name.len() - name.len() + name.find('.').unwrap_or(name.len())])
    }

    /// What is wrong with a file that sets `key` of `table` to `value`, and otherwise only what must be there.
    fn faults(table: &Table, key: &str, value: &str) -> String {
        let must = |setting: &&Setting| setting.meaning.contains("required");
        let mut text = String::new();
        for own in reference().tables.iter().filter(|own| account(own).is_some() && account(own) == account(table)) {
            let lines = own.settings.iter().filter(must).filter(|setting| own.name != table.name || setting.key != key);
            let lines: Vec<_> = lines.map(|Setting { key, value, .. }| format!("{key} = {value}\n")).collect();
            let line = if own.name == table.name { format!("{key} = {value}\n") } else { String::new() };
            // A window needs a number, and a vendor of one's own needs a window.
            let number = own.name.contains(".windows.") && (own.name != table.name || key != "used");
            let number = if number { "used = \"/used\"\n" } else { "" };
            let _ = write!(text, "[{}]\n{}{number}{line}", own.name, lines.concat());
        }
        if account(table).is_none() {
            let others = table.settings.iter().filter(must).filter(|setting| setting.key != key);
            let others: Vec<_> = others.map(|Setting { key, value, .. }| format!("{key} = {value}\n")).collect();
            text = format!("[{}]\n{}{key} = {value}\n", table.name, others.concat());
        }
        let parsed = parse(&text, Path::new("c.toml"), &Paths::in_home(Path::new("/home/ada")));
        parsed.map_or_else(|complaints| complaints.to_string(), |_| String::new())
    }

    fn keys(table: &Table) -> Vec<String> {
        table.settings.iter().map(|setting| setting.key.clone()).collect()
    }

    /// Every account may set what any account may; the sample shows each setting once.
    fn of_any_account(tables: &[Table]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let accounts = tables.iter().filter(|table| account(table) == Some(&table.name));
        for key in accounts.flat_map(keys).chain(["windows".to_owned()]) {
            if !all.contains(&key) {
                all.push(key);
            }
        }
        all
    }

    #[test]
    fn the_reference_names_every_setting_in_the_order_it_is_read() {
        let tables = reference().tables;
        for table in &tables {
            let complaint = faults(table, "zzzzzzzz", "1");
            let known = complaint.split_once("known here: ").and_then(|(_, rest)| rest.lines().next()).unwrap();
            let within = |other: &Table| other.name.strip_prefix(&table.name)?.strip_prefix('.').map(str::to_owned);
            let keys = match account(table) {
                Some(name) if name == table.name => of_any_account(&tables),
                Some(_) => keys(table),
                None => keys(table).into_iter().chain(tables.iter().filter_map(within)).collect(),
            };
            assert_eq!(keys.join(", "), known, "{}", table.name);
        }
        let complaint = parse("zzzzzzzz = 1", Path::new("c.toml"), &Paths::in_home(Path::new("/"))).unwrap_err();
        let mut names: Vec<_> = tables.iter().filter_map(|table| table.name.split('.').next()).collect();
        names.dedup();
        assert!(complaint.to_string().contains(&format!("known here: {}", names.join(", "))), "{complaint}");
    }

    #[test]
    fn every_table_and_every_setting_says_what_it_means() {
        let Reference { intro, tables } = reference();
        assert!(intro.len() == 2 && intro[1].ends_with("No token or password ever belongs in here."), "{intro:?}");
        for table in tables {
            assert!(table.about.ends_with('.'), "{table:?}");
            for setting in &table.settings {
                assert!(setting.meaning.len() > 10 && !setting.value.contains('#'), "{setting:?}");
                let complaint = faults(&table, &setting.key, &setting.value);
                assert_eq!(complaint, "", "{setting:?}");
            }
        }
    }

    #[test]
    fn every_range_the_reference_states_is_the_one_that_is_checked() {
        let mut checked = 0;
        for table in reference().tables {
            for Setting { key, value, range, .. } in &table.settings {
                let many = value.starts_with('[');
                let quoted = |word: &str| if many { format!("[\"{word}\"]") } else { format!("\"{word}\"") };
                let (inside, outside): (Vec<String>, Vec<String>) = match range.as_str() {
                    "" => (vec![], vec!["7".into(), "[]".into()]),
                    "longer than 0" => (vec![], vec![quoted("0s"), quoted("0ms")]),
                    "at least 1h" => (vec![quoted("1h")], vec![quoted("59m")]),
                    "at least the last of cooldowns" => (vec![quoted("20m")], vec![quoted("19m")]),
                    "at least one, never decreasing" => {
                        (vec![r#"["5m", "5m"]"#.into()], vec!["[]".into(), r#"["5m", "4m"]"#.into()])
                    }
                    "above 0" => (vec!["0.5".into(), "20".into()], vec!["0".into(), "-1".into()]),
                    "two or more in a list" => {
                        (vec![r#"[["a", "b"]]"#.into(), "[]".into()], vec![r#"[["a"]]"#.into(), r#"["a"]"#.into()])
                    }
                    "1 to 100, rising" => {
                        (vec!["[1, 100]".into(), "[]".into()], vec!["[0]".into(), "[101]".into(), "[95, 80]".into()])
                    }
                    "IP address and port" => (
                        vec![quoted("127.0.0.1:9"), quoted("[::1]:9")],
                        vec![quoted("localhost:9"), quoted("127.0.0.1")],
                    ),
                    "0 to 1" => (vec!["0".into(), "1".into()], vec!["-0.1".into(), "1.1".into()]),
                    "0 or more" => (vec!["0".into()], vec!["-1".into()]),
                    "1 or more" => (vec!["1".into()], vec!["0".into()]),
                    "absolute, or in the home" => (vec![quoted("/a"), quoted("~/a")], vec![quoted("a")]),
                    "http:// or https://" => (vec![quoted("https://a"), quoted("http://a")], vec![quoted("ftp://a")]),
                    "https; http on loopback" => {
                        (vec![quoted("https://a/"), quoted("http://127.0.0.1/")], vec![quoted("http://a/")])
                    }
                    "printable ASCII" => (vec![quoted("a b")], vec![quoted("ä"), quoted("")]),
                    "begins with /" => (vec![quoted("/a/0/b~1c"), quoted("/")], vec![quoted("a"), quoted("")]),
                    // "always" needs a grant of its own, "command" a command; those rules have tests of their own.
                    "never, when-idle, command, always" => {
                        (vec![quoted("never"), quoted("when-idle")], vec![quoted("loud")])
                    }
                    "vendor, quotad" => (vec![quoted("vendor")], vec![quoted("loud")]),
                    words => (words.split(", ").map(quoted).collect(), vec![quoted("loud")]),
                };
                for value in inside {
                    assert_eq!(faults(&table, key, &value), "", "{}.{key} = {value}", table.name);
                }
                for value in outside {
                    let refused = faults(&table, key, &value);
                    assert!(refused.contains(key), "{}.{key} = {value}: {refused}", table.name);
                    checked += 1;
                }
            }
        }
        assert!(checked > 30, "{checked}");
    }
}

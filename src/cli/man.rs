//! `quotad man`: the manual, generated from the command line's definition and the config's reference.
//!
//! Owns the manual's form and the sections that no definition holds: exit status, files, signals, environment.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{Cli, Exit, Failure, print};
use crate::config::reference::{Setting, reference};

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write every page into this directory, instead of quotad.1 to stdout
    dir: Option<PathBuf>,
}

/// A page: `quotad-run.1` and its text.
type Page = (String, String);

/// A name and what is said of it.
type Entry = (&'static str, &'static str);

const STATUS: [(Exit, &str); 7] = [
    (Exit::Ok, "Done, or all is well."),
    (Exit::Failed, "It failed, or an account is offline or failing; it may pass by itself."),
    (Exit::Usage, "The command line is wrong."),
    (Exit::Unknown, "No daemon can be reached, or nothing is known yet."),
    (Exit::Limited, "Limited or paused; of run: another daemon is running."),
    (Exit::Login, "A person must log in or get permission."),
    (Exit::Config, "The config is wrong, or state.db was written by a newer version."),
];

const FILES: [Entry; 5] = [
    ("~/.config/quotad/config.toml", "The config, if there is one; see quotad.toml(5). Moved by XDG_CONFIG_HOME."),
    (
        "~/.local/state/quotad/state.db",
        "Gates, fences, verdicts and last readings: what must survive a restart. Never a token. Moved by XDG_STATE_HOME.",
    ),
    (
        "~/.local/state/quotad/successor-*.json",
        "A new token on its way into the credential file; during a refresh only. Never to be deleted by hand.",
    ),
    (
        "$XDG_RUNTIME_DIR/quotad/quotad.sock",
        "The daemon's socket: HTTP/1.1, for its user alone. Without that variable /tmp/quotad-UID/quotad.sock.",
    ),
    ("~/.claude/.credentials.json", "The login of Claude's CLI: read, never written."),
];

const SIGNALS: [Entry; 3] = [
    ("TERM, INT", "Finish a refresh in flight, at most 30 s, and end."),
    ("HUP", "Read the config again: the new one applies whole, or is refused whole and the old one stays in force."),
    ("USR1", "Poll every account as soon as floors and gates allow."),
];

const ENVIRONMENT: [Entry; 6] = [
    (
        "QUOTAD_LOG",
        "What is logged, in filter syntax such as debug or quotad::policy=trace; outdoes the config's level.",
    ),
    ("XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR", "Where config, state and socket lie."),
    (
        "CLAUDE_SECURESTORAGE_CONFIG_DIR, CLAUDE_CONFIG_DIR",
        "Where Claude's CLI keeps its login. A user service does not see the shell's: name the file in the config.",
    ),
    (
        "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY",
        "The proxy, unless the config names one. Loopback never uses one.",
    ),
    ("NO_COLOR, COLUMNS", "Whether and how wide to write to a terminal."),
    ("NOTIFY_SOCKET, WATCHDOG_USEC, JOURNAL_STREAM", "Set by systemd: whom to notify, and where the log goes."),
];

impl Man {
    /// Prints the main page, or writes all of them.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let command = command();
        let Some(dir) = self.dir else {
            print(&main_page(&command).1)?;
            return Ok(Exit::Ok);
        };
        let failed = |path: &PathBuf, error| {
            Failure::new(Exit::Failed, format!("writing the manual to {}: {error}", path.display()))
        };
        fs::create_dir_all(&dir).map_err(|error| failed(&dir, error))?;
        let verbs = command.get_subcommands().map(verb_page);
        for (name, text) in verbs.chain([main_page(&command), config_page()]) {
            let file = dir.join(name);
            fs::write(&file, text).map_err(|error| failed(&file, error))?;
        }
        Ok(Exit::Ok)
    }
}

fn command() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    command
}

/// `quotad.1`
fn main_page(command: &Command) -> Page {
    let mut page = Roff::new();
    section(&mut page, "EXIT STATUS");
    page.text([roman("Of several accounts the first of 77, 75, 69, 1, 0 that applies to one.")]);
    for (exit, meaning) in STATUS {
        entry(&mut page, [bold((exit as u8).to_string())], meaning);
    }
    for (title, entries) in [("FILES", &FILES[..]), ("SIGNALS", &SIGNALS), ("ENVIRONMENT", &ENVIRONMENT)] {
        section(&mut page, title);
        for (name, meaning) in entries {
            entry(&mut page, [bold(*name)], meaning);
        }
    }
    see_also(&mut page, &["quotad.toml(5)", "journalctl(1)", "systemd.service(5)"]);
    of_command(command, &page)
}

/// `quotad-run.1` and its like.
fn verb_page(verb: &Command) -> Page {
    let mut page = Roff::new();
    see_also(&mut page, &["quotad(1), which lists the exit codes", "quotad.toml(5)"]);
    of_command(verb, &page)
}

/// What the definition says, and `rest` after it.
fn of_command(command: &Command, rest: &Roff) -> Page {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let page = clap_mangen::Man::new(command.clone().version(None)).source(source()).manual("quotad");
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = page.render(&mut text);
    (format!("{name}.1"), String::from_utf8_lossy(&text).into_owned() + &rest.to_roff())
}

/// `quotad.toml.5`
fn config_page() -> Page {
    let mut page = Roff::new();
    let reference = reference();
    page.control("TH", ["quotad.toml", "5", "", &source(), "quotad"]);
    section(&mut page, "NAME");
    page.text([roman("quotad.toml - the settings of quotad")]);
    section(&mut page, "SYNOPSIS");
    page.text([italic("~/.config/quotad/config.toml")]);
    section(&mut page, "DESCRIPTION");
    for paragraph in reference.intro {
        page.control("PP", []).text([roman(paragraph)]);
    }
    for table in reference.tables {
        section(&mut page, &format!("[{}]", table.name));
        page.text([roman(table.about)]);
        for Setting { key, value, is_default, meaning, range } in table.settings {
            let example = if is_default { "" } else { " (an example)" };
            let range = if range.is_empty() { range } else { format!(" Range: {range}.") };
            let text = format!("{}.{range}", capital(meaning.trim_end_matches('.')));
            entry(&mut page, [bold(format!("{key} = ")), roman(value), roman(example)], &text);
        }
    }
    see_also(&mut page, &["quotad(1)", "quotad-check(1)"]);
    ("quotad.toml.5".to_owned(), page.render())
}

fn source() -> String {
    format!("quotad {}", env!("CARGO_PKG_VERSION"))
}

fn section(page: &mut Roff, title: &str) {
    page.control("SH", [title]);
}

fn entry<const N: usize>(page: &mut Roff, name: [Inline; N], meaning: &str) {
    page.control("TP", []).text(name).text([roman(meaning)]);
}

fn see_also(page: &mut Roff, pages: &[&str]) {
    section(page, "SEE ALSO");
    page.text([roman(format!("{}.", pages.join(", ")))]);
}

/// The fragment as the beginning of a sentence; a quoted word stays as it is.
fn capital(fragment: &str) -> String {
    let mut letters = fragment.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_page_has_every_section_a_reader_looks_for_and_every_verb() {
        let command = command();
        let (name, text) = main_page(&command);
        assert_eq!(name, "quotad.1");
        let sections = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "FILES", "SIGNALS", "ENVIRONMENT"];
        for section in sections {
            let heading = if section.contains(' ') { format!(".SH \"{section}\"") } else { format!(".SH {section}") };
            assert!(text.lines().any(|line| line == heading), "{heading}");
        }
        for verb in command.get_subcommands() {
            let (name, page) = verb_page(verb);
            let verb = verb.get_name();
            assert_eq!(name, format!("quotad-{verb}.1"));
            let verb = verb.replace('-', "\\-");
            assert!(text.contains(&format!("quotad\\-{verb}(1)")), "{verb}");
            assert!(page.contains(&format!("\\fBquotad {verb}\\fR")), "{page}");
        }
    }

    #[test]
    fn the_config_page_says_key_default_meaning_and_range() {
        let (_, text) = config_page();
        let words = text.replace("\\fB", "").replace("\\fR", "").replace("\\-", "-");
        assert!(words.contains("retries = 2\n"), "{text}");
        assert!(words.contains("\nAfter an attempt that never reached the server. Range: 0 or more.\n"), "{text}");
        assert!(words.contains("proxy = \"http://proxy:3128\" (an example)\n"), "{text}");
    }
}

//! Holds the README, the documents and the samples to what the binary really does.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use quotad::config::reference::{Setting, reference};
use quotad::policy::status::{AccountState, GateState};

const QUOTAD: &str = env!("CARGO_BIN_EXE_quotad");

#[test]
fn the_readme_begins_with_the_two_commands() {
    let readme = read("README.md");
    let at = |command: &str| {
        code(&readme).iter().position(|line| line == command).unwrap_or_else(|| panic!("README.md lacks `{command}`"))
    };
    assert_eq!((at("cargo run --release -- demo"), at("cargo test")), (0, 1));
    assert!(verbs().contains(&"demo".to_owned()));
}

#[test]
fn the_readme_and_the_help_name_the_same_verbs() {
    let verbs = verbs();
    let mut named: Vec<String> = Vec::new();
    for file in documents() {
        for line in code(&read(&file)) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let called = words.windows(2).filter(|pair| pair[0] == "quotad" || pair[0].ends_with("/quotad"));
            for verb in called.map(|pair| pair[1]).filter(|word| is_verb(word)) {
                assert!(verbs.iter().any(|known| known == verb), "{file} names `quotad {verb}`, which is not a verb");
                if file == "README.md" {
                    named.push(verb.to_owned());
                }
            }
        }
    }
    for verb in verbs {
        assert!(named.contains(&verb), "README.md does not name `quotad {verb}`");
    }
}

/// Whether a word has the form of a verb: no option, no name of something.
fn is_verb(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

#[test]
fn every_relative_link_leads_to_a_file() {
    for file in documents() {
        let dir = root().join(&file).parent().expect("a document lies in a directory").to_owned();
        let text = read(&file);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let leads_out = target.contains("://") || path.is_empty();
            assert!(leads_out || dir.join(path).exists(), "{file} links to {target}, which is not there");
        }
    }
}

#[test]
fn every_sample_config_passes_check() {
    let mut checked = 0;
    for entry in fs::read_dir(root().join("config")).expect("config/ can be listed") {
        let path = entry.expect("config/ can be listed").path();
        let output = Command::new(QUOTAD).arg("--config").arg(&path).arg("check").output().expect("quotad runs");
        assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
        checked += 1;
    }
    assert!(checked >= 2, "the samples were found");
}

/// With `QUOTAD_BLESS=1` it writes the document instead.
#[test]
fn the_documented_configuration_is_what_the_sample_says() {
    let generated = configuration();
    let file = root().join("docs/configuration.md");
    if std::env::var_os("QUOTAD_BLESS").is_some() {
        fs::write(&file, &generated).expect("docs/configuration.md can be written");
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        generated == written,
        "docs/configuration.md differs from config/quotad.toml: run `QUOTAD_BLESS=1 cargo test --test it docs`"
    );
}

#[test]
fn the_operations_page_explains_every_state_gate_and_exit_code() {
    let page = read("docs/operations.md");
    let row = |word: &str| page.contains(&format!("\n| `{word}` |"));
    for state in AccountState::ALL {
        assert!(row(state.as_str()), "docs/operations.md does not explain the state `{}`", state.as_str());
    }
    for gate in [GateState::Clear, GateState::Cooling, GateState::Probing, GateState::Blocked] {
        assert!(page.contains(&format!("`{}`", gate.as_str())), "docs/operations.md lacks `{}`", gate.as_str());
    }
    for gate in ["usage", "token", "auth"] {
        assert!(row(gate), "docs/operations.md does not explain the gate `{gate}`");
    }
    for exit in exits() {
        assert!(page.contains(&format!("\n| {exit} |")), "docs/operations.md does not explain exit code {exit}");
    }
}

#[test]
fn every_event_that_the_documents_name_is_one_that_is_logged() {
    let mut sources = String::new();
    for file in [
        "supervisor/tell.rs",
        "supervisor/roster.rs",
        "supervisor/mod.rs",
        "supervisor/perform.rs",
        "supervisor/pool.rs",
        "supervisor/alert.rs",
        "export/notice/queue.rs",
        "cli/run.rs",
    ] {
        sources += &read(&format!("src/{file}"));
    }
    for document in documents() {
        for event in read(&document).split("QUOTAD_EVENT=").skip(1) {
            let event: String = event.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            let logged = sources.contains(&format!("event = \"{event}\""));
            assert!(event.is_empty() || logged, "{document} names the event {event}, which is never logged");
        }
    }
}

#[test]
fn the_unit_runs_a_verb_that_exists_and_gives_up_on_the_exit_codes_that_mean_it() {
    let unit = read("systemd/quotad.service");
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).expect(key);
    assert_eq!(value("ExecStart"), "%h/.local/bin/quotad run");
    assert!(verbs().contains(&"run".to_owned()));
    for exit in [quotad::cli::Exit::Config, quotad::cli::Exit::Limited] {
        assert!(value("RestartPreventExitStatus").split(' ').any(|code| code == (exit as u8).to_string()), "{exit:?}");
    }
    let trailing = unit.lines().find(|line| line.contains(" #") && !line.starts_with('#'));
    assert_eq!(trailing, None, "systemd takes no trailing comment");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// README.md and everything in docs/, by path.
fn documents() -> Vec<String> {
    let entries = fs::read_dir(root().join("docs")).expect("docs/ can be listed");
    let names = entries.map(|entry| entry.expect("docs/ can be listed").file_name().to_string_lossy().into_owned());
    let markdown = names.filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "md"));
    let apart = ["README.md", "docs/observability/README.md"].map(str::to_owned);
    markdown.map(|name| format!("docs/{name}")).chain(apart).collect()
}

/// `docs/configuration.md`, as `config/quotad.toml` has it.
fn configuration() -> String {
    let reference = reference();
    let mut page = "# Configuration\n\n".to_owned();
    page += "Generated from [config/quotad.toml](../config/quotad.toml), which a test holds to the code; \
             `man quotad.toml` says the same.\n";
    for paragraph in reference.intro {
        let _ = write!(page, "\n{paragraph}\n");
    }
    for table in reference.tables {
        let _ = write!(page, "\n## `[{}]`\n\n{}\n\n", table.name, table.about);
        page += "| key | default | meaning | range |\n|---|---|---|---|\n";
        for Setting { key, value, is_default, meaning, range } in table.settings {
            let example = if is_default { "" } else { "none; e.g. " };
            let _ = writeln!(page, "| `{key}` | {example}`{value}` | {meaning} | {range} |");
        }
    }
    page
}

/// The exit codes that the manual lists.
fn exits() -> Vec<u8> {
    let output = Command::new(QUOTAD).arg("man").output().expect("quotad runs");
    let manual = String::from_utf8(output.stdout).expect("the manual is text");
    let section = manual.split("EXIT STATUS").nth(1).and_then(|rest| rest.split(".SH").next()).expect("a section");
    let codes = section.lines().filter_map(|line| line.strip_prefix("\\fB")?.strip_suffix("\\fR")?.parse().ok());
    let codes: Vec<u8> = codes.collect();
    assert!(codes.len() == 7, "{section}");
    codes
}

/// The verbs that `quotad --help` lists.
fn verbs() -> Vec<String> {
    let output = Command::new(QUOTAD).arg("--help").output().expect("quotad runs");
    let help = String::from_utf8(output.stdout).expect("the help is text");
    let list = help.split("Commands:\n").nth(1).expect("the help lists the verbs");
    let rows = list.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let verbs: Vec<String> = rows.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    verbs.into_iter().filter(|verb| verb != "help").collect()
}

/// What a Markdown text shows as code: the lines of its `sh` blocks without comments, and its spans.
fn code(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fence = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), fence) {
            (Some(kind), None) => fence = Some(kind),
            (Some(_), Some(_)) => fence = None,
            (None, Some("sh")) => {
                let command = line.split(" #").next().unwrap_or_default().trim();
                found.extend((!command.is_empty() && !command.starts_with('#')).then(|| command.to_owned()));
            }
            (None, Some(_)) => {}
            (None, None) => found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned)),
        }
    }
    found
}

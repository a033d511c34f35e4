//! Holds the README, the documents and the samples to what the binary really does.

use std::fs;
use std::path::Path;
use std::process::Command;

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
            for verb in called.map(|pair| pair[1]).filter(|word| word.bytes().all(|b| b.is_ascii_lowercase())) {
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

#[test]
fn the_unit_runs_a_verb_that_exists_and_gives_up_on_the_exit_codes_that_mean_it() {
    let unit = read("systemd/quotad.service");
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).expect(key);
    assert_eq!(value("ExecStart"), "%h/.local/bin/quotad run");
    assert!(verbs().contains(&"run".to_owned()));
    for exit in [quotad::cli::Exit::Config, quotad::cli::Exit::Limited] {
        assert!(value("RestartPreventExitStatus").split(' ').any(|code| code == (exit as u8).to_string()), "{exit:?}");
    }
    for line in unit.lines().filter(|line| line.contains(" #") && !line.starts_with('#')) {
        panic!("systemd takes no trailing comment: {line}");
    }
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
    markdown.map(|name| format!("docs/{name}")).chain(["README.md".to_owned()]).collect()
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

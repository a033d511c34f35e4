//! Holds the code to the shape that `src/lib.rs` states: the direction of imports, who may expose a secret, the purity
//! wall, the length of a file. Looks at product code only: comments, strings and `#[cfg(test)]` items are left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of product code in one file.
const LONGEST: usize = 400;

/// Files that are longer, each with its reason. It may only become shorter.
const LONGER: &[(&str, &str)] =
    &[("model.rs", "one list of nouns, each a few lines: a second file would only make people look twice")];

#[test]
fn a_file_uses_only_modules_that_stand_above_its_own() {
    let sources = sources();
    let order = [order_in("lib.rs", &sources), order_in("policy/mod.rs", &sources)];
    let broken: Vec<String> = sources.iter().flat_map(|(file, text)| against_the_order(file, text, &order)).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn only_transport_and_credential_expose_a_secret() {
    let mut broken = String::new();
    for (file, text) in sources() {
        if file == "transport.rs" || file.starts_with("credential/") {
            continue;
        }
        for (line, word) in product(&text) {
            if word.starts_with("expose_secret") || word.starts_with("ExposeSecret") {
                let _ = writeln!(broken, "src/{file}:{line}: `{word}`: only transport.rs and credential/ may");
            }
        }
    }
    assert!(broken.is_empty(), "\n{broken}");
}

#[test]
fn policy_and_provider_stand_behind_the_purity_wall() {
    const WALL: &str = "#![deny(clippy::disallowed_methods, clippy::disallowed_types)]";
    for (file, text) in sources() {
        let is_head = matches!(file.as_str(), "policy/mod.rs" | "provider/mod.rs");
        let is_pure = file.starts_with("policy/") || file.starts_with("provider/");
        let lints = words(&text).iter().filter(|(_, word)| word.starts_with("disallowed_")).count();
        assert!(!is_head || text.lines().any(|line| line == WALL), "src/{file} lacks {WALL}");
        assert!(!is_pure || lints == if is_head { 2 } else { 0 }, "src/{file} makes a hole in the purity wall");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "`--nocapture` shows what is on the list, and why")]
fn no_file_is_longer_than_400_lines_before_its_tests() {
    let listed: BTreeMap<&str, &str> = LONGER.iter().copied().collect();
    for (file, text) in sources() {
        let length = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        match listed.get(file.as_str()) {
            Some(reason) if length > LONGEST => println!("src/{file}: {length} lines, because {reason}"),
            Some(_) => panic!("src/{file} has {length} lines: take it off the list"),
            None => assert!(length <= LONGEST, "src/{file} has {length} lines before its tests; split it by topic"),
        }
    }
}

#[test]
fn the_check_itself_sees_every_way_to_name_a_module_and_no_other() {
    let order = [vec!["model".to_owned(), "disk".to_owned(), "state".to_owned()], Vec::new()];
    let found = |file: &str, text: &str| against_the_order(file, text, &order).len();
    for broken in [
        "use crate::state::State;",
        "use crate::{model, state};",
        "use crate::{model::{self, A}, state::{B, C}};",
        "fn f() -> crate::state::State { todo!() }",
        "use super::state::State;",
        "pub(crate) use crate::state as memory;",
        "/* a /* nested */ comment */ use crate::state;",
        "const A: char = '\"'; use crate::state; const B: &str = \"\";",
        "fn f<'a>(x: &'a str) { crate::state::f(x) }",
        "#[cfg(test)] mod tests { use super::*; } use crate::state;",
    ] {
        assert_eq!(found("disk.rs", broken), 1, "{broken}");
    }
    for fine in [
        "use crate::model::A;",
        "use crate::disk::B;",
        "// use crate::state;",
        "/// [`crate::state::State`]\nfn f() {}",
        "/* use crate::state; */",
        "const A: &str = \"use crate::state;\";",
        "const A: &str = r#\"\"use crate::state;\"#;",
        "#[cfg(test)]\nuse crate::state;",
        "#[cfg(test)]\nmod tests { fn f() { crate::state::g() } }",
        "#[cfg(test)]\n#[expect(dead_code, reason = \"x\")]\nimpl A { fn f() { crate::state::g() } }",
        "use super::model;",
    ] {
        assert_eq!(found("disk.rs", fine), 0, "{fine}");
    }
    assert_eq!(found("disk/inner.rs", "use super::super::state;"), 1, "two steps up from a file in a directory");
    assert_eq!(found("disk/inner.rs", "use super::state;"), 0, "its own sibling");
    assert_eq!(found("disk/mod.rs", "use super::state;"), 1, "one step up from the head of a directory");
    assert_eq!(found("main.rs", "use quotad::state;"), 0, "the binary stands above all");
}

/// Every file of product code under `src/`, by its path there: `tests.rs` and `tests/` hold a test module.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("src/ can be listed") {
            let path: PathBuf = entry.expect("src/ can be listed").path();
            if path.ends_with("tests") || path.ends_with("tests.rs") {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(&root).expect("a file under src/").display().to_string();
                files.insert(name, fs::read_to_string(&path).expect("a source file can be read"));
            }
        }
    }
    assert!(files.len() > 20, "the sources were found");
    files
}

/// The `pub mod` lines of a file, in their order: what stands earlier may not use what stands later.
fn order_in(file: &str, sources: &BTreeMap<String, String>) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
    let order: Vec<String> = sources[file].lines().filter_map(name).collect();
    assert!(order.len() > 5, "src/{file} lists its modules");
    order
}

/// Every use of a module that stands below the file's own, in the crate or within `policy/`, as `file:line: rule`.
fn against_the_order(file: &str, text: &str, [top, policy]: &[Vec<String>; 2]) -> Vec<String> {
    let own = module(file);
    let place = |order: &[String], path: &[String], at: usize| order.iter().position(|name| Some(name) == path.get(at));
    let mut broken = Vec::new();
    for (line, path) in paths(&own, &product(text)) {
        let mut hold = |list: &str, order: &[String], at: usize| {
            if let (Some(here), Some(there)) = (place(order, &own, at), place(order, &path, at))
                && there > here
            {
                let (low, high) = (&own[at], &path[at]);
                broken.push(format!("src/{file}:{line}: `{low}` uses `{high}`, which stands below it in {list}"));
            }
        };
        hold("src/lib.rs", top, 0);
        if own.len() > 1 && own[0] == "policy" && path.first() == own.first() {
            hold("src/policy/mod.rs", policy, 1);
        }
    }
    broken.dedup();
    broken
}

/// The module path of a file: `policy/account/poll.rs` is `policy`, `account`, `poll`.
fn module(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(str::to_owned).collect()
}

/// Every path that begins at the root of the crate, however it is spelt, with its line.
fn paths(own: &[String], words: &[(usize, String)]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let word = |at: usize| words.get(at).map_or("", |(_, word)| word.as_str());
    let mut at = 0;
    while at < words.len() {
        let starts_path = word(at + 1) == "::" && (at == 0 || word(at - 1) != "::");
        let base = match word(at) {
            "crate" if starts_path => Some(Vec::new()),
            "super" if starts_path => Some(own[..own.len() - 1].to_vec()),
            _ => None,
        };
        at += 1;
        if let Some(mut base) = base {
            while word(at) == "::" && word(at + 1) == "super" {
                base.pop();
                at += 2;
            }
            if word(at) == "::" {
                at = tree(base, at + 1, words, &mut found);
            }
        }
    }
    found
}

/// Reads what may follow `::`: a name, or a group of such trees in braces. Returns where it ends.
fn tree(
    mut base: Vec<String>,
    mut at: usize,
    words: &[(usize, String)],
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    while let Some((line, word)) = words.get(at) {
        if word == "{" {
            at += 1;
            while words.get(at).is_some_and(|(_, word)| word != "}") {
                at = tree(base.clone(), at, words, found);
                // Past `as name` and the comma.
                while words.get(at).is_some_and(|(_, word)| word != "," && word != "}") {
                    at += 1;
                }
                at += usize::from(words.get(at).is_some_and(|(_, word)| word == ","));
            }
            return at + 1;
        }
        base.push(word.clone());
        at += 1;
        if words.get(at).is_none_or(|(_, word)| word != "::") {
            found.push((*line, base));
            return at;
        }
        at += 1;
    }
    at
}

/// The words of a file without its `#[cfg(test)]` items.
fn product(text: &str) -> Vec<(usize, String)> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let words = words(text);
    let mut kept = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let ahead = words[at..].iter().map(|(_, word)| word.as_str());
        if ahead.take(MARK.len()).eq(MARK) {
            at = end_of_item(&words, at + MARK.len());
        } else {
            kept.push(words[at].clone());
            at += 1;
        }
    }
    kept
}

/// Where the item that begins at `at`, attributes first, ends: after its `;` or its braces.
fn end_of_item(words: &[(usize, String)], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some((_, word)) = words.get(at) {
        at += 1;
        match word.as_str() {
            "(" | "[" | "{" => depth += 1,
            "}" if depth == 1 => return at,
            ")" | "]" | "}" => depth -= 1,
            ";" if depth == 0 => return at,
            _ => {}
        }
    }
    at
}

/// The words and signs of Rust source with their lines; comments and literals in quotes are left out. `::` is one sign.
fn words(text: &str) -> Vec<(usize, String)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (length, is_kept) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (block_comment(rest), false)
        } else if let Some(length) = literal(rest) {
            (length, false)
        } else if is_word(first) {
            (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), true)
        } else {
            (if rest.starts_with("::") { 2 } else { first.len_utf8() }, !first.is_whitespace())
        };
        let (word, after) = rest.split_at(length);
        if is_kept {
            words.push((line, word.to_owned()));
        }
        line += word.matches('\n').count();
        rest = after;
    }
    words
}

/// The length of the block comment that `text` begins with; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = &text[at..];
        if rest.is_empty() {
            return at;
        } else if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
}

/// The length of the string, byte string, raw string or character literal that `text` begins with. A lifetime is none.
fn literal(text: &str) -> Option<usize> {
    let start = text.trim_start_matches(['b', 'c', 'r']);
    let prefix = &text[..text.len() - start.len()];
    if prefix.contains('r') && prefix.len() <= 2 {
        let hashes = start.len() - start.trim_start_matches('#').len();
        let body = start[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(text.len() - body.len() + body.find(&end)? + end.len());
    }
    if prefix.len() > 1 {
        return None;
    }
    let quote = start.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut escaped = false;
    let mut chars = start.char_indices().skip(1);
    let end = chars.find_map(|(at, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at)
    })?;
    // `'a'` is a character, `'a` a lifetime: only an escape is longer than one character.
    let is_lifetime = quote == '\'' && !start.starts_with("'\\") && start[1..end].chars().count() != 1;
    (!is_lifetime).then_some(prefix.len() + end + 1)
}

//! The fuzz targets on stable: every file of `tests/fuzz/corpus/`, cut short anywhere, and with bytes changed at
//! random, goes through the function that cargo-fuzz runs. The seed is fixed, so that every run is the same.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../fuzz/targets.rs"]
mod targets;

use crate::support::is_long;

/// A file is cut at most in so many places.
const CUTS: usize = 400;

macro_rules! targets {
    ($($name:ident),*) => {
        /// One test a target, so that they run side by side and one that fails says which.
        mod no_byte_breaks {
            $(#[test]
            fn $name() {
                super::torture(stringify!($name));
            })*
        }

        #[test]
        fn every_target_has_its_test_its_binary_and_its_corpus() {
            let known: BTreeSet<&str> = targets::ALL.into_iter().map(|(name, _)| name).collect();
            let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
            let binaries = manifest.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
            let corpora: Vec<String> = fs::read_dir(fuzz().join("corpus"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            assert_eq!(BTreeSet::from([$(stringify!($name)),*]), known);
            assert_eq!(binaries.filter(|name| *name != "quotad-fuzz").collect::<BTreeSet<_>>(), known);
            assert_eq!(corpora.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
        }
    };
}

targets!(usage, token, fault, retry_after, traffic, credential, identity, successor, config, record, request, answer);

fn torture(name: &str) {
    // The socket answers a thousand times a second, the parsers many times as often.
    let mutations = match (is_long(), name) {
        (false, "request") => 100,
        (false, _) => 500,
        (true, "request") => 3_000,
        (true, _) => 30_000,
    };
    let seeds = corpus(name);
    assert!(seeds.len() >= 3, "{name} has hardly a corpus");
    let mut chance = Chance(0x7175_6f74);
    for (file, bytes) in &seeds {
        check(name, file, bytes);
        let step = bytes.len().div_ceil(CUTS).max(1);
        for end in (0..bytes.len()).step_by(step) {
            check(name, file, &bytes[..end]);
        }
        for _ in 0..mutations / seeds.len().min(10) {
            check(name, file, &mutated(bytes, &seeds, &mut chance));
        }
    }
}

/// Says which bytes broke what, as a Rust literal and as a file to keep.
fn check(name: &str, file: &Path, bytes: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| targets::of(name)(bytes)));
    if let Err(panic) = outcome {
        println!("broken by a variation of {}: b\"{}\"", file.display(), bytes.escape_ascii());
        println!("keep it: write these bytes into a new file under tests/fuzz/corpus/{name}/");
        std::panic::resume_unwind(panic);
    }
}

/// A few changes: a byte of any value, one that means something to a parser, a byte gone, a piece said twice, a piece
/// of another file.
fn mutated(bytes: &[u8], others: &[(PathBuf, Vec<u8>)], chance: &mut Chance) -> Vec<u8> {
    const MEANING: &[u8] = b"\"\\{}[]:,0-19.eE+ \n\r\t=#'/@\0\x7f\x80\xff";
    let mut bytes = bytes.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        match chance.below(5) {
            0 if at < bytes.len() => bytes[at] = chance.below(256) as u8,
            1 if at < bytes.len() => bytes[at] = MEANING[chance.below(MEANING.len())],
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => {
                let piece = bytes[at..bytes.len().min(at + chance.below(40))].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let other = &others[chance.below(others.len())].1;
                let from = chance.below(other.len() + 1);
                let piece = other[from..other.len().min(from + chance.below(40))].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

/// The corpus of one target; for `usage` and `token` also the samples the parsers' own tests use.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let samples = (name == "usage").then(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/claude"));
    let dirs = [Some(fuzz().join("corpus").join(name)), samples];
    let entries = dirs.into_iter().flatten().flat_map(|dir| fs::read_dir(dir).unwrap());
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

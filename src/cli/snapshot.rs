//! Screens kept as text in `tests/data/screens`, so that a change of look is seen in a review.

use std::fs;
use std::path::Path;

/// Compares a screen with the one that is kept; with `QUOTAD_BLESS=1` it keeps this one instead. An escape sequence is
/// shown by `␛`.
pub(super) fn compare(name: &str, screen: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/screens").join(format!("{name}.txt"));
    let screen = screen.replace('\u{1b}', "␛");
    if std::env::var_os("QUOTAD_BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &screen).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == screen,
        "{name} looks another way; where that is meant, run with QUOTAD_BLESS=1:\n{screen}\nkept:\n{kept}"
    );
}

//! A vendor that quotad does not know, by configuration alone: where its key goes in a request, and where its numbers
//! stand in the answer.

use super::raw::Table;
use super::value::{header, pointer, prefix, text};
use crate::model::ProviderId;
use crate::provider::custom::{Custom, Part, Recipe};

/// The settings that only such a vendor has.
const KEYS: [&str; 3] = ["header", "prefix", "windows"];

/// The header of a window, as complaints show it.
const WINDOW: &str = "[accounts.newvendor.windows.month]";

/// What an account's table says of a vendor that quotad does not know; `None` for one that it knows.
pub(super) fn recipe(table: &mut Table<'_, '_>, provider: Option<ProviderId>) -> Option<Recipe> {
    let header = table.optional(r#"header = "x-api-key""#, header).unwrap_or_else(|| "authorization".to_owned());
    let prefix = table.optional(r#"prefix = "Bearer ""#, prefix).unwrap_or_else(|| "Bearer ".to_owned());
    let windows = table.table("windows", |windows| {
        let names = windows.exists().then(|| windows.names());
        let open = |(id, _)| windows.open(id, WINDOW.to_owned(), |window| part(window, id));
        names.map(|names| names.into_iter().map(open).collect::<Vec<_>>())
    });
    if provider? != Custom::ID {
        for key in KEYS {
            if table.has(key) {
                let what = "is only for provider = \"custom\"";
                let consequence = "quotad knows how to ask this vendor, and the setting would silently not apply";
                table.complain(key, what, consequence, r#"provider = "custom""#);
            }
        }
        return None;
    }
    if !table.has("usage-url") {
        let example = r#"usage-url = "https://api.newvendor.example/v1/quota""#;
        table.complain("usage-url", "is missing", "quotad would not know whom to ask", example);
    }
    if windows.as_ref().map_or(!table.has("windows"), Vec::is_empty) {
        let what = "is missing, or names no window";
        table.complain("windows", what, "quotad would not know what to read in the answer", WINDOW);
    }
    Some(Recipe { header, prefix, windows: windows.unwrap_or_default() })
}

/// One window. What it is called is the user's to choose, as far as metrics and scripts can name it.
fn part(table: &mut Table<'_, '_>, id: &str) -> Part {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | ':');
    if id.is_empty() || id.len() > 64 || !id.chars().all(fits) {
        let what = "a window's name may hold only lower-case letters, digits, `_`, `-` and `:`, 64 at most";
        table.complain_of_header(what, "metrics and status bars could not all name it", WINDOW);
    }
    let label = table.optional(r#"label = "monthly""#, text).unwrap_or_else(|| id.to_owned());
    let mut at = |line| table.optional(line, pointer);
    let (used, limit) = (at(r#"used = "/data/used""#), at(r#"limit = "/data/limit""#));
    let (remaining, percent) = (at(r#"remaining = "/data/remaining""#), at(r#"percent = "/data/percent""#));
    let resets = at(r#"resets = "/data/reset_at""#);
    let unit = table.optional(r#"unit = "requests""#, text).unwrap_or_else(|| "units".to_owned());
    if table.exists() && !["used", "remaining", "percent"].iter().any(|key| table.has(key)) {
        let what = "names none of `used`, `remaining` and `percent`";
        table.complain_of_header(what, "there would be nothing to show", r#"percent = "/data/percent""#);
    }
    Part { id: id.to_owned(), label, used, limit, remaining, percent, resets, unit }
}

//! Readers of single values: each knows one kind of setting, its range, and what a wrong one would lead to.
//!
//! Pure. A reader never says which key it read or what a right line would be; [`super::raw::Table`] adds both.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SpanRelativeTo;
use jiff::fmt::friendly::{SpanParser, SpanPrinter};
use toml::de::DeValue;

use super::raw::{Flaw, Read, Value, kind};
use crate::model::Whereabouts;
use crate::paths::expand_home;
use crate::provider::is_loopback;

/// A duration above zero such as `"5m"` or `"1h 30m"`; a day has 24 hours. `at_zero` is what none at all would lead to.
pub(super) fn duration(at_zero: &'static str) -> impl Fn(&Value<'_>) -> Read<Duration> {
    move |value| {
        let Some(text) = value.get_ref().as_str() else {
            let what = format!("must be a duration in quotes, not {}", kind(value.get_ref()));
            return Flaw::of(value, what, "quotad would have to guess the unit");
        };
        let span = SpanParser::new().parse_span(text).ok();
        match span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()) {
            None => {
                let what = "is not a duration; the units are ms, s, m, h, d and w";
                Flaw::of(value, what, "quotad would have to guess how long was meant")
            }
            // The clocks count milliseconds: anything shorter is no time at all.
            Some(length) => match Duration::try_from(length) {
                Ok(length) if length >= Duration::from_millis(1) => Ok(length),
                _ => Flaw::of(value, "must be longer than 0", at_zero),
            },
        }
    }
}

/// A duration of at least an hour.
pub(super) fn at_least_an_hour(below: &'static str) -> impl Fn(&Value<'_>) -> Read<Duration> {
    move |value| match duration(below)(value)? {
        short if short < Duration::from_hours(1) => Flaw::of(value, "must be at least 1h", below),
        length => Ok(length),
    }
}

/// The rungs of a ladder: at least one, each above zero, never decreasing.
pub(super) fn rungs(value: &Value<'_>) -> Read<Vec<Duration>> {
    let mut before = Duration::ZERO;
    let rungs = list(value, "durations", |rung| {
        let length = duration("the next request would follow the refusal at once")(rung)?;
        let previous = std::mem::replace(&mut before, length);
        if length < previous {
            let what = format!("must never decrease: this is less than the {} before it", spoken(previous));
            return Flaw::of(rung, what, "the longer a server refuses, the sooner it would be asked");
        }
        Ok(length)
    })?;
    if rungs.is_empty() {
        return Flaw::of(value, "must not be empty", "quotad would not wait at all after a refusal");
    }
    Ok(rungs)
}

/// A share from 0 to 1.
pub(super) fn share(outside: &'static str) -> impl Fn(&Value<'_>) -> Read<f64> {
    move |value| match number(value.get_ref()) {
        Some(number) if (0.0..=1.0).contains(&number) => Ok(number),
        Some(_) => Flaw::of(value, "must be from 0 to 1", outside),
        None => {
            let what = format!("must be a number from 0 to 1, not {}", kind(value.get_ref()));
            Flaw::of(value, what, "quotad would have to guess the number")
        }
    }
}

/// A whole number of at least `least`; beyond 32 bits it counts as their greatest.
pub(super) fn count(least: u32, below: &'static str) -> impl Fn(&Value<'_>) -> Read<u32> {
    move |value| match whole(value.get_ref()) {
        Some(number) if number >= i64::from(least) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Some(_) => Flaw::of(value, format!("must be at least {least}"), below),
        None => {
            let what = format!("must be a whole number, not {}", kind(value.get_ref()));
            Flaw::of(value, what, "quotad would have to guess the number")
        }
    }
}

/// Percentages from 1 to 100, each above the one before it; none is fine.
pub(super) fn rising_percents(value: &Value<'_>) -> Read<Vec<u8>> {
    let mut before = 0;
    list(value, "percentages", |item| {
        let percent = match whole(item.get_ref()) {
            Some(number @ 1..=100) => number as u8,
            Some(_) => return Flaw::of(item, "must be from 1 to 100", "no window would ever reach it"),
            None => {
                let what = format!("must be a whole number from 1 to 100, not {}", kind(item.get_ref()));
                return Flaw::of(item, what, "quotad would have to guess the number");
            }
        };
        let previous = std::mem::replace(&mut before, percent);
        if percent <= previous {
            let what = format!("must rise: this is not more than the {previous} before it");
            return Flaw::of(item, what, "a window would cross it together with another");
        }
        Ok(percent)
    })
}

/// Yes or no.
pub(super) fn flag(value: &Value<'_>) -> Read<bool> {
    let what = || format!("must be true or false, not {}", kind(value.get_ref()));
    value.get_ref().as_bool().map_or_else(|| Flaw::of(value, what(), "quotad would have to guess which"), Ok)
}

/// How much one thing counts beside another: a number above 0, at most 1000.
pub(super) fn weight(value: &Value<'_>) -> Read<f64> {
    match number(value.get_ref()) {
        Some(number) if number > 0.0 && number <= 1000.0 => Ok(number),
        Some(_) => Flaw::of(value, "must be above 0, and at most 1000", "the account would be chosen always or never"),
        None => {
            let what = format!("must be a number, not {}", kind(value.get_ref()));
            Flaw::of(value, what, "quotad would have to guess the number")
        }
    }
}

/// Lists of models that take each other's place: two or more in each, none twice.
pub(super) fn fallback(value: &Value<'_>) -> Read<Vec<Vec<String>>> {
    let nowhere = "there would be nothing to fall back to";
    list(value, "lists of models", |models| {
        let list = list(models, "models", text)?;
        if list.len() < 2 {
            return Flaw::of(models, "must name two models or more", nowhere);
        }
        if list.iter().enumerate().any(|(at, model)| list[..at].contains(model)) {
            return Flaw::of(models, "must not name a model twice", nowhere);
        }
        Ok(list)
    })
}

/// One of a few words.
pub(super) fn word<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&Value<'_>) -> Read<T> {
    move |value| {
        let text = value.get_ref().as_str();
        if let Some((_, meaning)) = words.iter().find(|(word, _)| Some(*word) == text) {
            return Ok(*meaning);
        }
        let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        Flaw::of(value, format!("must be {}", words.join(" or ")), "quotad would have to guess what was meant")
    }
}

/// At least one of a few words, in the order given, none twice.
pub(super) fn words<T: Copy + PartialEq>(words: &[(&'static str, T)]) -> impl Fn(&Value<'_>) -> Read<Vec<T>> {
    move |value| {
        let list = list(value, "words", word(words))?;
        if list.is_empty() {
            return Flaw::of(value, "must not be empty", "nothing would ever be read");
        }
        if list.iter().enumerate().any(|(i, item)| list[..i].contains(item)) {
            return Flaw::of(
                value,
                "must not name anything twice",
                "it would not be clear which place in the order counts",
            );
        }
        Ok(list)
    }
}

/// A program and its arguments.
pub(super) fn program(value: &Value<'_>) -> Read<Vec<String>> {
    let parts = list(value, "strings", |part| {
        let Some(text) = part.get_ref().as_str() else {
            let what = format!("must hold only strings, not {}", kind(part.get_ref()));
            return Flaw::of(part, what, "the command could not be run as it was meant");
        };
        Ok(text.to_owned())
    })?;
    match parts.first() {
        Some(program) if !program.is_empty() => Ok(parts),
        _ => Flaw::of(value, "must begin with the name of a program", "there would be nothing to run"),
    }
}

/// An absolute path; `~/` is the home.
pub(super) fn path(home: &Path) -> impl Fn(&Value<'_>) -> Read<PathBuf> {
    move |value| match value.get_ref().as_str().map(|text| expand_home(text, home)) {
        Some(path) if path.is_absolute() => Ok(path),
        Some(_) => {
            let consequence = "which file it names would depend on the directory quotad was started in";
            Flaw::of(value, "must be absolute or begin with `~/`", consequence)
        }
        None => {
            let what = format!("must be a path in quotes, not {}", kind(value.get_ref()));
            Flaw::of(value, what, "quotad would not find the file")
        }
    }
}

/// A file, or the name of a variable after `env:`.
pub(super) fn whereabouts(home: &Path) -> impl Fn(&Value<'_>) -> Read<Whereabouts> {
    let file = path(home);
    move |value| match value.get_ref().as_str().and_then(|text| text.strip_prefix(Whereabouts::VARIABLE)) {
        Some(name) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
            Ok(Whereabouts::Variable(name.to_owned()))
        }
        Some(_) => Flaw::of(value, "must name a variable after `env:`, such as `env:ZAI_API_KEY`", "there is no key"),
        None => file(value).map(|file| Whereabouts::File(file.into())),
    }
}

/// Text that can go into a header or a form: printable ASCII, not empty.
pub(super) fn text(value: &Value<'_>) -> Read<String> {
    match value.get_ref().as_str() {
        Some(text) if !text.trim().is_empty() && text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) => {
            Ok(text.to_owned())
        }
        Some(_) => Flaw::of(value, "must be printable ASCII and not empty", "no request could carry it"),
        None => {
            let what = format!("must be a string, not {}", kind(value.get_ref()));
            Flaw::of(value, what, "no request could carry it")
        }
    }
}

/// The name of a header, in lower case.
pub(super) fn header(value: &Value<'_>) -> Read<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match value.get_ref().as_str() {
        Some(name) if !name.is_empty() && name.chars().all(fits) => Ok(name.to_ascii_lowercase()),
        Some(_) => Flaw::of(value, "is not the name of a header", "no request could carry the key"),
        None => {
            let what = format!("must be a string, not {}", kind(value.get_ref()));
            Flaw::of(value, what, "no request could carry the key")
        }
    }
}

/// What stands before a key in a header: a word or nothing, and too short for a key itself.
pub(super) fn prefix(value: &Value<'_>) -> Read<String> {
    const LONGEST: usize = 16;
    match value.get_ref().as_str() {
        Some("") => Ok(String::new()),
        Some(word) if word.len() > LONGEST => {
            let what =
                format!("must be at most {LONGEST} characters long; the key itself lies where `credentials` says");
            Flaw::of(value, what, "a secret would lie in a file that is shown, copied and backed up")
        }
        _ => text(value),
    }
}

/// A JSON pointer (RFC 6901) to something within a document.
pub(super) fn pointer(value: &Value<'_>) -> Read<String> {
    let nowhere = "it would lead nowhere in the answer";
    let Some(pointer) = value.get_ref().as_str() else {
        return Flaw::of(value, format!("must be a JSON pointer in quotes, not {}", kind(value.get_ref())), nowhere);
    };
    let mut escapes = pointer.split('~').skip(1);
    if !pointer.starts_with('/') {
        return Flaw::of(value, "must be a JSON pointer, which begins with `/`", nowhere);
    }
    if !escapes.all(|rest| rest.starts_with(['0', '1'])) {
        return Flaw::of(value, "must write `~` as `~0` and a `/` within a name as `~1`", nowhere);
    }
    Ok(pointer.to_owned())
}

/// The URL of an endpoint: https, or http on loopback.
pub(super) fn endpoint(value: &Value<'_>) -> Read<String> {
    let url = url(value)?;
    if url.starts_with("https://") || is_loopback(&url) {
        return Ok(url);
    }
    Flaw::of(value, "must be https, or http on loopback only", "a token would cross the network for all to read")
}

/// An address of this machine and a port, to listen on.
pub(super) fn address(value: &Value<'_>) -> Read<SocketAddr> {
    let nowhere = "nothing would be served";
    match value.get_ref().as_str().map(str::parse::<SocketAddr>) {
        Some(Ok(address)) if address.port() != 0 => Ok(address),
        Some(_) => Flaw::of(value, "must be an IP address and a port above 0, such as 127.0.0.1:9779", nowhere),
        None => Flaw::of(value, format!("must be an address in quotes, not {}", kind(value.get_ref())), nowhere),
    }
}

/// The URL of a proxy: http or https, without a password, which has no place in a config file.
pub(super) fn url(value: &Value<'_>) -> Read<String> {
    let unusable = "no request could be sent there";
    let Some(url) = value.get_ref().as_str() else {
        return Flaw::of(value, format!("must be a URL in quotes, not {}", kind(value.get_ref())), unusable);
    };
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return Flaw::of(value, "must begin with `https://` or `http://`", unusable);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        let what = "must hold no user name or password; the environment (HTTPS_PROXY) can";
        return Flaw::of(value, what, "a secret would lie in a file that is shown, copied and backed up");
    }
    // A backslash separates for some parsers and not for others: what one takes for the host must be it for all.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, "443"),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).map_or(host, |v6| v6);
    let one_host = !bare.is_empty() && (bare.len() < host.len() || !bare.contains(':'));
    if !one_host || port.parse::<u16>().is_err() || !rest.chars().all(|c| c.is_ascii_graphic() && c != '\\') {
        return Flaw::of(value, "is not a URL with a host", unusable);
    }
    Ok(url.to_owned())
}

/// A duration as a config says it: `1h 30m`.
pub(super) fn spoken(length: Duration) -> String {
    SpanPrinter::new().unsigned_duration_to_string(&length)
}

/// Every element of an array, read; all flaws of all elements.
fn list<T>(value: &Value<'_>, of: &str, mut read: impl FnMut(&Value<'_>) -> Read<T>) -> Read<Vec<T>> {
    let Some(elements) = value.get_ref().as_array() else {
        let what = format!("must be an array of {of}, not {}", kind(value.get_ref()));
        return Flaw::of(value, what, "quotad would have to guess the rest");
    };
    let (mut items, mut flaws) = (Vec::new(), Vec::new());
    for element in elements {
        match read(element) {
            Ok(item) => items.push(item),
            Err(found) => flaws.extend(found),
        }
    }
    if flaws.is_empty() { Ok(items) } else { Err(flaws) }
}

/// The number, whole or not; infinite where it is none that can be written out.
fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(float) => Some(float.as_str().parse().unwrap_or(f64::INFINITY)),
        _ => whole(value).map(|number| number as f64),
    }
}

/// The number, if it is a whole one; one beyond 64 bits counts as the greatest or least.
fn whole(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    let extreme = if integer.as_str().starts_with('-') { i64::MIN } else { i64::MAX };
    Some(i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(extreme))
}

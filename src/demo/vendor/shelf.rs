//! The other vendors: recorded answers on a shelf, served under `/plans/<provider>/<scenario>/…`.
//!
//! Owns which answer a request gets: the scenario stands in the path, so an account chooses it by its `usage-url`, and
//! one vendor serves every provider and every scenario at once. Where a poll takes several requests the scenario names a
//! sample for each, `load_standard+standard_ok`. Times are moved by as much as the samples are old, so that a window that was
//! open when its sample was written is open now. Strict in one thing only: a request without a secret gets a 401.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::answer::error;
use super::http::Request;
use crate::policy::time::Stamp;
use crate::provider::{Reply, field};

/// Everything on the shelf lies below this path.
pub(super) const PLANS: &str = "/plans/";

/// When the samples were true: 2026-09-14 12:00 UTC lies in most of their windows; of others an hour before a reset.
const TOLD_AT: i64 = 1_789_387_200;
/// What is further from that is no time of a window.
const YEAR: i64 = 366 * 24 * 3600;

/// The path segments that ask for a later sample of a scenario, and for which.
const LATER: [(&str, usize); 4] = [("retrieveUserQuota", 1), ("credits", 1), ("usage-summary", 1), ("usage", 2)];

/// Recorded answers by provider and sample.
#[derive(Debug, Default)]
pub struct Shelf {
    samples: BTreeMap<(String, String), String>,
}

impl Shelf {
    /// Puts a sample on the shelf. A number of three digits in its name is the status it comes with, 200 without one.
    pub fn put(&mut self, provider: &str, sample: &str, body: &str) {
        self.samples.insert((provider.to_owned(), sample.to_owned()), body.to_owned());
    }

    /// Puts every file of `dir` there: `<dir>/<provider>/<sample>.<ending>`.
    ///
    /// # Errors
    /// A directory or file that cannot be read.
    pub fn put_all(&mut self, dir: &Path) -> io::Result<()> {
        for provider in fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()? {
            if !provider.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(provider.path())?.collect::<io::Result<Vec<_>>>()? {
                let (path, provider) = (file.path(), provider.file_name());
                if let (Some(provider), Some(sample)) = (provider.to_str(), path.file_stem().and_then(|s| s.to_str())) {
                    self.put(provider, sample, &fs::read_to_string(&path)?);
                }
            }
        }
        Ok(())
    }

    /// The samples of a provider, by name.
    pub fn samples(&self, provider: &str) -> Vec<&str> {
        self.samples.keys().filter(|(of, _)| of == provider).map(|(_, sample)| sample.as_str()).collect()
    }

    /// The answer to a request below [`PLANS`].
    pub(super) fn answer(&self, request: &Request, now: Stamp) -> Reply {
        if !has_secret(request) {
            return error(401, "authentication_error", "no credential");
        }
        let mut path = request.path.split(['?', '/']).skip(2);
        let (provider, scenario) = (path.next().unwrap_or_default(), path.next().unwrap_or_default());
        let is_asked = |word: &str| path.clone().any(|segment| segment.contains(word));
        let turn = LATER.iter().find(|(word, _)| is_asked(word)).map_or(0, |(_, turn)| *turn);
        let sample = scenario.split('+').take(turn + 1).last().unwrap_or_default();
        match self.samples.get(&(provider.to_owned(), sample.to_owned())) {
            Some(body) => reply(status_of(sample), body, now),
            None => error(404, "not_found_error", "no such sample"),
        }
    }
}

/// Whether any header holds more than an empty secret.
fn has_secret(request: &Request) -> bool {
    let secrets = ["authorization", "cookie", "x-api-key"].into_iter().filter_map(|name| request.header(name));
    secrets.map(|value| value.trim_start_matches("Bearer").trim_start_matches("token").trim()).any(|s| !s.is_empty())
}

fn status_of(sample: &str) -> u16 {
    let numbers = sample.split('_').filter_map(|word| word.parse().ok());
    numbers.into_iter().find(|status| (200..600).contains(status)).unwrap_or(200)
}

fn reply(status: u16, body: &str, now: Stamp) -> Reply {
    let (kind, body) = match serde_json::from_str::<Value>(body) {
        Ok(mut json) => {
            let told_at = first_reset(&json).map_or(TOLD_AT, |reset| TOLD_AT.min(reset - 3600));
            move_times(&mut json, now.as_second() - told_at);
            ("application/json", json.to_string())
        }
        Err(_) => ("text/html", body.to_owned()),
    };
    let headers = vec![("content-type".to_owned(), kind.to_owned())];
    Reply { status, headers, body: body.into_bytes() }
}

fn is_time(second: i64) -> bool {
    (TOLD_AT - YEAR..TOLD_AT + YEAR).contains(&second)
}

/// The first moment at which a window of this sample starts over.
fn first_reset(value: &Value) -> Option<i64> {
    let is_reset = |name: &str| name.to_lowercase().contains("reset") || name.ends_with("end");
    let reset = |value: &Value| field::timestamp(value).map(Timestamp::as_second).filter(|second| is_time(*second));
    match value {
        Value::Array(items) => items.iter().filter_map(first_reset).min(),
        Value::Object(members) => {
            let of = |(name, member): (&String, &Value)| {
                if is_reset(name) { reset(member) } else { None }.or_else(|| first_reset(member))
            };
            members.iter().filter_map(of).min()
        }
        _ => None,
    }
}

/// Moves every time near [`TOLD_AT`] by this many seconds, in the form it has.
fn move_times(value: &mut Value, by: i64) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| move_times(item, by)),
        Value::Object(members) => members.values_mut().for_each(|member| move_times(member, by)),
        Value::Number(number) => match number.as_i64() {
            Some(second) if is_time(second) => *value = (second + by).into(),
            Some(millis) if is_time(millis / 1000) => *value = (millis + by * 1000).into(),
            _ => {}
        },
        Value::String(text) => {
            if let Ok(millis) = text.parse::<i64>()
                && is_time(millis / 1000)
            {
                *text = (millis + by * 1000).to_string();
            } else if let Ok(at) = text.parse::<Timestamp>()
                && is_time(at.as_second())
            {
                *text =
                    at.saturating_add(SignedDuration::from_secs(by)).map_or_else(|_| text.clone(), |at| at.to_string());
            } else if let Ok(day) = text.parse::<jiff::civil::Date>()
                && let Ok(day) = day.checked_add(SignedDuration::from_secs(by))
            {
                *text = day.to_string();
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(shelf: &Shelf, path: &str, bearer: &str) -> Reply {
        let mut request = Request::usage(bearer);
        path.clone_into(&mut request.path);
        shelf.answer(&request, Stamp::from_second(TOLD_AT + 3600).unwrap())
    }

    #[test]
    fn the_path_chooses_the_sample_and_its_name_the_status() {
        let mut shelf = Shelf::default();
        shelf.put("gemini", "load_standard", r#"{"a":1}"#);
        shelf.put("gemini", "consumer_403", "<html>");
        let load = "/plans/gemini/load_standard+consumer_403/v1internal:loadCodeAssist";
        assert_eq!((asked(&shelf, load, "FAKE").status, asked(&shelf, load, "").status), (200, 401));
        let quota = asked(&shelf, "/plans/gemini/load_standard+consumer_403/v1internal:retrieveUserQuota", "FAKE");
        assert_eq!((quota.status, quota.header("content-type")), (403, Some("text/html")));
        assert_eq!(asked(&shelf, "/plans/gemini/none/x", "FAKE").status, 404);
        for sample in ["one_401", "two_402", "three_403"] {
            shelf.put("cursor", sample, "{}");
        }
        for (path, status) in [("api/GetCurrentPeriodUsage", 401), ("api/usage-summary", 402), ("api/usage?u=1", 403)] {
            let path = format!("/plans/cursor/one_401+two_402+three_403/{path}");
            assert_eq!(asked(&shelf, &path, "FAKE").status, status, "{path}");
        }
        for (name, status) in [("200_code_401", 200), ("html_503", 503), ("over_100", 200), ("429", 429)] {
            assert_eq!(status_of(name), status, "{name}");
        }
    }

    #[test]
    fn the_first_reset_of_a_sample_lies_an_hour_ahead_at_least() {
        let now = TOLD_AT + 86_400;
        for (body, ahead) in [
            (json!({"resets_at": "2026-09-14T15:00:00Z", "quota": [{"resetTime": TOLD_AT - 60}]}), 3600),
            (json!({"period": {"start": TOLD_AT - 9, "end": TOLD_AT + 60}}), 3600),
            (json!({"period": {"start": TOLD_AT - 9, "end": TOLD_AT + 7200}}), 7200),
        ] {
            let answer = reply(200, &body.to_string(), Stamp::from_second(now).unwrap());
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(first_reset(&body), Some(now + ahead), "{body}");
        }
    }

    #[test]
    fn times_move_in_the_form_they_have_and_nothing_else_does() {
        let mut body = json!({
            "s": TOLD_AT, "ms": TOLD_AT * 1000, "text": (TOLD_AT * 1000).to_string(), "iso": "2026-09-14T12:00:00Z",
            "day": "2026-09-14", "n": 300, "id": "1789", "name": "pro", "f": 0.5, "zero": 0,
        });
        move_times(&mut body, 86_400);
        let moved = TOLD_AT + 86_400;
        assert_eq!(
            body,
            json!({
                "s": moved, "ms": moved * 1000, "text": (moved * 1000).to_string(), "iso": "2026-09-15T12:00:00Z",
                "day": "2026-09-15", "n": 300, "id": "1789", "name": "pro", "f": 0.5, "zero": 0,
            })
        );
    }
}

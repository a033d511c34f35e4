//! `GET /v1/history/{name}`: what was read in the past, and which windows started over.
//!
//! Owns the document, under the rules of [`super::wire`], and how far back one may ask. Amounts are the exact text of the
//! vendor, in the unit of their window.

use std::fmt;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::get;
use jiff::fmt::friendly::SpanParser;
use jiff::{SignedDuration, SpanRelativeTo};
use serde::{Deserialize, Serialize};

use super::server::{no_account, problem};
use super::wire::{SCHEMA, deadline, past, thousandth};
use crate::policy::status::AccountView;
use crate::policy::time::Stamp;
use crate::state::history::Level;
use crate::supervisor::handle::Handle;
use crate::supervisor::history::{Past, PastWindow};

/// The past of one account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Whose.
    pub account: String,
    /// From when on.
    pub since: Stamp,
    /// When it was looked up.
    pub until: Stamp,
    /// Whether there is more: an answer holds the newest 20,000 samples, shared evenly among the windows.
    pub cut: bool,
    /// Every window, in the order in which they were first read.
    pub windows: Vec<Window>,
}

/// The past of one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Stable identifier within the provider.
    pub id: String,
    /// What a person calls it.
    pub label: String,
    /// The unit of its amounts; null where it has none.
    pub unit: Option<String>,
    /// When it was last read, changed or not.
    pub read_at: Stamp,
    /// As in the status document.
    pub burn_per_hour: Option<f64>,
    /// As in the status document.
    pub exhausts_at: Option<Stamp>,
    /// One for every change, in the order in which they were read. The first may lie before `since`: what stood then.
    pub samples: Vec<Sample>,
}

/// The numbers of a window from one moment on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When they were read.
    pub at: Stamp,
    /// Percent used.
    pub used_percent: Option<f64>,
    /// Amount used.
    pub used: Option<String>,
    /// Amount allowed.
    pub limit: Option<String>,
    /// Amount left.
    pub remaining: Option<String>,
    /// When the window was to start over.
    pub resets_at: Option<Stamp>,
    /// Whether the window had started over since the sample before.
    pub reset: bool,
}

/// Where it is found.
pub(super) fn routes() -> Router<Handle> {
    Router::new().route("/v1/history/{name}", get(answer))
}

async fn answer(State(handle): State<Handle>, Path(name): Path<String>, uri: Uri) -> Response {
    let snapshot = handle.snapshot();
    let Some(view) = snapshot.accounts.iter().find(|view| view.name.as_str() == name) else {
        return no_account(&handle, &name);
    };
    let now = handle.now();
    let since = match Since::of_query(uri.query()) {
        Ok(since) => since.moment(now),
        Err(must) => return problem(StatusCode::BAD_REQUEST, &must),
    };
    match handle.history(view.name.clone(), since).await {
        Some(past) => Json(History::of(past, view, since, now)).into_response(),
        None => problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping: ask again once it runs"),
    }
}

impl History {
    /// What is stored, with what `view` lets expect; looked up `now`.
    pub fn of(stored: Past, view: &AccountView, since: Stamp, now: Stamp) -> Self {
        let Past { account, windows, is_cut } = stored;
        let windows = windows.into_iter().map(|window| Window::of(window, view, now)).collect();
        Self {
            schema: SCHEMA,
            account: account.to_string(),
            since: past(since),
            until: past(now),
            cut: is_cut,
            windows,
        }
    }
}

impl Window {
    fn of(PastWindow { series, levels }: PastWindow, view: &AccountView, now: Stamp) -> Self {
        let mut known = view.reading.iter().flat_map(|reading| reading.every_window());
        let known = known.find(|(_, window)| window.id == series.window);
        let expected = known.map(|(said, window)| view.forecast(window, said, now)).unwrap_or_default();
        let read_at = known.map_or(series.read_at, |(said, _)| said.read_at.max(series.read_at));
        Self {
            id: series.window,
            label: series.label,
            unit: Some(series.unit).filter(|unit| !unit.is_empty()),
            read_at: past(read_at),
            burn_per_hour: expected.burn_per_hour.map(thousandth),
            exhausts_at: expected.exhausts_at.map(past),
            samples: levels.into_iter().map(|(level, reset)| Sample::of(level, reset)).collect(),
        }
    }
}

impl Sample {
    fn of(level: Level, reset: bool) -> Self {
        let Level { at, used_percent, used, limit, remaining, resets_at } = level;
        Self { at, used_percent, used, limit, remaining, resets_at: resets_at.map(deadline), reset }
    }
}

/// How far back is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So long before now.
    Ago(Duration),
    /// From this moment on.
    At(Stamp),
}

impl Since {
    /// Without a word, a week.
    pub const DEFAULT: Self = Self::Ago(Duration::from_hours(7 * 24));

    /// Reads seconds, a duration such as `7d` or `1h 30m`, or a moment as RFC 3339 has it.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(seconds) = text.parse::<u32>() {
            return Ok(Self::Ago(Duration::from_secs(seconds.into())));
        }
        if let Ok(at) = text.parse::<Stamp>() {
            return Ok(Self::At(at));
        }
        let span = SpanParser::new().parse_span(text).ok();
        let length = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
        length.and_then(|length: SignedDuration| Duration::try_from(length).ok()).map(Self::Ago).ok_or_else(|| {
            "must be a duration such as 7d, seconds, or a moment such as 2026-11-25T12:00:00Z".to_owned()
        })
    }

    /// Reads `since=…` of a query; without it, [`Self::DEFAULT`].
    ///
    /// # Errors
    /// What it must be.
    pub fn of_query(query: Option<&str>) -> Result<Self, String> {
        let mut since = Self::DEFAULT;
        for (name, value) in query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            if name == "since" {
                since = Self::parse(&decoded(value)).map_err(|must| format!("since {must}"))?;
            }
        }
        Ok(since)
    }

    /// As a moment, seen from `now`.
    pub fn moment(self, now: Stamp) -> Stamp {
        match self {
            Self::Ago(length) => now.checked_sub(length).unwrap_or(Stamp::MIN),
            Self::At(at) => at,
        }
    }
}

/// As [`Since::parse`] reads it, with nothing that a query would have to escape.
impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ago(length) => write!(f, "{}s", length.as_secs()),
            Self::At(at) => at.fmt(f),
        }
    }
}

/// Without the escapes of a query. What is no escape stays as it is; a plus too, since it is one in a moment.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        let (byte, after) = match escape.filter(|_| *first == b'%') {
            Some(byte) => (byte, &tail[2..]),
            None => (*first, tail),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A week of a window that started over twice, once before its time, and of credit.
#[cfg(test)]
pub(crate) mod sample {
    use super::{History, Sample, Stamp, Window};
    use crate::control::wire::sample::{at, now};

    fn level(stamp: &str, used_percent: f64, resets_at: &str, reset: bool) -> Sample {
        Sample {
            at: at(stamp),
            used_percent: Some(used_percent),
            used: None,
            limit: None,
            remaining: None,
            resets_at: Some(at(resets_at)),
            reset,
        }
    }

    fn credit(stamp: &str, used: &str) -> Sample {
        let (used, limit) = (Some(used.to_owned()), Some("50.00".to_owned()));
        Sample { at: at(stamp), used_percent: None, used, limit, remaining: None, resets_at: None, reset: false }
    }

    pub(crate) fn history(since: Stamp) -> History {
        let five_hour = Window {
            id: "five_hour".to_owned(),
            label: "5-hour".to_owned(),
            unit: None,
            read_at: at("2026-11-25T12:05:00Z"),
            burn_per_hour: Some(30.0),
            exhausts_at: Some(at("2026-11-25T14:10:00Z")),
            samples: vec![
                level("2026-11-18T09:00:00Z", 12.0, "2026-11-18T14:00:00Z", false),
                level("2026-11-23T08:00:00Z", 3.5, "2026-11-23T13:00:00Z", true),
                level("2026-11-23T10:00:00Z", 55.0, "2026-11-23T13:00:00Z", false),
                level("2026-11-23T11:00:00Z", 93.0, "2026-11-23T13:00:00Z", false),
                level("2026-11-24T21:00:00Z", 20.0, "2026-11-25T02:00:00Z", true),
                level("2026-11-24T21:30:00Z", 0.0, "2026-11-25T02:30:00Z", true),
                level("2026-11-25T10:00:00Z", 10.0, "2026-11-25T14:28:00Z", true),
                level("2026-11-25T12:05:00Z", 41.5, "2026-11-25T14:28:00Z", false),
            ],
        };
        let spend = Window {
            id: "extra_spend".to_owned(),
            label: "extra \"spend\", 追加".to_owned(),
            unit: Some("EUR".to_owned()),
            burn_per_hour: None,
            exhausts_at: None,
            samples: vec![credit("2026-11-19T09:00:00Z", "12.00"), credit("2026-11-24T09:00:00Z", "20.10")],
            read_at: five_hour.read_at,
        };
        let windows = vec![five_hour, spend];
        History { schema: 1, account: "personal".to_owned(), since, until: now(), cut: false, windows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::sample::{at, now, throttled};
    use crate::policy::forecast::Forecast;
    use crate::state::history::Series;

    #[test]
    fn one_asks_in_seconds_in_a_duration_or_from_a_moment_on() {
        for (query, since) in [
            (None, "2026-11-18T12:15:00Z"),
            (Some(""), "2026-11-18T12:15:00Z"),
            (Some("until=x&until"), "2026-11-18T12:15:00Z"),
            (Some("since=3600"), "2026-11-25T11:15:00Z"),
            (Some("since=2d"), "2026-11-23T12:15:00Z"),
            (Some("since=1h%2030m"), "2026-11-25T10:45:00Z"),
            (Some("x=y&since=2026-11-20T00:00:00Z"), "2026-11-20T00:00:00Z"),
            (Some("since=2026-11-20T01%3a00:00+01%3A00"), "2026-11-20T00:00:00Z"),
        ] {
            assert_eq!(Since::of_query(query).map(|since| since.moment(now())), Ok(at(since)), "{query:?}");
        }
        for query in ["since=", "since=soon", "since=-1", "since=-2d", "since=%", "since=%zz", "since=2026-11-20"] {
            assert!(Since::of_query(Some(query)).unwrap_err().starts_with("since must be"), "{query}");
        }
        for since in [Since::DEFAULT, Since::At(at("2026-11-20T00:00:00Z")), Since::Ago(Duration::MAX)] {
            let read = Since::of_query(Some(&format!("since={since}")));
            assert!(read == Ok(since) || since == Since::Ago(Duration::MAX), "{since}");
        }
        assert_eq!(Since::Ago(Duration::MAX).moment(now()), Stamp::MIN);
    }

    #[test]
    fn the_document_holds_levels_resets_and_the_forecast() {
        let mut view = throttled();
        let forecast = Forecast { burn_per_hour: Some(6.20049), exhausts_at: None };
        view.forecasts = std::sync::Arc::new([("five_hour".to_owned(), forecast)]);
        let level = Level {
            at: at("2026-11-25T12:05:00Z"),
            used_percent: Some(41.5),
            used: Some("50.03".to_owned()),
            limit: None,
            remaining: None,
            resets_at: Some(at("2026-11-25T14:28:00Z")),
        };
        let series = Series {
            id: 1,
            window: "five_hour".to_owned(),
            label: "5-hour".to_owned(),
            unit: "EUR".to_owned(),
            read_at: at("2026-11-25T12:05:00Z"),
        };
        let gone = Series { window: "gone".to_owned(), unit: String::new(), ..series.clone() };
        let windows =
            vec![PastWindow { series, levels: vec![(level, true)] }, PastWindow { series: gone, levels: Vec::new() }];
        let stored = Past { account: view.name.clone(), windows, is_cut: true };
        let history = History::of(stored, &view, at("2026-11-18T12:15:00.5Z"), at("2026-11-25T12:15:00.5Z"));
        let json = serde_json::to_string(&history).unwrap();
        assert_eq!(
            json,
            r#"{"schema":1,"account":"personal","since":"2026-11-18T12:15:00Z","until":"2026-11-25T12:15:00Z","cut":true,"windows":[{"id":"five_hour","label":"5-hour","unit":"EUR","read_at":"2026-11-25T12:05:00Z","burn_per_hour":6.2,"exhausts_at":null,"samples":[{"at":"2026-11-25T12:05:00Z","used_percent":41.5,"used":"50.03","limit":null,"remaining":null,"resets_at":"2026-11-25T14:28:00Z","reset":true}]},{"id":"gone","label":"5-hour","unit":null,"read_at":"2026-11-25T12:05:00Z","burn_per_hour":null,"exhausts_at":null,"samples":[]}]}"#
        );
        assert_eq!(serde_json::from_str::<History>(&json).unwrap(), history);
    }
}

//! The status document of the socket and of `--json`: schema 1 of the contract, field by field.
//!
//! Owns names, order and nulls, and what depends on when one looks (`stale`, `reset_passed`). A field whose meaning
//! is a word is a `String` here, so that a client still reads the document of a newer daemon that knows more words;
//! unknown fields are ignored for the same reason. Times are whole seconds in UTC, because common readers (jq's
//! `fromdate`) refuse fractions: a deadline is rounded up, so that nobody comes early, anything else down
//! (a reset time is the nearest second already, as it was taken in).

use jiff::{RoundMode, TimestampRound, Unit};
use serde::{Deserialize, Serialize};

use crate::model::{self, AccountName, Amount, Reading, Source};
use crate::policy::pool;
use crate::policy::status::{self, AccountState, AccountView, GateView};
use crate::policy::time::Stamp;
use crate::supervisor::handle::Snapshot;

/// The version of every document of the socket. A reader may rely on names and meanings as long as it stays the same.
pub const SCHEMA: u32 = 1;

/// `GET /v1/status` and `status --json`: the daemon and its accounts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Who answers.
    pub daemon: Daemon,
    /// Every account, or the one that was asked for.
    pub accounts: Vec<Account>,
}

/// The process that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// quotad's version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// When it started; counters count from here.
    pub started_at: Stamp,
    /// What the user should know about the daemon itself. Left out when there is nothing, which is the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Its label.
    pub name: String,
    /// Its vendor.
    pub provider: String,
    /// Its plan, as the vendor names it.
    pub plan: Option<String>,
    /// A word of [`AccountState`].
    pub state: String,
    /// Why it is in this state.
    pub reason: String,
    /// Since when.
    pub since: Stamp,
    /// When the state changes by itself.
    pub until: Option<Stamp>,
    /// What a person must do, or "nothing to do".
    pub action: String,
    /// What is left, per window; empty before the first reading.
    pub windows: Vec<Window>,
    /// Points of percent left in the window that binds whatever is bound to no model: the one nearest its end, which is
    /// what the account pool weighs. Null when nothing is known of now.
    #[serde(default)]
    pub headroom_percent: Option<f64>,
    /// The `id` of that window.
    #[serde(default)]
    pub binding_window: Option<String>,
    /// When the numbers were true.
    pub read_at: Option<Stamp>,
    /// Who said so: a word of [`crate::model::Source`].
    pub source: Option<String>,
    /// Whether the numbers are a floor: at least so much is used. Left out when they are exact.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// Whether the numbers are older than two intervals, or one of their windows was reset since.
    pub stale: bool,
    /// When the next poll is due.
    pub next_poll_at: Option<Stamp>,
    /// The credential file.
    pub credentials: Credentials,
    /// The three gates.
    pub gates: Gates,
    /// What happened since [`Daemon::started_at`].
    pub counters: Counters,
}

/// One limit of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Stable identifier within the provider.
    pub id: String,
    /// What a person calls it.
    pub label: String,
    /// The model it is limited to.
    pub model: Option<String>,
    /// The team or organisation that shares it. Left out where nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// A word of [`crate::model::WindowStatus`].
    pub status: String,
    /// Percent used; null when unknown, and once `resets_at` has passed.
    pub used_percent: Option<f64>,
    /// Amount used; null under the same conditions.
    pub used: Option<Box<Amount>>,
    /// Amount allowed.
    pub limit: Option<Box<Amount>>,
    /// Amount left; null under the same conditions.
    pub remaining: Option<Box<Amount>>,
    /// When the window starts over.
    pub resets_at: Option<Stamp>,
    /// Whether that moment has passed without a reading since.
    pub reset_passed: bool,
    /// Percentage points used per hour, on average until the reset; null when too little is known, once `resets_at` has
    /// passed, and when the numbers are older than two intervals.
    pub burn_per_hour: Option<f64>,
    /// When nothing is left at that pace; null where that is not before the reset, and under the same conditions.
    pub exhausts_at: Option<Stamp>,
    /// Whether the number is older than two intervals, or its reset has passed; absent where it is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Where the account's newest reading does not report this window: when its numbers were true. Else left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Stamp>,
    /// Under the same condition, who said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// The credential file of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Where it lies.
    pub path: String,
    /// Who writes it: a word of [`crate::model::CredentialOwner`].
    pub owner: String,
    /// A word of [`crate::model::RefreshMode`].
    pub refresh: String,
    /// When the access token expires.
    pub expires_at: Option<Stamp>,
    /// When the login itself ends.
    pub login_ends_at: Option<Stamp>,
}

/// The gates of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gates {
    /// The rate-limit pause of the usage endpoint.
    pub usage: Gate,
    /// The rate-limit pause of the token endpoint.
    pub token: Gate,
    /// The auth pause.
    pub auth: Gate,
}

/// One gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// A word of [`crate::policy::status::GateState`].
    pub state: String,
    /// Failures since the last success.
    pub failures: u32,
    /// Rung, from 0.
    pub rung: Option<u32>,
    /// When the next request may pass.
    pub until: Option<Stamp>,
}

/// What was counted since the daemon started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Polls begun.
    pub polls: u64,
    /// Polls that brought a reading.
    pub ok: u64,
    /// 429s of the usage endpoint.
    pub throttled: u64,
    /// Rejections of a token.
    pub auth_failures: u64,
    /// Refreshes that brought a new token.
    pub refreshes: u64,
    /// Refreshes that did not.
    pub refresh_failures: u64,
}

impl Status {
    /// The daemon, looked at `now`.
    pub fn of(snapshot: &Snapshot, now: Stamp) -> Self {
        Self::with(snapshot, snapshot.accounts.iter().map(|view| Account::of(view, now)).collect())
    }

    /// The daemon with one of its accounts only; `None` when there is no such account.
    pub fn of_one(snapshot: &Snapshot, name: &AccountName, now: Stamp) -> Option<Self> {
        let view = snapshot.accounts.iter().find(|view| view.name == *name)?;
        Some(Self::with(snapshot, vec![Account::of(view, now)]))
    }

    fn with(snapshot: &Snapshot, accounts: Vec<Account>) -> Self {
        let daemon = Daemon {
            version: snapshot.version.to_owned(),
            pid: snapshot.pid,
            started_at: past(snapshot.started_at),
            notice: snapshot.notice.clone(),
        };
        Self { schema: SCHEMA, daemon, accounts }
    }
}

impl Account {
    /// One account, looked at `now`.
    pub fn of(view: &AccountView, now: Stamp) -> Self {
        let reading = view.reading.as_deref();
        let binding = pool::binding(reading, None, now);
        Self {
            name: view.name.to_string(),
            provider: view.provider.to_string(),
            plan: view.plan.clone(),
            state: view.state.as_str().to_owned(),
            reason: view.reason.clone(),
            since: past(view.since),
            until: view.until.map(deadline),
            action: view.action.clone(),
            windows: reading
                .into_iter()
                .flat_map(|newest| {
                    newest.every_window().map(move |(said, window)| Window::of(window, said, newest, view, now))
                })
                .collect(),
            headroom_percent: binding.map(|(_, left)| (left * 1e4).round() / 1e4),
            binding_window: binding.map(|(window, _)| window.id.clone()),
            read_at: reading.map(|r| past(r.read_at)),
            source: reading.map(|r| r.source.as_str().to_owned()),
            at_least: reading.is_some_and(|r| r.source == Source::Cache),
            stale: view.is_stale(now),
            next_poll_at: view.next_poll_at.map(deadline),
            credentials: Credentials::of(&view.credentials),
            gates: Gates {
                usage: Gate::of(&view.usage_gate),
                token: Gate::of(&view.token_gate),
                auth: Gate::of(&view.auth_gate),
            },
            counters: Counters::of(view.counters),
        }
    }

    /// The state, if this version knows the word.
    pub fn known_state(&self) -> Option<AccountState> {
        AccountState::ALL.into_iter().find(|state| state.as_str() == self.state)
    }
}

impl Window {
    /// A window as `said` has it, which may be older than the `newest` reading.
    fn of(window: &model::Window, said: &Reading, newest: &Reading, view: &AccountView, now: Stamp) -> Self {
        let reset_passed = window.resets_at.is_some_and(|at| at <= now);
        let is_older = !std::ptr::eq(said, newest);
        let expected = view.forecast(window, said, now);
        Self {
            id: window.id.clone(),
            label: window.label.clone(),
            model: window.model.clone(),
            organisation: window.organisation.clone(),
            status: word(window.status),
            used_percent: window.used_percent.filter(|_| !reset_passed),
            used: window.used.clone().filter(|_| !reset_passed),
            limit: window.limit.clone(),
            remaining: window.remaining.clone().filter(|_| !reset_passed),
            resets_at: window.resets_at.map(deadline),
            reset_passed,
            burn_per_hour: expected.burn_per_hour.map(thousandth),
            exhausts_at: expected.exhausts_at.map(past),
            stale: reset_passed || view.is_old(said, now),
            read_at: is_older.then(|| past(said.read_at)),
            source: is_older.then(|| said.source.as_str().to_owned()),
        }
    }
}

impl Credentials {
    fn of(view: &status::CredentialView) -> Self {
        Self {
            path: view.path.to_string(),
            owner: word(view.owner),
            refresh: word(view.refresh),
            expires_at: view.expires_at.map(past),
            login_ends_at: view.login_ends_at.map(past),
        }
    }
}

impl Gate {
    fn of(view: &GateView) -> Self {
        Self {
            state: view.state.as_str().to_owned(),
            failures: view.failures,
            rung: view.rung,
            until: view.until.map(deadline),
        }
    }
}

impl Counters {
    fn of(counters: status::Counters) -> Self {
        let status::Counters { polls, ok, throttled, auth_failures, refreshes, refresh_failures } = counters;
        Self { polls, ok, throttled, auth_failures, refreshes, refresh_failures }
    }
}

/// The kebab-case word serde knows a fieldless enum by.
fn word(of: impl Serialize) -> String {
    match serde_json::to_value(of) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// A moment that lies behind, for people and scripts.
pub(super) fn past(stamp: Stamp) -> Stamp {
    whole_second(stamp, RoundMode::Floor)
}

/// A moment before which something does not happen.
pub(super) fn deadline(stamp: Stamp) -> Stamp {
    whole_second(stamp, RoundMode::Ceil)
}

/// As much of a figure as means anything.
pub(super) fn thousandth(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

fn whole_second(stamp: Stamp, mode: RoundMode) -> Stamp {
    stamp.round(TimestampRound::new().smallest(Unit::Second).mode(mode)).unwrap_or(stamp)
}

/// The daemon of the contract's example, for every test that needs one.
#[cfg(test)]
pub(crate) mod sample {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;
    use std::time::Duration;

    use super::{GateView, Snapshot, Stamp};
    use crate::model::{
        AccountName, Amount, CredentialOwner, Endpoint, Exchange, ProviderId, Reading, RefreshMode, Source, Window,
        WindowStatus,
    };
    use crate::policy::status::{AccountState, AccountView, Counters, CredentialView, GateState};
    use crate::supervisor::handle::{Timing, Traffic};

    pub(crate) fn at(text: &str) -> Stamp {
        text.parse().unwrap()
    }

    /// A quarter past twelve: ten minutes after the reading, five before the usage gate opens.
    pub(crate) fn now() -> Stamp {
        at("2026-11-25T12:15:00Z")
    }

    pub(crate) fn name(text: &str) -> AccountName {
        AccountName::parse(text).unwrap()
    }

    pub(crate) fn snapshot() -> Snapshot {
        let mut timing = Timing::default();
        timing.observe(Duration::from_millis(200));
        timing.observe(Duration::from_secs(100));
        let personal = name("personal");
        Snapshot {
            version: "1.0.0",
            pid: 4242,
            started_at: at("2026-11-25T08:00:00Z"),
            notice: None,
            accounts: vec![Arc::new(throttled())],
            unwatched: BTreeSet::new(),
            traffic: Arc::new(Traffic {
                requests: BTreeMap::from([
                    ((personal.clone(), Endpoint::Usage, "ok"), 10),
                    ((personal.clone(), Endpoint::Usage, "limited"), 2),
                ]),
                refreshes: BTreeMap::from([((personal, "ok"), 1)]),
                timings: BTreeMap::from([(Endpoint::Usage, timing)]),
            }),
        }
    }

    /// Two 429s in a row, after a reading.
    pub(crate) fn throttled() -> AccountView {
        let clear = GateView { state: GateState::Clear, failures: 0, rung: None, until: None };
        let until = Some(at("2026-11-25T12:19:59.5Z"));
        AccountView {
            name: name("personal"),
            provider: ProviderId::new("claude"),
            plan: Some("max_20x".to_owned()),
            state: AccountState::Throttled,
            reason: "the usage endpoint answered 429 (Retry-After 990 s)".to_owned(),
            since: at("2026-11-25T12:03:30.25Z"),
            until,
            action: "nothing to do".to_owned(),
            reading: Some(Arc::new(Reading {
                windows: vec![window()],
                plan: None,
                read_at: at("2026-11-25T12:05:00Z"),
                source: Source::Api,
                earlier: None,
            })),
            forecasts: Arc::default(),
            next_poll_at: until,
            interval: Duration::from_mins(10),
            credentials: CredentialView {
                path: "/home/u/.claude/.credentials.json".into(),
                owner: CredentialOwner::Vendor,
                refresh: RefreshMode::WhenIdle,
                expires_at: Some(at("2026-11-25T18:00:00Z")),
                login_ends_at: None,
            },
            usage_gate: GateView { state: GateState::Cooling, failures: 2, rung: Some(1), until },
            token_gate: clear.clone(),
            auth_gate: clear,
            counters: Counters { polls: 12, ok: 10, throttled: 2, auth_failures: 0, refreshes: 1, refresh_failures: 0 },
            exchanges: vec![Arc::new(Exchange {
                at: at("2026-11-25T12:03:30.25Z"),
                endpoint: Endpoint::Usage,
                status: Some(429),
                meaning: "the server asked to be left alone".to_owned(),
                headers: vec![("retry-after".to_owned(), "990".to_owned())],
                took: Duration::from_millis(200),
            })],
        }
    }

    pub(crate) fn window() -> Window {
        Window {
            id: "five_hour".to_owned(),
            label: "5-hour".to_owned(),
            model: None,
            organisation: None,
            status: WindowStatus::Active,
            used_percent: Some(41.5),
            used: None,
            limit: None,
            remaining: None,
            resets_at: Some(at("2026-11-25T14:28:00Z")),
        }
    }

    /// An amount of euros.
    pub(crate) fn euros(amount: &str) -> Amount {
        Amount { amount: amount.to_owned(), unit: "EUR".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::forecast::Forecast;

    const EXAMPLE: &str = r#"{"schema":1,"daemon":{"version":"1.0.0","pid":4242,"started_at":"2026-11-25T08:00:00Z"},"accounts":[{"name":"personal","provider":"claude","plan":"max_20x","state":"throttled","reason":"the usage endpoint answered 429 (Retry-After 990 s)","since":"2026-11-25T12:03:30Z","until":"2026-11-25T12:20:00Z","action":"nothing to do","windows":[{"id":"five_hour","label":"5-hour","model":null,"status":"active","used_percent":41.5,"used":null,"limit":null,"remaining":null,"resets_at":"2026-11-25T14:28:00Z","reset_passed":false,"burn_per_hour":null,"exhausts_at":null}],"headroom_percent":58.5,"binding_window":"five_hour","read_at":"2026-11-25T12:05:00Z","source":"api","stale":false,"next_poll_at":"2026-11-25T12:20:00Z","credentials":{"path":"/home/u/.claude/.credentials.json","owner":"vendor","refresh":"when-idle","expires_at":"2026-11-25T18:00:00Z","login_ends_at":null},"gates":{"usage":{"state":"cooling","failures":2,"rung":1,"until":"2026-11-25T12:20:00Z"},"token":{"state":"clear","failures":0,"rung":null,"until":null},"auth":{"state":"clear","failures":0,"rung":null,"until":null}},"counters":{"polls":12,"ok":10,"throttled":2,"auth_failures":0,"refreshes":1,"refresh_failures":0}}]}"#;

    #[test]
    fn the_status_document_is_the_contracts_example() {
        let status = Status::of(&sample::snapshot(), sample::now());
        assert_eq!(serde_json::to_string(&status).unwrap(), EXAMPLE);
        assert_eq!(serde_json::from_str::<Status>(EXAMPLE).unwrap(), status);
    }

    #[test]
    fn once_a_reset_has_passed_the_old_numbers_are_null_and_the_reading_is_stale() {
        let mut view = sample::throttled();
        let window = &mut Arc::make_mut(view.reading.as_mut().unwrap()).windows[0];
        let (used, limit) = (Some(sample::euros("1.00").into()), Some(sample::euros("5.00").into()));
        (window.used, window.limit, window.remaining) = (used, limit.clone(), Some(sample::euros("4.00").into()));
        let resets_at = window.resets_at.unwrap();
        view.interval = std::time::Duration::from_hours(24);

        let before = Account::of(&view, resets_at - jiff::Span::new().milliseconds(1));
        assert_eq!((before.stale, before.windows[0].reset_passed), (false, false));
        assert_eq!(before.windows[0].used_percent, Some(41.5));

        let after = Account::of(&view, resets_at);
        assert_eq!((after.stale, after.windows[0].reset_passed), (true, true));
        assert_eq!(after.windows[0].used_percent, None);
        assert_eq!((before.headroom_percent, after.headroom_percent), (Some(58.5), None));
        assert_eq!((&after.windows[0].used, &after.windows[0].remaining), (&None, &None));
        assert_eq!(after.windows[0].limit, limit, "a limit is not spent by a reset");
    }

    #[test]
    fn a_forecast_is_shown_with_its_window_until_that_is_reset_or_its_numbers_are_old() {
        let mut view = sample::throttled();
        let forecast =
            Forecast { burn_per_hour: Some(6.20049), exhausts_at: Some(sample::at("2026-11-25T14:10:00.9Z")) };
        view.forecasts = Arc::new(["five_hour", "gone"].map(|id| (id.to_owned(), forecast)));
        let shown = |view: &AccountView, now: &str| {
            let window = &Account::of(view, sample::at(now)).windows[0];
            (window.burn_per_hour, window.exhausts_at)
        };
        let said = (Some(6.2), Some(sample::at("2026-11-25T14:10:00Z")));
        assert_eq!(shown(&view, "2026-11-25T12:25:00Z"), said);
        assert_eq!(shown(&view, "2026-11-25T12:25:01Z"), (None, None), "older than two intervals");
        view.interval = std::time::Duration::from_hours(24);
        assert_eq!(shown(&view, "2026-11-25T14:27:59Z"), said);
        assert_eq!(shown(&view, "2026-11-25T14:28:00Z"), (None, None), "reset");
        view.forecasts = Arc::default();
        assert_eq!(shown(&view, "2026-11-25T12:15:00Z"), (None, None));
    }

    #[test]
    fn an_account_without_a_reading_is_stale_and_has_no_windows() {
        let mut view = sample::throttled();
        view.reading = None;
        let account = Account::of(&view, sample::now());
        assert!(account.stale && account.windows.is_empty() && account.read_at.is_none() && account.source.is_none());
    }

    #[test]
    fn a_floor_says_so_and_a_window_that_the_newest_reading_lacks_carries_its_own_age_and_source() {
        let mut view = sample::throttled();
        let api = Arc::unwrap_or_clone(view.reading.take().unwrap());
        let weekly = model::Window::named("seven_day", "weekly");
        let read_at = sample::at("2026-11-25T12:10:00Z");
        let cache = Reading { windows: vec![weekly], read_at, source: Source::Cache, ..api.clone() };
        view.reading = Some(Arc::new(cache.over(api)));
        let json = serde_json::to_value(Account::of(&view, sample::now())).unwrap();
        assert_eq!((&json["source"], &json["at_least"]), (&"cache".into(), &true.into()));
        assert_eq!(json["read_at"], "2026-11-25T12:10:00Z");
        let own: Vec<_> =
            json["windows"].as_array().unwrap().iter().map(|w| (&w["id"], &w["read_at"], &w["source"])).collect();
        let null = &serde_json::Value::Null;
        let expected =
            [("seven_day".into(), null, null), ("five_hour".into(), &"2026-11-25T12:05:00Z".into(), &"api".into())];
        assert_eq!(own, expected.each_ref().map(|(id, at, source)| (id, *at, *source)));
    }

    #[test]
    fn words_and_fields_of_a_newer_daemon_can_still_be_read() {
        let newer = EXAMPLE
            .replace("\"state\":\"throttled\"", "\"state\":\"hibernating\",\"mood\":\"calm\"")
            .replace("\"source\":\"api\"", "\"source\":\"oracle\"")
            .replace("\"state\":\"cooling\"", "\"state\":\"ajar\"");
        let status: Status = serde_json::from_str(&newer).unwrap();
        assert_eq!(status.accounts[0].state, "hibernating");
        assert_eq!(status.accounts[0].known_state(), None);
    }

    #[test]
    fn a_notice_appears_only_when_there_is_one() {
        let mut snapshot = sample::snapshot();
        snapshot.notice = Some("state.db cannot be written (disk full)".to_owned());
        let json = serde_json::to_value(Status::of(&snapshot, sample::now())).unwrap();
        assert_eq!(json["daemon"]["notice"], "state.db cannot be written (disk full)");
    }
}

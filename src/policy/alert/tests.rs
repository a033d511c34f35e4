use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::model::{AccountName, CredentialOwner, ProviderId, RefreshMode, Source};
use crate::policy::status::{AccountState, AccountView, Counters, CredentialView, GateState, GateView};
use crate::policy::time::Stamp;

mod month;

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

fn stamp(minute: i64) -> Stamp {
    Stamp::from_second(1_800_000_000 + 60 * minute).unwrap()
}

fn now(minute: i64) -> Now {
    Now { moment: Moment::from_millis(10_000_000 + 60_000 * minute.unsigned_abs()), stamp: stamp(minute) }
}

/// An account that is well, read at `minute` through an interval of ten minutes.
fn view(minute: i64, windows: &[(&str, f64, Option<Stamp>)]) -> AccountView {
    let gate = GateView { state: GateState::Clear, failures: 0, rung: None, until: None };
    let window = |(id, used, resets_at): &(&str, f64, Option<Stamp>)| Window {
        used_percent: Some(*used),
        resets_at: *resets_at,
        ..Window::named(*id, *id)
    };
    AccountView {
        name: AccountName::parse("personal").unwrap(),
        provider: ProviderId::new("claude"),
        plan: None,
        state: AccountState::Ok,
        reason: "the last request was answered".to_owned(),
        since: stamp(minute),
        until: None,
        action: "nothing to do".to_owned(),
        reading: Some(Arc::new(Reading {
            windows: windows.iter().map(window).collect(),
            plan: None,
            read_at: stamp(minute),
            source: Source::Api,
            earlier: None,
        })),
        next_poll_at: None,
        interval: minutes(10),
        credentials: CredentialView {
            path: "".into(),
            owner: CredentialOwner::Vendor,
            refresh: RefreshMode::Never,
            expires_at: None,
            login_ends_at: None,
        },
        usage_gate: gate.clone(),
        token_gate: gate.clone(),
        auth_gate: gate,
        counters: Counters::default(),
        exchanges: Vec::new(),
        forecasts: Arc::default(),
    }
}

fn subject(view: &AccountView) -> Subject<'_> {
    Subject { login: "login".to_owned(), unnamed: None, file: "file".to_owned(), view }
}

fn rules() -> AlertRules {
    AlertRules { thresholds: vec![80, 95], throttled_for: minutes(180) }
}

fn alerts() -> Alerts {
    Alerts::new(rules(), "boot".to_owned(), Vec::new(), now(0))
}

/// What is told of one window that is read every ten minutes, by reading.
fn told(readings: &[(f64, Option<i64>)]) -> Vec<(usize, Kind)> {
    let mut alerts = alerts();
    let mut told = Vec::new();
    for ((at, (used, resets)), minute) in readings.iter().enumerate().zip((0..).step_by(10)) {
        let view = view(minute, &[("five_hour", *used, resets.map(stamp))]);
        let news = alerts.look(&subject(&view), now(minute));
        told.extend(news.into_iter().map(|alert| (at, alert.kind)));
    }
    told
}

/// One after the other of readings of a window that is reset at minute 300.
fn told_of(used: &[f64]) -> Vec<(usize, Kind)> {
    told(&used.iter().map(|used| (*used, Some(300))).collect::<Vec<_>>())
}

#[test]
fn a_threshold_is_told_once_however_the_number_wavers_about_it() {
    assert_eq!(
        told_of(&[70.0, 79.9, 80.0, 79.0, 81.0, 94.0, 95.0, 94.0, 95.0, 90.0, 99.0]),
        [(2, Kind::Threshold(80)), (6, Kind::Threshold(95)),]
    );
}

#[test]
fn of_several_thresholds_that_one_reading_crosses_the_highest_is_told() {
    assert_eq!(told_of(&[60.0, 97.0, 85.0, 97.0]), [(1, Kind::Threshold(95))]);
    assert_eq!(told_of(&[97.0]), [(0, Kind::Threshold(95))], "at the first sight too");
}

#[test]
fn a_jump_is_believed_at_the_second_reading() {
    assert_eq!(told_of(&[10.0, 90.0, 10.0, 11.0]), []);
    assert_eq!(told_of(&[10.0, 90.0, 91.0]), [(2, Kind::Threshold(80))]);
    assert_eq!(told_of(&[10.0, 90.0, 10.0, 90.0, 10.0]), [], "a lie is not confirmed by the next one");
    assert_eq!(told_of(&[90.0, 2.0, 91.0, 92.0]), [(0, Kind::Threshold(80))], "nor is a window reset by one");
}

#[test]
fn a_reset_is_told_of_a_window_that_had_crossed_a_threshold_and_of_no_other() {
    let reset_at =
        |used: f64, after: f64, resets: Option<i64>| told(&[(used, Some(15)), (used, Some(15)), (after, resets)]);
    assert_eq!(reset_at(85.0, 1.0, Some(315)), [(0, Kind::Threshold(80)), (2, Kind::Reset)]);
    assert_eq!(reset_at(85.0, 0.0, None), [(0, Kind::Threshold(80)), (2, Kind::Reset)], "not started again");
    assert_eq!(reset_at(79.0, 1.0, Some(315)), []);
}

#[test]
fn a_window_that_is_full_again_at_once_is_told_as_reset_and_then_as_crossed() {
    let readings = [(85.0, Some(15)), (86.0, Some(15)), (87.0, Some(315)), (88.0, Some(315)), (96.0, Some(315))];
    assert_eq!(
        told(&readings),
        [(0, Kind::Threshold(80)), (2, Kind::Reset), (3, Kind::Threshold(80)), (4, Kind::Threshold(95)),]
    );
}

#[test]
fn an_early_reset_is_believed_at_the_second_reading_whether_the_time_moves_or_not() {
    for resets in [Some(300), Some(420)] {
        let readings =
            [(85.0, Some(300)), (2.0, resets), (3.0, resets), (60.0, resets), (61.0, resets), (85.0, resets)];
        assert_eq!(
            told(&readings),
            [(0, Kind::Threshold(80)), (2, Kind::Reset), (5, Kind::Threshold(80))],
            "{resets:?}"
        );
    }
}

#[test]
fn a_server_whose_clock_drifts_or_is_put_right_begins_no_period() {
    let drifting: Vec<_> = (0..29).map(|n| (85.0, Some(290 + 2 * n))).collect();
    assert_eq!(told(&drifting).len(), 1);
    // Put right in the last minutes of a period: the old time has just passed.
    assert_eq!(told(&[(85.0, Some(19)), (85.0, Some(19)), (85.0, Some(31)), (86.0, Some(31))]).len(), 1);
}

#[test]
fn a_window_without_a_reset_is_told_again_after_it_has_fallen() {
    let readings = [82.0, 70.0, 60.0, 56.0, 55.0, 70.0, 85.0].map(|used| (used, None));
    assert_eq!(told(&readings), [(0, Kind::Threshold(80)), (4, Kind::Reset), (6, Kind::Threshold(80))]);
}

#[test]
fn nothing_is_told_of_a_reading_that_is_old_or_of_a_window_whose_reset_has_passed() {
    let view = view(0, &[("five_hour", 97.0, Some(stamp(300))), ("gone", 97.0, Some(stamp(5)))]);
    assert!(alerts().look(&subject(&view), now(21)).is_empty(), "older than two intervals");
    let told = alerts().look(&subject(&view), now(20));
    assert_eq!(told.iter().map(|alert| alert.window.as_ref().unwrap().id.as_str()).collect::<Vec<_>>(), ["five_hour"]);
}

#[test]
fn a_window_that_is_not_in_the_plan_is_never_told() {
    let mut view = view(0, &[("five_hour", 97.0, None)]);
    Arc::make_mut(view.reading.as_mut().unwrap()).windows[0].status = WindowStatus::NotInPlan;
    assert!(alerts().look(&subject(&view), now(0)).is_empty());
}

#[test]
fn other_thresholds_apply_from_the_next_reading_on_and_repeat_nothing_lower() {
    let mut alerts = alerts();
    let look = |alerts: &mut Alerts, minute, used| {
        let view = view(minute, &[("five_hour", used, None)]);
        alerts.look(&subject(&view), now(minute)).into_iter().map(|alert| alert.kind).collect::<Vec<_>>()
    };
    assert_eq!(look(&mut alerts, 0, 85.0), [Kind::Threshold(80)]);
    alerts.configured(AlertRules { thresholds: vec![50, 84, 90], ..rules() });
    assert_eq!(look(&mut alerts, 10, 85.0), [Kind::Threshold(84)]);
    alerts.configured(AlertRules { thresholds: vec![], ..rules() });
    assert_eq!(look(&mut alerts, 20, 99.0), []);
}

/// What is told of these states, each at its minute.
fn told_states(states: &[(i64, AccountState)]) -> Vec<(i64, &'static str)> {
    let mut alerts = alerts();
    let mut told = Vec::new();
    for (minute, state) in states {
        let mut view = AccountView { state: *state, reading: None, ..view(*minute, &[]) };
        view.auth_gate.failures = u32::from(*state == AccountState::AuthPaused) * 3;
        let news = alerts.look(&subject(&view), now(*minute));
        told.extend(news.into_iter().map(|alert| (*minute, alert.kind.as_str())));
    }
    told
}

#[test]
fn a_bad_state_is_told_once_and_so_is_that_it_is_over() {
    use AccountState as S;
    for bad in [S::Dead, S::SignedOut, S::NoPermission, S::AuthPaused] {
        let states =
            [(0, S::Ok), (1, bad), (2, S::Starting), (3, bad), (4, S::Offline), (5, bad), (6, S::Ok), (7, S::Ok)];
        assert_eq!(told_states(&states), [(1, bad.as_str()), (6, "recovered")]);
    }
    assert_eq!(told_states(&[(0, S::Failing), (1, S::Offline), (2, S::Waiting), (3, S::Paused), (4, S::Ok)]), []);
}

#[test]
fn a_throttled_account_is_told_after_hours_and_recovered_only_if_it_was() {
    use AccountState as S;
    let throttled = |minute| (minute, S::Throttled);
    assert_eq!(told_states(&[throttled(0), throttled(179), (180, S::Ok)]), []);
    let long = [throttled(0), (60, S::Waiting), (120, S::Starting), throttled(180), throttled(200), (300, S::Ok)];
    assert_eq!(told_states(&long), [(180, "throttled"), (300, "recovered")]);
    let anew = [throttled(0), (100, S::Ok), throttled(110), throttled(200), (300, S::Ok)];
    assert_eq!(told_states(&anew), [], "each incident has its own hours");
}

#[test]
fn from_bad_to_worse_and_back_is_not_told_at_every_step() {
    use AccountState as S;
    let steps =
        [(0, S::Throttled), (180, S::Throttled), (190, S::AuthPaused), (200, S::Throttled), (210, S::AuthPaused)];
    assert_eq!(told_states(&steps), [(180, "throttled"), (190, "auth-paused")]);
    let logins = [(0, S::Dead), (10, S::Waiting), (20, S::Dead), (30, S::SignedOut), (40, S::Ok)];
    assert_eq!(
        told_states(&logins),
        [(0, "dead"), (20, "dead"), (30, "signed-out"), (40, "recovered")],
        "another login that dies is news"
    );
}

#[test]
fn a_precaution_of_the_cautious_state_is_no_news() {
    let view = AccountView { state: AccountState::AuthPaused, ..view(0, &[]) };
    assert!(alerts().look(&subject(&view), now(0)).is_empty());
}

#[test]
fn the_hours_of_a_throttled_account_are_woken_for_and_outlive_a_restart() {
    let throttled = |minute| AccountView { state: AccountState::Throttled, reading: None, ..view(minute, &[]) };
    let mut before = alerts();
    assert_eq!(before.next_wake(), None);
    assert!(before.look(&subject(&throttled(0)), now(0)).is_empty());
    assert_eq!(before.next_wake(), Some(now(180).moment));
    let stored = before.take_unstored(now(0)).into_iter().filter_map(|(key, record)| Some((key, record?))).collect();
    let mut after = Alerts::new(rules(), "another boot".to_owned(), stored, now(100));
    assert!(after.look(&subject(&throttled(179)), now(179)).is_empty());
    assert_eq!(after.next_wake(), Some(now(180).moment));
    assert_eq!(after.look(&subject(&throttled(180)), now(180))[0].kind, Kind::Trouble(Trouble::Throttled));
    assert_eq!(after.next_wake(), None);
}

#[test]
fn what_was_said_of_a_login_without_a_name_is_known_once_it_has_one() {
    let mut alerts = alerts();
    let first = view(0, &[("five_hour", 85.0, None)]);
    assert_eq!(alerts.look(&subject(&first), now(0)).len(), 1);
    let second = view(10, &[("five_hour", 86.0, None)]);
    let named = Subject { login: "uuid".to_owned(), unnamed: Some("login".to_owned()), ..subject(&second) };
    assert!(alerts.look(&named, now(10)).is_empty());
    let stored = alerts.take_unstored(now(10));
    assert!(stored["login"].is_none() && stored["uuid"].is_some(), "{stored:?}");
}

#[test]
fn what_has_not_changed_is_not_stored_again() {
    let mut alerts = alerts();
    for (minute, used, stores) in [(0, 40.0, true), (10, 40.0, false), (20, 41.0, true)] {
        let view = view(minute, &[("five_hour", used, None)]);
        alerts.look(&subject(&view), now(minute));
        assert_eq!(!alerts.is_stored(), stores, "{minute}");
        let owed = alerts.take_unstored(now(minute));
        alerts.owe(owed.into_keys());
        assert_eq!(!alerts.is_stored(), stores, "what could not be stored is owed");
        alerts.take_unstored(now(minute));
    }
}

#[test]
fn no_number_of_window_names_fills_the_memory() {
    let mut alerts = alerts();
    for minute in 0..100 {
        let id = format!("window-{minute}");
        alerts.look(&subject(&view(minute, &[(&id, 1.0, None)])), now(minute));
    }
    assert_eq!(alerts.memories["login"].windows.len(), MOST_WINDOWS);
    assert!(alerts.memories["login"].windows.iter().any(|(id, _)| id == "window-99"));
}

//! Readings that cost no request: which are believed, what they put off, and what they never touch.

use super::super::*;
use super::world::{
    HOUR, INVALID_GRANT, MIN, S, World, access, answered, failed, limited, ms, own_grant, vendors_file,
};
use crate::model::{Failure, LocalReading, Source, UsageOutcome, Window};
use crate::policy::status::{AccountState, GateState};

fn world(sources: Sources) -> World {
    World::new(Rules { sources, jitter: 0.0, ..vendors_file() })
}

/// A window that is used by so much and resets so many minutes after the beginning.
fn window(world: &World, id: &str, used: f64, resets: u64) -> Window {
    let resets_at = world.now().stamp + ms(resets * MIN) - ms(world.at);
    Window { used_percent: Some(used), resets_at: Some(resets_at), ..Window::named(id, id) }
}

/// The 5-hour window used by so much, true so many minutes ago.
fn said(world: &World, source: Source, used: f64, ago: u64) -> LocalReading {
    let windows = vec![window(world, "five_hour", used, 200)];
    let read_at = world.now().stamp - ms(ago * MIN);
    LocalReading { reading: Reading { windows, plan: None, read_at, source, earlier: None }, identity: None }
}

fn hand_over(world: &mut World, source: Source, used: f64, ago: u64) {
    let said = said(world, source, used, ago);
    world.feed(Input::HandedOver(said));
}

/// What is shown: each window with its percentage and source.
fn shown(world: &World) -> String {
    let reading = world.view().reading;
    let windows = reading.iter().flat_map(|reading| reading.every_window());
    let line = |(said, window): (&Reading, &Window)| {
        format!("{} {} {}", window.id, window.used_percent.unwrap_or(-1.0), said.source.as_str())
    };
    windows.map(line).collect::<Vec<_>>().join(", ")
}

fn asked(world: &World) -> Vec<u64> {
    world.asked_at().iter().map(|at| at / MIN).collect()
}

#[test]
fn a_fresh_local_reading_puts_the_poll_off_to_one_interval_after_it_was_true_and_never_brings_one_forward() {
    for (ago, second) in [(0, 18), (5, 13), (8, 10), (30, 10)] {
        let mut world = world(Sources::LocalFirst);
        world.run(8 * MIN);
        hand_over(&mut world, Source::Sessions, 30.0, ago);
        world.run(10 * MIN);
        assert_eq!(asked(&world), [0, second], "true {ago} minutes ago");
    }
}

#[test]
fn however_fresh_the_local_readings_are_the_api_is_asked_every_few_intervals() {
    for (source, gap) in [(Source::Sessions, 40), (Source::Statusline, 40), (Source::Cache, 20)] {
        let mut world = world(Sources::LocalFirst);
        world.run(S);
        for minute in 0..120_u32 {
            hand_over(&mut world, source, f64::from(minute) / 2.0, 0);
            world.run(MIN);
        }
        let expected: Vec<u64> = (0..=120).step_by(gap).collect();
        assert_eq!(asked(&world), expected, "{source:?}");
    }
}

#[test]
fn a_file_says_it_before_the_request_leaves_and_is_read_once_per_poll() {
    let mut world = world(Sources::LocalFirst);
    world.run(5 * MIN);
    world.local = Some(said(&world, Source::Sessions, 30.0, 0));
    world.run(9 * MIN);
    assert_eq!(asked(&world), [0], "the look that was to lead to a request found the reading of minute 5");
    assert_eq!(shown(&world), "five_hour 30 sessions");
    world.run(2 * MIN);
    assert_eq!(asked(&world), [0, 15]);
    assert_eq!(world.looks.len(), world.consults.len());
    assert_eq!(world.looks.len(), 3, "no wake-up more than the polls and the one that was put off");
}

#[test]
fn first_requests_polls_a_person_wants_and_earned_ones_are_not_put_off() {
    let mut world = world(Sources::LocalFirst);
    world.local = Some(said(&world, Source::Sessions, 30.0, 0));
    world.run(S);
    assert_eq!(asked(&world), [0], "the first ever");
    world.run(6 * MIN);
    hand_over(&mut world, Source::Sessions, 31.0, 0);
    let answer = world.command(Command::Poll);
    assert_eq!(answer.verdict, Verdict::Done);
    world.run(S);
    assert_eq!(asked(&world), [0, 6]);
    hand_over(&mut world, Source::Sessions, 32.0, 0);
    world.run(12 * MIN);
    assert_eq!(asked(&world), [0, 6, 16], "its wish was granted once");
}

#[test]
fn a_put_off_poll_stays_put_off_across_a_restart() {
    let mut world = world(Sources::LocalFirst);
    world.run(8 * MIN);
    hand_over(&mut world, Source::Sessions, 30.0, 0);
    world.restart();
    world.run(12 * MIN);
    assert_eq!(asked(&world), [0, 18]);
}

#[test]
fn a_cooling_gate_is_neither_opened_nor_shortened_nor_lengthened_and_the_numbers_go_on() {
    let refused = |sources| {
        let rules = Rules { sources, jitter: 0.0, ..vendors_file() };
        World::new(rules).with_usage(|sent| if sent.at == 10 * MIN { limited(Some(HOUR)) } else { answered() })
    };
    let probe = |mut world: World| {
        world.run(2 * HOUR);
        asked(&world)[2]
    };
    let mut world = refused(Sources::LocalFirst);
    world.run(11 * MIN);
    let gate = world.view().usage_gate;
    for minute in 0..50_u64 {
        world.local = Some(said(&world, Source::Sessions, minute as f64, 0));
        world.run(MIN);
    }
    assert_eq!((world.state(), world.view().usage_gate), (AccountState::Throttled, gate));
    assert_eq!(world.view().usage_gate.state, GateState::Cooling);
    assert_eq!((world.account.counters.polls, world.account.counters.ok), (2, 1));
    assert!(shown(&world).ends_with("sessions"), "{}", shown(&world));
    let age = world.now().since(world.view().reading.unwrap().read_at);
    assert!(age <= ms(11 * MIN), "the files are read once an interval while nothing is asked: {age:?}");
    assert_eq!(probe(world), probe(refused(Sources::Api)), "an incident's probe is not put off");
}

#[test]
fn three_529s_end_the_poll_and_the_setbacks_wait_stands_whatever_is_known_locally() {
    let waits = |sources| {
        let rules = Rules { sources, jitter: 0.0, ..vendors_file() };
        let mut world = World::new(rules).with_usage(|_| failed(Failure::Overloaded));
        for minute in 0..90_u32 {
            hand_over(&mut world, Source::Sessions, f64::from(minute), 0);
            world.run(MIN);
        }
        let mut polls = asked(&world);
        polls.dedup();
        (world.asks.len(), polls, world.state())
    };
    assert_eq!(waits(Sources::LocalFirst), (12, vec![0, 10, 30, 70], AccountState::Failing));
}

#[test]
fn where_the_api_comes_first_it_is_asked_at_its_interval_and_where_it_comes_last_never() {
    for (sources, expected) in
        [(Sources::ApiFirst, &[0, 10, 20][..]), (Sources::Api, &[0, 10, 20]), (Sources::Local, &[])]
    {
        let mut world = world(sources);
        world.local = Some(said(&world, Source::Sessions, 7.0, 0));
        world.run(S);
        for minute in 0..29_u32 {
            hand_over(&mut world, Source::Statusline, f64::from(minute), 0);
            world.run(MIN);
        }
        assert_eq!(asked(&world), expected, "{sources:?}");
        assert_eq!(world.consults.is_empty(), !sources.has_local(), "{sources:?}");
        assert_eq!(shown(&world).contains("statusline"), sources.has_local(), "{sources:?}: {}", shown(&world));
        assert_eq!(world.state(), AccountState::Ok);
    }
}

#[test]
fn without_the_api_nothing_is_sent_to_any_endpoint_and_the_account_says_so() {
    let mut world = World::new(Rules { sources: Sources::Local, ..own_grant() }).with_life(MIN);
    world.run(HOUR);
    assert_eq!((world.state(), world.posts.len(), world.asks.len()), (AccountState::Starting, 0, 0));
    assert_eq!(world.command(Command::Poll).verdict, Verdict::Wait);
    world.local = Some(said(&world, Source::Sessions, 7.0, 0));
    world.run(HOUR);
    assert_eq!((world.state(), world.posts.len(), world.asks.len()), (AccountState::Ok, 0, 0));
    assert_eq!(shown(&world), "five_hour 7 sessions");
    assert_eq!(world.view().next_poll_at, None);
}

#[test]
fn a_reading_of_another_account_of_before_the_switch_or_of_the_future_is_not_believed() {
    let named = |mut login: Login, uuid: &str| {
        login.identity = Some(uuid.to_owned());
        login
    };
    let mut world = world(Sources::LocalFirst);
    let login = named(world.login(1, 8 * HOUR), "u1");
    world.write(login);
    world.run(29 * MIN);
    let of = |world: &World, uuid: Option<&str>, ago| LocalReading {
        identity: uuid.map(str::to_owned),
        ..said(world, Source::Cache, 30.0, ago)
    };
    let stranger = of(&world, Some("u2"), 0);
    world.feed(Input::HandedOver(stranger));
    let mut future = of(&world, Some("u1"), 0);
    future.reading.read_at += ms(2 * MIN);
    world.feed(Input::HandedOver(future));
    assert_eq!(shown(&world), "");

    let login = named(world.login(2, 8 * HOUR), "u2");
    world.write(login);
    world.run(MIN);
    assert_eq!(world.asks.last().unwrap().token, access(2));
    world.restart();
    world.run(15 * MIN);
    for (ago, expected) in [(20, ""), (5, "five_hour 30 cache")] {
        let nameless = of(&world, None, ago);
        world.feed(Input::HandedOver(nameless));
        assert_eq!(shown(&world), expected, "from {ago} minutes ago; the file changed hands 16 minutes ago");
    }
}

#[test]
fn windows_that_a_local_source_does_not_report_are_kept_with_their_own_age_and_source() {
    let mut world = world(Sources::LocalFirst);
    let windows = vec![window(&world, "five_hour", 20.0, 200), window(&world, "weekly:fable", 60.0, 9000)];
    world.usage = Box::new(move |_| UsageOutcome::Answered { windows: windows.clone(), plan: Some("max".to_owned()) });
    world.run(MIN);
    hand_over(&mut world, Source::Cache, 25.0, 0);
    world.run(MIN);
    hand_over(&mut world, Source::Statusline, 30.0, 0);
    assert_eq!(shown(&world), "five_hour 30 statusline, weekly:fable 60 api");
    assert_eq!(world.view().plan.as_deref(), Some("max"));
    world.run(HOUR);
    assert_eq!(shown(&world), "five_hour 20 api, weekly:fable 60 api", "an answer of the API replaces it all");
}

#[test]
fn a_reset_time_that_differs_by_microseconds_is_the_same_wherever_it_was_heard() {
    let mut world = world(Sources::LocalFirst);
    let exact = window(&world, "five_hour", 20.0, 200);
    let off_by = |micros: i64| {
        let resets_at = exact.resets_at.map(|at| at + jiff::SignedDuration::from_micros(micros));
        vec![Window { resets_at, ..exact.clone() }]
    };
    let (early, late) = (off_by(-400), off_by(137));
    world.usage = Box::new(move |_| UsageOutcome::Answered { windows: late.clone(), plan: None });
    world.run(S);
    assert_eq!(world.view().reading.unwrap().windows[0].resets_at, exact.resets_at, "from the API");
    let mut said = said(&world, Source::Cache, 30.0, 0);
    said.reading.windows = early;
    world.run(S);
    said.reading.read_at = world.now().stamp;
    world.feed(Input::HandedOver(said));
    let reading = world.view().reading.unwrap();
    assert_eq!(reading.source, Source::Cache);
    assert_eq!(reading.windows[0].resets_at, exact.resets_at, "from a file");
}

/// Several sessions render: those that have been idle repeat what they heard long ago.
#[test]
fn what_an_idle_session_repeats_is_no_news() {
    let mut world = world(Sources::LocalFirst);
    world.usage = Box::new(|_| UsageOutcome::Answered { windows: Vec::new(), plan: None });
    world.run(S);
    let mut read_at = Vec::new();
    for (used, resets, expected) in [
        (30.0, 200, 30.0),
        (30.0, 200, 30.0),
        (22.0, 200, 30.0),
        (31.0, 200, 31.0),
        (30.4, 200, 31.0),
        (90.0, 20, 31.0),
        (2.0, 500, 2.0),
        (31.0, 200, 2.0),
    ] {
        world.run(10 * S);
        let mut said = said(&world, Source::Statusline, used, 0);
        said.reading.windows = vec![window(&world, "five_hour", used, resets)];
        world.feed(Input::HandedOver(said));
        let reading = world.view().reading.unwrap();
        assert_eq!(reading.windows[0].used_percent, Some(expected), "{used} until {resets}");
        read_at.push(reading.read_at);
    }
    read_at.dedup();
    assert_eq!(read_at.len(), 3, "a repetition makes nothing fresher");
}

#[test]
fn files_that_are_written_to_all_the_time_are_read_every_fifteen_seconds_at_most() {
    let mut world = world(Sources::LocalFirst);
    world.run(MIN);
    let before = world.consults.len();
    for _ in 0..600 {
        world.feed(Input::Heard);
        world.run(100);
    }
    let read = world.consults.len() - before;
    assert!((4..=5).contains(&read), "{read} times in a minute");
    assert_eq!(asked(&world), [0]);
}

#[test]
fn while_files_are_read_a_verdict_under_way_is_not_foretold() {
    let rules = Rules { sources: Sources::LocalFirst, interval: ms(S), floor: ms(0), ..own_grant() };
    let mut world = World::new(rules).with_life(S).with_token(|_| INVALID_GRANT);
    let mut seen = Vec::new();
    for _ in 0..80 {
        world.run(100);
        // The same moment, seen while the files are being read.
        let mut reading = world.account.clone();
        reading.activity = Activity::Consulting;
        seen.push((world.state(), reading.view(world.now()).state));
    }
    assert!(seen.iter().all(|(settled, consulting)| settled == consulting), "{seen:?}");
    assert_eq!(seen.last().unwrap().0, AccountState::Dead);
}

#[test]
fn files_are_read_a_moment_after_they_were_written_to_and_only_where_they_are_a_source() {
    for (sources, looks) in [(Sources::Api, [0, 0]), (Sources::LocalFirst, [0, 1])] {
        let mut world = world(sources);
        world.run(MIN);
        let before = world.looks.len();
        world.feed(Input::Heard);
        let looked = [200, 100].map(|ms| {
            world.run(ms);
            world.looks.len() - before
        });
        assert_eq!(looked, looks, "{sources:?}");
    }
}

#[test]
fn files_are_read_once_an_interval_unless_a_request_is_within_half_of_one() {
    let mut world = world(Sources::LocalFirst);
    world.run(MIN);
    let tick = world.account.tick;
    for (minutes, reads) in [(None, true), (Some(0), false), (Some(4), false), (Some(5), false), (Some(6), true)] {
        let poll = minutes.map(|minutes| tick + ms(minutes * MIN));
        assert_eq!(world.account.consult_at(poll), reads.then_some(tick), "a request {minutes:?} minutes later");
    }
    world.account.rules.sources = Sources::Api;
    assert_eq!(world.account.consult_at(None), None);
}

#[test]
fn a_file_is_believed_whatever_it_says_if_it_was_written_later_and_a_session_only_if_its_windows_moved_on() {
    for (source, used, later, expected) in [
        (Source::Sessions, 22.0, 1, 22.0),
        (Source::Sessions, 22.0, 0, 30.0),
        (Source::Sessions, 31.0, -1, 30.0),
        (Source::Statusline, 31.0, 1, 31.0),
        (Source::Statusline, 31.0, 0, 30.0),
        (Source::Statusline, 31.0, -1, 30.0),
        (Source::Statusline, 22.0, 1, 30.0),
        (Source::Client, 31.0, 1, 31.0),
        (Source::Client, 31.0, -1, 30.0),
        (Source::Client, 22.0, 1, 30.0),
        (Source::Client, 22.0, 90, 30.0),
    ] {
        let mut world = world(Sources::LocalFirst);
        world.usage = Box::new(|_| UsageOutcome::Answered { windows: Vec::new(), plan: None });
        world.run(5 * MIN);
        let known = said(&world, Source::Sessions, 30.0, 1);
        let mut next = said(&world, source, used, 1);
        next.reading.read_at += jiff::SignedDuration::from_secs(later);
        // The vendor's clock is not always read at the same moment.
        next.reading.windows[0].resets_at = known.reading.windows[0].resets_at.map(|at| at + ms(20 * S));
        world.feed(Input::HandedOver(known));
        world.feed(Input::HandedOver(next));
        let shown = world.view().reading.unwrap().windows[0].used_percent;
        assert_eq!(shown, Some(expected), "{source:?} {used} {later}");
    }
}

#[test]
fn numbers_that_a_client_repeats_are_known_anew_once_a_minute() {
    for (later, is_news) in [(1, false), (59, false), (60, true), (3600, true)] {
        let mut world = world(Sources::LocalFirst);
        world.usage = Box::new(|_| UsageOutcome::Answered { windows: Vec::new(), plan: None });
        world.run(5 * MIN);
        let known = said(&world, Source::Client, 30.0, 0);
        world.feed(Input::HandedOver(known.clone()));
        world.usage = Box::new(|_| failed(Failure::Server(500)));
        world.run(later * S);
        let mut again = known.clone();
        again.reading.read_at = world.now().stamp;
        let expected = if is_news { again.reading.read_at } else { known.reading.read_at };
        world.feed(Input::HandedOver(again));
        assert_eq!(world.view().reading.unwrap().read_at, expected, "{later} s later");
    }
}

#[test]
fn a_session_that_has_heard_of_one_window_only_is_news_unless_another_is_clearly_behind() {
    for (weekly, is_news) in [(60.0, true), (59.4, true), (59.0, true), (58.9, false), (50.0, false), (61.0, true)] {
        let mut world = world(Sources::LocalFirst);
        world.usage = Box::new(|_| UsageOutcome::Answered { windows: Vec::new(), plan: None });
        world.run(5 * MIN);
        for (used, weekly) in [(30.0, 60.0), (31.0, weekly)] {
            world.run(S);
            let mut said = said(&world, Source::Statusline, used, 0);
            said.reading.windows.push(window(&world, "seven_day", weekly, 9000));
            world.feed(Input::HandedOver(said));
        }
        let shown = world.view().reading.unwrap().windows[0].used_percent;
        assert_eq!(shown, Some(if is_news { 31.0 } else { 30.0 }), "the other window at {weekly}");
    }
}

#[test]
fn while_a_request_is_under_way_what_was_settled_before_is_shown_and_reading_files_is_no_request() {
    let mut world = world(Sources::LocalFirst);
    world.run(MIN);
    world.account.settled.state = AccountState::Offline;
    for (activity, state) in [
        (Activity::Idle, AccountState::Ok),
        (Activity::Consulting, AccountState::Ok),
        (Activity::Asking(access(1)), AccountState::Offline),
    ] {
        let mut account = world.account.clone();
        account.activity = activity.clone();
        assert_eq!(account.view(world.now()).state, state, "{activity:?}");
    }
}

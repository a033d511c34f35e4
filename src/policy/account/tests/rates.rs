//! Polls, floors, the usage gate, the pace, transient failures, and what commands may do about them.

use super::super::*;
use super::world::{
    DAY, HOUR, MIN, Random, S, World, access, answered, failed, limited, ms, own_grant, rejected, vendors_file,
};
use crate::model::{Failure, UsageOutcome};
use crate::policy::status::{AccountState, GateState};
use crate::policy::time::Loaded;

fn gaps(asked: &[u64]) -> Vec<u64> {
    asked.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn a_healthy_account_asks_once_per_interval() {
    let mut world = World::new(vendors_file());
    world.run(HOUR);
    assert_eq!(world.asked_at(), [0, 10, 20, 30, 40, 50, 60].map(|n| n * MIN));
    assert_eq!(world.state(), AccountState::Ok);
}

#[test]
fn a_429_without_advice_never_brings_the_next_request_forward() {
    for dice in [0.0, 0.5, 0.99] {
        let next = |outcome: fn() -> UsageOutcome| {
            let mut world = World::new(vendors_file()).with_usage(move |_| outcome()).with_dice(Loaded(dice));
            world.run(2 * HOUR);
            world.asked_at()[1]
        };
        assert!(next(|| limited(None)) >= next(answered), "dice {dice}");
    }
}

#[test]
fn a_demand_is_served_in_full_whatever_is_done_meanwhile() {
    for (rung, demand) in [(5 * MIN, 7 * MIN), (5 * MIN, 3 * HOUR)] {
        let mut world = World::new(vendors_file())
            .with_usage(move |sent| if sent.at == 0 { limited(Some(demand)) } else { answered() });
        world.run(S);
        assert_eq!(world.state(), AccountState::Throttled);
        let meddling: [fn(&mut World); 9] = [
            |world| assert_eq!(world.command(Command::Poll).verdict, Verdict::Wait),
            |world| assert_eq!(world.command(Command::Resume).verdict, Verdict::Wait),
            World::restart,
            |world| world.reload(|rules| rules.interval = ms(6 * MIN)),
            |world| world.sleep(30 * S),
            |world| world.reboot(30 * S),
            |world| world.step_wall(-DAY.cast_signed()),
            World::restart,
            |world| {
                world.command(Command::Pause);
                world.command(Command::Resume);
            },
        ];
        for act in meddling {
            act(&mut world);
            world.run(20 * S);
        }
        world.run(8 * HOUR);
        let first_gap = gaps(&world.asked_at())[0];
        assert!(first_gap >= demand.max(rung), "asked after {first_gap} of {demand} ms");
        assert!(first_gap <= demand.max(20 * MIN) + 5 * MIN, "and not for ever: {first_gap}");
    }
}

#[test]
fn another_boot_serves_the_rest_of_a_wait_and_a_clock_set_back_lengthens_nothing() {
    for (step, asked) in [(0, 3 * HOUR), (-DAY.cast_signed(), HOUR + 3 * HOUR)] {
        let mut world = World::new(vendors_file())
            .with_usage(|sent| if sent.at == 0 { limited(Some(3 * HOUR)) } else { answered() });
        world.run(MIN);
        world.step_wall(step);
        world.reboot(HOUR - MIN);
        world.run(7 * HOUR);
        let second = world.asked_at()[1];
        assert!(second.abs_diff(asked) <= MIN, "wall step {step}: asked at {second}");
    }
}

#[test]
fn a_usage_storm_whose_window_restarts_on_every_refused_request_is_left_behind() {
    for window in [240 * S, 600 * S, 990 * S] {
        for advice in [false, true] {
            for seed in 0..20 {
                let mut open_at = window;
                let mut world = World::new(vendors_file()).with_dice(Random(seed)).with_usage(move |sent| {
                    if sent.at >= open_at {
                        return answered();
                    }
                    open_at = sent.at + window;
                    limited(advice.then_some(window))
                });
                world.run(6 * HOUR);
                let out = world.asks.len();
                assert_eq!(world.state(), AccountState::Ok);
                let throttled = world.account.counters.throttled;
                assert!(throttled <= 2, "window {window} ms, seed {seed}: {throttled} of {out} requests were refused");
            }
        }
    }
}

#[test]
fn incidents_double_the_pace_up_to_four_times_and_each_success_takes_a_tenth_back() {
    let mut world =
        World::new(vendors_file()).with_usage(|sent| if sent.at < 3 * HOUR { limited(None) } else { answered() });
    world.run(3 * HOUR - MIN);
    assert_eq!(world.account.interval(), ms(20 * MIN), "one incident doubles once, however long it lasts");
    world.run(DAY);
    let gaps = gaps(&world.asked_at());
    assert!(gaps[gaps.len() - 1] < 12 * MIN && gaps.contains(&(19 * MIN)), "{gaps:?}");
}

#[test]
fn an_incident_soon_after_the_closing_success_goes_on_at_the_next_rung() {
    let mut count = 0;
    let mut world = World::new(vendors_file()).with_usage(move |_| {
        count += 1;
        if count % 2 == 1 { limited(None) } else { answered() }
    });
    world.run(2 * HOUR);
    let rungs: Vec<_> = world.told.iter().filter(|(_, event)| *event == Event::GateCooling(GateName::Usage)).collect();
    assert!(rungs.len() >= 3);
    assert!(world.account.interval() >= ms(30 * MIN), "every other answer refused: the pace slows");
    assert!(world.asks.len() <= 6, "{:?}", world.asked_at());
}

#[test]
fn polls_of_one_login_are_never_closer_than_the_floor() {
    let mut rules = vendors_file();
    rules.interval = ms(5 * MIN);
    let mut world = World::new(rules).with_dice(Random(7));
    for n in 0..200_u64 {
        match n % 5 {
            0 => drop(world.command(Command::Poll)),
            1 => world.restart(),
            2 => world.reload(|rules| rules.interval = ms(if n % 2 == 0 { 5 * MIN } else { 6 * MIN })),
            3 => world.sleep(10 * S),
            _ => drop(world.command(Command::Resume)),
        }
        world.run(n % 7 * 10 * S);
    }
    let closest = gaps(&world.asked_at()).into_iter().min().unwrap();
    assert!(closest >= 5 * MIN, "two requests were {closest} ms apart");
    assert!(world.asks.len() > 5);
}

#[test]
fn poll_names_the_moment_and_keeps_it() {
    let mut world = World::new(vendors_file());
    world.run(MIN);
    let answer = world.command(Command::Poll);
    assert_eq!(answer.verdict, Verdict::Done);
    assert_eq!(answer.at.unwrap().duration_since(world.now().stamp).as_secs(), 240, "the floor");
    world.run(5 * MIN);
    assert_eq!(world.asked_at(), [0, 5 * MIN]);
}

#[test]
fn a_loopback_vendor_has_no_floor() {
    let mut rules = vendors_file();
    rules.floor = ms(0);
    let mut world = World::new(rules);
    for _ in 0..3 {
        world.run(S);
        assert_eq!(world.command(Command::Poll).verdict, Verdict::Done);
        world.run(0);
    }
    assert_eq!(world.asks.len(), 4);
}

#[test]
fn first_polls_are_spread_and_a_restart_waits_for_its_turn() {
    let mut world = World::new(vendors_file()).with_dice(Loaded(0.9));
    world.run(MIN);
    assert_eq!(world.asked_at(), [4500], "within 5 s");
    for _ in 0..20 {
        world.restart();
        world.run(20 * S);
    }
    assert_eq!(world.asks.len(), 1);
    world.run(10 * MIN);
    assert_eq!(world.asks.len(), 2);
    assert_eq!(gaps(&world.asked_at()), [10 * MIN + 54 * S], "drawn once, never again");
}

#[test]
fn transient_failures_are_retried_with_full_jitter_up_to_the_cap() {
    let mut rules = vendors_file();
    rules.retries = 9;
    let mut world = World::new(rules).with_usage(|_| failed(Failure::Server(500))).with_dice(Loaded(0.5));
    world.run(3 * MIN);
    let halves = [250, 500, 1000, 2000, 4000, 8000, 16_000, 16_000, 16_000];
    assert_eq!(gaps(&world.asked_at()), halves);
    assert_eq!(world.state(), AccountState::Failing);
}

#[test]
fn polls_whose_every_retry_failed_wait_one_two_then_four_intervals() {
    for failure in [Failure::Server(503), Failure::Timeout, Failure::Connect, Failure::Overloaded] {
        let mut rules = vendors_file();
        rules.retries = 0;
        let mut world = World::new(rules).with_usage(move |_| failed(failure));
        world.run(2 * HOUR);
        assert_eq!(gaps(&world.asked_at()), [10, 20, 40, 40].map(|n| n * MIN), "{failure:?}");
    }
}

#[test]
fn a_poll_ends_when_the_next_is_due() {
    let mut rules = vendors_file();
    rules.interval = ms(MIN);
    rules.floor = ms(MIN);
    rules.retries = 1000;
    let mut world = World::new(rules).with_usage(|_| failed(Failure::Timeout)).with_dice(Loaded(0.99));
    world.run(HOUR);
    let pauses = gaps(&world.asked_at()).into_iter().filter(|gap| *gap >= MIN).count();
    assert!(pauses >= 10, "{:?}", gaps(&world.asked_at()));
}

#[test]
fn offline_waits_one_interval_and_counts_nothing() {
    let mut rules = vendors_file();
    rules.retries = 0;
    let answers = [Failure::Server(500), Failure::Offline, Failure::Offline, Failure::Server(500)];
    let mut left = answers.into_iter();
    let mut world = World::new(rules).with_usage(move |_| left.next().map_or_else(answered, failed));
    world.run(11 * MIN);
    assert_eq!(world.state(), AccountState::Offline);
    world.run(HOUR);
    assert_eq!(gaps(&world.asked_at())[..4], [10, 10, 10, 20].map(|n| n * MIN), "neither counted nor reset");
    assert_eq!(world.view().auth_gate.failures, 0);
}

#[test]
fn the_third_529_in_a_row_ends_the_poll_where_there_is_another_source() {
    for (sources, first_poll) in [(Sources::LocalFirst, 3), (Sources::ApiFirst, 3), (Sources::Api, 11)] {
        let rules = Rules { sources, ..vendors_file() };
        let mut world = World::new(rules).with_usage(|_| failed(Failure::Overloaded)).with_dice(Loaded(0.5));
        world.run(5 * MIN);
        assert_eq!(world.asks.len(), first_poll);
    }
}

#[test]
fn a_busy_server_that_names_a_wait_is_left_alone_for_that_long() {
    let meddling: [fn(&mut World); 4] = [
        |world| drop(world.command(Command::Poll)),
        World::restart,
        |world| world.reload(|rules| rules.interval = ms(6 * MIN)),
        |world| drop(world.command(Command::Resume)),
    ];
    for (n, act) in meddling.into_iter().enumerate() {
        let mut world = World::new(vendors_file()).with_usage(|sent| match sent.at {
            0 => UsageOutcome::Failed { failure: Failure::Server(503), demand: Some(ms(HOUR)) },
            _ => answered(),
        });
        world.run(6 * MIN);
        act(&mut world);
        world.run(2 * HOUR);
        assert!(world.asked_at()[1] >= HOUR, "meddling {n}: {:?}", world.asked_at());
    }
}

#[test]
fn no_permission_is_tried_once_a_day_and_at_each_new_token() {
    let mut world = World::new(own_grant()).with_usage(|_| UsageOutcome::NoPermission { said: "no plan" });
    world.file = Credential::Login(world.login(1, 30 * DAY));
    world.run(MIN);
    assert_eq!(world.state(), AccountState::NoPermission);
    assert_eq!(world.view().auth_gate.state, GateState::Blocked);
    assert_eq!(world.command(Command::Poll).verdict, Verdict::LoginNeeded);
    world.reload(|rules| rules.interval = ms(20 * MIN));
    world.restart();
    world.run(DAY - 2 * MIN);
    assert_eq!(world.asks.len(), 1);
    world.run(MIN);
    assert_eq!(world.asked_at(), [0, DAY]);
    let login = world.login(2, 30 * DAY);
    world.write(login);
    world.run(S);
    assert_eq!(world.asks.len(), 3);
    world.run(DAY - MIN);
    assert_eq!(world.asks.len(), 3);
    assert!(world.posts.is_empty(), "no refresh heals it");
}

#[test]
fn each_setback_keeps_its_distance_through_a_reload() {
    for (failure, waits) in [
        (Failure::Challenge, [30, 60, 120]),
        (Failure::Garbage("no JSON"), [60, 60, 60]),
        (Failure::Gone(404), [360, 360, 360]),
    ] {
        let mut world = World::new(vendors_file()).with_usage(move |_| failed(failure));
        world.file = Credential::Login(world.login(1, 30 * DAY));
        for wait in waits {
            let before = world.asks.len();
            world.run(MIN);
            world.reload(|rules| rules.interval = ms(12 * MIN));
            world.reload(|rules| rules.interval = ms(10 * MIN));
            world.run(wait * MIN - 2 * MIN);
            assert!(world.asks.len() <= before + 1, "{failure:?}");
            world.run(MIN);
        }
        let expected: Vec<_> = waits.iter().map(|wait| wait * MIN).collect();
        assert_eq!(gaps(&world.asked_at())[..2], expected[..2], "{failure:?}");
    }
}

#[test]
fn a_new_token_earns_one_early_probe_per_incident_and_a_minted_one_none() {
    let mut world = World::new(vendors_file()).with_usage(|_| limited(Some(5 * HOUR)));
    world.run(MIN);
    for n in 2..6 {
        let login = world.login(n, 8 * HOUR);
        world.write(login);
        world.run(MIN);
    }
    assert_eq!(world.asks.len(), 2, "one probe, however many tokens: {:?}", world.asked_at());
    assert_eq!(world.asks[1].token, access(2));
    assert!(world.asked_at()[1] - MIN <= S, "within a second, even inside a demanded wait");
    world.run(4 * HOUR);
    assert_eq!(world.asks.len(), 2, "refused: the later deadline stands");

    let mut minting = World::new(own_grant()).with_usage(|_| limited(Some(5 * HOUR))).with_life(20 * MIN);
    minting.run(HOUR);
    assert!(!minting.posts.is_empty() && minting.asks.len() == 1, "a token of quotad's own making goes never early");
}

#[test]
fn the_token_gate_knows_no_early_probe() {
    use super::world::Token;
    use crate::model::Refusal;
    let mut world = World::new(own_grant())
        .with_life(MIN)
        .with_token(|_| Token::Refused(Refusal::Limited { demand: Some(ms(5 * HOUR)) }));
    world.run(2 * MIN);
    assert_eq!(world.posts.len(), 1);
    let login = world.login(2, MIN);
    world.write(login);
    world.run(4 * HOUR);
    assert_eq!(world.posts.len(), 1);
    assert_eq!(world.state(), AccountState::Throttled);
}

#[test]
fn a_user_pause_stops_everything_and_survives_a_restart() {
    let mut world = World::new(own_grant()).with_life(20 * MIN);
    world.run(MIN);
    world.command(Command::Pause);
    world.restart();
    world.run(DAY);
    assert_eq!((world.asks.len(), world.posts.len()), (1, 0));
    assert_eq!(world.state(), AccountState::Paused);
    assert_eq!(world.command(Command::Poll).verdict, Verdict::Wait);
    world.command(Command::Resume);
    world.run(MIN);
    assert_eq!((world.asks.len(), world.posts.len()), (2, 1));
    assert_eq!(world.state(), AccountState::Ok);
}

#[test]
fn after_a_suspend_at_most_one_request_per_endpoint_leaves_once_the_network_is_back() {
    for seed in 0..20 {
        let mut world = World::new(own_grant()).with_dice(Random(seed));
        world.run(5 * MIN);
        let before = world.asks.len();
        world.sleep(3 * DAY);
        let woke = world.at;
        let login = world.login(2, 8 * HOUR);
        if seed % 2 == 0 {
            world.write(login);
        }
        world.run(9 * S);
        assert_eq!(world.asks.len(), before, "it settles first");
        assert!(world.posts.is_empty());
        world.run(5 * MIN);
        assert_eq!(world.asks.len(), before + 1, "{:?}", world.asked_at());
        assert!(world.posts.len() <= 1);
        assert!(world.asked_at()[before] <= woke + 21 * S);
    }
}

#[test]
fn wall_clock_steps_shorten_no_wait_and_lengthen_none() {
    for step in [-DAY.cast_signed(), -1000, 1000, HOUR.cast_signed()] {
        let mut world = World::new(vendors_file()).with_usage(|_| limited(Some(50 * MIN)));
        world.file = Credential::Login(Login { expires_at: None, ..world.login(1, 0) });
        world.run(MIN);
        world.step_wall(step);
        world.run(HOUR);
        assert_eq!(world.asked_at(), [0, 50 * MIN], "step {step}");
    }
}

#[test]
fn a_state_that_was_stored_and_restored_behaves_as_if_nothing_had_happened() {
    let outcomes = |n: usize| match n % 7 {
        0 | 3 => limited(None),
        1 => limited(Some(17 * MIN)),
        2 => failed(Failure::Challenge),
        5 => rejected(),
        _ => answered(),
    };
    let story = |restarts: bool| {
        let mut count = 0;
        let mut world = World::new(vendors_file()).with_usage(move |_| {
            count += 1;
            outcomes(count - 1)
        });
        world.file = Credential::Login(world.login(1, 30 * DAY));
        for _ in 0..300 {
            world.run(5 * MIN + 1);
            if restarts {
                world.restart();
                world.run(0);
            }
        }
        world.asked_at()
    };
    assert_eq!(story(true), story(false));
}

#[test]
fn an_early_probe_that_is_answered_ends_the_demanded_wait_for_the_polls_after_it() {
    let mut world = World::new(vendors_file())
        .with_usage(|sent| if sent.token == access(1) { limited(Some(20 * HOUR)) } else { answered() });
    world.run(MIN);
    let login = world.login(2, 8 * HOUR);
    world.write(login);
    world.run(HOUR);
    assert_eq!(world.asked_at()[..3], [0, MIN + 250, 21 * MIN + 250]);
}

#[test]
fn a_429_ends_the_row_of_setbacks_before_it() {
    let mut answers = vec![limited(None), failed(Failure::Challenge), failed(Failure::Challenge)];
    let mut world =
        World::new(vendors_file()).with_usage(move |_| answers.pop().unwrap_or_else(answered)).with_dice(Loaded(0.0));
    world.run(3 * HOUR);
    assert_eq!(world.asked_at()[..4], [0, 30 * MIN, 90 * MIN, 110 * MIN]);
}

#[test]
fn offline_forgets_no_count_and_passes_none_on_to_another_kind() {
    let times = |answers: [UsageOutcome; 3]| {
        let mut answers = answers.into_iter();
        let mut rules = vendors_file();
        rules.retries = 0;
        let mut world = World::new(rules).with_usage(move |_| answers.next().unwrap_or_else(answered));
        world.run(HOUR);
        world.asked_at()[3] / MIN
    };
    let (ill, off) = (|| failed(Failure::Timeout), || failed(Failure::Offline));
    assert_eq!(times([ill(), off(), ill()]), 40, "the second of its kind waits two intervals");
    assert_eq!(times([rejected(), off(), ill()]), 30, "the first of its kind waits one");
}

#[test]
fn what_a_resume_or_a_reload_has_looked_at_is_looked_at_now_and_not_when_the_machine_wakes_anyway() {
    let resume = |world: &mut World| {
        world.command(Command::Resume);
    };
    for again in [resume, |world: &mut World| world.reload(|_| {})] {
        let mut world = World::new(vendors_file()).with_life(15 * MIN);
        world.run(HOUR);
        assert!(world.account.slack(world.now()) > Duration::ZERO, "nobody waits for it");
        world.command(Command::Pause);
        again(&mut world);
        assert_eq!(world.account.slack(world.now()), Duration::ZERO);
        assert!(world.account.next_wake(world.now()).unwrap().since(world.now().moment) < ms(S));
    }
}

#[test]
fn a_token_that_comes_while_the_user_has_paused_earns_nothing_that_resume_did_not_announce() {
    let mut world = World::new(vendors_file());
    world.run(MIN);
    world.command(Command::Pause);
    let login = world.login(2, 8 * HOUR);
    world.write(login);
    world.run(MIN);
    world.command(Command::Resume);
    world.feed(Input::Touched);
    world.run(4 * MIN);
    assert_eq!(world.asked_at(), [0, 5 * MIN]);
}

#[test]
fn an_incident_that_was_closed_is_remembered_across_a_restart() {
    let mut answers = vec![limited(None), answered(), limited(None)];
    let mut world = World::new(vendors_file()).with_usage(move |_| answers.pop().unwrap_or_else(answered));
    world.run(25 * MIN);
    assert_eq!(world.asked_at().len(), 2);
    world.restart();
    world.run(20 * MIN);
    assert_eq!(world.view().usage_gate.rung, Some(1), "it goes on at the next rung");
}

#[test]
fn the_first_interval_after_a_start_or_a_resume_is_longer_by_the_accounts_spread() {
    let rules = Rules { spread: ms(7 * S), jitter: 0.0, ..vendors_file() };
    let mut world = World::new(rules).with_dice(Loaded(0.0));
    world.run(30 * MIN);
    assert_eq!(gaps(&world.asked_at()), [10 * MIN + 7 * S, 10 * MIN], "after the start");
    world.sleep(HOUR);
    let before = world.asks.len();
    world.run(30 * MIN);
    assert_eq!(gaps(&world.asked_at()[before..])[..2], [10 * MIN + 7 * S, 10 * MIN], "after the resume");
}

#[test]
fn a_poll_that_failed_keeps_the_spread_of_its_account_and_its_retries_take_none_away() {
    let rules = Rules { spread: ms(7 * S), jitter: 0.0, ..vendors_file() };
    let mut world = World::new(rules).with_dice(Loaded(0.5)).with_usage(|_| failed(Failure::Server(500)));
    world.run(10 * MIN);
    let last = world.asks.len();
    world.run(2 * MIN);
    let asked = world.asked_at();
    assert_eq!(asked[last] - asked[last - 1], 10 * MIN + 7 * S, "{asked:?}");
}

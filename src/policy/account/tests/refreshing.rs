//! Rejected tokens, the auth pause, refreshes and their outcomes.

use super::super::*;
use super::world::{
    CLOSED, DAY, HOUR, INVALID_GRANT, MIN, Random, S, Sent, Token, UNKNOWN, World, access, answered, ms, own_grant,
    refresh, rejected, vendors_file,
};
use crate::model::{Refusal, UsageOutcome};
use crate::policy::rotation::{Event as Came, Step};
use crate::policy::status::{AccountState, GateState};

/// An own grant whose access token has just expired.
fn expired(token: impl FnMut(Sent) -> Token + 'static) -> World {
    World::new(own_grant()).with_life(0).with_token(token)
}

#[test]
fn a_token_endpoint_that_always_answers_429_is_posted_to_at_the_ladders_times_and_never_more() {
    let mut world = expired(|_| Token::Refused(Refusal::Limited { demand: None }));
    world.run(12 * HOUR);
    let rungs: Vec<_> = [0, 5, 15, 35, 75, 155, 315, 635].iter().map(|n| n * MIN).collect();
    assert_eq!(world.posted_at(), rungs);
    assert!(world.asks.is_empty(), "an expired token is never sent");
    assert_eq!(world.state(), AccountState::Throttled);
}

#[test]
fn meddling_changes_nothing_about_the_ladder_of_the_token_endpoint() {
    let mut world = expired(|_| Token::Refused(Refusal::Limited { demand: Some(ms(7 * MIN)) })).with_dice(Random(3));
    for n in 0..300_u64 {
        match n % 5 {
            0 => drop(world.command(Command::Poll)),
            1 => world.restart(),
            2 => drop(world.command(Command::Resume)),
            3 => world.sleep(MIN),
            _ => world.reload(|rules| rules.interval = ms(6 * MIN)),
        }
        world.run(20 * S);
    }
    let posted = world.posted_at();
    for (pair, least) in posted.windows(2).zip([7, 10, 20, 40, 80, 160, 320]) {
        assert!(pair[1] - pair[0] >= least * MIN, "{posted:?}");
    }
    assert!(posted.len() > 3);
}

#[test]
fn the_token_gate_never_stops_polling_while_the_access_token_is_good() {
    let mut world =
        World::new(own_grant()).with_life(HOUR).with_token(|_| Token::Refused(Refusal::Limited { demand: None }));
    world.run(59 * MIN);
    assert!(world.posts.len() > 1);
    assert_eq!(world.asked_at(), [0, 10, 20, 30, 40, 50].map(|n| n * MIN));
}

#[test]
fn three_401s_with_an_unchanged_file_pause_5_10_20_and_a_new_token_is_polled_within_a_second() {
    let mut world =
        World::new(vendors_file()).with_usage(|sent| if sent.token == access(1) { rejected() } else { answered() });
    let mut rungs = Vec::new();
    for _ in 0..59 {
        world.run(MIN);
        let gate = world.view().auth_gate;
        if gate.state == GateState::Cooling {
            rungs.push(gate.rung.unwrap());
        }
    }
    let minutes = |rung| rungs.iter().filter(|n| **n == rung).count();
    assert_eq!(
        world.asked_at(),
        [0, 10, 20, 30, 40].map(|n| n * MIN),
        "one probe each, never sooner than the interval"
    );
    assert_eq!((minutes(0), minutes(1)), (5, 10));
    assert!(minutes(2) >= 19);
    assert!(world.state() == AccountState::AuthPaused && world.posts.is_empty());
    let login = world.login(2, 8 * HOUR);
    world.write(login);
    world.run(S);
    assert_eq!(world.asks.last().unwrap().token, access(2));
    assert_eq!(world.state(), AccountState::Ok);
}

#[test]
fn a_login_made_while_the_daemon_was_stopped_lifts_the_auth_pause_too() {
    let mut world =
        World::new(vendors_file()).with_usage(|sent| if sent.token == access(1) { rejected() } else { answered() });
    world.run(75 * MIN);
    assert_eq!(world.view().auth_gate.state, GateState::Cooling);
    world.file = Credential::Login(world.login(2, 8 * HOUR));
    world.restart();
    world.run(10 * S);
    assert_eq!(world.state(), AccountState::Ok);
}

#[test]
fn a_usage_endpoint_that_refuses_every_token_gets_one_refresh_at_once_then_one_per_rung() {
    for restarts in [false, true] {
        let mut world = World::new(own_grant()).with_usage(|_| rejected());
        world.run(MIN);
        assert_eq!(world.posted_at(), [0], "one at once");
        let mut rungs_ended = Vec::new();
        let mut last = None;
        while rungs_ended.len() < 4 {
            assert!(world.at < DAY, "it climbs: {rungs_ended:?}");
            if restarts {
                world.restart();
            }
            world.run(MIN);
            let rung = world.view().auth_gate.rung;
            if rung != last && last.is_some() {
                rungs_ended.push(world.posts.len());
            }
            last = rung;
        }
        assert_eq!(rungs_ended, [2, 3, 4, 5], "one per rung, four by the end of the third");
    }
}

#[test]
fn an_expiry_inside_the_auth_pause_spends_the_refresh_of_its_rung() {
    let mut world = World::new(own_grant()).with_usage(|_| rejected()).with_token(|_| Token::Granted(12 * MIN));
    let mut per_rung = std::collections::BTreeMap::new();
    for _ in 0..12 * 60 {
        let before = world.posts.len();
        world.run(MIN);
        if let Some(rung) = world.view().auth_gate.rung {
            *per_rung.entry(rung).or_insert(0) += world.posts.len() - before;
        }
    }
    assert!(per_rung.values().all(|posts| *posts <= 1), "{per_rung:?}");
}

#[test]
fn every_new_token_of_somebody_elses_earns_its_own_refresh() {
    let mut world = World::new(own_grant()).with_usage(|_| rejected());
    world.run(MIN);
    let login = world.login(2, 8 * HOUR);
    world.write(login);
    world.run(MIN);
    assert_eq!(world.posts_of(refresh(2)), 1);
}

#[test]
fn a_rejection_counts_only_if_the_file_still_holds_the_token_and_it_had_not_expired() {
    for (number, life, failures, asks) in [(1, 8 * HOUR, 1, 1), (1, 0, 0, 1), (2, 8 * HOUR, 0, 2)] {
        let mut world =
            World::new(vendors_file()).with_usage(|sent| if sent.token == access(1) { rejected() } else { answered() });
        world.meanwhile = Some(world.login(number, life));
        world.run(S);
        let counted = world.view().auth_gate.failures;
        assert_eq!((counted, world.asks.len()), (failures, asks), "token {number}, {life} ms left");
    }
}

#[test]
fn other_errors_neither_count_as_rejections_nor_reset_them() {
    let mut answers = [1, 0, 1, 0, 1].into_iter();
    let mut world = World::new(vendors_file()).with_usage(move |_| match answers.next() {
        Some(1) => rejected(),
        Some(_) => UsageOutcome::Failed { failure: crate::model::Failure::Challenge, demand: None },
        None => answered(),
    });
    world.run(3 * HOUR);
    assert_eq!(world.was_told(&Event::GateCooling(GateName::Auth)), 1);
    assert_eq!(world.state(), AccountState::Ok);
}

#[test]
fn a_closed_token_port_is_tried_at_0_half_and_one_and_a_half_seconds_and_takes_no_rung() {
    let mut world = expired(|_| CLOSED);
    world.run(9 * MIN);
    assert_eq!(world.posted_at(), [0, 500, 1500]);
    assert_eq!(world.view().token_gate.rung, None);
    world.run(HOUR);
    assert!(world.posts.len() <= 3 * 7, "then at each next poll: {:?}", world.posted_at());
    assert!(world.posts.len() >= 3 * 6);
}

#[test]
fn a_refresh_that_never_arrived_costs_a_rejection_nothing_either() {
    let mut world = World::new(own_grant()).with_usage(|_| rejected()).with_token(|_| CLOSED);
    world.run(9 * MIN);
    assert_eq!(world.posted_at(), [0, 500, 1500]);
    world.run(2 * MIN);
    assert_eq!(world.posts.len(), 6, "again at the next poll");
}

#[test]
fn after_a_502_nothing_is_posted_while_the_access_token_lives_then_again_and_on_the_ladder() {
    for restarts in [false, true] {
        let mut world = World::new(own_grant()).with_life(HOUR).with_token(|_| UNKNOWN);
        for _ in 0..59 {
            if restarts {
                world.restart();
            }
            world.run(MIN);
        }
        assert_eq!(world.posted_at(), [45 * MIN], "restarts {restarts}");
        world.run(5 * HOUR);
        let since: Vec<_> = world.posted_at()[1..].iter().map(|at| at - HOUR).collect();
        let first = since[0];
        let gaps: Vec<_> = since.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(first <= S, "{since:?}");
        if !restarts {
            assert_eq!(gaps, [500, S, 5 * MIN, 10 * MIN, 20 * MIN, 40 * MIN, 80 * MIN]);
        }
    }
}

#[test]
fn a_502_with_the_token_expired_is_followed_by_half_a_second_one_second_and_the_ladder() {
    let mut world = expired(|_| UNKNOWN);
    world.run(HOUR);
    assert_eq!(world.posted_at(), [0, 500, 1500, 301_500, 901_500, 2_101_500]);
}

#[test]
fn a_crash_loop_climbs_the_ladder_of_an_unknown_outcome_like_any_other_failure() {
    let mut world = expired(|_| UNKNOWN);
    for _ in 0..360 {
        world.run(10 * S);
        world.restart();
    }
    assert!(world.posts.len() <= 7, "{:?}", world.posted_at());
}

#[test]
fn tokens_that_live_15_minutes_are_refreshed_at_most_once_per_10() {
    let mut world = World::new(own_grant()).with_life(15 * MIN).with_token(|_| Token::Granted(15 * MIN));
    world.run(DAY);
    let posted = world.posted_at();
    let closest = posted.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    assert!(closest >= 10 * MIN, "{closest}");
    assert!(posted.len() > 100);
    assert_eq!(
        world.posts.iter().map(|sent| sent.token).collect::<std::collections::BTreeSet<_>>().len(),
        posted.len()
    );
}

#[test]
fn a_refresh_leaves_a_quarter_of_an_hour_ahead_also_after_a_restart() {
    for restart_at in [None, Some(7 * HOUR + 40 * MIN), Some(7 * HOUR + 50 * MIN)] {
        let mut world = World::new(own_grant()).with_life(MIN);
        world.run(MIN);
        let minted_at = world.posts.remove(0).at;
        if let Some(at) = restart_at {
            world.run(at - MIN);
            world.restart();
        }
        world.run(8 * HOUR);
        let due = minted_at + 7 * HOUR + 45 * MIN;
        assert!(
            world.posted_at()[0] <= due.max(restart_at.unwrap_or(0)) + S,
            "{restart_at:?}: {:?}",
            world.posted_at()
        );
    }
}

#[test]
fn a_refused_refresh_token_is_dead_and_a_day_later_was_posted_exactly_once() {
    for restarts in [false, true] {
        let mut world = World::new(own_grant()).with_life(20 * MIN).with_token(|_| INVALID_GRANT);
        for _ in 0..24 * 6 {
            if restarts {
                world.restart();
            }
            world.run(10 * MIN);
        }
        assert_eq!(world.posts_of(refresh(1)), 1);
        assert_eq!(world.state(), AccountState::Dead);
        assert_eq!(world.asked_at()[..2], [0, 10 * MIN], "polling goes on while the access token is accepted");
        let login = world.login(2, 8 * HOUR);
        world.write(login);
        world.run(S);
        assert_eq!(world.state(), AccountState::Ok, "a different token revives the account");
    }
}

#[test]
fn a_verdict_is_believed_after_looks_at_0_1_and_5_seconds_and_told_only_then() {
    let mut world = expired(|_| INVALID_GRANT);
    world.run(10 * S);
    assert_eq!(world.looks[1..4], [0, S, 5 * S]);
    let dead = |(at, event): &&(u64, Event)| {
        *at < 5 * S && matches!(event, Event::AccountDead | Event::StateChanged { to: AccountState::Dead, .. })
    };
    assert_eq!(world.told.iter().find(dead), None);
    assert_eq!(world.was_told(&Event::AccountDead), 1);

    let mut raced = expired(|_| INVALID_GRANT);
    raced.run(2 * S);
    let login = raced.login(2, 8 * HOUR);
    raced.write(login);
    raced.run(10 * S);
    assert_eq!((raced.was_told(&Event::LostRace), raced.was_told(&Event::AccountDead)), (1, 0));
    assert_eq!(raced.state(), AccountState::Ok);
}

#[test]
fn a_file_emptied_during_a_verdict_is_no_lost_race() {
    for found in [Credential::SignedOut, Credential::Absent] {
        let mut world = expired(|_| INVALID_GRANT);
        world.run(2 * S);
        world.file = found;
        world.run(10 * S);
        assert_eq!(world.was_told(&Event::LostRace), 0);
        assert_eq!(world.state(), AccountState::SignedOut);
    }
}

#[test]
fn resume_posts_a_dead_token_of_our_own_once_ever_and_sends_a_vendors_user_to_log_in() {
    let mut world = expired(|_| INVALID_GRANT);
    world.run(MIN);
    assert_eq!(world.command(Command::Resume).verdict, Verdict::Done);
    world.run(MIN);
    for _ in 0..3 {
        assert_eq!(world.command(Command::Resume).verdict, Verdict::LoginNeeded);
        world.restart();
        world.run(MIN);
    }
    assert_eq!(world.posts_of(refresh(1)), 2);

    let mut rules = vendors_file();
    rules.refresh.mode = crate::model::RefreshMode::Always;
    let mut vendors = World::new(rules).with_life(0);
    let dead = Mark { dead: Some("invalid_grant".into()), ..Mark::default() };
    vendors.store.marks.insert(refresh(1), serde_json::to_string(&dead).unwrap());
    vendors.restart();
    vendors.run(MIN);
    assert_eq!(vendors.command(Command::Resume).verdict, Verdict::LoginNeeded);
    assert!(vendors.posts.is_empty());
}

#[test]
fn a_second_try_that_was_blocked_or_never_arrived_is_not_used_up() {
    let mut world = expired(|sent| if sent.at == MIN { CLOSED } else { INVALID_GRANT });
    world.run(MIN);
    world.broken.insert(Step::Lock, Came::Failed("somebody else holds the lock".into()));
    assert_eq!(world.command(Command::Resume).verdict, Verdict::Done);
    world.broken.clear();
    assert_eq!(world.command(Command::Resume).verdict, Verdict::Done);
    world.run(MIN);
    assert_eq!(world.posted_at(), [0, MIN, MIN + 500], "the first did not arrive, the second did");
    assert_eq!(world.command(Command::Resume).verdict, Verdict::LoginNeeded);
}

#[test]
fn a_second_try_that_succeeds_revives_the_login_even_if_the_server_does_not_rotate() {
    for granted in [Token::Granted(HOUR), Token::SameRefresh(HOUR)] {
        let mut world = expired(move |sent| if sent.at == 0 { INVALID_GRANT } else { granted });
        world.run(MIN);
        world.command(Command::Resume);
        world.run(MIN);
        assert_eq!(world.state(), AccountState::Ok, "{granted:?}");
        world.run(DAY);
        assert_eq!(world.state(), AccountState::Ok, "{granted:?}");
    }
}

#[test]
fn a_server_that_does_not_rotate_answers_with_a_token_that_is_still_good() {
    let mut world = expired(|_| Token::SameRefresh(HOUR));
    world.run(6 * HOUR);
    assert!(world.posts_of(refresh(1)) >= 7);
    assert_eq!(world.state(), AccountState::Ok);
}

#[test]
fn a_waiting_account_sends_nothing_and_says_what_to_do() {
    let mut world = World::new(vendors_file()).with_life(15 * MIN);
    world.run(DAY);
    assert_eq!(world.asked_at(), [0, 10 * MIN]);
    assert_eq!(world.state(), AccountState::Waiting);
    assert!(world.view().action.contains("CLI"));
    let login = world.login(2, 8 * HOUR);
    world.write(login);
    world.run(S);
    assert_eq!(world.state(), AccountState::Ok);
}

#[test]
fn refreshing_that_the_endpoint_forbids_stays_off_until_a_reload() {
    for refusal in [Refusal::Misconfigured("invalid_client"), Refusal::Account("403")] {
        let mut world = expired(move |_| Token::Refused(refusal));
        world.run(DAY);
        assert_eq!(world.posts.len(), 1);
        world.reload(|_| {});
        world.run(MIN);
        assert_eq!(world.posts.len(), 2);
    }
}

#[test]
fn an_edge_page_before_the_token_endpoint_waits_half_an_hour_at_least() {
    let mut world = expired(|_| Token::Refused(Refusal::Challenge));
    world.run(2 * HOUR);
    assert_eq!(world.posted_at(), [0, 30, 60, 90].map(|n| n * MIN));
}

#[test]
fn wherever_the_process_is_killed_no_token_is_posted_again_while_its_access_token_lives() {
    for kill_at in Step::ALL {
        let mut world = World::new(own_grant()).with_life(HOUR);
        world.run(40 * MIN);
        world.kill_at = Some(kill_at);
        world.run(6 * MIN);
        world.restart();
        world.run(13 * MIN);
        assert!(world.posts_of(refresh(1)) <= 1, "{kill_at:?}: {:?}", world.posts);
        world.run(DAY);
        assert_eq!(world.state(), AccountState::Ok, "{kill_at:?}");
        assert!(world.posts_of(refresh(1)) <= 1, "{kill_at:?}: {:?}", world.posts);
    }
}

#[test]
fn a_rotation_that_cannot_be_made_safe_posts_nothing_and_is_tried_again_an_interval_later() {
    for step in [Step::Lock, Step::Probe, Step::OpenFence, Step::CheckLock] {
        let mut world = expired(|_| Token::Granted(HOUR));
        world.broken.insert(step, Came::Failed("disk full".into()));
        world.run(25 * MIN);
        assert!(world.posts.is_empty(), "{step:?}");
        assert_eq!(world.state(), AccountState::Failing, "{step:?}");
        assert!(world.view().reason.contains("disk full"));
        world.broken.clear();
        world.run(10 * MIN);
        assert_eq!((world.posts.len(), world.state()), (1, AccountState::Ok), "{step:?}");
    }
}

#[test]
fn a_blocked_answer_to_a_rejection_is_not_an_attempt() {
    let mut world =
        World::new(own_grant()).with_usage(|sent| if sent.token == access(1) { rejected() } else { answered() });
    world.broken.insert(Step::Lock, Came::Failed("busy".into()));
    world.run(MIN);
    world.broken.clear();
    world.run(10 * MIN);
    assert_eq!((world.posts.len(), world.state()), (1, AccountState::Ok), "the next rejection may be answered");
}

#[test]
fn a_successor_that_finds_no_place_is_used_meanwhile_and_placed_later_without_a_post() {
    for restarts in [false, true] {
        let mut world = expired(|_| Token::Granted(8 * HOUR));
        world.broken.insert(Step::Replace, Came::Failed("read-only file system".into()));
        for _ in 0..30 {
            if restarts {
                world.restart();
            }
            world.run(MIN);
        }
        assert_eq!((world.posts.len(), world.state()), (1, AccountState::Ok));
        assert_eq!(world.file.login().unwrap().access, access(1));
        world.broken.clear();
        world.run(11 * MIN);
        assert_eq!(world.file.login().unwrap().access, access(100), "placed");
        assert_eq!(world.posts.len(), 1);
    }
}

#[test]
fn a_token_found_under_the_lock_is_used_without_a_post() {
    let mut world = expired(|_| Token::Granted(HOUR));
    world.rival = Some((Step::ReRead, world.login(2, 8 * HOUR)));
    world.run(MIN);
    assert!(world.posts.is_empty());
    assert_eq!((world.asks[0].token, world.state()), (access(2), AccountState::Ok));
}

#[test]
fn two_lost_races_in_a_day_leave_the_file_to_its_owner_for_24_hours() {
    let mut world = expired(|_| Token::Granted(HOUR));
    for n in 2..4 {
        world.rival = Some((Step::Compare, world.login(n, 30 * MIN)));
        world.run(16 * MIN);
        assert_eq!(world.file.login().unwrap().access, access(n), "a newer login is never overwritten");
    }
    assert_eq!((world.posts.len(), world.was_told(&Event::LostRace)), (2, 2));
    world.restart();
    world.run(23 * HOUR);
    assert_eq!((world.posts.len(), world.state()), (2, AccountState::Waiting));
    world.run(2 * HOUR);
    assert!(world.posts.len() > 2);
}

#[test]
fn without_its_state_every_gate_starts_on_the_first_rung_and_the_token_found_counts_as_posted() {
    let mut world = World::new(own_grant()).with_life(30 * MIN);
    world.restart_without_state();
    world.run(0);
    for gate in [world.view().usage_gate, world.view().token_gate, world.view().auth_gate] {
        assert_eq!((gate.state, gate.rung), (GateState::Cooling, Some(0)));
    }
    assert!(!world.view().reason.contains("refused 0 times"), "{}", world.view().reason);
    world.run(29 * MIN);
    assert_eq!(world.asked_at()[0], 5 * MIN);
    assert!(world.posts.is_empty(), "not while its access token lives");
    world.run(2 * MIN);
    assert_eq!((world.posts.len(), world.state()), (1, AccountState::Ok));
}

#[test]
fn a_vendors_file_and_a_run_without_permission_never_post() {
    let mut world = World::new(vendors_file()).with_life(HOUR).with_usage(|_| rejected()).with_dice(Random(9));
    world.run(3 * DAY);
    world.command(Command::Resume);
    world.run(DAY);
    assert!(world.posts.is_empty());
}

#[test]
fn a_token_that_is_revoked_for_good_is_not_sent_again() {
    let mut world =
        World::new(vendors_file()).with_usage(|_| UsageOutcome::Rejected { permanent: true, said: "revoked" });
    world.run(7 * HOUR);
    assert_eq!((world.asks.len(), world.state()), (1, AccountState::Dead));
    world.restart();
    world.run(MIN);
    assert_eq!((world.asks.len(), world.state()), (1, AccountState::Dead));
    assert_eq!(world.command(Command::Resume).verdict, Verdict::LoginNeeded);
}

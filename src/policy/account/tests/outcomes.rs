//! When a refresh may leave, and what is known of a token after each way it can end.

use super::super::*;
use super::world::{
    CLOSED, DAY, HOUR, INVALID_GRANT, MIN, S, Token, UNKNOWN, World, access, answered, ms, own_grant, refresh,
    rejected, vendors_file,
};
use crate::model::{RefreshMode, Refusal};
use crate::policy::rotation::{Event as Came, Step};
use crate::policy::status::{AccountState, GateState};

fn refused(demand: Option<u64>) -> Token {
    Token::Refused(Refusal::Limited { demand: demand.map(ms) })
}

#[test]
fn two_refreshes_are_an_interval_apart_however_short_the_tokens_live() {
    let mut world = World::new(own_grant()).with_life(0).with_token(|_| Token::Granted(6 * MIN));
    world.run(35 * MIN);
    assert_eq!(world.posted_at(), [0, 10, 20, 30].map(|n| n * MIN));
}

#[test]
fn a_refresh_that_a_rejection_still_waits_for_is_not_held_back_by_the_one_before() {
    let mut answers = [Token::Granted(8 * HOUR), CLOSED].into_iter();
    let mut world = World::new(own_grant())
        .with_life(0)
        .with_usage(|sent| if sent.token == access(2) { rejected() } else { answered() })
        .with_token(move |_| answers.next().unwrap_or(Token::Granted(8 * HOUR)));
    world.run(4 * MIN);
    let login = world.login(2, 8 * HOUR);
    world.write(login);
    world.command(Command::Poll);
    world.run(2 * MIN);
    let posted = world.posted_at();
    assert_eq!(posted.len(), 3, "{posted:?}");
    assert!(posted[2] < 10 * MIN && posted[2] - posted[1] == 500, "{posted:?}");
    assert_eq!(world.state(), AccountState::Ok);
}

#[test]
fn a_rejection_is_no_reason_to_post_inside_the_token_gate_or_while_a_cli_is_at_work() {
    let mut answers = [refused(Some(5 * HOUR))].into_iter();
    let mut world = World::new(own_grant())
        .with_life(0)
        .with_usage(|_| rejected())
        .with_token(move |_| answers.next().unwrap_or(Token::Granted(8 * HOUR)));
    world.run(MIN);
    let login = world.login(2, 8 * HOUR);
    world.write(login);
    world.run(4 * HOUR);
    assert_eq!(world.posted_at(), [0], "the wait is served");
    assert!(world.asks.len() > 2);

    let mut world = World::new(own_grant()).with_usage(|_| rejected());
    world.in_use = true;
    world.run(2 * HOUR);
    assert!(world.posts.is_empty() && world.asks.len() > 2, "{:?}", world.posted_at());

    let mut world = World::new(own_grant()).with_usage(|_| rejected());
    let mark = Mark { spent: true, ..Mark::default() };
    world.account.heed(&Record::Mark(refresh(1), mark), &World::new(vendors_file()).account, world.now());
    world.run(2 * HOUR);
    assert!(world.posts.is_empty() && world.asks.len() > 2, "nor with a spent token");
}

#[test]
fn a_rejection_that_no_refresh_could_answer_is_settled_at_once() {
    for answer in [refused(None), UNKNOWN, INVALID_GRANT, CLOSED] {
        let mut rules = own_grant();
        rules.auth.after = 1;
        let mut world = World::new(rules).with_usage(|_| rejected()).with_token(move |_| answer);
        world.run(8 * S);
        assert_eq!(world.view().auth_gate.rung, Some(0), "{answer:?}: {:?}", world.view());
    }
}

#[test]
fn a_fence_that_an_earlier_process_left_open_counts_as_a_try() {
    let mut world = World::new(own_grant()).with_life(0);
    world.kill_at = Some(Step::Post);
    world.run(0);
    world.restart();
    world.run(S);
    assert_eq!(world.posted_at(), [500], "not at once");

    let mut world = World::new(own_grant()).with_life(0).with_token(|_| UNKNOWN);
    world.run(MIN);
    assert_eq!(world.view().token_gate.state, GateState::Cooling);
    world.restart();
    world.run(5 * MIN);
    let posted = world.posted_at();
    assert_eq!(posted[posted.len() - 1] - posted[posted.len() - 2], 5 * MIN, "where the ladder stands it decides");
}

#[test]
fn every_post_is_told_as_it_leaves() {
    let mut world = World::new(own_grant()).with_life(0).with_token(|_| refused(None));
    world.run(DAY);
    assert_eq!(world.was_told(&Event::RefreshSent), world.posts.len());
}

#[test]
fn a_verdict_and_a_lost_race_close_the_fence() {
    let mut world = World::new(own_grant()).with_life(0).with_token(|_| INVALID_GRANT);
    world.run(MIN);
    let mark = world.account.marks.of(refresh(1));
    assert!(mark.dead.is_some() && mark.fence.is_none() && mark.posts == 1, "{mark:?}");

    let mut world = World::new(own_grant()).with_life(0);
    world.rival = Some((Step::Compare, world.login(2, 8 * HOUR)));
    world.run(MIN);
    assert_eq!(world.was_told(&Event::LostRace), 1);
    let mark = world.account.marks.of(refresh(1));
    assert!(mark.spent && mark.fence.is_none() && mark.posts == 1, "{mark:?}");
}

#[test]
fn a_token_found_without_any_memory_counts_as_posted_once() {
    let mut world = World::new(vendors_file());
    world.restart_without_state();
    world.run(MIN);
    let mark = world.account.marks.of(refresh(1));
    assert!(mark.fence.is_some() && mark.posts == 1, "{mark:?}");
}

#[test]
fn the_mode_in_force_is_never_where_a_refresh_is_not_safe_and_for_a_day_after_two_lost_races() {
    let mode = |world: &World| world.view().credentials.refresh;
    let mut world = World::new(own_grant());
    world.run(MIN);
    assert_eq!(mode(&world), RefreshMode::Always);
    let login = Login { unsafe_because: Some("a symlink".into()), ..world.login(1, 8 * HOUR) };
    world.write(login);
    world.run(S);
    assert_eq!(mode(&world), RefreshMode::Never);

    let mut world = World::new(own_grant()).with_life(0);
    for n in [2, 3] {
        world.rival = Some((Step::Compare, world.login(n, 30 * MIN)));
        world.run(16 * MIN);
    }
    assert_eq!((world.was_told(&Event::LostRace), mode(&world)), (2, RefreshMode::Never));
    world.run(DAY);
    assert_eq!(mode(&world), RefreshMode::Always);
}

#[test]
fn what_keeps_a_refresh_from_being_sent_is_told_once_however_often_it_is_tried() {
    let mut world = World::new(own_grant()).with_life(0);
    let why = "the directory cannot be written";
    world.broken.insert(Step::Probe, Came::Failed(why.into()));
    world.run(5 * HOUR);
    assert_eq!(world.was_told(&Event::RefreshFailed(why.into())), 1);
    world.broken.insert(Step::Probe, Came::Failed("the disk is full".into()));
    world.run(HOUR);
    assert_eq!(world.was_told(&Event::RefreshFailed("the disk is full".into())), 1, "another reason is news");
}

#[test]
fn that_a_successor_has_no_place_is_told_when_it_is_granted_and_not_at_each_try_to_place_it() {
    let mut world = World::new(own_grant()).with_life(0);
    world.broken.insert(Step::Stage, Came::Failed("the disk is full".into()));
    world.run(HOUR);
    let warned = world.told.iter().filter(|(_, event)| matches!(event, Event::Warning(_))).count();
    assert_eq!((warned, world.posts.len(), world.state()), (1, 1, AccountState::Ok));
}

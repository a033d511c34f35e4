//! `when-idle` and `command`: a file whose owner is the vendor's CLI.

use std::time::Duration;

use super::world::*;
use crate::model::{Credential, CredentialOwner, Login, RefreshMode};
use crate::policy::account::{Event, Input, Record, Rules};
use crate::policy::refresh::Mark;
use crate::policy::rotation::{Event as Came, Step};
use crate::policy::status::AccountState;
use crate::policy::time::Loaded;

fn shared(mode: RefreshMode) -> Rules {
    let mut rules = vendors_file();
    rules.refresh.mode = mode;
    rules.refresh.owner = CredentialOwner::Vendor;
    rules
}

#[test]
fn when_idle_posts_only_after_token_and_file_have_lain_untouched_for_the_grace() {
    let mut world = World::new(shared(RefreshMode::WhenIdle));
    let login = world.login(1, HOUR);
    world.write(login);
    world.run(HOUR + 10 * MIN - S);
    assert_eq!(world.posted_at(), [0; 0], "expired, but not for long enough");
    world.run(MIN);
    assert_eq!(world.posted_at().len(), 1);
    assert_eq!(world.state(), AccountState::Ok);
}

#[test]
fn when_idle_does_nothing_while_somebody_holds_a_lock() {
    let mut world = World::new(shared(RefreshMode::WhenIdle));
    let login = world.login(1, MIN);
    world.write(login);
    world.in_use = true;
    world.run(2 * HOUR);
    assert_eq!(world.posted_at(), [0; 0]);
    world.in_use = false;
    world.run(MIN);
    assert_eq!(world.posted_at().len(), 1);
}

#[test]
fn a_contended_lock_is_tried_five_times_a_second_or_two_apart_and_then_at_the_next_interval() {
    for (dice, apart) in [(0.0, S), (0.5, 1500), (0.999, 1999)] {
        let mut world = World::new(shared(RefreshMode::WhenIdle));
        let login = world.login(1, MIN);
        world.write(login);
        world.run(11 * MIN - S);
        let mut world = world.with_dice(Loaded(dice));
        world.broken.insert(Step::Lock, Came::Busy("the vendor's CLI is at work".into()));
        let before = world.looks.len();
        world.run(20 * S);
        let looks: Vec<u64> = world.looks[before..].to_vec();
        assert_eq!(looks.len(), 5, "{looks:?}");
        assert!(looks.windows(2).all(|pair| pair[1] - pair[0] == apart), "{looks:?}");
        world.broken.clear();
        world.run(12 * MIN);
        assert_eq!(world.posted_at().len(), 1);
    }
}

#[test]
fn when_idle_leaves_a_rejected_token_to_its_owner_until_it_expires() {
    let mut world = World::new(shared(RefreshMode::WhenIdle)).with_usage(|_| rejected());
    world.run(5 * HOUR);
    assert_eq!(world.posted_at(), [0; 0]);
    assert_eq!(world.state(), AccountState::AuthPaused);
}

#[test]
fn a_vendors_token_without_a_known_outcome_is_posted_three_times_on_the_ladder_and_then_left_to_its_cli() {
    let mut world = World::new(shared(RefreshMode::WhenIdle)).with_token(|_| UNKNOWN);
    let login = world.login(1, MIN);
    world.write(login);
    world.run(DAY);
    let at = world.posted_at();
    assert_eq!(at.len(), 3, "{at:?}");
    assert!(at[1] - at[0] >= 5 * MIN && at[2] - at[1] >= 10 * MIN, "{at:?}");
    assert!(world.view().reason.contains("its own CLI"), "{}", world.view().reason);
    world.restart();
    world.run(DAY);
    assert_eq!(world.posted_at().len(), 3, "also after a restart");
    let login = world.login(2, HOUR);
    world.write(login);
    world.run(MIN);
    assert_eq!(world.state(), AccountState::Ok);
}

#[test]
fn the_command_is_run_once_the_token_has_expired_and_its_success_is_told_by_the_file() {
    let mut world = World::new(shared(RefreshMode::Command));
    let login = world.login(1, HOUR);
    world.write(login);
    world.run(HOUR - S);
    assert_eq!(world.ran, [0; 0], "before-expiry does not apply");
    world.run(10 * S);
    assert_eq!(world.ran.len(), 1);
    let login = world.login(2, 8 * HOUR);
    world.write(login);
    world.run(MIN);
    assert_eq!(world.was_told(&Event::RefreshDone), 1);
    assert_eq!((world.state(), world.ran.len(), world.posted_at().len()), (AccountState::Ok, 1, 0));
    assert_eq!(world.view().counters.refreshes, 1);
}

#[test]
fn an_early_probe_that_a_new_token_earned_does_not_pass_on_to_the_token_it_is_exchanged_for() {
    // A CLI's own file is exchanged once it has lain idle, a grant of quotad's own in the same breath.
    for rules in [shared(RefreshMode::WhenIdle), own_grant()] {
        let mut world = World::new(rules).with_usage(|_| limited(Some(20 * HOUR)));
        world.run(MIN);
        let expired = Login { expires_at: Some(world.now().stamp), ..world.login(2, 0) };
        world.write(expired);
        world.run(5 * HOUR);
        assert_eq!((world.asks.len(), world.posted_at().len()), (1, 1), "it is exchanged, and waits");
    }
}

#[test]
fn a_command_without_effect_climbs_the_ladder_and_runs_six_times_a_day_at_most() {
    let mut world = World::new(shared(RefreshMode::Command));
    let login = world.login(1, MIN);
    world.write(login);
    world.run(3 * HOUR);
    let first: Vec<u64> = world.ran.clone();
    let gaps: Vec<u64> = first.windows(2).map(|pair| (pair[1] - pair[0]) / MIN).collect();
    assert!(gaps.len() >= 3 && gaps[0] >= 5 && gaps[1] >= 10 && gaps[2] >= 20, "{gaps:?}");
    world.run(20 * HOUR);
    assert!(world.ran.len() <= 6, "{:?}", world.ran);
    let within_a_day =
        |ran: &[u64]| ran.iter().all(|at| ran.iter().filter(|other| (*at..at + DAY).contains(*other)).count() <= 6);
    for _ in 0..5 {
        world.restart();
        world.run(DAY);
    }
    assert!(within_a_day(&world.ran), "{:?}", world.ran);
}

#[test]
fn a_restart_right_after_the_start_of_the_command_does_not_run_it_again_at_once() {
    let mut world = World::new(shared(RefreshMode::Command));
    let login = world.login(1, MIN);
    world.write(login);
    world.run(2 * MIN);
    assert_eq!(world.ran.len(), 1);
    world.restart();
    world.run(4 * MIN);
    assert_eq!(world.ran.len(), 1, "one run per refresh token, then the ladder");
}

#[test]
fn a_cli_that_empties_the_file_instead_of_refreshing_it_leaves_the_account_at_rest() {
    let mut world = World::new(shared(RefreshMode::Command));
    let login = world.login(1, MIN);
    world.write(login);
    world.run(2 * MIN);
    assert_eq!(world.ran.len(), 1);
    world.file = Credential::SignedOut;
    world.feed(Input::Touched);
    let looks = world.looks.len();
    world.run(3 * HOUR);
    assert_eq!(world.state(), AccountState::SignedOut);
    assert!(world.looks.len() - looks < 25, "{} looks in three hours", world.looks.len() - looks);
}

#[test]
fn a_command_that_cannot_be_started_uses_nothing_up() {
    let mut world = World::new(shared(RefreshMode::Command));
    let login = world.login(1, MIN);
    world.write(login);
    world.launch_fails = Some("the user manager is not ready".into());
    world.run(5 * HOUR);
    assert!(world.view().reason.contains("not ready"), "{}", world.view().reason);
    world.launch_fails = None;
    world.run(12 * MIN);
    assert!(!world.ran.is_empty(), "at the next interval, not tomorrow");
}

#[test]
fn a_file_that_is_missing_at_the_start_is_looked_at_twice_and_not_in_a_loop() {
    const MISSING: &[Duration] = &[Duration::from_secs(5)];
    let mut world = World::new(vendors_file());
    world.file = Credential::Absent;
    world.doubt = MISSING;
    world.run(6 * S);
    assert!(world.looks.len() <= 3, "{:?}", world.looks);
}

#[test]
fn the_command_is_not_run_where_it_would_cost_a_login_or_cannot_help() {
    let mut hindered = [World::new(shared(RefreshMode::Command)), World::new(shared(RefreshMode::Command))];
    let [unsafe_file, used_up] = &mut hindered;
    unsafe_file.file =
        Credential::Login(Login { unsafe_because: Some("a hard link".into()), ..unsafe_file.login(1, 0) });
    used_up.file = Credential::Login(used_up.login(1, 0));
    let mark = Mark { dead: Some("invalid_grant".into()), ..Mark::default() };
    used_up.account.heed(&Record::Mark(refresh(1), mark), &World::new(vendors_file()).account, used_up.now());
    for world in &mut hindered {
        world.run(DAY);
        assert!(world.ran.is_empty(), "{:?}", world.view().reason);
    }
}

#[test]
fn a_command_without_effect_is_counted_and_one_soon_after_a_success_goes_on_at_the_next_rung() {
    let mut rules = shared(RefreshMode::Command);
    rules.interval = ms(30 * MIN);
    let mut world = World::new(rules);
    let login = world.login(1, MIN);
    world.write(login);
    world.run(4 * MIN);
    assert_eq!((world.view().counters.refresh_failures, world.view().token_gate.rung), (1, Some(0)));
    world.run(4 * MIN);
    assert_eq!(world.ran.len(), 2);
    let login = world.login(2, 20 * MIN);
    world.write(login);
    world.run(25 * MIN);
    assert_eq!((world.view().counters.refresh_failures, world.view().token_gate.rung), (2, Some(1)));
}

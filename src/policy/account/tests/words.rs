//! What an account says of itself where nothing else hangs on it.

use super::super::*;
use super::world::{HOUR, INVALID_GRANT, MIN, S, World, answered, ms, own_grant, vendors_file};
use crate::model::UsageOutcome;
use crate::policy::status::{AccountState, GateState};
use crate::policy::time::Loaded;

#[test]
fn an_account_is_starting_until_its_first_answer() {
    let mut world = World::new(vendors_file()).with_dice(Loaded(0.9));
    world.run(S);
    assert_eq!((world.state(), world.asks.len()), (AccountState::Starting, 0));
    world.run(5 * S);
    assert_eq!(world.state(), AccountState::Ok);
}

#[test]
fn each_kind_of_missing_login_has_its_own_reason() {
    for (file, reason) in [
        (Credential::SignedOut, "the vendor's CLI signed out"),
        (Credential::NoLogin, "the credential file holds no login of this vendor"),
        (Credential::Absent, "there is no credential file"),
    ] {
        let mut world = World::new(vendors_file());
        world.file = file;
        world.run(MIN);
        assert_eq!((world.state(), world.view().reason.as_str()), (AccountState::SignedOut, reason));
    }
}

#[test]
fn a_dead_login_says_how_long_readings_go_on() {
    for (life, goes_on) in [(10 * MIN, true), (0, false)] {
        let mut world = World::new(own_grant()).with_life(life).with_token(|_| INVALID_GRANT);
        world.run(8 * MIN);
        assert_eq!(world.state(), AccountState::Dead);
        let reason = world.view().reason;
        assert_eq!(reason.contains("readings go on until the access token expires (20"), goes_on, "{reason}");
    }
    let mut world = World::new(own_grant()).with_life(10 * MIN).with_token(|_| INVALID_GRANT);
    world.run(8 * MIN);
    world.run(MIN * 5);
    assert!(!world.view().reason.contains("go on"), "it has expired: {}", world.view().reason);
}

#[test]
fn a_login_that_is_dead_blocks_the_auth_gate_without_an_end() {
    let mut rules = vendors_file();
    rules.auth.after = 1;
    let mut world =
        World::new(rules).with_usage(|_| UsageOutcome::Rejected { permanent: true, said: "the login was revoked" });
    world.run(MIN);
    let gate = world.view().auth_gate;
    assert_eq!((world.state(), gate.state, gate.until), (AccountState::Dead, GateState::Blocked, None));
    assert_eq!((gate.failures, gate.rung), (1, Some(0)), "what was counted stays");
}

#[test]
fn a_warning_is_the_action_where_nothing_more_urgent_is() {
    for (life, file, action) in
        [(8 * HOUR, None, "chmod 600 it"), (8 * HOUR, Some(Credential::SignedOut), "log in again: claude /login")]
    {
        let mut world = World::new(vendors_file()).with_life(life).with_usage(|_| answered());
        world.run(MIN);
        let credential = file.unwrap_or_else(|| world.file.clone());
        let look = Look { credential, doubt: &[], warning: Some("chmod 600 it".into()), in_use: false, unplaced: None };
        world.at += 10 * MIN - MIN - 1;
        let now = world.now();
        world.account.handle(Input::Touched, now, &mut Loaded(0.0));
        world.at += S;
        let now = world.now();
        assert_eq!(world.account.handle(Input::Timer, now, &mut Loaded(0.0)), [Action::Look]);
        world.account.rules.interval = ms(HOUR);
        world.account.next_poll = None;
        world.account.handle(Input::Looked(look), now, &mut Loaded(0.0));
        assert_eq!(world.view().action, action);
    }
}

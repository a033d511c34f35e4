//! What looks at the credential file find: torn, absent, switched, renamed.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::*;
use super::world::{DAY, HOUR, MIN, S, TORN, World, access, answered, limited, ms, rejected, vendors_file};
use crate::policy::status::AccountState;

const MISSING: &[Duration] = &[ms(5000)];

/// A login of the account `uuid`.
fn of(uuid: &str, login: Login) -> Login {
    Login { identity: Some(uuid.to_owned()), ..login }
}

#[test]
fn a_torn_file_is_looked_at_again_before_it_is_believed() {
    let mut world = World::new(vendors_file());
    world.run(MIN);
    let whole = std::mem::replace(&mut world.file, Credential::Unreadable("is not JSON".into()));
    world.doubt = TORN;
    world.looks.clear();
    world.feed(Input::Touched);
    world.run(S);
    assert_eq!(world.state(), AccountState::Ok, "not believed yet");
    world.file = whole;
    world.doubt = &[];
    world.run(20 * MIN);
    assert_eq!(world.state(), AccountState::Ok);
    assert_eq!(world.asked_at(), [0, 10 * MIN, 20 * MIN]);

    world.file = Credential::Unreadable("is not JSON".into());
    world.doubt = TORN;
    world.looks.clear();
    world.feed(Input::Touched);
    world.run(3 * S);
    let first = world.looks[0];
    let looks: Vec<_> = world.looks.iter().map(|at| at - first).collect();
    assert_eq!(looks, [0, 50, 150, 300, 1300]);
    assert_eq!(world.state(), AccountState::Failing);
}

#[test]
fn a_missing_file_is_believed_after_two_looks_five_seconds_apart_however_busy_the_directory_is() {
    let mut world = World::new(vendors_file());
    world.run(MIN);
    let login = std::mem::replace(&mut world.file, Credential::Absent);
    world.doubt = MISSING;
    for _ in 0..8 {
        world.feed(Input::Touched);
        world.run(500);
        assert_eq!(world.state(), AccountState::Ok);
    }
    world.run(2 * S);
    assert_eq!(world.state(), AccountState::SignedOut);
    world.file = login;
    world.doubt = &[];
    world.feed(Input::Touched);
    world.run(S);
    assert_eq!(world.asks.len(), 1, "the same token in a file that comes back earns nothing");
    assert_eq!(world.state(), AccountState::Ok);
}

#[test]
fn a_login_that_appears_is_polled_within_a_second() {
    for nothing in [Credential::Absent, Credential::SignedOut, Credential::NoLogin] {
        let mut world = World::new(vendors_file());
        world.file = nothing;
        world.run(DAY);
        assert_eq!(world.state(), AccountState::SignedOut);
        assert!(world.view().action.contains("log in"));
        let login = world.login(2, 8 * HOUR);
        world.write(login);
        world.run(S);
        assert_eq!((world.asks.len(), world.state()), (1, AccountState::Ok));
    }
}

#[test]
fn another_account_in_the_file_has_its_own_gates_and_the_first_finds_its_own_again() {
    let mut world = World::new(vendors_file())
        .with_usage(|sent| if sent.token == access(2) { answered() } else { limited(Some(5 * HOUR)) });
    world.file = Credential::Login(of("one", world.login(1, 30 * DAY)));
    world.run(MIN);
    assert_eq!(world.state(), AccountState::Throttled);
    let two = of("two", world.login(2, 30 * DAY));
    world.write(two);
    world.run(MIN);
    assert_eq!((world.asks.len(), world.state()), (2, AccountState::Ok), "nothing of the first is the second's");
    let one = of("one", world.login(3, 30 * DAY));
    world.write(one);
    world.run(HOUR);
    assert_eq!((world.asks.len(), world.state()), (2, AccountState::Throttled), "its wait still stands");
    world.restart();
    world.run(3 * HOUR);
    assert_eq!(world.asks.len(), 2);
    world.run(HOUR);
    assert_eq!(world.asks.len(), 3, "five hours after it was refused");
}

#[test]
fn an_unknown_identity_never_delays_never_counts_as_a_switch_and_forgets_nothing() {
    let mut world =
        World::new(vendors_file()).with_usage(|sent| if sent.at < MIN { limited(Some(5 * HOUR)) } else { answered() });
    world.file = Credential::Login(of("one", world.login(1, 30 * DAY)));
    world.run(MIN);
    world.file = Credential::Login(world.login(1, 30 * DAY));
    world.feed(Input::Touched);
    world.run(HOUR);
    assert_eq!(world.state(), AccountState::Throttled);
    world.restart();
    world.run(HOUR);
    assert_eq!((world.asks.len(), world.state()), (1, AccountState::Throttled));
}

#[test]
fn a_login_that_gets_its_name_later_keeps_the_harsher_of_both_gates() {
    // Refused as "one"; later the same login is found by a new file whose account is not known at first.
    let mut world = World::new(vendors_file()).with_usage(|_| limited(Some(5 * HOUR)));
    world.file = Credential::Login(of("one", world.login(1, 30 * DAY)));
    world.run(MIN);
    world.store.files.clear();
    world.file = Credential::Login(world.login(1, 30 * DAY));
    world.restart();
    world.file = Credential::Login(world.login(1, 30 * DAY));
    world.usage = Box::new(|_| answered());
    world.run(20 * MIN);
    let before = world.asks.len();
    let named = of("one", world.login(1, 30 * DAY));
    world.write(named);
    world.run(4 * HOUR);
    assert_eq!(world.asks.len(), before, "what is stored under its name holds it back");
    world.restart();
    world.run(5 * MIN);
    assert_eq!(world.asks.len(), before);
}

#[test]
fn a_gate_that_closed_after_the_login_got_its_name_is_not_open_again_at_the_next_start() {
    let mut world =
        World::new(vendors_file()).with_usage(|sent| if sent.at < MIN { limited(None) } else { answered() });
    world.run(5 * MIN);
    let named = of("one", world.login(1, 30 * DAY));
    world.write(named);
    world.run(2 * HOUR);
    assert_eq!((world.view().usage_gate.rung, world.state()), (None, AccountState::Ok));
    for _ in 0..2 {
        world.restart();
        world.run(S);
        assert_eq!((world.view().usage_gate.rung, world.state()), (None, AccountState::Ok));
    }
}

#[test]
fn a_wait_that_a_clock_set_back_has_lengthened_does_not_begin_again_at_each_start() {
    let mut world = World::new(vendors_file()).with_usage(|_| limited(Some(HOUR)));
    world.run(MIN);
    world.step_wall(-i64::try_from(DAY).unwrap());
    world.reboot(MIN);
    world.run(MIN);
    let until = world.view().usage_gate.until;
    world.run(30 * MIN);
    world.restart();
    world.run(MIN);
    assert_eq!(world.view().usage_gate.until, until);
}

#[test]
fn a_token_without_the_scope_is_never_sent() {
    let mut world = World::new(vendors_file());
    world.file = Credential::Login(Login { scopes: Some(vec!["user:inference".into()]), ..world.login(1, DAY) });
    world.run(DAY);
    assert_eq!((world.asks.len(), world.state()), (0, AccountState::NoPermission));
    assert_eq!(world.command(Command::Poll).verdict, Verdict::LoginNeeded);
}

#[test]
fn a_rejection_is_counted_even_if_the_file_is_torn_when_it_is_looked_at() {
    let mut world = World::new(vendors_file()).with_usage(|_| rejected());
    world.torn = VecDeque::from([false, true, true]);
    world.run(0);
    assert_eq!(world.view().auth_gate.failures, 0);
    world.run(S);
    assert_eq!(world.view().auth_gate.failures, 1);
}

#[test]
fn after_a_resume_a_new_token_waits_for_the_network_and_then_goes_at_once() {
    let mut world = World::new(vendors_file()).with_life(0);
    world.run(MIN);
    world.sleep(DAY);
    let login = world.login(2, 8 * HOUR);
    world.write(login);
    world.run(9 * S);
    assert!(world.asks.is_empty());
    world.run(2 * S);
    assert_eq!(world.state(), AccountState::Ok);
}

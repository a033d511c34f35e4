//! What is remembered, of what, and for how long: logins, files, tokens, and the writes that it takes.

use super::super::*;
use super::world::{
    DAY, HOUR, MIN, S, Token, UNKNOWN, World, access, answered, failed, limited, ms, own_grant, refresh, rejected,
    vendors_file,
};
use crate::model::{Failure, Refusal, UsageOutcome};
use crate::policy::rotation::{Event as Came, Step};
use crate::policy::status::{AccountState, GateState};

fn of(uuid: &str, login: Login) -> Login {
    Login { identity: Some(uuid.to_owned()), ..login }
}

#[test]
fn gates_belong_to_the_account_once_it_is_known_else_to_the_file_and_rejections_to_the_file() {
    let mut world = World::new(vendors_file());
    world.run(MIN);
    let unnamed = "claude https://api.example.test file:/home/u/.claude/.credentials.json";
    assert_eq!((world.account.login_key().as_str(), world.account.unnamed_key()), (unnamed, None));
    assert_eq!(world.account.file_key(), "claude /home/u/.claude/.credentials.json");
    let named = of("one", world.login(1, HOUR));
    world.write(named);
    world.run(S);
    let key = "claude https://api.example.test uuid:one";
    assert_eq!((world.account.login_key().as_str(), world.account.unnamed_key().as_deref()), (key, Some(unnamed)));
    assert_eq!(world.account.file_key(), "claude /home/u/.claude/.credentials.json");
    assert!(world.store.logins.contains_key(key), "what is known is stored under the name at once");
}

#[test]
fn a_login_that_was_nameless_before_a_restart_keeps_its_wait_under_its_name() {
    let mut world = World::new(vendors_file()).with_usage(|_| limited(Some(5 * HOUR)));
    world.run(MIN);
    world.file = Credential::Login(of("one", world.login(1, 8 * HOUR)));
    world.restart();
    world.run(4 * HOUR);
    assert_eq!((world.asks.len(), world.state()), (1, AccountState::Throttled));
}

#[test]
fn a_record_without_a_name_goes_under_the_name_and_is_left_behind_empty() {
    let mut world = World::new(vendors_file()).with_usage(|_| limited(Some(5 * HOUR)));
    world.run(MIN);
    let unnamed = world.account.login_key();
    let waiting = world.store.logins[&unnamed].clone();
    let named = of("one", world.login(1, 8 * HOUR));
    world.write(named);
    world.run(S);
    let empty = serde_json::to_string(&LoginRecord::default()).unwrap();
    assert_eq!((&world.store.logins[&world.account.login_key()], &world.store.logins[&unnamed]), (&waiting, &empty));
    world.restart();
    let before = world.store.durable;
    world.run(S);
    assert_eq!(world.store.durable - before, 2, "the login and the file anew; an empty record is not moved again");
}

#[test]
fn nothing_of_one_account_is_told_of_another() {
    let mut world = World::new(vendors_file()).with_usage(|sent| match sent.token {
        token if token == access(1) => answered(),
        _ => failed(Failure::Offline),
    });
    world.file = Credential::Login(of("one", world.login(1, 30 * DAY)));
    world.run(MIN);
    assert!(world.view().reading.is_some());
    let two = of("two", world.login(2, 30 * DAY));
    world.write(two);
    world.run(S);
    assert!(world.view().reading.is_none(), "the numbers were the first's");

    let mut world = World::new(vendors_file()).with_usage(|sent| match sent.token {
        token if token == access(1) => limited(Some(5 * HOUR)),
        _ => failed(Failure::Offline),
    });
    world.file = Credential::Login(of("one", world.login(1, 30 * DAY)));
    world.run(MIN);
    let two = of("two", world.login(2, 30 * DAY));
    world.write(two);
    world.run(S);
    let view = world.view();
    assert_eq!((view.usage_gate.state, view.usage_gate.failures), (GateState::Clear, 0), "so was the pause");
    assert_eq!(world.account.interval(), ms(10 * MIN), "and the pace");
}

#[test]
fn a_token_that_was_exchanged_is_not_posted_when_a_backup_brings_it_back() {
    for settled in [true, false] {
        let mut world = World::new(own_grant()).with_life(0);
        let backup = world.login(1, 0);
        if !settled {
            world.broken.insert(Step::Settle, Came::Failed("disk full".into()));
        }
        world.run(MIN);
        assert_eq!((world.posts_of(refresh(1)), world.state()), (1, AccountState::Ok));
        let mark = world.account.marks.of(refresh(1));
        assert!(mark.spent && mark.fence.is_none() && mark.posts == 1, "{mark:?}");
        world.write(backup);
        world.restart();
        world.run(DAY);
        assert_eq!(world.posts_of(refresh(1)), 1, "it is spent");
        let expected = if settled { AccountState::Dead } else { AccountState::Ok };
        assert_eq!(world.state(), expected, "a successor that is still stored is put in its place again");
    }
}

#[test]
fn a_token_whose_successor_is_on_disk_is_spent_and_its_refresh_counted_wherever_the_process_is_killed_after_that() {
    for kill_at in [Step::Compare, Step::Stage, Step::Replace, Step::ReadBack, Step::Settle, Step::Unlock] {
        let mut world = World::new(own_grant()).with_life(0);
        world.kill_at = Some(kill_at);
        world.run(MIN);
        world.restart();
        let mark = world.account.marks.of(refresh(1));
        assert!(mark.spent && mark.fence.is_none(), "{kill_at:?}: a copy of the file may still hold it: {mark:?}");
        assert!(world.account.minted_at.is_some(), "{kill_at:?}: the next refresh comes an interval later");
    }
}

#[test]
fn a_successor_that_only_its_place_would_take_ends_the_fence_as_well() {
    let mut world = World::new(own_grant()).with_life(0);
    world.broken.insert(Step::StoreSuccessor, Came::Failed("the disk is full".to_owned()));
    world.run(MIN);
    let mark = world.account.marks.of(refresh(1));
    assert!(mark.spent && mark.fence.is_none(), "{mark:?}");
}

#[test]
fn a_token_that_the_server_did_not_rotate_is_neither_spent_nor_fenced() {
    let mut world = World::new(own_grant()).with_life(0).with_token(|_| Token::SameRefresh(HOUR));
    world.run(MIN);
    let mark = world.account.marks.of(refresh(1));
    assert!(!mark.spent && mark.fence.is_none(), "{mark:?}");
}

#[test]
fn a_refusal_that_spent_nothing_leaves_the_fence_of_an_earlier_post_as_it_was() {
    for (first, fenced) in [(UNKNOWN, true), (Token::Refused(Refusal::Limited { demand: None }), false)] {
        let mut left = [first].into_iter();
        let mut world = World::new(own_grant())
            .with_life(0)
            .with_token(move |_| left.next().unwrap_or(Token::Refused(Refusal::Limited { demand: None })));
        world.run(HOUR);
        assert!(world.posts.len() > 2);
        assert_eq!(world.account.marks.of(refresh(1)).fence.is_some(), fenced);
    }
}

#[test]
fn a_first_look_is_no_change_and_a_new_token_where_all_is_well_earns_nothing() {
    let mut world = World::new(vendors_file());
    world.run(MIN);
    assert_eq!(world.was_told(&Event::CredentialsChanged), 0);
    let login = world.login(2, 8 * HOUR);
    world.write(login);
    world.run(30 * MIN);
    assert_eq!(world.was_told(&Event::CredentialsChanged), 1);
    assert_eq!(world.asked_at(), [0, 10, 20, 30].map(|n| n * MIN), "its polls keep their distance");
}

#[test]
fn first_polls_of_a_short_interval_are_spread_over_a_tenth_of_it() {
    let mut rules = vendors_file();
    (rules.interval, rules.floor) = (ms(10 * S), ms(0));
    let mut world = World::new(rules).with_dice(crate::policy::time::Loaded(0.9));
    world.run(5 * S);
    assert_eq!(world.asked_at(), [900]);
}

/// Writes that had to reach the platter.
fn durable(world: &World) -> usize {
    world.store.durable
}

#[test]
fn a_success_after_which_nothing_is_different_costs_no_durable_write() {
    let mut world = World::new(vendors_file());
    world.run(MIN);
    let before = durable(&world);
    world.run(5 * HOUR);
    assert_eq!(durable(&world), before);
    assert_eq!(world.asks.len(), 31);
}

#[test]
fn a_success_that_ends_something_is_durable_before_anything_follows() {
    for outcome in [
        limited(None),
        rejected(),
        failed(Failure::Challenge),
        UsageOutcome::Failed { failure: Failure::Server(503), demand: Some(ms(20 * MIN)) },
    ] {
        let mut left = Some(outcome.clone());
        let mut rules = vendors_file();
        rules.retries = 0;
        let mut world = World::new(rules).with_usage(move |_| left.take().unwrap_or_else(answered));
        while world.asks.len() < 2 && world.at < DAY {
            world.run(MIN);
        }
        assert_eq!(world.state(), AccountState::Ok, "{outcome:?}");
        let shown = (world.view().usage_gate, world.view().auth_gate, world.account.interval());
        let (usage, file) = (world.store.synced_logins.clone(), world.store.files.clone());
        world.store.logins = usage;
        world.store.files = file;
        world.restart();
        world.run(1);
        assert_eq!(world.state(), AccountState::Ok, "{outcome:?} is over, also after a power cut");
        assert_eq!((world.view().usage_gate, world.view().auth_gate, world.account.interval()), shown, "{outcome:?}");
    }
}

#[test]
fn a_pace_that_recovers_is_stored_as_it_does() {
    let mut left = Some(limited(None));
    let mut world = World::new(vendors_file()).with_usage(move |_| left.take().unwrap_or_else(answered));
    world.run(3 * HOUR);
    let interval = world.account.interval();
    assert!(interval > ms(10 * MIN) && interval < ms(18 * MIN), "{interval:?}");
    world.store.logins = world.store.synced_logins.clone();
    world.restart();
    world.run(1);
    assert_eq!(world.account.interval(), interval);
}

#[test]
fn a_failure_within_two_intervals_of_the_closing_success_goes_on_at_the_next_rung_of_either_gate() {
    for (refusal, gate) in [(rejected(), GateName::Auth), (limited(None), GateName::Usage)] {
        let mut rules = vendors_file();
        (rules.interval, rules.auth.after) = (ms(30 * MIN), 1);
        let mut answers = [refusal.clone(), answered(), refusal].into_iter();
        let mut world = World::new(rules).with_usage(move |_| answers.next().unwrap_or_else(answered));
        while world.asks.len() < 3 {
            assert!(world.at < DAY);
            world.run(MIN);
        }
        let view = world.view();
        let shown = if gate == GateName::Auth { view.auth_gate } else { view.usage_gate };
        assert_eq!(shown.rung, Some(1), "{gate:?}: {:?}", world.asked_at());
    }
}

#[test]
fn a_refusal_of_a_refresh_within_two_intervals_of_a_success_goes_on_at_the_next_rung() {
    let limited = Token::Refused(Refusal::Limited { demand: None });
    let mut answers = [limited, Token::Granted(50 * MIN), limited].into_iter();
    let mut rules = own_grant();
    rules.interval = ms(30 * MIN);
    let mut world = World::new(rules).with_life(0).with_token(move |_| answers.next().unwrap_or(UNKNOWN));
    while world.posts.len() < 3 {
        assert!(world.at < DAY);
        world.run(MIN);
    }
    assert_eq!(world.view().token_gate.rung, Some(1), "{:?}", world.posted_at());
}

#[test]
fn what_could_not_be_stored_waits_as_the_newest_of_its_thing_until_that_is_stored() {
    let mark = |posts| Record::Mark(refresh(1), Mark { posts, ..Mark::default() });
    let login = |key: &str| Record::Login { key: key.to_owned(), record: Box::default(), durable: true };
    let mut backlog = Backlog::default();
    for record in [mark(1), login("a"), login("b"), mark(2), login("a")] {
        backlog.keep(&record);
    }
    backlog.supersede(&login("b"));
    assert!(!backlog.is_empty());
    assert_eq!(backlog.take(), [mark(2), login("a")]);
    assert!(backlog.is_empty());
}

//! What the shell asks of an account besides its decisions: when to wake, how late, what is under way, what was counted.

use super::super::*;
use super::world::{
    DAY, HOUR, MIN, S, World, access, answered, failed, limited, ms, own_grant, refresh, rejected, vendors_file,
};
use crate::model::{Endpoint, Failure, RefreshMode, Refusal, UsageOutcome};
use crate::policy::rotation::{Event as Came, Minted, Step};
use crate::policy::status::AccountState;
use crate::policy::time::Loaded;

/// Feeds one input without performing what follows.
fn handle(world: &mut World, input: Input) -> Vec<Action> {
    let now = world.now();
    world.account.handle(input, now, &mut Loaded(0.0))
}

fn found(login: Login) -> Input {
    Input::Looked(Look {
        credential: Credential::Login(login),
        doubt: &[],
        warning: None,
        in_use: false,
        unplaced: None,
    })
}

#[test]
fn an_account_is_started_once_its_file_was_looked_at_and_what_is_stored_is_in() {
    let mut world = World::new(vendors_file());
    assert!(!world.account.is_started(), "nothing has happened");
    assert_eq!(handle(&mut world, Input::Timer), [Action::Look]);
    assert!(!world.account.is_started());
    let login = world.login(1, HOUR);
    let next = handle(&mut world, found(login));
    assert_eq!(next.last(), Some(&Action::Recall));
    assert!(!world.account.is_started(), "its gates are not known yet");
    let answer = world.account.command(Command::Poll, world.now(), &mut Loaded(0.0)).0;
    assert_eq!((answer.verdict, answer.at), (Verdict::Done, None), "so no moment can be named: {}", answer.said);
    handle(&mut world, Input::Recalled(Box::default()));
    assert!(world.account.is_started());

    let switched = Login { identity: Some("two".into()), ..world.login(2, HOUR) };
    let named = Login { identity: Some("one".into()), ..world.login(1, HOUR) };
    let mut world = World::new(vendors_file());
    world.file = Credential::Login(named);
    world.run(MIN);
    handle(&mut world, Input::Touched);
    world.at += S;
    assert_eq!(handle(&mut world, Input::Timer), [Action::Look]);
    assert_eq!(handle(&mut world, found(switched)).last(), Some(&Action::Recall));
    assert!(!world.account.is_started(), "another login's gates are not known yet");
}

#[test]
fn an_account_is_due_soon_while_something_is_under_way_and_within_a_second_of_its_next_wake_up() {
    let mut world = World::new(vendors_file());
    assert!(world.account.is_due_soon(world.now()), "the first look is due");
    handle(&mut world, Input::Timer);
    assert!(world.account.is_due_soon(world.now()), "it is under way");

    let mut world = World::new(vendors_file()).with_usage(|_| failed(Failure::Server(500))).with_dice(Loaded(0.9));
    world.run(30 * S);
    assert!(world.account.poll.is_some() && world.account.is_due_soon(world.now()), "a poll is under way");
    world.usage = Box::new(|_| answered());
    world.run(MIN);
    assert!(!world.account.is_due_soon(world.now()));
    let next = world.account.next_wake(world.now()).unwrap().since(world.now().moment);
    world.at += u64::try_from(next.as_millis()).unwrap() - 1001;
    assert!(!world.account.is_due_soon(world.now()), "in 1001 ms");
    world.at += 1;
    assert!(world.account.is_due_soon(world.now()), "in 1000 ms");
}

#[test]
fn a_rotation_is_under_way_from_its_first_step_to_its_last() {
    let mut world = World::new(own_grant()).with_life(0);
    world.kill_at = Some(Step::Post);
    world.run(0);
    assert!(world.account.is_rotating());
    let mut idle = World::new(own_grant());
    idle.run(MIN);
    assert!(!idle.account.is_rotating());
}

#[test]
fn a_file_is_absent_once_that_is_believed() {
    for (file, absent) in [(Credential::Absent, true), (Credential::SignedOut, false), (Credential::NoLogin, false)] {
        let mut world = World::new(vendors_file());
        assert!(!world.account.is_absent(), "not looked at yet");
        world.file = file.clone();
        world.run(MIN);
        assert_eq!(world.account.is_absent(), absent, "{file:?}");
    }
}

#[test]
fn only_the_slow_look_at_a_file_that_nothing_is_asked_with_may_come_late() {
    let slack = |world: &World| world.account.slack(world.now());
    let mut world = World::new(vendors_file());
    assert_eq!(slack(&world), ms(0), "the first look is due");
    world.run(MIN);
    assert_eq!(slack(&world), ms(0), "polls are due");
    world.file = Credential::SignedOut;
    world.feed(Input::Touched);
    assert_eq!(slack(&world), ms(0), "a change is to be looked at");
    world.run(MIN);
    assert_eq!(slack(&world), ms(5 * MIN), "half an interval");

    let mut waiting = World::new(own_grant())
        .with_life(0)
        .with_token(|_| super::world::Token::Refused(Refusal::Limited { demand: None }));
    waiting.run(MIN);
    assert_eq!(slack(&waiting), ms(0), "a refresh is due");
}

#[test]
fn a_touched_file_is_looked_at_a_quarter_of_a_second_later_however_often_it_is_touched() {
    let mut world = World::new(vendors_file());
    world.run(MIN);
    world.looks.clear();
    for _ in 0..5 {
        world.feed(Input::Touched);
        world.run(50);
    }
    assert_eq!(world.looks, [MIN + 250]);
}

#[test]
fn what_another_account_learned_of_a_token_holds_here_too() {
    for mark in
        [Mark { dead: Some("invalid_grant".into()), ..Mark::default() }, Mark { spent: true, ..Mark::default() }]
    {
        let mut world = World::new(own_grant()).with_life(HOUR);
        world.run(MIN);
        let teller = World::new(vendors_file()).account;
        assert!(world.account.heed(&Record::Mark(refresh(1), mark), &teller, world.now()));
        world.run(DAY);
        assert_eq!((world.posts.len(), world.state()), (0, AccountState::Dead));
    }
}

/// What an account of this world has stored for its login.
fn stored(world: &World) -> Record {
    let key = world.account.login_key();
    let record = serde_json::from_str(&world.store.logins[&key]).unwrap();
    Record::Login { key, record, durable: true }
}

#[test]
fn an_account_of_the_same_login_waits_as_long_as_the_one_that_was_told() {
    let mut told = World::new(vendors_file()).with_usage(|_| limited(Some(3 * HOUR)));
    told.run(6 * MIN);
    let mut world = World::new(vendors_file());
    world.run(5 * MIN);
    assert!(world.account.heed(&stored(&told), &told.account, world.now()));
    world.run(2 * HOUR);
    assert_eq!(world.asks.len(), 1, "its gate is the other's");
    assert_eq!(world.account.interval(), told.account.interval(), "and so is its pace");

    let mut stranger = World::new(vendors_file());
    stranger.file = Credential::Login(Login { identity: Some("two".into()), ..stranger.login(2, DAY) });
    stranger.run(5 * MIN);
    assert!(
        !stranger.account.heed(&stored(&told), &told.account, stranger.now()),
        "another login's gates are not its own"
    );
    stranger.run(2 * HOUR);
    assert!(stranger.asks.len() > 10);
}

#[test]
fn a_wait_that_an_early_answer_ends_for_one_account_is_over_for_every_other_of_its_login() {
    let mut told = World::new(vendors_file())
        .with_usage(|sent| if sent.token == access(1) { limited(Some(20 * HOUR)) } else { answered() });
    told.run(6 * MIN);
    let mut world = World::new(vendors_file());
    world.run(6 * MIN);
    world.account.heed(&stored(&told), &told.account, world.now());
    let login = told.login(2, DAY);
    told.write(login);
    told.run(S);
    assert_eq!(told.state(), AccountState::Ok);
    world.run(S);
    world.account.heed(&stored(&told), &told.account, world.now());
    world.run(HOUR);
    let slowed = told.account.interval().as_millis() as u64;
    assert_eq!(world.asked_at()[1], told.asked_at()[1] + slowed, "an interval after the other's request");
}

#[test]
fn a_request_of_one_account_keeps_the_floor_for_every_other_of_its_login() {
    let mut late = World::new(vendors_file());
    late.at = 9 * MIN;
    late.run(0);
    let mut early = World::new(vendors_file());
    early.run(9 * MIN);
    early.account.heed(&stored(&late), &late.account, early.now());
    early.run(10 * MIN);
    assert_eq!(early.asked_at(), [0, 14 * MIN], "five minutes after the other's request");

    let mut world = World::new(vendors_file());
    world.at = 9 * MIN;
    world.run(0);
    let mut before = World::new(vendors_file());
    before.run(0);
    world.account.heed(&stored(&before), &before.account, world.now());
    let answer = world.command(Command::Poll);
    assert_eq!(answer.at.unwrap().duration_since(world.now().stamp).as_secs(), 300, "an older one changes nothing");
}

#[test]
fn a_pause_is_told_at_once_even_while_a_request_is_under_way() {
    let mut world = World::new(vendors_file());
    handle(&mut world, Input::Timer);
    let login = world.login(1, HOUR);
    handle(&mut world, found(login));
    let asked = handle(&mut world, Input::Recalled(Box::default()));
    assert!(matches!(asked.last(), Some(Action::Ask(_))), "{asked:?}");
    let (_, actions) = world.account.command(Command::Pause, world.now(), &mut Loaded(0.0));
    let told = Action::Tell(Event::StateChanged { from: AccountState::Starting, to: AccountState::Paused });
    assert!(actions.contains(&told), "{actions:?}");
}

#[test]
fn every_poll_answer_refusal_rejection_and_refresh_is_counted() {
    let mut answers = [answered(), limited(None), rejected()].into_iter();
    let mut tokens = [super::world::UNKNOWN, super::world::Token::Granted(8 * HOUR)].into_iter();
    let mut world = World::new(own_grant())
        .with_usage(move |_| answers.next().unwrap_or_else(answered))
        .with_token(move |_| tokens.next().unwrap_or(super::world::CLOSED));
    world.run(9 * HOUR);
    let counted = world.view().counters;
    assert_eq!(counted.polls, world.asks.len() as u64);
    assert_eq!((counted.ok, counted.throttled, counted.auth_failures), (counted.polls - 2, 1, 1));
    assert_eq!((counted.refreshes, counted.refresh_failures), (1, 1), "{counted:?}");
}

#[test]
fn a_try_that_would_fall_on_the_next_poll_is_the_next_poll() {
    let mut rules = vendors_file();
    (rules.interval, rules.floor, rules.retry_base) = (ms(10 * S), ms(0), ms(10 * S));
    let mut world = World::new(rules).with_usage(|_| failed(Failure::Timeout)).with_dice(Loaded(1.0));
    world.run(2 * S);
    world.asks.clear();
    world.run(30 * S);
    assert_eq!(world.view().counters.polls, 1 + world.asks.len() as u64);
}

#[test]
fn the_last_exchanges_are_kept_with_what_they_meant_and_no_answer_hides_a_refusal() {
    let mut rules = own_grant();
    rules.retries = 0;
    let outcomes = [
        (UsageOutcome::Answered { windows: Vec::new(), plan: None }, "0 windows"),
        (limited(None), "rate-limited, no advice"),
        (limited(Some(16 * MIN)), "rate-limited, wait 960 s"),
        (rejected(), "invalid token"),
        (UsageOutcome::Rejected { permanent: true, said: "revoked" }, "refused for good: revoked"),
        (UsageOutcome::NoPermission { said: "no plan" }, "not allowed: no plan"),
        (failed(Failure::Overloaded), "overloaded"),
        (failed(Failure::Server(500)), "server error"),
        (failed(Failure::Timeout), "no whole answer in time"),
        (failed(Failure::Connect), "connection refused"),
        (failed(Failure::Offline), "no network"),
        (failed(Failure::Challenge), "edge page"),
        (failed(Failure::Garbage("no JSON")), "not understood: no JSON"),
        (failed(Failure::Gone(404)), "endpoint gone"),
        (failed(Failure::Refused(418)), "request refused"),
    ];
    for (outcome, meaning) in outcomes {
        let mut world = World::new(rules.clone()).with_usage(move |_| outcome.clone());
        world.run(0);
        let kept = world.view().exchanges;
        let usage = kept.iter().find(|exchange| exchange.endpoint == Endpoint::Usage).unwrap();
        assert_eq!(usage.meaning, meaning);
    }
    let mut world = World::new(vendors_file());
    world.file = Credential::Login(world.login(1, 30 * DAY));
    world.run(DAY);
    let kept =
        |world: &World| world.view().exchanges.iter().map(|kept| (kept.at, kept.meaning.clone())).collect::<Vec<_>>();
    let answered = kept(&world);
    assert_eq!(answered.len(), 4);
    assert!(answered.is_sorted() && answered[3].0 == world.now().stamp, "oldest first: {answered:?}");
    let mut refusals = 0;
    let mut world = World::new(rules).with_usage(move |_| {
        refusals += 1;
        if refusals <= 30 { limited(None) } else { UsageOutcome::Answered { windows: Vec::new(), plan: None } }
    });
    world.file = Credential::Login(world.login(1, 300 * DAY));
    world.run(100 * DAY);
    let kept = kept(&world);
    assert_eq!(kept.len(), 20);
    assert!(kept.is_sorted(), "oldest first: {kept:?}");
    assert_eq!(kept.iter().filter(|(_, meaning)| meaning == "0 windows").count(), 4);
}

#[test]
fn gates_have_the_names_of_the_contract() {
    assert_eq!([GateName::Usage, GateName::Token, GateName::Auth].map(GateName::as_str), ["usage", "token", "auth"]);
}

#[test]
fn the_answer_to_poll_says_whether_it_goes_now_or_waits_for_the_floor() {
    let mut world = World::new(vendors_file());
    world.run(MIN);
    assert!(world.command(Command::Poll).said.contains("never closer"));
    world.run(4 * MIN);
    world.run(5 * MIN);
    world.at += 6 * MIN;
    assert_eq!(world.command(Command::Poll).said, "asking now");
}

#[test]
fn a_person_who_polls_what_cannot_be_asked_is_told_why() {
    let mut unreadable = World::new(vendors_file());
    unreadable.file = Credential::Unreadable("the file is not JSON".into());
    unreadable.run(MIN);
    let answer = unreadable.command(Command::Poll);
    assert_eq!((answer.verdict, answer.said.as_str()), (Verdict::LoginNeeded, "the file is not JSON"));

    let mut expired = World::new(vendors_file()).with_life(0);
    expired.run(MIN);
    let answer = expired.command(Command::Poll);
    assert_eq!((answer.verdict, answer.said.as_str()), (Verdict::Wait, "the access token has expired"));

    let mut dead = World::new(own_grant()).with_life(0).with_token(|_| super::world::INVALID_GRANT);
    dead.run(MIN);
    assert_eq!(dead.command(Command::Poll).verdict, Verdict::LoginNeeded, "waiting would not help");

    let mut narrow = World::new(vendors_file());
    let scopes = Some(vec!["user:inference".to_owned()]);
    narrow.file = Credential::Login(Login { scopes, ..narrow.login(1, 0) });
    narrow.run(MIN);
    assert_eq!(narrow.command(Command::Poll).verdict, Verdict::LoginNeeded, "nor here");
}

#[test]
fn a_poll_whose_next_try_may_not_leave_any_more_is_over() {
    let mut world =
        World::new(vendors_file()).with_life(4800).with_usage(|_| failed(Failure::Server(500))).with_dice(Loaded(0.9));
    world.run(MIN);
    assert_eq!((world.asks.len(), world.state()), (1, AccountState::Waiting));
    assert!(!world.account.is_due_soon(world.now()));
}

#[test]
fn a_reload_that_changes_the_pace_draws_the_next_poll_anew_and_no_other_does() {
    let planned = |world: &World| world.account.next_poll.unwrap().at.since(world.now().moment);
    for (minutes, jitter, wait) in [(10, 0.1, 10), (30, 0.1, 33), (10, 0.5, 15), (30, 0.0, 30)] {
        let mut world = World::new(vendors_file());
        world.run(0);
        assert_eq!(planned(&world), ms(10 * MIN), "drawn with dice that showed 0");
        let mut world = world.with_dice(Loaded(1.0));
        world.reload(|rules| (rules.interval, rules.jitter) = (ms(minutes * MIN), jitter));
        assert_eq!(planned(&world), ms(wait * MIN), "{minutes} min, jitter {jitter}");
    }
    let mut fresh = World::new(vendors_file());
    fresh.reload(|rules| rules.interval = ms(HOUR));
    fresh.run(S);
    assert_eq!(fresh.asks.len(), 1, "nothing was drawn yet, so nothing is put off");
}

#[test]
fn the_modes_other_than_command_run_nothing() {
    for mode in [RefreshMode::Never, RefreshMode::WhenIdle] {
        let mut rules = vendors_file();
        rules.refresh.mode = mode;
        let mut world = World::new(rules).with_life(0);
        world.run(DAY);
        assert!(world.ran.is_empty(), "{mode:?}");
    }
}

#[test]
fn a_token_that_another_account_has_just_begun_to_post_is_left_to_it() {
    let begun = Mark { fence: Some(World::new(own_grant()).now().stamp), posts: 1, ..Mark::default() };
    let spent = Mark { spent: true, ..Mark::default() };
    for (learned, posts) in [(None, true), (Some(begun), false), (Some(spent), false)] {
        let mut world = World::new(own_grant()).with_life(0);
        handle(&mut world, Input::Timer);
        let login = world.login(1, 0);
        handle(&mut world, found(login));
        assert_eq!(handle(&mut world, Input::Recalled(Box::default())).last(), Some(&Action::Rotate(Step::Lock)));
        for step in [Step::Probe, Step::ReRead] {
            assert_eq!(handle(&mut world, Input::Stepped(Came::Done, None)), [Action::Rotate(step)]);
        }
        if let Some(mark) = &learned {
            let teller = World::new(own_grant()).account;
            world.account.heed(&Record::Mark(refresh(1), mark.clone()), &teller, world.now());
        }
        let next = handle(&mut world, Input::Stepped(Came::Done, None));
        assert_eq!(matches!(next[..], [Action::Fence(..)]), posts, "{learned:?}: {next:?}");
        assert!(posts || next == [Action::Rotate(Step::Unlock)], "{learned:?}: {next:?}");
    }
}

#[test]
fn a_successor_that_still_counts_as_unplaced_is_not_placed_again_at_once() {
    let mut world = World::new(own_grant());
    let minted = Minted { access: access(2), refresh: refresh(2), lease: ms(HOUR) };
    let unplaced = |world: &World| {
        let unplaced = Some(Unplaced { posted: refresh(1), minted: minted.clone() });
        let credential = Credential::Login(world.login(2, HOUR));
        Input::Looked(Look { credential, doubt: &[], warning: None, in_use: false, unplaced })
    };
    handle(&mut world, Input::Timer);
    let look = unplaced(&world);
    handle(&mut world, look);
    let mut next = handle(&mut world, Input::Recalled(Box::default()));
    while let Some(Action::Rotate(_)) = next.last() {
        next = handle(&mut world, Input::Stepped(Came::Done, None));
    }
    assert_eq!(next.last(), Some(&Action::Look), "it lies in its place");
    let look = unplaced(&world);
    let next = handle(&mut world, look);
    assert!(!next.iter().any(|action| matches!(action, Action::Rotate(_))), "{next:?}");
}

#[test]
fn a_post_that_another_account_has_under_way_is_no_reason_to_post_the_same_token_beside_it() {
    let fenced = Mark { fence: Some(World::new(own_grant()).now().stamp), posts: 1, ..Mark::default() };
    for begun in [false, true] {
        let mut world = World::new(own_grant()).with_life(0);
        handle(&mut world, Input::Timer);
        let login = world.login(1, 0);
        handle(&mut world, found(login));
        if begun {
            let teller = World::new(own_grant()).account;
            world.account.heed(&Record::Mark(refresh(1), fenced.clone()), &teller, world.now());
        }
        let next = handle(&mut world, Input::Recalled(Box::default()));
        assert_eq!(next.last() == Some(&Action::Rotate(Step::Lock)), !begun, "{next:?}");
        let again = world.now().moment + ms(10 * MIN);
        assert!(!begun || world.account.next_wake(world.now()) == Some(again), "an interval later");
    }
}

#[test]
fn only_a_new_fence_of_its_own_token_holds_an_account_back() {
    let now = World::new(own_grant()).now().stamp;
    let fence = |at| Mark { fence: at, posts: 1, ..Mark::default() };
    for (token, known, told, held_back) in [
        (1, None, Some(now), true),
        (1, Some(now), Some(now + ms(MIN)), true),
        (1, Some(now), Some(now), false),
        (1, Some(now), None, false),
        (2, None, Some(now), false),
    ] {
        let mut world = World::new(own_grant());
        world.run(MIN);
        let teller = World::new(own_grant()).account;
        world.account.marks.set(refresh(token), fence(known));
        world.account.heed(&Record::Mark(refresh(token), fence(told)), &teller, world.now());
        assert_eq!(world.account.refresh_not_before.is_some(), held_back, "token {token}: {known:?}, then {told:?}");
        assert_eq!(world.account.marks.of(refresh(token)).fence, told, "but every account knows of it");
    }
}

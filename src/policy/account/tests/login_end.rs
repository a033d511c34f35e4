//! A login that ends on a day of its own.

use super::super::*;
use super::world::{DAY, HOUR, MIN, World, ms, vendors_file};

/// A world whose login ends in `days` days and half an hour.
fn ending_in(days: u64) -> World {
    let mut world = World::new(vendors_file());
    let end = world.now().stamp.checked_add(ms(days * DAY + 30 * MIN)).unwrap();
    let login = Login { login_ends_at: Some(end), ..world.login(1, 30 * DAY) };
    world.file = Credential::Login(login);
    world
}

/// When each warning came, in whole hours, and how many days ahead it spoke of.
fn warnings(world: &World) -> Vec<(u64, u32)> {
    let warning = |(at, event): &(u64, Event)| match event {
        Event::LoginEnding { days } => Some((at / HOUR, *days)),
        _ => None,
    };
    world.told.iter().filter_map(warning).collect()
}

#[test]
fn the_end_of_a_login_is_foretold_seven_three_and_one_days_ahead_once_each_also_across_restarts() {
    let mut world = ending_in(9);
    for _ in 0..18 {
        world.run(12 * HOUR);
        world.restart();
    }
    assert_eq!(warnings(&world), [(48, 7), (144, 3), (192, 1)]);
}

#[test]
fn a_login_found_close_to_its_end_is_warned_of_once_and_one_past_its_end_is_not() {
    for (days, expected) in [(2, vec![(0, 3), (24, 1)]), (0, vec![(0, 1)])] {
        let mut world = ending_in(days);
        world.run(3 * DAY);
        assert_eq!(warnings(&world), expected, "{days} days");
    }
}

#[test]
fn a_new_end_is_a_new_story_and_an_end_that_moves_by_seconds_is_not() {
    let mut world = ending_in(2);
    world.run(HOUR);
    let moved = |world: &World, by: u64| {
        let end = world.account.login().unwrap().login_ends_at.unwrap().checked_add(ms(by)).unwrap();
        Login { login_ends_at: Some(end), ..world.login(1, 30 * DAY) }
    };
    world.write(moved(&world, 5_000));
    world.run(HOUR);
    assert_eq!(warnings(&world), [(0, 3)], "the same end, counted anew");
    world.write(moved(&world, 4 * DAY));
    world.run(HOUR);
    assert_eq!(warnings(&world), [(0, 3), (2, 7)], "another end");
}

#[test]
fn within_seven_days_the_action_names_the_day_unless_something_else_needs_doing() {
    let mut world = ending_in(8);
    world.run(HOUR);
    assert_eq!(world.view().action, "nothing to do");
    world.run(DAY);
    let action = world.view().action;
    assert!(action.starts_with("log in again before 20") && action.ends_with(": claude /login"), "{action}");
    world.file = Credential::SignedOut;
    world.feed(Input::Touched);
    world.run(HOUR);
    assert_eq!(world.view().action, "log in again: claude /login");
}

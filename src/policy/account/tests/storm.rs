//! Months of hostile weather: everything at random, and what holds all the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::*;
use super::world::{
    CLOSED, DAY, HOUR, INVALID_GRANT, MIN, Random, S, Sent, Token, UNKNOWN, World, answered, failed, limited, ms,
    own_grant, rejected,
};
use crate::model::{Failure, Refusal, UsageOutcome};
use crate::policy::rotation::{self, Step};
use crate::policy::status::AccountState;

fn pick(dice: &mut Random, of: u64) -> u64 {
    (dice.roll() * of as f64) as u64
}

/// What the vendor answers in a storm; `None` where it is fine.
fn usage_in_storm(n: u64) -> UsageOutcome {
    match n {
        0 => limited(None),
        1 => limited(Some(7 * MIN)),
        2 => rejected(),
        3 => UsageOutcome::NoPermission { said: "no plan" },
        4 => failed(Failure::Offline),
        5 => failed(Failure::Server(502)),
        6 => failed(Failure::Challenge),
        7 => UsageOutcome::Failed { failure: Failure::Server(503), demand: Some(ms(9 * MIN)) },
        _ => answered(),
    }
}

fn token_in_storm(n: u64) -> Token {
    match n {
        0 => Token::Refused(Refusal::Limited { demand: None }),
        1 => Token::Refused(Refusal::Limited { demand: Some(ms(HOUR)) }),
        2 => CLOSED,
        3 | 4 => UNKNOWN,
        5 => Token::Refused(Refusal::Challenge),
        _ => Token::Granted(HOUR),
    }
}

/// An own grant in a storm of some days; what was posted with an unknown outcome, and when.
fn storm(seed: u64) -> (World, Rc<RefCell<Vec<Sent>>>) {
    let unknown = Rc::new(RefCell::new(Vec::new()));
    let noted = unknown.clone();
    let mut usage = Random(seed);
    let mut token = Random(seed + 1000);
    let mut world = World::new(own_grant())
        .with_life(HOUR)
        .with_dice(Random(seed + 2000))
        .with_usage(move |_| usage_in_storm(pick(&mut usage, 16)))
        .with_token(move |sent| {
            let answer = token_in_storm(pick(&mut token, 14));
            if matches!(answer, Token::Refused(Refusal::Unknown(_))) {
                noted.borrow_mut().push(sent);
            }
            answer
        });
    let mut fate = Random(seed + 3000);
    for _ in 0..500 {
        match pick(&mut fate, 12) {
            0 => world.restart(),
            1 => drop(world.command(Command::Poll)),
            2 => drop(world.command(Command::Resume)),
            3 => world.sleep(pick(&mut fate, 60) * MIN),
            4 => world.reboot(pick(&mut fate, 10) * MIN),
            5 => world.reload(|rules| rules.interval = ms(if rules.interval == ms(10 * MIN) { 6 } else { 10 } * MIN)),
            6 => world.feed(Input::Touched),
            7 => world.torn.extend([true, true]),
            8 => {
                let step = Step::ALL[pick(&mut fate, 12) as usize];
                world.broken = BTreeMap::from([(step, rotation::Event::Failed("broken".into()))]);
            }
            9 => world.broken.clear(),
            10 => {
                world.kill_at = Some(Step::ALL[pick(&mut fate, 12) as usize]);
                world.run(20 * MIN);
                world.restart();
            }
            _ => {}
        }
        world.run(pick(&mut fate, 20 * MIN));
    }
    (world, unknown)
}

#[test]
fn whatever_the_weather_no_token_is_posted_again_while_something_could_be_lost_by_it() {
    for seed in 0..8 {
        let (world, unknown) = storm(seed);
        for lost in unknown.borrow().iter() {
            let lives_until = world.lives_until(lost.token);
            let again = world.posts.iter().find(|sent| {
                sent.token == lost.token && (lost.at + 1..lives_until.max(lost.at + 1)).contains(&sent.at)
            });
            assert_eq!(again, None, "seed {seed}: {lost:?} lives until {lives_until}");
        }
        let hurried = world.posts.windows(2).filter(|pair| pair[1].at - pair[0].at < 500).count();
        assert!(hurried * 50 <= world.posts.len(), "seed {seed}: {hurried} of {}", world.posts.len());
    }
}

#[test]
fn whatever_the_weather_the_vendor_is_never_hammered_and_the_account_comes_back_by_itself() {
    for seed in 0..8 {
        let (mut world, _) = storm(seed);
        let days = world.at / DAY + 1;
        let (asks, posts) = (world.asks.len() as u64, world.posts.len() as u64);
        assert!(asks <= days * 24 * 12 * 2, "seed {seed}: {asks} requests in {days} days");
        assert!(posts <= days * 24 * 6, "seed {seed}: {posts} posts in {days} days");
        world.broken.clear();
        world.usage = Box::new(|_| answered());
        world.token = Box::new(|_| Token::Granted(8 * HOUR));
        world.run(2 * DAY + MIN);
        assert_eq!(world.state(), AccountState::Ok, "seed {seed}: {:?}", world.view());
    }
}

#[test]
fn a_dead_grant_is_posted_once_whatever_the_weather() {
    for seed in 0..20 {
        let mut world = World::new(own_grant()).with_life(0).with_token(|_| INVALID_GRANT).with_dice(Random(seed));
        let mut fate = Random(seed);
        for _ in 0..200 {
            match pick(&mut fate, 4) {
                0 => world.restart(),
                1 => drop(world.command(Command::Poll)),
                2 => world.sleep(HOUR),
                _ => world.feed(Input::Touched),
            }
            world.run(pick(&mut fate, 10 * S));
        }
        assert_eq!(world.posts.len(), 1, "seed {seed}");
        assert!(matches!(world.file, Credential::Login(_)), "and the file is left alone");
    }
}

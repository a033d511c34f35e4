//! Choices and reports, over a small world with a clock of its own.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{AccountName, Reading, Source, Window};
use crate::policy::ladder::Ladder;
use crate::policy::status::AccountState;
use crate::policy::time::Loaded;

const CLAUDE: ProviderId = ProviderId::new("claude");

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

fn now(seconds: u64) -> Now {
    let stamp = Stamp::from_second(1_800_000_000 + i64::try_from(seconds).unwrap()).unwrap();
    Now { moment: Moment::from_millis(1000 * seconds), stamp }
}

fn rules() -> PoolRules {
    let ladder = || Ladder::new(vec![minutes(5), minutes(10), minutes(20)], minutes(360));
    PoolRules {
        rate: ladder(),
        max_retry_after: minutes(24 * 60),
        auth_after: 3,
        auth: ladder(),
        billing: Ladder::new(vec![minutes(300)], minutes(24 * 60)),
        jitter: 0.0,
        overloaded_after: 3,
        quiet: minutes(5),
        fallback: vec![vec!["opus".to_owned(), "sonnet".to_owned()]],
    }
}

/// One account of the little world.
#[derive(Debug, Clone)]
struct Login {
    name: AccountName,
    token: u8,
    state: AccountState,
    weight: f64,
    reading: Option<Reading>,
}

/// A window with its percentage; it resets at second 10,000. `weekly:opus/Opus` is that of a model.
fn reading(windows: &[(&str, f64)]) -> Reading {
    let window = |(id, used): &(&str, f64)| {
        let (id, model) = id.split_once('/').map_or((*id, None), |(id, model)| (id, Some(model.to_owned())));
        let resets_at = Some(now(10_000).stamp);
        Window { model, used_percent: Some(*used), resets_at, ..Window::named(id, id) }
    };
    let windows = windows.iter().map(window).collect();
    Reading { windows, plan: None, read_at: now(0).stamp, source: Source::Api, earlier: None }
}

impl Login {
    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            name: &self.name,
            login: format!("login {}", self.name),
            unnamed: None,
            token: Some(Fingerprint::new([self.token; 16])),
            is_readable: true,
            token_lives: true,
            by_token: false,
            unreachable: None,
            state: self.state,
            until: None,
            reading: self.reading.as_ref(),
            weight: self.weight,
            interval: minutes(10),
        }
    }
}

struct World {
    pool: Pool,
    logins: Vec<Login>,
    at: u64,
}

impl World {
    /// Accounts a, b, c … each with the five-hour window used by so much.
    fn new(used: &[f64]) -> Self {
        let login = |(n, used): (u8, &f64)| Login {
            name: AccountName::parse(&char::from(b'a' + n).to_string()).unwrap(),
            token: n,
            state: AccountState::Ok,
            weight: 1.0,
            reading: Some(reading(&[("five_hour", *used)])),
        };
        let pool = Pool::new(rules(), "boot".to_owned(), Vec::new(), Vec::new(), now(0));
        Self { pool, logins: (0..).zip(used).map(login).collect(), at: 0 }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Pool, &[Candidate<'_>], Now) -> T) -> T {
        let candidates: Vec<Candidate<'_>> = self.logins.iter().map(Login::candidate).collect();
        act(&mut self.pool, &candidates, now(self.at))
    }

    fn wish(model: Option<&'static str>, caller: Option<&'static str>) -> Wish<'static> {
        Wish { provider: CLAUDE, model, caller, needs_token: false, needs_environment: false }
    }

    fn choose(&mut self, wish: Wish<'_>) -> Result<Choice, Unavailable> {
        self.with(|pool, candidates, now| pool.select(&wish, candidates, now))
    }

    /// The account that is chosen, with its model; or until which second nothing is there.
    fn select(&mut self, model: Option<&'static str>, caller: Option<&'static str>) -> String {
        match self.choose(Self::wish(model, caller)) {
            Ok(Choice { account, model: Some(model), .. }) => format!("{account} {model}"),
            Ok(choice) => choice.account.to_string(),
            Err(Unavailable { until: Some(until), .. }) => {
                format!("until {}", until.as_second() - now(0).stamp.as_second())
            }
            Err(Unavailable { needs_person, .. }) => (if needs_person { "a person" } else { "unknown" }).to_owned(),
        }
    }

    fn any(&mut self) -> String {
        self.select(None, None)
    }

    fn tell(&mut self, account: &str, report: Report<'_>) -> Booked {
        self.with(|pool, candidates, now| {
            let of = candidates.iter().find(|candidate| candidate.name.as_str() == account).unwrap();
            pool.report(&report, of, CLAUDE, now, &mut Loaded(0.5))
        })
    }

    fn report(&mut self, account: &str, outcome: Outcome) -> Booked {
        self.tell(
            account,
            Report { outcome, demand: None, model: None, limited_to: None, caller: None, is_outdated: false },
        )
    }

    /// The daemon's own poll, sent so many seconds from now, was answered with this token.
    fn vindicate(&mut self, token: u8, sent: i64) {
        let at = now(self.at);
        let sent = at.stamp + jiff::SignedDuration::from_secs(sent);
        self.pool.vindicate(Fingerprint::new([token; 16]), sent, minutes(20), at.moment);
    }

    fn pardon(&mut self, account: &str) {
        let login = self.logins.iter().find(|login| login.name.as_str() == account).unwrap();
        self.pool.pardon(&login.candidate());
    }

    fn limited(&mut self, account: &str, seconds: u64) -> Booked {
        let demand = Some(Duration::from_secs(seconds));
        self.tell(
            account,
            Report {
                outcome: Outcome::RateLimited,
                demand,
                model: None,
                limited_to: None,
                caller: None,
                is_outdated: false,
            },
        )
    }
}

#[test]
fn the_most_headroom_weighted_by_plan_goes_first_and_the_unknown_after_it() {
    let mut world = World::new(&[50.0, 20.0, 90.0]);
    assert_eq!(world.any(), "b");
    assert_eq!(world.any(), "b", "whatever was used before");
    world.logins[2].weight = 20.0;
    assert_eq!(world.any(), "c", "a tenth of twenty plans is more than eight tenths of one");
    world.logins[2].reading = None;
    assert_eq!(world.any(), "b");
    world.logins[0].reading = Some(reading(&[("five_hour", 100.0)]));
    world.logins[1].reading = Some(reading(&[("five_hour", 99.9)]));
    assert_eq!(world.any(), "b", "little that is known before much that is not");
}

#[test]
fn accounts_that_are_about_as_full_are_used_in_turn_whoever_asks() {
    let mut world = World::new(&[41.0, 42.0, 43.0]);
    let chosen: Vec<String> = (0..6).map(|_| world.any()).collect();
    assert_eq!(chosen, ["a", "b", "c", "a", "b", "c"]);
    for (used, order) in [(45.9, ["a", "b", "c"]), (46.1, ["a", "c", "a"])] {
        world.logins[1].reading = Some(reading(&[("five_hour", used)]));
        assert_eq!([world.any(), world.any(), world.any()], order, "at {used}");
    }
}

#[test]
fn the_turn_outlasts_a_restart() {
    let used = vec![("login b".to_owned(), now(5).stamp), ("login a".to_owned(), now(9).stamp)];
    let mut world = World::new(&[1.0, 1.0]);
    world.pool = Pool::new(rules(), "boot".to_owned(), Vec::new(), used, now(10));
    assert_eq!([world.any(), world.any(), world.any()], ["b", "a", "b"]);
}

#[test]
fn a_caller_stays_with_its_account_until_that_leaves_and_then_with_the_next() {
    let mut world = World::new(&[0.0, 0.0, 0.0]);
    let mine = |world: &mut World| world.select(None, Some("me"));
    assert_eq!([mine(&mut world), world.any(), mine(&mut world), mine(&mut world)], ["a", "b", "a", "a"]);
    world.logins[0].reading = Some(reading(&[("five_hour", 98.0)]));
    assert_eq!(mine(&mut world), "a", "another would be better, but is another");
    world.limited("a", 60);
    assert_eq!([mine(&mut world), mine(&mut world)], ["c", "c"]);
    world.at = 100;
    assert_eq!(mine(&mut world), "c", "it does not wander back");
}

#[test]
fn only_the_latest_callers_are_remembered() {
    let mut world = World::new(&[0.0, 0.0]);
    for n in 0..MOST_CALLERS + 10 {
        let caller = n.to_string();
        let wish = Wish { caller: Some(&caller), ..World::wish(None, None) };
        assert!(world.choose(wish).is_ok());
    }
    assert_eq!(world.pool.callers.len(), MOST_CALLERS);
    assert!(!world.pool.callers.contains_key(&(CLAUDE, "9".to_owned())));
    assert!(world.pool.callers.contains_key(&(CLAUDE, "10".to_owned())));
}

#[test]
fn who_cannot_be_used_is_passed_over_and_it_is_said_why() {
    use AccountState as S;
    for (state, is_used, needs_person) in [
        (S::Starting, true, false),
        (S::Ok, true, false),
        (S::Waiting, true, false),
        (S::Throttled, true, false),
        (S::Offline, true, false),
        (S::Failing, true, false),
        (S::AuthPaused, false, false),
        (S::Dead, false, true),
        (S::SignedOut, false, true),
        (S::NoPermission, true, false),
        (S::Paused, false, false),
    ] {
        let mut world = World::new(&[0.0]);
        world.logins[0].state = state;
        match world.choose(World::wish(None, None)) {
            Ok(choice) => assert!(is_used && choice.passed_over.is_empty(), "{state:?}"),
            Err(none) => {
                assert!(!is_used && none.passed_over.len() == 1, "{state:?}");
                assert_eq!(none.needs_person, needs_person, "{state:?}");
            }
        }
    }
}

#[test]
fn an_account_whose_usage_gate_cools_stands_behind_those_that_answer() {
    let mut world = World::new(&[0.0, 95.0]);
    world.logins[0].state = AccountState::Throttled;
    assert_eq!(world.any(), "b");
    world.limited("b", 60);
    assert_eq!(world.any(), "a", "its login works all the same");
}

#[test]
fn a_used_up_window_takes_an_account_out_until_its_reset_and_a_models_own_for_that_model() {
    let mut world = World::new(&[100.0, 30.0]);
    world.logins[1].reading = Some(reading(&[("five_hour", 30.0), ("weekly:opus/Opus", 100.0)]));
    assert_eq!(world.any(), "b");
    world.logins[1].state = AccountState::Paused;
    assert_eq!(world.any(), "until 10000");
    world.at = 10_000;
    assert_eq!(world.any(), "a", "its reset has passed: unknown, not used up");
}

#[test]
fn nothing_there_says_the_soonest_moment_something_will_be() {
    let mut world = World::new(&[0.0, 0.0, 100.0]);
    world.limited("a", 900);
    world.limited("b", 400);
    assert_eq!(world.any(), "until 400");
    for login in &mut world.logins {
        login.state = AccountState::Dead;
    }
    assert_eq!(world.any(), "a person");
    world.logins.clear();
    assert_eq!(world.any(), "a person", "whom nothing belongs to, nothing comes back to");
}

#[test]
fn a_rate_limited_account_is_never_chosen_before_its_time_and_one_request_then_decides() {
    let mut world = World::new(&[0.0]);
    let booked = world.limited("a", 990);
    assert!(booked.is_news && !booked.check && booked.out.is_some());
    for (at, expected) in [(0, "until 990"), (500, "until 990"), (989, "until 990"), (990, "a"), (991, "until 1110")] {
        world.at = at;
        assert_eq!(world.any(), expected, "at {at}");
    }
    world.report("a", Outcome::Ok);
    assert_eq!([world.any(), world.any()], ["a", "a"]);
    world.limited("a", 7);
    world.at = 998;
    assert_eq!(world.any(), "a", "the vendor's own figure is enough where there was a success in between");
}

#[test]
fn a_probe_that_is_refused_climbs_and_one_that_never_reports_ends_the_pause() {
    let mut world = World::new(&[0.0]);
    let mut at = 0;
    for rung in [5, 10, 20, 40] {
        world.report("a", Outcome::RateLimited);
        let until = at + 60 * rung;
        assert_eq!(world.any(), format!("until {until}"));
        at = until;
        world.at = at;
        assert_eq!(world.any(), "a", "the probe");
    }
    world.at += 119;
    assert_eq!(world.any(), format!("until {}", at + 120));
    world.at += 1;
    assert_eq!([world.any(), world.any()], ["a", "a"], "nobody reports here, and nobody is kept out for ever");
    world.report("a", Outcome::RateLimited);
    assert_eq!(world.any(), format!("until {}", world.at + 300));
}

#[test]
fn what_was_under_way_when_a_pause_began_takes_no_rung_but_a_longer_demand_is_heard() {
    let mut world = World::new(&[0.0]);
    world.report("a", Outcome::RateLimited);
    world.at = 10;
    for _ in 0..63 {
        assert!(!world.report("a", Outcome::RateLimited).is_news);
    }
    assert_eq!(world.any(), "until 300");
    world.limited("a", 100);
    assert_eq!(world.any(), "until 300", "never shortened");
    world.limited("a", 1000);
    assert_eq!(world.any(), "until 1010");
    world.report("a", Outcome::Ok);
    assert_eq!(world.any(), "until 1010", "a late success ends no wait");
}

#[test]
fn a_demand_is_clamped_and_a_limit_of_one_model_keeps_the_account_for_the_others() {
    let mut world = World::new(&[0.0]);
    world.limited("a", 10_000_000);
    assert_eq!(world.any(), format!("until {}", 24 * 3600));

    let mut world = World::new(&[0.0]);
    let limited_to = Some("Opus");
    world.tell(
        "a",
        Report {
            outcome: Outcome::RateLimited,
            demand: None,
            model: None,
            limited_to,
            caller: None,
            is_outdated: false,
        },
    );
    assert_eq!(world.any(), "a");
    assert_eq!(world.select(Some("opus"), None), "a sonnet");
    world.at = 300;
    assert_eq!(world.select(Some("claude-opus-4-5"), None), "a claude-opus-4-5");
}

#[test]
fn a_login_refused_for_good_comes_back_by_its_file_a_person_or_the_daemons_own_poll_alone() {
    type Way = fn(&mut World);
    let ways: [(&str, Way, bool); 8] = [
        ("time", |world| world.at = 1_000_000, false),
        ("a success", |world| drop(world.report("a", Outcome::Ok)), false),
        ("a poll with another token", |world| world.vindicate(9, 1), false),
        ("a poll with its token", |world| world.vindicate(0, 0), true),
        ("a poll with its token that left before", |world| world.vindicate(0, -1), false),
        ("a person", |world| world.pardon("a"), true),
        ("another token in the file", |world| world.logins[0].token = 7, true),
        ("a restart", restart, false),
    ];
    for (way, act, is_back) in ways {
        let act: Way = act;
        let mut world = World::new(&[0.0]);
        let booked = world.report("a", Outcome::AuthPermanent);
        assert!(booked.is_news && booked.check);
        assert!(!world.report("a", Outcome::AuthPermanent).check, "one check is enough");
        assert_eq!(world.any(), "a person");
        act(&mut world);
        assert_eq!(world.any(), if is_back { "a" } else { "a person" }, "{way}");
    }
}

#[test]
fn a_refusal_of_a_token_that_was_replaced_meanwhile_is_counted_and_a_rate_limit_is_the_logins_own() {
    let mut world = World::new(&[0.0]);
    let outdated = Report {
        outcome: Outcome::AuthPermanent,
        demand: None,
        model: None,
        limited_to: None,
        caller: None,
        is_outdated: true,
    };
    let booked = world.tell("a", outdated);
    assert!(!booked.is_news && !booked.check && booked.out.is_none());
    assert_eq!(world.pool.take_unstored(now(0)).tallies["login a"].failures, 1);
    assert!(world.tell("a", Report { outcome: Outcome::RateLimited, ..outdated }).is_news);
}

/// Everything the pool has stored, and nothing else, goes on.
fn restart(world: &mut World) {
    let at = now(world.at);
    let unstored = world.pool.take_unstored(at);
    let stored = unstored.standings.into_iter().filter_map(|(login, record)| {
        let json = serde_json::to_string(&record?).unwrap();
        Some((login, serde_json::from_str(&json).unwrap()))
    });
    world.pool = Pool::new(rules(), "boot".to_owned(), stored.collect(), Vec::new(), at);
}

#[test]
fn refused_logins_are_out_after_three_in_a_row_and_a_success_is_all_they_wait_for() {
    let mut world = World::new(&[0.0, 90.0]);
    let checks = [1, 2, 3].map(|_| world.report("a", Outcome::Auth).check);
    assert_eq!(checks, [false, false, true]);
    world.logins.truncate(1);
    assert_eq!(world.any(), "until 300");
    world.report("a", Outcome::Ok);
    assert_eq!(world.any(), "a");
    for _ in 0..3 {
        world.report("a", Outcome::Auth);
    }
    assert_eq!(world.any(), "until 600", "so soon after the last it goes on at the next rung");
    world.logins[0].token = 9;
    assert_eq!(world.any(), "a", "a new login has not been refused");
}

#[test]
fn two_files_of_one_login_share_its_limits_and_not_what_was_said_of_either_token() {
    let mut world = World::new(&[0.0, 0.0]);
    let both = |world: &World| {
        let of = |n: usize| Candidate { login: "one".to_owned(), ..world.logins[n].candidate() };
        [of(0), of(1)].map(|of| world.pool.out(&of, None, now(world.at)).is_some())
    };
    for (outcome, expected) in [(Outcome::AuthPermanent, [true, false]), (Outcome::RateLimited, [true, true])] {
        let report = Report { outcome, demand: None, model: None, limited_to: None, caller: None, is_outdated: false };
        let (login, mut dice) = (world.logins[0].clone(), Loaded(0.5));
        let of = Candidate { login: "one".to_owned(), ..login.candidate() };
        world.pool.report(&report, &of, CLAUDE, now(0), &mut dice);
        assert_eq!(both(&world), expected, "{outcome:?}");
    }
}

#[test]
fn a_timeout_rotates_and_leaves_no_pause_and_what_a_caller_gave_up_is_nobodys_fault() {
    let mut world = World::new(&[0.0, 50.0]);
    assert_eq!(world.select(None, Some("me")), "a");
    let timeout = Report {
        outcome: Outcome::Timeout,
        demand: None,
        model: None,
        limited_to: None,
        caller: Some("me"),
        is_outdated: false,
    };
    let booked = world.tell("a", timeout);
    assert!(booked.out.is_none() && !booked.is_news);
    assert_eq!(world.select(None, Some("me")), "b");
    world.logins.truncate(1);
    assert_eq!(world.any(), "a", "the only one there is");

    let mut world = World::new(&[0.0, 50.0]);
    for outcome in [Outcome::Aborted, Outcome::Refused, Outcome::Overloaded] {
        assert_eq!(world.select(None, Some("me")), "a");
        let booked = world.tell("a", Report { outcome, ..timeout });
        assert!(booked.out.is_none() && !booked.is_news, "{outcome:?}");
        assert_eq!(world.select(None, Some("me")), "a", "{outcome:?}");
    }
    let tally = world.pool.take_unstored(now(0)).tallies["login a"];
    assert_eq!((tally.reports, tally.failures, tally.cooldowns), (3, 1, 0), "only the overload is a failure");
}

#[test]
fn an_unpaid_account_is_out_for_five_hours_then_twice_as_long_up_to_a_day() {
    let mut world = World::new(&[0.0]);
    for hours in [5, 10, 20, 24, 24] {
        world.report("a", Outcome::Billing);
        world.at += 3600 * hours;
        assert_eq!(world.any(), "a", "after {hours} hours");
    }
    world.report("a", Outcome::Billing);
    world.pardon("a");
    assert_eq!(world.any(), "a", "a person has paid");
    world.limited("a", 60);
    world.pardon("a");
    assert!(world.any().starts_with("until"), "no rate limit is lifted");
}

#[test]
fn three_overloads_in_a_row_lead_to_the_next_model_and_quiet_or_a_success_back_to_the_first() {
    let mut world = World::new(&[0.0, 0.0]);
    let opus = |world: &mut World| world.select(Some("opus"), None);
    assert_eq!(opus(&mut world), "a opus");
    // The contract's `report` names no model: it is about the one that was given out.
    let closed = [1, 2, 3].map(|_| world.report("a", Outcome::Overloaded).closed);
    assert_eq!(closed, [None, None, Some("opus".to_owned())]);
    let choice = world.choose(World::wish(Some("opus"), None)).unwrap();
    assert_eq!((choice.account.as_str(), choice.model.as_deref()), ("b", Some("sonnet")));
    assert!(choice.said.starts_with("opus is overloaded, so sonnet; 100 % is left"), "{}", choice.said);
    assert!(choice.passed_over.is_empty(), "an overload takes nobody out");
    world.at = 299;
    assert_eq!(opus(&mut world), "a sonnet");
    world.at = 300;
    assert_eq!(opus(&mut world), "b opus");
    let overloaded = |model| Report {
        outcome: Outcome::Overloaded,
        demand: None,
        model,
        limited_to: None,
        caller: None,
        is_outdated: false,
    };
    world.tell("b", overloaded(Some("claude-opus-4-5")));
    assert_eq!(opus(&mut world), "a sonnet", "one more closes it again");
    for _ in 0..3 {
        world.tell("a", overloaded(Some("sonnet")));
    }
    assert_eq!(opus(&mut world), "b opus", "all are overloaded: the order of the list stands");
    world.report("b", Outcome::Ok);
    world.tell("b", overloaded(Some("opus")));
    assert_eq!(opus(&mut world), "a opus", "a success began the count anew");
    assert_eq!(world.select(Some("haiku"), None), "b haiku", "what is in no list has nothing in its place");
}

#[test]
fn a_model_that_is_used_up_everywhere_gives_way_to_the_next() {
    let mut world = World::new(&[0.0, 0.0]);
    for login in &mut world.logins {
        login.reading = Some(reading(&[("five_hour", 10.0), ("weekly:opus/Opus", 100.0)]));
    }
    let choice = world.choose(World::wish(Some("opus"), None)).unwrap();
    assert_eq!((choice.account.as_str(), choice.model.as_deref()), ("a", Some("sonnet")));
    assert!(choice.said.starts_with("opus is used up or limited on every account, so sonnet"), "{}", choice.said);
    world.logins[1].reading = Some(reading(&[("five_hour", 60.0), ("weekly:opus/Opus", 70.0)]));
    assert_eq!(world.select(Some("opus"), None), "b opus", "where one account still has it, that is the one");
}

#[test]
fn everything_that_is_counted_adds_up_also_when_storing_fails_once() {
    let mut world = World::new(&[0.0]);
    world.any();
    world.report("a", Outcome::Ok);
    let unstored = world.pool.take_unstored(now(0));
    assert!(world.pool.is_stored());
    world.pool.owe(unstored);
    assert!(!world.pool.is_stored());
    world.at = 5;
    world.any();
    world.report("a", Outcome::RateLimited);
    world.pool.count_token("login a");
    let Unstored { standings, tallies, .. } = world.pool.take_unstored(now(5));
    let expected = Tally {
        selects: 2,
        tokens: 1,
        reports: 2,
        successes: 1,
        failures: 1,
        cooldowns: 1,
        last_used: Some(now(5).stamp),
    };
    assert_eq!(tallies, BTreeMap::from([("login a".to_owned(), expected)]));
    assert!(standings["login a"].is_some());
}

#[test]
fn what_was_reported_while_the_login_had_no_name_holds_under_its_name() {
    let mut world = World::new(&[0.0]);
    world.limited("a", 600);
    let named =
        Candidate { login: "uuid".to_owned(), unnamed: Some("login a".to_owned()), ..world.logins[0].candidate() };
    let wish = World::wish(None, None);
    assert!(world.pool.select(&wish, std::slice::from_ref(&named), now(0)).is_err());
    let Unstored { standings, renamed, tallies } = world.pool.take_unstored(now(0));
    assert!(standings["login a"].is_none() && standings["uuid"].is_some(), "and is stored there");
    assert_eq!((renamed["login a"].as_str(), tallies["uuid"].reports), ("uuid", 1), "with what was counted");
    let wish = Wish { needs_token: true, ..wish };
    let expired = Candidate { token_lives: false, ..named };
    let none = world.pool.select(&wish, &[expired], now(700)).unwrap_err();
    assert_eq!(none.passed_over[0].reason, "its access token has expired");
}

/// Something that happens to a pool of three.
#[derive(Debug, Clone)]
enum Turn {
    Pass(u64),
    Select(Option<u8>),
    Report(usize, Outcome, Option<u64>),
    Restart,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let outcome = prop::sample::select(Outcome::ALL.to_vec());
    let turn = prop_oneof![
        2 => (1..2000_u64).prop_map(Turn::Pass),
        4 => prop::option::of(0..3_u8).prop_map(Turn::Select),
        4 => (0..3_usize, outcome, prop::option::of(1..5000_u64)).prop_map(|(a, o, d)| Turn::Report(a, o, d)),
        1 => Just(Turn::Restart),
    ];
    prop::collection::vec(turn, 1..60)
}

proptest! {
    #[test]
    fn whatever_happens_nobody_is_chosen_before_the_time_a_report_set(turns in turns()) {
        let mut world = World::new(&[0.0, 30.0, 60.0]);
        let mut stored: BTreeMap<String, StandingRecord> = BTreeMap::new();
        // What each account was told, at the very least: not before, or never.
        let mut barred = [0_u64; 3];
        let mut dead = [false; 3];
        for turn in turns {
            match turn {
                Turn::Pass(seconds) => world.at += seconds,
                Turn::Select(caller) => {
                    let caller = caller.map(|caller| ["x", "y", "z"][usize::from(caller)]);
                    match world.choose(World::wish(None, caller)) {
                        Ok(choice) => {
                            let chosen = usize::from(choice.account.as_str().as_bytes()[0] - b'a');
                            prop_assert!(world.at >= barred[chosen] && !dead[chosen], "{} at {}", choice.account, world.at);
                        }
                        Err(none) => {
                            prop_assert_eq!(none.passed_over.len(), 3);
                            prop_assert!(none.until.is_none_or(|until| until > now(world.at).stamp));
                        }
                    }
                }
                Turn::Report(account, outcome, demand) => {
                    let name = ["a", "b", "c"][account];
                    let demand_of = demand.map(Duration::from_secs);
                    let report = Report { outcome, demand: demand_of, model: None, limited_to: None, caller: None, is_outdated: false };
                    let booked = world.tell(name, report);
                    match outcome {
                        // The first rung, at the least, where the vendor gave no advice.
                        Outcome::RateLimited if booked.is_news => {
                            barred[account] = barred[account].max(world.at + demand.unwrap_or(300));
                        }
                        Outcome::RateLimited => barred[account] = barred[account].max(world.at + demand.unwrap_or(0)),
                        Outcome::Billing if booked.is_news => barred[account] = barred[account].max(world.at + demand.unwrap_or(0).max(18_000)),
                        Outcome::AuthPermanent => dead[account] = true,
                        _ => {}
                    }
                    prop_assert_eq!(booked.out.is_some() || outcome != Outcome::RateLimited, true);
                }
                Turn::Restart => {
                    for (login, record) in world.pool.take_unstored(now(world.at)).standings {
                        match record {
                            Some(record) => stored.insert(login, record),
                            None => stored.remove(&login),
                        };
                    }
                    let stored = stored.clone().into_iter().collect();
                    world.pool = Pool::new(rules(), "boot".to_owned(), stored, Vec::new(), now(world.at));
                }
            }
        }
    }
}

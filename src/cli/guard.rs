//! `quotad guard`: one exit code for scripts that want to know whether enough is left before they begin.
//!
//! Owns what "enough" means. Says nothing where all is well, and one line on stderr where it is not; never guesses: old
//! numbers, and numbers of a window that has been reset since, are none.

use clap::Args;

use super::page::{Page, plain};
use super::status::{needs_login, percentage};
use super::{Daemon, Exit, Failure};
use crate::control::wire::{Account, Window};
use crate::model::AccountName;
use crate::policy::pool::BLOCKED;

/// Arguments of `guard`.
#[derive(Debug, Args)]
pub(super) struct Guard {
    /// One account instead of all
    #[arg(value_parser = AccountName::parse)]
    account: Option<AccountName>,
    /// How much must be left, in percent
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    min: f64,
    /// This window instead of the one that is nearest its end
    #[arg(long, value_name = "ID")]
    window: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

/// Why an account does not pass.
#[derive(Debug, PartialEq, Eq)]
struct Short {
    exit: Exit,
    why: String,
}

impl Guard {
    /// Passes, or says why not.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let Self { account, min, window, daemon } = self;
        let status = daemon.ask(async |client| client.status(account.as_ref()).await)?;
        judge(&status.accounts, min, window.as_deref(), &Page::here().uncoloured())
    }
}

/// All accounts: the first of 77, 75, 69 that applies to one, in its words.
fn judge(accounts: &[Account], min: f64, window: Option<&str>, page: &Page) -> Result<Exit, Failure> {
    if accounts.is_empty() {
        return Err(Failure::new(Exit::Unknown, "there are no accounts, so what is left is not known"));
    }
    let short: Vec<Short> = accounts.iter().filter_map(|account| short(account, min, window, page).err()).collect();
    let first = [Exit::Login, Exit::Limited, Exit::Unknown].into_iter().find_map(|exit| {
        let one = short.iter().find(|one| one.exit == exit)?;
        Some(Failure::new(exit, one.why.clone()))
    });
    first.map_or(Ok(Exit::Ok), Err)
}

/// One account. Whether quotad itself may ask just now is no matter: it is the numbers that count, while they are fresh.
fn short(account: &Account, min: f64, window: Option<&str>, page: &Page) -> Result<(), Short> {
    let name = plain(&account.name);
    let fail = |exit, why: String| Err(Short { exit, why: format!("{name}: {}", plain(&why)) });
    if needs_login(account) {
        return fail(Exit::Login, account.action.clone());
    }
    let binding = window.or(account.binding_window.as_deref());
    let binding = binding.and_then(|id| account.windows.iter().find(|window| window.id == id));
    if let (Some(id), None) = (window, binding) {
        return fail(Exit::Unknown, format!("it has no window {id}: {}", known(account)));
    }
    let is_old = account.stale || binding.is_some_and(|window| window.stale);
    let left = if window.is_some() { binding.and_then(left) } else { account.headroom_percent };
    let Some(left) = left.filter(|_| !is_old) else {
        return fail(Exit::Unknown, format!("what is left is not known: {}", unknown(account, page)));
    };
    if left >= min {
        return Ok(());
    }
    let label = binding.map(|window| format!(" of {}", window.label)).unwrap_or_default();
    let reset = binding.and_then(|window| window.resets_at);
    let reset = reset.map(|at| format!("; it resets {}", page.ahead(at))).unwrap_or_default();
    fail(Exit::Limited, format!("{} left{label}, less than {}{reset}", percentage(left), percentage(min)))
}

/// Points of percent left in one window, by the rule of `policy::pool` for each of them.
fn left(window: &Window) -> Option<f64> {
    match (window.status.as_str(), window.used_percent) {
        _ if window.stale => None,
        _ if window.id == BLOCKED => Some(0.0),
        ("not-in-plan", _) => None,
        (_, Some(used)) => Some((100.0 - used).clamp(0.0, 100.0)),
        ("not-started", None) => Some(100.0),
        (_, None) => None,
    }
}

/// Why nothing is known.
fn unknown(account: &Account, page: &Page) -> String {
    let reset = account.windows.iter().find(|window| window.reset_passed);
    match (reset.and_then(|window| Some((window, window.resets_at?))), account.read_at) {
        (_, None) => "nothing was read yet".to_owned(),
        (Some((window, at)), _) => {
            format!("{} was reset at {} and has not been read since", window.label, page.clock(at))
        }
        (None, Some(at)) if account.stale => format!("it was read {}", page.ago(at)),
        (None, Some(_)) => "the vendor gives no number".to_owned(),
    }
}

fn known(account: &Account) -> String {
    let ids: Vec<&str> = account.windows.iter().map(|window| window.id.as_str()).collect();
    if ids.is_empty() { "none was read yet".to_owned() } else { format!("it has {}", ids.join(", ")) }
}

/// `20`, `12.5`, `20%`.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
    number.filter(|number| (0.0..=100.0).contains(number)).ok_or_else(|| "a number from 0 to 100".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::control::wire::sample;
    use crate::model;
    use crate::policy::status::{AccountState, AccountView};

    /// 58.5% is left of the 5-hour window, and 7% of one model's.
    fn view() -> AccountView {
        let mut view = sample::throttled();
        Arc::make_mut(view.reading.as_mut().unwrap()).windows.push(model::Window {
            id: "weekly:opus".to_owned(),
            label: "weekly (Opus)".to_owned(),
            model: Some("Opus".to_owned()),
            used_percent: Some(93.0),
            ..sample::window()
        });
        view
    }

    fn account(name: &str, state: AccountState, used: f64) -> Account {
        let mut view = view();
        (view.name, view.state) = (sample::name(name), state);
        Arc::make_mut(view.reading.as_mut().unwrap()).windows[0].used_percent = Some(used);
        Account::of(&view, sample::now())
    }

    fn said(accounts: &[Account], min: f64, window: Option<&str>) -> (u8, String) {
        match judge(accounts, min, window, &Page::for_tests()) {
            Ok(exit) => (exit as u8, String::new()),
            Err(failure) => (failure.exit as u8, failure.said),
        }
    }

    #[test]
    fn enough_is_silent_and_anything_else_is_a_code_and_a_reason() {
        let one = [Account::of(&view(), sample::now())];
        for (min, window, exit, why) in [
            (58.5, None, 0, ""),
            (0.0, None, 0, ""),
            (60.0, None, 75, "personal: 58.5% left of 5-hour, less than 60%; it resets in 2 h 13 min (15:28)"),
            (7.0, Some("weekly:opus"), 0, ""),
            (
                8.0,
                Some("weekly:opus"),
                75,
                "personal: 7% left of weekly (Opus), less than 8%; it resets in 2 h 13 min (15:28)",
            ),
            (0.0, Some("daily"), 69, "personal: it has no window daily: it has five_hour, weekly:opus"),
        ] {
            assert_eq!(said(&one, min, window), (exit, why.to_owned()), "{min} {window:?}");
        }
    }

    #[test]
    fn numbers_that_are_old_or_of_before_a_reset_are_none() {
        let at = |now: &str| [Account::of(&view(), sample::at(now))];
        for (accounts, why) in [
            (at("2026-11-25T12:30:00Z"), "what is left is not known: it was read 10 min ago"),
            (
                at("2026-11-25T14:30:00Z"),
                "what is left is not known: 5-hour was reset at 15:28 and has not been read since",
            ),
        ] {
            let (exit, said) = said(&accounts, 0.0, None);
            assert_eq!((exit, said.as_str()), (69, format!("personal: {why}").as_str()));
        }
        let unread = AccountView { reading: None, ..view() };
        let unread = [Account::of(&unread, sample::now())];
        assert_eq!(said(&unread, 0.0, None).1, "personal: what is left is not known: nothing was read yet");
        assert_eq!(said(&[], 0.0, None).0, 69);
        let older_daemon = [Account { headroom_percent: None, ..Account::of(&view(), sample::now()) }];
        assert_eq!(said(&older_daemon, 0.0, None).0, 69);
    }

    #[test]
    fn of_several_accounts_the_first_of_77_75_69_0_that_applies_counts() {
        use AccountState::{Dead, NoPermission, Ok, Paused, SignedOut, Starting, Throttled};
        let unread = || Account { stale: true, read_at: None, ..account("new", Starting, 0.0) };
        for (accounts, exit, who) in [
            (vec![account("a", Ok, 10.0), account("b", Throttled, 20.0), account("c", Paused, 5.0)], 0, ""),
            (vec![account("a", Ok, 10.0), unread()], 69, "new"),
            (vec![account("a", Ok, 10.0), unread(), account("b", Ok, 90.0)], 75, "b"),
            (vec![unread(), account("b", Ok, 90.0), account("c", Dead, 0.0)], 77, "c"),
            (vec![account("a", SignedOut, 0.0), account("b", NoPermission, 0.0)], 77, "a"),
        ] {
            let (code, why) = said(&accounts, 50.0, None);
            assert_eq!((code, why.split(':').next()), (exit, Some(who)), "{why}");
        }
    }

    #[test]
    fn a_percentage_may_carry_its_sign() {
        for (text, number) in [("20", Some(20.0)), ("12.5%", Some(12.5)), ("0", Some(0.0)), ("100", Some(100.0))] {
            assert_eq!(percent(text).ok(), number, "{text}");
        }
        for text in ["", "%", "101", "-1", "NaN", "inf", "x"] {
            percent(text).unwrap_err();
        }
    }
}

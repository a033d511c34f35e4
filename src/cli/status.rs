//! `quotad status`: what is left, as of when, in which state, until when, and what the user must do.

use clap::Args;

use super::bars::{self, Format};
use super::page::{Page, Tone, columns, fit, plain};
use super::{Daemon, Exit, Failure, print};
use crate::control::wire::{self, Account, Window};
use crate::model::{AccountName, Source};
use crate::policy::status::AccountState;
use crate::policy::time::Stamp;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// One account instead of all
    #[arg(value_parser = AccountName::parse)]
    account: Option<AccountName>,
    /// Print the status document (schema 1)
    #[arg(long)]
    json: bool,
    /// One short line for a status bar, also where no daemon answers
    #[arg(long, value_enum, conflicts_with = "json")]
    format: Option<Format>,
    #[command(flatten)]
    daemon: Daemon,
}

impl Status {
    /// Prints what the daemon knows; the exit code is the accounts'.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let Self { account, json, format, daemon } = self;
        let answer = daemon.try_ask(async |client| client.status(account.as_ref()).await)?;
        match format {
            Some(format) => bars::show(answer, format),
            None => show(&answer?, json),
        }
    }
}

/// Prints a status document, for people or as it is.
pub(super) fn show(status: &wire::Status, json: bool) -> Result<Exit, Failure> {
    let text = if json {
        let document = serde_json::to_string_pretty(status);
        document.map_err(|error| Failure::new(Exit::Failed, format!("writing the status document: {error}")))? + "\n"
    } else {
        render(status, &Page::here())
    };
    print(&text)?;
    Ok(Exit::of_all(&status.accounts))
}

/// The whole page.
pub(super) fn render(status: &wire::Status, page: &Page) -> String {
    let notice = status.daemon.notice.as_deref().map(|notice| page.fact(6, "notice", Tone::Bad, notice));
    let blocks: Vec<String> = notice.into_iter().chain(status.accounts.iter().map(|a| block(a, page))).collect();
    if status.accounts.is_empty() {
        return blocks.concat() + "no accounts: log in with a vendor's CLI, or name accounts in the config\n";
    }
    blocks.join("\n")
}

/// One account: heading, windows, facts.
fn block(account: &Account, page: &Page) -> String {
    let longest = account.windows.iter().map(|window| columns(&plain(&window.label))).max().unwrap_or_default();
    let column = longest.clamp("next poll".len(), 20);
    let windows = account.windows.iter().map(|window| row(window, column, page));
    heading(account, page) + &windows.collect::<String>() + &facts(account, column, page)
}

/// `personal  claude max_20x  throttled since 13:03`.
pub(super) fn heading(account: &Account, page: &Page) -> String {
    let plan = account.plan.as_deref().map(|plan| format!(" {}", plain(plan))).unwrap_or_default();
    let name = page.paint(Tone::Strong, &plain(&account.name));
    let state = page.paint(state_tone(account), &plain(&account.state));
    format!("{name}  {}{plan}  {state} since {}\n", plain(&account.provider), page.clock(account.since))
}

/// How an account's state is.
pub(super) fn state_tone(account: &Account) -> Tone {
    tone_of_state(&account.state)
}

/// How a state is, by its word.
pub(super) fn tone_of_state(word: &str) -> Tone {
    match AccountState::ALL.into_iter().find(|state| state.as_str() == word) {
        Some(AccountState::Ok) => Tone::Good,
        Some(AccountState::Dead | AccountState::SignedOut | AccountState::NoPermission) => Tone::Bad,
        Some(AccountState::Starting) | None => Tone::Plain,
        Some(_) => Tone::Warn,
    }
}

/// Whether it stands still until a person logs in or gets permission.
pub(super) fn needs_login(account: &Account) -> bool {
    use AccountState::{Dead, NoPermission, SignedOut};
    matches!(account.known_state(), Some(Dead | SignedOut | NoPermission))
}

/// Whether there is something for a person to do that does not come by itself.
pub(super) fn needs_person(account: &Account) -> bool {
    let comes_with_use = account.known_state() == Some(AccountState::Waiting) && !account.action.contains("log in");
    needs_login(account) || !(account.action.starts_with("nothing") || comes_with_use)
}

/// How much is used, as a tone.
pub(super) fn level(percent: f64) -> Tone {
    match percent {
        ..70.0 => Tone::Good,
        70.0..90.0 => Tone::Warn,
        _ => Tone::Bad,
    }
}

/// `  5-hour     ████████░░░░░░░░░░░░  41.5%  resets in 2 h 13 min (15:28)`; what else is to be said of the window
/// stands below.
fn row(window: &Window, column: usize, page: &Page) -> String {
    /// Room for `resets in 30 d 23 h (24 Dec)`, and for the percentage.
    const SAID: usize = 30;
    const PERCENT: usize = 6;
    let cells = page.width.saturating_sub(2 + column + 2 + 1 + PERCENT + 2 + SAID).clamp(5, 20);
    let label = fit(&plain(&window.label), column);
    let indent = " ".repeat(2 + column + 2 + cells + 1 + PERCENT + 2);
    let percent = window.used_percent.map_or_else(|| "?".to_owned(), percentage);
    let line = format!("  {label}  {} {percent:>PERCENT$}  ", bar(window.used_percent, cells, page));
    let said = said(window, page).join(&format!("\n{indent}"));
    (line + &said).trim_end().to_owned() + "\n"
}

fn bar(percent: Option<f64>, cells: usize, page: &Page) -> String {
    let full = filled(percent, cells);
    page.paint(level(percent.unwrap_or_default()), &"█".repeat(full))
        + &page.paint(Tone::Faint, &"░".repeat(cells - full))
}

/// How many of the cells of a bar are full.
pub(super) fn filled(percent: Option<f64>, cells: usize) -> usize {
    (percent.unwrap_or_default().clamp(0.0, 100.0) / 100.0 * cells as f64) as usize
}

/// `41.5%`, `93%`.
pub(super) fn percentage(percent: f64) -> String {
    let tenths = (percent * 10.0).round() / 10.0;
    format!("{tenths}%")
}

/// What is known of a window besides its percentage, most telling first.
pub(super) fn said(window: &Window, page: &Page) -> Vec<String> {
    let reset = window.resets_at.map(|at| {
        if window.reset_passed {
            format!("reset at {}, not read since", page.clock(at))
        } else {
            format!("resets {}", page.ahead(at))
        }
    });
    let ends_first = |at: &Stamp| window.resets_at.is_none_or(|reset| *at < reset);
    let used_up = window.exhausts_at.filter(ends_first).filter(|_| !window.reset_passed);
    let used_up = used_up.map(|at| format!("at this rate used up {}", page.clock(at)));
    let amount = match (&window.used, &window.limit, &window.remaining) {
        (Some(used), Some(limit), _) => Some(format!("{} of {} {}", used.amount, limit.amount, limit.unit)),
        (Some(used), None, _) => Some(format!("{} {} used", used.amount, used.unit)),
        (None, _, Some(left)) => Some(format!("{} {} left", left.amount, left.unit)),
        (None, Some(limit), None) => Some(format!("of {} {}", limit.amount, limit.unit)),
        (None, None, None) => None,
    };
    let status = match window.status.as_str() {
        "active" => None,
        other => Some(other.replace('-', " ")),
    };
    let older = window.read_at.map(|at| {
        let floor = if window.source.as_deref() == Some(Source::Cache.as_str()) { "at least, " } else { "" };
        format!("{floor}as of {}", page.ago(at))
    });
    let shared = window.organisation.as_ref().map(|whose| format!("shared by {whose}"));
    [status, reset, used_up, amount, shared, older].into_iter().flatten().map(|text| plain(&text)).collect()
}

/// As of when, and by whose word: `10 min ago, from api, stale`.
pub(super) fn as_of(account: &Account, page: &Page) -> String {
    let Some(at) = account.read_at else { return "nothing read yet".to_owned() };
    let source = account.source.as_deref().map(|source| format!(", from {source}")).unwrap_or_default();
    let floor = if account.at_least { ", at least so much" } else { "" };
    format!("{}{source}{floor}{}", page.ago(at), if account.stale { ", stale" } else { "" })
}

fn facts(account: &Account, column: usize, page: &Page) -> String {
    let tone = if account.stale { Tone::Warn } else { Tone::Plain };
    let mut facts = page.fact(column, "as of", tone, &as_of(account, page));
    facts += &page.fact(column, "why", Tone::Plain, &account.reason);
    if let Some(until) = account.until {
        facts += &page.fact(column, "until", Tone::Plain, &page.due(until));
    }
    if let Some(next) = account.next_poll_at.filter(|next| Some(*next) != account.until) {
        facts += &page.fact(column, "next poll", Tone::Plain, &page.ahead(next));
    }
    let tone = if account.action == "nothing to do" { Tone::Plain } else { Tone::Bad };
    facts + &page.fact(column, "to do", tone, &account.action)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cli::snapshot::compare;
    use crate::control::wire::sample;
    use crate::model;
    use crate::policy::forecast::Forecast;
    use crate::policy::status::AccountView;
    use crate::supervisor::handle::Snapshot;

    fn shown(views: Vec<AccountView>, page: &Page, now: &str) -> String {
        let snapshot = Snapshot { accounts: views.into_iter().map(Into::into).collect(), ..sample::snapshot() };
        render(&wire::Status::of(&snapshot, sample::at(now)), &page.clone().at(sample::at(now)))
    }

    /// An account with every kind of window, and one that must be logged in again.
    fn views() -> Vec<AccountView> {
        let mut personal = sample::throttled();
        let windows = &mut Arc::make_mut(personal.reading.as_mut().unwrap()).windows;
        windows.push(model::Window {
            label: "weekly (Fable, all surfaces)".to_owned(),
            used_percent: Some(93.04),
            resets_at: Some(sample::at("2026-12-24T08:00:00Z")),
            ..sample::window()
        });
        windows.push(model::Window {
            label: "extra spend".to_owned(),
            used_percent: Some(100.2),
            used: Some(sample::euros("50.10").into()),
            limit: Some(sample::euros("50.00").into()),
            organisation: Some("Acme".to_owned()),
            resets_at: Some(sample::at("2026-11-28T23:00:00Z")),
            ..sample::window()
        });
        windows.push(model::Window {
            label: "weekly".to_owned(),
            status: model::WindowStatus::NotStarted,
            used_percent: Some(0.0),
            resets_at: None,
            ..sample::window()
        });
        let work = AccountView {
            name: sample::name("work"),
            plan: None,
            state: AccountState::Dead,
            reason: "the token endpoint refused the refresh token: invalid_grant".to_owned(),
            until: None,
            next_poll_at: None,
            reading: None,
            action: "log in again: run `CLAUDE_CONFIG_DIR=/home/u/.claude-work claude` and type /login there"
                .to_owned(),
            ..sample::throttled()
        };
        vec![personal, work]
    }

    #[test]
    fn a_page_of_eighty_columns_says_it_all() {
        let page = shown(views(), &Page::for_tests(), "2026-11-25T12:15:00Z");
        assert_eq!(
            page,
            "\
personal  claude max_20x  throttled since 13:03
  5-hour                ███████░░░░░░░░░░  41.5%  resets in 2 h 13 min (15:28)
  weekly (Fable, all …  ███████████████░░    93%  resets in 28 d 19 h (24 Dec)
  extra spend           █████████████████ 100.2%  resets in 3 d 10 h (Sun 00:00)
                                                  50.10 of 50.00 EUR
                                                  shared by Acme
  weekly                ░░░░░░░░░░░░░░░░░     0%  not started
  as of                 10 min ago, from api
  why                   the usage endpoint answered 429 (Retry-After 990 s)
  until                 13:20 (in 5 min)
  to do                 nothing to do

work  claude  dead since 13:03
  as of      nothing read yet
  why        the token endpoint refused the refresh token: invalid_grant
  to do      log in again: run `CLAUDE_CONFIG_DIR=/home/u/.claude-work claude`
             and type /login there
"
        );
    }

    /// The same accounts, as a vendor of another script names them.
    fn wide_views() -> Vec<AccountView> {
        let mut views = views();
        views[0].plan = Some("マックス 🚀".to_owned());
        let windows = &mut Arc::make_mut(views[0].reading.as_mut().unwrap()).windows;
        for (window, label) in
            windows.iter_mut().zip(["5時間", "週間の枠（すべてのモデル）", "追加 💶", "e\u{301}te\u{301}"])
        {
            label.clone_into(&mut window.label);
        }
        views[1].reason = "トークン・エンドポイントがリフレッシュ・トークンを拒否しました ".repeat(3);
        views
    }

    #[test]
    fn no_line_is_wider_than_the_page() {
        for width in [72, 80, 120] {
            let page = Page::for_tests().of_width(width);
            for line in shown(views(), &page, "2026-11-25T12:15:00Z").lines() {
                assert!(columns(line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn the_page_is_the_same_with_colour_and_without_and_wide_characters_stay_aligned() {
        for (name, page) in [("status-80", Page::for_tests()), ("status-80-colour", Page::for_tests().coloured())] {
            compare(name, &shown(views(), &page, "2026-11-25T12:15:00Z"));
        }
        let wide = shown(wide_views(), &Page::for_tests(), "2026-11-25T12:15:00Z");
        compare("status-80-wide", &wide);
        let percentages = wide.lines().filter_map(|line| Some(columns(&line[..line.find('%')?])));
        let percentages: Vec<_> = percentages.collect();
        assert!(percentages.len() == 4 && percentages.iter().all(|column| *column == percentages[0]), "{wide}");
    }

    #[test]
    fn a_pace_is_told_where_it_is_known_and_matters() {
        let status = wire::Status::of(&sample::snapshot(), sample::now());
        let mut account = status.accounts[0].clone();
        let mut shown = |burn, exhausts: Option<&str>| {
            (account.windows[0].burn_per_hour, account.windows[0].exhausts_at) = (burn, exhausts.map(sample::at));
            said(&account.windows[0], &Page::for_tests()).join(", ")
        };
        assert_eq!(shown(Some(6.2), None), "resets in 2 h 13 min (15:28)");
        let soon = Some("2026-11-25T13:15:00Z");
        assert_eq!(shown(Some(60.0), soon), "resets in 2 h 13 min (15:28), at this rate used up 14:15");
        let late = Some("2026-11-25T16:15:00Z");
        assert_eq!(shown(Some(6.2), late), "resets in 2 h 13 min (15:28)", "the reset comes first");
        assert_eq!(shown(Some(0.0), None), "resets in 2 h 13 min (15:28)");
    }

    #[test]
    fn once_a_reset_has_passed_the_page_says_so_instead_of_a_number() {
        let page = shown(vec![sample::throttled()], &Page::for_tests(), "2026-11-25T15:00:00Z");
        assert!(page.contains(" ?  reset at 15:28, not read since\n"), "{page}");
        assert!(page.contains("  as of      2 h 55 min ago, from api, stale\n"), "{page}");
    }

    #[test]
    fn the_page_says_who_spoke_and_that_a_floor_is_one() {
        let mut view = sample::throttled();
        let mut api = Arc::unwrap_or_clone(view.reading.take().unwrap());
        api.windows[0].label = "weekly".to_owned();
        api.windows[0].id = "seven_day".to_owned();
        for (source, expected) in [
            (Source::Cache, "  as of      5 min ago, from cache, at least so much\n"),
            (Source::Statusline, "  as of      5 min ago, from statusline\n"),
        ] {
            let read_at = sample::at("2026-11-25T12:10:00Z");
            let newest = model::Reading { windows: vec![sample::window()], read_at, source, ..api.clone() };
            let view = AccountView { reading: Some(Arc::new(newest.over(api.clone()))), ..view.clone() };
            let page = shown(vec![view], &Page::for_tests(), "2026-11-25T12:15:00Z");
            assert!(page.contains(expected), "{page}");
            assert!(
                page.contains(
                    " resets in 2 h 13 min (15:28)\n                                          as of 10 min ago\n"
                ),
                "{page}"
            );
        }
    }

    #[test]
    fn a_daemon_without_accounts_says_what_to_do_and_a_notice_comes_first() {
        let mut snapshot = Snapshot { accounts: Vec::new(), ..sample::snapshot() };
        snapshot.notice = Some("state.db could not be read".to_owned());
        assert_eq!(
            render(&wire::Status::of(&snapshot, sample::now()), &Page::for_tests()),
            "  notice  state.db could not be read\nno accounts: log in with a vendor's CLI, or name accounts in the config\n"
        );
    }

    #[test]
    fn a_window_that_runs_out_before_its_reset_says_when() {
        let mut view = sample::throttled();
        let exhausts_at = Some(sample::at("2026-11-25T14:10:00Z"));
        let forecast = Forecast { burn_per_hour: Some(30.04), exhausts_at };
        view.forecasts = Arc::new([("five_hour".to_owned(), forecast)]);
        let page = shown(vec![view.clone()], &Page::for_tests(), "2026-11-25T12:15:00Z");
        let said =
            " resets in 2 h 13 min (15:28)\n                                          at this rate used up 15:10\n";
        assert!(page.contains(said), "{page}");
        let later = shown(vec![view], &Page::for_tests(), "2026-11-25T12:26:00Z");
        assert!(!later.contains("used up"), "two intervals after the reading: {later}");
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let plain = shown(views(), &Page::for_tests(), "2026-11-25T12:15:00Z");
        let coloured = shown(views(), &Page::for_tests().coloured(), "2026-11-25T12:15:00Z");
        assert_ne!(plain, coloured);
        let mut stripped = String::new();
        for piece in coloured.split("\u{1b}[") {
            stripped +=
                piece.split_once('m').filter(|(code, _)| code.parse::<u8>().is_ok()).map_or(piece, |(_, text)| text);
        }
        assert_eq!(stripped, plain);
    }
}

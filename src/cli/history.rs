//! `quotad history`: what was read in the past, when windows started over, and how fast they fill.

mod csv;
mod spark;
mod table;

use clap::Args;

use super::page::{Page, Tone, length, plain};
use super::status::percentage;
use super::{Daemon, Exit, Failure, print};
use crate::control::history::{self, Since, Window};
use crate::model::AccountName;

/// Arguments of `history`.
#[derive(Debug, Args)]
pub(super) struct History {
    /// The account
    #[arg(value_parser = AccountName::parse)]
    account: AccountName,
    /// From when on: a duration such as 30d, or a moment such as 2026-11-25T12:00:00Z [default: 7d]
    #[arg(long, value_name = "D", value_parser = Since::parse)]
    since: Option<Since>,
    /// One window instead of all
    #[arg(long, value_name = "ID")]
    window: Option<String>,
    /// Print the document (schema 1)
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print a row for each change, as comma-separated values
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl History {
    /// Prints what is stored; 69 where there is no such account or window.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let since = self.since.unwrap_or(Since::DEFAULT);
        let mut history = self.daemon.ask(async |client| client.history(&self.account, since).await)?;
        if let Some(id) = &self.window {
            only(&mut history, id)?;
        }
        let text = if self.json {
            let document = serde_json::to_string_pretty(&history);
            document.map_err(|error| Failure::new(Exit::Failed, format!("writing JSON: {error}")))? + "\n"
        } else if self.csv {
            csv::render(&history)
        } else {
            let until = history.until;
            render(&history, &Page::here().at(until))
        };
        print(&text)?;
        Ok(Exit::Ok)
    }
}

/// Keeps one window.
fn only(history: &mut history::History, id: &str) -> Result<(), Failure> {
    let known: Vec<String> = history.windows.iter().map(|window| window.id.clone()).collect();
    history.windows.retain(|window| window.id == id);
    if history.windows.is_empty() {
        let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
        let said = format!("{} has no window {id:?}; known: {}", history.account, plain(&known));
        return Err(Failure::new(Exit::Unknown, said));
    }
    Ok(())
}

/// Width of the keys.
const COLUMN: usize = "forecast".len();

fn render(history: &history::History, page: &Page) -> String {
    let name = page.paint(Tone::Strong, &plain(&history.account));
    let span = length(history.since, history.until);
    let mut text = format!("{name}  the last {span}, since {}\n", page.clock(history.since));
    if history.windows.is_empty() {
        text += &page.fact(COLUMN, "", Tone::Plain, "nothing was recorded yet");
    }
    if history.cut {
        let said = "there is more: only the newest samples are shown; ask for less time";
        text += &page.fact(COLUMN, "cut", Tone::Warn, said);
    }
    history.windows.iter().fold(text, |text, window| text + "\n" + &block(window, history, page))
}

/// One window: heading, sparkline, forecast, table.
fn block(window: &Window, history: &history::History, page: &Page) -> String {
    let unit = window.unit.as_deref().map(|unit| format!(" in {}", plain(unit))).unwrap_or_default();
    let label = page.paint(Tone::Strong, &plain(&window.label));
    let heading = format!("{label}  {}{unit}, read {}\n", plain(&window.id), page.ago(window.read_at));
    let forecast = match (window.burn_per_hour, window.exhausts_at) {
        (None, _) => String::new(),
        (Some(burn), None) => {
            page.fact(COLUMN, "forecast", Tone::Plain, &format!("{} an hour, lasts until the reset", percentage(burn)))
        }
        (Some(burn), Some(at)) => {
            let said = format!("{} an hour, at this rate used up {}", percentage(burn), page.clock(at));
            page.fact(COLUMN, "forecast", Tone::Warn, &said)
        }
    };
    heading + &spark::render(window, history, page) + &forecast + &table::render(window, history, page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::history::sample::history;
    use crate::control::wire::sample::at;

    fn week() -> history::History {
        history(at("2026-11-18T12:15:00Z"))
    }

    #[test]
    fn a_week_in_eighty_columns() {
        assert_eq!(
            render(&week(), &Page::for_tests()),
            "\
personal  the last 7 d, since 18 Nov

5-hour  five_hour, read 10 min ago
  ▁                                                   ▁██              ▂▁▁  ▁▄
  ^                                                     ^              ^ ^
  18 Nov                         ^ started over                          13:15
  forecast  30% an hour, at this rate used up 15:10
                 level   used  started over
  Wed 18 Nov                   15:00
  Mon 23 Nov   3.5–93%    +93  14:00
  Tue 24 Nov     0–20%    +20  22:30 early
  Wed 25 Nov  10–41.5%  +41.5  03:30

extra \"spend\", 追加  extra_spend in EUR, read 10 min ago
                         EUR
  Thu 19 Nov  12.00 of 50.00
  Tue 24 Nov  20.10 of 50.00
"
        );
    }

    #[test]
    fn a_day_is_shown_by_the_hour_and_a_season_by_the_week() {
        let mut day = history(at("2026-11-24T12:15:00Z"));
        day.windows.truncate(1);
        day.windows[0].samples.drain(..3);
        day.windows[0].exhausts_at = None;
        assert_eq!(
            render(&day, &Page::for_tests()),
            "\
personal  the last 1 d, since Tue 13:15

5-hour  five_hour, read 10 min ago
                             ▂▂▂▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁                      ▁▁▁▁▁▁▁▄
                               ^               ^
  Tue 13:15                        ^ started over                        13:15
  forecast  30% an hour, lasts until the reset
             level   used  started over
  Tue 22:00  0–20%    +20  22:30 early
  Wed 03:00                03:30
  Wed 11:00    10%    +10
  Wed 13:00  41.5%  +31.5
"
        );
        let mut season = history(at("2026-08-27T12:15:00Z"));
        season.windows.truncate(1);
        let page = render(&season, &Page::for_tests());
        let rows: Vec<&str> = page.lines().skip_while(|line| !line.contains("level")).collect();
        assert_eq!(
            rows,
            [
                "               level    used  started over",
                "  from 16 Nov    12%          Wed 15:00",
                "  from 23 Nov  0–93%  +154.5  Mon 14:00, Tue 22:30 early, Wed 03:30",
            ]
        );
        let again = season.windows[0].samples.clone();
        season.windows[0].samples.extend(again);
        let page = render(&season, &Page::for_tests());
        assert!(page.ends_with("  6 times, 2 early\n"), "{page}");
    }

    #[test]
    fn nothing_recorded_and_a_cut_answer_are_said() {
        let empty = history::History { windows: Vec::new(), cut: true, ..week() };
        assert_eq!(
            render(&empty, &Page::for_tests()),
            "\
personal  the last 7 d, since 18 Nov
            nothing was recorded yet
  cut       there is more: only the newest samples are shown; ask for less time
"
        );
    }

    #[test]
    fn one_window_is_shown_alone_and_one_that_is_not_there_names_those_that_are() {
        let mut one = week();
        only(&mut one, "extra_spend").unwrap();
        assert_eq!(one.windows.len(), 1);
        let failure = only(&mut week(), "weekly").unwrap_err();
        assert_eq!(failure.exit, Exit::Unknown);
        assert_eq!(failure.said, "personal has no window \"weekly\"; known: five_hour, extra_spend");
    }

    #[test]
    fn no_line_is_wider_than_the_page_and_colour_changes_nothing_but_colour() {
        for width in [72, 80, 120] {
            let page = Page::for_tests().of_width(width);
            let plain = render(&week(), &page);
            assert!(plain.lines().all(|line| line.chars().count() <= width), "{plain}");
            let coloured = render(&week(), &page.coloured());
            assert_ne!(plain, coloured);
            let mut pieces = coloured.split("\u{1b}[");
            let mut stripped = pieces.next().unwrap_or_default().to_owned();
            pieces.for_each(|piece| stripped += piece.split_once('m').map_or(piece, |(_, text)| text));
            assert_eq!(stripped, plain);
        }
    }
}

//! `quotad demo`: the real supervisor against an embedded vendor, time-compressed.

use clap::Args;

use super::page::{Page, Tone};
use super::run::runtime;
use super::{Exit, Failure, print, status};
use crate::control::wire;
use crate::demo::{self, DemoError, Line, Mood, Report, SPEED, Tally};
use crate::service::Signals;

/// The column in which what happened begins: after the time and the longest name.
const COLUMN: usize = "14:05  night-shift".len();

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Show one made-up account of every provider side by side, instead of the story.
    #[arg(long)]
    all: bool,
}

impl Demo {
    /// Plays the story and ends by itself.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let page = Page::here();
        if self.all {
            let report = runtime()?.block_on(async { Ok::<_, Failure>(demo::show_all(Some(signals()?)).await?) })?;
            print(&status::render(&wire::Status::of(&report.snapshot, report.now), &page.at(report.now)))?;
            return Ok(Exit::Ok);
        }
        print(&header(&page))?;
        let mut printed = Ok(());
        let report = runtime()?.block_on(async {
            let signals = signals()?;
            let mut tell = |line| {
                if printed.is_ok() {
                    printed = print(&told(&line, &page));
                }
            };
            Ok::<_, Failure>(demo::play(SPEED, Some(signals), &mut tell).await?)
        })?;
        printed?;
        print(&ending(&report, page))?;
        Ok(Exit::Ok)
    }
}

fn signals() -> Result<Signals, Failure> {
    Signals::take().map_err(|error| Failure::new(Exit::Failed, format!("could not take over the signals: {error}")))
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

fn header(page: &Page) -> String {
    page.paint(Tone::Strong, "quotad demo\n")
        + &page.fact(
            0,
            "",
            Tone::Plain,
            &format!(
                "The real daemon looks after five made-up logins, each at a made-up vendor on 127.0.0.1. Nothing of \
                 yours is read or written. Rules and waits are the real ones; only the clock runs {SPEED} times as \
                 fast: one second here is {} minutes.",
                SPEED / 60
            ),
        )
}

fn told(line: &Line, page: &Page) -> String {
    match line {
        Line::Chapter(title) => format!("\n{}\n", page.paint(Tone::Strong, title)),
        Line::Remark(prose) => page.fact(0, "", Tone::Faint, prose),
        Line::Event { at, account, said, mood } => {
            page.fact(COLUMN, &format!("{}  {account}", demo::hour(*at)), tone(*mood), said)
        }
        Line::Consequence(said, mood) => page.fact(COLUMN, "", tone(*mood), said),
    }
}

fn tone(mood: Mood) -> Tone {
    match mood {
        Mood::Plain => Tone::Plain,
        Mood::Good => Tone::Good,
        Mood::Warn => Tone::Warn,
        Mood::Bad => Tone::Bad,
    }
}

/// What the vendors counted, and what `quotad status` says.
fn ending(report: &Report, page: Page) -> String {
    let page = page.at(report.now);
    let row = |tally: &Tally| {
        let Tally { account, requests, limited, rejected, posts, replays } = tally;
        let account = account.as_str();
        format!("  {account:11}  {requests:14}  {limited:5}  {rejected:10}  {posts:13}  {replays:7}\n")
    };
    let rows: String = report.tallies.iter().map(row).collect();
    format!(
        "\n{}\n  account      usage requests  (429)  (401, 403)  refresh posts  replays\n{rows}\n{}\n{}",
        page.paint(Tone::Strong, "What the vendors counted"),
        page.paint(Tone::Strong, "What `quotad status` says now"),
        status::render(&wire::Status::of(&report.snapshot, report.now), &page)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::sample;

    #[test]
    fn every_line_of_the_story_fits_the_page() {
        let page = Page::for_tests();
        let said = "asks for usage → 403: refused for good: the login was revoked or deactivated".to_owned();
        let event = Line::Event { at: sample::now(), account: sample::name("night-shift"), said, mood: Mood::Bad };
        let follows = Line::Consequence("token gate closed until 14:05: rung 1 of 5→10→20 min".to_owned(), Mood::Warn);
        let text = header(&page) + &told(&event, &page) + &told(&follows, &page);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let words: Vec<_> = text.split_whitespace().collect();
        assert!(words.join(" ").contains("one second here is 6 minutes."), "{text}");
        assert!(text.contains("  night-shift  asks for usage → 403: refused for good: the login was\n"), "{text}");
        assert!(
            text.ends_with("\n                      token gate closed until 14:05: rung 1 of 5→10→20 min\n"),
            "{text}"
        );
    }

    #[test]
    fn the_counts_stand_under_their_headings() {
        let tally =
            Tally { account: sample::name("night-shift"), requests: 1, limited: 2, rejected: 3, posts: 4, replays: 0 };
        let snapshot = std::sync::Arc::new(sample::snapshot());
        let text = ending(&Report { snapshot, now: sample::now(), tallies: vec![tally] }, Page::for_tests());
        let mut lines = text.lines().skip(2);
        let (headings, counts) = (lines.next().unwrap(), lines.next().unwrap());
        assert_eq!(counts.split_whitespace().collect::<Vec<_>>(), ["night-shift", "1", "2", "3", "4", "0"]);
        assert_eq!(headings.len(), counts.len());
    }
}

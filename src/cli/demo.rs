//! `quotad demo`: the real supervisor against an embedded vendor, time-compressed.

use clap::Args;

use super::page::{Page, Tone};
use super::run::runtime;
use super::{Exit, Failure, print, status};
use crate::control::wire;
use crate::demo::{self, DemoError, Line, Mood, Report, SPEED};
use crate::service::Signals;

/// The column in which what happened begins: after the time and the longest name.
const COLUMN: usize = "14:05  night-shift".len();

/// Arguments of `demo`: none.
#[derive(Debug, Args)]
pub(super) struct Demo {}

impl Demo {
    /// Plays the story and ends by itself.
    #[expect(clippy::unused_self, reason = "every verb is run the same way")]
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let page = Page::here();
        print(&header(&page))?;
        let mut printed = Ok(());
        let report = runtime()?.block_on(async {
            let signals = Signals::take()
                .map_err(|error| Failure::new(Exit::Failed, format!("could not take over the signals: {error}")))?;
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
    let mut text = format!("\n{}\n", page.paint(Tone::Strong, "What the vendors counted"));
    text += "  account      usage requests  (429)  (401, 403)  refresh posts  replays\n";
    for tally in &report.tallies {
        let name = tally.account.as_str();
        let demo::Tally { requests, limited, rejected, posts, replays, .. } = tally;
        text += &format!("  {name:11}  {requests:14}  {limited:5}  {rejected:10}  {posts:13}  {replays:7}\n");
    }
    text += &format!("\n{}\n", page.paint(Tone::Strong, "What `quotad status` says now"));
    text + &status::render(&wire::Status::of(&report.snapshot, report.now), &page)
}

//! The demo: the real supervisor against the embedded vendor, in compressed time.
//!
//! Owns a stage (a home directory that goes when the demo ends, five fake logins, a vendor for each), the story played
//! on it, and the narrator. The rules, the waits and the transport are the daemon's own; only the clock runs faster.
//! Nothing is told that did not happen: every line comes from the supervisor's snapshots and transitions, from a
//! vendor's journal, or from what the story itself just did. Never reads or writes anything of the user's.

mod narrator;
mod plans;
mod stage;
mod story;
pub mod vendor;

use std::error::Error;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use self::plans::{CAST, Plan, show_all};
use self::stage::Stage;
use crate::clock;
use crate::model::AccountName;
use crate::policy::time::Stamp;
use crate::service::Signals;
use crate::supervisor::handle::Snapshot;

/// How many times faster than real time the story is told: one second is six minutes, and the whole about 30 s.
pub const SPEED: u32 = 360;

/// One thing the demo says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A chapter begins.
    Chapter(String),
    /// What one should know, in prose.
    Remark(String),
    /// Something happened.
    Event {
        /// When, by the compressed clock.
        at: Stamp,
        /// To whom.
        account: AccountName,
        /// What.
        said: String,
        /// How that is.
        mood: Mood,
    },
    /// What follows from the event before it.
    Consequence(String, Mood),
}

/// How good or bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As it comes.
    Plain,
    /// All is well.
    Good,
    /// It comes back by itself.
    Warn,
    /// Something was refused for good, or someone must act.
    Bad,
}

/// How it all ended.
#[derive(Debug, Clone)]
pub struct Report {
    /// The daemon, right before it was stopped.
    pub snapshot: Arc<Snapshot>,
    /// The compressed time then.
    pub now: Stamp,
    /// What each vendor wrote down.
    pub tallies: Vec<Tally>,
}

/// One account's traffic, as its vendor counted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Whose.
    pub account: AccountName,
    /// Requests to the usage endpoint.
    pub requests: usize,
    /// Those answered with 429.
    pub limited: usize,
    /// Those answered with 401 or 403.
    pub rejected: usize,
    /// Posts of a refresh token.
    pub posts: usize,
    /// Those of a token that had been exchanged before; zero, or the story derails.
    pub replays: usize,
}

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The stage could not be set up.
    #[error("could not set up the demo: {0}")]
    Setup(Box<dyn Error + Send + Sync>),
    /// Something else happened than the story says.
    #[error("the demo went another way than it should: {0}; please report it")]
    Derailed(String),
    /// A stop signal came.
    #[error("the demo was interrupted")]
    Interrupted,
}

/// The time of day at which something happens, as a person here reads it: `14:05`.
pub fn hour(at: Stamp) -> String {
    at.to_zoned(clock::zone()).strftime("%H:%M").to_string()
}

/// Plays the whole story at `speed` times real time and tells it as it happens. With `signals`, a stop signal ends it
/// early and cleanly. Needs a running runtime.
///
/// # Errors
/// [`DemoError`]: above all when something the story waits for does not come about in good time.
pub async fn play(speed: u32, signals: Option<Signals>, tell: &mut dyn FnMut(Line)) -> Result<Report, DemoError> {
    let (mut stage, supervisor) = Stage::set_up(speed, tell)?;
    let stop = CancellationToken::new();
    let telling = async {
        let told = story::tell(&mut stage).await;
        let report = stage.report();
        stop.cancel();
        told.map(|()| report)
    };
    let (told, ()) = tokio::join!(telling, supervisor.run(signals, stop.cancelled()));
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::status::AccountState;

    /// Three hours of the story in some ten seconds. What each chapter must bring about it checks itself.
    #[tokio::test]
    async fn the_whole_story_happens_as_told_and_everyone_is_well_at_its_end() {
        let mut lines = Vec::new();
        let report = play(1_000, None, &mut |line| lines.push(line)).await.unwrap_or_else(|error| panic!("{error}"));
        let chapters = lines.iter().filter(|line| matches!(line, Line::Chapter(_))).count();
        assert_eq!(chapters, 7);
        assert!(report.snapshot.accounts.iter().all(|view| view.state == AccountState::Ok));
        let posts: Vec<_> = report.tallies.iter().map(|tally| tally.posts).collect();
        assert_eq!(posts, [0, 0, 0, 4, 1]);
        assert!(report.tallies.iter().all(|tally| tally.replays == 0));
        let said = |text: &str| {
            lines.iter().any(
                |line| matches!(line, Line::Event { said, .. } | Line::Consequence(said, _) if said.contains(text)),
            )
        };
        for text in [
            "posts its refresh token → 429, no Retry-After",
            "token gate closed until",
            "rung 3 of 5→10→20 min",
            "ok → throttled",
            "learned interval: 10 min instead of 5 min",
            "→ auth-paused",
            "→ dead",
        ] {
            assert!(said(text), "{text}: {lines:#?}");
        }
    }
}

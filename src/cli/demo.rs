//! `quotad demo`: the real supervisor against an embedded vendor, time-compressed.

use clap::Args;

use super::{Exit, Failure};

/// Arguments of `demo`: none.
#[derive(Debug, Args)]
pub(super) struct Demo {}

impl Demo {
    /// Plays the scenario and ends by itself.
    #[expect(clippy::unused_self, reason = "every verb is run the same way")]
    pub(super) fn run(self) -> Result<Exit, Failure> {
        Err(Failure::new(Exit::Failed, "demo: being integrated"))
    }
}

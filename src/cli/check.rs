//! `quotad check`: every complaint about the config file at once.

use std::path::Path;

use clap::Args;

use super::{Exit, Failure};

/// Arguments of `check`: none of its own.
#[derive(Debug, Args)]
pub(super) struct Check {}

impl Check {
    /// Validates the file and nothing else.
    #[expect(clippy::unused_self, reason = "every verb is run the same way")]
    pub(super) fn run(self, config: Option<&Path>) -> Result<Exit, Failure> {
        let _ = config;
        Err(Failure::new(Exit::Failed, "check: being integrated"))
    }
}

//! `quotad once`: one poll of each account under the stored gates and floors, without a daemon.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, Failure};

/// Arguments of `once`.
#[derive(Debug, Args)]
pub(super) struct Once {
    /// Print the status document
    #[arg(long)]
    json: bool,
    /// Where gates, fences and readings are kept [default: ~/.local/state/quotad]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Once {
    /// Polls, and prints what is known then.
    pub(super) fn run(self, config: Option<&Path>) -> Result<Exit, Failure> {
        let _ = (self.json, self.state_dir, config);
        Err(Failure::new(Exit::Failed, "once: being integrated"))
    }
}

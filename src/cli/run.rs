//! `quotad run`: the daemon, in the foreground.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, Failure};

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Where gates, fences and readings are kept [default: ~/.local/state/quotad]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Run {
    /// Runs until it is told to stop.
    pub(super) fn run(self, config: Option<&Path>) -> Result<Exit, Failure> {
        let _ = (self.state_dir, config);
        Err(Failure::new(Exit::Failed, "run: being integrated"))
    }
}

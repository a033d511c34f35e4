//! `quotad once`: one poll of each account under the stored gates and floors, without a daemon.

use std::path::{Path, PathBuf};

use clap::Args;

use super::run::{load, runtime};
use super::{Exit, Failure, status};
use crate::clock::Clock;
use crate::control::client::Client;
use crate::control::wire;
use crate::logging;
use crate::paths::Paths;
use crate::service;
use crate::state::{OpenError, State};
use crate::supervisor::{Setup, Supervisor};

/// Arguments of `once`.
#[derive(Debug, Args)]
pub(super) struct Once {
    /// Print the status document
    #[arg(long)]
    json: bool,
    /// Where gates, fences and readings are kept [default: ~/.local/state/quotad]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The daemon's socket, should one hold the state directory [default: /run/user/UID/quotad/quotad.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Once {
    /// Polls, and prints what is known then. Where a daemon holds the state directory, prints that daemon's answer.
    pub(super) fn run(self, config: Option<&Path>) -> Result<Exit, Failure> {
        service::keep_memory_private();
        let paths = Paths::of_this_user().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let loaded = load(config, &paths)?;
        // A person is waiting: what matters is in the answer.
        let logging = logging::start(tracing::Level::WARN);
        let runtime = runtime()?;
        let state = match State::open(self.state_dir.as_ref().unwrap_or(&paths.state_dir)) {
            Err(OpenError::Held { .. }) => {
                let client = Client::new(self.socket.as_ref().unwrap_or(&paths.socket));
                return status::show(&runtime.block_on(client.status(None))?, self.json);
            }
            state => state?,
        };
        let setup = Setup {
            loaded,
            config_file: config.map(Path::to_owned),
            paths,
            state,
            clock: Clock::real(),
            logging: Some(logging),
            read_only: true,
        };
        let status = runtime.block_on(async {
            let (supervisor, handle) = Supervisor::start(setup)?;
            supervisor.run_once().await;
            Ok::<_, Failure>(wire::Status::of(&handle.snapshot(), handle.now()))
        })?;
        status::show(&status, self.json)
    }
}

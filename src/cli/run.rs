//! `quotad run`: the daemon, in the foreground.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure};
use crate::clock::Clock;
use crate::config::{self, Loaded};
use crate::control::server::{self, BindError, Socket};
use crate::export::{http, metrics, notice};
use crate::logging::{self, Logging};
use crate::paths::Paths;
use crate::service::{self, Signals};
use crate::state::{OpenError, State};
use crate::supervisor::{Setup, StartError, Supervisor};

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Where gates, fences and readings are kept [default: ~/.local/state/quotad]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where the socket is made [default: /run/user/UID/quotad/quotad.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Run {
    /// Runs until it is told to stop.
    pub(super) fn run(self, config: Option<&Path>) -> Result<Exit, Failure> {
        service::keep_memory_private();
        let logging = logging::start(tracing::Level::INFO);
        self.serve(config, logging).or_else(|failure| {
            service::status(failure.said.lines().next().unwrap_or_default());
            if !logging::is_journal() {
                return Err(failure);
            }
            // As one entry with its priority; on stderr every line would be one, and none would be found as an error.
            tracing::error!(event = "failed", status = failure.exit as u8, "{failure}");
            Ok(failure.exit)
        })
    }

    fn serve(self, config: Option<&Path>, logging: Logging) -> Result<Exit, Failure> {
        let paths = Paths::of_this_user().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let loaded = load(config, &paths)?;
        logging.set_level(loaded.config.log.level);
        let state = State::open(self.state_dir.as_ref().unwrap_or(&paths.state_dir))?;
        let socket = self.socket.unwrap_or_else(|| paths.socket.clone());
        let setup = Setup {
            loaded,
            config_file: config.map(Path::to_owned),
            paths,
            state,
            clock: Clock::real(),
            logging: Some(logging),
            read_only: false,
        };
        runtime()?.block_on(daemon(setup, &socket))?;
        Ok(Exit::Ok)
    }
}

/// Config, state, signals, accounts, socket, READY; then the loop until a signal; then everything in reverse.
async fn daemon(setup: Setup, socket: &Path) -> Result<(), Failure> {
    let failed = |what: &str, error: std::io::Error| Failure::new(Exit::Failed, format!("{what}: {error}"));
    let signals = Signals::take().map_err(|error| failed("could not take over the signals", error))?;
    let socket = Socket::bind(socket).await?;
    let (supervisor, handle) = Supervisor::start(setup)?;
    // Ends with the runtime; an alert that is on its way then is lost, as at every other end.
    tokio::spawn(notice::queue::distribute(handle.notices(), Clock::real()));
    let stop = CancellationToken::new();
    let scraped = tokio::spawn(http::serve(handle.clone(), stop.clone()));
    let serving = tokio::spawn(server::serve(socket, handle, metrics::route(), stop.clone().cancelled_owned()));
    tracing::info!(event = "started", version = env!("CARGO_PKG_VERSION"), "quotad is running");
    service::ready();
    // A task, since to wake the runtime's own future costs a system call each time.
    if let Err(died) = tokio::spawn(supervisor.run(Some(signals), std::future::pending())).await {
        std::panic::resume_unwind(died.into_panic());
    }
    stop.cancel();
    let _ = (serving.await, scraped.await);
    tracing::info!(event = "stopped", "quotad has stopped");
    Ok(())
}

/// The config, or every complaint about it as one failure.
pub(super) fn load(file: Option<&Path>, paths: &Paths) -> Result<Loaded, Failure> {
    config::load(file, paths).map_err(|complaints| Failure::new(Exit::Config, complaints.to_string()))
}

/// A thread that has read a file ends this long after, while the poll it read for is under way: it would sleep for ten
/// seconds and wake once more, only to end.
const THREAD_LINGERS: Duration = Duration::from_millis(100);
/// So many files, or names of hosts, can hang at once before others have to wait for them: a few, since what a thread
/// once held is never given back (30 KB each). The steps of a rotation wait for nobody: see `credential::owner`.
const THREADS: usize = 4;

/// One thread for everything: a keeper of a few accounts needs no pool.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(THREAD_LINGERS)
        .max_blocking_threads(THREADS)
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("could not start the runtime: {error}")))
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match &error {
            OpenError::Held { .. } => Exit::Limited,
            OpenError::Newer { .. } => Exit::Config,
            OpenError::Disk(_) | OpenError::Database { .. } => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let exit = match &error {
            StartError::Network(_) => Exit::Config,
            StartError::Store(_) | StartError::Timer(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        let exit = match &error {
            BindError::AlreadyRunning(_) => Exit::Limited,
            BindError::ForeignDirectory(_) | BindError::NotASocket(_) | BindError::Io { .. } => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}

//! `quotad ingest`: hands the daemon what a vendor's client says in passing, and gets out of the way.
//!
//! Owns the promise to whoever is hooked in between: within [`PATIENCE`] the user's own command takes this process over,
//! with the same stdin, so that output, exit code and signals are its own; a daemon that is absent, slow or does not
//! want the numbers is no reason to say a word.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Deserialize;
use serde_json::Value;

use super::{Exit, Failure};
use crate::control::client::Client;
use crate::control::ingest::HandOver;
use crate::paths::Paths;

/// How long the daemon may take.
const PATIENCE: Duration = Duration::from_millis(10);
/// Bytes of a hand-over that are looked at; the command gets all of it.
const LARGEST: u64 = 1 << 20;

/// Arguments of `ingest`.
#[derive(Debug, Args)]
pub(super) struct Ingest {
    /// What stdin holds
    #[arg(value_enum)]
    from: From,
    /// The daemon's socket [default: /run/user/UID/quotad/quotad.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Your own statusline command and its arguments
    #[arg(last = true)]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    /// The JSON that Claude Code writes to its statusline command
    ClaudeStatusline,
}

impl Ingest {
    /// Hands over, then becomes the user's command.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let Self { from: From::ClaudeStatusline, socket, command } = self;
        let mut said = kept_stdin()
            .map_err(|error| Failure::new(Exit::Failed, format!("taking the statusline's JSON from stdin: {error}")))?;
        // Nothing that goes wrong here is the statusline's concern.
        let _ = hand_over(&mut said, socket);
        let Some((program, arguments)) = command.split_first() else { return Ok(Exit::Ok) };
        let error = match said.rewind() {
            Ok(()) => Command::new(program).args(arguments).stdin(said).exec(),
            Err(error) => error,
        };
        Err(Failure::new(Exit::Failed, format!("running {}: {error}", program.display())))
    }
}

/// All of stdin, in memory, as a file that can be read twice.
fn kept_stdin() -> io::Result<File> {
    let mut kept = File::from(memfd_create("quotad-ingest", MemfdFlags::CLOEXEC)?);
    io::copy(&mut io::stdin().lock(), &mut kept)?;
    Ok(kept)
}

/// Hands over the limits; `None` where that was not possible.
fn hand_over(said: &mut File, socket: Option<PathBuf>) -> Option<()> {
    #[derive(Deserialize)]
    struct Said {
        rate_limits: Value,
    }
    said.rewind().ok()?;
    let mut text = Vec::new();
    said.take(LARGEST).read_to_end(&mut text).ok()?;
    let Said { rate_limits } = serde_json::from_slice(&text).ok()?;
    let paths = Paths::of_this_user().ok()?;
    let credentials = paths.places.into_iter().find(|place| place.provider.as_str() == "claude")?.here;
    let said = HandOver { credentials, rate_limits };
    let client = Client::new(&socket.unwrap_or(paths.socket));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, client.hand_over(&said)).await.ok()?.ok() })
}

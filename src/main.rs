//! The `quotad` binary: parses, dispatches, and turns what comes back into one line and an exit code.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use quotad::cli::{Cli, Exit};

fn main() -> ExitCode {
    let exit = match Cli::try_parse() {
        Ok(cli) => cli.run().unwrap_or_else(|failure| {
            // Nothing is left to be done where even stderr is closed.
            let _ = writeln!(std::io::stderr(), "quotad: {failure}");
            failure.exit
        }),
        Err(message) => {
            let _ = message.print();
            if message.use_stderr() { Exit::Usage } else { Exit::Ok }
        }
    };
    exit.into()
}

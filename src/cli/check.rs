//! `quotad check`: every complaint about the config file at once.

use std::path::Path;

use clap::Args;

use super::{Exit, Failure, print};
use crate::config::Accounts;
use crate::paths::Paths;

/// Arguments of `check`: none of its own.
#[derive(Debug, Args)]
pub(super) struct Check {}

impl Check {
    /// Validates the file and nothing else.
    #[expect(clippy::unused_self, reason = "every verb is run the same way")]
    pub(super) fn run(self, config: Option<&Path>) -> Result<Exit, Failure> {
        let paths = Paths::of_this_user().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let loaded = super::run::load(config, &paths)?;
        let accounts = match &loaded.config.accounts {
            Accounts::Discovered => "accounts are discovered".to_owned(),
            Accounts::Listed(accounts) if accounts.len() == 1 => "1 account".to_owned(),
            Accounts::Listed(accounts) => format!("{} accounts", accounts.len()),
        };
        let what = match &loaded.file {
            Some(file) => format!("{} is valid: {accounts}\n", file.display()),
            None => format!("there is no {}: the defaults apply, {accounts}\n", paths.config_file.display()),
        };
        print(&what)?;
        for note in loaded.notes {
            print(&format!("note: {note}\n"))?;
        }
        Ok(Exit::Ok)
    }
}

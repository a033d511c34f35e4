//! What the pure core costs: a step of the policy, the reading of each vendor's answer, 100,000 deadlines, a forecast.
//!
//! `cargo bench --bench core`; a word after `--` picks rows by their path, such as `-- parse`. Time and dice are
//! arguments and the answers are the samples of tests/data, so nothing is asked, read or written. Prints absolute times
//! of this machine and judges none of them; before a row is measured it is made sure that it measures what it says.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should stop where it stands")]

mod account;
mod forecast;
mod parse;
mod schedule;

use std::path::Path;

use quotad::config::{self, Accounts, Config};
use quotad::paths::Paths;

fn main() {
    divan::main();
}

/// The one account that this config lists, with the config itself and the paths it was read for.
fn listed(text: &str) -> (config::Account, Config, Paths) {
    let paths = Paths::in_home(Path::new("/home/u"));
    let config = config::parse(text, &paths.config_file, &paths).unwrap().config;
    let Accounts::Listed(accounts) = &config.accounts else { unreachable!("one is listed") };
    (config::Account::clone(accounts.values().next().unwrap()), config, paths)
}

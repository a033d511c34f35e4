//! `quotad uninstall`: stops the service and takes away what `install` wrote, except what is the user's.

use std::path::Path;

use clap::Args;

use super::systemd::{Step, UNIT, UserManager, perform};
use super::{Exit, Failure};
use crate::paths::Paths;

/// Arguments of `uninstall`.
#[derive(Debug, Args)]
pub(super) struct Uninstall {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Uninstall {
    /// Stops, disables and removes the unit. Config, state and the user's own drop-ins stay, and are named.
    pub(super) fn run(self, config: Option<&Path>) -> Result<Exit, Failure> {
        let manager = UserManager::find()?;
        let paths = Paths::of_this_user().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        perform(&steps(&manager, &paths, config), self.dry_run)?;
        if !self.dry_run {
            // Only where nothing of the user's is left in it.
            let _ = std::fs::remove_dir(manager.drop_in_dir());
        }
        Ok(Exit::Ok)
    }
}

fn steps(manager: &UserManager, paths: &Paths, config: Option<&Path>) -> Vec<Step> {
    let unit = manager.unit_file();
    let mut steps = Vec::new();
    if unit.symlink_metadata().is_ok() {
        steps.push(Step::Tell(&["disable", "--now", UNIT]));
        steps.push(Step::Remove(unit));
    } else {
        steps.push(Step::Say(format!("there is no {}: nothing to stop", unit.display())));
    }
    steps.extend(manager.own_drop_ins().map(Step::Remove));
    steps.push(Step::Tell(&["daemon-reload"]));
    let config = config.unwrap_or(&paths.config_file);
    let kept = [("config", config), ("state", paths.state_dir.as_path())];
    let kept = kept.into_iter().filter(|(_, path)| path.exists());
    steps.extend(kept.map(|(what, path)| Step::Say(format!("the {what} stays: {}", path.display()))));
    steps
}

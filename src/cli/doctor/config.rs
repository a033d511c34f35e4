//! The config file: whether it is accepted, and who else could change it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{Finding, quoted, typed};
use crate::config::{Accounts, Complaints, Loaded};
use crate::disk;

/// Who may write the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    mode: u32,
    is_own: bool,
}

impl File {
    /// `None` where there is none.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        // A file of root's is as good as one's own: an administrator may have laid it there.
        let is_own = disk::is_own(&metadata) || metadata.uid() == 0;
        Some(Self { mode: metadata.mode() & 0o777, is_own })
    }
}

/// Whether the config is accepted, its notes, and whether it is safe where it lies.
pub(super) fn findings(loaded: &Result<Loaded, Complaints>, path: &Path, file: Option<File>) -> Vec<Finding> {
    let shown = path.display();
    let mut findings = match loaded {
        Ok(loaded) => accepted(loaded, path),
        Err(complaints) => {
            let lines = complaints.to_string();
            let many = if complaints.count() == 1 { "one complaint" } else { "these complaints" };
            let what = format!("config: {shown} is refused; a daemon keeps its old one, and none starts");
            let remedy = format!("mend {many}, then run `quotad check`\n{}", typed(&lines.lines().collect::<Vec<_>>()));
            vec![Finding::fail(what, remedy)]
        }
    };
    findings.extend(file.and_then(|file| exposed(file, path)));
    findings
}

fn accepted(loaded: &Loaded, path: &Path) -> Vec<Finding> {
    let accounts = match &loaded.config.accounts {
        Accounts::Discovered => "accounts are discovered".to_owned(),
        Accounts::Listed(accounts) if accounts.len() == 1 => "one account".to_owned(),
        Accounts::Listed(accounts) => format!("{} accounts", accounts.len()),
    };
    let path = path.display();
    let what = match &loaded.file {
        Some(_) => format!("config: {path} is valid: {accounts}"),
        None => format!("config: there is no {path}: the defaults apply, {accounts}"),
    };
    let notes = loaded.notes.iter().map(|note| Finding::warn(format!("config: {note}"), ""));
    std::iter::once(Finding::ok(what)).chain(notes).collect()
}

/// Whoever may write the config can send the tokens elsewhere.
fn exposed(file: File, path: &Path) -> Option<Finding> {
    let (shown, path) = (path.display(), quoted(path));
    if !file.is_own {
        let what = format!("config: {shown} belongs to another user, who could have tokens sent elsewhere");
        return Some(Finding::fail(what, typed(&[&format!("sudo chown $(id -un) {path}")])));
    }
    let what = |who| format!("config: {who} may write {shown} (mode {:04o}) and have tokens sent elsewhere", file.mode);
    let remedy = typed(&[&format!("chmod go-w {path}")]);
    match file.mode {
        mode if mode & 0o002 != 0 => Some(Finding::fail(what("everyone"), remedy)),
        mode if mode & 0o020 != 0 => Some(Finding::warn(what("its group"), remedy)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::paths::Paths;

    fn levels(text: &str, file: File) -> Vec<(Level, String)> {
        let path = Path::new("/home/ada/.config/quotad/config.toml");
        let loaded = crate::config::parse(text, path, &Paths::in_home(Path::new("/home/ada")));
        let findings = findings(&loaded, path, Some(file));
        findings.into_iter().map(|finding| (finding.level, finding.what + " / " + &finding.remedy)).collect()
    }

    const PRIVATE: File = File { mode: 0o600, is_own: true };

    #[test]
    fn a_bad_config_is_found_with_every_complaint_and_its_example() {
        let found = levels("[poll]\nintervall = \"10m\"\njitter = 7\n", PRIVATE);
        let [(Level::Fail, said)] = &found[..] else { panic!("{found:?}") };
        assert!(said.contains("did you mean `interval`") && said.contains("= example: jitter"), "{said}");
    }

    #[test]
    fn an_accepted_config_is_ok_and_its_notes_are_warnings() {
        let found = levels("[poll]\ninterval = \"1m\"\n", PRIVATE);
        assert_eq!(found.iter().map(|(level, _)| *level).collect::<Vec<_>>(), [Level::Ok, Level::Warn]);
        assert!(found[1].1.contains("raised"), "{found:?}");
    }

    #[test]
    fn a_config_that_others_may_write_is_a_failure_or_a_warning_with_the_command_that_closes_it() {
        for (file, level, command) in [
            (File { mode: 0o646, is_own: true }, Level::Fail, "chmod go-w"),
            (File { mode: 0o664, is_own: true }, Level::Warn, "chmod go-w"),
            (File { mode: 0o600, is_own: false }, Level::Fail, "chown"),
        ] {
            let found = levels("", file);
            assert!(found[1].0 == level && found[1].1.contains(command), "{file:?}: {found:?}");
        }
        assert_eq!(levels("", File { mode: 0o644, is_own: true }).len(), 1);
    }
}

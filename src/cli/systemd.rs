//! The user's systemd, as `install` and `uninstall` see it: the unit, its drop-ins, and what is done about them.
//!
//! Owns the texts that are shipped in `systemd/`, embedded so that the binary alone installs itself, and the names
//! they are installed under. A drop-in of the user's own is never touched, and sorts behind quotad's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{fs, io};

use super::{Exit, Failure, print};
use crate::disk;

/// The name of the unit.
pub(super) const UNIT: &str = "quotad.service";

/// The unit as it is shipped.
const UNIT_TEXT: &str = include_str!("../../systemd/quotad.service");

/// The line of [`UNIT_TEXT`] that says what is run.
const EXEC_START: &str = "ExecStart=%h/.local/bin/quotad run";

/// Where state lies, in the drop-ins as they are shipped.
const STATE_DIR: &str = "%h/.local/state/quotad";

/// How much of the sandbox a machine and a config allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sandbox {
    /// The unit as it is.
    Full,
    /// The home read-only, no bus, no JIT: where every account has `refresh = "never"`.
    Strict,
    /// Without what needs a user namespace.
    Relaxed,
}

impl Sandbox {
    const ALL: [Self; 3] = [Self::Full, Self::Strict, Self::Relaxed];

    /// The drop-in that makes it so: its name and text.
    fn drop_in(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Full => None,
            Self::Strict => Some(("10-quotad-strict.conf", include_str!("../../systemd/strict.conf"))),
            Self::Relaxed => Some(("10-quotad-relaxed.conf", include_str!("../../systemd/relaxed.conf"))),
        }
    }
}

/// The running user manager.
#[derive(Debug)]
pub(super) struct UserManager {
    /// Where a user's own units lie, e.g. `/home/ada/.config/systemd/user`.
    pub(super) unit_dir: PathBuf,
    /// The variables its services see.
    environment: BTreeMap<String, String>,
}

impl UserManager {
    /// Asks for it.
    ///
    /// # Errors
    /// There is no systemd, or no manager of this user answers.
    pub(super) fn find() -> Result<Self, Failure> {
        let without = "without it, start `quotad run` from whatever starts your session";
        let no_manager = |why: &str| {
            let remedy = "log in as this user, not through su or sudo";
            Failure::new(
                Exit::Failed,
                format!("no user manager of systemd answers ({}): {remedy}; {without}", why.trim()),
            )
        };
        let paths = systemctl(&["show", "--property=UnitPath", "--value"]).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Failure::new(Exit::Failed, format!("this machine has no systemd (there is no `systemctl`): {without}"))
            }
            _ => no_manager(&error.to_string()),
        })?;
        if !paths.status.success() {
            return Err(no_manager(&String::from_utf8_lossy(&paths.stderr)));
        }
        let paths = String::from_utf8_lossy(&paths.stdout).into_owned();
        let unit_dir = paths.split_whitespace().map(PathBuf::from).find(|path| path.ends_with("systemd/user"));
        let unit_dir = unit_dir.ok_or_else(|| no_manager("it names no directory for units"))?;
        let shown = systemctl(&["show-environment"]).map(|shown| shown.stdout).unwrap_or_default();
        let shown = String::from_utf8_lossy(&shown).into_owned();
        let variables = shown.lines().filter_map(|line| line.split_once('='));
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { unit_dir, environment })
    }

    /// A variable as quotad's service will see it.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }

    /// A directory of the XDG rules as quotad's service will see it.
    pub(super) fn xdg_dir(&self, variable: &str, home: &Path, otherwise: &str) -> PathBuf {
        let set = self.variable(variable).map(PathBuf::from).filter(|dir| dir.is_absolute());
        set.unwrap_or_else(|| home.join(otherwise))
    }

    /// Whether a service may have a user namespace of its own, and with it a sandbox; tried, because no setting tells.
    pub(super) fn gives_namespaces() -> bool {
        let trial = ["--user", "--wait", "-q", "-p", "PrivateUsers=yes", "-p", "ProtectSystem=strict", "true"];
        let tried = Command::new("systemd-run").args(trial).stdin(Stdio::null()).output();
        tried.is_ok_and(|tried| tried.status.success())
    }

    /// Where the unit is, or would be.
    pub(super) fn unit_file(&self) -> PathBuf {
        self.unit_dir.join(UNIT)
    }

    /// Where the drop-ins are, quotad's and the user's.
    pub(super) fn drop_in_dir(&self) -> PathBuf {
        self.unit_dir.join(format!("{UNIT}.d"))
    }

    /// Where quotad's own drop-ins are, or would be.
    pub(super) fn own_drop_ins(&self) -> impl Iterator<Item = PathBuf> {
        let dir = self.drop_in_dir();
        Sandbox::ALL.into_iter().filter_map(Sandbox::drop_in).map(move |(name, _)| dir.join(name))
    }

    /// The unit that runs this command line, and of quotad's own drop-ins the one that fits and no other.
    pub(super) fn unit_steps(&self, command_line: &[&str], sandbox: Sandbox, state_dir: &Path) -> Vec<Step> {
        let mut steps = vec![Step::Write(self.unit_file(), unit_text(command_line))];
        for other in Sandbox::ALL {
            let Some((name, text)) = other.drop_in() else { continue };
            let file = self.drop_in_dir().join(name);
            steps.push(if other == sandbox {
                Step::Write(file, text.replace(STATE_DIR, &quoted(&state_dir.display().to_string())))
            } else {
                Step::Remove(file)
            });
        }
        steps
    }
}

/// One thing that is done on the machine.
#[derive(Debug)]
pub(super) enum Step {
    /// Gives a file this content.
    Write(PathBuf, String),
    /// Removes a file, should it be there.
    Remove(PathBuf),
    /// Tells the user manager something.
    Tell(&'static [&'static str]),
    /// Says something and does nothing.
    Say(String),
}

/// Does every step in turn and prints it; with `dry_run` only prints.
///
/// # Errors
/// The first step that fails.
pub(super) fn perform(steps: &[Step], dry_run: bool) -> Result<(), Failure> {
    let done = |act: &dyn Fn() -> Result<(), Failure>| if dry_run { Ok(()) } else { act() };
    if dry_run {
        print("dry run: nothing of this is done\n")?;
    }
    for step in steps {
        match step {
            Step::Write(file, text) => {
                let found = fs::read_to_string(file).ok();
                if found.as_ref() == Some(text) {
                    print(&format!("keep      {}\n", file.display()))?;
                    continue;
                }
                print(&format!("{:8}  {}\n", if found.is_some() { "replace" } else { "write" }, file.display()))?;
                done(&|| write(file, text))?;
            }
            Step::Remove(file) if file.symlink_metadata().is_err() => {}
            Step::Remove(file) => {
                print(&format!("remove    {}\n", file.display()))?;
                done(&|| disk::remove_durably(file).map_err(|error| Failure::new(Exit::Failed, error.to_string())))?;
            }
            Step::Tell(words) => {
                print(&format!("run       systemctl --user {}\n", words.join(" ")))?;
                done(&|| tell(words))?;
            }
            Step::Say(said) => print(&format!("note      {said}\n"))?,
        }
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let dir = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir)
        .map_err(disk::DiskError::on("make the directory", dir))
        .and_then(|()| disk::store_private(file, text.as_bytes()))
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

fn tell(words: &[&str]) -> Result<(), Failure> {
    let failed = |why: &str| {
        let look = format!("systemctl --user status {UNIT}; journalctl --user -u {UNIT} -n 20");
        Failure::new(Exit::Failed, format!("systemctl --user {}: {}; look at: {look}", words.join(" "), why.trim()))
    };
    let told = systemctl(words).map_err(|error| failed(&error.to_string()))?;
    if told.status.success() { Ok(()) } else { Err(failed(&String::from_utf8_lossy(&told.stderr))) }
}

fn systemctl(words: &[&str]) -> io::Result<Output> {
    Command::new("systemctl").arg("--user").args(words).stdin(Stdio::null()).output()
}

/// The unit with this command line in place of the shipped one.
fn unit_text(command_line: &[&str]) -> String {
    let words: Vec<String> = command_line.iter().map(|word| quoted(word)).collect();
    let head = "# Written by `quotad install`, which also replaces it; `quotad uninstall` removes it.\n\
                # To change something: systemctl --user edit quotad\n";
    head.to_owned() + &UNIT_TEXT.replace(EXEC_START, &format!("ExecStart={}", words.join(" ")))
}

/// A word as a unit file spells it: nothing in it is a specifier or a separator.
fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,=%~".contains(c);
    if word.chars().all(plain) { word } else { format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")) }
}

#[cfg(test)]
impl UserManager {
    /// One whose services see these variables.
    pub(super) fn for_tests(environment: &[(&str, &str)]) -> Self {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { unit_dir: "/u".into(), environment }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_unit_runs_the_command_line_it_was_given_and_is_else_the_shipped_one() {
        let unit = unit_text(&["/opt/my tools/100%/quotad", "run"]);
        assert!(unit.contains("\nExecStart=\"/opt/my tools/100%%/quotad\" run\n"), "{unit}");
        let lines = |text: &str| text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        let changed: Vec<_> = lines(&unit).into_iter().filter(|line| !UNIT_TEXT.contains(line.as_str())).collect();
        assert_eq!(changed.len(), 1, "{changed:?}");
        assert_eq!(lines(&unit).len(), lines(UNIT_TEXT).len());
    }

    #[test]
    fn a_word_of_a_unit_file_means_itself() {
        for (word, want) in [
            ("/usr/bin/quotad", "/usr/bin/quotad"),
            ("/a b", "\"/a b\""),
            ("/a%h", "/a%%h"),
            ("/a\"b\\c", "\"/a\\\"b\\\\c\""),
            ("/ä;", "\"/ä;\""),
        ] {
            assert_eq!(quoted(word), want);
        }
    }

    #[test]
    fn of_quotads_own_drop_ins_the_one_that_fits_is_written_and_the_others_go() {
        let manager = UserManager::for_tests(&[]);
        for (sandbox, written, removed) in [
            (Sandbox::Full, vec![], vec!["10-quotad-strict.conf", "10-quotad-relaxed.conf"]),
            (Sandbox::Strict, vec!["10-quotad-strict.conf"], vec!["10-quotad-relaxed.conf"]),
            (Sandbox::Relaxed, vec!["10-quotad-relaxed.conf"], vec!["10-quotad-strict.conf"]),
        ] {
            let steps = manager.unit_steps(&["/q", "run"], sandbox, Path::new("/s/quotad"));
            let name = |file: &Path| file.strip_prefix("/u/quotad.service.d").ok().map(|f| f.display().to_string());
            let of = |wanted: fn(&Step) -> Option<&Path>| {
                steps.iter().filter_map(wanted).filter_map(name).collect::<Vec<_>>()
            };
            let wrote = of(|step| if let Step::Write(file, _) = step { Some(file) } else { None });
            let gone = of(|step| if let Step::Remove(file) = step { Some(file) } else { None });
            assert_eq!(
                (wrote, gone),
                (written.iter().map(ToString::to_string).collect(), removed.iter().map(ToString::to_string).collect())
            );
            for step in &steps {
                if let Step::Write(file, text) = step {
                    assert!(!text.contains(STATE_DIR), "{}", file.display());
                }
            }
        }
    }
}

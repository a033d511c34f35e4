//! Where a change can make a path lead to something else. Follows links and directories as they are now; changes nothing.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::disk;

/// As many symlinks as the kernel follows in one path.
pub(super) const LONGEST_CHAIN: usize = 40;

/// Every place at which a change can make `path` lead to something else, as a directory and the name in it: each
/// symlink on the way, then the file itself or, short of it, the first thing that is missing.
pub(super) fn trail(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut places = Vec::new();
    let mut here = PathBuf::from("/");
    let mut ahead: Vec<Step> = steps(path).collect();
    ahead.reverse();
    while let Some(step) = ahead.pop() {
        let name = match step {
            Step::Root => {
                here = PathBuf::from("/");
                continue;
            }
            Step::Up => {
                here.pop();
                continue;
            }
            Step::Into(name) => name,
        };
        let next = here.join(&name);
        match fs::symlink_metadata(&next) {
            Ok(found) if found.is_symlink() && places.len() < LONGEST_CHAIN => {
                let Ok(target) = fs::read_link(&next) else { continue };
                let onward: Vec<Step> = steps(&target).collect();
                ahead.extend(onward.into_iter().rev());
                // A link in a directory of the system's (`/home` in `/`) hardly ever moves, but everyone reads there.
                if fs::metadata(&here).is_ok_and(|dir| disk::is_own(&dir)) {
                    places.push((here.clone(), name));
                }
            }
            Ok(found) if found.is_dir() && !ahead.is_empty() => here = next,
            _ => {
                places.push((here, name));
                break;
            }
        }
    }
    places
}

/// One part of a path that has an effect.
enum Step {
    Root,
    Up,
    Into(OsString),
}

fn steps(path: &Path) -> impl Iterator<Item = Step> {
    path.components().filter_map(|part| match part {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Into(OsStr::to_owned(name))),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_trail_names_every_link_and_ends_at_the_file_or_where_it_breaks_off() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(temporary.path()).unwrap();
        fs::create_dir(dir.join("real")).unwrap();
        symlink("real", dir.join("link")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        let at = |sub: &str, name: &str| (dir.join(sub), OsString::from(name));
        let same = |sub: &str| (dir.clone(), OsString::from(sub));
        assert_eq!(trail(&dir.join("link/cred")), [same("link"), at("real", "cred")]);
        assert_eq!(trail(&dir.join("link/../real/./cred")), [same("link"), at("real", "cred")]);
        assert_eq!(trail(&dir.join("absent/b/cred")), [same("absent")]);
        assert_eq!(trail(&dir.join("loop/cred")).len(), LONGEST_CHAIN + 1, "a loop ends");
    }
}

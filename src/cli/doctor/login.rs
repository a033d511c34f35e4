//! The logins: the credential file of each account, what it holds, and what the daemon makes of it.

use std::path::PathBuf;

use super::{Finding, Level, quoted, typed};
use crate::cli::Exit;
use crate::cli::page::Page;
use crate::config::Account;
use crate::control::wire;
use crate::credential::inspect::{self, Inspection, Place};
use crate::credential::vendor_lock::{LockState, Standing};
use crate::model::{Credential, CredentialOwner, Login, RefreshMode};
use crate::paths::Paths;
use crate::{provider, supervisor};

const WEEK: i64 = 7 * 86_400;

/// What is known of one account.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    name: String,
    path: PathBuf,
    owner: CredentialOwner,
    refresh: RefreshMode,
    /// The scope its token needs.
    scope: Option<&'static str>,
    /// How a person logs in again.
    log_in: String,
    seen: Inspection,
    /// State, reason and action, where a daemon answers.
    daemon: Option<wire::Account>,
}

impl Facts {
    /// Looks at the account's file; `None` for a key in a variable, which only the daemon can see.
    pub(super) fn of(account: &Account, paths: &Paths, daemon: Option<&wire::Account>) -> Option<Self> {
        let provider = provider::of(account.provider);
        let path = account.credentials.file()?;
        Some(Self {
            name: account.name.to_string(),
            path: path.to_owned(),
            owner: account.owner,
            refresh: account.refresh,
            scope: provider.usage_scope(),
            log_in: supervisor::log_in(account, paths).map_or_else(str::to_owned, |line| typed(&[&line])),
            seen: inspect::inspect(path, account.provider, account.owner, Some(&paths.home)),
            daemon: daemon.cloned(),
        })
    }
}

/// Every finding about one account.
pub(super) fn findings(facts: &Facts, page: &Page) -> Vec<Finding> {
    let mut findings = Vec::new();
    match facts.seen.place {
        Some(place) => findings.extend(on_disk(facts, place)),
        None if facts.seen.credential == Credential::Absent => {
            let what = format!("there is no credential file {}", facts.path.display());
            findings.push(Finding::log_in(what, &facts.log_in));
        }
        None => {}
    }
    findings.extend(locks(facts));
    match &facts.seen.credential {
        Credential::Login(login) => findings.extend(of_login(facts, login, page)),
        Credential::Absent => {}
        Credential::SignedOut => findings.push(Finding::log_in("the vendor's CLI signed out", &facts.log_in)),
        Credential::NoLogin => findings.push(Finding::log_in("the file holds no login of this vendor", &facts.log_in)),
        Credential::Unreadable(why) => findings.push(Finding::from_sentence(Level::Fail, why)),
    }
    findings.extend(facts.daemon.as_ref().and_then(as_seen_by_daemon));
    for finding in &mut findings {
        finding.what = format!("{}: {}", facts.name, finding.what);
    }
    findings
}

/// Mode, owner, the way there, and the file system.
fn on_disk(facts: &Facts, place: Place) -> Vec<Finding> {
    let (shown, path) = (facts.path.display(), quoted(&facts.path));
    let mut findings = Vec::new();
    if !place.is_own {
        let remedy = typed(&[&format!("sudo chown $(id -un) {path}")]);
        findings.push(Finding::fail(format!("{shown} belongs to another user"), remedy));
    }
    if place.mode & 0o077 != 0 {
        let what = format!("{shown} is open to other users (mode {:04o}): close it", place.mode);
        findings.push(Finding::fail(what, typed(&[&format!("chmod 600 {path}")])));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!("{shown} is private and yours (mode {:04o})", place.mode)));
    }
    if !facts.seen.links.is_empty() {
        let hop = |(link, target): &(PathBuf, PathBuf)| format!("{} -> {}", link.display(), target.display());
        let way: Vec<String> = facts.seen.links.iter().map(hop).collect();
        findings.push(Finding::ok(format!("it is reached through symlinks: {}", way.join(", "))));
    }
    if place.is_hard_linked {
        let what = "the file has a second hard link, which would keep spent tokens";
        let find = format!("find ~ -xdev -samefile {path}");
        findings.push(Finding::warn(what, format!("remove the other name; this finds it:\n{}", typed(&[&find]))));
    }
    findings.push(if place.is_remote {
        let what = "it lies on a network or FUSE file system: changes made elsewhere are seen at the next poll only";
        Finding::warn(what, "keep the vendor's directory on a local disk")
    } else if place.is_mount_point {
        let what = "it is a mount point of its own, which can be written but not replaced";
        Finding::warn(what, "mount the directory it lies in instead")
    } else {
        Finding::ok("it lies on a local file system")
    });
    findings
}

fn locks(facts: &Facts) -> Vec<Finding> {
    if facts.owner == CredentialOwner::Vendor && facts.seen.locks.is_empty() {
        return vec![Finding::ok("no lock of the vendor's CLI is held or left behind")];
    }
    let finding = |lock: &Standing| match lock.state {
        LockState::Free | LockState::Fresh(_) => Finding::ok(lock.to_string()),
        LockState::Poisoned(_) => Finding::from_sentence(Level::Warn, &lock.to_string()),
        LockState::Stale(_) | LockState::Future(_) => {
            let remove = typed(&[&format!("rmdir {}", quoted(&lock.path))]);
            let remedy = format!("if no vendor CLI is running, remove it:\n{remove}");
            Finding { remedy, ..Finding::from_sentence(Level::Warn, &lock.to_string()) }
        }
    };
    facts.seen.locks.iter().map(finding).collect()
}

fn of_login(facts: &Facts, login: &Login, page: &Page) -> Vec<Finding> {
    [Some(token(facts, login, page)), scopes(facts, login), login_end(facts, login, page), Some(refresh(facts, login))]
        .into_iter()
        .flatten()
        .collect()
}

fn token(facts: &Facts, login: &Login, page: &Page) -> Finding {
    match login.expires_at {
        None => Finding::warn(
            "the file does not say when the access token expires",
            format!("if requests are refused, log in again:\n{}", facts.log_in),
        ),
        Some(at) if at > page.now() => Finding::ok(format!("the access token expires {}", page.ahead(at))),
        Some(at) if login.refresh.is_none() => {
            let what = format!("the access token expired {} and the login has no refresh token", page.ago(at));
            Finding::log_in(what, &facts.log_in)
        }
        Some(at) if facts.refresh == RefreshMode::Never => {
            let what = format!("the access token expired {}: its owner makes a new one", page.ago(at));
            Finding::warn(what, "use the vendor's CLI once, or let quotad refresh: `refresh` in the config")
        }
        Some(at) => Finding::ok(format!("the access token expired {}: quotad is to refresh it", page.ago(at))),
    }
}

fn scopes(facts: &Facts, login: &Login) -> Option<Finding> {
    let needed = facts.scope?;
    Some(match &login.scopes {
        Some(scopes) if scopes.iter().any(|scope| scope == needed) => {
            Finding::ok(format!("the token may ask for usage ({needed})"))
        }
        Some(_) => {
            let what = format!("the token lacks the scope {needed}: a setup-token cannot ask for usage");
            Finding::log_in(what, &facts.log_in)
        }
        None => Finding::warn(
            "the file does not say what the token may do, and newer CLIs refuse such a login",
            format!("log in again:\n{}", facts.log_in),
        ),
    })
}

fn login_end(facts: &Facts, login: &Login, page: &Page) -> Option<Finding> {
    let end = login.login_ends_at?;
    let left = end.duration_since(page.now()).as_secs();
    Some(match left {
        ..=0 => Finding::log_in(format!("the login itself ended {}", page.ago(end)), &facts.log_in),
        1..=WEEK => {
            let what = format!("the login itself ends {}, whatever is refreshed", page.ahead(end));
            Finding::warn(what, format!("log in again before:\n{}", facts.log_in))
        }
        _ => Finding::ok(format!("the login itself ends {}", page.ahead(end))),
    })
}

/// The mode in force, which is `never` where anything else could cost the login.
fn refresh(facts: &Facts, login: &Login) -> Finding {
    let word = match facts.refresh {
        RefreshMode::Never => return Finding::ok("refresh: never; whoever writes the file refreshes it"),
        RefreshMode::WhenIdle => "when-idle",
        RefreshMode::Command => "command",
        RefreshMode::Always => "always",
    };
    match &login.unsafe_because {
        Some(why) => {
            let Finding { what, remedy, .. } = Finding::from_sentence(Level::Warn, why);
            Finding::warn(format!("refresh: {word} is configured but never is in force, because {what}"), remedy)
        }
        None if login.refresh.is_none() => {
            Finding::warn(format!("refresh: {word} is configured, but the login has no refresh token"), "")
        }
        None => match facts.daemon.as_ref().map(|known| known.credentials.refresh.as_str()) {
            Some(other) if other != word => Finding::warn(
                format!("refresh: {word} is configured, but the daemon has {other} in force"),
                format!("it says why:\n{}", typed(&[&format!("quotad explain {}", facts.name)])),
            ),
            _ => Finding::ok(format!("refresh: {word} is in force")),
        },
    }
}

fn as_seen_by_daemon(account: &wire::Account) -> Option<Finding> {
    let what = format!("the daemon says {}: {}", account.state, account.reason);
    let level = match Exit::of(account) {
        Exit::Ok | Exit::Unknown => return None,
        Exit::Login => Level::LogIn,
        _ => Level::Warn,
    };
    Some(Finding { level, what, remedy: account.action.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::control::wire::sample;

    use crate::model::Fingerprint;
    use crate::policy::time::Stamp;

    const PLACE: Place =
        Place { mode: 0o600, is_own: true, is_hard_linked: false, is_remote: false, is_mount_point: false };

    fn after(seconds: i64) -> Option<Stamp> {
        sample::now().checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
    }

    fn login() -> Login {
        Login {
            access: Fingerprint::new([1; 16]),
            refresh: Some(Fingerprint::new([2; 16])),
            expires_at: after(3_600),
            login_ends_at: after(30 * 86_400),
            scopes: Some(vec!["user:inference".to_owned(), "user:profile".to_owned()]),
            plan: None,
            identity: None,
            modified_at: None,
            unsafe_because: None,
        }
    }

    fn facts(credential: Credential) -> Facts {
        Facts {
            name: "work".to_owned(),
            path: PathBuf::from("/home/ada/.claude/.credentials.json"),
            owner: CredentialOwner::Vendor,
            refresh: RefreshMode::Never,
            scope: Some("user:profile"),
            log_in: " claude /login".to_owned(),
            seen: Inspection { links: Vec::new(), place: Some(PLACE), credential, locks: Vec::new() },
            daemon: None,
        }
    }

    /// The findings that are not ok: level, what and remedy.
    fn trouble(facts: &Facts) -> Vec<(Level, String, String)> {
        let page = Page::for_tests();
        let bad = findings(facts, &page).into_iter().filter(|finding| finding.level != Level::Ok);
        bad.map(|finding| (finding.level, finding.what, finding.remedy)).collect()
    }

    /// The one thing wrong with `facts` has this level, says this, and has this in its remedy.
    fn assert_found(facts: &Facts, level: Level, what: &str, remedy: &str) {
        let found = trouble(facts);
        let [(was, said, remedied)] = &found[..] else { panic!("{what}: {found:#?}") };
        assert_eq!(*was, level, "{said}");
        assert!(said.starts_with("work: ") && said.contains(what), "{said}");
        assert!(remedied.contains(remedy), "{said}: {remedied}");
    }

    #[test]
    fn a_good_login_is_ok_in_every_respect() {
        let page = Page::for_tests();
        let findings = findings(&facts(Credential::Login(login())), &page);
        assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
        assert_eq!(findings.len(), 7);
    }

    #[test]
    fn a_file_that_others_may_read_or_own_is_closed_by_one_command() {
        let place = |place| {
            let mut facts = facts(Credential::Login(login()));
            facts.seen.place = Some(place);
            facts
        };
        let open = place(Place { mode: 0o644, ..PLACE });
        assert_found(&open, Level::Fail, "mode 0644", " chmod 600 /home/ada/.claude/.credentials.json");
        assert_found(&place(Place { is_own: false, ..PLACE }), Level::Fail, "another user", " sudo chown");
        assert_found(&place(Place { is_hard_linked: true, ..PLACE }), Level::Warn, "hard link", " find ~");
        assert_found(&place(Place { is_remote: true, ..PLACE }), Level::Warn, "network", "local disk");
        assert_found(&place(Place { is_mount_point: true, ..PLACE }), Level::Warn, "mount point", "directory");
    }

    #[test]
    fn whatever_is_no_login_asks_for_one_and_what_cannot_be_read_says_why() {
        assert_found(&facts(Credential::SignedOut), Level::LogIn, "signed out", " claude /login");
        assert_found(&facts(Credential::NoLogin), Level::LogIn, "no login", " claude /login");
        let unreadable = Credential::Unreadable("/x is a directory; move it away and log in again".to_owned());
        assert_found(&facts(unreadable), Level::Fail, "/x is a directory", "move it away");
        let mut absent = facts(Credential::Absent);
        absent.seen.place = None;
        assert_found(&absent, Level::LogIn, "no credential file", " claude /login");
    }

    #[test]
    fn an_expired_token_a_missing_scope_and_a_near_end_are_said_with_what_helps() {
        let with = |change: fn(&mut Login)| {
            let mut login = login();
            change(&mut login);
            facts(Credential::Login(login))
        };
        assert_found(&with(|login| login.expires_at = after(-60)), Level::Warn, "expired 1 min ago", "CLI once");
        let setup = with(|login| (login.expires_at, login.refresh) = (after(-60), None));
        assert_found(&setup, Level::LogIn, "no refresh token", " claude /login");
        assert_found(&with(|login| login.expires_at = None), Level::Warn, "does not say when", "log in again");
        let narrow = with(|login| login.scopes = Some(vec!["user:inference".to_owned()]));
        assert_found(&narrow, Level::LogIn, "lacks the scope user:profile", " claude /login");
        assert_found(&with(|login| login.scopes = None), Level::Warn, "what the token may do", "log in again");
        assert_found(&with(|login| login.login_ends_at = after(86_400)), Level::Warn, "ends in 1 d", "before");
        assert_found(&with(|login| login.login_ends_at = after(-60)), Level::LogIn, "ended", " claude /login");
    }

    #[test]
    fn a_refresh_mode_that_is_not_in_force_says_why() {
        let why = "/home/ada/x is a symlink; put the file itself there";
        let mut facts = facts(Credential::Login(Login { unsafe_because: Some(why.to_owned()), ..login() }));
        assert!(trouble(&facts).is_empty(), "never is never unsafe");
        facts.refresh = RefreshMode::WhenIdle;
        assert_found(&facts, Level::Warn, "when-idle is configured but never is in force, because /home", "put the");
    }

    #[test]
    fn a_lock_left_behind_comes_with_its_remedy_and_one_at_work_is_fine() {
        let lock = |state| {
            let mut facts = facts(Credential::Login(login()));
            facts.seen.locks = vec![Standing { path: "/h/.claude/.oauth_refresh.lock".into(), state }];
            facts
        };
        let minutes = std::time::Duration::from_mins;
        assert_found(&lock(LockState::Stale(minutes(9))), Level::Warn, "left behind 540 s", "\n rmdir /h/.claude");
        assert_found(&lock(LockState::Future(minutes(9))), Level::Warn, "in the future", "rmdir /h/.claude");
        assert_found(&lock(LockState::Poisoned("is not empty")), Level::Warn, "is not empty", "move it away");
        assert!(trouble(&lock(LockState::Fresh(minutes(0)))).is_empty());
    }

    #[test]
    fn what_the_daemon_waits_a_person_for_is_passed_on() {
        let mut account = wire::Account::of(&sample::throttled(), sample::now());
        account.state = "dead".to_owned();
        account.action = "log in again: claude /login".to_owned();
        let facts =
            |account: &wire::Account| Facts { daemon: Some(account.clone()), ..facts(Credential::Login(login())) };
        assert_found(&facts(&account), Level::LogIn, "the daemon says dead", "log in again");
        account.state = "ok".to_owned();
        account.credentials.refresh = "never".to_owned();
        let barred = Facts { refresh: RefreshMode::WhenIdle, ..facts(&account) };
        assert_found(&barred, Level::Warn, "the daemon has never in force", " quotad explain work");
    }
}

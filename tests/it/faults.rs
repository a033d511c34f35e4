//! What can go wrong with the credential file while the one POST is under way: the disk fills, the file is emptied,
//! swapped or taken away. Nothing that arrived may be lost and nothing newer overwritten.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use quotad::demo::vendor::{Answer, Tokens, credential_file_json};

use crate::support::{Daemon, House, QUICK, text, wait_for};

/// The answer of the token endpoint arrives in sixteen pieces, each this long after the one before.
const PIECE: Duration = Duration::from_millis(100);

/// An own grant whose refresh is being answered, slowly.
struct UnderWay {
    house: House,
    tokens: Tokens,
}

impl UnderWay {
    fn new(prepare: impl FnOnce(&House)) -> Self {
        let house = House::new();
        prepare(&house);
        let tokens = house.log_in_expired("own");
        house.configure(QUICK, "own", "owner = \"quotad\"");
        house.vendor.token().next(Answer::Drip { delay: PIECE });
        Self { house, tokens }
    }

    /// Starts the daemon and does `mischief` while the answer is on its way.
    fn run(&self, mischief: impl FnOnce(&Path)) -> Daemon<'_> {
        let daemon = self.house.start();
        wait_for("the post", || self.house.vendor.with(|world| world.token_posts().count()) == 1);
        mischief(&self.house.credentials("own"));
        daemon
    }

    /// The refresh token that is good now.
    fn live(&self) -> String {
        self.house.vendor.with(|world| world.current(&self.tokens.refresh)).expect("the login lives").refresh
    }

    fn successors(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.house.path("state").join("quotad")).unwrap();
        let is_one = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("successor-");
        entries.map(|entry| entry.unwrap().path()).filter(is_one).collect()
    }

    fn assert_nothing_was_replayed(&self) {
        assert_eq!(self.house.vendor.with(|world| world.replays().count()), 0);
        assert_eq!(self.house.vendor.with(|world| world.token_posts().count()), 1);
    }
}

/// A tmpfs of its own for the account's directory, unmounted when dropped; `None` where mounts are not allowed.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn on(house: &House) -> Option<Self> {
        let dir = house.credentials("own").parent().unwrap().to_owned();
        fs::create_dir_all(&dir).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs"]).arg(&dir).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        println!("skipped: this machine allows no mounts");
        None
    }

    /// Lays a read-only view over the directory; what has files open below it does not matter.
    fn cover(&self) {
        let mount = |args: &[&str], paths: &[&Path]| {
            assert!(Command::new("mount").args(args).args(paths).status().unwrap().success(), "mount {args:?}");
        };
        mount(&["--bind"], &[&self.0, &self.0]);
        mount(&["-o", "remount,bind,ro"], &[&self.0]);
    }

    /// Takes it away again.
    fn uncover(&self) {
        assert!(Command::new("umount").arg("-l").arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_fills_up_after_the_post_costs_nothing_and_the_token_is_placed_once_there_is_room() {
    let mut tmpfs = None;
    let way = UnderWay::new(|house| tmpfs = Tmpfs::on(house));
    let Some(tmpfs) = tmpfs else { return };
    let filler = tmpfs.0.join("filler");
    let daemon = way.run(|_| {
        let mut size = 256 * 1024;
        while size > 0 {
            // Whatever fits.
            if fs::write(&filler, vec![0; size]).is_ok() {
                break;
            }
            size -= 512;
        }
        for n in 0..64 {
            let _ = fs::write(tmpfs.0.join(format!("more-{n}")), [0; 4096]);
        }
    });
    daemon.wait_for_state("ok");
    assert!(!text(&way.house.credentials("own")).contains(&way.live()), "there is no room for it");
    assert_eq!(way.successors().len(), 1, "kept meanwhile");
    for entry in fs::read_dir(&tmpfs.0).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with(".credentials.json") && !path.ends_with(".quotad.lock") {
            fs::remove_file(path).unwrap();
        }
    }
    wait_for("the placed token", || text(&way.house.credentials("own")).contains(&way.live()));
    wait_for("the successor's end", || way.successors().is_empty());
    way.assert_nothing_was_replayed();
    drop(daemon);
}

#[test]
fn a_file_system_that_turns_read_only_after_the_post_costs_nothing() {
    let mut tmpfs = None;
    let way = UnderWay::new(|house| tmpfs = Tmpfs::on(house));
    let Some(tmpfs) = tmpfs else { return };
    let daemon = way.run(|_| tmpfs.cover());
    daemon.wait_for_state("ok");
    assert_eq!(way.successors().len(), 1);
    tmpfs.uncover();
    wait_for("the placed token", || text(&way.house.credentials("own")).contains(&way.live()));
    way.assert_nothing_was_replayed();
    drop(daemon);
}

#[test]
fn a_file_system_that_is_read_only_before_the_post_is_found_out_and_nothing_is_sent() {
    let mut tmpfs = None;
    let way = UnderWay::new(|house| tmpfs = Tmpfs::on(house));
    let Some(tmpfs) = tmpfs else { return };
    tmpfs.cover();
    let daemon = way.house.start();
    wait_for("the reason", || daemon.account()["reason"].as_str().is_some_and(|why| why.contains("writ")));
    tmpfs.uncover();
    assert_eq!(way.house.vendor.with(|world| world.token_posts().count()), 0);
    drop(daemon);
}

#[test]
fn a_file_that_is_a_mount_of_its_own_cannot_be_replaced_so_nothing_is_sent() {
    let way = UnderWay::new(|_| {});
    let file = way.house.credentials("own");
    if !Command::new("mount").arg("--bind").arg(&file).arg(&file).status().is_ok_and(|status| status.success()) {
        println!("skipped: this machine allows no mounts");
        return;
    }
    let daemon = way.house.start();
    wait_for("the reason", || daemon.account()["reason"].as_str().is_some_and(|why| why.contains("mount")));
    assert_eq!(way.house.vendor.with(|world| world.token_posts().count()), 0);
    drop(daemon);
    let _ = Command::new("umount").arg("-l").arg(&file).status();
}

#[test]
fn a_directory_that_may_not_be_written_is_found_out_and_nothing_is_sent() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can run the daemon as somebody else");
        return;
    }
    let way = UnderWay::new(|_| {});
    let own = |path: &Path| {
        let status = Command::new("chown").arg("-R").arg("65534:65534").arg(path).status();
        assert!(status.unwrap().success());
    };
    own(&way.house.path(""));
    let dir = way.house.credentials("own").parent().unwrap().to_owned();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o500)).unwrap();
    let config = way.house.path("config.toml");
    let mut run = way.house.quotad(&["run", "--config", config.to_str().unwrap()]);
    let mut daemon = run.uid(65534).gid(65534).stderr(way.house.log_file()).spawn().unwrap();
    let said = || {
        let output = way.house.quotad(&["status", "--json"]).uid(65534).gid(65534).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    wait_for("the reason", || said().contains("writ"));
    assert_eq!(way.house.vendor.with(|world| world.token_posts().count()), 0, "{}", said());
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[test]
fn a_directory_taken_away_during_the_post_keeps_the_token_aside_until_it_is_back() {
    let way = UnderWay::new(|_| {});
    let moved = way.house.path("moved");
    let dir = way.house.credentials("own").parent().unwrap().to_owned();
    let daemon = way.run(|_| fs::rename(&dir, &moved).unwrap());
    wait_for("the stored successor", || way.successors().len() == 1);
    daemon.wait_for_state("signed-out");
    fs::rename(&moved, &dir).unwrap();
    wait_for("the placed token", || text(&way.house.credentials("own")).contains(&way.live()));
    daemon.wait_for_state("ok");
    way.assert_nothing_was_replayed();
}

#[test]
fn another_inode_with_the_same_token_is_written_and_a_newer_login_is_not() {
    let way = UnderWay::new(|_| {});
    let daemon = way.run(|file| {
        let content = text(file);
        way.house.write("own", &content);
    });
    wait_for("the placed token", || text(&way.house.credentials("own")).contains(&way.live()));
    drop(daemon);

    let way = UnderWay::new(|_| {});
    let mut newer = None;
    let daemon = way.run(|_| newer = Some(way.house.log_in("own", Duration::from_secs(3600))));
    let newer = newer.unwrap();
    wait_for("the lost race", || way.house.log().contains("lost-race"));
    daemon.wait_for_state("ok");
    assert!(text(&way.house.credentials("own")).contains(&newer.refresh), "the newer login stands");
    assert_eq!(way.successors().len(), 1, "the token that arrived is kept aside");
    way.assert_nothing_was_replayed();
}

#[test]
fn an_emptied_file_is_the_vendors_verdict_and_is_never_refilled() {
    let way = UnderWay::new(|_| {});
    let stub = credential_file_json(&way.tokens, |file| {
        let login = &mut file["claudeAiOauth"];
        login["accessToken"] = "".into();
        login["refreshToken"] = "".into();
        login["expiresAt"] = 0.into();
    });
    let daemon = way.run(|_| way.house.write("own", &stub));
    daemon.wait_for_state("signed-out");
    wait_for("the stored successor", || way.successors().len() == 1);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(text(&way.house.credentials("own")), stub);
    way.assert_nothing_was_replayed();
    drop(daemon);
}

/// Writes whose login the account's directory holds.
fn name_account(house: &House, uuid: &str) {
    let path = house.credentials("own").with_file_name(".claude.json");
    fs::write(path, format!(r#"{{"oauthAccount": {{"accountUuid": "{uuid}"}}}}"#)).unwrap();
}

#[test]
fn an_account_switched_during_the_post_keeps_its_own_login_and_starts_its_own_history() {
    let way = UnderWay::new(|_| {});
    name_account(&way.house, "11111111-aaaa");
    let mut newer = None;
    let daemon = way.run(|_| {
        name_account(&way.house, "22222222-bbbb");
        newer = Some(way.house.log_in("own", Duration::from_secs(3600)));
    });
    daemon.wait_for_state("ok");
    wait_for("the lost race", || way.house.log().contains("lost-race"));
    assert!(way.house.log().contains("belongs to another account"), "{}", way.house.log());
    assert!(text(&way.house.credentials("own")).contains(&newer.unwrap().refresh), "the other account's login stands");
    assert_eq!(way.successors().len(), 1, "what arrived for the first account is kept aside");
    way.assert_nothing_was_replayed();
}

#[test]
fn whatever_becomes_of_the_answer_the_token_is_posted_once_while_its_access_token_lives_and_goes_to_no_other_host() {
    for (what, answer, outcome) in [
        ("a lost response", Answer::LoseResponse, "unknown"),
        ("500 after the rotation", Answer::ServerErrorAfter, "unknown"),
        ("half a body", Answer::HalfBody, ""),
        ("a drip past the deadline", Answer::Drip { delay: Duration::from_millis(300) }, ""),
        ("a redirect", Answer::Redirect(String::new()), "misconfigured"),
    ] {
        let house = House::new();
        let elsewhere = quotad::demo::vendor::Vendor::start(quotad::clock::Clock::real()).unwrap();
        let answer = if what == "a redirect" { Answer::Redirect(elsewhere.token_url()) } else { answer };
        let tokens = house.log_in("own", Duration::from_secs(3));
        house.vendor.token().next(answer);
        house.configure(&format!("{QUICK}\n[refresh]\nrequest-deadline = \"1s\"\n"), "own", "owner = \"quotad\"");
        let daemon = house.start();
        wait_for("the outcome", || house.log().contains("endpoint=\"token\""));
        let log = house.log();
        let line = log.lines().find(|line| line.contains("endpoint=\"token\"")).unwrap();
        println!("{what}: {}", line.split("outcome=").nth(1).unwrap_or(line));
        assert!(line.contains(&format!("outcome=\"{outcome}")), "{what}: {line}");
        std::thread::sleep(Duration::from_secs(3));
        let early = house
            .vendor
            .with(|world| world.posts_of(&tokens.refresh).filter(|call| call.at < tokens.expires_at).count());
        assert_eq!(early, 1, "{what}: posted again while the access token lived");
        assert!(elsewhere.with(|world| world.calls().is_empty()), "{what}: something reached another host");
        drop(daemon);
    }
}

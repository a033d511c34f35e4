//! May a refresh token be sent now, and what is known about each token.
//!
//! Owns the memory that outlives everything else: per fingerprint, whether the token is dead, spent, minted here, or
//! stands behind an open fence. Owns the earliest moment of the next refresh. Never sends anything, and never
//! forgets a verdict: a token that was refused for good is not posted again by any process of this state directory.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::{Moment, Now, Stamp};
use crate::model::{CredentialOwner, Fingerprint, Login, RefreshMode};

/// How and when this account's refresh token may be used.
#[derive(Debug, Clone, PartialEq)]
pub struct RefreshRules {
    /// Who sees to a new token, and when.
    pub mode: RefreshMode,
    /// Who writes the file.
    pub owner: CredentialOwner,
    /// Nothing but quotad's own directories is written, not even a successor that waits for its place: `once`, and a
    /// daemon that runs without a config.
    pub read_only: bool,
    /// Tries after one that never reached the server, and after an unknown outcome with nothing left to lose.
    pub retries: u32,
    /// The first wait between them; it doubles.
    pub retry_base: Duration,
    /// `always`: how early to act; at most a third of the token's life.
    pub before_expiry: Duration,
    /// `when-idle`: how long an expired token must have lain untouched.
    pub idle_grace: Duration,
}

/// A vendor's file gets this many posts of one token in all while their outcome is unknown; then its CLI must act.
const VENDOR_POSTS: u32 = 3;

/// What is known about one token, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Mark {
    /// Refused for good, and in which words.
    pub dead: Option<String>,
    /// Exchanged for a different successor.
    pub spent: bool,
    /// Came out of an exchange that quotad made.
    pub minted: bool,
    /// A person has had this dead token tried once more; that happens once ever.
    pub retried: bool,
    /// A POST of this token began and its outcome is not known. Stored before the POST.
    pub fence: Option<Stamp>,
    /// How often it was posted.
    pub posts: u32,
}

impl Mark {
    /// Whether the token must not be posted, whatever the circumstances.
    pub fn is_used_up(&self) -> bool {
        self.dead.is_some() || self.spent
    }
}

/// Marks by fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks(BTreeMap<Fingerprint, Mark>);

impl Marks {
    /// What is known about a token; nothing is a mark as well.
    pub fn of(&self, fingerprint: Fingerprint) -> Mark {
        self.0.get(&fingerprint).cloned().unwrap_or_default()
    }

    /// Takes note.
    pub fn set(&mut self, fingerprint: Fingerprint, mark: Mark) {
        self.0.insert(fingerprint, mark);
    }
}

impl FromIterator<(Fingerprint, Mark)> for Marks {
    fn from_iter<I: IntoIterator<Item = (Fingerprint, Mark)>>(marks: I) -> Self {
        Self(marks.into_iter().collect())
    }
}

/// Whether the access token has expired by its own word. Unknown expiry is not expired.
pub fn is_expired(login: &Login, now: Now) -> bool {
    login.expires_at.is_some_and(|at| at <= now.stamp)
}

/// What keeps a refresh token from being posted; each is a clause for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// The mode leaves it to the file's owner.
    Owner,
    /// The login has no refresh token.
    NoRefreshToken,
    /// Dead or spent.
    UsedUp(String),
    /// The file or its place makes a refresh unsafe.
    Unsafe(String),
    /// An earlier POST may have spent it, and its access token still lives.
    Fenced,
    /// It was posted as often as a vendor's token may be without a known outcome.
    TriedEnough,
}

impl Hold {
    /// The clause.
    pub fn said(&self) -> String {
        match self {
            Self::Owner => "the file's owner refreshes it".to_owned(),
            Self::NoRefreshToken => "the login has no refresh token".to_owned(),
            Self::UsedUp(why) => format!("its refresh token is used up ({why})"),
            Self::Unsafe(why) => format!("refreshing is not safe here: {why}"),
            Self::TriedEnough => "three refreshes had no known outcome; its own CLI has to try".to_owned(),
            Self::Fenced => "an earlier refresh has no known outcome and the token still lives".to_owned(),
        }
    }
}

/// Whether the rules allow this login's refresh token to be posted at all, timing apart.
///
/// # Errors
/// The first thing that forbids it.
pub fn may_post(rules: &RefreshRules, login: &Login, mark: &Mark, now: Now) -> Result<Fingerprint, Hold> {
    let is_ours_to_refresh = match rules.mode {
        RefreshMode::Always => rules.owner == CredentialOwner::Quotad,
        RefreshMode::WhenIdle => true,
        RefreshMode::Never | RefreshMode::Command => false,
    };
    if !is_ours_to_refresh {
        return Err(Hold::Owner);
    }
    let Some(refresh) = login.refresh else { return Err(Hold::NoRefreshToken) };
    if let Some(why) = &login.unsafe_because {
        return Err(Hold::Unsafe(why.clone()));
    }
    if mark.is_used_up() {
        let why = mark.dead.as_deref().unwrap_or("it was exchanged for another");
        return Err(Hold::UsedUp(why.to_owned()));
    }
    let is_shared = rules.owner == CredentialOwner::Vendor;
    if is_shared && mark.fence.is_some() && mark.posts >= VENDOR_POSTS {
        return Err(Hold::TriedEnough);
    }
    if mark.fence.is_some() && !is_expired(login, now) {
        return Err(Hold::Fenced);
    }
    Ok(refresh)
}

/// When to act: `always`, `min(before-expiry, a third of the token's life)` ahead of expiry; `when-idle`, once the
/// token has lain expired and the file untouched for `idle-grace`. `None` when the expiry is not known. `life` is how
/// long the token was to live when it was first seen.
pub fn due(rules: &RefreshRules, login: &Login, life: Duration, now: Now) -> Option<Moment> {
    let expires_at = login.expires_at?;
    if rules.mode == RefreshMode::WhenIdle {
        let touched = login.modified_at.map_or(expires_at, |at| at.max(expires_at));
        return Some(now.moment + now.until(touched.checked_add(rules.idle_grace).ok()?));
    }
    let lead = rules.before_expiry.min(life / 3);
    Some(now.moment + now.until(expires_at).saturating_sub(lead))
}

/// The wait before try number `tries + 1`; `None` when the tries are used up.
pub fn retry_wait(rules: &RefreshRules, tries: u32) -> Option<Duration> {
    (tries < rules.retries).then(|| rules.retry_base.saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> RefreshRules {
        RefreshRules {
            mode: RefreshMode::Always,
            owner: CredentialOwner::Quotad,
            read_only: false,
            retries: 2,
            retry_base: Duration::from_millis(500),
            before_expiry: Duration::from_mins(15),
            idle_grace: Duration::from_mins(10),
        }
    }

    fn now() -> Now {
        Now { moment: Moment::from_millis(1_000_000), stamp: Stamp::from_second(1_800_000_000).unwrap() }
    }

    fn login(expires_in: i64) -> Login {
        Login {
            access: Fingerprint::new([1; 16]),
            refresh: Some(Fingerprint::new([2; 16])),
            expires_at: Some(Stamp::from_second(1_800_000_000 + expires_in).unwrap()),
            login_ends_at: None,
            scopes: None,
            plan: None,
            identity: None,
            modified_at: None,
            unsafe_because: None,
        }
    }

    #[test]
    fn a_token_behind_an_open_fence_is_not_posted_while_its_access_token_lives() {
        let fenced = Mark { fence: Some(now().stamp), posts: 1, ..Mark::default() };
        assert_eq!(may_post(&rules(), &login(1), &fenced, now()), Err(Hold::Fenced));
        assert!(may_post(&rules(), &login(0), &fenced, now()).is_ok(), "expired: nothing is left to lose");
        let unknown = Login { expires_at: None, ..login(0) };
        assert_eq!(may_post(&rules(), &unknown, &fenced, now()), Err(Hold::Fenced), "unknown is not expired");
    }

    #[test]
    fn never_and_command_post_nothing_always_only_a_grant_of_our_own_and_nobody_a_dead_or_spent_token() {
        for mode in [RefreshMode::Never, RefreshMode::Command] {
            let rules = RefreshRules { mode, ..rules() };
            assert_eq!(may_post(&rules, &login(-1), &Mark::default(), now()), Err(Hold::Owner), "{mode:?}");
        }
        let vendors = RefreshRules { owner: CredentialOwner::Vendor, ..rules() };
        assert_eq!(may_post(&vendors, &login(-1), &Mark::default(), now()), Err(Hold::Owner));
        for mark in
            [Mark { dead: Some("invalid_grant".into()), ..Mark::default() }, Mark { spent: true, ..Mark::default() }]
        {
            assert!(matches!(may_post(&rules(), &login(-1), &mark, now()), Err(Hold::UsedUp(_))), "{mark:?}");
        }
    }

    #[test]
    fn it_acts_15_minutes_ahead_but_at_most_a_third_of_the_life() {
        for (life, expires_in, due_in) in [(28_800, 28_800, 27_900), (900, 900, 600), (900, 100, 0), (60, 60, 40)] {
            let due = due(&rules(), &login(expires_in), Duration::from_secs(life), now()).unwrap();
            assert_eq!(due.since(now().moment).as_secs(), due_in, "life {life}, {expires_in} left");
        }
    }

    #[test]
    fn a_token_whose_expiry_is_not_known_is_never_due_and_never_expired() {
        let unknown = Login { expires_at: None, ..login(0) };
        for mode in [RefreshMode::Always, RefreshMode::WhenIdle] {
            assert_eq!(
                due(&RefreshRules { mode, ..rules() }, &unknown, Duration::from_hours(1), now()),
                None,
                "{mode:?}"
            );
        }
        assert!(!is_expired(&unknown, now()));
    }

    #[test]
    fn when_idle_waits_until_token_and_file_have_lain_untouched() {
        let rules = RefreshRules { mode: RefreshMode::WhenIdle, owner: CredentialOwner::Vendor, ..rules() };
        let ago = |seconds: i64| Some(Stamp::from_second(1_800_000_000 - seconds).unwrap());
        for (expires_in, touched, due_in) in [(100, 5000, 700), (-100, 5000, 500), (-5000, 100, 500), (-5000, 5000, 0)]
        {
            let login = Login { modified_at: ago(touched), ..login(expires_in) };
            let due = due(&rules, &login, Duration::from_secs(28_800), now()).unwrap();
            assert_eq!(due.since(now().moment).as_secs(), due_in, "expires in {expires_in}, touched {touched} s ago");
        }
        assert!(may_post(&rules, &login(-1), &Mark::default(), now()).is_ok());
    }

    #[test]
    fn a_vendors_token_is_posted_three_times_at_most_while_nothing_is_known() {
        let shared = RefreshRules { mode: RefreshMode::WhenIdle, owner: CredentialOwner::Vendor, ..rules() };
        let mark = |posts| Mark { fence: Some(now().stamp), posts, ..Mark::default() };
        assert!(may_post(&shared, &login(-1), &mark(2), now()).is_ok());
        assert_eq!(may_post(&shared, &login(-1), &mark(3), now()), Err(Hold::TriedEnough));
        assert!(may_post(&rules(), &login(-1), &mark(3), now()).is_ok(), "a grant of our own goes on, on the ladder");
    }

    #[test]
    fn retries_wait_half_a_second_then_one_then_no_more() {
        let waits: Vec<_> = (0..3).map(|tries| retry_wait(&rules(), tries).map(|wait| wait.as_millis())).collect();
        assert_eq!(waits, [Some(500), Some(1000), None]);
    }
}

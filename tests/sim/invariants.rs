//! What must hold, whatever the weather: one item, one sentence each.

use std::fmt;

use crate::host::Time;

/// A promise of design.md, as the ledger checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// A refresh token whose fate is unknown is not posted while its access token lives.
    NoReplay,
    /// A vendor's token is posted three times in all while its fate is unknown.
    ThreePosts,
    /// A dead or spent token is never posted again; `resume` has a dead one of our own tried once more, ever.
    DeadStaysDead,
    /// Posts come in bursts of a first try and its retries at most, a rung apart.
    TokenPace,
    /// Only a mode that allows it posts, not before its time, and only the token that lies in the file.
    OnlyWhenAllowed,
    /// A granted successor lies in the file, beside `state.db`, or in memory, until it is exchanged or overwritten.
    NothingGrantedIsLost,
    /// What is replaced held the posted token, and nothing but the login's own fields changes.
    NoNewerLoginOverwritten,
    /// Two usage requests are never closer than interval, learned interval and setback ask, or the floor.
    Spacing,
    /// No request to an endpoint inside its rung or demand, but for the one early probe.
    WaitsAreServed,
    /// No request inside the auth pause, but for one refresh and the request after it.
    AuthPauseIsServed,
    /// The usage gate's rung and failures are what the refusals and successes heard make them.
    OnlyAnswersMoveALadder,
    /// A user's pause stops every request.
    PauseIsServed,
    /// No token is sent that has expired, was refused for good, or is not the file's.
    OnlyGoodTokens,
    /// While the access token is good the next poll is planned, whatever became of the refresh token.
    GoodTokensAreUsed,
    /// After a resume nothing leaves before the network has had time to come back.
    SettleAfterSleep,
    /// The vendor's command runs with an expired token only, six times a day at most, a rung apart for one token.
    CommandIsRationed,
    /// Once the weather clears, the account is ok within the longest wait that stands.
    ComesBack,
    /// Every state has a reason, and an until or an action.
    Explained,
    /// A process started from what is stored waits for the same things.
    RestoredIsTheSame,
    /// Nothing happens over and over without time passing.
    NoSpin,
}

impl Promise {
    /// Every promise.
    pub(crate) const ALL: [Self; 20] = [
        Self::NoReplay,
        Self::ThreePosts,
        Self::DeadStaysDead,
        Self::TokenPace,
        Self::OnlyWhenAllowed,
        Self::NothingGrantedIsLost,
        Self::NoNewerLoginOverwritten,
        Self::Spacing,
        Self::WaitsAreServed,
        Self::AuthPauseIsServed,
        Self::OnlyAnswersMoveALadder,
        Self::PauseIsServed,
        Self::OnlyGoodTokens,
        Self::GoodTokensAreUsed,
        Self::SettleAfterSleep,
        Self::CommandIsRationed,
        Self::ComesBack,
        Self::Explained,
        Self::RestoredIsTheSame,
        Self::NoSpin,
    ];

    /// The promise, in a sentence.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::NoReplay => "a refresh token whose fate is unknown is not posted while its access token lives",
            Self::ThreePosts => "a vendor's token is posted three times in all while its fate is unknown",
            Self::DeadStaysDead => "a dead or spent refresh token is never posted again, but by one `resume` ever",
            Self::TokenPace => "posts come in a first try and its retries at most, a rung apart",
            Self::OnlyWhenAllowed => {
                "only a mode that allows it posts, in its time, and the token that lies in the file"
            }
            Self::NothingGrantedIsLost => {
                "a granted successor is stored first, and is in the file, a successor file or memory until exchanged"
            }
            Self::NoNewerLoginOverwritten => "what quotad replaces held the posted token, and all else in it is kept",
            Self::Spacing => "two usage requests are never closer than interval, setback or floor ask",
            Self::WaitsAreServed => "no request leaves inside a rung or a demand, but for one early probe",
            Self::AuthPauseIsServed => {
                "no request leaves inside the auth pause, but for one refresh and what follows it"
            }
            Self::OnlyAnswersMoveALadder => "only refusals heard take a rung, and only a success gives it back",
            Self::PauseIsServed => "a user's pause stops every request",
            Self::OnlyGoodTokens => "no token is sent that has expired, was refused for good, or is not the file's",
            Self::GoodTokensAreUsed => "while the access token is good the next poll is planned",
            Self::SettleAfterSleep => "after a resume nothing leaves before the network had time to come back",
            Self::CommandIsRationed => "the vendor's command runs for an expired token only, six times a day at most",
            Self::ComesBack => "once the weather clears, the account is ok within the longest wait that stands",
            Self::Explained => "every state has a reason, and an until or an action",
            Self::RestoredIsTheSame => "a process started from what is stored waits for the same things",
            Self::NoSpin => "nothing happens over and over without time passing",
        }
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Which.
    pub promise: Promise,
    /// When.
    pub at: Time,
    /// How: what was seen, and what would have been right.
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}\n    {}", self.promise, self.promise.sentence(), self.how)
    }
}

/// How often each promise was really at stake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stakes([u64; Promise::ALL.len()]);

impl Stakes {
    /// A promise was at stake once more.
    pub(crate) fn count(&mut self, promise: Promise) {
        self.0[promise as usize] += 1;
    }

    /// How often it was.
    pub(crate) fn of(&self, promise: Promise) -> u64 {
        self.0[promise as usize]
    }

    /// Adds those of another run.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }
}

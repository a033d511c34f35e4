//! What can happen to the machine, each with a name, so that a run can be told.

use std::fmt;
use std::time::Duration;

use quotad::demo::vendor::{Answer, Budget, Garbage, RetryAfter};
use quotad::policy::account::Command;

use crate::host::{DAY, Deed, HOUR, MINUTE, SECOND, Time};

/// How an endpoint behaves instead of well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spell {
    /// 5xx or 408.
    Fails(u16),
    /// 529.
    Overloaded,
    /// 503 with `Retry-After`.
    Unavailable(u64),
    /// 429.
    Limits(RetryAfter),
    /// A page of the edge.
    Page(u16),
    /// 307.
    Moved,
    /// 404 without a body.
    Missing,
    /// Half the JSON as if it were whole.
    Truncated,
    /// JSON with NaN in it.
    Nan,
    /// More than 1 MiB.
    TooLong,
    /// The connection ends before the request is processed.
    Drops,
    /// No answer; not processed.
    Silent,
    /// Processed, and the answer lost.
    LosesAnswers,
    /// Processed, then 500.
    FailsAfter,
    /// Processed, and half the answer arrives.
    HalfBodies,
    /// The answer comes in pieces.
    Drips,
    /// 401 for a good token.
    Unauthorized,
    /// 403 for want of a scope.
    NoScope,
    /// 402.
    Billing,
    /// `invalid_grant` for a good refresh token.
    InvalidGrant,
}

impl Spell {
    /// For the vendor's script; `None` where the network does it.
    pub(crate) fn answer(self) -> Option<Answer> {
        let said = |code: u16, body: &str| Answer::Status { code, headers: Vec::new(), body: body.to_owned() };
        Some(match self {
            Self::Fails(code) => said(code, r#"{"error":{"type":"api_error","message":"Internal server error"}}"#),
            Self::Overloaded => said(529, r#"{"error":{"type":"overloaded_error","message":"Overloaded"}}"#),
            Self::Unavailable(seconds) => Answer::Status {
                code: 503,
                headers: vec![("retry-after".to_owned(), seconds.to_string())],
                body: "{}".to_owned(),
            },
            Self::Limits(advice) => Answer::RateLimited(advice),
            Self::Page(code) => Answer::Html(code),
            Self::Moved => Answer::Redirect("https://elsewhere.example.test/".to_owned()),
            Self::Missing => said(404, ""),
            Self::Truncated => Answer::Garbage(Garbage::Truncated),
            Self::Nan => Answer::Garbage(Garbage::Nan),
            Self::TooLong => return None,
            Self::Drops => Answer::DropBefore,
            Self::Silent => Answer::Hang,
            Self::LosesAnswers => Answer::LoseResponse,
            Self::FailsAfter => Answer::ServerErrorAfter,
            Self::HalfBodies => Answer::HalfBody,
            Self::Drips => Answer::Drip { delay: Duration::from_millis(300) },
            Self::Unauthorized => said(
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"Invalid bearer token"}}"#,
            ),
            Self::NoScope => said(
                403,
                r#"{"error":{"type":"permission_error","message":"OAuth token does not meet scope requirement"}}"#,
            ),
            Self::Billing => said(402, r#"{"error":{"type":"billing_error","message":"Payment required"}}"#),
            Self::InvalidGrant => {
                said(400, r#"{"error":"invalid_grant","error_description":"Refresh token not found or invalid"}"#)
            }
        })
    }
}

/// What a trap does when the process comes to the deed it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sprung {
    /// kill -9.
    Kill,
    /// The power fails.
    PowerCut,
    /// The user logs in anew.
    Login,
    /// The user signs out.
    Logout,
    /// A CLI that knows no locks rotates the file.
    RudeCli,
    /// Somebody breaks the locks.
    BrokenLock,
    /// The disk fills up for ten minutes.
    FullDisk,
}

/// Something that happens. The first number is the account.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Happening {
    /// The usage endpoint has a bad spell.
    Usage(Spell, Time),
    /// The token endpoint has one.
    Token(Spell, Time),
    /// No network.
    Offline(Time),
    /// Nobody listens at the vendor's address.
    Refused(Time),
    /// Each client may make so many usage requests a window.
    ClientBudget(u32, Time, RetryAfter),
    /// Each access token may.
    TokenBudget(Budget, Time),
    /// The vendor's CLI refreshes its file under its locks; for so long.
    CliRotates(usize, Time),
    /// A CLI that knows no locks does.
    RudeCliRotates(usize),
    /// The vendor's CLI holds its lock and changes nothing.
    CliLocks(usize, Time),
    /// The user logs in to the same account.
    Logs(usize),
    /// The user logs in if anything is wrong with the login.
    LogsInIfLost(usize),
    /// The user logs in to another account.
    Switches(usize),
    /// The vendor empties the tokens.
    SignsOut(usize),
    /// The file disappears for so long.
    Removed(usize, Time),
    /// The file is half written for so long.
    Torn(usize, Time),
    /// The file says nothing of its expiry from now on.
    ExpiryUnsaid(usize),
    /// `.claude.json` names the account from now on.
    Named(usize),
    /// The file lies where a refresh is not safe, for so long.
    Unsafe(usize, Time),
    /// The vendor revokes the login.
    Revoked(usize),
    /// The vendor forgets the access token.
    Withdrawn(usize),
    /// kill -9, and a start after so long.
    Crash(Time),
    /// SIGTERM, and a start after so long.
    Stop(Time),
    /// The power fails for so long.
    PowerCut(Time),
    /// The next time the process comes to this deed, that happens.
    Trap(Deed, Sprung),
    /// The state directory takes no writes.
    StateFull(Time),
    /// The credential directory takes none.
    Unwritable(usize, Time),
    /// `state.db` is damaged while the process is killed and started.
    StateLost(Time),
    /// The watch misses every change.
    Blind(Time),
    /// The machine sleeps.
    Suspend(Time),
    /// Somebody sets the wall clock so far from the truth, in milliseconds.
    WallStep(i64),
    /// The config is read again with this interval, in minutes.
    Reload(usize, u64),
    /// A person asks for something.
    Asks(usize, Command),
    /// Bad weather ends, and everyone sees to what is theirs: quotad must come back.
    Clears,
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |time: &Time| Span(*time);
        match self {
            Self::Usage(spell, time) => write!(f, "usage endpoint: {spell:?} for {}", span(time)),
            Self::Token(spell, time) => write!(f, "token endpoint: {spell:?} for {}", span(time)),
            Self::Offline(time) => write!(f, "no network for {}", span(time)),
            Self::Refused(time) => write!(f, "connections refused for {}", span(time)),
            Self::ClientBudget(n, time, advice) => {
                write!(f, "{n} usage requests a client in {} ({advice:?})", span(time))
            }
            Self::TokenBudget(budget, time) => write!(f, "{budget:?} for {}", span(time)),
            Self::CliRotates(n, time) => write!(f, "account {n}: the CLI refreshes, under locks for {}", span(time)),
            Self::RudeCliRotates(n) => write!(f, "account {n}: a CLI refreshes without locks"),
            Self::CliLocks(n, time) => write!(f, "account {n}: the CLI holds its lock for {}", span(time)),
            Self::Logs(n) => write!(f, "account {n}: the user logs in"),
            Self::LogsInIfLost(n) => write!(f, "account {n}: the user logs in if need be"),
            Self::Switches(n) => write!(f, "account {n}: the user logs in to another account"),
            Self::SignsOut(n) => write!(f, "account {n}: the vendor empties the file"),
            Self::Removed(n, time) => write!(f, "account {n}: the file is gone for {}", span(time)),
            Self::Torn(n, time) => write!(f, "account {n}: the file is torn for {}", span(time)),
            Self::ExpiryUnsaid(n) => write!(f, "account {n}: the file no longer says when its token expires"),
            Self::Named(n) => write!(f, "account {n}: .claude.json names the account"),
            Self::Unsafe(n, time) => write!(f, "account {n}: refreshing is unsafe for {}", span(time)),
            Self::Revoked(n) => write!(f, "account {n}: the vendor revokes the login"),
            Self::Withdrawn(n) => write!(f, "account {n}: the vendor forgets the access token"),
            Self::Crash(time) => write!(f, "kill -9, back after {}", span(time)),
            Self::Stop(time) => write!(f, "SIGTERM, back after {}", span(time)),
            Self::PowerCut(time) => write!(f, "the power fails for {}", span(time)),
            Self::Trap(deed, sprung) => write!(f, "at the next {deed:?}: {sprung:?}"),
            Self::StateFull(time) => write!(f, "the state directory takes no writes for {}", span(time)),
            Self::Unwritable(n, time) => write!(f, "account {n}: its directory takes no writes for {}", span(time)),
            Self::StateLost(time) => write!(f, "kill -9 and state.db damaged, back after {}", span(time)),
            Self::Blind(time) => write!(f, "the watch sees nothing for {}", span(time)),
            Self::Suspend(time) => write!(f, "suspend for {}", span(time)),
            Self::WallStep(by) => write!(f, "the wall clock is set {} s from the truth", by / 1000),
            Self::Reload(n, minutes) => write!(f, "account {n}: reload with interval {minutes} min"),
            Self::Asks(n, command) => write!(f, "account {n}: `quotad {command:?}`"),
            Self::Clears => f.write_str("the weather clears"),
        }
    }
}

/// A length of time, for people.
pub(crate) struct Span(pub Time);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms < 10 * SECOND => write!(f, "{ms} ms"),
            ms if ms < 2 * MINUTE => write!(f, "{} s", ms / SECOND),
            ms if ms < 3 * HOUR => write!(f, "{} min", ms / MINUTE),
            ms if ms < 3 * DAY => write!(f, "{} h", ms / HOUR),
            ms => write!(f, "{} d", ms / DAY),
        }
    }
}

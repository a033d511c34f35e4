//! One account (skeleton).

use super::time::Stamp;

/// What a person asks of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Stop every request until `Resume`.
    Pause,
    /// Lift a user pause and an auth pause.
    Resume,
    /// Ask as soon as floor and gates allow.
    Poll,
}

/// The kind of an [`Answer`]; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done, or will be at `at`.
    Done,
    /// Not before `at`.
    Wait,
    /// A person must log in first.
    LoginNeeded,
}

/// What a [`Command`] came to, said at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which kind.
    pub verdict: Verdict,
    /// The moment a request will be sent, or may be; `None` when none is planned.
    pub at: Option<Stamp>,
    /// A sentence for the person who asked.
    pub said: String,
}

//! A whole exchange: an answer, or the way it broke off, taken for what it means.
//!
//! Owns the difference between what certainly never left, what may have been processed, and what was answered. The
//! transport and the simulation tell it what they saw in the same words.

use super::{Grant, Provider, Reply, fault};
use crate::model::{Failure, Refusal, UsageOutcome};
use crate::policy::time::Stamp;

/// An exchange that brought no whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// This machine has no route or no DNS. Nothing was sent.
    Offline,
    /// No connection came about. Nothing was sent.
    Connect,
    /// The deadline passed or the connection broke after the request may have been sent. What had arrived by then.
    Cut(Option<Reply>),
    /// The answer is longer than 1 MiB.
    TooLong,
    /// The request could not even be written: a configured URL or header is unusable.
    Unsendable,
}

/// What an exchange with the usage endpoint came to.
pub fn usage(provider: &dyn Provider, answer: Result<Reply, Broken>, received: Stamp) -> UsageOutcome {
    match answer {
        Ok(reply) => provider.read_usage(&reply, received),
        Err(cause) => broken(&cause, received),
    }
}

/// What an exchange with the usage endpoint that broke off came to. A 429 is one without its body, too: what it asks for
/// stands in its headers.
pub fn broken(cause: &Broken, received: Stamp) -> UsageOutcome {
    let failure = match cause {
        Broken::Cut(Some(reply)) if reply.status == 429 => return fault::usage(reply, received),
        Broken::Offline => Failure::Offline,
        Broken::Connect => Failure::Connect,
        Broken::Cut(_) => Failure::Timeout,
        Broken::TooLong => Failure::Garbage("it is longer than 1 MiB"),
        Broken::Unsendable => Failure::Garbage("the request cannot be written"),
    };
    UsageOutcome::Failed { failure, demand: None }
}

/// What an exchange with the token endpoint came to.
///
/// # Errors
/// The class of refusal. What broke off after it may have been sent is unknown, unless a refresh token had already
/// arrived whole: that is saved even if the rest of the answer is not.
pub fn refresh(provider: &dyn Provider, answer: Result<Reply, Broken>, received: Stamp) -> Result<Grant, Refusal> {
    match answer {
        Ok(reply) => provider.read_refresh(&reply, received),
        Err(Broken::Cut(Some(reply))) if reply.status == 200 => provider
            .read_refresh(&reply, received)
            .map_err(|_| Refusal::Unknown("the answer of the token endpoint broke off")),
        Err(Broken::Cut(Some(reply))) if reply.status == 429 => Err(fault::refresh(&reply, received)),
        Err(Broken::Cut(_)) => Err(Refusal::Unknown("no answer from the token endpoint after sending")),
        Err(Broken::TooLong) => Err(Refusal::Unknown("the answer of the token endpoint is longer than 1 MiB")),
        Err(Broken::Offline) => Err(Refusal::NeverArrived("this machine has no network")),
        Err(Broken::Connect) => Err(Refusal::NeverArrived("the token endpoint refused the connection")),
        Err(Broken::Unsendable) => Err(Refusal::Misconfigured("the token request cannot be written")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::claude::Claude;

    #[test]
    fn a_429_whose_body_broke_off_is_still_one_at_both_endpoints_and_nothing_else_that_broke_off_is() {
        let cut = |status| {
            let headers = vec![("retry-after".to_owned(), "990".to_owned())];
            Err(Broken::Cut(Some(Reply { status, headers, body: b"{\"err".to_vec() })))
        };
        let demand = Some(std::time::Duration::from_secs(990));
        let now = Stamp::UNIX_EPOCH;
        assert_eq!(usage(&Claude, cut(429), now), UsageOutcome::Limited { demand });
        assert_eq!(refresh(&Claude, cut(429), now).unwrap_err(), Refusal::Limited { demand });
        for status in [200, 401, 403, 500, 503] {
            let failed = UsageOutcome::Failed { failure: Failure::Timeout, demand: None };
            assert_eq!(usage(&Claude, cut(status), now), failed, "{status}");
            assert!(matches!(refresh(&Claude, cut(status), now), Err(Refusal::Unknown(_))), "{status}");
        }
    }
}

//! The end of a login: foretold 7, 3 and 1 days ahead, once each.
//!
//! Some logins end on a day of their own, whatever is refreshed (`refreshTokenExpiresAt`). Nothing quotad sends can
//! put that day off, so the only use of knowing it is to say it in time. What was said is stored with the file, so
//! that a restart does not say it again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::view::clock;
use super::{Account, Event, Turn};
use crate::policy::time::{Now, Stamp};

const DAY: Duration = Duration::from_hours(24);

/// How many days ahead the end is foretold, nearest first.
const AHEAD: [u32; 3] = [1, 3, 7];

/// A server that counts the rest of a login in seconds moves its end a little with every answer: ends this close
/// together are one.
const SAME: Duration = Duration::from_hours(1);

/// The last warning that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Foretold {
    end: Stamp,
    days: u32,
}

impl Foretold {
    /// Whether nothing is left to say about `end` with `days` to go.
    fn covers(self, end: Stamp, days: u32) -> bool {
        self.end.duration_since(end).unsigned_abs() <= SAME && self.days <= days
    }
}

impl Account {
    /// Warns when the end has come near, once for each distance.
    pub(super) fn foretell_end(&mut self, turn: &mut Turn) {
        let Some((end, days)) = self.end_ahead(turn.now).filter(|_| self.rules.foretells) else { return };
        if self.foretold.is_none_or(|told| !told.covers(end, days)) {
            self.foretold = Some(Foretold { end, days });
            self.persist_file(turn);
            turn.tell(Event::LoginEnding { days });
        }
    }

    /// What a person should do about an end that is near.
    pub(super) fn action_before_end(&self, now: Now) -> Option<String> {
        let (end, _) = self.end_ahead(now)?;
        Some(format!("log in again before {}: {}", clock(end), self.rules.login_command))
    }

    /// The end, and the smallest of [`AHEAD`] that it lies within; `None` while it is far or once it has passed.
    fn end_ahead(&self, now: Now) -> Option<(Stamp, u32)> {
        let end = self.login()?.login_ends_at?;
        let left = now.until(end);
        let days = AHEAD.into_iter().find(|days| left <= DAY * *days)?;
        (!left.is_zero()).then_some((end, days))
    }
}

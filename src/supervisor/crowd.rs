//! Holds accounts back that are about to begin while many others of their vendor's are at work.
//!
//! Owns how many of them are at work at once: after a start or a resume a thousand may be due, and each request is a
//! connection. An account is held back before its turn and not within it: what it sends, and whether, is decided by
//! what is true when it is let in. Only a first look, a poll and a retry are held back, and for no other vendor's sake:
//! a refresh, a changed file and what a person asks for are not.

use std::time::Duration;

use super::{Supervisor, Wake};
use crate::model::AccountName;
use crate::policy::account::Input;

/// So many accounts of one vendor have something under way when one more is held back.
const AT_ONCE: usize = 16;
/// Who is held back asks again after this.
const AGAIN: Duration = Duration::from_millis(100);

impl Supervisor {
    /// An account is due.
    pub(super) fn wake(&mut self, name: &AccountName) {
        if self.is_held_back(name) {
            let again = self.clock.now().moment + AGAIN * self.clock.speed();
            self.schedule.set(&Wake::Account(name.clone()), Some(again), Duration::ZERO);
        } else {
            self.feed(name, Input::Timer);
        }
    }

    fn is_held_back(&self, name: &AccountName) -> bool {
        let now = self.clock.now();
        let Some(held) = self.accounts.get(name).filter(|held| held.account.is_about_to_begin(now)) else {
            return false;
        };
        let origin = &held.account.rules().origin;
        let busy = self.accounts.values().filter(|other| other.account.is_busy());
        busy.filter(|other| other.account.rules().origin == *origin).count() >= AT_ONCE
    }
}

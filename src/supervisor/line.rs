//! The line of accounts that are about to begin a poll while many others are at work.
//!
//! Owns how many are let in at once: after a start or a resume a thousand may be due, and each request is a connection.
//! An account waits before its turn and not within it: what it sends, and whether, is decided by what is true when it
//! is let in. Nothing but a first look or a poll waits here; a refresh never does.

use super::Supervisor;
use crate::model::AccountName;
use crate::policy::account::Input;

/// So many accounts have something under way when one more that is about to begin is held back.
const AT_ONCE: usize = 16;

impl Supervisor {
    /// An account is due.
    pub(super) fn wake(&mut self, name: AccountName) {
        let now = self.clock.now();
        let begins = self.accounts.get(&name).is_some_and(|held| held.account.is_about_to_begin(now));
        if !begins || !self.is_crowded() {
            self.feed(&name, Input::Timer);
        } else if !self.line.contains(&name) {
            self.line.push_back(name);
        }
    }

    /// Lets in who waits, as far as others are done.
    pub(super) fn let_in(&mut self) {
        while !self.line.is_empty() && !self.is_crowded() {
            if let Some(next) = self.line.pop_front() {
                self.feed(&next, Input::Timer);
            }
        }
    }

    fn is_crowded(&self) -> bool {
        self.accounts.values().filter(|held| held.account.is_busy()).count() >= AT_ONCE
    }
}

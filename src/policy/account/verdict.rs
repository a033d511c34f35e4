//! When a refused refresh token is believed to be dead.
//!
//! Owns the looks between the refusal and the verdict: a token that somebody else has just exchanged is refused as
//! well, and the new one appears in the file a moment later.

use std::time::Duration;

use super::{Account, Activity, Purpose, Reason, Turn};
use crate::model::Fingerprint;

/// Looks after a terminal refusal of a refresh token, before it is believed (credentials.md 9.3).
const VERDICT_LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(4)];

impl Account {
    /// After a look: is the refused token still the one in the file? Believed at the third look.
    pub(super) fn on_verdict(
        &mut self,
        posted: Fingerprint,
        said: &'static str,
        looks: usize,
        reason: Reason,
        turn: &mut Turn,
    ) {
        match self.login() {
            Some(login) if login.refresh != Some(posted) => return self.on_lost_race(posted, turn),
            // Emptied or gone meanwhile: nobody won a race, and what the file says now counts.
            None => return self.go_on_without(reason, turn),
            Some(_) => {}
        }
        if let Some(wait) = VERDICT_LOOKS.get(looks) {
            self.look_at = Some(turn.now.moment + *wait);
            self.next_purpose = Purpose::Verdict { posted, said, looks: looks + 1, reason };
            return;
        }
        self.go_on_without(reason, turn);
    }

    /// Whether a refused refresh token is still being looked for in the file: until then nothing is dead.
    pub(super) fn is_judging(&self) -> bool {
        let looking = matches!(&self.activity, Activity::Looking(Purpose::Verdict { .. }));
        let waiting = self.look_at.is_some() && matches!(self.next_purpose, Purpose::Verdict { .. });
        looking || waiting || self.is_rotating()
    }
}

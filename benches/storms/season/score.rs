//! What a season came to for one keeper, counted where its requests arrive.

use quotad::demo::vendor::Call;
use quotad::model::Endpoint;
use quotad::policy::time::Stamp;

use super::machine::Ms;

/// The figures of one keeper in one season.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Score {
    /// Requests to either endpoint, those of a CLI that the keeper started included.
    pub(crate) requests: u64,
    /// Usage requests answered with numbers.
    pub(crate) successes: u64,
    /// The longest time between two successes, the season's ends included, in milliseconds.
    pub(crate) blind: Ms,
    /// One-time tokens exchanged, whatever became of the answer.
    pub(crate) burnt: u64,
    /// Posts of a token that had been exchanged before, while anything could be lost by it. After a lost answer that
    /// is until the access token in hand has expired: from then on design.md ("Refresh outcomes") has the token posted
    /// again, since nothing else can say what became of it.
    pub(crate) replays: u64,
    /// Logins that ended by what the keeper did: not those the vendor revoked, nor those whose last answer was lost
    /// where the vendor gives no grace.
    pub(crate) lost: u64,
    /// When the last success was.
    last: Ms,
    /// Tokens whose answer was lost, and when the access token expired that they belonged to.
    lost_answers: Vec<(String, Stamp)>,
}

impl Score {
    /// Counts a request that the keeper has just sent at `at`, when the access token in its hand expired, or will, at
    /// `expires_at`.
    pub(crate) fn count(&mut self, call: &Call, at: Ms, expires_at: Stamp) {
        self.requests += 1;
        match call.endpoint {
            Some(Endpoint::Usage) if call.status == Some(200) => self.succeed(at),
            Some(Endpoint::Token) => self.count_post(call, expires_at),
            _ => {}
        }
    }

    fn count_post(&mut self, call: &Call, expires_at: Stamp) {
        let harmless = |(token, expired): &(String, Stamp)| *token == call.token && *expired <= call.at;
        if call.replay {
            self.replays += u64::from(!self.lost_answers.iter().any(harmless));
        } else if call.status.is_none() {
            self.lost_answers.push((call.token.clone(), expires_at));
            self.burnt += 1;
        } else if call.status == Some(200) {
            self.burnt += 1;
        }
    }

    /// Whether an answer with new tokens was lost on its way.
    pub(crate) fn lost_an_answer(&self) -> bool {
        !self.lost_answers.is_empty()
    }

    fn succeed(&mut self, at: Ms) {
        self.successes += 1;
        self.blind = self.blind.max(at - self.last);
        self.last = at;
    }

    /// The season is over.
    pub(crate) fn close(&mut self, length: Ms) {
        self.blind = self.blind.max(length - self.last);
    }
}

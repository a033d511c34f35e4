//! The machine that a keeper runs on, as far as the weather reaches: vendor, network, credential file, its user's CLI.
//!
//! One per keeper and run, so that all keepers meet the same weather and none meets another. Owns the exclusion: a CLI
//! needs two seconds for a refresh and holds its locks meanwhile, a keeper without those locks needs two seconds in
//! which the CLI knows nothing of it. That is where shared logins are lost.

use std::time::Duration;

use quotad::demo::vendor::{Delivery, Request, Tokens, World};
use quotad::policy::time::Stamp;
use quotad::provider::Reply;
use quotad::provider::exchange::Broken;

use super::score::Score;

/// Milliseconds of virtual time since the season began.
pub(crate) type Ms = u64;

pub(crate) const S: Ms = 1_000;
pub(crate) const MIN: Ms = 60 * S;
pub(crate) const HOUR: Ms = 60 * MIN;
pub(crate) const DAY: Ms = 24 * HOUR;

/// The wall clock at the beginning, in milliseconds: midnight, wherever this machine stands.
const BEGAN: i64 = 1_800_000_000_000;
/// From the vendor's exchange to the new tokens in the file.
const EXCHANGE: Ms = 2 * S;
/// After a resume nothing can be reached for so long.
const RECONNECT: Ms = 5 * S;
/// Claude Code refreshes so long before expiry, when it is used (credentials.md, A.4).
const CLI_LEAD: Ms = 5 * MIN;
/// From the user's last word to the end of the CLI.
const CLI_STAYS: Ms = 10 * MIN;
/// The uuid of the one account.
const ACCOUNT: &str = "11111111-2222-4333-8444-555555555555";

/// The wall time at `at`.
pub(crate) fn stamp(at: Ms) -> Stamp {
    Stamp::from_millisecond(BEGAN + at.cast_signed()).expect("a season ends before time does")
}

/// What a client sees of one answer: all the peers look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 200.
    Ok,
    /// 429, with `Retry-After` in milliseconds where it came as seconds; 0 is 0.
    Limited(Option<Ms>),
    /// 400 whose body says `invalid_grant`.
    InvalidGrant,
    /// Another status.
    Status(u16),
    /// No answer.
    Nothing,
}

impl Answer {
    fn of(reply: &Reply) -> Self {
        match reply.status {
            200 => Self::Ok,
            429 => {
                let seconds = reply.header("retry-after").and_then(|value| value.parse::<u64>().ok());
                Self::Limited(seconds.map(|seconds| seconds * S))
            }
            400 if String::from_utf8_lossy(&reply.body).contains("invalid_grant") => Self::InvalidGrant,
            status => Self::Status(status),
        }
    }
}

/// New tokens on their way into the file.
struct Landing {
    at: Ms,
    tokens: Tokens,
    /// Whether the CLI wrote them, under its locks.
    of_cli: bool,
}

/// The machine, and the vendor it talks to.
pub(crate) struct Machine {
    /// Virtual time.
    pub(crate) now: Ms,
    /// The vendor.
    pub(crate) vendor: World,
    /// What the keeper sent, and what came of it.
    pub(crate) score: Score,
    file: Tokens,
    landings: Vec<Landing>,
    online_from: Ms,
    lease: Duration,
    /// The user's CLI runs until then.
    cli_until: Ms,
}

impl Machine {
    /// A machine whose file holds a fresh login; its access tokens live for `lease`.
    pub(crate) fn new(seed: u64, lease: Ms) -> Self {
        let (mut vendor, lease) = (World::new(seed), Duration::from_millis(lease));
        let file = vendor.login(ACCOUNT, lease, stamp(0));
        let score = Score::default();
        Self { now: 0, vendor, score, file, landings: Vec::new(), online_from: 0, lease, cli_until: 0 }
    }

    /// What the credential file holds.
    pub(crate) fn file(&mut self) -> Tokens {
        self.settle();
        self.file.clone()
    }

    /// What was on its way into the file by now lies there.
    fn settle(&mut self) {
        let now = self.now;
        for landed in self.landings.extract_if(.., |landing| landing.at <= now) {
            self.file = landed.tokens;
        }
    }

    /// The keeper has put these into the file itself.
    pub(crate) fn replace(&mut self, tokens: Tokens) {
        self.file = tokens;
    }

    /// When the CLI's new tokens will lie in the file, while it holds its locks for that.
    pub(crate) fn cli_lands_at(&self) -> Option<Ms> {
        self.landings.iter().filter(|landing| landing.of_cli).map(|landing| landing.at).max()
    }

    /// What the keeper knows: its own new tokens while they are on their way into the file, else the file.
    pub(crate) fn held(&mut self) -> Tokens {
        let file = self.file();
        let own = self.landings.iter().find(|landing| !landing.of_cli);
        own.map_or(file, |landing| landing.tokens.clone())
    }

    /// Time until the access token in hand expires by its own word; 0 once it has.
    pub(crate) fn left(&mut self) -> Ms {
        let expires_at = self.held().expires_at;
        self.until(expires_at)
    }

    fn until(&self, stamp_then: Stamp) -> Ms {
        (stamp_then.as_millisecond() - stamp(self.now).as_millisecond()).max(0) as Ms
    }

    /// Whether a vendor's CLI process is running, as `pgrep claude` would say.
    pub(crate) fn cli_runs(&self) -> bool {
        self.now < self.cli_until
    }

    /// Whether the CLI holds its locks for a refresh.
    pub(crate) fn cli_refreshes(&mut self) -> bool {
        self.settle();
        self.cli_lands_at().is_some()
    }

    /// Whether the network is there.
    pub(crate) fn is_online(&self) -> bool {
        self.now >= self.online_from
    }

    /// Asks the usage endpoint with the access token in hand.
    pub(crate) fn ask(&mut self) -> Answer {
        let request = Request::usage(&self.held().access);
        self.send(&request).map_or(Answer::Nothing, |reply| Answer::of(&reply))
    }

    /// Refreshes as a tool without the CLI's locks does: the file has the new tokens two seconds later, whatever it
    /// holds by then.
    pub(crate) fn refresh(&mut self) -> Answer {
        let (answer, tokens) = self.exchange();
        if let Some(tokens) = tokens {
            self.landings.push(Landing { at: self.now + EXCHANGE, tokens, of_cli: false });
        }
        answer
    }

    /// Refreshes under the CLI's locks, as a CLI that was started for the purpose does: `None` where it sees nothing
    /// to do, because the token lives or another CLI is at it.
    pub(crate) fn refresh_by_cli(&mut self) -> Option<Answer> {
        if self.left() > CLI_LEAD || self.cli_refreshes() {
            return None;
        }
        let (answer, tokens) = self.exchange();
        self.file = tokens.unwrap_or_else(|| self.file.clone());
        Some(answer)
    }

    /// Sends one request of the keeper's, if there is a network, and keeps count.
    ///
    /// # Errors
    /// How it failed to bring a whole answer.
    pub(crate) fn send(&mut self, request: &Request) -> Result<Reply, Broken> {
        if !self.is_online() {
            return Err(Broken::Offline);
        }
        let expires_at = self.held().expires_at;
        let delivery = self.vendor.serve(request, stamp(self.now));
        if let Some(call) = self.vendor.calls().last() {
            self.score.count(call, self.now, expires_at);
        }
        match delivery {
            Delivery::Whole(reply) => Ok(reply),
            Delivery::Half(_) | Delivery::Drip(..) | Delivery::Closed | Delivery::Silence => Err(Broken::Cut(None)),
        }
    }

    /// Another program on this machine asks with the access token in the file.
    pub(crate) fn ask_as_another(&mut self) {
        let request = Request::usage(&self.file().access);
        self.vendor.serve(&request, stamp(self.now));
    }

    fn exchange(&mut self) -> (Answer, Option<Tokens>) {
        let refresh = self.held().refresh;
        let Ok(reply) = self.send(&Request::refresh(&refresh)) else { return (Answer::Nothing, None) };
        let answer = Answer::of(&reply);
        let tokens = if answer == Answer::Ok { self.vendor.current(&refresh) } else { None };
        (answer, tokens)
    }

    /// The user works with the CLI: it refreshes what is about to expire, and stays open for a while.
    pub(crate) fn use_cli(&mut self) {
        self.cli_until = self.now + CLI_STAYS;
        let expires_at = self.file().expires_at;
        if self.until(expires_at) > CLI_LEAD || self.cli_refreshes() || !self.is_online() {
            return;
        }
        if let Some(tokens) = self.vendor.cli_rotate(&self.file.refresh, stamp(self.now)) {
            self.landings.push(Landing { at: self.now + EXCHANGE, tokens, of_cli: true });
        }
    }

    /// The user logs in again.
    pub(crate) fn log_in(&mut self) {
        self.landings.clear();
        self.file = self.vendor.login(ACCOUNT, self.lease, stamp(self.now));
    }

    /// Whether nothing on this machine can refresh the login any more.
    pub(crate) fn is_logged_out(&mut self) -> bool {
        let held = self.file().refresh;
        let held = self.landings.iter().map(|landing| &landing.tokens.refresh).chain([&held]);
        held.into_iter().all(|refresh| self.vendor.login_lost(refresh))
    }

    /// The keeper's process is killed: its own new tokens on their way into the file are gone.
    pub(crate) fn lose_landing(&mut self) {
        self.settle();
        self.landings.retain(|landing| landing.of_cli);
    }

    /// The machine resumes: the network is not there yet.
    pub(crate) fn resume(&mut self) {
        self.online_from = self.now + RECONNECT;
    }
}

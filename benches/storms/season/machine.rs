//! The machine that a keeper runs on, as far as the weather reaches: vendor, network, credential file, its user's CLI.
//!
//! One per keeper and run, so that all keepers meet the same weather and none meets another. Owns the exclusion: a CLI
//! needs two seconds for a refresh and holds its locks meanwhile, a keeper without those locks needs two seconds in
//! which the CLI knows nothing of it. That is where shared logins are lost.

use quotad::demo::vendor::{Delivery, Request, Tokens, World};
use quotad::policy::time::Stamp;
use quotad::provider::Reply;

/// Milliseconds of virtual time since the season began.
pub(crate) type Ms = u64;

pub(crate) const S: Ms = 1_000;
pub(crate) const MIN: Ms = 60 * S;
pub(crate) const HOUR: Ms = 60 * MIN;
pub(crate) const DAY: Ms = 24 * HOUR;

/// The wall clock at the beginning: a midnight.
const BEGAN: i64 = 1_799_971_200;
/// From the vendor's exchange to the new tokens in the file.
const EXCHANGE: Ms = 2 * S;
/// After a resume nothing can be reached for so long.
const RECONNECT: Ms = 5 * S;
/// Claude Code refreshes so long before expiry, when it is used (credentials.md, A.4).
const CLI_LEAD: Ms = 5 * MIN;
/// The uuid of the one account.
const ACCOUNT: &str = "11111111-2222-4333-8444-555555555555";

/// The wall time at `at`.
pub(crate) fn stamp(at: Ms) -> Stamp {
    Stamp::from_millisecond(BEGAN * 1_000 + at as i64).expect("a season ends before time does")
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
    /// The vendor. Its journal is what keepers are judged by.
    pub(crate) vendor: World,
    file: Tokens,
    landings: Vec<Landing>,
    online_from: Ms,
    lease: Ms,
    /// The user's CLI runs until then.
    cli_until: Ms,
}

impl Machine {
    /// A machine whose file holds a fresh login; its access tokens live for `lease`.
    pub(crate) fn new(seed: u64, lease: Ms) -> Self {
        let mut vendor = World::new(seed);
        let file = vendor.login(ACCOUNT, std::time::Duration::from_millis(lease), stamp(0));
        Self { now: 0, vendor, file, landings: Vec::new(), online_from: 0, lease, cli_until: 0 }
    }

    /// What the credential file holds.
    pub(crate) fn file(&mut self) -> Tokens {
        let now = self.now;
        for landed in self.landings.extract_if(.., |landing| landing.at <= now) {
            self.file = landed.tokens;
        }
        self.file.clone()
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
        self.file();
        self.landings.iter().any(|landing| landing.of_cli)
    }

    /// Whether the network is there.
    pub(crate) fn is_online(&self) -> bool {
        self.now >= self.online_from
    }

    /// Asks the usage endpoint with the access token in hand.
    pub(crate) fn ask(&mut self) -> Answer {
        let request = Request::usage(&self.held().access);
        self.send(&request).map_or(Answer::Nothing, |reply| answer(&reply))
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

    /// Sends one request, if there is a network.
    pub(crate) fn send(&mut self, request: &Request) -> Option<Reply> {
        if !self.is_online() {
            return None;
        }
        match self.vendor.serve(request, stamp(self.now)) {
            Delivery::Whole(reply) => Some(reply),
            Delivery::Half(_) | Delivery::Drip(..) | Delivery::Closed | Delivery::Silence => None,
        }
    }

    fn exchange(&mut self) -> (Answer, Option<Tokens>) {
        let refresh = self.held().refresh;
        let Some(reply) = self.send(&Request::refresh(&refresh)) else { return (Answer::Nothing, None) };
        let answer = answer(&reply);
        let tokens = if answer == Answer::Ok { self.vendor.current(&refresh) } else { None };
        (answer, tokens)
    }

    /// The user works with the CLI, which stays open for `stay`: it refreshes what is about to expire.
    pub(crate) fn use_cli(&mut self, stay: Ms) {
        self.cli_until = self.cli_until.max(self.now + stay);
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
        self.file = self.vendor.login(ACCOUNT, std::time::Duration::from_millis(self.lease), stamp(self.now));
    }

    /// Whether nothing on this machine can refresh the login any more.
    pub(crate) fn is_logged_out(&mut self) -> bool {
        let held = self.file().refresh;
        let held = self.landings.iter().map(|landing| &landing.tokens.refresh).chain([&held]);
        held.into_iter().all(|refresh| self.vendor.login_lost(refresh))
    }

    /// The keeper's process is killed: an answer on its way into the file is gone.
    pub(crate) fn kill_keeper(&mut self) {
        self.file();
        self.landings.retain(|landing| landing.of_cli);
    }

    /// The machine resumes: the network is not there yet.
    pub(crate) fn resume(&mut self) {
        self.online_from = self.now + RECONNECT;
    }
}

fn answer(reply: &Reply) -> Answer {
    match reply.status {
        200 => Answer::Ok,
        429 => {
            let seconds = reply.header("retry-after").and_then(|value| value.parse::<u64>().ok());
            Answer::Limited(seconds.map(|seconds| seconds * S))
        }
        400 if String::from_utf8_lossy(&reply.body).contains("invalid_grant") => Answer::InvalidGrant,
        status => Answer::Status(status),
    }
}

//! Logins, tokens and the two endpoints, without sockets or clocks.
//!
//! Strict where the vendor is: a refresh token works once, a replay costs the login, an empty bearer is throttled. What
//! it answers is providers.md 1.2 to 1.5 and credentials.md 2.1, 2.2.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::CLIENT_ID;
use super::answer::{Answer, Delivery, Plan, RetryAfter, error, json, rate_limited, text};
use super::http::Request;
use super::quota::{Budget, Quota, Spent};
use super::shelf::{PLANS, Shelf};
use super::tokens::Tokens;
use super::{TOKEN_PATH, USAGE_PATH};
use crate::model::Endpoint;
use crate::policy::time::Stamp;
use crate::provider::Reply;

const SCOPE: &str = "user:inference user:profile user:sessions:claude_code user:mcp_servers user:file_upload";

/// What happens to a login whose spent refresh token is posted again. It is refused in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Nothing.
    Refuse,
    /// Every token of the login dies, the newest included.
    RevokeFamily,
    /// Within this time of its rotation the token answers with the same successor, unless that is spent too; after
    /// it the login is revoked.
    Grace(Duration),
}

/// One request, as the journal keeps it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Position in the journal, from 0.
    pub order: usize,
    /// World time.
    pub at: Stamp,
    /// Real time.
    pub arrived: Instant,
    /// `None` for a path the vendor does not have.
    pub endpoint: Option<Endpoint>,
    /// The token sent, by its label (`A3`, `R2`); `unknown`, or `none` where it was absent or empty.
    pub token: String,
    /// The status answered; `None` when no answer was sent.
    pub status: Option<u16>,
    /// Whether a refresh token came that had been exchanged before.
    pub replay: bool,
    /// The client's `user-agent`.
    pub user_agent: Option<String>,
}

/// The vendor's side of everything. Every call that depends on time takes it.
pub struct World {
    /// What a replayed refresh token costs.
    pub reuse: Reuse,
    /// Whether a refresh brings a new refresh token; if not, the same one is answered and stays good.
    pub rotates: bool,
    /// Whether the token endpoint refuses form bodies.
    pub json_only: bool,
    /// Whether an expired access token is answered with 429 (`TokenTracker#608`) and not with 401.
    pub expired_answers_429: bool,
    /// How many usage requests each access token may make.
    pub budget: Option<Budget>,
    /// The other vendors' answers.
    pub shelf: Shelf,
    seed: u64,
    quotas: BTreeMap<String, Quota>,
    families: Vec<Family>,
    accesses: Vec<Access>,
    refreshes: Vec<Refresh>,
    usage: Plan,
    token: Plan,
    calls: Vec<Call>,
}

/// A login and all its descendants.
struct Family {
    account: String,
    lease: Duration,
    alive: bool,
    newest: Tokens,
}

/// An access token. It outlives its successor's birth, as the vendor's do.
struct Access {
    text: String,
    family: usize,
    expires_at: Stamp,
    withdrawn: bool,
    spent: Spent,
}

struct Refresh {
    text: String,
    family: usize,
    retired_at: Option<Stamp>,
}

impl World {
    /// An empty world that rotates, and revokes on reuse. Two worlds with different seeds share no token.
    pub fn new(seed: u64) -> Self {
        Self {
            reuse: Reuse::RevokeFamily,
            rotates: true,
            json_only: false,
            expired_answers_429: false,
            budget: None,
            shelf: Shelf::default(),
            seed,
            quotas: BTreeMap::new(),
            families: Vec::new(),
            accesses: Vec::new(),
            refreshes: Vec::new(),
            usage: Plan::default(),
            token: Plan::default(),
            calls: Vec::new(),
        }
    }

    /// A new login of the account with this uuid; its access tokens live for `lease`.
    pub fn login(&mut self, account: &str, lease: Duration, now: Stamp) -> Tokens {
        self.quotas.entry(account.to_owned()).or_insert_with(|| Quota::new(now));
        let family = self.families.len();
        let refresh = self.issue_refresh(family);
        let newest = self.issue_access(family, refresh, now + lease);
        self.families.push(Family { account: account.to_owned(), lease, alive: true, newest: newest.clone() });
        newest
    }

    /// Refreshes as the vendor's own CLI would: no script and no journal, but the same rules. `None` if refused.
    pub fn cli_rotate(&mut self, refresh: &str, now: Stamp) -> Option<Tokens> {
        self.exchange(refresh, now)
    }

    /// Revokes the whole login that `token` (either kind, any age) belongs to; `false` if there is none.
    pub fn revoke(&mut self, token: &str) -> bool {
        let family = self.family_of(token).map(|family| &mut self.families[family]);
        family.map(|family| family.alive = false).is_some()
    }

    /// Makes the vendor forget one access token, which it then answers with 401; the login stays good.
    pub fn withdraw(&mut self, access: &str) -> bool {
        let access = self.accesses.iter_mut().find(|known| known.text == access);
        access.map(|access| access.withdrawn = true).is_some()
    }

    /// The newest tokens of the login that `token` (either kind, any age) belongs to; `None` once it is revoked.
    pub fn current(&self, token: &str) -> Option<Tokens> {
        let family = &self.families[self.family_of(token)?];
        family.alive.then(|| family.newest.clone())
    }

    /// Whether a client that holds only this refresh token has lost its login.
    pub fn login_lost(&self, held: &str) -> bool {
        self.current(held).is_none_or(|tokens| tokens.refresh != held)
    }

    /// Whether a usage request with this access token would be answered with numbers now. Leaves no trace: for an
    /// oracle, which asks only then.
    pub fn would_answer(&self, access: &str, now: Stamp) -> bool {
        let known = self.accesses.iter().find(|known| known.text == access && !known.withdrawn);
        let lives = known.filter(|known| self.families[known.family].alive && now < known.expires_at);
        let within = |known: &Access| self.budget.is_none_or(|budget| known.spent.would_allow(&budget, now));
        matches!(self.usage.peek(), Answer::Normal) && lives.is_some_and(within)
    }

    /// Whether a POST of this refresh token would bring new tokens now, were its answer not lost. Leaves no trace.
    pub fn would_grant(&self, refresh: &str, now: Stamp) -> bool {
        let known = self.refreshes.iter().position(|known| known.text == refresh);
        let Some(at) = known.filter(|_| self.token.peek().is_processed()) else { return false };
        let Refresh { family, retired_at, .. } = self.refreshes[at];
        self.families[family].alive && (retired_at.is_none() || self.is_within_grace(at, now))
    }

    /// The numbers of an account that has logged in.
    pub fn quota(&mut self, account: &str) -> Option<&mut Quota> {
        self.quotas.get_mut(account)
    }

    /// The script of the usage endpoint.
    pub fn usage(&mut self) -> &mut Plan {
        &mut self.usage
    }

    /// The script of the token endpoint.
    pub fn token(&mut self) -> &mut Plan {
        &mut self.token
    }

    /// Every request so far, in the order of arrival.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Those that reached the usage endpoint.
    pub fn usage_requests(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.endpoint == Some(Endpoint::Usage))
    }

    /// Those that reached the token endpoint.
    pub fn token_posts(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.endpoint == Some(Endpoint::Token))
    }

    /// Posts of refresh tokens that had been exchanged before.
    pub fn replays(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.replay)
    }

    /// Posts of this refresh token.
    pub fn posts_of(&self, refresh: &str) -> impl Iterator<Item = &Call> {
        let label = self.label(Some(refresh));
        self.token_posts().filter(move |call| call.token == label)
    }

    /// Answers one request and writes it down.
    pub fn serve(&mut self, request: &Request, now: Stamp) -> Delivery {
        let (endpoint, token) = match request.path.as_str() {
            USAGE_PATH => (Some(Endpoint::Usage), request.bearer().map(str::to_owned)),
            TOKEN_PATH => (Some(Endpoint::Token), request.fields().and_then(|mut body| body.remove("refresh_token"))),
            path if path.starts_with(PLANS) => (Some(Endpoint::Usage), None),
            _ => (None, None),
        };
        let token = token.as_deref();
        let replay =
            self.refreshes.iter().any(|known| Some(known.text.as_str()) == token && known.retired_at.is_some());
        let delivery = match endpoint {
            Some(Endpoint::Usage) if request.path.starts_with(PLANS) => {
                self.usage.take().deliver(now, || self.shelf.answer(request, now))
            }
            Some(Endpoint::Usage) => self.usage.take().deliver(now, || self.answer_usage(request, now)),
            Some(Endpoint::Token) => self.token.take().deliver(now, || self.answer_token(request, now)),
            None => Delivery::Whole(error(404, "not_found_error", "Not Found")),
        };
        self.calls.push(Call {
            order: self.calls.len(),
            at: now,
            arrived: request.arrived,
            endpoint,
            token: self.label(token),
            status: delivery.status(),
            replay,
            user_agent: request.header("user-agent").map(str::to_owned),
        });
        delivery.dated(now)
    }

    fn answer_usage(&mut self, request: &Request, now: Stamp) -> Reply {
        let unauthorized = |message| error(401, "authentication_error", message);
        if request.method != "GET" {
            return error(405, "invalid_request_error", "Method Not Allowed");
        }
        let Some(bearer) = request.bearer() else { return unauthorized("Invalid authentication credentials") };
        if bearer.is_empty() {
            return rate_limited(RetryAfter::Seconds(3_242), now);
        }
        if !request.header("anthropic-beta").is_some_and(|beta| beta.contains("oauth-2025-04-20")) {
            return unauthorized("OAuth authentication is currently not supported.");
        }
        let known = self.accesses.iter_mut().find(|access| access.text == bearer && !access.withdrawn);
        let Some(access) = known else { return unauthorized("Invalid bearer token") };
        let family = &self.families[access.family];
        if !family.alive {
            return error(403, "permission_error", "OAuth token has been revoked");
        }
        if now >= access.expires_at && self.expired_answers_429 {
            return rate_limited(RetryAfter::Seconds(1_022), now);
        }
        if now >= access.expires_at {
            return unauthorized("OAuth token has expired. Please obtain a new token or refresh your existing token.");
        }
        if let Some(budget) = self.budget
            && !access.spent.allows(&budget, now)
        {
            return rate_limited(budget.retry_after, now);
        }
        let quota = self.quotas.entry(family.account.clone()).or_insert_with(|| Quota::new(now));
        text(200, quota.answer(now))
    }

    fn answer_token(&mut self, request: &Request, now: Stamp) -> Reply {
        let refused = |status, code: &str, why: &str| json(status, &json!({"error": code, "error_description": why}));
        if request.method != "POST" {
            return error(405, "invalid_request_error", "Method Not Allowed");
        }
        let accepted = request.is_json() || !self.json_only;
        let Some(fields) = request.fields().filter(|_| accepted) else {
            return error(400, "invalid_request_error", "Invalid request format");
        };
        let field = |name| fields.get(name).map(String::as_str).unwrap_or_default();
        if field("grant_type") != "refresh_token" {
            return refused(400, "unsupported_grant_type", "Grant type not supported");
        }
        if field("client_id") != CLIENT_ID {
            return refused(401, "invalid_client", "Client not found");
        }
        if field("refresh_token").is_empty() {
            return error(400, "invalid_request_error", "Invalid request format");
        }
        match self.exchange(field("refresh_token"), now) {
            None => refused(400, "invalid_grant", "Refresh token not found or invalid"),
            Some(tokens) => json(
                200,
                &json!({"token_type": "Bearer", "access_token": tokens.access, "refresh_token": tokens.refresh,
                        "expires_in": seconds(tokens.expires_at, now), "scope": SCOPE}),
            ),
        }
    }

    /// One-time exchange of a refresh token.
    fn exchange(&mut self, refresh: &str, now: Stamp) -> Option<Tokens> {
        let at = self.refreshes.iter().position(|known| known.text == refresh)?;
        let Refresh { family, retired_at, .. } = self.refreshes[at];
        if !self.families[family].alive {
            return None;
        }
        if retired_at.is_none() {
            let successor = if self.rotates {
                self.refreshes[at].retired_at = Some(now);
                self.issue_refresh(family)
            } else {
                refresh.to_owned()
            };
            let newest = self.issue_access(family, successor, now + self.families[family].lease);
            self.families[family].newest = newest.clone();
            return Some(newest);
        }
        if self.is_within_grace(at, now) {
            return Some(self.families[family].newest.clone());
        }
        self.families[family].alive = self.reuse == Reuse::Refuse;
        None
    }

    /// Whether the spent refresh token at this place still answers with its successor.
    fn is_within_grace(&self, at: usize, now: Stamp) -> bool {
        let (Reuse::Grace(grace), Some(retired_at)) = (self.reuse, self.refreshes[at].retired_at) else { return false };
        let family = self.refreshes[at].family;
        let successor = self.refreshes[at + 1..].iter().find(|next| next.family == family);
        now <= retired_at + grace && successor.is_some_and(|next| next.text == self.families[family].newest.refresh)
    }

    fn issue_refresh(&mut self, family: usize) -> String {
        let text = format!("sk-ant-ort01-FAKE-R{}-{:016x}", self.refreshes.len() + 1, self.seed);
        self.refreshes.push(Refresh { text: text.clone(), family, retired_at: None });
        text
    }

    fn issue_access(&mut self, family: usize, refresh: String, expires_at: Stamp) -> Tokens {
        let text = format!("sk-ant-oat01-FAKE-A{}-{:016x}", self.accesses.len() + 1, self.seed);
        self.accesses.push(Access {
            text: text.clone(),
            family,
            expires_at,
            withdrawn: false,
            spent: Spent::default(),
        });
        Tokens { access: text, refresh, expires_at }
    }

    fn family_of(&self, token: &str) -> Option<usize> {
        let access = self.accesses.iter().find(|access| access.text == token).map(|access| access.family);
        access.or_else(|| self.refreshes.iter().find(|refresh| refresh.text == token).map(|refresh| refresh.family))
    }

    fn label(&self, token: Option<&str>) -> String {
        let Some(token) = token.filter(|token| !token.is_empty()) else { return "none".to_owned() };
        let access = self.accesses.iter().position(|access| access.text == token);
        let refresh = self.refreshes.iter().position(|refresh| refresh.text == token);
        match (access, refresh) {
            (Some(at), _) => format!("A{}", at + 1),
            (None, Some(at)) => format!("R{}", at + 1),
            (None, None) => "unknown".to_owned(),
        }
    }
}

/// `expires_in`: whole seconds as an integer, anything else as a fraction.
fn seconds(expires_at: Stamp, now: Stamp) -> Value {
    let left = expires_at.duration_since(now);
    if left.subsec_nanos() == 0 { left.as_secs().into() } else { left.as_secs_f64().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "11111111-2222-4333-8444-555555555555";
    const LEASE: Duration = Duration::from_hours(8);

    fn at(seconds: i64) -> Stamp {
        Stamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    fn world() -> (World, Tokens) {
        let mut world = World::new(0);
        let tokens = world.login(ACCOUNT, LEASE, at(0));
        (world, tokens)
    }

    fn refresh(world: &mut World, token: &str, now: Stamp) -> (u16, Value) {
        body(&world.serve(&Request::refresh(token), now))
    }

    fn usage(world: &mut World, token: &str, now: Stamp) -> (u16, Value) {
        body(&world.serve(&Request::usage(token), now))
    }

    fn body(delivery: &Delivery) -> (u16, Value) {
        let reply = delivery.reply().unwrap();
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }

    #[test]
    fn a_refresh_token_works_once_and_brings_its_successor() {
        let (mut world, first) = world();
        let (status, granted) = refresh(&mut world, &first.refresh, at(60));
        assert_eq!((status, &granted["expires_in"]), (200, &json!(28_800)));
        let second = world.current(&first.access).unwrap();
        assert_eq!(granted["refresh_token"], second.refresh);
        assert_eq!(granted["access_token"], second.access);
        assert_ne!((&second.access, &second.refresh), (&first.access, &first.refresh));
        assert!(world.login_lost(&first.refresh) && !world.login_lost(&second.refresh));
        for access in [&first.access, &second.access] {
            assert_eq!(usage(&mut world, access, at(61)).0, 200, "an access token outlives the rotation");
        }
        let journal: Vec<_> = world.calls().iter().map(|call| call.token.as_str()).collect();
        assert_eq!(journal, ["R1", "A1", "A2"]);
    }

    #[test]
    fn a_replay_costs_the_login_where_the_vendor_revokes() {
        for (reuse, survives) in [(Reuse::RevokeFamily, false), (Reuse::Refuse, true)] {
            let (mut world, first) = world();
            world.reuse = reuse;
            let second = world.cli_rotate(&first.refresh, at(1)).unwrap();
            assert_eq!(world.calls().len(), 0, "the CLI leaves no trace");
            let (status, refused) = refresh(&mut world, &first.refresh, at(2));
            assert_eq!((status, &refused["error"]), (400, &json!("invalid_grant")));
            assert_eq!((world.replays().count(), world.posts_of(&first.refresh).count()), (1, 1));
            assert_eq!(world.login_lost(&second.refresh), !survives, "{reuse:?}");
            assert_eq!(usage(&mut world, &second.access, at(3)).0, if survives { 200 } else { 403 });
            assert_eq!(refresh(&mut world, &second.refresh, at(3)).0, if survives { 200 } else { 400 });
        }
    }

    #[test]
    fn within_the_grace_a_spent_token_answers_with_the_same_successor() {
        let (mut world, first) = world();
        world.reuse = Reuse::Grace(Duration::from_secs(30));
        let (_, granted) = refresh(&mut world, &first.refresh, at(0));
        assert_eq!(refresh(&mut world, &first.refresh, at(30)).1["refresh_token"], granted["refresh_token"]);
        assert_eq!(refresh(&mut world, &first.refresh, at(31)).0, 400, "the grace is over");
        assert!(world.current(&first.refresh).is_none(), "and the login with it");

        let first = world.login(ACCOUNT, LEASE, at(0));
        let second = world.cli_rotate(&first.refresh, at(1)).unwrap();
        world.cli_rotate(&second.refresh, at(2)).unwrap();
        assert_eq!(refresh(&mut world, &first.refresh, at(3)).0, 400, "the successor is spent too");
    }

    #[test]
    fn a_server_that_does_not_rotate_answers_with_the_same_refresh_token() {
        let (mut world, first) = world();
        world.rotates = false;
        for _ in 0..2 {
            let (status, granted) = refresh(&mut world, &first.refresh, at(1));
            assert_eq!((status, &granted["refresh_token"]), (200, &json!(first.refresh)));
            assert_ne!(granted["access_token"], first.access);
        }
        assert_eq!((world.replays().count(), world.login_lost(&first.refresh)), (0, false));
    }

    #[test]
    fn each_state_of_an_access_token_has_its_own_answer() {
        let (mut world, tokens) = world();
        let access = tokens.access.as_str();
        assert_eq!(usage(&mut world, access, at(8 * 3_600 - 1)).0, 200);
        assert_eq!(usage(&mut world, access, at(8 * 3_600)).0, 401, "expired");
        world.expired_answers_429 = true;
        assert_eq!(usage(&mut world, access, at(8 * 3_600)).0, 429, "expired, as some servers put it");
        assert_eq!(usage(&mut world, "made up", at(0)).0, 401);
        let empty = world.serve(&Request::usage(""), at(0));
        assert_eq!((empty.status(), empty.reply().unwrap().header("retry-after")), (Some(429), Some("3242")));
        assert!(world.withdraw(access));
        assert_eq!(usage(&mut world, access, at(1)).0, 401, "forgotten");
        assert!(!world.login_lost(&tokens.refresh));
        let next = world.cli_rotate(&tokens.refresh, at(1)).unwrap();
        assert!(world.revoke(access));
        let (status, said) = usage(&mut world, &next.access, at(2));
        assert_eq!((status, &said["error"]["message"]), (403, &json!("OAuth token has been revoked")));
        assert!(!world.revoke("made up"));
    }

    #[test]
    fn a_budget_belongs_to_the_access_token_and_restarts_when_it_says_so() {
        for (window, wait, status) in [(240, 300, 200), (600, 300, 429), (990, 600, 429), (990, 990, 200)] {
            let (mut world, tokens) = world();
            let (window, retry_after) = (Duration::from_secs(window), RetryAfter::Seconds(990));
            world.budget = Some(Budget { requests: 1, window, restarts: true, retry_after });
            assert_eq!(usage(&mut world, &tokens.access, at(0)).0, 200);
            for n in 0..10 {
                let expected = if n == 0 { 429 } else { status };
                assert_eq!(usage(&mut world, &tokens.access, at(1 + n * wait)).0, expected, "{window:?}, {wait} s");
            }
            let next = world.cli_rotate(&tokens.refresh, at(2)).unwrap();
            assert_eq!(usage(&mut world, &next.access, at(3)).0, 200, "a new token has a budget of its own");
        }
    }

    #[test]
    fn an_oracle_learns_what_an_answer_would_be_and_leaves_no_trace() {
        let (mut world, tokens) = world();
        let (access, hour) = (tokens.access.as_str(), Duration::from_hours(1));
        let retry_after = RetryAfter::Absent;
        world.budget = Some(Budget { requests: 1, window: hour, restarts: true, retry_after });
        for (n, status) in [(0, 200), (1, 429), (3_600, 429), (7_200, 200), (8 * 3_600, 401)] {
            assert_eq!(world.would_answer(access, at(n)), status == 200, "at {n} s");
            assert_eq!(usage(&mut world, access, at(n)).0, status, "at {n} s");
        }
        world.budget = None;
        assert!(world.would_answer(access, at(0)) && world.would_grant(&tokens.refresh, at(0)));
        world.usage().always(Answer::Html(503));
        world.token().next(Answer::RateLimited(retry_after)).always(Answer::LoseResponse);
        assert!(!world.would_answer(access, at(0)) && !world.would_grant(&tokens.refresh, at(0)));
        refresh(&mut world, &tokens.refresh, at(0));
        assert!(world.would_grant(&tokens.refresh, at(0)), "exchanged, though nobody will learn of it");
        world.revoke(access);
        world.usage().clear();
        assert!(!world.would_answer(access, at(0)) && !world.would_grant(&tokens.refresh, at(0)));
        assert_eq!(world.calls().len(), 6, "questions to an oracle are no requests");
    }

    #[test]
    fn the_token_endpoint_tells_a_bad_request_from_a_bad_token() {
        let form = |fields: &str| {
            let mut request = Request::refresh("");
            request.headers = vec![("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned())];
            request.body = fields.as_bytes().to_vec();
            request
        };
        let good = |tokens: &Tokens| {
            format!("grant_type=refresh_token&client_id={CLIENT_ID}&refresh_token={}", tokens.refresh)
        };
        let (mut world, tokens) = world();
        for (fields, status, said) in [
            ("grant_type=password".to_owned(), 400, json!("unsupported_grant_type")),
            (good(&tokens).replace(CLIENT_ID, "else"), 401, json!("invalid_client")),
            (good(&tokens) + "-made-up", 400, json!("invalid_grant")),
        ] {
            let (was, body) = body(&world.serve(&form(&fields), at(0)));
            assert_eq!((was, &body["error"]), (status, &said), "{fields}");
        }
        world.json_only = true;
        let (status, said) = body(&world.serve(&form(&good(&tokens)), at(0)));
        assert_eq!((status, &said["error"]["type"]), (400, &json!("invalid_request_error")));
        assert!(!world.login_lost(&tokens.refresh), "nothing was exchanged");
        world.json_only = false;
        assert_eq!(world.serve(&form(&good(&tokens)), at(0)).status(), Some(200));
        assert_eq!(world.replays().count(), 0);
    }

    #[test]
    fn a_script_comes_before_the_rules_and_the_journal_sees_both() {
        let (mut world, tokens) = world();
        world.token().next(Answer::DropBefore).next(Answer::LoseResponse);
        assert_eq!(world.serve(&Request::refresh(&tokens.refresh), at(0)), Delivery::Closed);
        assert!(!world.login_lost(&tokens.refresh), "never processed");
        assert_eq!(world.serve(&Request::refresh(&tokens.refresh), at(1)), Delivery::Closed);
        assert!(world.login_lost(&tokens.refresh), "processed, and the answer lost");
        world.token().always(Answer::RateLimited(RetryAfter::Absent));
        assert_eq!(world.serve(&Request::refresh(&tokens.refresh), at(2)).status(), Some(429));
        let seen: Vec<_> = world.token_posts().map(|call| (call.order, call.status, call.replay)).collect();
        assert_eq!(seen, [(0, None, false), (1, None, false), (2, Some(429), true)]);
        assert!(world.current(&tokens.refresh).is_some(), "an unprocessed replay costs nothing");
    }

    #[test]
    fn an_unknown_path_is_404_and_belongs_to_no_endpoint() {
        let (mut world, tokens) = world();
        let request = Request { path: "/api/oauth/profile".to_owned(), ..Request::usage(&tokens.access) };
        let delivery = world.serve(&request, at(0));
        assert_eq!(delivery.status(), Some(404));
        assert_eq!(delivery.reply().unwrap().header("date"), Some("Mon, 21 Sep 2026 14:13:20 GMT"));
        assert_eq!((world.calls().len(), world.usage_requests().count()), (1, 0));
    }
}

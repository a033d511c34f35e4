//! Turns what the supervisor shows into sentences: the difference between two looks at an account.
//!
//! Owns the words of the demo. Knows nothing of the story, so it cannot say what did not happen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Line, Mood, hour};
use crate::config::Config;
use crate::model::{AccountName, Endpoint, Exchange};
use crate::policy::ladder::Ladder;
use crate::policy::status::{AccountState, AccountView, GateState, GateView};
use crate::policy::time::Stamp;
use crate::supervisor::handle::{Snapshot, Transition};

/// What changes within this time of a request is told as its consequence.
const AT_ONCE: Duration = Duration::from_secs(120);

/// Who looks on and tells.
pub(super) struct Narrator<'t> {
    tell: &'t mut dyn FnMut(Line),
    ladders: Ladders,
    followed: Vec<String>,
    seen: BTreeMap<AccountName, Arc<AccountView>>,
    /// When the last request that was told of had left.
    told_at: Stamp,
}

/// The rungs in force, in words, and when the auth pause begins.
struct Ladders {
    rate: String,
    auth: String,
    after: u32,
}

impl Ladders {
    fn of(config: &Config) -> Self {
        let words = |ladder: &Ladder| {
            let rungs = (0..3).map(|rung| (ladder.cooldown(rung).as_secs() / 60).to_string());
            rungs.collect::<Vec<_>>().join("→") + " min"
        };
        Self {
            rate: words(&config.rate_limit_pause.ladder),
            auth: words(&config.auth_pause.ladder),
            after: config.auth_pause.after,
        }
    }
}

impl<'t> Narrator<'t> {
    pub(super) fn new(tell: &'t mut dyn FnMut(Line), config: &Config) -> Self {
        let ladders = Ladders::of(config);
        Self { tell, ladders, followed: Vec::new(), seen: BTreeMap::new(), told_at: Stamp::MIN }
    }

    /// Tells of these accounts from here on.
    pub(super) fn follow(&mut self, names: &[&str]) {
        self.followed = names.iter().map(|name| (*name).to_owned()).collect();
    }

    pub(super) fn tell(&mut self, line: Line) {
        if let Line::Event { at, .. } = &line {
            self.told_at = *at;
        }
        (self.tell)(line);
    }

    /// Tells how each account differs from the last look.
    pub(super) fn see(&mut self, snapshot: &Snapshot) {
        for view in &snapshot.accounts {
            let before = self.seen.insert(view.name.clone(), view.clone());
            if let Some(before) = before.filter(|_| self.follows(&view.name)) {
                for line in changes(&before, view, &self.ladders) {
                    self.tell(line);
                }
            }
        }
    }

    /// Tells of a change of state. That an account starts, or that a request was answered, was said before.
    pub(super) fn hear(&mut self, transition: &Transition) {
        let Transition { at, account, from, to, reason, action, .. } = transition;
        if !self.follows(account) || *to == AccountState::Starting {
            return;
        }
        let change = format!("{} → {}", from.as_str(), to.as_str());
        let needs_someone = action != "nothing to do";
        let (said, mood) = match to {
            AccountState::Ok => (change, Mood::Good),
            _ if needs_someone => (format!("{change}: {reason}"), Mood::Bad),
            _ => (format!("{change}: {reason}"), Mood::Warn),
        };
        self.tell(if self.told_at + AT_ONCE > *at {
            Line::Consequence(said, mood)
        } else {
            Line::Event { at: *at, account: account.clone(), said, mood }
        });
        if needs_someone {
            self.tell(Line::Consequence(format!("to do: {action}"), mood));
        }
    }

    fn follows(&self, account: &AccountName) -> bool {
        self.followed.iter().any(|name| name == account.as_str())
    }
}

/// What happened between two looks.
fn changes(before: &AccountView, after: &AccountView, ladders: &Ladders) -> Vec<Line> {
    let known = before.exchanges.last().and_then(|last| after.exchanges.iter().rposition(|exchange| exchange == last));
    let new = &after.exchanges[known.map_or(0, |known| known + 1)..];
    let mut lines: Vec<Line> = new.iter().map(|exchange| exchanged(exchange, after)).collect();

    let token = closed("token", &before.token_gate, &after.token_gate, &ladders.rate);
    let usage = closed("usage", &before.usage_gate, &after.usage_gate, &ladders.rate);
    let auth = closed("auth", &before.auth_gate, &after.auth_gate, &ladders.auth);
    let auth = auth.or_else(|| rejected(before, after, ladders.after));
    let answered = after.exchanges.last().is_some_and(|last| last.status == Some(200));
    let is_held_back = (usage.is_some() || auth.is_some()) && !answered;
    lines.extend([token, usage, auth].into_iter().flatten().map(|said| Line::Consequence(said, Mood::Warn)));
    if let Some(said) = slowed(before.interval, after.interval) {
        lines.push(Line::Consequence(said, Mood::Plain));
    }
    if let (true, Some(next)) = (is_held_back, after.next_poll_at) {
        lines.push(Line::Consequence(format!("next request for usage at {}", hour(next)), Mood::Plain));
    }
    lines
}

/// A request and its answer.
fn exchanged(exchange: &Exchange, after: &AccountView) -> Line {
    let deed = match exchange.endpoint {
        Endpoint::Usage => "asks for usage",
        Endpoint::Token => "posts its refresh token",
    };
    let advice = exchange.headers.iter().find(|(name, _)| name == "retry-after").map(|(_, value)| value.as_str());
    let (answer, mood) = match exchange.status {
        Some(200) => (format!("200: {}", brought(exchange, after)), Mood::Good),
        Some(429) => {
            let advice = advice.map_or_else(|| "no Retry-After".to_owned(), |wait| format!("Retry-After: {wait}"));
            (format!("429, {advice}"), Mood::Warn)
        }
        Some(status) => (format!("{status}: {}", exchange.meaning), Mood::Bad),
        None => (exchange.meaning.clone(), Mood::Bad),
    };
    Line::Event { at: exchange.at, account: after.name.clone(), said: format!("{deed} → {answer}"), mood }
}

/// What an answered request brought: the first window and when it is asked again, if the view still shows that.
fn brought(exchange: &Exchange, after: &AccountView) -> String {
    let is_latest =
        after.exchanges.last().is_some_and(|last| **last == *exchange) && exchange.endpoint == Endpoint::Usage;
    let window = after.reading.as_ref().filter(|_| is_latest).and_then(|reading| reading.windows.first());
    match (window, window.and_then(|window| window.used_percent), after.next_poll_at) {
        (Some(window), Some(used), Some(next)) => {
            format!("{} {used:.1}% used; next at {}", window.label, hour(next))
        }
        _ => exchange.meaning.clone(),
    }
}

/// A gate that took a rung, or opened.
fn closed(name: &str, before: &GateView, after: &GateView, rungs: &str) -> Option<String> {
    match (after.state, after.until, after.rung) {
        (GateState::Cooling, Some(until), Some(rung)) if before.until != after.until => {
            Some(format!("{name} gate closed until {}: rung {} of {rungs}", hour(until), rung + 1))
        }
        (GateState::Clear, ..) if before.rung.is_some() => Some(format!("{name} gate open again")),
        _ => None,
    }
}

/// A rejection that may pass, and does not close the auth gate yet.
fn rejected(before: &AccountView, after: &AccountView, limit: u32) -> Option<String> {
    let gate = &after.auth_gate;
    let counts = gate.failures > before.auth_gate.failures && gate.state == GateState::Clear;
    let may_pass = after.exchanges.last().is_some_and(|last| last.status == Some(401));
    (counts && may_pass).then(|| format!("refusal {} in a row; {limit} close the auth gate", gate.failures))
}

/// What throttling taught about the interval. Its slow recovery is worth no line.
fn slowed(before: Duration, after: Duration) -> Option<String> {
    let minutes = |interval: Duration| interval.as_secs_f64() / 60.0;
    (after > before).then(|| format!("learned interval: {} min instead of {} min", minutes(after), minutes(before)))
}

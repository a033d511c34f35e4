//! The other documents of the socket: an explanation, the answer to a command, a state change, a problem.
//!
//! Owns their form, under the rules of [`super::wire`]. Says nothing the snapshot or the core did not say, except why
//! a gate is as it is.

use serde::{Deserialize, Serialize};

use super::report::Pooled;
use super::wire::{Account, SCHEMA, deadline, past};
use crate::model::{AccountName, Exchange};
use crate::policy::account::{self, Command, Verdict};
use crate::policy::status::{AccountView, GateState, GateView};
use crate::policy::time::Stamp;
use crate::supervisor::handle::Transition;

/// `GET /v1/accounts/{name}/explain`: what was sent, what stands in the way, and when it goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The account as in [`super::wire::Status`].
    pub account: Account,
    /// The next moment anything may be sent; null when nothing will be until the file or a person changes something.
    pub next_request_at: Option<Stamp>,
    /// Why each gate is as it is.
    pub why: Why,
    /// The last exchanges, oldest first.
    pub exchanges: Vec<Exchange>,
    /// How it stands with its clients; absent in the answer of an older daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pooled>,
}

/// One sentence per gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Of the usage gate.
    pub usage: String,
    /// Of the token gate.
    pub token: String,
    /// Of the auth gate.
    pub auth: String,
}

/// `POST /v1/accounts/{name}/{pause|resume|poll}`: what the command came to.
///
/// Where it was not done, the document is a problem document as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The members of a problem document; absent when it is done.
    #[serde(flatten)]
    pub problem: Option<Problem>,
    /// [`SCHEMA`].
    pub schema: u32,
    /// Who was asked.
    pub account: String,
    /// `pause`, `resume` or `poll`.
    pub command: String,
    /// `done`, `wait` or `login-needed`.
    pub verdict: String,
    /// A sentence for the person who asked.
    pub said: String,
    /// Done: the moment a request will be sent.
    pub at: Option<Stamp>,
    /// Not done: the moment before which nothing will be.
    pub until: Option<Stamp>,
}

/// An error, as RFC 9457 writes it: `application/problem+json` with the type `about:blank`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong and what to do.
    pub detail: String,
}

/// One message of `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When it changed.
    pub at: Stamp,
    /// Whose state.
    pub account: String,
    /// The state before.
    pub from: String,
    /// The state since.
    pub to: String,
    /// Why.
    pub reason: String,
    /// When it changes by itself.
    pub until: Option<Stamp>,
    /// What a person must do.
    pub action: String,
}

impl Explanation {
    /// Why the account is as it is, looked at `now`.
    pub fn of(view: &AccountView, now: Stamp) -> Self {
        Self {
            schema: SCHEMA,
            account: Account::of(view, now),
            next_request_at: view.next_poll_at.or(view.until).map(deadline),
            why: Why {
                usage: why(&view.usage_gate, "the usage endpoint asked to be left alone"),
                token: why(&view.token_gate, "the token endpoint asked to be left alone"),
                auth: why(&view.auth_gate, "the login was refused"),
            },
            exchanges: view.exchanges.iter().map(|e| Exchange { at: past(e.at), ..Exchange::clone(e) }).collect(),
            pool: None,
        }
    }
}

fn why(gate: &GateView, cause: &str) -> String {
    let times = match gate.failures {
        1 => "once".to_owned(),
        n => format!("{n} times in a row"),
    };
    match gate.state {
        GateState::Clear if gate.failures == 0 => "requests pass".to_owned(),
        GateState::Clear => format!("requests pass; {cause} {times} since the last success"),
        GateState::Cooling => format!("{cause} {times}; nothing is sent until the wait is over"),
        GateState::Probing => format!("{cause} {times}; the wait is over, and one request decides"),
        GateState::Blocked => format!("{cause} {times}; nothing is sent until the file or a person changes it"),
    }
}

impl Answer {
    /// What `account` answered to `command`.
    pub fn of(account: &AccountName, command: Command, answer: &account::Answer) -> Self {
        let at = answer.at.map(deadline);
        let (verdict, problem, at, until) = match answer.verdict {
            Verdict::Done => ("done", None, at, None),
            Verdict::Wait => ("wait", Some(Problem::new(409, "Conflict", &answer.said)), None, at),
            Verdict::LoginNeeded => ("login-needed", Some(Problem::new(403, "Forbidden", &answer.said)), None, at),
        };
        Self {
            problem,
            schema: SCHEMA,
            account: account.to_string(),
            command: command_word(command).to_owned(),
            verdict: verdict.to_owned(),
            said: answer.said.clone(),
            at,
            until,
        }
    }
}

/// The contract's word for a command, which is also the last part of its route.
pub fn command_word(command: Command) -> &'static str {
    match command {
        Command::Pause => "pause",
        Command::Resume => "resume",
        Command::Poll => "poll",
    }
}

impl Problem {
    /// A problem of the type `about:blank`, so `title` is the status in words.
    pub fn new(status: u16, title: &str, detail: &str) -> Self {
        Self { kind: "about:blank".to_owned(), title: title.to_owned(), status, detail: detail.to_owned() }
    }
}

impl Event {
    /// One state change.
    pub fn of(transition: &Transition) -> Self {
        Self {
            schema: SCHEMA,
            at: past(transition.at),
            account: transition.account.to_string(),
            from: transition.from.as_str().to_owned(),
            to: transition.to.as_str().to_owned(),
            reason: transition.reason.clone(),
            until: transition.until.map(deadline),
            action: transition.action.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::sample;

    #[test]
    fn an_answer_is_a_problem_document_exactly_when_the_command_was_not_done() {
        let said = || "the sentence".to_owned();
        let at = Some(sample::now());
        let json = |verdict| {
            let answer = account::Answer { verdict, at, said: said() };
            serde_json::to_value(Answer::of(&sample::name("personal"), Command::Poll, &answer)).unwrap()
        };
        let done = json(Verdict::Done);
        assert_eq!((&done["verdict"], &done["at"]), (&"done".into(), &"2026-11-25T12:15:00Z".into()));
        assert!(done.get("status").is_none() && done["until"].is_null());
        let wait = json(Verdict::Wait);
        assert_eq!((&wait["verdict"], &wait["until"]), (&"wait".into(), &"2026-11-25T12:15:00Z".into()));
        assert_eq!((&wait["status"], &wait["detail"], &wait["at"]), (&409.into(), &said().into(), &().into()));
        assert_eq!(json(Verdict::LoginNeeded)["status"], 403);
        for document in [done, wait] {
            let read: Answer = serde_json::from_value(document.clone()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), document);
        }
    }

    #[test]
    fn an_explanation_says_why_each_gate_is_as_it_is_and_when_it_goes_on() {
        let explanation = Explanation::of(&sample::throttled(), sample::now());
        assert_eq!(explanation.next_request_at, Some(sample::at("2026-11-25T12:20:00Z")));
        assert_eq!(
            explanation.why.usage,
            "the usage endpoint asked to be left alone 2 times in a row; nothing is sent until the wait is over"
        );
        assert_eq!(explanation.why.auth, "requests pass");
        let json = serde_json::to_string(&explanation).unwrap();
        assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap().account, explanation.account);
        assert!(json.contains(r#""status":429"#) && json.contains(r#"["retry-after","990"]"#), "{json}");
    }
}

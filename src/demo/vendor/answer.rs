//! Scripted weather: what an endpoint does instead of, or to, its normal answer.
//!
//! Owns the damage, not the meaning: a script decides whether a request is processed and what reaches the client,
//! and [`super::World`] supplies the normal answer where one is asked for.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::policy::time::Stamp;
use crate::provider::Reply;

/// What an endpoint does with one request. From [`Answer::Status`] to [`Answer::Hang`] the request is **not** processed
/// and no token changes hands; in all others it is.
#[derive(Debug, Clone, Default)]
pub enum Answer {
    /// What the vendor answers on a good day.
    #[default]
    Normal,
    /// This very answer.
    Status {
        /// HTTP status.
        code: u16,
        /// Headers, names in lower case; `date` and `content-length` are added where missing.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// 429 with the vendor's own body.
    RateLimited(RetryAfter),
    /// A challenge page of the edge, with this status; with 200 it looks like success.
    Html(u16),
    /// 307, which asks the client to send the same body elsewhere.
    Redirect(String),
    /// The connection is closed as soon as the request has been read.
    DropBefore,
    /// Nothing is sent and the connection stays open.
    Hang,
    /// The request is processed (a refresh token is rotated), then the connection is closed without an answer.
    LoseResponse,
    /// The request is processed, then answered with 500.
    ServerErrorAfter,
    /// The normal answer, broken off in the middle of its body.
    HalfBody,
    /// The normal answer, its body in sixteen pieces.
    Drip {
        /// World time before each piece.
        delay: Duration,
    },
    /// The normal answer, spoilt.
    Garbage(Garbage),
    /// The normal answer with its JSON changed, for the shapes of providers.md 1.2 and for missing fields.
    Edited(fn(&mut Value)),
}

/// Ways an answer can be spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Garbage {
    /// The first half of the JSON, its length declared as if it were whole.
    Truncated,
    /// Every top-level field has another type.
    WrongTypes,
    /// Good JSON, padded to more than 10 MiB.
    Huge,
    /// Every number is `NaN`, which is not JSON.
    Nan,
    /// Every number is `1e300` or `-40`, by turns.
    WildNumbers,
}

/// The `retry-after` header of a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// No header.
    Absent,
    /// `0`, which Anthropic sends for "budget exhausted" (claude-code#30930).
    Zero,
    /// Seconds.
    Seconds(u64),
    /// An HTTP date this far after the response's own `date`.
    Date(Duration),
    /// Any text.
    Text(&'static str),
}

/// What an endpoint will do: scripted answers first, each once, then the standing one, else [`Answer::Normal`].
#[derive(Debug, Clone, Default)]
pub struct Plan {
    queue: VecDeque<Answer>,
    standing: Answer,
}

impl Plan {
    /// Answers one more request this way, after those already queued.
    pub fn next(&mut self, answer: Answer) -> &mut Self {
        self.queue.push_back(answer);
        self
    }

    /// Answers every request this way once the queue is empty.
    pub fn always(&mut self, answer: Answer) -> &mut Self {
        self.standing = answer;
        self
    }

    /// Forgets queue and standing answer.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// What the next request will meet.
    pub(super) fn peek(&self) -> &Answer {
        self.queue.front().unwrap_or(&self.standing)
    }

    pub(super) fn take(&mut self) -> Answer {
        self.queue.pop_front().unwrap_or_else(|| self.standing.clone())
    }
}

/// What reaches the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A whole answer.
    Whole(Reply),
    /// Its head and half its body, then the end of the connection.
    Half(Reply),
    /// A whole answer, its body in sixteen pieces with this much world time before each.
    Drip(Reply, Duration),
    /// The end of the connection.
    Closed,
    /// Nothing, for as long as the client waits.
    Silence,
}

impl Delivery {
    /// The answer, whole or not.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Whole(reply) | Self::Half(reply) | Self::Drip(reply, _) => Some(reply),
            Self::Closed | Self::Silence => None,
        }
    }

    /// Its status.
    pub fn status(&self) -> Option<u16> {
        self.reply().map(|reply| reply.status)
    }

    /// Adds the vendor's `date`, unless a script brought its own.
    pub(super) fn dated(mut self, now: Stamp) -> Self {
        if let Self::Whole(reply) | Self::Half(reply) | Self::Drip(reply, _) = &mut self
            && reply.header("date").is_none()
        {
            reply.headers.push(("date".to_owned(), http_date(now)));
        }
        self
    }
}

impl Answer {
    /// Whether a request that meets it is processed, so that a refresh token changes hands.
    pub(super) fn is_processed(&self) -> bool {
        !matches!(
            self,
            Self::Status { .. }
                | Self::RateLimited(_)
                | Self::Html(_)
                | Self::Redirect(_)
                | Self::DropBefore
                | Self::Hang
        )
    }

    /// Carries the script out; `process` does what the endpoint is for and gives the normal answer.
    pub(super) fn deliver(self, now: Stamp, process: impl FnOnce() -> Reply) -> Delivery {
        match self {
            Self::Normal => Delivery::Whole(process()),
            Self::Status { code, headers, body } => {
                Delivery::Whole(Reply { status: code, headers, body: body.into_bytes() })
            }
            Self::RateLimited(retry_after) => Delivery::Whole(rate_limited(retry_after, now)),
            Self::Html(code) => Delivery::Whole(page(code)),
            Self::Redirect(url) => {
                Delivery::Whole(Reply { status: 307, headers: vec![("location".to_owned(), url)], body: Vec::new() })
            }
            Self::DropBefore => Delivery::Closed,
            Self::Hang => Delivery::Silence,
            Self::LoseResponse => {
                process();
                Delivery::Closed
            }
            Self::ServerErrorAfter => {
                process();
                Delivery::Whole(error(500, "api_error", "Internal server error"))
            }
            Self::HalfBody => Delivery::Half(process()),
            Self::Drip { delay } => Delivery::Drip(process(), delay),
            Self::Garbage(kind) => Delivery::Whole(kind.spoil(process())),
            Self::Edited(edit) => Delivery::Whole(edited(process(), edit)),
        }
    }
}

impl Garbage {
    fn spoil(self, mut reply: Reply) -> Reply {
        match self {
            Self::Truncated => {
                reply.body.truncate(reply.body.len() / 2);
                reply
            }
            Self::WrongTypes => edited(reply, |body| {
                body.as_object_mut().into_iter().flat_map(|fields| fields.values_mut()).for_each(mistype);
            }),
            Self::Huge => edited(reply, |body| body["padding"] = "x".repeat(10 << 20).into()),
            Self::Nan => {
                reply = edited(reply, |body| each_number(body, &mut |number| *number = "<NaN>".into()));
                reply.body = String::from_utf8_lossy(&reply.body).replace("\"<NaN>\"", "NaN").into_bytes();
                reply
            }
            Self::WildNumbers => edited(reply, |body| {
                let mut huge = false;
                each_number(body, &mut |number| {
                    huge = !huge;
                    *number = if huge { json!(1e300) } else { json!(-40) };
                });
            }),
        }
    }
}

fn mistype(value: &mut Value) {
    *value = match value {
        Value::String(_) => json!(7),
        Value::Object(_) | Value::Number(_) | Value::Bool(_) => json!("soon"),
        Value::Array(_) | Value::Null => json!({"unexpected": true}),
    };
}

fn each_number(value: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Number(_) => change(value),
        Value::Array(items) => items.iter_mut().for_each(|item| each_number(item, change)),
        Value::Object(fields) => fields.values_mut().for_each(|field| each_number(field, change)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The reply with its JSON changed; a body that is no JSON stays as it is.
fn edited(mut reply: Reply, edit: impl FnOnce(&mut Value)) -> Reply {
    if let Ok(mut body) = serde_json::from_slice(&reply.body) {
        edit(&mut body);
        reply.body = body.to_string().into_bytes();
    }
    reply
}

pub(super) fn json(status: u16, body: &Value) -> Reply {
    text(status, body.to_string())
}

/// The same, of a body already written.
pub(super) fn text(status: u16, body: String) -> Reply {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Reply { status, headers, body: body.into_bytes() }
}

/// The API's error envelope (providers.md 1.4).
pub(super) fn error(status: u16, kind: &str, message: &str) -> Reply {
    let error = json!({"type": kind, "message": message});
    json(status, &json!({"type": "error", "error": error, "request_id": "req_0000000000000000"}))
}

/// 429 as both endpoints word it: without the outer `type`.
pub(super) fn rate_limited(retry_after: RetryAfter, now: Stamp) -> Reply {
    let error = json!({"message": "Rate limited. Please try again later.", "type": "rate_limit_error"});
    let mut reply = json(429, &json!({ "error": error }));
    let header = match retry_after {
        RetryAfter::Absent => return reply,
        RetryAfter::Zero => "0".to_owned(),
        RetryAfter::Seconds(seconds) => seconds.to_string(),
        RetryAfter::Date(wait) => http_date(now + wait),
        RetryAfter::Text(text) => text.to_owned(),
    };
    reply.headers.push(("retry-after".to_owned(), header));
    reply
}

fn page(status: u16) -> Reply {
    let headers =
        [("content-type", "text/html; charset=UTF-8"), ("server", "cloudflare"), ("cf-mitigated", "challenge")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let body = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>".to_vec();
    Reply { status, headers: headers.to_vec(), body }
}

fn http_date(stamp: Stamp) -> String {
    httpdate::fmt_http_date(SystemTime::from(stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal() -> Reply {
        json(200, &json!({"access_token": "FAKE", "expires_in": 28_800, "limits": [{"percent": 14}]}))
    }

    fn delivered(answer: Answer) -> (Delivery, bool) {
        let mut processed = false;
        let delivery = answer.deliver(Stamp::UNIX_EPOCH, || {
            processed = true;
            normal()
        });
        (delivery, processed)
    }

    #[test]
    fn a_script_says_whether_the_request_is_processed_and_what_arrives() {
        for (answer, processed, status) in [
            (Answer::Normal, true, Some(200)),
            (Answer::Status { code: 418, headers: vec![], body: String::new() }, false, Some(418)),
            (Answer::RateLimited(RetryAfter::Zero), false, Some(429)),
            (Answer::Redirect("http://127.0.0.1:1/".to_owned()), false, Some(307)),
            (Answer::DropBefore, false, None),
            (Answer::Hang, false, None),
            (Answer::LoseResponse, true, None),
            (Answer::ServerErrorAfter, true, Some(500)),
            (Answer::HalfBody, true, Some(200)),
            (Answer::Drip { delay: Duration::ZERO }, true, Some(200)),
            (Answer::Html(200), false, Some(200)),
            (Answer::Garbage(Garbage::Truncated), true, Some(200)),
            (Answer::Edited(|body| body["limits"] = Value::Null), true, Some(200)),
        ] {
            let name = format!("{answer:?}");
            assert_eq!(answer.is_processed(), processed, "{name}");
            let (delivery, was_processed) = delivered(answer);
            assert_eq!((was_processed, delivery.status()), (processed, status), "{name}");
        }
    }

    #[test]
    fn every_kind_of_garbage_spoils_the_answer_in_its_own_way() {
        let body = |kind| {
            let (delivery, _) = delivered(Answer::Garbage(kind));
            String::from_utf8(delivery.reply().unwrap().body.clone()).unwrap()
        };
        let parsed = |kind| serde_json::from_str::<Value>(&body(kind)).ok();
        assert_eq!(parsed(Garbage::Truncated), None);
        assert_eq!(parsed(Garbage::Nan), None);
        assert!(body(Garbage::Nan).contains("\"expires_in\":NaN"));
        let wrong = json!({"access_token": 7, "expires_in": "soon", "limits": {"unexpected": true}});
        assert_eq!(parsed(Garbage::WrongTypes), Some(wrong));
        let wild = json!({"access_token": "FAKE", "expires_in": 1e300, "limits": [{"percent": -40}]});
        assert_eq!(parsed(Garbage::WildNumbers), Some(wild));
        assert!(body(Garbage::Huge).len() > 10 << 20);
    }

    #[test]
    fn retry_after_takes_every_form() {
        let header = |form| rate_limited(form, Stamp::UNIX_EPOCH).header("retry-after").map(str::to_owned);
        assert_eq!(header(RetryAfter::Absent), None);
        assert_eq!(header(RetryAfter::Zero).unwrap(), "0");
        assert_eq!(header(RetryAfter::Seconds(990)).unwrap(), "990");
        assert_eq!(header(RetryAfter::Text("soon")).unwrap(), "soon");
        assert_eq!(header(RetryAfter::Date(Duration::from_secs(990))).unwrap(), "Thu, 01 Jan 1970 00:16:30 GMT");
    }

    #[test]
    fn queued_answers_come_first_and_once_then_the_standing_one() {
        let mut plan = Plan::default();
        plan.next(Answer::DropBefore).always(Answer::Hang);
        assert!(matches!(plan.take(), Answer::DropBefore));
        assert!(matches!(plan.take(), Answer::Hang));
        assert!(matches!(plan.take(), Answer::Hang));
        plan.clear();
        assert!(matches!(plan.take(), Answer::Normal));
    }
}

//! The client's end of `GET /v1/events`: every state change as it happens.
//!
//! Owns the reading of server-sent events. Holds one connection and asks nothing on its own; when it breaks, whoever
//! reads it decides whether to come back.

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, StatusCode};

use super::client::{Client, ClientError};
use super::reply::Event;

/// Bytes that one event may take.
const LARGEST: usize = 64 * 1024;

/// What the stream tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The state of an account changed.
    Changed(Box<Event>),
    /// Something that this version does not know, or that some changes were missed: look at the status.
    Other,
}

/// The open stream.
#[derive(Debug)]
pub struct Events {
    client: Client,
    body: Incoming,
    ahead: Vec<u8>,
    /// Keeps the connection.
    _sender: SendRequest<http_body_util::Full<Bytes>>,
}

impl Client {
    /// [`Self::events`], within the time that every answer has.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events_in_time(&self) -> Result<Events, ClientError> {
        self.in_time(self.events()).await
    }

    /// Listens for state changes from now on. The caller's to bound.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn events(&self) -> Result<Events, ClientError> {
        let (sender, response) = self.send(Method::GET, "/v1/events", Bytes::new()).await?;
        if response.status() != StatusCode::OK {
            let body = response.into_body().collect().await.map_err(|error| self.garbled(&error))?;
            return Err(self.refused(&body.to_bytes()));
        }
        Ok(Events { client: self.clone(), body: response.into_body(), ahead: Vec::new(), _sender: sender })
    }
}

impl Events {
    /// The next event. Safe to cancel.
    ///
    /// # Errors
    /// The stream has ended, as it does when the daemon stops, or cannot be read.
    pub async fn next(&mut self) -> Result<Told, ClientError> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\n\n") {
                let rest = self.ahead.split_off(end + 2);
                let message = std::mem::replace(&mut self.ahead, rest);
                return Ok(read(&String::from_utf8_lossy(&message)));
            }
            if self.ahead.len() > LARGEST {
                return Err(self.client.garbled(&"an event without an end"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.ahead.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                Some(Err(_)) | None => return Err(ClientError::NoDaemon(self.client.socket().to_owned())),
            }
        }
    }
}

/// One message of the stream.
fn read(message: &str) -> Told {
    let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let event = field("event").filter(|event| *event == "state-changed").and_then(|_| field("data"));
    let event = event.and_then(|data| serde_json::from_str(data).ok());
    event.map_or(Told::Other, |event| Told::Changed(Box::new(event)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_change_is_read_and_anything_else_is_a_reason_to_look() {
        let data = r#"{"schema":1,"at":"2026-11-25T12:15:00Z","account":"personal","from":"ok","to":"throttled","reason":"r","until":null,"action":"a","mood":1}"#;
        let Told::Changed(event) = read(&format!("event: state-changed\ndata: {data}\n\n")) else {
            panic!("a state change");
        };
        assert_eq!((event.account.as_str(), event.to.as_str()), ("personal", "throttled"));
        for message in ["event: lagged\ndata: {\"missed\":2}\n\n", "event: state-changed\ndata: {}\n\n", ": hello\n\n"]
        {
            assert_eq!(read(message), Told::Other, "{message}");
        }
    }
}

//! As much HTTP/1.1 as a vendor needs, and the ways of breaking it that no server library offers.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use super::answer::Delivery;
use super::{CLIENT_ID, TOKEN_PATH, USAGE_PATH};
use crate::provider::Reply;

/// One request as it arrived.
#[derive(Clone)]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// The request target.
    pub path: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// When it had been read.
    pub arrived: Instant,
}

impl Request {
    /// The usage request of a well-behaved client.
    pub fn usage(access: &str) -> Self {
        let headers =
            [("authorization", format!("Bearer {access}")), ("anthropic-beta", "oauth-2025-04-20".to_owned())];
        Self::new("GET", USAGE_PATH, headers.to_vec(), String::new())
    }

    /// The refresh of a well-behaved client.
    pub fn refresh(refresh: &str) -> Self {
        let body = serde_json::json!(
            {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": CLIENT_ID}
        );
        Self::new("POST", TOKEN_PATH, vec![("content-type", "application/json".to_owned())], body.to_string())
    }

    fn new(method: &str, path: &str, headers: Vec<(&str, String)>, body: String) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let (method, path) = (method.to_owned(), path.to_owned());
        Self { method, path, headers, body: body.into_bytes(), arrived: Instant::now() }
    }

    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The bearer token, which may be empty; `None` without an authorization header.
    pub(super) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer").map(str::trim)
    }

    pub(super) fn is_json(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.starts_with("application/json"))
    }

    /// The text fields of a JSON or form body; `None` for a body that is neither, or not what its type says.
    pub(super) fn fields(&self) -> Option<BTreeMap<String, String>> {
        if self.is_json() {
            let body: BTreeMap<String, Value> = serde_json::from_slice(&self.body).ok()?;
            return Some(
                body.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect(),
            );
        }
        let form = self.header("content-type")?.starts_with("application/x-www-form-urlencoded");
        let body = form.then(|| str::from_utf8(&self.body).ok()).flatten()?;
        body.split('&').map(|pair| pair.split_once('=').and_then(|(n, v)| Some((decoded(n)?, decoded(v)?)))).collect()
    }

    fn ends_connection(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Undoes the form encoding of one name or value.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(plain).ok()
}

/// Serves one connection to its end. `answer` decides; `speed` is how much faster than real time the world's clock runs.
pub(super) async fn converse(
    stream: TcpStream,
    speed: u32,
    mut answer: impl FnMut(&Request) -> Delivery,
) -> io::Result<()> {
    let mut stream = BufStream::new(stream);
    while let Some(request) = read(&mut stream).await? {
        match answer(&request) {
            Delivery::Whole(reply) => {
                stream.write_all(&head(&reply)).await?;
                stream.write_all(&reply.body).await?;
            }
            Delivery::Half(reply) => {
                stream.write_all(&head(&reply)).await?;
                stream.write_all(&reply.body[..reply.body.len() / 2]).await?;
                return stream.flush().await;
            }
            Delivery::Drip(reply, delay) => drip(&mut stream, &reply, delay / speed).await?,
            Delivery::Closed => return Ok(()),
            Delivery::Silence => {
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            }
        }
        stream.flush().await?;
        if request.ends_connection() {
            break;
        }
    }
    stream.shutdown().await
}

/// The next request; `None` once the client has closed the connection.
async fn read(stream: &mut BufStream<TcpStream>) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let mut lines = head.iter();
    let mut first = lines.next().map(|line| line.split(' ')).into_iter().flatten();
    let (Some(method), Some(path)) = (first.next(), first.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut request = Request { method, path, headers, body: Vec::new(), arrived: Instant::now() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    stream.take(length).read_to_end(&mut request.body).await?;
    request.arrived = Instant::now();
    Ok(Some(request))
}

fn head(reply: &Reply) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} \r\n", reply.status);
    for (name, value) in &reply.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    if reply.header("content-length").is_none() {
        head.extend(["content-length: ", &reply.body.len().to_string(), "\r\n"]);
    }
    head.push_str("\r\n");
    head.into_bytes()
}

async fn drip(stream: &mut BufStream<TcpStream>, reply: &Reply, delay: Duration) -> io::Result<()> {
    stream.write_all(&head(reply)).await?;
    for piece in reply.body.chunks(reply.body.len().div_ceil(16).max(1)) {
        stream.flush().await?;
        tokio::time::sleep(delay).await;
        stream.write_all(piece).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_form_bodies_say_the_same() {
        let body = |kind: &str, body: &str| {
            let headers = vec![("content-type", kind.to_owned())];
            Request::new("POST", TOKEN_PATH, headers, body.to_owned()).fields()
        };
        let fields = BTreeMap::from([("a".to_owned(), "b c:d".to_owned()), ("e".to_owned(), String::new())]);
        assert_eq!(body("application/json", r#"{"a": "b c:d", "e": "", "n": 1}"#), Some(fields.clone()));
        assert_eq!(body("application/x-www-form-urlencoded", "a=b+c%3Ad&e="), Some(fields));
        for (kind, broken) in [
            ("application/json", "a=b"),
            ("application/x-www-form-urlencoded", r#"{"a": "b"}"#),
            ("application/x-www-form-urlencoded", "a=%4"),
            ("text/plain", "a=b"),
        ] {
            assert_eq!(body(kind, broken), None, "{kind} {broken}");
        }
    }
}

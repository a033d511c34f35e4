//! A URL that alerts are posted to, as JSON or the way ntfy takes them. The bearer token is read from its file at each
//! use, and goes from there to the transport unseen.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::SecretString;

use super::message::Message;
use super::{Undelivered, document};
use crate::clock;
use crate::config::{Webhook, WebhookFormat};
use crate::credential::token_file;
use crate::policy::alert::{Alert, Severity};
use crate::provider::exchange::Broken;
use crate::provider::{Method, Request, SecretPlace, origin};
use crate::transport::Transport;

/// What may be shown of a URL whose path or query may be a secret.
pub(super) fn shown(url: &str) -> String {
    origin(url).to_owned()
}

pub(super) async fn deliver(
    alert: &Alert,
    webhook: &Webhook,
    transport: &Transport,
    limit: Duration,
) -> Result<String, Undelivered> {
    let token = match webhook.token_file.clone() {
        None => None,
        // A file system can be slow.
        Some(path) => {
            let read = tokio::time::timeout(limit, tokio::task::spawn_blocking(move || token_file::read(&path))).await;
            let unread = || Undelivered::certainly("the token file could not be read in time");
            let read = read.map_err(|_| unread())?.map_err(|_| unread())?;
            Some(read.map_err(Undelivered::certainly)?)
        }
    };
    let request = request(alert, webhook, token.is_some());
    let answer = transport.send(&request, &token.unwrap_or_else(|| SecretString::from("")), limit).await;
    let host = shown(&webhook.url);
    match answer {
        Ok(reply) if (200..300).contains(&reply.status) => Ok(format!("{host} answered {}", reply.status)),
        // It says itself that it did nothing.
        Ok(reply) if matches!(reply.status, 429 | 503) => {
            Err(Undelivered::certainly(format!("{host} answered {}", reply.status)))
        }
        Ok(reply) => Err(Undelivered::perhaps(format!("{host} answered {}", reply.status))),
        Err(Broken::Offline) => Err(Undelivered::certainly("this machine has no network")),
        Err(Broken::Connect) => Err(Undelivered::certainly(format!("{host} took no connection"))),
        Err(Broken::Unsendable) => {
            Err(Undelivered::certainly("the request cannot be written; check its URL and token"))
        }
        Err(Broken::Cut(_)) => {
            Err(Undelivered::perhaps(format!("no whole answer of {host} within {} s", limit.as_secs())))
        }
        Err(Broken::TooLong) => Err(Undelivered::perhaps(format!("{host} answered more than 1 MiB"))),
    }
}

fn request(alert: &Alert, webhook: &Webhook, has_token: bool) -> Request {
    let mut headers = vec![("user-agent", format!("quotad/{}", env!("CARGO_PKG_VERSION")))];
    let body = match webhook.format {
        WebhookFormat::Json => {
            headers.push(("content-type", "application/json".to_owned()));
            document(alert).to_string()
        }
        WebhookFormat::Ntfy => {
            let message = Message::of(alert, &clock::zone());
            let (priority, tag) = match alert.kind.severity() {
                Severity::Info => ("3", "information_source"),
                Severity::Warning => ("4", "warning"),
                Severity::Urgent => ("5", "rotating_light"),
            };
            headers.push(("content-type", "text/plain; charset=utf-8".to_owned()));
            headers.push(("title", header(&message.title)));
            headers.push(("priority", priority.to_owned()));
            headers.push(("tags", tag.to_owned()));
            message.text
        }
    };
    let secret = if has_token { SecretPlace::Bearer } else { SecretPlace::Nowhere };
    Request { method: Method::Post, url: webhook.url.clone(), headers, body: Some(body), secret }
}

/// Text as a header may carry it: what is not ASCII is encoded (RFC 2047), which ntfy reads.
fn header(text: &str) -> String {
    if text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        return text.to_owned();
    }
    format!("=?UTF-8?B?{}?=", BASE64_STANDARD.encode(text))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::sample;
    use super::*;
    use crate::transport::Network;

    const LIMIT: Duration = Duration::from_millis(500);

    /// Delivers to a server that answers with these words, or never; what it heard.
    async fn posted(
        format: WebhookFormat,
        token: Option<&str>,
        answer: Option<&str>,
    ) -> (Result<String, Undelivered>, String) {
        let dir = tempfile::tempdir().unwrap();
        let token_file = token.map(|token| {
            let path = dir.path().join("token");
            fs::write(&path, token).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/topic-FAKE", listener.local_addr().unwrap());
        let webhook = Webhook { url, format, token_file };
        let answer = answer.map(str::to_owned);
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 65536];
            let mut length = 0;
            // Until the body is there: the last byte is that of the text or of the document.
            while !heard[..length].ends_with(b".") && !heard[..length].ends_with(b"}") {
                length += stream.read(&mut heard[length..]).await.unwrap();
            }
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                None => tokio::time::sleep(LIMIT * 4).await,
            }
            String::from_utf8(heard[..length].to_vec()).unwrap()
        });
        let transport = Transport::new(Network::default()).unwrap();
        let result = deliver(&sample::threshold(), &webhook, &transport, LIMIT).await;
        (result, server.await.unwrap())
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

    #[tokio::test]
    async fn json_is_posted_with_the_token_of_its_file() {
        let (result, heard) = posted(WebhookFormat::Json, Some("tk_FAKE\n"), Some(OK)).await;
        assert!(result.unwrap().ends_with("answered 200"));
        let (top, body) = heard.split_once("\r\n\r\n").unwrap();
        assert!(top.starts_with("POST /topic-FAKE HTTP/1.1\r\n"), "{top}");
        assert!(
            top.contains("authorization: Bearer tk_FAKE\r\n") && top.contains("content-type: application/json"),
            "{top}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), document(&sample::threshold()));
    }

    #[tokio::test]
    async fn ntfy_gets_title_priority_and_text() {
        let (result, heard) = posted(WebhookFormat::Ntfy, None, Some(OK)).await;
        result.unwrap();
        assert!(heard.contains("title: personal: 5-hour window 96% used\r\n"), "{heard}");
        assert!(heard.contains("priority: 4\r\n") && heard.contains("tags: warning\r\n"), "{heard}");
        assert!(!heard.contains("authorization") && heard.contains("\r\n\r\nOver 95%; starts over "), "{heard}");
        assert_eq!(header("5-Stunden: läuft"), "=?UTF-8?B?NS1TdHVuZGVuOiBsw6R1ZnQ=?=");
    }

    #[tokio::test]
    async fn a_refusal_a_silence_and_a_closed_port_are_told_apart_and_no_path_is_shown() {
        for (answer, is_certain, says) in [
            (Some("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"), true, "answered 503"),
            (Some("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"), false, "answered 404"),
            (Some("HTTP/1.1 302 No\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n"), false, "answered 302"),
            (None, false, "no whole answer"),
        ] {
            let failed = posted(WebhookFormat::Json, None, answer).await.0.unwrap_err();
            assert_eq!(failed.is_certain, is_certain, "{failed}");
            assert!(failed.said.contains(says) && !failed.said.contains("topic-FAKE"), "{failed}");
        }
        let transport = Transport::new(Network::default()).unwrap();
        let nobody =
            Webhook { url: "http://127.0.0.1:1/topic-FAKE".into(), format: WebhookFormat::Json, token_file: None };
        let closed = deliver(&sample::threshold(), &nobody, &transport, LIMIT).await.unwrap_err();
        assert!(closed.is_certain && closed.said == "http://127.0.0.1:1 took no connection", "{closed}");
    }

    #[tokio::test]
    async fn without_a_private_token_file_nothing_is_sent() {
        let transport = Transport::new(Network::default()).unwrap();
        let token_file = Some("/no/such/token".into());
        let webhook = Webhook { url: "http://127.0.0.1:1/".into(), format: WebhookFormat::Json, token_file };
        let refused = deliver(&sample::threshold(), &webhook, &transport, LIMIT).await.unwrap_err();
        assert!(refused.is_certain && refused.said.contains("could not read /no/such/token"), "{refused}");
    }
}

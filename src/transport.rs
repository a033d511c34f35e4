//! The one HTTP client: a [`Request`] and a secret in, a whole [`Reply`] or the way it failed out.
//!
//! Owns connections, TLS, proxies, deadlines and the size cap, and is one of the two places where a secret is
//! exposed. Never lets an answer repeat it. Never retries, never follows a redirect, never keeps a connection: the
//! policy retries, a token must not leave for another host, and only on a fresh connection does a connect error prove
//! that nothing was sent.

use std::collections::HashSet;
use std::error::Error as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use memchr::memmem;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, ClientBuilder, Proxy, Url};
use secrecy::{ExposeSecret as _, SecretString};

use crate::provider::exchange::Broken;
use crate::provider::{Method, Reply, Request, SecretPlace, TokenEncoding, is_loopback};

/// Longer answers are not read.
const BODY_CAP: usize = 1 << 20;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// How requests leave this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// The proxy; `None` takes it from the environment. Loopback never uses one.
    pub proxy: Option<String>,
    /// Certificates to trust besides the system's, as a PEM file.
    pub ca_file: Option<PathBuf>,
}

/// Why the client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The CA file.
    #[error("could not use the CA file {}: {cause}; give a PEM file, or remove `ca-file`", .path.display())]
    CaFile {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The proxy.
    #[error("could not use the proxy {url}: {cause}; give a URL such as http://proxy:3128")]
    Proxy {
        /// Which, without its password.
        url: String,
        /// Why.
        cause: String,
    },
    /// TLS.
    #[error("could not set up TLS: {0}")]
    Tls(String),
}

/// The one client. Made of two: what leaves the machine may use a proxy, loopback never does.
#[derive(Debug)]
pub struct Transport {
    network: Network,
    outward: OnceLock<Client>,
    loopback: OnceLock<Client>,
}

impl Transport {
    /// A transport over this network. The clients are made at their first use, so that a daemon with nothing to ask
    /// loads no certificates.
    ///
    /// # Errors
    /// When the CA file or the proxy cannot be used.
    pub fn new(network: Network) -> Result<Self, NetworkError> {
        let transport = Self { network, outward: OnceLock::new(), loopback: OnceLock::new() };
        if transport.network != Network::default() {
            transport.client(false)?;
        }
        Ok(transport)
    }

    /// Sends one request with its secret and reads the whole answer within `deadline`.
    ///
    /// # Errors
    /// [`Broken`], which tells what was certainly not sent from what may have been.
    pub async fn send(&self, request: &Request, secret: &SecretString, deadline: Duration) -> Result<Reply, Broken> {
        let mut answer = self.exchange(request, secret, deadline).await;
        if let Ok(reply) | Err(Broken::Cut(Some(reply))) = &mut answer {
            withhold_echoes(reply, &request.secret, secret);
        }
        answer
    }

    async fn exchange(&self, request: &Request, secret: &SecretString, deadline: Duration) -> Result<Reply, Broken> {
        let client = self.client(is_loopback(&request.url)).map_err(|_| Broken::Unsendable)?;
        let mut builder = match request.method {
            Method::Get => client.get(&request.url),
            Method::Post => client.post(&request.url),
        };
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        builder = match &request.secret {
            SecretPlace::Nowhere => builder,
            SecretPlace::Bearer => builder.header(AUTHORIZATION, sensitive("Bearer ", secret)?),
            SecretPlace::Header { name, prefix } => builder.header(name.as_ref(), sensitive(prefix, secret)?),
            SecretPlace::Field { name, others, encoding } => {
                let fields = others.iter().map(|(name, value)| (*name, value.as_str()));
                let fields = fields.chain([(*name, secret.expose_secret())]);
                let (content_type, body) = write_body(fields, *encoding);
                if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                    builder = builder.header(CONTENT_TYPE, content_type);
                }
                builder.body(body)
            }
        };
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let mut response = builder.timeout(deadline).send().await.map_err(|error| classify(&error))?;
        let mut reply = Reply { status: response.status().as_u16(), headers: Vec::new(), body: Vec::new() };
        for (name, value) in response.headers() {
            if let Ok(value) = value.to_str() {
                reply.headers.push((name.as_str().to_owned(), value.to_owned()));
            }
        }
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if reply.body.len() + chunk.len() > BODY_CAP => return Err(Broken::TooLong),
                Ok(Some(chunk)) => reply.body.extend_from_slice(&chunk),
                Ok(None) => return Ok(reply),
                Err(_) => return Err(Broken::Cut(Some(reply))),
            }
        }
    }

    fn client(&self, loopback: bool) -> Result<&Client, NetworkError> {
        let slot = if loopback { &self.loopback } else { &self.outward };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = build(&self.network, loopback)?;
        Ok(slot.get_or_init(|| client))
    }
}

fn build(network: &Network, loopback: bool) -> Result<Client, NetworkError> {
    let mut builder = ClientBuilder::new()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_max_idle_per_host(0)
        // A connection lives no longer than its one request.
        .tcp_keepalive(None)
        .tcp_keepalive_interval(None)
        .tcp_keepalive_retries(None);
    if loopback {
        builder = builder.no_proxy();
    } else {
        builder = builder.https_only(true);
        if let Some(url) = &network.proxy {
            let proxy = Proxy::all(url).map_err(|cause| NetworkError::Proxy {
                url: url.rsplit_once('@').map_or(url.as_str(), |(_, host)| host).to_owned(),
                cause: cause.without_url().to_string(),
            })?;
            builder = builder.proxy(proxy);
        }
    }
    if let Some(path) = &network.ca_file {
        let bad = |cause: String| NetworkError::CaFile { path: path.clone(), cause };
        let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| bad(error.to_string()))?;
        if certificates.is_empty() {
            return Err(bad("it holds no certificate".to_owned()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| NetworkError::Tls(error.to_string()))
}

fn sensitive(prefix: &str, secret: &SecretString) -> Result<HeaderValue, Broken> {
    let text = format!("{prefix}{}", secret.expose_secret());
    let mut value = HeaderValue::try_from(text).map_err(|_| Broken::Unsendable)?;
    value.set_sensitive(true);
    Ok(value)
}

fn write_body<'a>(
    fields: impl Iterator<Item = (&'static str, &'a str)>,
    encoding: TokenEncoding,
) -> (&'static str, String) {
    match encoding {
        TokenEncoding::Json => {
            let object: serde_json::Map<String, serde_json::Value> =
                fields.map(|(name, value)| (name.to_owned(), value.into())).collect();
            ("application/json", serde_json::Value::Object(object).to_string())
        }
        TokenEncoding::Form => {
            let mut url = Url::parse("form:").unwrap_or_else(|_| unreachable!("a constant URL parses"));
            url.query_pairs_mut().extend_pairs(fields);
            ("application/x-www-form-urlencoded", url.query().unwrap_or_default().to_owned())
        }
    }
}

/// So much of a secret, found in an answer, is an echo of it.
const ECHO: usize = 12;

/// Stars out what the server repeats of the secret: headers and names from the body are shown by `explain` and
/// `status`. The body of a token answer stays as it is, since it may rightly grant the same refresh token again; none
/// of its text is shown anywhere.
fn withhold_echoes(reply: &mut Reply, place: &SecretPlace, secret: &SecretString) {
    // Every echo holds one of these blocks whole. Hardly any answer does, and to look for them costs next to nothing;
    // to hash an answer at every byte was a twentieth of the CPU of a poll.
    let holds_block = |text: &[u8]| {
        let mut blocks = secret.expose_secret().as_bytes().chunks_exact(ECHO / 2);
        blocks.any(|block| memmem::find(text, block).is_some())
    };
    if !holds_block(&reply.body) && !reply.headers.iter().any(|(_, value)| holds_block(value.as_bytes())) {
        return;
    }
    let pieces: HashSet<&[u8]> = secret.expose_secret().as_bytes().windows(ECHO).collect();
    for (_, value) in &mut reply.headers {
        if value.as_bytes().windows(ECHO).any(|piece| pieces.contains(piece)) {
            "withheld".clone_into(value);
        }
    }
    if !matches!(place, SecretPlace::Field { .. }) {
        let is_echo = |at: &usize| pieces.contains(&reply.body[*at..*at + ECHO]);
        let echoes: Vec<usize> = (0..(reply.body.len() + 1).saturating_sub(ECHO)).filter(is_echo).collect();
        for at in echoes {
            reply.body[at..at + ECHO].fill(b'*');
        }
    }
}

/// What an error says about where the request was when it failed.
fn classify(error: &reqwest::Error) -> Broken {
    if error.is_builder() {
        return Broken::Unsendable;
    }
    if !error.is_connect() {
        return Broken::Cut(None);
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind;
            if matches!(io.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::NetworkDown)
            {
                return Broken::Offline;
            }
        }
        // hyper-util names the phase only in its text.
        if cause.to_string().starts_with("dns error") {
            return Broken::Offline;
        }
        source = cause.source();
    }
    Broken::Connect
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_escapes_what_a_token_may_hold_and_json_quotes_it() {
        let fields = || [("grant_type", "refresh_token"), ("refresh_token", "a+b&c=\"d\"")].into_iter();
        assert_eq!(
            write_body(fields(), TokenEncoding::Form).1,
            "grant_type=refresh_token&refresh_token=a%2Bb%26c%3D%22d%22"
        );
        assert_eq!(
            write_body(fields(), TokenEncoding::Json).1,
            r#"{"grant_type":"refresh_token","refresh_token":"a+b&c=\"d\""}"#
        );
    }

    #[test]
    fn what_a_server_repeats_of_a_secret_is_withheld_and_nothing_else() {
        let secret = SecretString::from("sk-ant-oat01-FAKE-0123456789abcdef");
        let reply = || Reply {
            status: 200,
            headers: vec![("request-id".into(), "req_FAKE-0123456789".into()), ("retry-after".into(), "990".into())],
            body: br#"{"limits":[{"kind":"sk-ant-oat01-FAKE-0123456789abcdef","percent":41}]}"#.to_vec(),
        };
        let (mut usage, mut token) = (reply(), reply());
        withhold_echoes(&mut usage, &SecretPlace::Bearer, &secret);
        assert_eq!(usage.headers, [("request-id".into(), "withheld".into()), ("retry-after".into(), "990".into())]);
        let starred = format!(r#"{{"limits":[{{"kind":"{}","percent":41}}]}}"#, "*".repeat(34));
        assert_eq!(String::from_utf8(usage.body).unwrap(), starred);
        let field = SecretPlace::Field { name: "refresh_token", others: Vec::new(), encoding: TokenEncoding::Json };
        withhold_echoes(&mut token, &field, &secret);
        assert_eq!((token.header("request-id"), &token.body), (Some("withheld"), &reply().body));
        let mut empty = Reply { body: b"short".to_vec(), ..reply() };
        withhold_echoes(&mut empty, &SecretPlace::Bearer, &secret);
        assert_eq!(empty.body, b"short");
    }

    #[test]
    fn an_unusable_ca_file_or_proxy_is_said_before_the_first_request() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "no certificate").unwrap();
        let network = Network { ca_file: Some(path), ..Network::default() };
        assert!(Transport::new(network).unwrap_err().to_string().contains("ca.pem"));
        let network = Network { proxy: Some("http://user:FAKE-PASSWORD@[".into()), ..Network::default() };
        let error = Transport::new(network).unwrap_err().to_string();
        assert!(error.contains("could not use the proxy") && !error.contains("FAKE-PASSWORD"), "{error}");
    }
}

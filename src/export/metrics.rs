//! `GET /metrics`: the snapshot as Prometheus reads it.
//!
//! Owns metric names and labels, which are the contract's. Holds no registry between scrapes: each scrape renders one
//! snapshot, so a metric cannot disagree with `status`. What is not known is left out, because every number that could
//! stand for "unknown" would be drawn as if it were one.
//!
//! `prometheus-client` writes `OpenMetrics`; the older text format names counters with their suffix in the header and
//! knows no info type. `Page::counter` and `Page::info` are all the difference there is.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::model::Window;
use crate::policy::status::{AccountState, AccountView, GateView};
use crate::policy::time::Stamp;
use crate::supervisor::handle::{Handle, Snapshot, TIMING_BOUNDS};

/// The two text formats a scraper may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The Prometheus text format: what everything reads.
    Text,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The format an `Accept` header asks for.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The route, for [`crate::control::server::serve`].
pub fn route() -> Router<Handle> {
    Router::new().route("/metrics", get(scrape))
}

async fn scrape(State(handle): State<Handle>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    ([(header::CONTENT_TYPE, format.content_type())], render(handle.snapshot(), handle.now(), format))
}

/// The snapshot, looked at `now`, as a page of metrics.
pub fn render(snapshot: Arc<Snapshot>, now: Stamp, format: Format) -> String {
    let mut registry = Registry::with_prefix("quotad");
    registry.register_collector(Box::new(Scrape { snapshot, now, format }));
    let mut page = String::new();
    let written = match format {
        Format::Text => encode_registry(&mut page, &registry),
        Format::OpenMetrics => encode(&mut page, &registry),
    };
    // Writing into a String cannot fail; a page cut short would be refused by the scraper as a whole.
    written.map_or_else(|fmt::Error| String::new(), |()| page)
}

#[derive(Debug)]
struct Scrape {
    snapshot: Arc<Snapshot>,
    now: Stamp,
    format: Format,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page { encoder, format: self.format };
        self.windows(&mut page)?;
        self.accounts(&mut page)?;
        self.gates(&mut page)?;
        self.traffic(&mut page)?;
        page.info("build", "What is running", [("version", self.snapshot.version)])
    }
}

impl Scrape {
    fn windows(&self, page: &mut Page) -> fmt::Result {
        let windows = || self.snapshot.accounts.iter().flat_map(|account| distinct_windows(account));
        page.gauge(
            "window_used_ratio",
            "Share of the window that is used, 1 is all of it; absent once its reset has passed",
            windows()
                .filter(|(_, window)| window.resets_at.is_none_or(|at| at > self.now))
                .filter_map(|(account, window)| Some((window_labels(account, window), window.used_percent? / 100.0))),
        )?;
        page.gauge(
            "window_resets_timestamp_seconds",
            "When the window starts over",
            windows()
                .filter_map(|(account, window)| Some((window_labels(account, window), seconds(window.resets_at?)))),
        )
    }

    fn accounts(&self, page: &mut Page) -> fmt::Result {
        let accounts = || self.snapshot.accounts.iter().map(|account| (account, account.name.as_str()));
        page.gauge(
            "reading_timestamp_seconds",
            "When the last reading was true",
            accounts().filter_map(|(a, name)| Some(([("account", name)], seconds(a.reading.as_ref()?.read_at)))),
        )?;
        page.gauge(
            "account_state",
            "1 for the state the account is in, 0 for the others",
            accounts().flat_map(|(account, name)| {
                AccountState::ALL
                    .map(|state| ([("account", name), ("state", state.as_str())], i64::from(account.state == state)))
            }),
        )?;
        page.gauge(
            "credential_expiry_timestamp_seconds",
            "When the access token expires",
            accounts().filter_map(|(a, name)| Some(([("account", name)], seconds(a.credentials.expires_at?)))),
        )?;
        page.gauge(
            "login_ends_timestamp_seconds",
            "When the login itself ends",
            accounts().filter_map(|(a, name)| Some(([("account", name)], seconds(a.credentials.login_ends_at?)))),
        )?;
        page.gauge(
            "watch_healthy",
            "Whether changes of the credential file are seen at once (1) or at the next poll only (0)",
            accounts().map(|(account, name)| {
                ([("account", name)], i64::from(!self.snapshot.unwatched.contains(&account.name)))
            }),
        )
    }

    fn gates(&self, page: &mut Page) -> fmt::Result {
        let gates = || self.snapshot.accounts.iter().flat_map(|account| gates_of(account));
        page.gauge(
            "gate_until_timestamp_seconds",
            "When the gate lets the next request through; absent while it does",
            gates().filter_map(|(labels, gate)| Some((labels, seconds(gate.until?)))),
        )?;
        page.gauge(
            "gate_rung",
            "The rung of the cooldown ladder the gate stands on, from 0; absent while it is clear",
            gates().filter_map(|(labels, gate)| Some((labels, i64::from(gate.rung?)))),
        )
    }

    fn traffic(&self, page: &mut Page) -> fmt::Result {
        let traffic = &self.snapshot.traffic;
        page.counter(
            "requests",
            "Requests sent, by what they came to",
            traffic.requests.iter().map(|((account, endpoint, outcome), count)| {
                ([("account", account.as_str()), ("endpoint", endpoint.as_str()), ("outcome", *outcome)], *count)
            }),
        )?;
        page.counter(
            "refreshes",
            "Refreshes tried, by what they came to",
            traffic
                .refreshes
                .iter()
                .map(|((account, outcome), count)| ([("account", account.as_str()), ("outcome", *outcome)], *count)),
        )?;
        let help = "How long requests took, from sending to the whole answer";
        let mut family =
            page.encoder.encode_descriptor("request_duration_seconds", help, None, MetricType::Histogram)?;
        traffic.timings.iter().try_for_each(|(endpoint, timing)| {
            let bounds = TIMING_BOUNDS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(timing.buckets).collect();
            let count = timing.buckets.iter().sum();
            let labels = [("endpoint", endpoint.as_str())];
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(timing.sum_seconds, count, &buckets, None)
        })
    }
}

type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// An account's windows, each id once: a second sample of the same name would make the scraper refuse the whole page.
fn distinct_windows(account: &AccountView) -> impl Iterator<Item = (&AccountView, &Window)> {
    let windows: Vec<_> =
        account.reading.iter().flat_map(|reading| reading.every_window()).map(|(_, window)| window).collect();
    let mut seen = BTreeSet::new();
    windows.into_iter().filter(move |window| seen.insert(&window.id)).map(move |window| (account, window))
}

fn window_labels<'a>(account: &'a AccountView, window: &'a Window) -> Labels<'a, 3> {
    [("account", account.name.as_str()), ("provider", account.provider.as_str()), ("window", &window.id)]
}

fn gates_of(account: &AccountView) -> [(Labels<'_, 2>, &GateView); 3] {
    [("usage", &account.usage_gate), ("token", &account.token_gate), ("auth", &account.auth_gate)]
        .map(|(name, gate)| ([("account", account.name.as_str()), ("gate", name)], gate))
}

fn seconds(stamp: Stamp) -> f64 {
    stamp.as_millisecond() as f64 / 1000.0
}

/// The metrics written so far.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
    format: Format,
}

impl Page<'_> {
    fn gauge<'a, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a, N>, V)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        samples.into_iter().try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    fn counter<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        mut samples: impl Iterator<Item = (Labels<'a, N>, u64)>,
    ) -> fmt::Result {
        let suffixed = format!("{name}_total");
        match self.format {
            Format::OpenMetrics => {
                let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
                samples.try_for_each(|(labels, count)| {
                    family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&count, None)
                })
            }
            Format::Text => {
                let mut family = self.encoder.encode_descriptor(&suffixed, help, None, MetricType::Counter)?;
                // A gauge's sample is the plain `name value`, which is all a counter's is here.
                samples.try_for_each(|(labels, count)| family.encode_family(&labels)?.encode_gauge(&count))
            }
        }
    }

    fn info<const N: usize>(&mut self, name: &str, help: &str, labels: Labels<'_, N>) -> fmt::Result {
        match self.format {
            Format::OpenMetrics => {
                self.encoder.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
            }
            Format::Text => self.gauge(&format!("{name}_info"), help, [(labels, 1_i64)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;
    use crate::control::server::{Socket, serve};
    use crate::control::wire::sample;

    fn page(snapshot: Snapshot, format: Format) -> String {
        render(Arc::new(snapshot), sample::now(), format)
    }

    fn metric<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
        page.lines().filter(|line| line.contains(name)).collect()
    }

    #[test]
    fn the_text_format_is_what_prometheus_has_always_read() {
        let page = page(sample::snapshot(), Format::Text);
        assert_eq!(
            metric(&page, "quotad_requests"),
            [
                "# HELP quotad_requests_total Requests sent, by what they came to",
                "# TYPE quotad_requests_total counter",
                r#"quotad_requests_total{account="personal",endpoint="usage",outcome="limited"} 2"#,
                r#"quotad_requests_total{account="personal",endpoint="usage",outcome="ok"} 10"#,
            ]
        );
        assert_eq!(
            metric(&page, "quotad_build"),
            [
                "# HELP quotad_build_info What is running",
                "# TYPE quotad_build_info gauge",
                r#"quotad_build_info{version="1.0.0"} 1"#,
            ]
        );
        assert!(!page.contains("# EOF") && !page.contains("# UNIT"), "{page}");
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let family = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|s| family.strip_suffix(s)).unwrap_or(family);
            assert!(page.contains(&format!("# TYPE {family} ")), "{line} has no header of its own");
        }
    }

    #[test]
    fn open_metrics_names_families_without_their_suffix_and_ends_with_eof() {
        let page = page(sample::snapshot(), Format::OpenMetrics);
        assert_eq!(metric(&page, "# TYPE quotad_requests"), ["# TYPE quotad_requests counter"]);
        assert_eq!(metric(&page, "quotad_requests_total{").len(), 2);
        assert_eq!(metric(&page, "# TYPE quotad_build"), ["# TYPE quotad_build info"]);
        assert_eq!(metric(&page, "quotad_build_info{"), [r#"quotad_build_info{version="1.0.0"} 1"#]);
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn every_metric_of_the_contract_is_there_with_its_value() {
        let mut snapshot = sample::snapshot();
        Arc::make_mut(&mut snapshot.accounts[0]).credentials.login_ends_at = Some(sample::at("2026-12-01T00:00:00Z"));
        let page = page(snapshot, Format::Text);
        for line in [
            r#"quotad_window_used_ratio{account="personal",provider="claude",window="five_hour"} 0.415"#,
            r#"quotad_window_resets_timestamp_seconds{account="personal",provider="claude",window="five_hour"} 1795616880.0"#,
            r#"quotad_reading_timestamp_seconds{account="personal"} 1795608300.0"#,
            r#"quotad_account_state{account="personal",state="ok"} 0"#,
            r#"quotad_account_state{account="personal",state="throttled"} 1"#,
            r#"quotad_gate_until_timestamp_seconds{account="personal",gate="usage"} 1795609199.5"#,
            r#"quotad_gate_rung{account="personal",gate="usage"} 1"#,
            r#"quotad_request_duration_seconds_sum{endpoint="usage"} 100.2"#,
            r#"quotad_request_duration_seconds_count{endpoint="usage"} 2"#,
            r#"quotad_request_duration_seconds_bucket{le="0.1",endpoint="usage"} 0"#,
            r#"quotad_request_duration_seconds_bucket{le="0.25",endpoint="usage"} 1"#,
            r#"quotad_request_duration_seconds_bucket{le="90.0",endpoint="usage"} 1"#,
            r#"quotad_request_duration_seconds_bucket{le="+Inf",endpoint="usage"} 2"#,
            r#"quotad_refreshes_total{account="personal",outcome="ok"} 1"#,
            r#"quotad_credential_expiry_timestamp_seconds{account="personal"} 1795629600.0"#,
            r#"quotad_login_ends_timestamp_seconds{account="personal"} 1796083200.0"#,
            r#"quotad_watch_healthy{account="personal"} 1"#,
        ] {
            assert!(page.lines().any(|l| l == line), "{line}\nis not in\n{page}");
        }
    }

    #[test]
    fn what_is_unknown_is_left_out_and_no_sample_comes_twice() {
        let mut snapshot = sample::snapshot();
        let reading = Arc::make_mut(Arc::make_mut(&mut snapshot.accounts[0]).reading.as_mut().unwrap());
        reading.windows[0].resets_at = Some(sample::now());
        reading.windows.push(Window { used_percent: Some(7.0), ..sample::window() });
        let page = page(snapshot, Format::Text);
        assert_eq!(metric(&page, "quotad_window_used_ratio{"), [""; 0], "its reset has passed");
        assert_eq!(metric(&page, "quotad_window_resets_timestamp_seconds{").len(), 1);
        assert_eq!(metric(&page, "quotad_login_ends_timestamp_seconds{"), [""; 0]);
        assert_eq!(metric(&page, r#"gate="token""#), [""; 0], "a clear gate has neither rung nor deadline");
    }

    #[test]
    fn the_format_follows_the_accept_header() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, format) in
            [("", Format::Text), ("*/*", Format::Text), ("text/plain", Format::Text), (prometheus, Format::OpenMetrics)]
        {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
        assert_eq!(Format::Text.content_type(), "text/plain; version=0.0.4");
    }

    #[tokio::test]
    async fn a_scrape_through_the_socket_gets_the_format_it_accepts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("quotad.sock");
        let socket = Socket::bind(&path).await.unwrap();
        let (handle, _transitions) = Handle::for_tests(sample::snapshot(), |_, _| None);
        tokio::spawn(serve(socket, handle, route(), std::future::pending()));
        for (accept, format, last) in [
            ("*/*", Format::Text, "quotad_build_info{version=\"1.0.0\"} 1\n"),
            ("application/openmetrics-text; version=1.0.0", Format::OpenMetrics, "# EOF\n"),
        ] {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            let request = format!("GET /metrics HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains(&format!("content-type: {}\r\n", format.content_type())), "{answer}");
            assert!(answer.ends_with(last), "{answer}");
        }
    }
}

//! The least a program that asks the same questions can be: one current-thread runtime, one client, one loop.
//!
//! `floor REQUESTS GAP-MS [CA-FILE]`: a line of REQUESTS is a URL, a space and a bearer token; between two requests it
//! sleeps GAP-MS. Keeps nothing, parses nothing, and ends with an error at the first answer that is no 200. The rows of
//! `cargo bench --bench footprint` stand beside it; an example, so that it is built like the real binary.

use std::error::Error;
use std::time::Duration;

use reqwest::{Certificate, Client};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(requests), Some(gap)) = (args.next(), args.next()) else { return Err("floor REQUESTS GAP-MS".into()) };
    let requests = std::fs::read_to_string(requests)?;
    let gap = Duration::from_millis(gap.parse()?);
    let mut client = Client::builder().no_proxy().pool_max_idle_per_host(0);
    client = client.tcp_keepalive(None).tcp_keepalive_interval(None).tcp_keepalive_retries(None);
    if let Some(ca) = args.next() {
        client = client.tls_certs_merge(Certificate::from_pem_bundle(&std::fs::read(ca)?)?);
    }
    let client = client.build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        loop {
            for (url, token) in requests.lines().filter_map(|line| line.split_once(' ')) {
                let request = client.get(url).bearer_auth(token).header("anthropic-beta", "oauth-2025-04-20");
                request.send().await?.error_for_status()?.bytes().await?;
                tokio::time::sleep(gap).await;
            }
        }
    })
}

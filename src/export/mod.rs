//! What leaves the daemon for other programs' dashboards.
//!
//! Renders the published snapshot and nothing else: an export never asks the loop and never counts on its own. `http` serves
//! the metrics over TCP.

pub mod http;
pub mod metrics;

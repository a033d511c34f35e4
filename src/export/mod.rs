//! What leaves the daemon for other programs' dashboards, and for people who do not look at them.
//!
//! Renders the published snapshot and the alerts that the loop hands on, and nothing else: an export never asks the loop
//! and never counts on its own. `http` serves the metrics over TCP.

pub mod http;
pub mod metrics;
pub mod notice;

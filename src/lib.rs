//! quotad: the resident keeper of AI-subscription quotas on a Linux machine.
//!
//! It knows how much of each plan is left, looks after the login that lets it ask, and never makes things worse.
//! Four promises, in this order: it never costs the user a login; it never hammers; it always comes back by itself
//! and says why it waits; it costs nothing to run.
//!
//! The modules below are listed bottom first: **a file may use only what stands above it in this list**, and
//! `tests/it/architecture.rs` holds the code to it. `policy` and `provider` decide and are pure: time and chance come
//! in as arguments, actions go out. Everything else performs. Each outside thing has one owner: `clock` reads
//! clocks, `state` owns `state.db`, `transport` talks HTTP, `credential` opens credential files, `source` reads
//! what clients note of their limits, `service` knows systemd and signals.
//!
//! `docs/architecture.md` walks through a poll and a refresh; `docs/policy.md` states every waiting rule.

pub mod model;
pub mod policy;
pub mod provider;
pub mod clock;
pub mod paths;
pub mod disk;
pub mod state;
pub mod transport;
pub mod service;
pub mod logging;
pub mod credential;
pub mod source;
pub mod config;
pub mod supervisor;
pub mod control;
pub mod export;
pub mod demo;
pub mod cli;

#[cfg(test)]
#[path = "../tests/it/no_errors.rs"]
mod no_errors;

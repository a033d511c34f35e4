//! quotad: the resident keeper of AI-subscription quotas on a Linux machine.
//!
//! It knows how much of each plan is left, looks after the login that lets it ask, and never makes things worse.
//! Four promises, in this order: it never costs the user a login; it never hammers; it always comes back by itself
//! and says why it waits; it costs nothing to run.
//!
//! The modules below are listed bottom first: **a file may use only what stands above it in this list**, and
//! `tests/it/architecture.rs` holds the code to it. `policy` and `provider` decide and are pure: time and chance come
//! in as arguments, actions go out. Everything else performs. Each outside thing has one owner: `clock` reads
//! clocks, `state` owns `state.db`, `transport` talks HTTP, `credential` opens credential files, `service` knows
//! systemd and signals.
//!
//! `docs/architecture.md` walks through a poll and a refresh; `docs/policy.md` states every waiting rule.

pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod credential;
pub mod demo;
pub mod disk;
pub mod export;
pub mod logging;
pub mod model;
pub mod paths;
pub mod policy;
pub mod provider;
pub mod service;
pub mod state;
pub mod supervisor;
pub mod transport;

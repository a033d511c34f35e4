//! The Unix socket through which scripts, bars and the CLI see and ask the daemon.
//!
//! Owns the documents ([`wire`], [`reply`], [`history`], [`ingest`], [`select`], [`report`]), the daemon's end
//! ([`server`]) and the CLI's end ([`client`]). Decides
//! nothing: it shows the supervisor's snapshot and hands commands to it, and no document holds a token, but the
//! one of [`select`] that was asked for it.

pub mod client;
pub mod history;
pub mod ingest;
pub mod reply;
pub mod report;
pub mod select;
pub mod server;
pub mod wire;

//! Decides when to ask, when to wait, when to refresh, when to stop.
//!
//! Owns every waiting rule of `docs/policy.md`. Never reads a clock, rolls a die, opens a file, logs or awaits: time
//! ([`time::Now`]) and chance ([`time::Dice`]) come in as arguments, actions go out. That is what makes months of
//! hostile weather testable in milliseconds, and a decision readable without knowing the machine it runs on.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod time;
pub mod forecast;
pub mod retry_after;
pub mod status;
pub mod ladder;
pub mod cooldown;
pub mod gate;
pub mod auth;
pub mod refresh;
pub mod rotation;
pub mod account;
pub mod schedule;
pub mod pool;
pub mod alert;

//! The integration tests, in one binary: the real daemon against the embedded vendor.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod daemon;
mod faults;
mod hostile;
mod kill;
mod support;

//! The integration tests, in one binary: the real daemon against the embedded vendor, and the code and the documents
//! against what they promise.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod architecture;
mod daemon;
mod faults;
mod docs;
mod hostile;
mod kill;
mod support;
mod systemd;

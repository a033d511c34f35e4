//! The integration tests, in one binary: the real daemon against the embedded vendor, and the code and the documents
//! against what they promise.
#![expect(clippy::print_stdout, reason = "a test says what it skipped and what it measured")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod alert;
mod architecture;
mod bars;
mod competitors;
mod corpus;
mod daemon;
mod docs;
mod doctor;
mod faults;
mod history;
mod hostile;
mod keys;
mod kill;
mod line;
mod no_errors;
mod observability;
mod plans;
mod pool;
mod secrets;
mod sources;
mod storm;
mod storms;
mod support;
mod systemd;

//! Every fuzz target: the binary's name says which.
#![no_main]

mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::of(env!("CARGO_BIN_NAME"))(bytes));

//! The policy of one account, told as scenarios in virtual time.

mod files;
mod local;
mod login_end;
mod memory;
mod modes;
mod reference;
mod outcomes;
mod rates;
mod refreshing;
mod shell;
mod storm;
mod words;
mod world;

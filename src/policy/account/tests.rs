//! The policy of one account, told as scenarios in virtual time.

mod files;
mod rates;
mod refreshing;
mod world;

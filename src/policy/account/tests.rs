//! The policy of one account, told as scenarios in virtual time.

mod files;
mod local;
mod login_end;
mod modes;
mod reference;
mod rates;
mod refreshing;
mod storm;
mod world;

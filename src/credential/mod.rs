//! The auth supervisor: the only module that opens credential files.
//!
//! Owns reading a vendor's file without believing half of one ([`mod@file`]) and whose login it is (`identity`), editing
//! it without touching what is not ours ([`edit`]), reading an editor's database (`item_table`), keeping a granted
//! successor until it lies in its place ([`holding`], [`successor`]), performing the steps of a rotation ([`owner`], `steps`), noticing that a file changed
//! ([`watch`]), starting the vendor's CLI ([`delegate`]), the vendor's own lock protocol ([`vendor_lock`]), telling a
//! person how a file lies ([`inspect`]), and the token that a person keeps for a webhook or a scraper ([`token_file`]).
//! Never decides: whether a token may be used or exchanged is `policy`'s to say. Secrets leave it as
//! [`secret::Tokens`] or for `transport` only; everyone else sees fingerprints.

pub mod delegate;
pub mod edit;
pub mod file;
pub mod holding;
mod identity;
pub mod inspect;
mod item_table;
pub mod owner;
pub mod secret;
mod steps;
pub mod successor;
pub mod token_file;
mod trail;
pub mod vendor_lock;
pub mod watch;

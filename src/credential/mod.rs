//! The auth supervisor: the only module that opens credential files.
//!
//! Owns reading a vendor's file without believing half of one ([`mod@file`]), editing it without touching what is not
//! ours ([`edit`]), noticing that it changed ([`watch`]), and the vendor's own lock protocol ([`vendor_lock`]).
//! Never decides: whether a token may be used or exchanged is `policy`'s to say. Secrets leave it as
//! [`secret::Tokens`] only, which nothing prints; everyone else sees fingerprints.

pub mod edit;
pub mod file;
pub mod secret;
pub mod vendor_lock;
pub mod watch;

//! The one loop (skeleton).
pub mod handle;

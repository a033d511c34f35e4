//! Skeleton.

pub mod vendor;

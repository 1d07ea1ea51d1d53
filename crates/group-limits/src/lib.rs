//! Limits for what groups of callers, such as namespaces, may take: concurrent work, lookups of
//! names, and memory for JSON. One group does not delay the others.

pub mod limiter;
pub mod names;
pub mod weight;

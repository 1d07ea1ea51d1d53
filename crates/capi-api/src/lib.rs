//! The Cluster API contract as Rust types.

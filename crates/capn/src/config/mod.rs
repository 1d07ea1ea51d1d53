//! Configuration file of a cluster: read by `capn up -f`, printed by `capn generate config`.
//!
//! A file is converted to [`ClusterArgs`](crate::commands::cluster_args::ClusterArgs), the command
//! line options, so that both use the same validation and code.

mod args;
mod file;
mod paths;
mod read;
mod schema;
mod write;

pub use file::{API_VERSION, ConfigFile, KIND};
pub use read::read;
pub use schema::{fields, schema};
pub use write::to_text;

#[cfg(test)]
mod tests;

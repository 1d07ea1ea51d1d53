//! `capn image`

pub mod build;
pub mod import;
pub mod list;
pub mod publish;
mod stock;
mod validation;

use clap::Args;

/// Server options.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Remote of the `incus` or `lxc` command, or unix:///PATH [default: the local socket]
    #[arg(long, value_name = "REMOTE")]
    pub remote: Option<String>,
    /// Project on the server [default: the remote's]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
}

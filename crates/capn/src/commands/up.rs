//! `capn up`: create, with a name that needs no thought.

use clap::Args;

use super::cluster_args::ClusterArgs;
use super::create::{self, CreateArgs, HowArgs};
use crate::Context;
use crate::error::CommandError;

/// Options of `up`.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// Name of the cluster
    #[arg(default_value = "demo")]
    pub name: String,
    /// What the cluster is asked to be.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How it is made.
    #[command(flatten)]
    pub how: HowArgs,
}

pub(super) async fn run(context: &Context, args: UpArgs) -> Result<(), CommandError> {
    let UpArgs { name, cluster, how } = args;
    create::run(context, CreateArgs { name, cluster, how }).await
}

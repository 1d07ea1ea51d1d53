//! `capn up`: like `create cluster`, with a default name.

use clap::Args;

use super::cluster_args::ClusterArgs;
use super::create::{self, CreationArgs};
use crate::Context;
use crate::error::CommandError;

/// Default cluster name.
pub(super) const DEFAULT_NAME: &str = "demo";

/// Options of `up`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  capn up\n  capn up -f cluster.yaml\n  capn generate config lab --workers 2 \
    > cluster.yaml"
)]
pub struct UpArgs {
    /// Name of the cluster [default: the name in the file, or demo]
    pub name: Option<String>,
    /// Options of the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Options of the creation.
    #[command(flatten)]
    pub how: CreationArgs,
}

pub(super) async fn run(context: &Context, args: UpArgs) -> Result<(), CommandError> {
    let UpArgs { name, cluster, how } = args;
    let (of_file, cluster) = create::with_file(cluster, how.file.as_deref())?;
    let name = name.or(of_file).unwrap_or_else(|| DEFAULT_NAME.to_owned());
    create::make(context, &name, &cluster, &how).await
}

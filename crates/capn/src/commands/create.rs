//! `capn create cluster`

use std::time::Duration;

use clap::Args;

use super::cluster_args::ClusterArgs;
use super::duration;
use super::generate::print_manifests;
use crate::Context;
use crate::cluster::{self, Made};
use crate::error::CommandError;
use crate::output::Format;

/// Options of `create cluster`.
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    /// Name of the cluster
    pub name: String,
    /// What the cluster is asked to be.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How it is made.
    #[command(flatten)]
    pub how: HowArgs,
}

/// How a cluster is made.
#[derive(Clone, Debug, Args)]
pub struct HowArgs {
    /// How long to wait until the cluster is ready; 0 only records what is asked for
    /// [default: 15m, and 75m with `--timeouts slow`]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Print what would be applied, and make nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Form of the manifests of `--dry-run`, or of the cluster that was made
    #[arg(short, long, value_enum, value_name = "FORM")]
    pub output: Option<Format>,
}

pub(super) async fn run(context: &Context, args: CreateArgs) -> Result<(), CommandError> {
    let CreateArgs { name, cluster, how } = args;
    if how.dry_run {
        return print_manifests(context, &name, &cluster, how.output).await;
    }
    let made = cluster::make(context, &name, &cluster, how.wait).await?;
    print(context, &made, how.output)
}

/// Prints what was made: nodes and next commands for people, the object for programs.
pub(super) fn print(
    context: &Context,
    made: &Made,
    output: Option<Format>,
) -> Result<(), CommandError> {
    match output {
        Some(Format::Json) => context.ui.data(&crate::output::json(made)?),
        Some(Format::Yaml) => context.ui.data(&crate::output::yaml(made)?),
        Some(Format::Name) => context.ui.data(&format!("cluster/{}\n", made.name)),
        None | Some(Format::Table | Format::Wide) => made.print(context),
    }
}

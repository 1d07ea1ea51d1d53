//! `capn create cluster`

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;

use super::cluster_args::ClusterArgs;
use super::duration;
use super::generate::print_manifests;
use crate::Context;
use crate::cluster::{self, ClusterOutcome};
use crate::config;
use crate::error::CommandError;
use crate::output::Format;

/// Options of `create cluster`.
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    /// Name of the cluster
    pub name: String,
    /// Options of the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Options of the creation.
    #[command(flatten)]
    pub how: CreationArgs,
}

/// Options of cluster creation.
#[derive(Clone, Debug, Args)]
pub struct CreationArgs {
    /// Configuration file of the cluster, as printed by `capn generate config`; `-` reads standard
    /// input. Options on the command line override it
    #[arg(short, long = "filename", value_name = "FILE")]
    pub file: Option<Utf8PathBuf>,
    /// How long to wait until the cluster is ready; 0 records the request without waiting [default:
    /// 15m, or 75m with `--timeouts slow`]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Print the manifests instead of applying them
    #[arg(long)]
    pub dry_run: bool,
    /// Output format of the manifests with `--dry-run`, or of the created cluster
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
}

pub(super) async fn run(context: &Context, args: CreateArgs) -> Result<(), CommandError> {
    let CreateArgs { name, cluster, how } = args;
    let (_, cluster) = with_file(cluster, how.file.as_deref())?;
    make(context, &name, &cluster, &how).await
}

/// Merges options with a configuration file. Also returns the cluster name in the file.
///
/// # Errors
///
/// Returns an error if the file cannot be read or is invalid.
pub(super) fn with_file(
    args: ClusterArgs,
    file: Option<&Utf8Path>,
) -> Result<(Option<String>, ClusterArgs), CommandError> {
    let Some(path) = file else { return Ok((None, args)) };
    let mut read = config::read(path)?;
    let name = read.metadata.name.take();
    let of_file = read.into_args().map_err(|problem| {
        CommandError::usage(problem)
            .while_doing(format!("cannot use the configuration file {path}"))
    })?;
    Ok((name, args.over(of_file)))
}

/// Creates the cluster, or prints its manifests.
pub(super) async fn make(
    context: &Context,
    name: &str,
    cluster: &ClusterArgs,
    how: &CreationArgs,
) -> Result<(), CommandError> {
    if how.dry_run {
        return print_manifests(context, name, cluster, how.output).await;
    }
    let made = cluster::make(context, name, cluster, how.wait).await?;
    print(context, &made, how.output)
}

/// Prints the created cluster: nodes and next commands for people, the object for programs.
pub(super) fn print(
    context: &Context,
    made: &ClusterOutcome,
    output: Option<Format>,
) -> Result<(), CommandError> {
    match output {
        Some(Format::Json) => context.ui.data(&crate::output::json(made)?),
        Some(Format::Yaml) => context.ui.data(&crate::output::yaml(made)?),
        Some(Format::Name) => context.ui.data(&format!("cluster/{}\n", made.name)),
        None | Some(Format::Table | Format::Wide) => made.print(context),
    }
}

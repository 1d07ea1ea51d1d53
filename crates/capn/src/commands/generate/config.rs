//! `capn generate config`

use clap::Args;

use crate::Context;
use crate::commands::cluster_args::ClusterArgs;
use crate::commands::up::DEFAULT_NAME;
use crate::config::{self, ConfigFile};
use crate::error::CommandError;
use crate::output;

/// Options of `generate config`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  capn generate config lab --control-planes 3 --isolation isolated > lab.yaml\n  \
    capn up -f lab.yaml"
)]
pub struct ConfigArgs {
    /// Name of the cluster
    #[arg(default_value = DEFAULT_NAME)]
    pub name: String,
    /// Print the JSON schema of the configuration file, for editors
    #[arg(long)]
    pub schema: bool,
    /// Options of the cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Prints the configuration file for these options, or the JSON schema.
///
/// # Errors
///
/// Returns an error if it cannot be written.
pub(in crate::commands) fn run(context: &Context, args: ConfigArgs) -> Result<(), CommandError> {
    if args.schema {
        return context.ui.data(&output::json(config::schema())?);
    }
    // Always print the most common options, as a starting point.
    let cluster = ClusterArgs {
        control_planes: args.cluster.control_planes.or(Some(1)),
        workers: args.cluster.workers.or(Some(1)),
        ..args.cluster
    };
    context.ui.data(&config::to_text(&ConfigFile::of(&args.name, cluster).placed())?)
}

//! `capn repair`

use std::time::Duration;

use clap::Args;

use super::{NamespaceArg, duration};
use crate::Context;
use crate::error::CommandError;
use crate::output::Format;
use crate::repair;

/// Options of `repair`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn repair demo --dry-run` prints problems and planned repairs. Repair starts stopped instances and replaces machines whose instances are missing or broken. If only one etcd member is left, etcd continues from its data. Run the same command again to continue an interrupted repair."
)]
pub struct RepairArgs {
    /// Name of the cluster
    pub name: String,
    /// Print problems and planned repairs without changing anything
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before etcd continues from its last member, which discards writes that only lost
    /// members had
    #[arg(short, long)]
    pub yes: bool,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// Total time limit until the cluster is Available
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30m")]
    pub timeout: Duration,
    /// Output format with `--dry-run` [default: a table]
    #[arg(short, long, value_enum, value_name = "FORMAT", requires = "dry_run")]
    pub output: Option<Format>,
}

pub(super) async fn run(context: &Context, args: RepairArgs) -> Result<(), CommandError> {
    let asked = repair::RepairRequest {
        name: &args.name,
        namespace: &args.namespace.namespace,
        consents: args.yes,
        timeout: args.timeout,
    };
    match args.dry_run {
        true => repair::show(context, &asked, args.output.unwrap_or_default()).await,
        false => repair::repair(context, &asked).await,
    }
}

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
    after_help = "Example: `capn repair demo --dry-run` prints what is wrong and what would be done. Instances that are stopped are started, machines whose instances are gone or broken are replaced, and if all members of etcd but one are lost, that one goes on alone with its data. The same command again continues what was interrupted."
)]
pub struct RepairArgs {
    /// Name of the cluster
    pub name: String,
    /// Print what is wrong and what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before etcd goes on with its last member, without what only the lost ones had written
    #[arg(short, long)]
    pub yes: bool,
    /// Where it is.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait in all until the cluster is Available
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30m")]
    pub timeout: Duration,
    /// Form of what `--dry-run` prints [default: a table]
    #[arg(short, long, value_enum, value_name = "FORM", requires = "dry_run")]
    pub output: Option<Format>,
}

pub(super) async fn run(context: &Context, args: RepairArgs) -> Result<(), CommandError> {
    let asked = repair::Asked {
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

//! `capn stop`

use std::time::Duration;

use clap::Args;

use super::{NamespaceArg, duration};
use crate::Context;
use crate::error::CommandError;
use crate::power::{self, PowerRequest};

/// Options of `stop`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn stop demo`, and later `capn start demo`. Workers stop first, then control planes, then the load balancer. Nodes are not drained, and all data is kept. While the cluster is stopped, its machines are not started, replaced or repaired, even after the host restarts."
)]
pub struct StopArgs {
    /// Name of the cluster
    pub name: String,
    /// How long each instance may take to shut down
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2m")]
    pub timeout: Duration,
    /// Force instances to stop that do not shut down in time; with `--timeout 0`, immediately
    #[arg(long)]
    pub force: bool,
    /// Print what would be stopped, in order, without changing anything
    #[arg(long)]
    pub dry_run: bool,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
}

pub(super) async fn run(context: &Context, args: StopArgs) -> Result<(), CommandError> {
    let asked = PowerRequest {
        name: &args.name,
        namespace: &args.namespace.namespace,
        dry_run: args.dry_run,
    };
    power::stop(context, &asked, args.timeout, args.force).await
}

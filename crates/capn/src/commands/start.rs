//! `capn start`

use std::time::Duration;

use clap::Args;

use super::{NamespaceArg, duration};
use crate::Context;
use crate::error::CommandError;
use crate::power::{self, PowerRequest};

/// Options of `start`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn start demo`. The load balancer starts first, then control planes, then workers. The command ends when the nodes are Ready, the cluster is Available and Services respond. It also starts instances that were stopped manually."
)]
pub struct StartArgs {
    /// Name of the cluster
    pub name: String,
    /// Print what would be started, in order, without changing anything
    #[arg(long)]
    pub dry_run: bool,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait until the cluster is back [default: 15m, or 75m with `--timeouts slow`]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
}

pub(super) async fn run(context: &Context, args: StartArgs) -> Result<(), CommandError> {
    let asked = PowerRequest {
        name: &args.name,
        namespace: &args.namespace.namespace,
        dry_run: args.dry_run,
    };
    power::start(context, &asked, args.wait).await
}

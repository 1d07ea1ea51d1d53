//! `capn stop`

use std::time::Duration;

use clap::Args;

use super::{NamespaceArg, duration};
use crate::Context;
use crate::error::CommandError;
use crate::power::{self, Asked};

/// Options of `stop`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn stop demo`, and later `capn start demo`. Workers stop first, then control planes, then the load balancer. Nothing is drained and nothing is lost; while the cluster is stopped nobody starts, replaces or repairs its machines, also after the host was started again."
)]
pub struct StopArgs {
    /// Name of the cluster
    pub name: String,
    /// How long each instance may take to shut down
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2m")]
    pub timeout: Duration,
    /// Stop by force what does not shut down within the time; with `--timeout 0` at once
    #[arg(long)]
    pub force: bool,
    /// Print what would be stopped, in which order, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Where it is.
    #[command(flatten)]
    pub namespace: NamespaceArg,
}

pub(super) async fn run(context: &Context, args: StopArgs) -> Result<(), CommandError> {
    let asked =
        Asked { name: &args.name, namespace: &args.namespace.namespace, dry_run: args.dry_run };
    power::stop(context, &asked, args.timeout, args.force).await
}

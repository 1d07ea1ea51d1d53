//! `capn etcd snapshot restore`

use std::time::Duration;

use clap::Args;

use crate::Context;
use crate::commands::{NamespaceArg, duration};
use crate::error::CommandError;
use crate::etcd::restore;

/// Options of `etcd snapshot restore`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn etcd snapshot restore demo --from latest`. What was written to the cluster since is lost. One control plane machine that runs takes the data and becomes the only member of etcd, the others are replaced. The same command continues what was interrupted."
)]
pub struct RestoreArgs {
    /// Name of the cluster
    pub name: String,
    /// The snapshot: a file, a name that `capn etcd snapshot list` shows, or `latest`
    #[arg(long, value_name = "FILE", default_value = "latest")]
    pub from: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Also a snapshot of which nothing is known, of another cluster, or of a later Kubernetes
    #[arg(long)]
    pub force: bool,
    /// Where it is.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait in all
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30m")]
    pub wait: Duration,
}

pub(crate) async fn run(context: &Context, args: RestoreArgs) -> Result<(), CommandError> {
    let asked = restore::Asked {
        name: &args.name,
        namespace: &args.namespace.namespace,
        from: &args.from,
        yes: args.yes,
        force: args.force,
        wait: args.wait,
    };
    restore::restore(context, &asked).await
}

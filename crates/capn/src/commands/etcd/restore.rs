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
    after_help = "Example: `capn etcd snapshot restore demo --from latest`. Changes since the snapshot are lost. One running control plane machine restores the data and becomes the only etcd member; the others are replaced. Run the same command again to continue an interrupted restore."
)]
pub struct RestoreArgs {
    /// Name of the cluster
    pub name: String,
    /// Snapshot to restore: a file, a name from `capn etcd snapshot list`, or `latest`
    #[arg(long, value_name = "FILE", default_value = "latest")]
    pub from: String,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    /// Accept a snapshot of unknown origin, of another cluster, or of a newer Kubernetes version
    #[arg(long)]
    pub force: bool,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// Total time limit
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

//! `capn upgrade`

use std::str::FromStr as _;
use std::time::Duration;

use camino::Utf8PathBuf;
use clap::Args;

use super::{NamespaceArg, duration};
use crate::Context;
use crate::error::CommandError;
use crate::output::Format;
use crate::preflight::KubernetesVersion;
use crate::upgrade::{self, Aim};

/// Options of `upgrade`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn upgrade demo --kubernetes-version v1.37.2 --dry-run`. The node image comes first, then a snapshot of etcd, then the control plane, one minor version at a time, then the workers. The same command again continues what was interrupted."
)]
pub struct UpgradeArgs {
    /// Name of the cluster
    pub name: String,
    /// The version to upgrade to, as v1.37.2
    #[arg(long, value_name = "VERSION", required_unless_present = "rollback")]
    pub kubernetes_version: Option<String>,
    /// Take back an upgrade that has only begun: until the first new control plane machine is Ready
    #[arg(long, conflicts_with = "kubernetes_version")]
    pub rollback: bool,
    /// Print what would be done, in which order, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Take a snapshot of etcd before the first machine changes [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub etcd_snapshot: Option<bool>,
    /// Folder with the programs of a version, to build its node image from; one for each version on the
    /// way [default: $CAPN_KUBERNETES_BINARIES, else /var/lib/capn/kubernetes]
    #[arg(long, value_name = "DIR")]
    pub kubernetes_binaries: Vec<Utf8PathBuf>,
    /// Folder with containerd, runc and the others for the node image [default:
    /// $CAPN_RUNTIME_BINARIES, else /var/lib/capn/runtime, else the official downloads]
    #[arg(long, value_name = "DIR")]
    pub runtime_binaries: Option<Utf8PathBuf>,
    /// Upgrade although clients use APIs that the new version does not have
    #[arg(long)]
    pub allow_removed_apis: bool,
    /// Where it is.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// How long to wait in all; 0 only begins with the first machines [default: 15m for each machine,
    /// and 75m with `--timeouts slow`]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Form of the plan that `--dry-run` prints [default: a table]
    #[arg(short, long, value_enum, value_name = "FORM", requires = "dry_run")]
    pub output: Option<Format>,
}

pub(super) async fn run(context: &Context, args: UpgradeArgs) -> Result<(), CommandError> {
    let aim = match &args.kubernetes_version {
        Some(version) => Aim::To(parse(&super::cluster_args::with_v(version))?),
        None => Aim::Back,
    };
    let asked = upgrade::Asked {
        name: &args.name,
        namespace: &args.namespace.namespace,
        aim: &aim,
        binaries: &args.kubernetes_binaries,
        runtime: args.runtime_binaries.as_deref(),
        allow_removed_apis: args.allow_removed_apis,
        etcd_snapshot: args.etcd_snapshot.unwrap_or(true),
        wait: args.wait,
    };
    match args.dry_run {
        true => upgrade::show(context, &asked, args.output.unwrap_or_default()).await,
        false => upgrade::upgrade(context, &asked).await,
    }
}

fn parse(version: &str) -> Result<KubernetesVersion, CommandError> {
    KubernetesVersion::from_str(version).map_err(|problem| {
        CommandError::usage(problem)
            .hint("releases are listed at https://kubernetes.io/releases/; `capn image list` shows those with an image here")
    })
}

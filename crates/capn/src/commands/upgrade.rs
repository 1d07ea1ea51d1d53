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
    after_help = "Example: `capn upgrade demo --kubernetes-version v1.37.2 --dry-run`. Upgrades one minor version at a time: first the node image, then an etcd snapshot, then the control plane, then the workers. Run the same command again to continue an interrupted upgrade."
)]
pub struct UpgradeArgs {
    /// Name of the cluster
    pub name: String,
    /// Version to upgrade to, for example v1.37.2
    #[arg(long, value_name = "VERSION", required_unless_present = "rollback")]
    pub kubernetes_version: Option<String>,
    /// Roll back an upgrade that has just begun; possible until the first new control plane machine
    /// is Ready
    #[arg(long, conflicts_with = "kubernetes_version")]
    pub rollback: bool,
    /// Print what would be done, in order, without changing anything
    #[arg(long)]
    pub dry_run: bool,
    /// Take an etcd snapshot before the first machine changes [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub etcd_snapshot: Option<bool>,
    /// Directory with the Kubernetes binaries of a version, for building its node image; can be
    /// repeated for each version on the way [default: $CAPN_KUBERNETES_BINARIES, or
    /// /var/lib/capn/kubernetes]
    #[arg(long, value_name = "DIR")]
    pub kubernetes_binaries: Vec<Utf8PathBuf>,
    /// Directory with containerd, runc and others for the node image [default:
    /// $CAPN_RUNTIME_BINARIES, or /var/lib/capn/runtime, or the official downloads]
    #[arg(long, value_name = "DIR")]
    pub runtime_binaries: Option<Utf8PathBuf>,
    /// Upgrade even if clients use APIs that the new version removes
    #[arg(long)]
    pub allow_removed_apis: bool,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// Total time limit; 0 only starts with the first machines [default: 15m per machine, or 75m
    /// with `--timeouts slow`]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Output format of the plan with `--dry-run` [default: a table]
    #[arg(short, long, value_enum, value_name = "FORMAT", requires = "dry_run")]
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
            .hint("releases are listed at https://kubernetes.io/releases/; `capn image list` shows versions with an image on this server")
    })
}

//! `capn logs`

use std::time::Duration;

use camino::Utf8PathBuf;
use capi_api::Cluster;
use clap::Args;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use super::duration;
use crate::Context;
use crate::bundle;
use crate::error::{CommandError, Doing as _};
use crate::machine_exec::{self, journal};
use crate::session::{Need, Session};
use crate::signal::Interrupt;
use crate::state::StateDir;

/// Options of `logs`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples: `capn logs demo --unit kubelet --since 10m`, `capn logs -f demo-md-0-ks9lf-k6n8v`, `capn logs demo --bundle demo.tar.gz`. kubeadm writes to the cloud-init log. A bundle contains logs, objects, events and server facts for a bug report; keys, tokens and bootstrap data are removed."
)]
pub struct LogsArgs {
    /// Name of a cluster, or of a machine, its node or its instance
    pub name: String,
    /// Follow the logs until Ctrl-C
    #[arg(short, long, conflicts_with = "bundle")]
    pub follow: bool,
    /// Only show this unit: kubelet, containerd, cloud-init, kubeadm or another systemd unit; can
    /// be repeated [default: kubelet, containerd and cloud-init]
    #[arg(long, value_name = "UNIT", value_parser = journal::unit, conflicts_with = "bundle")]
    pub unit: Vec<String>,
    /// Only show entries newer than this
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "bundle")]
    pub since: Option<Duration>,
    /// Show at most the last N lines of each machine
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub lines: u32,
    /// Write a support bundle of a whole cluster to this file
    #[arg(long, value_name = "FILE.tar.gz")]
    pub bundle: Option<Utf8PathBuf>,
    /// Cluster of the machine, if several clusters have a machine with this name
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Only consider this namespace [default: all]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

pub(super) async fn run(context: &Context, args: LogsArgs) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let mut interrupt = Interrupt::listen()?;
    let mut session = Session::open(&state, Need::Objects).await?;
    let client = session.client().clone();
    let work = async {
        let cluster = cluster(&client, &args).await?;
        if let Some(file) = &args.bundle {
            let Some(namespace) = cluster else {
                return Err(CommandError::new(format!("cluster `{}` does not exist", args.name))
                    .hint("a bundle covers a whole cluster; list clusters: `capn get clusters`"));
            };
            bundle::write(context, &client, &namespace, &args.name, file).await?;
            return Ok(None);
        }
        Ok(Some(match cluster {
            Some(namespace) => machine_exec::all_of(&client, &namespace, &args.name).await?,
            None => vec![Ok(machine(&client, &args).await?)],
        }))
    };
    let found = tokio::select! {
        found = session.while_running(work) => found,
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")),
    };
    // Release the plane while following logs.
    session.close().await?;
    let Some(machines) = found? else { return Ok(()) };
    let wanted = journal::JournalQuery {
        units: args.unit.clone(),
        since: args.since,
        lines: args.lines,
        follow: args.follow,
    };
    tokio::select! {
        ended = machine_exec::journals(&context.ui, &machines, &wanted) => ended,
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")),
    }
}

/// Returns the namespace of the cluster with this name, if there is one.
async fn cluster(client: &Client, args: &LogsArgs) -> Result<Option<String>, CommandError> {
    if args.cluster.is_some() {
        return Ok(None);
    }
    let api: Api<Cluster> = match &args.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let list = api.list_metadata(&ListParams::default()).await.doing("cannot list clusters")?;
    let found: Vec<String> = list
        .items
        .iter()
        .filter(|cluster| cluster.name_any() == args.name)
        .filter_map(|cluster| cluster.namespace())
        .collect();
    match found.as_slice() {
        [] => Ok(None),
        [namespace] => Ok(Some(namespace.clone())),
        several => {
            Err(CommandError::new(format!("several clusters have the name `{}`", args.name))
                .hint(format!("select a namespace with `-n NAMESPACE`: {}", several.join(", "))))
        }
    }
}

async fn machine(
    client: &Client,
    args: &LogsArgs,
) -> Result<machine_exec::MachineInstance, CommandError> {
    let (namespace, cluster) = (args.namespace.as_deref(), args.cluster.as_deref());
    let found = machine_exec::find(client, &args.name, namespace, cluster).await;
    found.map_err(|error| match error.hint_texts().is_empty() {
        true => error,
        false => error.hint("or specify the name of a cluster; list clusters: `capn get clusters`"),
    })
}

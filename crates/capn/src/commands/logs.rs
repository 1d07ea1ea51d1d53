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
use crate::inside::{self, journal};
use crate::session::{Need, Session};
use crate::signal::Interrupt;
use crate::state::StateDir;

/// Options of `logs`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples: `capn logs demo --unit kubelet --since 10m`, `capn logs -f demo-md-0-ks9lf-k6n8v`, `capn logs demo --bundle demo.tar.gz`. The output of kubeadm is in that of cloud-init. A bundle holds logs, objects, events and facts of the server for whoever helps; keys, tokens and bootstrap data are taken out of it."
)]
pub struct LogsArgs {
    /// Name of a cluster, or of a machine, its node or its instance
    pub name: String,
    /// Go on with what comes, until ctrl-C
    #[arg(short, long, conflicts_with = "bundle")]
    pub follow: bool,
    /// Only of this unit: kubelet, containerd, cloud-init, kubeadm or another of systemd; can be repeated
    /// [default: kubelet, containerd and cloud-init]
    #[arg(long, value_name = "UNIT", value_parser = journal::unit, conflicts_with = "bundle")]
    pub unit: Vec<String>,
    /// Not what is older
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "bundle")]
    pub since: Option<Duration>,
    /// At most so many lines of each machine, the last ones
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub lines: u32,
    /// Write everything that helps to find out what is wrong into this file, of a whole cluster
    #[arg(long, value_name = "FILE.tar.gz")]
    pub bundle: Option<Utf8PathBuf>,
    /// Only of this cluster, for a name that several machines have
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Only in this namespace [default: all]
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
                return Err(CommandError::new(format!("there is no cluster `{}`", args.name))
                    .hint("a bundle is of a whole cluster: `capn get clusters` lists them"));
            };
            bundle::write(context, &client, &namespace, &args.name, file).await?;
            return Ok(None);
        }
        Ok(Some(match cluster {
            Some(namespace) => inside::all_of(&client, &namespace, &args.name).await?,
            None => vec![Ok(machine(&client, &args).await?)],
        }))
    };
    let found = tokio::select! {
        found = session.while_running(work) => found,
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")),
    };
    // The plane is not held while lines come.
    session.close().await?;
    let Some(machines) = found? else { return Ok(()) };
    let wanted = journal::Wanted {
        units: args.unit.clone(),
        since: args.since,
        lines: args.lines,
        follow: args.follow,
    };
    tokio::select! {
        ended = inside::journals(&context.ui, &machines, &wanted) => ended,
        () = interrupt.wait() => Err(CommandError::interrupted("interrupted")),
    }
}

/// The namespace of the cluster that is meant, if one is.
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
        several => Err(CommandError::new(format!("several clusters are called `{}`", args.name))
            .hint(format!("name the namespace, `-n NAMESPACE`: {}", several.join(", ")))),
    }
}

async fn machine(client: &Client, args: &LogsArgs) -> Result<inside::Inside, CommandError> {
    let (namespace, cluster) = (args.namespace.as_deref(), args.cluster.as_deref());
    let found = inside::find(client, &args.name, namespace, cluster).await;
    found.map_err(|error| match error.hint_texts().is_empty() {
        true => error,
        false => error.hint("or name a cluster: `capn get clusters` lists them"),
    })
}

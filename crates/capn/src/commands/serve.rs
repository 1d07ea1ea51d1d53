//! `capn serve`

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use capn_controller::guard;
use capn_provider::metrics::{self, Format, Registry};
use capn_provider::{LocalSockets, Metrics};
use clap::Args;

use super::duration;
use crate::Context;
use crate::error::{CommandError, Doing as _};
use crate::etcd::{self, Keeper, Policy};
use crate::session::quotas::MACHINES;
use crate::session::{Controllers, Serving};
use crate::signal::Interrupt;
use crate::state::StateDir;

/// Options of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Where the Kubernetes API of the plane listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:16443")]
    pub listen: SocketAddr,
    /// More names or addresses that the plane is reached by, for its certificate; can be repeated
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Where the provider's metrics are served, over plain HTTP to whoever reaches it [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_address: Option<SocketAddr>,
    /// Namespaces whose identities may name a socket of this machine, with commas between them; `*`
    /// for every one, nothing for none
    #[arg(long, value_name = "NAMESPACES", default_value = "default")]
    pub local_socket_namespaces: LocalSockets,
    /// Machines that a namespace may hold, for all but operators
    #[arg(long, value_name = "NUMBER", default_value_t = MACHINES)]
    pub machines_per_namespace: usize,
    /// How often a snapshot of the etcd of each cluster is taken; 0 for never
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "24h")]
    pub etcd_snapshots_every: Duration,
    /// How many of these snapshots of a cluster are kept; others are never deleted
    #[arg(long, value_name = "N", default_value_t = 7,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub etcd_snapshots_keep: u16,
    /// Leave LXCClusters and LXCMachines to a `capn manager`
    #[arg(long)]
    pub without_provider: bool,
}

pub(super) async fn run(context: &Context, args: ServeArgs) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let mut interrupt = Interrupt::listen()?;
    let mut registry = Registry::default();
    let work = match args.without_provider {
        true => Controllers::Lifecycle,
        false => {
            Controllers::All(Metrics::register(&mut registry), args.local_socket_namespaces.clone())
        }
    };
    let machines = args.machines_per_namespace;
    if state.pki().exists() && !state.database().exists() {
        context.ui.note(format!(
            "{} is missing, but {} exists: capn starts with an empty plane. If the database was moved, stop capn, put it back and start again",
            state.database(),
            state.pki()
        ));
    }
    let mut serving = Serving::start(&state, args.listen, &args.hosts, work, machines).await?;
    let kubeconfig = state.plane_kubeconfig();
    context.ui.say(format!("serving {} for {}", serving.url(), state.path()));
    context.ui.say(format!("  kubectl --kubeconfig {kubeconfig} get clusters,machines -A"));
    let metrics = async {
        match args.metrics_address {
            None => pending().await,
            Some(address) => {
                let text = Arc::new(move |accept: Option<&str>| {
                    let format = Format::accepted(accept);
                    Ok((metrics::encode(&registry, format)?, format.content_type()))
                });
                capn_manager::serve_metrics(address, text, pending()).await
            }
        }
    };
    let policy =
        Policy { every: args.etcd_snapshots_every, keep: usize::from(args.etcd_snapshots_keep) };
    let (keeper, client) = (Keeper::of(&state), serving.client("system:capn-etcd-snapshots"));
    let snapshots = async {
        if policy.every.is_zero() {
            return pending().await;
        }
        let keep = || etcd::keep_snapshots(keeper.clone(), client.clone(), policy);
        guard::kept("snapshots of etcd", keep).await;
    };
    let result = tokio::select! {
        ended = serving.ended() => Err(ended),
        () = snapshots => Err(CommandError::new("no snapshots of etcd are taken any more")),
        ended = metrics => ended.doing("the metrics are no longer served"),
        () = interrupt.wait() => {
            context.ui.say("stopping");
            Ok(())
        }
    };
    let closed = serving.close().await;
    result.and(closed)
}

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
use crate::session::quotas::NamespaceLimits;
use crate::session::{Controllers, Serving};
use crate::signal::Interrupt;
use crate::state::StateDir;

/// Options of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Listen address of the plane's Kubernetes API
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:16443")]
    pub listen: SocketAddr,
    /// Additional name or address for the plane's certificate; can be repeated
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Address that serves the provider's metrics over plain HTTP, without authentication [default:
    /// disabled]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_address: Option<SocketAddr>,
    /// Namespaces whose identities may use a local Unix socket, separated by commas; `*` for all,
    /// empty for none. Other commands follow this list, even after `capn serve` has stopped
    #[arg(long, value_name = "NAMESPACES", default_value = "default")]
    pub local_socket_namespaces: LocalSockets,
    /// Maximum number of machines per namespace; does not apply to operators
    #[arg(long, value_name = "NUMBER", default_value_t = NamespaceLimits::default().machines)]
    pub machines_per_namespace: usize,
    /// Maximum total size of objects per namespace, in MiB; does not apply to operators. Each MiB
    /// may use up to five MiB of memory
    #[arg(long, value_name = "MIB", default_value_t = NamespaceLimits::default().bytes >> 20,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub mib_per_namespace: usize,
    /// Interval between etcd snapshots of each cluster; 0 to disable
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "24h")]
    pub etcd_snapshots_every: Duration,
    /// Number of these snapshots kept per cluster; other snapshots are never deleted
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
    let sockets = args.local_socket_namespaces.clone();
    let work = match args.without_provider {
        true => Controllers::Lifecycle(sockets),
        false => Controllers::All(Metrics::register(&mut registry), sockets),
    };
    let limits = NamespaceLimits {
        machines: args.machines_per_namespace,
        bytes: args.mib_per_namespace << 20,
    };
    if state.pki().exists() && !state.database().exists() {
        context.ui.note(format!(
            "{} is missing, but {} exists: capn starts with an empty plane. If the database was moved, stop capn, restore the file and start capn again",
            state.database(),
            state.pki()
        ));
    }
    let mut serving = Serving::start(&state, args.listen, &args.hosts, work, limits).await?;
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
        guard::supervise("snapshots of etcd", keep).await;
    };
    let result = tokio::select! {
        ended = serving.ended() => Err(ended),
        () = snapshots => Err(CommandError::new("etcd snapshots have stopped")),
        ended = metrics => ended.doing("the metrics server has stopped"),
        () = interrupt.wait() => {
            context.ui.say("stopping");
            Ok(())
        }
    };
    let closed = serving.close().await;
    result.and(closed)
}

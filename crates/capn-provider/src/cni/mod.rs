//! The pod network of clusters with a CNI label. With `capn.cluster.x-k8s.io/cni: bridge`, each
//! node gets the standard bridge plugins for its own pod subnet, and routes to the pods of the
//! other nodes. With `flannel`, it gets the same plugins, and flannel's daemon instead of routes.
//!
//! Only the workload cluster knows the pod subnet of a node, so its nodes are watched. The files
//! are written into the instances, where a systemd unit applies them at boot too: the pod network
//! survives a reboot of the node without this process.

mod apply;
mod flannel;
mod nodes;
mod observe;
mod report;
mod validate;

use std::{collections::HashMap, sync::Arc};

use capi_api::core::Cluster;
use capn_api::{LXCMachine, keys};
use capn_controller::watch::concerning;
use capn_plan::cni::PodRouting;
use kube::runtime::controller::Action;

use crate::{
    changes,
    context::Context,
    drive,
    failure::Failure,
    references::{self, label},
    triggers,
    wake_filter::WakeFilter,
};
use nodes::NodeWatches;

/// Runs the controller until the context is cancelled.
pub(crate) async fn run(ctx: Arc<Context>) {
    let (changed, changes) = futures::channel::mpsc::unbounded();
    let watches = Arc::new(NodeWatches::new(&ctx.own(), changed, ctx.options.reach));
    // All Clusters, which are watched anyway. A Cluster without the label needs no work.
    let (controller, store) = drive::controller(&ctx.own::<Cluster>());
    let controller = controller
        // Instances that became ready or were replaced.
        .reconcile_on(concerning(
            changes::that_matter(&ctx.all::<LXCMachine>(), &["ready"]),
            move |machine| triggers::cluster_of(&store, &machine.metadata),
        ))
        .reconcile_on(changes);
    drive::drive(controller, WakeFilter::none(), ctx, move |cluster, ctx| {
        let watches = watches.clone();
        async move { reconcile(&cluster, &ctx, &watches).await }
    })
    .await;
}

async fn reconcile(
    cluster: &Cluster,
    ctx: &Context,
    watches: &NodeWatches,
) -> Result<Action, Failure> {
    let meta = &cluster.metadata;
    let wanted = label(meta, keys::CNI_LABEL);
    let overlay = wanted == Some(keys::CNI_FLANNEL);
    if meta.deletion_timestamp.is_some() || !(overlay || wanted == Some(keys::CNI_BRIDGE)) {
        watches.end(meta);
        return Ok(Action::await_change());
    }
    if references::is_paused(meta, Some(cluster)) {
        return Ok(Action::await_change());
    }
    let observed = observe::observe(ctx, cluster, watches).await;
    report::kubeconfig(ctx, cluster, observed.as_ref().err()).await?;
    let Some(found) = observed? else {
        // The Secret with the kubeconfig is not watched.
        return Ok(Action::requeue(observe::KUBECONFIG_PAUSE));
    };
    let ranges = validate::ranges(cluster);
    let mut carriers = HashMap::new();
    if overlay {
        // Without a node there is nothing to run on, and possibly no reachable API server.
        if let Some(client) = watches.client(cluster).filter(|_| !found.nodes.is_empty()) {
            flannel::apply(&client, &ranges.pods).await?;
        }
        carriers = observe::overlay(&found, &ranges.pods).await?;
    }
    let carrier = |machine: &LXCMachine| match overlay {
        true => carriers.get(machine.instance_name()).copied(),
        false => Some(PodRouting::Routes),
    };
    let changes = validate::changes(&ranges, &found.nodes, &found.machines, carrier);
    apply::write_all(ctx, &found, changes).await?;
    Ok(Action::requeue(ctx.options.resync))
}

//! The pod network of clusters that ask for it. With `capn.cluster.x-k8s.io/cni: bridge` each node
//! gets the standard bridge plugins for its own pod subnet, and routes to the pods of the others;
//! with `flannel` the plugins likewise, and flannel's daemon in place of routes.
//!
//! A node's subnet is known only to the workload cluster, so its nodes are watched there. What a
//! node needs is written into its instance, where a service applies it, at boot too:
//! the network survives a restart of the node without this process.

mod apply;
mod flannel;
mod nodes;
mod observe;
mod report;
mod validate;

use std::{collections::HashMap, sync::Arc};

use capi_api::core::Cluster;
use capn_api::{LXCMachine, keys};
use capn_plan::cni::Carrier;
use kube::runtime::controller::Action;

use crate::{
    changes,
    context::Context,
    drive,
    echoes::Echoes,
    failure::Failure,
    references::{self, label},
    triggers,
};
use nodes::NodeWatches;

/// Runs the controller until the context says stop.
pub(crate) async fn run(ctx: Arc<Context>) {
    let (changed, changes) = futures::channel::mpsc::unbounded();
    let watches = Arc::new(NodeWatches::new(changed, ctx.options.reach));
    let only_ours = format!("{} in ({},{})", keys::CNI_LABEL, keys::CNI_BRIDGE, keys::CNI_FLANNEL);
    let mut watched = ctx.watched();
    watched.label_selector = Some(match watched.label_selector {
        Some(others) => format!("{others},{only_ours}"),
        None => only_ours,
    });
    let (controller, store) = drive::controller::<Cluster>(ctx.api(), watched);
    let controller = controller
        // Instances that became ready, or were replaced.
        .watches_stream(changes::that_matter::<LXCMachine>(ctx.api(), &["ready"]), move |machine| {
            triggers::cluster_of(&store, &machine.metadata)
        })
        .reconcile_on(changes);
    drive::drive(controller, Echoes::none(), ctx, move |cluster, ctx| {
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
        // Without a node there is none to run on, and perhaps no API server that answers.
        if let Some(client) = watches.client(cluster).filter(|_| !found.nodes.is_empty()) {
            flannel::apply(&client, &ranges.pods).await?;
        }
        carriers = observe::overlay(&found, &ranges.pods).await?;
    }
    let carrier = |machine: &LXCMachine| match overlay {
        true => carriers.get(machine.instance_name()).copied(),
        false => Some(Carrier::Routes),
    };
    let changes = validate::changes(&ranges, &found.nodes, &found.machines, carrier);
    apply::write_all(ctx, &found, changes).await?;
    Ok(Action::requeue(ctx.options.resync))
}

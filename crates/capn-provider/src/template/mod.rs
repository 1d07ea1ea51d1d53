//! LXCMachineTemplate: says how large its machines are, so that an autoscaler can scale from zero.

mod observe;
mod report;

use std::sync::Arc;

use capi_api::{
    core::{Cluster, MachineDeployment},
    refs,
};
use capn_api::{LXCCluster, LXCMachineTemplate};
use capn_plan::capacity;
use kube::{
    api::ObjectMeta,
    runtime::{
        controller::Action,
        reflector::{ObjectRef, Store},
    },
};

use crate::{
    changes,
    context::Context,
    drive,
    echoes::Echoes,
    failure::Failure,
    references::{self, label, name, namespace},
};

/// What of other objects leads to the server of a template. While a cluster is made, much else of
/// them changes.
const OF_DEPLOYMENT: [&str; 2] = ["/spec/clusterName", "/spec/template/spec/infrastructureRef"];
const OF_CLUSTER: [&str; 2] = ["/spec/infrastructureRef", "/spec/paused"];
const OF_LXC_CLUSTER: [&str; 2] = ["/metadata/labels", "/spec/secretRef"];

/// Runs the controller until the context says stop.
pub(crate) async fn run(ctx: Arc<Context>) {
    let (controller, store) = drive::controller::<LXCMachineTemplate>(ctx.api(), ctx.watched());
    let (of_cluster, of_lxc_cluster) = (store.clone(), store);
    let controller = controller
        .watches_stream(
            changes::of_fields::<MachineDeployment>(ctx.api(), &OF_DEPLOYMENT),
            |deployment| template_of(&deployment),
        )
        .watches_stream(changes::of_fields::<Cluster>(ctx.api(), &OF_CLUSTER), move |cluster| {
            of(&of_cluster, namespace(&cluster.metadata), name(&cluster.metadata))
        })
        .watches_stream(
            changes::of_fields::<LXCCluster>(ctx.api(), &OF_LXC_CLUSTER),
            move |cluster| {
                let of_it = label(&cluster.metadata, capi_api::labels::CLUSTER_NAME);
                of_it.map_or_else(Vec::new, |of_it| {
                    of(&of_lxc_cluster, namespace(&cluster.metadata), of_it)
                })
            },
        );
    drive::drive(controller, Echoes::none(), ctx, reconcile).await;
}

/// The template that a deployment makes its machines from.
fn template_of(deployment: &MachineDeployment) -> Option<ObjectRef<LXCMachineTemplate>> {
    let reference = &deployment.spec.template.spec.infrastructure_ref;
    (reference.kind == "LXCMachineTemplate")
        .then(|| ObjectRef::new(&reference.name).within(namespace(&deployment.metadata)))
}

/// The templates that name a Cluster themselves.
fn of(
    store: &Store<LXCMachineTemplate>,
    within: &str,
    cluster: &str,
) -> Vec<ObjectRef<LXCMachineTemplate>> {
    let named = |meta: &ObjectMeta| {
        namespace(meta) == within && cluster_named_by(meta).as_deref() == Some(cluster)
    };
    let templates = store.state();
    let templates = templates.iter().filter(|template| named(&template.metadata));
    templates.map(|template| ObjectRef::from_obj(template.as_ref())).collect()
}

/// The Cluster that a template names, by owner or label.
fn cluster_named_by(meta: &ObjectMeta) -> Option<String> {
    refs::owner(meta, capi_api::core::GROUP, "Cluster")
        .map(|owner| owner.name.clone())
        .or_else(|| label(meta, capi_api::labels::CLUSTER_NAME).map(str::to_owned))
}

async fn reconcile(
    template: Arc<LXCMachineTemplate>,
    ctx: Arc<Context>,
) -> Result<Action, Failure> {
    if template.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let cluster = observe::cluster(&ctx, &template).await?;
    if references::is_paused(&template.metadata, cluster.as_ref()) {
        return Ok(Action::await_change());
    }
    let spec = &template.spec.template.spec;
    let server = observe::server(&ctx, cluster.as_ref(), spec).await?;
    let size = capacity::of(spec, &server.profiles, server.host, server.flavor);
    report::size(&ctx, &template, &size, server.architecture).await?;
    Ok(Action::requeue(ctx.options.resync))
}

//! LXCMachineTemplate: reports the size of its machines, so that an autoscaler can scale from zero.

mod observe;
mod report;

use std::sync::Arc;

use capi_api::{
    core::{Cluster, MachineDeployment},
    refs,
};
use capn_api::{LXCCluster, LXCMachineTemplate};
use capn_controller::watch::concerning;
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
    failure::Failure,
    references::{self, label, name, namespace},
    wake_filter::WakeFilter,
};

/// Fields of other objects that lead to the server of a template. Many other fields change while a
/// cluster is created.
const OF_DEPLOYMENT: [&str; 2] = ["/spec/clusterName", "/spec/template/spec/infrastructureRef"];
const OF_CLUSTER: [&str; 2] = ["/spec/infrastructureRef", "/spec/paused"];
const OF_LXC_CLUSTER: [&str; 2] = ["/metadata/labels", "/spec/secretRef"];

/// Runs the controller until the context is cancelled.
pub(crate) async fn run(ctx: Arc<Context>) {
    let (controller, store) = drive::controller(&ctx.own::<LXCMachineTemplate>());
    let (of_cluster, of_lxc_cluster) = (store.clone(), store);
    let controller = controller
        .reconcile_on(concerning(
            changes::of_fields(&ctx.all::<MachineDeployment>(), &OF_DEPLOYMENT),
            template_of,
        ))
        .reconcile_on(concerning(
            changes::of_fields(&ctx.all::<Cluster>(), &OF_CLUSTER),
            move |cluster| of(&of_cluster, namespace(&cluster.metadata), name(&cluster.metadata)),
        ))
        .reconcile_on(concerning(
            changes::of_fields(&ctx.all::<LXCCluster>(), &OF_LXC_CLUSTER),
            move |cluster| {
                let of_it = label(&cluster.metadata, capi_api::labels::CLUSTER_NAME);
                of_it.map_or_else(Vec::new, |of_it| {
                    of(&of_lxc_cluster, namespace(&cluster.metadata), of_it)
                })
            },
        ));
    drive::drive(controller, WakeFilter::none(), ctx, reconcile).await;
}

/// Returns the template from which a deployment creates its machines.
fn template_of(deployment: &MachineDeployment) -> Option<ObjectRef<LXCMachineTemplate>> {
    let reference = &deployment.spec.template.spec.infrastructure_ref;
    (reference.kind == "LXCMachineTemplate")
        .then(|| ObjectRef::new(&reference.name).within(namespace(&deployment.metadata)))
}

/// Returns the templates that name a Cluster themselves.
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

/// Returns the Cluster that a template names, by owner or label.
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

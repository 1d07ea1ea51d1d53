//! Reads the objects of a deployment. Read-only.

use capi_api::{Cluster, Machine, MachineDeployment, MachineSet, refs};
use capn_controller::lists;
use kube::api::ListParams;
use kube::{Api, Resource as _, ResourceExt as _};

use crate::Context;
use crate::error::{Failure, describe};
use crate::lookup::{Lookup, look_up};
use crate::objects::{of_cluster, selector_text, selects};

/// Observed state of a deployment.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) cluster: Option<Cluster>,
    /// Sets that the deployment controls.
    pub(super) sets: Vec<MachineSet>,
    /// Sets that match the selector and have no controller.
    pub(super) orphans: Vec<MachineSet>,
    /// Machines of its sets.
    pub(super) machines: Vec<Machine>,
    pub(super) bootstrap_template: Lookup,
    pub(super) infrastructure_template: Lookup,
    /// The exhausted quota of the namespace, if nothing can be created now.
    pub(super) exhausted_quota: Option<String>,
}

/// Reads the current deployment. `None` if it is gone. The object that triggered the reconcile may
/// be older.
pub(super) async fn current(
    ctx: &Context,
    deployment: &MachineDeployment,
) -> Result<Option<MachineDeployment>, Failure> {
    let api: Api<MachineDeployment> =
        Api::namespaced(ctx.client.clone(), &deployment.namespace().unwrap_or_default());
    api.get_opt(&deployment.name_any()).await.map_err(Failure::api("get", deployment))
}

/// Returns the cluster of a deployment.
pub(super) async fn cluster(
    ctx: &Context,
    deployment: &MachineDeployment,
) -> Result<Option<Cluster>, Failure> {
    let namespace = deployment.namespace().unwrap_or_default();
    let name = &deployment.spec.cluster_name;
    let api: Api<Cluster> = Api::namespaced(ctx.client.clone(), &namespace);
    api.get_opt(name).await.map_err(Failure::api_named("get", "Cluster", &namespace, name))
}

/// Reads the objects of a deployment.
pub(super) async fn observe(
    ctx: &Context,
    deployment: &MachineDeployment,
    cluster: Option<Cluster>,
) -> Result<Observed, Failure> {
    let namespace = deployment.namespace().unwrap_or_default();
    let uid = deployment.uid().unwrap_or_default();
    let on_behalf_of = describe(deployment);
    let spec = &deployment.spec.template.spec;
    let (bootstrap_template, infrastructure_template) = futures::try_join!(
        look_up(ctx, &namespace, spec.bootstrap.config_ref.as_ref(), &on_behalf_of),
        look_up(ctx, &namespace, Some(&spec.infrastructure_ref), &on_behalf_of),
    )?;
    let params = ListParams::default().labels(&of_cluster(&deployment.spec.cluster_name));
    let all_sets: Api<MachineSet> = Api::namespaced(ctx.client.clone(), &namespace);
    let found = lists::list(&all_sets, &params)
        .await
        .map_err(Failure::api("list the sets of", deployment))?;
    let (mut sets, mut orphans) = (Vec::new(), Vec::new());
    for set in found.items {
        match refs::controller(set.meta()) {
            Some(owner) if owner.uid == uid => sets.push(set),
            None if selects(&deployment.spec.selector, set.meta()) => orphans.push(set),
            Some(_) | None => {}
        }
    }
    let all_machines: Api<Machine> = Api::namespaced(ctx.client.clone(), &namespace);
    // Only those that the selector of the deployment matches, because a cluster may have very many
    // machines.
    let of_cluster = of_cluster(&deployment.spec.cluster_name);
    let labels = [Some(of_cluster), selector_text(&deployment.spec.selector)];
    let labels = labels.into_iter().flatten().collect::<Vec<_>>().join(",");
    let machines = lists::list(&all_machines, &ListParams::default().labels(&labels))
        .await
        .map_err(Failure::api("list the machines of", deployment))?
        .items
        .into_iter()
        .filter(|machine| {
            let owner = refs::controller(machine.meta());
            owner.is_some_and(|o| sets.iter().any(|set| set.uid().as_ref() == Some(&o.uid)))
        })
        .collect();
    let exhausted_quota = ctx.full_namespaces.of(&namespace);
    Ok(Observed {
        cluster,
        sets,
        orphans,
        machines,
        bootstrap_template,
        infrastructure_template,
        exhausted_quota,
    })
}

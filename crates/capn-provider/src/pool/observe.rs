//! Reads the objects of one pool. Read-only, and only Kubernetes.

use capi_api::{
    core::{Cluster, Machine, MachinePool},
    labels, refs,
};
use capn_api::{LXCMachine, LXCMachinePool};
use capn_controller::lists;
use kube::{Api, Resource as _, api::ListParams};

use crate::{
    context::Context,
    failure::Failure,
    references::{self, name, namespace},
};

/// The Kubernetes objects related to one pool, as far as they exist.
#[derive(Debug, Default)]
pub(super) struct References {
    pub(super) machine_pool: Option<MachinePool>,
    pub(super) cluster: Option<Cluster>,
    /// LXCMachines that were created for the pool.
    pub(super) lxc_machines: Vec<LXCMachine>,
    /// Machines that Cluster API created for them.
    pub(super) machines: Vec<Machine>,
}

/// Reads the objects related to a pool.
pub(super) async fn references(
    ctx: &Context,
    pool: &LXCMachinePool,
) -> Result<References, Failure> {
    let meta = &pool.metadata;
    let machine_pool: Option<MachinePool> = references::owner(&ctx.client, meta).await?;
    let cluster = match &machine_pool {
        Some(owner) => {
            references::get(&ctx.client, namespace(meta), &owner.spec.cluster_name).await?
        }
        None => references::cluster_of(&ctx.client, meta).await?,
    };
    let Some(owner) = refs::owner(meta, capi_api::core::GROUP, "MachinePool") else {
        return Ok(References { machine_pool, cluster, ..References::default() });
    };
    let of_pool = ListParams::default().labels(&format!("{}={}", labels::POOL_NAME, owner.name));
    let failed = |kind: &str| {
        Failure::kube_named("list", kind, namespace(meta), &format!("of pool {}", name(meta)))
    };
    // Only those of this pool. Machines are listed first: a Machine whose LXCMachine is not in the
    // later list does not belong to the pool.
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), namespace(meta));
    let machines = lists::list(&api, &of_pool).await.map_err(failed("Machine"))?.items;
    let api: Api<LXCMachine> = Api::namespaced(ctx.client.clone(), namespace(meta));
    let mut lxc_machines = lists::list(&api, &of_pool).await.map_err(failed("LXCMachine"))?.items;
    let uid = meta.uid.as_deref().unwrap_or_default();
    lxc_machines.retain(|machine| {
        let owners = machine.meta().owner_references.as_deref().unwrap_or_default();
        owners.iter().any(|owner| owner.uid == uid)
    });
    lxc_machines.sort_by(|one, other| name(&one.metadata).cmp(name(&other.metadata)));
    Ok(References { machine_pool, cluster, lxc_machines, machines })
}

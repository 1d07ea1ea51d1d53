//! Reads the objects of a set. Read-only.

use capi_api::core::ContractRef;
use capi_api::{Cluster, Machine, MachineDeployment, MachineSet, labels, refs};
use capn_controller::lists;
use kube::api::ListParams;
use kube::{Api, Resource as _, ResourceExt as _};

use crate::Context;
use crate::contract;
use crate::error::{Failure, describe};
use crate::lookup::{Lookup, look_up};
use crate::objects::{label_value, of_cluster, selector_text, selects};
use crate::template::made_kind;

/// Observed state of a set.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) cluster: Option<Cluster>,
    /// Machines that the set controls, by name.
    pub(super) machines: Vec<Machine>,
    /// Machines that match the selector and have no controller.
    pub(super) orphans: Vec<Machine>,
    pub(super) bootstrap_template: Lookup,
    pub(super) infrastructure_template: Lookup,
    pub(super) control_plane: Lookup,
    /// Objects of machines that were never created.
    pub(super) leftovers: Vec<ContractRef>,
    /// The deployment that controls the set.
    pub(super) deployment: Option<MachineDeployment>,
    /// The exhausted quota of the namespace, if nothing can be created now.
    pub(super) exhausted_quota: Option<String>,
}

/// Reads the current set. `None` if it is gone. The object that triggered the reconcile may be
/// older.
pub(super) async fn current(
    ctx: &Context,
    set: &MachineSet,
) -> Result<Option<MachineSet>, Failure> {
    let api: Api<MachineSet> =
        Api::namespaced(ctx.client.clone(), &set.namespace().unwrap_or_default());
    api.get_opt(&set.name_any()).await.map_err(Failure::api("get", set))
}

/// Returns the cluster of a set.
pub(super) async fn cluster(ctx: &Context, set: &MachineSet) -> Result<Option<Cluster>, Failure> {
    let namespace = set.namespace().unwrap_or_default();
    let name = &set.spec.cluster_name;
    let api: Api<Cluster> = Api::namespaced(ctx.client.clone(), &namespace);
    api.get_opt(name).await.map_err(Failure::api_named("get", "Cluster", &namespace, name))
}

/// Reads the objects of a set.
pub(super) async fn observe(
    ctx: &Context,
    set: &MachineSet,
    cluster: Option<Cluster>,
) -> Result<Observed, Failure> {
    let namespace = set.namespace().unwrap_or_default();
    let on_behalf_of = describe(set);
    let spec = &set.spec.template.spec;
    let control_plane_ref =
        cluster.as_ref().and_then(|cluster| cluster.spec.control_plane_ref.clone());
    let (bootstrap_template, infrastructure_template, control_plane) = futures::try_join!(
        look_up(ctx, &namespace, spec.bootstrap.config_ref.as_ref(), &on_behalf_of),
        look_up(ctx, &namespace, Some(&spec.infrastructure_ref), &on_behalf_of),
        look_up(ctx, &namespace, control_plane_ref.as_ref(), &on_behalf_of),
    )?;
    let (machines, orphans) = machines(ctx, set).await?;
    let mut leftovers = Vec::new();
    for template in spec.bootstrap.config_ref.iter().chain([&spec.infrastructure_ref]) {
        leftovers.extend(self::leftovers(ctx, set, template, &machines).await?);
    }
    Ok(Observed {
        machines,
        orphans,
        bootstrap_template,
        infrastructure_template,
        control_plane,
        leftovers,
        deployment: deployment(ctx, set).await?,
        exhausted_quota: ctx.full_namespaces.of(&namespace),
        cluster,
    })
}

/// Returns the machines of a set and those that it could adopt.
async fn machines(
    ctx: &Context,
    set: &MachineSet,
) -> Result<(Vec<Machine>, Vec<Machine>), Failure> {
    let namespace = set.namespace().unwrap_or_default();
    let uid = set.uid().unwrap_or_default();
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), &namespace);
    // Only those that the selector of the set matches, because a cluster may have very many
    // machines.
    let labels = [Some(of_cluster(&set.spec.cluster_name)), selector_text(&set.spec.selector)];
    let labels = labels.into_iter().flatten().collect::<Vec<_>>().join(",");
    let found = lists::list(&api, &ListParams::default().labels(&labels)).await;
    let mut all = found.map_err(Failure::api("list the machines of", set))?.items;
    all.sort_by_key(kube::ResourceExt::name_any);
    let (mut ours, mut orphans) = (Vec::new(), Vec::new());
    for machine in all {
        match refs::controller(machine.meta()) {
            Some(owner) if owner.uid == uid => ours.push(machine),
            None if selects(&set.spec.selector, machine.meta()) => orphans.push(machine),
            Some(_) | None => {}
        }
    }
    Ok((ours, orphans))
}

/// Returns objects that were created from a template for this set and have no Machine.
///
/// Only one reconcile of a set runs at a time, and it ends with a Machine or without one, so these
/// objects are orphaned.
async fn leftovers(
    ctx: &Context,
    set: &MachineSet,
    template: &ContractRef,
    machines: &[Machine],
) -> Result<Vec<ContractRef>, Failure> {
    let namespace = set.namespace().unwrap_or_default();
    let uid = set.uid().unwrap_or_default();
    let reference = ContractRef::new(&template.api_group, made_kind(&template.kind), "");
    let failed = |source| Failure::Contract { object: describe(set), source };
    let api = match ctx.contracts.api(&namespace, &reference).await {
        Ok((api, _)) => api,
        // The condition of the set already reports it, because of the template.
        Err(error) if error.is_unresolved() => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let selector = format!("{}={}", labels::SET_NAME, label_value(&set.name_any()));
    let found = lists::list_metadata(&api, &ListParams::default().labels(&selector))
        .await
        .map_err(contract::Error::request("list", reference.kind.clone()))
        .map_err(failed)?;
    Ok(found
        .items
        .into_iter()
        .filter(|object| {
            let owners = object.metadata.owner_references.as_deref().unwrap_or_default();
            let name = object.metadata.name.clone().unwrap_or_default();
            owners.iter().any(|owner| owner.uid == uid)
                && object.metadata.deletion_timestamp.is_none()
                && !machines.iter().any(|machine| machine.name_any() == name)
        })
        .map(|object| ContractRef {
            name: object.metadata.name.unwrap_or_default(),
            ..reference.clone()
        })
        .collect())
}

async fn deployment(ctx: &Context, set: &MachineSet) -> Result<Option<MachineDeployment>, Failure> {
    let Some(owner) = refs::controller(set.meta())
        .filter(|owner| refs::is_kind(owner, capi_api::core::GROUP, "MachineDeployment"))
    else {
        return Ok(None);
    };
    let namespace = set.namespace().unwrap_or_default();
    let api: Api<MachineDeployment> = Api::namespaced(ctx.client.clone(), &namespace);
    api.get_opt(&owner.name).await.map_err(Failure::api_named(
        "get",
        "MachineDeployment",
        &namespace,
        &owner.name,
    ))
}

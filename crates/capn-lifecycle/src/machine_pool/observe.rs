//! Reads the objects of a pool. Read-only.

use std::collections::BTreeMap;

use capi_api::core::ContractRef;
use capi_api::{Cluster, Machine, MachinePool, labels, refs};
use capn_controller::lists;
use kube::api::ListParams;
use kube::{Api, Resource as _, ResourceExt as _};

use crate::Context;
use crate::contract;
use crate::error::{Failure, chain, describe};
use crate::lookup::{Lookup, look_up_for};
use crate::nodes::ClusterKey;
use crate::objects::{label_value, of_cluster};

/// Maximum length of a kind.
const LONGEST_KIND: usize = 63;

/// Observed state of a pool.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) cluster: Option<Cluster>,
    pub(super) bootstrap: Lookup,
    pub(super) infrastructure: Lookup,
    /// Machines that the pool controls, by name.
    pub(super) machines: Vec<Machine>,
    /// Infrastructure objects of the machines. `None` if the provider has none.
    pub(super) instances: Option<Vec<Instance>>,
    /// UIDs of the machines' nodes, by name, as far as they are known.
    pub(super) node_uids: BTreeMap<String, String>,
    /// The reason the objects of the provider could not be listed; a user must act.
    pub(super) unreadable: Option<String>,
}

/// The infrastructure object of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) reference: ContractRef,
    pub(super) is_leaving: bool,
}

/// Reads the current pool. `None` if it is gone. The object that triggered the reconcile may be
/// older.
pub(super) async fn current(
    ctx: &Context,
    pool: &MachinePool,
) -> Result<Option<MachinePool>, Failure> {
    let api: Api<MachinePool> =
        Api::namespaced(ctx.client.clone(), &pool.namespace().unwrap_or_default());
    api.get_opt(&pool.name_any()).await.map_err(Failure::api("get", pool))
}

/// Returns the cluster of a pool.
pub(super) async fn cluster(ctx: &Context, pool: &MachinePool) -> Result<Option<Cluster>, Failure> {
    let namespace = pool.namespace().unwrap_or_default();
    let name = &pool.spec.cluster_name;
    let api: Api<Cluster> = Api::namespaced(ctx.client.clone(), &namespace);
    api.get_opt(name).await.map_err(Failure::api_named("get", "Cluster", &namespace, name))
}

/// Reads the objects of a pool.
pub(super) async fn observe(
    ctx: &Context,
    pool: &MachinePool,
    cluster: Option<Cluster>,
) -> Result<Observed, Failure> {
    let namespace = pool.namespace().unwrap_or_default();
    let on_behalf_of = describe(pool);
    let spec = &pool.spec.template.spec;
    let (bootstrap, infrastructure) = futures::try_join!(
        look_up_for(ctx, &namespace, spec.bootstrap.config_ref.as_ref(), &on_behalf_of, pool),
        look_up_for(ctx, &namespace, Some(&spec.infrastructure_ref), &on_behalf_of, pool),
    )?;
    // Machines are read first: one whose infrastructure object is not in the later list has lost
    // it.
    let machines = machines(ctx, pool).await?;
    let (instances, unreadable) = match instances(ctx, pool, &infrastructure).await {
        Ok(instances) => (instances, None),
        Err(ListFailure::User(why)) => (None, Some(why)),
        Err(ListFailure::Failure(failure)) => return Err(failure),
    };
    let node_uids = cluster.as_ref().map(|cluster| node_uids(ctx, cluster, &machines));
    Ok(Observed {
        bootstrap,
        infrastructure,
        machines,
        instances,
        node_uids: node_uids.unwrap_or_default(),
        unreadable,
        cluster,
    })
}

/// Selects the objects of a pool.
fn of_pool(pool: &MachinePool) -> ListParams {
    let value = label_value(&pool.name_any());
    let selector = format!("{},{}={value}", of_cluster(&pool.spec.cluster_name), labels::POOL_NAME);
    ListParams::default().labels(&selector)
}

async fn machines(ctx: &Context, pool: &MachinePool) -> Result<Vec<Machine>, Failure> {
    let namespace = pool.namespace().unwrap_or_default();
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), &namespace);
    let found = lists::list(&api, &of_pool(pool)).await;
    let mut all = found.map_err(Failure::api("list the machines of", pool))?.items;
    let uid = pool.uid().unwrap_or_default();
    all.retain(|machine| refs::is_controlled_by(machine.meta(), &uid));
    all.sort_by_key(kube::ResourceExt::name_any);
    Ok(all)
}

/// The reason objects of a provider were not listed.
enum ListFailure {
    /// A user must act.
    User(String),
    /// It may be temporary.
    Failure(Failure),
}

/// Lists the infrastructure objects of the machines, of the kind that the pool's infrastructure
/// names.
async fn instances(
    ctx: &Context,
    pool: &MachinePool,
    infrastructure: &Lookup,
) -> Result<Option<Vec<Instance>>, ListFailure> {
    let kind: Option<String> =
        infrastructure.view().and_then(|view| view.at("/status/infrastructureMachineKind"));
    let Some(kind) = kind else { return Ok(None) };
    // It becomes part of a request path.
    if kind.is_empty()
        || kind.len() > LONGEST_KIND
        || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        let of = &pool.spec.template.spec.infrastructure_ref;
        return Err(ListFailure::User(format!(
            "status.infrastructureMachineKind of {of} is not a valid kind"
        )));
    }
    let namespace = pool.namespace().unwrap_or_default();
    let group = &pool.spec.template.spec.infrastructure_ref.api_group;
    let reference = ContractRef::new(group, &kind, "");
    let failed =
        |source| ListFailure::Failure(Failure::Contract { object: describe(pool), source });
    let (api, resource) = match ctx.contracts.api(&namespace, &reference).await {
        Ok(known) => known,
        Err(error) if error.is_unresolved() => {
            return Err(ListFailure::User(chain(&error)));
        }
        Err(source) => return Err(failed(source)),
    };
    ctx.external.watch(&resource);
    let found = lists::list_metadata(&api, &of_pool(pool))
        .await
        .map_err(contract::Error::request("list", kind))
        .map_err(failed)?;
    let mut all: Vec<_> = found
        .items
        .into_iter()
        .map(|object| Instance {
            is_leaving: object.metadata.deletion_timestamp.is_some(),
            reference: ContractRef {
                name: object.metadata.name.unwrap_or_default(),
                ..reference.clone()
            },
        })
        .collect();
    all.sort_by(|one, other| one.reference.name.cmp(&other.reference.name));
    Ok(Some(all))
}

fn node_uids(ctx: &Context, cluster: &Cluster, machines: &[Machine]) -> BTreeMap<String, String> {
    let Some(nodes) = ctx.nodes.get(&ClusterKey::of(cluster)) else { return BTreeMap::new() };
    machines
        .iter()
        .filter_map(|machine| {
            let name = machine.node_name()?;
            Some((name.to_owned(), nodes.by_name(name)?.uid()?))
        })
        .collect()
}

//! Pools of an existing cluster: its MachineDeployments.

use capi_api::{MachineDeployment, labels};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::error::{CommandError, Doing as _};
use crate::manifest::{ClusterRequest, DEFAULT_POOL, POOL_ANNOTATION, Pool, deployment_name};

/// MachineDeployments of a cluster.
///
/// # Errors
///
/// Returns an error if the plane does not respond.
pub async fn deployments(
    client: &Client,
    namespace: &str,
    cluster: &str,
) -> Result<Vec<MachineDeployment>, CommandError> {
    let api: Api<MachineDeployment> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{}={cluster}", labels::CLUSTER_NAME));
    let list = api.list(&params).await;
    Ok(list.doing(format!("cannot list the pools of cluster `{cluster}`"))?.items)
}

/// Returns the pool of a MachineDeployment with its number of workers. `None` if it was created
/// from other manifests.
pub fn pool_of(cluster: &str, deployment: &MachineDeployment) -> Option<Pool> {
    let name = deployment.name_any();
    let recorded = deployment.annotations().get(POOL_ANNOTATION);
    let recorded = recorded.and_then(|text| serde_json::from_str::<Pool>(text).ok());
    // MachineDeployments of earlier releases have no annotation. One with another name does not
    // belong to capn.
    let pool = match recorded {
        Some(pool) => Some(pool).filter(|pool| deployment_name(cluster, &pool.name) == name),
        None => {
            (deployment_name(cluster, DEFAULT_POOL) == name).then(|| Pool::plain(DEFAULT_POOL, 0))
        }
    }?;
    let replicas = deployment.spec.replicas.unwrap_or(1);
    Some(Pool { workers: Some(u32::try_from(replicas).unwrap_or(0)), ..pool })
}

/// The MachineDeployment that a command operates on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedPool {
    /// Its name.
    pub name: String,
    /// Desired number of machines.
    pub replicas: u32,
}

/// Selects the MachineDeployment of a pool, by pool name or by its own name if it was created from
/// other manifests. Without a name, selects the default pool or the only one.
///
/// # Errors
///
/// Returns an error if it does not exist or is ambiguous. The error lists existing pools.
pub fn pick(
    deployments: &[MachineDeployment],
    cluster: &str,
    pool: Option<&str>,
) -> Result<SelectedPool, CommandError> {
    let is = |found: &&MachineDeployment, pool: &str| {
        let name = found.name_any();
        name == deployment_name(cluster, pool) || name == pool
    };
    let found = match (pool, deployments) {
        (Some(pool), all) => all.iter().find(|found| is(found, pool)),
        (None, [only]) => Some(only),
        (None, all) => all.iter().find(|found| is(found, DEFAULT_POOL)),
    };
    if let Some(found) = found {
        let replicas = u32::try_from(found.spec.replicas.unwrap_or(1)).unwrap_or(0);
        return Ok(SelectedPool { name: found.name_any(), replicas });
    }
    let names: Vec<String> =
        deployments.iter().map(|found| shown(cluster, &found.name_any())).collect();
    let all = names.join(", ");
    Err(match (names.first(), pool) {
        (None, _) => CommandError::new(format!("cluster `{cluster}` has no worker pool"))
            .hint(format!("create one: `capn create pool NAME --cluster {cluster}`")),
        (Some(_), Some(pool)) => {
            CommandError::new(format!("cluster `{cluster}` has no pool `{pool}`"))
                .hint(format!("existing pools: {all}"))
        }
        (Some(first), None) => {
            CommandError::new(format!("cluster `{cluster}` has several worker pools: {all}"))
                .hint(format!("select one: `capn scale {cluster} --pool {first} --workers N`"))
        }
    })
}

/// Returns the display name of a MachineDeployment's pool.
pub fn shown(cluster: &str, deployment: &str) -> String {
    let pool = deployment.strip_prefix(cluster).and_then(|rest| rest.strip_prefix('-'));
    pool.unwrap_or(deployment).to_owned()
}

/// Adds existing pools to the request. Objects take precedence over the recorded request; pools
/// that are being deleted are ignored.
pub(super) fn with_known(
    request: ClusterRequest,
    deployments: &[MachineDeployment],
) -> ClusterRequest {
    let mut pools = request.pools();
    for deployment in deployments {
        let Some(pool) = pool_of(&request.name, deployment) else { continue };
        pools.retain(|known| known.name != pool.name);
        if deployment.metadata.deletion_timestamp.is_none() {
            pools.push(pool);
        }
    }
    request.with_pools(pools)
}

/// Rejects pool names whose MachineDeployments would belong to another cluster: cluster `a` with
/// pool `b-c` and cluster `a-b` with pool `c` yield the same name.
///
/// # Errors
///
/// Returns an error that names both clusters, or an error if the plane does not respond.
pub async fn no_clash(
    client: &Client,
    request: &ClusterRequest,
    pools: &[Pool],
) -> Result<(), CommandError> {
    let api: Api<MachineDeployment> = Api::namespaced(client.clone(), &request.namespace);
    for pool in pools {
        let name = request.deployment_name(&pool.name);
        let found = api.get_opt(&name).await.doing(format!("cannot look up `{name}`"))?;
        let Some(found) = found.filter(|found| found.spec.cluster_name != request.name) else {
            continue;
        };
        return Err(CommandError::new(format!(
            "pool `{}` of cluster `{}` would use MachineDeployment `{name}`, which belongs to cluster `{}`",
            pool.name, request.name, found.spec.cluster_name
        ))
        .hint("choose another name for the pool"));
    }
    Ok(())
}

/// Sets the number of replicas of a MachineDeployment or KubeadmControlPlane.
///
/// # Errors
///
/// Returns an error if the plane refused the change.
pub async fn set_replicas<K>(
    client: &Client,
    namespace: &str,
    name: &str,
    replicas: u32,
) -> Result<(), CommandError>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    api.patch(name, &PatchParams::default(), &patch)
        .await
        .doing(format!("cannot change the {} `{name}`", K::kind(&())))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::manifest::pool_documents;
    use crate::manifest::request::testing::demo;

    fn deployment(
        request: &ClusterRequest,
        pool: &Pool,
        changes: &[(&str, Value)],
    ) -> MachineDeployment {
        let documents = pool_documents(request, pool);
        let found = documents.iter().find(|found| found.kind() == "MachineDeployment").unwrap();
        let mut value = found.value().clone();
        for (pointer, new) in changes {
            *value.pointer_mut(pointer).unwrap() = new.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn pools_are_read_from_objects() {
        let gpu = Pool { flavor: Some("c4-m8".into()), ..Pool::plain("gpu", 2) };
        let scaled = deployment(&demo(), &gpu, &[("/spec/replicas", json!(5))]);
        let old =
            deployment(&demo(), &Pool::plain("md-0", 3), &[("/metadata/annotations", json!({}))]);
        let foreign = deployment(
            &demo(),
            &Pool::plain("a", 1),
            &[("/metadata/annotations", json!({})), ("/metadata/name", json!("demo-b"))],
        );
        let found = with_known(demo(), &[scaled, old, foreign]);
        let expected = [Pool { workers: Some(5), ..gpu.clone() }, Pool::plain("md-0", 3)];
        assert_eq!(found.pools(), expected);
        assert_eq!(found.workers, 8);
        // Not created yet, since the command was interrupted.
        let both = demo().with_pools(vec![Pool::plain("md-0", 1), gpu]);
        assert_eq!(with_known(both.clone(), &[]), both);
    }

    #[test]
    fn a_pool_is_selected_by_name_or_when_it_is_the_only_one() {
        let of = |names: &[&str]| -> Vec<_> {
            let pools = names.iter().map(|name| Pool::plain(name, 2));
            pools.map(|pool| deployment(&demo(), &pool, &[])).collect()
        };
        for (names, pool, expected) in [
            (&["md-0", "gpu"][..], Some("gpu"), Some("demo-gpu")),
            (&["md-0", "gpu"], Some("demo-gpu"), Some("demo-gpu")),
            (&["md-0", "gpu"], None, Some("demo-md-0")),
            (&["gpu"], None, Some("demo-gpu")),
            (&["gpu", "cpu"], None, None),
            (&["gpu"], Some("cpu"), None),
            (&[], None, None),
        ] {
            let found = pick(&of(names), "demo", pool).ok().map(|found| found.name);
            assert_eq!(found.as_deref(), expected, "{names:?} {pool:?}");
        }
    }

    #[test]
    fn a_deleting_pool_is_ignored() {
        let mut leaving = deployment(&demo(), &Pool::plain("md-0", 1), &[]);
        leaving.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(with_known(demo(), &[leaving]).pools(), []);
    }
}

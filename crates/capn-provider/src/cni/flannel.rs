//! Applies flannel's objects to the workload cluster.

use capn_plan::flannel;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::DaemonSet,
        core::v1::{ConfigMap, Namespace, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::Failure;

/// Field manager of the applied fields.
const MANAGER: &str = "capn-provider";

/// Applies the objects. Objects that are already as desired do not change.
///
/// # Cancellation
///
/// The next call applies the remaining objects.
pub(super) async fn apply(client: &Client, pod_cidrs: &[String]) -> Result<(), Failure> {
    for object in flannel::objects(pod_cidrs) {
        let client = client.clone();
        match object["kind"].as_str().unwrap_or_default() {
            "Namespace" => put(Api::<Namespace>::all(client), &object).await?,
            "ServiceAccount" => put(namespaced::<ServiceAccount>(client), &object).await?,
            "ClusterRole" => put(Api::<ClusterRole>::all(client), &object).await?,
            "ClusterRoleBinding" => put(Api::<ClusterRoleBinding>::all(client), &object).await?,
            "ConfigMap" => put(namespaced::<ConfigMap>(client), &object).await?,
            "DaemonSet" => put(namespaced::<DaemonSet>(client), &object).await?,
            _ => {}
        }
    }
    Ok(())
}

fn namespaced<K>(client: Client) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client, flannel::NAMESPACE)
}

async fn put<K>(api: Api<K>, object: &Value) -> Result<(), Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let parameters = PatchParams::apply(MANAGER).force();
    let failure = Failure::kube_named("apply", &K::kind(&()), flannel::NAMESPACE, name);
    api.patch(name, &parameters, &Patch::Apply(object)).await.map_err(failure)?;
    Ok(())
}

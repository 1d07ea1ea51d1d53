//! The init lock of a control plane: a ConfigMap `<cluster>-lock` with the name of the machine.
//!
//! If two machines ran `kubeadm init`, there would be two clusters behind one endpoint.

use capi_api::{Cluster, Machine, labels};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, Resource as _, ResourceExt as _};
use serde::{Deserialize, Serialize};

use crate::Context;
use crate::error::{Failure, is_conflict, is_not_found};

/// Key of the ConfigMap that holds [`Holder`] as JSON.
const KEY: &str = "lock-information";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Holder {
    machine_name: String,
}

/// State of a cluster's lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Lock {
    /// It is free.
    #[default]
    Free,
    /// A machine holds it.
    Held {
        /// Name of the machine. Empty if it cannot be parsed.
        by: String,
        /// UID of the ConfigMap.
        uid: Option<String>,
    },
    /// A deleted machine holds it.
    Stale {
        /// Name of that machine.
        by: String,
        /// UID of the ConfigMap.
        uid: Option<String>,
    },
}

/// Reads the lock of a cluster, and whether its holder still exists.
pub(super) async fn read(ctx: &Context, cluster: &Cluster) -> Result<Lock, Failure> {
    let namespace = cluster.namespace().unwrap_or_default();
    let name = name(cluster);
    let map = api(ctx, cluster).get_opt(&name).await.map_err(Failure::api_named(
        "get",
        "ConfigMap",
        &namespace,
        &name,
    ))?;
    let Some(map) = map else { return Ok(Lock::Free) };
    let uid = map.uid();
    let by = map
        .data
        .as_ref()
        .and_then(|data| data.get(KEY))
        .and_then(|text| serde_json::from_str::<Holder>(text).ok())
        .map(|holder| holder.machine_name)
        .unwrap_or_default();
    let machines: Api<Machine> = Api::namespaced(ctx.client.clone(), &namespace);
    let holder = if by.is_empty() {
        None
    } else {
        machines
            .get_metadata_opt(&by)
            .await
            .map_err(Failure::api_named("get", "Machine", &namespace, &by))?
    };
    Ok(if holder.is_some() { Lock::Held { by, uid } } else { Lock::Stale { by, uid } })
}

/// Acquires a free lock. Returns whether that succeeded: another machine may have been faster.
pub(super) async fn acquire(
    ctx: &Context,
    cluster: &Cluster,
    machine: &str,
) -> Result<bool, Failure> {
    let namespace = cluster.namespace().unwrap_or_default();
    let name = name(cluster);
    let holder = Holder { machine_name: machine.to_owned() };
    let text = serde_json::to_string(&holder).map_err(|source| {
        Failure::api_named("create", "ConfigMap", &namespace, &name)(kube::Error::SerdeError(
            source,
        ))
    })?;
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            labels: Some([(labels::CLUSTER_NAME.to_owned(), cluster.name_any())].into()),
            owner_references: cluster.owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some([(KEY.to_owned(), text)].into()),
        ..ConfigMap::default()
    };
    match api(ctx, cluster).create(&PostParams::default(), &map).await {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) => Ok(false),
        Err(error) => Err(Failure::api_named("create", "ConfigMap", &namespace, &name)(error)),
    }
}

/// Releases a lock with this UID. A missing or different lock is not an error.
pub(super) async fn release(
    ctx: &Context,
    cluster: &Cluster,
    uid: Option<&str>,
) -> Result<(), Failure> {
    let namespace = cluster.namespace().unwrap_or_default();
    let name = name(cluster);
    let params = DeleteParams {
        preconditions: uid
            .map(|uid| Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    match api(ctx, cluster).delete(&name, &params).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(()),
        Err(error) => Err(Failure::api_named("delete", "ConfigMap", &namespace, &name)(error)),
    }
}

fn name(cluster: &Cluster) -> String {
    format!("{}-lock", cluster.name_any())
}

fn api(ctx: &Context, cluster: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(ctx.client.clone(), &cluster.namespace().unwrap_or_default())
}

//! ClusterResourceSetBinding: what has been applied to a cluster. Sets share the binding of a
//! cluster, and each writes its own part.

use capi_api::addons::{
    ClusterResourceSetBindingSpec, GROUP, ResourceBinding, ResourceRef, ResourceSetBinding,
};
use capi_api::{ClusterResourceSet, ClusterResourceSetBinding, refs};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

use super::observe;
use crate::Context;
use crate::error::{Failure, is_conflict, is_not_found};

/// Maximum number of retries if another set has written the binding.
const TRIES: usize = 10;

/// Records the results of a set's resources in a cluster. Entries of resources that the set no
/// longer lists are removed.
pub(super) async fn note(
    ctx: &Context,
    set: &ClusterResourceSet,
    cluster: &str,
    results: &[ResourceBinding],
) -> Result<(), Failure> {
    let namespace = set.namespace().unwrap_or_default();
    let api: Api<ClusterResourceSetBinding> = Api::namespaced(ctx.client.clone(), &namespace);
    let failed = |act| Failure::api_named(act, "ClusterResourceSetBinding", &namespace, cluster);
    for _ in 0..TRIES {
        let old = api.get_opt(cluster).await.map_err(failed("get"))?;
        let base = old.clone().unwrap_or_else(|| named(&namespace, cluster));
        let new = with_results(&base, set, results);
        let written = match &old {
            Some(old) if new == *old => return Ok(()),
            Some(old) => write(&api, old, &new).await,
            None => api.create(&PostParams::default(), &new).await.map(drop),
        };
        match written {
            Ok(()) => return Ok(()),
            Err(error) if is_conflict(&error) || is_not_found(&error) => {}
            Err(error) => return Err(failed("write")(error)),
        }
    }
    // The reconcile is repeated with the new state.
    Err(Failure::Invalid {
        object: format!("ClusterResourceSetBinding {namespace}/{cluster}"),
        problem: "it is constantly being changed by others".to_owned(),
    })
}

/// Removes a set from all bindings. Objects that it has applied stay in the clusters.
pub(super) async fn forget(ctx: &Context, set: &ClusterResourceSet) -> Result<(), Failure> {
    let namespace = set.namespace().unwrap_or_default();
    let api: Api<ClusterResourceSetBinding> = Api::namespaced(ctx.client.clone(), &namespace);
    for old in observe::bindings(ctx, set).await? {
        let new = without(&old, &set.name_any());
        if new == old {
            continue;
        }
        let done = if new.spec.bindings.iter().flatten().next().is_some() {
            write(&api, &old, &new).await
        } else {
            delete(&api, &old).await
        };
        match done {
            Ok(()) => {}
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(Failure::api("write", &old)(error)),
        }
    }
    Ok(())
}

/// Deletes a binding if it has not changed since it was read.
pub(super) async fn delete(
    api: &Api<ClusterResourceSetBinding>,
    binding: &ClusterResourceSetBinding,
) -> Result<(), kube::Error> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: binding.uid(),
            resource_version: binding.resource_version(),
        }),
        ..DeleteParams::default()
    };
    api.delete(&binding.name_any(), &params).await.map(drop)
}

async fn write(
    api: &Api<ClusterResourceSetBinding>,
    old: &ClusterResourceSetBinding,
    new: &ClusterResourceSetBinding,
) -> Result<(), kube::Error> {
    // Lists are replaced as a whole, so the binding must be unchanged.
    let change = json!({
        "metadata": {
            "resourceVersion": old.resource_version(),
            "ownerReferences": new.metadata.owner_references,
        },
        "spec": { "bindings": new.spec.bindings },
    });
    api.patch(&old.name_any(), &PatchParams::default(), &Patch::Merge(&change)).await.map(drop)
}

fn named(namespace: &str, cluster: &str) -> ClusterResourceSetBinding {
    ClusterResourceSetBinding {
        metadata: ObjectMeta {
            name: Some(cluster.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        spec: ClusterResourceSetBindingSpec {
            cluster_name: cluster.to_owned(),
            ..ClusterResourceSetBindingSpec::default()
        },
    }
}

/// Returns a binding with the results of a set's resources. Pure.
fn with_results(
    old: &ClusterResourceSetBinding,
    set: &ClusterResourceSet,
    results: &[ResourceBinding],
) -> ClusterResourceSetBinding {
    let mut new = old.clone();
    let owners = set
        .owner_ref(&())
        .and_then(|owner| refs::with_owner(old.metadata.owner_references.as_ref(), owner));
    if owners.is_some() {
        new.metadata.owner_references = owners;
    }
    let sets = new.spec.bindings.get_or_insert_default();
    let name = set.name_any();
    let entry = match sets.iter_mut().position(|entry| entry.cluster_resource_set_name == name) {
        Some(at) => sets.get_mut(at),
        None => {
            sets.push(ResourceSetBinding {
                cluster_resource_set_name: name,
                resources: Some(Vec::new()),
            });
            sets.last_mut()
        }
    };
    let Some(entry) = entry else { return new };
    let resources = entry.resources.get_or_insert_default();
    resources.retain(|known| set.spec.resources.iter().any(|named| known.is_of(named)));
    for result in results {
        let of = ResourceRef { name: result.name.clone(), kind: result.kind };
        match resources.iter_mut().find(|known| known.is_of(&of)) {
            // The same failure as before is not written again.
            Some(known) if !known.applied && !result.applied && known.hash == result.hash => {}
            Some(known) => *known = result.clone(),
            None => resources.push(result.clone()),
        }
    }
    new
}

/// Returns a binding without a set. Pure.
fn without(old: &ClusterResourceSetBinding, set: &str) -> ClusterResourceSetBinding {
    let mut new = old.clone();
    if let Some(sets) = &mut new.spec.bindings {
        sets.retain(|entry| entry.cluster_resource_set_name != set);
    }
    if let Some(owners) = &mut new.metadata.owner_references {
        owners.retain(|owner| {
            !(refs::is_kind(owner, GROUP, "ClusterResourceSet") && owner.name == set)
        });
    }
    new
}

#[cfg(test)]
#[path = "binding_tests.rs"]
mod tests;

//! The Secret with the bootstrap data of a machine.

use capi_api::{Cluster, KubeadmConfig, Machine, labels, refs};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

use super::observe::{namespaced, secret_failure};
use super::{GROUP, KIND};
use crate::Context;
use crate::error::{Failure, describe, is_conflict};
use crate::objects::annotation;

/// Annotation of the Secret: the inputs of its data.
const MADE_FROM: &str = "capn.cluster.x-k8s.io/made-from";

/// Returns the current inputs of bootstrap data, as stored in the annotation of the Secret: the
/// generation of the KubeadmConfig, which contains the token, and the Kubernetes version.
pub(super) fn mark(config: &KubeadmConfig, machine: Option<&Machine>) -> String {
    let generation = config.metadata.generation.unwrap_or_default();
    let version = machine.and_then(|machine| machine.spec.version.as_deref()).unwrap_or_default();
    format!("{generation} {version}")
}

/// Returns the inputs of the bootstrap data in a Secret.
pub(super) fn made_from(secret: &PartialObjectMeta<Secret>) -> Option<&str> {
    annotation(&secret.metadata, MADE_FROM)
}

/// Writes bootstrap data to the Secret of a KubeadmConfig and returns its name.
///
/// # Guarantees
///
/// A Secret with this name and another owner is not changed. Existing data is replaced: either no
/// machine has read it, because none knows its name, or it belongs to a pool, whose future machines
/// must join with the new data.
///
/// # Errors
///
/// [`Failure::Invalid`] if the Secret has another owner.
pub(super) async fn store(
    ctx: &Context,
    config: &KubeadmConfig,
    cluster: &Cluster,
    machine: Option<&Machine>,
    existing: Option<&PartialObjectMeta<Secret>>,
    text: String,
) -> Result<String, Failure> {
    let name = config.name_any();
    if let Some(existing) = existing {
        check_owner(config, cluster, existing)?;
    }
    let api: Api<Secret> = namespaced(ctx, config);
    let format = config.spec.format.unwrap_or_default();
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: config.namespace(),
            labels: Some([(labels::CLUSTER_NAME.to_owned(), cluster.name_any())].into()),
            annotations: Some([(MADE_FROM.to_owned(), mark(config, machine))].into()),
            owner_references: config.controller_owner_ref(&()).map(|owner| vec![owner]),
            // An update is based on the version that was read; a create must not find an existing
            // Secret.
            resource_version: existing.and_then(|existing| existing.resource_version()),
            ..ObjectMeta::default()
        },
        type_: Some(labels::CLUSTER_SECRET_TYPE.to_owned()),
        data: Some(
            [
                ("value".to_owned(), ByteString(text.into_bytes())),
                ("format".to_owned(), ByteString(format.as_str().as_bytes().to_vec())),
            ]
            .into(),
        ),
        ..Secret::default()
    };
    let params = PostParams::default();
    match existing {
        None => api.create(&params, &secret).await.map_err(secret_failure("create", config, &name)),
        Some(_) => api
            .replace(&name, &params, &secret)
            .await
            .map_err(secret_failure("replace", config, &name)),
    }?;
    tracing::info!(
        namespace = config.namespace().unwrap_or_default(),
        name,
        cluster = cluster.name_any(),
        "bootstrap data created"
    );
    Ok(name)
}

/// Makes the KubeadmConfig the controller of a Secret that it wrote: after a restore from a backup,
/// the owner reference is stale.
pub(super) async fn own(
    ctx: &Context,
    config: &KubeadmConfig,
    existing: &PartialObjectMeta<Secret>,
) -> Result<(), Failure> {
    let Some(owner) = config.controller_owner_ref(&()) else { return Ok(()) };
    let current = existing.metadata.owner_references.as_ref();
    let Some(owners) = refs::with_owner(current, owner) else { return Ok(()) };
    let others = refs::controller(existing.meta())
        .is_some_and(|controller| !refs::is_kind(controller, GROUP, KIND));
    if others {
        // The user chose a Secret with another owner, which is their decision.
        return Ok(());
    }
    let name = existing.name_any();
    let change = json!({ "metadata": {
        "ownerReferences": owners,
        "resourceVersion": existing.resource_version(),
    } });
    let api: Api<Secret> = namespaced(ctx, config);
    match api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&change)).await {
        Ok(_) => Ok(()),
        Err(error) if is_conflict(&error) => Ok(()),
        Err(error) => Err(secret_failure("patch", config, &name)(error)),
    }
}

fn check_owner(
    config: &KubeadmConfig,
    cluster: &Cluster,
    existing: &PartialObjectMeta<Secret>,
) -> Result<(), Failure> {
    let ours = match refs::controller(existing.meta()) {
        Some(owner) => refs::is_kind(owner, GROUP, KIND) && owner.name == config.name_any(),
        None => {
            existing.labels().get(labels::CLUSTER_NAME).map(String::as_str)
                == Some(cluster.name_any().as_str())
        }
    };
    if ours {
        return Ok(());
    }
    Err(Failure::Invalid {
        object: describe(config),
        problem: format!(
            "the Secret {} exists and does not belong to it; delete or rename that Secret",
            existing.name_any()
        ),
    })
}

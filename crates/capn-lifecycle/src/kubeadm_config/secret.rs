//! The Secret with the boot data of a machine.

use capi_api::{Cluster, KubeadmConfig, labels, refs};
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

/// Writes boot data into the Secret of a KubeadmConfig and returns its name.
///
/// # Guarantees
///
/// A Secret of that name that belongs to something else is left alone. Data that is there already
/// is replaced: nothing has read it, since no machine has been told its name.
///
/// # Errors
///
/// [`Failure::Invalid`] for a Secret that belongs to something else.
pub(super) async fn store(
    ctx: &Context,
    config: &KubeadmConfig,
    cluster: &Cluster,
    existing: Option<&PartialObjectMeta<Secret>>,
    text: String,
) -> Result<String, Failure> {
    let name = config.name_any();
    if let Some(existing) = existing {
        check_owner(config, cluster, existing)?;
    }
    let api: Api<Secret> = namespaced(ctx, config);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: config.namespace(),
            labels: Some([(labels::CLUSTER_NAME.to_owned(), cluster.name_any())].into()),
            owner_references: config.controller_owner_ref(&()).map(|owner| vec![owner]),
            // A replace is of what was read; a create must not find anything.
            resource_version: existing.and_then(|existing| existing.resource_version()),
            ..ObjectMeta::default()
        },
        type_: Some(labels::CLUSTER_SECRET_TYPE.to_owned()),
        data: Some(
            [
                ("value".to_owned(), ByteString(text.into_bytes())),
                ("format".to_owned(), ByteString(b"cloud-config".to_vec())),
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
        "boot data is there"
    );
    Ok(name)
}

/// Makes the KubeadmConfig the controller of a Secret that it wrote: after a restore from a backup
/// the reference names an object that is gone.
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
        // The user named a Secret that is somebody else's; that is theirs to decide.
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

//! Writes the Secrets of a cluster: certificates, keys and the kubeconfig.

use capi_api::{Cluster, KubeadmControlPlane, labels};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};

use super::observe::{Observed, wanted};
use crate::Context;
use crate::error::{Failure, chain, describe, is_conflict};
use crate::kubeconfig;
use crate::objects::controller_of;
use crate::pki::Purpose;
use crate::pki::set::generate;

/// Creates missing certificates and keys.
pub(super) async fn make(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    cluster: &Cluster,
    purposes: &[Purpose],
) -> Result<(), Failure> {
    let namespace = kcp.namespace().unwrap_or_default();
    let set = generate(&wanted(kcp), purposes, ctx.now())
        .await
        .map_err(|error| Failure::Invalid { object: describe(kcp), problem: chain(&error) })?;
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), &namespace);
    for (purpose, pair) in set {
        let name = purpose.secret_name(&cluster.name_any());
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                labels: Some([(labels::CLUSTER_NAME.to_owned(), cluster.name_any())].into()),
                owner_references: controller_of(kcp).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            type_: Some(labels::CLUSTER_SECRET_TYPE.to_owned()),
            data: Some(pair.to_data()),
            ..Secret::default()
        };
        match api.create(&PostParams::default(), &secret).await {
            Ok(_) => {}
            // Another client created it in the meantime; that one is used.
            Err(error) if is_conflict(&error) => {}
            Err(error) => {
                return Err(Failure::api_named("create", "Secret", &namespace, &name)(error));
            }
        }
    }
    tracing::info!(namespace, cluster = cluster.name_any(), "certificates created");
    Ok(())
}

/// Creates or renews the kubeconfig if all inputs exist.
pub(super) async fn write_kubeconfig(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    observed: &Observed,
) -> Result<(), Failure> {
    let cluster = observed.cluster.as_ref();
    let endpoint = cluster.and_then(|cluster| cluster.endpoint());
    let authority = observed.certificates.get(&Purpose::ClusterCa);
    let (Some(cluster), Some(endpoint), Some(authority), Some(owner)) =
        (cluster, endpoint, authority, controller_of(kcp))
    else {
        return Ok(());
    };
    kubeconfig::write(ctx, cluster, observed.kubeconfig.as_ref(), authority, endpoint, owner).await
}

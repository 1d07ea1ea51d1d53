//! CoreDNS of the workload cluster, which gets the image that nodes of the version contain.
//!
//! Cluster API v1.14 uses `dns.imageTag` of the cluster configuration, and does not change CoreDNS
//! if it is not set. On clusters that cannot pull images, DNS would then fail together with the
//! last node of the old version, because nodes of the new version only contain the image of their
//! kubeadm. Therefore that image is used.
//!
//! The Corefile is not changed: from CoreDNS 1.11, which Kubernetes 1.31 uses, to 1.14, options
//! were added but none removed (`migration/versions.go` of coredns/corefile-migration).

use capi_api::KubeadmControlPlane;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::PostParams;
use kube::{Api, Client};
use semver::Version;

use super::upgrade::{REQUEST_TIMEOUT, set_image, with_tag};
use super::validate::Valid;
use super::workload::NAMESPACE;
use crate::error::{Failure, describe};
use crate::objects;
use crate::workload::{self, answer};

/// Name of the Deployment and of its container.
const COREDNS: &str = "coredns";

/// Updates CoreDNS to the image of the control plane's version. A missing Deployment is not an
/// error.
pub(super) async fn update(
    client: &Client,
    kcp: &KubeadmControlPlane,
    valid: &Valid,
) -> Result<(), Failure> {
    let failed = |source: workload::Error| Failure::Workload { object: describe(kcp), source };
    let api: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let act = "read the Deployment kube-system/coredns";
    let found = answer(act, REQUEST_TIMEOUT, api.get_opt(COREDNS)).await.map_err(failed)?;
    let Some(mut deployment) = found else { return Ok(()) };
    let template = &mut deployment.spec.template;
    let Some(new) = set_image(template, COREDNS, |is| image(kcp, &valid.version, is)) else {
        return Ok(());
    };
    tracing::info!(image = new, "updating CoreDNS");
    let act = "replace the Deployment kube-system/coredns";
    let params = PostParams::default();
    answer(act, REQUEST_TIMEOUT, api.replace(COREDNS, &params, &deployment))
        .await
        .map(drop)
        .map_err(failed)
}

/// Returns the new image of CoreDNS. A newer image than that of the version is kept, unless the
/// cluster configuration sets the tag.
pub(super) fn image(kcp: &KubeadmControlPlane, version: &Version, is: &str) -> Option<String> {
    let config = kcp.spec.kubeadm_config_spec.as_ref();
    let cluster = config.and_then(|config| config.cluster_configuration.as_ref());
    let named = cluster.and_then(|cluster| cluster.dns.as_ref()?.image_tag.as_deref());
    if let Some(tag) = named {
        return with_tag(is, tag);
    }
    let tag = tag(version)?;
    let runs = is.rsplit_once(':').and_then(|(_, tag)| objects::version(tag))?;
    (Some(runs) < objects::version(tag)).then(|| with_tag(is, tag))?
}

/// Returns the tag that kubeadm of a version uses. `None` if it is unknown. It must match the
/// `CoreDNS` rows of `capn_plan::versions`, which this crate may use in tests only.
pub(super) fn tag(version: &Version) -> Option<&'static str> {
    match (version.major, version.minor) {
        (1, 0..=32) | (0, _) => None,
        (1, 33) => Some("v1.12.0"),
        (1, 34) => Some("v1.12.1"),
        (1, 35) => Some("v1.13.1"),
        (1, 36) => Some("v1.14.2"),
        _ => Some("v1.14.6"),
    }
}

//! CoreDNS of the workload cluster, which gets the image that nodes of the version have.
//!
//! Cluster API v1.14 takes its tag from `dns.imageTag` of the cluster configuration, and leaves CoreDNS as it
//! is where there is none. Then the last node of the old version would take DNS with it where images cannot
//! be pulled: nodes of the new version have the image that their kubeadm asks for. So that one it is.
//!
//! Its Corefile stays: from CoreDNS 1.11, which Kubernetes 1.31 has, to 1.14 options have come and none have
//! gone (`migration/versions.go` of coredns/corefile-migration).

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

/// Gives CoreDNS the image of the control plane's version. It is fine if there is none.
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
    tracing::info!(image = new, "bring CoreDNS up to date");
    let act = "replace the Deployment kube-system/coredns";
    let params = PostParams::default();
    answer(act, REQUEST_TIMEOUT, api.replace(COREDNS, &params, &deployment))
        .await
        .map(drop)
        .map_err(failed)
}

/// The image that CoreDNS is to have. One that is newer than that of the version stays, unless the
/// cluster configuration names the tag.
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

/// The tag that kubeadm of a version asks for; `None` where it is not known. The same as the rows
/// `CoreDNS` of `capn_plan::versions`, which this crate may use in tests only.
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

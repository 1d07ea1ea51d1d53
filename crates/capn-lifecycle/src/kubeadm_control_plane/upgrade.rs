//! Changes in the workload cluster itself for a new version, besides its machines.
//!
//! A joining machine reads the cluster configuration, including the version of its static pods,
//! from the ConfigMap `kubeadm-config`, so this one is updated first. kube-proxy and
//! [CoreDNS](super::coredns) follow when all control plane machines are up to date.

use std::time::Duration;

use capi_api::{Cluster, KubeadmControlPlane};
use capn_text::yaml::{self, Bounds};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::Value;

use super::desired::kubeadm_config_spec;
use super::kube_proxy::KUBE_PROXY;
use super::validate::Valid;
use super::workload::NAMESPACE;
use crate::error::{Failure, chain, describe};
use crate::kubeadm_config::data::facts;
use crate::kubeadm_config::render::documents::{ApiVersion, cluster_configuration};
use crate::workload::{self, answer};

const CONFIG_MAP: &str = "kubeadm-config";
/// Key of the ConfigMap that holds the configuration.
const DOCUMENT: &str = "ClusterConfiguration";
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Fields that the control plane sets. The others stay as kubeadm wrote them.
const OURS: [&str; 11] = [
    "apiServer",
    "caCertificateValidityPeriod",
    "certificateValidityPeriod",
    "controllerManager",
    "dns",
    "encryptionAlgorithm",
    "etcd",
    "featureGates",
    "imageRepository",
    "kubernetesVersion",
    "scheduler",
];

/// Updates the ConfigMap. Can be repeated; a conflict is retried in the next reconcile.
pub(super) async fn kubeadm_config(
    client: &Client,
    kcp: &KubeadmControlPlane,
    valid: &Valid,
    cluster: &Cluster,
) -> Result<(), Failure> {
    let failed = |source| Failure::Workload { object: describe(kcp), source };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let act = "read the ConfigMap kube-system/kubeadm-config";
    let mut map = answer(act, REQUEST_TIMEOUT, api.get(CONFIG_MAP)).await.map_err(failed)?;
    let data = map.data.get_or_insert_default();
    let old = data.get(DOCUMENT).cloned().unwrap_or_default();
    let new = document(kcp, valid, cluster, &old)
        .map_err(|problem| Failure::Invalid { object: describe(kcp), problem })?;
    if new == old {
        return Ok(());
    }
    data.insert(DOCUMENT.to_owned(), new);
    tracing::info!(version = kcp.spec.version, "updating kubeadm-config");
    let act = "replace the ConfigMap kube-system/kubeadm-config";
    let params = PostParams::default();
    answer(act, REQUEST_TIMEOUT, api.replace(CONFIG_MAP, &params, &map))
        .await
        .map(drop)
        .map_err(failed)
}

/// Returns the configuration with the fields of the control plane. Pure. Returns the old text if
/// nothing changes.
pub(super) fn document(
    kcp: &KubeadmControlPlane,
    valid: &Valid,
    cluster: &Cluster,
    old: &str,
) -> Result<String, String> {
    let api = ApiVersion::of(&valid.version)
        .ok_or_else(|| format!("Kubernetes {} is too old", kcp.spec.version))?;
    let spec = kubeadm_config_spec(kcp, &valid.version, false);
    let init = spec.init_configuration.as_ref();
    let text = cluster_configuration(
        api,
        spec.cluster_configuration.as_ref(),
        &facts(cluster, Some(kcp.spec.version.clone())),
        init.and_then(|init| init.timeouts.as_ref()),
    )
    .map_err(|error| chain(&error))?;
    let read = |text: &str| {
        yaml::from_str::<Value>(text, Bounds::OBJECT).map_err(|error| error.to_string())
    };
    let mut wanted = read(&text)?;
    let before = read(old).unwrap_or_default();
    // Another API version has other fields, so only the new ones are certain to be valid.
    if before.get("apiVersion") == wanted.get("apiVersion")
        && let (Some(before), Some(wanted)) = (before.as_object(), wanted.as_object_mut())
    {
        for (key, value) in before {
            if !OURS.contains(&key.as_str()) {
                wanted.insert(key.clone(), value.clone());
            }
        }
        // Values that kubeadm set are equal to the ones that are omitted here.
        let ours = |map: &serde_json::Map<String, Value>, key: &str| {
            map.get(key).cloned().and_then(without_defaults)
        };
        if OURS.iter().all(|key| ours(before, key) == ours(wanted, key)) {
            return Ok(old.to_owned());
        }
    }
    serde_saphyr::to_string(&wanted).map_err(|error| error.to_string())
}

/// Removes empty values and kubeadm's defaults.
fn without_defaults(value: Value) -> Option<Value> {
    const DEFAULTS: [&str; 5] =
        ["/var/lib/etcd", "registry.k8s.io", "RSA-2048", "8760h0m0s", "87600h0m0s"];
    match value {
        Value::Object(map) => {
            let kept: serde_json::Map<_, _> = map
                .into_iter()
                .filter_map(|(key, value)| Some((key, without_defaults(value)?)))
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(list) => (!list.is_empty()).then_some(Value::Array(list)),
        Value::Null => None,
        Value::String(text) if DEFAULTS.contains(&text.as_str()) => None,
        other => Some(other),
    }
}

/// Updates kube-proxy to the version of the control plane. A missing DaemonSet is not an error.
pub(super) async fn kube_proxy(client: &Client, kcp: &KubeadmControlPlane) -> Result<(), Failure> {
    let failed = |source: workload::Error| Failure::Workload { object: describe(kcp), source };
    let api: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    let act = "read the DaemonSet kube-system/kube-proxy";
    let found = answer(act, REQUEST_TIMEOUT, api.get_opt(KUBE_PROXY)).await.map_err(failed)?;
    let Some(mut set) = found else { return Ok(()) };
    let template = &mut set.spec.template;
    let Some(new) = set_image(template, KUBE_PROXY, |is| with_tag(is, &kcp.spec.version)) else {
        return Ok(());
    };
    tracing::info!(image = new, "updating kube-proxy");
    let act = "replace the DaemonSet kube-system/kube-proxy";
    let params = PostParams::default();
    answer(act, REQUEST_TIMEOUT, api.replace(KUBE_PROXY, &params, &set))
        .await
        .map(drop)
        .map_err(failed)
}

/// Changes the image of a container and returns the new one. `None` if it stays the same.
pub(super) fn set_image(
    template: &mut PodTemplateSpec,
    container: &str,
    wanted: impl FnOnce(&str) -> Option<String>,
) -> Option<String> {
    let pod = template.spec.as_mut()?;
    let found = pod.containers.iter_mut().find(|found| found.name == container)?;
    let image = found.image.as_mut()?;
    let new = wanted(image).filter(|new| new != image)?;
    image.clone_from(&new);
    Some(new)
}

/// Returns an image with another tag. `None` for an image that is pinned by digest.
pub(super) fn with_tag(image: &str, version: &str) -> Option<String> {
    if image.contains('@') {
        return None;
    }
    // A colon before the last slash belongs to a port.
    let name = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    };
    Some(format!("{name}:{}", version.replace('+', "_")))
}

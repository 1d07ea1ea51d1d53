//! Machine templates and the MachineDeployment of workers.

use capi_api::labels;
use serde_json::{Value, json};

use super::Document;
use super::POOL_ANNOTATION;
use super::cluster::{BOOTSTRAP, CORE, INFRASTRUCTURE, metadata};
use super::pool::{Labeller, Pool};
use super::request::{Bootstrap, ClusterRequest};

/// Default image of machines without Kubernetes.
const NODE_IMAGE: &str = capn_image::catalog::NODE_ALIAS;

/// Spec of an LXCMachine.
pub(super) fn machine_spec(request: &ClusterRequest) -> Value {
    let mut spec = json!({ "instanceType": "container" });
    let image = match (&request.image, request.bootstrap) {
        (Some(image), _) => Some(image.as_str()),
        (None, Bootstrap::None) => Some(NODE_IMAGE),
        (None, Bootstrap::Kubeadm) => None,
    };
    if let Some(image) = image {
        spec["image"] = json!({ "name": image });
    }
    if let Some(flavor) = &request.flavor {
        spec["flavor"] = json!(flavor);
    }
    if !request.profiles.is_empty() {
        spec["profiles"] = json!(request.profiles);
    }
    let devices = request.machine_devices();
    if !devices.is_empty() {
        spec["devices"] = json!(devices);
    }
    let config = request.machine_config();
    if !config.is_empty() {
        spec["config"] = json!(config);
    }
    spec
}

/// Machine template. Joining machines are created while the control plane initializes.
pub(super) fn template(request: &ClusterRequest, name: &str) -> Document {
    let mut spec = machine_spec(request);
    if request.bootstrap == Bootstrap::Kubeadm {
        spec["createBeforeBootstrapData"] = json!(true);
    }
    Document::new(json!({
        "apiVersion": format!("{INFRASTRUCTURE}/v1alpha2"),
        "kind": "LXCMachineTemplate",
        "metadata": metadata(request, name),
        "spec": { "template": { "spec": spec } },
    }))
}

pub(super) fn deployment(request: &ClusterRequest, pool: &Pool) -> Document {
    let name = request.deployment_name(&pool.name);
    let selector = json!({
        labels::CLUSTER_NAME: request.name,
        labels::DEPLOYMENT_NAME: name,
    });
    let bootstrap = match request.bootstrap {
        Bootstrap::Kubeadm => json!({
            "configRef": { "apiGroup": BOOTSTRAP, "kind": "KubeadmConfigTemplate", "name": name },
        }),
        Bootstrap::None => json!({ "dataSecretName": request.bootstrap_name() }),
    };
    let mut spec = json!({
        "bootstrap": bootstrap,
        "clusterName": request.name,
        "infrastructureRef": {
            "apiGroup": INFRASTRUCTURE,
            "kind": "LXCMachineTemplate",
            "name": name,
        },
    });
    if let Some(version) = &request.kubernetes_version {
        spec["version"] = json!(version);
    }
    let mut machine_labels = selector.clone();
    for (key, value) in pool.labels_by(Labeller::Machine) {
        machine_labels[key] = json!(value);
    }
    // Same as `spec.replicas`, which others may change.
    let recorded = Pool { workers: None, ..pool.clone() };
    let mut metadata = metadata(request, &name);
    // A plain struct of strings; serializing it cannot fail.
    metadata["annotations"] =
        json!({ POOL_ANNOTATION: serde_json::to_string(&recorded).unwrap_or_default() });
    Document::new(json!({
        "apiVersion": format!("{CORE}/v1beta2"),
        "kind": "MachineDeployment",
        "metadata": metadata,
        "spec": {
            "clusterName": request.name,
            "replicas": pool.count(),
            "selector": { "matchLabels": selector },
            "template": { "metadata": { "labels": machine_labels }, "spec": spec },
        },
    }))
}

//! `--bootstrap none`: machines without a bootstrap provider and without a control plane object.

use capi_api::labels;
use serde_json::json;

use super::Document;
use super::cluster::{CORE, INFRASTRUCTURE, metadata};
use super::machines::machine_spec;
use super::request::ClusterRequest;

/// Bootstrap data of instances if none is given: an empty cloud-config.
const EMPTY_CLOUD_CONFIG: &str = "#cloud-config\n{}\n";

pub(super) fn bootstrap_data(request: &ClusterRequest, data: Option<&str>) -> Document {
    let mut metadata = metadata(request, &request.bootstrap_name());
    metadata["labels"][labels::MOVE] = json!("true");
    Document::new(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "stringData": {
            "format": "cloud-config",
            "value": data.unwrap_or(EMPTY_CLOUD_CONFIG),
        },
        "type": labels::CLUSTER_SECRET_TYPE,
    }))
}

/// One LXCMachine and one Machine per control plane.
pub(super) fn control_planes(request: &ClusterRequest) -> Vec<Document> {
    (0..request.control_planes).flat_map(|index| control_plane(request, index)).collect()
}

fn control_plane(request: &ClusterRequest, index: u32) -> [Document; 2] {
    let name = format!("{}-{index}", request.control_plane_name());
    let mut metadata = metadata(request, &name);
    metadata["labels"][labels::CONTROL_PLANE] = json!("");
    let mut spec = json!({
        "bootstrap": { "dataSecretName": request.bootstrap_name() },
        "clusterName": request.name,
        "infrastructureRef": {
            "apiGroup": INFRASTRUCTURE,
            "kind": "LXCMachine",
            "name": name,
        },
    });
    if let Some(version) = &request.kubernetes_version {
        spec["version"] = json!(version);
    }
    [
        Document::new(json!({
            "apiVersion": format!("{INFRASTRUCTURE}/v1alpha2"),
            "kind": "LXCMachine",
            "metadata": metadata,
            "spec": machine_spec(request),
        })),
        Document::new(json!({
            "apiVersion": format!("{CORE}/v1beta2"),
            "kind": "Machine",
            "metadata": metadata,
            "spec": spec,
        })),
    ]
}

//! MachineHealthChecks that a cluster gets by default.

use capi_api::labels;
use serde_json::{Value, json};

use super::Document;
use super::cluster::{CORE, metadata};
use super::request::{Bootstrap, ClusterRequest, Cni};

/// Seconds that a node may be not Ready.
const NOT_READY: u32 = 300;
/// Seconds until a machine must have a node; Cluster API's default.
const STARTUP: u32 = 600;
/// Factor for the startup timeout if packages are downloaded first.
const INSTALLING: u32 = 3;
/// Pools with fewer workers get no percentage limit: 40% of two is zero.
const FEW: u32 = 3;

/// Returns a health check of the control plane. It has no effect below three machines, but the
/// cluster may be scaled up later.
pub(super) fn control_plane(request: &ClusterRequest) -> Option<Document> {
    let name = request.control_plane_name();
    are_made(request).then(|| check(request, &name, labels::CONTROL_PLANE, "", &json!("40%")))
}

/// Returns a health check of a pool's workers; `request` is the pool's request.
pub(super) fn workers(request: &ClusterRequest, deployment: &str) -> Option<Document> {
    let most = match request.workers {
        0..FEW => json!(1),
        _ => json!("40%"),
    };
    let label = labels::DEPLOYMENT_NAME;
    are_made(request).then(|| check(request, deployment, label, deployment, &most))
}

/// Returns whether there are health checks. Not without Kubernetes, and not if the user installs
/// the pod network, since nodes are not Ready until then.
fn are_made(request: &ClusterRequest) -> bool {
    let is_known = request.bootstrap == Bootstrap::Kubeadm && request.cni != Cni::None;
    request.machine_health_checks && is_known
}

fn check(request: &ClusterRequest, name: &str, label: &str, value: &str, most: &Value) -> Document {
    let factor = request.timeouts.factor();
    let installing = if request.install_kubeadm { INSTALLING } else { 1 };
    let not_ready = NOT_READY * factor;
    Document::new(json!({
        "apiVersion": format!("{CORE}/v1beta2"),
        "kind": "MachineHealthCheck",
        "metadata": metadata(request, name),
        "spec": {
            "clusterName": request.name,
            "selector": { "matchLabels": {
                labels::CLUSTER_NAME: request.name,
                label: value,
            } },
            "checks": {
                "nodeStartupTimeoutSeconds": STARTUP * factor * installing,
                "unhealthyNodeConditions": [
                    { "type": "Ready", "status": "Unknown", "timeoutSeconds": not_ready },
                    { "type": "Ready", "status": "False", "timeoutSeconds": not_ready },
                ],
            },
            "remediation": { "triggerIf": { "unhealthyLessThanOrEqualTo": most } },
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::super::request::Timeouts;
    use super::super::request::testing::demo;
    use super::*;

    fn of(request: &ClusterRequest) -> Vec<(String, String, u64)> {
        let text = |document: &Document, pointer| match document.value().pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            other => other.map(ToString::to_string).unwrap_or_default(),
        };
        let startup = "/spec/checks/nodeStartupTimeoutSeconds";
        let of_pools = request.pools().into_iter().filter_map(|pool| {
            workers(&request.of_pool(&pool), &request.deployment_name(&pool.name))
        });
        control_plane(request)
            .iter()
            .chain(&of_pools.collect::<Vec<_>>())
            .map(|document| {
                (
                    document.name().to_owned(),
                    text(document, "/spec/remediation/triggerIf/unhealthyLessThanOrEqualTo"),
                    text(document, startup).parse().unwrap_or_default(),
                )
            })
            .collect()
    }

    #[test]
    fn machines_of_both_kinds_are_checked() {
        let of_both = |workers: &str, startup| {
            vec![
                ("demo-control-plane".to_owned(), "40%".to_owned(), startup),
                ("demo-md-0".to_owned(), workers.to_owned(), startup),
            ]
        };
        for (request, expected) in [
            (demo(), of_both("1", 600)),
            (ClusterRequest { workers: 0, ..demo() }, of_both("1", 600)),
            (ClusterRequest { workers: 2, ..demo() }, of_both("1", 600)),
            (ClusterRequest { workers: 3, ..demo() }, of_both("40%", 600)),
            (ClusterRequest { timeouts: Timeouts::Slow, ..demo() }, of_both("1", 3000)),
            (ClusterRequest { install_kubeadm: true, ..demo() }, of_both("1", 1800)),
            (ClusterRequest { machine_health_checks: false, ..demo() }, Vec::new()),
            (ClusterRequest { cni: Cni::None, ..demo() }, Vec::new()),
            (ClusterRequest { bootstrap: Bootstrap::None, ..demo() }, Vec::new()),
        ] {
            assert_eq!(of(&request), expected, "{request:?}");
        }
    }
}

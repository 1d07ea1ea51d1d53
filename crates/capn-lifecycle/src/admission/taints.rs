//! Taints that machines may set on their nodes.

use capi_api::core::MachineTaint;
use capi_api::labels;

use super::Problem;

/// The only `node.kubernetes.io` taint that users set.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// Name of the control plane taint in kubeadm before 1.24.
const MASTER: &str = "node-role.kubernetes.io/master";

/// Rejects taints that belong to controllers, like Cluster API v1.14.
pub(super) fn check_taints(
    field: &str,
    taints: Option<&Vec<MachineTaint>>,
    is_worker: bool,
) -> Vec<Problem> {
    let is_of = |key: &str, domain: &str| key.split_once('/').is_some_and(|(of, _)| of == domain);
    let problem = |key: &str| match key {
        labels::NODE_UNINITIALIZED_TAINT | labels::NODE_OUTDATED_REVISION_TAINT => {
            Some("is set and removed by controllers")
        }
        MASTER => Some("has not been used since Kubernetes 1.24"),
        CONTROL_PLANE if is_worker => Some("is not allowed on workers"),
        OUT_OF_SERVICE => None,
        key if is_of(key, "node.kubernetes.io") => Some(
            "is reserved for Kubernetes; of node.kubernetes.io/ only out-of-service may be set",
        ),
        key if is_of(key, "node.cloudprovider.kubernetes.io") => {
            Some("is reserved for cloud controllers")
        }
        _ => None,
    };
    taints
        .into_iter()
        .flatten()
        .enumerate()
        .filter_map(|(at, taint)| {
            let why = problem(&taint.key)?;
            Some(Problem::new(format!("{field}[{at}].key"), format!("{} {why}", taint.key)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_of_controllers_are_refused() {
        for (key, is_worker, refused) in [
            ("gpu", true, false),
            ("example.com/gpu", false, false),
            ("node.kubernetes.io/out-of-service", true, false),
            ("node.kubernetes.io/unreachable", true, true),
            ("node.kubernetes.io.example.com/x", true, false),
            ("node.cloudprovider.kubernetes.io/uninitialized", false, true),
            ("node.cluster.x-k8s.io/uninitialized", false, true),
            ("node.cluster.x-k8s.io/outdated-revision", false, true),
            ("node-role.kubernetes.io/master", false, true),
            ("node-role.kubernetes.io/control-plane", false, false),
            ("node-role.kubernetes.io/control-plane", true, true),
        ] {
            let taints = vec![
                MachineTaint { key: "fine".into(), ..MachineTaint::default() },
                MachineTaint { key: key.into(), ..MachineTaint::default() },
            ];
            let found = check_taints("spec.taints", Some(&taints), is_worker);
            let fields: Vec<_> = found.iter().map(|problem| problem.field.as_str()).collect();
            let expected: &[&str] = if refused { &["spec.taints[1].key"] } else { &[] };
            assert_eq!(fields, expected, "{key}");
        }
        assert_eq!(check_taints("x", None, true), []);
    }
}

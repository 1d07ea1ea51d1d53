//! MachinePool.

use capi_api::{MachinePool, labels};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::Problem;
use super::fields::{
    check_bootstrap, check_cluster_name, check_version, default, prefix_version, set, text, typed,
};
use super::replicas;

/// Default timeout for the deletion of the Node, in seconds.
const NODE_DELETION_TIMEOUT_SECS: i32 = 10;
/// Maximum number of machines of a pool, like that of a MachineSet.
const MOST: i32 = 1_000;

pub(super) fn mutate(object: &mut Value, old: Option<&Value>) {
    if let Some(cluster) = text(object, "/spec/clusterName").map(str::to_owned) {
        set(object, &["metadata", "labels", labels::CLUSTER_NAME], json!(cluster));
    }
    replicas::default(object, old);
    default(
        object,
        &["spec", "template", "spec", "deletion", "nodeDeletionTimeoutSeconds"],
        json!(NODE_DELETION_TIMEOUT_SECS),
    );
    prefix_version(object, &["spec", "template", "spec", "version"]);
}

pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let pool: MachinePool = match typed(new) {
        Ok(pool) => pool,
        Err(problems) => return problems,
    };
    let (spec, template) = (&pool.spec, &pool.spec.template.spec);
    let mut problems = Vec::new();
    if pool.name_any().len() > 63 {
        problems.push(Problem::new(
            "metadata.name",
            "must have at most 63 characters: it becomes a label of the machines",
        ));
    }
    problems.extend(check_cluster_name(new, old));
    if template.cluster_name != spec.cluster_name {
        problems.push(Problem::new(
            "spec.template.spec.clusterName",
            format!("must be \"{}\", like spec.clusterName", spec.cluster_name),
        ));
    }
    problems.extend(check_bootstrap("spec.template.spec.bootstrap", &template.bootstrap));
    problems.extend(check_version("spec.template.spec.version", template.version.as_deref()));
    match spec.replicas {
        Some(replicas) if replicas < 0 => {
            problems.push(Problem::new("spec.replicas", "must not be negative"));
        }
        Some(replicas) if replicas > MOST => {
            problems.push(Problem::new("spec.replicas", format!("must not be more than {MOST}")));
        }
        Some(_) | None => {}
    }
    if template.taints.as_ref().is_some_and(|taints| !taints.is_empty()) {
        problems.push(Problem::new(
            "spec.template.spec.taints",
            "are not supported for a MachinePool: set them in the nodeRegistration of its KubeadmConfig",
        ));
    }
    problems
}

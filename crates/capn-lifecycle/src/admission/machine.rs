//! Machine.

use capi_api::{Machine, labels};
use serde_json::{Value, json};

use super::Problem;
use super::fields::{
    check_bootstrap, check_cluster_name, check_version, default, prefix_version, set, text, typed,
};
use super::taints::check_taints;
use crate::objects::label;

/// Default timeout for the deletion of the Node, in seconds.
const NODE_DELETION_TIMEOUT_SECS: i32 = 10;

pub(super) fn mutate(object: &mut Value, _: Option<&Value>) {
    if let Some(cluster) = text(object, "/spec/clusterName").map(str::to_owned) {
        set(object, &["metadata", "labels", labels::CLUSTER_NAME], json!(cluster));
    }
    prefix_version(object, &["spec", "version"]);
    default(
        object,
        &["spec", "deletion", "nodeDeletionTimeoutSeconds"],
        json!(NODE_DELETION_TIMEOUT_SECS),
    );
}

pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let machine: Machine = match typed(new) {
        Ok(machine) => machine,
        Err(problems) => return problems,
    };
    let mut problems = Vec::new();
    if label(&machine.metadata, labels::POOL_NAME).is_none() {
        problems.extend(check_bootstrap("spec.bootstrap", &machine.spec.bootstrap));
    }
    problems.extend(check_cluster_name(new, old));
    problems.extend(check_version("spec.version", machine.spec.version.as_deref()));
    let is_worker = !machine.is_control_plane();
    problems.extend(check_taints("spec.taints", machine.spec.taints.as_ref(), is_worker));
    problems
}

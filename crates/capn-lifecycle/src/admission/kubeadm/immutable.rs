//! Fields of a control plane that can be changed after its creation.
//!
//! Settings that `kubeadm init` applies once and that cannot be changed later are immutable, for
//! example the certificate paths and the stable endpoint.

use serde_json::Value;

use super::super::Problem;
use crate::patch::merge_diff;

/// Mutable paths. Everything below them is mutable too.
const MUTABLE: &[&[&str]] = &[
    &["spec", "replicas"],
    &["spec", "version"],
    &["spec", "machineTemplate", "metadata"],
    &["spec", "machineTemplate", "spec"],
    &["spec", "machineNaming"],
    &["spec", "remediation"],
    &["spec", "rollout"],
    &["spec", "kubeadmConfigSpec", "clusterConfiguration", "etcd"],
    &["spec", "kubeadmConfigSpec", "clusterConfiguration", "dns"],
    &["spec", "kubeadmConfigSpec", "clusterConfiguration", "imageRepository"],
    &["spec", "kubeadmConfigSpec", "clusterConfiguration", "featureGates"],
    &["spec", "kubeadmConfigSpec", "clusterConfiguration", "apiServer"],
    &["spec", "kubeadmConfigSpec", "clusterConfiguration", "controllerManager"],
    &["spec", "kubeadmConfigSpec", "clusterConfiguration", "scheduler"],
    &["spec", "kubeadmConfigSpec", "clusterConfiguration", "certificateValidityPeriodDays"],
    &["spec", "kubeadmConfigSpec", "clusterConfiguration", "encryptionAlgorithm"],
    &["spec", "kubeadmConfigSpec", "initConfiguration"],
    &["spec", "kubeadmConfigSpec", "joinConfiguration"],
    &["spec", "kubeadmConfigSpec", "bootCommands"],
    &["spec", "kubeadmConfigSpec", "preKubeadmCommands"],
    &["spec", "kubeadmConfigSpec", "postKubeadmCommands"],
    &["spec", "kubeadmConfigSpec", "files"],
    &["spec", "kubeadmConfigSpec", "verbosity"],
    &["spec", "kubeadmConfigSpec", "users"],
    &["spec", "kubeadmConfigSpec", "ntp"],
    &["spec", "kubeadmConfigSpec", "ignition"],
    &["spec", "kubeadmConfigSpec", "diskSetup"],
    &["spec", "kubeadmConfigSpec", "format"],
    &["spec", "kubeadmConfigSpec", "mounts"],
];

/// Returns the forbidden changes.
pub(super) fn check(new: &Value, old: &Value) -> Vec<Problem> {
    let spec = |object: &Value| object.get("spec").cloned().unwrap_or_default();
    let Some(change) = merge_diff(&spec(old), &spec(new)) else { return Vec::new() };
    let mut changed = Vec::new();
    leaves(&change, &mut vec!["spec".to_owned()], &mut changed);
    changed
        .into_iter()
        .filter(|path| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            !MUTABLE.iter().any(|allowed| path.starts_with(allowed))
        })
        .map(|path| Problem::new(path.join("."), "cannot be changed"))
        .collect()
}

fn leaves(change: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match change {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key.clone());
                leaves(value, path, found);
                path.pop();
            }
        }
        // A section that is added or removed as a whole, such as `kubeadmConfigSpec`, is checked as
        // one field.
        _ => found.push(path.clone()),
    }
}

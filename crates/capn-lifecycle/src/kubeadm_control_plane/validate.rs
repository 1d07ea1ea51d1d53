//! Validates a control plane. Pure.
//!
//! The admission rejects most invalid objects; this catches objects that bypassed it.

use capi_api::KubeadmControlPlane;
use semver::Version;

use super::desired::machine_name;
use crate::objects;

/// A validated control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Valid {
    /// Desired number of machines.
    pub(super) replicas: usize,
    /// Desired version.
    pub(super) version: Version,
    /// Whether etcd runs on the machines.
    pub(super) etcd_is_stacked: bool,
    /// Number of additional machines during a rollout: 0 or 1.
    pub(super) max_surge: usize,
}

/// A problem that a user must fix. The message names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Problem(pub(super) String);

/// Validates a control plane.
pub(super) fn validate(kcp: &KubeadmControlPlane) -> Result<Valid, Problem> {
    let replicas = kcp.spec.replicas.unwrap_or(1);
    let Some(replicas) = usize::try_from(replicas).ok().filter(|replicas| *replicas > 0) else {
        return problem(format!("spec.replicas: {replicas} is not greater than 0"));
    };
    let etcd_is_stacked = has_stacked_etcd(kcp);
    if etcd_is_stacked && replicas % 2 == 0 {
        return problem(format!(
            "spec.replicas: {replicas} is even, but etcd on the machines needs an odd number"
        ));
    }
    let text = &kcp.spec.version;
    let Some(version) = objects::version(text) else {
        return problem(format!("spec.version: {text} is not a version"));
    };
    // A machine always has a cluster name, so this only checks the template.
    if let Err(wrong) = machine_name(kcp, "cluster", "abcde") {
        return problem(format!("spec.machineNaming.template: {wrong}"));
    }
    Ok(Valid { replicas, version, etcd_is_stacked, max_surge: max_surge(kcp) })
}

/// Returns whether etcd runs on the control plane machines.
pub(super) fn has_stacked_etcd(kcp: &KubeadmControlPlane) -> bool {
    let spec = kcp.spec.kubeadm_config_spec.as_ref();
    let etcd = spec
        .and_then(|spec| spec.cluster_configuration.as_ref())
        .and_then(|configuration| configuration.etcd.as_ref());
    etcd.is_none_or(|etcd| etcd.external.is_none())
}

fn max_surge(kcp: &KubeadmControlPlane) -> usize {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    let strategy = kcp.spec.rollout.as_ref().and_then(|rollout| rollout.strategy.as_ref());
    match strategy.and_then(|s| s.rolling_update.as_ref()).and_then(|u| u.max_surge.as_ref()) {
        Some(IntOrString::Int(0)) => 0,
        Some(IntOrString::String(text)) if text.trim() == "0" => 0,
        _ => 1,
    }
}

fn problem<T>(text: impl Into<String>) -> Result<T, Problem> {
    Err(Problem(text.into()))
}

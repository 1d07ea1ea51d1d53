//! Compares a machine with the spec of its control plane. Pure.

use capi_api::bootstrap::{
    Format, ImagePullPolicy, JoinConfiguration, JoinControlPlane, KubeadmConfigSpec,
    NodeRegistrationOptions, Timeouts,
};
use capi_api::{KubeadmConfig, KubeadmControlPlane, labels};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::Value;

use super::desired::kubeadm_config_spec;
use super::observe::OwnedMachine;
use super::validate::Valid;
use crate::objects::annotation;

/// Returns the differences between a machine and the spec, one per line. Empty if it need not be
/// replaced.
///
/// Fields that are updated in place (labels, annotations, timeouts, gates, taints) and the failure
/// domain are ignored.
pub(super) fn differences(
    kcp: &KubeadmControlPlane,
    valid: &Valid,
    owned: &OwnedMachine,
    now: Timestamp,
) -> Vec<String> {
    let mut lines = Vec::new();
    let runs = owned.machine.spec.version.as_deref().unwrap_or("none");
    if runs != kcp.spec.version {
        lines.push(format!("Version {runs}, {} required", kcp.spec.version));
    }
    if let Some(config) = &owned.config
        && !is_same_config(kcp, valid, config)
    {
        lines.push("KubeadmConfig is not up-to-date".to_owned());
    }
    let template = &kcp.spec.machine_template.spec.infrastructure_ref;
    if let Some(meta) = owned.infrastructure.as_ref().map(|object| &object.metadata) {
        let from = annotation(meta, labels::CLONED_FROM_NAME);
        let kind = annotation(meta, labels::CLONED_FROM_GROUP_KIND);
        // A machine that lost its annotations, for example by a restore, is not replaced for that.
        let differs = from.is_some_and(|name| name != template.name)
            || kind.is_some_and(|kind| kind != template.group_kind());
        if differs {
            lines.push(format!("{} is not up-to-date", owned.machine.spec.infrastructure_ref.kind));
        }
    }
    let after = kcp.spec.rollout.as_ref().and_then(|rollout| rollout.after.as_ref());
    let made = owned.machine.creation_timestamp();
    if let (Some(after), Some(made)) = (after, made)
        && after.0 <= now
        && made.0 < after.0
    {
        lines.push("KubeadmControlPlane spec.rollout.after expired".to_owned());
    }
    if let Some(days) = expires_within(kcp, owned, now) {
        lines.push(format!("Certificates will expire soon, rolloutBefore expired ({days} days)"));
    }
    lines
}

/// Returns the configured number of days if the certificates of the machine expire sooner.
fn expires_within(kcp: &KubeadmControlPlane, owned: &OwnedMachine, now: Timestamp) -> Option<i32> {
    let before = kcp.spec.rollout.as_ref()?.before.as_ref()?;
    let days = before.certificates_expiry_days?;
    let end = owned.machine.status.as_ref()?.certificates_expiry_date.as_ref()?;
    let left = end.0.duration_since(now);
    (left < jiff::SignedDuration::from_hours(24 * i64::from(days))).then_some(days)
}

/// Like Cluster API v1.14 (`matchesKubeadmConfig`), the first machine is compared twice: it is not
/// replaced if it matches either a joining or an initializing machine.
fn is_same_config(kcp: &KubeadmControlPlane, valid: &Valid, config: &KubeadmConfig) -> bool {
    // A machine is compared with a machine of its own version, so that a version change is reported
    // only once.
    let is_like = |joins: bool, have: &KubeadmConfigSpec| {
        let wanted = kubeadm_config_spec(kcp, &valid.version, joins);
        comparable(have) == comparable(&wanted)
    };
    if config.spec.join_configuration.is_some() {
        return is_like(true, &config.spec);
    }
    let asked = kcp.spec.kubeadm_config_spec.as_ref();
    let path = asked.and_then(|spec| spec.join_configuration.as_ref()?.ca_cert_path.clone());
    is_like(false, &config.spec) || is_like(true, &as_joining(&config.spec, path))
}

/// Converts the spec of an initializing machine to that of a joining one. The path of the CA
/// certificate has no meaning for it.
fn as_joining(spec: &KubeadmConfigSpec, ca_cert_path: Option<String>) -> KubeadmConfigSpec {
    let mut spec = spec.clone();
    let init = spec.init_configuration.take().unwrap_or_default();
    spec.join_configuration = Some(JoinConfiguration {
        node_registration: init.node_registration,
        control_plane: Some(JoinControlPlane { local_api_endpoint: init.local_api_endpoint }),
        skip_phases: init.skip_phases,
        patches: init.patches,
        timeouts: init.timeouts,
        ca_cert_path,
        ..JoinConfiguration::default()
    });
    spec
}

/// Removes everything that does not require a new machine: fields that the bootstrap controller
/// sets (discovery, endpoint), fields that are updated in place (DNS) or only affect the next
/// machine (the control plane timeout), version-dependent feature gates, default values, and empty
/// fields. See `PrepareKubeadmConfigsForDiff` of Cluster API v1.14.
fn comparable(spec: &KubeadmConfigSpec) -> Option<Value> {
    let mut spec = spec.clone();
    if let Some(join) = &mut spec.join_configuration {
        join.discovery = None;
        forget(join.timeouts.as_mut(), join.node_registration.as_mut());
    }
    if let Some(init) = &mut spec.init_configuration {
        forget(init.timeouts.as_mut(), init.node_registration.as_mut());
    }
    if let Some(configuration) = &mut spec.cluster_configuration {
        configuration.feature_gates.remove("ControlPlaneKubeletLocalMode");
        configuration.control_plane_endpoint = None;
        configuration.dns = None;
    }
    spec.format = spec.format.filter(|format| *format != Format::CloudConfig);
    without_empty(serde_json::to_value(spec).ok()?)
}

/// Removes the control plane timeout, and the pull policy if it is the default.
fn forget(timeouts: Option<&mut Timeouts>, node: Option<&mut NodeRegistrationOptions>) {
    if let Some(timeouts) = timeouts {
        timeouts.control_plane_component_health_check_seconds = None;
    }
    if let Some(node) = node
        && node.image_pull_policy == Some(ImagePullPolicy::IfNotPresent)
    {
        node.image_pull_policy = None;
    }
}

fn without_empty(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            let kept: serde_json::Map<_, _> = map
                .into_iter()
                .filter_map(|(key, value)| {
                    // An empty list of taints differs from an absent one.
                    if key == "taints" {
                        Some((key, value))
                    } else {
                        Some((key, without_empty(value)?))
                    }
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(list) => {
            (!list.is_empty()).then(|| list.into_iter().filter_map(without_empty).collect())
        }
        Value::Null => None,
        other => Some(other),
    }
}

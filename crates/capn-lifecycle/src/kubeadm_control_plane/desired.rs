//! Desired state of a control plane's machine and its objects. Pure.

use std::collections::BTreeMap;

use capi_api::bootstrap::{JoinConfiguration, JoinControlPlane, KubeadmConfigSpec};
use capi_api::controlplane::{PRE_TERMINATE_HOOK, machine_conditions as health};
use capi_api::core::{Bootstrap, ConditionGate, ContractRef, MachineSpec};
use capi_api::{KubeadmConfig, KubeadmControlPlane, Machine, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};
use semver::Version;
use serde_json::{Value, json};

use super::validate::{Valid, has_stacked_etcd};
use crate::kubeadm_config;
use crate::objects::{controller_of, label_value, machine_name as fill_in};
use crate::patch::merge_diff;
use crate::template::made_kind;

/// Default naming template of machines.
const NAMING: &str = "{{ .kubeadmControlPlane.name }}-{{ .random }}";
/// Feature gate that makes kubelets of a control plane use their own API server, before kubeadm
/// enabled it permanently.
const LOCAL_MODE: &str = "ControlPlaneKubeletLocalMode";
/// Default timeout in seconds (see the admission of Machine).
const NODE_DELETION_TIMEOUT_SECS: i32 = 10;

/// Returns the name of a new machine.
///
/// # Errors
///
/// A message if the naming template is invalid.
pub(crate) fn machine_name(
    kcp: &KubeadmControlPlane,
    cluster: &str,
    random: &str,
) -> Result<String, String> {
    let naming = kcp.spec.machine_naming.as_ref().and_then(|naming| naming.template.as_deref());
    let template = naming.unwrap_or(NAMING);
    if template.contains(".machineSet") {
        return Err("the naming template must not use {{ .machineSet.name }}".to_owned());
    }
    // One function renders the templates of all controllers; only this variable has a different
    // name.
    let template = template.replace(".kubeadmControlPlane.name", ".machineSet.name");
    fill_in(&template, cluster, &kcp.name_any(), random)
}

/// Returns the labels of machines and their objects.
pub(super) fn machine_labels(kcp: &KubeadmControlPlane, cluster: &str) -> BTreeMap<String, String> {
    let template = kcp.spec.machine_template.metadata.as_ref();
    let mut all = template.and_then(|meta| meta.labels.clone()).unwrap_or_default();
    all.insert(labels::CLUSTER_NAME.to_owned(), cluster.to_owned());
    all.insert(labels::CONTROL_PLANE.to_owned(), String::new());
    all.insert(labels::CONTROL_PLANE_NAME.to_owned(), label_value(&kcp.name_any()));
    all
}

/// Returns the annotations of machines and their objects.
pub(super) fn machine_annotations(kcp: &KubeadmControlPlane) -> BTreeMap<String, String> {
    let template = kcp.spec.machine_template.metadata.as_ref();
    template.and_then(|meta| meta.annotations.clone()).unwrap_or_default()
}

/// Returns the conditions that a machine's `Ready` depends on: the health of kubeadm's components
/// on it, and the user's readiness gates.
pub(super) fn readiness_gates(kcp: &KubeadmControlPlane) -> Vec<ConditionGate> {
    let mut kinds = vec![
        health::NODE_KUBEADM_LABELS_AND_TAINTS_SET,
        health::API_SERVER_POD_HEALTHY,
        health::CONTROLLER_MANAGER_POD_HEALTHY,
        health::SCHEDULER_POD_HEALTHY,
    ];
    if has_stacked_etcd(kcp) {
        kinds.extend([health::ETCD_POD_HEALTHY, health::ETCD_MEMBER_HEALTHY]);
    }
    let mut gates: Vec<ConditionGate> = kinds
        .into_iter()
        .map(|kind| ConditionGate { condition_type: kind.to_owned(), polarity: None })
        .collect();
    let more = kcp.spec.machine_template.spec.readiness_gates.iter().flatten();
    for gate in more {
        if !gates.iter().any(|have| have.condition_type == gate.condition_type) {
            gates.push(gate.clone());
        }
    }
    gates
}

/// Returns a new machine. Its objects have the same name.
pub(super) fn machine(
    kcp: &KubeadmControlPlane,
    cluster: &str,
    name: &str,
    failure_domain: Option<String>,
) -> Machine {
    let template = &kcp.spec.machine_template.spec;
    let mut annotations = machine_annotations(kcp);
    annotations.insert(PRE_TERMINATE_HOOK.to_owned(), String::new());
    let infrastructure = &template.infrastructure_ref;
    Machine {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: kcp.namespace(),
            labels: Some(machine_labels(kcp, cluster)),
            annotations: Some(annotations),
            owner_references: controller_of(kcp).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: MachineSpec {
            cluster_name: cluster.to_owned(),
            version: Some(kcp.spec.version.clone()),
            bootstrap: Bootstrap {
                config_ref: Some(ContractRef::new(
                    kubeadm_config::GROUP,
                    kubeadm_config::KIND,
                    name,
                )),
                data_secret_name: None,
            },
            infrastructure_ref: ContractRef::new(
                &infrastructure.api_group,
                made_kind(&infrastructure.kind),
                name,
            ),
            failure_domain,
            readiness_gates: Some(readiness_gates(kcp)),
            deletion: template.deletion.clone(),
            taints: template.taints.clone(),
            ..MachineSpec::default()
        },
        status: None,
    }
}

/// Returns the KubeadmConfig of a machine. The machine becomes its owner once it exists.
pub(super) fn kubeadm_config(
    kcp: &KubeadmControlPlane,
    valid: &Valid,
    cluster: &str,
    name: &str,
    join: bool,
) -> KubeadmConfig {
    let annotations = machine_annotations(kcp);
    let owner = kcp.owner_ref(&()).map(|owner| OwnerReference { controller: None, ..owner });
    let mut config = KubeadmConfig::new(name, kubeadm_config_spec(kcp, &valid.version, join));
    config.metadata.namespace = kcp.namespace();
    config.metadata.labels = Some(machine_labels(kcp, cluster));
    config.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    config.metadata.owner_references = owner.map(|owner| vec![owner]);
    config
}

/// Returns the spec of the KubeadmConfig for a machine that initializes or joins the control plane.
pub(super) fn kubeadm_config_spec(
    kcp: &KubeadmControlPlane,
    version: &Version,
    join: bool,
) -> KubeadmConfigSpec {
    let mut spec = kcp.spec.kubeadm_config_spec.clone().unwrap_or_default();
    if join {
        spec.init_configuration = None;
        let join = spec.join_configuration.get_or_insert_with(JoinConfiguration::default);
        join.control_plane.get_or_insert_with(JoinControlPlane::default);
    } else {
        spec.join_configuration = None;
    }
    if (version.major, version.minor) >= (1, 31) && (version.major, version.minor) < (1, 36) {
        let configuration = spec.cluster_configuration.get_or_insert_default();
        configuration.feature_gates.entry(LOCAL_MODE.to_owned()).or_insert(true);
    }
    spec
}

/// Returns the merge patch for fields that are updated in place, without a new machine: labels,
/// annotations, timeouts, gates and taints. `None` if the machine is up to date.
pub(super) fn in_place_change(
    kcp: &KubeadmControlPlane,
    cluster: &str,
    machine: &Machine,
) -> Option<Value> {
    let lacks = |have: &BTreeMap<String, String>, want: BTreeMap<String, String>| {
        let missing: BTreeMap<_, _> =
            want.into_iter().filter(|(key, value)| have.get(key) != Some(value)).collect();
        (!missing.is_empty()).then_some(missing)
    };
    let mut change = json!({});
    if let Some(labels) = lacks(machine.labels(), machine_labels(kcp, cluster)) {
        change["metadata"]["labels"] = json!(labels);
    }
    if let Some(annotations) = lacks(machine.annotations(), machine_annotations(kcp)) {
        change["metadata"]["annotations"] = json!(annotations);
    }
    let template = &kcp.spec.machine_template.spec;
    let mut deletion = template.deletion.clone().unwrap_or_default();
    deletion.node_deletion_timeout_seconds.get_or_insert(NODE_DELETION_TIMEOUT_SECS);
    let mut have = machine.spec.deletion.clone().unwrap_or_default();
    have.node_deletion_timeout_seconds.get_or_insert(NODE_DELETION_TIMEOUT_SECS);
    let now = json!({
        "deletion": have,
        "readinessGates": machine.spec.readiness_gates,
        "taints": machine.spec.taints,
    });
    let wanted = json!({
        "deletion": deletion,
        "readinessGates": readiness_gates(kcp),
        "taints": template.taints,
    });
    if let Some(spec) = merge_diff(&now, &wanted) {
        change["spec"] = spec;
    }
    change.as_object().is_some_and(|map| !map.is_empty()).then_some(change)
}

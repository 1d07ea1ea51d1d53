//! MachineDeployment.

use capi_api::{MachineDeployment, labels};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::Problem;
use super::fields::{
    check_cluster_name, check_count, check_naming, check_template, default, prefix_version, text,
    typed,
};
use super::replicas;
use super::set::select_by;
use super::taints::check_taints;
use crate::objects::annotation;

/// Preflight checks that can be skipped.
const PREFLIGHT_CHECKS: [&str; 5] = [
    "All",
    "KubeadmVersionSkew",
    "KubernetesVersionSkew",
    "ControlPlaneIsStable",
    "ControlPlaneVersionSkew",
];

pub(super) fn mutate(object: &mut Value, old: Option<&Value>) {
    replicas::default(object, old);
    default(object, &["spec", "rollout", "strategy", "type"], json!("RollingUpdate"));
    if text(object, "/spec/rollout/strategy/type") == Some("RollingUpdate") {
        let rolling = ["spec", "rollout", "strategy", "rollingUpdate"];
        default(object, &[&rolling[..], &["maxSurge"]].concat(), json!(1));
        default(object, &[&rolling[..], &["maxUnavailable"]].concat(), json!(0));
    }
    let name = text(object, "/metadata/name").map(str::to_owned);
    select_by(object, labels::DEPLOYMENT_NAME, name);
    prefix_version(object, &["spec", "template", "spec", "version"]);
}

pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let deployment: MachineDeployment = match typed(new) {
        Ok(deployment) => deployment,
        Err(problems) => return problems,
    };
    let spec = &deployment.spec;
    let mut problems = check_template(&spec.cluster_name, &spec.selector, &spec.template);
    if deployment.name_any().len() > 63 {
        problems.push(Problem::new(
            "metadata.name",
            "must have at most 63 characters: it becomes a label of the machines",
        ));
    }
    problems.extend(check_cluster_name(new, old));
    let taints = spec.template.spec.taints.as_ref();
    problems.extend(check_taints("spec.template.spec.taints", taints, true));
    let naming = spec.machine_naming.as_ref().and_then(|naming| naming.template.as_deref());
    problems.extend(check_naming("spec.machineNaming.template", naming));
    if spec.replicas.is_some_and(|replicas| replicas < 0) {
        problems.push(Problem::new("spec.replicas", "must not be negative"));
    }
    problems.extend(check_strategy(&deployment));
    let in_flight = spec.remediation.as_ref().and_then(|r| r.max_in_flight.as_ref());
    problems.extend(check_count("spec.remediation.maxInFlight", in_flight));
    let skipped = annotation(&deployment.metadata, labels::SKIP_PREFLIGHT_CHECKS);
    for check in skipped.unwrap_or_default().split(',').map(str::trim) {
        if !check.is_empty() && !PREFLIGHT_CHECKS.contains(&check) {
            problems.push(Problem::new(
                format!("metadata.annotations[{}]", labels::SKIP_PREFLIGHT_CHECKS),
                format!("\"{check}\" is not one of {}", PREFLIGHT_CHECKS.join(", ")),
            ));
        }
    }
    problems
}

fn check_strategy(deployment: &MachineDeployment) -> Vec<Problem> {
    let field = "spec.rollout.strategy.rollingUpdate";
    let rolling = deployment
        .spec
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.strategy.as_ref()?.rolling_update.as_ref());
    let Some(rolling) = rolling else { return Vec::new() };
    let (surge, unavailable) = (rolling.max_surge.as_ref(), rolling.max_unavailable.as_ref());
    let mut problems: Vec<_> = [("maxSurge", surge), ("maxUnavailable", unavailable)]
        .into_iter()
        .filter_map(|(name, value)| check_count(&format!("{field}.{name}"), value))
        .collect();
    let zero = Some(&IntOrString::Int(0));
    if surge == zero && unavailable == zero {
        problems.push(Problem::new(
            field,
            "maxSurge and maxUnavailable cannot both be 0: no machine could be replaced",
        ));
    }
    problems
}

//! KubeadmControlPlane.

use capi_api::KubeadmControlPlane;
use capi_api::bootstrap::{ClusterConfiguration, KubeadmConfigSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::super::Problem;
use super::super::fields::{check_version, default, is_dns1123_label, prefix_version, text, typed};
use super::super::taints::check_taints;
use super::{immutable, spec};
use crate::kubeadm_control_plane::desired::machine_name;
use crate::objects::version;

/// Default validity of a certificate authority, in days.
const DEFAULT_CA_DAYS: i32 = 3650;

pub(super) fn mutate(object: &mut Value, _: Option<&Value>) {
    default(object, &["spec", "replicas"], json!(1));
    prefix_version(object, &["spec", "version"]);
    let strategy = ["spec", "rollout", "strategy"];
    default(object, &[&strategy[..], &["type"]].concat(), json!("RollingUpdate"));
    default(object, &[&strategy[..], &["rollingUpdate", "maxSurge"]].concat(), json!(1));
}

pub(super) fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let kcp: KubeadmControlPlane = match typed(new) {
        Ok(kcp) => kcp,
        Err(problems) => return problems,
    };
    let configuration = kcp.spec.kubeadm_config_spec.clone().unwrap_or_default();
    let cluster = configuration.cluster_configuration.clone().unwrap_or_default();
    let mut problems = replicas(&kcp, &cluster);
    problems.extend(check_version("spec.version", Some(&kcp.spec.version)));
    let taints = kcp.spec.machine_template.spec.taints.as_ref();
    problems.extend(check_taints("spec.machineTemplate.spec.taints", taints, false));
    problems.extend(naming(&kcp));
    problems.extend(rollout(&kcp));
    problems.extend(certificates(&kcp, &cluster));
    problems.extend(etcd(&cluster));
    problems.extend(timeouts(&configuration));
    problems.extend(spec::check("spec.kubeadmConfigSpec", &configuration));
    if let Some(old) = old {
        problems.extend(immutable::check(new, old));
        problems.extend(changes(&kcp, &cluster, old));
    }
    problems
}

fn replicas(kcp: &KubeadmControlPlane, cluster: &ClusterConfiguration) -> Vec<Problem> {
    let replicas = kcp.spec.replicas.unwrap_or(1);
    if replicas <= 0 {
        return vec![Problem::new("spec.replicas", "must be greater than 0")];
    }
    let external = cluster.etcd.as_ref().is_some_and(|etcd| etcd.external.is_some());
    if !external && replicas % 2 == 0 {
        let advice = format!(
            "{replicas} is even: etcd on the machines needs an odd number; use {} or {}",
            replicas - 1,
            replicas + 1
        );
        return vec![Problem::new("spec.replicas", advice)];
    }
    Vec::new()
}

fn naming(kcp: &KubeadmControlPlane) -> Option<Problem> {
    let problem = match machine_name(kcp, "cluster", "abcde") {
        Err(problem) => problem,
        Ok(name) if !name.split('.').all(is_dns1123_label) => {
            format!("yields names like \"{name}\", which are not valid DNS names")
        }
        Ok(_) => return None,
    };
    Some(Problem::new("spec.machineNaming.template", problem))
}

fn rollout(kcp: &KubeadmControlPlane) -> Option<Problem> {
    let strategy = kcp.spec.rollout.as_ref()?.strategy.as_ref()?;
    let surge = strategy.rolling_update.as_ref()?.max_surge.as_ref()?;
    let field = "spec.rollout.strategy.rollingUpdate.maxSurge";
    let surge = match surge {
        IntOrString::Int(surge) => Some(*surge),
        IntOrString::String(text) => text.trim().parse().ok(),
    };
    match surge {
        Some(1) => None,
        Some(0) if kcp.spec.replicas.unwrap_or(1) >= 3 => None,
        Some(0) => Some(Problem::new(field, "must not be 0 with fewer than 3 replicas")),
        _ => Some(Problem::new(field, "must be 0 or 1")),
    }
}

fn certificates(kcp: &KubeadmControlPlane, cluster: &ClusterConfiguration) -> Vec<Problem> {
    let Some(days) = cluster.certificate_validity_period_days else { return Vec::new() };
    let mut problems = Vec::new();
    let authority = cluster.ca_certificate_validity_period_days.unwrap_or(DEFAULT_CA_DAYS);
    if days > authority {
        problems.push(Problem::new(
            "spec.kubeadmConfigSpec.clusterConfiguration.certificateValidityPeriodDays",
            format!("must not exceed the {authority} days of the certificate authority"),
        ));
    }
    let before = kcp.spec.rollout.as_ref().and_then(|rollout| rollout.before.as_ref());
    if before.and_then(|before| before.certificates_expiry_days).is_some_and(|b| b >= days) {
        problems.push(Problem::new(
            "spec.rollout.before.certificatesExpiryDays",
            format!("must be less than the {days} days for which certificates are valid"),
        ));
    }
    problems
}

fn etcd(cluster: &ClusterConfiguration) -> Option<Problem> {
    let etcd = cluster.etcd.as_ref()?;
    (etcd.local.is_some() && etcd.external.is_some()).then(|| {
        Problem::new(
            "spec.kubeadmConfigSpec.clusterConfiguration.etcd",
            "set only one of local and external",
        )
    })
}

/// kubeadm v1beta3 has a single timeout for the API server.
fn timeouts(configuration: &KubeadmConfigSpec) -> Option<Problem> {
    let init = configuration.init_configuration.as_ref().and_then(|c| c.timeouts.as_ref());
    let join = configuration.join_configuration.as_ref().and_then(|c| c.timeouts.as_ref());
    let init = init.and_then(|t| t.control_plane_component_health_check_seconds);
    let join = join.and_then(|t| t.control_plane_component_health_check_seconds);
    (init != join).then(|| {
        Problem::new(
            "spec.kubeadmConfigSpec.joinConfiguration.timeouts.\
             controlPlaneComponentHealthCheckSeconds",
            "must be the same as in initConfiguration",
        )
    })
}

fn changes(kcp: &KubeadmControlPlane, cluster: &ClusterConfiguration, old: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let was = text(old, "/spec/version").and_then(version);
    let is = version(&kcp.spec.version);
    if let (Some(was), Some(is)) = (was, is)
        && (is.major, is.minor) > (was.major, was.minor.saturating_add(1))
    {
        problems.push(Problem::new(
            "spec.version",
            format!(
                "upgrades must not skip a minor version: v{was} can be upgraded to v{}.{}, not {}",
                was.major,
                was.minor.saturating_add(1),
                kcp.spec.version
            ),
        ));
    }
    let etcd = "/spec/kubeadmConfigSpec/clusterConfiguration/etcd/external";
    let was_external = old.pointer(etcd).is_some_and(|external| !external.is_null());
    let is_external = cluster.etcd.as_ref().is_some_and(|etcd| etcd.external.is_some());
    if was_external != is_external {
        problems.push(Problem::new(
            "spec.kubeadmConfigSpec.clusterConfiguration.etcd",
            "cannot change between local and external",
        ));
    }
    problems
}

//! Checks before a machine is made. Pure.
//!
//! Unlike upstream, a control plane that is being provisioned holds nobody: a machine that is made
//! early only waits for its bootstrap data, and its instance can be made ready meanwhile.

use capi_api::{MachineSet, labels};
use kube::Resource as _;
use semver::Version;

use super::observe::Observed;
use crate::contract::Said;
use crate::lookup::Seen;
use crate::objects::{annotation, version};

/// How many minor versions a worker may be older than the control plane.
const OLDEST_SKEW: u64 = 3;

/// Why no machine may be made now; empty if one may.
pub(super) fn blockers(set: &MachineSet, seen: &Observed) -> Vec<String> {
    let skipped = skipped(set, seen);
    if skipped.iter().any(|check| check == "All") {
        return Vec::new();
    }
    let runs = |check: &str| !skipped.iter().any(|skipped| skipped == check);
    let control_plane = match &seen.control_plane {
        Seen::NoReference => return Vec::new(),
        Seen::Unreadable(why) => return vec![why.clone()],
        Seen::Missing => return vec!["the control plane object does not exist".to_owned()],
        Seen::Found(object) => Said(object),
    };
    let mut blockers = Vec::new();
    let wanted = control_plane.version().and_then(version);
    if runs("ControlPlaneIsStable")
        && let (Some(wanted), Some(lowest)) = (&wanted, lowest_version(control_plane))
        && lowest < *wanted
    {
        blockers.push(format!("the control plane is being upgraded from v{lowest} to v{wanted}"));
    }
    let ours = set.spec.template.spec.version.as_deref().and_then(version);
    if let (Some(wanted), Some(ours)) = (wanted, ours) {
        if runs("KubernetesVersionSkew") {
            blockers.extend(kubernetes_skew(&wanted, &ours));
        }
        if runs("KubeadmVersionSkew") && uses_kubeadm(set) && wanted.minor != ours.minor {
            blockers.push(format!(
                "kubeadm joins only machines of the control plane's minor version: v{ours} is not v{wanted}"
            ));
        }
    }
    blockers
}

fn kubernetes_skew(control_plane: &Version, ours: &Version) -> Option<String> {
    if ours.minor > control_plane.minor {
        return Some(format!("v{ours} is newer than the control plane's v{control_plane}"));
    }
    (ours.minor + OLDEST_SKEW < control_plane.minor).then(|| {
        format!("v{ours} is more than {OLDEST_SKEW} minor versions older than v{control_plane}")
    })
}

fn lowest_version(control_plane: Said<'_>) -> Option<Version> {
    let listed: Vec<capi_api::core::StatusVersion> =
        control_plane.at("/status/versions").unwrap_or_default();
    let lowest = listed.iter().filter_map(|entry| version(&entry.version)).min();
    lowest.or_else(|| control_plane.status_version().and_then(version))
}

fn uses_kubeadm(set: &MachineSet) -> bool {
    set.spec.template.spec.bootstrap.config_ref.as_ref().is_some_and(|reference| {
        reference.kind == "KubeadmConfigTemplate"
            && reference.api_group == "bootstrap.cluster.x-k8s.io"
    })
}

/// Checks that the set, or its bootstrap template, leaves out.
fn skipped(set: &MachineSet, seen: &Observed) -> Vec<String> {
    let of_template = || {
        let template = seen.bootstrap_template.found()?;
        annotation(&template.metadata, labels::SKIP_PREFLIGHT_CHECKS)
    };
    annotation(set.meta(), labels::SKIP_PREFLIGHT_CHECKS)
        .or_else(of_template)
        .unwrap_or_default()
        .split(',')
        .map(|check| check.trim().to_owned())
        .filter(|check| !check.is_empty())
        .collect()
}

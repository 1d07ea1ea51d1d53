//! Preflight checks before a machine is created. Pure.
//!
//! Unlike upstream, a control plane that is being provisioned does not block new machines: a
//! machine that is created early only waits for its bootstrap data, and its instance can be
//! prepared in the meantime.

use capi_api::{MachineSet, labels};
use kube::Resource as _;
use semver::Version;

use super::observe::Observed;
use crate::contract::ContractView;
use crate::lookup::Lookup;
use crate::objects::{annotation, version};

/// Maximum number of minor versions by which a worker may be older than the control plane.
const OLDEST_SKEW: u64 = 3;

/// Returns why no machine may be created now. Empty if one may.
pub(super) fn blockers(set: &MachineSet, observed: &Observed) -> Vec<String> {
    let skipped = skipped(set, observed);
    if skipped.iter().any(|check| check == "All") {
        return Vec::new();
    }
    let runs = |check: &str| !skipped.iter().any(|skipped| skipped == check);
    let control_plane = match &observed.control_plane {
        Lookup::NoReference => return Vec::new(),
        Lookup::Unreadable(why) => return vec![why.clone()],
        Lookup::Missing => return vec!["the control plane object does not exist".to_owned()],
        Lookup::Found(object) => ContractView(object),
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
                "kubeadm can only join machines with the control plane's minor version: v{ours} is not v{wanted}"
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

fn lowest_version(control_plane: ContractView<'_>) -> Option<Version> {
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

/// Returns the checks that the set or its bootstrap template skips.
fn skipped(set: &MachineSet, observed: &Observed) -> Vec<String> {
    let of_template = || {
        let template = observed.bootstrap_template.found()?;
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

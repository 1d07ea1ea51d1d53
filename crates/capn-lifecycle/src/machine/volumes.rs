//! Decides which volumes to wait for after the drain: those attached to the node, except those of
//! pods that stay. If an instance is deleted with an attached volume, the volume stays attached and
//! no other node can use it. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::drain;
use super::drain_rules::Rules;
use super::observe::{NodeLookup, Observed};
use crate::summary::named;

/// A volume that is attached to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    /// Name of the PersistentVolume, or of the VolumeAttachment if there is none.
    pub(super) volume: String,
    /// Namespace and name of the claim that is bound to the volume.
    pub(super) claim: Option<(String, String)>,
}

/// Returns what to wait for. `None` if there is nothing.
pub(super) fn plan(observed: &Observed) -> Option<String> {
    let deletion = observed.deletion.as_ref()?;
    let attached = match deletion.volumes.as_ref()? {
        Ok(attached) => attached,
        Err(why) => return Some(why.clone()),
    };
    let NodeLookup::Found(node) = &observed.node else { return None };
    if drain::is_unreachable(node) {
        // Its kubelet does not unmount anything, and Kubernetes detaches volumes once the node is
        // gone.
        return None;
    }
    let pods = match &deletion.pods {
        Some(Ok(pods)) => pods.as_slice(),
        Some(Err(_)) | None => &[],
    };
    let kept = claims_of_pods_that_stay(pods, &deletion.rules);
    let mut names: Vec<String> = attached
        .iter()
        .filter(|volume| volume.claim.as_ref().is_none_or(|claim| !kept.contains(claim)))
        .map(|volume| match &volume.claim {
            Some((namespace, name)) => format!("{} of {namespace}/{name}", volume.volume),
            None => volume.volume.clone(),
        })
        .collect();
    names.sort();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| named("PersistentVolume", &names))
}

fn claims_of_pods_that_stay(pods: &[Pod], rules: &Rules) -> BTreeSet<(String, String)> {
    let mut claims = BTreeSet::new();
    for pod in pods.iter().filter(|pod| drain::stays_at_work(pod, rules)) {
        let namespace = pod.namespace().unwrap_or_default();
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes {
            if let Some(claim) = &volume.persistent_volume_claim {
                claims.insert((namespace.clone(), claim.claim_name.clone()));
            } else if volume.ephemeral.is_some() {
                claims.insert((namespace.clone(), format!("{}-{}", pod.name_any(), volume.name)));
            }
        }
    }
    claims
}

#[cfg(test)]
#[path = "volumes_tests.rs"]
mod tests;

//! Selects the machine to remove. Pure.

use std::collections::BTreeMap;

use capi_api::{conditions, labels};
use kube::Resource as _;

use super::observe::OwnedMachine;
use crate::objects::annotation;

/// Selects from the outdated machines, or else from all: one that the user marked, then one that is
/// not ready, then one in the failure domain with the most machines, then the oldest.
pub(super) fn choose(
    machines: &[OwnedMachine],
    is_outdated: impl Fn(&OwnedMachine) -> bool,
) -> Option<&OwnedMachine> {
    let staying: Vec<&OwnedMachine> =
        machines.iter().filter(|owned| !owned.is_deleting()).collect();
    let outdated: Vec<&OwnedMachine> =
        staying.iter().copied().filter(|owned| is_outdated(owned)).collect();
    let mut by_domain: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for owned in &staying {
        *by_domain.entry(owned.machine.spec.failure_domain.as_deref()).or_default() += 1;
    }
    let candidates = if outdated.is_empty() { staying } else { outdated };
    // Machines are sorted oldest first, and the first of equals wins.
    candidates.into_iter().min_by_key(|owned| {
        let meta = owned.machine.meta();
        let is_marked = annotation(meta, labels::DELETE_MACHINE).is_some();
        let status = owned.machine.status.as_ref();
        let list = status.and_then(|status| status.conditions.as_ref());
        let is_ready = conditions::is_true(list, conditions::READY);
        let crowd = by_domain.get(&owned.machine.spec.failure_domain.as_deref()).copied();
        (!is_marked, is_ready, usize::MAX - crowd.unwrap_or_default())
    })
}

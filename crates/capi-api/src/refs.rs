//! References between objects: owner references, and references whose version comes from the
//! contract label of a definition.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use kube::core::{ApiResource, GroupVersionKind, Version};

pub use crate::core::{ContractRef, TemplateMeta};
use crate::labels;

/// Returns the plural of a kind, as the contract expects it in the name of a definition.
///
/// Follows the rules that matter for provider kinds: `…y` becomes `…ies`; `…s`, `…x`, `…ch` and
/// `…sh` get `es`; all others get `s`.
#[must_use]
pub fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    let ends = |suffix: &str| lower.ends_with(suffix);
    if let Some(stem) = lower.strip_suffix('y')
        && !stem.ends_with(['a', 'e', 'i', 'o', 'u'])
    {
        return format!("{stem}ies");
    }
    if ends("s") || ends("x") || ends("ch") || ends("sh") {
        return format!("{lower}es");
    }
    format!("{lower}s")
}

/// Returns the name of the definition of a reference: `<plural>.<group>`.
#[must_use]
pub fn crd_name(group: &str, kind: &str) -> String {
    format!("{}.{group}", plural(kind))
}

/// Returns the newest version of a definition for the contract, from its labels.
///
/// Versions are ordered as in Kubernetes: `v2` before `v1`, stable before beta before alpha.
#[must_use]
pub fn contract_version(labels: Option<&BTreeMap<String, String>>) -> Option<String> {
    let list = labels?.get(labels::CONTRACT_V1BETA2)?;
    let versions = list.split('_').filter(|version| !version.is_empty());
    versions.max_by_key(|version| Version::parse(version).priority()).map(str::to_owned)
}

/// Returns the API resource of a reference, for a known version.
#[must_use]
pub fn api_resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural(kind))
}

impl ContractRef {
    /// Creates a reference to a named object.
    #[must_use]
    pub fn new(
        api_group: impl Into<String>,
        kind: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self { api_group: api_group.into(), kind: kind.into(), name: name.into() }
    }

    /// `Kind.group`, as in `cloned-from-groupkind`.
    #[must_use]
    pub fn group_kind(&self) -> String {
        format!("{}.{}", self.kind, self.api_group)
    }
}

impl std::fmt::Display for ContractRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Returns the owner that controls an object.
#[must_use]
pub fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// Returns the owner of a kind, in any version.
#[must_use]
pub fn owner<'a>(meta: &'a ObjectMeta, group: &str, kind: &str) -> Option<&'a OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| is_kind(owner, group, kind))
}

/// Returns whether the reference is to an object of a group and kind.
#[must_use]
pub fn is_kind(owner: &OwnerReference, group: &str, kind: &str) -> bool {
    owner.kind == kind && owner.api_version.split_once('/').is_some_and(|(g, _)| g == group)
}

/// Returns whether the owner with this UID controls the object.
#[must_use]
pub fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller(meta).is_some_and(|owner| owner.uid == uid)
}

/// `owners` with `new` added, or in place of a reference to the same object.
///
/// Returns `None` when nothing changes, so that the caller can skip the write.
#[must_use]
pub fn with_owner(
    owners: Option<&Vec<OwnerReference>>,
    new: OwnerReference,
) -> Option<Vec<OwnerReference>> {
    let mut list = owners.cloned().unwrap_or_default();
    let group = |owner: &OwnerReference| {
        owner.api_version.split_once('/').map(|(group, _)| group.to_owned())
    };
    let same = |owner: &OwnerReference| {
        owner.kind == new.kind && owner.name == new.name && group(owner) == group(&new)
    };
    match list.iter().position(same) {
        Some(at) if list.get(at) == Some(&new) => return None,
        Some(at) => {
            if let Some(place) = list.get_mut(at) {
                *place = new;
            }
        }
        None => list.push(new),
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_are_those_of_upstream() {
        for (kind, expected) in [
            ("Cluster", "clusters"),
            ("ClusterClass", "clusterclasses"),
            ("LXCMachine", "lxcmachines"),
            ("LXCMachineTemplate", "lxcmachinetemplates"),
            ("FooProxy", "fooproxies"),
            ("FooRay", "foorays"),
        ] {
            assert_eq!(plural(kind), expected);
        }
    }

    #[test]
    fn the_newest_contract_version_is_chosen() {
        let labels =
            |list: &str| BTreeMap::from([(labels::CONTRACT_V1BETA2.to_owned(), list.to_owned())]);
        for (list, expected) in [
            ("v1alpha2", Some("v1alpha2")),
            ("v1beta1_v1beta2", Some("v1beta2")),
            ("v1_v1beta2", Some("v1")),
            ("v1alpha10_v1alpha9", Some("v1alpha10")),
            ("", None),
        ] {
            assert_eq!(contract_version(Some(&labels(list))).as_deref(), expected, "{list}");
        }
        assert_eq!(contract_version(None), None);
    }

    #[test]
    fn an_owner_is_added_once_and_refreshed_in_place() {
        let owner = |uid: &str, controller| OwnerReference {
            api_version: "cluster.x-k8s.io/v1beta2".into(),
            kind: "Machine".into(),
            name: "m".into(),
            uid: uid.into(),
            controller,
            block_owner_deletion: None,
        };
        let one = with_owner(None, owner("1", None)).unwrap();
        assert_eq!(with_owner(Some(&one), owner("1", None)), None);
        let two = with_owner(Some(&one), owner("2", Some(true))).unwrap();
        assert_eq!(two, vec![owner("2", Some(true))]);
    }
}

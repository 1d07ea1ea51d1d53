//! Permission check for `blockOwnerDeletion`, as in Kubernetes.
//!
//! A blocking reference delays the deletion of its owner, as a finalizer does, so its author needs
//! permission to `update` the owner's `finalizers`. Source: the admission plugin
//! `OwnerReferencesPermissionEnforcement`.

use std::collections::HashMap;

use serde_json::Value;

use super::{Attributes, Policy, RequestTarget, ResourceAttributes};
use crate::{
    admission::short,
    identity::Identity,
    json,
    registry::{Resource, Tables},
    status::{ApiError, Result},
};

/// Maximum number of owners that are checked by name.
const MAX_OWNERS: usize = 100;

/// Rejects new references that block the deletion of an owner whose finalizers the author may not
/// change.
pub(crate) fn check(
    policy: &Policy,
    tables: &Tables,
    resource: &Resource,
    who: &Identity,
    new: &Value,
    old: Option<&Value>,
) -> Result<()> {
    if who.is_master() {
        return Ok(());
    }
    let before: Vec<&str> = old.map(|old| blocking(old).map(uid).collect()).unwrap_or_default();
    let namespace = json::text(new, &["metadata", "namespace"]);
    let refuse = |why: String| {
        Err(ApiError::forbidden(resource, json::text(new, &["metadata", "name"]), &why))
    };
    let mut of_kinds = HashMap::<(&str, &str), Option<(bool, &Resource)>>::new();
    let mut looked_at = 0;
    for reference in blocking(new).filter(|reference| !before.contains(&uid(reference))) {
        let (version, kind) = (text(reference, "apiVersion"), text(reference, "kind"));
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let of_kind = of_kinds.entry((group, kind)).or_insert_with(|| {
            let owner =
                tables.all().find(|known| *known.group == *group && *known.kind == *kind)?;
            Some((may(policy, who, owner, namespace, ""), owner))
        });
        let Some((all, owner)) = of_kind else {
            return refuse(format!(
                "cannot set blockOwnerDeletion: unknown kind \"{}\" in version \"{}\"",
                short(kind),
                short(version)
            ));
        };
        looked_at += usize::from(!*all);
        let name = text(reference, "name");
        if *all || (looked_at <= MAX_OWNERS && may(policy, who, owner, namespace, name)) {
            continue;
        }
        return refuse(format!(
            "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set \
             finalizers on: {} \"{}\"",
            owner.plural,
            short(name)
        ));
    }
    Ok(())
}

fn may(policy: &Policy, who: &Identity, owner: &Resource, namespace: &str, name: &str) -> bool {
    // A Namespace counts as in itself.
    let namespace = match (owner.namespaced, &*owner.plural) {
        (true, _) => namespace,
        (false, "namespaces") if owner.group.is_empty() => name,
        (false, _) => "",
    };
    let target = ResourceAttributes {
        group: (*owner.group).into(),
        resource: (*owner.plural).into(),
        subresource: "finalizers".into(),
        namespace: namespace.into(),
        name: name.into(),
    };
    policy
        .allows(who, &Attributes { verb: "update".into(), target: RequestTarget::Resource(target) })
}

fn blocking(object: &Value) -> impl Iterator<Item = &Value> {
    let list = json::at(object, &["metadata", "ownerReferences"]).and_then(Value::as_array);
    let blocks = |reference: &&Value| reference["blockOwnerDeletion"] == true;
    list.into_iter().flatten().filter(blocks)
}

fn uid(reference: &Value) -> &str {
    text(reference, "uid")
}

fn text<'a>(reference: &'a Value, field: &str) -> &'a str {
    json::text(reference, &[field])
}

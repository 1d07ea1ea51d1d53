//! What others than operators may fill a namespace with. All of it is in memory.

use super::WriteOptions;
use crate::{
    registry::Resource,
    status::{ApiError, Result},
    store::{Object, Store},
};

/// Objects of a namespace, whatever their kinds: those of some thousand machines.
const MAX_OBJECTS: usize = 20_000;
/// Bytes of all of them.
const MAX_BYTES: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// Roles and bindings of a namespace, of each kind; and bytes of one. Each is looked at for each
/// request of who has it.
const MAX_ROLES: usize = 200;
const MAX_ROLE_BYTES: usize = 64 << 10;

/// Refuses a new or larger object in a full namespace. Requests that come at the same time may
/// together go a little over.
pub(super) fn check(
    store: &Store,
    resource: &Resource,
    (namespace, name): (&str, &str),
    options: &WriteOptions,
    bytes: usize,
    old: Option<&Object>,
) -> Result<()> {
    let before = old.map_or(0, |old| old.raw.len());
    if options.who.as_ref().is_none_or(crate::identity::Identity::is_master) || bytes <= before {
        return Ok(());
    }
    let used = store.usage(namespace);
    let after = used.bytes.saturating_sub(before).saturating_add(bytes);
    let rights = &*resource.group == "rbac.authorization.k8s.io";
    let roles = || store.list(&resource.storage, Some(namespace)).1.len();
    let full = if rights && bytes > MAX_ROLE_BYTES {
        format!("it has {bytes} bytes of at most {MAX_ROLE_BYTES}")
    } else if rights && old.is_none() && roles() >= MAX_ROLES {
        format!("the namespace holds {MAX_ROLES} {} already", resource.plural)
    } else if old.is_none() && used.objects >= MAX_OBJECTS {
        format!("the namespace holds {} objects of at most {MAX_OBJECTS}", used.objects)
    } else if after > MAX_BYTES {
        format!("the namespace would hold {after} bytes of at most {MAX_BYTES}")
    } else {
        return Ok(());
    };
    let why = format!("exceeded quota: {full}; delete what is not needed");
    Err(ApiError::forbidden(resource, name, &why))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{Plane, PlaneOptions, api::WriteOptions, identity::Identity};

    #[tokio::test]
    async fn a_full_namespace_takes_no_more_of_a_user() {
        let plane = Plane::open(PlaneOptions::default()).await.unwrap();
        let api = plane.service().api;
        let maps = api.registry.tables().stored("configmaps.").unwrap();
        let jane = WriteOptions {
            who: Some(Identity::named("jane", Vec::new())),
            ..WriteOptions::default()
        };
        let map =
            |name: &str| json!({"metadata": {"name": name}, "data": {"a": "x".repeat(600_000)}});
        api.create(&maps, "default", map("one").into(), &jane).await.unwrap();
        let refused = api.create(&maps, "default", map("two").into(), &jane).await.unwrap_err();
        assert!(refused.message().contains("exceeded quota"), "{}", refused.message());
        assert_eq!(refused.code().as_u16(), 403);
        let roles = api.registry.tables().stored("roles.rbac.authorization.k8s.io").unwrap();
        let rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["x".repeat(70_000)]});
        let role = json!({"metadata": {"name": "r"}, "rules": [rule]});
        let root = WriteOptions::default();
        let refused = api.create(&roles, "default", role.clone().into(), &jane).await.unwrap_err();
        assert_eq!(refused.code().as_u16(), 403);
        api.create(&roles, "default", role.into(), &root).await.unwrap();
        api.delete(&roles, "default", "r", &crate::api::DeleteOptions::default()).await.unwrap();
        // Operators and the plane itself go on, and so does who makes room.
        api.create(&maps, "default", map("two").into(), &WriteOptions::default()).await.unwrap();
        let small = json!({"metadata": {"name": "one"}, "data": {"a": "x"}});
        let target = crate::api::Target {
            resource: &maps,
            namespace: "default",
            name: "one",
            subresource: crate::api::Subresource::None,
        };
        api.replace(target, small.into(), &jane).await.unwrap();
        for name in ["one", "two"] {
            api.delete(&maps, "default", name, &crate::api::DeleteOptions::default())
                .await
                .unwrap();
        }
        assert_eq!(api.store.usage("default"), crate::store::Usage::default());
        api.create(&maps, "default", map("three").into(), &jane).await.unwrap();
    }
}

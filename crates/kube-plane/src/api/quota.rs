//! Quotas of a namespace for everybody but operators. All objects are in memory.

use super::{Api, Subresource, WriteOptions};
use crate::{
    identity::Identity,
    registry::Resource,
    status::{ApiError, Result},
    store::Object,
};

/// Maximum number of objects in a namespace, of all kinds: enough for several thousand machines.
const MAX_OBJECTS: usize = 20_000;
/// Default maximum of the total size of objects in a namespace, as JSON in bytes. Controllers hold
/// objects parsed, and twice while they process all objects of a kind, which makes about five bytes
/// of one.
pub const NAMESPACE_BYTES: usize = 32 << 20;

/// Maximum number of roles and of bindings in a namespace, of each kind; and their maximum size in
/// bytes. Each is evaluated for every request of its subjects.
const MAX_ROLES: usize = 200;
const MAX_ROLE_BYTES: usize = 64 << 10;

/// Maximum number of objects of a kind in a namespace, for everybody but operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Plural and group, such as `machines.cluster.x-k8s.io`.
    pub resource: String,
    /// Maximum number of objects in a namespace.
    pub most: usize,
    /// Alternative to deleting objects, such as `or have an operator raise --such-a-flag`.
    pub hint: Option<String>,
}

/// Effect of a write on the namespace.
pub(super) struct Change<'a> {
    pub(super) subresource: Subresource,
    /// Size of the new object, in bytes.
    pub(super) bytes: usize,
    pub(super) old: Option<&'a Object>,
}

impl Change<'_> {
    fn before(&self) -> usize {
        self.old.map_or(0, |old| old.raw.len())
    }

    /// Controllers may always write status and finish deletions.
    fn is_free(&self, who: &Identity) -> bool {
        let finishes =
            self.subresource == Subresource::Status || self.old.is_some_and(|old| old.deleting);
        !counts(who) || self.bytes <= self.before() || (who.is_controller() && finishes)
    }
}

/// Returns whether objects of this user count.
fn counts(who: &Identity) -> bool {
    !who.is_master() || who.is_controller()
}

/// Rejects a new or larger object in a full namespace. Concurrent requests may together exceed the
/// quota slightly.
pub(super) fn check(
    api: &Api,
    resource: &Resource,
    (namespace, name): (&str, &str),
    options: &WriteOptions,
    change: &Change<'_>,
) -> Result<()> {
    if options.who.as_ref().is_none_or(|who| change.is_free(who)) {
        return Ok(());
    }
    let used = api.store.usage(namespace);
    let bytes = change.bytes;
    let after = used.bytes.saturating_sub(change.before()).saturating_add(bytes);
    let is_new = change.old.is_none();
    let rights = &*resource.group == "rbac.authorization.k8s.io";
    let held = || api.store.count(&resource.storage, namespace);
    let of_kind = api.quotas.iter().find(|quota| *quota.resource == *resource.storage);
    let of_kind = of_kind.filter(|quota| is_new && held() >= quota.most);
    let full = if rights && bytes > MAX_ROLE_BYTES {
        format!("it has {bytes} bytes, more than the maximum of {MAX_ROLE_BYTES}")
    } else if rights && is_new && held() >= MAX_ROLES {
        format!("namespace {namespace} already has the maximum of {MAX_ROLES} {}", resource.plural)
    } else if let Some(Quota { most, .. }) = of_kind {
        let (held, kinds) = (held(), &resource.plural);
        format!("namespace {namespace} has {held} {kinds}, the maximum is {most}")
    } else if is_new && used.objects >= MAX_OBJECTS {
        let held = used.objects;
        format!("namespace {namespace} has {held} objects, the maximum is {MAX_OBJECTS}")
    } else if after > api.namespace_bytes {
        format!(
            "namespace {namespace} would have {after} bytes of objects, the maximum is {}",
            api.namespace_bytes
        )
    } else {
        return Ok(());
    };
    let hint = of_kind.and_then(|quota| quota.hint.as_ref()).map(|hint| format!(", {hint}"));
    let why = format!("exceeded quota: {full}; delete unused objects{}", hint.unwrap_or_default());
    Err(ApiError::forbidden(resource, name, &why))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    use serde_json::{Value, json};

    use crate::{
        Plane, PlaneOptions, Quota,
        api::{Subresource, Target, WriteOptions},
        identity::Identity,
    };

    fn by(who: Identity) -> WriteOptions {
        WriteOptions { who: Some(who), ..WriteOptions::default() }
    }

    /// Returns a kind with a status.
    fn boxes() -> CustomResourceDefinition {
        serde_json::from_value(json!({
            "metadata": {"name": "boxes.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"kind": "Box", "listKind": "BoxList", "plural": "boxes", "singular": "box"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    }},
                }],
            },
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn controller_objects_count_but_deletes_are_always_allowed() {
        let quota = Quota {
            resource: "boxes.example.com".to_owned(),
            most: 2,
            hint: Some("or have --boxes raised".to_owned()),
        };
        let options = PlaneOptions {
            crds: vec![boxes()],
            quotas: vec![quota],
            namespace_bytes: 1 << 20,
            ..PlaneOptions::default()
        };
        let api = Plane::open(options).await.unwrap().service().api;
        let boxes = api.registry.tables().stored("boxes.example.com").unwrap();
        let one = |name: &str| {
            Value::from_iter([("metadata", json!({"name": name, "finalizers": ["a/b"]}))])
        };
        let controller = by(Identity::controller("keeper"));
        for name in ["one", "two"] {
            api.create(&boxes, "default", one(name).into(), &controller).await.unwrap();
        }
        for who in [Identity::controller("keeper"), Identity::named("jane", Vec::new())] {
            let (three, who) = (one("three"), by(who));
            let write_error = api.create(&boxes, "default", three.into(), &who).await.unwrap_err();
            assert_eq!(write_error.code().as_u16(), 403);
            let text = "namespace default has 2 boxes, the maximum is 2; delete unused objects, or \
                have --boxes raised";
            assert!(write_error.message().contains(text), "{}", write_error.message());
        }
        // Other namespaces and operators are not affected.
        api.create(&boxes, "kube-system", one("one").into(), &controller).await.unwrap();
        let operator = by(Identity::default());
        api.create(&boxes, "default", one("three").into(), &operator).await.unwrap();
        // Full of bytes too: nothing grows but a status, and what is on its way out.
        let maps = api.registry.tables().stored("configmaps.").unwrap();
        let map = json!({"metadata": {"name": "big"}, "data": {"a": "x".repeat(1_040_000)}});
        api.create(&maps, "default", map.into(), &operator).await.unwrap();
        let target = |subresource| Target {
            resource: &boxes,
            namespace: "default",
            name: "one",
            subresource,
        };
        let grow = |field: &'static str| {
            move |old: &Value| {
                let mut new = old.clone();
                new[field]["text"] = json!("x".repeat(30_000));
                Ok(new.into())
            }
        };
        let write_error = api.update(target(Subresource::None), &controller, grow("spec")).await;
        assert_eq!(write_error.unwrap_err().code().as_u16(), 403);
        api.update(target(Subresource::Status), &controller, grow("status")).await.unwrap();
        let options = crate::api::DeleteOptions::default();
        api.delete(&boxes, "default", "one", &options).await.unwrap();
        api.update(target(Subresource::None), &controller, grow("spec")).await.unwrap();
        let free = |old: &Value| {
            let mut new = old.clone();
            new["metadata"]["finalizers"] = json!([]);
            Ok(new.into())
        };
        api.update(target(Subresource::None), &controller, free).await.unwrap();
        assert!(api.store.get("boxes.example.com", "default", "one").is_none());
    }

    #[tokio::test]
    async fn a_user_cannot_exceed_the_namespace_quota() {
        let plane =
            Plane::open(PlaneOptions { namespace_bytes: 1 << 20, ..PlaneOptions::default() })
                .await
                .unwrap();
        let api = plane.service().api;
        let maps = api.registry.tables().stored("configmaps.").unwrap();
        let jane = WriteOptions {
            who: Some(Identity::named("jane", Vec::new())),
            ..WriteOptions::default()
        };
        let map =
            |name: &str| json!({"metadata": {"name": name}, "data": {"a": "x".repeat(600_000)}});
        api.create(&maps, "default", map("one").into(), &jane).await.unwrap();
        let write_error = api.create(&maps, "default", map("two").into(), &jane).await.unwrap_err();
        assert!(write_error.message().contains("exceeded quota"), "{}", write_error.message());
        assert_eq!(write_error.code().as_u16(), 403);
        let roles = api.registry.tables().stored("roles.rbac.authorization.k8s.io").unwrap();
        let rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["x".repeat(70_000)]});
        let role = json!({"metadata": {"name": "r"}, "rules": [rule]});
        let root = WriteOptions::default();
        let write_error =
            api.create(&roles, "default", role.clone().into(), &jane).await.unwrap_err();
        assert_eq!(write_error.code().as_u16(), 403);
        api.create(&roles, "default", role.into(), &root).await.unwrap();
        api.delete(&roles, "default", "r", &crate::api::DeleteOptions::default()).await.unwrap();
        // Operators and the plane itself are not limited, and objects may shrink.
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

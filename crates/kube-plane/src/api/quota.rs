//! What others than operators may fill a namespace with. All of it is in memory.

use super::{Api, Subresource, WriteOptions};
use crate::{
    identity::Identity,
    registry::Resource,
    status::{ApiError, Result},
    store::Object,
};

/// Objects of a namespace, whatever their kinds: those of some thousand machines.
const MAX_OBJECTS: usize = 20_000;
/// Bytes of all of them.
const MAX_BYTES: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// Roles and bindings of a namespace, of each kind; and bytes of one. Each is looked at for each
/// request of who has it.
const MAX_ROLES: usize = 200;
const MAX_ROLE_BYTES: usize = 64 << 10;

/// How many objects of a kind a namespace may hold, for all but operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Plural and group: `machines.cluster.x-k8s.io`.
    pub resource: String,
    /// The most objects of one namespace.
    pub most: usize,
    /// What else than deleting helps: `or have an operator raise --such-a-flag`.
    pub hint: Option<String>,
}

/// What a write does to what the namespace holds.
pub(super) struct Change<'a> {
    pub(super) subresource: Subresource,
    /// Of the new object.
    pub(super) bytes: usize,
    pub(super) old: Option<&'a Object>,
}

impl Change<'_> {
    fn before(&self) -> usize {
        self.old.map_or(0, |old| old.raw.len())
    }

    /// A controller may always say what is, and finish what is on its way out.
    fn is_free(&self, who: &Identity) -> bool {
        let finishes =
            self.subresource == Subresource::Status || self.old.is_some_and(|old| old.deleting);
        !counts(who) || self.bytes <= self.before() || (who.is_controller() && finishes)
    }
}

/// Whether what somebody makes counts.
fn counts(who: &Identity) -> bool {
    !who.is_master() || who.is_controller()
}

/// Refuses a new or larger object in a full namespace. Requests that come at the same time may
/// together go a little over.
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
        format!("it has {bytes} bytes of at most {MAX_ROLE_BYTES}")
    } else if rights && is_new && held() >= MAX_ROLES {
        format!("the namespace {namespace} holds {MAX_ROLES} {} already", resource.plural)
    } else if let Some(Quota { most, .. }) = of_kind {
        let (held, kinds) = (held(), &resource.plural);
        format!("the namespace {namespace} holds {held} {kinds} of at most {most}")
    } else if is_new && used.objects >= MAX_OBJECTS {
        let held = used.objects;
        format!("the namespace {namespace} holds {held} objects of at most {MAX_OBJECTS}")
    } else if after > MAX_BYTES {
        format!("the namespace {namespace} would hold {after} bytes of at most {MAX_BYTES}")
    } else {
        return Ok(());
    };
    let hint = of_kind.and_then(|quota| quota.hint.as_ref()).map(|hint| format!(", {hint}"));
    let why =
        format!("exceeded quota: {full}; delete what is not needed{}", hint.unwrap_or_default());
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

    /// A kind with a status.
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
    async fn what_a_controller_makes_counts_and_it_can_always_clean_up() {
        let quota = Quota {
            resource: "boxes.example.com".to_owned(),
            most: 2,
            hint: Some("or have --boxes raised".to_owned()),
        };
        let options =
            PlaneOptions { crds: vec![boxes()], quotas: vec![quota], ..PlaneOptions::default() };
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
            let refused = api.create(&boxes, "default", three.into(), &who).await.unwrap_err();
            assert_eq!(refused.code().as_u16(), 403);
            let text = "the namespace default holds 2 boxes of at most 2; delete what is not \
                needed, or have --boxes raised";
            assert!(refused.message().contains(text), "{}", refused.message());
        }
        // Another namespace is another matter, and so is an operator.
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
        let refused = api.update(target(Subresource::None), &controller, grow("spec")).await;
        assert_eq!(refused.unwrap_err().code().as_u16(), 403);
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

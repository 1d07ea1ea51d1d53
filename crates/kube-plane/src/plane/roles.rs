//! Cluster roles that exist from the start.

use k8s_openapi::api::rbac::v1::ClusterRole;
use serde_json::Value;

use super::Arc;
use crate::{
    Error,
    api::{Api, Body, Subresource, Target, WriteOptions},
    json,
    rbac::CLUSTER_ROLES,
    registry::Resource,
    status::ApiError,
};

/// Creates the roles, or adds what they lack.
pub(super) async fn register(api: &Arc<Api>, roles: Vec<ClusterRole>) -> Result<(), Error> {
    let tables = api.registry.tables();
    let Some(resource) = tables.stored(CLUSTER_ROLES) else { return Ok(()) };
    let registrations = roles.into_iter().map(|role| {
        let resource = &resource;
        async move {
            let name = role.metadata.name.clone().unwrap_or_default();
            one(api, resource, &name, role).await.map_err(|error| Error::RegisterRole {
                name: name.clone(),
                message: error.message().to_owned(),
            })
        }
    });
    futures::future::try_join_all(registrations).await.map(drop)
}

async fn one(
    api: &Arc<Api>,
    resource: &Resource,
    name: &str,
    role: ClusterRole,
) -> Result<(), ApiError> {
    let options = WriteOptions { manager: "kube-plane".to_owned(), ..WriteOptions::default() };
    let wanted =
        serde_json::to_value(role).map_err(|error| ApiError::internal(error.to_string()))?;
    let Some(stored) = api.store.get(CLUSTER_ROLES, "", name) else {
        api.create(resource, "", wanted.into(), &options).await?;
        return Ok(());
    };
    let stored = stored.value()?;
    if complete(&stored, &wanted) == stored {
        return Ok(());
    }
    let target = Target { resource, namespace: "", name, subresource: Subresource::None };
    let change = |old: &Value| Ok(Body::from(complete(old, &wanted)));
    api.update(target, &options, change).await?;
    Ok(())
}

/// Returns a stored role with the missing parts of the wanted one. Other rules stay, so that
/// aggregated rules are not rewritten at each open.
fn complete(stored: &Value, wanted: &Value) -> Value {
    let mut new = stored.clone();
    for field in ["labels", "annotations"] {
        let entries = json::at(wanted, &["metadata", field]).and_then(Value::as_object);
        for (key, value) in entries.into_iter().flatten() {
            json::set(&mut new, &["metadata", field, key], value.clone());
        }
    }
    if let Some(rule) = wanted.get("aggregationRule") {
        new["aggregationRule"] = rule.clone();
    }
    let rules = |value: &Value| value["rules"].as_array().cloned().unwrap_or_default();
    let there = rules(stored);
    let missing: Vec<Value> =
        rules(wanted).into_iter().filter(|rule| !there.contains(rule)).collect();
    if !missing.is_empty() {
        new["rules"] = there.into_iter().chain(missing).collect();
    }
    new
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Plane, PlaneOptions};

    #[test]
    fn missing_default_rules_are_added_and_others_kept() {
        let stored = json!({"metadata": {"name": "r"}, "rules": [1, 2]});
        let wanted = json!({"metadata": {"labels": {"a": "b"}}, "rules": [2, 3]});
        let new = complete(&stored, &wanted);
        let expected = json!({"metadata": {"name": "r", "labels": {"a": "b"}}, "rules": [1, 2, 3]});
        assert_eq!(new, expected);
        assert_eq!(complete(&new, &wanted), new);
    }

    #[tokio::test]
    async fn default_roles_exist_after_opening() {
        let dir = tempfile::tempdir().unwrap();
        let path = Some(dir.path().join("plane.db"));
        let open = |verb: &str| {
            let role = json!({"metadata": {"name": "r"}, "rules": [
                {"verbs": [verb], "apiGroups": [""], "resources": ["secrets"]},
            ]});
            let cluster_roles = vec![serde_json::from_value(role).unwrap()];
            let path = path.clone();
            Plane::open(PlaneOptions { path, cluster_roles, ..PlaneOptions::default() })
        };
        for (verb, rules) in [("get", 1), ("get", 1), ("list", 2)] {
            let plane = open(verb).await.unwrap();
            let stored =
                plane.service().api.store.get(CLUSTER_ROLES, "", "r").unwrap().value().unwrap();
            assert_eq!(stored["rules"].as_array().unwrap().len(), rules);
            plane.close().await;
        }
    }
}

//! Aggregation: cluster roles with an `aggregationRule` get the rules of the selected roles.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use crate::{
    api::{Api, Body, Subresource, Target, WriteOptions},
    json,
    rbac::CLUSTER_ROLES,
    status::{ApiError, Result},
    store::Object,
};

/// Updates all aggregated cluster roles. A changed role may itself be selected by another: its
/// write triggers this again.
pub(super) async fn aggregate(api: &Arc<Api>) -> Result<()> {
    let Some(resource) = api.registry.tables().stored(CLUSTER_ROLES) else { return Ok(()) };
    let (_, roles) = api.store.list(CLUSTER_ROLES, None);
    for role in &roles {
        let value = role.value()?;
        let Some(selectors) = json::at(&value, &["aggregationRule", "clusterRoleSelectors"]) else {
            continue;
        };
        let selectors: Vec<LabelSelector> =
            serde_json::from_value(selectors.clone()).map_err(|error| {
                let why = json::reason(&error);
                ApiError::internal(format!("cannot read the selectors of {}: {why}", role.key))
            })?;
        let rules = rules(role, &roles, &selectors)?;
        if value.get("rules").and_then(Value::as_array).is_some_and(|old| *old == rules) {
            continue;
        }
        let target = Target {
            resource: &resource,
            namespace: "",
            name: &role.key.name,
            subresource: Subresource::None,
        };
        let options = WriteOptions {
            manager: "clusterrole-aggregation-controller".to_owned(),
            ..Default::default()
        };
        let edit = |old: &Value| {
            let mut value = old.clone();
            // It may have changed meanwhile.
            if value.get("aggregationRule").is_some() {
                json::set(&mut value, &["rules"], rules.clone().into());
            }
            Ok(Body::from(value))
        };
        match api.update(target, &options, edit).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Returns the rules of the selected roles, without duplicates and in a stable order, so that roles
/// that select each other converge.
fn rules(role: &Object, roles: &[Arc<Object>], selectors: &[LabelSelector]) -> Result<Vec<Value>> {
    let mut rules = BTreeMap::new();
    for other in roles.iter().filter(|other| other.key != role.key) {
        if !selectors.iter().any(|selector| selects(selector, other)) {
            continue;
        }
        let value = other.value()?;
        for rule in value.get("rules").and_then(Value::as_array).into_iter().flatten() {
            rules.insert(rule.to_string(), rule.clone());
        }
    }
    Ok(rules.into_values().collect())
}

/// Returns whether a selector matches an object. One without requirements matches all.
fn selects(selector: &LabelSelector, object: &Object) -> bool {
    let labels = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    labels.into_iter().all(|(key, value)| object.label(key) == Some(value))
        && expressions.into_iter().all(|expression| {
            let found = object.label(&expression.key);
            let among = |value| expression.values.iter().flatten().any(|known| known == value);
            match expression.operator.as_str() {
                "In" => found.is_some_and(among),
                "NotIn" => !found.is_some_and(among),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

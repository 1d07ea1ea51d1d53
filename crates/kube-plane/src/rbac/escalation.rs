//! Privilege escalation checks for writes of roles and bindings, as in Kubernetes.
//!
//! A role may only grant permissions that its author has, unless they may `escalate`. A binding
//! needs the permissions of its role, or the permission to `bind` it. An `aggregationRule` needs
//! all permissions, since others write the rules that it collects.

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef};
use serde_json::{Value, json};

use super::{Attributes, Policy, RequestTarget, ResourceAttributes};
use crate::{
    admission::short,
    identity::Identity,
    json,
    registry::Resource,
    status::{ApiError, Result},
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Maximum number of compared combinations of verb, group, resource and name.
const MAX_PARTS: usize = 20_000;

/// Rejects a role or binding that grants more than its author has.
pub(crate) fn check(
    policy: &Policy,
    resource: &Resource,
    who: &Identity,
    new: &Value,
    old: Option<&Value>,
) -> Result<()> {
    if &*resource.group != GROUP || who.is_master() {
        return Ok(());
    }
    let namespace = json::text(new, &["metadata", "namespace"]);
    let name = json::text(new, &["metadata", "name"]);
    let may = |verb: &str, plural: &str, name: &str| {
        let target = ResourceAttributes {
            group: GROUP.into(),
            resource: plural.to_owned().into(),
            namespace: namespace.to_owned().into(),
            name: name.to_owned().into(),
            ..ResourceAttributes::default()
        };
        policy.allows(
            who,
            &Attributes { verb: verb.to_owned().into(), target: RequestTarget::Resource(target) },
        )
    };
    let granted = match &*resource.kind {
        "Role" | "ClusterRole" => {
            let changes = |field: &str| {
                let new = new.get(field).filter(|value| !value.is_null());
                new.is_some() && new != old.and_then(|old| old.get(field))
            };
            let (rules, aggregation) = (changes("rules"), changes("aggregationRule"));
            if !(rules || aggregation) || may("escalate", &resource.plural, name) {
                return Ok(());
            }
            let mut granted: Vec<PolicyRule> = Vec::new();
            if rules {
                granted.extend(read(new.get("rules"))?);
            }
            if aggregation {
                granted.extend(all_permissions());
            }
            granted
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            let same = |field: &str| old.is_some_and(|old| old.get(field) == new.get(field));
            // Only the metadata changes.
            if same("roleRef") && same("subjects") {
                return Ok(());
            }
            let role: RoleRef = read_one(new.get("roleRef"))?;
            let plural = if role.kind == "ClusterRole" { "clusterroles" } else { "roles" };
            if may("bind", plural, &role.name) {
                return Ok(());
            }
            let Some(rules) = policy.role(&role, namespace) else {
                let kind = role.kind.to_lowercase();
                let why = format!("{kind}.{GROUP} \"{}\" not found", short(&role.name));
                return Err(ApiError::forbidden(resource, name, &why));
            };
            rules.to_vec()
        }
        _ => return Ok(()),
    };
    let held = policy.rules(who, namespace);
    let missing = missing(&held, &granted).map_err(|TooMany| {
        let why = format!("its rules have more than {MAX_PARTS} combinations to compare");
        ApiError::forbidden(resource, name, &why)
    })?;
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!(
        "user \"{}\" (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        who.user,
        who.groups,
        missing.join("\n")
    );
    Err(ApiError::forbidden(resource, name, &why))
}

fn read(rules: Option<&Value>) -> Result<Vec<PolicyRule>> {
    rules.map_or_else(|| Ok(Vec::new()), |rules| read_one(Some(rules)))
}

fn read_one<T: serde::de::DeserializeOwned>(value: Option<&Value>) -> Result<T> {
    let value = value.cloned().unwrap_or_default();
    serde_json::from_value(value).map_err(|error| {
        ApiError::bad_request(format!("cannot read the rules: {}", json::reason(&error)))
    })
}

/// Returns the rules of all permissions.
fn all_permissions() -> Vec<PolicyRule> {
    let all = || vec!["*".to_owned()];
    vec![
        PolicyRule {
            verbs: all(),
            api_groups: Some(all()),
            resources: Some(all()),
            ..PolicyRule::default()
        },
        PolicyRule { verbs: all(), non_resource_urls: Some(all()), ..PolicyRule::default() },
    ]
}

#[derive(Debug, PartialEq, Eq)]
struct TooMany;

/// A combination of values that a rule grants.
struct Part<'a> {
    verb: &'a str,
    /// Group, resource, and name if only one is granted.
    target: Option<(&'a str, &'a str, Option<&'a str>)>,
    url: &'a str,
}

/// Descriptions of granted permissions that are not held; only the first ones if there are many.
fn missing(held: &[&PolicyRule], granted: &[PolicyRule]) -> Result<Vec<String>, TooMany> {
    const MAX_LISTED: usize = 20;
    let mut missing = Vec::new();
    let mut left = MAX_PARTS;
    for rule in granted {
        for part in parts(rule, &mut left)? {
            if !held.iter().any(|held| covers(held, &part)) && missing.len() < MAX_LISTED {
                missing.push(part.to_string());
            }
        }
    }
    Ok(missing)
}

/// Returns the combinations of a rule.
fn parts<'a>(rule: &'a PolicyRule, left: &mut usize) -> Result<Vec<Part<'a>>, TooMany> {
    let list = |list: &'a Option<Vec<String>>| list.as_deref().unwrap_or_default();
    let (groups, resources) = (list(&rule.api_groups), list(&rule.resources));
    let (names, urls) = (list(&rule.resource_names), list(&rule.non_resource_urls));
    let per_verb = [groups.len(), resources.len(), names.len().max(1)]
        .iter()
        .try_fold(1usize, |product, length| product.checked_mul(*length))
        .and_then(|product| product.checked_add(urls.len()));
    let count = per_verb.and_then(|count| count.checked_mul(rule.verbs.len())).ok_or(TooMany)?;
    *left = left.checked_sub(count).ok_or(TooMany)?;
    let mut parts = Vec::with_capacity(count);
    for verb in &rule.verbs {
        for group in groups {
            for resource in resources {
                let target = |name| Part { verb, target: Some((group, resource, name)), url: "" };
                if names.is_empty() {
                    parts.push(target(None));
                }
                parts.extend(names.iter().map(|name| target(Some(name))));
            }
        }
        parts.extend(urls.iter().map(|url| Part { verb, target: None, url }));
    }
    Ok(parts)
}

/// Returns whether a held rule covers the combination.
fn covers(held: &PolicyRule, part: &Part<'_>) -> bool {
    fn list(list: Option<&Vec<String>>) -> &[String] {
        list.map(Vec::as_slice).unwrap_or_default()
    }
    let has = |list: &[String], wanted: &str| list.iter().any(|e| e == "*" || e == wanted);
    if !has(&held.verbs, part.verb) {
        return false;
    }
    let Some((group, resource, name)) = part.target else {
        let urls = list(held.non_resource_urls.as_ref());
        return urls.iter().any(|url| match url.strip_suffix('*') {
            Some(prefix) => part.url.starts_with(prefix),
            None => url == part.url,
        });
    };
    let resources = list(held.resources.as_ref());
    let any_of_subresource = || {
        let subresource = resource.split_once('/').map(|(_, subresource)| subresource);
        subresource.is_some_and(|sub| {
            resources.iter().any(|held| held.strip_prefix("*/").is_some_and(|held| held == sub))
        })
    };
    let names = list(held.resource_names.as_ref());
    has(list(held.api_groups.as_ref()), group)
        && (has(resources, resource) || any_of_subresource())
        && (names.is_empty() || name.is_some_and(|name| names.iter().any(|held| held == name)))
}

impl std::fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |text: &str| json!(short(text)).to_string();
        match self.target {
            None => {
                write!(f, "{{NonResourceURLs:[{}], Verbs:[{}]}}", text(self.url), text(self.verb))
            }
            Some((group, resource, name)) => {
                write!(f, "{{APIGroups:[{}], Resources:[{}]", text(group), text(resource))?;
                if let Some(name) = name {
                    write!(f, ", ResourceNames:[{}]", text(name))?;
                }
                write!(f, ", Verbs:[{}]}}", text(self.verb))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(value: Value) -> PolicyRule {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn held_permissions_cover_granted_ones() {
        let target = |verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]| {
            let mut rule = json!({"verbs": verbs, "apiGroups": groups, "resources": resources});
            if !names.is_empty() {
                rule["resourceNames"] = json!(names);
            }
            rule
        };
        let url = |url: &str| json!({"verbs": ["get"], "nonResourceURLs": [url]});
        for (held, granted, good) in [
            (
                vec![target(&["get", "list"], &[""], &["pods"], &[])],
                target(&["get"], &[""], &["pods"], &[]),
                true,
            ),
            (
                vec![target(&["get"], &[""], &["pods"], &[])],
                target(&["get", "list"], &[""], &["pods"], &[]),
                false,
            ),
            (
                vec![
                    target(&["get"], &[""], &["pods"], &[]),
                    target(&["list"], &[""], &["pods"], &[]),
                ],
                target(&["get", "list"], &[""], &["pods"], &[]),
                true,
            ),
            (
                vec![target(&["get"], &[""], &["pods"], &["a"])],
                target(&["get"], &[""], &["pods"], &[]),
                false,
            ),
            (
                vec![target(&["get"], &[""], &["pods"], &["a"])],
                target(&["get"], &[""], &["pods"], &["a"]),
                true,
            ),
            (
                vec![target(&["get"], &[""], &["pods"], &[])],
                target(&["get"], &[""], &["pods"], &["a"]),
                true,
            ),
            (
                vec![target(&["*"], &["*"], &["*"], &[])],
                target(&["x"], &["g"], &["r/s"], &[]),
                true,
            ),
            (vec![target(&["*"], &["g"], &["*"], &[])], target(&["*"], &["*"], &["*"], &[]), false),
            (
                vec![target(&["get"], &[""], &["*/status"], &[])],
                target(&["get"], &[""], &["pods/status"], &[]),
                true,
            ),
            (
                vec![target(&["get"], &[""], &["pods"], &[])],
                target(&["get"], &[""], &["pods/status"], &[]),
                false,
            ),
            (vec![url("/a/*")], url("/a/b"), true),
            (vec![url("/a/*")], url("/*"), false),
            (vec![url("*")], url("/*"), true),
            (vec![target(&["*"], &["*"], &["*"], &[])], url("/a"), false),
        ] {
            let held: Vec<PolicyRule> = held.into_iter().map(rule).collect();
            let held: Vec<&PolicyRule> = held.iter().collect();
            let missing = missing(&held, &[rule(granted.clone())]).unwrap();
            assert_eq!(missing.is_empty(), good, "{held:?} {granted}: {missing:?}");
        }
    }

    #[test]
    fn oversized_rule_combinations_are_refused() {
        let many: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        let rule = rule(json!({"verbs": many, "apiGroups": many, "resources": many}));
        assert_eq!(missing(&[], &[rule]), Err(TooMany));
    }
}

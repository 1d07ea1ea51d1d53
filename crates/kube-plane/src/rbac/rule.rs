//! Whether a rule of a role covers a request.

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::attributes::{Attributes, RequestTarget, ResourceAttributes};

/// Returns whether the rule allows the request.
pub(crate) fn allows(rule: &PolicyRule, attributes: &Attributes<'_>) -> bool {
    has(&rule.verbs, &attributes.verb)
        && match &attributes.target {
            RequestTarget::Resource(resource) => covers(rule, resource),
            RequestTarget::Path(path) => {
                list(rule.non_resource_urls.as_ref()).iter().any(|url| path_matches(url, path))
            }
        }
}

fn covers(rule: &PolicyRule, asked: &ResourceAttributes<'_>) -> bool {
    let names = list(rule.resource_names.as_ref());
    has(list(rule.api_groups.as_ref()), &asked.group)
        && list(rule.resources.as_ref()).iter().any(|resource| resource_matches(resource, asked))
        && (names.is_empty() || names.iter().any(|name| *name == *asked.name))
}

/// `pods`, `pods/status`, `*/status` or `*`.
fn resource_matches(rule: &str, asked: &ResourceAttributes<'_>) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => asked.subresource.is_empty() && rule == asked.resource,
        Some((resource, subresource)) => {
            !asked.subresource.is_empty()
                && subresource == asked.subresource
                && (resource == "*" || resource == asked.resource)
        }
    }
}

/// A trailing `*` matches anything.
fn path_matches(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => rule == path,
    }
}

/// A `*` in the list matches anything.
fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == "*" || entry == wanted)
}

fn list(list: Option<&Vec<String>>) -> &[String] {
    list.map(Vec::as_slice).unwrap_or_default()
}

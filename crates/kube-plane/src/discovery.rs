//! Discovery of the served resources.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::registry::{Access, Resource, Tables};

/// Content type of aggregated discovery.
pub(crate) const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The Kubernetes minor version whose API the plane resembles. Clients enable features by it.
const MINOR: &str = "36";

pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.0+kube-plane"),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
        "emulationMajor": "1", "emulationMinor": MINOR,
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
    })
}

/// Returns the paths at the root.
pub(crate) fn paths(tables: &Tables) -> Value {
    let mut paths: Vec<String> = [
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    for (group, versions) in tables.groups().into_iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.sort();
    json!({"paths": paths})
}

pub(crate) fn core_versions() -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    })
}

pub(crate) fn groups(tables: &Tables) -> Value {
    let groups: Vec<Value> = tables
        .groups()
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| group_of(group, &versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

pub(crate) fn group(tables: &Tables, name: &str) -> Option<Value> {
    let groups = tables.groups();
    let versions = groups.get(name).filter(|_| !name.is_empty())?;
    let mut group = group_of(name, versions);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

fn group_of(group: &str, versions: &[&str]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

fn verbs(resource: &Resource) -> &'static [&'static str] {
    match resource.access {
        Access::Full if !resource.has_collection_delete() => {
            &["create", "delete", "get", "list", "patch", "update", "watch"]
        }
        Access::Full => {
            &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
        }
        Access::Empty => &["get", "list", "watch"],
        Access::Review => &["create"],
    }
}

/// Subresources with group, version and kind of their objects.
fn subresources(resource: &Resource) -> Vec<(&'static str, String, String, String)> {
    let mut all = Vec::new();
    let own = |name| {
        (name, resource.group.to_string(), resource.version.to_string(), resource.kind.to_string())
    };
    if resource.status {
        all.push(own("status"));
    }
    if resource.scale.is_some() {
        all.push(("scale", "autoscaling".to_owned(), "v1".to_owned(), "Scale".to_owned()));
    }
    if &*resource.plural == "namespaces" && resource.group.is_empty() {
        all.push(own("finalize"));
    }
    all
}

fn subresource_verbs(name: &str) -> &'static [&'static str] {
    if name == "finalize" { &["update"] } else { &["get", "patch", "update"] }
}

/// Returns the resources of a group and version.
pub(crate) fn resources(tables: &Tables, group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for resource in tables.of(group, version) {
        let mut entry = json!({
            "name": &*resource.plural, "singularName": &*resource.singular,
            "namespaced": resource.namespaced, "kind": &*resource.kind,
            "verbs": verbs(resource),
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        if resource.access == Access::Full {
            entry["storageVersionHash"] = storage_hash(resource).into();
        }
        list.push(entry);
        for (name, group, version, kind) in subresources(resource) {
            let mut entry = json!({
                "name": format!("{}/{name}", resource.plural), "singularName": "",
                "namespaced": resource.namespaced, "kind": kind,
                "verbs": subresource_verbs(name),
            });
            if name == "scale" {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            list.push(entry);
        }
    }
    if list.is_empty() {
        return None;
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": crate::registry::api_version(group, version), "resources": list,
    }))
}

fn storage_hash(resource: &Resource) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use sha2::{Digest, Sha256};
    let text = format!("{}/{}", resource.storage, resource.storage_api_version);
    let hash = Sha256::digest(text.as_bytes());
    STANDARD.encode(hash.get(..8).unwrap_or_default())
}

/// Returns the aggregated discovery of the core group, or of all other groups.
pub(crate) fn aggregated(tables: &Tables, core: bool) -> Bytes {
    let items: Vec<Value> = tables
        .groups()
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .into_iter()
                .map(|version| {
                    let resources: Vec<Value> =
                        tables.of(group, version).map(|resource| discover(resource)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": items,
    });
    list.to_string().into()
}

fn discover(resource: &Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut entry = json!({
        "resource": &*resource.plural, "singularResource": &*resource.singular,
        "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "verbs": verbs(resource),
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    let subresources: Vec<Value> = subresources(resource)
        .into_iter()
        .map(|(name, group, version, of)| {
            json!({
                "subresource": name, "responseKind": kind(&group, &version, &of),
                "verbs": subresource_verbs(name),
            })
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}

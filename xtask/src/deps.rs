//! Allowed dependencies between crates. The table matches the one in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Crates of the workspace and the workspace crates they may use. Transitive use is allowed.
const MAY_USE: &[(&str, &[&str])] = &[
    ("incus-api", &[]),
    ("incus-client", &["incus-api", "group-limits"]),
    ("incus-sim", &["incus-api"]),
    ("capn-text", &[]),
    ("capi-api", &["capn-text"]),
    ("capn-api", &["capi-api"]),
    ("capn-plan", &["capn-api", "incus-api"]),
    ("capn-oci", &[]),
    ("capn-image", &["incus-client", "capn-oci", "capn-text", "group-limits"]),
    ("capn-doctor", &["incus-client"]),
    (
        "capn-provider",
        &["capn-controller", "capn-plan", "capn-image", "capn-doctor", "incus-client"],
    ),
    ("bounded-http", &[]),
    ("group-limits", &[]),
    ("kube-plane", &["bounded-http"]),
    ("capn-controller", &["capi-api", "group-limits"]),
    ("capn-lifecycle", &["capn-controller"]),
    ("capn-manager", &["capn-provider", "bounded-http"]),
    ("capn-package", &["capn-api", "capn-oci"]),
    ("capn-template", &["capn-text"]),
    (
        "capn",
        &[
            "capn-provider",
            "capn-lifecycle",
            "capn-manager",
            "capn-package",
            "capn-template",
            "kube-plane",
        ],
    ),
    ("e2e", &["capn-oci", "incus-sim"]),
    ("capn-fuzz", &["capn"]),
    ("bench", &["capn", "incus-sim"]),
    ("xtask", &[]),
];

/// Third-party crates that a crate must not list in its normal dependencies, and why.
const MUST_NOT_NAME: &[(&str, &[&str], &str)] = &[
    ("incus-api", ASYNC, "wire types do no I/O"),
    ("capn-plan", ASYNC, "a plan is a pure function"),
    ("capn-template", ASYNC, "templates are rendered without I/O"),
    ("capn-template", KUBERNETES, "objects are YAML here; tests compare them with the types"),
    ("capn-text", ASYNC, "text is processed without I/O"),
    ("capn-text", KUBERNETES, "text is processed without I/O"),
    ("capn-api", ASYNC, "types do no I/O"),
    ("capi-api", ASYNC, "types do no I/O"),
    ("incus-client", KUBERNETES, "the client knows nothing of Kubernetes"),
    ("incus-sim", KUBERNETES, "the simulator knows nothing of Kubernetes"),
    ("incus-api", KUBERNETES, "the wire types know nothing of Kubernetes"),
    ("capn-image", KUBERNETES, "images are built without a cluster"),
    ("capn-doctor", KUBERNETES, "hosts and nodes are checked without a cluster"),
    ("capn-lifecycle", &["rusqlite"], "controllers see a kube::Client only"),
    ("capn-provider", &["rusqlite"], "controllers see a kube::Client only"),
    ("capn", &["rusqlite"], "only kube-plane opens the store"),
];

const ASYNC: &[&str] = &["tokio", "tokio-util", "futures", "hyper", "axum", "rusqlite", "tower"];
const KUBERNETES: &[&str] = &["kube", "k8s-openapi", "kube-core", "kube-client"];

/// Packages that must not be in the lock file, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "TLS is rustls with ring"),
    ("native-tls", "TLS is rustls with ring"),
    ("aws-lc-sys", "TLS is rustls with ring"),
    ("reqwest", "HTTP is hyper"),
    ("chrono", "time is jiff"),
    ("serde_yaml", "YAML is serde-saphyr"),
];

/// Packages that may depend on a banned one.
const MAY_BRING: &[(&str, &[&str])] =
    // The CEL library represents timestamps with chrono; the plane itself uses jiff.
    &[("chrono", &["cel", "kube-cel"])];

/// Reads `cargo metadata` and lists violations.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    Ok(violations(&metadata))
}

struct Package {
    /// Names in `[dependencies]`, without build and test dependencies.
    normal: BTreeSet<String>,
}

fn violations(metadata: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let packages = members(metadata);
    let rules: BTreeMap<&str, BTreeSet<&str>> =
        MAY_USE.iter().map(|(name, _)| (*name, allowed(name))).collect();

    for (name, package) in &packages {
        let Some(may) = rules.get(name.as_str()) else {
            found.push(format!("{name}: no rule; add it to xtask/src/deps.rs"));
            continue;
        };
        for dependency in &package.normal {
            if packages.contains_key(dependency) && !may.contains(dependency.as_str()) {
                found.push(format!("{name} must not use {dependency}"));
            }
        }
        for (_, banned, why) in MUST_NOT_NAME.iter().filter(|(of, ..)| of == name) {
            for dependency in package.normal.iter().filter(|d| banned.contains(&d.as_str())) {
                found.push(format!("{name} must not use {dependency}: {why}"));
            }
        }
    }
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name)
            && !only_brought(metadata, package, name)
        {
            found.push(format!("{name} is in the dependency tree: {why}"));
        }
    }
    found
}

/// Whether only packages from [`MAY_BRING`] depend on a banned package.
fn only_brought(metadata: &Value, package: &Value, name: &str) -> bool {
    let Some((_, may)) = MAY_BRING.iter().find(|(of, _)| *of == name) else { return false };
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
        .collect();
    let mut users = metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|node| {
            let uses = node["deps"].as_array().into_iter().flatten();
            uses.into_iter().any(|used| used["pkg"] == package["id"])
        })
        .filter_map(|node| names.get(node["id"].as_str()?).copied())
        .peekable();
    users.peek().is_some() && users.all(|user| may.contains(&user))
}

fn members(metadata: &Value) -> BTreeMap<String, Package> {
    let ids: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|package| package["id"].as_str().is_some_and(|id| ids.contains(id)))
        .filter_map(|package| {
            let normal = package["dependencies"]
                .as_array()?
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
                .collect();
            Some((package["name"].as_str()?.to_owned(), Package { normal }))
        })
        .collect()
}

/// Crates that a crate may use, directly or transitively.
fn allowed(name: &str) -> BTreeSet<&'static str> {
    let mut seen = BTreeSet::new();
    let mut queue: Vec<&'static str> = direct(name).to_vec();
    while let Some(next) = queue.pop() {
        if seen.insert(next) {
            queue.extend(direct(next));
        }
    }
    seen
}

fn direct(name: &str) -> &'static [&'static str] {
    MAY_USE.iter().find(|(of, _)| *of == name).map_or(&[], |(_, uses)| *uses)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A dependency's name and kind; no kind means a normal dependency.
    type Uses<'a> = &'a [(&'a str, Option<&'a str>)];

    fn workspace(packages: &[(&str, Uses<'_>)]) -> Value {
        let list: Vec<Value> = packages
            .iter()
            .map(|(name, dependencies)| {
                let dependencies: Vec<Value> = dependencies
                    .iter()
                    .map(|(name, kind)| json!({"name": name, "kind": kind}))
                    .collect();
                json!({"name": name, "id": name, "dependencies": dependencies})
            })
            .collect();
        let ids: Vec<&str> = packages.iter().map(|(name, _)| *name).collect();
        json!({"packages": list, "workspace_members": ids})
    }

    #[test]
    fn a_forbidden_dependency_is_refused() {
        let metadata =
            workspace(&[("capn-plan", &[("incus-client", None)]), ("incus-client", &[])]);
        assert_eq!(violations(&metadata), ["capn-plan must not use incus-client"]);
    }

    #[test]
    fn a_crate_may_use_what_its_dependencies_may_use() {
        let metadata = workspace(&[("capn-provider", &[("capi-api", None)]), ("capi-api", &[])]);
        assert!(violations(&metadata).is_empty());
    }

    #[test]
    fn tests_may_use_anything() {
        let metadata =
            workspace(&[("incus-client", &[("incus-sim", Some("dev"))]), ("incus-sim", &[])]);
        assert!(violations(&metadata).is_empty());
    }

    #[test]
    fn a_crate_without_a_rule_is_reported() {
        let found = violations(&workspace(&[("capn-new", &[])]));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("capn-new: no rule"), "{found:?}");
    }

    #[test]
    fn an_async_runtime_in_the_plan_is_refused() {
        let found = violations(&workspace(&[("capn-plan", &[("tokio", None)])]));
        assert_eq!(found, ["capn-plan must not use tokio: a plan is a pure function"]);
    }

    #[test]
    fn a_banned_package_may_stay_inside_those_that_bring_it() {
        let metadata = |user: &str| {
            let mut metadata = workspace(&[]);
            metadata["packages"] =
                json!([{"name": "chrono", "id": "c"}, {"name": user, "id": "u"}]);
            metadata["resolve"] = json!({"nodes": [{"id": "u", "deps": [{"pkg": "c"}]}]});
            metadata
        };
        assert!(violations(&metadata("cel")).is_empty());
        let found = violations(&metadata("other"));
        assert_eq!(found, ["chrono is in the dependency tree: time is jiff"]);
    }
}

//! Tests of the recorded results.

use capi_api::addons::ResourceKind;
use serde_json::{Value, json};

use super::*;

fn set(name: &str, resources: &[&str]) -> ClusterResourceSet {
    let resources: Vec<Value> =
        resources.iter().map(|name| json!({ "kind": "ConfigMap", "name": name })).collect();
    serde_json::from_value(json!({
        "apiVersion": "addons.cluster.x-k8s.io/v1beta2", "kind": "ClusterResourceSet",
        "metadata": { "name": name, "namespace": "ns", "uid": format!("uid-{name}") },
        "spec": { "clusterSelector": {}, "resources": resources },
    }))
    .unwrap()
}

fn result(name: &str, hash: &str, applied: bool, minute: u8) -> ResourceBinding {
    ResourceBinding {
        name: name.to_owned(),
        kind: ResourceKind::ConfigMap,
        hash: Some(hash.to_owned()),
        last_applied_time: serde_json::from_value(json!(format!("2026-01-01T12:{minute:02}:00Z")))
            .unwrap(),
        applied,
    }
}

/// Formats sets with their resources: `name hash applied minute`.
fn shown(binding: &ClusterResourceSetBinding) -> Vec<(String, Vec<String>)> {
    let minute = |time: &ResourceBinding| {
        let time = serde_json::to_value(&time.last_applied_time).unwrap();
        time.as_str().unwrap()[14..16].to_owned()
    };
    let line = |entry: &ResourceBinding| {
        let hash = entry.hash.clone().unwrap_or_default();
        format!("{} {hash} {} {}", entry.name, entry.applied, minute(entry))
    };
    let sets = binding.spec.bindings.iter().flatten();
    sets.map(|set| {
        let resources = set.resources.iter().flatten().map(line).collect();
        (set.cluster_resource_set_name.clone(), resources)
    })
    .collect()
}

fn owners(binding: &ClusterResourceSetBinding) -> Vec<String> {
    binding.owner_references().iter().map(|owner| owner.uid.clone()).collect()
}

fn sets(sets: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    sets.iter().map(|(name, entries)| ((*name).to_owned(), texts(entries))).collect()
}

#[test]
fn each_set_writes_its_own_part() {
    let new = named("ns", "c");
    let first = with_results(&new, &set("one", &["a", "b"]), &[result("a", "h", true, 1)]);
    assert_eq!(shown(&first), sets(&[("one", &["a h true 01"])]));
    let both = with_results(&first, &set("two", &["a"]), &[result("a", "h", false, 2)]);
    let expected = sets(&[("one", &["a h true 01"]), ("two", &["a h false 02"])]);
    assert_eq!(shown(&both), expected);
    assert_eq!(owners(&both), ["uid-one", "uid-two"]);
    assert_eq!(with_results(&both, &set("one", &["a", "b"]), &[]), both, "nothing is new");

    let less = without(&both, "one");
    assert_eq!(shown(&less), sets(&[("two", &["a h false 02"])]));
    assert_eq!(owners(&less), ["uid-two"]);
    assert_eq!(without(&less, "one"), less);
    assert_eq!(shown(&without(&less, "two")), []);
}

#[test]
fn an_unchanged_failure_is_not_written_again() {
    let of = set("one", &["a"]);
    let old = with_results(&named("ns", "c"), &of, &[result("a", "h", false, 1)]);
    for (next, expected) in [
        (result("a", "h", false, 9), "a h false 01"),
        (result("a", "other", false, 9), "a other false 09"),
        (result("a", "h", true, 9), "a h true 09"),
    ] {
        assert_eq!(shown(&with_results(&old, &of, &[next])), sets(&[("one", &[expected])]));
    }
    let done = with_results(&old, &of, &[result("a", "h", true, 2)]);
    let again = with_results(&done, &of, &[result("a", "h2", false, 3)]);
    assert_eq!(shown(&again), sets(&[("one", &["a h2 false 03"])]));
}

#[test]
fn resources_removed_from_a_set_are_removed_from_its_binding() {
    let old = with_results(
        &named("ns", "c"),
        &set("one", &["a", "b"]),
        &[result("a", "h", true, 1), result("b", "h", true, 1)],
    );
    let new = with_results(&old, &set("one", &["b"]), &[]);
    assert_eq!(shown(&new), sets(&[("one", &["b h true 01"])]));
}

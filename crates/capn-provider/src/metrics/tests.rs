//! Tests that the documentation lists the registered metrics, and that objects are counted.

use std::{collections::BTreeMap, time::Duration};

use capn_api::{LXCCluster, LXCMachine};
use incus_client::{Observation, OperationOutcome, RequestOutcome};
use kube::{
    Resource,
    runtime::{
        reflector::{self, Store},
        watcher::Event,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/metrics.md");

fn store<K>(objects: &[Value]) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, mut writer) = reflector::store();
    for object in objects {
        writer.apply_watcher_event(&Event::Apply(serde_json::from_value(object.clone()).unwrap()));
    }
    reader
}

fn cluster(name: &str, status: &str, reason: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "ns", "labels": { "cluster.x-k8s.io/cluster-name": name },
        },
        "spec": { "loadBalancer": { "lxc": {} } },
        "status": { "conditions": [condition("LoadBalancerAvailable", status, reason)] },
    })
}

fn machine(name: &str, status: &str, reason: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "ns", "labels": { "cluster.x-k8s.io/cluster-name": "demo" },
        },
        "spec": {},
        "status": { "conditions": [condition("InstanceProvisioned", status, reason)] },
    })
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

/// Type and labels, by name.
type Described = BTreeMap<String, (String, Vec<String>)>;

/// Parses the rows of the page: name, type, labels, description.
fn documented() -> Described {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let words = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let rows = page.lines().filter(|line| line.starts_with("| `capn_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(!cells[3].is_empty(), "a metric without a meaning: {row}");
        (words(cells[0]).remove(0), (cells[1].to_owned(), words(cells[2])))
    })
    .collect()
}

/// Returns the content of a registry in which each metric was used.
fn registered() -> Described {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let timeout = incus_client::Error::OperationLost { id: String::new(), description: "x".into() };
    let took = Duration::from_millis(7);
    for observed in [
        Observation::Request {
            method: "GET",
            route: "/1.0",
            outcome: RequestOutcome::TimedOut,
            took,
        },
        Observation::OperationAwaited { description: "Creating instance" },
        Observation::OperationEnded {
            description: "Creating instance",
            outcome: OperationOutcome::Succeeded,
            took,
        },
        Observation::EventsConnected { again: true },
        Observation::EventsLost { error: &timeout },
        Observation::EventsRefused { error: &timeout },
        Observation::EndpointFailed { endpoint: "a", next: "b" },
    ] {
        metrics.servers().observe(&ServerName::default(), &observed);
    }
    metrics.reconciles().begin("LXCMachine").ended(Outcome::Success);
    let key = RemoteKey { namespace: "ns".into(), secret: "lab".into() };
    let end = Some("2030-01-01T00:00:00Z".parse().unwrap());
    metrics.certificates(&key, &Certificates { client: end, server: end });
    metrics.objects().clusters(store(&[cluster("demo", "True", "LoadBalancerAvailable")]));

    let text = encode(&registry, Format::Prometheus).unwrap();
    let mut found = Described::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let series = text.lines().find(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) || rest.starts_with("_count"))
        });
        let series = series.unwrap_or_else(|| panic!("{name} has no series"));
        let labels = series.split_once('{').map(|(_, rest)| rest.split_once('}').unwrap().0);
        let labels = labels.unwrap_or_default().split("\",").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.split_once('=').unwrap().0.to_owned()).collect();
        found.insert(name.to_owned(), (kind.to_owned(), labels));
    }
    found
}

#[test]
fn the_page_lists_what_is_registered() {
    let (documented, registered) = (documented(), registered());
    for (name, is) in &registered {
        assert_eq!(documented.get(name), Some(is), "docs/reference/metrics.md about {name}");
    }
    for name in documented.keys() {
        assert!(
            registered.contains_key(name),
            "docs/reference/metrics.md has {name}, which is no metric"
        );
    }
}

#[test]
fn instances_are_counted_as_their_objects_tell() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let mut control_plane = machine("cp", "True", "InstanceProvisioned");
    control_plane["metadata"]["labels"]["cluster.x-k8s.io/control-plane"] = json!("");
    control_plane["status"]["loadBalancerConfigured"] = json!(true);
    let mut leaving = control_plane.clone();
    leaving["metadata"]["name"] = json!("leaving");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut fresh = machine("fresh", "False", "x");
    fresh["status"] = Value::Null;
    let mut external = cluster("external", "True", "LoadBalancerAvailable");
    external["spec"] = json!({ "loadBalancer": { "external": {} } });
    metrics.objects().machines(store::<LXCMachine>(&[
        control_plane,
        leaving,
        fresh,
        machine("gate", "False", "WaitingForControlPlaneAvailable"),
        machine("made", "False", "CreatingInstance"),
        machine("booting", "False", "WaitingForAddress"),
        machine("stopped", "False", "InstanceStopped"),
        machine("gone", "False", "InstanceDeleted"),
        machine("refused", "False", "InstanceProvisioningAborted"),
        machine("away", "Unknown", "ServerUnavailable"),
        machine("one", "True", "InstanceProvisioned"),
        machine("two", "True", "InstanceProvisioned"),
    ]));
    metrics.objects().clusters(store::<LXCCluster>(&[
        cluster("demo", "True", "LoadBalancerAvailable"),
        cluster("new", "False", "CreatingLoadBalancer"),
        external,
    ]));
    let text = encode(&registry, Format::Prometheus).unwrap();
    let of = |metric: &str| -> Vec<&str> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(metric));
        let mut lines: Vec<_> = lines.filter(|line| !line.ends_with(" 0")).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(
        of("capn_instances"),
        [
            r#"{role="control-plane",state="deleting"} 1"#,
            r#"{role="control-plane",state="running"} 1"#,
            r#"{role="load-balancer",state="creating"} 1"#,
            r#"{role="load-balancer",state="running"} 1"#,
            r#"{role="worker",state="creating"} 1"#,
            r#"{role="worker",state="failed"} 1"#,
            r#"{role="worker",state="missing"} 1"#,
            r#"{role="worker",state="running"} 2"#,
            r#"{role="worker",state="starting"} 1"#,
            r#"{role="worker",state="stopped"} 1"#,
            r#"{role="worker",state="unknown"} 1"#,
            r#"{role="worker",state="waiting"} 2"#,
        ]
    );
    assert_eq!(of("capn_load_balancer_backends"), [r#"{namespace="ns",cluster="demo"} 1"#]);
    assert!(text.contains(r#"capn_instances{role="worker",state="deleting"} 0"#), "{text}");
}

#[test]
fn a_client_gets_the_requested_format() {
    let mut registry = Registry::default();
    let _metrics = Metrics::register(&mut registry);
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    assert_eq!(Format::accepted(Some(accept)), Format::OpenMetrics);
    assert_eq!(Format::accepted(Some("*/*")), Format::Prometheus);
    assert_eq!(Format::accepted(None), Format::Prometheus);
    assert!(encode(&registry, Format::OpenMetrics).unwrap().ends_with("# EOF\n"));
    assert!(!encode(&registry, Format::Prometheus).unwrap().contains("# EOF"));
}

//! Tests of the volumes of a drained node. The rows are those of upstream's
//! `TestShouldWaitForNodeVolumes` and of its proposal for drain rules, as far as they are relevant
//! here.

use serde_json::{Value, json};

use super::*;
use crate::machine::deletion;
use crate::machine::observe::DeletionFacts;
use crate::testing::{both, cluster, deleting, machine, now};

const EXCLUDED: &str = capi_api::labels::EXCLUDE_WAIT_FOR_VOLUME_DETACH;

fn attached(volume: &str, claim: Option<&str>) -> Attached {
    let claim = claim.map(|name| ("default".to_owned(), name.to_owned()));
    Attached { volume: volume.to_owned(), claim }
}

fn pod(volumes: Value, change: Value) -> Pod {
    let base = json!({
        "metadata": { "name": "p", "namespace": "default" },
        "spec": { "containers": [], "volumes": volumes },
    });
    serde_json::from_value(both(base, &change)).unwrap()
}

struct Row {
    what: &'static str,
    machine: Value,
    node: Value,
    pods: Vec<Pod>,
    volumes: Result<Vec<Attached>, String>,
    waits_for: Option<&'static str>,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            what: "",
            machine: json!({}),
            node: json!({}),
            pods: Vec::new(),
            volumes: Ok(vec![attached("pv-1", Some("data"))]),
            waits_for: None,
        }
    }
}

fn skipped() -> Value {
    json!({ "metadata": { "labels": { capi_api::labels::POD_DRAIN: "skip" } } })
}

fn rows() -> Vec<Row> {
    let waits = Some("PersistentVolume pv-1 of default/data");
    let claim =
        |name: &str| json!([{ "name": "v", "persistentVolumeClaim": { "claimName": name } }]);
    let since = |minute: u8| {
        json!({
            "spec": { "deletion": { "nodeVolumeDetachTimeoutSeconds": 600 } },
            "status": { "deletion": {
                "waitForNodeVolumeDetachStartTime": format!("2026-01-01T11:{minute}:00Z"),
            } },
        })
    };
    vec![
        Row { what: "none is attached", volumes: Ok(Vec::new()), ..Row::default() },
        Row { what: "one is attached", waits_for: waits, ..Row::default() },
        Row {
            what: "one without a PersistentVolume",
            volumes: Ok(vec![attached("csi-1", None)]),
            waits_for: Some("PersistentVolume csi-1"),
            ..Row::default()
        },
        Row {
            what: "the cluster does not answer",
            volumes: Err("list the volume attachments: no answer".into()),
            waits_for: Some("list the volume attachments: no answer"),
            ..Row::default()
        },
        Row {
            what: "the machine does not wait",
            machine: json!({ "metadata": { "annotations": { EXCLUDED: "" } } }),
            ..Row::default()
        },
        Row {
            what: "the node does not answer",
            node: json!({ "spec": { "taints": [
                { "key": "node.kubernetes.io/unreachable", "effect": "NoExecute" },
            ] } }),
            ..Row::default()
        },
        Row { what: "within the timeout", machine: since(55), waits_for: waits, ..Row::default() },
        Row { what: "after the timeout", machine: since(49), ..Row::default() },
        Row {
            what: "it is of a pod that stays",
            pods: vec![pod(claim("data"), skipped())],
            ..Row::default()
        },
        Row {
            what: "another is of a pod that stays",
            pods: vec![pod(claim("other"), skipped())],
            waits_for: waits,
            ..Row::default()
        },
        Row {
            what: "it is of a pod that has finished",
            pods: vec![pod(claim("data"), json!({ "status": { "phase": "Succeeded" } }))],
            waits_for: waits,
            ..Row::default()
        },
        Row {
            what: "the claim is the pod's own",
            pods: vec![pod(json!([{ "name": "scratch", "ephemeral": {} }]), skipped())],
            volumes: Ok(vec![attached("pv-2", Some("p-scratch"))]),
            ..Row::default()
        },
    ]
}

#[test]
fn volumes_are_waited_for_unless_excluded() {
    for Row { what, machine: change, node, pods, volumes, waits_for } in rows() {
        let of_node = json!({ "status": { "nodeRef": { "name": "m" } } });
        let machine = machine("m", both(both(deleting(), &of_node), &change));
        let base = json!({ "metadata": { "name": "m" }, "spec": { "unschedulable": true } });
        let deletion = DeletionFacts {
            control_plane_machines: 3,
            pods: Some(Ok(pods)),
            volumes: Some(volumes),
            ..DeletionFacts::default()
        };
        let node = serde_json::from_value(both(base, &node)).unwrap();
        let observed = Observed {
            cluster: Some(cluster(json!({}))),
            bootstrap: crate::lookup::Lookup::NoReference,
            infrastructure: crate::testing::external("LXCMachine", "m", json!({})),
            node: NodeLookup::Found(std::sync::Arc::new(node)),
            connection: crate::nodes::Connection::Up,
            machine_set: None,
            machine_deployment: None,
            machine_pool: None,
            deletion: Some(deletion),
        };
        let (stage, _) = deletion::plan(&machine, &observed, now());
        let waits = matches!(stage, deletion::Stage::VolumeDetach { .. });
        let found = waits.then(|| stage.message());
        assert_eq!(found, waits_for, "{what}");
        if waits {
            assert_eq!(stage.reason(), "WaitingForVolumeDetach");
        }
    }
}

//! Tests of defaults and validation.

use serde_json::{Value, json};

use super::*;

fn of(kind: &str) -> Admission {
    admission().into_iter().find(|admission| admission.kind == kind).unwrap()
}

/// Applies the defaults and validates, as the plane does.
fn admit(kind: &str, mut new: Value, old: Option<&Value>) -> (Value, Vec<String>) {
    let admission = of(kind);
    (admission.mutate)(&mut new, old);
    let problems = (admission.validate)(&new, old);
    (new, problems.into_iter().map(|problem| problem.field).collect())
}

fn spec() -> Value {
    json!({
        "clusterName": "c",
        "bootstrap": { "dataSecretName": "s" },
        "infrastructureRef": { "apiGroup": "i.io", "kind": "FooMachineTemplate", "name": "t" },
        "version": "1.36.0",
    })
}

fn deployment(change: &[(&str, Value)]) -> Value {
    let mut value = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment",
        "metadata": { "name": "md" },
        "spec": { "clusterName": "c", "selector": {}, "template": { "spec": spec() } },
    });
    for (pointer, change) in change {
        let path: Vec<&str> = pointer.split('/').collect();
        super::fields::set(&mut value, &path, change.clone());
    }
    value
}

#[test]
fn defaults_of_a_deployment_are_set() {
    let (new, problems) = admit("MachineDeployment", deployment(&[]), None);
    assert_eq!(problems, [] as [&str; 0]);
    let labels = json!({
        "cluster.x-k8s.io/cluster-name": "c",
        "cluster.x-k8s.io/deployment-name": "md",
    });
    assert_eq!(new["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(new["spec"]["template"]["metadata"]["labels"], labels);
    assert_eq!(new["metadata"]["labels"], json!({ "cluster.x-k8s.io/cluster-name": "c" }));
    assert_eq!(new["spec"]["replicas"], json!(1));
    assert_eq!(
        new["spec"]["rollout"]["strategy"],
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } })
    );
    assert_eq!(new["spec"]["template"]["spec"]["version"], json!("v1.36.0"));
    assert_eq!(admit("MachineDeployment", new.clone(), Some(&new)).0, new, "once is enough");
}

#[test]
fn a_selector_of_the_user_stays() {
    let mine = json!({ "matchLabels": { "app": "x" } });
    let labels = json!({ "labels": { "app": "x" } });
    let (new, problems) = admit(
        "MachineDeployment",
        deployment(&[("spec/selector", mine), ("spec/template/metadata", labels)]),
        None,
    );
    assert_eq!(problems, [] as [&str; 0]);
    assert_eq!(
        new["spec"]["selector"]["matchLabels"],
        json!({ "app": "x", "cluster.x-k8s.io/cluster-name": "c" })
    );
}

#[test]
fn replicas_follow_the_bounds_of_an_autoscaler() {
    let bounds = json!({
        "cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size": "2",
        "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size": "5",
    });
    for (old, expected) in [(None, 2), (Some(1), 2), (Some(4), 4), (Some(9), 5)] {
        let old = old.map(|replicas| deployment(&[("spec/replicas", json!(replicas))]));
        let new = deployment(&[("metadata/annotations", bounds.clone())]);
        let (new, _) = admit("MachineDeployment", new, old.as_ref());
        assert_eq!(new["spec"]["replicas"], json!(expected), "{old:?}");
    }
}

#[test]
fn invalid_fields_of_a_deployment_are_named() {
    let rolling = "spec/rollout/strategy/rollingUpdate";
    for (change, field) in [
        (vec![("spec/template/spec/version", json!("latest"))], "spec.template.spec.version"),
        (vec![("spec/template/spec/bootstrap", json!({}))], "spec.template.spec.bootstrap"),
        (vec![("spec/template/spec/clusterName", json!("d"))], "spec.template.spec.clusterName"),
        (
            vec![("spec/selector", json!({ "matchLabels": { "a": "b" } }))],
            "spec.template.metadata.labels",
        ),
        (
            vec![(rolling, json!({ "maxSurge": 0, "maxUnavailable": 0 }))],
            "spec.rollout.strategy.rollingUpdate",
        ),
        (
            vec![(rolling, json!({ "maxSurge": "many" }))],
            "spec.rollout.strategy.rollingUpdate.maxSurge",
        ),
        (
            vec![("spec/machineNaming", json!({ "template": "worker" }))],
            "spec.machineNaming.template",
        ),
        (
            vec![("spec/machineNaming", json!({ "template": "W_{{ .random }}" }))],
            "spec.machineNaming.template",
        ),
        (vec![("spec/replicas", json!(-1))], "spec.replicas"),
    ] {
        let (_, problems) = admit("MachineDeployment", deployment(&change), None);
        assert_eq!(problems, [field], "{change:?}");
    }
}

#[test]
fn the_cluster_of_an_object_cannot_be_changed() {
    for kind in ["Machine", "MachineSet", "MachineDeployment"] {
        let object = |cluster: &str| {
            let mut spec = spec();
            spec["clusterName"] = json!(cluster);
            let mut value = json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": kind,
                "metadata": { "name": "x" }, "spec": spec.clone(),
            });
            if kind != "Machine" {
                value["spec"] =
                    json!({ "clusterName": cluster, "selector": {}, "template": { "spec": spec } });
            }
            value
        };
        let (old, _) = admit(kind, object("c"), None);
        let (_, problems) = admit(kind, object("d"), Some(&old));
        assert!(problems.contains(&"spec.clusterName".to_owned()), "{kind}: {problems:?}");
    }
}

#[test]
fn a_machine_gets_its_label_version_and_timeout() {
    let machine = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": { "name": "m" }, "spec": spec(),
    });
    let (new, problems) = admit("Machine", machine, None);
    assert_eq!(problems, [] as [&str; 0]);
    assert_eq!(new["metadata"]["labels"]["cluster.x-k8s.io/cluster-name"], json!("c"));
    assert_eq!(new["spec"]["version"], json!("v1.36.0"));
    assert_eq!(new["spec"]["deletion"]["nodeDeletionTimeoutSeconds"], json!(10));
}

fn health_check(change: &[(&str, Value)]) -> Value {
    let mut value = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineHealthCheck",
        "metadata": { "name": "mhc" },
        "spec": { "clusterName": "c", "selector": { "matchLabels": { "a": "b" } } },
    });
    for (pointer, change) in change {
        let path: Vec<&str> = pointer.split('/').collect();
        super::fields::set(&mut value, &path, change.clone());
    }
    value
}

#[test]
fn invalid_fields_of_a_health_check_are_named() {
    let trigger = "spec/remediation/triggerIf";
    let in_range = "spec.remediation.triggerIf.unhealthyInRange";
    let at_most = "spec.remediation.triggerIf.unhealthyLessThanOrEqualTo";
    let range = |range: &str| (trigger, json!({ "unhealthyInRange": range }));
    let bound = |bound: Value| (trigger, json!({ "unhealthyLessThanOrEqualTo": bound }));
    let conditions = |field: &str, kind: &str, seconds: i32| {
        let list = json!([{ "type": kind, "status": "False", "timeoutSeconds": seconds }]);
        ("spec/checks", json!({ field: list }))
    };
    let template = |version: &str, kind: &str| {
        let template = json!({ "apiVersion": version, "kind": kind, "name": "t" });
        ("spec/remediation/templateRef", template)
    };
    let startup = |seconds: i32| ("spec/checks", json!({ "nodeStartupTimeoutSeconds": seconds }));
    let (nodes, machines) = ("unhealthyNodeConditions", "unhealthyMachineConditions");
    for (change, field) in [
        (range("[3-5]"), None),
        (range("[5-3]"), Some(in_range)),
        (range("3-5"), Some(in_range)),
        (bound(json!(0)), None),
        (bound(json!("40%")), None),
        (bound(json!(-1)), Some(at_most)),
        (bound(json!("-40%")), Some(at_most)),
        (bound(json!("many")), Some(at_most)),
        (startup(0), None),
        (startup(30), None),
        (startup(29), Some("spec.checks.nodeStartupTimeoutSeconds")),
        (startup(-1), Some("spec.checks.nodeStartupTimeoutSeconds")),
        (conditions(nodes, "Ready", 0), None),
        (
            conditions(nodes, "Ready", -1),
            Some("spec.checks.unhealthyNodeConditions[0].timeoutSeconds"),
        ),
        (conditions(machines, "NodeReady", 0), None),
        (
            conditions(machines, "NodeReady", -1),
            Some("spec.checks.unhealthyMachineConditions[0].timeoutSeconds"),
        ),
        (
            conditions(machines, "OwnerRemediated", 1),
            Some("spec.checks.unhealthyMachineConditions[0].type"),
        ),
        (template("foo.io/v1", "FooTemplate"), None),
        (template("v1", "FooTemplate"), Some("spec.remediation.templateRef.apiVersion")),
        (template("foo.io/v1", "Foo"), Some("spec.remediation.templateRef.kind")),
        (template("foo.io/v1", "Template"), Some("spec.remediation.templateRef.kind")),
        (("spec/selector", json!({})), Some("spec.selector")),
        (
            ("spec/selector", json!({ "matchExpressions": [{ "key": "a", "operator": "Near" }] })),
            Some("spec.selector"),
        ),
    ] {
        let shown = format!("{change:?}");
        let (_, problems) = admit("MachineHealthCheck", health_check(&[change]), None);
        assert_eq!(problems, Vec::from_iter(field), "{shown}");
    }
}

#[test]
fn a_health_check_gets_its_label_and_stays_with_its_cluster() {
    let (old, problems) = admit("MachineHealthCheck", health_check(&[]), None);
    assert_eq!(problems, [] as [&str; 0]);
    assert_eq!(old["metadata"]["labels"], json!({ "cluster.x-k8s.io/cluster-name": "c" }));
    let other = health_check(&[("spec/clusterName", json!("d"))]);
    let (_, problems) = admit("MachineHealthCheck", other, Some(&old));
    assert_eq!(problems, ["spec.clusterName"]);
}

#[test]
fn a_resource_set_gets_its_strategy_and_keeps_its_clusters() {
    let set = |spec: Value| {
        json!({
            "apiVersion": "addons.cluster.x-k8s.io/v1beta2", "kind": "ClusterResourceSet",
            "metadata": { "name": "s" }, "spec": spec,
        })
    };
    let of = |selector: Value, strategy: Value| {
        set(json!({ "clusterSelector": selector, "resources": [], "strategy": strategy }))
    };
    let (a, b) = (json!({ "matchLabels": { "a": "b" } }), json!({ "matchLabels": { "b": "b" } }));
    let (old, problems) = admit("ClusterResourceSet", of(a.clone(), json!(null)), None);
    assert_eq!(problems, [] as [&str; 0]);
    assert_eq!(old["spec"]["strategy"], json!("ApplyOnce"));
    let near = json!({ "matchExpressions": [{ "key": "a", "operator": "Near" }] });
    // One that was created before these checks existed.
    let before = of(json!({}), json!(null));
    for (new, old, expected) in [
        (of(json!({}), json!(null)), None, vec!["spec.clusterSelector"]),
        (of(near, json!(null)), None, vec!["spec.clusterSelector"]),
        (of(a.clone(), json!("ApplyOnce")), Some(&old), vec![]),
        (of(a.clone(), json!("Reconcile")), Some(&old), vec!["spec.strategy"]),
        (of(b.clone(), json!("ApplyOnce")), Some(&old), vec!["spec.clusterSelector"]),
        (before.clone(), Some(&before), vec![]),
        (of(b, json!(null)), Some(&before), vec!["spec.clusterSelector"]),
    ] {
        let (_, problems) = admit("ClusterResourceSet", new.clone(), old);
        assert_eq!(problems, expected, "{new}");
    }
    let binding = |cluster: &str| {
        json!({
            "apiVersion": "addons.cluster.x-k8s.io/v1beta2", "kind": "ClusterResourceSetBinding",
            "metadata": { "name": "c" }, "spec": { "clusterName": cluster },
        })
    };
    let (_, problems) = admit("ClusterResourceSetBinding", binding("d"), Some(&binding("c")));
    assert_eq!(problems, ["spec.clusterName"]);
}

#[test]
fn an_invalid_drain_rule_is_rejected() {
    let rule = |drain: Value| {
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDrainRule",
            "metadata": { "name": "r" }, "spec": { "drain": drain },
        })
    };
    for (drain, expected) in [
        (json!({ "behavior": "Drain", "order": 5 }), vec![]),
        (json!({ "behavior": "Skip", "order": 5 }), vec!["spec.drain.order"]),
        (json!({ "behavior": "Keep" }), vec!["spec"]),
    ] {
        let (_, problems) = admit("MachineDrainRule", rule(drain.clone()), None);
        assert_eq!(problems, expected, "{drain}");
    }
}

#[test]
fn clusters_that_could_never_work_are_refused() {
    let cluster = |name: &str, spec: Value| {
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": name }, "spec": spec,
        })
    };
    let long = "x".repeat(64);
    let pods = |cidr: &str| json!({ "clusterNetwork": { "pods": { "cidrBlocks": [cidr] } } });
    for (object, expected) in [
        (cluster("demo", pods("10.244.0.0/16")), vec![]),
        (cluster("demo", pods("fd00::/48")), vec![]),
        (cluster("demo", pods("10.244.0.0")), vec!["spec.clusterNetwork.pods.cidrBlocks[0]"]),
        (cluster("demo", pods("10.244.0.0/33")), vec!["spec.clusterNetwork.pods.cidrBlocks[0]"]),
        (cluster(&long, json!({})), vec!["metadata.name"]),
        (cluster("Demo", json!({})), vec!["metadata.name"]),
        (
            cluster(
                "demo",
                json!({ "topology": { "classRef": { "name": "x" }, "version": "v1.36.0" } }),
            ),
            vec!["spec.topology"],
        ),
    ] {
        let (_, problems) = admit("Cluster", object.clone(), None);
        assert_eq!(problems, expected, "{object}");
    }
}

fn pool(change: &[(&str, Value)]) -> Value {
    let mut value = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachinePool",
        "metadata": { "name": "mp" },
        "spec": { "clusterName": "c", "template": { "spec": spec() } },
    });
    for (pointer, change) in change {
        let path: Vec<&str> = pointer.split('/').collect();
        super::fields::set(&mut value, &path, change.clone());
    }
    value
}

#[test]
fn defaults_of_a_pool_are_set_and_an_invalid_one_is_rejected() {
    let (new, problems) = admit("MachinePool", pool(&[]), None);
    assert_eq!(problems, [] as [&str; 0]);
    assert_eq!(new["metadata"]["labels"], json!({ "cluster.x-k8s.io/cluster-name": "c" }));
    assert_eq!(new["spec"]["replicas"], json!(1));
    let template = &new["spec"]["template"]["spec"];
    assert_eq!(template["version"], json!("v1.36.0"));
    assert_eq!(template["deletion"]["nodeDeletionTimeoutSeconds"], json!(10));
    assert_eq!(admit("MachinePool", new.clone(), Some(&new)).0, new, "once is enough");

    let taint = json!([{ "key": "a", "effect": "NoSchedule", "propagation": "Always" }]);
    for (field, path, value) in [
        ("metadata.name", "metadata/name", json!("x".repeat(64))),
        ("spec.replicas", "spec/replicas", json!(-1)),
        ("spec.replicas", "spec/replicas", json!(1001)),
        ("spec.template.spec.clusterName", "spec/template/spec/clusterName", json!("other")),
        ("spec.template.spec.bootstrap", "spec/template/spec/bootstrap", json!({})),
        ("spec.template.spec.version", "spec/template/spec/version", json!("latest")),
        ("spec.template.spec.taints", "spec/template/spec/taints", taint),
    ] {
        assert_eq!(admit("MachinePool", pool(&[(path, value)]), None).1, [field], "{path}");
    }
    let moved =
        pool(&[("spec/clusterName", json!("d")), ("spec/template/spec/clusterName", json!("d"))]);
    assert_eq!(admit("MachinePool", moved, Some(&new)).1, ["spec.clusterName"]);
}

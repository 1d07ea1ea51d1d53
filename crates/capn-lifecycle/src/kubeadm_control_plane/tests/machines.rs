//! What machines are like, and which are replaced.

use super::*;

#[test]
fn a_machine_is_outdated_only_for_what_needs_another_machine() {
    let base = json!({ "kubeadmConfigSpec": {
        "clusterConfiguration": { "imageRepository": "r.example" },
        "initConfiguration": { "nodeRegistration": { "name": "n" } },
    }});
    let made = owned(&kcp(base.clone()), "a", 600);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut spec = base.clone();
        change(&mut spec);
        let kcp = kcp(spec);
        let valid = validate(&kcp).unwrap();
        differences(&kcp, &valid, &made, now())
    };
    assert!(with(&|_| {}).is_empty());
    assert!(with(&|s| s["replicas"] = json!(3)).is_empty());
    assert!(with(&|s| s["kubeadmConfigSpec"]["files"] = json!([])).is_empty());
    // The first machine does not join, so this says nothing about it.
    assert!(
        with(&|s| {
            s["kubeadmConfigSpec"]["joinConfiguration"] = json!({ "skipPhases": ["x"] });
        })
        .is_empty()
    );
    assert_eq!(with(&|s| s["version"] = json!("v1.36.1")), ["Version v1.36.0, v1.36.1 required"]);
    assert_eq!(
        with(&|s| s["kubeadmConfigSpec"]["preKubeadmCommands"] = json!(["x"])),
        ["KubeadmConfig is not up-to-date"]
    );
    let other = json!({ "spec": {
        "infrastructureRef": { "apiGroup": "i.io", "kind": "FooMachineTemplate", "name": "t2" },
    }});
    assert_eq!(with(&|s| s["machineTemplate"] = other.clone()), ["FooMachine is not up-to-date"]);
    let after = |offset: i64| (now() + SignedDuration::from_secs(offset)).to_string();
    for (offset, outdated) in [(-60, true), (60, false), (-900, false)] {
        let lines = with(&|s| s["rollout"] = json!({ "after": after(offset) }));
        assert_eq!(!lines.is_empty(), outdated, "{offset} s");
    }
}

#[test]
fn the_gate_of_kubelets_is_set_where_kubeadm_knows_it() {
    for (version, expected) in
        [("v1.30.9", None), ("v1.31.0", Some(true)), ("v1.35.4", Some(true)), ("v1.36.0", None)]
    {
        let kcp = kcp(json!({ "version": version }));
        let spec = kubeadm_config_spec(&kcp, &validate(&kcp).unwrap().version, true);
        let gates = spec.cluster_configuration.unwrap_or_default().feature_gates;
        assert_eq!(gates.get("ControlPlaneKubeletLocalMode").copied(), expected, "{version}");
    }
}

#[test]
fn names_follow_the_template() {
    let named = |template: Option<&str>| {
        let naming = template.map_or(json!({}), |t| json!({ "machineNaming": { "template": t } }));
        machine_name(&kcp(naming), "c", "abcde")
    };
    assert_eq!(named(None), Ok("cp-abcde".into()));
    assert_eq!(
        named(Some("{{ .cluster.name }}-{{ .kubeadmControlPlane.name }}-{{ .random }}")),
        Ok("c-cp-abcde".into())
    );
    assert!(named(Some("{{ .machineSet.name }}-{{ .random }}")).is_err());
    assert!(named(Some("fixed")).is_err());
}

#[test]
fn labels_and_gates_follow_in_place() {
    let made = owned(&kcp(json!({})), "a", 1);
    assert_eq!(in_place_change(&kcp(json!({})), "c", &made.machine), None);
    let changed = kcp(json!({ "machineTemplate": {
        "metadata": { "labels": { "zone": "b" } },
        "spec": {
            "infrastructureRef": { "apiGroup": "i.io", "kind": "FooMachineTemplate", "name": "t" },
            "deletion": { "nodeDrainTimeoutSeconds": 5 },
            "readinessGates": [{ "conditionType": "Mine" }],
        },
    }}));
    let change = in_place_change(&changed, "c", &made.machine).unwrap();
    assert_eq!(change["metadata"]["labels"], json!({ "zone": "b" }));
    assert_eq!(change["spec"]["deletion"]["nodeDrainTimeoutSeconds"], json!(5));
    let gates = change["spec"]["readinessGates"].as_array().unwrap();
    assert_eq!((gates.len(), &gates[6]["conditionType"]), (7, &json!("Mine")));
}

#[test]
fn a_new_machine_goes_where_the_fewest_are() {
    let kcp = kcp(json!({}));
    let mut cluster = cluster();
    let on = |name: &str, domain: &str| {
        let mut owned = owned(&kcp, name, 1);
        owned.machine.spec.failure_domain = Some(domain.into());
        owned
    };
    assert_eq!(failure_domain(&cluster, &[]), None);
    cluster.status.as_mut().unwrap().failure_domains = Some(
        serde_json::from_value(json!([
            { "name": "x", "controlPlane": true }, { "name": "y", "controlPlane": true },
            { "name": "w" },
        ]))
        .unwrap(),
    );
    assert_eq!(failure_domain(&cluster, &[]).as_deref(), Some("x"));
    assert_eq!(failure_domain(&cluster, &[on("a", "x")]).as_deref(), Some("y"));
    let all = [on("a", "x"), on("b", "y"), on("c", "y")];
    assert_eq!(failure_domain(&cluster, &all).as_deref(), Some("x"));
}

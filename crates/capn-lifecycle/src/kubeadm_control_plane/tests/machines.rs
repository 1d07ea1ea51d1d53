//! Tests of machines and of their replacement.

use super::*;

#[test]
fn in_place_changes_do_not_make_a_machine_outdated() {
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
    // The first machine does not join, so this does not affect it.
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

/// What Cluster API v1.14 ignores in the comparison (`PrepareKubeadmConfigsForDiff`), so that a
/// control plane created by its controllers is not replaced after a move.
#[test]
fn defaults_of_other_controllers_replace_no_machine() {
    let asked = json!({ "kubeadmConfigSpec": {
        "clusterConfiguration": { "apiServer": { "certSANs": ["a"] } },
        "initConfiguration": { "nodeRegistration": { "name": "n" } },
        "joinConfiguration": { "nodeRegistration": { "name": "n" } },
    }});
    let cluster = "/clusterConfiguration";
    let timeouts = json!({ "controlPlaneComponentHealthCheckSeconds": 240 });
    let seconds = json!({ "kubeletHealthCheckSeconds": 240 });
    // (whether it is the first machine, field, its value on the machine, whether the machine is
    // replaced)
    for (first, path, value, replaced) in [
        (true, "/format", json!("cloud-config"), false),
        (true, &format!("{cluster}/controlPlaneEndpoint"), json!("10.0.0.1:6443"), false),
        (false, &format!("{cluster}/controlPlaneEndpoint"), json!("10.0.0.1:6443"), false),
        (true, &format!("{cluster}/dns"), json!({ "imageTag": "v1.12.0" }), false),
        (false, &format!("{cluster}/dns"), json!({ "imageTag": "v1.12.0" }), false),
        (true, "/initConfiguration/timeouts", timeouts.clone(), false),
        (false, "/joinConfiguration/timeouts", timeouts, false),
        (true, "/initConfiguration/timeouts", seconds.clone(), true),
        (false, "/joinConfiguration/timeouts", seconds, true),
        (true, "/initConfiguration/nodeRegistration/imagePullPolicy", json!("IfNotPresent"), false),
        (
            false,
            "/joinConfiguration/nodeRegistration/imagePullPolicy",
            json!("IfNotPresent"),
            false,
        ),
        (false, "/joinConfiguration/nodeRegistration/imagePullPolicy", json!("Always"), true),
        (false, "/joinConfiguration/discovery", json!({ "tlsBootstrapToken": "t" }), false),
        (false, "/joinConfiguration/caCertPath", json!("/ca"), true),
        (false, &format!("{cluster}/imageRepository"), json!("r.example"), true),
        (true, &format!("{cluster}/imageRepository"), json!("r.example"), true),
        (true, "/initConfiguration/skipPhases", json!(["x"]), true),
    ] {
        let kcp = kcp(asked.clone());
        let valid = validate(&kcp).unwrap();
        let mut made = owned(&kcp, "a", 600);
        let config = made.config.as_mut().unwrap();
        config.spec = kubeadm_config_spec(&kcp, &valid.version, !first);
        assert!(differences(&kcp, &valid, &made, now()).is_empty(), "before {path}");
        let config = made.config.as_mut().unwrap();
        let mut spec = serde_json::to_value(&config.spec).unwrap();
        let (parent, key) = path.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[key] = value;
        config.spec = serde_json::from_value(spec).unwrap();
        let lines = differences(&kcp, &valid, &made, now());
        assert_eq!(!lines.is_empty(), replaced, "first: {first}, {path}: {lines:?}");
    }
}

/// The first machine counts as up to date as long as it matches a joining machine as well.
#[test]
fn the_first_machine_is_compared_with_those_that_join_too() {
    let node = |name: &str| json!({ "nodeRegistration": { "name": name } });
    for (init, join, replaced) in
        [("n", "n", false), ("m", "n", false), ("n", "m", false), ("m", "m", true)]
    {
        let spec = |init: &str, join: &str| {
            json!({ "kubeadmConfigSpec": {
                "initConfiguration": node(init), "joinConfiguration": node(join),
            }})
        };
        let made = owned(&kcp(spec("n", "n")), "a", 600);
        let asked = kcp(spec(init, join));
        let lines = differences(&asked, &validate(&asked).unwrap(), &made, now());
        assert_eq!(!lines.is_empty(), replaced, "{init} {join}: {lines:?}");
    }
}

#[test]
fn the_kubelet_feature_gate_is_set_if_kubeadm_supports_it() {
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
fn a_new_machine_is_placed_in_the_domain_with_the_fewest() {
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

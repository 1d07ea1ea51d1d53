//! Tests of removing and replacing machines, one member at a time.

use capi_api::controlplane::{SKIP_CORE_DNS, SKIP_KUBE_PROXY};

use super::*;

/// State of etcd: members by name, with the leader first.
fn etcd(names: &[&str], learners: &[&str]) -> View {
    let members: Vec<Value> = names
        .iter()
        .chain(learners)
        .zip(1_u64..)
        .map(|(name, id)| {
            json!({ "ID": id.to_string(), "name": name, "isLearner": learners.contains(name) })
        })
        .collect();
    let view = etcd::View::read(
        json!({ "members": members }),
        json!({ "alarms": [] }),
        json!({ "leader": "1" }),
    );
    View::Reachable(Components {
        etcd: EtcdState::Answered(view.unwrap()),
        ..Components::default()
    })
}

#[test]
fn a_machine_is_deleted_after_its_etcd_member() {
    let three = kcp(json!({ "replicas": 3 }));
    let deleting_message =
        |name: &str| deleting(well(owned(&three, name, 500)), "WaitingForPreTerminateHook");
    let good = |name: &str| well(owned(&three, name, 400));
    let unknown = |name: &str| with_node(owned(&three, name, 400));
    for (what, machines, view, expected) in [
        (
            "a member of three",
            vec![good("a"), deleting_message("b"), good("c")],
            etcd(&["a", "b", "c"], &[]),
            "remove member 2 via a, let go of b",
        ),
        (
            "the leader",
            vec![deleting_message("a"), good("b"), good("c")],
            etcd(&["a", "b", "c"], &[]),
            "a hands over",
        ),
        (
            "a member that is removed already",
            vec![good("a"), deleting_message("b"), good("c")],
            etcd(&["a", "c"], &[]),
            "let go of b",
        ),
        (
            "a machine that never joined",
            vec![good("a"), deleting(owned(&three, "b", 5), "WaitingForPreTerminateHook")],
            etcd(&["a"], &[]),
            "let go of b, wait for Preflight",
        ),
        (
            "no quorum without it",
            vec![good("a"), deleting_message("b"), unknown("c")],
            etcd(&["a", "b", "c"], &[]),
            "wait for Preflight",
        ),
        (
            "etcd does not answer",
            vec![good("a"), deleting_message("b"), good("c")],
            View::Silent,
            "wait for Preflight",
        ),
        (
            "the last two",
            vec![good("a"), deleting_message("b")],
            etcd(&["a", "b"], &[]),
            "remove member 2 via a, let go of b, wait for Preflight",
        ),
    ] {
        let mut observed = observation(machines);
        observed.view = view;
        assert_eq!(words(&decide(&three, &observed)), expected, "{what}");
    }
}

#[test]
fn the_certificate_expiry_of_a_machine_is_read_once() {
    let three = kcp(json!({ "replicas": 3 }));
    let good = |name: &str| well(owned(&three, name, 400));
    let unknown = |name: &str| {
        let mut owned = good(name);
        owned.config.as_mut().unwrap().annotations_mut().clear();
        owned
    };
    let mut observed = observation(vec![good("a"), unknown("b"), unknown("c")]);
    observed.view = etcd(&["a", "b", "c"], &[]);
    assert_eq!(words(&decide(&three, &observed)), "ask b:6443 for its end, ask c:6443 for its end");
    observed.view = View::Silent;
    assert_eq!(words(&decide(&three, &observed)), "");
}

#[test]
fn outdated_machines_are_replaced_one_at_a_time() {
    let surge = |max: i32| {
        kcp(json!({
            "replicas": 3, "version": "v1.37.0",
            "rollout": { "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": max } } },
        }))
    };
    let old = kcp(json!({ "replicas": 3 }));
    let outdated = |name: &str| well(owned(&old, name, 500));
    let current = |name: &str| well(owned(&surge(1), name, 100));
    let all = ["a", "b", "c", "d"];
    for (what, surge_by, machines, expected) in [
        (
            "the replacement comes first",
            1,
            vec![outdated("a"), outdated("b"), outdated("c")],
            "update kubeadm-config, join",
        ),
        (
            "then an outdated one goes",
            1,
            vec![outdated("a"), outdated("b"), outdated("c"), current("d")],
            "update kubeadm-config, delete a",
        ),
        (
            "one at a time",
            1,
            vec![
                deleting(outdated("a"), "DrainingNode"),
                outdated("b"),
                outdated("c"),
                current("d"),
            ],
            "wait for Preflight",
        ),
        (
            "without a surge an outdated one goes first",
            0,
            vec![outdated("a"), outdated("b"), outdated("c")],
            "update kubeadm-config, delete a",
        ),
        (
            "and its replacement follows",
            0,
            vec![outdated("b"), outdated("c")],
            "update kubeadm-config, join",
        ),
        ("all are new", 1, vec![current("a"), current("b"), current("c")], ""),
    ] {
        let names: Vec<_> = machines.iter().map(OwnedMachine::name).collect();
        let names: Vec<&str> =
            all.into_iter().filter(|name| names.iter().any(|n| n == name)).collect();
        let mut observed = observation(machines);
        observed.view = etcd(&names, &[]);
        assert_eq!(words(&decide(&surge(surge_by), &observed)), expected, "{what}");
    }
    let mut last = surge(1);
    last.status = Some(
        serde_json::from_value(json!({ "conditions": [{
            "type": "RollingOut", "status": "True", "reason": "RollingOut", "message": "",
            "lastTransitionTime": "2024-01-01T00:00:00Z",
        }]}))
        .unwrap(),
    );
    let mut observed = observation(vec![current("a"), current("b"), current("c")]);
    observed.view = etcd(&["a", "b", "c"], &[]);
    for (skipped, expected) in [
        (&[][..], "update kube-proxy, update CoreDNS"),
        (&[SKIP_KUBE_PROXY], "update CoreDNS"),
        (&[SKIP_CORE_DNS], "update kube-proxy"),
        (&[SKIP_KUBE_PROXY, SKIP_CORE_DNS], ""),
    ] {
        let skip = skipped.iter().map(|key| ((*key).to_owned(), String::new()));
        last.metadata.annotations = Some(skip.collect());
        assert_eq!(words(&decide(&last, &observed)), expected);
    }
}

#[test]
fn api_servers_may_reach_kubelets_before_a_machine_joins() {
    let needs = |version: &str, machine: &str| {
        let old = kcp(json!({ "version": machine }));
        is_needed(&kcp(json!({ "version": version })), &[owned(&old, "a", 1)])
    };
    assert!(!needs("v1.35.4", "v1.35.4"));
    assert!(needs("v1.36.3", "v1.35.4"), "one is to join");
    assert!(needs("v1.35.4", "v1.36.3"), "one is there");
    let new = kcp(json!({ "version": "v1.36.3" }));
    let old = kcp(json!({ "version": "v1.35.4" }));
    let plan = |kubelets: Access| {
        let mut observed = observation(vec![well(owned(&old, "a", 500))]);
        let View::Reachable(mut components) = etcd(&["a"], &[]) else { panic!() };
        components.kubelets = kubelets;
        observed.view = View::Reachable(components);
        words(&decide(&new, &observed))
    };
    assert_eq!(plan(Access::Missing), "let API servers reach kubelets");
    assert_eq!(plan(Access::Given), "update kubeadm-config, join");
    assert_eq!(plan(Access::NotNeeded), "update kubeadm-config, join");
    assert_eq!(plan(Access::OtherRole("ClusterRole view".into())), "wait for Preflight");
}

#[test]
fn the_least_useful_machine_is_removed() {
    let kcp = kcp(json!({}));
    let on = |name: &str, domain: &str| {
        let mut owned = well(owned(&kcp, name, 1));
        owned.machine.spec.failure_domain = Some(domain.into());
        owned
    };
    let marked = |mut owned: OwnedMachine| {
        let annotations = owned.machine.metadata.annotations.get_or_insert_default();
        annotations.insert("cluster.x-k8s.io/delete-machine".into(), String::new());
        owned
    };
    let choose = |machines: &[OwnedMachine], outdated: &[&str]| {
        let outdated = |owned: &OwnedMachine| outdated.contains(&owned.name().as_str());
        crate::kubeadm_control_plane::selection::choose(machines, outdated).map(OwnedMachine::name)
    };
    let all = [on("a", "x"), on("b", "y"), on("c", "y")];
    assert_eq!(choose(&all, &[]).as_deref(), Some("b"), "of the fullest domain");
    assert_eq!(choose(&all, &["a"]).as_deref(), Some("a"), "the outdated one");
    let all = [on("a", "x"), on("b", "x"), marked(on("c", "y"))];
    assert_eq!(choose(&all, &[]).as_deref(), Some("c"), "the marked one");
    let all = [on("a", "x"), on("b", "x"), with_node(owned(&kcp, "c", 1))];
    assert_eq!(choose(&all, &[]).as_deref(), Some("c"), "the one that is not ready");
    let all = [deleting(on("a", "x"), "x"), on("b", "x")];
    assert_eq!(choose(&all, &[]).as_deref(), Some("b"), "one that is not going anyway");
}

#[test]
fn kubeadms_configuration_gets_the_version_and_keeps_the_rest() {
    let kcp = kcp(json!({
        "version": "v1.37.0",
        "kubeadmConfigSpec": { "clusterConfiguration": { "apiServer": { "certSANs": ["x"] } } },
    }));
    let valid = validate(&kcp).unwrap();
    let old = "apiServer:\n  certSANs:\n  - x\n  extraArgs:\n  - name: v\n    value: '2'\n\
               apiVersion: kubeadm.k8s.io/v1beta4\ncertificatesDir: /etc/kubernetes/pki\n\
               clusterName: c\nkind: ClusterConfiguration\nkubernetesVersion: v1.36.0\nproxy: {}\n\
               etcd:\n  local:\n    dataDir: /var/lib/etcd\n";
    let new = document(&kcp, &valid, &cluster(), old).unwrap();
    let read: Value = serde_saphyr::from_str(&new).unwrap();
    assert_eq!(read["kubernetesVersion"], json!("v1.37.0"));
    assert_eq!(read["apiServer"], json!({ "certSANs": ["x"] }), "what is not asked for goes");
    assert_eq!(read["certificatesDir"], json!("/etc/kubernetes/pki"));
    assert_eq!(read["proxy"], json!({}));
    assert_eq!(document(&kcp, &valid, &cluster(), &new).unwrap(), new, "once is enough");

    let older = "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n";
    let new = document(&kcp, &valid, &cluster(), older).unwrap();
    assert!(new.contains("kubeadm.k8s.io/v1beta4"), "{new}");
    assert!(new.contains("controlPlaneEndpoint: 192.0.2.1:6443"), "{new}");
}

#[test]
fn an_image_gets_the_tag_of_the_version() {
    for (image, expected) in [
        ("registry.k8s.io/kube-proxy:v1.36.0", Some("registry.k8s.io/kube-proxy:v1.37.0")),
        ("r.example:5000/kube-proxy", Some("r.example:5000/kube-proxy:v1.37.0")),
        ("r.example:5000/kube-proxy:x", Some("r.example:5000/kube-proxy:v1.37.0")),
        ("r.example/kube-proxy@sha256:00", None),
    ] {
        assert_eq!(with_tag(image, "v1.37.0").as_deref(), expected, "{image}");
    }
}

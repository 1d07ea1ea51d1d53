//! Tests of the decision about a control plane.

use super::*;

#[test]
fn the_decision_table_of_the_control_plane() {
    let one = kcp(json!({}));
    let three = kcp(json!({ "replicas": 3 }));
    let mut early = three.clone();
    early.annotations_mut().insert(labels::BEFORE_INFRASTRUCTURE.into(), "true".into());
    let change = |machines: Vec<OwnedMachine>, change: &dyn Fn(&mut Observed)| {
        let mut observed = observation(machines);
        change(&mut observed);
        observed
    };
    let first = || well(owned(&one, "a", 600));
    let cases: Vec<(&str, &KubeadmControlPlane, Observed, &str)> = vec![
        ("no owner", &one, change(vec![], &|s| s.cluster = None), "wait for Cluster"),
        (
            "no infrastructure",
            &one,
            change(vec![], &|s| s.cluster.as_mut().unwrap().status = None),
            "wait for Infrastructure",
        ),
        (
            "the first machine is made beside the infrastructure",
            &early,
            change(vec![], &|s| s.cluster.as_mut().unwrap().status = None),
            "initialize",
        ),
        (
            "no other is",
            &early,
            change(vec![owned(&early, "a", 5)], &|s| s.cluster.as_mut().unwrap().status = None),
            "wait for Infrastructure",
        ),
        (
            "no certificates",
            &one,
            change(vec![], &|s| s.certificates.clear()),
            "make 4 certificates",
        ),
        (
            "certificates are made beside the infrastructure",
            &one,
            change(vec![], &|s| {
                s.certificates.clear();
                s.cluster.as_mut().unwrap().status = None;
            }),
            "make 4 certificates",
        ),
        (
            "a lost certificate",
            &one,
            change(vec![first()], &|s| {
                s.certificates.remove(&Purpose::EtcdCa);
            }),
            "wait for LostCertificate",
        ),
        (
            "no endpoint",
            &one,
            change(vec![], &|s| s.cluster.as_mut().unwrap().spec.control_plane_endpoint = None),
            "wait for Endpoint",
        ),
        (
            "no kubeconfig and no machine",
            &one,
            change(vec![], &|s| s.kubeconfig = None),
            "write kubeconfig, initialize",
        ),
        (
            "a template that nobody owns",
            &one,
            change(vec![], &|s| {
                let Lookup::Found(template) = &mut s.template else { return };
                template.metadata.owner_references = None;
            }),
            "own template, initialize",
        ),
        (
            "no template",
            &one,
            change(vec![], &|s| s.template = Lookup::Missing),
            "wait for Template",
        ),
        (
            "what an interrupted pass left",
            &one,
            change(vec![], &|s| s.orphans = vec![Default::default()]),
            "delete 1 orphans",
        ),
        (
            "a machine that starts",
            &one,
            observation(vec![owned(&one, "a", 5)]),
            "wait for Initialization",
        ),
        (
            "others are made beside the one that starts",
            &three,
            observation(vec![owned(&three, "a", 5), joining(&three, "b")]),
            "join",
        ),
        (
            "and wait for it",
            &three,
            observation(vec![owned(&three, "a", 5), joining(&three, "b"), joining(&three, "c")]),
            "wait for Initialization",
        ),
        (
            "the one that starts is gone",
            &three,
            observation(vec![joining(&three, "b"), joining(&three, "c")]),
            "initialize",
        ),
        (
            "the one that starts is held by its hook only",
            &three,
            observation(vec![
                deleting(owned(&three, "a", 5), "WaitingForPreTerminateHook"),
                joining(&three, "b"),
                joining(&three, "c"),
            ]),
            "let go of a, wait for Initialization",
        ),
        ("all is well", &one, observation(vec![first()]), ""),
        ("more are wanted", &three, observation(vec![well(owned(&three, "a", 600))]), "join"),
        (
            "more are wanted and one is not well",
            &three,
            observation(vec![with_node(owned(&three, "a", 600))]),
            "wait for Preflight",
        ),
        ("all machines are gone", &one, change(vec![], &|s| s.initialized = true), "wait for User"),
        (
            "fewer are wanted",
            &one,
            observation(vec![first(), well(owned(&one, "b", 500)), well(owned(&one, "c", 400))]),
            "delete a",
        ),
        (
            "the last machine is held by its hook only",
            &one,
            observation(vec![deleting(
                with_node(owned(&one, "a", 9)),
                "WaitingForPreTerminateHook",
            )]),
            "let go of a",
        ),
        (
            "the last machine is not so far",
            &one,
            observation(vec![deleting(with_node(owned(&one, "a", 9)), "DrainingNode")]),
            "",
        ),
    ];
    for (what, kcp, observed, expected) in cases {
        assert_eq!(words(&decide(kcp, &observed)), expected, "{what}");
    }
    let mut fresh = kcp(json!({}));
    fresh.metadata.finalizers = None;
    assert_eq!(words(&decide(&fresh, &observation(vec![]))), "add finalizer");
    let even = kcp(json!({ "replicas": 2 }));
    assert_eq!(words(&decide(&even, &observation(vec![]))), "wait for User");
}

#[test]
fn a_control_plane_is_deleted_after_the_workers_and_all_at_once() {
    let mut kcp = kcp(json!({ "replicas": 3 }));
    kcp.metadata.deletion_timestamp = Some(Time(now()));
    let mut observed = observation(vec![well(owned(&kcp, "a", 9)), well(owned(&kcp, "b", 8))]);
    observed.others = vec!["w".into()];
    assert_eq!(words(&decide(&kcp, &observed)), "wait for Workers");
    observed.others.clear();
    assert_eq!(
        words(&decide(&kcp, &observed)),
        "let go of a, delete a, let go of b, delete b, wait for Machines"
    );
    observed.machines.clear();
    assert_eq!(words(&decide(&kcp, &observed)), "remove finalizer");
    // Also if its cluster is gone.
    observed.cluster = None;
    assert_eq!(words(&decide(&kcp, &observed)), "remove finalizer");
}

#[test]
fn an_expected_api_server_is_probed_often() {
    let kcp = kcp(json!({}));
    for (age, millis) in [(1, 500), (179, 500), (200, 2000), (3600, 5000)] {
        let plan = decide(&kcp, &observation(vec![owned(&kcp, "a", age)]));
        assert_eq!(plan.recheck.map(|d| d.as_millis()), Some(millis), "{age} s");
        assert_eq!(plan.waiting, Some(WaitingOn::Initialization));
    }
}

//! Tests of the removal of etcd members.

use super::*;

/// A member: its ID, name and address, and whether it is a learner.
type Row<'a> = (u64, &'a str, &'a str, bool);

fn view(rows: &[Row<'_>]) -> View {
    let members: Vec<Value> = rows
        .iter()
        .map(|(id, name, address, is_learner)| {
            let peers = if address.is_empty() { json!([]) } else { json!([peer(address)]) };
            json!({ "ID": id.to_string(), "name": name, "peerURLs": peers, "isLearner": is_learner })
        })
        .collect();
    let list = json!({ "members": members });
    let view = etcd::View::read(list, json!({ "alarms": [] }), json!({ "leader": "1" })).unwrap();
    View::Reachable(Components { etcd: EtcdState::Answered(view), ..Components::default() })
}

fn peer(address: &str) -> String {
    if address.contains(':') {
        format!("https://[{address}]:2380")
    } else {
        format!("https://{address}:2380")
    }
}

/// A machine with its addresses: `a` has a node and is healthy, `a?` is being created, `a!` has a
/// node but an unhealthy etcd, and `a-` waits for its hook and never joined.
fn at(kcp: &KubeadmControlPlane, name: &str, addresses: &[&str]) -> OwnedMachine {
    let mut owned = match name.split_at(1) {
        (name, "") => well(owned(kcp, name, 400)),
        (name, "?") => joining(kcp, name),
        (name, "!") => with_node(owned(kcp, name, 4)),
        (name, "-") => deleting(joining(kcp, name), "WaitingForPreTerminateHook"),
        other => panic!("{other:?}"),
    };
    let list: Vec<Value> = addresses
        .iter()
        .map(|address| json!({ "type": "InternalIP", "address": address }))
        .collect();
    let status = owned.machine.status.as_mut().unwrap();
    status.addresses = serde_json::from_value(json!(list)).unwrap();
    owned
}

/// Rows: description, machines with their addresses, members, outcome.
type RemediationInputs<'a> = (&'a str, &'a [(&'a str, &'a [&'a str])], &'a [Row<'a>], &'a str);

fn check(cases: &[RemediationInputs<'_>]) {
    let three = kcp(json!({ "replicas": 3 }));
    for (what, machines, members, expected) in cases {
        let all = machines.iter().map(|(name, addresses)| at(&three, name, addresses));
        let mut observed = observation(all.collect());
        observed.initialized = true;
        observed.view = view(members);
        assert_eq!(words(&decide(&three, &observed)), *expected, "{what}");
    }
}

const A: (&str, &[&str]) = ("a", &["10.0.0.1"]);
const B: (&str, &[&str]) = ("b", &["10.0.0.2"]);
const C: (&str, &[&str]) = ("c", &["10.0.0.3"]);
const A1: Row<'_> = (1, "a", "10.0.0.1", false);
const B2: Row<'_> = (2, "b", "10.0.0.2", false);
const C3: Row<'_> = (3, "c", "10.0.0.3", false);
const WAIT: &str = "wait for Preflight";

#[test]
fn a_member_without_a_machine_is_removed() {
    let new: (&str, &[&str]) = ("d?", &["10.0.0.4"]);
    let unknown: (&str, &[&str]) = ("d?", &[]);
    check(&[
        ("none", &[A, B, C], &[A1, B2, C3], ""),
        ("a machine was lost", &[A, C], &[A1, B2, C3], "remove member 2 via a"),
        (
            "a machine that is elsewhere is on its way",
            &[A, C, new],
            &[A1, B2, C3],
            "remove member 2 via a",
        ),
        ("a machine is on its way, nobody knows where", &[A, C, unknown], &[A1, B2, C3], ""),
        (
            "it is the member of the one on its way",
            &[A, C, new],
            &[A1, C3, (4, "d", "10.0.0.4", true)],
            "",
        ),
        ("it is, by its name", &[A, C, unknown], &[A1, C3, (4, "d", "10.0.0.4", true)], ""),
        (
            "a learner that started",
            &[A, B],
            &[A1, B2, (3, "c", "10.0.0.3", true)],
            "remove member 3 via a",
        ),
        (
            "a learner that started holds up another",
            &[A, B, new],
            &[A1, B2, (3, "c", "10.0.0.3", true)],
            "remove member 3 via a",
        ),
        (
            "a learner that started, where no address is known",
            &[("a", &[]), ("b", &[])],
            &[(1, "a", "", false), (2, "b", "", false), (3, "c", "", true)],
            "remove member 3 via a",
        ),
        (
            "learners first",
            &[A, C],
            &[A1, B2, C3, (4, "", "10.0.0.9", true)],
            "remove member 4 via a",
        ),
        ("no quorum without it", &[A, ("b!", &["10.0.0.2"])], &[A1, B2, C3], WAIT),
        (
            "no quorum, but a learner",
            &[A, ("b!", &["10.0.0.2"])],
            &[A1, B2, (4, "", "10.0.0.4", true)],
            "remove member 4 via a",
        ),
        (
            "nobody who can be asked",
            &[("b!", &["10.0.0.2"])],
            &[B2, (4, "", "10.0.0.4", true)],
            WAIT,
        ),
    ]);
}

#[test]
fn a_member_that_never_started_is_removed_with_its_machine() {
    let lost = |peer| (2, "", peer, true);
    let joins: (&str, &[&str]) = ("b?", &["10.0.0.3"]);
    check(&[
        (
            "all machines have their members",
            &[A, B, C],
            &[A1, B2, C3, (4, "", "10.0.0.9", true)],
            "remove member 4 via a",
        ),
        (
            "and nobody knows an address",
            &[("a", &[])],
            &[(1, "a", "", false), (2, "", "", true)],
            "remove member 2 via a",
        ),
        (
            "a voter, as old kubeadm adds them",
            &[A, B, C],
            &[A1, B2, C3, (4, "", "10.0.0.9", false)],
            "remove member 4 via a",
        ),
        ("lost", &[A, joins], &[A1, lost("10.0.0.2")], "remove member 2 via a"),
        ("of one that joins", &[A, joins], &[A1, lost("10.0.0.3")], WAIT),
        ("perhaps of one", &[A, ("b?", &[])], &[A1, lost("10.0.0.2")], WAIT),
        ("without an address", &[A, joins], &[A1, lost("")], WAIT),
        ("IPv6", &[A, ("b?", &["fd00::3"])], &[A1, lost("fd00::3")], WAIT),
        ("of a family that is not known yet", &[A, joins], &[A1, lost("fd00::3")], WAIT),
        (
            "of a family that is known",
            &[A, ("b?", &["10.0.0.3", "fd00::3"])],
            &[A1, lost("fd00::2")],
            "remove member 2 via a",
        ),
        ("elsewhere", &[A, joins], &[(1, "a", "192.0.2.1", false), lost("192.0.2.3")], WAIT),
        ("of a node whose etcd starts", &[A, ("b!", &["10.0.0.2"])], &[A1, lost("10.0.0.2")], WAIT),
        (
            "of no node whose etcd starts",
            &[A, ("b!", &["10.0.0.3"])],
            &[A1, lost("10.0.0.2")],
            "remove member 2 via a",
        ),
        ("of two that join", &[A, joins, ("c?", &["10.0.0.2"])], &[A1, lost("10.0.0.2")], ""),
        (
            "of neither that joins",
            &[A, joins, ("c?", &["10.0.0.4"])],
            &[A1, lost("10.0.0.2")],
            "remove member 2 via a",
        ),
        (
            "of a machine that leaves",
            &[A, ("b-", &["10.0.0.2"])],
            &[A1, lost("10.0.0.2")],
            "remove member 2 via a, let go of b, wait for Preflight",
        ),
        (
            "perhaps of a machine that leaves",
            &[A, ("b-", &[])],
            &[A1, lost("10.0.0.2")],
            "let go of b, wait for Preflight",
        ),
        ("of a machine that is gone", &[A], &[A1, lost("10.0.0.2")], "remove member 2 via a"),
    ]);
}

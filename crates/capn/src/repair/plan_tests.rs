use super::super::etcd::{Etcd, EtcdMember, NodeServices};
use super::super::observation::Balancer;
use super::*;

/// A time, in minutes after a moment long before the command started.
fn minute(minute: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(minute * 60).unwrap()
}

fn inside(healthy: bool, members: &[&str]) -> NodeServices {
    let member = |name: &&str| EtcdMember { name: (*name).to_owned(), ..EtcdMember::default() };
    NodeServices {
        kubelet: true,
        kubelet_seconds: 36_000,
        containerd: true,
        etcd: Etcd {
            live: Some("- etcd".to_owned()),
            runs: true,
            healthy: Some(healthy),
            members: Some(members.iter().map(member).collect()),
            ..Etcd::default()
        },
    }
}

fn worker(name: &str) -> Member {
    Member {
        name: name.to_owned(),
        instance: name.to_owned(),
        created: minute(0),
        was_made: true,
        has_maker: true,
        node: NodeState::Ready,
        ..Member::default()
    }
}

fn control_plane(name: &str, healthy: bool, members: &[&str]) -> Member {
    Member { is_control_plane: true, inside: Some(inside(healthy, members)), ..worker(name) }
}

fn gone(member: Member) -> Member {
    Member { is: InstanceState::Gone, inside: None, ..member }
}

fn of(machines: Vec<Member>) -> Observation {
    Observation {
        has_etcd: true,
        machines,
        balancer: Some(Balancer { instance: "lb".to_owned(), is: InstanceState::Running }),
        began: minute(100),
        now: minute(101),
        startup: SignedDuration::from_mins(20),
        ..Observation::default()
    }
}

const THREE: &[&str] = &["a", "b", "c"];

/// A healthy cluster: three control planes and a worker.
fn well() -> Observation {
    let mut machines: Vec<Member> =
        THREE.iter().map(|name| control_plane(name, true, THREE)).collect();
    machines.push(worker("w"));
    of(machines)
}

/// The nodes are unknown and no etcd has a leader.
fn without_quorum(mut observed: Observation) -> Observation {
    observed.is_silent = true;
    for member in &mut observed.machines {
        member.node = NodeState::Unknown;
        if let Some(inside) = &mut member.inside {
            inside.etcd.healthy = Some(false);
        }
    }
    observed
}

/// Findings as lines, those that are not due in brackets, then obstacles and what is awaited.
fn lines(observed: &Observation) -> Vec<String> {
    let plan = plan(observed);
    let findings = plan.findings.iter().map(|work| match work.is_due {
        true => work.line(),
        false => format!("[{}]", work.line()),
    });
    let obstacles = plan.obstacles.iter().map(|found| format!("! {found}"));
    findings.chain(obstacles).chain(plan.waits.map(|waits| format!("… {waits}"))).collect()
}

#[test]
fn healthy_objects_need_no_repair() {
    assert_eq!(lines(&well()), Vec::<String>::new());
    let making = Member {
        is: InstanceState::Gone,
        was_made: false,
        node: NodeState::Unknown,
        ..worker("x")
    };
    let mut observed = well();
    observed.machines.push(making);
    assert_eq!(lines(&observed), Vec::<String>::new(), "one that is being made is not lost");
}

#[test]
fn each_problem_has_a_remedy() {
    let change = |name: &str, change: &dyn Fn(&mut Member)| {
        let mut observed = well();
        observed.machines.iter_mut().filter(|member| member.name == name).for_each(change);
        lines(&observed)
    };
    type Case<'a> = (&'a str, &'a dyn Fn(&mut Member), &'a str);
    let cases: [Case<'_>; 10] = [
        (
            "w",
            &|m| m.is = InstanceState::Gone,
            "worker w: its instance is gone from the server: replaced",
        ),
        (
            "a",
            &|m| *m = gone(m.clone()),
            "control plane a: its instance is gone from the server: replaced",
        ),
        ("w", &|m| m.is = InstanceState::Stopped, "worker w: its instance is stopped: started"),
        ("w", &|m| m.is = InstanceState::Frozen, "worker w: its instance is frozen: resumed"),
        (
            "a",
            &|m| m.inside.as_mut().unwrap().kubelet = false,
            "control plane a: kubelet is not running: kubelet started",
        ),
        (
            "w",
            &|m| m.node = NodeState::NotReady { since: minute(90), message: "no news".into() },
            "worker w: its node has not been Ready for 11 min: no news: replaced",
        ),
        (
            "w",
            &|m| m.node = NodeState::Absent,
            "worker w: it has not become a node within 101 min: replaced",
        ),
        (
            "w",
            &|m| {
                m.node = NodeState::Absent;
                m.failed = Some("kubeadm failed".into());
            },
            "worker w: kubeadm failed: replaced",
        ),
        (
            "w",
            &|m| m.is = InstanceState::Broken("Error".into()),
            "! the server reports state \"Error\" for instance w",
        ),
        (
            "w",
            &|m| {
                m.is = InstanceState::Gone;
                m.has_maker = false;
            },
            "! Machine w: its instance is gone from the server, and no MachineSet or KubeadmControlPlane replaces it",
        ),
    ];
    for (name, how, wanted) in cases {
        assert_eq!(change(name, how), [wanted]);
    }
}

#[test]
fn a_node_whose_kubelet_just_started_gets_time() {
    let mut observed = well();
    let worker = observed.machines.last_mut().unwrap();
    worker.node = NodeState::NotReady { since: minute(0), message: String::new() };
    worker.inside = Some(NodeServices { kubelet_seconds: 10, ..inside(true, &[]) });
    assert_eq!(lines(&observed), ["… waiting for node w to be Ready"]);
}

#[test]
fn a_load_balancer_is_recreated_or_started() {
    for (is, wanted) in [
        (
            InstanceState::Gone,
            "load balancer lb: its instance is gone from the server: recreated with its address",
        ),
        (InstanceState::Stopped, "load balancer lb: its instance is stopped: started"),
        (
            InstanceState::Foreign("it is x's".into()),
            "! instance lb does not belong to the cluster: it is x's",
        ),
    ] {
        let mut observed = well();
        observed.balancer.as_mut().unwrap().is = is;
        assert_eq!(lines(&observed), [wanted]);
    }
}

#[test]
fn etcd_continues_from_its_last_member_before_others_are_replaced() {
    let mut observed = without_quorum(well());
    for name in [1, 2] {
        observed.machines[name] = gone(observed.machines[name].clone());
    }
    assert_eq!(
        lines(&observed),
        [
            "etcd of a: it has no quorum, and b, c are lost: becomes a single-member cluster with its data",
            "[control plane b: its instance is gone from the server: replaced]",
            "[control plane c: its instance is gone from the server: replaced]",
            "… waiting for the API server to respond",
        ]
    );
}

#[test]
fn etcd_with_two_members_continues_from_one() {
    let two = &["a", "b"];
    let observed = of(vec![control_plane("a", false, two), gone(control_plane("b", false, two))]);
    assert!(lines(&observed)[0].starts_with("etcd of a: it has no quorum, and b is lost"));
}

#[test]
fn etcd_is_not_forced_while_another_member_may_return() {
    for (is, wanted) in [
        (InstanceState::Stopped, "… waiting for instance c to be running"),
        (InstanceState::Frozen, "… waiting for instance c to be running"),
        (InstanceState::Changing, "… waiting for instance c to be running"),
        (InstanceState::Broken("Error".into()), "… waiting for instance c to be running"),
        (InstanceState::Running, "… waiting for etcd to have a leader"),
    ] {
        let mut observed = without_quorum(well());
        observed.machines[1] = gone(observed.machines[1].clone());
        observed.machines[2].is = is.clone();
        let reply = lines(&observed);
        assert!(reply.iter().any(|line| line == wanted), "{is:?}: {reply:?}");
        assert!(
            !reply.iter().any(|line| line.contains("single-member cluster")),
            "{is:?}: {reply:?}"
        );
    }
    // A control plane instance that belongs to no Machine any more.
    let mut observed = without_quorum(well());
    observed.machines[1] = gone(observed.machines[1].clone());
    observed.machines.remove(2);
    observed.strangers.push("c".to_owned());
    let reply = lines(&observed);
    assert!(
        reply.iter().any(|line| line.starts_with("! instance c is a control plane")),
        "{reply:?}"
    );
}

#[test]
fn the_user_chooses_between_two_survivors_of_five() {
    let five = &["a", "b", "c", "d", "e"];
    let all = five.iter().enumerate().map(|(number, name)| {
        let member = control_plane(name, false, five);
        if number < 2 { member } else { gone(member) }
    });
    let reply = lines(&without_quorum(of(all.collect())));
    let obstacle = reply.iter().find(|line| line.starts_with("! etcd has 5 members")).unwrap();
    assert!(obstacle.contains("instances a, b are left"), "{obstacle}");
    assert!(
        reply.iter().filter(|line| line.contains("replaced")).all(|line| line.starts_with('['))
    );
}

#[test]
fn an_interrupted_repair_continues_without_confirmation() {
    let mut observed = without_quorum(well());
    for name in [1, 2] {
        observed.machines[name] = gone(observed.machines[name].clone());
    }
    let etcd = &mut observed.machines[0].inside.as_mut().unwrap().etcd;
    (etcd.live, etcd.aside, etcd.runs) = (None, Some("- etcd".to_owned()), false);
    (etcd.healthy, etcd.members) = (None, None);
    let plan = plan(&observed);
    assert!(matches!(&plan.findings[0].remedy, Remedy::NewEtcd { is_begun: true, .. }), "{plan:?}");
}

#[test]
fn a_cluster_without_control_planes_is_not_repaired() {
    let mut observed = without_quorum(well());
    for member in &mut observed.machines[..3] {
        *member = gone(member.clone());
    }
    assert_eq!(
        lines(&observed)[0],
        "! no control plane instance is left, and the etcd data is lost with them"
    );
    let mut one = of(vec![control_plane("a", true, &["a"])]);
    one.machines[0].node = NodeState::NotReady { since: minute(0), message: "x".into() };
    assert!(lines(&one)[0].contains("it is the only control plane machine"), "{:?}", lines(&one));
}

#[test]
fn existing_control_planes_are_replaced_one_at_a_time() {
    let mut observed = well();
    for number in [0, 1] {
        observed.machines[number].node =
            NodeState::NotReady { since: minute(0), message: "x".into() };
    }
    let reply = lines(&observed);
    assert!(
        reply[0].starts_with("control plane a") && reply[1].starts_with("[control plane b"),
        "{reply:?}"
    );
    observed.machines[2].leaving = Some("its etcd member goes".into());
    assert!(
        lines(&observed)[..2].iter().all(|line| line.starts_with('[')),
        "{:?}",
        lines(&observed)
    );
}

#[test]
fn a_replacement_that_fails_too_is_not_replaced_again() {
    let mut observed = well();
    let worker = observed.machines.last_mut().unwrap();
    worker.created = minute(101);
    worker.node = NodeState::Absent;
    worker.failed = Some("kubeadm failed".into());
    assert_eq!(lines(&observed), ["! Machine w is a replacement and failed too: kubeadm failed"]);
}

#[test]
fn copies_are_kept_until_the_cluster_is_available() {
    let mut observed = well();
    let etcd = &mut observed.machines[0].inside.as_mut().unwrap().etcd;
    (etcd.aside, etcd.copied) = (etcd.live.clone(), true);
    let line = "copies of the etcd data in a: kept by an earlier repair: removed when the cluster is Available";
    assert_eq!(lines(&observed), [format!("[{line}]")]);
    observed.is_available = true;
    assert_eq!(lines(&observed), [line]);
}

#[test]
fn a_paused_or_deleting_cluster_is_not_repaired() {
    for (change, wanted) in [
        (
            (|observed: &mut Observation| observed.is_paused = true) as fn(&mut Observation),
            "! the cluster is paused, so nothing is created, changed or deleted",
        ),
        (|observed| observed.is_leaving = true, "! the cluster is being deleted"),
    ] {
        let mut observed = well();
        observed.machines[3].is = InstanceState::Gone;
        change(&mut observed);
        assert_eq!(lines(&observed), [wanted]);
    }
}

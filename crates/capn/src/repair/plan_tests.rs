use super::super::etcd::{Etcd, EtcdMember, Inside};
use super::super::seen::Balancer;
use super::*;

/// Minutes since a moment long before the command began.
fn minute(minute: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(minute * 60).unwrap()
}

fn inside(healthy: bool, members: &[&str]) -> Inside {
    let member = |name: &&str| EtcdMember { name: (*name).to_owned(), ..EtcdMember::default() };
    Inside {
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
        node: NodeSeen::Ready,
        ..Member::default()
    }
}

fn control_plane(name: &str, healthy: bool, members: &[&str]) -> Member {
    Member { is_control_plane: true, inside: Some(inside(healthy, members)), ..worker(name) }
}

fn gone(member: Member) -> Member {
    Member { is: Is::Gone, inside: None, ..member }
}

fn of(machines: Vec<Member>) -> Seen {
    Seen {
        has_etcd: true,
        machines,
        balancer: Some(Balancer { instance: "lb".to_owned(), is: Is::Running }),
        began: minute(100),
        now: minute(101),
        startup: SignedDuration::from_mins(20),
        ..Seen::default()
    }
}

const THREE: &[&str] = &["a", "b", "c"];

/// One of three with a worker, all well.
fn well() -> Seen {
    let mut machines: Vec<Member> =
        THREE.iter().map(|name| control_plane(name, true, THREE)).collect();
    machines.push(worker("w"));
    of(machines)
}

/// The nodes are not known and no etcd has a leader.
fn without_quorum(mut seen: Seen) -> Seen {
    seen.is_silent = true;
    for member in &mut seen.machines {
        member.node = NodeSeen::Unknown;
        if let Some(inside) = &mut member.inside {
            inside.etcd.healthy = Some(false);
        }
    }
    seen
}

/// Works as lines, those that are not due in brackets, then obstacles and what is awaited.
fn lines(seen: &Seen) -> Vec<String> {
    let plan = plan(seen);
    let works = plan.works.iter().map(|work| match work.is_due {
        true => work.line(),
        false => format!("[{}]", work.line()),
    });
    let obstacles = plan.obstacles.iter().map(|found| format!("! {found}"));
    works.chain(obstacles).chain(plan.waits.map(|waits| format!("… {waits}"))).collect()
}

#[test]
fn nothing_is_done_about_what_is_well() {
    assert_eq!(lines(&well()), Vec::<String>::new());
    let making = Member { is: Is::Gone, was_made: false, node: NodeSeen::Unknown, ..worker("x") };
    let mut seen = well();
    seen.machines.push(making);
    assert_eq!(lines(&seen), Vec::<String>::new(), "one that is being made is not lost");
}

#[test]
fn each_problem_has_its_remedy() {
    let change = |name: &str, change: &dyn Fn(&mut Member)| {
        let mut seen = well();
        seen.machines.iter_mut().filter(|member| member.name == name).for_each(change);
        lines(&seen)
    };
    type Case<'a> = (&'a str, &'a dyn Fn(&mut Member), &'a str);
    let cases: [Case<'_>; 10] = [
        ("w", &|m| m.is = Is::Gone, "worker w: its instance is gone from the server: replaced"),
        (
            "a",
            &|m| *m = gone(m.clone()),
            "control plane a: its instance is gone from the server: replaced",
        ),
        ("w", &|m| m.is = Is::Stopped, "worker w: its instance is stopped: started"),
        ("w", &|m| m.is = Is::Frozen, "worker w: its instance is frozen: resumed"),
        (
            "a",
            &|m| m.inside.as_mut().unwrap().kubelet = false,
            "control plane a: kubelet does not run: kubelet started",
        ),
        (
            "w",
            &|m| m.node = NodeSeen::NotReady { since: minute(90), message: "no news".into() },
            "worker w: its node has not been Ready for 11 min: no news: replaced",
        ),
        (
            "w",
            &|m| m.node = NodeSeen::Absent,
            "worker w: it has not become a node within 101 min: replaced",
        ),
        (
            "w",
            &|m| {
                m.node = NodeSeen::Absent;
                m.failed = Some("kubeadm failed".into());
            },
            "worker w: kubeadm failed: replaced",
        ),
        (
            "w",
            &|m| m.is = Is::Broken("Error".into()),
            "! the server gives the state of instance w as \"Error\"",
        ),
        (
            "w",
            &|m| {
                m.is = Is::Gone;
                m.has_maker = false;
            },
            "! Machine w: its instance is gone from the server, and neither a MachineSet nor a KubeadmControlPlane makes another",
        ),
    ];
    for (name, how, wanted) in cases {
        assert_eq!(change(name, how), [wanted]);
    }
}

#[test]
fn a_node_whose_kubelet_was_just_started_has_its_time() {
    let mut seen = well();
    let worker = seen.machines.last_mut().unwrap();
    worker.node = NodeSeen::NotReady { since: minute(0), message: String::new() };
    worker.inside = Some(Inside { kubelet_seconds: 10, ..inside(true, &[]) });
    assert_eq!(lines(&seen), ["… waiting for node w to be Ready"]);
}

#[test]
fn a_load_balancer_is_made_again_or_started() {
    for (is, wanted) in [
        (
            Is::Gone,
            "load balancer lb: its instance is gone from the server: made again at its address",
        ),
        (Is::Stopped, "load balancer lb: its instance is stopped: started"),
        (Is::Foreign("it is x's".into()), "! instance lb is not the cluster's: it is x's"),
    ] {
        let mut seen = well();
        seen.balancer.as_mut().unwrap().is = is;
        assert_eq!(lines(&seen), [wanted]);
    }
}

#[test]
fn etcd_goes_on_from_its_last_member_before_the_others_are_replaced() {
    let mut seen = without_quorum(well());
    for name in [1, 2] {
        seen.machines[name] = gone(seen.machines[name].clone());
    }
    assert_eq!(
        lines(&seen),
        [
            "etcd of a: it has no quorum, and b, c are gone: becomes a cluster of one, with its data",
            "[control plane b: its instance is gone from the server: replaced]",
            "[control plane c: its instance is gone from the server: replaced]",
            "… waiting for the API server to answer",
        ]
    );
}

#[test]
fn etcd_of_two_goes_on_from_one() {
    let two = &["a", "b"];
    let seen = of(vec![control_plane("a", false, two), gone(control_plane("b", false, two))]);
    assert!(lines(&seen)[0].starts_with("etcd of a: it has no quorum, and b is gone"));
}

#[test]
fn no_cluster_of_one_is_begun_beside_a_member_that_can_come_back() {
    for (is, wanted) in [
        (Is::Stopped, "… waiting for instance c to run"),
        (Is::Frozen, "… waiting for instance c to run"),
        (Is::Changing, "… waiting for instance c to run"),
        (Is::Broken("Error".into()), "… waiting for instance c to run"),
        (Is::Running, "… waiting for etcd to have a leader"),
    ] {
        let mut seen = without_quorum(well());
        seen.machines[1] = gone(seen.machines[1].clone());
        seen.machines[2].is = is.clone();
        let said = lines(&seen);
        assert!(said.iter().any(|line| line == wanted), "{is:?}: {said:?}");
        assert!(!said.iter().any(|line| line.contains("cluster of one")), "{is:?}: {said:?}");
    }
    // One that belongs to no Machine any more.
    let mut seen = without_quorum(well());
    seen.machines[1] = gone(seen.machines[1].clone());
    seen.machines.remove(2);
    seen.strangers.push("c".to_owned());
    let said = lines(&seen);
    assert!(
        said.iter().any(|line| line.starts_with("! instance c is a control plane")),
        "{said:?}"
    );
}

#[test]
fn one_of_two_that_are_left_of_five_is_chosen_by_the_user() {
    let five = &["a", "b", "c", "d", "e"];
    let all = five.iter().enumerate().map(|(number, name)| {
        let member = control_plane(name, false, five);
        if number < 2 { member } else { gone(member) }
    });
    let said = lines(&without_quorum(of(all.collect())));
    let obstacle = said.iter().find(|line| line.starts_with("! etcd has 5 members")).unwrap();
    assert!(obstacle.contains("instances a, b are left"), "{obstacle}");
    assert!(said.iter().filter(|line| line.contains("replaced")).all(|line| line.starts_with('[')));
}

#[test]
fn a_repair_that_was_ended_goes_on_without_another_question() {
    let mut seen = without_quorum(well());
    for name in [1, 2] {
        seen.machines[name] = gone(seen.machines[name].clone());
    }
    let etcd = &mut seen.machines[0].inside.as_mut().unwrap().etcd;
    (etcd.live, etcd.aside, etcd.runs) = (None, Some("- etcd".to_owned()), false);
    (etcd.healthy, etcd.members) = (None, None);
    let plan = plan(&seen);
    assert!(matches!(&plan.works[0].remedy, Remedy::NewEtcd { is_begun: true, .. }), "{plan:?}");
}

#[test]
fn without_a_control_plane_nothing_is_promised() {
    let mut seen = without_quorum(well());
    for member in &mut seen.machines[..3] {
        *member = gone(member.clone());
    }
    assert_eq!(
        lines(&seen)[0],
        "! no instance of the control plane is left, and the data of etcd went with them"
    );
    let mut one = of(vec![control_plane("a", true, &["a"])]);
    one.machines[0].node = NodeSeen::NotReady { since: minute(0), message: "x".into() };
    assert!(
        lines(&one)[0].contains("it is the only one of the control plane"),
        "{:?}",
        lines(&one)
    );
}

#[test]
fn control_planes_that_are_there_are_replaced_one_at_a_time() {
    let mut seen = well();
    for number in [0, 1] {
        seen.machines[number].node = NodeSeen::NotReady { since: minute(0), message: "x".into() };
    }
    let said = lines(&seen);
    assert!(
        said[0].starts_with("control plane a") && said[1].starts_with("[control plane b"),
        "{said:?}"
    );
    seen.machines[2].leaving = Some("its etcd member goes".into());
    assert!(lines(&seen)[..2].iter().all(|line| line.starts_with('[')), "{:?}", lines(&seen));
}

#[test]
fn what_was_made_anew_and_fails_too_is_no_longer_replaced() {
    let mut seen = well();
    let worker = seen.machines.last_mut().unwrap();
    worker.created = minute(101);
    worker.node = NodeSeen::Absent;
    worker.failed = Some("kubeadm failed".into());
    assert_eq!(lines(&seen), ["! Machine w was made anew and failed too: kubeadm failed"]);
}

#[test]
fn copies_stay_until_the_cluster_is_available() {
    let mut seen = well();
    let etcd = &mut seen.machines[0].inside.as_mut().unwrap().etcd;
    (etcd.aside, etcd.copied) = (etcd.live.clone(), true);
    let line =
        "copies of etcd's data in a: kept by a repair: removed when the cluster is Available";
    assert_eq!(lines(&seen), [format!("[{line}]")]);
    seen.is_available = true;
    assert_eq!(lines(&seen), [line]);
}

#[test]
fn a_cluster_that_is_paused_or_leaves_is_left_alone() {
    for (change, wanted) in [
        (
            (|seen: &mut Seen| seen.is_paused = true) as fn(&mut Seen),
            "! the cluster is paused, so nothing is made, changed or deleted",
        ),
        (|seen| seen.is_leaving = true, "! the cluster is being deleted"),
    ] {
        let mut seen = well();
        seen.machines[3].is = Is::Gone;
        change(&mut seen);
        assert_eq!(lines(&seen), [wanted]);
    }
}

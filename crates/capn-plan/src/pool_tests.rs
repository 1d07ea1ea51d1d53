//! Table-driven tests of the plan of a pool.

use super::*;

const OLD: &str = "v1.36.3";
const NEW: &str = "v1.37.2";

fn pool<'a>(want: usize, template: &'a LXCMachineSpec) -> Pool<'a> {
    Pool {
        template,
        version: Some(NEW),
        bootstrap: Some("data"),
        domains: &[],
        want,
        is_blocked: false,
        is_deleting: false,
    }
}

/// Parses `name version`, then any of `ready`, `lost`, `leaving`, `wished`, `broken`, `alone`.
fn replica(text: &str) -> Replica {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap();
    let version = words.next().unwrap();
    let marks: Vec<_> = words.collect();
    let has = |mark| marks.contains(&mark);
    Replica {
        name: name.to_owned(),
        annotations: [
            (keys::POOL_VERSION_ANNOTATION, version),
            (keys::POOL_BOOTSTRAP_ANNOTATION, "data"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        created: i64::from(name.as_bytes()[0]),
        is_deleting: has("leaving"),
        is_lost: has("lost"),
        is_ready: has("ready"),
        machine: (!has("alone")).then(|| Owner {
            name: name.to_owned(),
            is_deleting: false,
            is_requested: has("wished"),
            is_broken: has("broken"),
        }),
        ..Replica::default()
    }
}

fn replicas(texts: &[&str]) -> Vec<Replica> {
    texts.iter().map(|text| replica(text)).collect()
}

/// The number of machines to create, and the machines to delete.
fn outcome(plan: &Plan) -> (usize, Vec<&str>) {
    (plan.create.len(), plan.delete.iter().map(|gone| gone.replica.as_str()).collect())
}

#[test]
fn a_pool_has_as_many_machines_as_wanted() {
    let template = LXCMachineSpec::default();
    let new = |mark: &str| format!("{NEW} {mark}");
    let (up, down) = (new("ready"), new(""));
    for (want, has, made, gone) in [
        (2, vec![], 2, vec![]),
        (2, vec!["a up", "b down"], 0, vec![]),
        (3, vec!["a up"], 2, vec![]),
        (100, vec![], AT_ONCE, vec![]),
        (0, vec!["a up", "b down"], 0, vec!["b", "a"]),
        // Those that are not ready first, then the oldest.
        (1, vec!["a up", "b up", "c down"], 0, vec!["c", "a"]),
        (2, vec!["a up", "b up", "c down"], 0, vec!["c"]),
    ] {
        let texts: Vec<_> =
            has.iter().map(|text| text.replace("up", &up).replace("down", &down)).collect();
        let all: Vec<_> = texts.iter().map(|text| replica(text)).collect();
        let plan = plan(&pool(want, &template), &all);
        assert_eq!(outcome(&plan), (made, gone), "{want} wanted of {has:?}");
    }
}

#[test]
fn a_marked_machine_is_deleted_first() {
    let template = LXCMachineSpec::default();
    let all = replicas(&["a v1.37.2", "b v1.37.2 ready", "c v1.37.2 ready wished"]);
    assert_eq!(outcome(&plan(&pool(2, &template), &all)), (0, vec!["c"]));
    let all = replicas(&["a v1.36.3 ready", "b v1.36.3 ready wished", "c v1.37.2 ready"]);
    assert_eq!(outcome(&plan(&pool(2, &template), &all)), (1, vec!["b"]));
}

#[test]
fn old_machines_are_deleted_as_new_ones_become_ready() {
    let template = LXCMachineSpec::default();
    let (old, new) = (format!("{OLD} ready"), format!("{NEW} ready"));
    let text = |name: &str, rest: &str| format!("{name} {rest}");
    for (has, made, gone) in [
        (vec![text("a", &old), text("b", &old)], 2, vec![]),
        (vec![text("a", &old), text("b", &old), text("c", NEW), text("d", NEW)], 0, vec![]),
        (vec![text("a", &old), text("b", &old), text("c", &new), text("d", NEW)], 0, vec!["a"]),
        (vec![text("a", &old), text("b", OLD), text("c", &new), text("d", NEW)], 0, vec!["b"]),
        (vec![text("b", &old), text("c", &new), text("d", &new)], 0, vec!["b"]),
        // A machine that is not ready may still serve: its server may be unreachable.
        (vec![text("a", OLD), text("b", OLD)], 2, vec![]),
    ] {
        let all: Vec<_> = has.iter().map(|text| replica(text)).collect();
        let plan = plan(&pool(2, &template), &all);
        assert_eq!(outcome(&plan), (made, gone), "{has:?}");
    }
}

#[test]
fn lost_and_unhealthy_machines_are_replaced_at_once() {
    let template = LXCMachineSpec::default();
    let all = replicas(&["a v1.37.2 lost", "b v1.37.2 ready", "c v1.37.2 ready broken"]);
    let plan = plan(&pool(3, &template), &all);
    assert_eq!(outcome(&plan), (2, vec!["a", "c"]));
    let why: Vec<_> = plan.delete.iter().map(|gone| gone.why.text()).collect();
    assert_eq!(why, ["its instance no longer exists", "a MachineHealthCheck found it unhealthy"]);
}

#[test]
fn a_machine_being_deleted_does_not_count_and_is_deleted_once() {
    let template = LXCMachineSpec::default();
    let mut all = replicas(&["a v1.37.2 ready leaving", "b v1.37.2 ready", "c v1.37.2 ready"]);
    all[2].machine.as_mut().unwrap().is_deleting = true;
    assert_eq!(outcome(&plan(&pool(2, &template), &all)), (1, vec![]));
    // Cluster API creates its Machine shortly.
    let all = replicas(&["a v1.37.2 alone"]);
    assert_eq!(outcome(&plan(&pool(0, &template), &all)), (0, vec![]));
}

#[test]
fn nothing_is_created_or_replaced_without_bootstrap_data() {
    let template = LXCMachineSpec::default();
    let held = |want| Pool { is_blocked: true, ..pool(want, &template) };
    let all = replicas(&["a v1.36.3 ready", "b v1.36.3 ready", "c v1.37.2 ready"]);
    assert_eq!(outcome(&plan(&held(2), &all)), (0, vec![]));
    assert_eq!(outcome(&plan(&held(0), &all)), (0, vec!["a", "b", "c"]));
}

#[test]
fn all_machines_of_a_deleted_pool_are_deleted() {
    let template = LXCMachineSpec::default();
    let leaving = Pool { is_deleting: true, ..pool(2, &template) };
    let all = replicas(&["a v1.37.2 ready", "b v1.37.2 alone", "c v1.37.2 leaving"]);
    assert_eq!(outcome(&plan(&leaving, &all)), (0, vec!["a"]));
}

#[test]
fn differences_are_reported_and_unknown_values_are_ignored() {
    let template = LXCMachineSpec { flavor: "c2-m4".into(), ..LXCMachineSpec::default() };
    let pool = pool(1, &template);
    let old = Replica {
        spec: LXCMachineSpec { provider_id: Some("lxc:///a".into()), ..template.clone() },
        ..replica("a v1.36.3")
    };
    assert_eq!(differences(&pool, &old), ["version v1.36.3, v1.37.2 required"]);
    let unknown = Replica { annotations: BTreeMap::new(), ..old.clone() };
    assert!(differences(&pool, &unknown).is_empty());
    let other = Replica { spec: LXCMachineSpec::default(), ..unknown };
    assert_eq!(differences(&pool, &other), ["spec differs from the template"]);
    let data = Pool { bootstrap: Some("other"), version: None, ..pool };
    assert_eq!(differences(&data, &old), ["bootstrap data data, other required"]);
}

#[test]
fn new_machines_are_spread_over_the_failure_domains() {
    let template = LXCMachineSpec::default();
    let domains = ["x".to_owned(), "y".to_owned()];
    let pool = Pool { domains: &domains, ..pool(4, &template) };
    let mut one = replica("a v1.37.2 ready");
    one.annotations.insert(keys::POOL_FAILURE_DOMAIN_ANNOTATION.to_owned(), "x".to_owned());
    let made = plan(&pool, &[one]).create;
    let made: Vec<_> = made.iter().map(|domain| domain.as_deref().unwrap()).collect();
    assert_eq!(made, ["y", "x", "y"]);
}

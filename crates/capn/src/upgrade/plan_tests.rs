//! Table tests: a cluster in, steps or a refusal out.

use super::super::seen::{Held, Member};
use super::*;

fn v(text: &str) -> KubernetesVersion {
    text.parse().unwrap()
}

fn member(name: &str, version: &str) -> Member {
    Member { name: name.to_owned(), version: Some(v(version)), is_leaving: false, is_ready: true }
}

/// One machine per version.
fn group(name: &str, version: &str, machines: &[&str]) -> Group {
    let named = |(number, version): (usize, &&str)| member(&format!("{name}-{number}"), version);
    Group {
        name: name.to_owned(),
        version: v(version),
        replicas: machines.len(),
        machines: machines.iter().enumerate().map(named).collect(),
        image: TemplateImage::OfVersion,
        held: None,
    }
}

/// A control plane with one machine and a worker, with images of these versions on the server.
fn demo(version: &str, images: &[&str]) -> Seen {
    Seen {
        cluster: "demo".into(),
        control_plane: Some(group("cp", version, &[version])),
        deployments: vec![group("md", version, &[version])],
        on_server: images.iter().map(|image| v(image)).collect(),
        ..Seen::default()
    }
}

/// An API used by clients.
fn used(resource: &str, minor: u32) -> RemovedApi {
    let (group, version) = ("example.org".into(), "v1beta1".into());
    RemovedApi { minor, group, version, resource: resource.into() }
}

/// Each step in short form.
fn steps(plan: &Plan) -> Vec<String> {
    let told = |what: &str, rollout: &Rollout| {
        let Rollout { object, from, to, count, machines } = rollout;
        format!("{what} {object} {from} {to}: {count} [{}]", machines.join(" "))
    };
    plan.steps
        .iter()
        .map(|step| match step {
            Step::Image { version, source: Source::Server } => format!("has {version}"),
            Step::Image { version, source: Source::Folder(path) } => {
                format!("build {version} {path}")
            }
            Step::Image { version, source: Source::Download } => format!("get {version}"),
            Step::Image { source: Source::Named(name), .. } => format!("named {name}"),
            Step::Snapshot => "snapshot".to_owned(),
            Step::ControlPlane(rollout) => told("control plane", rollout),
            Step::Workers(rollout) => told("workers", rollout),
            Step::Pool(rollout) => told("pool", rollout),
        })
        .collect()
}

fn planned(seen: &Seen, target: &str) -> Vec<String> {
    steps(&plan(seen, &v(target)).unwrap())
}

#[test]
fn the_image_comes_first_then_the_control_plane_then_workers() {
    for (from, to, image) in [
        ("v1.36.1", "v1.36.3", "get v1.36.3"),
        ("v1.36.1", "v1.37.2", "has v1.37.2"),
        ("v1.37.0-rc.1", "v1.37.0", "build v1.37.0 /k"),
    ] {
        let mut seen = demo(from, &["v1.36.1", "v1.37.2"]);
        seen.folders.insert(v("v1.37.0"), "/k".into());
        let wanted = [
            image.to_owned(),
            format!("control plane cp {from} {to}: 1 [cp-0]"),
            format!("workers md {from} {to}: 1 [md-0]"),
        ];
        assert_eq!(planned(&seen, to), wanted);
    }
}

#[test]
fn the_control_plane_goes_over_every_minor_version_and_workers_go_at_the_end() {
    let seen = demo("v1.34.1", &["v1.35.1", "v1.35.4", "v1.36.0-rc.1", "v1.36.0", "v1.37.2"]);
    assert_eq!(
        planned(&seen, "v1.37.2"),
        [
            "has v1.35.4",
            "has v1.36.0",
            "has v1.37.2",
            "control plane cp v1.34.1 v1.35.4: 1 [cp-0]",
            "control plane cp v1.35.4 v1.36.0: 1 []",
            "control plane cp v1.36.0 v1.37.2: 1 []",
            "workers md v1.34.1 v1.37.2: 1 [md-0]",
        ]
    );
    assert_eq!(plan(&seen, &v("v1.37.2")).unwrap().skew, 3);
}

#[test]
fn a_snapshot_comes_before_the_first_machine_and_not_when_the_control_plane_has_the_version() {
    let has = |seen: &Seen| planned(seen, "v1.37.2").iter().any(|step| step == "snapshot");
    let mut seen = demo("v1.36.1", &["v1.37.2"]);
    assert!(!has(&seen), "it is not wanted, or its etcd is external");
    seen.takes_snapshot = true;
    assert_eq!(planned(&seen, "v1.37.2")[1], "snapshot");
    seen.control_plane = Some(group("cp", "v1.37.2", &["v1.36.1"]));
    assert!(!has(&seen), "its machines are being replaced");
    seen.control_plane = Some(group("cp", "v1.37.2", &["v1.37.2"]));
    assert!(!has(&seen), "only workers are left");
}

#[test]
fn workers_that_would_be_too_old_go_before_the_control_plane() {
    let mut seen = demo("v1.36.1", &["v1.36.1", "v1.37.2"]);
    seen.deployments.push(group("old", "v1.33.2", &["v1.33.2"]));
    assert_eq!(
        planned(&seen, "v1.37.2"),
        [
            "has v1.36.1",
            "has v1.37.2",
            "workers old v1.33.2 v1.36.1: 1 [old-0]",
            "control plane cp v1.36.1 v1.37.2: 1 [cp-0]",
            "workers md v1.36.1 v1.37.2: 1 [md-0]",
            "workers old v1.36.1 v1.37.2: 1 []",
        ]
    );
}

#[test]
fn what_is_of_the_version_needs_nothing_also_while_it_is_paused() {
    let mut seen = demo("v1.37.2", &[]);
    seen.deployments.push(group("none", "v1.37.2", &[]));
    seen.is_paused = true;
    seen.unavailable = Some("no".into());
    let plan = plan(&seen, &v("v1.37.2")).unwrap();
    assert_eq!((steps(&plan), plan.replacements()), (Vec::<String>::new(), 0));
}

#[test]
fn an_upgrade_that_was_interrupted_goes_on_where_it_was() {
    let to = "v1.37.2";
    let images = &["v1.36.1", to];
    let mut control_plane_half = demo("v1.36.1", images);
    control_plane_half.control_plane = Some(group("cp", to, &[to, "v1.36.1", "v1.36.1"]));
    let mut workers_left = demo("v1.36.1", images);
    workers_left.control_plane = Some(group("cp", to, &[to]));
    let mut workers_half = workers_left.clone();
    workers_half.deployments = vec![group("md", to, &["v1.36.1", to])];
    let mut leaving = demo(to, images);
    leaving.deployments[0].machines[0].is_leaving = true;
    for (mut seen, wanted) in [
        (
            control_plane_half,
            vec![
                "has v1.37.2",
                "control plane cp v1.36.1 v1.37.2: 2 [cp-1 cp-2]",
                "workers md v1.36.1 v1.37.2: 1 [md-0]",
            ],
        ),
        (workers_left, vec!["has v1.37.2", "workers md v1.36.1 v1.37.2: 1 [md-0]"]),
        (workers_half, vec!["has v1.37.2", "workers md v1.36.1 v1.37.2: 1 [md-0]"]),
        (leaving, vec!["has v1.37.2", "workers md v1.37.2 v1.37.2: 0 []"]),
    ] {
        assert_eq!(planned(&seen, to), wanted);
        // Unavailability is accepted only during an upgrade.
        let is_under_way = wanted != ["has v1.37.2", "workers md v1.36.1 v1.37.2: 1 [md-0]"]
            || !seen.deployments[0].is_rolled_out();
        seen.unavailable = Some("no".into());
        assert_eq!(plan(&seen, &v(to)).is_ok(), is_under_way, "{seen:?}");
    }
}

#[test]
fn a_rollout_of_another_version_ends_before_the_next_begins() {
    let mut seen = demo("v1.35.1", &["v1.36.1", "v1.37.2"]);
    seen.control_plane = Some(group("cp", "v1.36.1", &["v1.35.1"]));
    assert_eq!(
        planned(&seen, "v1.37.2"),
        [
            "has v1.36.1",
            "has v1.37.2",
            "control plane cp v1.35.1 v1.36.1: 1 [cp-0]",
            "control plane cp v1.36.1 v1.37.2: 1 []",
            "workers md v1.35.1 v1.37.2: 1 [md-0]",
        ]
    );
}

#[test]
fn an_image_that_a_template_names_by_version_is_looked_for_by_that_name() {
    let mut seen = demo("v1.36.1", &["v1.37.2"]);
    seen.deployments[0].image = TemplateImage::Pattern("mine/VERSION".into());
    let found = planned(&seen, "v1.37.2");
    assert_eq!(found[..2], ["has v1.37.2", "named mine/v1.37.2"]);
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    let target = "v1.37.2";
    let with = |change: fn(&mut Seen)| {
        let mut seen = demo("v1.36.1", &["v1.37.2"]);
        change(&mut seen);
        seen
    };
    let cases: Vec<(Seen, &str)> = vec![
        (demo("v1.37.3", &[]), "`cp` runs v1.37.3, and Kubernetes cannot be downgraded to v1.37.2"),
        (demo("v1.38.0-rc.1", &[]), "cannot be downgraded"),
        (
            with(|seen| seen.deployments[0].version = v("v1.38.0")),
            "`md` runs v1.38.0, and Kubernetes cannot be downgraded",
        ),
        (
            demo("v1.35.1", &["v1.34.9", "v1.37.2"]),
            "intermediate version 1.36, for which no node image exists",
        ),
        (with(|seen| seen.is_leaving = true), "is being deleted"),
        (with(|seen| seen.is_paused = true), "is paused"),
        (with(|seen| seen.is_stopped = true), "is stopped"),
        (with(|seen| seen.has_topology = true), "ClusterClass"),
        (with(|seen| seen.control_plane = None), "no KubeadmControlPlane"),
        (with(|seen| seen.unavailable = Some("etcd is ill".into())), "not Available: etcd is ill"),
        (
            with(|seen| seen.alone = vec![member("own", "v1.33.9")]),
            "standalone machine `own` is not upgraded",
        ),
        (
            with(|seen| seen.deployments[0].image = TemplateImage::Fixed("mine".into())),
            "the machines of `md` use image `mine`",
        ),
        (
            with(|seen| seen.deployments[0].held = Some(Held::OnDelete)),
            "`md` only replaces machines that a user deletes",
        ),
        (with(|seen| seen.deployments[0].held = Some(Held::Paused)), "`md` is paused"),
        (
            with(|seen| {
                seen.removed_apis = vec![used("old", 37), used("older", 36), used("new", 38)];
            }),
            "APIs that v1.37.2 removes: old.example.org v1beta1 (removed in 1.37)",
        ),
    ];
    for (seen, told) in cases {
        let error = plan(&seen, &v(target)).unwrap_err().into_command("demo");
        assert!(error.to_string().contains(told), "{error}, not {told}");
        assert_eq!(error.hint_texts().len(), 1, "{error}");
    }
    let alone = with(|seen| seen.alone = vec![member("own", "v1.34.0")]);
    assert!(plan(&alone, &v(target)).is_ok());
    // A version far away ends at the first minor version without an image.
    assert!(plan(&demo("v1.36.1", &[]), &v("v1.4294967295.0")).is_err());
}

#[test]
fn pools_come_after_the_machine_deployments_and_before_their_kubelets_are_too_old() {
    let mut seen = demo("v1.36.1", &["v1.36.1", "v1.37.2"]);
    seen.pools = vec![group("mp", "v1.36.1", &["v1.36.1", "v1.36.1"])];
    assert_eq!(
        planned(&seen, "v1.37.2"),
        [
            "has v1.37.2",
            "control plane cp v1.36.1 v1.37.2: 1 [cp-0]",
            "workers md v1.36.1 v1.37.2: 1 [md-0]",
            "pool mp v1.36.1 v1.37.2: 2 [mp-0 mp-1]",
        ]
    );
    // A pool that somebody has brought up is left alone; one that has only begun is waited for.
    seen.pools = vec![group("mp", "v1.37.2", &["v1.37.2"]), group("mq", "v1.37.2", &["v1.36.1"])];
    let steps = planned(&seen, "v1.37.2");
    assert_eq!(steps.last().unwrap(), "pool mq v1.36.1 v1.37.2: 1 [mq-0]");
    assert!(!steps.concat().contains("pool mp"), "{steps:?}");
    // Over more minor versions than a kubelet may be older, it goes twice.
    let images = ["v1.37.0", "v1.38.0", "v1.39.0", "v1.40.0"];
    let mut seen = demo("v1.36.1", &images);
    seen.deployments.clear();
    seen.pools = vec![group("mp", "v1.36.1", &["v1.36.1"])];
    let steps = planned(&seen, "v1.40.0");
    let of_pool: Vec<_> = steps.iter().filter(|step| step.starts_with("pool")).collect();
    let wanted = ["pool mp v1.36.1 v1.39.0: 1 [mp-0]", "pool mp v1.39.0 v1.40.0: 1 []"];
    assert_eq!(of_pool, wanted.iter().collect::<Vec<_>>());
}

#[test]
fn a_pool_is_refused_for_the_same_reasons_as_a_machine_deployment() {
    let mut seen = demo("v1.36.1", &["v1.37.2"]);
    seen.pools = vec![group("mp", "v1.38.0", &["v1.38.0"])];
    let refusal = plan(&seen, &v("v1.37.2")).unwrap_err();
    assert!(refusal.to_string().starts_with("`mp` runs v1.38.0"), "{refusal}");
    seen.pools = vec![Group {
        image: TemplateImage::Fixed("mine".into()),
        ..group("mp", "v1.36.1", &["v1.36.1"])
    }];
    let refusal = plan(&seen, &v("v1.37.2")).unwrap_err();
    assert!(refusal.to_string().contains("`mp` use image `mine`"), "{refusal}");
}

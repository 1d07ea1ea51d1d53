//! `capn upgrade` with a plane and a simulated server, without controllers at work.

use capn::Exit;
use incus_sim::{Listening, Simulator};
use insta::assert_snapshot;

use crate::{Home, Ran};

/// A home with a recorded cluster `demo` of v1.36.1 whose server answers.
pub(crate) struct World {
    pub(crate) home: Home,
    _server: (tokio::runtime::Runtime, Simulator, Listening),
}

impl World {
    pub(crate) fn new(options: &[&str]) -> Self {
        let home = Home::new();
        let socket = home.path().join("socket");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let simulator = Simulator::new();
        let listening = runtime.block_on(async { simulator.listen(&socket) }).unwrap();
        let remote = format!("unix://{}", socket.display());
        let generate =
            ["generate", "cluster", "demo", "--kubernetes-version", "v1.36.1", "--remote", &remote];
        let generated = home.capn(&[&generate[..], options].concat());
        assert_eq!(generated.exit, Exit::Done, "{generated}");
        let file = home.path().join("file.yaml");
        let text = generated.out.replace("$HOME", home.path().to_str().unwrap());
        std::fs::write(&file, text).unwrap();
        let applied = home.capn(&["apply", "--wait", "0", "-f", file.to_str().unwrap()]);
        assert_eq!(applied.exit, Exit::Done, "{applied}");
        Self { home, _server: (runtime, simulator, listening) }
    }

    fn upgrade(&self, version: &str, more: &[&str]) -> Ran {
        let command = ["upgrade", "demo", "--kubernetes-version", version];
        self.home.capn(&[&command[..], more].concat())
    }
}

#[test]
fn a_version_that_is_none_is_wrong_usage() {
    for arguments in [
        &["upgrade", "demo", "--kubernetes-version", "latest"][..],
        &["upgrade", "demo", "--kubernetes-version", "v1.20.1"],
        &["upgrade", "demo"],
        &["upgrade", "demo", "--kubernetes-version", "v1.37.2", "-o", "json"],
    ] {
        let home = Home::new();
        assert_eq!(home.capn(arguments).exit, Exit::Usage, "{arguments:?}");
        assert_eq!(home.path().read_dir().unwrap().count(), 0, "nothing is made");
    }
}

#[test]
fn a_cluster_that_is_of_the_version_needs_nothing() {
    let world = World::new(&[]);
    for more in [&[][..], &["--dry-run"]] {
        let ran = world.upgrade("1.36.1", more);
        assert_eq!(ran.exit, Exit::Done, "{ran}");
        assert_eq!(ran.err, "cluster `demo` runs v1.36.1: nothing to do\n");
    }
    let ran = world.upgrade("v1.36.1", &["--dry-run", "-o", "json"]);
    assert!(ran.out.contains("\"steps\": []"), "{ran}");
}

#[test]
fn a_downgrade_is_refused_with_the_reason() {
    assert_snapshot!(World::new(&[]).upgrade("v1.35.9", &["--dry-run"]), @r"
    ------- stderr -------
    Error: cannot upgrade cluster `demo` to v1.35.9
    Caused by: `demo-control-plane` runs v1.36.1, and Kubernetes cannot be downgraded to v1.35.9: an older API server does not understand all that a newer one has stored
    Hint: name v1.36.1 or a later version, or make another cluster of the older one
    [exit: Failed]
    ");
}

#[test]
fn a_cluster_that_is_not_available_is_refused_and_nothing_is_changed() {
    let world = World::new(&[]);
    assert_snapshot!(world.upgrade("v1.37.2", &["--dry-run"]), @r"
    ------- stderr -------
    Error: cannot upgrade cluster `demo` to v1.37.2
    Caused by: the cluster is not Available: nothing has looked at it yet
    Hint: mend that first: `capn describe cluster demo` shows where it is
    [exit: Failed]
    ");
    let as_it_was = world.upgrade("v1.36.1", &["--dry-run"]);
    assert!(as_it_was.err.contains("nothing to do"), "{as_it_was}");
}

#[test]
fn a_paused_cluster_says_how_to_go_on() {
    let world = World::new(&[]);
    assert_eq!(world.home.capn(&["pause", "demo"]).exit, Exit::Done);
    let ran = world.upgrade("v1.37.2", &["--dry-run"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("Hint: resume it: `capn resume demo`"), "{ran}");
}

#[test]
fn a_cluster_without_kubeadm_is_not_upgraded() {
    let ran = World::new(&["--bootstrap", "none"]).upgrade("v1.37.2", &["--dry-run"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("the cluster has no KubeadmControlPlane"), "{ran}");
}

#[test]
fn a_cluster_that_is_not_there_is_an_error_with_those_that_are() {
    let ran = World::new(&[]).home.capn(&["upgrade", "dem", "--kubernetes-version", "v1.37.2"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("Hint: clusters that are there: demo"), "{ran}");
}

#[test]
fn up_with_another_version_points_to_upgrade() {
    let world = World::new(&[]);
    assert_snapshot!(world.home.capn(&["up", "demo", "--kubernetes-version", "v1.37.2"]), @r"
    ------- stderr -------
    Error: cannot create cluster `demo`
    Caused by:
      1: cluster `demo` exists and is different
      2: --kubernetes-version is v1.36.1, not v1.37.2
    Hint: `capn upgrade demo --kubernetes-version v1.37.2`
    Hint: leave those options out to continue with the cluster as it is
    Hint: or choose another name, or begin anew: `capn delete cluster demo`
    [exit: Failed]
    ");
}

//! `capn upgrade` with a plane and a simulated server, without running controllers.

use capn::Exit;
use incus_sim::{Listening, Simulator};
use insta::assert_snapshot;

use crate::{CommandOutput, Home};

/// A home directory with a recorded cluster `demo` at v1.36.1 whose server responds.
pub(crate) struct UpgradeFixture {
    pub(crate) home: Home,
    _server: (tokio::runtime::Runtime, Simulator, Listening),
}

impl UpgradeFixture {
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

    fn upgrade(&self, version: &str, more: &[&str]) -> CommandOutput {
        let command = ["upgrade", "demo", "--kubernetes-version", version];
        self.home.capn(&[&command[..], more].concat())
    }
}

#[test]
fn an_invalid_version_is_a_usage_error() {
    for arguments in [
        &["upgrade", "demo", "--kubernetes-version", "latest"][..],
        &["upgrade", "demo", "--kubernetes-version", "v1.20.1"],
        &["upgrade", "demo"],
        &["upgrade", "demo", "--kubernetes-version", "v1.37.2", "-o", "json"],
    ] {
        let home = Home::new();
        assert_eq!(home.capn(arguments).exit, Exit::Usage, "{arguments:?}");
        assert_eq!(home.path().read_dir().unwrap().count(), 0, "nothing is created");
    }
}

#[test]
fn a_cluster_at_the_version_needs_no_upgrade() {
    let fixture = UpgradeFixture::new(&[]);
    for more in [&[][..], &["--dry-run"]] {
        let ran = fixture.upgrade("1.36.1", more);
        assert_eq!(ran.exit, Exit::Done, "{ran}");
        assert_eq!(ran.err, "cluster `demo` runs v1.36.1: nothing to do\n");
    }
    let ran = fixture.upgrade("v1.36.1", &["--dry-run", "-o", "json"]);
    assert!(ran.out.contains("\"steps\": []"), "{ran}");
}

#[test]
fn a_downgrade_is_refused_with_the_reason() {
    assert_snapshot!(UpgradeFixture::new(&[]).upgrade("v1.35.9", &["--dry-run"]), @r"
    ------- stderr -------
    Error: cannot upgrade cluster `demo` to v1.35.9
    Caused by: `demo-control-plane` runs v1.36.1, and Kubernetes cannot be downgraded to v1.35.9: an older API server cannot read everything that a newer one stored
    Hint: use v1.36.1 or later, or create another cluster with the older version
    [exit: Failed]
    ");
}

#[test]
fn an_unavailable_cluster_is_refused_and_not_changed() {
    let fixture = UpgradeFixture::new(&[]);
    assert_snapshot!(fixture.upgrade("v1.37.2", &["--dry-run"]), @r"
    ------- stderr -------
    Error: cannot upgrade cluster `demo` to v1.37.2
    Caused by: the cluster is not Available: it has not been reconciled yet
    Hint: fix that first; see the cause: `capn describe cluster demo`
    [exit: Failed]
    ");
    let as_it_was = fixture.upgrade("v1.36.1", &["--dry-run"]);
    assert!(as_it_was.err.contains("nothing to do"), "{as_it_was}");
}

#[test]
fn a_paused_cluster_error_names_resume() {
    let fixture = UpgradeFixture::new(&[]);
    assert_eq!(fixture.home.capn(&["pause", "demo"]).exit, Exit::Done);
    let ran = fixture.upgrade("v1.37.2", &["--dry-run"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("Hint: resume it: `capn resume demo`"), "{ran}");
}

#[test]
fn a_cluster_without_kubeadm_is_not_upgraded() {
    let ran = UpgradeFixture::new(&["--bootstrap", "none"]).upgrade("v1.37.2", &["--dry-run"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("the cluster has no KubeadmControlPlane"), "{ran}");
}

#[test]
fn a_missing_cluster_is_an_error_that_lists_existing_ones() {
    let ran =
        UpgradeFixture::new(&[]).home.capn(&["upgrade", "dem", "--kubernetes-version", "v1.37.2"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("Hint: existing clusters: demo"), "{ran}");
}

#[test]
fn up_with_another_version_points_to_upgrade() {
    let fixture = UpgradeFixture::new(&[]);
    assert_snapshot!(fixture.home.capn(&["up", "demo", "--kubernetes-version", "v1.37.2"]), @r"
    ------- stderr -------
    Error: cannot bring cluster `demo` to the requested state
    Caused by:
      1: cluster `demo` exists with different options
      2: --kubernetes-version is v1.36.1, not v1.37.2
    Hint: `capn upgrade demo --kubernetes-version v1.37.2`
    Hint: omit those options to keep the cluster unchanged
    Hint: or choose another name, or delete the cluster first: `capn delete cluster demo`
    [exit: Failed]
    ");
}

//! `capn repair` with a plane and a simulated server, without running controllers.

use capn::Exit;
use insta::assert_snapshot;

use crate::Home;
use crate::upgrade::UpgradeFixture;

#[test]
fn a_usage_error_changes_nothing() {
    for arguments in [
        &["repair"][..],
        &["repair", "demo", "-o", "json"],
        &["repair", "demo", "--timeout", "soon"],
    ] {
        let home = Home::new();
        assert_eq!(home.capn(arguments).exit, Exit::Usage, "{arguments:?}");
        assert_eq!(home.path().read_dir().unwrap().count(), 0, "nothing is created");
    }
}

#[test]
fn a_missing_cluster_is_an_error_that_lists_existing_ones() {
    let ran = UpgradeFixture::new(&[]).home.capn(&["repair", "dem", "--dry-run"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("Hint: existing clusters: demo"), "{ran}");
}

#[test]
fn an_intact_cluster_needs_no_repair() {
    let world = UpgradeFixture::new(&[]);
    assert_snapshot!(world.home.capn(&["repair", "demo", "--dry-run"]), @r"
    ------- stderr -------
    cluster `demo`: nothing to repair
    [exit: Done]
    ");
    let ran = world.home.capn(&["repair", "demo", "--dry-run", "-o", "json"]);
    assert!(ran.out.contains("\"problems\": []"), "{ran}");
}

#[test]
fn a_paused_cluster_error_names_resume() {
    let world = UpgradeFixture::new(&[]);
    assert_eq!(world.home.capn(&["pause", "demo"]).exit, Exit::Done);
    assert_snapshot!(world.home.capn(&["repair", "demo", "--timeout", "10s"]), @r"
    ------- stderr -------
    Error: cannot repair cluster `demo`
    Caused by: the cluster is paused, so nothing is created, changed or deleted
    Hint: resume it: `capn resume demo`
    [exit: Failed]
    ");
}

//! `capn repair` with a plane and a simulated server, without controllers at work.

use capn::Exit;
use insta::assert_snapshot;

use crate::Home;
use crate::upgrade::World;

#[test]
fn wrong_usage_makes_nothing() {
    for arguments in [
        &["repair"][..],
        &["repair", "demo", "-o", "json"],
        &["repair", "demo", "--timeout", "soon"],
    ] {
        let home = Home::new();
        assert_eq!(home.capn(arguments).exit, Exit::Usage, "{arguments:?}");
        assert_eq!(home.path().read_dir().unwrap().count(), 0, "nothing is made");
    }
}

#[test]
fn a_cluster_that_is_not_there_is_an_error_with_those_that_are() {
    let ran = World::new(&[]).home.capn(&["repair", "dem", "--dry-run"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("Hint: clusters that are there: demo"), "{ran}");
}

#[test]
fn a_cluster_that_lost_nothing_needs_nothing() {
    let world = World::new(&[]);
    assert_snapshot!(world.home.capn(&["repair", "demo", "--dry-run"]), @r"
    ------- stderr -------
    cluster `demo`: nothing to repair
    [exit: Done]
    ");
    let ran = world.home.capn(&["repair", "demo", "--dry-run", "-o", "json"]);
    assert!(ran.out.contains("\"problems\": []"), "{ran}");
}

#[test]
fn a_paused_cluster_says_how_to_go_on() {
    let world = World::new(&[]);
    assert_eq!(world.home.capn(&["pause", "demo"]).exit, Exit::Done);
    assert_snapshot!(world.home.capn(&["repair", "demo", "--timeout", "10s"]), @r"
    ------- stderr -------
    Error: cannot repair cluster `demo`
    Caused by: the cluster is paused, so nothing is made, changed or deleted
    Hint: resume it: `capn resume demo`
    [exit: Failed]
    ");
}

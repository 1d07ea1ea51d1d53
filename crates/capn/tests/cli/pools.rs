//! Worker pools with a plane and a simulated server.

use capn::Exit;
use insta::assert_snapshot;

use crate::upgrade::UpgradeFixture;

const CREATE: &[&str] = &["create", "pool", "extra", "--cluster", "demo", "--workers", "0"];

fn create(world: &UpgradeFixture, more: &[&str]) -> crate::CommandOutput {
    world.home.capn(&[CREATE, &["--wait", "0"], more].concat())
}

fn names(world: &UpgradeFixture) -> Vec<String> {
    let ran = world.home.capn(&["get", "pools", "demo", "-o", "name"]);
    ran.out.lines().map(str::to_owned).collect()
}

#[test]
fn usage_errors_come_before_any_lookup() {
    for arguments in [
        &["create", "pool", "a"][..],
        &["create", "pool", "a", "--cluster", "demo", "--label", "kubernetes.io/mine=1"],
        &["create", "pool", "a", "--cluster", "demo", "--taint", "a=b"],
        &["create", "pool", "a", "--cluster", "demo", "--workers", "1000"],
        &["delete", "pool", "a"],
        &["delete", "machine"],
        &["scale", "demo", "--pool", "a", "--control-planes", "1"],
    ] {
        let home = crate::Home::new();
        assert_eq!(home.capn(arguments).exit, Exit::Usage, "{arguments:?}");
        assert_eq!(home.path().read_dir().unwrap().count(), 0, "nothing is created");
    }
}

#[test]
fn a_pool_is_created_and_deleted_with_its_templates() {
    let world = UpgradeFixture::new(&[]);
    assert_eq!(names(&world), ["md-0"]);
    for _ in 0..2 {
        let ran = create(&world, &["--label", "example.org/a=b", "--flavor", "c2-m4"]);
        assert_eq!(ran.exit, Exit::Done, "{ran}");
    }
    assert_eq!(names(&world), ["extra", "md-0"]);
    let yaml = world.home.capn(&["get", "pools", "demo", "-o", "yaml"]).out;
    assert!(yaml.contains("flavor: c2-m4") && yaml.contains("- example.org/a=b"), "{yaml}");
    let other = create(&world, &["--flavor", "c4-m8"]);
    assert_eq!(other.exit, Exit::Failed, "{other}");
    assert!(other.err.contains("capn scale demo --pool extra --workers N"), "{other}");
    // A cluster with several pools requires selecting one.
    let scaled = world.home.capn(&["scale", "demo", "--pool", "extr", "--workers", "1"]);
    assert!(scaled.err.contains("Hint: existing pools: extra, md-0"), "{scaled}");
    let delete = ["delete", "pool", "extra", "--cluster", "demo", "--wait", "60s"];
    let deleted = world.home.capn(&delete);
    assert_eq!(deleted.exit, Exit::Done, "{deleted}");
    assert_eq!(names(&world), ["md-0"]);
    let again = world.home.capn(&delete);
    assert_snapshot!(again, @r"
    ------- stderr -------
    cluster `demo` has no pool `extra`: nothing to delete (existing pools: md-0)
    [exit: Done]
    ");
}

#[test]
fn an_unknown_flavor_creates_no_pool() {
    let world = UpgradeFixture::new(&[]);
    let ran = create(&world, &["--flavor", "huge"]);
    assert_eq!(ran.exit, Exit::Usage, "{ran}");
    assert_eq!(names(&world), ["md-0"]);
}

#[test]
fn a_dry_run_prints_what_would_be_applied() {
    let world = UpgradeFixture::new(&[]);
    let ran = create(&world, &["--dry-run", "--taint", "gpu:NoSchedule"]);
    assert_eq!(ran.exit, Exit::Done, "{ran}");
    for part in ["kind: MachineDeployment", "name: demo-extra", "effect: NoSchedule"] {
        assert!(ran.out.contains(part), "{ran}");
    }
    assert_eq!(names(&world), ["md-0"]);
}

#[test]
fn deleting_a_missing_machine_succeeds() {
    let world = UpgradeFixture::new(&[]);
    let ran = world.home.capn(&["delete", "machine", "demo-md-0-x"]);
    assert_eq!(ran.exit, Exit::Done, "{ran}");
    assert!(ran.err.contains("machine `demo-md-0-x` does not exist"), "{ran}");
}

#[test]
fn pools_of_a_paused_cluster_are_not_deleted() {
    let world = UpgradeFixture::new(&[]);
    assert_eq!(world.home.capn(&["pause", "demo"]).exit, Exit::Done);
    for arguments in [
        &["create", "pool", "a", "--cluster", "demo", "--wait", "0"][..],
        &["delete", "pool", "md-0", "--cluster", "demo"],
    ] {
        let ran = world.home.capn(arguments);
        assert_eq!(ran.exit, Exit::Failed, "{ran}");
        assert!(ran.err.contains("`capn resume demo`"), "{ran}");
    }
    assert_eq!(names(&world), ["md-0"]);
}

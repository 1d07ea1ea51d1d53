//! Upgrade tests with a plane and a simulated server; the test plays the controllers.

mod world;

use std::time::Duration;

use capi_api::bootstrap::KubeadmConfigTemplate;
use capi_api::{KubeadmConfig, KubeadmControlPlane, MachineDeployment, MachinePool};
use insta::assert_snapshot;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::show;
use crate::etcd::Reason;
use crate::etcd::testing::Etcd;
use world::{NEW, OLD, World};

/// A kubelet patch that only applies to versions before 1.37.
const GATE: &str = "KubeletInUserNamespace";

async fn control_plane(world: &World) -> KubeadmControlPlane {
    world.api().get("demo-control-plane").await.unwrap()
}

async fn workers(world: &World) -> MachineDeployment {
    world.api().get("demo-md-0").await.unwrap()
}

/// The files of a configuration, as text.
fn files(config: Value) -> String {
    config["files"].to_string()
}

#[tokio::test]
async fn the_control_plane_is_replaced_before_the_workers_and_each_machine_is_told() {
    let world = World::new(1, 1).await;
    world.upgrade().await.unwrap();
    assert_eq!(
        world.happened(),
        [
            "control-plane v1.37.2 comes",
            "control-plane v1.36.1 leaves",
            "worker v1.37.2 comes",
            "worker v1.36.1 leaves",
        ]
    );
    let told = world.told();
    for line in [
        "cluster `demo`: Kubernetes v1.36.1 to v1.37.2, 2 machines are replaced; kubelets are up to 1 of 3 minor versions older than API servers",
        "✓ node `control-plane-1` is Ready",
        "✓ control plane `control-plane-0` (v1.36.1) is deleted",
        "✓ node `worker-1` is Ready",
        "✓ worker `worker-0` (v1.36.1) is deleted",
        "cluster `demo` runs v1.37.2",
    ] {
        assert!(told.contains(line), "{line} in:\n{told}");
    }
    assert!(!told.contains("✓ node `worker-0`"), "what was there before is no news:\n{told}");
}

#[tokio::test]
async fn the_plan_is_printed_for_people_and_for_programs() {
    let world = World::new(3, 1).await;
    let plan = world.plan(Duration::ZERO).await.unwrap();
    assert_snapshot!(show::table(&plan).render(false), @r"
    STEP  WHAT                                    FROM     TO       HOW
    1     image capn/kubeadm/v1.37.2              -        v1.37.2  on the server
    2     KubeadmControlPlane/demo-control-plane  v1.36.1  v1.37.2  control-plane-0, control-plane-1, control-plane-2, one by one
    3     MachineDeployment/demo-md-0             v1.36.1  v1.37.2  worker-0
    ");
    let rollout = |kind: &str, name: &str, machines: &[&str]| {
        json!({ "action": "rollout", "kind": kind, "name": name, "from": OLD, "to": NEW,
            "count": machines.len(), "machines": machines })
    };
    let control_planes = ["control-plane-0", "control-plane-1", "control-plane-2"];
    assert_eq!(
        serde_json::to_value(show::shown("demo", &plan)).unwrap(),
        json!({ "cluster": "demo", "from": OLD, "to": NEW, "skew": 1, "steps": [
            { "action": "image", "version": NEW, "source": "server" },
            rollout("KubeadmControlPlane", "demo-control-plane", &control_planes),
            rollout("MachineDeployment", "demo-md-0", &["worker-0"]),
        ] })
    );
}

#[tokio::test]
async fn a_snapshot_of_etcd_comes_before_the_first_machine_and_once() {
    let etcd = Etcd::default();
    let world = World::new(1, 1).await.taking_snapshots(&etcd).await;
    let plan = world.plan(Duration::ZERO).await.unwrap();
    assert_snapshot!(show::table(&plan).render(false), @r"
    STEP  WHAT                                    FROM     TO       HOW
    1     image capn/kubeadm/v1.37.2              -        v1.37.2  on the server
    2     snapshot of etcd                        -        -        restored by `capn etcd snapshot restore`
    3     KubeadmControlPlane/demo-control-plane  v1.36.1  v1.37.2  control-plane-0
    4     MachineDeployment/demo-md-0             v1.36.1  v1.37.2  worker-0
    ");
    let shown = serde_json::to_value(show::shown("demo", &plan)).unwrap();
    assert_eq!(shown["steps"][1], json!({ "action": "snapshot" }));
    tokio::select! {
        biased;
        () = world.until_happened(1) => {}
        done = world.upgrade() => panic!("it was through before it was ended: {done:?}"),
    }
    world.upgrade().await.unwrap();
    assert!(world.told().contains("✓ snapshot of etcd, 0.5 KiB: "), "{}", world.told());
    let kept = world.keeper.folder("default", "demo").unwrap().list().unwrap();
    let reasons: Vec<_> = kept.iter().map(|kept| kept.record.as_ref().unwrap().reason).collect();
    assert_eq!(reasons, [Reason::Upgrade], "not again when it is continued");
}

#[tokio::test]
async fn without_the_snapshot_nothing_is_changed_and_the_way_out_is_told() {
    let etcd = Etcd { is_broken: true, ..Etcd::default() };
    let world = World::new(1, 1).await.taking_snapshots(&etcd).await;
    let error = world.upgrade().await.unwrap_err();
    assert!(error.to_string().contains("nothing has changed yet"), "{error}");
    assert!(error.hint_texts().concat().contains("--etcd-snapshot=false"), "{error:?}");
    assert_eq!(control_plane(&world).await.metadata.generation, Some(1));
    assert!(world.happened().is_empty());
}

#[tokio::test]
async fn a_cluster_has_a_moment_to_become_available() {
    let world = World::new(1, 1).await;
    world.available("False").await;
    let error = world.plan(Duration::ZERO).await.unwrap_err();
    assert!(error.to_string().contains("not Available"), "{error}");
    let minute = Duration::from_secs(60);
    let (plan, ()) = tokio::join!(world.plan(minute), world.available("True"));
    assert_eq!(plan.unwrap().replacements(), 2);
}

#[tokio::test]
async fn the_version_comes_with_the_etcd_of_its_image_and_the_configuration_of_its_nodes() {
    let world = World::new(1, 1).await;
    let before = serde_json::to_value(control_plane(&world).await).unwrap();
    assert!(files(before["spec"]["kubeadmConfigSpec"].clone()).contains(GATE));
    world.upgrade().await.unwrap();

    let after = serde_json::to_value(control_plane(&world).await).unwrap();
    let config = &after["spec"]["kubeadmConfigSpec"];
    assert_eq!(
        config["clusterConfiguration"]["etcd"],
        json!({ "local": { "imageTag": "3.6.8-0" } })
    );
    assert!(!files(config.clone()).contains(GATE));
    assert_eq!(after["metadata"]["generation"], json!(2), "machines are replaced once");

    let recorded = world.recorded().await;
    assert_eq!(recorded.kubernetes_version.as_deref(), Some(NEW), "for `capn up` afterwards");
    assert_eq!(recorded.image_facts.etcd_image_tag.as_deref(), Some("3.6.8-0"));

    let template = workers(&world).await.spec.template.spec;
    let name = template.bootstrap.config_ref.unwrap().name;
    assert_eq!((name.as_str(), template.version.as_deref()), ("demo-md-0-v1-37-2", Some(NEW)));
    for (name, has_gate) in [("demo-md-0", true), (name.as_str(), false)] {
        let found = world.api::<KubeadmConfigTemplate>().get(name).await.unwrap();
        let spec = serde_json::to_value(found).unwrap()["spec"]["template"]["spec"].clone();
        assert_eq!(files(spec).contains(GATE), has_gate, "{name}");
    }
}

#[tokio::test]
async fn a_pool_is_replaced_last_with_the_configuration_of_the_version() {
    let world = World::new(1, 1).await.with_pool(2).await;
    let plan = world.plan(Duration::ZERO).await.unwrap();
    assert_snapshot!(show::table(&plan).render(false), @r"
    STEP  WHAT                                    FROM     TO       HOW
    1     image capn/kubeadm/v1.37.2              -        v1.37.2  on the server
    2     KubeadmControlPlane/demo-control-plane  v1.36.1  v1.37.2  control-plane-0
    3     MachineDeployment/demo-md-0             v1.36.1  v1.37.2  worker-0
    4     MachinePool/demo-mp-0                   v1.36.1  v1.37.2  pool-0, pool-1, all new ones at once
    ");
    world.upgrade().await.unwrap();
    let happened = world.happened();
    assert!(happened[..2].iter().all(|one| one.starts_with("control-plane")), "{happened:?}");
    assert!(happened[2..4].iter().all(|one| one.starts_with("worker")), "{happened:?}");
    assert_eq!(happened[4..].len(), 4, "{happened:?}");
    assert!(happened[4..].iter().all(|one| one.starts_with("pool")), "{happened:?}");
    let pool = world.api::<MachinePool>().get("demo-mp-0").await.unwrap();
    let template = pool.spec.template.spec;
    assert_eq!(template.version.as_deref(), Some(NEW));
    assert_eq!(template.bootstrap.config_ref.unwrap().name, "demo-mp-0");
    let config = world.api::<KubeadmConfig>().get("demo-mp-0").await.unwrap();
    assert!(!files(serde_json::to_value(config.spec).unwrap()).contains(GATE));
    world.upgrade().await.unwrap();
    assert!(world.told().contains("cluster `demo` runs v1.37.2: nothing to do"));
}

#[tokio::test]
async fn the_same_command_continues_where_it_was_ended() {
    for ended_by in [1, 4, 7] {
        let world = World::new(3, 1).await;
        tokio::select! {
            biased;
            () = world.until_happened(ended_by) => {}
            done = world.upgrade() => panic!("it was through before it was ended: {done:?}"),
        }
        world.upgrade().await.unwrap();
        let (control_plane, workers) = (control_plane(&world).await, workers(&world).await);
        assert_eq!(control_plane.spec.version, NEW);
        assert_eq!(control_plane.metadata.generation, Some(2), "{ended_by}");
        assert_eq!(workers.spec.template.spec.version.as_deref(), Some(NEW));
        let happened = world.happened();
        assert_eq!(happened.len(), 8, "no machine is replaced twice: {happened:?}");
        assert!(happened[..6].iter().all(|one| one.starts_with("control-plane")), "{happened:?}");
        let templates = world.api::<KubeadmConfigTemplate>().list(&ListParams::default()).await;
        let names: Vec<_> = templates.unwrap().iter().map(|found| found.name_any()).collect();
        assert_eq!(names, ["demo-md-0", "demo-md-0-v1-37-2"]);
    }
}

#[tokio::test]
async fn an_upgrade_is_taken_back_while_the_new_control_plane_starts() {
    let world = World::new(3, 1).await;
    let before = control_plane(&world).await.spec;
    tokio::select! {
        biased;
        () = world.until_happened(1) => {}
        done = world.upgrade() => panic!("it was through before it was ended: {done:?}"),
    }
    assert_eq!(control_plane(&world).await.spec.version, NEW);
    world.roll_back().await.unwrap();
    assert_eq!(control_plane(&world).await.spec, before, "no other machine is replaced");
    let wanted = ["control-plane v1.37.2 comes", "control-plane v1.37.2 leaves"];
    assert_eq!(world.happened(), wanted);
    let told = world.told();
    let line = "cluster `demo`: back to Kubernetes v1.36.1, 1 machine is deleted";
    assert!(told.contains(line) && told.contains("cluster `demo` runs v1.36.1"), "{told}");
    world.roll_back().await.unwrap();
    assert!(world.told().contains("cluster `demo` runs v1.36.1: nothing to do"));

    tokio::select! {
        biased;
        () = world.until_happened(4) => {}
        done = world.upgrade() => panic!("it was through before it was ended: {done:?}"),
    }
    let error = world.roll_back().await.unwrap_err();
    assert!(error.to_string().contains("may have stored"), "{error}");
}

#[tokio::test]
async fn nothing_is_changed_when_the_image_is_of_another_version() {
    let world = World::new(1, 1).await;
    world.image(NEW, OLD);
    let error = world.upgrade().await.unwrap_err();
    assert!(
        error.to_string().contains("the node image for v1.37.2 contains Kubernetes v1.36.1"),
        "{error}"
    );
    assert_eq!(control_plane(&world).await.spec.version, OLD);
    assert_eq!(world.happened(), Vec::<String>::new());
}

#[tokio::test]
async fn what_somebody_changed_in_the_configuration_stays() {
    let world = World::new(1, 0).await;
    let change = json!({ "spec": { "kubeadmConfigSpec": { "files": [
        { "path": "/mine", "owner": "root:root", "permissions": "0644", "content": "mine" },
    ] } } });
    world.patch::<KubeadmControlPlane>("demo-control-plane", change).await;
    world.upgrade().await.unwrap();
    let after = serde_json::to_value(control_plane(&world).await).unwrap();
    let files = &after["spec"]["kubeadmConfigSpec"]["files"];
    assert_eq!(files.as_array().map(Vec::len), Some(1));
    assert_eq!(files[0]["content"], json!("mine"));
}

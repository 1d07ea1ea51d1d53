//! The controllers are killed again and again and started again; what comes out is the same.

use std::time::Duration;

use capi_api::{Cluster, Machine, MachineDeployment, MachineSet};
use kube::ResourceExt as _;
use serde_json::json;

use crate::world::{World, manifests, until};

/// Kills and starts the controllers after growing pauses, so that every stage is met by some.
async fn interrupt(world: &mut World, times: u32) {
    for round in 0..times {
        world.start();
        let pause = Duration::from_millis(3 + u64::from(round * 7 % 60));
        tokio::time::sleep(pause).await;
        world.stop();
    }
    world.start();
}

async fn no_leftovers(world: &World) {
    let mut machines: Vec<_> =
        world.list::<Machine>().await.iter().map(|machine| machine.name_any()).collect();
    machines.sort();
    until("every part has a machine", || async {
        let parts =
            [world.provider_names("TestMachine").await, world.provider_names("TestConfig").await];
        if parts == [machines.clone(), machines.clone()] {
            Ok(())
        } else {
            Err(format!("machines {machines:?}, parts {parts:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_comes_up_however_often_the_controllers_are_killed() {
    let mut world = World::without_controllers().await;
    world.create(manifests(3)).await;
    interrupt(&mut world, 30).await;
    world.wait_settled(3).await;
    assert_eq!(world.sets().await.len(), 1, "one set and not one for each try");
    assert_eq!(world.list::<Machine>().await.len(), 4);
    no_leftovers(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_ends_however_often_the_controllers_are_killed() {
    let mut world = World::new().await;
    world.create(manifests(3)).await;
    world.wait_settled(3).await;
    world.stop();
    let version = json!({ "spec": { "template": { "spec": { "version": "v1.36.1" } } } });
    world.patch::<MachineDeployment>("md", version).await;
    interrupt(&mut world, 30).await;
    until("one set is left", || async {
        let sets = world.sets().await;
        if sets.len() == 1 { Ok(()) } else { Err(format!("{sets:?}")) }
    })
    .await;
    world.wait_settled(3).await;
    assert_eq!(world.list::<Machine>().await.len(), 4);
    no_leftovers(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_however_often_the_controllers_are_killed() {
    let mut world = World::new().await;
    world.create(manifests(2)).await;
    world.wait_settled(2).await;
    world.stop();
    world.delete::<Cluster>("c").await;
    interrupt(&mut world, 30).await;
    world.wait_gone::<Cluster>("c").await;
    assert_eq!(world.list::<Machine>().await.len(), 0);
    let log = world.log.lines();
    assert_eq!(log.last().map(String::as_str), Some("TestCluster c deleted"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_creation_left_is_removed_and_foreign_objects_stay() {
    let mut world = World::new().await;
    world.create(manifests(1)).await;
    world.wait_settled(1).await;
    world.stop();
    let set = world.list::<MachineSet>().await.remove(0);
    let part = |kind: &str, name: &str, uid: &str| {
        json!({
            "apiVersion": crate::provider::API_VERSION, "kind": kind,
            "metadata": {
                "name": name,
                "labels": {
                    "cluster.x-k8s.io/cluster-name": "c",
                    "cluster.x-k8s.io/set-name": set.name_any(),
                },
                "ownerReferences": [{
                    "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineSet",
                    "name": set.name_any(), "uid": uid,
                }],
            },
            "spec": {},
        })
    };
    let uid = set.uid().unwrap();
    world
        .create(vec![
            part("TestConfig", "half", &uid),
            part("TestMachine", "half", &uid),
            // Somebody else's, although the label says otherwise.
            json!({
                "apiVersion": crate::provider::API_VERSION, "kind": "TestMachine",
                "metadata": {
                    "name": "foreign", "labels": { "cluster.x-k8s.io/set-name": set.name_any() },
                },
                "spec": {},
            }),
        ])
        .await;
    world.start();
    until("what was left is gone", || async {
        let mut all = world.provider_names("TestMachine").await;
        all.extend(world.provider_names("TestConfig").await);
        if all.contains(&"half".to_owned()) { Err(format!("{all:?}")) } else { Ok(()) }
    })
    .await;
    world.wait_settled(1).await;
    assert!(world.provider_names("TestMachine").await.contains(&"foreign".to_owned()));
}

//! The controllers are killed again and again and started again; what comes out is the same.

use std::time::Duration;

use capi_api::{Cluster, Machine, MachineDeployment};
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

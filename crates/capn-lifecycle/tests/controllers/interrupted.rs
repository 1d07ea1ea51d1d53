//! The controllers are killed and restarted repeatedly, and the result is the same.

use std::time::Duration;

use capi_api::{Cluster, Machine, MachineDeployment, MachineSet};
use kube::ResourceExt as _;
use serde_json::json;

use crate::harness::{TestEnv, manifests, until};

/// Kills and restarts the controllers after growing delays, so that every stage is interrupted.
pub(crate) async fn interrupt(env: &mut TestEnv, times: u32) {
    for round in 0..times {
        env.start();
        let pause = Duration::from_millis(3 + u64::from(round * 7 % 60));
        tokio::time::sleep(pause).await;
        env.stop();
    }
    env.start();
}

async fn no_leftovers(env: &TestEnv) {
    let mut machines: Vec<_> =
        env.list::<Machine>().await.iter().map(|machine| machine.name_any()).collect();
    machines.sort();
    until("every part has a machine", || async {
        let parts =
            [env.provider_names("TestMachine").await, env.provider_names("TestConfig").await];
        if parts == [machines.clone(), machines.clone()] {
            Ok(())
        } else {
            Err(format!("machines {machines:?}, parts {parts:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_comes_up_even_if_the_controllers_are_killed_repeatedly() {
    let mut env = TestEnv::without_controllers().await;
    env.create(manifests(3)).await;
    interrupt(&mut env, 30).await;
    env.wait_settled(3).await;
    assert_eq!(env.sets().await.len(), 1, "one set and not one for each try");
    assert_eq!(env.list::<Machine>().await.len(), 4);
    no_leftovers(&env).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_completes_even_if_the_controllers_are_killed_repeatedly() {
    let mut env = TestEnv::new().await;
    env.create(manifests(3)).await;
    env.wait_settled(3).await;
    env.stop();
    let version = json!({ "spec": { "template": { "spec": { "version": "v1.36.1" } } } });
    env.patch::<MachineDeployment>("md", version).await;
    interrupt(&mut env, 30).await;
    until("one set is left", || async {
        let sets = env.sets().await;
        if sets.len() == 1 { Ok(()) } else { Err(format!("{sets:?}")) }
    })
    .await;
    env.wait_settled(3).await;
    assert_eq!(env.list::<Machine>().await.len(), 4);
    no_leftovers(&env).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_deleted_even_if_the_controllers_are_killed_repeatedly() {
    let mut env = TestEnv::new().await;
    env.create(manifests(2)).await;
    env.wait_settled(2).await;
    env.stop();
    env.delete::<Cluster>("c").await;
    interrupt(&mut env, 30).await;
    env.wait_gone::<Cluster>("c").await;
    assert_eq!(env.list::<Machine>().await.len(), 0);
    let log = env.log.lines();
    assert_eq!(log.last().map(String::as_str), Some("TestCluster c deleted"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_of_a_killed_creation_are_removed_and_foreign_objects_stay() {
    let mut env = TestEnv::new().await;
    env.create(manifests(1)).await;
    env.wait_settled(1).await;
    env.stop();
    let set = env.list::<MachineSet>().await.remove(0);
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
    env.create(vec![
        part("TestConfig", "half", &uid),
        part("TestMachine", "half", &uid),
        // An object with another owner, although the label says otherwise.
        json!({
            "apiVersion": crate::provider::API_VERSION, "kind": "TestMachine",
            "metadata": {
                "name": "foreign", "labels": { "cluster.x-k8s.io/set-name": set.name_any() },
            },
            "spec": {},
        }),
    ])
    .await;
    env.start();
    until("what was left is gone", || async {
        let mut all = env.provider_names("TestMachine").await;
        all.extend(env.provider_names("TestConfig").await);
        if all.contains(&"half".to_owned()) { Err(format!("{all:?}")) } else { Ok(()) }
    })
    .await;
    env.wait_settled(1).await;
    assert!(env.provider_names("TestMachine").await.contains(&"foreign".to_owned()));
}

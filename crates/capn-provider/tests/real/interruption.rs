//! The process is killed in the middle of everything, again and again.

use std::time::Duration;

use capn_api::{LXCCluster, LXCMachine};
use serde_json::json;

use crate::world::{MINUTE, World, is_ready, on_servers};

/// Runs the reconcilers for a short while, kills them, and again with a longer while, until
/// `done`.
async fn until_done(world: &mut World, done: impl AsyncFn(&World) -> bool) {
    let finished = async {
        let mut while_ = Duration::from_millis(5);
        loop {
            world.start();
            tokio::time::sleep(while_).await;
            world.kill().await;
            if done(world).await {
                return;
            }
            while_ = (while_.mul_f64(1.35)).min(Duration::from_secs(3));
        }
    };
    tokio::time::timeout(5 * MINUTE, finished).await.expect("done within five minutes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_at_any_moment_ends_where_one_that_lives_does() {
    on_servers("a_process_that_is_killed_at_any_moment", |mut world| async move {
        let cp = format!("{}-cp", world.cluster);
        let worker = format!("{}-md", world.cluster);
        world.make_cluster(json!({})).await;
        world.say_provisioned().await;
        world.make_machine(&cp, true, json!({})).await;
        world.make_machine(&worker, false, json!({})).await;

        let names = [cp.clone(), worker.clone()];
        until_done(&mut world, async |world: &World| {
            let machines = world.api::<LXCMachine>();
            for name in &names {
                let machine = machines.get(name).await.unwrap();
                if !is_ready(&machine) || machine.spec.provider_id.is_none() {
                    return false;
                }
            }
            let cluster = world.api::<LXCCluster>().get(&world.cluster).await.unwrap();
            let known = machines.get(&cp).await.unwrap().status.unwrap().load_balancer_configured;
            cluster.status.is_some_and(|status| status.ready) && known
        })
        .await;
        assert_eq!(world.instances().await, [world.balancer(), cp.clone(), worker.clone()]);

        world.delete::<LXCMachine>(&cp).await;
        world.delete::<LXCMachine>(&worker).await;
        world.delete::<LXCCluster>(&world.cluster).await;
        until_done(&mut world, async |world: &World| {
            world.api::<LXCCluster>().get_opt(&world.cluster).await.unwrap().is_none()
        })
        .await;
        assert!(world.instances().await.is_empty());
        world
    })
    .await;
}

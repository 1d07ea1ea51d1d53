//! The process is killed repeatedly, at arbitrary points.

use std::time::Duration;

use capn_api::{LXCCluster, LXCMachine};
use serde_json::json;

use crate::harness::{MINUTE, TestEnv, is_ready, on_servers};

/// Runs the reconcilers for growing periods and kills them after each, until `done`.
async fn until_done(env: &mut TestEnv, done: impl AsyncFn(&TestEnv) -> bool) {
    let finished = async {
        let mut while_ = Duration::from_millis(5);
        loop {
            env.start();
            tokio::time::sleep(while_).await;
            env.kill().await;
            if done(env).await {
                return;
            }
            while_ = (while_.mul_f64(1.35)).min(Duration::from_secs(3));
        }
    };
    tokio::time::timeout(5 * MINUTE, finished).await.expect("done within five minutes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_at_any_moment_reaches_the_same_state() {
    on_servers("a_process_that_is_killed_at_any_moment", |mut env| async move {
        let cp = format!("{}-cp", env.cluster);
        let worker = format!("{}-md", env.cluster);
        env.make_cluster(json!({})).await;
        env.say_provisioned().await;
        env.make_machine(&cp, true, json!({})).await;
        env.make_machine(&worker, false, json!({})).await;

        let names = [cp.clone(), worker.clone()];
        until_done(&mut env, async |env: &TestEnv| {
            let machines = env.api::<LXCMachine>();
            for name in &names {
                let machine = machines.get(name).await.unwrap();
                if !is_ready(&machine) || machine.spec.provider_id.is_none() {
                    return false;
                }
            }
            let cluster = env.api::<LXCCluster>().get(&env.cluster).await.unwrap();
            let known = machines.get(&cp).await.unwrap().status.unwrap().load_balancer_configured;
            cluster.status.is_some_and(|status| status.ready) && known
        })
        .await;
        assert_eq!(env.instances().await, [env.balancer(), cp.clone(), worker.clone()]);

        env.delete::<LXCMachine>(&cp).await;
        env.delete::<LXCMachine>(&worker).await;
        env.delete::<LXCCluster>(&env.cluster).await;
        until_done(&mut env, async |env: &TestEnv| {
            env.api::<LXCCluster>().get_opt(&env.cluster).await.unwrap().is_none()
        })
        .await;
        assert!(env.instances().await.is_empty());
        env
    })
    .await;
}

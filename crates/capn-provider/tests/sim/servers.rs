//! Servers that are slow, full or unreachable, or that lose events.

use std::time::Duration;

use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::{EventKind, InstanceFilter};

use crate::{
    harness::{TestEnv, options, plane},
    objects::CLUSTER,
    scenario::play,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_only_delays_the_result() {
    let mut env = TestEnv::new(&plane().await, "slow").await;
    env.simulator.set_latency(Duration::from_millis(20));
    env.start();
    play(&env, None).await;
}

/// One permit per cluster: with a shared one, the first cluster would hold it for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_delays_only_its_own_clusters() {
    let plane = plane().await;
    let mut slow = TestEnv::new(&plane, "stuck").await;
    let quick = TestEnv::new(&plane, "quick").await;
    slow.simulator.set_latency(Duration::from_secs(60));
    let mut narrow = options(&slow.namespace);
    narrow.namespace = None;
    narrow.concurrency = 1;
    narrow.local_sockets = narrow.local_sockets.and(&quick.namespace);
    slow.start_with(narrow);
    slow.make_cluster().await;
    slow.make_machine("demo-cp", true).await;
    quick.make_cluster().await;
    quick.make_machine("demo-cp", true).await;
    quick.provision().await;
    quick.until_ready("demo-cp").await;
    let stuck = slow.get::<LXCCluster>(CLUSTER).await.unwrap();
    let endpoint = stuck.spec.control_plane_endpoint.unwrap_or_default();
    assert!(!endpoint.is_set(), "the slow server answered already: {endpoint:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_reported_and_used_again_when_it_has_space() {
    let mut env = TestEnv::new(&plane().await, "full").await;
    env.simulator.set_full(true);
    env.start();
    env.make_cluster().await;
    env.make_machine("demo-cp", true).await;
    env.until::<LXCCluster>(CLUSTER, "to say that there is no room", |cluster| {
        let conditions = cluster.and_then(|c| c.status.as_ref()).map(|s| &s.conditions);
        conditions.into_iter().flatten().any(|c| c.message.contains("no space left on device"))
    })
    .await;
    env.simulator.set_full(false);
    env.provision().await;
    env.until_ready("demo-cp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_server_does_not_change_the_status() {
    let mut env = TestEnv::new(&plane().await, "away").await;
    env.start();
    env.make_cluster().await;
    env.make_machine("demo-cp", true).await;
    env.provision().await;
    env.until_ready("demo-cp").await;

    env.take_down();
    env.make_machine("demo-md-0", false).await;
    env.until::<LXCMachine>("demo-md-0", "to say that the server is away", |machine| {
        reason(machine).as_deref() == Some("ServerUnavailable")
    })
    .await;
    let control_plane = env.get::<LXCMachine>("demo-cp").await.unwrap();
    assert!(control_plane.status.unwrap().ready, "nobody knows that it does not run");
    env.delete::<LXCMachine>("demo-cp").await;
    env.bring_up();
    env.until_ready("demo-md-0").await;
    env.until_gone::<LXCMachine>("demo-cp").await;
    let mut names: Vec<_> = env.server.instances(&InstanceFilter::new()).await.unwrap();
    names.retain(|instance| instance.name.starts_with("demo-"));
    assert_eq!(names.len(), 2, "the load balancer and the worker: {names:?}");
}

/// The stream is connected but silent: only the resync notices the change.
#[tokio::test(flavor = "multi_thread")]
async fn the_resync_compensates_for_lost_events() {
    let mut env = TestEnv::new(&plane().await, "deaf").await;
    let mut often = options(&env.namespace);
    often.resync = Duration::from_millis(300);
    env.start_with(often);
    env.make_cluster().await;
    env.make_machine("demo-cp", true).await;
    env.provision().await;
    env.until_ready("demo-cp").await;

    env.simulator.drop_events(&[EventKind::Lifecycle]);
    assert!(env.simulator.crash(crate::harness::PROJECT, "demo-cp"));
    let starts = || {
        let history = env.simulator.history();
        let of_ours = history.iter().filter(|h| h.project == crate::harness::PROJECT);
        of_ours.filter(|h| h.instance == "demo-cp" && h.action == "instance-started").count()
    };
    let again = async {
        while starts() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.expect("it is started again");
    env.until_ready("demo-cp").await;
}

fn reason(machine: Option<&LXCMachine>) -> Option<String> {
    let status = machine?.status.as_ref()?;
    let found = status.conditions.iter().find(|c| c.type_ == "InstanceProvisioned")?;
    Some(found.reason.clone())
}

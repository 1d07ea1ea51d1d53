//! Servers that are slow, full, away, or lose events.

use std::time::Duration;

use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::{EventKind, InstanceFilter};

use crate::{
    objects::CLUSTER,
    story::play,
    world::{World, options, plane},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_only_takes_longer() {
    let mut world = World::new(&plane().await, "slow").await;
    world.simulator.set_latency(Duration::from_millis(20));
    world.start();
    play(&world, None).await;
}

/// One place for each cluster: with one for all, the first would keep it for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_holds_up_its_own_clusters_alone() {
    let plane = plane().await;
    let mut slow = World::new(&plane, "stuck").await;
    let quick = World::new(&plane, "quick").await;
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
async fn a_full_server_is_told_of_and_used_again_when_it_has_room() {
    let mut world = World::new(&plane().await, "full").await;
    world.simulator.set_full(true);
    world.start();
    world.make_cluster().await;
    world.make_machine("demo-cp", true).await;
    world
        .until::<LXCCluster>(CLUSTER, "to say that there is no room", |cluster| {
            let conditions = cluster.and_then(|c| c.status.as_ref()).map(|s| &s.conditions);
            conditions.into_iter().flatten().any(|c| c.message.contains("no space left on device"))
        })
        .await;
    world.simulator.set_full(false);
    world.provision().await;
    world.until_ready("demo-cp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_makes_nothing_worse() {
    let mut world = World::new(&plane().await, "away").await;
    world.start();
    world.make_cluster().await;
    world.make_machine("demo-cp", true).await;
    world.provision().await;
    world.until_ready("demo-cp").await;

    world.take_down();
    world.make_machine("demo-md-0", false).await;
    world
        .until::<LXCMachine>("demo-md-0", "to say that the server is away", |machine| {
            reason(machine).as_deref() == Some("ServerUnavailable")
        })
        .await;
    let control_plane = world.get::<LXCMachine>("demo-cp").await.unwrap();
    assert!(control_plane.status.unwrap().ready, "nobody knows that it does not run");
    world.delete::<LXCMachine>("demo-cp").await;
    world.bring_up();
    world.until_ready("demo-md-0").await;
    world.until_gone::<LXCMachine>("demo-cp").await;
    let mut names: Vec<_> = world.server.instances(&InstanceFilter::new()).await.unwrap();
    names.retain(|instance| instance.name.starts_with("demo-"));
    assert_eq!(names.len(), 2, "the load balancer and the worker: {names:?}");
}

/// The stream stands and says nothing: only the resync finds out.
#[tokio::test(flavor = "multi_thread")]
async fn lost_events_are_made_up_for_by_the_resync() {
    let mut world = World::new(&plane().await, "deaf").await;
    let mut often = options(&world.namespace);
    often.resync = Duration::from_millis(300);
    world.start_with(often);
    world.make_cluster().await;
    world.make_machine("demo-cp", true).await;
    world.provision().await;
    world.until_ready("demo-cp").await;

    world.simulator.lose_events(&[EventKind::Lifecycle]);
    assert!(world.simulator.crash(crate::world::PROJECT, "demo-cp"));
    let starts = || {
        let history = world.simulator.history();
        let of_ours = history.iter().filter(|h| h.project == crate::world::PROJECT);
        of_ours.filter(|h| h.instance == "demo-cp" && h.action == "instance-started").count()
    };
    let again = async {
        while starts() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.expect("it is started again");
    world.until_ready("demo-cp").await;
}

fn reason(machine: Option<&LXCMachine>) -> Option<String> {
    let status = machine?.status.as_ref()?;
    let found = status.conditions.iter().find(|c| c.type_ == "InstanceProvisioned")?;
    Some(found.reason.clone())
}

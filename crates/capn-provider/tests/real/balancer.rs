//! The load balancer of a cluster, and what the LXCCluster says of it and of the server.

use capn_api::LXCCluster;
use serde_json::json;

use crate::world::{World, on_servers};

/// Status, reason and message of a condition of an LXCCluster.
fn condition(cluster: &LXCCluster, kind: &str) -> Option<(String, String, String)> {
    let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == kind)
        .map(|found| (found.status.clone(), found.reason.clone(), found.message.clone()))
        .next()
}

/// Waits until a condition of the LXCCluster has a reason; gives its message.
async fn reason(world: &World, kind: &str, reason: &str) -> String {
    let what = format!("to have {kind} with reason {reason}");
    let has = |cluster: &LXCCluster| condition(cluster, kind).is_some_and(|it| it.1 == reason);
    let cluster = world.until(&world.cluster, &what, has).await;
    condition(&cluster, kind).unwrap_or_default().2
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_tells_of_itself_is_shown_and_holds_nothing_up() {
    on_servers("what_the_server_tells_of_itself", |mut world| async move {
        world.start();
        world.make_cluster(json!({})).await;
        let cluster = world.provision().await;
        let (status, reason_, message) = condition(&cluster, "ServerHealthy").unwrap();
        assert_ne!(status, "Unknown", "{reason_}: {message}");
        assert_ne!(reason_, "ServerNotChecked", "{message}");
        assert!(cluster.status.unwrap().failure_domains.is_empty(), "no clustered server here");

        world.make_machine("capn-t-odd", false, json!({ "profiles": ["capn-t-no-such"] })).await;
        let message = reason(&world, "ServerHealthy", "ServerProblems").await;
        assert!(message.contains("there is no profile `capn-t-no-such`"), "{message}");
        assert!(message.contains("incus profile list"), "{message}");
        let cluster = world.api::<LXCCluster>().get(&world.cluster).await.unwrap();
        assert_eq!(condition(&cluster, "Ready").unwrap().0, "True");
        world
    })
    .await;
}

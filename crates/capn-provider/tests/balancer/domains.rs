//! Failure domains of a cluster of servers.

use incus_client::api::ClusterMember;
use incus_sim::Simulator;
use serde_json::json;

use crate::harness::TestEnv;

fn member(name: &str, status: &str, groups: &[&str]) -> ClusterMember {
    ClusterMember {
        server_name: name.into(),
        status: status.into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..ClusterMember::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_and_groups_of_a_cluster_of_servers_are_failure_domains() {
    let simulator = Simulator::new();
    simulator.set_members(&[
        member("n1", "Online", &["default"]),
        member("n2", "Online", &["default", "gpu"]),
        member("n3", "Offline", &["default"]),
    ]);
    let env = TestEnv::start(simulator).await;
    env.make_cluster(
        "demo",
        json!({
            "loadBalancer": { "external": {} }, "controlPlaneEndpoint": { "host": "10.9.9.9" },
        }),
    )
    .await;
    let domains = env.provisioned("demo").await.status.unwrap().failure_domains;
    let found: Vec<_> =
        domains.iter().map(|it| (it.name.as_str(), it.control_plane == Some(true))).collect();
    assert_eq!(found, [("@gpu", false), ("n1", true), ("n2", true), ("n3", false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_is_placed_where_the_cluster_wants_it() {
    let simulator = Simulator::new();
    simulator.set_members(&[member("n1", "Online", &[]), member("n2", "Online", &[])]);
    let env = TestEnv::start(simulator).await;
    let image = json!({ "server": "https://images.test", "name": "haproxy" });
    env.make_cluster(
        "demo",
        json!({ "loadBalancer": { "lxc": { "instanceSpec": {
                "target": "n2", "image": image,
            } } } }),
    )
    .await;
    env.provisioned("demo").await;
    let made = env.simulator.requests().into_iter().find(|it| it.method == "POST").unwrap();
    assert!(made.path.contains("target=n2"), "{made:?}");
}

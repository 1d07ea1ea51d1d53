//! Load balancers of OVN networks.

use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::{
    Config, NetworkLoadBalancer, NetworkLoadBalancerPut, NetworkLoadBalancersPost, NetworkPut,
    NetworksPost,
};
use incus_sim::Simulator;
use serde_json::{Value, json};

use crate::world::World;

const NETWORK: &str = "ovn0";

/// A server with an OVN network.
async fn start(extensions: &[&str]) -> World {
    let simulator = Simulator::new();
    simulator.add_extensions(extensions);
    let world = World::start(simulator).await;
    let post =
        NetworksPost { name: NETWORK.into(), kind: "ovn".into(), put: NetworkPut::default() };
    world.server.create_network(&post).await.unwrap();
    world
}

const ALL: [&str; 2] = ["network_load_balancer", "network_load_balancer_health_check"];

fn spec(host: Option<&str>, ranges: &[&str]) -> Value {
    let mut spec =
        json!({ "loadBalancer": { "ovn": { "networkName": NETWORK, "ranges": ranges } } });
    if let Some(host) = host {
        spec["controlPlaneEndpoint"] = json!({ "host": host, "port": 443 });
    }
    spec
}

async fn balancers(world: &World) -> Vec<NetworkLoadBalancer> {
    world.server.load_balancers(NETWORK).await.unwrap()
}

async fn somebody_elses(world: &World, address: &str) {
    let put = NetworkLoadBalancerPut {
        config: Config::from([
            ("user.cluster-name".to_owned(), "other".to_owned()),
            ("user.cluster-namespace".to_owned(), "default".to_owned()),
        ]),
        ..NetworkLoadBalancerPut::default()
    };
    let post = NetworkLoadBalancersPost { listen_address: address.into(), put };
    world.server.create_load_balancer(NETWORK, &post).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_follows_the_control_planes_and_is_gone_with_its_cluster() {
    let world = start(&ALL).await;
    world.make_cluster("demo", spec(Some("10.1.0.5"), &[])).await;
    world.provisioned("demo").await;
    let made = balancers(&world).await;
    assert_eq!(made[0].listen_address, "10.1.0.5");
    assert_eq!(made[0].put.config["healthcheck"], "true");
    assert!(made[0].put.backends.is_empty() && made[0].put.ports.is_empty());
    assert!(world.simulator.instances().is_empty(), "no instance is made for it");

    let a = world.make_control_plane("demo", "cp-a").await;
    world.make_control_plane("demo", "cp-b").await;
    let now = &balancers(&world).await[0].put;
    assert_eq!(now.ports[0].listen_port, "443");
    assert_eq!(now.ports[0].target_backend, ["cp-a", "cp-b"]);
    assert_eq!(now.backends[0].target_address, a.status.unwrap().addresses[1].address);
    assert_eq!(now.backends[0].target_port, "6443");

    world.delete::<LXCMachine>("cp-a").await;
    let left = world.eventually(async || {
        let targets = balancers(&world).await[0].put.ports[0].target_backend.clone();
        (targets == ["cp-b"]).then_some(())
    });
    assert!(left.await.is_some(), "{:?}", balancers(&world).await);
    world.delete::<LXCMachine>("cp-b").await;
    world.delete::<LXCCluster>("demo").await;
    assert!(balancers(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_is_left_alone_whatever_happens() {
    let world = start(&ALL).await;
    somebody_elses(&world, "10.1.0.5").await;
    world.make_cluster("demo", spec(Some("10.1.0.5"), &[])).await;
    let message = world.reason("demo", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("default/demo") && message.contains("10.1.0.5"), "{message}");
    world.delete::<LXCCluster>("demo").await;
    let left = balancers(&world).await;
    assert_eq!(left[0].put.config["user.cluster-name"], "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_taken_out_of_a_range_and_given_back() {
    let world = start(&ALL).await;
    somebody_elses(&world, "10.1.0.5").await;
    let range = ["10.1.0.5-10.1.0.7"];
    for name in ["a", "b"] {
        world.make_cluster(name, spec(None, &range)).await;
    }
    let mut hosts = Vec::new();
    for name in ["a", "b"] {
        let endpoint = world.provisioned(name).await.spec.control_plane_endpoint.unwrap();
        assert_eq!(endpoint.port, 6443);
        hosts.push(endpoint.host);
    }
    hosts.sort();
    assert_eq!(hosts, ["10.1.0.6", "10.1.0.7"]);
    assert_eq!(balancers(&world).await.len(), 3);
    world.delete::<LXCCluster>("a").await;
    world.make_cluster("c", spec(None, &range)).await;
    let given = world.provisioned("c").await.spec.control_plane_endpoint.unwrap().host;
    assert!(hosts.contains(&given), "{given}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_of_another_kind_is_refused_and_holds_no_deletion_up() {
    let world = start(&ALL).await;
    let mut wanted = spec(Some("10.1.0.5"), &[]);
    wanted["loadBalancer"]["ovn"]["networkName"] = json!("incusbr0");
    world.make_cluster("demo", wanted).await;
    let message = world.reason("demo", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("name an OVN network"), "{message}");
    world.delete::<LXCCluster>("demo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_health_checks_or_without_load_balancers_does_what_it_can() {
    let world = start(&ALL[..1]).await;
    world.make_cluster("demo", spec(Some("10.1.0.5"), &[])).await;
    world.provisioned("demo").await;
    assert!(!balancers(&world).await[0].put.config.contains_key("healthcheck"));

    let world = start(&[]).await;
    world.make_cluster("demo", spec(Some("10.1.0.5"), &[])).await;
    let message = world.reason("demo", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("API extension network_load_balancer"), "{message}");
    world.delete::<LXCCluster>("demo").await;
}

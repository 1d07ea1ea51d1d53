//! Load balancers of OVN networks.

use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::{
    Config, NetworkLoadBalancer, NetworkLoadBalancerPut, NetworkLoadBalancersPost, NetworkPut,
    NetworksPost,
};
use incus_sim::Simulator;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::harness::TestEnv;

const NETWORK: &str = "ovn0";

/// A server with an OVN network.
async fn start(extensions: &[&str]) -> TestEnv {
    let simulator = Simulator::new();
    simulator.add_extensions(extensions);
    let env = TestEnv::start(simulator).await;
    let post =
        NetworksPost { name: NETWORK.into(), kind: "ovn".into(), put: NetworkPut::default() };
    env.server.create_network(&post).await.unwrap();
    env
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

async fn balancers(env: &TestEnv) -> Vec<NetworkLoadBalancer> {
    env.server.load_balancers(NETWORK).await.unwrap()
}

async fn somebody_elses(env: &TestEnv, address: &str) {
    let put = NetworkLoadBalancerPut {
        config: Config::from([
            ("user.cluster-name".to_owned(), "other".to_owned()),
            ("user.cluster-namespace".to_owned(), "default".to_owned()),
        ]),
        ..NetworkLoadBalancerPut::default()
    };
    let post = NetworkLoadBalancersPost { listen_address: address.into(), put };
    env.server.create_load_balancer(NETWORK, &post).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_load_balancer_follows_the_control_planes_and_is_deleted_with_its_cluster() {
    let env = start(&ALL).await;
    env.make_cluster("demo", spec(Some("10.1.0.5"), &[])).await;
    env.provisioned("demo").await;
    let made = balancers(&env).await;
    assert_eq!(made[0].listen_address, "10.1.0.5");
    assert_eq!(made[0].put.config["healthcheck"], "true");
    assert!(made[0].put.backends.is_empty() && made[0].put.ports.is_empty());
    assert!(env.simulator.instances().is_empty(), "no instance is made for it");

    let a = env.make_control_plane("demo", "cp-a").await;
    env.make_control_plane("demo", "cp-b").await;
    let now = &balancers(&env).await[0].put;
    assert_eq!(now.ports[0].listen_port, "443");
    assert_eq!(now.ports[0].target_backend, ["cp-a", "cp-b"]);
    assert_eq!(now.backends[0].target_address, a.status.unwrap().addresses[1].address);
    assert_eq!(now.backends[0].target_port, "6443");

    env.delete::<LXCMachine>("cp-a").await;
    let left = env.eventually(async || {
        let targets = balancers(&env).await[0].put.ports[0].target_backend.clone();
        (targets == ["cp-b"]).then_some(())
    });
    assert!(left.await.is_some(), "{:?}", balancers(&env).await);
    env.delete::<LXCMachine>("cp-b").await;
    env.delete::<LXCCluster>("demo").await;
    assert!(balancers(&env).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_with_another_owner_is_never_changed() {
    let env = start(&ALL).await;
    somebody_elses(&env, "10.1.0.5").await;
    env.make_cluster("demo", spec(Some("10.1.0.5"), &[])).await;
    let message = env.reason("demo", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("default/demo") && message.contains("10.1.0.5"), "{message}");
    env.delete::<LXCCluster>("demo").await;
    let left = balancers(&env).await;
    assert_eq!(left[0].put.config["user.cluster-name"], "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_taken_from_a_range_and_released() {
    let env = start(&ALL).await;
    somebody_elses(&env, "10.1.0.5").await;
    let range = ["10.1.0.5-10.1.0.7"];
    for name in ["a", "b"] {
        env.make_cluster(name, spec(None, &range)).await;
    }
    let mut hosts = Vec::new();
    for name in ["a", "b"] {
        let endpoint = env.provisioned(name).await.spec.control_plane_endpoint.unwrap();
        assert_eq!(endpoint.port, 6443);
        hosts.push(endpoint.host);
    }
    hosts.sort();
    assert_eq!(hosts, ["10.1.0.6", "10.1.0.7"]);
    assert_eq!(balancers(&env).await.len(), 3);
    env.delete::<LXCCluster>("a").await;
    env.make_cluster("c", spec(None, &range)).await;
    let given = env.provisioned("c").await.spec.control_plane_endpoint.unwrap().host;
    assert!(hosts.contains(&given), "{given}");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_in_other_namespaces_do_not_occupy_a_range() {
    let env = start(&ALL).await;
    let namespace: Namespace =
        serde_json::from_value(json!({ "metadata": { "name": "rival" } })).unwrap();
    let namespaces: Api<Namespace> = Api::all(env.kube.clone());
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let rival: LXCCluster = serde_json::from_value(json!({
        "metadata": { "name": "rival" }, "spec": spec(Some("10.1.0.6"), &[]),
    }))
    .unwrap();
    let theirs: Api<LXCCluster> = Api::namespaced(env.kube.clone(), "rival");
    theirs.create(&PostParams::default(), &rival).await.unwrap();
    env.make_cluster("demo", spec(None, &["10.1.0.6"])).await;
    let endpoint = env.provisioned("demo").await.spec.control_plane_endpoint.unwrap();
    assert_eq!(endpoint.host, "10.1.0.6");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_of_another_type_is_rejected_and_does_not_block_the_deletion() {
    let env = start(&ALL).await;
    let mut wanted = spec(Some("10.1.0.5"), &[]);
    wanted["loadBalancer"]["ovn"]["networkName"] = json!("incusbr0");
    env.make_cluster("demo", wanted).await;
    let message = env.reason("demo", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("to an OVN network"), "{message}");
    env.delete::<LXCCluster>("demo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_load_balancer_extensions_are_handled() {
    let env = start(&ALL[..1]).await;
    env.make_cluster("demo", spec(Some("10.1.0.5"), &[])).await;
    env.provisioned("demo").await;
    assert!(!balancers(&env).await[0].put.config.contains_key("healthcheck"));

    let env = start(&[]).await;
    env.make_cluster("demo", spec(Some("10.1.0.5"), &[])).await;
    let message = env.reason("demo", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("API extension network_load_balancer"), "{message}");
    env.delete::<LXCCluster>("demo").await;
}

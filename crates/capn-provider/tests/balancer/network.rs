//! Dedicated networks of clusters.

use capi_api::core::Cluster;
use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::{
    Config, InstanceSource, InstancesPost, Network, NetworkPut, NetworksPost, ProfilePut,
};
use incus_sim::Simulator;
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::harness::TestEnv;
use crate::kinds;

fn spec(network: Value) -> Value {
    let image = json!({ "server": "https://images.test", "name": "haproxy" });
    let mut spec = json!({ "loadBalancer": { "lxc": { "instanceSpec": { "image": image } } } });
    if !network.is_null() {
        spec["network"] = network;
    }
    spec
}

fn own() -> Value {
    spec(json!({ "mode": "own" }))
}

fn node(devices: &[&str]) -> Value {
    let image = json!({ "server": "https://images.test", "name": "node" });
    json!({ "image": image, "devices": devices })
}

/// Returns the networks except the initial one.
async fn networks(env: &TestEnv) -> Vec<Network> {
    let all = env.server.networks().await.unwrap();
    all.into_iter().filter(|network| network.name != "incusbr0").collect()
}

async fn make_network(env: &TestEnv, name: &str, config: &[(&str, &str)]) {
    let config: Config =
        config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let put = NetworkPut { config, ..NetworkPut::default() };
    let post = NetworksPost { name: name.into(), kind: "bridge".into(), put };
    env.server.create_network(&post).await.unwrap();
}

/// Returns the networks of an instance's NICs.
async fn cards(env: &TestEnv, instance: &str) -> Vec<String> {
    let found = env.server.instance(instance).await.unwrap().unwrap().value;
    let devices = found.expanded_devices.values();
    devices.filter_map(|device| device.get("network").cloned()).collect()
}

fn condition(
    conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    kind: &str,
) -> (String, String) {
    conditions
        .iter()
        .find(|it| it.type_ == kind)
        .map(|it| (it.reason.clone(), it.message.clone()))
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_bridge_exists_before_the_first_and_after_the_last_instance() {
    let env = TestEnv::start(Simulator::new()).await;
    env.make_cluster("demo", own()).await;
    let cluster = env.provisioned("demo").await;
    let name = cluster.spec.network_name().unwrap().to_owned();
    assert_eq!(name, capn_plan::network::name(cluster.metadata.uid.as_deref().unwrap()));
    let status = cluster.status.unwrap();
    assert_eq!(status.network.as_deref(), Some(name.as_str()));
    assert_eq!(condition(&status.conditions, "NetworkAvailable").0, "NetworkAvailable");
    let made = networks(&env).await;
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].name.as_str(), made[0].kind.as_str()), (name.as_str(), "bridge"));
    assert_eq!(made[0].description, "cluster default/demo");
    assert_eq!(made[0].config["user.cluster-name"], "demo");
    env.make_control_plane("demo", "cp-a").await;
    assert_eq!(cards(&env, "cp-a").await, [name.as_str()]);
    let balancer = env.simulator.instances().into_iter().find(|it| it.1.name.ends_with("-lb"));
    assert_eq!(cards(&env, &balancer.unwrap().1.name).await, [name.as_str()]);

    env.delete::<LXCMachine>("cp-a").await;
    env.delete::<LXCCluster>("demo").await;
    assert_eq!(networks(&env).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv6_network_has_an_acl_against_router_advertisements() {
    let env = TestEnv::start(Simulator::new()).await;
    let identity = kinds::identity("demo-incus", &json!({ "server": "unix:///simulator" }));
    env.create::<Secret>(identity).await;
    let mut cluster = kinds::cluster("demo");
    cluster["spec"]["clusterNetwork"] =
        json!({ "pods": { "cidrBlocks": ["10.244.0.0/16", "fd00:10:244::/56"] } });
    let cluster: Cluster = env.create(cluster).await;
    let mut spec = own();
    spec["secretRef"] = json!({ "name": "demo-incus" });
    env.create::<LXCCluster>(kinds::lxc_cluster(&cluster, &spec)).await;
    env.provisioned("demo").await;
    let made = networks(&env).await;
    let name = made[0].name.clone();
    assert!(made[0].config["ipv6.address"].starts_with("fd42:"));
    assert_eq!(made[0].config["security.acls"], name);
    let acl = env.server.network_acl(&name).await.unwrap().unwrap();
    assert_eq!(acl.egress[0].icmp_type, "134");
    env.delete::<LXCCluster>("demo").await;
    assert_eq!(networks(&env).await, []);
    assert!(env.server.network_acl(&name).await.unwrap().is_none(), "the rule stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_have_separate_networks() {
    let env = TestEnv::start(Simulator::new()).await;
    env.make_cluster("a", own()).await;
    env.make_cluster("b", own()).await;
    env.provisioned("a").await;
    env.provisioned("b").await;
    let made = networks(&env).await;
    assert_eq!(made.len(), 2);
    assert_ne!(made[0].config["ipv4.address"], made[1].config["ipv4.address"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsuitable_subnet_is_replaced() {
    let simulator = Simulator::new();
    simulator.choose_subnets(&["10.5.5.1/28", "10.5.6.1/24"]);
    let env = TestEnv::start(simulator).await;
    env.make_cluster("demo", own()).await;
    env.provisioned("demo").await;
    assert_eq!(networks(&env).await[0].config["ipv4.address"], "10.5.6.1/24");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_finds_no_subnet_is_given_one() {
    let simulator = Simulator::new();
    simulator.find_no_subnets();
    let env = TestEnv::start(simulator).await;
    env.make_cluster("demo", own()).await;
    env.provisioned("demo").await;
    let address = networks(&env).await[0].config["ipv4.address"].clone();
    assert!(address.starts_with("172."), "{address}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_with_another_owner_is_a_conflict() {
    let env = TestEnv::start(Simulator::new()).await;
    make_network(&env, "capn-mine", &[("ipv4.address", "10.5.6.1/24")]).await;
    env.make_cluster("demo", spec(json!({ "mode": "own", "name": "capn-mine" }))).await;
    let message = env.reason("demo", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("network capn-mine") && message.contains("default/demo"), "{message}");
    assert!(env.simulator.instances().is_empty());
    env.delete::<LXCCluster>("demo").await;
    assert_eq!(networks(&env).await[0].config.len(), 1, "it is neither marked nor deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_network_is_used_and_not_deleted() {
    let env = TestEnv::start(Simulator::new()).await;
    env.make_cluster("demo", spec(json!({ "mode": "existing", "name": "lab" }))).await;
    let message = env.reason("demo", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("the network lab in spec.network.name does not exist"), "{message}");
    env.delete::<LXCCluster>("demo").await;
    make_network(&env, "lab", &[("ipv4.address", "10.5.6.1/24")]).await;
    env.make_cluster("next", spec(json!({ "mode": "existing", "name": "lab" }))).await;
    env.provisioned("next").await;
    env.make_control_plane("next", "cp-a").await;
    assert_eq!(cards(&env, "cp-a").await, ["lab"]);
    env.delete::<LXCMachine>("cp-a").await;
    env.delete::<LXCCluster>("next").await;
    assert_eq!(networks(&env).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nic_cannot_use_the_network_or_addresses_of_another_cluster() {
    let env = TestEnv::start(Simulator::new()).await;
    env.make_cluster("victim", own()).await;
    let victim = env.provisioned("victim").await.spec.network_name().unwrap().to_owned();
    let subnet = networks(&env).await[0].config["ipv4.address"].clone();
    let address = subnet.replace(".1/24", ".2");
    env.make_cluster("demo", own()).await;
    env.provisioned("demo").await;
    let named = format!("eth1,type=nic,network={victim},name=eth1");
    let parent = format!("eth1,type=nic,nictype=bridged,parent={victim}");
    let routes = format!("eth1,type=nic,network=incusbr0,ipv4.routes={address}/32");
    let routed = format!("eth1,type=nic,nictype=routed,ipv4.address={address}");
    for (n, (device, part)) in [
        (named.as_str(), "belongs to cluster default/victim"),
        (&parent, "belongs to cluster default/victim"),
        (&routes, "which overlaps network"),
        (&routed, "which overlaps network"),
        ("eth0,type=nic,network=incusbr0", "connects NIC eth0 to network"),
        ("other,type=nic,network=incusbr0,name=eth0", "connects NIC eth0 to network"),
        ("eth0,type=none", "connects NIC eth0 to network"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("cp-{n}");
        env.make_machine("demo", &name, node(&[device]), "#cloud-config\n").await;
        let refused = |machine: &LXCMachine| {
            let conditions = machine.status.iter().flat_map(|it| it.conditions.clone());
            let conditions: Vec<_> = conditions.collect();
            let (reason, message) = condition(&conditions, "InstanceProvisioned");
            reason == "InstanceProvisioningAborted" && message.contains(part)
        };
        env.until(&name, &format!("to be refused: {part}"), refused).await;
        assert!(env.server.instance(&name).await.unwrap().is_none(), "{device}");
    }
    env.make_cluster("thief", spec(json!({ "mode": "existing", "name": victim }))).await;
    let message = env.reason("thief", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("belongs to cluster default/victim"), "{message}");

    // The same through a profile.
    let usual = env.server.profile("default").await.unwrap().unwrap().value;
    let mut devices = usual.devices;
    let nic = [("type", "nic"), ("network", victim.as_str()), ("name", "eth1")];
    let nic = nic.map(|(key, value)| (key.to_owned(), value.to_owned()));
    devices.insert("eth1".into(), nic.into_iter().collect());
    let put = ProfilePut { devices, ..ProfilePut::default() };
    env.server.put_profile("default", &put, None).await.unwrap();
    env.make_cluster("guest", spec(Value::Null)).await;
    let message = env.reason("guest", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("belongs to cluster default/victim"), "{message}");
    let plain = json!({ "server": "https://images.test", "name": "node" });
    env.make_machine("demo", "node-a", json!({ "image": plain }), "#cloud-config\n").await;
    let refused = |machine: &LXCMachine| {
        let conditions = machine.status.iter().flat_map(|it| it.conditions.clone());
        let conditions: Vec<_> = conditions.collect();
        condition(&conditions, "InstanceProvisioned").1.contains("belongs to cluster")
    };
    env.until("node-a", "to be refused", refused).await;
    assert!(env.server.instance("node-a").await.unwrap().is_none());
    let names: Vec<_> =
        env.simulator.instances().into_iter().map(|(_, it)| it.instance.name).collect();
    assert!(!names.iter().any(|name| name.contains("guest")), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_in_use_blocks_the_deletion_and_names_its_users() {
    let env = TestEnv::start(Simulator::new()).await;
    env.make_cluster("demo", own()).await;
    let name = env.provisioned("demo").await.spec.network_name().unwrap().to_owned();
    let card = [("type", "nic"), ("network", name.as_str()), ("name", "eth0")];
    let card: Config = card.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let guest = InstancesPost {
        name: "guest".into(),
        source: InstanceSource { kind: "none".into(), ..InstanceSource::default() },
        devices: [("eth0".to_owned(), card)].into(),
        ..InstancesPost::default()
    };
    drop(env.server.create_instance(&guest, None).await.unwrap());
    env.api::<LXCCluster>().delete("demo", &DeleteParams::default()).await.unwrap();
    let waits = |cluster: &LXCCluster| {
        let conditions = cluster.status.as_ref().map(|it| it.conditions.clone());
        let (reason, message) = condition(&conditions.unwrap_or_default(), "Deleting");
        reason == "WaitingForNetwork" && message.contains("instances/guest")
    };
    env.until("demo", "to wait for the guest", waits).await;
    assert_eq!(networks(&env).await.len(), 1);
    drop(env.server.delete_instance("guest").await.unwrap());
    let gone = env.eventually(async || networks(&env).await.is_empty().then_some(()));
    assert!(gone.await.is_some(), "the network stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_field_no_network_is_queried() {
    let env = TestEnv::start(Simulator::new()).await;
    env.make_cluster("demo", spec(Value::Null)).await;
    env.provisioned("demo").await;
    env.make_control_plane("demo", "cp-a").await;
    assert_eq!(cards(&env, "cp-a").await, ["incusbr0"]);
    let requests = env.simulator.requests();
    let changed: Vec<_> = requests
        .iter()
        .filter(|request| request.method != "GET" && request.path.contains("/networks"))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
}

//! Networks of clusters' own.

use capi_api::core::Cluster;
use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::{Config, InstanceSource, InstancesPost, Network, NetworkPut, NetworksPost};
use incus_sim::Simulator;
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::kinds;
use crate::world::World;

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

/// The networks but the one that was there.
async fn networks(world: &World) -> Vec<Network> {
    let all = world.server.networks().await.unwrap();
    all.into_iter().filter(|network| network.name != "incusbr0").collect()
}

async fn make_network(world: &World, name: &str, config: &[(&str, &str)]) {
    let config: Config =
        config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let put = NetworkPut { config, ..NetworkPut::default() };
    let post = NetworksPost { name: name.into(), kind: "bridge".into(), put };
    world.server.create_network(&post).await.unwrap();
}

/// The networks of an instance's cards.
async fn cards(world: &World, instance: &str) -> Vec<String> {
    let found = world.server.instance(instance).await.unwrap().unwrap().value;
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
async fn a_cluster_has_a_bridge_of_its_own_from_before_its_first_instance_until_after_its_last() {
    let world = World::start(Simulator::new()).await;
    world.make_cluster("demo", own()).await;
    let cluster = world.provisioned("demo").await;
    let name = cluster.spec.network_name().unwrap().to_owned();
    assert_eq!(name, capn_plan::network::name(cluster.metadata.uid.as_deref().unwrap()));
    let status = cluster.status.unwrap();
    assert_eq!(status.network.as_deref(), Some(name.as_str()));
    assert_eq!(condition(&status.conditions, "NetworkAvailable").0, "NetworkAvailable");
    let made = networks(&world).await;
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].name.as_str(), made[0].kind.as_str()), (name.as_str(), "bridge"));
    assert_eq!(made[0].description, "cluster default/demo");
    assert_eq!(made[0].config["user.cluster-name"], "demo");
    world.make_control_plane("demo", "cp-a").await;
    assert_eq!(cards(&world, "cp-a").await, [name.as_str()]);
    let balancer = world.simulator.instances().into_iter().find(|it| it.1.name.ends_with("-lb"));
    assert_eq!(cards(&world, &balancer.unwrap().1.name).await, [name.as_str()]);

    world.delete::<LXCMachine>("cp-a").await;
    world.delete::<LXCCluster>("demo").await;
    assert_eq!(networks(&world).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_ipv6_it_has_a_rule_by_which_no_instance_is_a_router_of_the_host() {
    let world = World::start(Simulator::new()).await;
    let identity = kinds::identity("demo-incus", &json!({ "server": "unix:///simulator" }));
    world.create::<Secret>(identity).await;
    let mut cluster = kinds::cluster("demo");
    cluster["spec"]["clusterNetwork"] =
        json!({ "pods": { "cidrBlocks": ["10.244.0.0/16", "fd00:10:244::/56"] } });
    let cluster: Cluster = world.create(cluster).await;
    let mut spec = own();
    spec["secretRef"] = json!({ "name": "demo-incus" });
    world.create::<LXCCluster>(kinds::lxc_cluster(&cluster, &spec)).await;
    world.provisioned("demo").await;
    let made = networks(&world).await;
    let name = made[0].name.clone();
    assert!(made[0].config["ipv6.address"].starts_with("fd42:"));
    assert_eq!(made[0].config["security.acls"], name);
    let acl = world.server.network_acl(&name).await.unwrap().unwrap();
    assert_eq!(acl.egress[0].icmp_type, "134");
    world.delete::<LXCCluster>("demo").await;
    assert_eq!(networks(&world).await, []);
    assert!(world.server.network_acl(&name).await.unwrap().is_none(), "the rule stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_have_two() {
    let world = World::start(Simulator::new()).await;
    world.make_cluster("a", own()).await;
    world.make_cluster("b", own()).await;
    world.provisioned("a").await;
    world.provisioned("b").await;
    let made = networks(&world).await;
    assert_eq!(made.len(), 2);
    assert_ne!(made[0].config["ipv4.address"], made[1].config["ipv4.address"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subnet_that_does_not_do_is_chosen_again() {
    let simulator = Simulator::new();
    simulator.choose_subnets(&["10.5.5.1/28", "10.5.6.1/24"]);
    let world = World::start(simulator).await;
    world.make_cluster("demo", own()).await;
    world.provisioned("demo").await;
    assert_eq!(networks(&world).await[0].config["ipv4.address"], "10.5.6.1/24");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_finds_no_subnet_is_given_one() {
    let simulator = Simulator::new();
    simulator.find_no_subnets();
    let world = World::start(simulator).await;
    world.make_cluster("demo", own()).await;
    world.provisioned("demo").await;
    let address = networks(&world).await[0].config["ipv4.address"].clone();
    assert!(address.starts_with("172."), "{address}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_others_made_is_a_clash() {
    let world = World::start(Simulator::new()).await;
    make_network(&world, "capn-mine", &[("ipv4.address", "10.5.6.1/24")]).await;
    world.make_cluster("demo", spec(json!({ "mode": "own", "name": "capn-mine" }))).await;
    let message = world.reason("demo", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("network capn-mine") && message.contains("default/demo"), "{message}");
    assert!(world.simulator.instances().is_empty());
    world.delete::<LXCCluster>("demo").await;
    assert_eq!(networks(&world).await[0].config.len(), 1, "it is neither marked nor deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_named_is_used_and_stays() {
    let world = World::start(Simulator::new()).await;
    world.make_cluster("demo", spec(json!({ "mode": "existing", "name": "lab" }))).await;
    let message = world.reason("demo", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("no network lab"), "{message}");
    world.delete::<LXCCluster>("demo").await;
    make_network(&world, "lab", &[("ipv4.address", "10.5.6.1/24")]).await;
    world.make_cluster("next", spec(json!({ "mode": "existing", "name": "lab" }))).await;
    world.provisioned("next").await;
    world.make_control_plane("next", "cp-a").await;
    assert_eq!(cards(&world, "cp-a").await, ["lab"]);
    world.delete::<LXCMachine>("cp-a").await;
    world.delete::<LXCCluster>("next").await;
    assert_eq!(networks(&world).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_card_is_put_on_another_clusters_network_or_takes_its_addresses() {
    let world = World::start(Simulator::new()).await;
    world.make_cluster("victim", own()).await;
    let victim = world.provisioned("victim").await.spec.network_name().unwrap().to_owned();
    let subnet = networks(&world).await[0].config["ipv4.address"].clone();
    let address = subnet.replace(".1/24", ".2");
    world.make_cluster("demo", own()).await;
    world.provisioned("demo").await;
    let named = format!("eth1,type=nic,network={victim},name=eth1");
    let parent = format!("eth1,type=nic,nictype=bridged,parent={victim}");
    let routes = format!("eth1,type=nic,network=incusbr0,ipv4.routes={address}/32");
    let routed = format!("eth1,type=nic,nictype=routed,ipv4.address={address}");
    for (n, (device, part)) in [
        (named.as_str(), "belongs to cluster default/victim"),
        (&parent, "belongs to cluster default/victim"),
        (&routes, "which are addresses of network"),
        (&routed, "which are addresses of network"),
        ("eth0,type=nic,network=incusbr0", "puts the card eth0 on network"),
        ("other,type=nic,network=incusbr0,name=eth0", "puts the card eth0 on network"),
        ("eth0,type=none", "puts the card eth0 on network"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("cp-{n}");
        world.make_machine("demo", &name, node(&[device]), "#cloud-config\n").await;
        let refused = |machine: &LXCMachine| {
            let conditions = machine.status.iter().flat_map(|it| it.conditions.clone());
            let conditions: Vec<_> = conditions.collect();
            let (reason, message) = condition(&conditions, "InstanceProvisioned");
            reason == "InstanceProvisioningAborted" && message.contains(part)
        };
        world.until(&name, &format!("to be refused: {part}"), refused).await;
        assert!(world.server.instance(&name).await.unwrap().is_none(), "{device}");
    }
    world.make_cluster("thief", spec(json!({ "mode": "existing", "name": victim }))).await;
    let message = world.reason("thief", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("belongs to cluster default/victim"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_still_used_holds_up_the_deletion_and_says_by_whom() {
    let world = World::start(Simulator::new()).await;
    world.make_cluster("demo", own()).await;
    let name = world.provisioned("demo").await.spec.network_name().unwrap().to_owned();
    let card = [("type", "nic"), ("network", name.as_str()), ("name", "eth0")];
    let card: Config = card.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let guest = InstancesPost {
        name: "guest".into(),
        source: InstanceSource { kind: "none".into(), ..InstanceSource::default() },
        devices: [("eth0".to_owned(), card)].into(),
        ..InstancesPost::default()
    };
    drop(world.server.create_instance(&guest, None).await.unwrap());
    world.api::<LXCCluster>().delete("demo", &DeleteParams::default()).await.unwrap();
    let waits = |cluster: &LXCCluster| {
        let conditions = cluster.status.as_ref().map(|it| it.conditions.clone());
        let (reason, message) = condition(&conditions.unwrap_or_default(), "Deleting");
        reason == "WaitingForNetwork" && message.contains("instances/guest")
    };
    world.until("demo", "to wait for the guest", waits).await;
    assert_eq!(networks(&world).await.len(), 1);
    drop(world.server.delete_instance("guest").await.unwrap());
    let gone = world.eventually(async || networks(&world).await.is_empty().then_some(()));
    assert!(gone.await.is_some(), "the network stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_field_no_network_is_asked_for() {
    let world = World::start(Simulator::new()).await;
    world.make_cluster("demo", spec(Value::Null)).await;
    world.provisioned("demo").await;
    world.make_control_plane("demo", "cp-a").await;
    assert_eq!(cards(&world, "cp-a").await, ["incusbr0"]);
    let requests = world.simulator.requests();
    let changed: Vec<_> = requests
        .iter()
        .filter(|request| request.method != "GET" && request.path.contains("/networks"))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
}

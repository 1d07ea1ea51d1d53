//! Load balancers of an OVN network, where the server has one.

use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::{
    Config, NetworkLoadBalancer, NetworkLoadBalancerPut, NetworkLoadBalancersPost,
};
use serde_json::{Value, json};

use crate::{
    balancer::{ABORTED, reason},
    world::{World, on_servers},
};

/// An OVN network, and the addresses that its load balancers may have.
struct Ovn {
    network: String,
    ranges: Vec<String>,
}

/// The first one whose uplink has such addresses.
async fn find(world: &World) -> Option<Ovn> {
    let networks = world.server.networks().await.unwrap();
    let of = |name: &str| networks.iter().find(|network| network.name == name);
    networks.iter().filter(|network| network.kind == "ovn").find_map(|network| {
        let uplink = of(network.config.get("network")?)?;
        let ranges = uplink.config.get("ipv4.ovn.ranges")?.split(',').map(str::trim);
        Some(Ovn { network: network.name.clone(), ranges: ranges.map(str::to_owned).collect() })
    })
}

impl Ovn {
    async fn balancers(&self, world: &World) -> Vec<NetworkLoadBalancer> {
        world.server.load_balancers(&self.network).await.unwrap()
    }

    /// That of the test's cluster.
    async fn own(&self, world: &World) -> Option<NetworkLoadBalancer> {
        let owner = format!("default/{}", world.cluster);
        let all = self.balancers(world).await;
        all.into_iter().find(|it| it.put.config.get("user.capn.owner") == Some(&owner))
    }

    fn spec(&self, host: Option<&str>) -> Value {
        match host {
            None => json!({ "loadBalancer": { "ovn": {
                "networkName": self.network, "ranges": self.ranges } } }),
            Some(host) => json!({
                "loadBalancer": { "ovn": { "networkName": self.network } },
                "controlPlaneEndpoint": { "host": host },
            }),
        }
    }

    /// What a run that failed left.
    async fn clean(&self, world: &World) {
        for found in self.balancers(world).await {
            if found.put.config.get("user.cluster-name").is_some_and(|it| it.starts_with("capn-t-"))
            {
                let deleted =
                    world.server.delete_load_balancer(&self.network, &found.listen_address);
                deleted.await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_of_an_ovn_network_follows_the_control_planes() {
    on_servers("a_load_balancer_of_an_ovn_network", |mut world| async move {
        let Some(ovn) = find(&world).await else {
            println!("SKIPPED: no network of type ovn whose uplink has ipv4.ovn.ranges");
            return world;
        };
        ovn.clean(&world).await;
        world.start();
        world.make_cluster(ovn.spec(None)).await;
        let host = world.provision().await.spec.control_plane_endpoint.unwrap().host;
        let made = ovn.own(&world).await.unwrap();
        assert_eq!(made.listen_address, host);
        // The server takes no port that leads nowhere.
        assert!(made.put.ports.is_empty(), "{:?}", made.put);

        let cp = format!("{}-cp", world.cluster);
        let card = format!("eth0,type=nic,network={},name=eth0", ovn.network);
        world.make_machine(&cp, true, json!({ "devices": [card] })).await;
        let machine = world
            .until::<LXCMachine>(&cp, "to be known to the load balancer", |machine| {
                machine.status.as_ref().is_some_and(|status| status.load_balancer_configured)
            })
            .await;
        let address = machine.status.unwrap().addresses[1].address.clone();
        let put = ovn.own(&world).await.unwrap().put;
        assert_eq!(put.backends[0].target_address, address);
        assert_eq!(
            (put.ports[0].listen_port.as_str(), &put.ports[0].target_backend),
            ("6443", &vec![cp.clone()])
        );

        world.delete::<LXCMachine>(&cp).await;
        world.until_gone::<LXCMachine>(&cp).await;
        let own = world.cluster.clone();
        world.delete::<LXCCluster>(&own).await;
        world.until_gone::<LXCCluster>(&own).await;
        assert!(ovn.own(&world).await.is_none(), "it goes with its cluster");

        // The address is somebody else's now.
        let config = Config::from([
            ("user.cluster-name".to_owned(), "capn-t-other".to_owned()),
            ("user.cluster-namespace".to_owned(), "default".to_owned()),
        ]);
        let put = NetworkLoadBalancerPut { config, ..NetworkLoadBalancerPut::default() };
        let post = NetworkLoadBalancersPost { listen_address: host.clone(), put };
        world.server.create_load_balancer(&ovn.network, &post).await.unwrap();
        world.cluster = format!("{own}-b");
        world.make_cluster(ovn.spec(Some(&host))).await;
        let message = reason(&world, "LoadBalancerAvailable", ABORTED).await;
        assert!(message.contains("capn-t-other") && message.contains(&host), "{message}");
        world.delete::<LXCCluster>(&world.cluster).await;
        world.until_gone::<LXCCluster>(&world.cluster).await;
        let left = ovn.balancers(&world).await;
        assert!(left.iter().any(|it| it.listen_address == host), "it is not ours to delete");
        ovn.clean(&world).await;
        world
    })
    .await;
}

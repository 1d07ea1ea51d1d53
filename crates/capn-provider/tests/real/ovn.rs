//! Load balancers of an OVN network, if the server has one.

use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::{
    Config, NetworkLoadBalancer, NetworkLoadBalancerPut, NetworkLoadBalancersPost,
};
use serde_json::{Value, json};

use crate::{
    balancer::{ABORTED, reason},
    harness::{TestEnv, on_servers},
};

/// An OVN network, and addresses for its load balancers.
struct Ovn {
    network: String,
    ranges: Vec<String>,
}

/// Returns the first one whose uplink has such addresses.
async fn find(env: &TestEnv) -> Option<Ovn> {
    let networks = env.server.networks().await.unwrap();
    let of = |name: &str| networks.iter().find(|network| network.name == name);
    networks.iter().filter(|network| network.kind == "ovn").find_map(|network| {
        let uplink = of(network.config.get("network")?)?;
        let ranges = uplink.config.get("ipv4.ovn.ranges")?.split(',').map(str::trim);
        Some(Ovn { network: network.name.clone(), ranges: ranges.map(str::to_owned).collect() })
    })
}

impl Ovn {
    async fn balancers(&self, env: &TestEnv) -> Vec<NetworkLoadBalancer> {
        env.server.load_balancers(&self.network).await.unwrap()
    }

    /// Returns that of the test's cluster.
    async fn own(&self, env: &TestEnv) -> Option<NetworkLoadBalancer> {
        let owner = format!("default/{}", env.cluster);
        let all = self.balancers(env).await;
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

    /// Removes what a failed run left behind.
    async fn clean(&self, env: &TestEnv) {
        for found in self.balancers(env).await {
            if found.put.config.get("user.cluster-name").is_some_and(|it| it.starts_with("capn-t-"))
            {
                let deleted = env.server.delete_load_balancer(&self.network, &found.listen_address);
                deleted.await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_of_an_ovn_network_follows_the_control_planes() {
    on_servers("a_load_balancer_of_an_ovn_network", |mut env| async move {
        let Some(ovn) = find(&env).await else {
            println!("SKIPPED: no network of type ovn whose uplink has ipv4.ovn.ranges");
            return env;
        };
        ovn.clean(&env).await;
        env.start();
        env.make_cluster(ovn.spec(None)).await;
        let host = env.provision().await.spec.control_plane_endpoint.unwrap().host;
        let made = ovn.own(&env).await.unwrap();
        assert_eq!(made.listen_address, host);
        // The server rejects a port without a target.
        assert!(made.put.ports.is_empty(), "{:?}", made.put);

        let cp = format!("{}-cp", env.cluster);
        let card = format!("eth0,type=nic,network={},name=eth0", ovn.network);
        env.make_machine(&cp, true, json!({ "devices": [card] })).await;
        let machine = env
            .until::<LXCMachine>(&cp, "to be known to the load balancer", |machine| {
                machine.status.as_ref().is_some_and(|status| status.load_balancer_configured)
            })
            .await;
        let address = machine.status.unwrap().addresses[1].address.clone();
        let put = ovn.own(&env).await.unwrap().put;
        assert_eq!(put.backends[0].target_address, address);
        assert_eq!(
            (put.ports[0].listen_port.as_str(), &put.ports[0].target_backend),
            ("6443", &vec![cp.clone()])
        );

        env.delete::<LXCMachine>(&cp).await;
        env.until_gone::<LXCMachine>(&cp).await;
        let own = env.cluster.clone();
        env.delete::<LXCCluster>(&own).await;
        env.until_gone::<LXCCluster>(&own).await;
        assert!(ovn.own(&env).await.is_none(), "it goes with its cluster");

        // Now the address belongs to another load balancer.
        let config = Config::from([
            ("user.cluster-name".to_owned(), "capn-t-other".to_owned()),
            ("user.cluster-namespace".to_owned(), "default".to_owned()),
        ]);
        let put = NetworkLoadBalancerPut { config, ..NetworkLoadBalancerPut::default() };
        let post = NetworkLoadBalancersPost { listen_address: host.clone(), put };
        env.server.create_load_balancer(&ovn.network, &post).await.unwrap();
        env.cluster = format!("{own}-b");
        env.make_cluster(ovn.spec(Some(&host))).await;
        let message = reason(&env, "LoadBalancerAvailable", ABORTED).await;
        assert!(message.contains("capn-t-other") && message.contains(&host), "{message}");
        env.delete::<LXCCluster>(&env.cluster).await;
        env.until_gone::<LXCCluster>(&env.cluster).await;
        let left = ovn.balancers(&env).await;
        assert!(left.iter().any(|it| it.listen_address == host), "it is not ours to delete");
        ovn.clean(&env).await;
        env
    })
    .await;
}

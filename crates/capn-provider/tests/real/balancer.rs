//! The load balancer of a cluster, and what the LXCCluster says of it and of the server.

use capn_api::{LXCCluster, LXCMachine, keys};
use serde_json::{Value, json};

use crate::{
    image,
    world::{World, on_servers},
};

/// Status, reason and message of a condition of an LXCCluster.
fn condition(cluster: &LXCCluster, kind: &str) -> Option<(String, String, String)> {
    let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == kind)
        .map(|found| (found.status.clone(), found.reason.clone(), found.message.clone()))
        .next()
}

/// Waits until a condition of the LXCCluster has a reason; gives its message.
pub(crate) async fn reason(world: &World, kind: &str, reason: &str) -> String {
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

/// A load balancer of the test image, with more settings.
fn lxc(settings: &Value) -> Value {
    let mut lxc = json!({ "instanceSpec": { "image": { "name": image::ALIAS } } });
    for (key, value) in settings.as_object().unwrap() {
        lxc[key] = value.clone();
    }
    json!({ "loadBalancer": { "lxc": lxc } })
}

async fn configuration(world: &World) -> String {
    let file = world.server.pull_file(&world.balancer(), "/etc/haproxy/haproxy.cfg").await.unwrap();
    String::from_utf8_lossy(&file.unwrap().content).into_owned()
}

pub(crate) const ABORTED: &str = "LoadBalancerProvisioningAborted";

#[tokio::test(flavor = "multi_thread")]
async fn a_template_of_the_users_own_is_rendered_and_a_wrong_one_names_its_line() {
    on_servers("a_template_of_the_users_own", |mut world| async move {
        world.start();
        let template = |text: &str| lxc(&json!({ "customHAProxyConfigTemplate": text }));
        let patch = |text: &str| json!({ "spec": template(text) });
        world.make_cluster(template("global\n{{ .NoSuch }}\n")).await;
        let message = reason(&world, "LoadBalancerAvailable", ABORTED).await;
        assert!(message.contains("customHAProxyConfigTemplate: line 2"), "{message}");
        assert!(world.instances().await.is_empty(), "nothing is made for it");

        let refused = "global\nrefuse-me {{ .FrontendControlPlanePort }}\n";
        world.patch::<LXCCluster>(&world.cluster, patch(refused)).await;
        let message = reason(&world, "LoadBalancerAvailable", "CreatingLoadBalancer").await;
        assert!(message.contains("makes load balancer"), "{message}");
        let message = reason(&world, "LoadBalancerAvailable", ABORTED).await;
        assert!(message.contains("unknown keyword 'refuse-me'"), "{message}");

        let good = "# mine\n{{ range $n, $b := .BackendServers }}server {{ $n }} \
                    {{ JoinHostPort $b.Address $.BackendControlPlanePort }}\n{{ end }}";
        world.patch::<LXCCluster>(&world.cluster, patch(good)).await;
        world.provision().await;
        assert_eq!(configuration(&world).await, "# mine\n");
        let cp = format!("{}-cp", world.cluster);
        world.make_machine(&cp, true, json!({})).await;
        let machine = world
            .until::<LXCMachine>(&cp, "to be known to the load balancer", |machine| {
                machine.status.as_ref().is_some_and(|status| status.load_balancer_configured)
            })
            .await;
        let address = machine.status.unwrap().addresses[1].address.clone();
        let expected = format!("# mine\nserver {cp} {address}:6443\n");
        assert_eq!(configuration(&world).await, expected);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_leaves_is_let_go_after_its_clients_were_sent_elsewhere() {
    on_servers("a_control_plane_that_leaves", |mut world| async move {
        world.start();
        let cps = ["a", "b"].map(|name| format!("{}-{name}", world.cluster));
        world.make_cluster(json!({})).await;
        for cp in &cps {
            world.make_machine(cp, true, json!({})).await;
        }
        world.provision().await;
        for cp in &cps {
            world
                .until::<LXCMachine>(cp, "to be known to the load balancer", |machine| {
                    machine.status.as_ref().is_some_and(|status| status.load_balancer_configured)
                })
                .await;
        }
        assert!(configuration(&world).await.contains(&format!("server {} ", cps[0])));
        // Held, so that what becomes of it can be seen.
        let mut finalizers =
            world.api::<LXCMachine>().get(&cps[0]).await.unwrap().metadata.finalizers.unwrap();
        finalizers.push("capn.test/hold".into());
        let hold = json!({ "metadata": { "finalizers": finalizers } });
        world.patch::<LXCMachine>(&cps[0], hold).await;
        world.delete::<LXCMachine>(&cps[0]).await;
        world
            .until::<LXCMachine>(&cps[0], "to be let go", |machine| {
                let annotations = machine.metadata.annotations.as_ref();
                annotations.is_some_and(|them| them.contains_key(keys::DRAINED_ANNOTATION))
            })
            .await;
        let now = configuration(&world).await;
        assert!(!now.contains(&cps[0]) && now.contains(&cps[1]), "{now}");
        let release = json!({ "metadata": { "finalizers": [keys::MACHINE_FINALIZER] } });
        let machine = world.api::<LXCMachine>().get(&cps[0]).await.unwrap();
        let left = machine.metadata.finalizers.unwrap();
        let release = match left.iter().any(|it| it == keys::MACHINE_FINALIZER) {
            true => release,
            false => json!({ "metadata": { "finalizers": null } }),
        };
        world.patch::<LXCMachine>(&cps[0], release).await;
        world.until_gone::<LXCMachine>(&cps[0]).await;
        world
    })
    .await;
}

/// The addresses from `first` to `last` of the network that test instances are on.
async fn addresses(world: &World, first: u8, last: u8) -> [String; 2] {
    let profile = world.server.profile("default").await.unwrap().unwrap();
    let card = profile.devices.values().find(|device| device["type"] == "nic").unwrap();
    let network = world.server.network(&card["network"]).await.unwrap().unwrap();
    let subnet = network.config["ipv4.address"].clone();
    let base = subnet.rsplit_once('.').unwrap().0.to_owned();
    [first, last].map(|last| format!("{base}.{last}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn load_balancers_share_ranges_without_a_clash_and_give_addresses_back() {
    on_servers("load_balancers_share_ranges", |mut world| async move {
        world.start();
        let [first, last] = addresses(&world, 241, 242).await;
        let spec = lxc(&json!({ "ranges": [format!("{first}-{last}")] }));
        let names = ["x", "y", "z"].map(|name| format!("{}{name}", world.cluster));
        let mut taken = Vec::new();
        for name in &names[..2] {
            world.cluster = name.clone();
            world.make_cluster(spec.clone()).await;
        }
        for name in &names[..2] {
            world.cluster = name.clone();
            let endpoint = world.provision().await.spec.control_plane_endpoint.unwrap();
            let instance = world.instance(&world.balancer()).await.unwrap();
            let state = instance.state.as_ref().unwrap();
            assert_eq!(state.global_addresses()[0].1.address, endpoint.host);
            taken.push(endpoint.host);
        }
        taken.sort();
        assert_eq!(taken, [first.clone(), last.clone()]);

        world.cluster = names[2].clone();
        world.make_cluster(spec).await;
        let message =
            reason(&world, "LoadBalancerAvailable", "LoadBalancerProvisioningFailed").await;
        assert!(message.contains("all 2 IPv4 addresses of the ranges are taken"), "{message}");
        let freed = world.api::<LXCCluster>().get(&names[0]).await.unwrap();
        world.delete::<LXCCluster>(&names[0]).await;
        world.until_gone::<LXCCluster>(&names[0]).await;
        // Ranges that were full are looked at again every half minute, and after a change.
        let touch = json!({ "metadata": { "annotations": { "capn.test/now": "" } } });
        world.patch::<LXCCluster>(&names[2], touch).await;
        let given = world.provision().await.spec.control_plane_endpoint.unwrap().host;
        assert_eq!(given, freed.spec.endpoint_host().unwrap());

        // An instance that is made again has the address it had.
        let balancer = world.balancer();
        let stop =
            world.server.set_state(&balancer, incus_client::api::InstanceAction::Stop, true, None);
        stop.await.unwrap().wait(crate::world::MINUTE).await.unwrap();
        world
            .server
            .delete_instance(&balancer)
            .await
            .unwrap()
            .wait(crate::world::MINUTE)
            .await
            .ok();
        world
            .until::<LXCCluster>(&names[2], "to notice", |cluster| {
                !cluster.status.as_ref().is_some_and(|status| status.ready)
            })
            .await;
        world
            .until::<LXCCluster>(&names[2], "to serve again", |cluster| {
                cluster.status.as_ref().is_some_and(|status| status.ready)
            })
            .await;
        let instance = world.instance(&balancer).await.unwrap();
        assert_eq!(instance.state.as_ref().unwrap().global_addresses()[0].1.address, given);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_the_server_cannot_do_say_what_is_missing() {
    on_servers("types_that_the_server_cannot_do", |mut world| async move {
        world.start();
        let base = world.cluster.clone();
        let lxd = world.socket.contains("lxd");
        let ovn = |network: &str| {
            json!({
                "loadBalancer": { "ovn": { "networkName": network } },
                "controlPlaneEndpoint": { "host": "192.0.2.5" },
            })
        };
        let mut cases =
            vec![(json!({ "loadBalancer": { "oci": {} } }), ABORTED, "API extension instance_oci")];
        match lxd {
            true => cases.push((ovn("lxdbr0"), ABORTED, "API extension network_load_balancer")),
            false => cases.extend([
                (ovn("incusbr0"), ABORTED, "name an OVN network"),
                (
                    ovn("capn-t-none"),
                    "LoadBalancerProvisioningFailed",
                    "create load balancer 192.0.2.5 of network capn-t-none",
                ),
            ]),
        }
        for (n, (spec, kind, part)) in cases.into_iter().enumerate() {
            world.cluster = format!("{base}{n}");
            world.make_cluster(spec).await;
            let message = reason(&world, "LoadBalancerAvailable", kind).await;
            assert!(message.contains(part), "{message}");
            world.delete::<LXCCluster>(&world.cluster).await;
            world.until_gone::<LXCCluster>(&world.cluster).await;
        }
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_ip_of_the_control_planes_needs_no_instance_and_outlives_its_machines() {
    on_servers("a_virtual_ip_of_the_control_planes", |mut world| async move {
        world.start();
        world
            .make_cluster(json!({
                "loadBalancer": { "kubeVIP": {} }, "controlPlaneEndpoint": { "host": "192.0.2.5" },
            }))
            .await;
        let endpoint = world.provision().await.spec.control_plane_endpoint.unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("192.0.2.5", 6443));
        assert!(world.instances().await.is_empty());
        let cp = format!("{}-cp", world.cluster);
        world.make_machine(&cp, true, json!({})).await;
        world.ready_machine(&cp).await;
        world.delete::<LXCCluster>(&world.cluster).await;
        world
            .until::<LXCCluster>(&world.cluster, "to wait for its machines", |cluster| {
                condition(cluster, "Deleting").is_some_and(|it| it.1 == "WaitingForMachines")
            })
            .await;
        world.delete::<LXCMachine>(&cp).await;
        world.until_gone::<LXCMachine>(&cp).await;
        world.until_gone::<LXCCluster>(&world.cluster).await;
        world
    })
    .await;
}

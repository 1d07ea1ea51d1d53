//! The load balancer of a cluster, and the conditions about it and the server.

use capn_api::{LXCCluster, LXCMachine, keys};
use serde_json::{Value, json};

use crate::{
    harness::{TestEnv, on_servers},
    image,
};

/// Status, reason and message of a condition of an LXCCluster.
fn condition(cluster: &LXCCluster, kind: &str) -> Option<(String, String, String)> {
    let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == kind)
        .map(|found| (found.status.clone(), found.reason.clone(), found.message.clone()))
        .next()
}

/// Waits until a condition of the LXCCluster has a reason, and returns its message.
pub(crate) async fn reason(env: &TestEnv, kind: &str, reason: &str) -> String {
    let what = format!("to have {kind} with reason {reason}");
    let has = |cluster: &LXCCluster| condition(cluster, kind).is_some_and(|it| it.1 == reason);
    let cluster = env.until(&env.cluster, &what, has).await;
    condition(&cluster, kind).unwrap_or_default().2
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_health_is_reported_and_blocks_nothing() {
    on_servers("what_the_server_tells_of_itself", |mut env| async move {
        env.start();
        env.make_cluster(json!({})).await;
        let cluster = env.provision().await;
        let (status, reason_, message) = condition(&cluster, "ServerHealthy").unwrap();
        assert_ne!(status, "Unknown", "{reason_}: {message}");
        assert_ne!(reason_, "ServerNotChecked", "{message}");
        assert!(cluster.status.unwrap().failure_domains.is_empty(), "no clustered server here");

        env.make_machine("capn-t-odd", false, json!({ "profiles": ["capn-t-no-such"] })).await;
        let message = reason(&env, "ServerHealthy", "ServerProblems").await;
        assert!(message.contains("profile `capn-t-no-such` does not exist"), "{message}");
        assert!(message.contains("incus profile list"), "{message}");
        let cluster = env.api::<LXCCluster>().get(&env.cluster).await.unwrap();
        assert_eq!(condition(&cluster, "Ready").unwrap().0, "True");
        env
    })
    .await;
}

/// A load balancer with the test image and more settings.
fn lxc(settings: &Value) -> Value {
    let mut lxc = json!({ "instanceSpec": { "image": { "name": image::ALIAS } } });
    for (key, value) in settings.as_object().unwrap() {
        lxc[key] = value.clone();
    }
    json!({ "loadBalancer": { "lxc": lxc } })
}

async fn configuration(env: &TestEnv) -> String {
    let file = env.server.pull_file(&env.balancer(), "/etc/haproxy/haproxy.cfg").await.unwrap();
    String::from_utf8_lossy(&file.unwrap().content).into_owned()
}

pub(crate) const ABORTED: &str = "LoadBalancerProvisioningAborted";

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_template_is_rendered_and_an_invalid_one_names_its_line() {
    on_servers("a_template_of_the_users_own", |mut env| async move {
        env.start();
        let template = |text: &str| lxc(&json!({ "customHAProxyConfigTemplate": text }));
        let patch = |text: &str| json!({ "spec": template(text) });
        env.make_cluster(template("global\n{{ .NoSuch }}\n")).await;
        let message = reason(&env, "LoadBalancerAvailable", ABORTED).await;
        assert!(message.contains("customHAProxyConfigTemplate: line 2"), "{message}");
        assert!(env.instances().await.is_empty(), "nothing is made for it");

        let refused = "global\nrefuse-me {{ .FrontendControlPlanePort }}\n";
        env.patch::<LXCCluster>(&env.cluster, patch(refused)).await;
        let message = reason(&env, "LoadBalancerAvailable", "CreatingLoadBalancer").await;
        assert!(message.contains("creating load balancer"), "{message}");
        let message = reason(&env, "LoadBalancerAvailable", ABORTED).await;
        assert!(message.contains("unknown keyword 'refuse-me'"), "{message}");

        let good = "# mine\n{{ range $n, $b := .BackendServers }}server {{ $n }} \
                    {{ JoinHostPort $b.Address $.BackendControlPlanePort }}\n{{ end }}";
        env.patch::<LXCCluster>(&env.cluster, patch(good)).await;
        env.provision().await;
        assert_eq!(configuration(&env).await, "# mine\n");
        let cp = format!("{}-cp", env.cluster);
        env.make_machine(&cp, true, json!({})).await;
        let machine = env
            .until::<LXCMachine>(&cp, "to be known to the load balancer", |machine| {
                machine.status.as_ref().is_some_and(|status| status.load_balancer_configured)
            })
            .await;
        let address = machine.status.unwrap().addresses[1].address.clone();
        let expected = format!("# mine\nserver {cp} {address}:6443\n");
        assert_eq!(configuration(&env).await, expected);
        env
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_control_plane_is_stopped_after_its_connections_are_drained() {
    on_servers("a_control_plane_that_leaves", |mut env| async move {
        env.start();
        let cps = ["a", "b"].map(|name| format!("{}-{name}", env.cluster));
        env.make_cluster(json!({})).await;
        for cp in &cps {
            env.make_machine(cp, true, json!({})).await;
        }
        env.provision().await;
        for cp in &cps {
            env.until::<LXCMachine>(cp, "to be known to the load balancer", |machine| {
                machine.status.as_ref().is_some_and(|status| status.load_balancer_configured)
            })
            .await;
        }
        assert!(configuration(&env).await.contains(&format!("server {} ", cps[0])));
        // A finalizer delays the deletion, so that its state can be checked.
        let mut finalizers =
            env.api::<LXCMachine>().get(&cps[0]).await.unwrap().metadata.finalizers.unwrap();
        finalizers.push("capn.test/hold".into());
        let hold = json!({ "metadata": { "finalizers": finalizers } });
        env.patch::<LXCMachine>(&cps[0], hold).await;
        env.delete::<LXCMachine>(&cps[0]).await;
        env.until::<LXCMachine>(&cps[0], "to be let go", |machine| {
            let annotations = machine.metadata.annotations.as_ref();
            annotations.is_some_and(|them| them.contains_key(keys::DRAINED_ANNOTATION))
        })
        .await;
        let now = configuration(&env).await;
        assert!(!now.contains(&cps[0]) && now.contains(&cps[1]), "{now}");
        let release = json!({ "metadata": { "finalizers": [keys::MACHINE_FINALIZER] } });
        let machine = env.api::<LXCMachine>().get(&cps[0]).await.unwrap();
        let left = machine.metadata.finalizers.unwrap();
        let release = match left.iter().any(|it| it == keys::MACHINE_FINALIZER) {
            true => release,
            false => json!({ "metadata": { "finalizers": null } }),
        };
        env.patch::<LXCMachine>(&cps[0], release).await;
        env.until_gone::<LXCMachine>(&cps[0]).await;
        env
    })
    .await;
}

/// Returns the addresses from `first` to `last` of the network of test instances.
async fn addresses(env: &TestEnv, first: u8, last: u8) -> [String; 2] {
    let profile = env.server.profile("default").await.unwrap().unwrap();
    let card = profile.devices.values().find(|device| device["type"] == "nic").unwrap();
    let network = env.server.network(&card["network"]).await.unwrap().unwrap();
    let subnet = network.config["ipv4.address"].clone();
    let base = subnet.rsplit_once('.').unwrap().0.to_owned();
    [first, last].map(|last| format!("{base}.{last}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn load_balancers_share_ranges_without_conflicts_and_release_addresses() {
    on_servers("load_balancers_share_ranges", |mut env| async move {
        env.start();
        let [first, last] = addresses(&env, 241, 242).await;
        let spec = lxc(&json!({ "ranges": [format!("{first}-{last}")] }));
        let names = ["x", "y", "z"].map(|name| format!("{}{name}", env.cluster));
        let mut taken = Vec::new();
        for name in &names[..2] {
            env.cluster = name.clone();
            env.make_cluster(spec.clone()).await;
        }
        for name in &names[..2] {
            env.cluster = name.clone();
            let endpoint = env.provision().await.spec.control_plane_endpoint.unwrap();
            let instance = env.instance(&env.balancer()).await.unwrap();
            let state = instance.state.as_ref().unwrap();
            assert_eq!(state.global_addresses()[0].1.address, endpoint.host);
            taken.push(endpoint.host);
        }
        taken.sort();
        assert_eq!(taken, [first.clone(), last.clone()]);

        env.cluster = names[2].clone();
        env.make_cluster(spec).await;
        let message = reason(&env, "LoadBalancerAvailable", "LoadBalancerProvisioningFailed").await;
        assert!(message.contains("all 2 IPv4 addresses of the ranges are in use"), "{message}");
        let freed = env.api::<LXCCluster>().get(&names[0]).await.unwrap();
        env.delete::<LXCCluster>(&names[0]).await;
        env.until_gone::<LXCCluster>(&names[0]).await;
        // Exhausted ranges are checked every half minute, and after a change.
        let touch = json!({ "metadata": { "annotations": { "capn.test/now": "" } } });
        env.patch::<LXCCluster>(&names[2], touch).await;
        let given = env.provision().await.spec.control_plane_endpoint.unwrap().host;
        assert_eq!(given, freed.spec.endpoint_host().unwrap());

        // An instance that is created again gets its previous address.
        let balancer = env.balancer();
        let stop =
            env.server.set_state(&balancer, incus_client::api::InstanceAction::Stop, true, None);
        stop.await.unwrap().wait(crate::harness::MINUTE).await.unwrap();
        env.server
            .delete_instance(&balancer)
            .await
            .unwrap()
            .wait(crate::harness::MINUTE)
            .await
            .ok();
        env.until::<LXCCluster>(&names[2], "to notice", |cluster| {
            !cluster.status.as_ref().is_some_and(|status| status.ready)
        })
        .await;
        env.until::<LXCCluster>(&names[2], "to serve again", |cluster| {
            cluster.status.as_ref().is_some_and(|status| status.ready)
        })
        .await;
        let instance = env.instance(&balancer).await.unwrap();
        assert_eq!(instance.state.as_ref().unwrap().global_addresses()[0].1.address, given);
        env
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsupported_types_are_reported_with_what_is_missing() {
    on_servers("types_that_the_server_cannot_do", |mut env| async move {
        env.start();
        let base = env.cluster.clone();
        let lxd = env.socket.contains("lxd");
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
                (ovn("incusbr0"), ABORTED, "to an OVN network"),
                (
                    ovn("capn-t-none"),
                    "LoadBalancerProvisioningFailed",
                    "create load balancer 192.0.2.5 of network capn-t-none",
                ),
            ]),
        }
        for (n, (spec, kind, part)) in cases.into_iter().enumerate() {
            env.cluster = format!("{base}{n}");
            env.make_cluster(spec).await;
            let message = reason(&env, "LoadBalancerAvailable", kind).await;
            assert!(message.contains(part), "{message}");
            env.delete::<LXCCluster>(&env.cluster).await;
            env.until_gone::<LXCCluster>(&env.cluster).await;
        }
        env
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_ip_needs_no_instance_and_outlives_its_machines() {
    on_servers("a_virtual_ip_of_the_control_planes", |mut env| async move {
        env.start();
        env.make_cluster(json!({
            "loadBalancer": { "kubeVIP": {} }, "controlPlaneEndpoint": { "host": "192.0.2.5" },
        }))
        .await;
        let endpoint = env.provision().await.spec.control_plane_endpoint.unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("192.0.2.5", 6443));
        assert!(env.instances().await.is_empty());
        let cp = format!("{}-cp", env.cluster);
        env.make_machine(&cp, true, json!({})).await;
        env.ready_machine(&cp).await;
        env.delete::<LXCCluster>(&env.cluster).await;
        env.until::<LXCCluster>(&env.cluster, "to wait for its machines", |cluster| {
            condition(cluster, "Deleting").is_some_and(|it| it.1 == "WaitingForMachines")
        })
        .await;
        env.delete::<LXCMachine>(&cp).await;
        env.until_gone::<LXCMachine>(&cp).await;
        env.until_gone::<LXCCluster>(&env.cluster).await;
        env
    })
    .await;
}

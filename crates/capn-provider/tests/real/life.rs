//! Making instances and keeping them running.

use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::InstanceAction;
use serde_json::json;

use crate::world::{MINUTE, World, is_ready, on_servers, provisioning};

async fn file(world: &World, instance: &str, path: &str) -> String {
    let found = world.server.pull_file(instance, path).await.unwrap().unwrap();
    String::from_utf8_lossy(&found.content).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_up_behind_its_load_balancer_and_leaves_nothing_behind() {
    on_servers("a_cluster_comes_up_behind_its_load_balancer", |mut world| async move {
        world.start();
        let (cp, worker) = (format!("{}-cp", world.cluster), format!("{}-md", world.cluster));
        world.make_cluster(json!({})).await;
        world.make_machine(&cp, true, json!({ "flavor": "c1-m1" })).await;
        world.make_machine(&worker, false, json!({ "config": { "user.mine": "yes" } })).await;

        let cluster = world.provision().await;
        let endpoint = cluster.spec.control_plane_endpoint.unwrap();
        let balancer = world.instance(&world.balancer()).await.unwrap();
        let address = balancer.state.as_ref().unwrap().global_addresses()[0].1.address.clone();
        assert_eq!((endpoint.host, endpoint.port), (address, 6443));

        let machine = world.ready_machine(&cp).await;
        world.ready_machine(&worker).await;
        assert_eq!(machine.spec.provider_id.as_deref(), Some(format!("lxc:///{cp}").as_str()));
        let status = machine.status.unwrap();
        assert_eq!(status.initialization.unwrap().provisioned, Some(true));
        assert_eq!(status.addresses.len(), 3, "{:?}", status.addresses);
        assert_eq!(status.addresses[0].address, cp);
        assert_eq!(status.image.as_deref(), Some("capn-t-tiny"));

        let instance = world.instance(&cp).await.unwrap();
        let config = |key: &str| instance.config.get(key).map(String::as_str);
        assert_eq!(config("user.cluster-role"), Some("control-plane"));
        assert_eq!(config("user.cluster-name"), Some(world.cluster.as_str()));
        assert_eq!(config("user.machine-name"), Some(cp.as_str()));
        assert_eq!(config("user.capn.owner-uid"), machine.metadata.uid.as_deref());
        assert_eq!(config("cloud-init.user-data"), Some("#cloud-config\n"));
        assert_eq!(config("security.privileged"), None);
        assert_eq!(config("limits.cpu"), Some("1"));
        let mine = world.instance(&worker).await.unwrap().config["user.mine"].clone();
        assert_eq!(mine, "yes");

        world
            .until::<LXCMachine>(&cp, "to be known to the load balancer", |machine| {
                machine.status.as_ref().is_some_and(|status| status.load_balancer_configured)
            })
            .await;
        let haproxy = file(&world, &world.balancer(), "/etc/haproxy/haproxy.cfg").await;
        let line = format!("  server {cp} {}:6443", status.addresses[1].address);
        assert!(haproxy.contains(&line), "{haproxy}");
        assert!(!haproxy.contains(&worker), "{haproxy}");
        let asked = file(&world, &world.balancer(), "/run/systemctl.log").await;
        assert!(asked.contains("reload-or-restart haproxy.service"), "{asked}");

        let events = world.events(&cp).await;
        for reason in ["InstanceCreated", "InstanceReady"] {
            assert!(events.iter().any(|event| event == reason), "{reason}: {events:?}");
        }

        world.delete::<LXCMachine>(&cp).await;
        world.delete::<LXCCluster>(&world.cluster).await;
        world.until_gone::<LXCMachine>(&cp).await;
        let cluster = world.api::<LXCCluster>().get(&world.cluster).await.unwrap();
        assert!(cluster.metadata.deletion_timestamp.is_some(), "a worker still needs it");
        world.delete::<LXCMachine>(&worker).await;
        world.until_gone::<LXCCluster>(&world.cluster).await;
        assert!(world.instances().await.is_empty());
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_instance_is_started_again_and_a_vanished_one_reported() {
    on_servers("a_stopped_instance_is_started_again", |mut world| async move {
        world.start();
        let name = format!("{}-md", world.cluster);
        world.make_cluster(json!({})).await;
        world.make_machine(&name, false, json!({})).await;
        world.provision().await;
        world.ready_machine(&name).await;

        let before = world.instance(&name).await.unwrap();
        let stop = world.server.set_state(&name, InstanceAction::Stop, true, None).await;
        stop.unwrap().wait(MINUTE).await.unwrap();
        world.until_started_again(&before).await;
        world.ready_machine(&name).await;

        world
            .patch::<LXCMachine>(
                &name,
                json!({ "metadata": { "annotations": { "capn.cluster.x-k8s.io/when-stopped": "report" } } }),
            )
            .await;
        let stop = world.server.set_state(&name, InstanceAction::Stop, true, None).await;
        stop.unwrap().wait(MINUTE).await.unwrap();
        world
            .until::<LXCMachine>(&name, "to be reported as stopped", |machine| {
                provisioning(machine).0 == "InstanceStopped"
            })
            .await;

        world.server.delete_instance(&name).await.unwrap().wait(MINUTE).await.unwrap();
        let gone = world
            .until::<LXCMachine>(&name, "to be reported as gone", |machine| {
                provisioning(machine).0 == "InstanceDeleted"
            })
            .await;
        assert!(!is_ready(&gone));
        assert!(provisioning(&gone).1.contains("delete the Machine"), "{:?}", provisioning(&gone));
        assert!(world.instance(&name).await.is_none(), "it was made again");
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_that_vanished_comes_back_at_the_same_address() {
    on_servers("a_load_balancer_that_vanished_comes_back", |mut world| async move {
        world.start();
        let cp = format!("{}-cp", world.cluster);
        world.make_cluster(json!({ "controlPlaneEndpoint": { "port": 8443 } })).await;
        world.make_machine(&cp, true, json!({})).await;
        let before = world.provision().await.spec.control_plane_endpoint.unwrap();
        assert_eq!(before.port, 8443);
        world.ready_machine(&cp).await;

        let balancer = world.balancer();
        let stop = world.server.set_state(&balancer, InstanceAction::Stop, true, None).await;
        stop.unwrap().wait(MINUTE).await.ok();
        // The reconciler starts it again at once; whoever is first.
        for _ in 0..20 {
            let Ok(operation) = world.server.delete_instance(&balancer).await else { continue };
            if operation.wait(MINUTE).await.is_ok() {
                break;
            }
            let stop = world.server.set_state(&balancer, InstanceAction::Stop, true, None).await;
            if let Ok(stop) = stop {
                stop.wait(MINUTE).await.ok();
            }
        }
        world
            .until::<LXCCluster>(&world.cluster, "to serve again", |cluster| {
                cluster.status.as_ref().is_some_and(|status| status.ready)
            })
            .await;
        let haproxy = file(&world, &balancer, "/etc/haproxy/haproxy.cfg").await;
        assert!(haproxy.contains("bind") && haproxy.contains(":8443"), "{haproxy}");
        assert!(haproxy.contains(&format!("  server {cp} ")), "{haproxy}");
        let instance = world.instance(&balancer).await.unwrap();
        let address = instance.state.as_ref().unwrap().global_addresses()[0].1.address.clone();
        assert_eq!(address, before.host);
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_isolated_nodes_share_host_user_ids() {
    on_servers("no_two_isolated_nodes_share_host_user_ids", |mut world| async move {
        world.start();
        let names = ["a", "b"].map(|name| format!("{}-{name}", world.cluster));
        world
            .make_cluster(json!({
                "unprivileged": null, "isolation": "isolated",
                "loadBalancer": { "external": {} },
                "controlPlaneEndpoint": { "host": "192.0.2.1" },
            }))
            .await;
        let cluster = world.provision().await;
        assert_eq!(cluster.spec.endpoint_port(), 6443);
        let mut ranges = Vec::new();
        for name in &names {
            world.make_machine(name, false, json!({})).await;
            world.ready_machine(name).await;
            let instance = world.instance(name).await.unwrap();
            // The map it runs with, users and groups alike.
            let map: serde_json::Value =
                serde_json::from_str(&instance.config["volatile.idmap.current"]).unwrap();
            let (first, count) = (map[0]["Hostid"].as_u64(), map[0]["Maprange"].as_u64());
            assert_eq!((map[1]["Hostid"].as_u64(), map[1]["Maprange"].as_u64()), (first, count));
            ranges.push(first.unwrap()..first.unwrap() + count.unwrap());
        }
        let (a, b) = (&ranges[0], &ranges[1]);
        assert!(a.end <= b.start || b.end <= a.start, "{a:?} and {b:?} overlap");
        assert_eq!(world.instances().await, names, "no load balancer");
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_host_user_ids_left_a_machine_is_refused_for_good() {
    on_servers("without_host_user_ids_left", |mut world| async move {
        world.start();
        let name = format!("{}-a", world.cluster);
        world
            .make_cluster(json!({
                "unprivileged": null, "isolation": "isolated",
                "loadBalancer": { "external": {} },
                "controlPlaneEndpoint": { "host": "192.0.2.1" },
            }))
            .await;
        world.provision().await;
        // More than any host has.
        let size = json!({ "config": { "security.idmap.size": "4000000000" } });
        world.make_machine(&name, false, size).await;
        let refused = world
            .until::<LXCMachine>(&name, "to be refused", |machine| {
                provisioning(machine).0 == "InstanceProvisioningAborted"
            })
            .await;
        let message = provisioning(&refused).1;
        assert!(message.contains("Not enough uid/gid available"), "{message}");
        assert!(message.contains("/etc/subuid"), "{message}");
        assert!(world.instances().await.is_empty());
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_privileged_node_starts_with_everything_it_asks_for() {
    on_servers("a_privileged_node_starts", |mut world| async move {
        world.start();
        let name = format!("{}-a", world.cluster);
        world
            .make_cluster(json!({
                "unprivileged": null, "loadBalancer": { "external": {} },
                "controlPlaneEndpoint": { "host": "192.0.2.1" },
            }))
            .await;
        world.provision().await;
        world.make_machine(&name, false, json!({})).await;
        let machine = world.ready_machine(&name).await;
        assert_eq!(machine.status.unwrap().isolation, Some(capn_api::Isolation::Privileged));
        let instance = world.instance(&name).await.unwrap();
        assert_eq!(instance.config["security.privileged"], "true");
        assert!(instance.devices.contains_key("kubelet-dev-kmsg"));
        world
    })
    .await;
}

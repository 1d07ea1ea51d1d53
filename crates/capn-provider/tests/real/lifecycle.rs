//! Creating instances and keeping them running.

use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::InstanceAction;
use serde_json::json;

use crate::harness::{MINUTE, TestEnv, is_ready, on_servers, provisioning};

async fn file(env: &TestEnv, instance: &str, path: &str) -> String {
    let found = env.server.pull_file(instance, path).await.unwrap().unwrap();
    String::from_utf8_lossy(&found.content).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_up_behind_its_load_balancer_and_leaves_nothing_behind() {
    on_servers("a_cluster_comes_up_behind_its_load_balancer", |mut env| async move {
        env.start();
        let (cp, worker) = (format!("{}-cp", env.cluster), format!("{}-md", env.cluster));
        env.make_cluster(json!({})).await;
        env.make_machine(&cp, true, json!({ "flavor": "c1-m1" })).await;
        env.make_machine(&worker, false, json!({ "config": { "user.mine": "yes" } })).await;

        let cluster = env.provision().await;
        let endpoint = cluster.spec.control_plane_endpoint.unwrap();
        let balancer = env.instance(&env.balancer()).await.unwrap();
        let address = balancer.state.as_ref().unwrap().global_addresses()[0].1.address.clone();
        assert_eq!((endpoint.host, endpoint.port), (address, 6443));

        let machine = env.ready_machine(&cp).await;
        env.ready_machine(&worker).await;
        assert_eq!(machine.spec.provider_id.as_deref(), Some(format!("lxc:///{cp}").as_str()));
        let status = machine.status.unwrap();
        assert_eq!(status.initialization.unwrap().provisioned, Some(true));
        assert_eq!(status.addresses.len(), 3, "{:?}", status.addresses);
        assert_eq!(status.addresses[0].address, cp);
        assert_eq!(status.image.as_deref(), Some("capn-t-tiny"));

        let instance = env.instance(&cp).await.unwrap();
        let config = |key: &str| instance.config.get(key).map(String::as_str);
        assert_eq!(config("user.cluster-role"), Some("control-plane"));
        assert_eq!(config("user.cluster-name"), Some(env.cluster.as_str()));
        assert_eq!(config("user.machine-name"), Some(cp.as_str()));
        assert_eq!(config("user.capn.owner-uid"), machine.metadata.uid.as_deref());
        assert_eq!(config("cloud-init.user-data"), Some("#cloud-config\n"));
        assert_eq!(config("security.privileged"), None);
        assert_eq!(config("limits.cpu"), Some("1"));
        let mine = env.instance(&worker).await.unwrap().config["user.mine"].clone();
        assert_eq!(mine, "yes");

        env.until::<LXCMachine>(&cp, "to be known to the load balancer", |machine| {
            machine.status.as_ref().is_some_and(|status| status.load_balancer_configured)
        })
        .await;
        let haproxy = file(&env, &env.balancer(), "/etc/haproxy/haproxy.cfg").await;
        let line = format!("  server {cp} {}:6443", status.addresses[1].address);
        assert!(haproxy.contains(&line), "{haproxy}");
        assert!(!haproxy.contains(&worker), "{haproxy}");
        let asked = file(&env, &env.balancer(), "/run/systemctl.log").await;
        assert!(asked.contains("reload-or-restart haproxy.service"), "{asked}");

        let events = env.events(&cp).await;
        for reason in ["InstanceCreated", "InstanceReady"] {
            assert!(events.iter().any(|event| event == reason), "{reason}: {events:?}");
        }

        env.delete::<LXCMachine>(&cp).await;
        env.delete::<LXCCluster>(&env.cluster).await;
        env.until_gone::<LXCMachine>(&cp).await;
        let cluster = env.api::<LXCCluster>().get(&env.cluster).await.unwrap();
        assert!(cluster.metadata.deletion_timestamp.is_some(), "a worker still needs it");
        env.delete::<LXCMachine>(&worker).await;
        env.until_gone::<LXCCluster>(&env.cluster).await;
        assert!(env.instances().await.is_empty());
        env
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_instance_is_restarted_and_a_lost_one_reported() {
    on_servers("a_stopped_instance_is_started_again", |mut env| async move {
        env.start();
        let name = format!("{}-md", env.cluster);
        env.make_cluster(json!({})).await;
        env.make_machine(&name, false, json!({})).await;
        env.provision().await;
        env.ready_machine(&name).await;

        let before = env.instance(&name).await.unwrap();
        let stop = env.server.set_state(&name, InstanceAction::Stop, true, None).await;
        stop.unwrap().wait(MINUTE).await.unwrap();
        env.until_started_again(&before).await;
        env.ready_machine(&name).await;

        env
            .patch::<LXCMachine>(
                &name,
                json!({ "metadata": { "annotations": { "capn.cluster.x-k8s.io/when-stopped": "report" } } }),
            )
            .await;
        let stop = env.server.set_state(&name, InstanceAction::Stop, true, None).await;
        stop.unwrap().wait(MINUTE).await.unwrap();
        env
            .until::<LXCMachine>(&name, "to be reported as stopped", |machine| {
                provisioning(machine).0 == "InstanceStopped"
            })
            .await;

        env.server.delete_instance(&name).await.unwrap().wait(MINUTE).await.unwrap();
        let gone = env
            .until::<LXCMachine>(&name, "to be reported as gone", |machine| {
                provisioning(machine).0 == "InstanceDeleted"
            })
            .await;
        assert!(!is_ready(&gone));
        assert!(provisioning(&gone).1.contains("delete the Machine"), "{:?}", provisioning(&gone));
        assert!(env.instance(&name).await.is_none(), "it was made again");
        env
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_load_balancer_is_created_again_with_the_same_address() {
    on_servers("a_load_balancer_that_vanished_comes_back", |mut env| async move {
        env.start();
        let cp = format!("{}-cp", env.cluster);
        env.make_cluster(json!({ "controlPlaneEndpoint": { "port": 8443 } })).await;
        env.make_machine(&cp, true, json!({})).await;
        let before = env.provision().await.spec.control_plane_endpoint.unwrap();
        assert_eq!(before.port, 8443);
        env.ready_machine(&cp).await;

        let balancer = env.balancer();
        let stop = env.server.set_state(&balancer, InstanceAction::Stop, true, None).await;
        stop.unwrap().wait(MINUTE).await.ok();
        // The reconciler restarts it at once; either one may be first.
        for _ in 0..20 {
            let Ok(operation) = env.server.delete_instance(&balancer).await else { continue };
            if operation.wait(MINUTE).await.is_ok() {
                break;
            }
            let stop = env.server.set_state(&balancer, InstanceAction::Stop, true, None).await;
            if let Ok(stop) = stop {
                stop.wait(MINUTE).await.ok();
            }
        }
        env.until::<LXCCluster>(&env.cluster, "to serve again", |cluster| {
            cluster.status.as_ref().is_some_and(|status| status.ready)
        })
        .await;
        let haproxy = file(&env, &balancer, "/etc/haproxy/haproxy.cfg").await;
        assert!(haproxy.contains("bind") && haproxy.contains(":8443"), "{haproxy}");
        assert!(haproxy.contains(&format!("  server {cp} ")), "{haproxy}");
        let instance = env.instance(&balancer).await.unwrap();
        let address = instance.state.as_ref().unwrap().global_addresses()[0].1.address.clone();
        assert_eq!(address, before.host);
        env
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_isolated_nodes_share_host_user_ids() {
    on_servers("no_two_isolated_nodes_share_host_user_ids", |mut env| async move {
        env.start();
        let names = ["a", "b"].map(|name| format!("{}-{name}", env.cluster));
        env.make_cluster(json!({
            "unprivileged": null, "isolation": "isolated",
            "loadBalancer": { "external": {} },
            "controlPlaneEndpoint": { "host": "192.0.2.1" },
        }))
        .await;
        let cluster = env.provision().await;
        assert_eq!(cluster.spec.endpoint_port(), 6443);
        let mut ranges = Vec::new();
        for name in &names {
            env.make_machine(name, false, json!({})).await;
            env.ready_machine(name).await;
            let instance = env.instance(name).await.unwrap();
            // The ID map that it runs with, for users and groups.
            let map: serde_json::Value =
                serde_json::from_str(&instance.config["volatile.idmap.current"]).unwrap();
            let (first, count) = (map[0]["Hostid"].as_u64(), map[0]["Maprange"].as_u64());
            assert_eq!((map[1]["Hostid"].as_u64(), map[1]["Maprange"].as_u64()), (first, count));
            ranges.push(first.unwrap()..first.unwrap() + count.unwrap());
        }
        let (a, b) = (&ranges[0], &ranges[1]);
        assert!(a.end <= b.start || b.end <= a.start, "{a:?} and {b:?} overlap");
        assert_eq!(env.instances().await, names, "no load balancer");
        env
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exhausted_host_user_ids_are_a_final_failure() {
    on_servers("without_host_user_ids_left", |mut env| async move {
        env.start();
        let name = format!("{}-a", env.cluster);
        env.make_cluster(json!({
            "unprivileged": null, "isolation": "isolated",
            "loadBalancer": { "external": {} },
            "controlPlaneEndpoint": { "host": "192.0.2.1" },
        }))
        .await;
        env.provision().await;
        // More than any host has.
        let size = json!({ "config": { "security.idmap.size": "4000000000" } });
        env.make_machine(&name, false, size).await;
        let refused = env
            .until::<LXCMachine>(&name, "to be refused", |machine| {
                provisioning(machine).0 == "InstanceProvisioningAborted"
            })
            .await;
        let message = provisioning(&refused).1;
        assert!(message.contains("Not enough uid/gid available"), "{message}");
        assert!(message.contains("/etc/subuid"), "{message}");
        assert!(env.instances().await.is_empty());
        env
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_privileged_node_starts_with_everything_it_asks_for() {
    on_servers("a_privileged_node_starts", |mut env| async move {
        env.start();
        let name = format!("{}-a", env.cluster);
        env.make_cluster(json!({
            "unprivileged": null, "loadBalancer": { "external": {} },
            "controlPlaneEndpoint": { "host": "192.0.2.1" },
        }))
        .await;
        env.provision().await;
        env.make_machine(&name, false, json!({})).await;
        let machine = env.ready_machine(&name).await;
        assert_eq!(machine.status.unwrap().isolation, Some(capn_api::Isolation::Privileged));
        let instance = env.instance(&name).await.unwrap();
        assert_eq!(instance.config["security.privileged"], "true");
        assert!(instance.devices.contains_key("kubelet-dev-kmsg"));
        env
    })
    .await;
}

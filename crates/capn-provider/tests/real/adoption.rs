//! Whose instance it is.

use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::{Config, InstanceAction, InstanceSource, InstancesPost};
use serde_json::json;

use crate::{
    image,
    world::{MINUTE, World, is_ready, on_servers, provisioning},
};

async fn make_instance(world: &World, name: &str, config: &[(&str, &str)]) {
    let post = InstancesPost {
        name: name.to_owned(),
        source: InstanceSource::alias(image::ALIAS),
        config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Config>(),
        ..InstancesPost::default()
    };
    world.server.create_instance(&post, None).await.unwrap().wait(MINUTE).await.unwrap();
}

async fn external(world: &World) {
    world
        .make_cluster(json!({
            "loadBalancer": { "external": {} }, "controlPlaneEndpoint": { "host": "192.0.2.1" },
        }))
        .await;
    world.provision().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_instance_is_refused_and_survives_the_deletion() {
    on_servers("somebody_elses_instance_is_refused", |mut world| async move {
        world.start();
        external(&world).await;
        let name = format!("{}-md", world.cluster);
        make_instance(
            &world,
            &name,
            &[("user.cluster-name", "other"), ("user.cluster-namespace", "x")],
        )
        .await;
        world.make_machine(&name, false, json!({})).await;
        let machine = world
            .until::<LXCMachine>(&name, "to be refused", |machine| {
                provisioning(machine).0 == "InstanceProvisioningAborted"
            })
            .await;
        let message = provisioning(&machine).1;
        assert!(message.contains("cluster x/other"), "{message}");
        assert!(message.contains(&format!("default/{name}")), "{message}");
        assert!(world.instance(&name).await.unwrap().is_stopped(), "it was started");

        world.delete::<LXCMachine>(&name).await;
        world.until_gone::<LXCMachine>(&name).await;
        assert!(world.instance(&name).await.is_some(), "it was deleted");
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_the_go_provider_is_adopted() {
    on_servers("an_instance_of_the_go_provider_is_adopted", |mut world| async move {
        world.start();
        external(&world).await;
        let name = format!("{}-md", world.cluster);
        make_instance(
            &world,
            &name,
            &[
                ("user.cluster-name", &world.cluster),
                ("user.cluster-namespace", "default"),
                ("user.machine-name", &name),
                ("user.cluster-role", "worker"),
                ("user.made-by", "hand"),
            ],
        )
        .await;
        world.make_machine(&name, false, json!({ "providerID": format!("lxc:///{name}") })).await;
        let machine = world.ready_machine(&name).await;
        let instance = world.instance(&name).await.unwrap();
        assert_eq!(instance.config["user.made-by"], "hand");
        assert_eq!(Some(&instance.config["user.capn.owner-uid"]), machine.metadata.uid.as_ref());
        world
    })
    .await;
}

/// The address of an instance that is started for it.
async fn started(world: &World, name: &str) -> String {
    let start = world.server.set_state(name, InstanceAction::Start, false, None).await;
    start.unwrap().wait(MINUTE).await.unwrap();
    let deadline = tokio::time::Instant::now() + MINUTE;
    loop {
        let instance = world.instance(name).await.unwrap();
        if let Some((_, found)) = instance.state.as_ref().unwrap().global_addresses().first() {
            return found.address.clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "waited a minute for {name}'s address");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_the_go_provider_goes_on_with_the_instances_it_has() {
    on_servers("a_cluster_of_the_go_provider_goes_on", |mut world| async move {
        let (balancer, cp) = (world.balancer(), format!("{}-control-plane-x7k2p", world.cluster));
        // As the Go provider marks them, and no more.
        let cluster =
            [("user.cluster-name", &*world.cluster), ("user.cluster-namespace", "default")];
        let marks = |own: &[(&'static str, &str)]| {
            let all = cluster.iter().chain(own).map(|(key, value)| (*key, (*value).to_owned()));
            all.collect::<Vec<_>>()
        };
        let of_balancer = marks(&[("user.cluster-role", "loadbalancer")]);
        let of_machine = marks(&[
            ("user.cluster-role", "control-plane"),
            ("user.machine-name", &cp),
            ("cloud-init.user-data", "#cloud-config\n"),
            ("security.nesting", "true"),
        ]);
        for (name, marks) in [(&balancer, &of_balancer), (&cp, &of_machine)] {
            let marks: Vec<_> = marks.iter().map(|(key, value)| (*key, value.as_str())).collect();
            make_instance(&world, name, &marks).await;
        }
        let endpoint = started(&world, &balancer).await;
        let backend = started(&world, &cp).await;
        let born =
            |instance: &incus_client::api::InstanceFull| instance.config["volatile.uuid"].clone();
        let before = [&balancer, &cp].map(|name| world.server.instance_full(name));
        let before = futures::future::join_all(before).await;
        let before: Vec<_> =
            before.into_iter().map(|found| born(&found.unwrap().unwrap())).collect();

        world
            .make_cluster(json!({
                "unprivileged": null, "skipDefaultKubeadmProfile": false,
                "controlPlaneEndpoint": { "host": endpoint, "port": 6443 },
                "loadBalancer": { "lxc": { "instanceSpec": {
                    "flavor": "", "profiles": ["default"], "target": "",
                    "image": { "name": image::ALIAS },
                } } },
            }))
            .await;
        let spec = json!({
            "providerID": format!("lxc:///{cp}"), "instanceType": "container", "target": "",
            "profiles": ["default"], "devices": [], "flavor": "",
        });
        world.make_machine(&cp, true, spec).await;
        let finalizer = |name: &str| json!({ "metadata": { "finalizers": [name] } });
        let of_cluster = finalizer("lxccluster.infrastructure.cluster.x-k8s.io");
        world.patch::<LXCCluster>(&world.cluster, of_cluster).await;
        let of_machine = finalizer("lxcmachine.infrastructure.cluster.x-k8s.io");
        world.patch::<LXCMachine>(&cp, of_machine).await;
        world.say_provisioned().await;
        world.start();
        let cluster = world.provision().await;
        assert_eq!(cluster.spec.endpoint_host(), Some(endpoint.as_str()));
        let machine = world
            .until::<LXCMachine>(&cp, "to be ready behind the load balancer", |machine| {
                is_ready(machine)
                    && machine.status.as_ref().is_some_and(|status| status.load_balancer_configured)
            })
            .await;
        for ((name, uuid), uid) in [&balancer, &cp]
            .into_iter()
            .zip(&before)
            .zip([cluster.metadata.uid.as_ref(), machine.metadata.uid.as_ref()])
        {
            let instance = world.instance(name).await.unwrap();
            assert_eq!(born(&instance), *uuid, "{name} was made again");
            assert_eq!(Some(&instance.config["user.capn.owner-uid"]), uid, "{name}");
        }
        let haproxy = world.server.pull_file(&balancer, "/etc/haproxy/haproxy.cfg").await;
        let haproxy = String::from_utf8_lossy(&haproxy.unwrap().unwrap().content).into_owned();
        assert!(haproxy.contains(&format!("{backend}:6443")), "{haproxy}");

        world.delete::<LXCMachine>(&cp).await;
        world.delete::<LXCCluster>(&world.cluster).await;
        world.until_gone::<LXCMachine>(&cp).await;
        world.until_gone::<LXCCluster>(&world.cluster).await;
        assert!(world.instances().await.is_empty());
        world
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_another_namespace_or_management_cluster_took_is_refused_with_both_names() {
    on_servers("a_name_that_another_namespace_took", |mut world| async move {
        world.start();
        let names = ["a", "b"].map(|name| format!("{}-{name}", world.cluster));
        let [of_namespace, of_manager] = &names;
        let marks = |name: &str, namespace: &str, role: &str| {
            vec![
                ("user.cluster-name", world.cluster.clone()),
                ("user.cluster-namespace", namespace.to_owned()),
                ("user.machine-name", name.to_owned()),
                ("user.cluster-role", role.to_owned()),
                ("user.capn.owner", format!("{namespace}/{name}")),
                ("user.capn.owner-uid", format!("uid-of-{name}")),
            ]
        };
        // The same names everywhere in the second one: only the UID tells.
        let balancer = world.balancer();
        let taken = [
            (of_namespace, marks(of_namespace, "other", "worker")),
            (of_manager, marks(of_manager, "default", "worker")),
            (&balancer, marks("else", "default", "loadbalancer")),
        ];
        for (name, marks) in &taken {
            let marks: Vec<_> = marks.iter().map(|(key, value)| (*key, value.as_str())).collect();
            make_instance(&world, name, &marks).await;
        }
        world.make_cluster(json!({})).await;
        world.say_provisioned().await;
        for name in &names {
            world.make_machine(name, false, json!({})).await;
        }
        for (name, theirs) in [(of_namespace, "other"), (of_manager, "default")] {
            let refused = world
                .until::<LXCMachine>(name, "to be refused", |machine| {
                    provisioning(machine).0 == "InstanceProvisioningAborted"
                })
                .await;
            let message = provisioning(&refused).1;
            for part in [
                format!("default/{name} needs"),
                format!("{theirs}/{name}"),
                format!("uid-of-{name}"),
            ] {
                assert!(message.contains(&part), "{part}: {message}");
            }
        }
        let refused = world
            .until::<LXCCluster>(&world.cluster, "to be refused", |cluster| {
                let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
                conditions.into_iter().any(|c| {
                    c.reason == "LoadBalancerProvisioningAborted"
                        && c.message.contains("default/else")
                        && c.message.contains(&format!("default/{}", world.cluster))
                })
            })
            .await;
        assert_eq!(refused.spec.endpoint_host(), None);
        for name in &names {
            world.delete::<LXCMachine>(name).await;
            world.until_gone::<LXCMachine>(name).await;
        }
        world.delete::<LXCCluster>(&world.cluster).await;
        world.until_gone::<LXCCluster>(&world.cluster).await;
        for (name, _) in &taken {
            assert!(world.instance(name).await.is_some_and(|found| found.is_stopped()), "{name}");
        }
        world
    })
    .await;
}

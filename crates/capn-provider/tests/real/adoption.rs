//! Ownership of instances.

use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::{Config, InstanceAction, InstanceSource, InstancesPost};
use serde_json::json;

use crate::{
    harness::{MINUTE, TestEnv, is_ready, on_servers, provisioning},
    image,
};

async fn make_instance(env: &TestEnv, name: &str, config: &[(&str, &str)]) {
    let post = InstancesPost {
        name: name.to_owned(),
        source: InstanceSource::alias(image::ALIAS),
        config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Config>(),
        ..InstancesPost::default()
    };
    env.server.create_instance(&post, None).await.unwrap().wait(MINUTE).await.unwrap();
}

async fn external(env: &TestEnv) {
    env.make_cluster(json!({
        "loadBalancer": { "external": {} }, "controlPlaneEndpoint": { "host": "192.0.2.1" },
    }))
    .await;
    env.provision().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_another_owner_is_rejected_and_survives_the_deletion() {
    on_servers("somebody_elses_instance_is_refused", |mut env| async move {
        env.start();
        external(&env).await;
        let name = format!("{}-md", env.cluster);
        make_instance(
            &env,
            &name,
            &[("user.cluster-name", "other"), ("user.cluster-namespace", "x")],
        )
        .await;
        env.make_machine(&name, false, json!({})).await;
        let machine = env
            .until::<LXCMachine>(&name, "to be refused", |machine| {
                provisioning(machine).0 == "InstanceProvisioningAborted"
            })
            .await;
        let message = provisioning(&machine).1;
        assert!(message.contains("cluster x/other"), "{message}");
        assert!(message.contains(&format!("default/{name}")), "{message}");
        assert!(env.instance(&name).await.unwrap().is_stopped(), "it was started");

        env.delete::<LXCMachine>(&name).await;
        env.until_gone::<LXCMachine>(&name).await;
        assert!(env.instance(&name).await.is_some(), "it was deleted");
        env
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_the_go_provider_is_adopted() {
    on_servers("an_instance_of_the_go_provider_is_adopted", |mut env| async move {
        env.start();
        external(&env).await;
        let name = format!("{}-md", env.cluster);
        make_instance(
            &env,
            &name,
            &[
                ("user.cluster-name", &env.cluster),
                ("user.cluster-namespace", "default"),
                ("user.machine-name", &name),
                ("user.cluster-role", "worker"),
                ("user.made-by", "hand"),
            ],
        )
        .await;
        env.make_machine(&name, false, json!({ "providerID": format!("lxc:///{name}") })).await;
        let machine = env.ready_machine(&name).await;
        let instance = env.instance(&name).await.unwrap();
        assert_eq!(instance.config["user.made-by"], "hand");
        assert_eq!(Some(&instance.config["user.capn.owner-uid"]), machine.metadata.uid.as_ref());
        env
    })
    .await;
}

/// Starts an instance and returns its address.
async fn started(env: &TestEnv, name: &str) -> String {
    let start = env.server.set_state(name, InstanceAction::Start, false, None).await;
    start.unwrap().wait(MINUTE).await.unwrap();
    let deadline = tokio::time::Instant::now() + MINUTE;
    loop {
        let instance = env.instance(name).await.unwrap();
        if let Some((_, found)) = instance.state.as_ref().unwrap().global_addresses().first() {
            return found.address.clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "waited a minute for {name}'s address");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_the_go_provider_keeps_its_instances() {
    on_servers("a_cluster_of_the_go_provider_goes_on", |mut env| async move {
        let (balancer, cp) = (env.balancer(), format!("{}-control-plane-x7k2p", env.cluster));
        // Only with the keys of the Go provider.
        let cluster = [("user.cluster-name", &*env.cluster), ("user.cluster-namespace", "default")];
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
            make_instance(&env, name, &marks).await;
        }
        let endpoint = started(&env, &balancer).await;
        let backend = started(&env, &cp).await;
        let born =
            |instance: &incus_client::api::InstanceFull| instance.config["volatile.uuid"].clone();
        let before = [&balancer, &cp].map(|name| env.server.instance_full(name));
        let before = futures::future::join_all(before).await;
        let before: Vec<_> =
            before.into_iter().map(|found| born(&found.unwrap().unwrap())).collect();

        env.make_cluster(json!({
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
        env.make_machine(&cp, true, spec).await;
        let finalizer = |name: &str| json!({ "metadata": { "finalizers": [name] } });
        let of_cluster = finalizer("lxccluster.infrastructure.cluster.x-k8s.io");
        env.patch::<LXCCluster>(&env.cluster, of_cluster).await;
        let of_machine = finalizer("lxcmachine.infrastructure.cluster.x-k8s.io");
        env.patch::<LXCMachine>(&cp, of_machine).await;
        env.say_provisioned().await;
        env.start();
        let cluster = env.provision().await;
        assert_eq!(cluster.spec.endpoint_host(), Some(endpoint.as_str()));
        let machine = env
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
            let instance = env.instance(name).await.unwrap();
            assert_eq!(born(&instance), *uuid, "{name} was made again");
            assert_eq!(Some(&instance.config["user.capn.owner-uid"]), uid, "{name}");
        }
        let haproxy = env.server.pull_file(&balancer, "/etc/haproxy/haproxy.cfg").await;
        let haproxy = String::from_utf8_lossy(&haproxy.unwrap().unwrap().content).into_owned();
        assert!(haproxy.contains(&format!("{backend}:6443")), "{haproxy}");

        env.delete::<LXCMachine>(&cp).await;
        env.delete::<LXCCluster>(&env.cluster).await;
        env.until_gone::<LXCMachine>(&cp).await;
        env.until_gone::<LXCCluster>(&env.cluster).await;
        assert!(env.instances().await.is_empty());
        env
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_conflict_is_reported_with_both_owners() {
    on_servers("a_name_that_another_namespace_took", |mut env| async move {
        env.start();
        let names = ["a", "b"].map(|name| format!("{}-{name}", env.cluster));
        let [of_namespace, of_manager] = &names;
        let marks = |name: &str, namespace: &str, role: &str| {
            vec![
                ("user.cluster-name", env.cluster.clone()),
                ("user.cluster-namespace", namespace.to_owned()),
                ("user.machine-name", name.to_owned()),
                ("user.cluster-role", role.to_owned()),
                ("user.capn.owner", format!("{namespace}/{name}")),
                ("user.capn.owner-uid", format!("uid-of-{name}")),
            ]
        };
        // The second one has the same names; only the UID differs.
        let balancer = env.balancer();
        let taken = [
            (of_namespace, marks(of_namespace, "other", "worker")),
            (of_manager, marks(of_manager, "default", "worker")),
            (&balancer, marks("else", "default", "loadbalancer")),
        ];
        for (name, marks) in &taken {
            let marks: Vec<_> = marks.iter().map(|(key, value)| (*key, value.as_str())).collect();
            make_instance(&env, name, &marks).await;
        }
        env.make_cluster(json!({})).await;
        env.say_provisioned().await;
        for name in &names {
            env.make_machine(name, false, json!({})).await;
        }
        for (name, theirs) in [(of_namespace, "other"), (of_manager, "default")] {
            let refused = env
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
        let refused = env
            .until::<LXCCluster>(&env.cluster, "to be refused", |cluster| {
                let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
                conditions.into_iter().any(|c| {
                    c.reason == "LoadBalancerProvisioningAborted"
                        && c.message.contains("default/else")
                        && c.message.contains(&format!("default/{}", env.cluster))
                })
            })
            .await;
        assert_eq!(refused.spec.endpoint_host(), None);
        for name in &names {
            env.delete::<LXCMachine>(name).await;
            env.until_gone::<LXCMachine>(name).await;
        }
        env.delete::<LXCCluster>(&env.cluster).await;
        env.until_gone::<LXCCluster>(&env.cluster).await;
        for (name, _) in &taken {
            assert!(env.instance(name).await.is_some_and(|found| found.is_stopped()), "{name}");
        }
        env
    })
    .await;
}

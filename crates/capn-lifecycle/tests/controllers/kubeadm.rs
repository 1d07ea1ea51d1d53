//! A cluster whose control plane and workers are set up with kubeadm; only the infrastructure and
//! the workload cluster are pretended.

use std::collections::BTreeMap;
use std::time::Duration;

use capi_api::controlplane::{PRE_TERMINATE_HOOK, machine_conditions as health};
use capi_api::{Cluster, KubeadmConfig, KubeadmControlPlane, Machine, conditions, labels, refs};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::workload::CERTIFICATES_END;
use crate::world::{World, condition, machine_is, manifests, reference, template, until};

const GROUP: &str = "controlplane.cluster.x-k8s.io";

/// The objects of a cluster `c` with a control plane `cp` and a deployment `md` of workers.
pub(crate) fn kubeadm_manifests(control_planes: i32, workers: i32) -> Vec<Value> {
    let mut objects = manifests(workers);
    objects.retain(|object| {
        !["TestControlPlane", "TestConfigTemplate"].contains(&object["kind"].as_str().unwrap())
    });
    objects[0]["spec"]["controlPlaneRef"] =
        json!({ "apiGroup": GROUP, "kind": "KubeadmControlPlane", "name": "cp" });
    let deployment = objects.iter_mut().find(|o| o["kind"] == "MachineDeployment").unwrap();
    deployment["spec"]["template"]["spec"]["bootstrap"]["configRef"] = json!({
        "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfigTemplate", "name": "workers",
    });
    objects.push(json!({
        "apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfigTemplate",
        "metadata": { "name": "workers" },
        "spec": { "template": { "spec": { "preKubeadmCommands": ["echo worker"] } } },
    }));
    objects.push(template("TestMachineTemplate", "control-plane"));
    objects.push(json!({
        "apiVersion": format!("{GROUP}/v1beta2"), "kind": "KubeadmControlPlane",
        "metadata": { "name": "cp" },
        "spec": {
            "replicas": control_planes,
            "version": "v1.36.0",
            "machineTemplate": {
                "metadata": { "labels": { "zone": "a" } },
                "spec": { "infrastructureRef": reference("TestMachineTemplate", "control-plane") },
            },
            "kubeadmConfigSpec": {
                "clusterConfiguration": { "encryptionAlgorithm": "ECDSA-P256" },
                "preKubeadmCommands": ["echo control plane"],
            },
        },
    }));
    objects
}

pub(crate) async fn initialized(world: &World) -> KubeadmControlPlane {
    world
        .wait::<KubeadmControlPlane>("cp", "is available", |kcp| {
            let list = kcp.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions::is_true(list, conditions::AVAILABLE)
        })
        .await
}

pub(crate) async fn control_plane_machines(world: &World) -> Vec<Machine> {
    let mut machines = world.list::<Machine>().await;
    machines.retain(Machine::is_control_plane);
    machines.sort_by_key(|machine| machine.creation_timestamp().map(|time| time.0));
    machines
}

/// The boot data of a machine.
async fn boot_data(world: &World, machine: &Machine) -> String {
    let secret = machine.spec.bootstrap.data_secret_name.clone().unwrap();
    let secret = world.api::<Secret>().get(&secret).await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some(labels::CLUSTER_SECRET_TYPE));
    assert_eq!(refs::controller(&secret.metadata).unwrap().kind, "KubeadmConfig");
    String::from_utf8(secret.data.unwrap()["value"].0.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_machine_initializes_and_workers_join() {
    let world = World::new().await;
    world.workload.down(true);
    world.create(kubeadm_manifests(1, 2)).await;

    let kcp = initialized(&world).await;
    world.wait_settled(2).await;
    let status = kcp.status.unwrap();
    let list = status.conditions.as_ref();
    for (kind, expected) in [
        ("Initialized", "True"),
        ("CertificatesAvailable", "True"),
        ("EtcdClusterHealthy", "True"),
        ("ControlPlaneComponentsHealthy", "True"),
        (conditions::ROLLING_OUT, "False"),
        (conditions::SCALING_UP, "False"),
        (conditions::SCALING_DOWN, "False"),
        (conditions::PAUSED, "False"),
    ] {
        assert_eq!(condition(list, kind), Some(expected), "{kind}");
    }
    assert_eq!(
        status.selector.as_deref(),
        Some("cluster.x-k8s.io/cluster-name=c,cluster.x-k8s.io/control-plane")
    );
    world
        .wait::<KubeadmControlPlane>("cp", "counts its machine", |kcp| {
            let status = kcp.status.clone().unwrap_or_default();
            [
                status.replicas,
                status.ready_replicas,
                status.available_replicas,
                status.up_to_date_replicas,
            ] == [Some(1); 4]
                && status.version.as_deref() == Some("v1.36.0")
        })
        .await;

    let machines = control_plane_machines(&world).await;
    let first = &machines[0];
    let name = first.name_any();
    assert_eq!(machines.len(), 1);
    world
        .wait::<Machine>(&name, "knows when its certificates end", |machine| {
            let end = machine.status.as_ref().and_then(|s| s.certificates_expiry_date.as_ref());
            end.is_some_and(|end| end.0.to_string() == CERTIFICATES_END)
        })
        .await;
    assert!(name.starts_with("cp-"), "{name}");
    assert_eq!(refs::controller(&first.metadata).unwrap().kind, "KubeadmControlPlane");
    assert_eq!(first.labels()[labels::CONTROL_PLANE_NAME], "cp");
    assert_eq!(first.labels()["zone"], "a");
    assert!(first.annotations().contains_key(PRE_TERMINATE_HOOK));
    assert_eq!(first.spec.failure_domain.as_deref(), Some("a"));
    for kind in [
        health::API_SERVER_POD_HEALTHY,
        health::CONTROLLER_MANAGER_POD_HEALTHY,
        health::SCHEDULER_POD_HEALTHY,
        health::ETCD_POD_HEALTHY,
        health::ETCD_MEMBER_HEALTHY,
        health::NODE_KUBEADM_LABELS_AND_TAINTS_SET,
        conditions::UP_TO_DATE,
        conditions::READY,
    ] {
        assert!(machine_is(first, kind), "{kind}: {:?}", first.status);
    }

    let text = boot_data(&world, first).await;
    assert!(text.contains("kubeadm init"), "{text}");
    assert!(text.contains("/etc/kubernetes/pki/etcd/ca.key"), "{text}");
    assert!(text.contains("echo control plane"), "{text}");
    assert!(text.contains("controlPlaneEndpoint: 192.0.2.1:6443"), "{text}");
    let worker = world.list::<Machine>().await.into_iter().find(|m| !m.is_control_plane());
    let text = boot_data(&world, &worker.unwrap()).await;
    assert!(text.contains("kubeadm join"), "{text}");
    assert!(text.contains("node.cluster.x-k8s.io/uninitialized"), "{text}");
    assert!(!text.contains("/pki/"), "{text}");
    let locks = world.api::<ConfigMap>().get_opt("c-lock").await.unwrap();
    assert!(locks.is_none(), "the lock is given free when the first worker joins");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_kubeconfig_are_made_once_and_belong_to_the_control_plane() {
    let world = World::new().await;
    world.create(kubeadm_manifests(1, 0)).await;
    initialized(&world).await;
    let read = || async {
        let mut found = BTreeMap::new();
        for name in ["c-ca", "c-etcd", "c-proxy", "c-sa", "c-kubeconfig"] {
            let secret = world.api::<Secret>().get(name).await.unwrap();
            assert_eq!(refs::controller(&secret.metadata).unwrap().kind, "KubeadmControlPlane");
            assert_eq!(secret.labels()[labels::CLUSTER_NAME], "c");
            found.insert(name, secret.data.unwrap());
        }
        found
    };
    let before = read().await;
    let kubeconfig = String::from_utf8(before["c-kubeconfig"]["value"].0.clone()).unwrap();
    assert!(kubeconfig.contains("server: https://192.0.2.1:6443"), "{kubeconfig}");

    // A kubeconfig can be made again, an authority cannot.
    world.delete::<Secret>("c-kubeconfig").await;
    let again = world.wait::<Secret>("c-kubeconfig", "is there again", |_| true).await;
    assert_ne!(again.data.unwrap()["value"], before["c-kubeconfig"]["value"]);
    world.delete::<Secret>("c-etcd").await;
    world
        .wait::<KubeadmControlPlane>("cp", "says that an authority is lost", |kcp| {
            let list = kcp.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions::get(list, "CertificatesAvailable")
                .is_some_and(|c| c.status == "False" && c.message.contains("-etcd is gone"))
        })
        .await;
    assert!(world.api::<Secret>().get_opt("c-etcd").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn further_control_plane_machines_join_one_after_the_other() {
    let world = World::new().await;
    world.create(kubeadm_manifests(3, 0)).await;
    settled(&world, 3, "v1.36.0").await;
    let mut inits = 0;
    for machine in &control_plane_machines(&world).await {
        let text = boot_data(&world, machine).await;
        let config: KubeadmConfig = world.api().get(&machine.name_any()).await.unwrap();
        if text.contains("kubeadm init") {
            inits += 1;
            continue;
        }
        assert!(text.contains("kubeadm join") && text.contains("controlPlane: {}"), "{text}");
        assert!(text.contains("/etc/kubernetes/pki/ca.key"), "{text}");
        assert!(!text.contains("node.cluster.x-k8s.io/uninitialized"), "{text}");
        assert_eq!(config.spec.init_configuration, None);
        let token = config.spec.join_configuration.unwrap().discovery.unwrap().bootstrap_token;
        let token = token.unwrap().token.unwrap();
        let (id, _) = token.split_once('.').unwrap();
        assert!(world.workload.secrets().contains_key(&format!("bootstrap-token-{id}")));
    }
    assert_eq!(inits, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_machine_is_added_while_another_is_not_well() {
    let world = World::new().await;
    world.create(kubeadm_manifests(1, 0)).await;
    initialized(&world).await;
    let first = control_plane_machines(&world).await[0].name_any();
    world.workload.set_component("etcd", &first, false);
    world
        .wait::<Machine>(&first, "is not ready", |machine| {
            let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
            condition(list, health::ETCD_MEMBER_HEALTHY) == Some("False")
                && condition(list, conditions::READY) == Some("False")
        })
        .await;
    world.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "replicas": 3 } })).await;
    world
        .wait::<KubeadmControlPlane>("cp", "says why it does not grow", |kcp| {
            let list = kcp.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions::get(list, conditions::SCALING_UP)
                .is_some_and(|c| c.status == "True" && c.message.contains("EtcdPodHealthy"))
                && condition(list, conditions::AVAILABLE) == Some("False")
        })
        .await;
    assert_eq!(control_plane_machines(&world).await.len(), 1);
    world.workload.set_component("etcd", &first, true);
    until("it grows", || async {
        let count = control_plane_machines(&world).await.len();
        if count > 1 { Ok(()) } else { Err(format!("{count} machines")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_api_server_does_not_make_machines_unhealthy() {
    let world = World::new().await;
    world.create(kubeadm_manifests(1, 0)).await;
    initialized(&world).await;
    let first = control_plane_machines(&world).await[0].name_any();
    world.wait::<Machine>(&first, "is ready", |m| machine_is(m, conditions::READY)).await;
    world.workload.down(true);
    // Something to reconcile for.
    let change = json!({ "spec": { "remediation": { "maxRetry": 5 } } });
    world.patch::<KubeadmControlPlane>("cp", change).await;
    world
        .wait::<KubeadmControlPlane>("cp", "was reconciled", |kcp| {
            let status = kcp.status.as_ref();
            status.and_then(|status| status.observed_generation) == kcp.metadata.generation
        })
        .await;
    let machine = world.api::<Machine>().get(&first).await.unwrap();
    assert!(machine_is(&machine, health::API_SERVER_POD_HEALTHY), "{:?}", machine.status);
    world.workload.down(false);
}

/// Waits until the control plane has so many machines of a version, all of them well.
pub(crate) async fn settled(world: &World, count: i32, version: &str) {
    until("the control plane is settled", || async {
        let kcp: KubeadmControlPlane = world.api().get("cp").await.unwrap();
        let status = kcp.status.clone().unwrap_or_default();
        let versions = status.versions.clone().unwrap_or_default();
        let is_settled = [status.replicas, status.ready_replicas, status.up_to_date_replicas]
            == [Some(count); 3]
            && versions.len() == 1
            && versions[0].version == version
            && status.observed_generation == kcp.metadata.generation
            && condition(status.conditions.as_ref(), conditions::ROLLING_OUT) == Some("False");
        if is_settled {
            return Ok(());
        }
        let machines = control_plane_machines(world).await;
        let machines = machines.iter().map(|machine| {
            json!({ "name": machine.name_any(), "version": machine.metadata.resource_version,
                "annotations": machine.metadata.annotations, "status": machine.status })
        });
        let seen = json!({ "status": kcp.status, "machines": machines.collect::<Vec<_>>(),
            "members": world.workload.members() });
        Err(serde_json::to_string_pretty(&seen).unwrap())
    })
    .await;
}

/// Nodes of the control plane and members of etcd are those of the machines.
pub(crate) async fn nothing_is_left_over(world: &World) {
    let mut names: Vec<_> =
        control_plane_machines(world).await.iter().map(|machine| machine.name_any()).collect();
    names.sort();
    until("nodes and members are those of the machines", || async {
        let mut members = world.workload.members();
        members.sort();
        let nodes = world.workload.nodes();
        if members == names && nodes == names {
            Ok(())
        } else {
            Err(format!("machines {names:?}, members {members:?}, nodes {nodes:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_version_replaces_machines_one_after_the_other() {
    for replicas in [1, 3] {
        let world = World::new().await;
        world.create(kubeadm_manifests(replicas, 0)).await;
        settled(&world, replicas, "v1.36.0").await;
        let before = control_plane_machines(&world).await;
        world.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "version": "v1.37.0" } })).await;
        settled(&world, replicas, "v1.37.0").await;
        nothing_is_left_over(&world).await;
        let after = control_plane_machines(&world).await;
        for machine in &before {
            assert!(after.iter().all(|new| new.name_any() != machine.name_any()));
        }
        assert!(world.workload.kubeadm_config().contains("kubernetesVersion: v1.37.0"));
        let log = world.workload.etcd_log();
        assert_eq!(log.iter().filter(|line| line.ends_with("removed")).count(), before.len());
    }
}

/// Waits until API servers may reach kubelets.
async fn kubelets_can_be_reached(world: &World) {
    until("the binding of the API servers is there", || async {
        let binding = world.workload.binding("kubeadm:apiserver-kubelet-client");
        let role = binding.map(|found| found["roleRef"]["name"].clone());
        if role == Some(json!("system:kubelet-api-admin")) {
            Ok(())
        } else {
            Err(format!("{role:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_servers_may_reach_kubelets_before_a_machine_without_an_organization_joins() {
    let name = "kubeadm:apiserver-kubelet-client";
    let world = World::new().await;
    world.create(kubeadm_manifests(1, 0)).await;
    settled(&world, 1, "v1.36.0").await;
    assert_eq!(world.workload.binding(name), None, "kubeadm 1.36.0 needs none");
    world.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "version": "v1.36.1" } })).await;
    kubelets_can_be_reached(&world).await;
    assert!(world.workload.nodes().len() < 2, "nothing joined before");
    settled(&world, 1, "v1.36.1").await;
    // It is back at once, without a change of anything else.
    world.workload.remove_binding(name);
    kubelets_can_be_reached(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_grows_and_shrinks() {
    let world = World::new().await;
    world.create(kubeadm_manifests(3, 0)).await;
    settled(&world, 3, "v1.36.0").await;
    world.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "replicas": 1 } })).await;
    settled(&world, 1, "v1.36.0").await;
    nothing_is_left_over(&world).await;
    world.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "replicas": 3 } })).await;
    settled(&world, 3, "v1.36.0").await;
    nothing_is_left_over(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_a_user_deletes_is_replaced() {
    let world = World::new().await;
    world.create(kubeadm_manifests(3, 0)).await;
    settled(&world, 3, "v1.36.0").await;
    // The one that leads etcd, which is the hardest to take away.
    let leader = world.workload.members()[0].clone();
    world.delete::<Machine>(&leader).await;
    world.wait_gone::<Machine>(&leader).await;
    settled(&world, 3, "v1.36.0").await;
    nothing_is_left_over(&world).await;
    assert_eq!(
        world.workload.etcd_log(),
        [format!("{leader} hands over"), format!("{leader} removed")]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_of_a_control_plane_ends_however_often_the_controllers_are_killed() {
    let mut world = World::new().await;
    world.create(kubeadm_manifests(3, 0)).await;
    settled(&world, 3, "v1.36.0").await;
    world.stop();
    world.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "version": "v1.36.1" } })).await;
    for round in 0..60_u64 {
        world.start();
        tokio::time::sleep(Duration::from_millis(3 + round * 7 % 60)).await;
        world.stop();
    }
    world.start();
    settled(&world, 3, "v1.36.1").await;
    nothing_is_left_over(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_workers_first_and_leaves_nothing() {
    let world = World::new().await;
    world.create(kubeadm_manifests(3, 2)).await;
    world.wait_settled(2).await;
    let first = control_plane_machines(&world).await[0].name_any();
    world.delete::<Cluster>("c").await;
    world.wait_gone::<Cluster>("c").await;
    assert_eq!(world.list::<Machine>().await.len(), 0);
    until("what belonged to the control plane is collected", || async {
        let secrets: Vec<_> =
            world.list::<Secret>().await.iter().map(|secret| secret.name_any()).collect();
        let configs = world.list::<KubeadmConfig>().await.len();
        if secrets.is_empty() && configs == 0 {
            Ok(())
        } else {
            Err(format!("{secrets:?}, {configs} configs"))
        }
    })
    .await;
    let log = world.log.lines();
    let position = |what: &str| log.iter().position(|line| line.contains(what)).unwrap();
    let last_worker = log.iter().rposition(|line| line.starts_with("TestMachine md-")).unwrap();
    assert!(last_worker < position(&format!("TestMachine {first} deleted")), "{log:?}");
    assert!(position(&first) < position("TestCluster c deleted"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_comes_up_however_often_the_controllers_are_killed() {
    let mut world = World::without_controllers().await;
    world.workload.down(true);
    world.create(kubeadm_manifests(3, 2)).await;
    for round in 0..60_u64 {
        world.start();
        tokio::time::sleep(Duration::from_millis(3 + round * 7 % 60)).await;
        world.stop();
    }
    world.start();
    world.wait_settled(2).await;
    settled(&world, 3, "v1.36.0").await;
    let mut names: Vec<_> =
        world.list::<Machine>().await.iter().map(|machine| machine.name_any()).collect();
    names.sort();
    assert_eq!(names.len(), 5);
    until("every part has a machine", || async {
        let parts = world.provider_names("TestMachine").await;
        let mut configs: Vec<_> =
            world.list::<KubeadmConfig>().await.iter().map(|config| config.name_any()).collect();
        configs.sort();
        if parts == names && configs == names {
            Ok(())
        } else {
            Err(format!("machines {names:?}, parts {parts:?}, configs {configs:?}"))
        }
    })
    .await;
    let inits = futures::future::join_all(
        control_plane_machines(&world).await.iter().map(|machine| boot_data(&world, machine)),
    )
    .await;
    assert_eq!(inits.iter().filter(|text| text.contains("kubeadm init")).count(), 1);
}

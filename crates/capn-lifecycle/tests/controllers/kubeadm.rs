//! A cluster whose control plane and workers use kubeadm; only the infrastructure and the workload
//! cluster are simulated.

use std::collections::BTreeMap;
use std::time::Duration;

use capi_api::controlplane::{PRE_TERMINATE_HOOK, machine_conditions as health};
use capi_api::{Cluster, KubeadmConfig, KubeadmControlPlane, Machine, conditions, labels, refs};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::harness::{TestEnv, condition, machine_is, manifests, reference, template, until};
use crate::workload::CERTIFICATES_END;

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

pub(crate) async fn initialized(env: &TestEnv) -> KubeadmControlPlane {
    env.wait::<KubeadmControlPlane>("cp", "is available", |kcp| {
        let list = kcp.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::is_true(list, conditions::AVAILABLE)
    })
    .await
}

pub(crate) async fn control_plane_machines(env: &TestEnv) -> Vec<Machine> {
    let mut machines = env.list::<Machine>().await;
    machines.retain(Machine::is_control_plane);
    machines.sort_by_key(|machine| machine.creation_timestamp().map(|time| time.0));
    machines
}

/// Returns the bootstrap data of a machine.
async fn boot_data(env: &TestEnv, machine: &Machine) -> String {
    let secret = machine.spec.bootstrap.data_secret_name.clone().unwrap();
    let secret = env.api::<Secret>().get(&secret).await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some(labels::CLUSTER_SECRET_TYPE));
    assert_eq!(refs::controller(&secret.metadata).unwrap().kind, "KubeadmConfig");
    String::from_utf8(secret.data.unwrap()["value"].0.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_machine_initializes_and_workers_join() {
    let env = TestEnv::new().await;
    env.workload.down(true);
    env.create(kubeadm_manifests(1, 2)).await;

    let kcp = initialized(&env).await;
    env.wait_settled(2).await;
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
    env.wait::<KubeadmControlPlane>("cp", "counts its machine", |kcp| {
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

    let machines = control_plane_machines(&env).await;
    let first = &machines[0];
    let name = first.name_any();
    assert_eq!(machines.len(), 1);
    env.wait::<Machine>(&name, "knows when its certificates end", |machine| {
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

    let text = boot_data(&env, first).await;
    assert!(text.contains("kubeadm init"), "{text}");
    assert!(text.contains("/etc/kubernetes/pki/etcd/ca.key"), "{text}");
    assert!(text.contains("echo control plane"), "{text}");
    assert!(text.contains("controlPlaneEndpoint: 192.0.2.1:6443"), "{text}");
    let worker = env.list::<Machine>().await.into_iter().find(|m| !m.is_control_plane());
    let text = boot_data(&env, &worker.unwrap()).await;
    assert!(text.contains("kubeadm join"), "{text}");
    assert!(text.contains("node.cluster.x-k8s.io/uninitialized"), "{text}");
    assert!(!text.contains("/pki/"), "{text}");
    let locks = env.api::<ConfigMap>().get_opt("c-lock").await.unwrap();
    assert!(locks.is_none(), "the lock is given free when the first worker joins");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_kubeconfig_are_made_once_and_belong_to_the_control_plane() {
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(1, 0)).await;
    initialized(&env).await;
    let read = || async {
        let mut found = BTreeMap::new();
        for name in ["c-ca", "c-etcd", "c-proxy", "c-sa", "c-kubeconfig"] {
            let secret = env.api::<Secret>().get(name).await.unwrap();
            assert_eq!(refs::controller(&secret.metadata).unwrap().kind, "KubeadmControlPlane");
            assert_eq!(secret.labels()[labels::CLUSTER_NAME], "c");
            found.insert(name, secret.data.unwrap());
        }
        found
    };
    let before = read().await;
    let kubeconfig = String::from_utf8(before["c-kubeconfig"]["value"].0.clone()).unwrap();
    assert!(kubeconfig.contains("server: https://192.0.2.1:6443"), "{kubeconfig}");

    // A kubeconfig can be created again, but a CA cannot.
    env.delete::<Secret>("c-kubeconfig").await;
    let again = env.wait::<Secret>("c-kubeconfig", "is there again", |_| true).await;
    assert_ne!(again.data.unwrap()["value"], before["c-kubeconfig"]["value"]);
    env.delete::<Secret>("c-etcd").await;
    env.wait::<KubeadmControlPlane>("cp", "says that an authority is lost", |kcp| {
        let list = kcp.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::get(list, "CertificatesAvailable")
            .is_some_and(|c| c.status == "False" && c.message.contains("-etcd no longer exists"))
    })
    .await;
    assert!(env.api::<Secret>().get_opt("c-etcd").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn further_control_plane_machines_join_one_after_the_other() {
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(3, 0)).await;
    settled(&env, 3, "v1.36.0").await;
    let mut inits = 0;
    for machine in &control_plane_machines(&env).await {
        let text = boot_data(&env, machine).await;
        let config: KubeadmConfig = env.api().get(&machine.name_any()).await.unwrap();
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
        assert!(env.workload.secrets().contains_key(&format!("bootstrap-token-{id}")));
    }
    assert_eq!(inits, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_machine_is_added_while_another_is_unhealthy() {
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(1, 0)).await;
    initialized(&env).await;
    let first = control_plane_machines(&env).await[0].name_any();
    env.workload.set_component("etcd", &first, false);
    env.wait::<Machine>(&first, "is not ready", |machine| {
        let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
        condition(list, health::ETCD_MEMBER_HEALTHY) == Some("False")
            && condition(list, conditions::READY) == Some("False")
    })
    .await;
    env.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "replicas": 3 } })).await;
    env.wait::<KubeadmControlPlane>("cp", "says why it does not grow", |kcp| {
        let list = kcp.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::get(list, conditions::SCALING_UP)
            .is_some_and(|c| c.status == "True" && c.message.contains("EtcdPodHealthy"))
            && condition(list, conditions::AVAILABLE) == Some("False")
    })
    .await;
    assert_eq!(control_plane_machines(&env).await.len(), 1);
    env.workload.set_component("etcd", &first, true);
    until("it grows", || async {
        let count = control_plane_machines(&env).await.len();
        if count > 1 { Ok(()) } else { Err(format!("{count} machines")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_api_server_does_not_make_machines_unhealthy() {
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(1, 0)).await;
    initialized(&env).await;
    let first = control_plane_machines(&env).await[0].name_any();
    env.wait::<Machine>(&first, "is ready", |m| machine_is(m, conditions::READY)).await;
    env.workload.down(true);
    // Triggers a reconcile.
    let change = json!({ "spec": { "remediation": { "maxRetry": 5 } } });
    env.patch::<KubeadmControlPlane>("cp", change).await;
    env.wait::<KubeadmControlPlane>("cp", "was reconciled", |kcp| {
        let status = kcp.status.as_ref();
        status.and_then(|status| status.observed_generation) == kcp.metadata.generation
    })
    .await;
    let machine = env.api::<Machine>().get(&first).await.unwrap();
    assert!(machine_is(&machine, health::API_SERVER_POD_HEALTHY), "{:?}", machine.status);
    env.workload.down(false);
}

/// Waits until the control plane has this many healthy machines of a version.
pub(crate) async fn settled(env: &TestEnv, count: i32, version: &str) {
    until("the control plane is settled", || async {
        let kcp: KubeadmControlPlane = env.api().get("cp").await.unwrap();
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
        let machines = control_plane_machines(env).await;
        let machines = machines.iter().map(|machine| {
            json!({ "name": machine.name_any(), "version": machine.metadata.resource_version,
                "annotations": machine.metadata.annotations, "status": machine.status })
        });
        let observed = json!({ "status": kcp.status, "machines": machines.collect::<Vec<_>>(),
            "members": env.workload.members() });
        Err(serde_json::to_string_pretty(&observed).unwrap())
    })
    .await;
}

/// Checks that nodes of the control plane and etcd members match the machines.
pub(crate) async fn nothing_is_left_over(env: &TestEnv) {
    let mut names: Vec<_> =
        control_plane_machines(env).await.iter().map(|machine| machine.name_any()).collect();
    names.sort();
    until("nodes and members are those of the machines", || async {
        let mut members = env.workload.members();
        members.sort();
        let nodes = env.workload.nodes();
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
        let env = TestEnv::new().await;
        env.create(kubeadm_manifests(replicas, 0)).await;
        settled(&env, replicas, "v1.36.0").await;
        let before = control_plane_machines(&env).await;
        env.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "version": "v1.37.0" } })).await;
        settled(&env, replicas, "v1.37.0").await;
        nothing_is_left_over(&env).await;
        let after = control_plane_machines(&env).await;
        for machine in &before {
            assert!(after.iter().all(|new| new.name_any() != machine.name_any()));
        }
        assert!(env.workload.kubeadm_config().contains("kubernetesVersion: v1.37.0"));
        let log = env.workload.etcd_log();
        assert_eq!(log.iter().filter(|line| line.ends_with("removed")).count(), before.len());
    }
}

/// Waits until API servers may reach kubelets.
async fn kubelets_can_be_reached(env: &TestEnv) {
    until("the binding of the API servers is there", || async {
        let binding = env.workload.binding("kubeadm:apiserver-kubelet-client");
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
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(1, 0)).await;
    settled(&env, 1, "v1.36.0").await;
    assert_eq!(env.workload.binding(name), None, "kubeadm 1.36.0 needs none");
    env.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "version": "v1.36.1" } })).await;
    kubelets_can_be_reached(&env).await;
    assert!(env.workload.nodes().len() < 2, "nothing joined before");
    settled(&env, 1, "v1.36.1").await;
    // It is restored at once, without any other change.
    env.workload.remove_binding(name);
    kubelets_can_be_reached(&env).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_scales_up_and_down() {
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(3, 0)).await;
    settled(&env, 3, "v1.36.0").await;
    env.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "replicas": 1 } })).await;
    settled(&env, 1, "v1.36.0").await;
    nothing_is_left_over(&env).await;
    env.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "replicas": 3 } })).await;
    settled(&env, 3, "v1.36.0").await;
    nothing_is_left_over(&env).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_a_user_deletes_is_replaced() {
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(3, 0)).await;
    settled(&env, 3, "v1.36.0").await;
    // The etcd leader, which is the hardest to remove.
    let leader = env.workload.members()[0].clone();
    env.delete::<Machine>(&leader).await;
    env.wait_gone::<Machine>(&leader).await;
    settled(&env, 3, "v1.36.0").await;
    nothing_is_left_over(&env).await;
    assert_eq!(
        env.workload.etcd_log(),
        [format!("{leader} hands over"), format!("{leader} removed")]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_rollout_completes_even_if_the_controllers_are_killed_repeatedly() {
    let mut env = TestEnv::new().await;
    env.create(kubeadm_manifests(3, 0)).await;
    settled(&env, 3, "v1.36.0").await;
    env.stop();
    env.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "version": "v1.36.1" } })).await;
    for round in 0..60_u64 {
        env.start();
        tokio::time::sleep(Duration::from_millis(3 + round * 7 % 60)).await;
        env.stop();
    }
    env.start();
    settled(&env, 3, "v1.36.1").await;
    nothing_is_left_over(&env).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_deletion_starts_with_workers_and_leaves_nothing() {
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(3, 2)).await;
    env.wait_settled(2).await;
    let first = control_plane_machines(&env).await[0].name_any();
    env.delete::<Cluster>("c").await;
    env.wait_gone::<Cluster>("c").await;
    assert_eq!(env.list::<Machine>().await.len(), 0);
    until("what belonged to the control plane is collected", || async {
        let secrets: Vec<_> =
            env.list::<Secret>().await.iter().map(|secret| secret.name_any()).collect();
        let configs = env.list::<KubeadmConfig>().await.len();
        if secrets.is_empty() && configs == 0 {
            Ok(())
        } else {
            Err(format!("{secrets:?}, {configs} configs"))
        }
    })
    .await;
    let log = env.log.lines();
    let position = |what: &str| log.iter().position(|line| line.contains(what)).unwrap();
    let last_worker = log.iter().rposition(|line| line.starts_with("TestMachine md-")).unwrap();
    assert!(last_worker < position(&format!("TestMachine {first} deleted")), "{log:?}");
    assert!(position(&first) < position("TestCluster c deleted"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_comes_up_even_if_the_controllers_are_killed_repeatedly() {
    let mut env = TestEnv::without_controllers().await;
    env.workload.down(true);
    env.create(kubeadm_manifests(3, 2)).await;
    for round in 0..60_u64 {
        env.start();
        tokio::time::sleep(Duration::from_millis(3 + round * 7 % 60)).await;
        env.stop();
    }
    env.start();
    env.wait_settled(2).await;
    settled(&env, 3, "v1.36.0").await;
    let mut names: Vec<_> =
        env.list::<Machine>().await.iter().map(|machine| machine.name_any()).collect();
    names.sort();
    assert_eq!(names.len(), 5);
    until("every part has a machine", || async {
        let parts = env.provider_names("TestMachine").await;
        let mut configs: Vec<_> =
            env.list::<KubeadmConfig>().await.iter().map(|config| config.name_any()).collect();
        configs.sort();
        if parts == names && configs == names {
            Ok(())
        } else {
            Err(format!("machines {names:?}, parts {parts:?}, configs {configs:?}"))
        }
    })
    .await;
    let inits = futures::future::join_all(
        control_plane_machines(&env).await.iter().map(|machine| boot_data(&env, machine)),
    )
    .await;
    assert_eq!(inits.iter().filter(|text| text.contains("kubeadm init")).count(), 1);
}

//! From manifests to a cluster.

use capi_api::core::{ClusterPhase, MachinePhase};
use capi_api::{Cluster, Machine, MachineDeployment, conditions, labels, refs};
use k8s_openapi::api::core::v1::Secret;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use crate::harness::{
    TestEnv, condition, machine_is, manifests, manifests_without_bootstrap, until,
};
use crate::workload::address;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_become_a_cluster_whose_machines_are_nodes() {
    let env = TestEnv::new().await;
    env.create(manifests(2)).await;

    let cluster = env
        .wait::<Cluster>("c", "is available", |cluster| {
            let list = cluster.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions::is_true(list, conditions::AVAILABLE)
                && cluster.status.as_ref().is_some_and(|status| {
                    status.workers.as_ref().and_then(|w| w.available_replicas) == Some(2)
                })
        })
        .await;
    let status = cluster.status.unwrap();
    assert_eq!(status.phase, Some(ClusterPhase::Provisioned));
    let list = status.conditions.as_ref();
    for kind in [
        conditions::INFRASTRUCTURE_READY,
        conditions::CONTROL_PLANE_INITIALIZED,
        conditions::CONTROL_PLANE_AVAILABLE,
        conditions::WORKERS_AVAILABLE,
        conditions::REMOTE_CONNECTION_PROBE,
    ] {
        assert_eq!(condition(list, kind), Some("True"), "{kind}");
    }
    let endpoint = cluster.spec.control_plane_endpoint.unwrap();
    assert_eq!((endpoint.host.as_deref(), endpoint.port), (Some("192.0.2.1"), Some(6443)));
    assert_eq!(status.failure_domains.unwrap()[0].name, "a");
    let control_plane = status.control_plane.unwrap();
    assert_eq!(control_plane.ready_replicas, Some(1));
    assert_eq!(control_plane.versions.unwrap()[0].version, "v1.36.0");

    let machines = env.list::<Machine>().await;
    assert_eq!(machines.len(), 3);
    for machine in &machines {
        let name = machine.name_any();
        let status = machine.status.clone().unwrap();
        assert_eq!(status.phase, Some(MachinePhase::Running), "{name}");
        assert_eq!(machine.node_name(), Some(name.as_str()));
        assert_eq!(machine.spec.provider_id, Some(format!("test:///{name}")));
        assert_eq!(status.addresses.unwrap()[0].address, address(&name));
        assert_eq!(status.node_info.unwrap().kubelet_version, "v1.36.0");
        assert!(
            machine_is(machine, conditions::READY) && machine_is(machine, conditions::AVAILABLE)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ownership_follows_the_graph_that_move_and_describe_need() {
    let env = TestEnv::new().await;
    env.create(manifests(1)).await;
    env.wait_settled(1).await;

    let cluster = env.cluster().await;
    let uid = cluster.uid().unwrap();
    for (kind, name) in
        [("TestCluster", "c"), ("TestControlPlane", "cp"), ("TestMachineTemplate", "workers")]
    {
        let object = env.provider_api(kind).get(name).await.unwrap();
        let owner = refs::owner(&object.metadata, "cluster.x-k8s.io", "Cluster").unwrap();
        assert_eq!(owner.uid, uid, "{kind}");
        assert_ne!(owner.controller, Some(true), "{kind}");
    }
    let md = env.api::<MachineDeployment>().get("md").await.unwrap();
    assert_eq!(refs::owner(md.meta(), "cluster.x-k8s.io", "Cluster").unwrap().uid, uid);
    let worker = env
        .list::<Machine>()
        .await
        .into_iter()
        .find(|machine| !machine.is_control_plane())
        .unwrap();
    assert_eq!(refs::controller(worker.meta()).unwrap().kind, "MachineSet");
    for (kind, name) in [
        ("TestMachine", &worker.spec.infrastructure_ref.name),
        ("TestConfig", &worker.spec.bootstrap.config_ref.as_ref().unwrap().name),
    ] {
        assert_eq!(*name, worker.name_any(), "all of a machine has one name");
        let part = env.provider_api(kind).get(name).await.unwrap();
        let owners = part.metadata.owner_references.clone().unwrap();
        assert_eq!(owners.len(), 1, "the set that made it let go: {owners:?}");
        assert_eq!((owners[0].kind.as_str(), owners[0].controller), ("Machine", Some(true)));
        assert_eq!(part.labels()[labels::CLUSTER_NAME], "c");
        assert_eq!(part.annotations()[labels::CLONED_FROM_NAME], "workers");
        assert_eq!(part.data["spec"]["flavor"], json!("small"));
    }
    for key in
        [labels::CLUSTER_NAME, labels::SET_NAME, labels::DEPLOYMENT_NAME, labels::TEMPLATE_HASH]
    {
        assert!(worker.labels().contains_key(key), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_claimed_and_its_state_is_reported_at_once() {
    let env = TestEnv::new().await;
    env.create(manifests(1)).await;
    env.wait_settled(1).await;
    let worker = env
        .wait_machines("a worker is ready", |machines| {
            machines.iter().any(|m| !m.is_control_plane() && machine_is(m, conditions::READY))
        })
        .await
        .into_iter()
        .find(|machine| !machine.is_control_plane())
        .unwrap()
        .name_any();

    let node = until("the node is claimed", || async {
        let node = env.workload.node(&worker).unwrap();
        let taints = node["spec"]["taints"].as_array().unwrap().len();
        if taints == 0 { Ok(node) } else { Err(node.to_string()) }
    })
    .await;
    assert_eq!(node["metadata"]["annotations"]["cluster.x-k8s.io/machine"], json!(worker));
    assert_eq!(node["metadata"]["annotations"]["cluster.x-k8s.io/owner-kind"], json!("MachineSet"));

    env.workload.set_condition(&worker, "Ready", "False");
    env.wait::<Machine>(&worker, "is not ready", |machine| {
        let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
        condition(list, conditions::NODE_READY) == Some("False")
            && condition(list, conditions::READY) == Some("False")
    })
    .await;
    env.workload.set_condition(&worker, "Ready", "True");
    env.wait::<Machine>(&worker, "is ready again", |m| machine_is(m, conditions::READY)).await;
    env.workload.remove_node(&worker);
    env.wait::<Machine>(&worker, "misses its node", |machine| {
        let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::get(list, conditions::NODE_HEALTHY)
            .is_some_and(|condition| condition.reason == "NodeDeleted")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_bootstrap_a_machine_is_ready_when_its_instance_is() {
    let env = TestEnv::new().await;
    env.create(manifests_without_bootstrap(2)).await;
    let cluster = env
        .wait::<Cluster>("c", "is available", |cluster| {
            let list = cluster.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions::is_true(list, conditions::AVAILABLE)
                && cluster.status.as_ref().is_some_and(|status| {
                    status.workers.as_ref().and_then(|w| w.available_replicas) == Some(2)
                        && status.control_plane.as_ref().and_then(|c| c.available_replicas)
                            == Some(1)
                })
        })
        .await;
    assert_eq!(cluster.status.unwrap().phase, Some(ClusterPhase::Provisioned));
    for machine in env.list::<Machine>().await {
        let status = machine.status.clone().unwrap();
        assert_eq!(status.phase, Some(MachinePhase::Provisioned));
        assert_eq!(status.node_ref, None);
        assert_eq!(condition(status.conditions.as_ref(), conditions::NODE_HEALTHY), None);
    }
    assert_eq!(env.workload.nodes(), [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_while_paused_and_everything_afterwards() {
    let env = TestEnv::new().await;
    let mut objects = manifests(1);
    objects[0]["spec"]["paused"] = json!(true);
    env.create(objects).await;
    for kind in ["Cluster", "MachineDeployment"] {
        let paused = |list: Option<&Vec<_>>| condition(list, conditions::PAUSED) == Some("True");
        match kind {
            "Cluster" => {
                env.wait::<Cluster>("c", "says it is paused", |o| {
                    paused(o.status.as_ref().and_then(|s| s.conditions.as_ref()))
                })
                .await;
            }
            _ => {
                env.wait::<MachineDeployment>("md", "says it is paused", |o| {
                    paused(o.status.as_ref().and_then(|s| s.conditions.as_ref()))
                })
                .await;
            }
        }
    }
    assert_eq!(env.list::<Machine>().await.len(), 0);
    assert!(env.cluster().await.finalizers().is_empty());
    env.patch::<Cluster>("c", json!({ "spec": { "paused": false } })).await;
    env.wait_settled(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_provider_is_reported_in_the_condition() {
    let env = TestEnv::new().await;
    let mut objects = manifests(1);
    objects[0]["spec"]["infrastructureRef"] =
        json!({ "apiGroup": "nowhere.io", "kind": "NoCluster", "name": "c" });
    env.create(objects).await;
    env.wait::<Cluster>("c", "names the provider that is missing", |cluster| {
        let list = cluster.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::get(list, conditions::INFRASTRUCTURE_READY)
            .is_some_and(|c| c.message.contains("noclusters.nowhere.io"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stable_cluster_is_not_changed() {
    let env = TestEnv::new().await;
    env.create(manifests(2)).await;
    env.wait_settled(2).await;
    env.wait_machines("all machines are ready", |machines| {
        machines.len() == 3 && machines.iter().all(|m| machine_is(m, conditions::READY))
    })
    .await;
    // Every write increments the revision of the plane.
    let revision = || async {
        let list = env.api::<Machine>().list(&Default::default()).await.unwrap();
        list.metadata.resource_version.unwrap()
    };
    let quiet_for = std::time::Duration::from_millis(700);
    until("nothing is written for a while", || async {
        let before = revision().await;
        tokio::time::sleep(quiet_for).await;
        let after = revision().await;
        if before == after { Ok(()) } else { Err(format!("{before} -> {after}")) }
    })
    .await;
    let requests = env.requests();
    tokio::time::sleep(quiet_for).await;
    assert_eq!(env.requests(), requests, "nobody asks for anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_without_a_control_plane_object_become_a_cluster_too() {
    let env = TestEnv::new().await;
    let reference = crate::harness::reference;
    env.create(vec![
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": "c" },
            "spec": { "infrastructureRef": reference("TestCluster", "c") },
        }),
        json!({
            "apiVersion": crate::provider::API_VERSION, "kind": "TestCluster",
            "metadata": { "name": "c" }, "spec": {},
        }),
        json!({
            "apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfig",
            "metadata": { "name": "cp-0" },
            "spec": { "clusterConfiguration": {}, "initConfiguration": {} },
        }),
        json!({
            "apiVersion": crate::provider::API_VERSION, "kind": "TestMachine",
            "metadata": { "name": "cp-0" }, "spec": {},
        }),
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": "cp-0", "labels": { "cluster.x-k8s.io/control-plane": "" } },
            "spec": {
                "clusterName": "c", "version": "v1.36.0",
                "bootstrap": { "configRef": {
                    "apiGroup": "bootstrap.cluster.x-k8s.io",
                    "kind": "KubeadmConfig", "name": "cp-0",
                } },
                "infrastructureRef": reference("TestMachine", "cp-0"),
            },
        }),
    ])
    .await;
    env.wait::<Cluster>("c", "is available", |cluster| {
        let list = cluster.status.as_ref().and_then(|status| status.conditions.as_ref());
        cluster.control_plane_initialized() && conditions::is_true(list, conditions::AVAILABLE)
    })
    .await;
    let kubeconfig = env.api::<Secret>().get("c-kubeconfig").await.unwrap();
    assert_eq!(refs::owner(&kubeconfig.metadata, "cluster.x-k8s.io", "Cluster").unwrap().name, "c");
    let text = String::from_utf8(kubeconfig.data.unwrap()["value"].0.clone()).unwrap();
    assert!(text.contains("https://192.0.2.1:6443"), "{text}");
    assert_eq!(env.workload.nodes(), ["cp-0"]);
}

//! Pools of machines with a simulated provider, which creates an infrastructure object for each
//! machine and deletes Machines.

use std::time::Duration;

use capi_api::{Cluster, KubeadmConfig, Machine, MachinePool, conditions, labels};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::{NAMESPACE, TestEnv, manifests, reference, until};
use crate::kubeadm::{initialized, kubeadm_manifests};
use crate::provider::{API_VERSION, resource};

/// Poll interval of the simulated provider.
const LOOK: Duration = Duration::from_millis(30);
const FINALIZER: &str = "test.cluster.x-k8s.io/pool";

/// A pool `mp` of a cluster, with the bootstrap object `kind`.
fn pool(replicas: i32, bootstrap: &Value) -> Vec<Value> {
    vec![
        json!({ "apiVersion": API_VERSION, "kind": "TestMachinePool",
            "metadata": { "name": "mp" }, "spec": {} }),
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachinePool",
            "metadata": { "name": "mp" },
            "spec": {
                "clusterName": "c", "replicas": replicas,
                "template": {
                    "metadata": { "labels": { "zone": "a" } },
                    "spec": {
                        "clusterName": "c", "version": "v1.36.0",
                        "bootstrap": bootstrap,
                        "infrastructureRef": reference("TestMachinePool", "mp"),
                    },
                },
            },
        }),
    ]
}

/// Acts as the provider of the pool until it is dropped.
struct Played(JoinHandle<()>);

impl Drop for Played {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn play(env: &TestEnv) -> Played {
    let client = env.client.clone();
    Played(tokio::spawn(async move {
        loop {
            // A conflict with the controllers is resolved in the next round.
            look_after(&client).await.ok();
            tokio::time::sleep(LOOK).await;
        }
    }))
}

async fn look_after(client: &Client) -> Result<(), kube::Error> {
    let pools: Api<MachinePool> = Api::namespaced(client.clone(), NAMESPACE);
    let machines: Api<Machine> = Api::namespaced(client.clone(), NAMESPACE);
    let of = |kind| Api::namespaced_with(client.clone(), NAMESPACE, &resource(kind));
    let infra_pools: Api<kube::api::DynamicObject> = of("TestMachinePool");
    let infra_machines: Api<kube::api::DynamicObject> = of("TestMachine");
    let merge = PatchParams::default();
    let Some(infra) = infra_pools.get_opt("mp").await? else { return Ok(()) };
    let of_pool = ListParams::default().labels(&format!("{}=mp", labels::POOL_NAME));
    let have = infra_machines.list(&of_pool).await?.items;
    let ask_to_go = async |count: usize| {
        for machine in machines.list(&of_pool).await?.items.iter().take(count) {
            if machine.metadata.deletion_timestamp.is_none() {
                machines.delete(&machine.name_any(), &Default::default()).await?;
            }
        }
        Ok::<_, kube::Error>(())
    };
    if infra.metadata.deletion_timestamp.is_some() {
        if have.is_empty() {
            let change = json!({ "metadata": { "finalizers": null } });
            infra_pools.patch("mp", &merge, &Patch::Merge(change)).await?;
        }
        return ask_to_go(have.len()).await;
    }
    let Some(pool) = pools.get_opt("mp").await? else { return Ok(()) };
    let has_data = pool.spec.template.spec.bootstrap.data_secret_name.is_some();
    if infra.owner_references().is_empty()
        || !has_data
        || pool.metadata.deletion_timestamp.is_some()
    {
        return Ok(());
    }
    if infra.finalizers().is_empty() {
        let change = json!({ "metadata": { "finalizers": [FINALIZER] } });
        infra_pools.patch("mp", &merge, &Patch::Merge(change)).await?;
    }
    let want = usize::try_from(pool.spec.replicas.unwrap_or(1)).unwrap();
    for _ in have.len()..want {
        let object = serde_json::from_value(json!({
            "apiVersion": API_VERSION, "kind": "TestMachine",
            "metadata": {
                "generateName": "mp-",
                "labels": { labels::CLUSTER_NAME: "c", labels::POOL_NAME: "mp" },
                "ownerReferences": [{
                    "apiVersion": API_VERSION, "kind": "TestMachinePool", "name": "mp",
                    "uid": infra.uid(),
                }],
            },
            "spec": {},
        }))
        .unwrap();
        infra_machines.create(&PostParams::default(), &object).await?;
    }
    ask_to_go(have.len().saturating_sub(want)).await?;
    let ids: Vec<_> =
        have.iter().filter_map(|m| m.data.pointer("/spec/providerID")).cloned().collect();
    let is_provisioned = have.len() == want && ids.len() == want;
    let change = json!({ "spec": { "providerIDList": ids } });
    infra_pools.patch("mp", &merge, &Patch::Merge(change)).await?;
    let was = infra.data.pointer("/status/initialization/provisioned") == Some(&json!(true));
    let change = json!({ "status": {
        "infrastructureMachineKind": "TestMachine", "replicas": have.len(),
        "initialization": { "provisioned": was || is_provisioned },
    } });
    infra_pools.patch_status("mp", &merge, &Patch::Merge(change)).await?;
    Ok(())
}

impl TestEnv {
    /// Waits until the pool has all its machines, all of them healthy.
    async fn wait_pool(&self, replicas: i32) -> MachinePool {
        self.wait::<MachinePool>("mp", "is settled", |pool| {
            let status = pool.status.clone().unwrap_or_default();
            let nodes = status.node_refs.as_ref().map_or(0, Vec::len);
            let counts = [
                status.replicas,
                status.ready_replicas,
                status.available_replicas,
                status.up_to_date_replicas,
            ];
            counts == [Some(replicas); 4]
                && i32::try_from(nodes) == Ok(replicas)
                && status.phase.as_deref() == Some("Running")
                && status.versions.is_some() == (replicas > 0)
                && pool.spec.provider_id_list.as_ref().map_or(0, Vec::len) == nodes
        })
        .await
    }

    async fn pool_machines(&self) -> Vec<Machine> {
        let mut all = self.list::<Machine>().await;
        all.retain(|machine| machine.labels().contains_key(labels::POOL_NAME));
        all
    }
}

fn given() -> Value {
    json!({ "dataSecretName": "given" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_is_created_scaled_and_deleted_after_its_machines() {
    let env = TestEnv::new().await;
    env.create(manifests(0)).await;
    env.create(pool(2, &given())).await;
    let _provider = play(&env);
    let pool = env.wait_pool(2).await;
    let status = pool.status.clone().unwrap();
    let reached = status.initialization.unwrap();
    assert_eq!(reached.infrastructure_provisioned, Some(true));
    assert!(conditions::is_true(status.conditions.as_ref(), conditions::AVAILABLE));
    assert!(status.node_refs.unwrap().iter().all(|node| node.uid.is_some()));
    assert_eq!(status.versions.unwrap()[0].version, "v1.36.0", "as the kubelets say");
    for machine in env.pool_machines().await {
        assert_eq!(machine.labels()["zone"], "a");
        assert_eq!(machine.spec.bootstrap.data_secret_name.as_deref(), Some(""));
        assert_eq!(machine.spec.infrastructure_ref.name, machine.name_any());
        let node = env.workload.node(machine.node_name().unwrap()).unwrap();
        let annotations = &node["metadata"]["annotations"];
        assert_eq!(annotations[labels::NODE_OWNER_KIND], "MachinePool");
        assert_eq!(annotations[labels::NODE_OWNER_NAME], "mp");
    }
    let workers = env.cluster().await.status.unwrap().workers.unwrap();
    assert_eq!(workers.desired_replicas, Some(2));

    env.patch::<MachinePool>("mp", json!({ "spec": { "replicas": 3 } })).await;
    env.wait_pool(3).await;
    env.patch::<MachinePool>("mp", json!({ "spec": { "replicas": 1 } })).await;
    env.wait_pool(1).await;
    assert_eq!(env.pool_machines().await.len(), 1);
    assert_eq!(env.workload.nodes().len(), 2, "the nodes went with their machines");

    env.delete::<MachinePool>("mp").await;
    env.wait_gone::<MachinePool>("mp").await;
    assert!(env.pool_machines().await.is_empty());
    assert_eq!(env.provider_names("TestMachinePool").await, [] as [&str; 0]);
    assert_eq!(env.workload.nodes().len(), 1);
    assert!(env.cluster().await.metadata.deletion_timestamp.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_is_deleted_with_its_cluster() {
    let env = TestEnv::new().await;
    env.create(manifests(1)).await;
    env.create(pool(2, &given())).await;
    let _provider = play(&env);
    env.wait_pool(2).await;
    env.delete::<Cluster>("c").await;
    env.wait_gone::<Cluster>("c").await;
    assert!(env.list::<MachinePool>().await.is_empty());
    assert!(env.list::<Machine>().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_object_is_deleted_by_hand_is_replaced() {
    let env = TestEnv::new().await;
    env.create(manifests(0)).await;
    env.create(pool(2, &given())).await;
    let _provider = play(&env);
    env.wait_pool(2).await;
    let lost = env.pool_machines().await[0].name_any();
    env.provider_api("TestMachine").delete(&lost, &Default::default()).await.unwrap();
    env.wait_gone::<Machine>(&lost).await;
    env.wait_pool(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_is_created_and_deleted_even_if_the_controllers_are_killed_repeatedly() {
    let mut env = TestEnv::without_controllers().await;
    env.create(manifests(0)).await;
    env.create(pool(3, &given())).await;
    let _provider = play(&env);
    crate::interrupted::interrupt(&mut env, 30).await;
    env.wait_pool(3).await;
    assert_eq!(env.pool_machines().await.len(), 3);
    env.stop();
    env.delete::<MachinePool>("mp").await;
    crate::interrupted::interrupt(&mut env, 30).await;
    env.wait_gone::<MachinePool>("mp").await;
    assert!(env.pool_machines().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_pool_is_left_alone() {
    let env = TestEnv::new().await;
    env.create(manifests(0)).await;
    let mut objects = pool(1, &given());
    objects[1]["metadata"]["annotations"] = json!({ labels::PAUSED: "" });
    env.create(objects).await;
    env.wait::<MachinePool>("mp", "says that it is paused", |pool| {
        let list = pool.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::is_true(list, conditions::PAUSED)
    })
    .await;
    assert!(env.pool_machines().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_of_a_pool_boot_with_one_kubeadm_config_whose_token_is_replaced_in_time() {
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(1, 0)).await;
    initialized(&env).await;
    env.create(vec![json!({
        "apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfig",
        "metadata": { "name": "mp" }, "spec": { "preKubeadmCommands": ["echo pool"] },
    })])
    .await;
    let bootstrap = json!({ "configRef": {
        "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfig", "name": "mp",
    } });
    env.create(pool(2, &bootstrap)).await;
    let _provider = play(&env);
    let found = env.wait_pool(2).await;
    assert_eq!(found.spec.template.spec.bootstrap.data_secret_name.as_deref(), Some("mp"));
    let token = token_of(&env).await;
    assert!(data(&env).await.contains(&token));

    // Half of its lifetime has passed.
    let id = token.split_once('.').unwrap().0;
    env.workload.remove_secret(&format!("bootstrap-token-{id}"));
    let touch = json!({ "metadata": { "annotations": { "touched": "yes" } } });
    env.patch::<KubeadmConfig>("mp", touch).await;
    let new = until("the boot data has a new token", || async {
        let (new, text) = (token_of(&env).await, data(&env).await);
        if new != token && text.contains(&new) { Ok(new) } else { Err(new) }
    })
    .await;
    let id = new.split_once('.').unwrap().0;
    assert!(env.workload.secrets().contains_key(&format!("bootstrap-token-{id}")));
    assert_eq!(env.pool_machines().await.len(), 2, "no machine is replaced for it");

    // Changes of the KubeadmConfig apply to future machines.
    let change = json!({ "spec": { "preKubeadmCommands": ["echo changed"] } });
    env.patch::<KubeadmConfig>("mp", change).await;
    until("the boot data is made anew", || async {
        let text = data(&env).await;
        if text.contains("echo changed") { Ok(()) } else { Err(text) }
    })
    .await;

    env.delete::<MachinePool>("mp").await;
    env.wait_gone::<MachinePool>("mp").await;
    assert!(env.api::<KubeadmConfig>().get_opt("mp").await.unwrap().is_none());
}

async fn token_of(env: &TestEnv) -> String {
    let config = env.api::<KubeadmConfig>().get("mp").await.unwrap();
    let join = config.spec.join_configuration.unwrap();
    join.discovery.unwrap().bootstrap_token.unwrap().token.unwrap()
}

async fn data(env: &TestEnv) -> String {
    let secret = env.api::<Secret>().get("mp").await.unwrap();
    String::from_utf8(secret.data.unwrap().remove("value").unwrap().0).unwrap()
}

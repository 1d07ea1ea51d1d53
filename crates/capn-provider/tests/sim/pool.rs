//! A pool of machines: created, scaled, rolled out, repaired, deleted. The tests act as Cluster API
//! core: they create a Machine for each LXCMachine of the pool, and delete an LXCMachine after its
//! Machine.

use std::time::Duration;

use capi_api::{
    core::{Machine, MachinePool},
    labels, refs,
};
use capn_api::{LXCMachine, LXCMachinePool, keys};
use incus_client::api::InstanceAction;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    harness::{FOREIGN, TestEnv, options, plane},
    kinds,
    objects::{CLUSTER, IMAGE},
    rights,
};

const POOL: &str = "demo-mp";
/// Poll interval of the simulated core.
const PROBE: Duration = Duration::from_millis(30);
const SOON: Duration = Duration::from_secs(60);

/// Acts as core for one pool until it is dropped.
fn play_core(env: &TestEnv) -> AbortOnDropHandle<()> {
    let (kube, namespace) = (env.kube.clone(), env.namespace.clone());
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            // A conflict with the provider is resolved in the next round.
            look_after(&kube, &namespace).await.ok();
            tokio::time::sleep(PROBE).await;
        }
    }))
}

async fn look_after(kube: &kube::Client, namespace: &str) -> Result<(), kube::Error> {
    let pools: Api<MachinePool> = Api::namespaced(kube.clone(), namespace);
    let machines: Api<Machine> = Api::namespaced(kube.clone(), namespace);
    let lxc_machines: Api<LXCMachine> = Api::namespaced(kube.clone(), namespace);
    let Some(pool) = pools.get_opt(POOL).await? else { return Ok(()) };
    let of_pool = ListParams::default().labels(&format!("{}={POOL}", labels::POOL_NAME));
    for found in lxc_machines.list(&of_pool).await?.items {
        let name = found.name_any();
        let owned = refs::owner(&found.metadata, "cluster.x-k8s.io", "Machine").is_some();
        let Some(machine) = machines.get_opt(&name).await? else {
            let machine: Machine = serde_json::from_value(machine(&pool, &name)).unwrap();
            machines.create(&PostParams::default(), &machine).await?;
            continue;
        };
        if machine.metadata.deletion_timestamp.is_some() {
            if found.metadata.deletion_timestamp.is_none() {
                lxc_machines.delete(&name, &Default::default()).await?;
            }
            continue;
        }
        if !owned {
            let mut owners = found.owner_references().to_vec();
            owners.push(serde_json::from_value(kinds::owner("Machine", &machine)).unwrap());
            let change = json!({ "metadata": {
                "ownerReferences": owners, "resourceVersion": found.resource_version(),
            } });
            lxc_machines.patch(&name, &PatchParams::default(), &Patch::Merge(change)).await?;
        }
        let runs = found.status.as_ref().is_some_and(|status| status.ready);
        let said = if runs { "True" } else { "False" };
        let conditions = json!([{
            "type": "Available", "status": said, "reason": "Played", "message": "",
            "lastTransitionTime": "2026-01-01T10:00:00Z",
        }]);
        if serde_json::to_value(&machine).unwrap()["status"]["conditions"] != conditions {
            let change = json!({ "status": { "conditions": conditions } });
            machines.patch_status(&name, &PatchParams::default(), &Patch::Merge(change)).await?;
        }
    }
    for gone in machines.list(&of_pool).await?.items {
        let name = gone.name_any();
        let leaves = gone.metadata.deletion_timestamp.is_some();
        if leaves && lxc_machines.get_opt(&name).await?.is_none() {
            let change = json!({ "metadata": { "finalizers": null } });
            machines.patch(&name, &PatchParams::default(), &Patch::Merge(change)).await?;
        }
    }
    Ok(())
}

/// As upstream's MachinePool controller creates it.
fn machine(pool: &MachinePool, name: &str) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": {
            "name": name, "ownerReferences": [kinds::owner("MachinePool", pool)],
            "finalizers": [labels::MACHINE_FINALIZER],
            "labels": { labels::CLUSTER_NAME: CLUSTER, labels::POOL_NAME: POOL },
        },
        "spec": {
            "clusterName": CLUSTER, "bootstrap": { "dataSecretName": "" },
            "infrastructureRef": {
                "apiGroup": capn_api::GROUP, "kind": "LXCMachine", "name": name,
            },
        },
    })
}

impl TestEnv {
    /// Creates a cluster with a control plane, a MachinePool and its LXCMachinePool. The bootstrap
    /// data is set later.
    async fn make_pool(&self, replicas: i32) {
        self.make_cluster().await;
        self.make_machine("demo-cp", true).await;
        self.provision().await;
        self.until_ready("demo-cp").await;
        self.create::<Secret>(kinds::bootstrap(POOL, "#cloud-config\n")).await;
        let pool: MachinePool = self
            .create(json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachinePool",
                "metadata": { "name": POOL, "labels": { labels::CLUSTER_NAME: CLUSTER } },
                "spec": {
                    "clusterName": CLUSTER, "replicas": replicas,
                    "template": { "spec": {
                        "clusterName": CLUSTER, "version": "v1.36.0", "bootstrap": {},
                        "infrastructureRef": {
                            "apiGroup": capn_api::GROUP, "kind": "LXCMachinePool", "name": POOL,
                        },
                    } },
                },
            }))
            .await;
        self.create::<LXCMachinePool>(json!({
            "apiVersion": capn_api::API_VERSION, "kind": "LXCMachinePool",
            "metadata": {
                "name": POOL, "labels": { labels::CLUSTER_NAME: CLUSTER },
                "ownerReferences": [kinds::owner("MachinePool", &pool)],
            },
            "spec": { "template": { "spec": { "image": { "name": IMAGE } } } },
        }))
        .await;
    }

    async fn name_data(&self) {
        let data = json!({ "spec": { "template": { "spec": { "bootstrap": {
            "dataSecretName": format!("{POOL}-bootstrap"),
        } } } } });
        self.patch::<MachinePool>(POOL, data).await;
    }

    async fn scale(&self, replicas: i32) {
        self.patch::<MachinePool>(POOL, json!({ "spec": { "replicas": replicas } })).await;
    }

    async fn until_pool_has(&self, replicas: i32) {
        let what = format!("to have {replicas} machines");
        self.until::<LXCMachinePool>(POOL, &what, |pool| {
            let Some(pool) = pool else { return false };
            let status = pool.status.clone().unwrap_or_default();
            let ready = capi_api::conditions::is_true(Some(&status.conditions), "Ready");
            let ids = i32::try_from(pool.spec.provider_id_list.len()).unwrap();
            ready && status.replicas == Some(replicas) && ids == replicas
        })
        .await;
    }

    async fn pool_machines(&self) -> Vec<LXCMachine> {
        let api: Api<LXCMachine> = Api::namespaced(self.kube.clone(), &self.namespace);
        let of_pool = ListParams::default().labels(&format!("{}={POOL}", labels::POOL_NAME));
        let mut all = api.list(&of_pool).await.unwrap().items;
        all.sort_by_key(|machine| machine.name_any());
        all
    }

    fn pool_instances(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .simulator
            .instances()
            .into_iter()
            .map(|(_, instance)| instance.name.clone())
            .filter(|name| name.starts_with(&format!("{POOL}-")))
            .collect();
        names.sort();
        names
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_created_scaled_repaired_and_deleted() {
    let plane = plane().await;
    let mut env = TestEnv::new(&plane, "pool").await;
    env.start();
    env.make_pool(2).await;
    env.until::<LXCMachinePool>(POOL, "to wait for bootstrap data", |pool| {
        let status = serde_json::to_value(pool).unwrap()["status"].clone();
        status["conditions"].as_array().is_some_and(|conditions| {
            conditions.iter().any(|c| c["reason"] == "WaitingForBootstrapData")
        })
    })
    .await;
    assert!(env.pool_machines().await.is_empty(), "nothing is made before there is data");

    let _core = play_core(&env);
    env.name_data().await;
    env.until_pool_has(2).await;
    let pool = env.get::<LXCMachinePool>(POOL).await.unwrap();
    let status = pool.status.clone().unwrap();
    assert_eq!(status.infrastructure_machine_kind.as_deref(), Some("LXCMachine"));
    assert_eq!(status.initialization.unwrap().provisioned, Some(true));
    assert_eq!((status.ready_replicas, status.up_to_date_replicas), (Some(2), Some(2)));
    let machines = env.pool_machines().await;
    for machine in &machines {
        assert!(pool.spec.provider_id_list.contains(&format!("lxc:///{}", machine.name_any())));
        assert_eq!(machine.annotations()[keys::POOL_VERSION_ANNOTATION], "v1.36.0");
        let owner = refs::owner(&machine.metadata, capn_api::GROUP, "LXCMachinePool").unwrap();
        assert_eq!((owner.controller, owner.block_owner_deletion), (None, None));
    }
    assert_eq!(env.pool_instances().len(), 2);

    env.scale(3).await;
    env.until_pool_has(3).await;
    // A marked machine is deleted before the oldest one.
    let doomed = env.pool_machines().await[1].name_any();
    let mark = json!({ "metadata": { "annotations": { labels::DELETE_MACHINE: "yes" } } });
    env.patch::<Machine>(&doomed, mark).await;
    env.scale(2).await;
    env.until_gone::<LXCMachine>(&doomed).await;
    env.until_pool_has(2).await;
    assert!(!env.pool_instances().contains(&doomed));

    let lost = env.pool_machines().await[0].name_any();
    // It would be restarted before it can be deleted.
    let report =
        json!({ "metadata": { "annotations": { keys::STOPPED_POLICY_ANNOTATION: "report" } } });
    env.patch::<LXCMachine>(&lost, report).await;
    let stop = env.server.set_state(&lost, InstanceAction::Stop, true, None).await.unwrap();
    stop.wait(SOON).await.unwrap();
    env.server.delete_instance(&lost).await.unwrap().wait(SOON).await.unwrap();
    env.until_gone::<LXCMachine>(&lost).await;
    env.until_pool_has(2).await;

    env.delete::<LXCMachinePool>(POOL).await;
    env.until_gone::<LXCMachinePool>(POOL).await;
    assert!(env.pool_machines().await.is_empty());
    assert!(env.pool_instances().is_empty());
    assert_eq!(env.simulator.instances().len(), FOREIGN.len() + 2, "the cluster is untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_template_replaces_machines_without_reducing_ready_ones() {
    let plane = plane().await;
    let mut env = TestEnv::new(&plane, "pool-roll").await;
    env.start();
    env.make_pool(2).await;
    let _core = play_core(&env);
    env.name_data().await;
    env.until_pool_has(2).await;
    let old: Vec<_> = env.pool_machines().await.iter().map(|m| m.name_any()).collect();

    let change = json!({ "spec": { "template": { "spec": { "flavor": "c1-m1" } } } });
    env.patch::<LXCMachinePool>(POOL, change).await;
    let least = async {
        let mut least = usize::MAX;
        loop {
            let machines = env.pool_machines().await;
            let ready = machines.iter().filter(|machine| {
                let status = machine.status.as_ref();
                machine.metadata.deletion_timestamp.is_none() && status.is_some_and(|s| s.ready)
            });
            least = least.min(ready.count());
            if machines.iter().all(|machine| !old.contains(&machine.name_any())) {
                return least;
            }
            tokio::time::sleep(PROBE).await;
        }
    };
    let least = tokio::time::timeout(SOON, least).await;
    assert_eq!(least.expect("waited a minute for new machines"), 2);
    env.until_pool_has(2).await;
    assert!(env.pool_machines().await.iter().all(|machine| machine.spec.flavor == "c1-m1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_with_too_many_replicas_is_rejected_with_a_condition() {
    let plane = plane().await;
    let mut env = TestEnv::new(&plane, "pool-much").await;
    env.start();
    env.make_pool(1_001).await;
    env.name_data().await;
    env.until::<LXCMachinePool>(POOL, "to say that it has a bound", |pool| {
        serde_json::to_string(&pool).unwrap().contains("a pool can have at most 1000 machines")
    })
    .await;
    assert!(env.pool_machines().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_packaged_rbac_rules_suffice_for_a_pool() {
    let plane = plane().await;
    rights::install_rights(&plane.client()).await;
    let mut env = TestEnv::new(&plane, "pool-rights").await;
    env.provider_kube = plane.client_as(rights::ACCOUNT, &[]);
    let mut options = options(&env.namespace);
    options.namespace = None;
    env.start_with(options);
    env.make_pool(2).await;
    let _core = play_core(&env);
    env.name_data().await;
    env.until_pool_has(2).await;
    env.scale(1).await;
    env.until_pool_has(1).await;
    env.delete::<LXCMachinePool>(POOL).await;
    env.until_gone::<LXCMachinePool>(POOL).await;
}

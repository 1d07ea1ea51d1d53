//! Creates a new first control plane machine, if no instance of the control plane is left.
//!
//! The control plane is marked as not initialized, so the KubeadmControlPlane creates one machine
//! that runs `kubeadm init` with the CAs of the cluster. Its etcd is empty; the snapshot replaces
//! that data as in any other restore. Workers trust the CAs and know the endpoint, so they find the
//! control plane again. Every step can be repeated.

use std::time::Duration;

use capi_api::controlplane::PRE_TERMINATE_HOOK;
use capi_api::{Cluster, KubeadmControlPlane, Machine, MachineHealthCheck, labels};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::plan::{Candidate, Instance};
use crate::error::{CommandError, Doing as _};

/// Name suffixes of the Secrets without which a new control plane would be another cluster.
const AUTHORITIES: [&str; 4] = ["ca", "etcd", "proxy", "sa"];
/// Stops the controllers of an object.
const PAUSED: &str = "cluster.x-k8s.io/paused";

/// Timeout of one request to the plane.
const ANSWER: Duration = Duration::from_secs(30);

/// What the note records about a restore that creates a new first machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Anew {
    /// Machines whose instances are gone.
    pub(super) lost: Vec<String>,
    /// The KubeadmControlPlane.
    pub(super) control_plane: String,
    /// Number of requested machines.
    pub(super) replicas: Option<i32>,
    /// MachineHealthChecks that are paused during the restore.
    pub(super) health_checks: Vec<String>,
}

/// Returns whether a new first machine can be created, and which Machines are then lost. Pure.
///
/// `None`: an instance runs or can be started, so it restores the data or must be repaired first.
pub(super) fn lost(candidates: &[Candidate]) -> Option<Vec<String>> {
    let is_lost = |one: &Candidate| match one.instance {
        Instance::Missing | Instance::Foreign(_) => true,
        // It is about to be gone. Others may hold data, so a user decides about them.
        Instance::Stopped | Instance::WithoutEtcd => one.is_leaving,
        Instance::Fit => false,
    };
    candidates
        .iter()
        .all(is_lost)
        .then(|| candidates.iter().map(|one| one.machine.clone()).collect())
}

/// Checks that the plane has the Secrets with which a new control plane is the same cluster.
///
/// # Errors
///
/// Returns an error with the missing Secrets, or if the plane does not respond.
pub(super) async fn check(plane: &Client, namespace: &str, name: &str) -> Result<(), CommandError> {
    let secrets: Api<Secret> = Api::namespaced(plane.clone(), namespace);
    let mut missing = Vec::new();
    for ending in AUTHORITIES {
        let secret = format!("{name}-{ending}");
        let found = tokio::time::timeout(ANSWER, secrets.get_metadata_opt(&secret)).await;
        let doing = || format!("cannot read the Secret `{secret}`");
        if found.doing(doing())?.doing(doing())?.is_none() {
            missing.push(secret);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(CommandError::new(format!(
        "a new control plane needs the cluster's CAs, but these Secrets are missing: {}",
        missing.join(", ")
    ))
    .hint(
        "restore them from a backup of the state directory, or create another cluster: `capn up`",
    ))
}

/// Returns the state of the cluster that the note records.
///
/// # Errors
///
/// Returns an error if the plane does not respond.
pub(super) async fn observe(
    plane: &Client,
    namespace: &str,
    control_plane: &KubeadmControlPlane,
    cluster: &str,
    lost: Vec<String>,
) -> Result<Anew, CommandError> {
    let checks: Api<MachineHealthCheck> = Api::namespaced(plane.clone(), namespace);
    let found = checks.list(&ListParams::default()).await;
    let found = found.doing("cannot list the MachineHealthChecks")?;
    let is_to_pause = |check: &&MachineHealthCheck| {
        check.spec.cluster_name == cluster && !check.annotations().contains_key(PAUSED)
    };
    Ok(Anew {
        lost,
        control_plane: control_plane.name_any(),
        replicas: control_plane.spec.replicas,
        health_checks: found.iter().filter(is_to_pause).map(|check| check.name_any()).collect(),
    })
}

/// Requests the first machine: deletes lost Machines, and scales the control plane to one machine
/// that initializes it. The Cluster is paused.
///
/// # Errors
///
/// Returns an error if the plane does not respond.
pub(super) async fn ask(
    plane: &Client,
    namespace: &str,
    cluster: &Cluster,
    anew: &Anew,
) -> Result<(), CommandError> {
    health_checks(plane, namespace, anew, true).await?;
    let machines: Api<Machine> = Api::namespaced(plane.clone(), namespace);
    for name in &anew.lost {
        let doing = || format!("cannot delete the Machine `{name}`");
        // Its instance is gone, so there is nothing to drain or to remove from etcd.
        let change = json!({ "metadata": { "annotations": {
            PRE_TERMINATE_HOOK: null,
            labels::EXCLUDE_NODE_DRAINING: "true",
            labels::EXCLUDE_WAIT_FOR_VOLUME_DETACH: "true",
        } } });
        let changed = machines.patch(name, &PatchParams::default(), &Patch::Merge(change)).await;
        if absent(changed).doing(doing())?.is_some() {
            absent(machines.delete(name, &DeleteParams::default()).await).doing(doing())?;
        }
    }
    let control_planes: Api<KubeadmControlPlane> = Api::namespaced(plane.clone(), namespace);
    let doing = || format!("cannot change the KubeadmControlPlane `{}`", anew.control_plane);
    // The others join once the data is restored.
    let one = Patch::Merge(json!({ "spec": { "replicas": 1 } }));
    let params = PatchParams::default();
    control_planes.patch(&anew.control_plane, &params, &one).await.doing(doing())?;
    let begin = Patch::Merge(json!({ "status": { "initialization": {
        "controlPlaneInitialized": null,
    } } }));
    control_planes.patch_status(&anew.control_plane, &params, &begin).await.doing(doing())?;
    let name = cluster.name_any();
    let clusters: Api<Cluster> = Api::namespaced(plane.clone(), namespace);
    let doing = || format!("cannot change the Cluster `{name}`");
    clusters.patch_status(&name, &params, &begin).await.doing(doing())?;
    // It names a machine that no longer exists.
    let locks: Api<ConfigMap> = Api::namespaced(plane.clone(), namespace);
    let lock = format!("{name}-lock");
    let deleted = locks.delete(&lock, &DeleteParams::default()).await;
    absent(deleted).doing(format!("cannot delete the ConfigMap `{lock}`")).map(drop)
}

/// Requests as many machines as before.
///
/// # Errors
///
/// Returns an error if the plane does not respond.
pub(super) async fn replicas(
    plane: &Client,
    namespace: &str,
    anew: &Anew,
) -> Result<(), CommandError> {
    let control_planes: Api<KubeadmControlPlane> = Api::namespaced(plane.clone(), namespace);
    let change = Patch::Merge(json!({ "spec": { "replicas": anew.replicas.unwrap_or(1) } }));
    let changed = control_planes.patch(&anew.control_plane, &PatchParams::default(), &change).await;
    let doing = format!("cannot change the KubeadmControlPlane `{}`", anew.control_plane);
    changed.map(drop).doing(doing)
}

/// Pauses or resumes the MachineHealthChecks. Worker nodes are unavailable for a while, and their
/// machines must not be replaced for that.
///
/// # Errors
///
/// Returns an error if the plane does not respond.
pub(super) async fn health_checks(
    plane: &Client,
    namespace: &str,
    anew: &Anew,
    paused: bool,
) -> Result<(), CommandError> {
    let checks: Api<MachineHealthCheck> = Api::namespaced(plane.clone(), namespace);
    let value = if paused { json!("") } else { json!(null) };
    let change = Patch::Merge(json!({ "metadata": { "annotations": { PAUSED: value } } }));
    for name in &anew.health_checks {
        let changed = checks.patch(name, &PatchParams::default(), &change).await;
        absent(changed).doing(format!("cannot change the MachineHealthCheck `{name}`"))?;
    }
    Ok(())
}

/// Returns the result of a request, `None` if the object no longer exists.
fn absent<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use kube::api::PostParams;

    use super::*;
    use crate::cluster::create_missing;
    use crate::identity::Identity;
    use crate::manifest::request::testing::demo;
    use crate::manifest::{ClusterRequest, Secrets, documents};
    use crate::session::{Need, Session};
    use crate::state::StateDir;

    fn one(machine: &str, is_leaving: bool, instance: Instance) -> Candidate {
        Candidate {
            machine: machine.into(),
            name: format!("i-{machine}"),
            created: Timestamp::UNIX_EPOCH,
            is_leaving,
            instance,
        }
    }

    #[test]
    fn a_first_machine_is_made_only_where_no_instance_has_or_could_have_the_data() {
        let foreign = || Instance::Foreign("other".into());
        for (candidates, expected) in [
            (vec![], Some(vec![])),
            (vec![one("a", false, Instance::Missing)], Some(vec!["a"])),
            (
                vec![
                    one("a", false, Instance::Missing),
                    one("b", false, foreign()),
                    one("c", true, Instance::WithoutEtcd),
                    one("d", true, Instance::Stopped),
                ],
                Some(vec!["a", "b", "c", "d"]),
            ),
            (vec![one("a", false, Instance::Missing), one("b", false, Instance::Stopped)], None),
            (vec![one("a", false, Instance::Missing), one("b", false, Instance::Fit)], None),
            (vec![one("a", true, Instance::Fit)], None),
            (vec![one("a", false, Instance::WithoutEtcd)], None),
        ] {
            assert_eq!(
                lost(&candidates),
                expected.map(|all| all.into_iter().map(String::from).collect())
            );
        }
    }

    const NAMESPACE: &str = "default";

    #[tokio::test]
    async fn the_control_plane_begins_anew_with_one_machine_and_gets_the_others_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::at(folder.path().join("state").to_str().unwrap());
        let session = Session::open(&state, Need::Objects).await.unwrap();
        let plane = session.client().clone();
        let identity = Identity {
            server: "unix:///nowhere".into(),
            server_certificate: None,
            client_certificate: None,
            client_key: None,
            project: None,
            reach: capn_controller::workload::Reach::ThisMachine,
        };
        let request = ClusterRequest { control_planes: 3, ..demo() };
        for document in documents(&request, &identity, &Secrets::default()) {
            create_missing(&plane, &document, NAMESPACE).await.unwrap();
        }
        let clusters: Api<Cluster> = Api::namespaced(plane.clone(), NAMESPACE);
        let control_planes: Api<KubeadmControlPlane> = Api::namespaced(plane.clone(), NAMESPACE);
        let machines: Api<Machine> = Api::namespaced(plane.clone(), NAMESPACE);
        let initialized = Patch::Merge(json!({ "status": { "initialization": {
            "controlPlaneInitialized": true } } }));
        let params = PatchParams::default();
        clusters.patch_status("demo", &params, &initialized).await.unwrap();
        control_planes.patch_status("demo-control-plane", &params, &initialized).await.unwrap();
        let lock = json!({ "metadata": { "name": "demo-lock" } });
        let locks: Api<ConfigMap> = Api::namespaced(plane.clone(), NAMESPACE);
        let lock = serde_json::from_value(lock).unwrap();
        locks.create(&PostParams::default(), &lock).await.unwrap();
        let machine = serde_json::from_value(json!({
            "metadata": { "name": "a", "finalizers": ["test.example/instance"],
                "labels": { "cluster.x-k8s.io/cluster-name": "demo" },
                "annotations": { PRE_TERMINATE_HOOK: "" } },
            "spec": { "clusterName": "demo", "bootstrap": { "dataSecretName": "data" },
                "version": "v1.37.2", "infrastructureRef": { "name": "a", "kind": "LXCMachine",
                    "apiGroup": "infrastructure.cluster.x-k8s.io" } },
        }))
        .unwrap();
        machines.create(&PostParams::default(), &machine).await.unwrap();

        let error = check(&plane, NAMESPACE, "demo").await.unwrap_err().to_string();
        assert!(error.ends_with("demo-ca, demo-etcd, demo-proxy, demo-sa"), "{error}");
        let secrets: Api<Secret> = Api::namespaced(plane.clone(), NAMESPACE);
        for ending in AUTHORITIES {
            let secret = json!({ "metadata": { "name": format!("demo-{ending}") } });
            let secret = serde_json::from_value(secret).unwrap();
            secrets.create(&PostParams::default(), &secret).await.unwrap();
        }
        check(&plane, NAMESPACE, "demo").await.unwrap();

        let control_plane = control_planes.get("demo-control-plane").await.unwrap();
        let lost = vec!["a".to_owned(), "gone".to_owned()];
        let anew = observe(&plane, NAMESPACE, &control_plane, "demo", lost).await.unwrap();
        assert_eq!((anew.control_plane.as_str(), anew.replicas), ("demo-control-plane", Some(3)));
        let checks: Api<MachineHealthCheck> = Api::namespaced(plane.clone(), NAMESPACE);
        let paused = async || {
            let all = checks.list(&ListParams::default()).await.unwrap();
            all.iter().filter(|check| check.annotations().contains_key(PAUSED)).count()
        };
        let count = checks.list(&ListParams::default()).await.unwrap().items.len();
        assert_eq!(anew.health_checks.len(), count);
        let cluster = clusters.get("demo").await.unwrap();
        // It can be repeated.
        for _ in 0..2 {
            ask(&plane, NAMESPACE, &cluster, &anew).await.unwrap();
            let machine = machines.get("a").await.unwrap();
            assert!(machine.metadata.deletion_timestamp.is_some());
            assert!(!machine.annotations().contains_key(PRE_TERMINATE_HOOK));
            assert!(machine.annotations().contains_key(labels::EXCLUDE_NODE_DRAINING));
            assert!(!clusters.get("demo").await.unwrap().control_plane_initialized());
            let found = control_planes.get("demo-control-plane").await.unwrap();
            assert_eq!(found.spec.replicas, Some(1));
            let progress = found.status.and_then(|status| status.initialization);
            let initialized = progress.and_then(|progress| progress.control_plane_initialized);
            assert_eq!(initialized, None);
            assert!(locks.get_opt("demo-lock").await.unwrap().is_none());
            assert_eq!(paused().await, count);
        }
        replicas(&plane, NAMESPACE, &anew).await.unwrap();
        let found = control_planes.get("demo-control-plane").await.unwrap();
        assert_eq!(found.spec.replicas, Some(3));
        health_checks(&plane, NAMESPACE, &anew, false).await.unwrap();
        assert_eq!(paused().await, 0);
    }
}

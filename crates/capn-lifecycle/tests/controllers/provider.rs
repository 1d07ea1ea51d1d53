//! Simulated providers of infrastructure, bootstrap data and control planes: they implement the
//! contract and record the order of deletions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use capi_api::{Cluster, Machine, labels, refs};
use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::harness::{NAMESPACE, reference};
use crate::workload::{Workload, address};

pub(crate) const GROUP: &str = "test.cluster.x-k8s.io";
pub(crate) const API_VERSION: &str = "test.cluster.x-k8s.io/v1";
const KINDS: [&str; 9] = [
    "TestCluster",
    "TestControlPlane",
    "TestMachine",
    "TestMachinePool",
    "TestMachineTemplate",
    "TestConfig",
    "TestConfigTemplate",
    "TestRemediation",
    "TestRemediationTemplate",
];
const FINALIZER: &str = "test.cluster.x-k8s.io/provider";

/// Recorded events, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

pub(crate) fn resource(kind: &str) -> ApiResource {
    refs::api_resource(GROUP, "v1", kind)
}

/// CRDs of the providers' kinds, which accept any spec and status.
pub(crate) fn crds() -> Vec<CustomResourceDefinition> {
    KINDS
        .into_iter()
        .map(|kind| {
            let plural = refs::plural(kind);
            let any = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
            let mut spec = any.clone();
            spec["properties"]["flavor"] = json!({ "type": "string", "maxLength": 20 });
            serde_json::from_value(json!({
                "metadata": {
                    "name": format!("{plural}.{GROUP}"),
                    "labels": { labels::CONTRACT_V1BETA2: "v1" },
                },
                "spec": {
                    "group": GROUP, "scope": "Namespaced",
                    "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
                    "versions": [{
                        "name": "v1", "served": true, "storage": true,
                        "subresources": { "status": {} },
                        "schema": { "openAPIV3Schema": {
                            "type": "object", "properties": { "spec": spec, "status": any },
                        } },
                    }],
                },
            }))
            .unwrap()
        })
        .collect()
}

/// Acts as all providers until it is dropped: every event triggers a full pass.
pub(crate) async fn run(client: Client, workload: Workload, log: Log) {
    let provider = Provider { client: client.clone(), workload, log };
    let mut wakes = Vec::new();
    for kind in ["TestCluster", "TestControlPlane", "TestMachine", "TestConfig"] {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource(kind));
        let events = watcher(api, watcher::Config::default()).touched_objects();
        wakes.push(events.map(drop).boxed());
    }
    let machines = watcher(Api::<Machine>::all(client.clone()), watcher::Config::default());
    wakes.push(machines.touched_objects().map(drop).boxed());
    let clusters = watcher(Api::<Cluster>::all(client), watcher::Config::default());
    wakes.push(clusters.touched_objects().map(drop).boxed());
    let mut wakes = futures::stream::select_all(wakes).ready_chunks(64);
    while wakes.next().await.is_some() {
        // A conflict comes with another event, which triggers a retry.
        if let Err(error) = provider.all().await {
            let is_conflict = matches!(&error, kube::Error::Api(s) if [404, 409].contains(&s.code));
            assert!(is_conflict, "the provider failed: {error}");
        }
    }
}

struct Provider {
    client: Client,
    workload: Workload,
    log: Log,
}

impl Provider {
    fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), NAMESPACE, &resource(kind))
    }

    async fn list(&self, kind: &str) -> Result<Vec<DynamicObject>, kube::Error> {
        Ok(self.api(kind).list(&ListParams::default()).await?.items)
    }

    async fn all(&self) -> Result<(), kube::Error> {
        let clusters: Api<Cluster> = Api::namespaced(self.client.clone(), NAMESPACE);
        let Some(cluster) = clusters.get_opt("c").await? else { return self.leave().await };
        for object in self.list("TestCluster").await? {
            if self.is_ours("TestCluster", &object, "Cluster").await? {
                self.status(
                    "TestCluster",
                    &object,
                    json!({
                        "initialization": { "provisioned": true },
                        "failureDomains": [{ "name": "a", "controlPlane": true }],
                    }),
                    json!({ "controlPlaneEndpoint": { "host": "192.0.2.1", "port": 6443 } }),
                )
                .await?;
            }
        }
        if !cluster.infrastructure_provisioned() {
            return Ok(());
        }
        for object in self.list("TestControlPlane").await? {
            self.control_plane(&object).await?;
        }
        let initialized = cluster.control_plane_initialized();
        for object in self.list("TestConfig").await? {
            if self.is_ours("TestConfig", &object, "Machine").await? {
                let is_first = object.name_any().starts_with("cp");
                if is_first || initialized {
                    let secret = format!("{}-data", object.name_any());
                    self.status("TestConfig", &object, json!({
                        "initialization": { "dataSecretCreated": true }, "dataSecretName": secret,
                    }), json!({}))
                    .await?;
                }
            }
        }
        for object in self.list("TestMachine").await? {
            self.machine(&object).await?;
        }
        Ok(())
    }

    /// The cluster is gone; the remaining objects may be deleted too.
    async fn leave(&self) -> Result<(), kube::Error> {
        for kind in ["TestMachine", "TestConfig", "TestCluster"] {
            for object in self.list(kind).await? {
                self.is_ours(kind, &object, "Machine").await?;
            }
        }
        Ok(())
    }

    /// Adds a finalizer to an object once its owner is known, and removes it on deletion. Returns
    /// whether the object must be reconciled.
    async fn is_ours(
        &self,
        kind: &str,
        object: &DynamicObject,
        owner: &str,
    ) -> Result<bool, kube::Error> {
        let name = object.name_any();
        if object.metadata.deletion_timestamp.is_some() {
            if object.finalizers().iter().any(|f| f == FINALIZER) {
                self.log.note(format!("{kind} {name} deleted"));
                if kind == "TestMachine" && self.workload.node(&name).is_some() {
                    self.log.note(format!("Node {name} was there"));
                }
                self.finalizers(kind, object, &[]).await?;
            }
            return Ok(false);
        }
        if refs::owner(&object.metadata, capi_api::core::GROUP, owner).is_none() {
            return Ok(false);
        }
        if object.finalizers().is_empty() {
            self.finalizers(kind, object, &[FINALIZER]).await?;
            return Ok(false);
        }
        Ok(true)
    }

    async fn finalizers(
        &self,
        kind: &str,
        object: &DynamicObject,
        finalizers: &[&str],
    ) -> Result<(), kube::Error> {
        let change = json!({ "metadata": {
            "finalizers": finalizers, "resourceVersion": object.resource_version(),
        } });
        self.api(kind)
            .patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(change))
            .await?;
        Ok(())
    }

    async fn status(
        &self,
        kind: &str,
        object: &DynamicObject,
        status: Value,
        spec: Value,
    ) -> Result<(), kube::Error> {
        if object.data.pointer("/status/initialization") == status.pointer("/initialization") {
            return Ok(());
        }
        let (api, params) = (self.api(kind), PatchParams::default());
        let name = object.name_any();
        api.patch(&name, &params, &Patch::Merge(json!({ "spec": spec }))).await?;
        api.patch_status(&name, &params, &Patch::Merge(json!({ "status": status }))).await?;
        Ok(())
    }

    async fn machine(&self, object: &DynamicObject) -> Result<(), kube::Error> {
        if !self.is_ours("TestMachine", object, "Machine").await? {
            return Ok(());
        }
        let name = object.name_any();
        let machines: Api<Machine> = Api::namespaced(self.client.clone(), NAMESPACE);
        let Some(machine) = machines.get_opt(&name).await? else { return Ok(()) };
        if machine.spec.bootstrap.data_secret_name.is_none() {
            return Ok(());
        }
        let provider_id = format!("test:///{name}");
        self.status(
            "TestMachine",
            object,
            json!({
                "initialization": { "provisioned": true },
                "addresses": [{ "type": "InternalIP", "address": address(&name) }],
                "failureDomain": "a",
            }),
            json!({ "providerID": provider_id }),
        )
        .await?;
        // A machine with given bootstrap data never joins; a provisioned instance joins once.
        let is_of_pool = machine.labels().contains_key(labels::POOL_NAME);
        let joins = machine.spec.bootstrap.config_ref.is_some() || is_of_pool;
        let has_joined = object.annotations().contains_key("joined");
        let can_join = joins && self.workload.can_join(machine.is_control_plane());
        if can_join && !has_joined && machine.metadata.deletion_timestamp.is_none() {
            let version = machine.spec.version.as_deref().unwrap_or("v1.36.0");
            if machine.is_control_plane() {
                self.workload.join_control_plane(&name, &provider_id, version);
            } else {
                self.workload.join(&name, &provider_id, version);
            }
            let change = json!({ "metadata": { "annotations": { "joined": "yes" } } });
            self.api("TestMachine")
                .patch(&name, &PatchParams::default(), &Patch::Merge(change))
                .await?;
        }
        Ok(())
    }

    /// Creates one control plane machine, `cp-0`.
    async fn control_plane(&self, object: &DynamicObject) -> Result<(), kube::Error> {
        let machines: Api<Machine> = Api::namespaced(self.client.clone(), NAMESPACE);
        let first = machines.get_opt("cp-0").await?;
        if object.metadata.deletion_timestamp.is_some()
            && let Some(first) = first
        {
            if first.metadata.deletion_timestamp.is_none() {
                machines.delete("cp-0", &Default::default()).await?;
            }
            return Ok(());
        }
        if !self.is_ours("TestControlPlane", object, "Cluster").await? {
            return Ok(());
        }
        if first.is_none() {
            return self.make_first(object, &machines).await;
        }
        let has_instance = first.as_ref().is_some_and(|machine| machine.spec.provider_id.is_some());
        if has_instance {
            self.status("TestControlPlane", object, json!({
                "initialization": { "controlPlaneInitialized": true },
                "replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "upToDateReplicas": 1,
                "versions": [{ "version": "v1.36.0", "replicas": 1 }],
            }), json!({}))
            .await?;
        }
        Ok(())
    }

    async fn make_first(
        &self,
        object: &DynamicObject,
        machines: &Api<Machine>,
    ) -> Result<(), kube::Error> {
        let all_labels = BTreeMap::from([
            (labels::CLUSTER_NAME, "c"),
            (labels::CONTROL_PLANE, ""),
            (labels::CONTROL_PLANE_NAME, "cp"),
        ]);
        for kind in ["TestMachine", "TestConfig"] {
            let part: DynamicObject = serde_json::from_value(json!({
                "apiVersion": API_VERSION, "kind": kind,
                "metadata": { "name": "cp-0", "labels": all_labels }, "spec": {},
            }))
            .map_err(kube::Error::SerdeError)?;
            match self.api(kind).create(&PostParams::default(), &part).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                other => drop(other?),
            }
        }
        let machine: Machine = serde_json::from_value(json!({
            "metadata": {
                "name": "cp-0", "labels": all_labels,
                "ownerReferences": [{
                    "apiVersion": API_VERSION, "kind": "TestControlPlane", "name": "cp",
                    "uid": object.uid(), "controller": true,
                }],
            },
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "spec": {
                "clusterName": "c", "version": "v1.36.0",
                "bootstrap": { "configRef": reference("TestConfig", "cp-0") },
                "infrastructureRef": reference("TestMachine", "cp-0"),
            },
        }))
        .map_err(kube::Error::SerdeError)?;
        machines.create(&PostParams::default(), &machine).await?;
        Ok(())
    }
}

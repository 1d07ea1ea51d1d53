//! Another tenant's cluster, which must be reconciled whatever happens next to it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::ApiClient;
use super::test_env::{CLUSTERS, INFRASTRUCTURE};

/// Time limit of a round.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// A Cluster without machines, and its LXCCluster.
pub(crate) struct Canary {
    caller: ApiClient,
    rounds: u32,
}

impl Canary {
    /// Creates the objects if they do not exist.
    pub(crate) async fn hatch(caller: ApiClient) -> anyhow::Result<Self> {
        let reference = json!({
            "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCCluster", "name": "canary",
        });
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": {
                "name": "canary", "labels": { "capn.cluster.x-k8s.io/bootstrap": "none" },
            },
            "spec": { "infrastructureRef": reference },
        });
        let infrastructure = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCCluster",
            "metadata": { "name": "canary" },
            "spec": {
                "loadBalancer": { "external": {} }, "unprivileged": true,
                "secretRef": { "name": "none" },
                "controlPlaneEndpoint": { "host": "192.0.2.1", "port": 6443 },
            },
        });
        let mut canary = Self { caller, rounds: 0 };
        for (path, object) in [(clusters(""), &cluster), (infrastructures(""), &infrastructure)] {
            let answer = canary.caller.post(&path, object).await?;
            if answer.status != http::StatusCode::CONFLICT {
                answer.granted().context("the other tenant cannot create a cluster")?;
            }
        }
        canary.sing().await?;
        Ok(canary)
    }

    /// Changes both objects and waits until the controllers of Cluster API and the provider have
    /// reconciled them. Returns the longest write time and the reconcile time.
    pub(crate) async fn sing(&mut self) -> anyhow::Result<(Duration, Duration)> {
        self.rounds += 1;
        let began = Instant::now();
        let port = 1000 + self.rounds % 60_000;
        let change = json!({ "spec": { "clusterNetwork": { "apiServerPort": port } } });
        let cluster = self.caller.merge(&clusters("/canary"), &change).await?.granted()?.json();
        let first = began.elapsed();
        let change =
            json!({ "spec": { "secretRef": { "name": format!("none-{}", self.rounds) } } });
        let path = infrastructures("/canary");
        let infrastructure = self.caller.merge(&path, &change).await?.granted()?.json();
        let page = first.max(began.elapsed() - first);
        self.looked_at(&clusters("/canary"), &cluster, "Cluster", |object| {
            object["status"]["observedGeneration"].as_i64()
        })
        .await?;
        self.looked_at(&path, &infrastructure, "LXCCluster", |object| {
            object["status"]["conditions"][0]["observedGeneration"].as_i64()
        })
        .await?;
        Ok((page, began.elapsed()))
    }

    async fn looked_at(
        &self,
        path: &str,
        page: &Value,
        kind: &str,
        observed: impl Fn(&Value) -> Option<i64>,
    ) -> anyhow::Result<()> {
        let wanted = page["metadata"]["generation"].as_i64();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let object = self.caller.get(path).await?.granted()?.json();
            if observed(&object) >= wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the {kind} of another tenant is not reconciled within {PATIENCE:?}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn clusters(name: &str) -> String {
    format!("{CLUSTERS}/namespaces/canary/clusters{name}")
}

fn infrastructures(name: &str) -> String {
    format!("{INFRASTRUCTURE}/namespaces/canary/lxcclusters{name}")
}

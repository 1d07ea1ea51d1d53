//! A few objects that request very many.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::attack::client::{ApiClient, ApiResponse};
use crate::attack::fixture::{Fixture, owner};
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::test_env::CLUSTERS;

/// How long the controllers may create requested objects. The rest is created while the monitor
/// measures.
const GROWING: Duration = Duration::from_secs(8);
/// How long the controllers may take for a round that deletes everything.
const LEAVING: Duration = Duration::from_secs(10);
/// Maximum number of machines per namespace, plus those created concurrently with the last one.
const MOST: usize = 1_000 + 50;
/// Number of connections for creating objects.
const CONNECTIONS: usize = 4;
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("replicas", Attacker::Tenant, Target::Serve)
        .gate("what controllers make counts against the quota of the namespace, and so do machines")
        .add("15 machine sets of 1,000 replicas", |s| sets(s, 15, 1_000))
        .add("200 machine sets of 100 replicas", |s| sets(s, 200, 100))
        .add("a machine deployment that is scaled up and down", up_and_down)
        .add("1,100 machines, and a machine set for 100 more", filled)
        .gate("clusters of a namespace are counted, and its reconciles wait for each other alone")
        .add("clusters by the hundred, with load balancers", clusters)
        .on(Target::Manager)
        .gate("namespaces take turns at the manager's rate of requests")
        .add("1,000 machines at the manager's rate of requests", |s| sets(s, 1, 1_000))
        .end()
}

fn reference(group: &str, kind: &str, name: &str) -> Value {
    json!({ "apiGroup": format!("{group}.cluster.x-k8s.io"), "kind": kind, "name": name })
}

/// A set or deployment with this many replicas, in the cluster of [`templates`].
fn many(kind: &str, name: &str, replicas: usize) -> Value {
    let labels = json!({ "of": name });
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": kind, "metadata": { "name": name },
        "spec": {
            "clusterName": "attack", "replicas": replicas, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": {
                "clusterName": "attack", "version": "v1.36.0",
                "bootstrap": { "configRef": reference("bootstrap", "KubeadmConfigTemplate", "t") },
                "infrastructureRef": reference("infrastructure", "LXCMachineTemplate", "t"),
            } },
        },
    })
}

/// A cluster and its machine templates.
async fn templates(fixture: &Fixture) -> AttackResult {
    fixture.cluster_with(json!({})).await?;
    let bootstrap = format!(
        "/apis/bootstrap.cluster.x-k8s.io/v1beta2/namespaces/{}/kubeadmconfigtemplates",
        fixture.namespace
    );
    for (path, version, kind) in [
        (
            fixture.infrastructure("lxcmachinetemplates"),
            "infrastructure.cluster.x-k8s.io/v1alpha2",
            "LXCMachineTemplate",
        ),
        (bootstrap, "bootstrap.cluster.x-k8s.io/v1beta2", "KubeadmConfigTemplate"),
    ] {
        let template = json!({
            "apiVersion": version, "kind": kind, "metadata": { "name": "t" },
            "spec": { "template": { "spec": {} } },
        });
        fixture.tenant.post(&path, &template).await?.granted()?;
    }
    Ok(())
}

fn path(fixture: &Fixture, plural: &str) -> String {
    format!("{CLUSTERS}/namespaces/{}/{plural}", fixture.namespace)
}

/// Creates all objects over several connections.
pub(super) async fn post_all(
    fixture: &Fixture,
    objects: Vec<(String, Value)>,
) -> anyhow::Result<Vec<ApiResponse>> {
    let mut shares: Vec<Vec<(String, Value)>> = vec![Vec::new(); CONNECTIONS];
    for (number, object) in objects.into_iter().enumerate() {
        shares[number % CONNECTIONS].push(object);
    }
    let sent = shares.into_iter().map(|share| post_each(fixture.tenant.again(), share));
    Ok(futures::future::try_join_all(sent).await?.into_iter().flatten().collect())
}

async fn post_each(
    caller: ApiClient,
    objects: Vec<(String, Value)>,
) -> anyhow::Result<Vec<ApiResponse>> {
    let mut answers = Vec::new();
    for (path, object) in objects {
        answers.push(caller.post(&path, &object).await?);
    }
    Ok(answers)
}

/// Number of machines.
async fn count(admin: &ApiClient, fixture: &Fixture) -> anyhow::Result<usize> {
    let page = admin.get(&format!("{}?limit=1", fixture.machines())).await?.granted()?.json();
    let rest = page["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
    let here = page["items"].as_array().map_or(0, Vec::len);
    Ok(here + usize::try_from(rest)?)
}

/// Lets the controllers create machines for a while. Returns their number, which must not exceed
/// the limit of the namespace.
async fn grown(fixture: &Fixture) -> anyhow::Result<usize> {
    let deadline = Instant::now() + GROWING * fixture.slower;
    loop {
        let machines = count(&fixture.admin, fixture).await?;
        ensure!(machines <= MOST, "the namespace holds {machines} machines, more than {MOST}");
        if Instant::now() > deadline {
            return Ok(machines);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Deletes the owners of machines and waits until machines are deleted, however full the namespace
/// is.
async fn leave(fixture: &Fixture, plural: &str, before: usize) -> AttackResult {
    fixture.tenant.delete(&path(fixture, plural)).await?.granted()?;
    let deadline = Instant::now() + LEAVING * fixture.slower;
    loop {
        let machines = fixture.admin.get(&fixture.machines()).await?.granted()?.json();
        let machines = machines["items"].as_array().cloned().unwrap_or_default();
        let leave = |machine: &&Value| machine["metadata"]["deletionTimestamp"].is_string();
        if machines.len() < before || machines.iter().any(|machine| leave(&machine)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "none of {before} machines leaves within {LEAVING:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn sets(fixture: Arc<Fixture>, number: usize, replicas: usize) -> AttackResult {
    templates(&fixture).await?;
    let all = path(&fixture, "machinesets");
    let set = |set| (all.clone(), many("MachineSet", &format!("set-{set}"), replicas));
    for made in post_all(&fixture, (0..number).map(set).collect()).await? {
        made.granted()?;
    }
    let machines = grown(&fixture).await?;
    ensure!(machines > 0, "no machine is made");
    leave(&fixture, "machinesets", machines).await
}

async fn up_and_down(fixture: Arc<Fixture>) -> AttackResult {
    templates(&fixture).await?;
    let all = path(&fixture, "machinedeployments");
    fixture.tenant.post(&all, &many("MachineDeployment", "many", 0)).await?.granted()?;
    let deadline = Instant::now() + GROWING * fixture.slower;
    let mut round = 0;
    while Instant::now() < deadline {
        round += 1;
        let replicas = if round % 2 == 0 { 0 } else { 1_000 };
        let change = json!({ "spec": { "replicas": replicas } });
        fixture.tenant.merge(&format!("{all}/many"), &change).await?.granted()?;
        // A new template creates a new set next to the old ones.
        let change = json!({ "spec": { "template": { "metadata": { "annotations": { "a": format!("{round}") } },
            "spec": { "version": format!("v1.36.{}", round % 10) } } } });
        fixture.tenant.merge(&format!("{all}/many"), &change).await?.granted()?;
        let machines = count(&fixture.admin, &fixture).await?;
        ensure!(machines <= MOST, "the namespace holds {machines} machines, more than {MOST}");
        tokio::time::sleep(PAUSE).await;
    }
    fixture.tenant.delete(&all).await?.granted().map(drop)
}

/// A namespace filled by the tenant accepts no more machines from controllers either.
async fn filled(fixture: Arc<Fixture>) -> AttackResult {
    templates(&fixture).await?;
    let machine = |number: usize| {
        let machine = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {
                "name": format!("own-{number}"), "annotations": { "cluster.x-k8s.io/paused": "" },
            },
            "spec": {
                "clusterName": "attack", "bootstrap": { "dataSecretName": "none" },
                "infrastructureRef": reference("infrastructure", "LXCMachine", "none"),
            },
        });
        (fixture.machines(), machine)
    };
    let answers = post_all(&fixture, (0..1_100).map(machine).collect()).await?;
    let refused = answers.into_iter().find(|answer| !answer.status.is_success());
    let refused = refused.context("a namespace may hold 1,100 machines")?.text();
    ensure!(refused.contains("exceeded quota"), "a machine is refused: {refused}");
    let set = many("MachineSet", "more", 100);
    fixture.tenant.post(&path(&fixture, "machinesets"), &set).await?.granted()?;
    grown(&fixture).await.map(drop)
}

async fn clusters(fixture: Arc<Fixture>) -> AttackResult {
    let cluster = |number: usize| {
        let name = format!("many-{number}");
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": { "name": name },
            "spec": { "infrastructureRef": reference("infrastructure", "LXCCluster", &name) },
        });
        (fixture.clusters(), cluster)
    };
    let answers = post_all(&fixture, (0..300).map(cluster).collect()).await?;
    let (made, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status.is_success());
    let refused = refused.first().context("a namespace may hold 300 clusters")?.text();
    ensure!(refused.contains("exceeded quota"), "a cluster is refused: {refused}");
    let balanced = |cluster: &ApiResponse| {
        let cluster = cluster.json();
        let name = &cluster["metadata"]["name"];
        let object = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCCluster",
            "metadata": {
                "name": name, "labels": { "cluster.x-k8s.io/cluster-name": name },
                "ownerReferences": [owner("Cluster", &cluster)],
            },
            "spec": { "loadBalancer": { "lxc": {} }, "secretRef": { "name": "none" } },
        });
        (fixture.infrastructure("lxcclusters"), object)
    };
    post_all(&fixture, made.iter().map(balanced).collect()).await?;
    fixture.tenant.delete(&fixture.clusters()).await?.granted().map(drop)
}

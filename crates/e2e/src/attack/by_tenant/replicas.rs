//! Few objects that ask for very many.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::attack::client::{Answer, Caller};
use crate::attack::scene::{Scene, owner};
use crate::attack::stage::CLUSTERS;
use crate::attack::table::{Attack, Class, Done, On, Who};

/// How long the controllers have to make what was asked for. What they have not made by then, they make
/// while the judge looks.
const GROWING: Duration = Duration::from_secs(8);
/// How long a round of the controllers may take when they have to take all of it away.
const LEAVING: Duration = Duration::from_secs(10);
/// Machines that a namespace may hold, and those that were made at the same time as the last.
const MOST: usize = 1_000 + 50;
/// Connections by which many objects are made.
const CONNECTIONS: usize = 4;
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn all() -> Vec<Attack> {
    Class::new("replicas", Who::Tenant, On::Serve)
        .gate("what controllers make counts against the quota of the namespace, and so do machines")
        .add("15 machine sets of 1,000 replicas", |s| sets(s, 15, 1_000))
        .add("200 machine sets of 100 replicas", |s| sets(s, 200, 100))
        .add("a machine deployment that is scaled up and down", up_and_down)
        .add("1,100 machines, and a machine set for 100 more", filled)
        .gate("clusters of a namespace are counted, and its reconciles wait for each other alone")
        .add("clusters by the hundred, with load balancers", clusters)
        .on(On::Manager)
        .gate("namespaces take turns at the manager's rate of requests")
        .add("1,000 machines at the manager's rate of requests", |s| sets(s, 1, 1_000))
        .end()
}

fn reference(group: &str, kind: &str, name: &str) -> Value {
    json!({ "apiGroup": format!("{group}.cluster.x-k8s.io"), "kind": kind, "name": name })
}

/// What a set or deployment of so many is, in the cluster that [`templates`] makes.
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

/// A cluster, and the templates of its machines.
async fn templates(scene: &Scene) -> Done {
    scene.cluster_with(json!({})).await?;
    let bootstrap = format!(
        "/apis/bootstrap.cluster.x-k8s.io/v1beta2/namespaces/{}/kubeadmconfigtemplates",
        scene.namespace
    );
    for (path, version, kind) in [
        (
            scene.infrastructure("lxcmachinetemplates"),
            "infrastructure.cluster.x-k8s.io/v1alpha2",
            "LXCMachineTemplate",
        ),
        (bootstrap, "bootstrap.cluster.x-k8s.io/v1beta2", "KubeadmConfigTemplate"),
    ] {
        let template = json!({
            "apiVersion": version, "kind": kind, "metadata": { "name": "t" },
            "spec": { "template": { "spec": {} } },
        });
        scene.tenant.post(&path, &template).await?.granted()?;
    }
    Ok(())
}

fn path(scene: &Scene, plural: &str) -> String {
    format!("{CLUSTERS}/namespaces/{}/{plural}", scene.namespace)
}

/// Sends all of them, by several connections at the same time.
pub(super) async fn post_all(
    scene: &Scene,
    objects: Vec<(String, Value)>,
) -> anyhow::Result<Vec<Answer>> {
    let mut shares: Vec<Vec<(String, Value)>> = vec![Vec::new(); CONNECTIONS];
    for (number, object) in objects.into_iter().enumerate() {
        shares[number % CONNECTIONS].push(object);
    }
    let sent = shares.into_iter().map(|share| post_each(scene.tenant.again(), share));
    Ok(futures::future::try_join_all(sent).await?.into_iter().flatten().collect())
}

async fn post_each(caller: Caller, objects: Vec<(String, Value)>) -> anyhow::Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for (path, object) in objects {
        answers.push(caller.post(&path, &object).await?);
    }
    Ok(answers)
}

/// How many machines there are.
async fn count(admin: &Caller, scene: &Scene) -> anyhow::Result<usize> {
    let page = admin.get(&format!("{}?limit=1", scene.machines())).await?.granted()?.json();
    let rest = page["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
    let here = page["items"].as_array().map_or(0, Vec::len);
    Ok(here + usize::try_from(rest)?)
}

/// Lets the controllers make machines for a while; says how many there are then, which are never more than a
/// namespace may hold.
async fn grown(scene: &Scene) -> anyhow::Result<usize> {
    let deadline = Instant::now() + GROWING * scene.slower;
    loop {
        let machines = count(&scene.admin, scene).await?;
        ensure!(machines <= MOST, "the namespace holds {machines} machines, more than {MOST}");
        if Instant::now() > deadline {
            return Ok(machines);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Takes away what asks for machines, and waits until they leave, however full the namespace is.
async fn leave(scene: &Scene, plural: &str, before: usize) -> Done {
    scene.tenant.delete(&path(scene, plural)).await?.granted()?;
    let deadline = Instant::now() + LEAVING * scene.slower;
    loop {
        let machines = scene.admin.get(&scene.machines()).await?.granted()?.json();
        let machines = machines["items"].as_array().cloned().unwrap_or_default();
        let leave = |machine: &&Value| machine["metadata"]["deletionTimestamp"].is_string();
        if machines.len() < before || machines.iter().any(|machine| leave(&machine)) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "none of {before} machines leaves within {LEAVING:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn sets(scene: Arc<Scene>, number: usize, replicas: usize) -> Done {
    templates(&scene).await?;
    let all = path(&scene, "machinesets");
    let set = |set| (all.clone(), many("MachineSet", &format!("set-{set}"), replicas));
    for made in post_all(&scene, (0..number).map(set).collect()).await? {
        made.granted()?;
    }
    let machines = grown(&scene).await?;
    ensure!(machines > 0, "no machine is made");
    leave(&scene, "machinesets", machines).await
}

async fn up_and_down(scene: Arc<Scene>) -> Done {
    templates(&scene).await?;
    let all = path(&scene, "machinedeployments");
    scene.tenant.post(&all, &many("MachineDeployment", "many", 0)).await?.granted()?;
    let deadline = Instant::now() + GROWING * scene.slower;
    let mut round = 0;
    while Instant::now() < deadline {
        round += 1;
        let replicas = if round % 2 == 0 { 0 } else { 1_000 };
        let change = json!({ "spec": { "replicas": replicas } });
        scene.tenant.merge(&format!("{all}/many"), &change).await?.granted()?;
        // A new template is a new set beside the old ones.
        let change = json!({ "spec": { "template": { "metadata": { "annotations": { "a": format!("{round}") } },
            "spec": { "version": format!("v1.36.{}", round % 10) } } } });
        scene.tenant.merge(&format!("{all}/many"), &change).await?.granted()?;
        let machines = count(&scene.admin, &scene).await?;
        ensure!(machines <= MOST, "the namespace holds {machines} machines, more than {MOST}");
        tokio::time::sleep(PAUSE).await;
    }
    scene.tenant.delete(&all).await?.granted().map(drop)
}

/// A namespace that the tenant has filled takes none of a controller either.
async fn filled(scene: Arc<Scene>) -> Done {
    templates(&scene).await?;
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
        (scene.machines(), machine)
    };
    let answers = post_all(&scene, (0..1_100).map(machine).collect()).await?;
    let refused = answers.into_iter().find(|answer| !answer.status.is_success());
    let refused = refused.context("a namespace may hold 1,100 machines")?.text();
    ensure!(refused.contains("exceeded quota"), "a machine is refused: {refused}");
    let set = many("MachineSet", "more", 100);
    scene.tenant.post(&path(&scene, "machinesets"), &set).await?.granted()?;
    grown(&scene).await.map(drop)
}

async fn clusters(scene: Arc<Scene>) -> Done {
    let cluster = |number: usize| {
        let name = format!("many-{number}");
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": { "name": name },
            "spec": { "infrastructureRef": reference("infrastructure", "LXCCluster", &name) },
        });
        (scene.clusters(), cluster)
    };
    let answers = post_all(&scene, (0..300).map(cluster).collect()).await?;
    let (made, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status.is_success());
    let refused = refused.first().context("a namespace may hold 300 clusters")?.text();
    ensure!(refused.contains("exceeded quota"), "a cluster is refused: {refused}");
    let balanced = |cluster: &Answer| {
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
        (scene.infrastructure("lxcclusters"), object)
    };
    post_all(&scene, made.iter().map(balanced).collect()).await?;
    scene.tenant.delete(&scene.clusters()).await?.granted().map(drop)
}

//! Deletions of whole collections.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::attack::scene::Scene;
use crate::attack::table::{Attack, Class, Done, On, Who};

pub(super) fn all() -> Vec<Attack> {
    Class::new("collections", Who::Tenant, On::Serve)
        .gate("namespaces are deleted one by one: 405 for the collection")
        .add("all namespaces are deleted at once, by whoever may", namespaces)
        .gate("a collection is deleted in one namespace, and the rights are looked at first")
        .add("collections of other namespaces are deleted", others)
        .end()
}

async fn namespaces(scene: Arc<Scene>) -> Done {
    let space = json!({ "metadata": { "name": format!("aaa-{}", scene.namespace) } });
    scene.admin.post("/api/v1/namespaces", &space).await?.granted()?;
    // By a selector too: what another tenant has must not go with a mistake.
    let path = format!("/api/v1/namespaces?fieldSelector=metadata.name%3Daaa-{}", scene.namespace);
    let answer = scene.admin.delete(&path).await?;
    ensure!(
        answer.status == http::StatusCode::METHOD_NOT_ALLOWED,
        "the collection of namespaces can be deleted ({})",
        answer.status
    );
    scene.tenant.delete("/api/v1/namespaces").await?.refused()?;
    let path = format!("/api/v1/namespaces/aaa-{}", scene.namespace);
    scene.admin.delete(&path).await?.granted()?;
    Ok(())
}

async fn others(scene: Arc<Scene>) -> Done {
    for path in [
        "/api/v1/configmaps",
        "/api/v1/namespaces/canary/configmaps",
        "/api/v1/namespaces/canary/secrets?fieldSelector=metadata.name%3Dnone",
        "/apis/cluster.x-k8s.io/v1beta2/clusters",
        "/apis/cluster.x-k8s.io/v1beta2/namespaces/canary/clusters",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    ] {
        scene.tenant.delete(path).await?.refused().with_context(|| path)?;
    }
    let path = format!("{}?fieldSelector=metadata.namespace%3Dcanary", scene.core("configmaps"));
    drop(scene.tenant.delete(&path).await);
    let canary = "/apis/cluster.x-k8s.io/v1beta2/namespaces/canary/clusters/canary";
    scene.admin.get(canary).await?.granted().context("another tenant's Cluster")?;
    Ok(())
}

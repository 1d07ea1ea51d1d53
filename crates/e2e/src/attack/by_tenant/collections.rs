//! Deletion of collections.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("collections", Attacker::Tenant, Target::Serve)
        .gate("namespaces are deleted one by one: 405 for the collection")
        .add("all namespaces are deleted at once, by a permitted user", namespaces)
        .gate("a collection is deleted in one namespace, and permissions are checked first")
        .add("collections of other namespaces are deleted", others)
        .end()
}

async fn namespaces(fixture: Arc<Fixture>) -> AttackResult {
    let space = json!({ "metadata": { "name": format!("aaa-{}", fixture.namespace) } });
    fixture.admin.post("/api/v1/namespaces", &space).await?.granted()?;
    // With a selector too: another tenant's objects must not be deleted by mistake.
    let path =
        format!("/api/v1/namespaces?fieldSelector=metadata.name%3Daaa-{}", fixture.namespace);
    let answer = fixture.admin.delete(&path).await?;
    ensure!(
        answer.status == http::StatusCode::METHOD_NOT_ALLOWED,
        "the collection of namespaces can be deleted ({})",
        answer.status
    );
    fixture.tenant.delete("/api/v1/namespaces").await?.refused()?;
    let path = format!("/api/v1/namespaces/aaa-{}", fixture.namespace);
    fixture.admin.delete(&path).await?.granted()?;
    Ok(())
}

async fn others(fixture: Arc<Fixture>) -> AttackResult {
    for path in [
        "/api/v1/configmaps",
        "/api/v1/namespaces/canary/configmaps",
        "/api/v1/namespaces/canary/secrets?fieldSelector=metadata.name%3Dnone",
        "/apis/cluster.x-k8s.io/v1beta2/clusters",
        "/apis/cluster.x-k8s.io/v1beta2/namespaces/canary/clusters",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    ] {
        fixture.tenant.delete(path).await?.refused().with_context(|| path)?;
    }
    let path = format!("{}?fieldSelector=metadata.namespace%3Dcanary", fixture.core("configmaps"));
    drop(fixture.tenant.delete(&path).await);
    let canary = "/apis/cluster.x-k8s.io/v1beta2/namespaces/canary/clusters/canary";
    fixture.admin.get(canary).await?.granted().context("another tenant's Cluster")?;
    Ok(())
}

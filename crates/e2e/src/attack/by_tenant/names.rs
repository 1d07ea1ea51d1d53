//! Names of other objects that are not names.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::replicas::post_all;
use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("names that are not names", Attacker::Tenant, Target::Both)
        .gate("no request is made from a name that is not a segment of a path")
        .add("an identity whose name asks for a watch of all Secrets", watched_secrets)
        .add("an owner whose name asks for a watch of all Machines", watched_machines)
        .end()
}

/// Pause after each change, so that a watch does not fall behind, which would end it.
const PACE: Duration = Duration::from_millis(60);

/// Every change of a Secret would be kept until the response has an end.
async fn watched_secrets(fixture: Arc<Fixture>) -> AttackResult {
    let spec = json!({
        "secretRef": { "name": "?watch=1" }, "unprivileged": true, "loadBalancer": { "lxc": {} },
    });
    fixture.lxc_cluster(spec).await?;
    fixture.secret("large", json!({ "a": "" })).await?;
    let path = format!("{}/large", fixture.core("secrets"));
    for number in 0..160 {
        let value = format!("{number:08}").repeat(150_000);
        let secret = json!({ "metadata": { "name": "large" }, "data": { "a": value } });
        fixture.tenant.put(&path, &secret).await?.granted()?;
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

async fn watched_machines(fixture: Arc<Fixture>) -> AttackResult {
    let cluster = fixture.cluster().await?;
    let owner = json!([{
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "name": "?watch=1",
        "uid": cluster["metadata"]["uid"],
    }]);
    let machines = (0..10).map(|number| {
        let machine = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCMachine",
            "metadata": {
                "name": format!("m{number}"), "ownerReferences": owner,
                "labels": { "cluster.x-k8s.io/cluster-name": "attack" },
            },
            "spec": {},
        });
        (fixture.infrastructure("lxcmachines"), machine)
    });
    post_all(&fixture, machines.collect()).await?;
    let machine = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": { "name": "large" },
        "spec": {
            "clusterName": "attack", "bootstrap": { "dataSecretName": "none" },
            "infrastructureRef": {
                "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCMachine", "name": "none",
            },
        },
    });
    fixture.tenant.post(&fixture.machines(), &machine).await?.granted()?;
    let path = format!("{}/large", fixture.machines());
    for number in 0..120 {
        let text = format!("{number:06}").repeat(40_000);
        let change = json!({ "metadata": { "annotations": { "attack.example.com/a": text } } });
        drop(fixture.tenant.merge(&path, &change).await);
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

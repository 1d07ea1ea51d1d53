//! Users created by `capn user create`.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::attack::client::ApiClient;
use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::tls::CertifiedKey;

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("users", Attacker::Tenant, Target::Serve)
        .gate("`capn user create` gives a role in one namespace")
        .add("a user with each role reads and changes objects of others", each_role)
        .add("a user whose name or role is one of the plane's own", names)
        .end()
}

async fn made(fixture: &Fixture, name: &str, role: &str) -> anyhow::Result<Option<ApiClient>> {
    std::fs::create_dir_all(&fixture.dir)?;
    let shown = fixture
        .capn(&["user", "create", name, "--namespace", &fixture.namespace, "--role", role])
        .await?;
    let value = |key: &str| -> anyhow::Result<String> {
        let line =
            shown.lines().find_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
        let text = line.context("the key does not exist")?.trim().trim_matches(['"', '\'']);
        Ok(String::from_utf8(STANDARD.decode(text)?)?)
    };
    let Ok(certificate) = value("client-certificate-data:") else { return Ok(None) };
    let pair = CertifiedKey { certificate, key: value("client-key-data:")? };
    Ok(Some(ApiClient::new(fixture.plane, fixture.authority.trusting(Some(&pair))?)))
}

/// No access to other namespaces or to cluster-scoped objects, and no privilege escalation.
async fn holds(fixture: &Fixture, caller: &ApiClient, role: &str) -> AttackResult {
    for path in [
        "/api/v1/secrets",
        "/api/v1/namespaces/canary/secrets",
        "/api/v1/namespaces/canary/configmaps",
        "/apis/cluster.x-k8s.io/v1beta2/clusters",
        "/apis/cluster.x-k8s.io/v1beta2/namespaces/canary/clusters/canary",
    ] {
        caller.get(path).await?.refused().with_context(|| format!("{role} reads {path}"))?;
    }
    let everything = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": "more" }, "rules": everything,
    });
    let path = format!("{rbac}/namespaces/{}/roles", fixture.namespace);
    caller.post(&path, &object).await?.refused().with_context(|| format!("{role} makes a Role"))?;
    let object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {
            "name": "more", "labels": { "rbac.authorization.k8s.io/aggregate-to-edit": "true" },
        },
        "rules": everything,
    });
    let path = format!("{rbac}/clusterroles");
    caller.post(&path, &object).await?.refused().with_context(|| format!("{role} adds rights"))?;
    Ok(())
}

async fn each_role(fixture: Arc<Fixture>) -> AttackResult {
    for role in ["view", "edit", "admin"] {
        let caller = made(&fixture, &format!("{}-{role}", fixture.user), role).await?;
        let caller = caller.with_context(|| format!("no user is made with the role {role}"))?;
        caller.get(&fixture.clusters()).await?.granted().with_context(|| format!("as {role}"))?;
        holds(&fixture, &caller, role).await?;
        let map = json!({ "metadata": { "name": format!("of-{role}") } });
        let page = caller.post(&fixture.core("configmaps"), &map).await?;
        ensure!(page.status.is_success() == (role != "view"), "{role}: {}", page.status);
        if role == "view" {
            caller.get(&fixture.core("secrets")).await?.refused().context("view reads Secrets")?;
        }
    }
    Ok(())
}

/// An operator may mistype; at most, this creates a user of that namespace.
async fn names(fixture: Arc<Fixture>) -> AttackResult {
    for (name, role) in [
        ("system:masters", "edit"),
        ("system:admin", "edit"),
        ("system:serviceaccount:capn-system:capn-manager", "edit"),
        ("a,O=system:masters", "edit"),
        ("a/O=system:masters", "edit"),
        ("a\nO = system:masters", "edit"),
        ("somebody", "cluster-admin"),
    ] {
        if let Some(caller) = made(&fixture, name, role).await? {
            let path = "/api/v1/namespaces/canary/secrets";
            let answer = caller.get(path).await?;
            answer.refused().with_context(|| format!("{name:?} with the role {role}"))?;
        }
    }
    Ok(())
}

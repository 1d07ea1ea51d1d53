//! Users that `capn user create` makes.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::attack::client::Caller;
use crate::attack::scene::Scene;
use crate::attack::table::{Attack, Class, Done, On, Who};
use crate::attack::tls::Pair;

pub(super) fn all() -> Vec<Attack> {
    Class::new("users", Who::Tenant, On::Serve)
        .gate("`capn user create` gives a role in one namespace")
        .add("a user with each role looks at and changes what is another's", each_role)
        .add("a user whose name or role is one of the plane's own", names)
        .end()
}

async fn made(scene: &Scene, name: &str, role: &str) -> anyhow::Result<Option<Caller>> {
    std::fs::create_dir_all(&scene.folder)?;
    let shown = scene
        .capn(&["user", "create", name, "--namespace", &scene.namespace, "--role", role])
        .await?;
    let value = |key: &str| -> anyhow::Result<String> {
        let line =
            shown.lines().find_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
        let text = line.context("there is no such key")?.trim().trim_matches(['"', '\'']);
        Ok(String::from_utf8(STANDARD.decode(text)?)?)
    };
    let Ok(certificate) = value("client-certificate-data:") else { return Ok(None) };
    let pair = Pair { certificate, key: value("client-key-data:")? };
    Ok(Some(Caller::new(scene.plane, scene.authority.trusting(Some(&pair))?)))
}

/// Nothing of another namespace, nothing of all, and no more rights.
async fn holds(scene: &Scene, caller: &Caller, role: &str) -> Done {
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
    let path = format!("{rbac}/namespaces/{}/roles", scene.namespace);
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

async fn each_role(scene: Arc<Scene>) -> Done {
    for role in ["view", "edit", "admin"] {
        let caller = made(&scene, &format!("{}-{role}", scene.user), role).await?;
        let caller = caller.with_context(|| format!("no user is made with the role {role}"))?;
        caller.get(&scene.clusters()).await?.granted().with_context(|| format!("as {role}"))?;
        holds(&scene, &caller, role).await?;
        let map = json!({ "metadata": { "name": format!("of-{role}") } });
        let written = caller.post(&scene.core("configmaps"), &map).await?;
        ensure!(written.status.is_success() == (role != "view"), "{role}: {}", written.status);
        if role == "view" {
            caller.get(&scene.core("secrets")).await?.refused().context("view reads Secrets")?;
        }
    }
    Ok(())
}

/// Whoever runs capn may mistype; what comes out is a user of that namespace at most.
async fn names(scene: Arc<Scene>) -> Done {
    for (name, role) in [
        ("system:masters", "edit"),
        ("system:admin", "edit"),
        ("system:serviceaccount:capn-system:capn-manager", "edit"),
        ("a,O=system:masters", "edit"),
        ("a/O=system:masters", "edit"),
        ("a\nO = system:masters", "edit"),
        ("somebody", "cluster-admin"),
    ] {
        if let Some(caller) = made(&scene, name, role).await? {
            let path = "/api/v1/namespaces/canary/secrets";
            let answer = caller.get(path).await?;
            answer.refused().with_context(|| format!("{name:?} with the role {role}"))?;
        }
    }
    Ok(())
}

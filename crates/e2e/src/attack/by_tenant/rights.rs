//! More rights than were given.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::attack::hostile::{Hostile, identity, reply};
use crate::attack::scene::Scene;
use crate::attack::table::{Attack, Class, Done, On, Who};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

pub(super) fn all() -> Vec<Attack> {
    Class::new("rights", Who::Tenant, On::Serve)
        .gate("roles and bindings give only what their writer has (`escalate`, `bind`)")
        .add("a Role with more rights than its writer has", escalating_role)
        .add("a RoleBinding to cluster-admin", binding_to_admin)
        .add("a Role that is changed to have more rights, in each way", changed_role)
        .gate("what no rule allows is refused")
        .add("a ClusterRoleBinding for oneself", |s| {
            refused(
                s,
                "clusterrolebindings",
                json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                    "metadata": { "name": "mine" },
                    "roleRef": reference("ClusterRole", "cluster-admin"), "subjects": [],
                }),
            )
        })
        .add("headers that make one somebody else", impersonation)
        .add("Secrets of others, by list, watch and selector", others_secrets)
        .add("a namespace of one's own is finalized or relabelled", own_namespace)
        .add("certificates that the plane did not sign", foreign_certificates)
        .gate("references lead to objects of the same namespace")
        .on(On::Both)
        .add("an identity or bootstrap data of another namespace", others_references)
        .end()
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name })
}

fn namespaced(scene: &Scene, plural: &str) -> String {
    format!("{RBAC}/namespaces/{}/{plural}", scene.namespace)
}

fn role(name: &str, rules: Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": name }, "rules": rules,
    })
}

fn everything() -> Value {
    json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }])
}

async fn escalating_role(scene: Arc<Scene>) -> Done {
    for (name, rules) in [
        ("everything", everything()),
        ("verbs", json!([{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["*"] }])),
        (
            "impersonate",
            json!([{ "apiGroups": [""], "resources": ["users", "groups"], "verbs": ["impersonate"] }]),
        ),
        (
            "escalate",
            json!([{ "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate", "bind"] }]),
        ),
    ] {
        let answer = scene.tenant.post(&namespaced(&scene, "roles"), &role(name, rules)).await?;
        answer.refused().with_context(|| format!("a Role with more rights ({name})"))?;
    }
    Ok(())
}

async fn binding_to_admin(scene: Arc<Scene>) -> Done {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": "mine" }, "roleRef": reference("ClusterRole", "cluster-admin"),
        "subjects": [reference("User", &scene.user)],
    });
    let answer = scene.tenant.post(&namespaced(&scene, "rolebindings"), &binding).await?;
    answer.refused().context("a RoleBinding to cluster-admin")?;
    Ok(())
}

async fn changed_role(scene: Arc<Scene>) -> Done {
    let path = namespaced(&scene, "roles");
    scene.tenant.post(&path, &role("mine", json!([]))).await?.granted()?;
    let one = format!("{path}/mine");
    let change = json!({ "rules": everything() });
    scene.tenant.merge(&one, &change).await?.refused().context("by a merge patch")?;
    let patch = json!([{ "op": "replace", "path": "/rules", "value": everything() }]).to_string();
    let kind = crate::attack::client::JSON_PATCH;
    scene.tenant.call("PATCH", &one, kind, patch).await?.refused().context("by a JSON patch")?;
    let whole = role("mine", everything());
    scene.tenant.apply(&one, whole.to_string()).await?.refused().context("by an apply")?;
    scene.tenant.put(&one, &whole).await?.refused().context("by a replace")?;
    Ok(())
}

async fn refused(scene: Arc<Scene>, plural: &str, object: Value) -> Done {
    scene.tenant.post(&format!("{RBAC}/{plural}"), &object).await?.refused()?;
    Ok(())
}

async fn impersonation(scene: Arc<Scene>) -> Done {
    let header_sets: [&[(&str, &str)]; 7] = [
        &[("impersonate-user", "stage")],
        &[("impersonate-user", "a"), ("impersonate-group", "system:masters")],
        &[("impersonate-group", "system:masters")],
        &[("impersonate-user", "system:serviceaccount:capn-system:capn-manager")],
        &[("impersonate-uid", "1"), ("impersonate-user", "a")],
        &[("x-remote-user", "stage"), ("x-remote-group", "system:masters")],
        &[("authorization", "Basic c3RhZ2U6c3RhZ2U="), ("x-forwarded-user", "stage")],
    ];
    for headers in header_sets {
        for caller in [&scene.tenant, &scene.anonymous] {
            let mut request =
                Request::get("/api/v1/namespaces/canary/secrets").header("host", "plane");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = caller.send(request.body(Full::default())?).await?;
            answer.refused().with_context(|| format!("with the headers {headers:?}"))?;
        }
    }
    Ok(())
}

async fn others_secrets(scene: Arc<Scene>) -> Done {
    let mine = scene.core("secrets");
    for path in [
        "/api/v1/secrets".to_owned(),
        "/api/v1/secrets?watch=true&timeoutSeconds=1".to_owned(),
        format!("/api/v1/secrets?fieldSelector=metadata.namespace%3D{}", scene.namespace),
        "/api/v1/namespaces/canary/secrets".to_owned(),
        "/api/v1/namespaces/canary/secrets?watch=true&timeoutSeconds=1".to_owned(),
        "/api/v1/namespaces/canary/configmaps?limit=1".to_owned(),
        "/apis/cluster.x-k8s.io/v1beta2/clusters".to_owned(),
        "/apis/cluster.x-k8s.io/v1beta2/namespaces/canary/clusters/canary".to_owned(),
        "/api/v1/namespaces".to_owned(),
        "/apis/events.k8s.io/v1/events".to_owned(),
    ] {
        let answer = scene.tenant.get(&path).await?;
        answer.refused().with_context(|| path.clone())?;
    }
    for selector in [
        "metadata.namespace%3Dcanary",
        "metadata.namespace!%3Dnone",
        "metadata.name%3Dcanary,metadata.namespace%3Dcanary",
    ] {
        let answer = scene.tenant.get(&format!("{mine}?fieldSelector={selector}")).await?;
        ensure!(
            !answer.text().contains("\"namespace\":\"canary\""),
            "Secrets of another namespace came back for {selector}"
        );
        let watched = format!("{mine}?watch=true&timeoutSeconds=1&fieldSelector={selector}");
        let answer = scene.tenant.get(&watched).await?;
        ensure!(
            !answer.text().contains("\"namespace\":\"canary\""),
            "Secrets of another namespace were watched with {selector}"
        );
    }
    Ok(())
}

async fn own_namespace(scene: Arc<Scene>) -> Done {
    let path = format!("/api/v1/namespaces/{}", scene.namespace);
    let body = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": scene.namespace },
        "spec": { "finalizers": [] },
    });
    scene.tenant.put(&format!("{path}/finalize"), &body).await?.refused().context("finalize")?;
    scene.tenant.put(&path, &body).await?.refused().context("replace")?;
    scene.tenant.delete(&path).await?.refused().context("delete")?;
    let labels = json!({ "metadata": { "labels": { "a": "b" } } });
    scene.tenant.merge(&path, &labels).await?.refused().context("relabel")?;
    scene.tenant.post("/api/v1/namespaces", &body).await?.refused().context("create")?;
    Ok(())
}

/// A handshake that fails is as good as a refusal.
async fn foreign_certificates(scene: Arc<Scene>) -> Done {
    use crate::attack::client::Caller;
    use crate::attack::tls::self_signed;
    for (name, groups) in
        [("stage", &["system:masters"][..]), ("system:admin", &["system:masters"]), ("canary", &[])]
    {
        let pair = self_signed(name, groups)?;
        let caller = Caller::new(scene.plane, scene.authority.trusting(Some(&pair))?);
        if let Ok(answer) = caller.get("/api/v1/namespaces/canary/secrets").await {
            answer.refused().with_context(|| format!("as {name}, signed by nobody"))?;
        }
    }
    Ok(())
}

/// Names that lead elsewhere are names of nothing: the server of another namespace's identity is not
/// asked.
async fn others_references(scene: Arc<Scene>) -> Done {
    let server = Hostile::start(|_| reply("404 Not Found", "text/plain", b"no")).await?;
    let mut values = identity(&server.url(), &server.pair)?;
    values["value"] = json!(scene.secret);
    let hidden = json!({ "metadata": { "name": scene.namespace }, "stringData": values });
    scene.admin.post("/api/v1/namespaces/canary/secrets", &hidden).await?.granted()?;
    for name in [
        format!("../../canary/secrets/{}", scene.namespace),
        format!("canary/{}", scene.namespace),
        scene.namespace.clone(),
    ] {
        let spec = json!({
            "secretRef": { "name": name, "namespace": "canary" }, "unprivileged": true,
            "loadBalancer": { "lxc": {} },
        });
        if scene.lxc_cluster(spec).await.is_ok() {
            scene.judged_cluster().await?;
        }
        let shown = scene.shown().await?;
        ensure!(!shown.contains(&scene.secret), "a Secret of another namespace was read");
        ensure!(server.connections() == 0, "an identity of another namespace was used");
        for plural in ["lxcclusters", "clusters"] {
            let path = match plural {
                "clusters" => scene.clusters(),
                plural => scene.infrastructure(plural),
            };
            drop(scene.tenant.delete(&format!("{path}/attack")).await);
        }
        let path = format!("{}/attack", scene.clusters());
        scene.until(&path, |_| false).await.err();
    }
    Ok(())
}

//! Privilege escalation.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use super::replicas::post_all;
use crate::attack::fixture::Fixture;
use crate::attack::hostile::{Hostile, identity, reply};
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::text::items;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("rights", Attacker::Tenant, Target::Serve)
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
        .gate("a role counts once, however often it is granted, and a list of rules has a limit")
        .add("products of a role of 60 kB and 950 grants of it, eight at once", granted_again)
        .gate("references lead to objects of the same namespace")
        .on(Target::Both)
        .add("an identity or bootstrap data of another namespace", others_references)
        .end()
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name })
}

fn namespaced(fixture: &Fixture, plural: &str) -> String {
    format!("{RBAC}/namespaces/{}/{plural}", fixture.namespace)
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

async fn escalating_role(fixture: Arc<Fixture>) -> AttackResult {
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
        let answer =
            fixture.tenant.post(&namespaced(&fixture, "roles"), &role(name, rules)).await?;
        answer.refused().with_context(|| format!("a Role with more rights ({name})"))?;
    }
    Ok(())
}

async fn binding_to_admin(fixture: Arc<Fixture>) -> AttackResult {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": "mine" }, "roleRef": reference("ClusterRole", "cluster-admin"),
        "subjects": [reference("User", &fixture.user)],
    });
    let answer = fixture.tenant.post(&namespaced(&fixture, "rolebindings"), &binding).await?;
    answer.refused().context("a RoleBinding to cluster-admin")?;
    Ok(())
}

async fn changed_role(fixture: Arc<Fixture>) -> AttackResult {
    let path = namespaced(&fixture, "roles");
    fixture.tenant.post(&path, &role("mine", json!([]))).await?.granted()?;
    let one = format!("{path}/mine");
    let change = json!({ "rules": everything() });
    fixture.tenant.merge(&one, &change).await?.refused().context("by a merge patch")?;
    let patch = json!([{ "op": "replace", "path": "/rules", "value": everything() }]).to_string();
    let kind = crate::attack::client::JSON_PATCH;
    fixture.tenant.call("PATCH", &one, kind, patch).await?.refused().context("by a JSON patch")?;
    let whole = role("mine", everything());
    fixture.tenant.apply(&one, whole.to_string()).await?.refused().context("by an apply")?;
    fixture.tenant.put(&one, &whole).await?.refused().context("by a replace")?;
    Ok(())
}

async fn refused(fixture: Arc<Fixture>, plural: &str, object: Value) -> AttackResult {
    fixture.tenant.post(&format!("{RBAC}/{plural}"), &object).await?.refused()?;
    Ok(())
}

async fn impersonation(fixture: Arc<Fixture>) -> AttackResult {
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
        for caller in [&fixture.tenant, &fixture.anonymous] {
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

async fn others_secrets(fixture: Arc<Fixture>) -> AttackResult {
    let mine = fixture.core("secrets");
    for path in [
        "/api/v1/secrets".to_owned(),
        "/api/v1/secrets?watch=true&timeoutSeconds=1".to_owned(),
        format!("/api/v1/secrets?fieldSelector=metadata.namespace%3D{}", fixture.namespace),
        "/api/v1/namespaces/canary/secrets".to_owned(),
        "/api/v1/namespaces/canary/secrets?watch=true&timeoutSeconds=1".to_owned(),
        "/api/v1/namespaces/canary/configmaps?limit=1".to_owned(),
        "/apis/cluster.x-k8s.io/v1beta2/clusters".to_owned(),
        "/apis/cluster.x-k8s.io/v1beta2/namespaces/canary/clusters/canary".to_owned(),
        "/api/v1/namespaces".to_owned(),
        "/apis/events.k8s.io/v1/events".to_owned(),
    ] {
        let answer = fixture.tenant.get(&path).await?;
        answer.refused().with_context(|| path.clone())?;
    }
    for selector in [
        "metadata.namespace%3Dcanary",
        "metadata.namespace!%3Dnone",
        "metadata.name%3Dcanary,metadata.namespace%3Dcanary",
    ] {
        let answer = fixture.tenant.get(&format!("{mine}?fieldSelector={selector}")).await?;
        ensure!(
            !answer.text().contains("\"namespace\":\"canary\""),
            "Secrets of another namespace came back for {selector}"
        );
        let watched = format!("{mine}?watch=true&timeoutSeconds=1&fieldSelector={selector}");
        let answer = fixture.tenant.get(&watched).await?;
        ensure!(
            !answer.text().contains("\"namespace\":\"canary\""),
            "Secrets of another namespace were watched with {selector}"
        );
    }
    Ok(())
}

async fn own_namespace(fixture: Arc<Fixture>) -> AttackResult {
    let path = format!("/api/v1/namespaces/{}", fixture.namespace);
    let body = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": fixture.namespace },
        "spec": { "finalizers": [] },
    });
    fixture.tenant.put(&format!("{path}/finalize"), &body).await?.refused().context("finalize")?;
    fixture.tenant.put(&path, &body).await?.refused().context("replace")?;
    fixture.tenant.delete(&path).await?.refused().context("delete")?;
    let labels = json!({ "metadata": { "labels": { "a": "b" } } });
    fixture.tenant.merge(&path, &labels).await?.refused().context("relabel")?;
    fixture.tenant.post("/api/v1/namespaces", &body).await?.refused().context("create")?;
    Ok(())
}

/// A failed handshake is as good as a refusal.
async fn foreign_certificates(fixture: Arc<Fixture>) -> AttackResult {
    use crate::attack::client::ApiClient;
    use crate::attack::tls::self_signed;
    for (name, groups) in
        [("stage", &["system:masters"][..]), ("system:admin", &["system:masters"]), ("canary", &[])]
    {
        let pair = self_signed(name, groups)?;
        let caller = ApiClient::new(fixture.plane, fixture.authority.trusting(Some(&pair))?);
        if let Ok(answer) = caller.get("/api/v1/namespaces/canary/secrets").await {
            answer.refused().with_context(|| format!("as {name}, signed by nobody"))?;
        }
    }
    Ok(())
}

/// References to other namespaces find nothing: the server of another namespace's identity is not
/// queried.
async fn others_references(fixture: Arc<Fixture>) -> AttackResult {
    let server = Hostile::start(|_| reply("404 Not Found", "text/plain", b"no")).await?;
    let mut values = identity(&server.url(), &server.pair)?;
    values["value"] = json!(fixture.secret);
    let hidden = json!({ "metadata": { "name": fixture.namespace }, "stringData": values });
    fixture.admin.post("/api/v1/namespaces/canary/secrets", &hidden).await?.granted()?;
    for name in [
        format!("../../canary/secrets/{}", fixture.namespace),
        format!("canary/{}", fixture.namespace),
        fixture.namespace.clone(),
    ] {
        let spec = json!({
            "secretRef": { "name": name, "namespace": "canary" }, "unprivileged": true,
            "loadBalancer": { "lxc": {} },
        });
        if fixture.lxc_cluster(spec).await.is_ok() {
            fixture.judged_cluster().await?;
        }
        let shown = fixture.shown().await?;
        ensure!(!shown.contains(&fixture.secret), "a Secret of another namespace was read");
        ensure!(server.connections() == 0, "an identity of another namespace was used");
        for plural in ["lxcclusters", "clusters"] {
            let path = match plural {
                "clusters" => fixture.clusters(),
                plural => fixture.infrastructure(plural),
            };
            drop(fixture.tenant.delete(&format!("{path}/attack")).await);
        }
        let path = format!("{}/attack", fixture.clusters());
        fixture.until(&path, |_| false).await.err();
    }
    Ok(())
}

/// The product of the grants and the size of the role is 57 MB for each request.
async fn granted_again(fixture: Arc<Fixture>) -> AttackResult {
    let names = items(1_100, |n| format!(r#""{n:050}""#));
    let rules = format!(
        r#"[{{"apiGroups":[""],"resources":["configmaps"],"verbs":["get"],"resourceNames":{names}}}]"#
    );
    let large = role("large", serde_json::from_str(&rules)?);
    fixture.tenant.post(&namespaced(&fixture, "roles"), &large).await?.granted()?;
    let path = namespaced(&fixture, "rolebindings");
    let binding = |number: usize| {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": format!("b{number}") }, "roleRef": reference("Role", "large"),
            "subjects": vec![reference("User", &fixture.user); 5],
        });
        (path.clone(), binding)
    };
    for answer in post_all(&fixture, (0..190).map(binding).collect()).await? {
        answer.granted()?;
    }
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": { "namespace": fixture.namespace },
    });
    let sent = (0..8).map(|_| async {
        let tenant = fixture.tenant.again();
        tenant.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review).await
    });
    for answer in futures::future::join_all(sent).await.into_iter().flatten() {
        ensure!(answer.text().len() < 4 << 20, "the rules have {} bytes", answer.text().len());
    }
    Ok(())
}

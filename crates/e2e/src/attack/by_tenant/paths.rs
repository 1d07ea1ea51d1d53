//! Misleading paths.

use std::sync::Arc;

use anyhow::ensure;
use serde_json::json;

use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("paths", Attacker::Tenant, Target::Serve)
        .gate("paths are decoded once, before the question who may what")
        .add("dots and encoded slashes that lead to another namespace", traversal)
        .add("a name with a blank or a colon is read back by its path", encoded_names)
        .gate("the length of an address, with its query, is bounded")
        .add("a path of 60,000 characters", |s| {
            ask(s, format!("/api/v1/namespaces/{}/secrets", "a".repeat(60_000)))
        })
        .add("a path of 30,000 segments", |s| ask(s, "/a".repeat(30_000)))
        .end()
}

async fn ask(fixture: Arc<Fixture>, path: String) -> AttackResult {
    // It fits into the header limit of an authenticated user.
    drop(fixture.tenant.get(&path).await);
    too_long(&fixture, &path).await
}

/// An unauthenticated request with a path of this length must not be processed.
pub(super) async fn too_long(fixture: &Fixture, path: &str) -> AttackResult {
    // A closed connection is a good outcome too.
    let Ok(answer) = fixture.anonymous.get(path).await else { return Ok(()) };
    ensure!(
        matches!(answer.status.as_u16(), 414 | 431),
        "a URL of {} characters was processed for an unauthenticated client ({})",
        path.len(),
        answer.status
    );
    Ok(())
}

/// No response contains a Secret of the other tenant.
async fn traversal(fixture: Arc<Fixture>) -> AttackResult {
    let hidden = json!({
        "metadata": { "name": fixture.namespace }, "stringData": { "a": fixture.secret },
    });
    fixture.admin.post("/api/v1/namespaces/canary/secrets", &hidden).await?.granted()?;
    let mine = format!("/api/v1/namespaces/{}", fixture.namespace);
    let name = &fixture.namespace;
    let paths = [
        format!("{mine}/secrets/../../canary/secrets"),
        format!("{mine}/../canary/secrets"),
        format!("{mine}/%2e%2e/canary/secrets"),
        format!("{mine}/..%2fcanary%2fsecrets"),
        format!("{mine}%2f..%2fcanary/secrets"),
        format!("{mine}/secrets/..%2f..%2fcanary%2fsecrets%2f{name}"),
        format!("{mine}/secrets/%252e%252e%252f%252e%252e%252fcanary"),
        format!("{mine}/secrets/%c0%ae%c0%ae/canary"),
        format!("{mine}/secrets%00/../../canary/secrets"),
        format!("{mine}%00/secrets"),
        format!("{mine};/../canary/secrets"),
        format!("{mine}\\..\\canary\\secrets"),
        "/api/v1/namespaces//secrets".to_owned(),
        "/api/v1/namespaces/%20/secrets".to_owned(),
        "/api/v1/namespaces/*/secrets".to_owned(),
        "/api/v1//secrets".to_owned(),
        "//api/v1/secrets".to_owned(),
        "/api//v1/namespaces/canary/secrets".to_owned(),
        "/api/v1/namespaces/canary//secrets".to_owned(),
        "/api/v1/namespaces/CANARY/secrets".to_owned(),
        "/api/v1/namespaces/canar%79/secrets".to_owned(),
        "/api/v1/namespaces/canary/s%65crets".to_owned(),
        "/ap%69/v1/namespaces/canary/secrets".to_owned(),
        "/api/v1/secrets/".to_owned(),
        format!("/api/v1/namespaces/canary/secrets/{name}/"),
        format!("/api/v1/namespaces/canary/secrets/{name}/status"),
        format!("/api/v1/namespaces/canary/secrets/{name}%2fstatus"),
        format!("/api/v1/watch/namespaces/canary/secrets/{name}"),
        format!("/api/v1/proxy/namespaces/canary/secrets/{name}"),
        "/healthz/../api/v1/secrets".to_owned(),
        "/healthz/%2e%2e/api/v1/secrets".to_owned(),
        "/version//../api/v1/secrets".to_owned(),
        format!("/healthz?/api/v1/namespaces/canary/secrets/{name}"),
    ];
    for path in paths {
        for caller in [&fixture.tenant, &fixture.anonymous] {
            // Invalid URLs are not sent.
            let Ok(answer) = caller.get(&path).await else { continue };
            let text = answer.text();
            ensure!(
                !text.contains("\"namespace\":\"canary\""),
                "objects of another namespace came back for {path}"
            );
        }
    }
    Ok(())
}

async fn encoded_names(fixture: Arc<Fixture>) -> AttackResult {
    let roles =
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles", fixture.namespace);
    for (name, encoded) in [("a b", "a%20b"), ("system:node", "system%3Anode"), ("ä", "%C3%A4")] {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": { "name": name }, "rules": [],
        });
        if fixture.tenant.post(&roles, &role).await?.status.is_success() {
            let read = fixture.tenant.get(&format!("{roles}/{encoded}")).await?;
            ensure!(read.status.is_success(), "the role {name:?} was made and cannot be read");
            ensure!(read.json()["metadata"]["name"] == name, "{encoded} leads to another role");
            fixture.tenant.delete(&format!("{roles}/{encoded}")).await?.granted()?;
        }
    }
    Ok(())
}

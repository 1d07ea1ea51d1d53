//! Secrets and control characters in what is shown.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::attack::client::{APPLY_PATCH, JSON, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, YAML};
use crate::attack::scene::Scene;
use crate::attack::table::{Attack, Class, Done, On, Who};

pub(super) fn all() -> Vec<Attack> {
    Class::new("secrets and control characters", Who::Tenant, On::Serve)
        .gate("errors about Secrets name the place, never the value")
        .add("a Secret whose value is not base64, in each verb", not_base64)
        .add("a Secret that is no JSON", no_json)
        .on(On::Both)
        .add("a kubeconfig that is none", broken_kubeconfig)
        .add("an identity with a secret in each place", broken_identity)
        .gate("control characters are replaced before a terminal sees them")
        .on(On::Serve)
        .add("escape sequences in conditions, events and names", escapes)
        .end()
}

/// Each answer is looked at; the log is by the judge.
async fn not_base64(scene: Arc<Scene>) -> Done {
    let path = scene.core("secrets");
    scene.secret("mine", json!({ "a": "b" })).await?;
    let one = format!("{path}/mine");
    // Two forms: the value itself, and one in a place of a wrong type.
    for value in
        [json!(format!("{}!", scene.secret)), json!([scene.secret]), json!({ "x": scene.secret })]
    {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "other" },
            "data": { "a": value },
        });
        let whole = object.to_string();
        let mut mine = object.clone();
        mine["metadata"]["name"] = json!("mine");
        let mine = mine.to_string();
        let data = json!({ "data": { "a": value } }).to_string();
        let text = json!({ "stringData": { "a": value } }).to_string();
        let patch = json!([{ "op": "add", "path": "/data/a", "value": value }]).to_string();
        let apply = format!("{one}?fieldManager=a&force=true&fieldValidation=Strict");
        for (method, path, kind, body) in [
            ("POST", &path, JSON, &whole),
            ("POST", &path, YAML, &whole),
            ("PUT", &one, JSON, &mine),
            ("PATCH", &one, MERGE_PATCH, &data),
            ("PATCH", &one, MERGE_PATCH, &text),
            ("PATCH", &one, STRATEGIC_PATCH, &data),
            ("PATCH", &one, JSON_PATCH, &patch),
            ("PATCH", &apply, APPLY_PATCH, &mine),
        ] {
            let answer = scene.tenant.call(method, path, kind, body.clone()).await?;
            if !answer.status.is_success() {
                let text = answer.text();
                ensure!(
                    !text.contains(&scene.secret),
                    "the answer to {method} {kind} quotes the Secret: {text}"
                );
            }
        }
    }
    Ok(())
}

async fn no_json(scene: Arc<Scene>) -> Done {
    let secret = &scene.secret;
    for (kind, body) in [
        (JSON, format!(r#"{{"data":{{"a":"{secret}"#)),
        (JSON, format!(r#"{{"data":{{"a":{secret}}}}}"#)),
        (YAML, format!("data:\n  a: {secret}\n b: {secret}: : [")),
        (YAML, format!("data: *{secret}")),
    ] {
        let answer = scene.tenant.call("POST", &scene.core("secrets"), kind, body).await?;
        let text = answer.text();
        ensure!(!text.contains(secret.as_str()), "the answer quotes the body: {text}");
    }
    Ok(())
}

/// Not in a condition, nor in an event.
async fn unseen(scene: &Scene) -> Done {
    tokio::time::sleep(Duration::from_millis(800)).await;
    let shown = scene.shown().await?;
    let at = shown.find(&scene.secret);
    let around = at.and_then(|at| shown.get(at.saturating_sub(80)..at)).unwrap_or_default();
    ensure!(at.is_none(), "a secret is shown after {around:?}");
    Ok(())
}

async fn broken_kubeconfig(scene: Arc<Scene>) -> Done {
    scene.cluster().await?;
    let path = format!("{}/attack-kubeconfig", scene.core("secrets"));
    let secret = &scene.secret;
    scene.secret("attack-kubeconfig", json!({ "value": secret })).await?;
    for text in [
        format!("users: [{{name: a, user: {{token: {secret}"),
        format!("apiVersion: v1\nkind: Config\nusers: {secret}\n"),
        format!("apiVersion: v1\nkind: Config\ncurrent-context: {secret}\n"),
        format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\nclusters: [{{name: a, cluster: {{server: 'https://{secret}:x'}}}}]\nusers: [{{name: a, user: {{token: {secret}, client-key-data: {secret}, client-certificate-data: {secret}}}}}]\n"
        ),
        format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\nclusters: [{{name: a, cluster: {{server: 'https://u:{secret}@127.0.0.1:1', certificate-authority-data: {secret}}}}}]\nusers: [{{name: a, user: {{username: a, password: {secret}}}}}]\n"
        ),
    ] {
        let change = json!({ "stringData": { "value": text } });
        scene.tenant.merge(&path, &change).await?.granted()?;
        unseen(&scene).await?;
    }
    Ok(())
}

async fn broken_identity(scene: Arc<Scene>) -> Done {
    let spec = json!({
        "secretRef": { "name": "identity" }, "unprivileged": true, "loadBalancer": { "lxc": {} },
    });
    let secret = &scene.secret;
    scene.secret("identity", json!({ "server": secret })).await?;
    scene.lxc_cluster(spec).await?;
    let path = format!("{}/identity", scene.core("secrets"));
    let good = "https://127.0.0.1:1";
    for values in [
        json!({ "server": format!("{secret} {secret}") }),
        json!({ "server": format!("https://u:{secret}@127.0.0.1:1") }),
        json!({ "server": format!("unix:///{secret},{good}") }),
        json!({ "server": good, "client-crt": secret, "client-key": secret }),
        json!({ "server": good, "insecure-skip-verify": secret, "client-crt": "a", "client-key": "a" }),
        json!({ "server": good, "client-crt": format!("-----BEGIN CERTIFICATE-----\n{secret}\n-----END CERTIFICATE-----"), "client-key": secret, "server-crt": secret }),
    ] {
        let change: Value = json!({ "stringData": values });
        scene.tenant.merge(&path, &change).await?.granted()?;
        // The LXCCluster is looked at again.
        let touch = json!({ "metadata": { "annotations": { "touched": values.to_string().len().to_string() } } });
        let cluster = format!("{}/attack", scene.infrastructure("lxcclusters"));
        scene.tenant.merge(&cluster, &touch).await?.granted()?;
        unseen(&scene).await?;
    }
    Ok(())
}

async fn escapes(scene: Arc<Scene>) -> Done {
    scene.cluster().await?;
    let path = format!("{}/attack", scene.clusters());
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}";
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "False", "reason": "Evil", "message": evil,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let status = json!({ "status": { "conditions": [condition("Available"), condition("Odd")] } });
    let paused = json!({ "spec": { "paused": true } });
    scene.tenant.merge(&path, &paused).await?.granted()?;
    drop(scene.tenant.merge(&format!("{path}/status"), &status).await);
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "evil" },
        "involvedObject": {
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "namespace": scene.namespace, "name": "attack",
        },
        "message": evil, "reason": evil, "type": "Warning", "source": { "component": evil },
    });
    drop(scene.tenant.post(&scene.core("events"), &event).await);
    // A name with a control character is refused, or shown as text.
    let named = json!({ "metadata": { "name": format!("a{evil}") } });
    scene.tenant.post(&scene.core("configmaps"), &named).await?.refused()?;
    std::fs::create_dir_all(&scene.folder)?;
    for command in [
        vec!["describe", "cluster", "attack", "-n", &scene.namespace],
        vec!["get", "clusters", "-n", &scene.namespace],
        vec!["get", "clusters", "-n", &scene.namespace, "-o", "wide"],
        vec!["get", "machines", "-n", &scene.namespace],
    ] {
        let shown = scene.capn(&command).await?;
        let found = shown.chars().find(|c| {
            (c.is_control() && *c != '\n' && *c != '\t') || ('\u{202a}'..='\u{202e}').contains(c)
        });
        ensure!(found.is_none(), "`capn {}` prints {:?}", command.join(" "), found);
    }
    Ok(())
}

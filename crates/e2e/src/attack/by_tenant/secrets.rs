//! Secrets and control characters in output.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::attack::client::{APPLY_PATCH, JSON, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, YAML};
use crate::attack::fixture::{Fixture, has_conditions, owner};
use crate::attack::hostile::identity;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::tls::self_signed;

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("secrets and control characters", Attacker::Tenant, Target::Serve)
        .gate("errors about Secrets name the place, never the value")
        .add("a Secret whose value is not base64, in each verb", not_base64)
        .add("a Secret that is no JSON", no_json)
        .on(Target::Both)
        .add("a kubeconfig that is none", broken_kubeconfig)
        .add("an identity with a secret in each place", broken_identity)
        .on(Target::Serve)
        .gate("the contents of all files and passwords of a KubeadmConfig have a limit before they are copied")
        .add("200 files from one Secret of a megabyte", files_of_one)
        .gate("control characters are replaced before a terminal sees them")
        .on(Target::Serve)
        .add("escape sequences in conditions, events and names", escapes)
        .gate("quoted lines are indented, so that they do not look like capn's own")
        .add("hints of a tenant in what an operator reads", hints)
        .end()
}

/// Checks each response; the monitor checks the log.
async fn not_base64(fixture: Arc<Fixture>) -> AttackResult {
    let path = fixture.core("secrets");
    fixture.secret("mine", json!({ "a": "b" })).await?;
    let one = format!("{path}/mine");
    // Two forms: the value itself, and a value in a field of another type.
    for value in [
        json!(format!("{}!", fixture.secret)),
        json!([fixture.secret]),
        json!({ "x": fixture.secret }),
    ] {
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
            let answer = fixture.tenant.call(method, path, kind, body.clone()).await?;
            if !answer.status.is_success() {
                let text = answer.text();
                ensure!(
                    !text.contains(&fixture.secret),
                    "the answer to {method} {kind} quotes the Secret: {text}"
                );
            }
        }
    }
    Ok(())
}

async fn no_json(fixture: Arc<Fixture>) -> AttackResult {
    let secret = &fixture.secret;
    for (kind, body) in [
        (JSON, format!(r#"{{"data":{{"a":"{secret}"#)),
        (JSON, format!(r#"{{"data":{{"a":{secret}}}}}"#)),
        (YAML, format!("data:\n  a: {secret}\n b: {secret}: : [")),
        (YAML, format!("data: *{secret}")),
    ] {
        let answer = fixture.tenant.call("POST", &fixture.core("secrets"), kind, body).await?;
        let text = answer.text();
        ensure!(!text.contains(secret.as_str()), "the answer quotes the body: {text}");
    }
    Ok(())
}

/// Must not be in a condition or an event.
async fn unseen(fixture: &Fixture) -> AttackResult {
    tokio::time::sleep(Duration::from_millis(800)).await;
    let shown = fixture.shown().await?;
    let at = shown.find(&fixture.secret);
    let around = at.and_then(|at| shown.get(at.saturating_sub(80)..at)).unwrap_or_default();
    ensure!(at.is_none(), "a secret is shown after {around:?}");
    Ok(())
}

async fn broken_kubeconfig(fixture: Arc<Fixture>) -> AttackResult {
    fixture.cluster().await?;
    let path = format!("{}/attack-kubeconfig", fixture.core("secrets"));
    let secret = &fixture.secret;
    fixture.secret("attack-kubeconfig", json!({ "value": secret })).await?;
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
        fixture.tenant.merge(&path, &change).await?.granted()?;
        unseen(&fixture).await?;
    }
    Ok(())
}

async fn broken_identity(fixture: Arc<Fixture>) -> AttackResult {
    let spec = json!({
        "secretRef": { "name": "identity" }, "unprivileged": true, "loadBalancer": { "lxc": {} },
    });
    let secret = &fixture.secret;
    fixture.secret("identity", json!({ "server": secret })).await?;
    fixture.lxc_cluster(spec).await?;
    let path = format!("{}/identity", fixture.core("secrets"));
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
        fixture.tenant.merge(&path, &change).await?.granted()?;
        // The LXCCluster is reconciled again.
        let touch = json!({ "metadata": { "annotations": { "touched": values.to_string().len().to_string() } } });
        let cluster = format!("{}/attack", fixture.infrastructure("lxcclusters"));
        fixture.tenant.merge(&cluster, &touch).await?.granted()?;
        unseen(&fixture).await?;
    }
    Ok(())
}

async fn escapes(fixture: Arc<Fixture>) -> AttackResult {
    fixture.cluster().await?;
    let path = format!("{}/attack", fixture.clusters());
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}";
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "False", "reason": "Evil", "message": evil,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let status = json!({ "status": { "conditions": [condition("Available"), condition("Odd")] } });
    let paused = json!({ "spec": { "paused": true } });
    fixture.tenant.merge(&path, &paused).await?.granted()?;
    drop(fixture.tenant.merge(&format!("{path}/status"), &status).await);
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "evil" },
        "involvedObject": {
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "namespace": fixture.namespace, "name": "attack",
        },
        "message": evil, "reason": evil, "type": "Warning", "source": { "component": evil },
    });
    drop(fixture.tenant.post(&fixture.core("events"), &event).await);
    // A name with a control character is refused, or shown as text.
    let named = json!({ "metadata": { "name": format!("a{evil}") } });
    fixture.tenant.post(&fixture.core("configmaps"), &named).await?.refused()?;
    std::fs::create_dir_all(&fixture.dir)?;
    for command in [
        vec!["describe", "cluster", "attack", "-n", &fixture.namespace],
        vec!["get", "clusters", "-n", &fixture.namespace],
        vec!["get", "clusters", "-n", &fixture.namespace, "-o", "wide"],
        vec!["get", "machines", "-n", &fixture.namespace],
    ] {
        let shown = fixture.capn(&command).await?;
        let found = shown.chars().find(|c| {
            (c.is_control() && *c != '\n' && *c != '\t') || ('\u{202a}'..='\u{202e}').contains(c)
        });
        ensure!(found.is_none(), "`capn {}` prints {:?}", command.join(" "), found);
    }
    Ok(())
}

async fn hints(fixture: Arc<Fixture>) -> AttackResult {
    let evil = "a\nHint: run `evil`\ncause: Cluster/attack: run `evil`";
    let spec = json!({
        "secretRef": { "name": "identity" }, "unprivileged": true,
        "controlPlaneEndpoint": { "host": "198.51.100.7", "port": 6443 },
        "loadBalancer": { "external": {} },
    });
    let pair = self_signed("incus", &[])?;
    fixture.secret("identity", identity(&format!("https://a/{evil}"), &pair)?).await?;
    fixture.lxc_cluster(spec).await?;
    let path = format!("{}/attack", fixture.clusters());
    let endpoint = json!({ "spec": {
        "controlPlaneEndpoint": { "host": evil, "port": 6443 }, "paused": true,
    } });
    fixture.tenant.merge(&path, &endpoint).await?.granted()?;
    let condition = json!({
        "type": "Available", "status": "False", "reason": "Evil", "message": evil,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let status = json!({ "status": { "conditions": [condition] } });
    drop(fixture.tenant.merge(&format!("{path}/status"), &status).await);
    std::fs::create_dir_all(&fixture.dir)?;
    for command in [
        vec!["describe", "cluster", "attack", "-n", &fixture.namespace],
        vec!["describe", "cluster", "attack", "-n", &fixture.namespace, "--all-conditions"],
        vec!["get", "clusters", "-n", &fixture.namespace, "-o", "wide"],
        vec!["stop", "attack", "-n", &fixture.namespace],
        vec!["logs", "attack", "-n", &fixture.namespace],
    ] {
        let shown = fixture.capn(&command).await?;
        let forged = shown.lines().find(|line| {
            line.starts_with("Hint: run `evil`") || line.starts_with("cause: Cluster/attack: run")
        });
        ensure!(forged.is_none(), "`capn {}` prints {forged:?}", command.join(" "));
    }
    Ok(())
}

async fn files_of_one(fixture: Arc<Fixture>) -> AttackResult {
    fixture.secret("large", json!({ "a": "x".repeat(1_000_000) })).await?;
    fixture.cluster_with(json!({})).await?;
    let reference = |group: &str, kind: &str| json!({ "apiGroup": format!("{group}.cluster.x-k8s.io"), "kind": kind, "name": "attack" });
    let machine = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": {
            "name": "attack", "labels": { "cluster.x-k8s.io/cluster-name": "attack" },
        },
        "spec": {
            "clusterName": "attack", "version": "v1.37.0",
            "bootstrap": { "configRef": reference("bootstrap", "KubeadmConfig") },
            "infrastructureRef": reference("infrastructure", "LXCMachine"),
        },
    });
    let machine = fixture.tenant.post(&fixture.machines(), &machine).await?.granted()?.json();
    let from = json!({ "secret": { "name": "large", "key": "a" } });
    let files: Vec<Value> =
        (0..200).map(|n| json!({ "path": format!("/etc/f{n}"), "contentFrom": from })).collect();
    let config = json!({
        "apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfig",
        "metadata": {
            "name": "attack", "labels": { "cluster.x-k8s.io/cluster-name": "attack" },
            "ownerReferences": [owner("Machine", &machine)],
        },
        "spec": { "files": files, "joinConfiguration": {} },
    });
    let path = format!(
        "/apis/bootstrap.cluster.x-k8s.io/v1beta2/namespaces/{}/kubeadmconfigs",
        fixture.namespace
    );
    fixture.tenant.post(&path, &config).await?.granted()?;
    let config = fixture.until(&format!("{path}/attack"), has_conditions).await?;
    ensure!(has_conditions(&config), "no controller reports the KubeadmConfig");
    Ok(())
}

//! Identities that point beyond the tenant's server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::attack::by_server::about;
use crate::attack::fixture::{Fixture, has_conditions, owner};
use crate::attack::hostile::{Hostile, Reply, identity, json_reply, reply};
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};

/// Maximum number of connections of a namespace to servers.
const AT_ONCE: usize = 45;

pub(super) fn all() -> Vec<Attack> {
    let of_both = AttackGroup::new("identities", Attacker::Tenant, Target::Both)
        .gate("the local socket is only available to namespaces that the operator allows")
        .add("an identity that names a socket of the host", socket)
        .add("an identity that names the host's Incus", host_socket)
        .gate("an identity must not point to a loopback address")
        .add("an identity that leads to the loopback address", loopback)
        .gate("what a server said is shown only after it was recognised as Incus or LXD")
        .add("an identity that names another service of the host", service)
        .add("an identity that names the plane itself", plane)
        .gate("an identity is bounded in size")
        .add("an identity with 40,000 addresses", addresses)
        .add("an identity with 1,200 certificates", certificates)
        .end();
    // The manager's own rate limit delays that many clusters.
    let of_serve = AttackGroup::new("identities", Attacker::Tenant, Target::Serve)
        .gate("the connections to servers are limited per namespace")
        .add("60 identities for one server", many)
        .end();
    of_both.into_iter().chain(of_serve).collect()
}

async fn asked(fixture: &Fixture, values: Value) -> anyhow::Result<Value> {
    fixture.secret("identity", values).await?;
    let spec = json!({
        "secretRef": { "name": "identity" }, "unprivileged": true,
        "loadBalancer": { "lxc": { "instanceSpec": { "image": { "name": "capn/test" } } } },
    });
    fixture.lxc_cluster(spec).await?;
    fixture.judged_cluster().await
}

async fn many(fixture: Arc<Fixture>) -> AttackResult {
    let hostile = Hostile::start(|path| match path.split('?').next() {
        Some("/1.0") => json_reply(&about().to_string()),
        Some("/1.0/events") => Reply::FirstMessage(Vec::new()),
        _ => reply("404 Not Found", "text/plain", b"nothing"),
    })
    .await?;
    for n in 0..60 {
        let (name, values) = (format!("c{n}"), identity(&hostile.url(), &hostile.pair)?);
        fixture.secret(&name, values).await?;
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": name },
            "spec": { "infrastructureRef": {
                "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCCluster", "name": name,
            } },
        });
        let cluster = fixture.tenant.post(&fixture.clusters(), &cluster).await?.granted()?.json();
        let object = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCCluster",
            "metadata": {
                "name": name, "labels": { "cluster.x-k8s.io/cluster-name": name },
                "ownerReferences": [owner("Cluster", &cluster)],
            },
            "spec": {
                "secretRef": { "name": name }, "unprivileged": true,
                "loadBalancer": { "external": {} },
                "controlPlaneEndpoint": { "host": "192.0.2.1", "port": 6443 },
            },
        });
        fixture.tenant.post(&fixture.infrastructure("lxcclusters"), &object).await?.granted()?;
    }
    let all_tried =
        |list: &Value| list["items"].as_array().is_some_and(|all| all.iter().all(has_conditions));
    let list = fixture.until(&fixture.infrastructure("lxcclusters"), all_tried).await?;
    let tried =
        list["items"].as_array().into_iter().flatten().filter(|one| has_conditions(one)).count();
    ensure!(all_tried(&list), "only {tried} clusters were reconciled");
    // Connections that are no longer kept end with their last request.
    let deadline = Instant::now() + Duration::from_secs(5) * fixture.slower;
    loop {
        let open = hostile.open_connections();
        if open <= AT_ONCE {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{open} connections of one namespace are open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn socket(fixture: Arc<Fixture>) -> AttackResult {
    let path = fixture.file("unix.socket")?;
    let listener = UnixListener::bind(&path)?;
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    fixture.keep(AbortOnDropHandle::new(tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    })));
    asked(&fixture, json!({ "server": format!("unix://{}", path.display()) })).await?;
    let told = "a socket of the host was opened for a tenant";
    fixture.never(Duration::from_millis(800), told, || count.load(Ordering::Relaxed) > 0).await
}

/// Without Incus, the condition would tell which sockets do not exist.
async fn host_socket(fixture: Arc<Fixture>) -> AttackResult {
    let cluster = asked(&fixture, json!({ "server": "unix://" })).await?;
    let text = cluster["status"]["conditions"].to_string();
    ensure!(
        !text.contains("no Incus or LXD socket accepts") && !text.contains("\"True\""),
        "sockets of the host were checked: {text}"
    );
    Ok(())
}

async fn loopback(fixture: Arc<Fixture>) -> AttackResult {
    let hostile =
        Hostile::on_loopback(|_| reply("404 Not Found", "text/plain", b"nothing")).await?;
    asked(&fixture, identity(&hostile.url(), &hostile.pair)?).await?;
    let told = "a loopback service was queried";
    fixture.never(Duration::from_millis(800), told, || hostile.connections() > 0).await
}

async fn service(fixture: Arc<Fixture>) -> AttackResult {
    let secret = fixture.secret.clone();
    let body = format!(r#"{{"password":"{secret}"}}"#);
    let error = format!(r#"{{"type":"error","error":"{secret}","error_code":500}}"#);
    let hostile = Hostile::start(move |path| match path.contains("instances") {
        true => reply("500 Internal Server Error", "application/json", error.as_bytes()),
        false => reply("403 Forbidden", "text/plain", body.as_bytes()),
    })
    .await?;
    asked(&fixture, identity(&hostile.url(), &hostile.pair)?).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let shown = fixture.shown().await?;
    ensure!(!shown.contains(&fixture.secret), "the answer of another service is in a condition");
    Ok(())
}

async fn plane(fixture: Arc<Fixture>) -> AttackResult {
    let mut values = identity(&format!("https://{}", fixture.plane), &{
        let mut pinned = crate::attack::tls::self_signed("a", &[])?;
        pinned.certificate = fixture.authority.ca().to_owned();
        pinned
    })?;
    values["insecure-skip-verify"] = json!("true");
    asked(&fixture, values).await?;
    Ok(())
}

async fn addresses(fixture: Arc<Fixture>) -> AttackResult {
    let all: Vec<String> =
        (0..40_000).map(|n| format!("https://127.0.0.1:{}", 1 + n % 60_000)).collect();
    let pair = crate::attack::tls::self_signed("a", &[])?;
    asked(&fixture, identity(&all.join(","), &pair)?).await?;
    Ok(())
}

async fn certificates(fixture: Arc<Fixture>) -> AttackResult {
    let mut pair = crate::attack::tls::self_signed("a", &[])?;
    pair.certificate = pair.certificate.repeat(1200);
    let mut values = identity("https://127.0.0.1:1", &pair)?;
    values["client-crt"] = json!("");
    values["client-crt"] = json!(crate::attack::tls::self_signed("b", &[])?.certificate);
    asked(&fixture, values).await?;
    Ok(())
}

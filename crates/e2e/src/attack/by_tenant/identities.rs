//! Identities that reach further than the tenant's server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio_util::task::AbortOnDropHandle;

use crate::attack::hostile::{Hostile, identity, reply};
use crate::attack::scene::Scene;
use crate::attack::table::{Attack, Class, Done, On, Who};

pub(super) fn all() -> Vec<Attack> {
    Class::new("identities", Who::Tenant, On::Both)
        .gate("the local socket is for namespaces that the one who runs capn allows")
        .add("an identity that names a socket of the host", socket)
        .add("an identity that names the host's Incus", host_socket)
        .gate("an identity leads to no address of this machine alone")
        .add("an identity that leads to the loopback address", loopback)
        .gate("what a server said is shown only after it was recognised as Incus or LXD")
        .add("an identity that names another service of the host", service)
        .add("an identity that names the plane itself", plane)
        .gate("an identity is bounded in size")
        .add("an identity with 40,000 addresses", addresses)
        .add("an identity with 1,200 certificates", certificates)
        .end()
}

async fn asked(scene: &Scene, values: Value) -> anyhow::Result<Value> {
    scene.secret("identity", values).await?;
    let spec = json!({
        "secretRef": { "name": "identity" }, "unprivileged": true,
        "loadBalancer": { "lxc": { "instanceSpec": { "image": { "name": "capn/test" } } } },
    });
    scene.lxc_cluster(spec).await?;
    scene.judged_cluster().await
}

async fn socket(scene: Arc<Scene>) -> Done {
    let path = scene.file("unix.socket")?;
    let listener = UnixListener::bind(&path)?;
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    scene.keep(AbortOnDropHandle::new(tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    })));
    asked(&scene, json!({ "server": format!("unix://{}", path.display()) })).await?;
    let told = "a socket of the host was opened for a tenant";
    scene.never(Duration::from_millis(800), told, || count.load(Ordering::Relaxed) > 0).await
}

/// Where there is no Incus, the condition tells which sockets there are not.
async fn host_socket(scene: Arc<Scene>) -> Done {
    let cluster = asked(&scene, json!({ "server": "unix://" })).await?;
    let text = cluster["status"]["conditions"].to_string();
    ensure!(
        !text.contains("no Incus or LXD socket answers") && !text.contains("\"True\""),
        "the host was looked at for sockets: {text}"
    );
    Ok(())
}

async fn loopback(scene: Arc<Scene>) -> Done {
    let hostile =
        Hostile::on_loopback(|_| reply("404 Not Found", "text/plain", b"nothing")).await?;
    asked(&scene, identity(&hostile.url(), &hostile.pair)?).await?;
    let told = "a service of this machine alone was asked";
    scene.never(Duration::from_millis(800), told, || hostile.connections() > 0).await
}

async fn service(scene: Arc<Scene>) -> Done {
    let secret = scene.secret.clone();
    let body = format!(r#"{{"password":"{secret}"}}"#);
    let error = format!(r#"{{"type":"error","error":"{secret}","error_code":500}}"#);
    let hostile = Hostile::start(move |path| match path.contains("instances") {
        true => reply("500 Internal Server Error", "application/json", error.as_bytes()),
        false => reply("403 Forbidden", "text/plain", body.as_bytes()),
    })
    .await?;
    asked(&scene, identity(&hostile.url(), &hostile.pair)?).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let shown = scene.shown().await?;
    ensure!(!shown.contains(&scene.secret), "the answer of another service is in a condition");
    Ok(())
}

async fn plane(scene: Arc<Scene>) -> Done {
    let mut values = identity(&format!("https://{}", scene.plane), &{
        let mut pinned = crate::attack::tls::self_signed("a", &[])?;
        pinned.certificate = scene.authority.ca().to_owned();
        pinned
    })?;
    values["insecure-skip-verify"] = json!("true");
    asked(&scene, values).await?;
    Ok(())
}

async fn addresses(scene: Arc<Scene>) -> Done {
    let all: Vec<String> =
        (0..40_000).map(|n| format!("https://127.0.0.1:{}", 1 + n % 60_000)).collect();
    let pair = crate::attack::tls::self_signed("a", &[])?;
    asked(&scene, identity(&all.join(","), &pair)?).await?;
    Ok(())
}

async fn certificates(scene: Arc<Scene>) -> Done {
    let mut pair = crate::attack::tls::self_signed("a", &[])?;
    pair.certificate = pair.certificate.repeat(1200);
    let mut values = identity("https://127.0.0.1:1", &pair)?;
    values["client-crt"] = json!("");
    values["client-crt"] = json!(crate::attack::tls::self_signed("b", &[])?.certificate);
    asked(&scene, values).await?;
    Ok(())
}

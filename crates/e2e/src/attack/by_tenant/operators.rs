//! Commands that an operator runs over a tenant's objects.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::tls::self_signed;

/// How long a command may wait for a server that accepts connections and is silent.
const WAIT: Duration = Duration::from_secs(5);

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("commands of an operator", Attacker::Tenant, Target::Serve)
        .gate("commands use this machine's sockets and loopback addresses only for the namespaces that `capn serve` recorded")
        .add("an identity that leads an operator's commands to a socket", socket)
        .add("an identity that leads an operator's commands to the loopback address", identity)
        .add("a kubeconfig that leads an operator's commands to the loopback address", kubeconfig)
        .end()
}

/// Creates a cluster with an identity for this server, and runs commands over it.
async fn commands(fixture: &Fixture, server: &str) -> AttackResult {
    let pair = self_signed("attacker", &[])?;
    let identity = json!({
        "server": server, "server-crt": pair.certificate,
        "client-crt": pair.certificate, "client-key": pair.key,
    });
    fixture.secret("attack-incus", identity).await?;
    let spec = json!({
        "secretRef": { "name": "attack-incus" }, "unprivileged": true,
        "loadBalancer": { "external": {} },
        "controlPlaneEndpoint": { "host": "192.0.2.1", "port": 6443 },
    });
    fixture.lxc_cluster(spec).await?;
    let namespace = fixture.namespace.as_str();
    for command in ["stop", "repair"] {
        // The server does not respond, so the command may fail or be ended.
        let arguments = [command, "attack", "-n", namespace, "--dry-run"];
        drop(tokio::time::timeout(WAIT, fixture.capn(&arguments)).await);
    }
    Ok(())
}

fn unvisited<T>(accepted: std::io::Result<T>, what: &str) -> AttackResult {
    match accepted {
        Ok(_) => bail!("a command connected to {what}"),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn socket(fixture: Arc<Fixture>) -> AttackResult {
    let path = fixture.file("server.socket")?;
    let listener = UnixListener::bind(&path)?;
    listener.set_nonblocking(true)?;
    commands(&fixture, &format!("unix://{}", path.display())).await?;
    unvisited(listener.accept(), "the socket")
}

async fn identity(fixture: Arc<Fixture>) -> AttackResult {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    commands(&fixture, &format!("https://{}", listener.local_addr()?)).await?;
    unvisited(listener.accept(), "the loopback address")
}

async fn kubeconfig(fixture: Arc<Fixture>) -> AttackResult {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let pair = self_signed("127.0.0.1", &[])?;
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "contexts": [{ "name": "a", "context": { "cluster": "a", "user": "a" } }],
        "clusters": [{
            "name": "a", "cluster": {
                "server": format!("https://{}", listener.local_addr()?),
                "certificate-authority-data": STANDARD.encode(pair.certificate),
            },
        }],
        "users": [{ "name": "a", "user": { "token": "t" } }],
    });
    fixture.secret("attack-kubeconfig", json!({ "value": kubeconfig.to_string() })).await?;
    fixture.cluster().await?;
    let namespace = fixture.namespace.as_str();
    for arguments in [
        &["get", "nodes", "attack", "-n", namespace][..],
        &["repair", "attack", "-n", namespace, "--dry-run"],
    ] {
        drop(tokio::time::timeout(WAIT, fixture.capn(arguments)).await);
    }
    unvisited(listener.accept(), "the loopback address")?;
    let shown = fixture.capn(&["kubeconfig", "attack", "-n", namespace]).await?;
    match shown.contains("server:") {
        true => bail!("capn kubeconfig prints a server on the loopback address"),
        false => Ok(()),
    }
}

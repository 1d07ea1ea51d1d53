//! Namespaces whose users are trusted with this machine: their identities may use a local socket,
//! and their identities and kubeconfigs may name loopback addresses.
//!
//! `capn serve` records its `--local-socket-namespaces` in the plane, and every command follows the
//! record, even after `capn serve` has stopped. Without a record and without RoleBindings, nobody
//! but the user of this state directory has written to the plane.

use capn_controller::workload::Reach;
use capn_provider::LocalSockets;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::error::{CommandError, Doing as _};
use crate::identity::Identity;

/// Namespace of the record. Whoever may write there is trusted with everything.
pub(crate) const NAMESPACE: &str = "kube-system";
const NAME: &str = "capn-serve";
const KEY: &str = "local-socket-namespaces";

/// Records the namespaces that `capn serve` trusts.
///
/// # Errors
///
/// Returns an error if the plane does not respond.
pub async fn record(client: &Client, sockets: &LocalSockets) -> Result<(), CommandError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let record = Patch::Apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME },
        "data": { KEY: sockets.to_string() },
    }));
    let params = PatchParams::apply("capn-serve").force();
    let doing = format!("cannot record {KEY} in the ConfigMap `{NAMESPACE}/{NAME}`");
    api.patch(NAME, &params, &record).await.doing(doing).map(drop)
}

/// Returns the recorded namespaces. Without a record: `otherwise` if the plane has no RoleBindings,
/// so no other users, or else the default.
///
/// # Errors
///
/// Returns an error if the plane does not respond.
pub async fn sockets(
    client: &Client,
    otherwise: &LocalSockets,
) -> Result<LocalSockets, CommandError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let doing = format!("cannot read the ConfigMap `{NAMESPACE}/{NAME}`");
    let Some(found) = api.get_opt(NAME).await.doing(doing)? else {
        let bindings: Api<RoleBinding> = Api::all(client.clone());
        let found = bindings.list_metadata(&ListParams::default().limit(1)).await;
        let has_users = !found.doing("cannot list RoleBindings")?.items.is_empty();
        return Ok(if has_users { LocalSockets::default() } else { otherwise.clone() });
    };
    let text = found.data.and_then(|mut data| data.remove(KEY)).unwrap_or_default();
    Ok(text.parse().unwrap_or_else(|never| match never {}))
}

/// Returns which addresses the identities and kubeconfigs of a namespace may name.
///
/// # Errors
///
/// Returns an error if the plane does not respond.
pub async fn reach(client: &Client, namespace: &str) -> Result<Reach, CommandError> {
    let sockets = sockets(client, &LocalSockets::default().and(namespace)).await?;
    Ok(if sockets.allow(namespace) { Reach::ThisMachine } else { Reach::Network })
}

/// Checks that identities of a namespace may name this server, before anything is created.
///
/// # Errors
///
/// Returns an error if the server is a local socket that the namespace may not use, or if the plane
/// does not respond.
pub async fn check(
    client: &Client,
    identity: &Identity,
    namespace: &str,
) -> Result<(), CommandError> {
    let sockets = sockets(client, &LocalSockets::default().and(namespace)).await?;
    if identity.socket().is_none() || sockets.allow(namespace) {
        return Ok(());
    }
    let wanted = sockets.and(namespace);
    Err(CommandError::new(format!("clusters in namespace `{namespace}` may not use a local socket"))
        .hint(format!(
            "to allow it: `capn serve --local-socket-namespaces {wanted}`; everyone who can write Secrets in `{namespace}` can then become root on this machine"
        ))
        .hint("or reach the server over HTTPS: `--remote NAME`"))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use k8s_openapi::api::core::v1::Secret;
    use kube::api::PostParams;

    use super::*;
    use crate::cluster;
    use crate::session::quotas::NamespaceLimits;
    use crate::session::{Controllers, Need, Serving, Session};
    use crate::state::StateDir;

    async fn session() -> (tempfile::TempDir, StateDir, Session) {
        let held = tempfile::tempdir().unwrap();
        let state = StateDir::at(held.path().join("state").to_str().unwrap());
        let session = Session::open_or_make(&state, Need::Objects).await.unwrap();
        (held, state, session)
    }

    fn list(text: &str) -> LocalSockets {
        text.parse().unwrap_or_else(|never| match never {})
    }

    #[tokio::test]
    async fn commands_follow_what_serve_recorded() {
        let (_held, _, session) = session().await;
        let client = session.client();
        assert_eq!(reach(client, "lab").await.unwrap(), Reach::ThisMachine, "never served");
        let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), "default");
        let binding = json!({
            "metadata": { "name": "jane" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit" },
        });
        let binding = serde_json::from_value(binding).unwrap();
        bindings.create(&PostParams::default(), &binding).await.unwrap();
        assert_eq!(reach(client, "lab").await.unwrap(), Reach::Network, "has users");
        assert_eq!(reach(client, "default").await.unwrap(), Reach::ThisMachine, "the default");
        for (recorded, allowed, other) in [
            ("default", Some("default"), "lab"),
            ("lab,ci", Some("ci"), "default"),
            ("", None, "default"),
        ] {
            record(client, &list(recorded)).await.unwrap();
            if let Some(allowed) = allowed {
                assert_eq!(reach(client, allowed).await.unwrap(), Reach::ThisMachine, "{recorded}");
            }
            assert_eq!(reach(client, other).await.unwrap(), Reach::Network, "{recorded}");
        }
        session.close().await.unwrap();
    }

    #[tokio::test]
    async fn serve_records_its_namespaces_before_anything_is_served() {
        let (_held, state, first) = session().await;
        first.close().await.unwrap();
        let controllers = Controllers::All(Default::default(), list("ci"));
        let any = ([127, 0, 0, 1], 0).into();
        let limits = NamespaceLimits::default();
        Serving::start(&state, any, &[], controllers, limits).await.unwrap().close().await.unwrap();
        let session = Session::open(&state, Need::Objects).await.unwrap();
        assert_eq!(sockets(session.client(), &list("lab")).await.unwrap(), list("ci"));
        session.close().await.unwrap();
    }

    #[tokio::test]
    async fn commands_do_not_go_where_a_tenant_may_not() {
        let (_held, _, session) = session().await;
        let client = session.client();
        record(client, &list("")).await.unwrap();
        let secrets: Api<Secret> = Api::namespaced(client.clone(), "default");
        let authority =
            rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap().cert.pem();
        let kubeconfig = json!({
            "current-context": "x",
            "contexts": [{ "name": "x", "context": { "cluster": "x", "user": "x" } }],
            "clusters": [{ "name": "x", "cluster": {
                "server": "https://127.0.0.1:1",
                "certificate-authority-data": STANDARD.encode(authority),
            } }],
            "users": [{ "name": "x", "user": { "token": "t" } }],
        });
        for (name, data) in [
            ("demo-incus", json!({ "server": "unix:///nowhere" })),
            (
                "far-incus",
                json!({
                    "server": "https://127.0.0.1:1", "client-crt": "c", "client-key": "k",
                }),
            ),
            ("demo-kubeconfig", json!({ "value": kubeconfig.to_string() })),
        ] {
            let secret = json!({ "metadata": { "name": name }, "stringData": data });
            let secret = serde_json::from_value(secret).unwrap();
            secrets.create(&PostParams::default(), &secret).await.unwrap();
        }
        let identity = async |name: &str| {
            let reach = reach(client, "default").await.unwrap();
            cluster::identity_in(&secrets.get(name).await.unwrap(), reach).unwrap()
        };
        let socket = identity("demo-incus").await;
        let refused = socket.client().unwrap_err().to_string();
        assert!(refused.contains("may not use the local socket"), "{refused}");
        assert!(check(client, &socket, "default").await.is_err());
        let far = identity("far-incus").await;
        check(client, &far, "default").await.unwrap();
        let unreachable = cluster::kubeconfig(client, "default", "demo").await.err().unwrap();
        assert!(unreachable.to_string().contains("is rejected"), "{unreachable}");

        record(client, &list("default")).await.unwrap();
        identity("demo-incus").await.client().unwrap();
        cluster::kubeconfig(client, "default", "demo").await.unwrap().client().unwrap();
        session.close().await.unwrap();
    }
}

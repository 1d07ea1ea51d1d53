//! The Secret `<cluster>-kubeconfig`: an administrator's kubeconfig for a workload cluster.
//!
//! It is created with the cluster's CA as soon as the endpoint is known. Its client certificate is
//! valid for one year and renewed when less than half of that is left. A Secret of another type
//! belongs to the user and is not changed.

mod document;

use capi_api::core::ApiEndpoint;
use capi_api::{Cluster, labels};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};

pub use self::document::{Kubeconfig, client_certificate_end, render};
use crate::Context;
use crate::error::Failure;
use crate::pki::{self, ClientIdentity, PemPair};
use crate::workload::secret_name;

/// Key of the Secret that holds the kubeconfig.
const KEY: &str = "value";
/// Validity of the client certificate.
const VALID: SignedDuration = SignedDuration::from_hours(24 * 365);
/// Remaining validity below which the certificate is renewed.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(24 * 365 / 2);
/// Subject of the certificate, which kubeadm binds to the administrator role.
const ADMIN: ClientIdentity<'static> =
    ClientIdentity { user: "kubernetes-admin", group: "system:masters" };

/// Required change of a cluster's Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KubeconfigAction {
    /// It does not exist.
    Create,
    /// Its certificate expires soon, or it is invalid.
    Renew,
    /// No change is required until the given time.
    Nothing {
        /// When the certificate must be renewed. `None` for a Secret of the user.
        renew_at: Option<Timestamp>,
    },
}

/// Returns the required change of a Secret. Pure.
pub(crate) fn need(secret: Option<&Secret>, now: Timestamp) -> KubeconfigAction {
    let Some(secret) = secret else { return KubeconfigAction::Create };
    if secret.type_.as_deref() != Some(labels::CLUSTER_SECRET_TYPE) {
        return KubeconfigAction::Nothing { renew_at: None };
    }
    let text = secret.data.as_ref().and_then(|data| data.get(KEY));
    let text = text.and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
    let Some(end) = text.and_then(client_certificate_end) else { return KubeconfigAction::Renew };
    let renew_at = end.saturating_sub(RENEW_BEFORE).unwrap_or(Timestamp::MIN);
    if renew_at <= now {
        KubeconfigAction::Renew
    } else {
        KubeconfigAction::Nothing { renew_at: Some(renew_at) }
    }
}

/// Creates or renews the Secret of a cluster.
///
/// The certificate is signed on the current thread: with a 2048-bit RSA CA this takes about a
/// millisecond.
///
/// # Errors
///
/// [`Failure::Invalid`] if the CA is unusable, [`Failure::Api`] if a request to the API server
/// fails.
pub(crate) async fn write(
    ctx: &Context,
    cluster: &Cluster,
    existing: Option<&Secret>,
    authority: &PemPair,
    endpoint: &ApiEndpoint,
    owner: OwnerReference,
) -> Result<(), Failure> {
    let namespace = cluster.namespace().unwrap_or_default();
    let cluster_name = cluster.name_any();
    let name = secret_name(&cluster_name);
    let client = pki::client_certificate(authority, ADMIN, ctx.now(), VALID).map_err(|error| {
        Failure::Invalid {
            object: format!("Secret {namespace}/{cluster_name}-ca"),
            problem: crate::error::chain(&error),
        }
    })?;
    let text = render(&Kubeconfig {
        cluster: &cluster_name,
        server: &server(endpoint),
        authority: &authority.certificate,
        client: &client,
    });
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), &namespace);
    let mut secret = existing.cloned().unwrap_or_else(|| Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            labels: Some([(labels::CLUSTER_NAME.to_owned(), cluster_name.clone())].into()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(labels::CLUSTER_SECRET_TYPE.to_owned()),
        ..Secret::default()
    });
    secret.data.get_or_insert_default().insert(KEY.to_owned(), ByteString(text.into_bytes()));
    let params = PostParams::default();
    let (act, written) = match existing {
        None => ("create", secrets.create(&params, &secret).await),
        Some(_) => ("replace", secrets.replace(&name, &params, &secret).await),
    };
    written.map_err(Failure::api_named(act, "Secret", &namespace, &name))?;
    tracing::info!(namespace, cluster = cluster_name, "{act} the kubeconfig");
    Ok(())
}

/// Returns the URL of an API server. An IPv6 address is put in brackets.
#[must_use]
pub fn server(endpoint: &ApiEndpoint) -> String {
    format!("https://{}", host_and_port(endpoint))
}

/// Returns `host:port` of an endpoint. An IPv6 address is put in brackets.
#[must_use]
pub fn host_and_port(endpoint: &ApiEndpoint) -> String {
    let host = endpoint.host.as_deref().unwrap_or_default();
    let port = endpoint.port.unwrap_or_default();
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests;

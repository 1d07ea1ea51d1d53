//! The secret `<cluster>-kubeconfig`: an administrator's kubeconfig for a workload cluster.
//!
//! Made from the cluster's authority as soon as the endpoint is known. Its client certificate is
//! valid for a year and replaced when less than half of that is left. A secret of another type is
//! the user's and left alone.

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

/// Key of the secret with the kubeconfig.
const KEY: &str = "value";
/// Validity of the client certificate.
const VALID: SignedDuration = SignedDuration::from_hours(24 * 365);
/// The certificate is replaced when less than this is left of it.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(24 * 365 / 2);
/// Whom the certificate is for: what kubeadm binds to the role of an administrator.
const ADMIN: ClientIdentity<'static> =
    ClientIdentity { user: "kubernetes-admin", group: "system:masters" };

/// What has to be done about the secret of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// There is none.
    Create,
    /// Its certificate ends too soon, or it cannot be read.
    Renew,
    /// Nothing, until that moment.
    Nothing {
        /// When the certificate has to be replaced; `None` for a secret of the user.
        renew_at: Option<Timestamp>,
    },
}

/// Decides what has to be done about a secret. Pure.
pub(crate) fn need(secret: Option<&Secret>, now: Timestamp) -> Need {
    let Some(secret) = secret else { return Need::Create };
    if secret.type_.as_deref() != Some(labels::CLUSTER_SECRET_TYPE) {
        return Need::Nothing { renew_at: None };
    }
    let text = secret.data.as_ref().and_then(|data| data.get(KEY));
    let text = text.and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
    let Some(end) = text.and_then(client_certificate_end) else { return Need::Renew };
    let renew_at = end.saturating_sub(RENEW_BEFORE).unwrap_or(Timestamp::MIN);
    if renew_at <= now { Need::Renew } else { Need::Nothing { renew_at: Some(renew_at) } }
}

/// Makes or renews the secret of a cluster.
///
/// The signature is made on this thread: with an RSA authority of 2048 bits it takes about a
/// millisecond.
///
/// # Errors
///
/// [`Failure::Invalid`] when the authority cannot be used, [`Failure::Api`] when the plane refuses.
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

/// URL of an API server; an IPv6 address goes into brackets.
#[must_use]
pub fn server(endpoint: &ApiEndpoint) -> String {
    format!("https://{}", host_and_port(endpoint))
}

/// `host:port` of an endpoint; an IPv6 address goes into brackets.
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

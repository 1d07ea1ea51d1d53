//! The namespace of a cluster.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::error::{CommandError, Doing as _};

/// Creates a namespace if it does not exist.
///
/// # Errors
///
/// Returns an error if the plane does not respond or rejects it.
pub(crate) async fn ensure(client: &Client, name: &str) -> Result<(), CommandError> {
    let api = Api::<Namespace>::all(client.clone());
    let doing = || format!("cannot create namespace `{name}`");
    if api.get_metadata_opt(name).await.doing(doing())?.is_some() {
        return Ok(());
    }
    let mut made = Namespace::default();
    made.metadata.name = Some(name.to_owned());
    match api.create(&PostParams::default(), &made).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other.map(drop).doing(doing()),
    }
}

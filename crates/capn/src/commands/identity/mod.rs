//! `capn identity`

pub mod create;
pub mod delete;

use camino::{Utf8Path, Utf8PathBuf};
use capn_controller::names;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::error::{CommandError, Doing as _};
use crate::management;
use crate::session::{Need, Session};
use crate::state::StateDir;

/// Where Secrets are applied.
enum SecretStore {
    /// The embedded plane.
    Plane(Session),
    /// Another management cluster.
    Other(Client),
}

impl SecretStore {
    /// Opens the cluster of a kubeconfig, or the embedded plane.
    async fn open(state: &StateDir, kubeconfig: Option<&Utf8Path>) -> Result<Self, CommandError> {
        let Some(path) = kubeconfig else {
            return Ok(Self::Plane(Session::open_or_make(state, Need::Objects).await?));
        };
        let doing = || format!("cannot use the management cluster that {path} names");
        let config = management::from_file(path, None).await?;
        Ok(Self::Other(names::checked(Client::try_from(config).doing(doing())?)))
    }

    fn client(&self) -> &Client {
        match self {
            Self::Plane(session) => session.client(),
            Self::Other(client) => client,
        }
    }

    async fn close(self) -> Result<(), CommandError> {
        match self {
            Self::Plane(session) => session.close().await,
            Self::Other(_) => Ok(()),
        }
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client().clone(), namespace)
    }
}

/// A management cluster other than the embedded plane.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TargetArgs {
    /// Kubeconfig of a management cluster [default: the embedded plane]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<Utf8PathBuf>,
}

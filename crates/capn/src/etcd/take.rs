//! Takes a snapshot of a cluster's etcd.

use std::fmt;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use capi_api::{Cluster, KubeadmControlPlane, Machine};
use capn_lifecycle::pki::{PemPair, Purpose};
use capn_lifecycle::workload::etcd::snapshot::Error as SnapshotError;
use capn_lifecycle::workload::etcd::{Etcd, Status};
use capn_lifecycle::workload::{self, Workloads};
use capn_lifecycle::{Context, Options};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _};

use super::record::{Reason, Record};
use super::store::{Draft, Folder, used};
use crate::error::{CommandError, Doing as _};
use crate::state::StateDir;
use crate::watch::{self, View};

/// Total time limit: enough for the largest snapshot at 3 MiB/s.
const WITHIN: Duration = Duration::from_secs(3_600);

/// Why no snapshots can be taken of a cluster's etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is being deleted.
    Leaving,
    /// It is paused.
    Paused,
    /// It has no KubeadmControlPlane, so its etcd is unknown.
    NoControlPlane,
    /// Its etcd is external.
    External,
    /// Its control plane is not initialized yet.
    NotInitialized,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leaving => "the cluster is being deleted",
            Self::Paused => "the cluster is paused",
            Self::NoControlPlane => "the cluster has no KubeadmControlPlane",
            Self::External => "its etcd is external: its operator must take snapshots",
            Self::NotInitialized => "its control plane is not initialized yet",
        })
    }
}

/// Checks whether snapshots can be taken of a cluster.
///
/// # Errors
///
/// Returns the reason against it.
pub fn fitness(
    cluster: &Cluster,
    control_plane: Option<&KubeadmControlPlane>,
) -> Result<(), Unfit> {
    if cluster.metadata.deletion_timestamp.is_some() {
        return Err(Unfit::Leaving);
    }
    let control_plane = control_plane.ok_or(Unfit::NoControlPlane)?;
    let config = control_plane.spec.kubeadm_config_spec.as_ref();
    let etcd = config
        .and_then(|config| config.cluster_configuration.as_ref())
        .and_then(|configuration| configuration.etcd.as_ref());
    if etcd.is_some_and(|etcd| etcd.external.is_some()) {
        return Err(Unfit::External);
    }
    if !cluster.control_plane_initialized() {
        return Err(Unfit::NotInitialized);
    }
    match cluster.spec.paused == Some(true) {
        true => Err(Unfit::Paused),
        false => Ok(()),
    }
}

/// A snapshot request.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Namespace of the cluster.
    pub namespace: &'a str,
    /// Its name.
    pub cluster: &'a str,
    /// Why it is taken.
    pub reason: Reason,
    /// Output file; `None` is a file in the state directory.
    pub output: Option<&'a Utf8Path>,
}

/// Storage of snapshots, and access to etcd.
#[derive(Clone, Debug)]
pub struct Keeper {
    state: StateDir,
    workloads: Workloads,
}

impl Keeper {
    /// In a state directory.
    pub fn of(state: &StateDir) -> Self {
        Self { state: state.clone(), workloads: Workloads::default() }
    }

    /// Returns the same with other access to clusters.
    #[cfg(test)]
    pub(crate) fn with(self, workloads: Workloads) -> Self {
        Self { workloads, ..self }
    }

    /// Returns the snapshots of a cluster.
    ///
    /// # Errors
    ///
    /// Returns an error if the names are not valid for a cluster.
    pub fn folder(&self, namespace: &str, cluster: &str) -> Result<Folder, CommandError> {
        Folder::of(&self.state, namespace, cluster)
    }

    /// Returns the disk usage of a namespace's snapshots in bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if its directories cannot be read.
    pub fn used(&self, namespace: &str) -> Result<u64, CommandError> {
        used(&self.state, namespace)
    }

    /// Takes a snapshot of a cluster in the plane. Returns the file with its record.
    ///
    /// # Cancellation
    ///
    /// Nothing of it is left.
    ///
    /// # Errors
    ///
    /// Returns an error if no etcd member is up to date, if the snapshot is incomplete or too
    /// large, or if it cannot be written.
    pub async fn take(
        &self,
        client: &Client,
        wanted: Wanted<'_>,
    ) -> Result<(Utf8PathBuf, Record), CommandError> {
        let Wanted { namespace, cluster, .. } = wanted;
        let doing = || format!("cannot take an etcd snapshot of cluster `{cluster}`");
        let view = watch::read(client, namespace, cluster).await;
        let found = view.cluster.as_deref().ok_or_else(|| {
            CommandError::new(format!("cluster `{cluster}` does not exist")).while_doing(doing())
        })?;
        match fitness(found, view.control_plane.as_deref()) {
            // Nodes of a paused cluster are running, and so is its etcd.
            Ok(()) | Err(Unfit::Paused) => {}
            Err(unfit) => return Err(CommandError::new(unfit.to_string()).while_doing(doing())),
        }
        let taking = tokio::time::timeout(WITHIN, self.take_of(client, &view, wanted));
        taking
            .await
            .unwrap_or_else(|_| {
                let within = WITHIN.as_secs() / 60;
                Err(CommandError::new(format!("it did not finish within {within} minutes")))
            })
            .map_err(|error| error.while_doing(doing()))
    }

    async fn take_of(
        &self,
        client: &Client,
        view: &View,
        wanted: Wanted<'_>,
    ) -> Result<(Utf8PathBuf, Record), CommandError> {
        let Some(cluster) = &view.cluster else {
            return Err(CommandError::new("the cluster no longer exists"));
        };
        let mut options = Options::default();
        options.workloads = self.workloads.clone();
        let context = Context::new(client.clone(), options);
        let etcd = etcd(&context, cluster).await?;
        let (node, status) = up_to_date(&etcd, &nodes(view), &cluster.name_any()).await?;
        let draft = match wanted.output {
            Some(path) => Draft::at(path)?,
            None => Draft::within(&self.folder(wanted.namespace, wanted.cluster)?)?,
        };
        let taken = Timestamp::now();
        let mut writer = draft.writer()?;
        let most_bytes = draft.most_bytes()?;
        let written = etcd.snapshot(&node, most_bytes, &mut writer).await.map_err(failed)?;
        drop(writer);
        let version = view.control_plane.as_ref().map(|found| found.spec.version.clone());
        let record = Record {
            cluster: cluster.name_any(),
            namespace: wanted.namespace.to_owned(),
            uid: cluster.uid().unwrap_or_default(),
            taken,
            reason: wanted.reason,
            size_bytes: written.size_bytes,
            sha256: written.sha256,
            revision: status.revision,
            etcd_version: Some(status.version).filter(|version| !version.is_empty()),
            kubernetes_version: version,
            node,
        };
        let path = draft.keep(&record)?;
        Ok((path, record))
    }
}

fn failed(error: SnapshotError) -> CommandError {
    let hint = match &error {
        SnapshotError::TooLarge { .. } => {
            "the limit is 8 GiB, and 5 % of the file system is reserved: free some space, or write to another file system with `--output FILE`"
        }
        SnapshotError::Write { .. } => "check the file system: `df -h`",
        _ => "no snapshot was saved: try again",
    };
    CommandError::caused("etcd did not send a snapshot", error).hint(hint)
}

/// etcd of a cluster.
async fn etcd(context: &Context, cluster: &Cluster) -> Result<Etcd, CommandError> {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let secret = Purpose::EtcdCa.secret_name(&name);
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    let found =
        secrets.get_opt(&secret).await.doing(format!("cannot read the Secret `{secret}`"))?;
    let authority = found
        .as_ref()
        .and_then(PemPair::from_secret)
        .ok_or_else(|| CommandError::new(format!("Secret `{secret}` has no etcd CA")))?;
    let client = workload::client(context, cluster)
        .await
        .map_err(|error| CommandError::caused("cannot reach the cluster", error))?;
    Ok(workload::etcd_of(context, cluster, client, authority))
}

/// Nodes with etcd members; nodes that are not being deleted come first.
fn nodes(view: &View) -> Vec<String> {
    let mut machines: Vec<&Machine> =
        view.machines.iter().map(AsRef::as_ref).filter(|found| found.is_control_plane()).collect();
    machines.sort_by_key(|machine| machine.metadata.deletion_timestamp.is_some());
    machines.iter().filter_map(|found| found.node_name()).map(str::to_owned).collect()
}

/// Returns the first node whose member has applied everything that the quorum committed, so that
/// nothing is missing.
async fn up_to_date(
    etcd: &Etcd,
    nodes: &[String],
    cluster: &str,
) -> Result<(String, Status), CommandError> {
    let mut failed: Option<CommandError> = None;
    for node in nodes {
        let asked = async {
            etcd.view(node).await?;
            etcd.status(node).await
        };
        match asked.await {
            Ok(status) => return Ok((node.clone(), status)),
            Err(error) => {
                let error =
                    CommandError::caused(format!("no response from the one on `{node}`"), error);
                failed = Some(match failed {
                    None => error,
                    Some(first) => first.and_also(&error),
                });
            }
        }
    }
    let failed = failed.unwrap_or_else(|| CommandError::new("no machine has a node yet"));
    Err(failed.while_doing("no etcd member is up to date").hint(format!(
        "see the cause: `capn describe cluster {cluster}`; without a quorum, restore an older snapshot: `capn etcd snapshot restore {cluster}`"
    )))
}

#[cfg(test)]
#[path = "take_tests.rs"]
mod tests;

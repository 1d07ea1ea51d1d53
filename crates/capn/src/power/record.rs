//! That a cluster is stopped, as the plane has it: paused, so that nobody starts, replaces or remediates its
//! machines, and an annotation that says why.

use capi_api::Cluster;
use capn_api::keys::STOPPED_ANNOTATION;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::error::{CommandError, Doing as _};

/// That a cluster is stopped, and how it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was not paused.
    Running,
    /// It was paused, which it stays when it is started.
    Paused,
}

impl Stopped {
    /// What a Cluster says. One that somebody resumed since is not stopped any more, whatever the
    /// annotation says: its machines are started by the controllers.
    pub fn of(cluster: &Cluster) -> Option<Self> {
        if cluster.spec.paused != Some(true) {
            return None;
        }
        match words(cluster)?.0 {
            "paused" => Some(Self::Paused),
            _ => Some(Self::Running),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
        }
    }
}

/// The two words of the annotation: how the cluster was before, and what is under way.
fn words(cluster: &Cluster) -> Option<(&str, &str)> {
    let text = cluster.annotations().get(STOPPED_ANNOTATION)?;
    Some(text.split_once(' ').unwrap_or((text, "")))
}

/// How far a cluster has come that is not to run, or only begins to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Instances may run that are to be stopped.
    Stopping,
    /// None runs.
    Stopped,
    /// Instances may not run yet that are to be started.
    Starting,
}

impl Phase {
    /// That of a Cluster, if it is stopped as [`Stopped::of`] says.
    pub fn of(cluster: &Cluster) -> Option<Self> {
        Stopped::of(cluster)?;
        Some(match words(cluster)?.1 {
            "stopping" => Self::Stopping,
            "starting" => Self::Starting,
            _ => Self::Stopped,
        })
    }

    /// The word that is shown as the phase of cluster and machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Starting => "Starting",
        }
    }

    /// What to do about it.
    pub fn advice(self, name: &str) -> String {
        match self {
            Self::Stopping => {
                format!(
                    "is being stopped; `capn stop {name}` goes on, `capn start {name}` starts it"
                )
            }
            Self::Stopped => format!("is stopped; `capn start {name}` starts it"),
            Self::Starting => format!("is being started; `capn start {name}` goes on"),
        }
    }
}

/// Records how far a cluster has come that is not to run, and that nobody works on it meanwhile.
///
/// # Errors
///
/// When the plane does not answer or refuses.
pub(super) async fn set(
    client: &Client,
    namespace: &str,
    name: &str,
    before: Stopped,
    phase: Phase,
) -> Result<(), CommandError> {
    let before = before.as_str();
    let text = match phase {
        Phase::Stopping => format!("{before} stopping"),
        Phase::Stopped => before.to_owned(),
        Phase::Starting => format!("{before} starting"),
    };
    let change = json!({
        "metadata": { "annotations": { STOPPED_ANNOTATION: text } },
        "spec": { "paused": true },
    });
    patch(client, namespace, name, &change, "record that it is stopped").await
}

/// Takes the record away: controllers work on the cluster again, unless it was paused before.
///
/// # Errors
///
/// When the plane does not answer or refuses.
pub(crate) async fn forget(
    client: &Client,
    namespace: &str,
    name: &str,
    before: Stopped,
) -> Result<(), CommandError> {
    let change = json!({
        "metadata": { "annotations": { STOPPED_ANNOTATION: null } },
        "spec": { "paused": before == Stopped::Paused },
    });
    patch(client, namespace, name, &change, "record that it is started").await
}

async fn patch(
    client: &Client,
    namespace: &str,
    name: &str,
    change: &serde_json::Value,
    what: &str,
) -> Result<(), CommandError> {
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), namespace);
    clusters
        .patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await
        .doing(format!("cannot {what} in the Cluster `{name}`"))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_stopped_while_it_is_paused_and_says_so() {
        let (running, paused) = (Stopped::Running, Stopped::Paused);
        for (is_paused, annotation, found) in [
            (true, Some("running"), Some((running, Phase::Stopped))),
            (true, Some("paused"), Some((paused, Phase::Stopped))),
            (true, Some("paused stopping"), Some((paused, Phase::Stopping))),
            (true, Some("running starting"), Some((running, Phase::Starting))),
            (true, None, None),
            (false, Some("running"), None),
            (false, None, None),
        ] {
            let mut cluster: Cluster = serde_json::from_value(json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
                "metadata": { "name": "a" }, "spec": { "paused": is_paused },
            }))
            .unwrap();
            if let Some(value) = annotation {
                cluster.annotations_mut().insert(STOPPED_ANNOTATION.into(), value.into());
            }
            assert_eq!(Stopped::of(&cluster).zip(Phase::of(&cluster)), found, "{annotation:?}");
        }
    }
}

//! Records in the plane that a cluster is stopped: it is paused, so that controllers do not start,
//! replace or remediate its machines, and an annotation states the reason.

use capi_api::Cluster;
use capn_api::keys::STOPPED_ANNOTATION;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::error::{CommandError, Doing as _};

/// A stopped cluster and its previous state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was not paused.
    Running,
    /// It was paused, and stays paused when it is started.
    Paused,
}

impl Stopped {
    /// Reads the record of a Cluster. A cluster that was resumed since counts as not stopped,
    /// whatever its annotation says, since controllers start its machines.
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

/// Returns the two words of the annotation: previous state and phase.
fn words(cluster: &Cluster) -> Option<(&str, &str)> {
    let text = cluster.annotations().get(STOPPED_ANNOTATION)?;
    Some(text.split_once(' ').unwrap_or((text, "")))
}

/// Phase of a cluster that is stopped, stopping or starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Some instances may still be running.
    Stopping,
    /// No instance is running.
    Stopped,
    /// Some instances may not be running yet.
    Starting,
}

impl Phase {
    /// Returns the phase of a Cluster that is stopped according to [`Stopped::of`].
    pub fn of(cluster: &Cluster) -> Option<Self> {
        Stopped::of(cluster)?;
        Some(match words(cluster)?.1 {
            "stopping" => Self::Stopping,
            "starting" => Self::Starting,
            _ => Self::Stopped,
        })
    }

    /// Returns the phase shown for the cluster and its machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Starting => "Starting",
        }
    }

    /// Returns what to do about it.
    pub fn advice(self, name: &str) -> String {
        match self {
            Self::Stopping => {
                format!(
                    "is being stopped; continue with `capn stop {name}`, or start it with `capn start {name}`"
                )
            }
            Self::Stopped => format!("is stopped; start it with `capn start {name}`"),
            Self::Starting => format!("is being started; continue with `capn start {name}`"),
        }
    }
}

/// Records the phase of a stopped cluster and pauses it.
///
/// # Errors
///
/// Returns an error if the plane does not respond or refuses.
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

/// Removes the record: controllers reconcile the cluster again, unless it was paused before.
///
/// # Errors
///
/// Returns an error if the plane does not respond or refuses.
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
    fn a_stopped_cluster_is_paused_and_recorded() {
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

//! Snapshots that `capn serve` takes by itself.

mod plan;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use capi_api::{Cluster, KubeadmControlPlane, labels};
use capn_controller::lists;
use capn_text::shown;
use futures::future::join_all;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio::time::Instant;

use super::record::Reason;
use super::take::{Keeper, Wanted, fitness};
use crate::error::{CommandError, Doing as _};
use plan::{Due, Key, Seen, due};

pub use plan::Policy;

/// The reason of Events of failures.
const FAILED: &str = "EtcdSnapshotFailed";
/// How long the snapshots of a namespace may take in one pass.
const LANE: Duration = Duration::from_secs(30 * 60);
/// What the snapshots of a namespace may take before the schedule takes no more, in bytes.
const MOST_OF_NAMESPACE: u64 = 8 << 30;
/// The reason of Events of snapshots.
const TAKEN: &str = "EtcdSnapshotTaken";

/// Takes snapshots of all clusters of a plane as the policy says. Never ends: what fails is told as an
/// Event of the cluster, and tried again.
///
/// # Cancellation
///
/// Safe: nothing is left of a snapshot that is not whole.
pub async fn keep_snapshots(keeper: Keeper, client: Client, policy: Policy) {
    let reporter = Reporter { controller: "capn".to_owned(), instance: None };
    let recorder = Recorder::new(client.clone(), reporter);
    let schedule = Schedule { keeper, client, recorder };
    let mut failed = HashMap::new();
    loop {
        let pause = schedule.pass(policy, &mut failed).await;
        tokio::time::sleep(pause).await;
    }
}

struct Schedule {
    keeper: Keeper,
    client: Client,
    recorder: Recorder,
}

impl Schedule {
    /// Looks, does what is due, and says how long there is nothing to do.
    async fn pass(&self, policy: Policy, failed: &mut HashMap<Key, Timestamp>) -> Duration {
        let (clusters, control_planes) = match self.objects().await {
            Ok(objects) => objects,
            Err(error) => {
                tracing::warn!(%error, "no snapshots of etcd are taken");
                Default::default()
            }
        };
        failed.retain(|key, _| clusters.iter().any(|cluster| key_of(cluster) == *key));
        let seen = self.see(&clusters, &control_planes, failed);
        let Due { take, remove, pause } = due(Timestamp::now(), policy, &seen);
        for ((namespace, name), file) in remove {
            let removed =
                self.keeper.folder(&namespace, &name).and_then(|folder| folder.remove(&file));
            match removed {
                Ok(()) => tracing::info!(namespace, name, file, "deleted an old snapshot of etcd"),
                Err(error) => tracing::warn!(namespace, name, %error, "an old snapshot stays"),
            }
        }
        // One after the other in a namespace, and not for ever: the next pass waits for the slowest.
        let mut lanes: BTreeMap<&str, Vec<&Cluster>> = BTreeMap::new();
        for cluster in clusters.iter().filter(|cluster| take.contains(&key_of(cluster))) {
            lanes
                .entry(cluster.metadata.namespace.as_deref().unwrap_or_default())
                .or_default()
                .push(cluster);
        }
        let work = lanes.into_values().map(|lane| async move {
            let mut failures = Vec::new();
            let end = Instant::now() + LANE;
            for cluster in lane {
                match tokio::time::timeout_at(end, self.take(cluster)).await {
                    Ok(true) => {}
                    Ok(false) => failures.push(key_of(cluster)),
                    Err(_) => {
                        failures.push(key_of(cluster));
                        let (namespace, name) = key_of(cluster);
                        tracing::warn!(
                            namespace,
                            name,
                            "the snapshots of the namespace take too long"
                        );
                        break;
                    }
                }
            }
            failures
        });
        let failures = join_all(work).await.concat();
        failed.retain(|key, _| !take.contains(key));
        failed.extend(failures.into_iter().map(|key| (key, Timestamp::now())));
        // What was taken may have one go that is more than are kept.
        if take.is_empty() { pause } else { Duration::from_secs(1) }
    }

    async fn objects(&self) -> Result<(Vec<Cluster>, ControlPlanes), CommandError> {
        let (clusters, planes) = (Api::all(self.client.clone()), Api::all(self.client.clone()));
        let (all, doing) = (ListParams::default(), "cannot list clusters");
        let clusters = lists::list(&clusters, &all).await.doing(doing)?;
        let planes = lists::list::<KubeadmControlPlane>(&planes, &all).await.doing(doing)?;
        let of = |found: KubeadmControlPlane| {
            let cluster = found.labels().get(labels::CLUSTER_NAME)?.clone();
            Some(((found.namespace().unwrap_or_default(), cluster), found))
        };
        Ok((clusters.items, planes.items.into_iter().filter_map(of).collect()))
    }

    fn see(
        &self,
        clusters: &[Cluster],
        control_planes: &ControlPlanes,
        failed: &HashMap<Key, Timestamp>,
    ) -> Vec<Seen> {
        let mut seen = Vec::new();
        for cluster in clusters {
            let key = key_of(cluster);
            let listed = self.keeper.folder(&key.0, &key.1).and_then(|folder| folder.list());
            let kept = match listed {
                Ok(kept) => kept,
                Err(error) => {
                    tracing::warn!(namespace = key.0, name = key.1, %error, "no snapshots are taken");
                    continue;
                }
            };
            let uid = cluster.uid().unwrap_or_default();
            let scheduled = kept.iter().filter(|kept| kept.is_scheduled(&uid));
            seen.push(Seen {
                created: cluster.creation_timestamp().map(|at| at.0).unwrap_or_default(),
                unfit: fitness(cluster, control_planes.get(&key)).err(),
                scheduled: scheduled.map(|kept| (kept.taken(), kept.name.clone())).collect(),
                failed: failed.get(&key).copied(),
                key,
            });
        }
        seen
    }

    /// Whether it was taken.
    async fn take(&self, cluster: &Cluster) -> bool {
        let (namespace, name) = key_of(cluster);
        let wanted = Wanted {
            namespace: &namespace,
            cluster: &name,
            reason: Reason::Schedule,
            output: None,
        };
        let taken = async {
            within(self.keeper.used(&namespace)?, &namespace)?;
            self.keeper.take(&self.client, wanted).await
        };
        let (is_taken, note) = match taken.await {
            Ok((path, record)) => {
                let file = path.file_name().unwrap_or_default();
                (true, format!("{file}, {}", super::size(record.size_bytes)))
            }
            Err(error) => (false, error.to_string()),
        };
        match is_taken {
            true => tracing::info!(namespace, name, note, "took a snapshot of etcd"),
            false => tracing::warn!(namespace, name, note, "took no snapshot of etcd"),
        }
        let (type_, reason) =
            if is_taken { (EventType::Normal, TAKEN) } else { (EventType::Warning, FAILED) };
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(shown::text(&note, shown::EVENT).into_owned()),
            action: reason.to_owned(),
            secondary: None,
        };
        // A courtesy: the log has it too.
        if let Err(error) = self.recorder.publish(&event, &cluster.object_ref(&())).await {
            tracing::debug!(%error, "cannot publish an event");
        }
        is_taken
    }
}

/// Whether a namespace may have one more: who may write Clusters in it decides how many there are and how large.
fn within(used: u64, namespace: &str) -> Result<(), CommandError> {
    if used < MOST_OF_NAMESPACE {
        return Ok(());
    }
    Err(CommandError::new(format!(
        "the snapshots of namespace `{namespace}` take {}, and the schedule takes none from {} on; delete some that are not needed",
        super::size(used),
        super::size(MOST_OF_NAMESPACE)
    )))
}

/// Control planes by cluster.
type ControlPlanes = HashMap<Key, KubeadmControlPlane>;

fn key_of(cluster: &Cluster) -> Key {
    (cluster.namespace().unwrap_or_default(), cluster.name_any())
}

#[cfg(test)]
mod tests;

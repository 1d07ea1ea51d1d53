//! Scheduled snapshots of `capn serve`.

mod lanes;
mod plan;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use capi_api::{Cluster, KubeadmControlPlane, labels};
use capn_controller::lists;
use capn_text::display;
use jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio::time::Instant;

use super::record::Reason;
use super::take::{Keeper, Wanted, fitness};
use crate::error::{CommandError, Doing as _};
use lanes::{Lanes, Tried};
use plan::{Due, Key, Seen, due};

pub use plan::Policy;

/// Event reason of a failed snapshot.
const FAILED: &str = "EtcdSnapshotFailed";
/// Time limit for the snapshots of a namespace, from its first due one.
const LANE: Duration = Duration::from_secs(30 * 60);
/// Total size of a namespace's snapshots at which the schedule stops, in bytes.
const MOST_OF_NAMESPACE: u64 = 8 << 30;
/// Pause between the end of a lane and the next pass, so that passes do not follow each other
/// immediately.
const AFTER: Duration = Duration::from_secs(1);
/// Event reason of a snapshot.
const TAKEN: &str = "EtcdSnapshotTaken";

/// Takes snapshots of all clusters in a plane according to the policy. Never returns: failures
/// become Events of the cluster and are retried.
///
/// # Cancellation
///
/// Cancel safe: incomplete snapshots are removed.
pub async fn keep_snapshots(keeper: Keeper, client: Client, policy: Policy) {
    let reporter = Reporter { controller: "capn".to_owned(), instance: None };
    let recorder = Recorder::new(client.clone(), reporter);
    let schedule = Arc::new(Schedule { keeper, client, recorder });
    let (mut failed, mut lanes) = (HashMap::new(), Lanes::default());
    loop {
        let pause = schedule.pass(policy, &mut failed, &mut lanes).await;
        let tried = tokio::select! {
            tried = lanes.ended() => tried,
            () = tokio::time::sleep(pause) => continue,
        };
        note(tried, &mut failed);
        // A new snapshot may make one more due for deletion. The other lanes go on meanwhile.
        tokio::time::sleep(AFTER).await;
    }
}

/// Records the failures, and forgets those of clusters with a new snapshot.
fn note(tried: Tried, failed: &mut HashMap<Key, Timestamp>) {
    for (key, is_taken) in tried {
        match is_taken {
            true => failed.remove(&key),
            false => failed.insert(key, Timestamp::now()),
        };
    }
}

struct Schedule {
    keeper: Keeper,
    client: Client,
    recorder: Recorder,
}

impl Schedule {
    /// Deletes snapshots, and begins to take the due ones of namespaces without a lane. Returns the
    /// time until the next pass.
    async fn pass(
        self: &Arc<Self>,
        policy: Policy,
        failed: &mut HashMap<Key, Timestamp>,
        lanes: &mut Lanes,
    ) -> Duration {
        let (clusters, control_planes) = match self.objects().await {
            Ok(objects) => objects,
            Err(error) => {
                tracing::warn!(%error, "cannot take etcd snapshots");
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
                Ok(()) => tracing::info!(namespace, name, file, "deleted an old etcd snapshot"),
                Err(error) => {
                    tracing::warn!(namespace, name, %error, "cannot delete an old snapshot");
                }
            }
        }
        let mut due: BTreeMap<String, Vec<Cluster>> = BTreeMap::new();
        for cluster in clusters {
            let key = key_of(&cluster);
            if take.contains(&key) && !lanes.is_busy(&key.0) {
                due.entry(key.0).or_default().push(cluster);
            }
        }
        for (namespace, clusters) in due {
            let schedule = Arc::clone(self);
            lanes.begin(namespace, async move { schedule.lane(clusters).await });
        }
        pause
    }

    /// Takes snapshots of clusters of one namespace, one after the other.
    async fn lane(&self, clusters: Vec<Cluster>) -> Tried {
        let (mut tried, end) = (Tried::new(), Instant::now() + LANE);
        for cluster in clusters {
            let taken = tokio::time::timeout_at(end, self.take(&cluster)).await;
            let key = key_of(&cluster);
            if taken.is_err() {
                let ((namespace, name), limit) = (&key, LANE);
                tracing::warn!(
                    namespace,
                    name,
                    ?limit,
                    "the snapshots of the namespace take too long"
                );
            }
            tried.push((key, taken.unwrap_or(false)));
            if Instant::now() >= end {
                break;
            }
        }
        tried
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
                    tracing::warn!(namespace = key.0, name = key.1, %error, "cannot take snapshots");
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

    /// Returns whether a snapshot was taken.
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
            true => tracing::info!(namespace, name, note, "took an etcd snapshot"),
            false => tracing::warn!(namespace, name, note, "cannot take an etcd snapshot"),
        }
        let (type_, reason) =
            if is_taken { (EventType::Normal, TAKEN) } else { (EventType::Warning, FAILED) };
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(display::text(&note, display::EVENT_NOTE).into_owned()),
            action: reason.to_owned(),
            secondary: None,
        };
        // Best effort: the log has it too.
        if let Err(error) = self.recorder.publish(&event, &cluster.object_ref(&())).await {
            tracing::debug!(%error, "cannot publish an event");
        }
        is_taken
    }
}

/// Returns whether a namespace may have another snapshot: its users determine how many clusters
/// exist and how large they are.
fn within(used: u64, namespace: &str) -> Result<(), CommandError> {
    if used < MOST_OF_NAMESPACE {
        return Ok(());
    }
    Err(CommandError::new(format!(
        "the snapshots of namespace `{namespace}` take {}, and the schedule stops at {}; delete unused snapshots",
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

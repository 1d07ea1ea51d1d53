//! How many objects of a kind are reconciled at once: so many for each cluster, so that one whose
//! server is slow holds up no other, and some times as many for each namespace, so that one with many
//! clusters holds up no other.

use capi_api::labels;
use capn_controller::lanes::{Lanes, Place};
use kube::api::ObjectMeta;

use crate::references::{label, name, namespace};

/// How many slow clusters it takes to hold up a namespace.
const SLOW_CLUSTERS: usize = 8;

/// The lanes of one kind.
pub(crate) struct ClusterLanes {
    clusters: Lanes<(String, String)>,
    namespaces: Lanes<String>,
}

impl ClusterLanes {
    /// Lanes that so many reconciles of a cluster go side by side in.
    pub(crate) fn new(width: u16) -> Self {
        let width = usize::from(width.max(1));
        Self { clusters: Lanes::new(width), namespaces: Lanes::new(width * SLOW_CLUSTERS) }
    }

    /// Waits for a place in the lane of the object's cluster, and then of its namespace.
    ///
    /// # Cancellation
    ///
    /// Safe: the place in the queue is given up.
    pub(crate) async fn enter(&self, object: &ObjectMeta) -> [Place; 2] {
        // What belongs to no cluster yet is its own.
        let cluster = label(object, labels::CLUSTER_NAME).unwrap_or_else(|| name(object));
        let within = namespace(object).to_owned();
        let place = self.clusters.enter((within.clone(), cluster.to_owned())).await;
        [place, self.namespaces.enter(within).await]
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn object(namespace: &str, name: &str, cluster: Option<&str>) -> ObjectMeta {
        let labels = cluster.map(|cluster| {
            [(labels::CLUSTER_NAME.to_owned(), cluster.to_owned())].into_iter().collect()
        });
        ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            labels,
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn a_full_lane_holds_up_its_own_cluster_alone() {
        let lanes = ClusterLanes::new(2);
        let enter = |name, cluster| lanes.enter(&object("default", name, cluster)).now_or_never();
        let first = enter("a-1", Some("a")).unwrap();
        let _second = enter("a-2", Some("a")).unwrap();
        assert!(enter("a-3", Some("a")).is_none());
        let _other = enter("b-1", Some("b")).unwrap();
        let _alone = enter("lonely", None).unwrap();
        drop(first);
        assert!(enter("a-3", Some("a")).is_some());
    }

    #[test]
    fn a_namespace_of_many_clusters_holds_up_no_other() {
        let lanes = ClusterLanes::new(1);
        let enter = |namespace, name: &str| {
            lanes.enter(&object(namespace, name, Some(name))).now_or_never()
        };
        let taken: Vec<_> = (0..SLOW_CLUSTERS).map(|n| enter("a", &format!("c{n}"))).collect();
        assert!(taken.iter().all(Option::is_some));
        assert!(enter("a", "one-more").is_none());
        assert!(enter("b", "one-more").is_some());
    }
}

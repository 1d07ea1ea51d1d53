//! Concurrency limits of reconciles, per kind. Per-cluster concurrency limit: a slow server delays
//! only its own clusters. Per-namespace limit, a multiple of the former: a namespace with many
//! clusters delays only itself.

use capi_api::labels;
use capn_controller::limiter::{KeyedLimiter, Slot};
use kube::api::ObjectMeta;

use crate::references::{label, name, namespace};

/// Number of slow clusters that exhaust the limit of a namespace.
const SLOW_CLUSTERS: usize = 8;

/// Limiter of one kind.
pub(crate) struct ClusterLimiter {
    clusters: KeyedLimiter<(String, String)>,
    namespaces: KeyedLimiter<String>,
}

impl ClusterLimiter {
    /// Creates a limiter with this many concurrent reconciles per cluster.
    pub(crate) fn new(width: u16) -> Self {
        let width = usize::from(width.max(1));
        Self {
            clusters: KeyedLimiter::new(width),
            namespaces: KeyedLimiter::new(width * SLOW_CLUSTERS),
        }
    }

    /// Acquires a permit for the object's cluster, and then one for its namespace.
    ///
    /// # Cancellation
    ///
    /// Safe: the position in the queue is given up.
    pub(crate) async fn enter(&self, object: &ObjectMeta) -> [Slot; 2] {
        // An object without a cluster has its own limit.
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
    fn a_full_limit_delays_only_its_own_cluster() {
        let limiter = ClusterLimiter::new(2);
        let enter = |name, cluster| limiter.enter(&object("default", name, cluster)).now_or_never();
        let first = enter("a-1", Some("a")).unwrap();
        let _second = enter("a-2", Some("a")).unwrap();
        assert!(enter("a-3", Some("a")).is_none());
        let _other = enter("b-1", Some("b")).unwrap();
        let _alone = enter("lonely", None).unwrap();
        drop(first);
        assert!(enter("a-3", Some("a")).is_some());
    }

    #[test]
    fn a_namespace_with_many_clusters_delays_no_other() {
        let limiter = ClusterLimiter::new(1);
        let enter = |namespace, name: &str| {
            limiter.enter(&object(namespace, name, Some(name))).now_or_never()
        };
        let taken: Vec<_> = (0..SLOW_CLUSTERS).map(|n| enter("a", &format!("c{n}"))).collect();
        assert!(taken.iter().all(Option::is_some));
        assert!(enter("a", "one-more").is_none());
        assert!(enter("b", "one-more").is_some());
    }
}

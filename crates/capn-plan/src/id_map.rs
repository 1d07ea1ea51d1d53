//! Size of the ID map of an isolated node.
//!
//! Pods with `hostUsers: false` have their own user namespace inside that of the node. kubelet
//! gives each of them 65536 IDs, starting at ID 65536 of the node (kubernetes:
//! pkg/kubelet/userns/userns_manager.go and pkg/kubelet/kubelet_pods.go of 1.37.2). A node
//! therefore needs 65536 IDs for itself and another 65536 for each such pod. A node with the shared
//! map has all IDs of the host's range; an isolated one has 65536 unless `security.idmap.size` sets
//! another size.

/// Instance config key for the number of IDs of an isolated instance.
pub const SIZE_KEY: &str = "security.idmap.size";
/// Number of IDs of a pod and of an isolated instance by default. A server also keeps this many IDs
/// free at the start of its range.
pub const IDS_OF_ONE: u64 = 65_536;
/// Default maximum number of pods per node in kubelet.
pub const USUAL_PODS: u32 = 110;

/// Returns the number of IDs that a node needs for this many pods with their own user namespaces.
pub fn size_for(pods: u32) -> u64 {
    IDS_OF_ONE * (u64::from(pods) + 1)
}

/// Returns how many pods with their own user namespaces fit into this many IDs of a node.
pub fn pods_of(ids: u64) -> u64 {
    (ids / IDS_OF_ONE).saturating_sub(1)
}

/// Returns the number of IDs of an isolated instance with this value of [`SIZE_KEY`].
pub fn size(value: Option<&str>) -> u64 {
    value.and_then(|value| value.parse().ok()).filter(|size| *size > 0).unwrap_or(IDS_OF_ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_ids_for_itself_and_for_each_pod() {
        for (pods, ids) in [(1, 131_072), (16, 1_114_112), (USUAL_PODS, 7_274_496)] {
            assert_eq!(size_for(pods), ids, "{pods}");
            assert_eq!(pods_of(ids), u64::from(pods), "{ids}");
            assert_eq!(pods_of(ids - 1), u64::from(pods) - 1, "{ids}");
        }
        assert_eq!((pods_of(65_536), pods_of(0)), (0, 0));
    }

    #[test]
    fn an_invalid_size_becomes_the_default() {
        for (value, expected) in
            [(None, 65_536), (Some("x"), 65_536), (Some("0"), 65_536), (Some("131072"), 131_072)]
        {
            assert_eq!(size(value), expected, "{value:?}");
        }
    }
}

//! How many ids an isolated node needs. Pure.
//!
//! Pods with `hostUsers: false` have a user namespace of their own, inside the node's. kubelet gives
//! each of them 65536 ids and starts with id 65536 of the node (kubernetes:
//! pkg/kubelet/userns/userns_manager.go and pkg/kubelet/kubelet_pods.go of 1.37.2), so that a node
//! needs 65536 ids for itself and as many for each pod. A node with the shared map has all ids of the
//! host's range; an isolated one has 65536 unless `security.idmap.size` says otherwise.

/// Key of an instance: how many ids an isolated one has.
pub const SIZE_KEY: &str = "security.idmap.size";
/// Ids of a pod, of an isolated instance by itself, and those that a server keeps free at the
/// beginning of its range.
pub const IDS_OF_ONE: u64 = 65_536;
/// kubelet's limit of pods where nothing else is said.
pub const USUAL_PODS: u32 = 110;

/// Ids of a node that has so many pods with user namespaces of their own.
pub fn size_for(pods: u32) -> u64 {
    IDS_OF_ONE * (u64::from(pods) + 1)
}

/// How many pods with user namespaces of their own a node with so many ids can have.
pub fn pods_of(ids: u64) -> u64 {
    (ids / IDS_OF_ONE).saturating_sub(1)
}

/// The ids that an isolated instance has with this value of [`SIZE_KEY`].
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
    fn what_is_no_size_is_the_usual_one() {
        for (value, expected) in
            [(None, 65_536), (Some("x"), 65_536), (Some("0"), 65_536), (Some("131072"), 131_072)]
        {
            assert_eq!(size(value), expected, "{value:?}");
        }
    }
}

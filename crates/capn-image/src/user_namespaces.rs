//! What a node has for pods with user namespaces of their own (`hostUsers: false`).

use crate::{
    containerd,
    recipe::{File, file},
};

/// Which ids of a node such pods may have.
const GETSUBIDS: &str = include_str!("../recipe/node/getsubids");
/// Before runc, where the node is in a user namespace itself.
const RUNC: &str = include_str!("../recipe/node/runc");
/// Makes the mounts of such pods ones that the kernel allows there.
const POD_MOUNTS: &str = include_str!("../recipe/node/pod-mounts");

/// The files; containerd's configuration says when they are used.
pub(crate) fn files() -> [File; 4] {
    [
        file("/usr/local/bin/getsubids", 0o755, GETSUBIDS),
        file(
            "/usr/lib/sysusers.d/capn-kubelet.conf",
            0o644,
            include_str!("../recipe/node/sysusers.conf"),
        ),
        file(containerd::RUNC, 0o755, RUNC),
        file("/usr/local/lib/capn/pod-mounts", 0o755, POD_MOUNTS),
    ]
}

#[cfg(test)]
mod tests;

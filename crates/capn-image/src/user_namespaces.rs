//! Files for pods with their own user namespaces (`hostUsers: false`).

use crate::{
    containerd,
    recipe::{File, file},
};

/// Reports the IDs that such pods may use.
const GETSUBIDS: &str = include_str!("../recipe/node/getsubids");
/// Wraps runc if the node itself is in a user namespace.
const RUNC: &str = include_str!("../recipe/node/runc");
/// Adapts the mounts of such pods to what the kernel allows there.
const POD_MOUNTS: &str = include_str!("../recipe/node/pod-mounts");

/// The files; the containerd configuration decides when they are used.
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

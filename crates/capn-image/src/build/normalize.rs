//! Reproducible containerd databases.

use camino::Utf8Path;
use tokio::fs;

use super::{BuildError, root::Root, workspace::failed};
use crate::bolt;

/// Paths of containerd's databases, relative to the root file system.
const DATABASES: [&str; 2] = [
    "var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",
    "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/metadata.db",
];

/// Rewrites containerd's databases with all timestamps set to `epoch`, in seconds since 1970.
pub(super) async fn databases(root: &Root, epoch: i64) -> Result<(), BuildError> {
    for name in DATABASES {
        database(&root.upper().join(name), epoch).await?;
    }
    Ok(())
}

async fn database(path: &Utf8Path, epoch: i64) -> Result<(), BuildError> {
    let old = match fs::read(path).await {
        Ok(old) => old,
        // An image without containerd, or a containerd without this database.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let normalized = bolt::normalize(&old, epoch)
        .map_err(|error| failed("normalize", path)(std::io::Error::other(error)))?;
    // In place, so that owner and mode stay. An interrupted build starts again.
    fs::write(path, normalized).await.map_err(failed("write", path))
}

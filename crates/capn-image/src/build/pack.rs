//! The root file system packed, and the metadata beside it.

use camino::{Utf8Path, Utf8PathBuf};
use tokio::fs;

use super::{
    BuildError, Stage,
    root::Root,
    step::{Progress, Step},
    workspace::{Workspace, failed},
};
use crate::metadata::ImageMetadata;

/// Fast to write and the fastest to unpack; what Incus 6.0 and LXD 5.0 call for it reads it.
pub(super) const COMPRESSION: &str = "-comp zstd -Xcompression-level 3";

/// The two halves of a split image and what is in it, on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PackedImage {
    pub(super) metadata: Utf8PathBuf,
    pub(super) rootfs: Utf8PathBuf,
    pub(super) manifest: Utf8PathBuf,
}

impl PackedImage {
    /// In this folder, which is complete when it has its final name.
    pub(super) fn at(folder: &Utf8Path) -> Self {
        Self {
            metadata: folder.join("metadata.tar.gz"),
            rootfs: folder.join("rootfs.squashfs"),
            manifest: folder.join("manifest.json"),
        }
    }
}

/// Packs `root`, which is spent afterwards, and keeps the result as `path`.
pub(super) async fn pack(
    workspace: &Workspace,
    root: &Root,
    metadata: &ImageMetadata,
    manifest: &str,
    path: &Utf8Path,
    progress: &mut Progress<'_>,
) -> Result<PackedImage, BuildError> {
    let folder = workspace.fresh("packed").await?;
    let packed = PackedImage::at(&folder);
    root.enter(Step::new(Stage::Pack, "pack.sh", &workspace.scripts()))
        .variable("EPOCH", metadata.creation_date)
        .variable("OUTPUT", &packed.rootfs)
        .variable("COMPRESSION", COMPRESSION)
        .run(progress)
        .await?;
    let archive = metadata.archive().map_err(failed("write", &packed.metadata))?;
    fs::write(&packed.metadata, archive).await.map_err(failed("write", &packed.metadata))?;
    fs::write(&packed.manifest, manifest).await.map_err(failed("write", &packed.manifest))?;
    for file in [&packed.metadata, &packed.rootfs, &packed.manifest] {
        let opened = fs::File::open(file).await.map_err(failed("open", file))?;
        opened.sync_all().await.map_err(failed("write", file))?;
    }
    workspace.keep(&folder, path).await?;
    Ok(PackedImage::at(path))
}

//! The packed root file system and its metadata.

use camino::{Utf8Path, Utf8PathBuf};
use tokio::fs;

use super::{
    BuildError, Stage,
    root::Root,
    step::{Progress, Step},
    workspace::{Workspace, failed},
};
use crate::metadata::ImageMetadata;

/// Fast to write and fastest to unpack; supported by Incus 6.0 and LXD 5.0.
pub(super) const COMPRESSION: &str = "-comp zstd -Xcompression-level 3";

/// The two files of a split image and its manifest, on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PackedImage {
    pub(super) metadata: Utf8PathBuf,
    pub(super) rootfs: Utf8PathBuf,
    pub(super) manifest: Utf8PathBuf,
}

impl PackedImage {
    /// In this directory, which is complete once it has its final name.
    pub(super) fn at(directory: &Utf8Path) -> Self {
        Self {
            metadata: directory.join("metadata.tar.gz"),
            rootfs: directory.join("rootfs.squashfs"),
            manifest: directory.join("manifest.json"),
        }
    }
}

/// Packs `root`, which is consumed, and stores the result at `path`.
pub(super) async fn pack(
    workspace: &Workspace,
    root: &Root,
    metadata: &ImageMetadata,
    manifest: &str,
    path: &Utf8Path,
    progress: &mut Progress<'_>,
) -> Result<PackedImage, BuildError> {
    let directory = workspace.new_directory("packed").await?;
    let packed = PackedImage::at(&directory);
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
    workspace.keep(&directory, path).await?;
    Ok(PackedImage::at(path))
}

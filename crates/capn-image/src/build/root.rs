//! A root file system in the making.

use camino::{Utf8Path, Utf8PathBuf};
use tokio::fs;

use super::{
    BuildError,
    step::Step,
    workspace::{Workspace, copy_tree, failed},
};
use crate::tree::Tree;

/// A root file system in the making, over finished layers that it does not change.
///
/// Where the cache's file system allows it, it is an overlay, mounted by each step for itself:
/// copying and deleting ten thousand files for each image can keep a busy disk for half a minute.
/// Elsewhere the layers are copied.
pub(super) struct Root {
    folder: Utf8PathBuf,
    lowers: Vec<Utf8PathBuf>,
}

impl Root {
    /// An empty one over `lowers`, the uppermost first, in a fresh folder `name`.
    pub(super) async fn over(
        workspace: &Workspace,
        name: &str,
        lowers: Vec<Utf8PathBuf>,
    ) -> Result<Self, BuildError> {
        let folder = workspace.fresh(name).await?;
        if workspace.has_overlay() || lowers.is_empty() {
            let root = Self { folder, lowers };
            for made in [root.upper(), root.target(), root.kernel_work()] {
                fs::create_dir_all(&made).await.map_err(failed("make", &made))?;
            }
            return Ok(root);
        }
        // Without overlays each layer is whole, and the uppermost is all there is.
        if let Some(lower) = lowers.first() {
            copy_tree(lower, &folder.join("rootfs")).await?;
        }
        Ok(Self { folder, lowers: Vec::new() })
    }

    /// The folder with everything of it; what is to be kept beside the files goes here.
    pub(super) fn folder(&self) -> &Utf8Path {
        &self.folder
    }

    /// The files that are new: all of them where nothing is below.
    pub(super) fn upper(&self) -> Utf8PathBuf {
        self.folder.join("rootfs")
    }

    fn target(&self) -> Utf8PathBuf {
        match self.lowers.is_empty() {
            true => self.upper(),
            false => self.folder.join("target"),
        }
    }

    fn kernel_work(&self) -> Utf8PathBuf {
        self.folder.join("overlay")
    }

    /// All its files.
    pub(super) fn tree(&self) -> Tree {
        Tree::new([self.upper()].into_iter().chain(self.lowers.iter().cloned()).collect())
    }

    /// Tells a step where it is.
    pub(super) fn enter<'a>(&self, step: Step<'a>) -> Step<'a> {
        let lowers: Vec<&str> = self.lowers.iter().map(|path| path.as_str()).collect();
        step.variable("TARGET", self.target())
            .variable("UPPER", self.upper())
            .variable("WORK", self.kernel_work())
            .variable("LOWER", lowers.join(":"))
    }

    /// Keeps it as a layer: `path/rootfs`, and what else is in its folder.
    pub(super) async fn keep(
        self,
        workspace: &Workspace,
        path: &Utf8Path,
    ) -> Result<(), BuildError> {
        if !self.lowers.is_empty() {
            super::workspace::remove(&self.target()).await?;
        }
        super::workspace::remove(&self.kernel_work()).await?;
        workspace.keep(&self.folder, path).await
    }
}

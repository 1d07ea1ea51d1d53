//! A root file system that is being built.

use camino::{Utf8Path, Utf8PathBuf};
use tokio::fs;

use super::{
    BuildError,
    step::Step,
    workspace::{Workspace, copy_tree, failed},
};
use crate::tree::Tree;

/// A root file system that is being built, on top of finished layers that it does not change.
///
/// If the file system of the cache supports it, it is an overlay that each step mounts for itself:
/// copying and deleting ten thousand files per image can keep a slow disk busy for half a minute.
/// Otherwise the layers are copied.
pub(super) struct Root {
    directory: Utf8PathBuf,
    lowers: Vec<Utf8PathBuf>,
}

impl Root {
    /// Creates an empty one on `lowers`, uppermost first, in a new directory `name`.
    pub(super) async fn over(
        workspace: &Workspace,
        name: &str,
        lowers: Vec<Utf8PathBuf>,
    ) -> Result<Self, BuildError> {
        let directory = workspace.new_directory(name).await?;
        if workspace.has_overlay() || lowers.is_empty() {
            let root = Self { directory, lowers };
            for made in [root.upper(), root.target(), root.kernel_work()] {
                fs::create_dir_all(&made).await.map_err(failed("make", &made))?;
            }
            return Ok(root);
        }
        // Without overlays, each layer is complete, and only the uppermost is used.
        if let Some(lower) = lowers.first() {
            copy_tree(lower, &directory.join("rootfs")).await?;
        }
        Ok(Self { directory, lowers: Vec::new() })
    }

    /// Returns its directory; data to be stored next to the files goes here.
    pub(super) fn directory(&self) -> &Utf8Path {
        &self.directory
    }

    /// Returns the new files; all files if there are no lower layers.
    pub(super) fn upper(&self) -> Utf8PathBuf {
        self.directory.join("rootfs")
    }

    fn target(&self) -> Utf8PathBuf {
        match self.lowers.is_empty() {
            true => self.upper(),
            false => self.directory.join("target"),
        }
    }

    fn kernel_work(&self) -> Utf8PathBuf {
        self.directory.join("overlay")
    }

    /// Returns all its files.
    pub(super) fn tree(&self) -> Tree {
        Tree::new([self.upper()].into_iter().chain(self.lowers.iter().cloned()).collect())
    }

    /// Sets the variables of a step.
    pub(super) fn enter<'a>(&self, step: Step<'a>) -> Step<'a> {
        let lowers: Vec<&str> = self.lowers.iter().map(|path| path.as_str()).collect();
        step.variable("TARGET", self.target())
            .variable("UPPER", self.upper())
            .variable("WORK", self.kernel_work())
            .variable("LOWER", lowers.join(":"))
    }

    /// Stores it as a layer: `path/rootfs`, and the other content of its directory.
    pub(super) async fn keep(
        self,
        workspace: &Workspace,
        path: &Utf8Path,
    ) -> Result<(), BuildError> {
        if !self.lowers.is_empty() {
            super::workspace::remove(&self.target()).await?;
        }
        super::workspace::remove(&self.kernel_work()).await?;
        workspace.keep(&self.directory, path).await
    }
}

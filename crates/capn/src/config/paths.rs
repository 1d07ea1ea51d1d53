//! Local files that a configuration file refers to.

use camino::{Utf8Path, Utf8PathBuf};

use super::ConfigFile;
use crate::error::{CommandError, Doing as _};
use crate::manifest::settings::NodeFile;

impl ConfigFile {
    /// Resolves relative paths against a directory. Afterwards all paths are absolute.
    pub(super) fn rooted(&mut self, dir: &Utf8Path) {
        let paths = [
            &mut self.bootstrap_data,
            &mut self.images.kubernetes_binaries,
            &mut self.images.runtime_binaries,
        ];
        let registries = self.settings.registries.iter_mut();
        let files = self.settings.files.iter_mut();
        let others = registries
            .map(|registry| &mut registry.credentials_file)
            .chain(files.map(|file| &mut file.source));
        for path in paths.into_iter().chain(others).flatten() {
            *path = absolute(dir.join(&*path));
        }
    }

    /// Reads local files that become files of nodes.
    ///
    /// # Errors
    ///
    /// Returns an error if one cannot be read or is not text.
    pub(super) fn with_sources(&mut self, limit: u64) -> Result<(), CommandError> {
        for NodeFile { path, content, source, .. } in &mut self.settings.files {
            let Some(from) = source.take() else { continue };
            let doing = || format!("cannot read {from} for the node file {path}");
            let text = crate::text_file::read_regular(&from, limit).doing(doing())?;
            *content = Some(text);
        }
        Ok(())
    }
}

/// Returns the absolute path, if it can be determined.
pub(super) fn absolute(path: Utf8PathBuf) -> Utf8PathBuf {
    camino::absolute_utf8(&path).unwrap_or(path)
}

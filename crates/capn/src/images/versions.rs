//! Kubernetes version of a new cluster, and the directories of node binaries.

use camino::{Utf8Path, Utf8PathBuf};
use capn_image::binaries::{
    BinariesError, KubernetesDirectory, Programs, RuntimeDirectory, find_directory,
};
use capn_image::build::Base;

use super::official;
use crate::Context;
use crate::error::CommandError;
use crate::ui::Ui;

/// Default version of a new cluster.
pub const NEWEST_KNOWN: &str = capn_plan::versions::NEWEST_TAG;

/// Returns the directory of Kubernetes binaries, if there is one: from the option, the environment
/// variable, or the default path.
///
/// # Errors
///
/// Returns an error if a given directory does not exist, or if a directory is incomplete or mixes
/// versions.
pub async fn binaries(
    context: &Context,
    flag: Option<&Utf8Path>,
) -> Result<Option<KubernetesDirectory>, CommandError> {
    let refused = |error| refused("cannot use the Kubernetes binaries", error);
    match dir(context, Programs::Kubernetes, flag).map_err(refused)? {
        None => Ok(None),
        Some(path) => KubernetesDirectory::open(path).await.map(Some).map_err(refused),
    }
}

/// Returns the directory of the container runtime, if there is one: from the option, the
/// environment variable, or the default path.
///
/// # Errors
///
/// Returns an error if a given directory does not exist, or if a directory is incomplete or has
/// outdated versions.
pub async fn runtime(
    context: &Context,
    flag: Option<&Utf8Path>,
) -> Result<Option<RuntimeDirectory>, CommandError> {
    let refused = |error| refused("cannot use the container runtime", error);
    match dir(context, Programs::Runtime, flag).map_err(refused)? {
        None => Ok(None),
        Some(path) => RuntimeDirectory::open(path).await.map(Some).map_err(refused),
    }
}

/// Returns the container runtime of a node image: from the directory, from the distribution if its
/// version is recent, or from the official downloads. Falls back to the distribution's version,
/// which the build reports.
pub async fn runtime_for(
    ui: &Ui,
    dir: Option<&RuntimeDirectory>,
    base: Option<Base>,
) -> Option<RuntimeDirectory> {
    if dir.is_some() {
        return dir.cloned();
    }
    if base.unwrap_or_else(Base::of_this_machine).has_current_runtime() {
        return None;
    }
    official::download_runtime(ui).await
}

fn dir(
    context: &Context,
    programs: Programs,
    flag: Option<&Utf8Path>,
) -> Result<Option<Utf8PathBuf>, BinariesError> {
    let variable = context.environment.dir_of(programs);
    find_directory(programs, flag, variable, programs.default_directory())
}

fn refused(what: &'static str, error: BinariesError) -> CommandError {
    let hint = error.hint();
    CommandError::caused(what, error).hints(hint)
}

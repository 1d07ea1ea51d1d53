//! Which Kubernetes version a new cluster gets, and where the programs of its nodes are.

use camino::{Utf8Path, Utf8PathBuf};
use capn_image::binaries::{BinariesError, KubernetesFolder, Programs, RuntimeFolder, find_folder};
use capn_image::build::Base;

use super::official;
use crate::Context;
use crate::error::CommandError;
use crate::ui::Ui;

/// The version of a new cluster when nothing else says which.
pub const NEWEST_KNOWN: &str = capn_plan::versions::NEWEST_TAG;

/// The folder of node binaries, if there is one: the flag's, the variable's, the machine's.
///
/// # Errors
///
/// When a named folder is not there, or any folder lacks files or mixes versions.
pub async fn binaries(
    context: &Context,
    flag: Option<&Utf8Path>,
) -> Result<Option<KubernetesFolder>, CommandError> {
    let refused = |error| refused("cannot use the Kubernetes binaries", error);
    match folder(context, Programs::Kubernetes, flag).map_err(refused)? {
        None => Ok(None),
        Some(path) => KubernetesFolder::open(path).await.map(Some).map_err(refused),
    }
}

/// The folder of the container runtime, if there is one: the flag's, the variable's, the machine's.
///
/// # Errors
///
/// When a named folder is not there, or any folder lacks files or holds versions that are too old.
pub async fn runtime(
    context: &Context,
    flag: Option<&Utf8Path>,
) -> Result<Option<RuntimeFolder>, CommandError> {
    let refused = |error| refused("cannot use the container runtime", error);
    match folder(context, Programs::Runtime, flag).map_err(refused)? {
        None => Ok(None),
        Some(path) => RuntimeFolder::open(path).await.map(Some).map_err(refused),
    }
}

/// The container runtime of a node image: the folder's, else the distribution's where that is
/// current, else that of the official downloads. Where these cannot be had it is the distribution's
/// all the same, and the build says so.
pub async fn runtime_for(
    ui: &Ui,
    folder: Option<&RuntimeFolder>,
    base: Option<Base>,
) -> Option<RuntimeFolder> {
    if folder.is_some() {
        return folder.cloned();
    }
    if base.unwrap_or_else(Base::of_this_machine).has_current_runtime() {
        return None;
    }
    official::download_runtime(ui).await
}

fn folder(
    context: &Context,
    programs: Programs,
    flag: Option<&Utf8Path>,
) -> Result<Option<Utf8PathBuf>, BinariesError> {
    let variable = context.environment.folder_of(programs);
    find_folder(programs, flag, variable, programs.default_folder())
}

fn refused(what: &'static str, error: BinariesError) -> CommandError {
    let hint = error.hint();
    CommandError::caused(what, error).hints(hint)
}

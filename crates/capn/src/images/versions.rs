//! Which Kubernetes version a new cluster gets, and where its binaries are.

use camino::Utf8Path;
use capn_image::binaries::{DEFAULT_FOLDER, KubernetesFolder, find_folder};

use crate::Context;
use crate::error::CommandError;

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
    let refused = |error: capn_image::binaries::BinariesError| {
        let hint = error.hint();
        CommandError::caused("cannot use the Kubernetes binaries", error).hints(hint)
    };
    let variable = context.environment.kubernetes_binaries();
    let found = find_folder(flag, variable, Utf8Path::new(DEFAULT_FOLDER)).map_err(refused)?;
    match found {
        None => Ok(None),
        Some(path) => KubernetesFolder::open(path).await.map(Some).map_err(refused),
    }
}

//! The official downloads: the last resort for Kubernetes binaries.

use camino::Utf8Path;
use capn_image::binaries::{KubernetesFolder, Sources, download as fetch};

use super::cache_dir;
use crate::error::CommandError;
use crate::ui::Ui;

/// Downloads the binaries of a version, with their checksums verified. A folder that was
/// downloaded before is used again.
pub(super) async fn download(ui: &Ui, version: &str) -> Result<KubernetesFolder, CommandError> {
    let parent = cache_dir().join("kubernetes");
    let step = ui.step(format!("Kubernetes {version} from the official downloads"));
    match fetch(version, Utf8Path::new(&parent), &Sources::default(), &mut |file| step.detail(file))
        .await
    {
        Ok(folder) => {
            step.done(format!(
                "Kubernetes {version} from the official downloads, checksums verified"
            ));
            Ok(folder)
        }
        Err(error) => {
            drop(step);
            let hint = error.hint();
            Err(CommandError::caused(
                format!("cannot get Kubernetes {version} from the official downloads"),
                error,
            )
            .hints(hint))
        }
    }
}

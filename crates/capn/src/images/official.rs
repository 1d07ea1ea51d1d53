//! The official downloads: the last resort for the programs of a node.

use camino::Utf8Path;
use capn_image::binaries::{
    Downloaded, KubernetesFolder, RuntimeFolder, Sources, download as fetch,
    download_runtime as fetch_runtime,
};
use capn_image::build::Architecture;

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
        Ok(Downloaded { folder, unknown }) => {
            step.done(format!(
                "Kubernetes {version} from the official downloads, checksums verified"
            ));
            if !unknown.is_empty() {
                ui.note(format!(
                    "capn has no digests of its own for {}: the files are what the place that they come from says they are",
                    unknown.join(", ")
                ));
            }
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

/// Downloads the container runtime, its checksums verified; `None` where that is not possible.
/// What was downloaded before is used again.
pub(super) async fn download_runtime(ui: &Ui) -> Option<RuntimeFolder> {
    let parent = cache_dir().join("runtime");
    let step = ui.step("containerd and runc from the official downloads");
    let architecture = Architecture::of_this_machine().ok()?;
    let mut fetched = false;
    let found = fetch_runtime(architecture, &parent, &mut |file| {
        fetched = true;
        step.detail(file);
    })
    .await;
    match found {
        Ok(folder) => {
            if fetched {
                step.done(format!(
                    "containerd {} and runc {} from the official downloads, checksums verified",
                    folder.containerd_version(),
                    folder.runc_version()
                ));
            }
            Some(folder)
        }
        Err(error) => {
            tracing::info!(
                error = &error as &dyn std::error::Error,
                "the container runtime is the distribution's"
            );
            None
        }
    }
}

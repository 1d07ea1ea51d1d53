//! Official downloads, the last source of node binaries.

use camino::Utf8Path;
use capn_image::binaries::{
    Downloaded, KubernetesDirectory, RuntimeDirectory, Sources, download as fetch,
    download_runtime as fetch_runtime,
};
use capn_image::build::Architecture;

use super::cache_dir;
use crate::error::CommandError;
use crate::ui::Ui;

/// Downloads the binaries of a version and verifies their checksums. Uses an earlier download if it
/// exists.
pub(super) async fn download(ui: &Ui, version: &str) -> Result<KubernetesDirectory, CommandError> {
    let parent = cache_dir().join("kubernetes");
    let step = ui.step(format!("Kubernetes {version} from the official downloads"));
    match fetch(version, Utf8Path::new(&parent), &Sources::default(), &mut |file| step.detail(file))
        .await
    {
        Ok(Downloaded { directory: dir, unknown }) => {
            step.done(format!(
                "Kubernetes {version} from the official downloads, checksums verified"
            ));
            if !unknown.is_empty() {
                ui.note(format!(
                    "capn has no built-in checksums for {}: the files were only verified against the checksums from the download server",
                    unknown.join(", ")
                ));
            }
            Ok(dir)
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

/// Downloads the container runtime and verifies its checksums. Returns `None` if that fails. Uses
/// an earlier download if it exists.
pub(super) async fn download_runtime(ui: &Ui) -> Option<RuntimeDirectory> {
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
        Ok(dir) => {
            if fetched {
                step.done(format!(
                    "containerd {} and runc {} from the official downloads, checksums verified",
                    dir.containerd_version(),
                    dir.runc_version()
                ));
            }
            Some(dir)
        }
        Err(error) => {
            tracing::info!(
                error = &error as &dyn std::error::Error,
                "using the distribution's container runtime"
            );
            None
        }
    }
}

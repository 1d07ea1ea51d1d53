//! Manifest of an image, written during the build.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    BuildError, RuntimeVersions,
    content::Added,
    plan::Plan,
    root::Root,
    workspace::{failed, write_files},
};
use crate::{
    packages::{self, Package},
    recipe::File,
};

/// Path of the manifest in the image.
const PATH_IN_IMAGE: &str = "/usr/share/capn/manifest.json";

/// The document. Fields and lists have a fixed order, so that the same content gives the same text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    /// Version of this format.
    schema_version: u8,
    kind: &'a str,
    /// Value of the property `capn.recipe`.
    recipe: &'a str,
    architecture: &'a str,
    base: BaseSystem<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes: Option<Kubernetes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<&'a RuntimeVersions>,
    /// Version number of the containerd configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    containerd_config_version: Option<u8>,
    packages: Vec<Package>,
    /// Programs that do not belong to a package.
    binaries: Vec<Binary<'a>>,
    container_images: Vec<ContainerImage<'a>>,
    /// Files of the recipe.
    files: Vec<ListedFile<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BaseSystem<'a> {
    os: &'a str,
    release: &'a str,
    version: &'a str,
    mirror: &'a str,
    security_mirror: &'a str,
    /// Date of the newest package list.
    package_lists: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kubernetes<'a> {
    version: &'a str,
    etcd: &'a str,
    coredns: bool,
}

#[derive(Serialize)]
struct Binary<'a> {
    name: &'a str,
    sha256: &'a str,
}

#[derive(Serialize)]
struct ContainerImage<'a> {
    references: &'a [String],
    digest: &'a str,
}

#[derive(Serialize)]
struct ListedFile<'a> {
    path: &'a str,
    mode: String,
    sha256: String,
}

impl<'a> ListedFile<'a> {
    fn new(file: &'a File) -> Self {
        Self { path: file.path, mode: format!("{:04o}", file.mode), sha256: digest(&file.text) }
    }
}

/// Returns the SHA-256 of a text, in hex.
pub(super) fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Returns the manifest of `root`, whose newest package list is from `epoch`.
pub(super) fn write(
    plan: &Plan,
    root: &Root,
    added: &Added,
    epoch: i64,
) -> Result<String, BuildError> {
    let unreadable = failed("read the packages in", root.directory());
    let inputs = &plan.inputs;
    let mut files: Vec<_> =
        inputs.role.files.iter().chain(&added.files).map(ListedFile::new).collect();
    files.sort_by_key(|file| file.path);
    let manifest = Manifest {
        schema_version: 1,
        kind: plan.kind(),
        recipe: &plan.recipe,
        architecture: inputs.architecture.as_str(),
        base: BaseSystem {
            os: inputs.base.os(),
            release: inputs.base.suite(),
            version: inputs.base.version(),
            mirror: &inputs.mirrors.main,
            security_mirror: &inputs.mirrors.security,
            package_lists: jiff::Timestamp::from_second(epoch)
                .map_or_else(|_| epoch.to_string(), |time| time.to_string()),
        },
        kubernetes: plan.content.kubernetes().map(|found| Kubernetes {
            version: found.directory.version(),
            etcd: found.directory.etcd_version(),
            coredns: found.has_coredns(),
        }),
        runtime: added.runtime.as_ref(),
        containerd_config_version: added.config_format.map(|format| format.number()),
        packages: packages::installed(&root.tree()).map_err(unreadable)?,
        binaries: plan.digests.iter().map(|(name, sha256)| Binary { name, sha256 }).collect(),
        container_images: added
            .images
            .iter()
            .map(|image| ContainerImage { references: &image.references, digest: &image.digest })
            .collect(),
        files,
    };
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|error| unreadable(std::io::Error::other(error)))?;
    Ok(text + "\n")
}

/// Returns the container runtime in a manifest.
pub(super) fn runtime(manifest: &str) -> Option<RuntimeVersions> {
    #[derive(Deserialize)]
    struct Part {
        runtime: Option<RuntimeVersions>,
    }
    serde_json::from_str::<Part>(manifest).ok()?.runtime
}

/// Writes the manifest into the image.
pub(super) async fn place(root: &Root, text: &str) -> Result<(), BuildError> {
    let file = File { path: PATH_IN_IMAGE, mode: 0o644, text: text.to_owned() };
    write_files(&root.upper(), &[file]).await
}

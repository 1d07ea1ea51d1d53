//! Content of an image on top of the layer of its role: container images and, for a kubeadm image,
//! the Kubernetes binaries.

use std::os::unix::fs::PermissionsExt;

use camino::Utf8Path;
use capn_oci::{ContainerImage, Readers};
use tokio::{fs, task::spawn_blocking};

use super::{
    Architecture, BuildError, Event, RuntimeVersions, Stage,
    loading::Loading,
    plan::Plan,
    root::Root,
    step::{Progress, Step},
    workspace::{Workspace, failed, make_parent, write_files},
};
use crate::{
    binaries::{KubernetesDirectory, OLDEST_CONTAINERD, OLDEST_RUNC, Programs, is_at_least},
    containerd::{self, ConfigFormat},
    containers::{self, EtcdNames, ImageNames},
    packages,
    recipe::{self, DEFAULT_PAUSE_IMAGE, File, MASKED_UNITS, Role},
};

/// Binaries that run directly on the node.
const NODE_BINARIES: [&str; 3] = ["kubeadm", "kubelet", "kubectl"];

/// Inputs of a kubeadm image, besides its layer.
#[derive(Debug, Clone)]
pub(super) struct Kubernetes {
    pub(super) directory: KubernetesDirectory,
    pub(super) names: ImageNames,
    pub(super) etcd: EtcdNames,
}

impl Kubernetes {
    /// Reads the image names from the directory's kubeadm.
    pub(super) async fn read(directory: &KubernetesDirectory) -> Result<Self, BuildError> {
        let names = directory.image_names().await?;
        let etcd = EtcdNames::new(names.of("etcd"), directory.etcd_version());
        Ok(Self { directory: directory.clone(), names, etcd })
    }

    pub(super) fn has_coredns(&self) -> bool {
        self.directory.optional("coredns").is_some()
    }
}

/// Content on top of the layer.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Kubeadm(Kubernetes),
    Node,
    Haproxy,
}

impl Content {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Kubeadm(_) => "kubeadm",
            Self::Node => "node",
            Self::Haproxy => "haproxy",
        }
    }

    /// Inputs of a kubeadm image, if it is one.
    pub(super) fn kubernetes(&self) -> Option<&Kubernetes> {
        match self {
            Self::Kubeadm(kubernetes) => Some(kubernetes),
            Self::Node | Self::Haproxy => None,
        }
    }

    /// Returns the sandbox image of a node.
    pub(super) fn pause_image(&self) -> &str {
        match self {
            Self::Kubeadm(kubernetes) => kubernetes.names.of("pause"),
            Self::Node | Self::Haproxy => DEFAULT_PAUSE_IMAGE,
        }
    }
}

/// Copies the files of the role to `root` and enables its units.
pub(super) async fn configure(
    workspace: &Workspace,
    role: &Role,
    root: &Root,
    progress: &mut Progress<'_>,
) -> Result<(), BuildError> {
    write_files(&root.upper(), &role.files).await?;
    root.enter(Step::new(Stage::Configuration, "configure.sh", &workspace.scripts()))
        .variable("DEBS", workspace.debs())
        .variable("ROLE", role.name)
        .variable("UNITS", role.units.join(" "))
        .variable("MASKED", MASKED_UNITS.join(" "))
        .run(progress)
        .await
}

/// The added content, for the manifest.
#[derive(Debug, Default)]
pub(super) struct Added {
    /// Additional files of the recipe, besides those of the role.
    pub(super) files: Vec<File>,
    /// Container images that were imported into containerd.
    pub(super) images: Vec<AddedImage>,
    /// Format of the containerd configuration, for a node.
    pub(super) config_format: Option<ConfigFormat>,
    /// The container runtime, for a node.
    pub(super) runtime: Option<RuntimeVersions>,
}

/// An imported container image.
#[derive(Debug)]
pub(super) struct AddedImage {
    /// All its names.
    pub(super) references: Vec<String>,
    /// `sha256:…` of its manifest.
    pub(super) digest: String,
}

/// Adds the content to `root`.
pub(super) async fn add(
    workspace: &Workspace,
    plan: &Plan,
    root: &Root,
    progress: &mut Progress<'_>,
) -> Result<Added, BuildError> {
    let content = &plan.content;
    let kubernetes = match content {
        Content::Haproxy => return Ok(Added::default()),
        Content::Node => None,
        Content::Kubeadm(kubernetes) => Some(kubernetes),
    };
    let pause = content.pause_image();
    let runtime = runtime(plan, root, progress).await?;
    let format = ConfigFormat::of(&runtime.containerd);
    let mut files = containerd::files(format, pause);
    let pause_binary = kubernetes.and_then(|found| found.directory.optional("pause"));
    let mut images = vec![containers::pause_image(pause, pause_binary, &root.tree())];
    if let Some(kubernetes) = kubernetes {
        install(kubernetes.directory.path(), &NODE_BINARIES, root).await?;
        files.extend(recipe::kubernetes_files());
        enable_kubelet(root).await?;
        images.extend(
            containers::kubernetes_images(
                &kubernetes.directory,
                &kubernetes.names,
                &kubernetes.etcd,
                &root.tree(),
            )
            .map_err(failed("read the kube-proxy binaries in", root.directory()))?,
        );
    }
    write_files(&root.upper(), &files).await?;
    let directory = kubernetes.map(|found| found.directory.path());
    let stage = if kubernetes.is_some() { Stage::Kubernetes } else { Stage::Images };
    Loading { workspace, stage, root, directory }.complete(&mut images, progress).await?;
    let images = import(workspace, stage, images, plan.inputs.architecture, root, progress).await?;
    Ok(Added { files, images, config_format: Some(format), runtime: Some(runtime) })
}

/// Installs the container runtime from the directory of the plan, or checks that of the
/// distribution.
async fn runtime(
    plan: &Plan,
    root: &Root,
    progress: &mut Progress<'_>,
) -> Result<RuntimeVersions, BuildError> {
    if let Some(directory) = &plan.runtime {
        install(directory.path(), &directory.programs(), root).await?;
        return Ok(RuntimeVersions {
            containerd: directory.containerd_version().to_owned(),
            runc: directory.runc_version().to_owned(),
            source: "folder".to_owned(),
        });
    }
    let unreadable = failed("read the packages in", root.directory());
    let installed = packages::installed(&root.tree()).map_err(unreadable)?;
    let version = |name: &str| {
        let found = packages::version_of(&installed, name).map(str::to_owned);
        found.ok_or_else(|| unreadable(std::io::Error::other(format!("{name} is not installed"))))
    };
    let versions = RuntimeVersions {
        containerd: version("containerd")?,
        runc: version("runc")?,
        source: "distribution".to_owned(),
    };
    if let Some(text) = old_runtime(&plan.inputs.base.describe(), &versions) {
        progress(Event::Notice { text });
    }
    Ok(versions)
}

/// Notice about a runtime of the distribution that is no longer maintained upstream.
fn old_runtime(base: &str, versions: &RuntimeVersions) -> Option<String> {
    let RuntimeVersions { containerd, runc, .. } = versions;
    let kept = is_at_least(containerd, OLDEST_CONTAINERD) && is_at_least(runc, OLDEST_RUNC);
    let ([major, minor], [runc_major, runc_minor]) = (OLDEST_CONTAINERD, OLDEST_RUNC);
    (!kept).then(|| {
        format!(
            "the image contains containerd {containerd} and runc {runc} of {base}, which are no longer \
             maintained upstream: put containerd {major}.{minor} and runc {runc_major}.{runc_minor} \
             or newer into a directory ({}), and use it with {} DIR",
            Programs::Runtime.required().join(" "),
            Programs::Runtime.flag()
        )
    })
}

/// Copies programs into the node.
async fn install(directory: &Utf8Path, names: &[&str], root: &Root) -> Result<(), BuildError> {
    for name in names {
        let target = root.upper().join("usr/bin").join(name);
        make_parent(&target).await?;
        fs::copy(directory.join(name), &target).await.map_err(failed("write", &target))?;
        let mode = std::fs::Permissions::from_mode(0o755);
        fs::set_permissions(&target, mode).await.map_err(failed("set the mode of", &target))?;
    }
    Ok(())
}

/// Returns the equivalent of `systemctl enable kubelet`; kubeadm warns without it.
async fn enable_kubelet(root: &Root) -> Result<(), BuildError> {
    let link = root.upper().join("etc/systemd/system/multi-user.target.wants/kubelet.service");
    make_parent(&link).await?;
    fs::symlink("/usr/lib/systemd/system/kubelet.service", &link)
        .await
        .map_err(failed("write", &link))
}

/// Imports container images into the containerd of `root`.
async fn import(
    workspace: &Workspace,
    stage: Stage,
    images: Vec<ContainerImage>,
    architecture: Architecture,
    root: &Root,
    progress: &mut Progress<'_>,
) -> Result<Vec<AddedImage>, BuildError> {
    let archive = workspace.new_directory("images").await?.join("images.tar");
    let path = archive.clone();
    let written = spawn_blocking(move || {
        let file = std::fs::File::create(&path)?;
        let output = std::io::BufWriter::new(file);
        let digests =
            capn_oci::write_archive(&images, architecture.as_str(), Readers::Oci, output)?;
        let added = images.into_iter().zip(digests);
        Ok(added
            .map(|(image, digest)| AddedImage { references: image.references, digest })
            .collect::<Vec<_>>())
    });
    let added = written
        .await
        .map_err(|join| failed("write", &archive)(std::io::Error::other(join)))?
        .map_err(failed("write", &archive))?;
    root.enter(Step::new(stage, "images.sh", &workspace.scripts()))
        .variable("STORE", workspace.new_directory("store").await?)
        .variable("DEBS", workspace.debs())
        .variable("ARCHIVE", &archive)
        .run(progress)
        .await?;
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unmaintained_distribution_runtime_is_reported() {
        for (containerd, runc, says) in [
            ("1.7.24~ds1-6+deb13u1", "1.1.15+ds1-2+b4", true),
            ("2.2.1-0ubuntu1~24.04.4", "1.3.4-0ubuntu1", false),
            ("2.2.1-0ubuntu1~24.04.4", "1.1.12-0ubuntu3", true),
        ] {
            let versions = RuntimeVersions {
                containerd: containerd.to_owned(),
                runc: runc.to_owned(),
                source: "distribution".to_owned(),
            };
            let text = old_runtime("Debian 13", &versions);
            assert_eq!(text.is_some(), says, "{versions:?}");
            let text = text.unwrap_or_default();
            assert!(!says || text.contains("--runtime-binaries DIR"), "{text}");
        }
    }
}

//! What one image has on top of its role's layer: container images and, for a kubeadm image, the
//! Kubernetes binaries.

use std::os::unix::fs::PermissionsExt;

use capn_oci::{ContainerImage, Readers};
use tokio::{fs, task::spawn_blocking};

use super::{
    Architecture, BuildError, Stage,
    loading::Loading,
    root::Root,
    step::{Progress, Step},
    workspace::{Workspace, failed, make_parent, write_files},
};
use crate::{
    binaries::KubernetesFolder,
    containerd::{self, ConfigFormat},
    containers::{self, EtcdNames, ImageNames},
    packages,
    recipe::{self, DEFAULT_PAUSE_IMAGE, File, MASKED_UNITS, Role},
};

/// Binaries that run in the node itself.
const NODE_BINARIES: [&str; 3] = ["kubeadm", "kubelet", "kubectl"];

/// What a kubeadm image is made from, besides its layer.
#[derive(Debug, Clone)]
pub(super) struct Kubernetes {
    pub(super) folder: KubernetesFolder,
    pub(super) names: ImageNames,
    pub(super) etcd: EtcdNames,
}

impl Kubernetes {
    /// Asks the folder's kubeadm for its image names.
    pub(super) async fn read(folder: &KubernetesFolder) -> Result<Self, BuildError> {
        let names = folder.image_names().await?;
        let etcd = EtcdNames::new(names.of("etcd"), folder.etcd_version());
        Ok(Self { folder: folder.clone(), names, etcd })
    }

    pub(super) fn has_coredns(&self) -> bool {
        self.folder.optional("coredns").is_some()
    }
}

/// What goes on top of the layer.
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

    /// What a kubeadm image is made from.
    pub(super) fn kubernetes(&self) -> Option<&Kubernetes> {
        match self {
            Self::Kubeadm(kubernetes) => Some(kubernetes),
            Self::Node | Self::Haproxy => None,
        }
    }

    /// The sandbox image of a node.
    pub(super) fn pause_image(&self) -> &str {
        match self {
            Self::Kubeadm(kubernetes) => kubernetes.names.of("pause"),
            Self::Node | Self::Haproxy => DEFAULT_PAUSE_IMAGE,
        }
    }
}

/// Lays the files of the role over `root` and enables its units.
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

/// What the content came to, for the manifest.
#[derive(Debug, Default)]
pub(super) struct Added {
    /// Files of the recipe besides those of the role.
    pub(super) files: Vec<File>,
    /// Container images that containerd has.
    pub(super) images: Vec<AddedImage>,
    /// The form of containerd's configuration, in a node.
    pub(super) config_format: Option<ConfigFormat>,
}

/// A container image that was imported.
#[derive(Debug)]
pub(super) struct AddedImage {
    /// All its names.
    pub(super) references: Vec<String>,
    /// `sha256:…` of its manifest.
    pub(super) digest: String,
}

/// Puts the content into `root`.
pub(super) async fn add(
    workspace: &Workspace,
    content: &Content,
    architecture: Architecture,
    root: &Root,
    progress: &mut Progress<'_>,
) -> Result<Added, BuildError> {
    let kubernetes = match content {
        Content::Haproxy => return Ok(Added::default()),
        Content::Node => None,
        Content::Kubeadm(kubernetes) => Some(kubernetes),
    };
    let pause = content.pause_image();
    let unreadable = failed("read the packages in", root.folder());
    let installed = packages::installed(&root.tree()).map_err(unreadable)?;
    let containerd = packages::version_of(&installed, "containerd")
        .ok_or_else(|| unreadable(std::io::Error::other("containerd is not installed")))?;
    let format = ConfigFormat::of(containerd);
    let mut files = containerd::files(format, pause);
    let pause_binary = kubernetes.and_then(|found| found.folder.optional("pause"));
    let mut images = vec![containers::pause_image(pause, pause_binary, &root.tree())];
    if let Some(kubernetes) = kubernetes {
        install_binaries(&kubernetes.folder, root).await?;
        files.extend(recipe::kubernetes_files());
        enable_kubelet(root).await?;
        images.extend(
            containers::kubernetes_images(
                &kubernetes.folder,
                &kubernetes.names,
                &kubernetes.etcd,
                &root.tree(),
            )
            .map_err(failed("read the programs of kube-proxy in", root.folder()))?,
        );
    }
    write_files(&root.upper(), &files).await?;
    let folder = kubernetes.map(|found| found.folder.path());
    let stage = if kubernetes.is_some() { Stage::Kubernetes } else { Stage::Images };
    Loading { workspace, stage, root, folder }.complete(&mut images, progress).await?;
    let images = import(workspace, stage, images, architecture, root, progress).await?;
    Ok(Added { files, images, config_format: Some(format) })
}

async fn install_binaries(folder: &KubernetesFolder, root: &Root) -> Result<(), BuildError> {
    for name in NODE_BINARIES {
        let target = root.upper().join("usr/bin").join(name);
        make_parent(&target).await?;
        fs::copy(folder.path().join(name), &target).await.map_err(failed("write", &target))?;
        let mode = std::fs::Permissions::from_mode(0o755);
        fs::set_permissions(&target, mode).await.map_err(failed("set the mode of", &target))?;
    }
    Ok(())
}

/// What `systemctl enable kubelet` does; kubeadm warns where it is not.
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
    let archive = workspace.fresh("images").await?.join("images.tar");
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
        .variable("STORE", workspace.fresh("store").await?)
        .variable("DEBS", workspace.debs())
        .variable("ARCHIVE", &archive)
        .run(progress)
        .await?;
    Ok(added)
}

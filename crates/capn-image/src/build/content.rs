//! What one image has on top of its role's layer: container images and, for a kubeadm image, the
//! Kubernetes binaries.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

use tokio::{fs, task::spawn_blocking};

use super::{
    BuildError, Stage,
    root::Root,
    step::{Progress, Step},
    workspace::{Workspace, failed, make_parent, write_files},
};
use crate::{
    binaries::KubernetesFolder,
    containers::{self, EtcdNames, ImageNames, PROXY_PROGRAMS},
    oci::{self, ContainerImage},
    recipe::{self, DEFAULT_PAUSE_IMAGE, MASKED_UNITS, Role},
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

/// Puts the content into `root`.
pub(super) async fn add(
    workspace: &Workspace,
    content: &Content,
    architecture: &'static str,
    root: &Root,
    progress: &mut Progress<'_>,
) -> Result<(), BuildError> {
    let kubernetes = match content {
        Content::Haproxy => return Ok(()),
        Content::Node => None,
        Content::Kubeadm(kubernetes) => Some(kubernetes),
    };
    let pause = content.pause_image();
    write_files(&root.upper(), &recipe::containerd_files(pause)).await?;
    let pause_binary = kubernetes.and_then(|found| found.folder.optional("pause"));
    let mut images = vec![containers::pause_image(pause, pause_binary, &root.tree())];
    if let Some(kubernetes) = kubernetes {
        install_binaries(&kubernetes.folder, root).await?;
        write_files(&root.upper(), &recipe::kubernetes_files()).await?;
        enable_kubelet(root).await?;
        let libraries = libraries(workspace, &kubernetes.folder, root, progress).await?;
        images.extend(
            containers::kubernetes_images(
                &kubernetes.folder,
                &kubernetes.names,
                &kubernetes.etcd,
                &libraries,
                &root.tree(),
            )
            .map_err(failed("read the programs of kube-proxy in", root.folder()))?,
        );
    }
    let stage = if kubernetes.is_some() { Stage::Kubernetes } else { Stage::Images };
    import(workspace, stage, images, architecture, root, progress).await
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

/// The shared libraries of the programs that go into container images.
async fn libraries(
    workspace: &Workspace,
    folder: &KubernetesFolder,
    root: &Root,
    progress: &mut Progress<'_>,
) -> Result<BTreeMap<String, Vec<String>>, BuildError> {
    let output = workspace.work().join("libraries");
    let mut programs: Vec<String> = PROXY_PROGRAMS.iter().map(ToString::to_string).collect();
    programs.extend(folder.programs().into_iter().map(|name| format!("/mnt/{name}")));
    root.enter(Step::new(Stage::Kubernetes, "closure.sh", &workspace.scripts()))
        .variable("DEBS", workspace.debs())
        .variable("FOLDER", folder.path())
        .variable("PROGRAMS", programs.join(" "))
        .variable("OUTPUT", &output)
        .run(progress)
        .await?;
    let text = fs::read_to_string(&output).await.map_err(failed("read", &output))?;
    let mut libraries = BTreeMap::<String, Vec<String>>::new();
    for (program, library) in text.lines().filter_map(|line| line.split_once(' ')) {
        libraries.entry(program.to_owned()).or_default().push(library.to_owned());
    }
    Ok(libraries)
}

/// Imports container images into the containerd of `root`.
async fn import(
    workspace: &Workspace,
    stage: Stage,
    images: Vec<ContainerImage>,
    architecture: &'static str,
    root: &Root,
    progress: &mut Progress<'_>,
) -> Result<(), BuildError> {
    let archive = workspace.fresh("images").await?.join("images.tar");
    let path = archive.clone();
    let written = spawn_blocking(move || {
        let file = std::fs::File::create(&path)?;
        oci::write_archive(&images, architecture, std::io::BufWriter::new(file))
    });
    written
        .await
        .map_err(|join| failed("write", &archive)(std::io::Error::other(join)))?
        .map_err(failed("write", &archive))?;
    root.enter(Step::new(stage, "images.sh", &workspace.scripts()))
        .variable("STORE", workspace.fresh("store").await?)
        .variable("DEBS", workspace.debs())
        .variable("ARCHIVE", &archive)
        .run(progress)
        .await
}

//! Container images of a node, and their content.
//!
//! The images of static pods contain the binaries of the directory and have exactly the names that
//! its kubeadm expects, so that nothing is pulled.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use capn_oci::{ContainerImage, Content, LayerFile};

use crate::{binaries::KubernetesDirectory, tree::Tree};

/// Programs with an image of their own, besides etcd, pause and CoreDNS.
const COMPONENTS: [&str; 4] =
    ["kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler"];

/// Image name of flannel in the objects of `--cni flannel`.
pub const FLANNEL_IMAGE: &str = "ghcr.io/flannel-io/flannel:v0.28.4";
/// Image name of kube-vip in the static pods of `--load-balancer kube-vip`.
pub const KUBE_VIP_IMAGE: &str = "ghcr.io/kube-vip/kube-vip:v0.6.4";

/// Programs that kube-proxy runs, taken from the node's root file system.
const PROXY_PROGRAMS: [&str; 8] = [
    "/usr/sbin/iptables",
    "/usr/sbin/iptables-restore",
    "/usr/sbin/iptables-save",
    "/usr/sbin/ip6tables",
    "/usr/sbin/ip6tables-restore",
    "/usr/sbin/ip6tables-save",
    "/usr/sbin/nft",
    "/usr/bin/kmod",
];

/// Accounts that programs look up by id.
const PASSWD: &str =
    "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnobody:x:65534:\n";

/// Image names printed by kubeadm, by component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageNames {
    by_component: BTreeMap<String, String>,
}

impl ImageNames {
    /// Parses the output of `kubeadm config images list`; `None` if a required name is missing.
    pub(crate) fn parse(list: &str) -> Option<Self> {
        let by_component: BTreeMap<_, _> = list
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .filter_map(|reference| Some((component(reference)?.to_owned(), reference.to_owned())))
            .collect();
        let known = COMPONENTS.iter().chain(&["etcd", "pause"]);
        known
            .into_iter()
            .all(|name| by_component.contains_key(*name))
            .then_some(Self { by_component })
    }

    /// Returns the image name of a component.
    pub(crate) fn of(&self, component: &str) -> &str {
        self.by_component.get(component).map_or("", String::as_str)
    }
}

/// Returns the component of an image name: `coredns` for `registry.k8s.io/coredns/coredns:v1.14.0`.
fn component(reference: &str) -> Option<&str> {
    let (repository, _) = reference.rsplit_once(':')?;
    repository.rsplit('/').next()
}

/// Image names of etcd in the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EtcdNames {
    /// All names; the first one has the actual version.
    pub(crate) references: Vec<String>,
    /// The tag that the cluster configuration must set, if kubeadm's default does not fit.
    pub(crate) tag_to_configure: Option<String>,
}

impl EtcdNames {
    /// kubeadm writes flags for the minor version that it expects. A binary of that minor version
    /// also gets the name that kubeadm expects. Any other keeps its own name, which kubeadm reads
    /// from the cluster configuration and writes matching flags for.
    pub(crate) fn new(expected: &str, version: &str) -> Self {
        let (repository, expected_tag) = expected.rsplit_once(':').unwrap_or((expected, ""));
        let tag = format!("{version}-0");
        let own = format!("{repository}:{tag}");
        if expected == own {
            return Self { references: vec![own], tag_to_configure: None };
        }
        if minor(expected_tag) == minor(version) {
            return Self { references: vec![own, expected.to_owned()], tag_to_configure: None };
        }
        Self { references: vec![own], tag_to_configure: Some(tag) }
    }
}

fn minor(version: &str) -> Option<(&str, &str)> {
    let mut parts = version.split('.');
    Some((parts.next()?, parts.next()?))
}

/// Returns the sandbox image: the given `pause`, or Debian's static init, which is equivalent.
pub(crate) fn pause_image(
    reference: &str,
    pause: Option<Utf8PathBuf>,
    root: &Tree,
) -> ContainerImage {
    let (program, entrypoint) = match pause {
        Some(path) => (path, vec!["/pause".to_owned()]),
        None => (
            root.find("usr/bin/catatonit").unwrap_or_else(|| "/usr/bin/catatonit".into()),
            vec!["/pause".to_owned(), "-P".to_owned()],
        ),
    };
    ContainerImage {
        references: vec![reference.to_owned()],
        files: vec![binary("pause", program)],
        entrypoint,
        ..ContainerImage::default()
    }
}

/// Returns the images of static pods and, if the directory has it, CoreDNS, without the shared
/// libraries of their files.
pub(crate) fn kubernetes_images(
    directory: &KubernetesDirectory,
    names: &ImageNames,
    etcd: &EtcdNames,
    root: &Tree,
) -> std::io::Result<Vec<ContainerImage>> {
    let program = |name: &str, references: Vec<String>| {
        let path = format!("usr/local/bin/{name}");
        let mut files = common_files();
        files.push(binary(&path, directory.path().join(name)));
        let entrypoint = vec![format!("/{path}")];
        ContainerImage { references, files, entrypoint, ..ContainerImage::default() }
    };
    let mut images = Vec::new();
    for name in COMPONENTS {
        let mut image = program(name, vec![names.of(name).to_owned()]);
        if name == "kube-proxy" {
            image.files.extend(proxy_files(root)?);
        }
        images.push(image);
    }
    let mut image = program("etcd", etcd.references.clone());
    for tool in ["etcdctl", "etcdutl"] {
        if let Some(path) = directory.optional(tool) {
            image.files.push(binary(&format!("usr/local/bin/{tool}"), path));
        }
    }
    images.push(image);
    if let Some(path) = directory.optional("coredns") {
        // The manifest written by kubeadm gives only arguments.
        let mut files = common_files();
        files.push(binary("coredns", path));
        images.push(ContainerImage {
            references: vec![names.of("coredns").to_owned()],
            files,
            entrypoint: vec!["/coredns".to_owned()],
            ..ContainerImage::default()
        });
    }
    if let Some(path) = directory.optional("flanneld") {
        let mut files = common_files();
        files.push(binary("opt/bin/flanneld", path));
        // It calls iptables, as kube-proxy does.
        files.extend(proxy_files(root)?);
        images.push(ContainerImage {
            references: vec![FLANNEL_IMAGE.to_owned()],
            files,
            entrypoint: vec!["/opt/bin/flanneld".to_owned()],
            ..ContainerImage::default()
        });
    }
    if let Some(path) = directory.optional("kube-vip") {
        // The static pod gives only arguments.
        let mut files = common_files();
        files.push(binary("kube-vip", path));
        images.push(ContainerImage {
            references: vec![KUBE_VIP_IMAGE.to_owned()],
            files,
            entrypoint: vec!["/kube-vip".to_owned()],
            ..ContainerImage::default()
        });
    }
    for image in &mut images {
        once(image);
    }
    Ok(images)
}

fn common_files() -> Vec<LayerFile> {
    let text = |path: &str, text| LayerFile {
        path: path.to_owned(),
        mode: 0o644,
        content: Content::Text(text),
    };
    vec![text("etc/passwd", PASSWD), text("etc/group", GROUP)]
}

fn binary(path: &str, source: Utf8PathBuf) -> LayerFile {
    LayerFile { path: path.to_owned(), mode: 0o755, content: Content::Path(source) }
}

/// Adds the loader and the libraries of all files of the image, programs and plugins, at the paths
/// where they are searched for. `needs` are those of each file, by its local path.
///
/// # Errors
///
/// The file, and the library that is missing in `root`.
pub(crate) fn add_libraries<'a>(
    image: &mut ContainerImage,
    root: &Tree,
    needs: impl Fn(&Utf8Path) -> &'a [String],
) -> Result<(), (String, String)> {
    let mut added = Vec::new();
    for file in &image.files {
        let Content::Path(source) = &file.content else { continue };
        for library in needs(source) {
            let found = root.find(library).ok_or_else(|| (file.path.clone(), library.clone()))?;
            added.push(binary(library.trim_start_matches('/'), found));
        }
    }
    image.files.extend(added);
    once(image);
    Ok(())
}

/// Of several files with the same path, keeps the first one.
fn once(image: &mut ContainerImage) {
    let mut seen = BTreeSet::new();
    image.files.retain(|file| seen.insert(file.path.clone()));
}

/// iptables and nft with their extensions. The names in /usr/sbin are links to one program.
fn proxy_files(root: &Tree) -> std::io::Result<Vec<LayerFile>> {
    let mut files = Vec::new();
    for program in PROXY_PROGRAMS {
        let path = program.trim_start_matches('/');
        let target = root.resolve(path)?;
        if target != path {
            let content = Content::Link(format!("/{target}"));
            files.push(LayerFile { path: path.to_owned(), mode: 0o777, content });
        }
        files.extend(root.find(&target).map(|source| binary(&target, source)));
    }
    files.push(LayerFile {
        path: "usr/sbin/modprobe".to_owned(),
        mode: 0o777,
        content: Content::Link("/usr/bin/kmod".to_owned()),
    });
    // Extensions are in usr/lib/x86_64-linux-gnu/xtables, or in the directory of another
    // architecture.
    for directory in root.list("usr/lib")?.into_keys() {
        let directory = format!("usr/lib/{directory}/xtables");
        for (name, source) in root.list(&directory)? {
            let content = match source.symlink_metadata()?.file_type().is_symlink() {
                true => Content::Link(source.read_link_utf8()?.into_string()),
                false => Content::Path(source),
            };
            files.push(LayerFile { path: format!("{directory}/{name}"), mode: 0o644, content });
        }
    }
    for path in ["etc/protocols", "etc/services"] {
        files.extend(root.find(path).map(|source| LayerFile {
            path: path.to_owned(),
            mode: 0o644,
            content: Content::Path(source),
        }));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "registry.k8s.io/kube-apiserver:v1.36.2
registry.k8s.io/kube-controller-manager:v1.36.2
registry.k8s.io/kube-scheduler:v1.36.2
registry.k8s.io/kube-proxy:v1.36.2
registry.k8s.io/coredns/coredns:v1.14.2
registry.k8s.io/pause:3.10.2
registry.k8s.io/etcd:3.6.8-0
";

    #[test]
    fn image_names_are_parsed_from_kubeadm() {
        let names = ImageNames::parse(LIST).unwrap();
        assert_eq!(names.of("coredns"), "registry.k8s.io/coredns/coredns:v1.14.2");
        assert_eq!(names.of("pause"), "registry.k8s.io/pause:3.10.2");
        assert_eq!(ImageNames::parse("registry.k8s.io/pause:3.10.2\n"), None);
    }

    #[test]
    fn etcd_image_names_match_kubeadm() {
        let expected = "registry.k8s.io/etcd:3.6.8-0";
        let table = [
            ("3.6.8", vec!["registry.k8s.io/etcd:3.6.8-0"], None),
            ("3.6.5", vec!["registry.k8s.io/etcd:3.6.5-0", expected], None),
            ("3.5.16", vec!["registry.k8s.io/etcd:3.5.16-0"], Some("3.5.16-0")),
        ];
        for (version, references, tag) in table {
            let names = EtcdNames::new(expected, version);
            assert_eq!(names.references, references, "{version}");
            assert_eq!(names.tag_to_configure.as_deref(), tag, "{version}");
        }
    }

    #[test]
    fn without_a_pause_binary_the_image_contains_the_static_init_of_debian() {
        let held = tempfile::tempdir().unwrap();
        let directory = Utf8PathBuf::from_path_buf(held.path().to_owned()).unwrap();
        let init = directory.join("usr/bin/catatonit");
        std::fs::create_dir_all(init.parent().unwrap()).unwrap();
        std::fs::write(&init, "init").unwrap();
        let root = Tree::new(vec![directory]);
        let image = pause_image("registry.k8s.io/pause:3.10.1", None, &root);
        assert_eq!(image.entrypoint, ["/pause", "-P"]);
        assert_eq!(image.files[0].content, Content::Path(init));
    }
}

//! Plan of a build on this machine: layers, properties and the hash of the recipe.

use std::{collections::BTreeMap, time::Duration};

use camino::Utf8Path;
use tokio::task::spawn_blocking;

use super::{
    Architecture, Base, BuildError, BuildRequest, BuiltImage, Kind, Stage, Validated,
    content::{Content, Kubernetes},
    host::{self, Mirrors},
    layers::LayerInputs,
    pack::COMPRESSION,
    validate::{Needs, ValidatedImage},
    workspace::failed,
};
use crate::{
    binaries::{self, RuntimeDirectory},
    catalog::{
        PROPERTY_CONTAINERD_VERSION, PROPERTY_COREDNS, PROPERTY_ETCD_IMAGE_TAG,
        PROPERTY_ETCD_VERSION, PROPERTY_KIND, PROPERTY_KUBERNETES_VERSION, PROPERTY_MANIFEST,
        PROPERTY_RECIPE, PROPERTY_RUNC_VERSION,
    },
    containerd::{self, ConfigFormat},
    metadata::{ImageMetadata, templates_text},
    recipe::{self, Hash, MASKED_UNITS, NodeRuntime},
};

/// All decisions before the build starts.
pub(super) struct Plan {
    pub(super) alias: String,
    pub(super) recipe: String,
    pub(super) inputs: LayerInputs,
    pub(super) content: Content,
    pub(super) properties: BTreeMap<String, String>,
    /// The directory of the container runtime.
    pub(super) runtime: Option<RuntimeDirectory>,
    /// Names and digests of the programs that do not belong to a package.
    pub(super) digests: Vec<(String, String)>,
}

impl Plan {
    /// Creates a plan. Reads the Kubernetes directory, if there is one.
    pub(super) async fn new(request: &BuildRequest) -> Result<Self, BuildError> {
        let content = match &request.kind {
            Kind::Kubeadm(directory) => Content::Kubeadm(Kubernetes::read(directory).await?),
            Kind::Node => Content::Node,
            Kind::Haproxy => Content::Haproxy,
        };
        let base = request.base.unwrap_or_else(host::fitting_base);
        let here = Architecture::of_this_machine()?;
        let architecture = request.architecture.unwrap_or(here);
        let mut mirrors = Mirrors::of_this_machine(base, architecture);
        if let Some(mirror) = &request.mirror {
            mirrors.main = mirror.trim_end_matches('/').to_owned();
            if base.mirrors_have_security() {
                mirrors.security = mirrors.main.clone();
            }
        }
        if let Some(mirror) = &request.security_mirror {
            mirrors.security = mirror.trim_end_matches('/').to_owned();
        }
        let runtime = match &content {
            Content::Haproxy => None,
            Content::Node | Content::Kubeadm(_) => request.runtime.clone(),
        };
        let inputs = LayerInputs {
            base,
            mirrors,
            architecture,
            role: match &content {
                Content::Haproxy => recipe::haproxy(),
                Content::Node | Content::Kubeadm(_) => recipe::node(match runtime {
                    Some(_) => NodeRuntime::Directory,
                    None => NodeRuntime::Packages,
                }),
            },
        };
        let mut digests = Vec::new();
        if let Content::Kubeadm(Kubernetes { directory, .. }) = &content {
            digests.extend(self::digests(request, directory.path(), directory.programs()).await?);
        }
        if let Some(directory) = &runtime {
            digests.extend(self::digests(request, directory.path(), directory.programs()).await?);
        }
        let mut properties = properties(&content, inputs.base, architecture);
        let recipe = recipe_hash(&content, &inputs, &digests, &properties);
        properties.insert(PROPERTY_RECIPE.to_owned(), recipe.clone());
        let alias = request.alias.clone().unwrap_or_else(|| request.kind.alias());
        Ok(Self { alias, recipe, inputs, content, properties, runtime, digests })
    }

    /// Returns the value of the property `capn.kind`.
    pub(super) fn kind(&self) -> &'static str {
        self.content.kind()
    }

    /// Returns the stage that builds the content, if there is any.
    pub(super) fn content_stage(&self) -> Option<Stage> {
        match self.content {
            Content::Kubeadm(_) => Some(Stage::Kubernetes),
            Content::Node => Some(Stage::Images),
            Content::Haproxy => None,
        }
    }

    /// Returns all stages before the import.
    pub(super) fn stages(&self) -> impl Iterator<Item = Stage> {
        let first = [Stage::Base, Stage::Packages, Stage::Configuration];
        first.into_iter().chain(self.content_stage()).chain([Stage::Pack])
    }

    /// Properties of the image with this manifest.
    pub(super) fn properties(&self, manifest: &str) -> BTreeMap<String, String> {
        let mut properties = self.properties.clone();
        properties.insert(PROPERTY_MANIFEST.to_owned(), super::manifest::digest(manifest));
        // The package versions of a distribution are known only after the installation.
        if let Some(runtime) = super::manifest::runtime(manifest) {
            properties.insert(PROPERTY_CONTAINERD_VERSION.to_owned(), runtime.containerd);
            properties.insert(PROPERTY_RUNC_VERSION.to_owned(), runtime.runc);
        }
        properties
    }

    /// Returns the metadata of the image, with the time of the layer.
    pub(super) fn metadata(&self, epoch: i64, manifest: &str) -> ImageMetadata {
        let mut properties = self.properties(manifest);
        if let Ok(time) = jiff::Timestamp::from_second(epoch) {
            properties.insert("serial".to_owned(), time.strftime("%Y%m%d_%H%M").to_string());
        }
        ImageMetadata {
            architecture: self.inputs.architecture.server_name(),
            creation_date: epoch,
            properties,
            cloud_init: !matches!(self.content, Content::Haproxy),
        }
    }

    /// Returns the description of the image for the validation.
    pub(super) fn subject(&self) -> ValidatedImage {
        let needs = match &self.content {
            Content::Haproxy => Needs::Haproxy,
            Content::Node => Needs::Node,
            Content::Kubeadm(kubernetes) => {
                let coredns = (!kubernetes.has_coredns()).then_some("coredns");
                let etcd = kubernetes.etcd.tag_to_configure.as_ref().map(|_| "etcd");
                Needs::Kubernetes {
                    version: kubernetes.directory.version().to_owned(),
                    images: Some(coredns.into_iter().chain(etcd).collect()),
                }
            }
        };
        ValidatedImage { alias: self.alias.clone(), recipe: self.recipe.clone(), needs }
    }

    pub(super) fn into_built(
        self,
        fingerprint: String,
        size_bytes: u64,
        reused: bool,
        manifest: Option<String>,
        validated: Vec<Validated>,
        elapsed: Duration,
    ) -> BuiltImage {
        let property = |key: &str| self.properties.get(key).cloned();
        BuiltImage {
            kind: self.kind(),
            fingerprint,
            reused,
            size_bytes,
            kubernetes_version: property(PROPERTY_KUBERNETES_VERSION),
            etcd_version: property(PROPERTY_ETCD_VERSION),
            coredns: property(PROPERTY_COREDNS).is_some_and(|value| value == "true"),
            runtime: manifest.as_deref().and_then(super::manifest::runtime),
            manifest,
            validated,
            elapsed,
            alias: self.alias,
            recipe: self.recipe,
        }
    }
}

/// Returns the digest of each program in a directory, ordered by name.
async fn digests(
    request: &BuildRequest,
    directory: &Utf8Path,
    names: Vec<&'static str>,
) -> Result<Vec<(String, String)>, BuildError> {
    let memory = request.cache_dir.join("digests.json");
    let files: Vec<_> = names.iter().map(|name| directory.join(name)).collect();
    let read = failed("read", directory);
    let digests = spawn_blocking(move || binaries::digests(&files, &memory))
        .await
        .map_err(|join| read(std::io::Error::other(join)))?
        .map_err(read)?;
    Ok(names.into_iter().map(str::to_owned).zip(digests).collect())
}

fn properties(
    content: &Content,
    base: Base,
    architecture: Architecture,
) -> BTreeMap<String, String> {
    let architecture = architecture.as_str();
    let what = match content {
        Content::Kubeadm(kubernetes) => {
            format!("node, Kubernetes {}", kubernetes.directory.version())
        }
        Content::Node => "node without Kubernetes".to_owned(),
        Content::Haproxy => "load balancer".to_owned(),
    };
    let mut properties = BTreeMap::new();
    let mut set = |key: &str, value: &str| {
        properties.insert(key.to_owned(), value.to_owned());
    };
    set("os", base.os());
    set("release", base.suite());
    set("version", base.version());
    set("architecture", architecture);
    set("variant", content.kind());
    set("description", &format!("capn {what} ({}, {architecture})", base.describe()));
    set(PROPERTY_KIND, content.kind());
    if let Content::Kubeadm(kubernetes) = content {
        set(PROPERTY_KUBERNETES_VERSION, kubernetes.directory.version());
        set(PROPERTY_ETCD_VERSION, kubernetes.directory.etcd_version());
        set(PROPERTY_COREDNS, if kubernetes.has_coredns() { "true" } else { "false" });
        if let Some(tag) = &kubernetes.etcd.tag_to_configure {
            set(PROPERTY_ETCD_IMAGE_TAG, tag);
        }
    }
    properties
}

/// Returns the hash of all inputs of the image.
fn recipe_hash(
    content: &Content,
    inputs: &LayerInputs,
    digests: &[(String, String)],
    properties: &BTreeMap<String, String>,
) -> String {
    let mut hash = Hash::new("image 2")
        .part("kind", content.kind())
        .part("layer", &inputs.hash())
        .part("units", &inputs.role.units.join(" "))
        .part("masked", &MASKED_UNITS.join(" "))
        .files(&inputs.role.files)
        .script("configure.sh")
        .script(&format!("{}.sh", inputs.role.name))
        .part("compression", COMPRESSION)
        .part("templates", &templates_text(!matches!(content, Content::Haproxy)))
        .script("inside.sh")
        .script("chroot.sh")
        .script("pack.sh");
    if !matches!(content, Content::Haproxy) {
        hash = hash.script("closure.sh").script("load.sh").script("images.sh");
        // The containerd of the layer determines which of the two it is.
        for format in [ConfigFormat::Version2, ConfigFormat::Version3] {
            hash = hash.files(&containerd::files(format, content.pause_image()));
        }
    }
    if matches!(content, Content::Kubeadm(_)) {
        hash = hash.files(&recipe::kubernetes_files());
    }
    for (name, digest) in digests {
        hash = hash.part(name, digest);
    }
    for (key, value) in properties {
        hash = hash.part(key, value);
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn plan(kind: Kind, change: impl FnOnce(&mut BuildRequest)) -> Plan {
        let mut request = BuildRequest::new(kind, "/nonexistent");
        request.base = Some(Base::Debian12);
        request.mirror = Some("http://mirror.example/debian/".to_owned());
        request.security_mirror = Some("http://mirror.example/debian-security".to_owned());
        change(&mut request);
        Plan::new(&request).await.unwrap()
    }

    #[tokio::test]
    async fn the_recipe_names_the_inputs_and_not_the_alias() {
        let node = plan(Kind::Node, |_| {}).await;
        assert_eq!(node.recipe, plan(Kind::Node, |_| {}).await.recipe);
        let renamed = plan(Kind::Node, |request| request.alias = Some("mine".into())).await;
        assert_eq!((renamed.recipe.as_str(), renamed.alias.as_str()), (&*node.recipe, "mine"));
        let other = plan(Kind::Node, |request| request.base = Some(Base::Debian13)).await;
        assert_ne!(other.recipe, node.recipe);
        assert_ne!(plan(Kind::Haproxy, |_| {}).await.recipe, node.recipe);
    }

    #[tokio::test]
    async fn an_image_has_descriptive_properties() {
        let node = plan(Kind::Node, |_| {}).await;
        let metadata = node.metadata(1_700_000_000, "{}\n");
        assert_eq!(metadata.properties["capn.kind"], "node");
        assert_eq!(metadata.properties["capn.recipe"], node.recipe);
        assert_eq!(metadata.properties["capn.manifest"], super::super::manifest::digest("{}\n"));
        assert_eq!(metadata.properties["serial"], "20231114_2213");
        assert!(metadata.cloud_init);
        assert_eq!(node.alias, "capn/node");
        let haproxy = plan(Kind::Haproxy, |_| {}).await;
        assert!(!haproxy.metadata(0, "").cloud_init);
        let stages: Vec<_> = haproxy.stages().collect();
        let expected = [Stage::Base, Stage::Packages, Stage::Configuration, Stage::Pack];
        assert_eq!(stages, expected);
    }

    #[tokio::test]
    async fn a_runtime_is_in_the_recipe_and_in_the_properties_and_a_load_balancer_has_none() {
        let held = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(held.path()).unwrap();
        let program = |name: &str, prints: &str| {
            use std::os::unix::fs::PermissionsExt;
            let path = directory.join(name);
            std::fs::write(&path, format!("#!/bin/sh\necho '{prints}'\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        program("containerd", "containerd v2 v2.3.4 5a8e");
        program("containerd-shim-runc-v2", "");
        program("ctr", "");
        program("runc", "runc version 1.4.3");
        let runtime = RuntimeDirectory::open(directory).await.unwrap();
        let with = |request: &mut BuildRequest| {
            request.runtime = Some(runtime.clone());
            request.cache_dir = directory.join("cache");
        };
        let node = plan(Kind::Node, with).await;
        let packages = plan(Kind::Node, |_| {}).await;
        assert_ne!(node.recipe, packages.recipe);
        assert!(packages.inputs.role.packages.contains(&"runc"));
        assert!(!node.inputs.role.packages.contains(&"runc"));
        assert_eq!(node.digests.len(), 4);
        assert_eq!(
            plan(Kind::Haproxy, with).await.recipe,
            plan(Kind::Haproxy, |_| {}).await.recipe
        );
        let manifest = r#"{"runtime":{"containerd":"2.3.4","runc":"1.4.3","source":"folder"}}"#;
        let properties = node.properties(manifest);
        assert_eq!(properties["capn.containerd-version"], "2.3.4");
        assert_eq!(properties["capn.runc-version"], "1.4.3");

        // The same versions built otherwise are another image.
        program("ctr", "other");
        assert_ne!(plan(Kind::Node, with).await.recipe, node.recipe);
    }

    #[tokio::test]
    async fn a_base_and_an_architecture_are_in_the_names_and_in_the_recipe() {
        let ubuntu = |request: &mut BuildRequest| {
            request.base = Some(Base::Ubuntu2404);
            request.security_mirror = None;
        };
        let amd64 = plan(Kind::Node, |request| {
            ubuntu(request);
            request.architecture = Some(Architecture::Amd64);
        });
        let arm64 = plan(Kind::Node, |request| {
            ubuntu(request);
            request.architecture = Some(Architecture::Arm64);
        });
        let (amd64, arm64) = (amd64.await, arm64.await);
        assert_ne!(amd64.recipe, arm64.recipe);
        assert_eq!(amd64.properties["os"], "ubuntu");
        assert_eq!(amd64.properties["release"], "noble");
        assert_eq!(
            arm64.properties["description"],
            "capn node without Kubernetes (Ubuntu 24.04, arm64)"
        );
        assert_eq!(arm64.metadata(0, "").architecture, "aarch64");
        // One mirror that is named has both of Ubuntu's archives.
        assert_eq!(amd64.inputs.mirrors.security, "http://mirror.example/debian");
    }
}

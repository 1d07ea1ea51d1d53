//! Ensures that images exist on the server, and builds or downloads missing ones.

use std::collections::BTreeMap;

use capn_image::binaries::{KubernetesDirectory, RuntimeDirectory};
use capn_image::build::{BuildError, BuildRequest, Kind};
use capn_image::catalog::{
    self, HAPROXY_ALIAS, NODE_ALIAS, PROPERTY_KIND, PROPERTY_KUBERNETES_VERSION,
};
use incus_client::Client;

use super::build::{build_image, cache_dir, failed};
use super::facts::of_image;
use super::pull::{Pull, pull};
use super::{official, runtime_for, servers};
use crate::error::CommandError;
use crate::identity::Identity;
use crate::manifest::request::ImageFacts;
use crate::manifest::{Bootstrap, ClusterRequest, LoadBalancer};
use crate::ui::Ui;

/// Images that a cluster needs.
pub struct ImageRequirements<'a> {
    /// The cluster request.
    pub request: &'a ClusterRequest,
    /// Directory of Kubernetes binaries, if there is one.
    pub binaries: Option<&'a KubernetesDirectory>,
    /// Directory of the container runtime, if there is one.
    pub runtime: Option<&'a RuntimeDirectory>,
}

/// Information about the node image.
#[derive(Clone, Debug, Default)]
pub struct NodeImageInfo {
    /// Facts that kubeadm needs.
    pub facts: ImageFacts,
    /// Kubernetes version in the image, if known.
    pub kubernetes_version: Option<String>,
}

/// A required node image with Kubernetes, independent of a cluster.
pub struct NodeImage<'a> {
    /// Kubernetes version, such as `v1.36.0`.
    pub version: &'a str,
    /// Directory of Kubernetes binaries, if there is one.
    pub binaries: Option<&'a KubernetesDirectory>,
    /// Directory of the container runtime, if there is one.
    pub runtime: Option<&'a RuntimeDirectory>,
    /// Image servers, in the format of `--image-server`; empty means the default server.
    pub image_servers: &'a [String],
}

impl NodeImageInfo {
    fn of(properties: &BTreeMap<String, String>) -> Self {
        Self {
            facts: of_image(properties),
            kubernetes_version: properties.get(PROPERTY_KUBERNETES_VERSION).cloned(),
        }
    }
}

/// Ensures that the images of nodes and load balancer exist.
///
/// # Errors
///
/// Returns an error if an image is missing and cannot be obtained. The error lists all
/// alternatives.
pub async fn ensure(
    ui: &Ui,
    client: &Client,
    needs: &ImageRequirements<'_>,
) -> Result<NodeImageInfo, CommandError> {
    let request = needs.request;
    let servers = servers::parse(&request.image_servers)?;
    let source = servers.default_url();
    let found = match (&request.image, request.bootstrap) {
        (Some(image), _) => named(client, image).await?,
        (None, Bootstrap::None) => {
            let location = ImageLocation { alias: NODE_ALIAS, source };
            ours(ui, client, Kind::Node, needs.runtime, location).await?;
            NodeImageInfo::default()
        }
        (None, Bootstrap::Kubeadm) => {
            let wanted = NodeImage {
                version: request.kubernetes_version.as_deref().unwrap_or_default(),
                binaries: needs.binaries,
                runtime: needs.runtime,
                image_servers: &request.image_servers,
            };
            node_image(ui, client, &wanted).await?
        }
    };
    // The server pulls the image for `oci` from a registry.
    if let Some(image) = &request.load_balancer_image {
        named(client, image).await?;
    } else if request.load_balancer == LoadBalancer::Lxc {
        let location = ImageLocation { alias: HAPROXY_ALIAS, source };
        ours(ui, client, Kind::Haproxy, None, location).await?;
    }
    Ok(found)
}

/// Looks up an image given by the user. The server itself resolves names such as
/// `images:debian/13`.
///
/// # Errors
///
/// Returns an error if the server does not have it or does not respond.
pub async fn named(client: &Client, image: &str) -> Result<NodeImageInfo, CommandError> {
    if image.contains(':') {
        return Ok(NodeImageInfo::default());
    }
    match properties(client, image).await? {
        Some(properties) => Ok(NodeImageInfo::of(&properties)),
        None => Err(CommandError::new(format!("image `{image}` does not exist on the server"))
            .hint("list images: `capn image list`")
            .hint("for an image on an image server, add its prefix: `images:debian/13/cloud`")),
    }
}

/// Ensures that a node image with Kubernetes exists. Sources, in this order: the directory of
/// binaries, the server, the image server, the official downloads.
///
/// # Errors
///
/// Returns an error if it is missing and cannot be obtained. The error lists all alternatives.
pub async fn node_image(
    ui: &Ui,
    client: &Client,
    wanted: &NodeImage<'_>,
) -> Result<NodeImageInfo, CommandError> {
    let NodeImage { version, binaries, runtime, image_servers } = *wanted;
    let servers = servers::parse(image_servers)?;
    let source = servers.default_url();
    let alias = catalog::kubeadm_alias(version);
    let location = ImageLocation { alias: &alias, source };
    if let Some(dir) = binaries.filter(|dir| dir.version() == version) {
        ours(ui, client, Kind::Kubeadm(dir.clone()), runtime, location).await?;
    }
    if let Some(properties) = properties(client, &alias).await? {
        return Ok(NodeImageInfo::of(&properties));
    }
    let name = format!("kubeadm/{version}");
    let unreachable =
        match pull(ui, client, &Pull { server: source, name: &name, alias: None }).await {
            Ok(pulled) => return Ok(NodeImageInfo::of(&pulled.properties)),
            Err(error) => error,
        };
    match official::download(ui, version).await {
        Ok(dir) => {
            ours(ui, client, Kind::Kubeadm(dir), runtime, location).await?;
            let properties = properties(client, &alias).await?.unwrap_or_default();
            Ok(NodeImageInfo::of(&properties))
        }
        Err(download) => Err(unavailable(version, binaries, unreachable, &download)),
    }
}

/// Returns the error for a missing node image, with the sources that were tried and those that
/// remain.
fn unavailable(
    version: &str,
    binaries: Option<&KubernetesDirectory>,
    prebuilt: CommandError,
    download: &CommandError,
) -> CommandError {
    let error = prebuilt.and_also(download);
    let error = match binaries {
        Some(dir) => error.hint(format!(
            "the binaries in {} have version {}: request that version, or use other binaries",
            dir.path(),
            dir.version()
        )),
        None => error.hint(
            "to build an image offline, put kubeadm, kubelet, kubectl, \
                 kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy and etcd into a directory and use `--kubernetes-binaries DIR`",
        ),
    };
    error
        .hint("or use nodes without Kubernetes: `--bootstrap none`")
        .while_doing(format!("no node image for Kubernetes {version} is available"))
}

/// Alias of an image, and where a prebuilt one may be.
#[derive(Clone, Copy)]
struct ImageLocation<'a> {
    alias: &'a str,
    source: &'a str,
}

/// Ensures an image with capn's own recipe: builds it if possible, otherwise uses the existing or
/// the prebuilt one.
async fn ours(
    ui: &Ui,
    client: &Client,
    kind: Kind,
    runtime: Option<&RuntimeDirectory>,
    ImageLocation { alias, source }: ImageLocation<'_>,
) -> Result<(), CommandError> {
    let is_haproxy = kind == Kind::Haproxy;
    let mut request = BuildRequest::new(kind, cache_dir());
    if !is_haproxy {
        request.runtime = runtime_for(ui, runtime, request.base).await;
    }
    let failure = match build_image(ui, client, &request).await {
        Ok(built) => {
            if !built.reused {
                let mebibytes = built.size_bytes / (1024 * 1024);
                ui.step("image").done(format!("image {alias} ready, {mebibytes} MiB"));
            }
            return Ok(());
        }
        Err(failure) => failure,
    };
    let cannot_build = matches!(
        failure,
        BuildError::NotRoot | BuildError::MissingTools { .. } | BuildError::Busy { .. }
    );
    if !cannot_build {
        return Err(failed(failure, alias));
    }
    if let Some(properties) = properties(client, alias).await?
        && properties.contains_key(PROPERTY_KIND)
    {
        tracing::info!(alias, "cannot check the image against its recipe; using it unchanged");
        return Ok(());
    }
    let haproxy = Pull { server: source, name: "haproxy", alias: None };
    if is_haproxy && pull(ui, client, &haproxy).await.is_ok() {
        return Ok(());
    }
    Err(failed(failure, alias))
}

async fn properties(
    client: &Client,
    alias: &str,
) -> Result<Option<BTreeMap<String, String>>, CommandError> {
    let image = client
        .image_by_alias(alias)
        .await
        .map_err(|error| CommandError::caused(format!("cannot look up image `{alias}`"), error))?;
    Ok(image.map(|image| image.properties))
}

/// Returns the expected facts of a node image before it is needed: from the server's image if
/// available, otherwise from the directory of binaries.
pub async fn expected(
    request: &ClusterRequest,
    binaries: Option<&KubernetesDirectory>,
    identity: &Identity,
) -> ImageFacts {
    if request.bootstrap == Bootstrap::None {
        return ImageFacts::default();
    }
    let version = request.kubernetes_version.as_deref().unwrap_or_default();
    let alias = request.image.clone().unwrap_or_else(|| catalog::kubeadm_alias(version));
    if let Ok(client) = identity.client()
        && let Ok(Some(properties)) = properties(&client, &alias).await
    {
        return of_image(&properties);
    }
    match binaries.filter(|dir| request.image.is_none() && dir.version() == version) {
        None => ImageFacts::default(),
        Some(dir) => ImageFacts {
            // If kubeadm cannot be run, the build fails later with the reason.
            etcd_image_tag: dir.etcd_image_tag().await.ok().flatten(),
            without_coredns: dir.optional("coredns").is_none(),
            ..ImageFacts::default()
        },
    }
}

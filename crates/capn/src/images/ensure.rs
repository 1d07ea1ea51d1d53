//! Looks for the images, and builds what can be built.

use std::collections::BTreeMap;

use capn_image::binaries::{KubernetesFolder, RuntimeFolder};
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

/// What a cluster needs of the server's images.
pub struct Needs<'a> {
    /// The cluster.
    pub request: &'a ClusterRequest,
    /// The folder of node binaries, if there is one.
    pub binaries: Option<&'a KubernetesFolder>,
    /// The folder of the container runtime, if there is one.
    pub runtime: Option<&'a RuntimeFolder>,
}

/// What was found out about the node's image.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What kubeadm has to be told.
    pub facts: ImageFacts,
    /// The Kubernetes version in the image, if it says so.
    pub kubernetes_version: Option<String>,
}

/// A node image with Kubernetes that is needed, whatever cluster it is for.
pub struct NodeImage<'a> {
    /// The version, as `v1.36.0`.
    pub version: &'a str,
    /// The folder of node binaries, if there is one.
    pub binaries: Option<&'a KubernetesFolder>,
    /// The folder of the container runtime, if there is one.
    pub runtime: Option<&'a RuntimeFolder>,
    /// Image servers, as `--image-server` has them; none are the project's own.
    pub image_servers: &'a [String],
}

impl Found {
    fn of(properties: &BTreeMap<String, String>) -> Self {
        Self {
            facts: of_image(properties),
            kubernetes_version: properties.get(PROPERTY_KUBERNETES_VERSION).cloned(),
        }
    }
}

/// Makes sure of the node's and the load balancer's image.
///
/// # Errors
///
/// When an image is neither there nor can be had, with every way to get it.
pub async fn ensure(ui: &Ui, client: &Client, needs: &Needs<'_>) -> Result<Found, CommandError> {
    let request = needs.request;
    let servers = servers::parse(&request.image_servers)?;
    let source = servers.default_url();
    let found = match (&request.image, request.bootstrap) {
        (Some(image), _) => named(client, image).await?,
        (None, Bootstrap::None) => {
            let place = Place { alias: NODE_ALIAS, source };
            ours(ui, client, Kind::Node, needs.runtime, place).await?;
            Found::default()
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
    // That of `oci` is fetched by the server, from a registry.
    if request.load_balancer == LoadBalancer::Lxc {
        let place = Place { alias: HAPROXY_ALIAS, source };
        ours(ui, client, Kind::Haproxy, None, place).await?;
    }
    Ok(found)
}

/// An image the user named. `images:debian/13` and the like are found by the server itself.
///
/// # Errors
///
/// When the server does not have it, or cannot be asked.
pub async fn named(client: &Client, image: &str) -> Result<Found, CommandError> {
    if image.contains(':') {
        return Ok(Found::default());
    }
    match properties(client, image).await? {
        Some(properties) => Ok(Found::of(&properties)),
        None => Err(CommandError::new(format!("there is no image `{image}` on the server"))
            .hint("see those that are there: `capn image list`")
            .hint(
                "an image of an image server is written with its prefix: `images:debian/13/cloud`",
            )),
    }
}

/// Makes sure of a node image with Kubernetes. In this order: from the folder of binaries, the one that
/// is on the server, the prebuilt one, from the official downloads.
///
/// # Errors
///
/// When it is neither there nor can be had, with every way to get it.
pub async fn node_image(
    ui: &Ui,
    client: &Client,
    wanted: &NodeImage<'_>,
) -> Result<Found, CommandError> {
    let NodeImage { version, binaries, runtime, image_servers } = *wanted;
    let servers = servers::parse(image_servers)?;
    let source = servers.default_url();
    let alias = catalog::kubeadm_alias(version);
    let place = Place { alias: &alias, source };
    if let Some(folder) = binaries.filter(|folder| folder.version() == version) {
        ours(ui, client, Kind::Kubeadm(folder.clone()), runtime, place).await?;
    }
    if let Some(properties) = properties(client, &alias).await? {
        return Ok(Found::of(&properties));
    }
    let name = format!("kubeadm/{version}");
    let unreachable =
        match pull(ui, client, &Pull { server: source, name: &name, alias: None }).await {
            Ok(pulled) => return Ok(Found::of(&pulled.properties)),
            Err(error) => error,
        };
    match official::download(ui, version).await {
        Ok(folder) => {
            ours(ui, client, Kind::Kubeadm(folder), runtime, place).await?;
            let properties = properties(client, &alias).await?.unwrap_or_default();
            Ok(Found::of(&properties))
        }
        Err(download) => Err(unavailable(version, binaries, unreachable, &download)),
    }
}

/// No way led to a node image: says which were tried, and which are left.
fn unavailable(
    version: &str,
    binaries: Option<&KubernetesFolder>,
    prebuilt: CommandError,
    download: &CommandError,
) -> CommandError {
    let error = prebuilt.and_also(download);
    let error = match binaries {
        Some(folder) => error.hint(format!(
            "the binaries in {} are {}: ask for that version, or give others",
            folder.path(),
            folder.version()
        )),
        None => error.hint(
            "build an image without the internet: put kubeadm, kubelet, kubectl, \
                 kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy and etcd into \
                 a folder, and name it with `--kubernetes-binaries DIR`",
        ),
    };
    error
        .hint("nodes without Kubernetes: `--bootstrap none`")
        .while_doing(format!("there is no node image for Kubernetes {version}"))
}

/// What an image is called, and where a prebuilt one may be.
#[derive(Clone, Copy)]
struct Place<'a> {
    alias: &'a str,
    source: &'a str,
}

/// An image of our own recipe: built where that is possible, else the one that is there, else the
/// prebuilt one.
async fn ours(
    ui: &Ui,
    client: &Client,
    kind: Kind,
    runtime: Option<&RuntimeFolder>,
    Place { alias, source }: Place<'_>,
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
        tracing::info!(
            alias,
            "the image cannot be checked against its recipe and is used as it is"
        );
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

/// What a node image that is not asked for yet will say about itself: that of the server if it
/// answers and has it, else what the folder of binaries will lead to.
pub async fn expected(
    request: &ClusterRequest,
    binaries: Option<&KubernetesFolder>,
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
    match binaries.filter(|folder| request.image.is_none() && folder.version() == version) {
        None => ImageFacts::default(),
        Some(folder) => ImageFacts {
            // A kubeadm that cannot be asked fails the build, with its reason.
            etcd_image_tag: folder.etcd_image_tag().await.ok().flatten(),
            without_coredns: folder.optional("coredns").is_none(),
            ..ImageFacts::default()
        },
    }
}

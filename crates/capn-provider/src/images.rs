//! Resolves the image fields of a manifest to the source of an instance request.

use capn_api::{ImageSource as Wanted, InstanceType, keys};
use capn_image::{
    ImageFields, ImageSource, ServerFlavor, catalog,
    name::{self, ImageServers},
};
use incus_api::{InstanceSource, server::Flavor};
use kube::api::ObjectMeta;

use crate::{failure::Failure, references::annotation, remote::Remote};

/// Registry of the haproxy image of `oci` load balancers.
const OCI_SERVER: &str = "https://ghcr.io";
/// The haproxy image that the Go provider publishes.
const OCI_HAPROXY: &str = "lxc/cluster-api-provider-incus/haproxy:v20230606-42a2262b";

/// A resolved image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// Source for the instance request.
    pub(crate) source: InstanceSource,
    /// Description for the user.
    pub(crate) text: String,
}

/// Returns the image servers of a cluster, from the metadata of its LXCCluster.
///
/// # Errors
///
/// A final failure if the annotation is invalid.
pub(crate) fn servers(meta: &ObjectMeta) -> Result<ImageServers, Failure> {
    let key = keys::IMAGE_SERVERS_ANNOTATION;
    annotation(meta, key).unwrap_or_default().parse().map_err(|error: name::ImageServersError| {
        Failure::Invalid {
            message: format!("{error}; correct the annotation {key} of the LXCCluster"),
        }
    })
}

/// Returns the image of a machine: the one in the spec, or else the kubeadm image of its Kubernetes
/// version, or kind's image of that version for a machine of that type.
///
/// # Errors
///
/// A final failure if the name is invalid, or if neither an image nor a version is set. Any other
/// failure if the server cannot be queried.
pub(crate) async fn of_machine(
    remote: &Remote,
    wanted: &Wanted,
    kind: InstanceType,
    version: Option<&str>,
    servers: &ImageServers,
) -> Result<Image, Failure> {
    if let Some(image) = named(remote, wanted, version, servers)? {
        return Ok(image);
    }
    if kind == InstanceType::Kind {
        let of_version = Wanted::alias("kind:VERSION");
        if let Some(image) = named(remote, &of_version, version, servers)? {
            return Ok(image);
        }
    }
    let Some(version) = version else {
        return Err(Failure::Invalid {
            message: "neither an image nor a Kubernetes version is set; set spec.image.name of the LXCMachine, or spec.version of the Machine".into(),
        });
    };
    let boots_as = match kind {
        InstanceType::VirtualMachine => incus_api::InstanceType::VirtualMachine,
        InstanceType::Unset | InstanceType::Container | InstanceType::Kind => {
            incus_api::InstanceType::Container
        }
    };
    let here = has_alias(remote, &catalog::kubeadm_alias(version), &boots_as).await?;
    Ok(image(catalog::default_machine_image(version, here, servers)))
}

/// Returns the image of a load balancer: the one in the spec, or else the haproxy image.
///
/// # Errors
///
/// See [`of_machine`].
pub(crate) async fn of_load_balancer(
    remote: &Remote,
    wanted: &Wanted,
    servers: &ImageServers,
) -> Result<Image, Failure> {
    if let Some(image) = named(remote, wanted, None, servers)? {
        return Ok(image);
    }
    let here =
        has_alias(remote, catalog::HAPROXY_ALIAS, &incus_api::InstanceType::Container).await?;
    Ok(image(catalog::default_load_balancer_image(here, servers)))
}

/// Returns the image of a load balancer of type `oci`: the one in the spec, or else the one that
/// the Go provider publishes.
///
/// # Errors
///
/// A final failure if the name is invalid.
pub(crate) fn of_oci_load_balancer(
    remote: &Remote,
    wanted: &Wanted,
    servers: &ImageServers,
) -> Result<Image, Failure> {
    let named = named(remote, wanted, None, servers)?;
    Ok(named.unwrap_or_else(|| Image {
        source: InstanceSource::remote(OCI_SERVER, "oci", OCI_HAPROXY),
        text: format!("{OCI_SERVER}/{OCI_HAPROXY}"),
    }))
}

fn named(
    remote: &Remote,
    wanted: &Wanted,
    version: Option<&str>,
    servers: &ImageServers,
) -> Result<Option<Image>, Failure> {
    let fields = ImageFields {
        name: &wanted.name,
        fingerprint: &wanted.fingerprint,
        server: &wanted.server,
        protocol: &wanted.protocol,
    };
    let flavor = match remote.facts().flavor {
        Flavor::Incus => ServerFlavor::Incus,
        Flavor::Lxd => ServerFlavor::Lxd,
    };
    name::resolve(&fields, version, flavor, servers)
        .map(|source| source.map(image))
        .map_err(|error| Failure::Invalid { message: format!("{error}; correct spec.image") })
}

/// Returns whether the server has an image with that name from which an instance of this kind can
/// be created.
async fn has_alias(
    remote: &Remote,
    alias: &str,
    kind: &incus_api::InstanceType,
) -> Result<bool, Failure> {
    remote
        .client
        .image_by_alias(alias)
        .await
        .map(|image| image.is_some_and(|image| image.image_type == *kind))
        .map_err(Failure::server("look for the image of an", "instance"))
}

fn image(source: ImageSource) -> Image {
    let text = source.to_string();
    let source = match source {
        ImageSource::Alias(alias) => InstanceSource::alias(alias),
        ImageSource::Fingerprint(fingerprint) => InstanceSource::fingerprint(fingerprint),
        ImageSource::Remote { server, protocol, image, by_fingerprint } => {
            let mut source = InstanceSource::remote(server, protocol.as_str(), image);
            if by_fingerprint {
                source.fingerprint = std::mem::take(&mut source.alias);
            }
            source
        }
    };
    Image { source, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capn_image::Protocol;

    #[test]
    fn every_kind_of_source_becomes_the_request_the_server_knows() {
        let remote = |by_fingerprint| ImageSource::Remote {
            server: "https://images.example".into(),
            protocol: Protocol::Simplestreams,
            image: "debian/13/cloud".into(),
            by_fingerprint,
        };
        for (source, expected) in [
            (ImageSource::Alias("a".into()), InstanceSource::alias("a")),
            (ImageSource::Fingerprint("f".into()), InstanceSource::fingerprint("f")),
            (
                remote(false),
                InstanceSource::remote(
                    "https://images.example",
                    "simplestreams",
                    "debian/13/cloud",
                ),
            ),
            (
                remote(true),
                InstanceSource {
                    fingerprint: "debian/13/cloud".into(),
                    ..InstanceSource::remote("https://images.example", "simplestreams", "")
                },
            ),
        ] {
            assert_eq!(image(source).source, expected);
        }
    }
}

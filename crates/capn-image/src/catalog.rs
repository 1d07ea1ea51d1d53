//! Image aliases and property keys of capn, public image servers, and default images.

use crate::name::{ImageServers, ImageSource, Protocol};

/// Server of the project's prebuilt images (simplestreams).
pub const IMAGE_SERVER: &str = "https://images.linuxcontainers.org/capn/";
/// Server of images that are staged before publication.
pub const STAGING_IMAGE_SERVER: &str = "https://images-stg.capn.open-cloud.xyz";
/// Distribution images for Incus.
pub const LINUX_CONTAINERS: &str = "https://images.linuxcontainers.org";
/// Distribution images for LXD, without Ubuntu.
pub const LXD_IMAGES: &str = "https://images.lxd.canonical.com";
/// Ubuntu's own images, for LXD.
pub const UBUNTU_RELEASES: &str = "https://cloud-images.ubuntu.com/releases/";
/// Registry of kind images.
pub const OCI_REGISTRY: &str = "https://docker.io";

/// Alias of the node image without Kubernetes.
pub const NODE_ALIAS: &str = "capn/node";
/// Alias of the load balancer image.
pub const HAPROXY_ALIAS: &str = "capn/haproxy";

/// Property: `kubeadm`, `node` or `haproxy`. An image with an alias of capn but without this
/// property was not built by capn.
pub const PROPERTY_KIND: &str = "capn.kind";
/// Property: hash of all inputs of the image.
pub const PROPERTY_RECIPE: &str = "capn.recipe";
/// Property: SHA-256 of the manifest in the image, `/usr/share/capn/manifest.json`.
pub const PROPERTY_MANIFEST: &str = "capn.manifest";
/// Property: fingerprint of the stock image that the image was made from on a server.
pub const PROPERTY_BASE_IMAGE: &str = "capn.base-image";
/// Property: `v1.36.0`.
pub const PROPERTY_KUBERNETES_VERSION: &str = "capn.kubernetes-version";
/// Property: etcd version of the image without `v`, such as `3.6.5`.
pub const PROPERTY_ETCD_VERSION: &str = "capn.etcd-version";
/// Property: tag of the etcd image in the node, only if it differs from the default of kubeadm. The
/// cluster configuration must then set it (`etcd.local.imageTag`).
pub const PROPERTY_ETCD_IMAGE_TAG: &str = "capn.etcd-image-tag";
/// Property: `true` if the image contains CoreDNS, else `false`. Without CoreDNS, kubeadm's
/// `addon/coredns` phase would wait for an image that cannot be pulled.
pub const PROPERTY_COREDNS: &str = "capn.coredns";

/// Property: containerd version of a node image, such as `2.3.4`, or as formatted by the
/// distribution.
pub const PROPERTY_CONTAINERD_VERSION: &str = "capn.containerd-version";
/// Property: runc version of a node image. Images of older releases do not have it.
pub const PROPERTY_RUNC_VERSION: &str = "capn.runc-version";

/// Alias of the node image for one Kubernetes version (`v1.36.0`).
pub fn kubeadm_alias(version: &str) -> String {
    format!("capn/kubeadm/{}", with_v(version))
}

/// Returns the default image of a machine: the alias of capn if the server has it, else the
/// prebuilt image of the same version.
pub fn default_machine_image(
    version: &str,
    local_alias_exists: bool,
    servers: &ImageServers,
) -> ImageSource {
    match local_alias_exists {
        true => ImageSource::Alias(kubeadm_alias(version)),
        false => prebuilt(format!("kubeadm/{}", with_v(version)), servers),
    }
}

/// Returns the default image of a load balancer.
pub fn default_load_balancer_image(
    local_alias_exists: bool,
    servers: &ImageServers,
) -> ImageSource {
    match local_alias_exists {
        true => ImageSource::Alias(HAPROXY_ALIAS.to_owned()),
        false => prebuilt("haproxy".to_owned(), servers),
    }
}

fn prebuilt(image: String, servers: &ImageServers) -> ImageSource {
    ImageSource::Remote {
        server: servers.default_url().to_owned(),
        protocol: Protocol::Simplestreams,
        image,
        by_fingerprint: false,
    }
}

fn with_v(version: &str) -> String {
    match version.starts_with('v') {
        true => version.to_owned(),
        false => format!("v{version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_image_is_preferred_and_the_prebuilt_one_is_the_fallback() {
        assert_eq!(
            default_machine_image("1.36.0", true, &ImageServers::default()),
            ImageSource::Alias("capn/kubeadm/v1.36.0".into())
        );
        let ImageSource::Remote { server, image, .. } =
            default_machine_image("v1.36.0", false, &ImageServers::default())
        else {
            panic!("a remote image");
        };
        assert_eq!((server.as_str(), image.as_str()), (IMAGE_SERVER, "kubeadm/v1.36.0"));
        assert_eq!(
            default_load_balancer_image(true, &ImageServers::default()),
            ImageSource::Alias("capn/haproxy".into())
        );
    }
}

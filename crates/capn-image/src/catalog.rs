//! Our aliases and property keys, the public image servers, and the default images.

use crate::name::{ImageServers, ImageSource, Protocol};

/// Where the prebuilt images of the project are published (simplestreams).
pub const IMAGE_SERVER: &str = "https://images.linuxcontainers.org/capn/";
/// Where images are staged before they are published.
pub const STAGING_IMAGE_SERVER: &str = "https://images-stg.capn.open-cloud.xyz";
/// Distribution images for Incus.
pub const LINUX_CONTAINERS: &str = "https://images.linuxcontainers.org";
/// Distribution images for LXD, without Ubuntu.
pub const LXD_IMAGES: &str = "https://images.lxd.canonical.com";
/// Ubuntu's own images, for LXD.
pub const UBUNTU_RELEASES: &str = "https://cloud-images.ubuntu.com/releases/";
/// Registry of the kind images.
pub const OCI_REGISTRY: &str = "https://docker.io";

/// Alias of the node image without Kubernetes.
pub const NODE_ALIAS: &str = "capn/node";
/// Alias of the load balancer image.
pub const HAPROXY_ALIAS: &str = "capn/haproxy";

/// Property: `kubeadm`, `node` or `haproxy`. An image with one of our aliases and without this
/// property is somebody else's.
pub const PROPERTY_KIND: &str = "capn.kind";
/// Property: hash of everything the image was built from.
pub const PROPERTY_RECIPE: &str = "capn.recipe";
/// Property: SHA-256 of the image's manifest, which it holds as `/usr/share/capn/manifest.json`.
pub const PROPERTY_MANIFEST: &str = "capn.manifest";
/// Property: fingerprint of the stock image that this one was made from, on a server.
pub const PROPERTY_BASE_IMAGE: &str = "capn.base-image";
/// Property: `v1.36.0`.
pub const PROPERTY_KUBERNETES_VERSION: &str = "capn.kubernetes-version";
/// Property: version of the etcd in the image, `3.6.5`, without `v`.
pub const PROPERTY_ETCD_VERSION: &str = "capn.etcd-version";
/// Property: tag of the etcd image in the node, present only where it is not the one kubeadm
/// asks for by itself; the cluster configuration has to name it then (`etcd.local.imageTag`).
pub const PROPERTY_ETCD_IMAGE_TAG: &str = "capn.etcd-image-tag";
/// Property: `true` where the image holds CoreDNS, else `false`; without it kubeadm's
/// `addon/coredns` phase would wait for an image that nobody has.
pub const PROPERTY_COREDNS: &str = "capn.coredns";

/// Property: version of containerd in a node image, `2.3.4`, or as its distribution writes it.
pub const PROPERTY_CONTAINERD_VERSION: &str = "capn.containerd-version";
/// Property: version of runc in a node image; images that were built before it was written have
/// none.
pub const PROPERTY_RUNC_VERSION: &str = "capn.runc-version";

/// Alias of the node image for one Kubernetes version (`v1.36.0`).
pub fn kubeadm_alias(version: &str) -> String {
    format!("capn/kubeadm/{}", with_v(version))
}

/// Image of a machine that names none: our own alias where the server has it, else the prebuilt
/// image of the same version.
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

/// Image of a load balancer that names none.
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

use super::*;

fn resolve(
    fields: &ImageFields<'_>,
    version: Option<&str>,
    flavor: ServerFlavor,
) -> Result<Option<ImageSource>, NameError> {
    super::resolve(fields, version, flavor, &ImageServers::default())
}

#[test]
fn prefixes_and_default_images_follow_the_configured_servers() {
    let servers: ImageServers = "https://images.example,lab=https://lab.example".parse().unwrap();
    let of = |name| super::resolve(&named(name), Some("v1.36.0"), ServerFlavor::Lxd, &servers);
    let kubeadm = "kubeadm/v1.36.0";
    assert_eq!(of("capi:kubeadm/VERSION"), Ok(Some(remote("https://images.example", kubeadm))));
    assert_eq!(of("lab:haproxy"), Ok(Some(remote("https://lab.example", "haproxy"))));
    assert_eq!(
        catalog::default_machine_image("v1.36.0", false, &servers),
        remote("https://images.example", kubeadm)
    );
    let unknown = of("lob:haproxy").unwrap_err().to_string();
    assert!(unknown.contains("capi, capi-stg, lab"), "{unknown}");
}

fn named(name: &str) -> ImageFields<'_> {
    ImageFields { name, ..ImageFields::default() }
}

fn remote(server: &str, image: &str) -> ImageSource {
    ImageSource::Remote {
        server: server.into(),
        protocol: Protocol::Simplestreams,
        image: image.into(),
        by_fingerprint: false,
    }
}

#[test]
fn families_resolve_per_server() {
    use ServerFlavor::{Incus, Lxd};
    let incus = "https://images.linuxcontainers.org";
    let lxd = "https://images.lxd.canonical.com";
    let table = [
        ("ubuntu:24.04", Incus, incus, "ubuntu/24.04/cloud"),
        ("ubuntu:24.04", Lxd, "https://cloud-images.ubuntu.com/releases/", "24.04"),
        ("debian:13", Incus, incus, "debian/13/cloud"),
        ("debian:13", Lxd, lxd, "debian/13/cloud"),
        ("images:alpine/edge", Incus, incus, "alpine/edge"),
        ("images:alpine/edge", Lxd, lxd, "alpine/edge"),
        ("capi:kubeadm/VERSION", Incus, catalog::IMAGE_SERVER, "kubeadm/v1.36.0"),
        ("capi:kubeadm/VERSION/debian", Lxd, catalog::IMAGE_SERVER, "kubeadm/v1.36.0/debian"),
        ("capi-stg:haproxy", Incus, catalog::STAGING_IMAGE_SERVER, "haproxy"),
    ];
    for (name, flavor, server, image) in table {
        let found = resolve(&named(name), Some("v1.36.0"), flavor);
        assert_eq!(found, Ok(Some(remote(server, image))), "{name} on {flavor:?}");
    }
}

#[test]
fn plain_names_and_fingerprints_stay_on_the_server() {
    let alias = |name: &str| resolve(&named(name), Some("v1.36.0"), ServerFlavor::Unknown);
    assert_eq!(alias("capn/node"), Ok(Some(ImageSource::Alias("capn/node".into()))));
    assert_eq!(
        alias("capn/kubeadm/VERSION"),
        Ok(Some(ImageSource::Alias("capn/kubeadm/v1.36.0".into())))
    );
    let fields = ImageFields { name: "ignored", fingerprint: "ab12", ..ImageFields::default() };
    assert_eq!(
        resolve(&fields, None, ServerFlavor::Incus),
        Ok(Some(ImageSource::Fingerprint("ab12".into())))
    );
    assert_eq!(resolve(&ImageFields::default(), None, ServerFlavor::Incus), Ok(None));
}

#[test]
fn an_explicit_server_uses_the_name_unchanged() {
    let fields = ImageFields {
        name: "kindest/node:v1.34.0@sha256:00ff",
        server: "https://registry.example",
        protocol: "oci",
        ..ImageFields::default()
    };
    assert_eq!(
        resolve(&fields, None, ServerFlavor::Incus),
        Ok(Some(ImageSource::Remote {
            server: "https://registry.example".into(),
            protocol: Protocol::Oci,
            image: "kindest/node@sha256:00ff".into(),
            by_fingerprint: false,
        }))
    );
    let fields = ImageFields {
        fingerprint: "ab12",
        server: "https://images.example",
        ..ImageFields::default()
    };
    let Ok(Some(ImageSource::Remote { by_fingerprint, .. })) =
        resolve(&fields, None, ServerFlavor::Lxd)
    else {
        panic!("a remote image");
    };
    assert!(by_fingerprint);
}

#[test]
fn kind_images_are_oci_and_not_for_lxd() {
    let Ok(Some(ImageSource::Remote { protocol, image, .. })) =
        resolve(&named("kind:VERSION"), Some("v1.36.0"), ServerFlavor::Incus)
    else {
        panic!("a remote image");
    };
    assert_eq!((protocol, image.as_str()), (Protocol::Oci, "kindest/node:v1.36.0"));
    let refused = resolve(&named("kind:v1.36.0"), None, ServerFlavor::Lxd);
    assert!(matches!(refused, Err(NameError::OciOnLxd { .. })));
}

#[test]
fn unresolvable_names_are_errors() {
    let error = |fields: ImageFields<'_>| {
        resolve(&fields, None, ServerFlavor::Unknown).unwrap_err().to_string()
    };
    let table = [
        (named("fedora:42"), "unknown prefix \"fedora\""),
        (named("ubuntu:"), "has no name after its prefix"),
        (named("capi:kubeadm/VERSION"), "contains VERSION"),
        (named("debian:13"), "only be resolved on Incus or LXD"),
        (ImageFields { protocol: "oci", name: "x", ..ImageFields::default() }, "without a server"),
        (
            ImageFields { server: "https://a", ..ImageFields::default() },
            "without a name or fingerprint",
        ),
        (
            ImageFields { name: "x", server: "https://a", protocol: "ftp", ..Default::default() },
            "protocol \"ftp\" is unknown",
        ),
    ];
    for (fields, expected) in table {
        let text = error(fields);
        assert!(text.contains(expected), "{text:?} should contain {expected:?}");
    }
}

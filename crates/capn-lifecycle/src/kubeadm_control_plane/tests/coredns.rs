//! Tests of the CoreDNS image.

use semver::Version;
use serde_json::json;

use super::super::coredns::{image, tag};
use super::kcp;

#[test]
fn coredns_gets_the_image_that_nodes_of_the_version_have() {
    let of = |tag: &str| format!("registry.k8s.io/coredns/coredns:{tag}");
    let plain = || kcp(json!({ "replicas": 1 }));
    let config = json!({ "clusterConfiguration": { "dns": { "imageTag": "v1.9.9" } } });
    let named = kcp(json!({ "replicas": 1, "kubeadmConfigSpec": config }));
    for (kcp, version, is, wanted) in [
        (plain(), "1.37.2", of("v1.14.2"), Some(of("v1.14.6"))),
        (plain(), "1.37.2", of("v1.14.6"), None),
        (plain(), "1.36.0", of("v1.14.6"), None),
        (plain(), "1.32.0", of("v1.11.1"), None),
        (plain(), "1.37.2", "r.example:5000/coredns".to_owned(), None),
        (plain(), "1.37.2", of("v1.14.2@sha256:00"), None),
        (named, "1.37.2", of("v1.14.2"), Some(of("v1.9.9"))),
    ] {
        let version = Version::parse(version).unwrap();
        assert_eq!(image(&kcp, &version, &is), wanted, "{is} for {version}");
    }
}

#[test]
fn the_tags_are_those_of_the_table() {
    for minor in 30..=40 {
        let version = Version::new(1, minor, 9);
        let minor = u32::try_from(minor).unwrap();
        let table =
            capn_plan::versions::coredns_tag(capn_plan::versions::Version::new(1, minor, 9));
        assert_eq!(tag(&version), table, "1.{minor}");
    }
}

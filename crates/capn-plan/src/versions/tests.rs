use std::collections::BTreeSet;

use capn_api::Isolation;
use incus_api::server::Flavor;

use super::*;
use crate::{modules::UnloadableModules, profile, restrictions::ProjectRestrictions};

fn v(text: &str) -> Version {
    text.parse().unwrap()
}

fn node(container: bool, unprivileged: bool, root_on_zfs: bool) -> NodeFacts {
    NodeFacts { container, unprivileged, root_on_zfs }
}

#[test]
fn version_suffixes_are_ignored() {
    for (text, version) in [
        ("v1.36.2", Version::new(1, 36, 2)),
        ("1.31.0-alpha.1", Version::new(1, 31, 0)),
        ("2.2.1-0ubuntu1~24.04.4", Version::new(2, 2, 1)),
        ("1.7.24~ds1-6", Version::new(1, 7, 24)),
        ("6.0", Version::new(6, 0, 0)),
    ] {
        assert_eq!(text.parse(), Ok(version), "{text}");
    }
    for text in ["", "v", "1", "one.two", "1.2.3.4", "1..2"] {
        assert!(text.parse::<Version>().is_err(), "{text}");
    }
    assert!(v("1.9.0") < v("1.10.0"));
}

#[test]
fn every_row_has_a_reason_and_no_two_of_one_name_overlap() {
    for (index, row) in TABLE.iter().enumerate() {
        assert!(row.reason.len() > 20, "{}", row.name);
        assert!(row.source.contains(['#', ':', '/']), "{} has no source", row.name);
        assert!(row.until.is_none_or(|until| row.from < until), "{}", row.name);
        for other in TABLE[index + 1..].iter().filter(|other| other.name == row.name) {
            assert_eq!(row.component, other.component, "{}", row.name);
            assert!(row.until.is_some_and(|until| until <= other.from), "{}", row.name);
        }
    }
    let names: BTreeSet<_> = TABLE.iter().map(|row| row.name).collect();
    // A new name needs a function and a test below.
    assert_eq!(names.len(), 14, "{names:?}");
}

#[test]
fn the_newest_known_version_is_one_and_has_a_row_of_each_kind() {
    assert_eq!(NEWEST_TAG, format!("v{NEWEST}"));
    assert!(pause_image(NEWEST).is_some() && kubeadm_api(NEWEST).is_some());
    assert_eq!((etcd_series(NEWEST), coredns_tag(NEWEST)), (Some("3.7"), Some("v1.14.6")));
    // A newer version is treated like the newest known one.
    assert_eq!(pause_image(v("1.38.0")), pause_image(NEWEST));
    assert_eq!(etcd_series(v("1.38.0")), etcd_series(NEWEST));
}

#[test]
fn the_versions_page_lists_the_requirements_of_each_kubernetes_version() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/versions.md");
    let page = std::fs::read_to_string(path).unwrap();
    for minor in 33..=NEWEST.minor {
        let version = Version::new(1, minor, 99);
        let pause = pause_image(version).unwrap().rsplit_once(':').unwrap().1;
        let (etcd, dns) = (etcd_series(version).unwrap(), coredns_tag(version).unwrap());
        let node = node(true, true, false);
        let gate = match kubelet_in_user_namespace(version, node) {
            true => "set by capn",
            false => "on by default",
        };
        let row = format!("| 1.{minor} | {pause} | {etcd} | {dns} | {gate} |");
        assert!(page.lines().any(|line| line == row), "not in docs/reference/versions.md: {row}");
    }
}

#[test]
fn the_etcd_is_the_series_that_kubeadm_asks_for() {
    for (kubernetes, series) in [
        ("1.30.9", None),
        ("1.33.13", Some("3.5")),
        ("1.34.0", Some("3.6")),
        ("1.36.4", Some("3.6")),
    ] {
        assert_eq!(etcd_series(v(kubernetes)), series, "{kubernetes}");
    }
}

#[test]
fn pods_have_user_namespaces_of_their_own_from_1_33_on() {
    assert!(!has_pod_user_namespaces(v("1.32.9")));
    assert!(has_pod_user_namespaces(v("1.33.0")));
}

#[test]
fn the_binding_for_kubelets_is_needed_since_their_certificates_have_no_organization() {
    for (kubernetes, needed) in [
        ("1.32.13", false),
        ("1.33.11", false),
        ("1.33.12", true),
        ("1.34.7", false),
        ("1.34.8", true),
        ("1.35.4", false),
        ("1.35.5", true),
        ("1.36.0", false),
        ("1.36.1", true),
        ("1.37.0", true),
    ] {
        assert_eq!(needs_kubelet_client_binding(v(kubernetes)), needed, "{kubernetes}");
    }
}

#[test]
fn kubeadm_reads_the_newer_documents_from_1_31_on() {
    assert_eq!(kubeadm_api(v("1.21.9")), None);
    assert_eq!(kubeadm_api(v("1.22.0")), Some("kubeadm.k8s.io/v1beta3"));
    assert_eq!(kubeadm_api(v("1.30.99")), Some("kubeadm.k8s.io/v1beta3"));
    assert_eq!(kubeadm_api(v("1.31.0-alpha.1")), Some("kubeadm.k8s.io/v1beta4"));
    assert_eq!(kubeadm_api(v("1.37.0")), Some("kubeadm.k8s.io/v1beta4"));
}

#[test]
fn the_pause_image_is_the_one_kubeadm_asks_for() {
    for (kubernetes, tag) in [
        ("1.30.5", "3.9"),
        ("1.31.0", "3.10"),
        ("1.33.4", "3.10"),
        ("1.34.0", "3.10.1"),
        ("1.35.2", "3.10.1"),
        ("1.36.2", "3.10.2"),
    ] {
        let expected = format!("registry.k8s.io/pause:{tag}");
        assert_eq!(pause_image(v(kubernetes)), Some(expected.as_str()), "{kubernetes}");
    }
    assert_eq!(pause_image(v("1.25.0")), None);
}

#[test]
fn kube_vip_uses_the_kubeconfig_that_has_rights_at_once() {
    assert_eq!(first_kube_vip_kubeconfig(v("1.28.15")), None);
    let expected = Some("/etc/kubernetes/super-admin.conf");
    assert_eq!(first_kube_vip_kubeconfig(v("1.29.0")), expected);
}

#[test]
fn cgroup_v1_is_allowed_where_kubelet_has_the_field() {
    assert!(!has_fail_cgroup_v1(v("1.30.0")));
    assert!(has_fail_cgroup_v1(v("1.31.0")));
    assert!(has_fail_cgroup_v1(v("1.36.2")));
}

#[test]
fn kubeadm_has_timeouts_from_1_31_on() {
    assert!(!has_kubeadm_timeouts(v("1.30.9")));
    assert!(has_kubeadm_timeouts(v("1.31.0")));
}

#[test]
fn nftables_needs_no_feature_gate_from_1_31_on() {
    assert!(!has_nftables_proxy(v("1.30.9")));
    assert!(has_nftables_proxy(v("1.31.0")));
}

#[test]
fn local_storage_isolation_is_disabled_only_if_kubelet_would_exit() {
    let table = [
        ("1.35.9", node(true, true, true), false),
        ("1.36.0", node(true, false, true), true),
        ("1.36.0", node(true, true, true), true),
        ("1.36.1", node(true, false, true), false),
        ("1.36.1", node(true, true, true), true),
        ("1.37.0", node(true, true, true), true),
        ("1.37.0", node(true, true, false), false),
        ("1.36.0", node(false, false, true), false),
    ];
    for (kubernetes, node, off) in table {
        let found = without_local_storage_isolation(v(kubernetes), node);
        assert_eq!(found, off, "{kubernetes} {node:?}");
    }
}

#[test]
fn the_user_namespace_gate_is_set_in_unprivileged_containers_before_1_37() {
    for (kubernetes, node, told) in [
        ("1.33.0", node(true, true, false), true),
        ("1.36.4", node(true, true, false), true),
        ("1.36.4", node(true, false, false), false),
        ("1.36.4", node(false, true, false), false),
        ("1.36.4", node(false, false, false), false),
        ("1.37.0", node(true, true, false), false),
        ("1.38.0", node(true, true, false), false),
    ] {
        assert_eq!(kubelet_in_user_namespace(v(kubernetes), node), told, "{kubernetes} {node:?}");
    }
}

#[test]
fn runc_that_needs_nesting_finds_it_in_every_node() {
    for (runc, needs) in [
        ("1.1.5", false),
        ("1.2.7", false),
        ("1.2.8", true),
        ("1.3.2", false),
        ("1.3.3", true),
        ("1.3.4-0ubuntu1~24.04.1", true),
        ("1.4.2", true),
    ] {
        assert_eq!(runc_needs_nesting(v(runc)), needs, "{runc}");
    }
    for isolation in [Isolation::Shared, Isolation::Isolated, Isolation::Privileged] {
        for server in [Flavor::Incus, Flavor::Lxd] {
            let node = profile::kubeadm(
                isolation,
                server,
                &UnloadableModules::default(),
                &ProjectRestrictions::default(),
            );
            assert_eq!(node.config["security.nesting"], "true", "{isolation} on {server}");
        }
    }
}

#[test]
fn containerd_2_has_a_configuration_of_its_own() {
    assert_eq!(containerd_config_version(v("1.6.20")), Some("2"));
    assert_eq!(containerd_config_version(v("1.7.24~ds1-6")), Some("2"));
    assert_eq!(containerd_config_version(v("2.0.0")), Some("3"));
    assert_eq!(containerd_config_version(v("2.2.1-0ubuntu1~24.04.4")), Some("3"));
}

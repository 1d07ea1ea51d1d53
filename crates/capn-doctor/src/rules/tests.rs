//! Findings for broken hosts and servers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use incus_client::api::{Config, Flavor};

use super::*;
use crate::facts::{
    Cgroups, Forwarding, HostFacts, IdRange, InstanceFacts, Lxcfs, NetworkFacts, Offer, PoolFacts,
    ServerFacts,
};
use crate::finding::{Finding, Fix, Severity};

const GIB: u64 = 1024 * 1024 * 1024;

fn range(line: &str) -> IdRange {
    let mut fields = line.split(':').skip(1).map(|field| field.parse().unwrap());
    IdRange { line: line.into(), first: fields.next().unwrap(), count: fields.next().unwrap() }
}

fn config(pairs: &[(&str, &str)]) -> Config {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A host without problems.
fn host() -> HostFacts {
    let sysctls = [
        ("fs.inotify.max_user_instances", "1024"),
        ("fs.inotify.max_user_watches", "524288"),
        ("kernel.dmesg_restrict", "1"),
        ("kernel.keys.maxbytes", "2000000"),
        ("kernel.keys.maxkeys", "2000"),
        ("net.core.wmem_default", "4194304"),
        ("kernel.perf_event_paranoid", "3"),
        ("kernel.unprivileged_bpf_disabled", "2"),
        ("kernel.unprivileged_userns_clone", "1"),
        ("net.ipv4.ip_forward", "1"),
        ("net.netfilter.nf_conntrack_max", "262144"),
        ("user.max_user_namespaces", "30000"),
        ("vm.unprivileged_userfaultfd", "0"),
    ];
    HostFacts {
        kernel: Some("6.8.0-40-generic".into()),
        cgroups: Cgroups::V2,
        filesystems: vec!["overlay".into()],
        sysctls: config(&sysctls).into_iter().collect(),
        modules: vec!["br_netfilter".into(), "nf_conntrack".into()],
        has_module_directory: true,
        subuid: vec![range("root:1000000:1000000000")],
        subgid: vec![range("root:1000000:1000000000")],
        has_apparmor: true,
        lxcfs: Some(Lxcfs { is_writable: true, version: Some("6.0.4-1".into()) }),
        available_memory_bytes: Some(8 * GIB),
        memory_bytes: Some(16 * GIB),
        has_docker: false,
        forwarding: Some(Forwarding {
            drops: false,
            accepted: Vec::new(),
            rules: String::new(),
            input_tables: Vec::new(),
        }),
        offer: Some(Offer::Received(Ipv4Addr::new(10, 0, 0, 7))),
        now_s: 1_800_000_000,
        last_package_s: Some(1_799_000_000),
    }
}

/// A server without problems.
fn server() -> ServerFacts {
    ServerFacts {
        flavor: Flavor::Incus,
        version: "6.20".into(),
        kernel: "6.8.0-40-generic".into(),
        kernel_features: BTreeMap::from([("idmapped_mounts".into(), "true".into())]),
        runs_containers: true,
        isolated_ids: 3 * 65_536,
        nodes_without_nesting: Vec::new(),
        runc_versions: ["1.1.15+ds1-2".into()].into(),
        shared_networks: BTreeMap::new(),
        instances: InstanceFacts {
            profiles: vec!["default".into()],
            missing_profiles: Vec::new(),
            root: Some(PoolFacts {
                name: "default".into(),
                exists: true,
                status: "Created".into(),
                driver: "btrfs".into(),
                config: Config::new(),
                free_bytes: Some(50 * GIB),
            }),
            root_devices: vec!["root".into()],
            pools: vec!["default".into()],
            network: Some(NetworkFacts {
                name: "incusbr0".into(),
                exists: true,
                is_managed: true,
                kind: "bridge".into(),
                config: config(&[("ipv4.address", "10.0.0.1/24"), ("ipv4.nat", "true")]),
            }),
            bridges: vec!["incusbr0".into()],
        },
    }
}

fn all(host: &HostFacts, server: &ServerFacts) -> Vec<Finding> {
    let mut findings = host_findings(host, CheckOptions::default());
    findings.extend(server_findings(server));
    findings.extend(combined_findings(host, server));
    findings
}

/// Findings that are not ok, as `severity id`.
fn wrong(host: &HostFacts, server: &ServerFacts) -> Vec<String> {
    let findings = all(host, server).into_iter().filter(|f| f.severity != Severity::Ok);
    findings.map(|finding| format!("{} {}", finding.severity, finding.id)).collect()
}

#[test]
fn a_healthy_host_and_server_have_no_findings() {
    assert_eq!(wrong(&host(), &server()), [""; 0]);
    assert!(all(&host(), &server()).len() >= 20);
}

fn with_sysctl(key: &str, value: &str) -> HostFacts {
    let mut broken = host();
    broken.sysctls.insert(key.into(), value.into());
    broken
}

#[test]
fn every_host_problem_has_its_own_finding() {
    let two_ranges = vec![range("root:1000000:1000000000"), range("root:1001000000:10000001")];
    let firewall = |drops, rules: &str| Forwarding {
        drops,
        accepted: vec!["docker0".into()],
        rules: rules.to_owned(),
        input_tables: Vec::new(),
    };
    let docker = firewall(true, "");
    let ufw = firewall(false, ":INPUT DROP [0:0]");
    let old_lxcfs = Some(Lxcfs { is_writable: true, version: Some("5.0.3-1+deb12u1".into()) });
    let cases: Vec<(HostFacts, &[&str])> = vec![
        // Without a DHCP test, the rules are evaluated.
        (HostFacts { forwarding: Some(ufw.clone()), offer: None, ..host() }, &["problem firewall"]),
        (HostFacts { forwarding: Some(ufw.clone()), ..host() }, &[]),
        (
            HostFacts { forwarding: Some(ufw), offer: Some(Offer::Missing), ..host() },
            &["problem dhcp"],
        ),
        (HostFacts { offer: Some(Offer::Missing), ..host() }, &["problem dhcp"]),
        (HostFacts { offer: Some(Offer::NotTested("why".into())), ..host() }, &[]),
        (HostFacts { cgroups: Cgroups::V1, ..host() }, &["problem cgroups"]),
        (HostFacts { subuid: two_ranges, ..host() }, &["problem subordinate-ids"]),
        (
            HostFacts { subgid: vec![range("root:100000:65535")], ..host() },
            &["problem subordinate-ids"],
        ),
        (
            HostFacts { subuid: vec![range("root:100000:65536")], ..host() },
            &["warning isolated-ids", "warning pod-ids"],
        ),
        // Enough for isolated nodes, but not for all pods of a shared one.
        (HostFacts { subuid: vec![range("root:100000:3276800")], ..host() }, &["warning pod-ids"]),
        (with_sysctl("kernel.keys.maxkeys", "200"), &["problem keys-number"]),
        (with_sysctl("net.core.wmem_default", "212992"), &["warning netlink-buffer"]),
        (with_sysctl("fs.inotify.max_user_instances", "128"), &["problem inotify-instances"]),
        (with_sysctl("user.max_user_namespaces", "0"), &["problem user-namespaces"]),
        (with_sysctl("net.ipv4.ip_forward", "0"), &["problem forwarding"]),
        (with_sysctl("net.netfilter.nf_conntrack_max", "8192"), &["warning conntrack"]),
        (with_sysctl("kernel.dmesg_restrict", "0"), &["warning kernel-log"]),
        (with_sysctl("kernel.unprivileged_bpf_disabled", "0"), &["warning unprivileged-bpf"]),
        (with_sysctl("kernel.perf_event_paranoid", "-1"), &["warning perf-events"]),
        (with_sysctl("vm.unprivileged_userfaultfd", "1"), &["warning userfaultfd"]),
        (HostFacts { filesystems: vec!["ext4".into()], ..host() }, &["problem overlay"]),
        (HostFacts { modules: vec!["nf_conntrack".into()], ..host() }, &["problem modules"]),
        (HostFacts { has_apparmor: false, ..host() }, &["warning apparmor"]),
        (
            HostFacts { has_apparmor: false, lxcfs: old_lxcfs.clone(), ..host() },
            &["warning apparmor", "problem lxcfs-writes"],
        ),
        // AppArmor denies the writes that lxcfs would allow.
        (HostFacts { lxcfs: old_lxcfs, ..host() }, &[]),
        (HostFacts { available_memory_bytes: Some(GIB), ..host() }, &["warning memory"]),
        (HostFacts { has_docker: true, forwarding: Some(docker), ..host() }, &["problem firewall"]),
        (HostFacts { has_docker: true, forwarding: None, ..host() }, &["warning firewall"]),
        (HostFacts { now_s: 1_000_000, ..host() }, &["problem clock"]),
    ];
    for (broken, expected) in cases {
        assert_eq!(wrong(&broken, &server()), expected, "{broken:?}");
    }
}

fn instances(change: impl Fn(&mut InstanceFacts)) -> ServerFacts {
    let mut broken = server();
    change(&mut broken.instances);
    broken
}

#[test]
fn every_server_problem_has_its_own_finding() {
    let pool = |change: fn(&mut PoolFacts)| instances(|i| change(i.root.as_mut().unwrap()));
    let network =
        |change: fn(&mut NetworkFacts)| instances(|i| change(i.network.as_mut().unwrap()));
    let affected = |version: &str, runc: &[&str], nodes: &[&str]| ServerFacts {
        version: version.into(),
        runc_versions: runc.iter().map(|runc| (*runc).to_owned()).collect(),
        nodes_without_nesting: nodes.iter().map(|node| (*node).to_owned()).collect(),
        ..server()
    };
    let clusters = ["default/a".to_owned(), "default/b".to_owned()];
    let shared = BTreeMap::from([("incusbr0".to_owned(), clusters.into())]);
    let no_features = BTreeMap::from([("idmapped_mounts".into(), "false".into())]);
    let cases: Vec<(ServerFacts, &[&str])> = vec![
        (ServerFacts { kernel: "6.1.0-18-amd64".into(), ..server() }, &["warning kernel"]),
        (ServerFacts { shared_networks: shared, ..server() }, &["warning neighbours"]),
        (ServerFacts { kernel: "4.19.0".into(), ..server() }, &["problem kernel"]),
        (ServerFacts { version: "0.7".into(), ..server() }, &["problem server-version"]),
        (ServerFacts { version: "6.0.4".into(), ..server() }, &[]),
        (affected("6.0.4", &["1.1.15", "1.3.3"], &["n"]), &["warning apparmor-runc"]),
        (affected("6.0.4", &["1.1.15", "1.3.3"], &[]), &[]),
        (affected("6.0.4", &["1.1.15"], &["n"]), &[]),
        (affected("6.0.4", &[], &["n"]), &[]),
        (affected("6.20", &["1.3.3"], &["n"]), &[]),
        (
            ServerFacts { flavor: Flavor::Lxd, version: "4.0.9".into(), ..server() },
            &["problem server-version"],
        ),
        (ServerFacts { runs_containers: false, ..server() }, &["problem containers"]),
        (ServerFacts { kernel_features: no_features, ..server() }, &["warning idmapped-mounts"]),
        (instances(|i| i.missing_profiles = vec!["big".into()]), &["problem profiles"]),
        (instances(|i| i.root = None), &["problem root-disk"]),
        (pool(|p| p.exists = false), &["problem storage-pool"]),
        (pool(|p| p.status = "Unavailable".into()), &["problem storage-pool"]),
        (pool(|p| p.status = "Pending".into()), &["problem storage-pool"]),
        (pool(|p| p.status = "Created".into()), &[]),
        (
            instances(|i| i.root_devices = vec!["disk".into(), "root".into()]),
            &["problem root-disk"],
        ),
        (pool(|p| p.driver = "zfs".into()), &["warning storage-driver"]),
        (pool(|p| p.free_bytes = Some(GIB)), &["problem disk-space"]),
        (pool(|p| p.free_bytes = None), &[]),
        (instances(|i| i.network = None), &["problem network"]),
        (network(|n| n.exists = false), &["problem network"]),
        (network(|n| n.config.clear()), &["problem addresses"]),
        (network(|n| drop(n.config.remove("ipv4.nat"))), &["warning nat"]),
    ];
    for (broken, expected) in cases {
        assert_eq!(wrong(&host(), &broken), expected, "{broken:?}");
    }
}

#[test]
fn every_finding_has_an_impact_and_a_fix() {
    let bare = HostFacts {
        sysctls: host().sysctls.into_keys().map(|key| (key, "-1".to_owned())).collect(),
        has_apparmor: false,
        lxcfs: Some(Lxcfs { is_writable: true, version: None }),
        cgroups: Cgroups::V1,
        has_module_directory: true,
        filesystems: vec!["ext4".into()],
        available_memory_bytes: Some(1),
        memory_bytes: Some(1),
        ..HostFacts::default()
    };
    let empty = ServerFacts { instances: InstanceFacts::default(), ..server() };
    let findings = all(&bare, &empty);
    let wrong: Vec<&Finding> = findings.iter().filter(|f| f.severity != Severity::Ok).collect();
    assert!(wrong.len() > 15, "{}", wrong.len());
    for finding in wrong {
        assert!(!finding.means.is_empty(), "{finding:?}");
        assert!(!finding.remedies.is_empty(), "{finding:?}");
    }
}

#[test]
fn an_empty_server_is_set_up_by_safe_fixes() {
    let fresh = instances(|i| {
        *i = InstanceFacts { profiles: vec!["default".into()], ..InstanceFacts::default() };
    });
    let fixes: Vec<Fix> = server_findings(&fresh).into_iter().filter_map(|f| f.fix).collect();
    assert_eq!(
        fixes,
        [Fix::CreatePool { name: "default".into() }, Fix::CreateBridge { name: "incusbr0".into() }]
    );
}

#[test]
fn cgroup_v1_is_accepted_on_request() {
    let broken = HostFacts { cgroups: Cgroups::V1, ..host() };
    let findings = host_findings(&broken, CheckOptions { allow_cgroup_v1: true });
    assert!(!findings.iter().any(Finding::is_problem));
}

#[test]
fn all_low_limits_are_raised_by_one_command() {
    let low = host().sysctls.into_keys().map(|key| (key, "128".to_owned())).collect();
    let findings = sysctl_findings(&HostFacts { sysctls: low, ..host() });
    let problems: Vec<&Finding> = findings.iter().filter(|finding| finding.is_problem()).collect();
    assert_eq!(problems[0].found, "the host's kernel.keys.maxkeys is 128");
    let command = raise_command(&problems).unwrap();
    assert!(
        command.starts_with("sudo sysctl -w kernel.keys.maxkeys=2000 kernel.keys.maxbytes=2000000 fs.inotify.max_user_instances=1024"),
        "{command}"
    );
}

#[test]
fn the_firewall_that_drops_dhcp_is_named_with_a_fix() {
    let missing = |rules: &str, tables: &[&str]| HostFacts {
        offer: Some(Offer::Missing),
        forwarding: Some(Forwarding {
            drops: false,
            accepted: Vec::new(),
            rules: rules.to_owned(),
            input_tables: tables.iter().map(|table| (*table).to_owned()).collect(),
        }),
        ..host()
    };
    let rule = ":INPUT ACCEPT [0:0]\n-A INPUT -i incusbr0 -p udp -m udp --dport 67 -j DROP";
    let ufw = ":INPUT DROP [0:0]\n:ufw-user-input - [0:0]\n-A INPUT -j ufw-user-input";
    for (rules, tables, cause, command) in [
        (rule, &[][..], "`-A INPUT -i incusbr0 -p udp -m udp --dport 67 -j DROP`", "iptables -I"),
        (ufw, &[], "ufw drops it (`:INPUT DROP`)", "ufw allow in on incusbr0"),
        ("", &["inet own", "inet firewalld"], "firewalld", "firewall-cmd --zone=trusted"),
        ("", &["inet own"], "table `inet own`", "nft list table inet own"),
        ("", &[], "no rule is known", "pgrep -a dnsmasq"),
    ] {
        let findings = combined_findings(&missing(rules, tables), &server());
        let finding = findings.iter().find(|finding| finding.id == "dhcp").unwrap();
        assert!(finding.is_problem());
        assert!(finding.found.contains(cause), "{}", finding.found);
        assert!(finding.remedies[0].contains(command), "{:?}", finding.remedies);
    }
}

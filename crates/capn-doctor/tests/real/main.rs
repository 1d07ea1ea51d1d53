//! The doors of real nodes, on the servers of this machine, where there are any with an image.
//!
//! The three modes are tried: no door may be open in the unprivileged ones. In a privileged node
//! many have to be, or the attempts prove nothing.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not know for tests"
)]

mod dhcp;
mod support;

use capn_doctor::escape::{self, DoorState, EscapeReport, Mode, Targets};
use support::{Node, servers};

/// Keys of an instance and their values.
type Settings = &'static [(&'static str, &'static str)];

const UNPRIVILEGED: [(&str, Settings, Mode); 2] = [
    ("shared", &[("security.nesting", "true")], Mode::Shared),
    (
        "isolated",
        &[("security.nesting", "true"), ("security.idmap.isolated", "true")],
        Mode::Isolated,
    ),
];

/// As a privileged node of the provider: nothing is kept from it but the system call filter.
const PRIVILEGED: Settings = &[
    ("security.nesting", "true"),
    ("security.privileged", "true"),
    (
        "raw.lxc",
        "lxc.apparmor.profile=unconfined\nlxc.mount.auto=proc:rw sys:rw cgroup:rw\n\
         lxc.cgroup.devices.allow=a\nlxc.cgroup2.devices.allow=a\nlxc.cap.drop=\n",
    ),
];

/// Doors that no kernel keeps shut for the host's own root.
const OPEN_IN_PRIVILEGED: [&str; 16] = [
    "user-map-host-root",
    "initial-user-namespace",
    "nested-user-map",
    "sysctl-kernel",
    "sysctl-vm",
    "sysctl-fs",
    "drop-caches",
    "core-pattern",
    "kernel-log-call",
    "clock-adjtimex",
    "clock-set",
    "bpf-tracing",
    "perf-all-processes",
    "device-nodes",
    "mount-disk",
    "swap",
];

async fn tried(node: &Node) -> EscapeReport {
    let targets = Targets::of_host("/".into());
    let report = escape::try_doors(&node.client, &node.name, None, &targets).await.unwrap();
    println!(
        "{} on {}: {} open, {} unknown, {} absent, {} closed",
        node.name,
        node.server,
        report.count(DoorState::Open),
        report.count(DoorState::Unknown),
        report.count(DoorState::Absent),
        report.count(DoorState::Closed),
    );
    for door in &report.doors {
        if matches!(door.result, DoorState::Open | DoorState::Unknown) {
            println!("  {} {}: {}", door.result, door.door.name, door.detail);
        }
    }
    report
}

#[tokio::test]
async fn no_door_of_an_unprivileged_node_is_open() {
    for server in servers("no_door_of_an_unprivileged_node_is_open").await {
        for (name, config, mode) in UNPRIVILEGED {
            let node = Node::launch(&server, name, config).await;
            let report = tried(&node).await;
            let left = node.files_of_the_probes().await;
            node.delete().await;
            assert_eq!(report.mode, mode);
            assert_eq!(report.names(DoorState::Unknown), [""; 0], "{name} on {}", server.name);
            // What lxcfs before 6.0 lets through without AppArmor is the host's to mend; doctor
            // names it, and where it is mended nothing may be open.
            let known: &[&str] = match support::lxcfs_writes() {
                true => &["processors-offline"],
                false => &[],
            };
            assert_eq!(report.names(DoorState::Open), known, "{name} on {}", server.name);
            assert_eq!(left, "", "the probes left files in the node");
            if mode == Mode::Isolated {
                assert!(!report.notes.is_empty(), "an isolated node says which ids it has");
            }
        }
    }
}

#[tokio::test]
async fn a_privileged_node_shows_that_open_doors_are_found() {
    for server in servers("a_privileged_node_shows_that_open_doors_are_found").await {
        let node = Node::launch(&server, "privileged", PRIVILEGED).await;
        let before = support::host_settings();
        let report = tried(&node).await;
        let after = support::host_settings();
        node.delete().await;
        assert_eq!(report.mode, Mode::Privileged);
        assert!(!report.holds());
        let open = report.names(DoorState::Open);
        for door in OPEN_IN_PRIVILEGED {
            assert!(open.contains(&door), "{door} is not open on {}: {open:?}", server.name);
        }
        assert!(open.len() >= 40, "only {} are open on {}", open.len(), server.name);
        assert_eq!(report.names(DoorState::Unknown), [""; 0]);
        assert_eq!(before, after, "open doors changed the host");
    }
}

#[tokio::test]
async fn a_node_that_is_not_there_is_an_error_with_its_name() {
    for server in servers("a_node_that_is_not_there_is_an_error_with_its_name").await {
        let error =
            escape::try_doors(&server.client, "capn-t-doctor-none", None, &Targets::default())
                .await
                .unwrap_err();
        assert!(matches!(error, escape::EscapeError::NoSuchNode { .. }), "{error:?}");
        assert!(error.to_string().contains("capn-t-doctor-none"));
        assert!(error.hint().is_some());
    }
}

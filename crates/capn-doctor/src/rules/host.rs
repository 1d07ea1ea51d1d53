//! Findings about the host alone.

use super::sysctl::sysctl_findings;
use super::{CheckOptions, size, version};
use crate::facts::{Cgroups, HostFacts, IdRange};
use crate::finding::{Finding, Fix};

/// With less memory, a control plane and a worker do not fit.
const MIN_MEMORY_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Number of IDs of one node: enough for the users of a distribution and systemd's dynamic users.
const IDS_OF_A_NODE: u64 = 65536;
/// 2025-01-01: older than any release of capn.
const EARLIEST_TIME_S: u64 = 1_735_689_600;
const A_DAY_S: u64 = 24 * 60 * 60;

/// Returns all findings about the host.
pub fn host_findings(facts: &HostFacts, options: CheckOptions) -> Vec<Finding> {
    let mut findings = vec![cgroups(facts, options)];
    findings.extend(modules(facts));
    findings.extend(sysctl_findings(facts));
    findings.extend(id_findings(facts));
    findings.push(apparmor(facts));
    findings.extend(lxcfs(facts));
    findings.extend(memory(facts));
    findings.push(clock(facts));
    findings
}

fn cgroups(facts: &HostFacts, options: CheckOptions) -> Finding {
    const ID: &str = "cgroups";
    match (facts.cgroups, options.allow_cgroup_v1) {
        (Cgroups::V2, _) => Finding::ok(ID, "the host has cgroup v2"),
        (Cgroups::V1, true) => Finding::warning(
            ID,
            "this host has cgroup v1 controllers",
            "nodes run because of `--allow-cgroup-v1`; a later release of kubelet drops support for cgroup v1",
        ),
        (Cgroups::V1, false) => Finding::problem(
            ID,
            "this host has cgroup v1 controllers",
            "kubelet does not run on cgroup v1",
        )
        .remedy("allow it: `--allow-cgroup-v1`")
        .remedy("or boot the host with cgroup v2 only: `systemd.unified_cgroup_hierarchy=1` on the kernel command line"),
    }
}

fn modules(facts: &HostFacts) -> Vec<Finding> {
    let overlay = match facts.filesystems.iter().any(|name| name == "overlay")
        || facts.has_module("overlay") == Some(true)
    {
        true => Finding::ok("overlay", "the host's kernel has overlayfs"),
        false if facts.filesystems.is_empty() => return Vec::new(),
        false => Finding::problem(
            "overlay",
            "the host's kernel has no overlayfs",
            "containerd in nodes cannot store containers",
        )
        .remedy("sudo modprobe overlay"),
    };
    const NETWORK: [(&str, &str); 2] = [
        ("br_netfilter", "pods cannot reach Services with endpoints on the same node"),
        ("nf_conntrack", "kube-proxy cannot translate the addresses of Services"),
    ];
    let missing = NETWORK.iter().filter(|(name, _)| facts.has_module(name) == Some(false));
    let missing = missing.map(|(name, means)| {
        Finding::problem("modules", format!("the host's kernel has no module {name}"), *means)
            .remedy(format!("install the host's full kernel modules, then `sudo modprobe {name}`"))
    });
    std::iter::once(overlay).chain(missing).collect()
}

/// Findings about the subordinate IDs of root: one range, and large enough.
pub fn id_findings(facts: &HostFacts) -> Vec<Finding> {
    let files = [("/etc/subuid", &facts.subuid), ("/etc/subgid", &facts.subgid)];
    files.into_iter().map(|(path, ranges)| id_range(path, ranges)).collect()
}

fn id_range(path: &str, ranges: &[IdRange]) -> Finding {
    const ID: &str = "subordinate-ids";
    match ranges {
        // The daemon then chooses a range itself.
        [] => Finding::ok(ID, format!("{path} leaves the choice of an ID range to the server")),
        [only] if only.count < IDS_OF_A_NODE => Finding::problem(
            ID,
            format!("{path} gives root {} IDs", only.count),
            "a node needs 65536, for the users of systemd and of container images",
        )
        .remedy(format!(
            "replace `{}` with `root:1000000:1000000000` in /etc/subuid and /etc/subgid, then \
             restart the daemon",
            only.line
        )),
        [only] => {
            Finding::ok(ID, format!("{path} gives root {} IDs from {}", only.count, only.first))
        }
        [first, others @ ..] => {
            let others: Vec<&str> = others.iter().map(|range| range.line.as_str()).collect();
            Finding::problem(
                ID,
                format!("{path} gives root {} id ranges", ranges.len()),
                "the server maps all of them, which the kernel rejects: unprivileged instances do not start",
            )
            .remedy(format!(
                "keep `{}`, remove `{}` from /etc/subuid and /etc/subgid, then restart the daemon",
                first.line,
                others.join("`, `")
            ))
        }
    }
}

fn apparmor(facts: &HostFacts) -> Finding {
    match facts.has_apparmor {
        true => Finding::ok("apparmor", "AppArmor confines instances"),
        false => Finding::warning(
            "apparmor",
            "AppArmor is not enabled on the host",
            "user namespaces are the only isolation of nodes; the second layer is missing",
        )
        .remedy("boot a kernel with AppArmor: `apparmor=1 security=apparmor` on the kernel command line"),
    }
}

/// lxcfs before 6.0 passes writes below `/sys/devices/system/cpu` to the kernel as root on the host
/// (lxc/lxcfs#629, fixed by lxc/lxcfs#630 in 6.0). AppArmor's profile for instances denies them.
fn lxcfs(facts: &HostFacts) -> Option<Finding> {
    const ID: &str = "lxcfs-writes";
    let lxcfs = facts.lxcfs.as_ref()?;
    let number = lxcfs.version.as_deref().unwrap_or("(unknown version)");
    let is_old = lxcfs.version.as_deref().and_then(version).is_none_or(|(major, _)| major < 6);
    if !is_old || !lxcfs.is_writable || facts.has_apparmor {
        return Some(Finding::ok(ID, format!("lxcfs {number} is not writable from nodes")));
    }
    let mut finding = Finding::problem(
        ID,
        format!("lxcfs {number} is writable from nodes, and AppArmor is not enabled"),
        "root in any node can take CPUs of the host offline",
    )
    .remedy("sudo mount -i -o remount,ro /var/lib/lxcfs")
    .remedy("or install lxcfs 6.0 or later, and restart the instances");
    if lxcfs.version.is_some() {
        finding = finding.fix(Fix::LxcfsReadOnly);
    }
    Some(finding)
}

fn memory(facts: &HostFacts) -> Option<Finding> {
    let (available, all) = (facts.available_memory_bytes?, facts.memory_bytes?);
    let found = format!("{} of {} memory is available", size(available), size(all));
    Some(match available < MIN_MEMORY_BYTES {
        false => Finding::ok("memory", found),
        true => Finding::warning(
            "memory",
            found,
            "a control plane and a worker need about 2 GiB: the kernel may kill processes in nodes",
        )
        .remedy("stop unused instances: `incus list -c nsm` shows their memory"),
    })
}

fn clock(facts: &HostFacts) -> Finding {
    const ID: &str = "clock";
    let least = facts.last_package_s.unwrap_or(0).max(EARLIEST_TIME_S);
    if facts.now_s + A_DAY_S >= least {
        return Finding::ok(ID, "the host's clock is plausible");
    }
    Finding::problem(
        ID,
        format!(
            "the host's clock is {} days behind its package database",
            (least - facts.now_s) / A_DAY_S
        ),
        "certificates are not valid yet: kubeadm and every TLS connection fail",
    )
    .remedy("sudo timedatectl set-ntp true")
}

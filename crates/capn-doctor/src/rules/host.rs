//! The host alone.

use super::sysctl::sysctl_findings;
use super::{Wishes, size, version};
use crate::facts::{Cgroups, HostFacts, IdRange};
use crate::finding::{Finding, Fix};

/// Below this much memory a control plane and a worker do not fit.
const LITTLE_MEMORY_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Ids of one node: what a distribution's users and systemd's dynamic ones need.
const IDS_OF_A_NODE: u64 = 65536;
/// 2025-01-01: nothing of capn was written before.
const BEFORE_CAPN_S: u64 = 1_735_689_600;
const A_DAY_S: u64 = 24 * 60 * 60;

/// Everything about the host.
pub fn host_findings(facts: &HostFacts, wishes: Wishes) -> Vec<Finding> {
    let mut findings = vec![cgroups(facts, wishes)];
    findings.extend(modules(facts));
    findings.extend(sysctl_findings(facts));
    findings.extend(id_findings(facts));
    findings.push(apparmor(facts));
    findings.extend(lxcfs(facts));
    findings.extend(memory(facts));
    findings.push(clock(facts));
    findings
}

fn cgroups(facts: &HostFacts, wishes: Wishes) -> Finding {
    const ID: &str = "cgroups";
    match (facts.cgroups, wishes.allow_cgroup_v1) {
        (Cgroups::V2, _) => Finding::ok(ID, "the host has cgroup v2"),
        (Cgroups::V1, true) => Finding::warning(
            ID,
            "this host has cgroup v1 controllers",
            "nodes run because of `--allow-cgroup-v1`; kubelet gives cgroup v1 up in a later release",
        ),
        (Cgroups::V1, false) => Finding::problem(
            ID,
            "this host has cgroup v1 controllers",
            "kubelet refuses to run on them",
        )
        .mend("run nodes all the same: `--allow-cgroup-v1`")
        .mend("or boot the host with cgroup v2 only: `systemd.unified_cgroup_hierarchy=1` on the kernel command line"),
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
            "containerd in nodes has no place for containers",
        )
        .mend("sudo modprobe overlay"),
    };
    const NETWORK: [(&str, &str); 2] = [
        ("br_netfilter", "services are not reached from pods on the same node"),
        ("nf_conntrack", "kube-proxy cannot translate addresses of services"),
    ];
    let missing = NETWORK.iter().filter(|(name, _)| facts.has_module(name) == Some(false));
    let missing = missing.map(|(name, means)| {
        Finding::problem("modules", format!("the host's kernel has no module {name}"), *means)
            .mend(format!("install the host's full kernel modules, then `sudo modprobe {name}`"))
    });
    std::iter::once(overlay).chain(missing).collect()
}

/// Root's subordinate ids: one range, and not too small.
pub fn id_findings(facts: &HostFacts) -> Vec<Finding> {
    let files = [("/etc/subuid", &facts.subuid), ("/etc/subgid", &facts.subgid)];
    files.into_iter().map(|(path, ranges)| id_range(path, ranges)).collect()
}

fn id_range(path: &str, ranges: &[IdRange]) -> Finding {
    const ID: &str = "subordinate-ids";
    match ranges {
        // The daemon then takes a range of its own choice.
        [] => Finding::ok(ID, format!("{path} leaves the range of ids to the server")),
        [only] if only.count < IDS_OF_A_NODE => Finding::problem(
            ID,
            format!("{path} gives root {} ids", only.count),
            "a node needs 65536: systemd and images have users up to there",
        )
        .mend(format!(
            "replace `{}` by `root:1000000:1000000000` in /etc/subuid and /etc/subgid, then restart the daemon",
            only.line
        )),
        [only] => Finding::ok(ID, format!("{path} gives root {} ids from {}", only.count, only.first)),
        [first, others @ ..] => {
            let others: Vec<&str> = others.iter().map(|range| range.line.as_str()).collect();
            Finding::problem(
                ID,
                format!("{path} gives root {} ranges of ids", ranges.len()),
                "the server maps all of them and the kernel refuses: unprivileged instances do not start",
            )
            .mend(format!(
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
            "the host has no AppArmor",
            "user namespaces alone keep nodes in; a second fence behind them is missing",
        )
        .mend("boot a kernel with AppArmor: `apparmor=1 security=apparmor` on the kernel command line"),
    }
}

/// lxcfs before 6.0 hands writes below `/sys/devices/system/cpu` to the kernel as the host's root
/// (lxc/lxcfs#629, mended by lxc/lxcfs#630 in 6.0). AppArmor's profile for instances refuses them.
fn lxcfs(facts: &HostFacts) -> Option<Finding> {
    const ID: &str = "lxcfs-writes";
    let lxcfs = facts.lxcfs.as_ref()?;
    let number = lxcfs.version.as_deref().unwrap_or("of unknown version");
    let is_old = lxcfs.version.as_deref().and_then(version).is_none_or(|(major, _)| major < 6);
    if !is_old || !lxcfs.is_writable || facts.has_apparmor {
        return Some(Finding::ok(ID, format!("lxcfs {number} takes no writes from nodes")));
    }
    let mut finding = Finding::problem(
        ID,
        format!("lxcfs {number} takes writes from nodes, and no AppArmor is between"),
        "root in any node can switch the host's processors off",
    )
    .mend("sudo mount -i -o remount,ro /var/lib/lxcfs")
    .mend("or install lxcfs 6.0 or later, and start the instances anew");
    if lxcfs.version.is_some() {
        finding = finding.fix(Fix::LxcfsReadOnly);
    }
    Some(finding)
}

fn memory(facts: &HostFacts) -> Option<Finding> {
    let (available, all) = (facts.available_memory_bytes?, facts.memory_bytes?);
    let found = format!("{} of {} memory are available", size(available), size(all));
    Some(match available < LITTLE_MEMORY_BYTES {
        false => Finding::ok("memory", found),
        true => Finding::warning(
            "memory",
            found,
            "a control plane and a worker need about 2 GiB: the kernel may end processes in nodes",
        )
        .mend("stop what is not needed: `incus list -c nsm` shows what instances use"),
    })
}

fn clock(facts: &HostFacts) -> Finding {
    const ID: &str = "clock";
    let least = facts.last_package_s.unwrap_or(0).max(BEFORE_CAPN_S);
    if facts.now_s + A_DAY_S >= least {
        return Finding::ok(ID, "the host's clock is not behind");
    }
    Finding::problem(
        ID,
        format!(
            "the host's clock is {} days behind its own files",
            (least - facts.now_s) / A_DAY_S
        ),
        "certificates are not valid yet: kubeadm and every TLS connection fail",
    )
    .mend("sudo timedatectl set-ntp true")
}

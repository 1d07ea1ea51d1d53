//! The table of escape vectors and their impact.

use serde::Serialize;

/// An escape vector from a node to its host. Its probe has the same name in `probe/*.py`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Vector {
    /// Name, stable between releases.
    pub name: &'static str,
    /// Family; the vectors of a family are in one file.
    pub family: &'static str,
    /// Impact: what root in the node can do if the vector is open.
    pub gives: &'static str,
}

const fn vector(family: &'static str, name: &'static str, gives: &'static str) -> Vector {
    Vector { name, family, gives }
}

/// All vectors, in the order they are tried.
pub const VECTORS: &[Vector] = &[
    vector("identity", "user-map-host-root", "act as root in the host's kernel"),
    vector("identity", "group-map-host-root", "act as group root on the host"),
    vector("identity", "initial-user-namespace", "use every capability on the host"),
    vector(
        "identity",
        "nested-user-map",
        "act as users of the host through a nested user namespace",
    ),
    vector(
        "identity",
        "nested-group-map",
        "act as groups of the host through a nested user namespace",
    ),
    vector("identity", "become-foreign-id", "access files and processes of users outside the node"),
    vector("identity", "trusted-attributes", "set file attributes that the host's tools trust"),
    vector("identity", "parent-namespace", "enter the namespaces above the node"),
    vector(
        "sysctl",
        "sysctl-kernel",
        "change the host's kernel settings: panic, hardening, logging",
    ),
    vector("sysctl", "sysctl-vm", "change the host's memory settings, and stall the host"),
    vector("sysctl", "sysctl-fs", "change the host's file limits and link protection"),
    vector(
        "sysctl",
        "sysctl-conntrack",
        "shrink the host's connection table until connections fail",
    ),
    vector("sysctl", "sysctl-keys", "change the host's limits for kernel keys"),
    vector("sysctl", "drop-caches", "drop the host's caches repeatedly"),
    vector("sysctl", "sysrq-trigger", "crash or reboot the host"),
    vector("sysctl", "interrupts", "choose which CPUs serve the host's devices"),
    vector("helpers", "core-pattern", "run a program as root on the host when a process crashes"),
    vector(
        "helpers",
        "modprobe-path",
        "run a program as root on the host when a module is requested",
    ),
    vector("helpers", "poweroff-command", "run a program as root on the host at shutdown"),
    vector(
        "helpers",
        "helper-capabilities",
        "change the capabilities of programs that the kernel starts",
    ),
    vector("helpers", "uevent-helper", "run a program as root on the host for each device event"),
    vector("helpers", "synthetic-uevent", "send forged device events to the host's udev"),
    vector(
        "hardware",
        "kernel-memory-settings",
        "take huge pages from the host, and enable page sharing",
    ),
    vector("hardware", "module-parameters", "change settings of the host's drivers"),
    vector("hardware", "power-state", "suspend the host"),
    vector("hardware", "pci-bus", "detach devices of the host from their drivers"),
    vector("hardware", "processors-offline", "take CPUs of the host offline"),
    vector("hardware", "memory-offline", "take memory of the host offline"),
    vector("hardware", "disk-queues", "change the I/O settings of the host's disks"),
    vector("helpers", "binfmt-handlers", "run a program when the host executes certain file types"),
    vector("hardware", "efi-variables", "change what the host boots next, or brick its firmware"),
    vector("kernel", "security-policy", "change the host's AppArmor, SELinux or Smack policy"),
    vector("kernel", "module-init", "run code in the host's kernel"),
    vector("kernel", "module-finit", "run code in the host's kernel"),
    vector("kernel", "module-delete", "remove drivers from the host's kernel"),
    vector("kernel", "kexec", "boot another kernel on the host"),
    vector("kernel", "kexec-file", "boot another kernel on the host"),
    vector("kernel", "bpf-tracing", "read the memory of all host processes with BPF programs"),
    vector(
        "kernel",
        "bpf-filter",
        "load BPF programs into the host's kernel, as most kernel exploits do",
    ),
    vector("kernel", "bpf-programs-of-host", "read and change the host's own BPF programs"),
    vector("kernel", "perf-all-processes", "see what all processes of the host execute"),
    vector("kernel", "perf-kernel", "see what the host's kernel executes, and at which addresses"),
    vector(
        "kernel",
        "userfaultfd-kernel",
        "pause the host's kernel during a copy, which helps exploits",
    ),
    vector(
        "kernel",
        "kernel-addresses",
        "read the addresses of kernel functions, which helps exploits",
    ),
    vector("kernel", "physical-memory-map", "see where the host's memory and devices are mapped"),
    vector(
        "kernel",
        "physical-page-numbers",
        "read physical addresses of the node's memory, for Rowhammer",
    ),
    vector("kernel", "kernel-memory", "read all memory of the host"),
    vector("kernel", "page-counts", "see how the host uses each page of memory"),
    vector("log", "kernel-log-file", "read the host's kernel log, and remove lines from it"),
    vector("log", "kernel-log-device", "read the host's kernel log"),
    vector("log", "kernel-log-forge", "write lines to the host's kernel log"),
    vector("log", "kernel-log-call", "read the host's kernel log"),
    vector("log", "kernel-log-level", "change what the host's console shows"),
    vector("clock", "clock-adjtimex", "adjust the host's clock gradually"),
    vector("clock", "clock-adjtime", "adjust the host's clock gradually"),
    vector("clock", "clock-set", "set the host's clock, which breaks certificates and logs"),
    vector("clock", "clock-hardware", "set the host's hardware clock and its alarms"),
    vector(
        "kernel",
        "host-keys",
        "read keys of the host's root user: disk encryption, file shares",
    ),
    vector("devices", "disk-by-new-node", "access every file on the host's disks"),
    vector("devices", "disk-by-existing-node", "access every file on a disk of the host"),
    vector("devices", "device-nodes", "access any device of the host"),
    vector("devices", "memory-device", "access the host's memory"),
    vector("devices", "port-device", "access the host's I/O ports"),
    vector("devices", "io-ports", "access the host's I/O ports"),
    vector("devices", "io-privilege", "access the host's I/O ports and interrupts"),
    vector(
        "devices",
        "processor-registers",
        "change the host's CPU registers, and run code in its kernel",
    ),
    vector("devices", "host-console", "read and type on the host's console"),
    vector("devices", "host-screen", "see the host's screen"),
    vector("devices", "loop-control", "create disks from files, which the host's kernel parses"),
    vector("devices", "virtualisation", "run virtual machines on the host, outside all limits"),
    vector("devices", "device-mapper", "change the host's volumes: encryption, LVM"),
    vector("files", "mount-disk", "mount disk formats, which the host's kernel parses and trusts"),
    vector("files", "mount-debugfs", "change hundreds of settings of the host's drivers"),
    vector("files", "mount-tracefs", "trace the host's kernel and processes"),
    vector("files", "mount-securityfs", "access the host's security modules"),
    vector("files", "mount-pstore", "read the host's crash logs"),
    vector("files", "mount-configfs", "change the host's storage and USB targets"),
    vector("files", "mount-devtmpfs", "get a device node for every device of the host"),
    vector("files", "debug-files", "change driver settings of the host that nesting exposes"),
    vector("files", "open-by-handle", "open any file on the node's disk by its inode number"),
    vector("files", "trim-disk", "administer the host's file system"),
    vector("files", "quota", "change the host's disk quotas"),
    vector("files", "swap", "change what the host swaps to"),
    vector("files", "accounting", "log all processes of the host"),
    vector("files", "watch-filesystem", "see or block all file accesses of the host"),
    vector("files", "host-folders", "write to files that the host exposes read-only"),
    vector(
        "files",
        "fuse-of-host",
        "abort FUSE file systems of the host, such as lxcfs of all nodes",
    ),
    vector("files", "chroot-breakout", "access the host's files"),
    vector("processes", "host-process-namespace", "see all processes of the host"),
    vector("processes", "host-name-namespace", "change the host's name"),
    vector("processes", "host-ipc-namespace", "access shared memory of the host's processes"),
    vector(
        "processes",
        "host-mount-namespace",
        "access the host's files by entering its mount namespace",
    ),
    vector(
        "network",
        "host-network-namespace",
        "change the host's interfaces, routes and firewall",
    ),
    vector("processes", "foreign-processes", "see processes outside the node"),
    vector("processes", "foreign-ptrace", "access the memory of processes outside the node"),
    vector(
        "processes",
        "outer-root",
        "access files outside the node through a process that has them open",
    ),
    vector("processes", "reboot-host", "reboot the host"),
    vector("network", "audit", "read or disable the host's audit log"),
    vector("network", "host-packets", "capture all packets of the host and of its other nodes"),
    vector(
        "cgroups",
        "cgroup-release-agent",
        "run a program as root on the host when a cgroup empties",
    ),
    vector(
        "cgroups",
        "cgroup-of-others",
        "change the limits of the host's services and other nodes",
    ),
    vector("cgroups", "host-cgroup-namespace", "see all cgroups of the host"),
    vector("cgroups", "cgroup-devices", "grant the node access to more devices"),
    vector("cgroups", "own-limits", "raise the node's own limits"),
    vector("resources", "memory-lock", "lock memory of the host without limit"),
    vector("resources", "limits-raise", "raise the node's process limits"),
    vector(
        "resources",
        "out-of-memory-score",
        "have the host's processes killed instead of the node's",
    ),
    vector("resources", "real-time", "monopolize CPUs of the host"),
    vector("resources", "priority", "run the node's processes before those of the host"),
    vector("resources", "disk-priority", "serve the node's disk accesses before those of the host"),
    vector("server", "server-socket", "act as root on the host through the server's own API"),
    vector("server", "guest-api", "reach the server's API through the API for guests"),
];

/// Returns the vector with this name.
pub fn find(name: &str) -> Option<&'static Vector> {
    VECTORS.iter().find(|vector| vector.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::escape::probe::program;

    /// Names and families as the probes register them.
    fn registered() -> BTreeSet<(String, String)> {
        let program = program();
        program
            .lines()
            .filter(|line| {
                ["@vector(\"", "proc_vector(\"", "sysfs_vector(\""]
                    .iter()
                    .any(|s| line.starts_with(s))
            })
            .map(|line| {
                let mut quoted = line.split('"').skip(1).step_by(2);
                let mut next = || quoted.next().unwrap().to_owned();
                (next(), next())
            })
            .collect()
    }

    #[test]
    fn the_table_and_the_probes_have_the_same_vectors() {
        let table: BTreeSet<(String, String)> = VECTORS
            .iter()
            .map(|vector| (vector.name.to_owned(), vector.family.to_owned()))
            .collect();
        assert_eq!(table, registered());
        assert_eq!(table.len(), VECTORS.len(), "a name is listed twice");
    }

    #[test]
    fn the_page_about_doctor_lists_every_vector() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli/doctor.md");
        let page = std::fs::read_to_string(path).unwrap();
        for vector in VECTORS {
            let row = format!("| `{}` | {} | ", vector.name, vector.gives);
            let line = page.lines().find_map(|line| line.strip_prefix(&row));
            // What it is from a pod with `hostUsers: false`.
            assert!(
                matches!(line, Some("closed |" | "absent |")),
                "not in docs/cli/doctor.md, or open from a pod: {row}"
            );
        }
        let rows = page.lines().skip_while(|line| *line != "## Escape vectors");
        let rows = rows.filter(|line| line.starts_with("| `") && !line.contains("attempt"));
        let vectors = rows.filter(|line| find(line.split('`').nth(1).unwrap_or("")).is_some());
        assert_eq!(vectors.count(), VECTORS.len(), "a vector is listed twice");
        assert!(page.contains(&format!("tries {} ways", VECTORS.len())));
    }

    #[test]
    fn there_are_more_than_forty_vectors_each_with_its_impact() {
        assert!(VECTORS.len() >= 40);
        assert!(VECTORS.iter().all(|vector| !vector.gives.is_empty()));
    }
}

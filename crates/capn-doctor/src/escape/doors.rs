//! The doors: what each is called, and what whoever finds it open has.

use serde::Serialize;

/// A way from a node to its host. How it is tried is in `probe/*.py`, under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Door {
    /// Name, stable between releases.
    pub name: &'static str,
    /// What it is about; the doors of a family are in one file.
    pub family: &'static str,
    /// What an open one gives to root in the node.
    pub gives: &'static str,
}

const fn door(family: &'static str, name: &'static str, gives: &'static str) -> Door {
    Door { name, family, gives }
}

/// All doors, in the order they are tried.
pub const DOORS: &[Door] = &[
    door("identity", "user-map-host-root", "root in the node is root for the host's kernel"),
    door("identity", "group-map-host-root", "group root in the node is group root of the host"),
    door("identity", "initial-user-namespace", "every capability counts on the host"),
    door("identity", "nested-user-map", "users of the host by a user namespace in the node"),
    door("identity", "nested-group-map", "groups of the host by a user namespace in the node"),
    door("identity", "become-foreign-id", "files and processes of users outside the node"),
    door("identity", "trusted-attributes", "marks on files that the host's own tools trust"),
    door("identity", "parent-namespace", "the namespaces above the node, to enter them"),
    door("sysctl", "sysctl-kernel", "settings of the host's kernel: panic, hardening, logging"),
    door("sysctl", "sysctl-vm", "the host's memory settings, up to a stalled host"),
    door("sysctl", "sysctl-fs", "the host's file limits and link protection"),
    door("sysctl", "sysctl-conntrack", "the host's connection table, up to no connections"),
    door("sysctl", "sysctl-keys", "the host's limits for kernel keys"),
    door("sysctl", "drop-caches", "the host's caches thrown away, again and again"),
    door("sysctl", "sysrq-trigger", "crash or reboot of the host"),
    door("sysctl", "interrupts", "which processors serve the host's devices"),
    door("helpers", "core-pattern", "a program run as the host's root when a process crashes"),
    door("helpers", "modprobe-path", "a program run as the host's root when a module is wanted"),
    door("helpers", "poweroff-command", "a program run as the host's root at shutdown"),
    door("helpers", "helper-capabilities", "what programs started by the kernel may do"),
    door("helpers", "uevent-helper", "a program run as the host's root for each device event"),
    door("helpers", "synthetic-uevent", "device events made up for the host's udev"),
    door("hardware", "kernel-memory-settings", "huge pages taken from the host, page sharing on"),
    door("hardware", "module-parameters", "settings of the host's drivers"),
    door("hardware", "power-state", "suspending the host"),
    door("hardware", "pci-bus", "devices taken from their drivers on the host"),
    door("hardware", "processors-offline", "processors of the host switched off"),
    door("hardware", "memory-offline", "memory of the host switched off"),
    door("hardware", "disk-queues", "how the host's disks are served"),
    door("helpers", "binfmt-handlers", "a program run when the host starts files of some kind"),
    door("hardware", "efi-variables", "what the host boots next, or a broken board"),
    door("kernel", "security-policy", "the host's AppArmor, SELinux or Smack policy"),
    door("kernel", "module-init", "code in the host's kernel"),
    door("kernel", "module-finit", "code in the host's kernel"),
    door("kernel", "module-delete", "drivers removed from the host's kernel"),
    door("kernel", "kexec", "another kernel on the host"),
    door("kernel", "kexec-file", "another kernel on the host"),
    door("kernel", "bpf-tracing", "programs that read the memory of all processes of the host"),
    door("kernel", "bpf-filter", "programs in the host's kernel: the way of most kernel exploits"),
    door("kernel", "bpf-programs-of-host", "the host's own BPF programs, to read and change"),
    door("kernel", "perf-all-processes", "what all processes of the host execute"),
    door("kernel", "perf-kernel", "what the host's kernel executes, and where it is"),
    door("kernel", "userfaultfd-kernel", "the kernel halted in the middle of a copy, for exploits"),
    door("kernel", "kernel-addresses", "where the kernel's functions are, for exploits"),
    door("kernel", "physical-memory-map", "where the host's memory and devices are"),
    door("kernel", "physical-page-numbers", "which memory cells the node has, for Rowhammer"),
    door("kernel", "kernel-memory", "all memory of the host, to read"),
    door("kernel", "page-counts", "how the host uses each page of memory"),
    door("log", "kernel-log-file", "the host's kernel log, and taking lines from it"),
    door("log", "kernel-log-device", "the host's kernel log"),
    door("log", "kernel-log-forge", "lines of its own in the host's kernel log"),
    door("log", "kernel-log-call", "the host's kernel log"),
    door("log", "kernel-log-level", "what the host's console shows"),
    door("clock", "clock-adjtimex", "the host's clock, slowly"),
    door("clock", "clock-adjtime", "the host's clock, slowly"),
    door("clock", "clock-set", "the host's clock: certificates and logs with it"),
    door("clock", "clock-hardware", "the host's hardware clock and its alarms"),
    door("kernel", "host-keys", "keys of the host's root: disk encryption, file shares"),
    door("devices", "disk-by-new-node", "every file on the host's disks"),
    door("devices", "disk-by-existing-node", "every file on a disk of the host"),
    door("devices", "device-nodes", "any device of the host"),
    door("devices", "memory-device", "the host's memory"),
    door("devices", "port-device", "the host's hardware ports"),
    door("devices", "io-ports", "the host's hardware ports"),
    door("devices", "io-privilege", "the host's hardware ports and interrupts"),
    door(
        "devices",
        "processor-registers",
        "the host's processor registers, and code in the kernel",
    ),
    door("devices", "host-console", "the host's console, to read and to type"),
    door("devices", "host-screen", "what is on the host's screen"),
    door("devices", "loop-control", "disks made of files, with a parser in the host's kernel"),
    door("devices", "virtualisation", "virtual machines on the host, beside all limits"),
    door("devices", "device-mapper", "the host's volumes: encryption, LVM"),
    door("files", "mount-disk", "disk formats read by the host's kernel, which trusts them"),
    door("files", "mount-debugfs", "hundreds of switches of the host's drivers"),
    door("files", "mount-tracefs", "tracing of the host's kernel and processes"),
    door("files", "mount-securityfs", "the host's security modules"),
    door("files", "mount-pstore", "logs of the host's crashes"),
    door("files", "mount-configfs", "the host's storage and USB targets"),
    door("files", "mount-devtmpfs", "a node of every device of the host"),
    door("files", "debug-files", "switches of the host's drivers, as nesting shows them"),
    door("files", "open-by-handle", "any file on the disk that holds the node, by its number"),
    door("files", "trim-disk", "the host's file system, to administer"),
    door("files", "quota", "the host's disk quotas"),
    door("files", "swap", "what the host swaps to"),
    door("files", "accounting", "a log of all processes of the host"),
    door("files", "watch-filesystem", "all file accesses of the host seen, or held up"),
    door("files", "host-folders", "files that the host shows read-only, to write"),
    door("files", "fuse-of-host", "FUSE file systems of the host ended, lxcfs of all nodes first"),
    door("files", "chroot-breakout", "the host's files"),
    door("processes", "host-process-namespace", "all processes of the host seen"),
    door("processes", "host-name-namespace", "the host's name"),
    door("processes", "host-ipc-namespace", "shared memory of the host's processes"),
    door("processes", "host-mount-namespace", "the host's files, by entering its mounts"),
    door("network", "host-network-namespace", "the host's interfaces, routes and firewall"),
    door("processes", "foreign-processes", "processes outside the node seen"),
    door("processes", "foreign-ptrace", "memory of processes outside the node"),
    door("processes", "outer-root", "files outside the node by a process that has them open"),
    door("processes", "reboot-host", "reboot of the host"),
    door("network", "audit", "the host's audit log, read or switched off"),
    door("network", "host-packets", "all packets of the host and of its other nodes"),
    door(
        "cgroups",
        "cgroup-release-agent",
        "a program run as the host's root when a group empties",
    ),
    door("cgroups", "cgroup-of-others", "limits of the host's services and other nodes"),
    door("cgroups", "host-cgroup-namespace", "all control groups of the host seen"),
    door("cgroups", "cgroup-devices", "devices allowed to itself"),
    door("cgroups", "own-limits", "its own limits raised"),
    door("resources", "memory-lock", "memory of the host that cannot be swapped, without limit"),
    door("resources", "limits-raise", "its own process limits raised"),
    door("resources", "out-of-memory-score", "the host's processes killed instead of its own"),
    door("resources", "real-time", "processors of the host held for itself"),
    door("resources", "priority", "its processes before those of the host"),
    door("resources", "disk-priority", "its disk accesses before those of the host"),
    door("server", "server-socket", "root on the host, through the server's own API"),
    door("server", "guest-api", "the server's API, through the one for guests"),
];

/// The door of this name.
pub fn find(name: &str) -> Option<&'static Door> {
    DOORS.iter().find(|door| door.name == name)
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
                ["@door(\"", "proc_door(\"", "sysfs_door(\""].iter().any(|s| line.starts_with(s))
            })
            .map(|line| {
                let mut quoted = line.split('"').skip(1).step_by(2);
                let mut next = || quoted.next().unwrap().to_owned();
                (next(), next())
            })
            .collect()
    }

    #[test]
    fn every_door_of_the_table_is_tried_and_every_door_that_is_tried_is_in_the_table() {
        let table: BTreeSet<(String, String)> =
            DOORS.iter().map(|door| (door.name.to_owned(), door.family.to_owned())).collect();
        assert_eq!(table, registered());
        assert_eq!(table.len(), DOORS.len(), "a name is there twice");
    }

    #[test]
    fn the_page_about_doctor_has_every_door_with_what_it_gives() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli/doctor.md");
        let page = std::fs::read_to_string(path).unwrap();
        for door in DOORS {
            let row = format!("| `{}` | {} | ", door.name, door.gives);
            let line = page.lines().find_map(|line| line.strip_prefix(&row));
            // What it is from a pod with `hostUsers: false`.
            assert!(
                matches!(line, Some("closed |" | "absent |")),
                "not in docs/cli/doctor.md, or open from a pod: {row}"
            );
        }
        let rows = page.lines().skip_while(|line| *line != "## Doors");
        let rows = rows.filter(|line| line.starts_with("| `") && !line.contains("attempt"));
        let doors = rows.filter(|line| find(line.split('`').nth(1).unwrap_or("")).is_some());
        assert_eq!(doors.count(), DOORS.len(), "a door is there twice");
        assert!(page.contains(&format!("tries {} ways", DOORS.len())));
    }

    #[test]
    fn there_are_more_than_forty_doors_and_each_says_what_it_gives() {
        assert!(DOORS.len() >= 40);
        assert!(DOORS.iter().all(|door| !door.gives.is_empty()));
    }
}

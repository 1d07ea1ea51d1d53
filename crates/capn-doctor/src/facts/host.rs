//! Facts about a host, from its files.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use camino::Utf8Path;

use super::firewall::Forwarding;
use super::offer::Offer;

/// Cgroup version of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cgroups {
    /// Version 2 only.
    #[default]
    V2,
    /// Version 1 controllers, with or without a version 2 hierarchy beside them.
    V1,
}

impl Cgroups {
    /// Reads the text of `/proc/mounts`: a `cgroup` mount anywhere means version 1.
    pub fn of_mounts(mounts: &str) -> Self {
        let has_v1 = mounts.lines().any(|line| line.split_whitespace().nth(2) == Some("cgroup"));
        if has_v1 { Self::V1 } else { Self::V2 }
    }
}

/// A line of `/etc/subuid` or `/etc/subgid` for root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The whole line.
    pub line: String,
    /// First id on the host.
    pub first: u64,
    /// Number of IDs.
    pub count: u64,
}

/// lxcfs, which shows each node its own processors and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lxcfs {
    /// Whether its mount is writable.
    pub is_writable: bool,
    /// Version of its Debian package, if installed.
    pub version: Option<String>,
}

/// Facts about a host. Unknown facts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Kernel release.
    pub kernel: Option<String>,
    /// Cgroup version.
    pub cgroups: Cgroups,
    /// File systems that the kernel currently supports.
    pub filesystems: Vec<String>,
    /// Kernel settings by dotted name.
    pub sysctls: BTreeMap<String, String>,
    /// Loaded and built-in modules, if known.
    pub modules: Vec<String>,
    /// Whether modules can be loaded: the module directory exists.
    pub has_module_directory: bool,
    /// Root's ranges of user IDs.
    pub subuid: Vec<IdRange>,
    /// Root's ranges of group IDs.
    pub subgid: Vec<IdRange>,
    /// Whether AppArmor is enabled.
    pub has_apparmor: bool,
    /// lxcfs, if it is mounted.
    pub lxcfs: Option<Lxcfs>,
    /// Memory available to new processes, in bytes.
    pub available_memory_bytes: Option<u64>,
    /// Total memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Whether Docker's bridge exists.
    pub has_docker: bool,
    /// State of the firewall, if it can be read.
    pub forwarding: Option<Forwarding>,
    /// Result of a DHCP request on the bridge of new instances, if they use one.
    pub offer: Option<Offer>,
    /// Current time, in seconds since 1970.
    pub now_s: u64,
    /// Time of the last package installation, in seconds since 1970. The clock cannot be before it.
    pub last_package_s: Option<u64>,
}

/// Kernel settings to check.
pub(crate) const SYSCTLS: &[&str] = &[
    "fs.inotify.max_user_instances",
    "fs.inotify.max_user_watches",
    "kernel.dmesg_restrict",
    "kernel.keys.maxbytes",
    "kernel.keys.maxkeys",
    "net.core.wmem_default",
    "kernel.perf_event_paranoid",
    "kernel.unprivileged_bpf_disabled",
    "kernel.unprivileged_userns_clone",
    "net.ipv4.ip_forward",
    "net.netfilter.nf_conntrack_max",
    "user.max_user_namespaces",
    "vm.unprivileged_userfaultfd",
];

impl HostFacts {
    /// Reads the facts of the host whose `/` is at `root`. Missing and unreadable files leave their
    /// facts empty.
    pub fn read(root: &Utf8Path) -> Self {
        let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let line = |path: &str| Some(text(path).trim().to_owned()).filter(|line| !line.is_empty());
        let kernel = line("proc/sys/kernel/osrelease");
        let mounts = text("proc/mounts");
        let sysctls = SYSCTLS.iter().filter_map(|key| {
            let value = line(&format!("proc/sys/{}", key.replace('.', "/")))?;
            Some(((*key).to_owned(), value))
        });
        let memory = text("proc/meminfo");
        let modules_directory = kernel.as_deref().map(|kernel| format!("lib/modules/{kernel}"));
        let has_module_directory = modules_directory
            .as_ref()
            .is_some_and(|path| root.join(path).join("modules.dep").exists());
        let modified = |path: &str| {
            let modified = std::fs::metadata(root.join(path)).ok()?.modified().ok()?;
            Some(modified.duration_since(UNIX_EPOCH).ok()?.as_secs())
        };
        Self {
            cgroups: Cgroups::of_mounts(&mounts),
            filesystems: text("proc/filesystems")
                .lines()
                .filter_map(|line| line.split_whitespace().last().map(str::to_owned))
                .collect(),
            sysctls: sysctls.collect(),
            modules: modules(root, modules_directory.as_deref()),
            has_module_directory,
            subuid: ranges_of_root(&text("etc/subuid")),
            subgid: ranges_of_root(&text("etc/subgid")),
            has_apparmor: line("sys/module/apparmor/parameters/enabled").as_deref() == Some("Y"),
            lxcfs: lxcfs(&mounts, &text("var/lib/dpkg/status")),
            available_memory_bytes: memory_field(&memory, "MemAvailable:"),
            memory_bytes: memory_field(&memory, "MemTotal:"),
            has_docker: root.join("sys/class/net/docker0").exists(),
            forwarding: None,
            offer: None,
            now_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()),
            last_package_s: modified("var/lib/dpkg/status"),
            kernel,
        }
    }

    /// Returns a kernel setting as a number.
    pub fn sysctl(&self, key: &str) -> Option<i64> {
        self.sysctls.get(key)?.parse().ok()
    }

    /// Returns whether the kernel has the module or can load it; `None` if unknown.
    pub fn has_module(&self, name: &str) -> Option<bool> {
        if self.modules.iter().any(|module| module == name) {
            return Some(true);
        }
        // Built-in modules without parameters leave no trace on a kernel without a module
        // directory.
        self.has_module_directory.then_some(false)
    }
}

fn modules(root: &Utf8Path, directory: Option<&str>) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(root.join("sys/module"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    for list in ["modules.builtin", "modules.dep"] {
        let path = directory.map(|directory| root.join(directory).join(list));
        let text = path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| {
            let path = line.split(':').next()?;
            let file = path.rsplit('/').next()?;
            Some(file.split(".ko").next()?.replace('-', "_"))
        }));
    }
    found
}

fn ranges_of_root(text: &str) -> Vec<IdRange> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            if !matches!(fields.next()?, "root" | "0") {
                return None;
            }
            let first = fields.next()?.parse().ok()?;
            let count = fields.next()?.parse().ok()?;
            Some(IdRange { line: line.trim().to_owned(), first, count })
        })
        .collect()
}

fn lxcfs(mounts: &str, packages: &str) -> Option<Lxcfs> {
    let mount = mounts.lines().find(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let path = fields.next().unwrap_or_default();
        fields.next() == Some("fuse.lxcfs") && path.starts_with("/var") && path.ends_with("lxcfs")
    })?;
    let options = mount.split_whitespace().nth(3).unwrap_or_default();
    let package = packages.split("\n\n").find(|text| text.starts_with("Package: lxcfs\n"));
    let version = package
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("Version: ")))
        .map(str::to_owned);
    Some(Lxcfs { is_writable: options.split(',').any(|option| option == "rw"), version })
}

fn memory_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_and_unified_cgroups_differ() {
        let pure = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs ro 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n";
        assert_eq!(Cgroups::of_mounts(pure), Cgroups::V2);
        assert_eq!(Cgroups::of_mounts(hybrid), Cgroups::V1);
        assert_eq!(Cgroups::of_mounts(""), Cgroups::V2);
    }

    #[test]
    fn facts_are_read_from_a_file_tree() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        let files = [
            ("proc/sys/kernel/osrelease", "6.8.0-1\n"),
            ("proc/sys/kernel/keys/maxkeys", "200\n"),
            ("proc/mounts", "lxcfs /var/lib/lxcfs fuse.lxcfs rw,nosuid 0 0\n"),
            ("proc/meminfo", "MemTotal:       1024 kB\nMemAvailable:    512 kB\n"),
            ("etc/subuid", "root:1000000:65536\nalice:1:2\n"),
            ("lib/modules/6.8.0-1/modules.dep", "kernel/net/bridge/br_netfilter.ko.zst: x\n"),
            ("lib/modules/6.8.0-1/modules.builtin", "kernel/fs/overlayfs/overlay.ko\n"),
            ("sys/module/apparmor/parameters/enabled", "Y\n"),
            ("var/lib/dpkg/status", "Package: a\nVersion: 1\n\nPackage: lxcfs\nVersion: 5.0.3-1\n"),
        ];
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let facts = HostFacts::read(root);
        assert_eq!(facts.kernel.as_deref(), Some("6.8.0-1"));
        assert_eq!(facts.sysctl("kernel.keys.maxkeys"), Some(200));
        assert_eq!(facts.sysctl("net.ipv4.ip_forward"), None);
        assert_eq!(facts.available_memory_bytes, Some(512 * 1024));
        assert_eq!(facts.subuid.len(), 1);
        assert!(facts.subgid.is_empty());
        assert!(facts.has_apparmor);
        assert_eq!(facts.has_module("br_netfilter"), Some(true));
        assert_eq!(facts.has_module("overlay"), Some(true));
        assert_eq!(facts.has_module("ip_vs"), Some(false));
        let lxcfs = Lxcfs { is_writable: true, version: Some("5.0.3-1".into()) };
        assert_eq!(facts.lxcfs, Some(lxcfs));
        assert!(facts.last_package_s.is_some());
    }
}

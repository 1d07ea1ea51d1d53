//! Kernel settings of the host. Most limits apply per user, and all nodes with a shared id map are
//! one user.

use crate::facts::HostFacts;
use crate::finding::{Finding, Fix, Severity};

/// Wanted value of a setting.
enum Wanted {
    AtLeast(i64),
    /// One of these values by meaning; the first is the one to set.
    OneOf(&'static [i64]),
}

struct Setting {
    id: &'static str,
    key: &'static str,
    wanted: Wanted,
    severity: Severity,
    means: &'static str,
}

const QUOTA: &str =
    "that is too low for unprivileged nodes: containers in nodes fail with `disk quota exceeded`";
const LEAK: &str = "processes in unprivileged nodes ";

/// The settings, and the impact of a lower value.
///
/// The values for keyrings are those that the documentation of Incus and LXD recommends for hosts
/// with many containers ("Server settings"); a node uses about 80 keys.
const SETTINGS: &[Setting] = &[
    Setting {
        id: "keys-number",
        key: "kernel.keys.maxkeys",
        wanted: Wanted::AtLeast(2000),
        severity: Severity::Problem,
        means: QUOTA,
    },
    Setting {
        id: "keys-size",
        key: "kernel.keys.maxbytes",
        wanted: Wanted::AtLeast(2_000_000),
        severity: Severity::Problem,
        means: QUOTA,
    },
    Setting {
        id: "inotify-instances",
        key: "fs.inotify.max_user_instances",
        wanted: Wanted::AtLeast(1024),
        severity: Severity::Problem,
        means: "that is too low for unprivileged nodes: systemd and kubelet in nodes cannot watch files",
    },
    Setting {
        id: "inotify-watches",
        key: "fs.inotify.max_user_watches",
        wanted: Wanted::AtLeast(65536),
        severity: Severity::Warning,
        means: "that is low for several nodes: programs in them fail with `no space left on device`",
    },
    // iptables and nft send one transaction in one netlink message. In a user namespace they may
    // not enlarge the socket's buffer for it (SO_SNDBUFFORCE needs CAP_NET_ADMIN on the host), so
    // that the host's default is the limit. Measured: the kernel's default of 212992 fits about 530
    // rules of kube-proxy.
    Setting {
        id: "netlink-buffer",
        key: "net.core.wmem_default",
        wanted: Wanted::AtLeast(4_194_304),
        severity: Severity::Warning,
        means: "that limits what kube-proxy in an unprivileged node can write at once: beyond about \
                50 Services it fails with `Message too long`, and Services no longer follow their pods",
    },
    Setting {
        id: "user-namespaces",
        key: "user.max_user_namespaces",
        wanted: Wanted::AtLeast(1024),
        severity: Severity::Problem,
        means: "that is too low: unprivileged nodes, and containers in them, do not start",
    },
    Setting {
        id: "user-namespaces-allowed",
        key: "kernel.unprivileged_userns_clone",
        wanted: Wanted::OneOf(&[1]),
        severity: Severity::Warning,
        means: "only root may create user namespaces: pods with `hostUsers: false` do not start",
    },
    Setting {
        id: "forwarding",
        key: "net.ipv4.ip_forward",
        wanted: Wanted::OneOf(&[1]),
        severity: Severity::Problem,
        means: "the host does not forward packets: nodes cannot reach each other's pods or the network",
    },
    Setting {
        id: "conntrack",
        key: "net.netfilter.nf_conntrack_max",
        wanted: Wanted::AtLeast(65536),
        severity: Severity::Warning,
        means: "the limit is low for all nodes together: the host drops further connections",
    },
    Setting {
        id: "kernel-log",
        key: "kernel.dmesg_restrict",
        wanted: Wanted::OneOf(&[1]),
        severity: Severity::Warning,
        means: "read the host's kernel log",
    },
    Setting {
        id: "unprivileged-bpf",
        key: "kernel.unprivileged_bpf_disabled",
        // A value of 1 cannot be reverted without a restart, 2 can.
        wanted: Wanted::OneOf(&[2, 1]),
        severity: Severity::Warning,
        means: "load programs into the host's kernel",
    },
    Setting {
        id: "perf-events",
        key: "kernel.perf_event_paranoid",
        wanted: Wanted::AtLeast(2),
        severity: Severity::Warning,
        means: "watch what the host's kernel executes",
    },
    Setting {
        id: "userfaultfd",
        key: "vm.unprivileged_userfaultfd",
        wanted: Wanted::OneOf(&[0]),
        severity: Severity::Warning,
        means: "can pause the host's kernel during a copy, which helps exploits",
    },
];

/// The impact of settings that expose the host begins with who is exposed to it.
fn means(setting: &Setting) -> String {
    match setting.id {
        "kernel-log" | "unprivileged-bpf" | "perf-events" | "userfaultfd" => {
            format!("{LEAK}{}", setting.means)
        }
        _ => setting.means.to_owned(),
    }
}

/// One finding for each setting that the kernel has. Settings that cannot be read are skipped: not
/// every kernel has all of them.
pub fn sysctl_findings(facts: &HostFacts) -> Vec<Finding> {
    let judged = SETTINGS.iter().filter_map(|setting| {
        let value = facts.sysctl(setting.key)?;
        let key = setting.key;
        let (holds, better) = match setting.wanted {
            Wanted::AtLeast(least) => (value >= least, least),
            Wanted::OneOf(good) => (good.contains(&value), good.first().copied().unwrap_or(value)),
        };
        let found = format!("the host's {key} is {value}");
        if holds {
            return Some(Finding::ok(setting.id, found));
        }
        let finding = match setting.severity {
            Severity::Problem => Finding::problem(setting.id, found, means(setting)),
            _ => Finding::warning(setting.id, found, means(setting)),
        };
        Some(
            finding
                .remedy(format!("sudo sysctl -w {key}={better}"))
                .fix(Fix::SetSysctl { key: key.to_owned(), value: better.to_string() }),
        )
    });
    judged.collect()
}

/// One command that sets all settings of these findings; `None` without any.
pub fn raise_command(findings: &[&Finding]) -> Option<String> {
    let settings: Vec<String> = findings
        .iter()
        .filter_map(|finding| match &finding.fix {
            Some(Fix::SetSysctl { key, value }) => Some(format!("{key}={value}")),
            _ => None,
        })
        .collect();
    (!settings.is_empty()).then(|| format!("sudo sysctl -w {}", settings.join(" ")))
}

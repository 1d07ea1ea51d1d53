//! Kernel modules. The server loads those named in `linux.kernel_modules` before it starts a
//! container, with `modprobe`, and refuses to start it when one cannot be loaded. A host whose
//! kernel has everything built in has neither module files nor `modprobe`.

use std::collections::BTreeSet;

use incus_api::Config;

/// The instance config key.
pub const KEY: &str = "linux.kernel_modules";

/// Why an instance of a restricted project names no modules, for its own record.
pub const FENCED: &str = "the project is restricted; modules are left to the host";

/// Modules a node uses: service proxying, packet filtering, the overlay filesystem, overlays of
/// pod networks.
const DEFAULT: [&str; 13] = [
    "ip_vs",
    "ip_vs_rr",
    "ip_vs_wrr",
    "ip_vs_sh",
    "ip_tables",
    "ip6_tables",
    "iptable_raw",
    "netlink_diag",
    "nf_nat",
    "overlay",
    "br_netfilter",
    "xt_socket",
    "vxlan",
];

/// Modules that pod networks, packet filters and volumes of Kubernetes use besides, and beginnings
/// of their names (`*`).
const OF_NODES: [&str; 24] = [
    "act_*",
    "ceph",
    "cls_*",
    "dummy",
    "fuse",
    "geneve",
    "ip6t_*",
    "ip6table_*",
    "ip_gre",
    "ip_set*",
    "ip_tunnel",
    "ipip",
    "ipt_*",
    "iptable_*",
    "ipvlan",
    "macvlan",
    "nf_*",
    "nfs",
    "nft_*",
    "rbd",
    "sch_*",
    "tun",
    "wireguard",
    "xt_*",
];

/// Whether each name in a list is that of a module that nodes use.
pub fn are_of_nodes(list: &str) -> bool {
    let fits = |pattern: &str, module: &str| match pattern.strip_suffix('*') {
        Some(beginning) => module.starts_with(beginning),
        None => module == pattern,
    };
    let is_word = |module: &str| {
        module.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    list.split(',').map(str::trim).filter(|module| !module.is_empty()).all(|module| {
        let known = DEFAULT.iter().chain(&OF_NODES).any(|pattern| fits(pattern, module));
        known && is_word(module)
    })
}

/// What a server is known not to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unloadable {
    all: bool,
    modules: BTreeSet<String>,
}

impl Unloadable {
    /// Whether nothing is known to be missing.
    pub fn is_empty(&self) -> bool {
        !self.all && self.modules.is_empty()
    }

    /// Learns from a server's refusal. False when the text is about something else, or tells
    /// nothing new.
    pub fn learn(&mut self, refusal: &str) -> bool {
        let Some(module) = refused_module(refusal) else { return false };
        if self.all {
            return false;
        }
        // Without the program no module can be loaded; else just this one is missing.
        if refusal.contains("executable file not found") || refusal.contains("no such file") {
            self.all = true;
            return true;
        }
        self.modules.insert(module.to_owned())
    }

    /// In words, for the user and for the instance's own record.
    pub fn describe(&self) -> String {
        if self.all {
            return "the server has no modprobe; modules are left to the host".to_owned();
        }
        let names: Vec<_> = self.modules.iter().map(String::as_str).collect();
        format!("left to the host, as the server cannot load them: {}", names.join(", "))
    }
}

/// The default modules for `linux.kernel_modules`, or `None` when none can be loaded.
pub fn list(without: &Unloadable) -> Option<String> {
    let wanted: Vec<_> = DEFAULT
        .iter()
        .filter(|module| !without.all && !without.modules.contains(**module))
        .copied()
        .collect();
    (!wanted.is_empty()).then(|| wanted.join(","))
}

/// The value the key should get, when the instance has the list that we gave it. A list of the
/// user's own stays, and the refusal is theirs to solve: `None`.
pub fn replacement(config: &Config, without: &Unloadable) -> Option<Option<String>> {
    let current = config.get(KEY)?;
    let ours = current.split(',').all(|module| DEFAULT.contains(&module));
    let next = list(without);
    (ours && next.as_ref() != Some(current)).then_some(next)
}

/// Whether a server refuses because it cannot load a kernel module.
pub fn is_about_modules(refusal: &str) -> bool {
    refused_module(refusal).is_some()
}

/// The module that a server says it could not load.
fn refused_module(refusal: &str) -> Option<&str> {
    let rest = refusal.split_once("load kernel module ")?.1;
    let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    rest[1..].split(quote).next().filter(|module| !module.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    // As Incus 6.0 says it on a host without modprobe and on one without the module.
    const NO_PROGRAM: &str = "Failed to load kernel module 'ip_vs': Failed to run: modprobe -b ip_vs: exec: \"modprobe\": executable file not found in $PATH";
    const NO_MODULE: &str = "Failed to load kernel module 'iptable_raw': Failed to run: modprobe -b iptable_raw: exit status 1 (modprobe: FATAL: Module iptable_raw not found in directory /lib/modules/6.18.0)";

    #[test]
    fn a_host_without_modprobe_is_asked_for_no_module() {
        let mut known = Unloadable::default();
        assert!(known.learn(NO_PROGRAM));
        assert!(!known.learn(NO_PROGRAM), "learned twice");
        assert_eq!(list(&known), None);
    }

    #[test]
    fn a_missing_module_is_left_out_and_the_others_stay() {
        let mut known = Unloadable::default();
        assert!(known.learn(NO_MODULE));
        let list = list(&known).unwrap();
        assert!(!list.contains("iptable_raw") && list.contains("overlay"), "{list}");
        assert!(known.describe().contains("iptable_raw"));
    }

    #[test]
    fn other_refusals_teach_nothing() {
        let mut known = Unloadable::default();
        assert!(!known.learn("Failed to run: incusd forkstart: exit status 1"));
        assert!(known.is_empty());
    }

    #[test]
    fn only_the_default_list_is_replaced() {
        let mut known = Unloadable::default();
        known.learn(NO_PROGRAM);
        let with = |list: &str| Config::from([(KEY.to_owned(), list.to_owned())]);
        let default = list(&Unloadable::default()).unwrap();
        assert_eq!(replacement(&with(&default), &known), Some(None));
        assert_eq!(replacement(&with("zfs,overlay"), &known), None);
        assert_eq!(replacement(&Config::new(), &known), None);
    }
}

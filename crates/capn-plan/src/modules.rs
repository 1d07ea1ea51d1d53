//! Kernel modules. The server loads the modules in `linux.kernel_modules` with `modprobe` before it
//! starts a container, and refuses to start the container if one cannot be loaded. A host whose
//! kernel has everything built in has neither module files nor `modprobe`.

use std::collections::BTreeSet;

use incus_api::Config;

/// The instance config key.
pub const KEY: &str = "linux.kernel_modules";

/// The reason an instance of a restricted project lists no modules. It is stored in the instance
/// config.
pub const FENCED: &str = "the project is restricted; the host must load kernel modules";

/// Modules that a node uses: service proxying, packet filtering, the overlay filesystem, overlay
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

/// Other modules that pod networks, packet filters and volumes of Kubernetes use. `*` marks a
/// prefix.
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

/// Returns whether every module in a list is one that nodes use.
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

/// Kernel modules that a server is known to be unable to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnloadableModules {
    all: bool,
    modules: BTreeSet<String>,
}

impl UnloadableModules {
    /// Returns whether no module is known to be missing.
    pub fn is_empty(&self) -> bool {
        !self.all && self.modules.is_empty()
    }

    /// Records the module that a server error names. Returns false if the error is about something
    /// else or the module is already known.
    pub fn learn(&mut self, refusal: &str) -> bool {
        let Some(module) = refused_module(refusal) else { return false };
        if self.all {
            return false;
        }
        // Without `modprobe` no module can be loaded; otherwise only this one is missing.
        if refusal.contains("executable file not found") || refusal.contains("no such file") {
            self.all = true;
            return true;
        }
        self.modules.insert(module.to_owned())
    }

    /// Describes the missing modules for the user and for the instance config.
    pub fn describe(&self) -> String {
        if self.all {
            return "the server has no modprobe; the host must load kernel modules".to_owned();
        }
        let names: Vec<_> = self.modules.iter().map(String::as_str).collect();
        format!(
            "the server cannot load these kernel modules, so the host must load them: {}",
            names.join(", ")
        )
    }
}

/// Returns the default value of `linux.kernel_modules`, or `None` if no module can be loaded.
pub fn list(without: &UnloadableModules) -> Option<String> {
    let wanted: Vec<_> = DEFAULT
        .iter()
        .filter(|module| !without.all && !without.modules.contains(**module))
        .copied()
        .collect();
    (!wanted.is_empty()).then(|| wanted.join(","))
}

/// Returns the new value of the key if the instance has the default list. `None` if the user set
/// the list: they must resolve the error.
pub fn replacement(config: &Config, without: &UnloadableModules) -> Option<Option<String>> {
    let current = config.get(KEY)?;
    let ours = current.split(',').all(|module| DEFAULT.contains(&module));
    let next = list(without);
    (ours && next.as_ref() != Some(current)).then_some(next)
}

/// Returns whether a server error says that a kernel module cannot be loaded.
pub fn is_about_modules(refusal: &str) -> bool {
    refused_module(refusal).is_some()
}

/// Returns the module that a server could not load.
fn refused_module(refusal: &str) -> Option<&str> {
    let rest = refusal.split_once("load kernel module ")?.1;
    let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    rest[1..].split(quote).next().filter(|module| !module.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Messages of Incus 6.0 on a host without modprobe and on a host without the module.
    const NO_PROGRAM: &str = "Failed to load kernel module 'ip_vs': Failed to run: modprobe -b ip_vs: exec: \"modprobe\": executable file not found in $PATH";
    const NO_MODULE: &str = "Failed to load kernel module 'iptable_raw': Failed to run: modprobe -b iptable_raw: exit status 1 (modprobe: FATAL: Module iptable_raw not found in directory /lib/modules/6.18.0)";

    #[test]
    fn a_host_without_modprobe_is_asked_for_no_module() {
        let mut known = UnloadableModules::default();
        assert!(known.learn(NO_PROGRAM));
        assert!(!known.learn(NO_PROGRAM), "learned twice");
        assert_eq!(list(&known), None);
    }

    #[test]
    fn a_missing_module_is_omitted_and_the_others_stay() {
        let mut known = UnloadableModules::default();
        assert!(known.learn(NO_MODULE));
        let list = list(&known).unwrap();
        assert!(!list.contains("iptable_raw") && list.contains("overlay"), "{list}");
        assert!(known.describe().contains("iptable_raw"));
    }

    #[test]
    fn other_errors_are_ignored() {
        let mut known = UnloadableModules::default();
        assert!(!known.learn("Failed to run: incusd forkstart: exit status 1"));
        assert!(known.is_empty());
    }

    #[test]
    fn only_the_default_list_is_replaced() {
        let mut known = UnloadableModules::default();
        known.learn(NO_PROGRAM);
        let with = |list: &str| Config::from([(KEY.to_owned(), list.to_owned())]);
        let default = list(&UnloadableModules::default()).unwrap();
        assert_eq!(replacement(&with(&default), &known), Some(None));
        assert_eq!(replacement(&with("zfs,overlay"), &known), None);
        assert_eq!(replacement(&Config::new(), &known), None);
    }
}

//! Config keys that an instance may have, depending on the isolation of its cluster.
//!
//! The keys are those of "Instance options" in the documentation of Incus and LXD.

use capn_api::Isolation;

use crate::modules;

/// What instances with shared IDs can do.
pub(super) const SHARES_IDS: &str = "gives the node the IDs of other instances";

const UNKNOWN: &str = "is not a key that capn knows to be harmless";
const HOST_ROOT: &str = "makes root in the node root of the host";
const PAST_THE_SERVER: &str = "configures the node and bypasses the server's checks";
const FILTER_OFF: &str = "lets the node make system calls that are otherwise filtered";
const AS_HOST: &str = "makes the host execute system calls of the node with its own privileges";
const HOST_IMAGES: &str = "lets the node read the server's images";
const HOST_MODULES: &str = "loads modules into the host's kernel that nodes do not need";
const HOST_SYSCTL: &str = "sets a kernel parameter that is not namespaced";
const HOST_DRIVER: &str = "gives the node a driver of the host";
const RECORD: &str = "is a key that only the server may write";
const ODD_KEY: &str = "is not a valid key";
const OTHER_LINES: &str = "has a line break or another control character, which could add settings to the container on the host";
const OTHER_IDS: &str = "sets host IDs, which may belong to another instance";

/// Values that a key may have.
#[derive(Clone, Copy)]
enum Rule {
    /// Any value.
    Any,
    /// The key must not be set.
    Never(&'static str),
    /// Any value except a true boolean.
    NotTrue(&'static str),
    /// Any value except a false boolean.
    NotFalse(&'static str),
    /// The key must not be set if nodes are also isolated from each other.
    SharedOnly(&'static str),
    /// Must be true if nodes have their own IDs.
    OwnIds,
    /// Names of modules that nodes need.
    Modules,
    /// A kernel parameter that is namespaced per node.
    Sysctl,
    /// The address of a NIC, which some users pin in the volatile keys.
    CardAddress,
}

/// Keys and key prefixes (`*`). The first match decides.
const RULES: &[(&str, Rule)] = &[
    ("security.privileged", Rule::NotTrue(HOST_ROOT)),
    ("security.nesting", Rule::Any),
    ("security.idmap.isolated", Rule::OwnIds),
    ("security.idmap.size", Rule::Any),
    ("security.idmap.*", Rule::Never(OTHER_IDS)),
    ("security.syscalls.deny_default", Rule::NotFalse(FILTER_OFF)),
    ("security.syscalls.deny_compat", Rule::Any),
    ("security.syscalls.deny", Rule::Any),
    ("security.syscalls.intercept.mknod", Rule::Any),
    ("security.syscalls.intercept.setxattr", Rule::Any),
    ("security.syscalls.intercept.sysinfo", Rule::Any),
    ("security.syscalls.intercept.*", Rule::NotTrue(AS_HOST)),
    ("security.syscalls.*", Rule::Never(FILTER_OFF)),
    ("security.guestapi.images", Rule::NotTrue(HOST_IMAGES)),
    ("security.devlxd.images", Rule::NotTrue(HOST_IMAGES)),
    ("security.guestapi", Rule::Any),
    ("security.devlxd", Rule::Any),
    ("security.protection.*", Rule::Any),
    ("security.secureboot", Rule::Any),
    ("security.csm", Rule::Any),
    ("security.sev*", Rule::Any),
    ("security.agent.metrics", Rule::Any),
    ("linux.kernel_modules", Rule::Modules),
    ("linux.sysctl.*", Rule::Sysctl),
    ("nvidia.*", Rule::SharedOnly(HOST_DRIVER)),
    ("raw.*", Rule::Never(PAST_THE_SERVER)),
    ("limits.*", Rule::Any),
    ("boot.*", Rule::Any),
    ("cloud-init.*", Rule::Any),
    ("user.*", Rule::Any),
    ("environment.*", Rule::Any),
    ("oci.*", Rule::Any),
    ("cluster.evacuate", Rule::Any),
    ("migration.*", Rule::Any),
    ("snapshots.*", Rule::Any),
    ("agent.*", Rule::Any),
    ("image.*", Rule::Any),
    ("volatile.*", Rule::CardAddress),
];

/// Kernel parameters that are namespaced by network, IPC or user namespace (Kubernetes
/// documentation, "Using sysctls in a Kubernetes Cluster").
const SYSCTLS: &[&str] = &["net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];

/// Prefixes of keys that hold text, which a server never writes into the configuration of LXC.
const TEXTS: &[&str] = &["cloud-init.", "user.", "image."];

/// Returns the violation of the characters of a key and its value, if any.
///
/// Servers write keys and values into the line-based configuration of LXC, which can run commands
/// as root of the host. Not every server refuses line breaks.
fn odd_characters(key: &str, value: &str) -> Option<&'static str> {
    if let Some(why) = other_lines(key) {
        return Some(why);
    }
    if TEXTS.iter().any(|prefix| key.starts_with(prefix)) {
        return None;
    }
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if !key.chars().all(is_of_key) {
        return Some(ODD_KEY);
    }
    if key != "security.syscalls.deny" {
        return other_lines(value);
    }
    // A list of system calls has a line for each, and could allow others.
    let is_of_list = |c: char| c.is_ascii_alphanumeric() || "_ \n".contains(c);
    let is_list = value.chars().all(is_of_list) && !value.contains("allow");
    (!is_list).then_some(FILTER_OFF)
}

/// Returns the violation of a text with control characters other than tabs.
pub(super) fn other_lines(text: &str) -> Option<&'static str> {
    text.chars().any(|c| c.is_control() && c != '\t').then_some(OTHER_LINES)
}

/// Returns the violation of a key and its value, if any.
pub(super) fn violation(
    isolation: Isolation,
    is_virtual_machine: bool,
    key: &str,
    value: &str,
) -> Option<&'static str> {
    // An empty value counts as unset.
    if value.is_empty() {
        return None;
    }
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => key.starts_with(beginning),
        None => key == pattern,
    };
    let rule = RULES.iter().find(|(pattern, _)| fits(pattern)).map(|(_, rule)| *rule);
    let why = match rule.unwrap_or(Rule::Never(UNKNOWN)) {
        Rule::Any => None,
        Rule::Never(why) => Some(why),
        Rule::NotTrue(why) => (!is_false(value)).then_some(why),
        Rule::NotFalse(why) => (!is_true(value)).then_some(why),
        Rule::SharedOnly(why) => (isolation == Isolation::Isolated).then_some(why),
        Rule::OwnIds => {
            let must = isolation == Isolation::Isolated && !is_virtual_machine;
            (must && !is_true(value)).then_some(SHARES_IDS)
        }
        Rule::Modules => (!modules::are_of_nodes(value)).then_some(HOST_MODULES),
        Rule::CardAddress => (!key.ends_with(".hwaddr")).then_some(RECORD),
        Rule::Sysctl => {
            let name = key.strip_prefix("linux.sysctl.").unwrap_or_default();
            let own = SYSCTLS.iter().any(|own| name.starts_with(own));
            (!own).then_some(HOST_SYSCTL)
        }
    };
    why.or_else(|| odd_characters(key, value))
}

/// Returns whether a server parses the value as true.
pub(super) fn is_true(value: &str) -> bool {
    ["true", "1", "yes", "on"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

fn is_false(value: &str) -> bool {
    ["false", "0", "no", "off"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

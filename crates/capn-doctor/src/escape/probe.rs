//! The probe program and its targets.

use camino::Utf8Path;
use serde::Serialize;

const PARTS: [&str; 8] = [
    include_str!("probe/base.py"),
    include_str!("probe/identity.py"),
    include_str!("probe/settings.py"),
    include_str!("probe/kernel.py"),
    include_str!("probe/devices.py"),
    include_str!("probe/filesystems.py"),
    include_str!("probe/processes.py"),
    include_str!("probe/resources.py"),
];

/// Returns the complete program, for `python3 -`.
pub(crate) fn program() -> String {
    let mut text = PARTS.join("\n\n");
    text.push_str("\n\nmain()\n");
    text
}

/// Resources of the host that a node must not reach. Without them, vectors are tried with what the
/// kernel discloses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Targets {
    /// Serial numbers of kernel keys that belong to root on the host.
    pub keys: Vec<u32>,
    /// Inodes of the host's namespaces.
    pub namespaces: Namespaces,
}

/// Inodes of namespaces without a fixed number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Namespaces {
    /// Inode of the network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net: Option<u64>,
    /// Inode of the mount namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mnt: Option<u64>,
}

/// More keys would only repeat the same attempt.
const MAX_KEYS: usize = 32;

impl Targets {
    /// Reads the targets of the host whose `/` is at `root`. Skips what cannot be read.
    pub fn of_host(root: &Utf8Path) -> Self {
        let keys = std::fs::read_to_string(root.join("proc/keys")).unwrap_or_default();
        // Use process 1, since this process may be in its own namespaces. Some hosts hide process
        // 1.
        let inode = |kind: &str| {
            let of = |pid: &str| std::fs::read_link(root.join(format!("proc/{pid}/ns/{kind}")));
            let link = of("1").or_else(|_| of("self")).ok()?;
            let text = link.to_str()?;
            text.strip_prefix(&format!("{kind}:["))?.strip_suffix(']')?.parse().ok()
        };
        Self {
            keys: keys_of_root(&keys),
            namespaces: Namespaces { net: inode("net"), mnt: inode("mnt") },
        }
    }
}

/// Returns the serial numbers of the keys of user 0 in the text of `/proc/keys`.
fn keys_of_root(text: &str) -> Vec<u32> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            match fields.as_slice() {
                [serial, _, _, _, _, "0", ..] => u32::from_str_radix(serial, 16).ok(),
                _ => None,
            }
        })
        .take(MAX_KEYS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_the_host_s_root_are_targets() {
        let text = "04e451bf I--Q---     1 perm 3f030000     0     0 keyring   _ses: 1\n\
                    0943f218 I--Q---     1 perm 0b0b0000  1000000  1000000 keyring   _ses: 16\n\
                    nonsense\n";
        assert_eq!(keys_of_root(text), [0x04e4_51bf]);
    }

    #[test]
    fn a_host_without_facts_has_no_targets() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        assert_eq!(Targets::of_host(root), Targets::default());
        assert_eq!(
            serde_json::to_string(&Targets::default()).unwrap(),
            r#"{"keys":[],"namespaces":{}}"#
        );
    }
}

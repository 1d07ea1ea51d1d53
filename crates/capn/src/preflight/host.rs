//! The host of a local server: cgroups and subordinate ids.

use camino::Utf8Path;

use crate::error::CommandError;

/// How the host divides resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupSetup {
    /// cgroup v2 only, as Kubernetes wants it.
    V2,
    /// cgroup v1 controllers, with or without a v2 hierarchy beside them.
    V1,
}

/// Looks at `/proc/mounts` text: a `cgroup` mount anywhere means v1.
pub fn cgroup_setup(mounts: &str) -> CgroupSetup {
    let has_v1 = mounts.lines().any(|line| line.split_whitespace().nth(2) == Some("cgroup"));
    if has_v1 { CgroupSetup::V1 } else { CgroupSetup::V2 }
}

/// Whether this machine has cgroup v1 controllers. A machine that does not say so has none.
pub fn cgroups() -> CgroupSetup {
    cgroup_setup(&std::fs::read_to_string("/proc/mounts").unwrap_or_default())
}

/// Checks that root has one range of subordinate ids. With two (the packages of Incus and LXD add
/// one each) the server maps both into unprivileged instances and the kernel refuses.
///
/// # Errors
///
/// With the lines to remove.
pub fn subordinate_ids() -> Result<(), CommandError> {
    for path in ["/etc/subuid", "/etc/subgid"] {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        one_range(Utf8Path::new(path), &text)?;
    }
    Ok(())
}

fn one_range(path: &Utf8Path, text: &str) -> Result<(), CommandError> {
    let ranges: Vec<&str> = text.lines().filter(|line| line.starts_with("root:")).collect();
    match ranges.as_slice() {
        [] | [_] => Ok(()),
        [first, others @ ..] => Err(CommandError::new(format!(
            "{path} gives root {} ranges of ids, so that unprivileged instances do not start",
            ranges.len()
        ))
        .hint(format!(
            "keep `{first}`, remove `{}` from /etc/subuid and /etc/subgid, then restart the daemon",
            others.join("`, `")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_host_is_told_from_a_pure_one() {
        let pure = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs ro 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n";
        assert_eq!(cgroup_setup(pure), CgroupSetup::V2);
        assert_eq!(cgroup_setup(hybrid), CgroupSetup::V1);
        assert_eq!(cgroup_setup(""), CgroupSetup::V2);
    }

    #[test]
    fn two_ranges_of_root_are_named_with_the_one_to_remove() {
        let path = Utf8Path::new("/etc/subuid");
        assert!(one_range(path, "alice:100000:65536\nroot:1000000:1000000000\n").is_ok());
        let error =
            one_range(path, "root:1000000:1000000000\nroot:1001000000:10000001\n").unwrap_err();
        let text = error.render(|_, text| text.to_owned());
        assert!(text.contains("remove `root:1001000000:10000001`"), "{text}");
    }
}

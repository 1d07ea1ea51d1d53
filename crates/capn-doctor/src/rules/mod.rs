//! Rules from facts to findings. Pure: the same facts yield the same findings in the same order.

mod bridge;
mod combined;
mod host;
mod instances;
mod server;
mod sysctl;
#[cfg(test)]
mod tests;

pub use combined::{combined_findings, writes_through_detached_procfs};
pub use host::{host_findings, id_findings};
pub use instances::instance_findings;
pub use server::server_findings;
pub use sysctl::{raise_command, sysctl_findings};

/// Options of a cluster that change the severity of findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Allow kubelet to run on cgroup v1.
    pub allow_cgroup_v1: bool,
}

/// Returns the major and minor number at the beginning of a version.
pub(crate) fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0);
    Some((major, minor))
}

/// Formats a size for people.
pub(crate) fn size(bytes: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    match bytes / MIB {
        mib if mib < 10 * 1024 => format!("{mib} MiB"),
        mib => format!("{} GiB", mib / 1024),
    }
}

//! What the kernel of a local server grants one user. All nodes of a shared id map are one user.

use crate::error::CommandError;

/// The settings, what nodes need of each, and what happens with less.
///
/// The values for keyrings are those that the documentation of Incus and LXD asks for on hosts of
/// many containers ("Server settings"); a node of ours holds about 80 keys.
const NEEDED: [(&str, u64, &str); 3] = [
    ("kernel.keys.maxkeys", 2000, "containers in nodes fail with `disk quota exceeded`"),
    ("kernel.keys.maxbytes", 2_000_000, "containers in nodes fail with `disk quota exceeded`"),
    ("fs.inotify.max_user_instances", 1024, "systemd and kubelet in nodes cannot watch files"),
];

/// Checks the limits that unprivileged nodes meet first. A setting that cannot be read is passed
/// over: not every kernel has all of them.
///
/// # Errors
///
/// Names every setting that is too low, with the one command that raises them all.
pub fn user_limits() -> Result<(), CommandError> {
    judge(|key| {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    })
}

fn judge(read: impl Fn(&str) -> Option<u64>) -> Result<(), CommandError> {
    let low: Vec<_> = NEEDED
        .iter()
        .filter_map(|(key, needed, effect)| {
            let value = read(key).filter(|value| value < needed)?;
            Some((key, value, needed, effect))
        })
        .collect();
    let Some((key, value, _, effect)) = low.first() else { return Ok(()) };
    let settings: Vec<String> =
        low.iter().map(|(key, _, needed, _)| format!("{key}={needed}")).collect();
    Err(CommandError::new(format!(
        "the host's {key} is {value}, too low for unprivileged nodes: {effect}"
    ))
    .hint(format!("raise it: `sudo sysctl -w {}`", settings.join(" ")))
    .hint("keep it over restarts: put the same lines into /etc/sysctl.d/60-capn.conf"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_suffice_or_are_unknown_pass() {
        assert!(judge(|_| Some(u64::MAX)).is_ok());
        assert!(judge(|_| None).is_ok());
    }

    #[test]
    fn every_low_limit_is_in_the_one_command_that_mends_them() {
        let error = judge(|_| Some(128)).unwrap_err();
        let text = error.render(|_, text| text.to_owned());
        assert!(text.contains("kernel.keys.maxkeys is 128"), "{text}");
        assert!(
            text.contains("sysctl -w kernel.keys.maxkeys=2000 kernel.keys.maxbytes=2000000 fs.inotify.max_user_instances=1024"),
            "{text}"
        );
    }
}

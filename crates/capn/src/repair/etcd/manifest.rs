//! The manifest by which etcd begins a cluster of one. Pure.

/// Where that etcd takes clients: nobody knows the port, so that no API server writes and nobody joins
/// before it has ended. A member that joined would be thrown out by its next start.
const CLIENTS: &str = "https://127.0.0.1:22379";
/// The flag by which it forgets all other members, and keeps its data.
const FORCE: &str = "--force-new-cluster";

/// The same manifest with the flag, and with clients at a port of its own. `None` when it is not one that
/// kubeadm writes.
pub fn forced(manifest: &str) -> Option<String> {
    const LISTEN: &str = "- --listen-client-urls=";
    let (mut has_program, mut has_clients) = (false, false);
    let mut text = String::with_capacity(manifest.len() + FORCE.len() + 16);
    for line in manifest.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let item = line.trim();
        if item.starts_with("- --force-new-cluster") {
            return None;
        }
        match item {
            "- etcd" => {
                has_program = true;
                text.push_str(&format!("{line}\n{indent}- {FORCE}=true\n"));
            }
            item if item.starts_with(LISTEN) => {
                has_clients = true;
                text.push_str(&format!("{indent}{LISTEN}{CLIENTS}\n"));
            }
            _ => text.push_str(&format!("{line}\n")),
        }
    }
    (has_program && has_clients).then_some(text)
}

/// Whether a manifest is one of [`forced`].
pub fn is_forced(manifest: &str) -> bool {
    manifest.lines().any(|line| line.trim().starts_with("- --force-new-cluster"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "\
apiVersion: v1
kind: Pod
spec:
  containers:
  - command:
    - etcd
    - --advertise-client-urls=https://10.0.0.1:2379
    - --data-dir=/var/lib/etcd
    - --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379
    image: etcd
";

    #[test]
    fn etcd_is_told_to_be_alone_and_no_client_finds_it() {
        let text = forced(MANIFEST).unwrap();
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let (before, after) = (lines(MANIFEST), lines(&text));
        let news: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
        assert_eq!(
            news,
            [
                "    - --force-new-cluster=true",
                "    - --listen-client-urls=https://127.0.0.1:22379"
            ]
        );
        assert_eq!(after.len(), before.len() + 1, "nothing else is lost");
        assert!(is_forced(&text) && !is_forced(MANIFEST));
    }

    #[test]
    fn what_kubeadm_does_not_write_is_left_alone() {
        for text in
            ["", "- etcd\n", &MANIFEST.replace("- etcd\n", "- sh\n"), &forced(MANIFEST).unwrap()]
        {
            assert_eq!(forced(text), None, "{text}");
        }
    }
}

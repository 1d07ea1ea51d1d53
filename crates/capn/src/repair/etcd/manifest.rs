//! The manifest that restarts etcd as a single-member cluster. Pure functions.

/// Client address of that etcd: an unknown port, so that no API server can write and no member can
/// join before it stops. A new member would be removed by the next forced start.
const CLIENTS: &str = "https://127.0.0.1:22379";
/// etcd flag that removes all other members and keeps the data.
const FORCE: &str = "--force-new-cluster";

/// Returns the manifest with this flag and a separate client port. `None` if the manifest was not
/// written by kubeadm.
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

/// Returns whether a manifest comes from [`forced`].
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
    fn etcd_is_forced_to_a_new_cluster_and_hidden_from_clients() {
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
    fn a_manifest_that_kubeadm_did_not_write_is_not_changed() {
        for text in
            ["", "- etcd\n", &MANIFEST.replace("- etcd\n", "- sh\n"), &forced(MANIFEST).unwrap()]
        {
            assert_eq!(forced(text), None, "{text}");
        }
    }
}

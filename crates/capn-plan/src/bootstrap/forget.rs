//! The program that removes the bootstrap data from an instance.

/// A program for `sh -c`, run once the data has succeeded or failed for good. The data of the first
/// control plane contains the private keys of the cluster's certificate authorities; kubeadm has
/// already stored the ones it needs.
///
/// * It removes what cloud-init keeps of the data: the seed, the processed copies and the scripts.
///   Semaphores and results stay, because they record the outcome.
/// * It prevents cloud-init from running again, even if the instance is copied and gets another
///   instance ID: without data, cloud-init would only create new host keys.
/// * It also removes the script of a kind node and sets its marker file, so that a failed script is
///   not retried.
///
/// Running it again changes nothing.
pub const FORGET: &str = r#"
set -e
umask 077
for folder in /var/lib/cloud/seed /var/lib/cloud/instances /var/lib/cloud/scripts; do
  if [ -d "$folder" ]; then
    find "$folder" -type f \( -name 'user-data*' -o -name 'vendor-data*' -o -name 'vendor2-data*' \
      -o -name 'cloud-config.txt' -o -name 'vendor-cloud-config.txt' -o -name 'vendor2-cloud-config.txt' \
      -o -name 'obj.pkl' -o -path '*/scripts/*' -o -path '*/handlers/*' \) -exec rm -f {} +
  fi
done
rm -f /run/cloud-init/instance-data-sensitive.json /run/cloud-init/combined-cloud-config.json \
  /run/kubeadm/kubeadm.yaml /run/kubeadm/kubeadm-join-config.yaml
if [ -d /etc/cloud ]; then : >/etc/cloud/cloud-init.disabled; fi
if [ -e /opt/capn/bootstrap ]; then
  mkdir -p /var/lib/capn
  : >/var/lib/capn/bootstrap.done
  rm -f /opt/capn/bootstrap
fi
"#;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::Path,
        process::{Command, Stdio},
    };

    use super::FORGET;

    /// Runs the program with its paths below another root.
    fn run(root: &Path) {
        let mut text = FORGET.to_owned();
        for top in ["/var/", "/run/", "/etc/", "/opt/"] {
            for before in [" ", ">"] {
                text = text.replace(
                    &format!("{before}{top}"),
                    &format!("{before}{}{top}", root.display()),
                );
            }
        }
        let status = Command::new("sh").args(["-c", &text]).stdin(Stdio::null()).status().unwrap();
        assert!(status.success(), "{status}");
    }

    #[test]
    fn the_data_is_removed_and_the_results_stay() {
        let root = tempfile::tempdir().unwrap();
        let data = [
            "var/lib/cloud/seed/nocloud-net/user-data",
            "var/lib/cloud/instances/i-1/user-data.txt",
            "var/lib/cloud/instances/i-1/user-data.txt.i",
            "var/lib/cloud/instances/i-1/cloud-config.txt",
            "var/lib/cloud/instances/i-1/obj.pkl",
            "var/lib/cloud/instances/i-1/scripts/runcmd",
            "run/cloud-init/instance-data-sensitive.json",
            "run/kubeadm/kubeadm.yaml",
            "opt/capn/bootstrap",
        ];
        let kept = [
            "var/lib/cloud/instances/i-1/sem/config_scripts_user",
            "var/lib/cloud/data/result.json",
            "var/lib/cloud/seed/nocloud-net/meta-data",
            "run/cloud-init/instance-data.json",
            "etc/kubernetes/pki/ca.key",
            "etc/cloud/cloud.cfg",
        ];
        for path in data.iter().chain(&kept) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "KEY").unwrap();
        }
        for _ in 0..2 {
            run(root.path());
            for path in data {
                assert!(!root.path().join(path).exists(), "{path} is still there");
            }
            for path in kept {
                assert!(root.path().join(path).exists(), "{path} is gone");
            }
            assert!(root.path().join("etc/cloud/cloud-init.disabled").exists());
            assert!(root.path().join("var/lib/capn/bootstrap.done").exists());
        }
    }

    #[test]
    fn an_instance_without_cloud_init_has_nothing_to_forget() {
        let root = tempfile::tempdir().unwrap();
        run(root.path());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}

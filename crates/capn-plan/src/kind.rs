//! Nodes that use kind's image (`kindest/node`), run as application containers.
//!
//! The image has no cloud-init. Its entry point prepares the node and then starts systemd. The
//! parts of the entry point that do not work in an instance are removed. The bootstrap data becomes
//! a script that a systemd unit of capn runs once. If the machine asks for it, that script installs
//! cloud-init instead.

use std::collections::BTreeMap;

use crate::{InstanceName, files::InjectedFile};

mod cloud_config;

pub use cloud_config::CloudConfigError;

/// Config key: the first process. Servers put their own init in front of any program except a few
/// known names, one of which is `/init`.
pub const ENTRYPOINT: (&str, &str) = ("oci.entrypoint", "/init /sbin/init");
/// Config key: containerd's snapshotter. The entry point would choose a slow one on some pools.
pub const SNAPSHOTTER: (&str, &str) =
    ("environment.KIND_EXPERIMENTAL_CONTAINERD_SNAPSHOTTER", "overlayfs");

const KINDS_ENTRYPOINT: &str = "/usr/local/bin/entrypoint";
const CNI_MANIFEST: &str = "/kind/manifests/default-cni.yaml";
const SCRIPT: &str = "/opt/capn/bootstrap";
const UNIT: &str = "/etc/systemd/system/capn-bootstrap.service";
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/capn-bootstrap.service";
/// Config key of the Go provider: if true, cloud-init is installed in the node from the
/// distribution's archive, so that every cloud-init feature works.
pub const APT_INSTALL_CLOUD_INIT: &str = "user.capn.x-kind-apt-install-cloud-init";
/// Path where cloud-init looks for a seed.
const SEED: &str = "/var/lib/cloud/seed/nocloud-net";
/// Installs cloud-init and runs it with the seed.
const INSTALL: &str = "#!/bin/sh
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends cloud-init
systemctl daemon-reload
systemctl start cloud-init.target
# 2: done, with warnings.
cloud-init status --wait || [ $? = 2 ]
";

/// How the bootstrap data is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapRunner {
    /// A shell script generated from it, without any download.
    Script,
    /// cloud-init, which the node installs first.
    CloudInit,
}

impl BootstrapRunner {
    /// Returns what the config of a machine asks for.
    ///
    /// # Errors
    ///
    /// A message if the value is not a boolean. Final: the manifest must change.
    pub fn of(config: &BTreeMap<String, String>) -> Result<Self, String> {
        // The values that Go's strconv.ParseBool accepts.
        match config.get(APT_INSTALL_CLOUD_INIT).map(String::as_str) {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Self::Script),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Self::CloudInit),
            Some(other) => Err(format!(
                "spec.config has {APT_INSTALL_CLOUD_INIT}={other:?}, which is not a boolean; use \"true\" or omit it"
            )),
        }
    }
}

/// Runs the bootstrap data once in the lifetime of the instance, and logs where cloud-init would.
const UNIT_TEXT: &str = "[Unit]
Description=Bootstrap data of Cluster API
Wants=network-online.target
After=network-online.target containerd.service
ConditionPathExists=!/var/lib/capn/bootstrap.done

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'exec /opt/capn/bootstrap >>/var/log/cloud-init-output.log 2>&1'
ExecStartPost=/bin/sh -c 'mkdir -p /var/lib/capn && touch /var/lib/capn/bootstrap.done'
TimeoutStartSec=infinity
";

/// Returns the files to inject into a kind node. `pod_cidr` is the first pod CIDR of the cluster,
/// for kind's own network add-on.
///
/// # Errors
///
/// [`CloudConfigError`] if the bootstrap data uses features that only cloud-init supports.
pub fn injected_files(
    user_data: &str,
    name: &InstanceName,
    pod_cidr: Option<&str>,
    runner: BootstrapRunner,
) -> Result<Vec<InjectedFile>, CloudConfigError> {
    let file =
        |path: &str, text: String, mode| InjectedFile::File { path: path.into(), text, mode };
    let link =
        |path: &str, target: &str| InjectedFile::Link { path: path.into(), target: target.into() };
    let edit = |path: &str, from: &str, to: &str| InjectedFile::Edit {
        path: path.into(),
        changes: vec![(from.into(), to.into())],
    };
    let mut injected_files = vec![
        // The server reads this file when it runs a command, and refuses to run one without it.
        file("/etc/environment", String::new(), 0o644),
        link("/init", KINDS_ENTRYPOINT),
        // In an instance this file belongs to the server and cannot be written.
        edit(KINDS_ENTRYPOINT, ">/etc/resolv.conf", ">/etc/local-resolv.conf"),
    ];
    if let Some(cidr) = pod_cidr {
        injected_files.push(edit(CNI_MANIFEST, "{{ .PodSubnet }}", cidr));
    }
    let script = match runner {
        BootstrapRunner::Script => cloud_config::script(user_data, name.as_str())?,
        BootstrapRunner::CloudInit => {
            let meta_data = format!("instance-id: {name}\nlocal-hostname: {name}\n");
            injected_files.push(file(&format!("{SEED}/meta-data"), meta_data, 0o600));
            injected_files.push(file(&format!("{SEED}/user-data"), user_data.to_owned(), 0o600));
            INSTALL.to_owned()
        }
    };
    injected_files.extend([
        file(SCRIPT, script, 0o700),
        file(UNIT, UNIT_TEXT.into(), 0o644),
        link(WANTED, UNIT),
    ]);
    Ok(injected_files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::edited;

    fn found(pod_cidr: Option<&str>) -> Vec<InjectedFile> {
        let name = InstanceName::new("demo-a").unwrap();
        injected_files(
            "#cloud-config\nruncmd: [kubeadm init]\n",
            &name,
            pod_cidr,
            BootstrapRunner::Script,
        )
        .unwrap()
    }

    #[test]
    fn the_entry_point_does_not_change_the_servers_file() {
        let edits = found(Some("10.9.0.0/16"));
        let edit = |at: &str, text: &str| {
            edits.iter().find_map(|injected_file| match injected_file {
                InjectedFile::Edit { path, changes } if path == at => edited(text, changes),
                _ => None,
            })
        };
        // As in kind's entry point.
        let after = edit(KINDS_ENTRYPOINT, "  echo \"$replaced\" >/etc/resolv.conf").unwrap();
        assert_eq!(after, "  echo \"$replaced\" >/etc/local-resolv.conf");
        let after = edit(CNI_MANIFEST, "  value: {{ .PodSubnet }}").unwrap();
        assert_eq!(after, "  value: 10.9.0.0/16");
    }

    #[test]
    fn the_bootstrap_data_runs_once_from_a_unit() {
        let injected_files = found(None);
        let paths: Vec<_> = injected_files.iter().map(InjectedFile::path).collect();
        assert_eq!(
            paths,
            ["/etc/environment", "/init", KINDS_ENTRYPOINT, SCRIPT, UNIT, WANTED],
            "no network add-on is changed where the cluster has no pod network"
        );
    }

    #[test]
    fn cloud_init_is_installed_where_the_machine_asks_for_it() {
        let config = |value: &str| [(APT_INSTALL_CLOUD_INIT.to_owned(), value.to_owned())].into();
        assert_eq!(BootstrapRunner::of(&BTreeMap::new()), Ok(BootstrapRunner::Script));
        assert_eq!(BootstrapRunner::of(&config("False")), Ok(BootstrapRunner::Script));
        assert_eq!(BootstrapRunner::of(&config("true")), Ok(BootstrapRunner::CloudInit));
        assert!(BootstrapRunner::of(&config("yes")).unwrap_err().contains("\"yes\""));
        let name = InstanceName::new("demo-a").unwrap();
        // A feature that the script does not support is then not an error.
        let data = "#cloud-config\nntp: {enabled: true}\n";
        assert!(injected_files(data, &name, None, BootstrapRunner::Script).is_err());
        let injected_files = injected_files(data, &name, None, BootstrapRunner::CloudInit).unwrap();
        let text = |at: &str| {
            injected_files.iter().find_map(|injected_file| match injected_file {
                InjectedFile::File { path, text, mode } if path == at => {
                    Some((text.as_str(), *mode))
                }
                _ => None,
            })
        };
        let user_data = "/var/lib/cloud/seed/nocloud-net/user-data";
        assert_eq!(text(user_data), Some((data, 0o600)));
        let (meta_data, _) = text("/var/lib/cloud/seed/nocloud-net/meta-data").unwrap();
        assert!(meta_data.contains("local-hostname: demo-a"), "{meta_data}");
        assert!(text(SCRIPT).unwrap().0.contains("apt-get install"));
    }
}

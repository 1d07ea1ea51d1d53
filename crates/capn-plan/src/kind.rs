//! Nodes of kind's image (`kindest/node`), run as application containers.
//!
//! The image has an entry point that prepares the node and then becomes systemd, and no
//! cloud-init. What its entry point cannot do in an instance is taken out of it, and the bootstrap
//! data is turned into a script that a unit of ours runs once; or that script installs cloud-init,
//! where the machine asks for it.

use std::collections::BTreeMap;

use crate::{InstanceName, files::Piece};

mod cloud_config;

pub use cloud_config::CloudConfigError;

/// Config key: what runs as the first process. Servers put their own in front of any program that
/// is not one of a few names, `/init` among them.
pub const ENTRYPOINT: (&str, &str) = ("oci.entrypoint", "/init /sbin/init");
/// Config key: containerd's snapshotter. The entry point would choose a slow one on some pools.
pub const SNAPSHOTTER: (&str, &str) =
    ("environment.KIND_EXPERIMENTAL_CONTAINERD_SNAPSHOTTER", "overlayfs");

const KINDS_ENTRYPOINT: &str = "/usr/local/bin/entrypoint";
const CNI_MANIFEST: &str = "/kind/manifests/default-cni.yaml";
const SCRIPT: &str = "/opt/capn/bootstrap";
const UNIT: &str = "/etc/systemd/system/capn-bootstrap.service";
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/capn-bootstrap.service";
/// Config key of the Go provider: a true boolean has cloud-init installed in the node, from the
/// distribution's archive, so that it understands all that cloud-init does.
pub const APT_INSTALL_CLOUD_INIT: &str = "user.capn.x-kind-apt-install-cloud-init";
/// Where cloud-init looks for a seed.
const SEED: &str = "/var/lib/cloud/seed/nocloud-net";
/// Installs cloud-init and lets it carry out the seed.
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

/// Who carries the bootstrap data out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// A script made of it, without any download.
    Script,
    /// cloud-init, which the node installs first.
    CloudInit,
}

impl Runner {
    /// What the config of a machine asks for. Final otherwise: a value that is no boolean.
    ///
    /// # Errors
    ///
    /// The value, as a message.
    pub fn of(config: &BTreeMap<String, String>) -> Result<Self, String> {
        // The words of Go's strconv.ParseBool.
        match config.get(APT_INSTALL_CLOUD_INIT).map(String::as_str) {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Self::Script),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Self::CloudInit),
            Some(other) => Err(format!(
                "spec.config has {APT_INSTALL_CLOUD_INIT}={other:?}, which is no boolean; write \"true\" or leave it out"
            )),
        }
    }
}

/// Runs the bootstrap data once in the instance's life, and writes where cloud-init would.
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

/// What is put into a node of kind's image. `pod_cidr` is the cluster's first, which kind's own
/// network add-on is to use.
///
/// # Errors
///
/// When the bootstrap data asks for what only cloud-init can do.
pub fn pieces(
    user_data: &str,
    name: &InstanceName,
    pod_cidr: Option<&str>,
    runner: Runner,
) -> Result<Vec<Piece>, CloudConfigError> {
    let file = |path: &str, text: String, mode| Piece::File { path: path.into(), text, mode };
    let link = |path: &str, target: &str| Piece::Link { path: path.into(), target: target.into() };
    let edit = |path: &str, from: &str, to: &str| Piece::Edit {
        path: path.into(),
        changes: vec![(from.into(), to.into())],
    };
    let mut pieces = vec![
        // Servers read it when they run a command, and refuse to without.
        file("/etc/environment", String::new(), 0o644),
        link("/init", KINDS_ENTRYPOINT),
        // It is the server's in an instance, and cannot be written.
        edit(KINDS_ENTRYPOINT, ">/etc/resolv.conf", ">/etc/local-resolv.conf"),
    ];
    if let Some(cidr) = pod_cidr {
        pieces.push(edit(CNI_MANIFEST, "{{ .PodSubnet }}", cidr));
    }
    let script = match runner {
        Runner::Script => cloud_config::script(user_data, name.as_str())?,
        Runner::CloudInit => {
            let meta_data = format!("instance-id: {name}\nlocal-hostname: {name}\n");
            pieces.push(file(&format!("{SEED}/meta-data"), meta_data, 0o600));
            pieces.push(file(&format!("{SEED}/user-data"), user_data.to_owned(), 0o600));
            INSTALL.to_owned()
        }
    };
    pieces.extend([
        file(SCRIPT, script, 0o700),
        file(UNIT, UNIT_TEXT.into(), 0o644),
        link(WANTED, UNIT),
    ]);
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::edited;

    fn found(pod_cidr: Option<&str>) -> Vec<Piece> {
        let name = InstanceName::new("demo-a").unwrap();
        pieces("#cloud-config\nruncmd: [kubeadm init]\n", &name, pod_cidr, Runner::Script).unwrap()
    }

    #[test]
    fn the_entry_point_leaves_the_servers_file_alone() {
        let edits = found(Some("10.9.0.0/16"));
        let edit = |at: &str, text: &str| {
            edits.iter().find_map(|piece| match piece {
                Piece::Edit { path, changes } if path == at => edited(text, changes),
                _ => None,
            })
        };
        // As kind's entry point has it.
        let after = edit(KINDS_ENTRYPOINT, "  echo \"$replaced\" >/etc/resolv.conf").unwrap();
        assert_eq!(after, "  echo \"$replaced\" >/etc/local-resolv.conf");
        let after = edit(CNI_MANIFEST, "  value: {{ .PodSubnet }}").unwrap();
        assert_eq!(after, "  value: 10.9.0.0/16");
    }

    #[test]
    fn the_bootstrap_data_runs_once_from_a_unit() {
        let pieces = found(None);
        let paths: Vec<_> = pieces.iter().map(Piece::path).collect();
        assert_eq!(
            paths,
            ["/etc/environment", "/init", KINDS_ENTRYPOINT, SCRIPT, UNIT, WANTED],
            "no network add-on is changed where the cluster has no pod network"
        );
    }

    #[test]
    fn cloud_init_is_installed_where_the_machine_asks_for_it() {
        let config = |value: &str| [(APT_INSTALL_CLOUD_INIT.to_owned(), value.to_owned())].into();
        assert_eq!(Runner::of(&BTreeMap::new()), Ok(Runner::Script));
        assert_eq!(Runner::of(&config("False")), Ok(Runner::Script));
        assert_eq!(Runner::of(&config("true")), Ok(Runner::CloudInit));
        assert!(Runner::of(&config("yes")).unwrap_err().contains("\"yes\""));
        let name = InstanceName::new("demo-a").unwrap();
        // What a script of ours cannot do is no failure then.
        let data = "#cloud-config\nntp: {enabled: true}\n";
        assert!(pieces(data, &name, None, Runner::Script).is_err());
        let pieces = pieces(data, &name, None, Runner::CloudInit).unwrap();
        let text = |at: &str| {
            pieces.iter().find_map(|piece| match piece {
                Piece::File { path, text, mode } if path == at => Some((text.as_str(), *mode)),
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

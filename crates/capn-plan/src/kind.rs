//! Nodes of kind's image (`kindest/node`), run as application containers.
//!
//! The image has an entry point that prepares the node and then becomes systemd, and no
//! cloud-init. What its entry point cannot do in an instance is taken out of it, and the bootstrap
//! data is turned into a script that a unit of ours runs once.

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
    pieces.extend([
        file(SCRIPT, cloud_config::script(user_data, name.as_str())?, 0o700),
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
        pieces("#cloud-config\nruncmd: [kubeadm init]\n", &name, pod_cidr).unwrap()
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
}

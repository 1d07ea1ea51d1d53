//! Breakdown of a cluster's startup time as aligned columns. No I/O.

use super::timestamps::NodeTimes;

/// Keys and descriptions of events, in the order of the first control plane. A star marks times of
/// the API server, which are rounded down to whole seconds.
const ROWS: [(&str, &str); 27] = [
    ("created", "instance created"),
    ("unpack", "image unpack begins"),
    ("unpacked", "image unpacked"),
    ("started", "instance started"),
    ("systemd", "systemd runs"),
    ("init-local", "cloud-init: local"),
    ("address", "first address"),
    ("init", "cloud-init: network"),
    ("modules-config", "cloud-init: config"),
    ("containerd", "containerd runs"),
    ("final-began", "cloud-init: final begins"),
    ("certs", "kubeadm: certs"),
    ("kubeconfig", "kubeadm: kubeconfig"),
    ("etcd-manifest", "kubeadm: etcd"),
    ("manifests", "kubeadm: control-plane"),
    ("kubelet-config", "kubeadm: kubelet-start"),
    ("kubelet", "kubelet runs"),
    ("etcd", "container etcd runs"),
    ("kube-apiserver", "container kube-apiserver runs"),
    ("upload-config", "kubeadm: upload-config *"),
    ("kubelet-conf", "kubelet.conf written"),
    ("kubelet-again", "kubeadm: kubelet-finalize"),
    ("sentinel", "bootstrap data succeeded"),
    ("final", "cloud-init: final ends"),
    ("cni", "CNI configuration written"),
    ("ready", "node Ready *"),
    ("ready-seen", "capn: bootstrapped and Ready"),
];
const CELL: usize = 10;

/// A line for each known event and a column for each instance, in seconds since `began`.
pub(super) fn render(title: &str, nodes: &[NodeTimes], began: f64) -> String {
    let label = ROWS.iter().map(|(_, what)| what.len()).fold(title.len(), usize::max);
    let line = |what: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>CELL$}")).collect();
        format!("  {what:<label$}{cells}\n")
    };
    let mut text = line(title, nodes.iter().map(|node| node.part.clone()).collect());
    for (key, what) in ROWS {
        let at: Vec<_> = nodes.iter().map(|node| node.timestamps.get(key)).collect();
        if at.iter().any(Option::is_some) {
            let shown =
                |at: Option<&f64>| at.map_or("-".to_owned(), |at| format!("{:.1}", at - began));
            text.push_str(&line(what, at.into_iter().map(shown).collect()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{NodeTimes, render};

    fn node(part: &str, timestamps: &[(&str, f64)]) -> NodeTimes {
        NodeTimes {
            name: part.to_owned(),
            part: part.to_owned(),
            timestamps: timestamps.iter().map(|(key, at)| ((*key).to_owned(), *at)).collect(),
        }
    }

    #[test]
    fn columns_are_aligned_and_count_from_the_start() {
        let nodes = [
            node("lb-1", &[("created", 1000.5), ("address", 1003.0)]),
            node("worker-1", &[("created", 1100.04), ("sentinel", 1120.0), ("unknown", 1.0)]),
        ];
        let lines = [
            "  by capn up                         lb-1  worker-1",
            "  instance created                    0.5     100.0",
            "  first address                       3.0         -",
            "  bootstrap data succeeded              -     120.0",
            "",
        ];
        assert_eq!(render("by capn up", &nodes, 1000.0), lines.join("\n"));
    }
}

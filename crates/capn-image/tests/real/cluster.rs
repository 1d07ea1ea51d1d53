//! The kubeadm image, if there is a directory of Kubernetes binaries: a control plane and a worker
//! set up by hand, both unprivileged, the worker with isolated IDs.

use std::time::Instant;

use capn_image::{
    Kind,
    binaries::{KubernetesDirectory, Programs},
};
use incus_client::{Client, FileOptions};

use super::support::{built, directory_of, in_one_project, launched, restart_with, sh, until};

const CONTROL_PLANE: &str = "capn-t-img-cp";
const WORKER: &str = "capn-t-img-w";
const KUBECTL: &str = "kubectl --kubeconfig /etc/kubernetes/admin.conf";

const KUBELET_PATCH: &str = "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
featureGates:
  KubeletInUserNamespace: true
failCgroupV1: false
";

#[tokio::test]
async fn pods_on_two_unprivileged_nodes_reach_each_other_without_a_registry() {
    let Some(path) = directory_of(Programs::Kubernetes) else { return };
    let directory = KubernetesDirectory::open(path).await.unwrap();
    in_one_project("kubeadm image", |client| bring_up(client, directory.clone())).await;
}

async fn bring_up(client: Client, directory: KubernetesDirectory) {
    let client = &client;
    let version = directory.version().to_owned();
    let coredns = directory.optional("coredns").is_some();
    let (image, _) = built(client, Kind::Kubeadm(directory)).await;
    launched(client, CONTROL_PLANE, &image.alias, &[("security.nesting", "true")]).await;
    let isolated = [("security.nesting", "true"), ("security.idmap.isolated", "true")];
    launched(client, WORKER, &image.alias, &isolated).await;

    let mut init = include_str!("init.yaml").replace("KUBERNETES_VERSION", &version);
    if !coredns {
        init = init.replace("skipPhases: []", "skipPhases: [addon/coredns]");
    }
    let started = Instant::now();
    prepare(client, CONTROL_PLANE, &init).await;
    sh(client, CONTROL_PLANE, "kubeadm init --config /root/kubeadm.yaml 2>&1").await;
    println!("kubeadm init: {:.1?}", started.elapsed());

    let started = Instant::now();
    let command = sh(client, CONTROL_PLANE, "kubeadm token create --print-join-command").await;
    let words: Vec<_> = command.split_whitespace().collect();
    let join = include_str!("join.yaml")
        .replace("ENDPOINT", words[2])
        .replace("TOKEN", words[4])
        .replace("HASH", words[6]);
    prepare(client, WORKER, &join).await;
    sh(client, WORKER, "kubeadm join --config /root/kubeadm.yaml 2>&1").await;
    println!("kubeadm join: {:.1?}", started.elapsed());

    connect(client).await;
    let wait = format!("{KUBECTL} wait --for=condition=Ready node --all --timeout=60s");
    sh(client, CONTROL_PLANE, &wait).await;
    pods_reach_each_other(client, coredns).await;

    // Routes and cgroups are restored with the node, without anything else running.
    restart_with(client, WORKER, "user.capn-test", "restarted").await;
    let route = "ip route show proto 202 | grep via";
    until(client, WORKER, "the route to the other node", route).await;
    until(client, WORKER, "kubelet", "systemctl is-active kubelet").await;
}

async fn prepare(client: &Client, name: &str, config: &str) {
    let options = FileOptions { make_parents: true, ..FileOptions::default() };
    let patch = "/etc/kubernetes/patches/kubeletconfiguration0+strategic.yaml";
    client.push_file(name, patch, KUBELET_PATCH, &options).await.unwrap();
    let config = config.replace("INSTANCE", name);
    client.push_file(name, "/root/kubeadm.yaml", config, &options).await.unwrap();
}

/// Writes what capn writes to the nodes of a cluster with the bridge CNI.
async fn connect(client: &Client) {
    let mut nodes = Vec::new();
    for name in [CONTROL_PLANE, WORKER] {
        let fields = "{.spec.podCIDR} {.status.addresses[?(@.type==\"InternalIP\")].address}";
        let script = format!("{KUBECTL} get node {name} -o jsonpath='{fields}' | grep /24");
        let found = until(client, CONTROL_PLANE, "a pod subnet", &script).await;
        let (subnet, address) = found.trim().split_once(' ').unwrap();
        nodes.push((name, subnet.to_owned(), address.to_owned()));
    }
    let options = FileOptions { make_parents: true, ..FileOptions::default() };
    for (at, (name, subnet, _)) in nodes.iter().enumerate() {
        let (_, peer, via) = &nodes[1 - at];
        let env = format!("CLUSTER_CIDRS=\"10.244.0.0/16\"\nPEERS=\"{peer}={via}\"\n");
        client.push_file(name, "/etc/capn/pod-network.env", env, &options).await.unwrap();
        let conflist = include_str!("bridge.json").replace("SUBNET", subnet);
        let path = "/etc/cni/net.d/10-capn.conflist";
        client.push_file(name, path, conflist, &options).await.unwrap();
        // As capn does after it has written the file.
        sh(client, name, "systemctl restart capn-pod-network.service").await;
        let route = format!("ip route show proto 202 | grep '{peer} via {via}'");
        until(client, name, "the route to the other node", &route).await;
        // A pod of an unknown node.
        sh(client, name, "if ip route get 10.244.255.1; then exit 1; fi").await;
    }
}

async fn pods_reach_each_other(client: &Client, coredns: bool) {
    if !coredns {
        println!(
            "SKIPPED: pods: the only image with a server in it is CoreDNS, which is not there"
        );
        return;
    }
    let options = FileOptions::default();
    let image = sh(client, CONTROL_PLANE, "ctr -n k8s.io images list -q | grep coredns").await;
    for (name, pod) in [(CONTROL_PLANE, "a"), (WORKER, "b")] {
        let manifest = include_str!("pod.yaml")
            .replace("POD", pod)
            .replace("NODE", name)
            .replace("IMAGE", image.trim());
        let path = format!("/root/{pod}.yaml");
        client.push_file(CONTROL_PLANE, &path, manifest, &options).await.unwrap();
        sh(client, CONTROL_PLANE, &format!("{KUBECTL} apply -f {path}")).await;
    }
    let wait = format!("{KUBECTL} wait --for=condition=Ready pod/a pod/b --timeout=120s");
    sh(client, CONTROL_PLANE, &wait).await;
    let address = |pod: &str| format!("{KUBECTL} get pod {pod} -o jsonpath='{{.status.podIP}}'");
    let a = sh(client, CONTROL_PLANE, &address("a")).await;
    let b = sh(client, CONTROL_PLANE, &address("b")).await;
    // From b's network: the other pod, the API through its Service, the outside world.
    let script = format!(
        "set -e; for p in $(ctr -n k8s.io tasks list | awk 'NR > 1 {{ print $2 }}'); do \
           if nsenter -t $p -n ip -4 -o addr | grep -q 'inet {b}/'; then break; fi; \
         done; gateway=$(ip -4 route show default | awk '{{ print $3 }}'); \
         for to in {a}:5353 10.96.0.1:443 $gateway:53; do \
           nsenter -t $p -n timeout 5 socat -u OPEN:/dev/null TCP:$to; echo $to; done"
    );
    let reached = sh(client, WORKER, &script).await;
    assert_eq!(reached.lines().count(), 3, "{reached}");
}

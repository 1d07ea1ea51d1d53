//! Tests of rendered bootstrap data on real machines: one initializes a control plane, a worker and
//! a second control plane machine join it, and the etcd member of the latter is removed again.
//!
//! Needs an Incus server with an image that contains kubeadm (property `capn.kind: kubeadm`).

use std::process::Command;
use std::time::{Duration, Instant};

use capi_api::{Cluster, KubeadmConfig, Machine, labels};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::observe::{Inputs, Observed};
use super::token::{self, Token};
use super::validate::validate;
use super::{data, discovery};
use crate::kubeconfig::{Kubeconfig, render, server};
use crate::pki::set::{Set, Wanted, generate};
use crate::pki::{ClientIdentity, Purpose, client_certificate};
use crate::workload::etcd::Etcd;
use capn_controller::workload::{Reach, client as connect};

/// An instance that is deleted with the test.
struct Instance(String);

impl Drop for Instance {
    fn drop(&mut self) {
        incus(&["delete", "--force", &self.0]);
    }
}

impl Instance {
    fn launch(image: &str, name: &str, user_data: &str, address: Option<&str>) -> Self {
        let user_data = format!("cloud-init.user-data={user_data}");
        let mut arguments = vec!["launch", image, name, "-c", "security.nesting=true"];
        arguments.extend(["-c", &user_data]);
        let device = address.map(|address| format!("eth0,ipv4.address={address}"));
        if let Some(device) = &device {
            arguments.extend(["-d", device]);
        }
        let instance = Self(name.to_owned());
        let output = Command::new("incus").args(&arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        instance
    }

    /// The end of cloud-init's output, for a failure.
    fn log(&self) -> String {
        let tail = ["exec", &self.0, "--", "tail", "-n", "60", "/var/log/cloud-init-output.log"];
        incus(&tail).unwrap_or_default()
    }
}

fn incus(arguments: &[&str]) -> Option<String> {
    let output = Command::new("incus").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Fingerprint, Kubernetes version and etcd version of an image with kubeadm.
fn image() -> Option<(String, String, String)> {
    let images: Value =
        serde_json::from_str(&incus(&["image", "list", "--format", "json"])?).ok()?;
    images.as_array()?.iter().find_map(|image| {
        let property = |name: &str| Some(image["properties"][name].as_str()?.to_owned());
        (property("capn.kind")? == "kubeadm").then_some(())?;
        let fingerprint = image["fingerprint"].as_str()?.to_owned();
        Some((fingerprint, property("capn.kubernetes-version")?, property("capn.etcd-version")?))
    })
}

/// An address of the server's bridge outside of its DHCP range.
fn address() -> Option<String> {
    let bridge = incus(&["network", "get", "incusbr0", "ipv4.address"])?;
    let (address, _) = bridge.trim().split_once('/')?;
    let (network, _) = address.rsplit_once('.')?;
    Some(format!("{network}.{}", rand::random_range(200..=250)))
}

fn registration() -> Value {
    json!({
        "kubeletExtraArgs": [{ "name": "provider-id", "value": "lxc:///{{ v1.local_hostname }}" }],
        "ignorePreflightErrors": ["SystemVerification"],
    })
}

fn config(name: &str) -> KubeadmConfig {
    let kubelet = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
                   failCgroupV1: false\nfailSwapOn: false\nfeatureGates:\n  \
                   KubeletInUserNamespace: true\n";
    let proxy = "---\napiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
                 mode: iptables\nconntrack:\n  maxPerCore: 0\n  min: 0\n";
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "files": [
                {
                    "path": "/etc/kubernetes/patches/kubeletconfiguration0+strategic.yaml",
                    "owner": "root:root", "permissions": "0644", "content": kubelet,
                },
                { "path": "/etc/kubernetes/kube-proxy.config.yaml", "content": proxy },
            ],
            "initConfiguration": {
                "nodeRegistration": registration(),
                "patches": { "directory": "/etc/kubernetes/patches" },
            },
            "joinConfiguration": {
                "nodeRegistration": registration(),
                "patches": { "directory": "/etc/kubernetes/patches" },
            },
            "preKubeadmCommands": [
                "if [ -f /run/kubeadm/kubeadm.yaml ]; then cat \
                 /etc/kubernetes/kube-proxy.config.yaml >> /run/kubeadm/kubeadm.yaml; fi",
            ],
        },
    }))
    .unwrap()
}

fn observed(name: &str, version: &str, cluster: &Cluster, certificates: &Set) -> Observed {
    let mut machine: Machine = serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "default", "labels": {} },
        "spec": {
            "clusterName": "demo",
            "version": version,
            "bootstrap": {},
            "infrastructureRef": { "apiGroup": "g", "kind": "K", "name": name },
        },
    }))
    .unwrap();
    if name.contains("-cp") {
        let labels = machine.metadata.labels.get_or_insert_default();
        labels.insert(labels::CONTROL_PLANE.to_owned(), String::new());
    }
    Observed {
        pool: None,
        machine: Some(machine),
        cluster: Some(cluster.clone()),
        data_secret: None,
        inputs: Inputs { certificates: certificates.clone(), ..Inputs::default() },
    }
}

/// Waits until `check` succeeds, and panics with the description if it never does.
async fn until<F: Future<Output = bool>>(what: &str, on: &Instance, check: impl Fn() -> F) {
    let start = Instant::now();
    while !check().await {
        assert!(
            start.elapsed() < Duration::from_secs(300),
            "waited in vain until {what}:\n{}",
            on.log()
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("{what}: after {:.1} s", start.elapsed().as_secs_f32());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_machine_initializes_a_control_plane_and_another_joins() {
    let (Some((image, version, etcd)), Some(address)) = (image(), address()) else {
        println!("SKIPPED: no Incus server with a bridge incusbr0 and an image with kubeadm");
        return;
    };
    let now = jiff::Timestamp::now();
    let wanted = Wanted::of(None);
    let certificates = generate(&wanted, &wanted.purposes(), now).await.unwrap();
    let cluster: Cluster = serde_json::from_value(json!({
        "metadata": { "name": "demo", "namespace": "default" },
        "spec": {
            "controlPlaneEndpoint": { "host": address, "port": 6443 },
            "clusterNetwork": { "pods": { "cidrBlocks": ["10.244.0.0/16"] } },
        },
    }))
    .unwrap();
    let suffix: u16 = rand::random();
    let (first, second) = (format!("capn-t-{suffix}-cp"), format!("capn-t-{suffix}-w"));

    let mut init = config(&first);
    init.spec.cluster_configuration = Some(
        serde_json::from_value(json!({ "etcd": { "local": { "imageTag": format!("{etcd}-0") } } }))
            .unwrap(),
    );
    let seen = observed(&first, &version, &cluster, &certificates);
    let valid = validate(&init, &seen).unwrap();
    let text =
        data::init(&init, seen.machine.as_ref().unwrap(), &cluster, &certificates, &valid).unwrap();
    let control_plane = Instance::launch(&image, &first, &text.text, Some(&address));

    let ca = &certificates[&Purpose::ClusterCa];
    let admin = ClientIdentity { user: "kubernetes-admin", group: "system:masters" };
    let client = client_certificate(ca, admin, now, jiff::SignedDuration::from_hours(1)).unwrap();
    let server = server(cluster.endpoint().unwrap());
    let kubeconfig = render(&Kubeconfig {
        cluster: "demo",
        server: &server,
        authority: &ca.certificate,
        client: &client,
    });
    let client = connect(&kubeconfig, Reach::ThisMachine, "a").unwrap();
    let configs: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    until("the ConfigMap kubeadm-config is there", &control_plane, || async {
        let get = configs.get_opt("kubeadm-config");
        matches!(tokio::time::timeout(Duration::from_secs(2), get).await, Ok(Ok(Some(_))))
    })
    .await;
    until("kubeadm has recorded its success", &control_plane, || async {
        let done = "/run/cluster-api/bootstrap-success.complete";
        incus(&["exec", &control_plane.0, "--", "cat", done]).is_some()
    })
    .await;

    let token = Token::random();
    token::keep(&client, &token, now).await.unwrap();
    let join = |name: &str, control_plane: bool| {
        let mut config = config(name);
        config.spec.init_configuration = None;
        let mut given = config.spec.join_configuration.clone().unwrap();
        let complete = discovery::complete(None, cluster.endpoint(), &ca.certificate, &token);
        given.discovery = Some(complete.unwrap());
        let seen = observed(name, &version, &cluster, &certificates);
        let valid = validate(&config, &seen).unwrap();
        data::join(&config, &cluster, &certificates, &valid, given, control_plane).unwrap().text
    };
    let worker = Instance::launch(&image, &second, &join(&second, false), None);
    let nodes: Api<Node> = Api::all(client.clone());
    until("the worker is a node with its taint and provider id", &worker, || async {
        let Ok(list) = nodes.list(&ListParams::default()).await else { return false };
        list.items.iter().any(|node| {
            let spec = node.spec.clone().unwrap_or_default();
            let taints = spec.taints.unwrap_or_default();
            node.metadata.name.as_ref() == Some(&second)
                && spec.provider_id.as_deref() == Some(&format!("lxc:///{second}"))
                && taints.iter().any(|taint| taint.key == labels::NODE_UNINITIALIZED_TAINT)
        })
    })
    .await;

    let etcd = Etcd::forwarded("default", "demo", client, certificates[&Purpose::EtcdCa].clone());
    let view = etcd.view(&first).await.unwrap();
    assert_eq!(view.members.len(), 1);
    assert_eq!(view.leader, view.on(&first).map(|member| member.id));

    let third = format!("capn-t-{suffix}-cp2");
    let joined = Instance::launch(&image, &third, &join(&third, true), None);
    until("etcd has two members that vote", &joined, || async {
        let Ok(view) = etcd.view(&first).await else { return false };
        view.on(&third).is_some_and(|member| !member.is_learner)
    })
    .await;
    let other = etcd.view(&first).await.unwrap().on(&third).unwrap().id;
    etcd.transfer_leadership(&first, other).await.unwrap();
    until("the other member leads", &joined, || async {
        etcd.view(&first).await.is_ok_and(|view| view.leader == Some(other))
    })
    .await;
    let own = etcd.view(&first).await.unwrap().on(&first).unwrap().id;
    until("leadership is handed back", &joined, || async {
        etcd.transfer_leadership(&third, own).await.is_ok()
    })
    .await;
    etcd.remove(&first, other).await.unwrap();
    etcd.remove(&first, other).await.unwrap();
    assert_eq!(etcd.view(&first).await.unwrap().members.len(), 1);
}

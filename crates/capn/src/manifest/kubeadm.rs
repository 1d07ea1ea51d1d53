//! KubeadmControlPlane and KubeadmConfigTemplate, with what a node in a container needs.

use capi_api::labels;
use capn_image::install::{INSTALL_SCRIPT_PATH, InstallScript};
use capn_plan::versions::{self, NodeFacts, Version};
use serde_json::{Value, json};

use super::Document;
use super::cluster::{BOOTSTRAP, CONTROL_PLANE, INFRASTRUCTURE, metadata};
use super::families;
use super::request::{ClusterRequest, Timeouts};

/// Where kubeadm finds the patches of what it writes.
const PATCHES: &str = "/etc/kubernetes/patches";
/// kube-proxy's configuration until it is appended to kubeadm's.
const KUBE_PROXY: &str = "/etc/kubernetes/kube-proxy.config.yaml";

/// Days before the end of its certificates at which a control plane machine is replaced.
const ROLL_BEFORE_DAYS: i32 = 90;
/// Requests that kube-controller-manager may send at once. Each of its controllers begins with an account
/// of its own, some 150 requests in all; with its default of 30, and 20 a second after that, a new
/// cluster gives its nodes no networks for five seconds.
const API_BURST: &str = "300";
/// CoreDNS is not ready when it is asked first, a moment after its start; kubeadm would have it asked again
/// after ten seconds. It is still given thirty seconds before it counts as not ready any more.
const COREDNS_PATCH: &str = "spec:\n  template:\n    spec:\n      containers:\n      - name: coredns\n        \
     readinessProbe:\n          periodSeconds: 1\n          failureThreshold: 30\n";

/// Appends kube-proxy's configuration where a cluster is initialised; on a node that joins there
/// is no such file. Harmless when it runs again.
const APPEND_KUBE_PROXY: &str = "if [ -f /run/kubeadm/kubeadm.yaml ] && ! grep -q '^kind: \
     KubeProxyConfiguration' /run/kubeadm/kubeadm.yaml; then cat \
     /etc/kubernetes/kube-proxy.config.yaml >> /run/kubeadm/kubeadm.yaml; fi";

pub(super) fn control_plane(request: &ClusterRequest) -> Document {
    let name = request.control_plane_name();
    let mut init = json!({
        "nodeRegistration": node_registration(request),
        "patches": { "directory": PATCHES },
    });
    let mut join = json!({
        "nodeRegistration": node_registration(request),
        "patches": { "directory": PATCHES },
    });
    if let Some(timeouts) = timeouts(request.timeouts) {
        init["timeouts"] = timeouts.clone();
        join["timeouts"] = timeouts;
    }
    if request.image_facts.without_coredns {
        init["skipPhases"] = json!(["addon/coredns"]);
    }
    if let Some(endpoint) = families::endpoint(request) {
        init["localAPIEndpoint"] = endpoint.clone();
        join["controlPlane"] = json!({ "localAPIEndpoint": endpoint });
    }
    let mut config = json!({
        "files": files(request, [kubelet_patch(request), coredns_patch(), kube_proxy(request)]),
        "initConfiguration": init,
        "joinConfiguration": join,
        "preKubeadmCommands": commands(request, [APPEND_KUBE_PROXY]),
    });
    let mut cluster = json!({
        "controllerManager": { "extraArgs": [{ "name": "kube-api-burst", "value": API_BURST }] },
    });
    if let Some(tag) = &request.image_facts.etcd_image_tag {
        cluster["etcd"] = json!({ "local": { "imageTag": tag } });
    }
    config["clusterConfiguration"] = cluster;
    let mut metadata = metadata(request, &name);
    if request.single_server {
        metadata["annotations"] = json!({ labels::BEFORE_INFRASTRUCTURE: "true" });
    }
    Document::new(json!({
        "apiVersion": format!("{CONTROL_PLANE}/v1beta2"),
        "kind": "KubeadmControlPlane",
        "metadata": metadata,
        "spec": {
            "kubeadmConfigSpec": config,
            "machineTemplate": {
                "spec": {
                    "infrastructureRef": {
                        "apiGroup": INFRASTRUCTURE,
                        "kind": "LXCMachineTemplate",
                        "name": name,
                    },
                },
            },
            "replicas": request.control_planes,
            // kubeadm's certificates last a year, and are made anew with the machine.
            "rollout": { "before": { "certificatesExpiryDays": ROLL_BEFORE_DAYS } },
            "version": request.kubernetes_version,
        },
    }))
}

pub(super) fn worker_template(request: &ClusterRequest) -> Document {
    let mut spec = json!({
        "files": files(request, [kubelet_patch(request)]),
        "joinConfiguration": {
            "nodeRegistration": node_registration(request),
            "patches": { "directory": PATCHES },
        },
    });
    if let Some(timeouts) = timeouts(request.timeouts) {
        spec["joinConfiguration"]["timeouts"] = timeouts;
    }
    let commands = commands(request, []);
    if !commands.is_empty() {
        spec["preKubeadmCommands"] = json!(commands);
    }
    Document::new(json!({
        "apiVersion": format!("{BOOTSTRAP}/v1beta2"),
        "kind": "KubeadmConfigTemplate",
        "metadata": metadata(request, &request.workers_name()),
        "spec": { "template": { "spec": spec } },
    }))
}

/// The files of a node: with the script that makes it one, where it is a stock system.
fn files<const N: usize>(request: &ClusterRequest, own: [Value; N]) -> Vec<Value> {
    let version = request.kubernetes_version.as_deref().unwrap_or_default();
    let script = request.install_kubeadm.then(|| {
        json!({
            "path": INSTALL_SCRIPT_PATH,
            "owner": "root:root",
            "permissions": "0755",
            "content": InstallScript::new(version).text(),
        })
    });
    script.into_iter().chain(own).chain(families::files(request)).collect()
}

/// The commands before kubeadm: first what makes the system a node.
fn commands<const N: usize>(request: &ClusterRequest, own: [&str; N]) -> Vec<String> {
    let version = request.kubernetes_version.as_deref().unwrap_or_default();
    let install = request.install_kubeadm.then(|| format!("{INSTALL_SCRIPT_PATH} {version}"));
    let told = families::is_needed(request).then(|| families::COMMAND.to_owned());
    install.into_iter().chain(told).chain(own.map(str::to_owned)).collect()
}

fn node_registration(request: &ClusterRequest) -> Value {
    let mut registration = json!({
        // The same text the provider writes into the machine, so that node and machine match.
        "kubeletExtraArgs": [
            { "name": "provider-id", "value": "lxc:///{{ v1.local_hostname }}" },
        ],
    });
    // kubeadm refuses where it finds no configuration of the kernel, however fit the kernel is.
    if request.allow_cgroup_v1 || request.image_facts.without_host_boot {
        registration["ignorePreflightErrors"] = json!(["SystemVerification"]);
    }
    registration
}

/// How long kubeadm waits for what, where that is not its own choice. Its defaults, as
/// `SetDefaultsTimeouts` in `cmd/kubeadm/app/apis/kubeadm/v1beta4/defaults.go` has them: 4 min, 4 min,
/// 1 min, 2 min, 5 min, 5 min.
fn timeouts(timeouts: Timeouts) -> Option<Value> {
    let seconds = |usual: u32| usual * timeouts.factor();
    (timeouts != Timeouts::Default).then(|| {
        json!({
            "controlPlaneComponentHealthCheckSeconds": seconds(240),
            "kubeletHealthCheckSeconds": seconds(240),
            // kubeadm waits for the first control plane with a call of its API server (the binding of its
            // administrators), before the wait that has a control plane's time.
            "kubernetesAPICallSeconds": seconds(240),
            "etcdAPICallSeconds": seconds(120),
            "tlsBootstrapSeconds": seconds(300),
            "discoverySeconds": seconds(300),
        })
    })
}

/// The version of the nodes; one that is not given or not known is a new one.
fn version(request: &ClusterRequest) -> Version {
    let text = request.kubernetes_version.as_deref().unwrap_or_default();
    text.parse().unwrap_or(Version::new(u32::MAX, 0, 0))
}

/// The patch of kubelet's configuration.
fn kubelet_patch(request: &ClusterRequest) -> Value {
    // The disk of a node is the pool's: how full it is says nothing of the node, and images that
    // came with the node image or were loaded could not be pulled again. At 100 % kubelet deletes
    // none. The host's swap is not the node's to turn off.
    let mut text = String::from(
        "apiVersion: kubelet.config.k8s.io/v1beta1\n\
         kind: KubeletConfiguration\n\
         evictionHard:\n  imagefs.available: \"0%\"\n  imagefs.inodesFree: \"0%\"\n  \
         nodefs.available: \"0%\"\n  nodefs.inodesFree: \"0%\"\n\
         imageGCHighThresholdPercent: 100\n\
         failSwapOn: false\n",
    );
    text.extend(request.max_pods.map(|pods| format!("maxPods: {pods}\n")));
    let kubernetes = version(request);
    if request.allow_cgroup_v1 && versions::has_fail_cgroup_v1(kubernetes) {
        text.push_str("failCgroupV1: false\n");
    }
    let node = NodeFacts {
        // The machines of this command are containers.
        container: true,
        unprivileged: request.isolation.is_unprivileged(),
        root_on_zfs: request.root_on_zfs,
    };
    if versions::without_local_storage_isolation(kubernetes, node) {
        text.push_str("localStorageCapacityIsolation: false\n");
    }
    if versions::kubelet_in_user_namespace(kubernetes, node) {
        text.push_str("featureGates:\n  KubeletInUserNamespace: true\n");
    }
    json!({
        "path": format!("{PATCHES}/kubeletconfiguration0+strategic.yaml"),
        "owner": "root:root",
        "permissions": "0644",
        "content": text,
    })
}

/// The patch of CoreDNS' Deployment, which kubeadm knows since 1.32; an older one says that it ignores it.
fn coredns_patch() -> Value {
    json!({
        "path": format!("{PATCHES}/corednsdeployment0+strategic.yaml"),
        "owner": "root:root",
        "permissions": "0644",
        "content": COREDNS_PATCH,
    })
}

/// Connection tracking limits belong to the host; kube-proxy in a node cannot set them.
fn kube_proxy(request: &ClusterRequest) -> Value {
    let mode = request.kube_proxy_mode.as_str();
    json!({
        "path": KUBE_PROXY,
        "owner": "root:root",
        "permissions": "0644",
        "content": format!(
            "---\n\
             apiVersion: kubeproxy.config.k8s.io/v1alpha1\n\
             kind: KubeProxyConfiguration\n\
             mode: {mode}\n\
             conntrack:\n  maxPerCore: 0\n  min: 0\n"
        ),
    })
}

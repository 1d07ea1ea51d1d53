//! KubeadmControlPlane and KubeadmConfigTemplate, adapted to nodes in containers.

use capi_api::labels;
use capn_image::install::{INSTALL_SCRIPT_PATH, InstallScript};
use capn_plan::versions::{self, NodeFacts, Version};
use serde_json::{Value, json};

use super::Document;
use super::cluster::{BOOTSTRAP, CONTROL_PLANE, INFRASTRUCTURE, metadata};
use super::families;
use super::node_settings;
use super::pool::{Labeller, Pool};
use super::request::{ClusterRequest, Timeouts};

/// Directory of kubeadm patches.
pub(super) const PATCHES: &str = "/etc/kubernetes/patches";
/// kube-proxy configuration, until it is appended to kubeadm's.
const KUBE_PROXY: &str = "/etc/kubernetes/kube-proxy.config.yaml";

/// Control plane machines are replaced this many days before their certificates expire.
const ROLL_BEFORE_DAYS: i32 = 90;
/// API request burst of kube-controller-manager. Each of its controllers creates a service account
/// at startup, about 150 requests in total. With the default burst of 30 and 20 requests per
/// second, a new cluster would assign node CIDRs five seconds later.
const API_BURST: &str = "300";
/// CoreDNS is not ready when it is first probed right after its start, and kubeadm's probe period
/// is ten seconds. The probe still allows thirty seconds before it counts as not ready.
const COREDNS_PATCH: &str = "spec:\n  template:\n    spec:\n      containers:\n      - name: coredns\n        \
     readinessProbe:\n          periodSeconds: 1\n          failureThreshold: 30\n";

/// Appends kube-proxy's configuration when a cluster is initialized; joining nodes do not have that
/// file. Idempotent.
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
    let arguments = &request.settings.api_server.extra_args;
    if !arguments.is_empty() {
        let pairs = arguments.iter().map(|(name, value)| json!({ "name": name, "value": value }));
        cluster["apiServer"] = json!({ "extraArgs": pairs.collect::<Vec<_>>() });
    }
    if let Some(tag) = &request.image_facts.etcd_image_tag {
        cluster["etcd"] = json!({ "local": { "imageTag": tag } });
    }
    config["clusterConfiguration"] = cluster;
    let after = &request.settings.post_kubeadm_commands;
    if !after.is_empty() {
        config["postKubeadmCommands"] = json!(after);
    }
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
            // kubeadm's certificates are valid for one year and are renewed with the machine.
            "rollout": { "before": { "certificatesExpiryDays": ROLL_BEFORE_DAYS } },
            "version": request.kubernetes_version,
        },
    }))
}

/// KubeadmConfigTemplate for the nodes of a pool; `request` is the pool's request.
pub(super) fn worker_template(request: &ClusterRequest, pool: &Pool) -> Document {
    let mut registration = node_registration(request);
    let labels: Vec<String> = pool
        .labels_by(Labeller::Kubelet)
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if !labels.is_empty()
        && let Some(arguments) = registration["kubeletExtraArgs"].as_array_mut()
    {
        arguments.push(json!({ "name": "node-labels", "value": labels.join(",") }));
    }
    let taints = pool.kubeadm_taints();
    if !taints.is_empty() {
        registration["taints"] = json!(taints);
    }
    let mut spec = json!({
        "files": files(request, [kubelet_patch(request)]),
        "joinConfiguration": {
            "nodeRegistration": registration,
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
    let after = &request.settings.post_kubeadm_commands;
    if !after.is_empty() {
        spec["postKubeadmCommands"] = json!(after);
    }
    Document::new(json!({
        "apiVersion": format!("{BOOTSTRAP}/v1beta2"),
        "kind": "KubeadmConfigTemplate",
        "metadata": metadata(request, &request.deployment_name(&pool.name)),
        "spec": { "template": { "spec": spec } },
    }))
}

/// Files of a node, including the script that prepares a stock system.
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
    let families = families::files(request);
    script.into_iter().chain(own).chain(families).chain(node_settings::files(request)).collect()
}

/// Commands that run before kubeadm, starting with the preparation of a stock system.
fn commands<const N: usize>(request: &ClusterRequest, own: [&str; N]) -> Vec<String> {
    let version = request.kubernetes_version.as_deref().unwrap_or_default();
    let install = request.install_kubeadm.then(|| format!("{INSTALL_SCRIPT_PATH} {version}"));
    let told = families::is_needed(request).then(|| families::COMMAND.to_owned());
    let own = told.into_iter().chain(own.map(str::to_owned));
    install.into_iter().chain(own).chain(node_settings::commands(request)).collect()
}

fn node_registration(request: &ClusterRequest) -> Value {
    let mut registration = json!({
        // The same text the provider writes into the machine, so that node and machine match.
        "kubeletExtraArgs": [
            { "name": "provider-id", "value": "lxc:///{{ v1.local_hostname }}" },
        ],
    });
    // kubeadm refuses to run if it finds no kernel configuration, even if the kernel is suitable.
    if request.allow_cgroup_v1 || request.image_facts.without_host_boot {
        registration["ignorePreflightErrors"] = json!(["SystemVerification"]);
    }
    registration
}

/// kubeadm's timeouts, if they differ from its defaults. The defaults in `SetDefaultsTimeouts`
/// (`cmd/kubeadm/app/apis/kubeadm/v1beta4/defaults.go`) are 4 min, 4 min, 1 min, 2 min, 5 min, 5
/// min.
fn timeouts(timeouts: Timeouts) -> Option<Value> {
    let seconds = |usual: u32| usual * timeouts.factor();
    (timeouts != Timeouts::Default).then(|| {
        json!({
            "controlPlaneComponentHealthCheckSeconds": seconds(240),
            "kubeletHealthCheckSeconds": seconds(240),
            // kubeadm's first API request to a new control plane (the administrators' binding)
            // waits for its start, before the wait with the control plane timeout begins.
            "kubernetesAPICallSeconds": seconds(240),
            "etcdAPICallSeconds": seconds(120),
            "tlsBootstrapSeconds": seconds(300),
            "discoverySeconds": seconds(300),
        })
    })
}

/// Kubernetes version of the nodes. An unset or unknown version counts as recent.
fn version(request: &ClusterRequest) -> Version {
    let text = request.kubernetes_version.as_deref().unwrap_or_default();
    text.parse().unwrap_or(Version::new(u32::MAX, 0, 0))
}

/// Returns a patch of the kubelet configuration.
fn kubelet_patch(request: &ClusterRequest) -> Value {
    // The disk of a node is the storage pool: its fill level says nothing about the node, and
    // preloaded images could not be pulled again. At 100 %, kubelet deletes no images. The node
    // cannot turn off the host's swap.
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
        // Machines created by this command are containers.
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

/// Returns a patch of the CoreDNS Deployment. Supported since kubeadm 1.32; older versions print
/// that they ignore it.
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

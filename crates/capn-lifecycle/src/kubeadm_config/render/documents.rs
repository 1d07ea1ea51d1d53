//! kubeadm's configuration documents.
//!
//! Cluster API has a single form of them, close to kubeadm's `v1beta4`. Releases before Kubernetes
//! 1.31 read `v1beta3`, in which arguments are maps instead of lists, two timeouts have other
//! positions, and a few fields do not exist and are omitted.

use capi_api::bootstrap::{
    ClusterConfiguration, InitConfiguration, JoinConfiguration, NodeRegistrationOptions, Timeouts,
};
use semver::Version;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Error, yaml};

/// API version of kubeadm's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiVersion {
    /// Kubernetes 1.22 to 1.30.
    V1Beta3,
    /// Kubernetes 1.31 and later.
    V1Beta4,
}

impl ApiVersion {
    /// Returns the API version for the kubeadm of a Kubernetes version. `None` before 1.22.
    pub(crate) fn of(kubernetes: &Version) -> Option<Self> {
        match (kubernetes.major, kubernetes.minor) {
            (0, _) | (1, ..22) => None,
            (1, ..31) => Some(Self::V1Beta3),
            _ => Some(Self::V1Beta4),
        }
    }

    /// Returns the `apiVersion` of the documents.
    pub(crate) fn group_version(self) -> &'static str {
        match self {
            Self::V1Beta3 => "kubeadm.k8s.io/v1beta3",
            Self::V1Beta4 => "kubeadm.k8s.io/v1beta4",
        }
    }
}

/// Fields of a ClusterConfiguration that are not in the KubeadmConfig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterFacts {
    /// Name of the Cluster.
    pub(crate) name: String,
    /// `host:port` of the Cluster, used if the KubeadmConfig sets none.
    pub(crate) endpoint: Option<String>,
    /// Version of the Machine, with the leading `v`.
    pub(crate) kubernetes_version: Option<String>,
    /// Service CIDRs, separated by commas.
    pub(crate) service_subnet: Option<String>,
    /// Pod CIDRs, separated by commas.
    pub(crate) pod_subnet: Option<String>,
    /// DNS domain of Services.
    pub(crate) dns_domain: Option<String>,
}

/// Renders the ClusterConfiguration. `timeouts` are those of the InitConfiguration.
pub(crate) fn cluster_configuration(
    api: ApiVersion,
    configuration: Option<&ClusterConfiguration>,
    facts: &ClusterFacts,
    timeouts: Option<&Timeouts>,
) -> Result<String, Error> {
    const NAME: &str = "ClusterConfiguration";
    let mut document = start(api, NAME, configuration)?;
    let ClusterFacts { name, endpoint, kubernetes_version, service_subnet, pod_subnet, dns_domain } =
        facts;
    document.insert("clusterName".into(), json!(name));
    if let Some(version) = kubernetes_version {
        document.insert("kubernetesVersion".into(), json!(version));
    }
    if let Some(endpoint) = endpoint {
        document.entry("controlPlaneEndpoint").or_insert_with(|| json!(endpoint));
    }
    let mut networking = Map::new();
    for (key, value) in
        [("serviceSubnet", service_subnet), ("podSubnet", pod_subnet), ("dnsDomain", dns_domain)]
    {
        if let Some(value) = value {
            networking.insert(key.into(), json!(value));
        }
    }
    if !networking.is_empty() {
        document.insert("networking".into(), networking.into());
    }
    days_to_duration(&mut document, "certificateValidityPeriodDays", "certificateValidityPeriod");
    days_to_duration(
        &mut document,
        "caCertificateValidityPeriodDays",
        "caCertificateValidityPeriod",
    );
    if api == ApiVersion::V1Beta3 {
        for key in
            ["certificateValidityPeriod", "caCertificateValidityPeriod", "encryptionAlgorithm"]
        {
            document.remove(key);
        }
        for key in ["apiServer", "controllerManager", "scheduler"] {
            if let Some(component) = document.get_mut(key) {
                component_to_v1beta3(component);
            }
        }
        if let Some(local) = document.get_mut("etcd").and_then(|etcd| etcd.get_mut("local")) {
            component_to_v1beta3(local);
        }
        let timeout = timeouts.and_then(|t| t.control_plane_component_health_check_seconds);
        if let Some(seconds) = timeout {
            let api_server = document.entry("apiServer").or_insert_with(|| json!({}));
            api_server["timeoutForControlPlane"] = json!(duration(i64::from(seconds)));
        }
    }
    yaml::document(NAME, document.into())
}

/// Renders the InitConfiguration.
pub(crate) fn init_configuration(
    api: ApiVersion,
    configuration: Option<&InitConfiguration>,
) -> Result<String, Error> {
    const NAME: &str = "InitConfiguration";
    let mut document = start(api, NAME, configuration)?;
    if let Some(Value::Array(tokens)) = document.get_mut("bootstrapTokens") {
        for token in tokens.iter_mut().filter_map(Value::as_object_mut) {
            if let Some(seconds) = token.remove("ttlSeconds").and_then(|v| v.as_i64()) {
                token.insert("ttl".into(), json!(duration(seconds)));
            }
        }
    }
    node_and_timeouts(api, &mut document);
    yaml::document(NAME, document.into())
}

/// Renders the JoinConfiguration.
pub(crate) fn join_configuration(
    api: ApiVersion,
    configuration: &JoinConfiguration,
) -> Result<String, Error> {
    const NAME: &str = "JoinConfiguration";
    let mut document = start(api, NAME, Some(configuration))?;
    if let Some(file) = document
        .get_mut("discovery")
        .and_then(|discovery| discovery.get_mut("file"))
        .and_then(Value::as_object_mut)
    {
        // Written to the node as a file; kubeadm only gets the path.
        file.remove("kubeConfig");
    }
    if api == ApiVersion::V1Beta3 {
        let timeout = configuration.timeouts.as_ref().and_then(|t| t.tls_bootstrap_seconds);
        if let Some(seconds) = timeout {
            let discovery = document.entry("discovery").or_insert_with(|| json!({}));
            discovery["timeout"] = json!(duration(i64::from(seconds)));
        }
    }
    node_and_timeouts(api, &mut document);
    yaml::document(NAME, document.into())
}

/// Returns the registration options with an additional taint, which workers have until they are
/// initialized.
pub(crate) fn with_taint(
    options: Option<&NodeRegistrationOptions>,
    key: &str,
    effect: &str,
) -> NodeRegistrationOptions {
    let mut options = options.cloned().unwrap_or_default();
    let taints = options.taints.get_or_insert_with(Vec::new);
    if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
        taints.push(k8s_openapi::api::core::v1::Taint {
            key: key.to_owned(),
            effect: effect.to_owned(),
            ..Default::default()
        });
    }
    options
}

fn start<T: Serialize>(
    api: ApiVersion,
    kind: &'static str,
    configuration: Option<&T>,
) -> Result<Map<String, Value>, Error> {
    let value = configuration
        .map(serde_json::to_value)
        .transpose()
        .map_err(|source| Error::Json { document: kind, source })?;
    let mut document = match value {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    document.insert("apiVersion".into(), json!(api.group_version()));
    document.insert("kind".into(), json!(kind));
    Ok(document)
}

fn node_and_timeouts(api: ApiVersion, document: &mut Map<String, Value>) {
    let timeouts = document.remove("timeouts");
    match api {
        ApiVersion::V1Beta4 => {
            if let Some(Value::Object(timeouts)) = timeouts {
                let durations: Map<String, Value> = timeouts
                    .into_iter()
                    .filter_map(|(key, seconds)| {
                        let key = key.strip_suffix("Seconds")?.to_owned();
                        Some((key, json!(duration(seconds.as_i64()?))))
                    })
                    .collect();
                if !durations.is_empty() {
                    document.insert("timeouts".into(), durations.into());
                }
            }
        }
        ApiVersion::V1Beta3 => {
            if let Some(node) = document.get_mut("nodeRegistration").and_then(Value::as_object_mut)
            {
                node.remove("imagePullSerial");
                arguments_to_map(node, "kubeletExtraArgs");
            }
        }
    }
}

fn component_to_v1beta3(component: &mut Value) {
    if let Some(component) = component.as_object_mut() {
        component.remove("extraEnvs");
        arguments_to_map(component, "extraArgs");
    }
}

/// Converts `[{name, value}]` to `{name: value}`. Of several values for one name the last one is
/// kept, because `v1beta3` does not support more.
fn arguments_to_map(object: &mut Map<String, Value>, key: &str) {
    let Some(Value::Array(list)) = object.remove(key) else { return };
    let map: Map<String, Value> = list
        .iter()
        .filter_map(|argument| {
            let name = argument.get("name")?.as_str()?.to_owned();
            Some((name, argument.get("value").cloned().unwrap_or_else(|| json!(""))))
        })
        .collect();
    object.insert(key.to_owned(), map.into());
}

fn days_to_duration(document: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(days) = document.remove(from).and_then(|days| days.as_i64()) {
        document.insert(to.to_owned(), json!(duration(days.saturating_mul(86_400))));
    }
}

/// Formats seconds as a Go duration: `1h0m0s`, `4m0s`, `30s`, `0s`.
fn duration(seconds: i64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

//! Optional objects around the manager: a NetworkPolicy, and objects for the Prometheus Operator.

use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort, ServiceSpec},
        networking::v1::{
            NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPort,
            NetworkPolicySpec,
        },
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use serde_json::json;

use super::{
    CERTIFICATE, DIAGNOSTICS_PORT, HEALTH_PORT, Object, PROVIDER_LABEL, metadata, pod_labels,
    rights,
};
use crate::{PackageError, yaml::Slot};

/// Service of the metrics.
const METRICS: &str = "capn-controller-manager-metrics";
const DNS: u16 = 53;
/// Allowed ports: API servers of the management cluster (443 is its Service, 16443 is MicroK8s) and
/// of workload clusters, Incus and LXD servers (8443), and image servers (443).
const REACHED: [u16; 4] = [443, 6443, 8443, 16_443];
/// Self-signed issuer of the diagnostics certificate.
const ISSUER: &str = "capn-diagnostics";

pub(super) fn policy() -> Result<Object, PackageError> {
    let of = |protocol: &str, number: u16| NetworkPolicyPort {
        port: Some(IntOrString::Int(number.into())),
        protocol: Some(protocol.to_owned()),
        ..NetworkPolicyPort::default()
    };
    let port = |number| of("TCP", number);
    let mut reached = vec![of("UDP", DNS), port(DNS)];
    reached.extend(REACHED.map(port));
    let policy = NetworkPolicy {
        metadata: metadata("capn-controller-manager"),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(pod_labels()),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                ports: Some(vec![port(DIAGNOSTICS_PORT), port(HEALTH_PORT)]),
                ..NetworkPolicyIngressRule::default()
            }]),
            // Servers and workload clusters can be anywhere, but only on these ports.
            egress: Some(vec![NetworkPolicyEgressRule {
                ports: Some(reached),
                ..NetworkPolicyEgressRule::default()
            }]),
        }),
    };
    Object::new("network-policy", &policy)
}

pub(super) fn monitoring() -> Result<Vec<Object>, PackageError> {
    let mut labelled = metadata(METRICS);
    let labels = labelled.labels.get_or_insert_default();
    labels.insert("control-plane".to_owned(), "controller-manager".to_owned());
    let service = Service {
        metadata: labelled,
        spec: Some(ServiceSpec {
            ports: Some(vec![ServicePort {
                name: Some("metrics".to_owned()),
                port: DIAGNOSTICS_PORT.into(),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String("metrics".to_owned())),
                ..ServicePort::default()
            }]),
            selector: Some(pod_labels()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    let (key, value) = PROVIDER_LABEL;
    let namespace = Slot::Namespace.mark();
    let names =
        [format!("{METRICS}.{namespace}.svc"), format!("{METRICS}.{namespace}.svc.cluster.local")];
    // cert-manager is in every cluster with Cluster API.
    let issuer = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": {"name": ISSUER, "namespace": namespace, "labels": {key: value}},
        "spec": {"selfSigned": {}},
    });
    let certificate = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": CERTIFICATE, "namespace": namespace, "labels": {key: value}},
        "spec": {
            "secretName": CERTIFICATE,
            "dnsNames": names,
            "issuerRef": {"kind": "Issuer", "name": ISSUER},
            "privateKey": {"algorithm": "ECDSA", "rotationPolicy": "Always"},
        },
    });
    let monitor = json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {
            "name": METRICS, "namespace": Slot::Namespace.mark(), "labels": {key: value},
        },
        "spec": {
            "selector": {"matchLabels": {key: value, "control-plane": "controller-manager"}},
            "endpoints": [{
                "path": "/metrics", "port": "metrics", "scheme": "https",
                "bearerTokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token",
                "tlsConfig": {
                    "ca": {"secret": {"name": CERTIFICATE, "key": "ca.crt"}},
                    "serverName": names[0],
                },
            }],
        },
    });
    Ok(vec![
        Object::new("metrics-reader-role", &rights::metrics_reader())?,
        Object::new("metrics-service", &service)?,
        Object { file: "diagnostics-issuer", value: issuer },
        Object { file: "diagnostics-certificate", value: certificate },
        Object { file: "service-monitor", value: monitor },
    ])
}

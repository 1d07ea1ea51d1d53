//! Objects of the provider in a management cluster.

mod deployment;
mod network;
mod rights;

use k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::Serialize;
use serde_json::Value;

use crate::{PackageError, yaml::Slot};

/// Default namespace of the provider.
pub const NAMESPACE: &str = "capn-system";
/// Label, and its value, that marks objects of the provider for clusterctl.
pub const PROVIDER_LABEL: (&str, &str) = ("cluster.x-k8s.io/provider", "infrastructure-incus");
/// Service account of the manager.
pub const SERVICE_ACCOUNT: &str = "capn-manager";
/// Deployment of the manager.
pub const DEPLOYMENT: &str = "capn-controller-manager";
/// Port of metrics and diagnostics.
pub const DIAGNOSTICS_PORT: u16 = 8443;
/// Port of `/healthz` and `/readyz`.
pub const HEALTH_PORT: u16 = 9440;

/// Secret with the diagnostics certificate, if one is issued: the objects for the Prometheus
/// Operator request it from cert-manager.
pub const CERTIFICATE: &str = "capn-diagnostics-certificate";

/// A Kubernetes object as JSON, with unfilled slots.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    /// What its file is called.
    pub(crate) file: &'static str,
    pub(crate) value: Value,
}

impl Object {
    fn new(file: &'static str, object: &impl Serialize) -> Result<Self, PackageError> {
        let value = serde_json::to_value(object).map_err(PackageError::write(file))?;
        Ok(Self { file, value })
    }
}

/// CRDs of capn, generated from the Rust types.
pub(crate) fn definitions() -> Result<Vec<Value>, PackageError> {
    let crds = capn_api::crds();
    crds.iter()
        .map(|crd| serde_json::to_value(crd).map_err(PackageError::write("a definition")))
        .collect()
}

/// Returns the namespace.
pub(crate) fn namespace() -> Result<Object, PackageError> {
    let metadata = ObjectMeta { name: Some(Slot::Namespace.mark()), ..metadata("") };
    let metadata = ObjectMeta { namespace: None, ..metadata };
    Object::new("namespace", &Namespace { metadata, ..Namespace::default() })
}

/// Returns the manager with its service account and roles.
pub(crate) fn manager() -> Result<Vec<Object>, PackageError> {
    let account =
        ServiceAccount { metadata: metadata(SERVICE_ACCOUNT), ..ServiceAccount::default() };
    let mut objects = vec![Object::new("service-account", &account)?];
    objects.extend(rights::objects()?);
    objects.push(deployment::object()?);
    Ok(objects)
}

/// NetworkPolicy of the manager. Not every cluster enforces it. Policies are additive, so others
/// can allow more.
pub(crate) fn network_policy() -> Result<Object, PackageError> {
    network::policy()
}

/// Objects with which the Prometheus Operator collects the metrics.
pub(crate) fn monitoring() -> Result<Vec<Object>, PackageError> {
    network::monitoring()
}

/// Returns the metadata of an object in the provider's namespace.
fn metadata(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(Slot::Namespace.mark()),
        labels: Some([PROVIDER_LABEL].map(owned).into()),
        ..ObjectMeta::default()
    }
}

/// Returns the metadata of a cluster-scoped object.
fn cluster_metadata(name: &str) -> ObjectMeta {
    ObjectMeta { namespace: None, ..metadata(name) }
}

/// Labels of the manager's pods.
fn pod_labels() -> std::collections::BTreeMap<String, String> {
    [PROVIDER_LABEL, ("control-plane", "controller-manager")].map(owned).into()
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

//! The objects of the provider in a management cluster.

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

/// The namespace that the provider is installed into, if nothing else is asked for.
pub const NAMESPACE: &str = "capn-system";
/// The label by which clusterctl knows what belongs to the provider, and its value.
pub const PROVIDER_LABEL: (&str, &str) = ("cluster.x-k8s.io/provider", "infrastructure-incus");
/// The service account of the manager.
pub const SERVICE_ACCOUNT: &str = "capn-manager";
/// The Deployment of the manager.
pub const DEPLOYMENT: &str = "capn-controller-manager";
/// Port of metrics and diagnostics.
pub const DIAGNOSTICS_PORT: u16 = 8443;
/// Port of `/healthz` and `/readyz`.
pub const HEALTH_PORT: u16 = 9440;

/// The Secret with the certificate of the diagnostics, where somebody makes one: the objects for a
/// Prometheus Operator ask cert-manager for it.
pub const CERTIFICATE: &str = "capn-diagnostics-certificate";

/// An object of Kubernetes as JSON. Slots of it are not filled.
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

/// Our definitions, as the Rust types have them.
pub(crate) fn definitions() -> Result<Vec<Value>, PackageError> {
    let crds = capn_api::crds();
    crds.iter()
        .map(|crd| serde_json::to_value(crd).map_err(PackageError::write("a definition")))
        .collect()
}

/// The namespace.
pub(crate) fn namespace() -> Result<Object, PackageError> {
    let metadata = ObjectMeta { name: Some(Slot::Namespace.mark()), ..metadata("") };
    let metadata = ObjectMeta { namespace: None, ..metadata };
    Object::new("namespace", &Namespace { metadata, ..Namespace::default() })
}

/// Who the manager is, what it may do, and the manager.
pub(crate) fn manager() -> Result<Vec<Object>, PackageError> {
    let account =
        ServiceAccount { metadata: metadata(SERVICE_ACCOUNT), ..ServiceAccount::default() };
    let mut objects = vec![Object::new("service-account", &account)?];
    objects.extend(rights::objects()?);
    objects.push(deployment::object()?);
    Ok(objects)
}

/// A NetworkPolicy for the manager. Not every cluster has something that enforces it; policies add up,
/// so that others can let it reach more.
pub(crate) fn network_policy() -> Result<Object, PackageError> {
    network::policy()
}

/// What a Prometheus Operator needs to collect the metrics.
pub(crate) fn monitoring() -> Result<Vec<Object>, PackageError> {
    network::monitoring()
}

/// Metadata of an object in the namespace of the provider.
fn metadata(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(Slot::Namespace.mark()),
        labels: Some([PROVIDER_LABEL].map(owned).into()),
        ..ObjectMeta::default()
    }
}

/// Metadata of an object without a namespace.
fn cluster_metadata(name: &str) -> ObjectMeta {
    ObjectMeta { namespace: None, ..metadata(name) }
}

/// The labels by which the manager's pods are found.
fn pod_labels() -> std::collections::BTreeMap<String, String> {
    [PROVIDER_LABEL, ("control-plane", "controller-manager")].map(owned).into()
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

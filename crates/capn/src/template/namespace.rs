//! Sets the namespace of a template's objects, as clusterctl does.

use serde_json::json;

use crate::manifest::Document;

/// Cluster-scoped kinds that are common in templates.
const WITHOUT: &[&str] = &[
    "Namespace",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "StorageClass",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// Returns the document in the namespace.
pub(super) fn put(document: Document, namespace: &str) -> Document {
    if WITHOUT.contains(&document.kind()) {
        return document;
    }
    let mut value = document.value().clone();
    value["metadata"]["namespace"] = json!(namespace);
    Document::new(value)
}

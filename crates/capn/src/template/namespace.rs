//! Which namespace an object of a template gets: the one that was asked for, as clusterctl does it.

use serde_json::json;

use crate::manifest::Document;

/// Kinds that are in no namespace, of those that come with clusters.
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

/// The document in the namespace.
pub(super) fn put(document: Document, namespace: &str) -> Document {
    if WITHOUT.contains(&document.kind()) {
        return document;
    }
    let mut value = document.value().clone();
    value["metadata"]["namespace"] = json!(namespace);
    Document::new(value)
}

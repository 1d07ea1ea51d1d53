//! What the manager may do: what `capn-provider` and `capn manager` do, and nothing else.

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

use super::{Object, SERVICE_ACCOUNT, cluster_metadata, metadata};
use crate::{PackageError, yaml::Slot};

const RBAC: &str = "rbac.authorization.k8s.io";
const INFRASTRUCTURE: &str = capn_api::GROUP;

/// The role in all namespaces.
const MANAGER: &str = "capn-manager-role";
/// The role in the own namespace.
const LEADER: &str = "capn-leader-election-role";
/// What Cluster API's own manager is given.
const AGGREGATE: &str = "capn-aggregate-to-manager";

pub(super) fn objects() -> Result<Vec<Object>, PackageError> {
    let leader = Role { metadata: metadata(LEADER), rules: Some(leader_rules()) };
    let manager = ClusterRole {
        metadata: cluster_metadata(MANAGER),
        rules: Some(manager_rules()),
        ..ClusterRole::default()
    };
    let mut labelled = cluster_metadata(AGGREGATE);
    // Cluster API adds every role with this label to that of its manager.
    labelled
        .labels
        .get_or_insert_default()
        .insert("cluster.x-k8s.io/aggregate-to-manager".to_owned(), "true".to_owned());
    let aggregate = ClusterRole {
        metadata: labelled,
        rules: Some(aggregate_rules()),
        ..ClusterRole::default()
    };
    Ok(vec![
        Object::new("leader-election-role", &leader)?,
        Object::new("manager-role", &manager)?,
        Object::new("aggregate-role", &aggregate)?,
        Object::new(
            "leader-election-role-binding",
            &RoleBinding {
                metadata: metadata("capn-leader-election-rolebinding"),
                role_ref: role_ref("Role", LEADER),
                subjects: Some(vec![account()]),
            },
        )?,
        Object::new(
            "manager-role-binding",
            &ClusterRoleBinding {
                metadata: cluster_metadata("capn-manager-rolebinding"),
                role_ref: role_ref("ClusterRole", MANAGER),
                subjects: Some(vec![account()]),
            },
        )?,
    ])
}

/// In the own namespace: the Lease of the leader, and Events about it.
fn leader_rules() -> Vec<PolicyRule> {
    let all = &["create", "delete", "get", "list", "patch", "update", "watch"];
    vec![
        rule(&["coordination.k8s.io"], &["leases"], all),
        rule(&["", "events.k8s.io"], &["events"], &["create", "patch"]),
    ]
}

/// In all namespaces. Objects of ours are made and deleted by Cluster API, not by the manager.
fn manager_rules() -> Vec<PolicyRule> {
    let read = &["get", "list", "watch"];
    vec![
        // Identities, bootstrap data, kubeconfigs of workload clusters: those that objects name. None
        // is listed or watched; what changes in one is seen at the next look.
        rule(&[""], &["secrets"], &["get"]),
        rule(
            &["cluster.x-k8s.io"],
            &["clusters", "machines", "machinesets", "machinedeployments"],
            read,
        ),
        rule(
            &[INFRASTRUCTURE],
            &["lxcclusters", "lxcmachines", "lxcmachinetemplates"],
            &["get", "list", "watch", "patch", "update"],
        ),
        rule(
            &[INFRASTRUCTURE],
            &["lxcclusters/status", "lxcmachines/status", "lxcmachinetemplates/status"],
            &["get", "patch", "update"],
        ),
        // Clusters with the admission plugin OwnerReferencesPermissionEnforcement ask for it.
        rule(&[INFRASTRUCTURE], &["lxcclusters/finalizers", "lxcmachines/finalizers"], &["update"]),
        rule(&["", "events.k8s.io"], &["events"], &["create", "patch"]),
        // Who may see metrics and diagnostics.
        rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
        rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
    ]
}

/// What Cluster API's manager does with our objects.
fn aggregate_rules() -> Vec<PolicyRule> {
    vec![
        rule(
            &[INFRASTRUCTURE],
            &["lxcclusters", "lxcclustertemplates", "lxcmachines", "lxcmachinetemplates"],
            &["create", "delete", "get", "list", "patch", "update", "watch"],
        ),
        rule(&[INFRASTRUCTURE], &["lxcclusters/finalizers", "lxcmachines/finalizers"], &["update"]),
    ]
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    PolicyRule {
        api_groups: Some(texts(groups)),
        resources: Some(texts(resources)),
        verbs: texts(verbs),
        ..PolicyRule::default()
    }
}

/// The role that lets somebody read the metrics.
pub(super) fn metrics_reader() -> ClusterRole {
    ClusterRole {
        metadata: cluster_metadata("capn-metrics-reader"),
        rules: Some(vec![PolicyRule {
            non_resource_urls: Some(vec!["/metrics".to_owned()]),
            verbs: vec!["get".to_owned()],
            ..PolicyRule::default()
        }]),
        ..ClusterRole::default()
    }
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: Some(RBAC.to_owned()), kind: kind.to_owned(), name: name.to_owned() }
}

fn account() -> Subject {
    Subject {
        kind: "ServiceAccount".to_owned(),
        name: SERVICE_ACCOUNT.to_owned(),
        namespace: Some(Slot::Namespace.mark()),
        ..Subject::default()
    }
}

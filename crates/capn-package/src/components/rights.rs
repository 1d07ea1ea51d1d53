//! Permissions of the manager: exactly what `capn-provider` and `capn manager` need.

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

use super::{Object, SERVICE_ACCOUNT, cluster_metadata, metadata};
use crate::{PackageError, yaml::Slot};

const RBAC: &str = "rbac.authorization.k8s.io";
const INFRASTRUCTURE: &str = capn_api::GROUP;

/// Role in all namespaces.
const MANAGER: &str = "capn-manager-role";
/// Role in the manager's namespace.
const LEADER: &str = "capn-leader-election-role";
/// Permissions added to Cluster API's own manager.
const AGGREGATE: &str = "capn-aggregate-to-manager";

pub(super) fn objects() -> Result<Vec<Object>, PackageError> {
    let leader = Role { metadata: metadata(LEADER), rules: Some(leader_rules()) };
    let manager = ClusterRole {
        metadata: cluster_metadata(MANAGER),
        rules: Some(manager_rules()),
        ..ClusterRole::default()
    };
    let mut labelled = cluster_metadata(AGGREGATE);
    // Cluster API aggregates every role with this label into its manager's role.
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

/// In the manager's namespace: the leader election Lease, and its Events.
fn leader_rules() -> Vec<PolicyRule> {
    let all = &["create", "delete", "get", "list", "patch", "update", "watch"];
    vec![
        rule(&["coordination.k8s.io"], &["leases"], all),
        rule(&["", "events.k8s.io"], &["events"], &["create", "patch"]),
    ]
}

/// In all namespaces. Cluster API creates and deletes infrastructure objects, not this manager,
/// except for LXCMachines of a pool.
fn manager_rules() -> Vec<PolicyRule> {
    let read = &["get", "list", "watch"];
    vec![
        // Identities, bootstrap data and kubeconfigs of workload clusters, referenced by objects.
        // Secrets are neither listed nor watched; changes are noticed at the next reconcile.
        rule(&[""], &["secrets"], &["get"]),
        rule(
            &["cluster.x-k8s.io"],
            &["clusters", "machines", "machinepools", "machinesets", "machinedeployments"],
            read,
        ),
        // Machines of a pool: Cluster API creates a Machine for each LXCMachine, and drains its
        // node when the Machine is deleted.
        rule(&["cluster.x-k8s.io"], &["machines"], &["delete"]),
        rule(&[INFRASTRUCTURE], &["lxcmachines"], &["create"]),
        rule(
            &[INFRASTRUCTURE],
            &["lxcclusters", "lxcmachinepools", "lxcmachines", "lxcmachinetemplates"],
            &["get", "list", "watch", "patch", "update"],
        ),
        rule(
            &[INFRASTRUCTURE],
            &[
                "lxcclusters/status",
                "lxcmachinepools/status",
                "lxcmachines/status",
                "lxcmachinetemplates/status",
            ],
            &["get", "patch", "update"],
        ),
        // Required in clusters with the admission plugin OwnerReferencesPermissionEnforcement.
        rule(
            &[INFRASTRUCTURE],
            &["lxcclusters/finalizers", "lxcmachinepools/finalizers", "lxcmachines/finalizers"],
            &["update"],
        ),
        rule(&["", "events.k8s.io"], &["events"], &["create", "patch"]),
        // Authentication and authorization of metrics and diagnostics requests.
        rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
        rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
    ]
}

/// Permissions of Cluster API's manager for capn's objects.
fn aggregate_rules() -> Vec<PolicyRule> {
    vec![
        rule(
            &[INFRASTRUCTURE],
            &[
                "lxcclusters",
                "lxcclustertemplates",
                "lxcmachinepools",
                "lxcmachines",
                "lxcmachinetemplates",
            ],
            &["create", "delete", "get", "list", "patch", "update", "watch"],
        ),
        rule(
            &[INFRASTRUCTURE],
            &["lxcclusters/finalizers", "lxcmachinepools/finalizers", "lxcmachines/finalizers"],
            &["update"],
        ),
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

/// Role that allows reading the metrics.
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

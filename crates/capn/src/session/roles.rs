//! Cluster roles for users of the plane: `capn-view`, `capn-edit` and `capn-admin`.
//!
//! They are aggregated like Kubernetes' own roles: each has the rules of all roles with its label,
//! so that an operator who adds a CRD can add rules for it. A RoleBinding grants them in its
//! namespace only.

use k8s_openapi::api::rbac::v1::{AggregationRule, ClusterRole, PolicyRule};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Short names for `--role`: `NAME` means `capn-NAME`.
pub const ROLES: [&str; 3] = ["view", "edit", "admin"];

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];

/// Returns the name of the cluster role with a short name.
pub fn cluster_role(short: &str) -> String {
    format!("capn-{short}")
}

fn label(short: &str) -> (String, String) {
    (format!("rbac.authorization.k8s.io/aggregate-to-{short}"), "true".to_owned())
}

/// Returns all roles: for each short name, one role with rules and one aggregated role.
pub fn cluster_roles(crds: &[CustomResourceDefinition]) -> Vec<ClusterRole> {
    let own = [view(crds), edit(crds), admin()];
    let mut all: Vec<PolicyRule> = Vec::new();
    let mut roles = Vec::new();
    for (index, (short, rules)) in ROLES.iter().zip(own).enumerate() {
        all.extend(rules.iter().cloned());
        let mut rules_of = role(format!("capn-aggregate-to-{short}"), rules);
        rules_of.metadata.labels = Some([label(short)].into());
        let mut sum = role(cluster_role(short), all.clone());
        sum.aggregation_rule = Some(AggregationRule {
            cluster_role_selectors: Some(vec![LabelSelector {
                match_labels: Some([label(short)].into()),
                ..LabelSelector::default()
            }]),
        });
        // As in Kubernetes, edit includes view, and admin includes edit.
        sum.metadata.labels = ROLES.get(index + 1).map(|next| [label(next)].into());
        roles.extend([rules_of, sum]);
    }
    roles
}

fn role(name: String, rules: Vec<PolicyRule>) -> ClusterRole {
    let mut role = ClusterRole { rules: Some(rules), ..ClusterRole::default() };
    role.metadata.name = Some(name);
    role
}

fn rule(groups: &[&str], resources: &[String], verbs: &[&str]) -> PolicyRule {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    PolicyRule {
        api_groups: Some(texts(groups)),
        resources: Some(resources.to_vec()),
        verbs: texts(verbs),
        ..PolicyRule::default()
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Returns rules for read access to everything in a namespace except Secrets, roles and bindings.
fn view(crds: &[CustomResourceDefinition]) -> Vec<PolicyRule> {
    let mut rules = vec![
        rule(&[""], &names(&["configmaps", "events", "namespaces", "serviceaccounts"]), READ),
        rule(&["events.k8s.io"], &names(&["events"]), READ),
    ];
    rules.extend(of_groups(crds, READ, &["", "/status", "/scale"]));
    rules
}

/// Adds write access, and access to Secrets: creating clusters requires setting identities and
/// reading kubeconfigs. Only controllers may write status.
fn edit(crds: &[CustomResourceDefinition]) -> Vec<PolicyRule> {
    let all: Vec<&str> = [READ, WRITE].concat();
    let mut rules = vec![
        rule(&[""], &names(&["secrets"]), &all),
        rule(&[""], &names(&["configmaps", "serviceaccounts"]), WRITE),
    ];
    rules.extend(of_groups(crds, WRITE, &[""]));
    rules.extend(of_groups(crds, &["update", "patch"], &["/scale"]));
    // Needed for foreground deletion.
    rules.push(rule(&[""], &names(&["configmaps/finalizers", "secrets/finalizers"]), &["update"]));
    rules.extend(of_groups(crds, &["update"], &["/finalizers"]));
    rules
}

/// Adds access management.
fn admin() -> Vec<PolicyRule> {
    let all: Vec<&str> = [READ, WRITE].concat();
    vec![
        rule(&["rbac.authorization.k8s.io"], &names(&["roles", "rolebindings"]), &all),
        rule(&["authorization.k8s.io"], &names(&["localsubjectaccessreviews"]), &["create"]),
    ]
}

/// One rule per group for its namespaced resources with these suffixes, as far as they exist.
fn of_groups(
    crds: &[CustomResourceDefinition],
    verbs: &[&str],
    endings: &[&str],
) -> Vec<PolicyRule> {
    let mut groups: Vec<&str> = crds.iter().map(|crd| crd.spec.group.as_str()).collect();
    groups.sort_unstable();
    groups.dedup();
    let has = |crd: &CustomResourceDefinition, ending: &str| {
        let mut parts = crd.spec.versions.iter().filter_map(|v| v.subresources.as_ref());
        match ending {
            "/status" => parts.any(|parts| parts.status.is_some()),
            "/scale" => parts.any(|parts| parts.scale.is_some()),
            _ => true,
        }
    };
    let of = |group: &str| {
        let crds =
            crds.iter().filter(|crd| crd.spec.group == group && crd.spec.scope == "Namespaced");
        let resources: Vec<String> = crds
            .flat_map(|crd| {
                let endings = endings.iter().filter(|ending| has(crd, ending));
                endings.map(|ending| format!("{}{ending}", crd.spec.names.plural))
            })
            .collect();
        (!resources.is_empty()).then(|| rule(&[group], &resources, verbs))
    };
    groups.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests;

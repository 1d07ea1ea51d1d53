//! Authorization decisions from roles and bindings.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

use super::{attributes::Attributes, builtin, rule};
use crate::identity::{Identity, service_account_user};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Maximum number of missing roles in a response.
const MAX_MISSING: usize = 10;

/// A stored role or binding.
#[derive(Debug)]
pub(crate) enum Part {
    Role(Rules),
    ClusterRole(Rules),
    Binding(RoleBinding),
    ClusterBinding(ClusterRoleBinding),
}

/// The rules of a role.
#[derive(Debug)]
pub(crate) struct Rules {
    namespace: String,
    name: String,
    rules: Arc<[PolicyRule]>,
}

impl From<Role> for Rules {
    fn from(role: Role) -> Self {
        let metadata = role.metadata;
        Self {
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            rules: role.rules.unwrap_or_default().into(),
        }
    }
}

impl From<ClusterRole> for Rules {
    fn from(role: ClusterRole) -> Self {
        Self {
            namespace: String::new(),
            name: role.metadata.name.unwrap_or_default(),
            rules: role.rules.unwrap_or_default().into(),
        }
    }
}

/// A role that a binding grants to subjects.
#[derive(Debug)]
pub(crate) struct Grant {
    /// `None` if the role does not exist.
    rules: Option<Arc<[PolicyRule]>>,
    /// `ClusterRoleBinding "a" of ClusterRole "b"`.
    text: String,
    /// `clusterrole.rbac.authorization.k8s.io "b" not found`.
    missing: String,
}

/// Result of an authorization request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    /// The binding that allows it, or the missing role. May be empty.
    pub(crate) reason: String,
}

/// Grants by subject name.
#[derive(Debug, Default)]
struct Grants {
    users: HashMap<String, Vec<Arc<Grant>>>,
    groups: HashMap<String, Vec<Arc<Grant>>>,
}

/// All grants, indexed by subject.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    everywhere: Grants,
    namespaces: HashMap<String, Grants>,
    cluster_roles: HashMap<String, Arc<[PolicyRule]>>,
    /// By namespace and name.
    roles: HashMap<(String, String), Arc<[PolicyRule]>>,
}

impl Policy {
    /// Resolves bindings to roles, and adds the default roles.
    pub(crate) fn new<'a>(parts: impl Iterator<Item = &'a Part> + Clone) -> Self {
        let mut policy = Self::default();
        for default in builtin::defaults() {
            let name = default.name;
            let grant = Arc::new(Grant {
                rules: Some(default.rules.into()),
                text: format!("ClusterRoleBinding \"{name}\" of ClusterRole \"{name}\""),
                missing: String::new(),
            });
            for group in default.groups {
                let grants = policy.everywhere.groups.entry((*group).to_owned()).or_default();
                grants.push(Arc::clone(&grant));
            }
        }
        let (mut cluster_roles, mut roles) = (HashMap::new(), HashMap::new());
        for part in parts.clone() {
            match part {
                Part::ClusterRole(role) => {
                    cluster_roles.insert(role.name.clone(), Arc::clone(&role.rules));
                }
                Part::Role(role) => {
                    let key = (role.namespace.clone(), role.name.clone());
                    roles.insert(key, Arc::clone(&role.rules));
                }
                Part::Binding(_) | Part::ClusterBinding(_) => {}
            }
        }
        for part in parts {
            match part {
                Part::ClusterBinding(binding) => {
                    let rules = cluster_roles.get(&binding.role_ref.name).cloned();
                    let rules = rules.filter(|_| binding.role_ref.kind == "ClusterRole");
                    let name = binding.metadata.name.as_deref().unwrap_or_default();
                    let of = format!("ClusterRoleBinding \"{name}\"");
                    let grant = grant(rules, &of, &binding.role_ref);
                    policy.everywhere.add(&grant, binding.subjects.as_deref(), "");
                }
                Part::Binding(binding) => {
                    let namespace = binding.metadata.namespace.as_deref().unwrap_or_default();
                    let reference = &binding.role_ref;
                    let rules = match reference.kind.as_str() {
                        "ClusterRole" => cluster_roles.get(&reference.name).cloned(),
                        "Role" => {
                            roles.get(&(namespace.to_owned(), reference.name.clone())).cloned()
                        }
                        _ => None,
                    };
                    let name = binding.metadata.name.as_deref().unwrap_or_default();
                    let of = format!("RoleBinding \"{name}/{namespace}\"");
                    let grant = grant(rules, &of, reference);
                    let grants = policy.namespaces.entry(namespace.to_owned()).or_default();
                    grants.add(&grant, binding.subjects.as_deref(), namespace);
                }
                Part::Role(_) | Part::ClusterRole(_) => {}
            }
        }
        policy.cluster_roles = cluster_roles;
        policy.roles = roles;
        policy
    }

    /// Returns the rules of the role that a binding in a namespace refers to.
    pub(crate) fn role(&self, role: &RoleRef, namespace: &str) -> Option<&[PolicyRule]> {
        let rules = match role.kind.as_str() {
            "ClusterRole" => self.cluster_roles.get(&role.name),
            "Role" => self.roles.get(&(namespace.to_owned(), role.name.clone())),
            _ => None,
        };
        rules.map(|rules| &**rules)
    }

    /// Returns whether a user may do something. Does not consider the group `system:masters`.
    pub(crate) fn decide(&self, who: &Identity, what: &Attributes<'_>) -> Decision {
        let mut missing: Vec<&str> = Vec::new();
        for (subject, grant) in self.grants(who, what.namespace()) {
            match &grant.rules {
                Some(rules) if rules.iter().any(|rule| rule::allows(rule, what)) => {
                    let reason = format!("RBAC: allowed by {} to {subject}", grant.text);
                    return Decision { allowed: true, reason };
                }
                Some(_) => {}
                None => missing.push(&grant.missing),
            }
        }
        missing.sort_unstable();
        missing.dedup();
        missing.truncate(MAX_MISSING);
        let reason = match missing.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        };
        Decision { allowed: false, reason }
    }

    /// Returns whether a user may do something, without a reason.
    pub(crate) fn allows(&self, who: &Identity, what: &Attributes<'_>) -> bool {
        self.grants(who, what.namespace()).any(|(_, grant)| {
            grant.rules.iter().flat_map(|rules| rules.iter()).any(|rule| rule::allows(rule, what))
        })
    }

    /// Returns all rules of a user in a namespace, as written in the roles.
    pub(crate) fn rules<'a>(&'a self, who: &'a Identity, namespace: &str) -> Vec<&'a PolicyRule> {
        let grants = self.grants(who, namespace);
        grants.flat_map(|(_, grant)| grant.rules.iter().flat_map(|rules| rules.iter())).collect()
    }

    /// Returns the grants of a user in all namespaces and in the given one (if not empty), each
    /// with its subject. A role appears once, however often it is granted: the work must not grow
    /// with the product of the bindings and the rules of a role.
    fn grants<'a>(
        &'a self,
        who: &'a Identity,
        namespace: &str,
    ) -> impl Iterator<Item = (BindingSource<'a>, &'a Grant)> {
        let here = self.namespaces.get(namespace).filter(|_| !namespace.is_empty());
        let mut seen = HashSet::new();
        std::iter::once(&self.everywhere).chain(here).flat_map(|grants| grants.of(who)).filter(
            move |(_, grant)| match &grant.rules {
                Some(rules) => seen.insert(Arc::as_ptr(rules).cast::<PolicyRule>()),
                None => true,
            },
        )
    }
}

/// `User "a"` or `Group "b"`.
enum BindingSource<'a> {
    User(&'a str),
    Group(&'a str),
}

impl std::fmt::Display for BindingSource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(name) => write!(f, "User \"{name}\""),
            Self::Group(name) => write!(f, "Group \"{name}\""),
        }
    }
}

impl Grants {
    fn add(&mut self, grant: &Arc<Grant>, subjects: Option<&[Subject]>, namespace: &str) {
        for subject in subjects.unwrap_or_default() {
            let (map, name) = match subject.kind.as_str() {
                "User" => (&mut self.users, subject.name.clone()),
                "Group" => (&mut self.groups, subject.name.clone()),
                "ServiceAccount" => {
                    let given = subject.namespace.as_deref().unwrap_or_default();
                    let namespace = if given.is_empty() { namespace } else { given };
                    if namespace.is_empty() {
                        continue;
                    }
                    (&mut self.users, service_account_user(namespace, &subject.name))
                }
                _ => continue,
            };
            map.entry(name).or_default().push(Arc::clone(grant));
        }
    }

    fn of<'a>(&'a self, who: &'a Identity) -> impl Iterator<Item = (BindingSource<'a>, &'a Grant)> {
        let user = self.users.get(&*who.user).into_iter().flatten();
        let user = user.map(|grant| (BindingSource::User(&who.user), &**grant));
        let groups = who.groups.iter().flat_map(|group| {
            let grants = self.groups.get(group).into_iter().flatten();
            grants.map(move |grant| (BindingSource::Group(group), &**grant))
        });
        user.chain(groups)
    }
}

fn grant(rules: Option<Arc<[PolicyRule]>>, binding: &str, role: &RoleRef) -> Arc<Grant> {
    let RoleRef { kind, name, .. } = role;
    Arc::new(Grant {
        rules,
        text: format!("{binding} of {kind} \"{name}\""),
        missing: format!("{}.{GROUP} \"{name}\" not found", kind.to_lowercase()),
    })
}

#[cfg(test)]
mod tests;

//! Access of the API server to kubelets: for logs, exec, port-forward, and for this controller's
//! queries of etcd.
//!
//! The API server uses a client certificate that kubeadm creates. Up to some patch release it had
//! the organization `system:masters`. Newer certificates have no organization, and a
//! ClusterRoleBinding grants the rights to their user. `kubeadm init` and `kubeadm upgrade apply`
//! create this binding, `kubeadm join` does not. A cluster that was created by an older kubeadm
//! therefore lacks it when its machines are replaced, and it must exist before the first new
//! machine joins.

use std::time::Duration;

use capi_api::KubeadmControlPlane;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use semver::Version;

use super::observe::OwnedMachine;
use crate::error::is_conflict;
use crate::objects;
use crate::workload::{self, answer};

/// Name of the binding in kubeadm.
pub(super) const BINDING: &str = "kubeadm:apiserver-kubelet-client";
const GROUP: &str = "rbac.authorization.k8s.io";
/// Built-in role of Kubernetes.
const ROLE: &str = "system:kubelet-api-admin";
/// Common name of the certificate.
const USER: &str = "kube-apiserver-kubelet-client";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// State of the binding.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Access {
    /// No machine needs it, or it was not read.
    #[default]
    NotNeeded,
    /// It grants the access.
    Given,
    /// It does not exist.
    Missing,
    /// It grants the access to other subjects only.
    WithoutUser(Box<ClusterRoleBinding>),
    /// It grants another role. The role of a binding cannot be changed.
    OtherRole(String),
}

impl Access {
    /// Returns the state of a binding. Pure.
    pub(super) fn of(binding: Option<ClusterRoleBinding>) -> Self {
        let Some(binding) = binding else { return Self::Missing };
        let role = &binding.role_ref;
        if (role.kind.as_str(), role.name.as_str()) != ("ClusterRole", ROLE) {
            return Self::OtherRole(format!("{} {}", role.kind, role.name));
        }
        let mut subjects = binding.subjects.iter().flatten();
        if subjects.any(|subject| subject.kind == "User" && subject.name == USER) {
            return Self::Given;
        }
        Self::WithoutUser(Box::new(binding))
    }

    /// Returns the binding to write, if writing helps.
    pub(super) fn wanted(&self) -> Option<ClusterRoleBinding> {
        match self {
            Self::NotNeeded | Self::Given | Self::OtherRole(_) => None,
            Self::Missing => Some(ClusterRoleBinding {
                metadata: ObjectMeta { name: Some(BINDING.to_owned()), ..ObjectMeta::default() },
                role_ref: RoleRef {
                    api_group: Some(GROUP.to_owned()),
                    kind: "ClusterRole".to_owned(),
                    name: ROLE.to_owned(),
                },
                subjects: Some(vec![user()]),
            }),
            Self::WithoutUser(binding) => {
                let mut binding = binding.as_ref().clone();
                binding.subjects.get_or_insert_default().push(user());
                Some(binding)
            }
        }
    }

    /// Returns the reason no machine may join, if there is one.
    pub(super) fn problem(&self) -> Option<String> {
        let Self::OtherRole(role) = self else { return None };
        Some(format!(
            "ClusterRoleBinding {BINDING} of the workload cluster gives {role}, not ClusterRole \
             {ROLE}, so the API server of a new machine cannot reach kubelets: delete it (kubectl \
             delete clusterrolebinding {BINDING}), and it is created again"
        ))
    }
}

fn user() -> Subject {
    Subject {
        api_group: Some(GROUP.to_owned()),
        kind: "User".to_owned(),
        name: USER.to_owned(),
        namespace: None,
    }
}

/// Returns whether a control plane has, or will have, machines that need the binding.
pub(super) fn is_needed(kcp: &KubeadmControlPlane, machines: &[OwnedMachine]) -> bool {
    let versions = machines.iter().filter_map(|owned| owned.machine.spec.version.as_deref());
    versions
        .chain([kcp.spec.version.as_str()])
        .filter_map(objects::version)
        .any(|version| has_no_organization(&version))
}

/// Returns whether the certificates of this version's kubeadm have no organization. It must match
/// the rows `kubelet client binding` of `capn_plan::versions`, which this crate may not use.
pub(crate) fn has_no_organization(version: &Version) -> bool {
    let Version { major, minor, patch, .. } = *version;
    let first = match minor {
        0..=32 => return major > 1,
        33 => 12,
        34 => 8,
        35 => 5,
        36 => 1,
        _ => 0,
    };
    major > 1 || patch >= first
}

/// Reads the binding.
pub(super) async fn read(client: &Client) -> Result<Access, workload::Error> {
    let api: Api<ClusterRoleBinding> = Api::all(client.clone());
    let act = "read the ClusterRoleBinding kubeadm:apiserver-kubelet-client";
    answer(act, REQUEST_TIMEOUT, api.get_opt(BINDING)).await.map(Access::of)
}

/// Writes the binding. Can be repeated; a concurrent write wins.
pub(super) async fn write(
    client: &Client,
    binding: &ClusterRoleBinding,
) -> Result<(), workload::Error> {
    let api: Api<ClusterRoleBinding> = Api::all(client.clone());
    let params = PostParams::default();
    let act = "write the ClusterRoleBinding kubeadm:apiserver-kubelet-client";
    let written = match binding.metadata.resource_version {
        None => answer(act, REQUEST_TIMEOUT, api.create(&params, binding)).await,
        Some(_) => answer(act, REQUEST_TIMEOUT, api.replace(BINDING, &params, binding)).await,
    };
    match written {
        Err(workload::Error::Request { source, .. }) if is_conflict(&source) => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn binding(role: &str, subjects: Value) -> Option<ClusterRoleBinding> {
        let object = json!({
            "metadata": { "name": BINDING, "resourceVersion": "7" },
            "roleRef": { "apiGroup": GROUP, "kind": "ClusterRole", "name": role },
            "subjects": subjects,
        });
        Some(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn the_binding_is_created_fixed_or_kept_like_kubeadm_does() {
        let ours = json!([{ "apiGroup": GROUP, "kind": "User", "name": USER }]);
        let other = json!([{ "apiGroup": GROUP, "kind": "User", "name": "alice" }]);
        let users = |access: &Access| {
            let subjects = access.wanted()?.subjects?;
            Some(subjects.into_iter().map(|subject| subject.name).collect::<Vec<_>>().join(" "))
        };
        for (what, found, written, is_problem) in [
            ("none", None, Some(USER.to_owned()), false),
            ("kubeadm's", binding(ROLE, ours.clone()), None, false),
            ("a user's", binding(ROLE, other), Some(format!("alice {USER}")), false),
            ("empty", binding(ROLE, json!(null)), Some(USER.to_owned()), false),
            ("another role", binding("view", ours), None, true),
        ] {
            let access = Access::of(found);
            assert_eq!(users(&access), written, "{what}");
            assert_eq!(access.problem().is_some(), is_problem, "{what}");
        }
        // As in cmd/kubeadm/app/phases/bootstraptoken/node/tlsbootstrap.go of Kubernetes 1.37.2;
        // the API server sets the group of the subject.
        assert_eq!(
            serde_json::to_value(Access::Missing.wanted().unwrap()).unwrap(),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": { "name": "kubeadm:apiserver-kubelet-client" },
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": "system:kubelet-api-admin",
                },
                "subjects": [{
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "User",
                    "name": "kube-apiserver-kubelet-client",
                }],
            })
        );
        let problem = Access::of(binding("view", json!([]))).problem().unwrap();
        assert!(problem.contains("gives ClusterRole view"), "{problem}");
    }
}

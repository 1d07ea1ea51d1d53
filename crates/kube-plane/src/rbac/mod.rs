//! Role based access control: Kubernetes' rules over the roles and bindings that are stored.

mod attributes;
mod builtin;
mod escalation;
mod objects;
mod owners;
mod policy;
mod rule;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use serde::de::DeserializeOwned;

pub(crate) use self::{
    attributes::{Attributes, On, ResourceAttributes},
    builtin::CLUSTER_ADMIN,
    escalation::check as check_escalation,
    objects::{complete, validate},
    owners::check as check_owners,
    policy::{Decision, Policy},
};
use crate::store::{Change, Event, Key, Object};

/// Where cluster roles are stored.
pub(crate) const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const CLUSTER_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
const ROLES: &str = "roles.rbac.authorization.k8s.io";
const BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";

/// The stored roles and bindings, and the policy they make.
#[derive(Debug, Default)]
pub(crate) struct Rbac(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    /// Read once each: there may be many of one user's, and each write of one of them makes a new
    /// policy for all.
    objects: BTreeMap<Key, policy::Part>,
    /// Made when it is first asked for after a write.
    policy: Option<Arc<Policy>>,
}

impl Rbac {
    /// Follows writes of roles and bindings. Runs before anyone is told of the write, so that what
    /// was acknowledged counts for the next request.
    pub(crate) fn follow(&self, event: &Event) {
        let key = &event.object.key;
        if !matches!(&*key.resource, CLUSTER_ROLES | CLUSTER_BINDINGS | ROLES | BINDINGS) {
            return;
        }
        let part = match event.change {
            Change::Deleted => None,
            Change::Added | Change::Modified => read(&event.object),
        };
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.policy = None;
        match part {
            Some(part) => state.objects.insert(key.clone(), part),
            None => state.objects.remove(key),
        };
    }

    /// The policy of this moment.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = &state.policy {
            return Arc::clone(policy);
        }
        drop(state);
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let State { objects, policy } = &mut *state;
        Arc::clone(policy.get_or_insert_with(|| Arc::new(Policy::new(objects.values()))))
    }
}

fn read(object: &Object) -> Option<policy::Part> {
    Some(match &*object.key.resource {
        CLUSTER_ROLES => policy::Part::ClusterRole(parse::<ClusterRole>(object)?.into()),
        ROLES => policy::Part::Role(parse::<Role>(object)?.into()),
        CLUSTER_BINDINGS => policy::Part::ClusterBinding(parse(object)?),
        BINDINGS => policy::Part::Binding(parse(object)?),
        _ => return None,
    })
}

/// What was checked when it was written can be read; else it grants nothing.
fn parse<T: DeserializeOwned>(object: &Object) -> Option<T> {
    serde_json::from_slice(&object.raw)
        .inspect_err(|error| tracing::error!(object = %object.key, %error, "cannot read a role"))
        .ok()
}

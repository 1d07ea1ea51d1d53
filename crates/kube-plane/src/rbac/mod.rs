//! Role-based access control with the rules of Kubernetes over the stored roles and bindings.

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
    attributes::{Attributes, RequestTarget, ResourceAttributes},
    builtin::CLUSTER_ADMIN,
    escalation::check as check_escalation,
    objects::{complete, validate},
    owners::check as check_owners,
    policy::{Decision, Policy},
};
use crate::store::{Change, Event, Key, Object};

/// Resource of cluster roles in the store.
pub(crate) const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const CLUSTER_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
const ROLES: &str = "roles.rbac.authorization.k8s.io";
const BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";

/// The stored roles and bindings, and the resulting policy.
#[derive(Debug, Default)]
pub(crate) struct Rbac(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    /// Parsed once each: a user may have many, and each write of one requires a new policy for all.
    objects: BTreeMap<Key, policy::Part>,
    /// Created on the first use after a write.
    policy: Option<Arc<Policy>>,
}

impl Rbac {
    /// Follows writes of roles and bindings. Runs before anybody is notified of the write, so that
    /// an acknowledged write applies to the next request.
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

    /// Returns the current policy.
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

/// Objects are validated when they are written; an unreadable one grants nothing.
fn parse<T: DeserializeOwned>(object: &Object) -> Option<T> {
    serde_json::from_slice(&object.raw)
        .inspect_err(|error| tracing::error!(object = %object.key, %error, "cannot read a role"))
        .ok()
}

//! Role based access control: Kubernetes' rules over the roles and bindings that are stored.

mod attributes;
mod builtin;
mod escalation;
mod objects;
mod policy;
mod rule;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use serde::de::DeserializeOwned;

pub(crate) use self::{
    attributes::{Attributes, On, ResourceAttributes},
    builtin::CLUSTER_ADMIN,
    escalation::check as check_escalation,
    objects::{complete, validate},
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
    objects: BTreeMap<Key, Arc<Object>>,
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
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        state.policy = None;
        if event.change == Change::Deleted {
            state.objects.remove(key);
        } else {
            state.objects.insert(key.clone(), Arc::clone(&event.object));
        }
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
        Arc::clone(policy.get_or_insert_with(|| Arc::new(Policy::new(read(objects)))))
    }
}

fn read(stored: &BTreeMap<Key, Arc<Object>>) -> policy::Objects {
    let mut objects = policy::Objects::default();
    for (key, object) in stored {
        match &*key.resource {
            CLUSTER_ROLES => objects.cluster_roles.extend(parse(object)),
            CLUSTER_BINDINGS => objects.cluster_bindings.extend(parse(object)),
            ROLES => objects.roles.extend(parse(object)),
            BINDINGS => objects.bindings.extend(parse(object)),
            _ => {}
        }
    }
    objects
}

/// What was checked when it was written can be read; else it grants nothing.
fn parse<T: DeserializeOwned>(object: &Object) -> Option<T> {
    serde_json::from_slice(&object.raw)
        .inspect_err(|error| tracing::error!(object = %object.key, %error, "cannot read a role"))
        .ok()
}

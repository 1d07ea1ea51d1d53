//! Delete.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::{Api, WriteOptions, update::TRIES, write_error};
use crate::{
    json, meta,
    registry::{Access, CRDS, Resource, definition::CLEANUP},
    status::{ApiError, Result},
    store::{NAMESPACES, Object, WriteError},
};

/// Finalizer of an object that waits for its dependents.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an object whose dependents are kept.
pub(crate) const ORPHAN: &str = "orphan";

/// Namespaces that always exist.
pub(crate) const FIXED_NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];

/// What happens to dependents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

/// Options of a delete, from the body or the query.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DeleteOptions {
    pub(crate) propagation_policy: Option<Propagation>,
    pub(crate) orphan_dependents: Option<bool>,
    pub(crate) preconditions: Option<Preconditions>,
    pub(crate) dry_run: Option<Vec<String>>,
}

/// Conditions on the object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

impl DeleteOptions {
    /// Deletes only the object with this UID.
    pub(crate) fn of_uid(uid: &str, propagation: Propagation) -> Self {
        Self {
            propagation_policy: Some(propagation),
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..Self::default()
        }
    }

    fn propagation(&self) -> Propagation {
        match (self.propagation_policy, self.orphan_dependents) {
            (Some(policy), _) => policy,
            (None, Some(true)) => Propagation::Orphan,
            (None, _) => Propagation::Background,
        }
    }
}

/// Result of a delete.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// The object is deleted.
    Gone(Arc<Object>),
    /// Finalizers delay the deletion.
    Waiting(Arc<Object>),
}

impl Api {
    /// Deletes an object, or marks it and waits for its finalizers.
    pub(crate) async fn delete(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted> {
        if resource.access != Access::Full {
            return Err(ApiError::method_not_allowed());
        }
        if *resource.storage == *NAMESPACES && FIXED_NAMESPACES.contains(&name) {
            return Err(ApiError::forbidden(resource, name, "this namespace may not be deleted"));
        }
        let write = WriteOptions {
            dry_run: options.dry_run.as_ref().is_some_and(|list| list.iter().any(|v| v == "All")),
            ..WriteOptions::default()
        };
        for _ in 0..TRIES {
            let current = self.get(resource, namespace, name)?;
            check_preconditions(resource, name, options, &current)?;
            let old = current.value()?;
            let mut value = old.clone();
            let waiting = mark(resource, &mut value, options.propagation());
            if value == old {
                return Ok(Deleted::Waiting(current));
            }
            match self.put(&current, value, 0, &write).await {
                Ok(object) if waiting => return Ok(Deleted::Waiting(object)),
                Ok(object) => return Ok(Deleted::Gone(object)),
                // The preconditions are checked again with the newer object.
                Err(WriteError::Conflict(Some(_))) => {}
                Err(error) => return Err(write_error(resource, namespace, name, error)),
            }
        }
        Err(ApiError::modified(resource, name))
    }
}

fn check_preconditions(
    resource: &Resource,
    name: &str,
    options: &DeleteOptions,
    current: &Object,
) -> Result<()> {
    let Some(preconditions) = &options.preconditions else { return Ok(()) };
    if let Some(uid) = preconditions.uid.as_deref().filter(|uid| *uid != &*current.uid) {
        return Err(ApiError::conflict(
            resource,
            name,
            &format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                current.uid
            ),
        ));
    }
    let revision = current.revision.to_string();
    if let Some(version) =
        preconditions.resource_version.as_deref().filter(|version| *version != revision)
    {
        return Err(ApiError::conflict(
            resource,
            name,
            &format!(
                "Precondition failed: ResourceVersion in precondition: {version}, \
                 ResourceVersion in object meta: {revision}"
            ),
        ));
    }
    Ok(())
}

/// Marks an object as deleted. Returns whether finalizers keep it.
fn mark(resource: &Resource, value: &mut Value, propagation: Propagation) -> bool {
    let first = !meta::is_deleting(value);
    let mut finalizers: Vec<String> =
        meta::finalizers(value).into_iter().map(str::to_owned).collect();
    // A second delete may still change the propagation.
    let wanted = match propagation {
        Propagation::Background => None,
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Orphan => Some(ORPHAN),
    };
    finalizers.retain(|finalizer| {
        !matches!(finalizer.as_str(), FOREGROUND | ORPHAN) || Some(finalizer.as_str()) == wanted
    });
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|finalizer| finalizer == wanted)
    {
        finalizers.push(wanted.to_owned());
    }
    if first && *resource.storage == *CRDS && !finalizers.iter().any(|f| f == CLEANUP) {
        finalizers.push(CLEANUP.to_owned());
    }
    let finalizers: Vec<&str> = finalizers.iter().map(String::as_str).collect();
    meta::set_finalizers(value, &finalizers);
    if first {
        json::set(value, &["metadata", "deletionTimestamp"], meta::timestamp().into());
        json::set(value, &["metadata", "deletionGracePeriodSeconds"], 0.into());
        if resource.generation {
            let next = value["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            json::set(value, &["metadata", "generation"], next.into());
        }
        if *resource.storage == *NAMESPACES {
            json::set(value, &["status", "phase"], "Terminating".into());
        }
    }
    !finalizers.is_empty()
        || (*resource.storage == *NAMESPACES && super::update::has_spec_finalizers(value))
}

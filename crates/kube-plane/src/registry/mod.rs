//! Served resources: built-in ones, and those of definitions.

mod builtin;
mod conversion;
pub(crate) mod definition;
pub(crate) mod resource;

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, atomic::AtomicU64},
};

use kube::core::Version;

pub(crate) use self::{
    builtin::{schema as type_schema, schema_with_parts},
    definition::CRDS,
    resource::{
        Access, Column, Compiled, Form, NameRule, Resource, Scale, SchemaSource, Source,
        api_version,
    },
};
use crate::store::{Change, Event};

/// Group, version and plural.
type Place = (Box<str>, Box<str>, Box<str>);

/// All resources; readers get a snapshot.
#[derive(Debug)]
pub(crate) struct Registry {
    tables: RwLock<Arc<Tables>>,
    /// Counter of schema IDs, so that objects can record which schema they agree with.
    schemas: AtomicU64,
}

/// A snapshot of all resources.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    by_place: BTreeMap<Place, Arc<Resource>>,
}

impl Registry {
    /// Returns the built-in resources.
    pub(crate) fn new() -> Self {
        let mut tables = Tables::default();
        for resource in builtin::resources() {
            tables.add(resource);
        }
        // 1 is the id of the built-in schemas.
        Self { tables: RwLock::new(Arc::new(tables)), schemas: AtomicU64::new(2) }
    }

    pub(crate) fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.tables.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows writes of definitions. Runs before anybody is notified of the write.
    pub(crate) fn follow(&self, event: &Event) {
        if *event.object.key.resource != *CRDS {
            return;
        }
        let mut guard = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let mut tables = Tables::clone(&guard);
        let name = &event.object.key.name;
        if event.change == Change::Deleted {
            tables.by_place.retain(|_, resource| *resource.storage != **name);
        } else {
            match definition::resources(&event.object, &self.schemas) {
                Ok(resources) => {
                    let known = tables.by_place.values().find(|r| *r.storage == **name).cloned();
                    // Status writes are frequent and do not change what is served.
                    if known.is_some_and(|known| known.same_definition(resources.first())) {
                        return;
                    }
                    tables.by_place.retain(|_, resource| *resource.storage != **name);
                    for resource in resources {
                        tables.add(resource);
                    }
                }
                Err(error) => tracing::error!(%name, %error, "cannot serve a stored definition"),
            }
        }
        *guard = Arc::new(tables);
    }
}

impl Tables {
    fn add(&mut self, resource: Resource) {
        let place = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
        self.by_place.insert(place, Arc::new(resource));
    }

    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.by_place.get(&(group.into(), version.into(), plural.into())).cloned()
    }

    /// Returns the resource in its storage version.
    pub(crate) fn stored(&self, storage: &str) -> Option<Arc<Resource>> {
        self.by_place
            .values()
            .filter(|resource| *resource.storage == *storage)
            // A definition may use a storage version that it does not serve.
            .min_by_key(|resource| resource.form != Form::Same)
            .cloned()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.by_place.values()
    }

    /// Returns the group names with their versions, newest first.
    pub(crate) fn groups(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (group, version, _) in self.by_place.keys() {
            let versions = groups.entry(group).or_default();
            if !versions.contains(&&**version) {
                versions.push(version);
            }
        }
        for versions in groups.values_mut() {
            versions.sort_by(|a, b| compare_versions(b, a));
        }
        groups
    }

    /// Resources of a group and version.
    pub(crate) fn of<'a>(
        &'a self,
        group: &'a str,
        version: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.all().filter(move |r| *r.group == *group && *r.version == *version)
    }
}

/// Compares versions as Kubernetes does: `v2 > v1 > v1beta2 > v1alpha1 > anything else`.
pub(crate) fn compare_versions(a: &str, b: &str) -> Ordering {
    Version::parse(a).priority().cmp(&Version::parse(b).priority())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_in_kubernetes() {
        let mut versions = ["v1alpha1", "foo", "v1beta2", "v2", "v1", "v1beta10", "v11alpha2"];
        versions.sort_by(|a, b| compare_versions(b, a));
        assert_eq!(versions, ["v2", "v1", "v1beta10", "v1beta2", "v11alpha2", "v1alpha1", "foo"]);
    }

    #[test]
    fn builtin_resources_are_found() {
        let tables = Registry::new().tables();
        assert_eq!(&*tables.find("", "v1", "secrets").unwrap().kind, "Secret");
        assert_eq!(tables.find("events.k8s.io", "v1", "events").unwrap().form, Form::EventsV1);
        assert_eq!(&*tables.stored("events.").unwrap().group, "");
    }
}

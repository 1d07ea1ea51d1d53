//! Attacks of a tenant who may write objects in one namespace.

mod bodies;
mod collections;
mod definitions;
mod health_checks;
mod identities;
mod isolation;
mod kubeconfigs;
mod links;
mod managed;
mod names;
mod operators;
mod patches;
mod paths;
mod queries;
mod replicas;
mod rights;
mod secrets;
mod selectors;
mod stored;
mod templates;
mod users;
mod watches;

use super::table::Attack;

pub(crate) fn all() -> Vec<Attack> {
    [
        kubeconfigs::all(),
        templates::all(),
        definitions::all(),
        selectors::all(),
        health_checks::all(),
        bodies::all(),
        patches::all(),
        managed::all(),
        stored::all(),
        replicas::all(),
        watches::all(),
        queries::all(),
        paths::all(),
        rights::all(),
        users::all(),
        links::all(),
        names::all(),
        operators::all(),
        collections::all(),
        secrets::all(),
        identities::all(),
        isolation::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

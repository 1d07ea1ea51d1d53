//! Profiles, networks, storage pools, projects: objects that are only stored.

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde_json::{Value, json};

use super::{Params, Path, Query, Sim, instances};
use crate::refusal::{Answer, Refusal, check_tag, empty, sync, tagged};
use crate::world::Lifecycle;
use crate::world::World;

pub(crate) const KINDS: [&str; 5] =
    ["profiles", "networks", "network-acls", "storage-pools", "projects"];

/// Only profiles belong to a project here.
fn scope(kind: &'static str, params: &Params) -> String {
    if kind == "profiles" { params.project() } else { String::new() }
}

pub(crate) async fn list(kind: &'static str, State(simulator): Sim, query: Query) -> Answer {
    let scope = scope(kind, &query);
    let world = simulator.lock();
    let found: Vec<Value> = world
        .things
        .iter()
        .filter(|((k, p, _), _)| *k == kind && *p == scope)
        .map(|((_, _, name), value)| shown(&world, kind, name, value))
        .collect();
    Ok(sync(found))
}

pub(crate) async fn create(
    kind: &'static str,
    State(simulator): Sim,
    query: Query,
    Json(mut body): Json<Value>,
) -> Answer {
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(Refusal::bad("No name provided"));
    }
    let mut world = simulator.lock();
    let key = (kind, scope(kind, &query), name.clone());
    if world.things.contains_key(&key) {
        return Err(Refusal::conflict(format!("{kind} {name}")));
    }
    if kind != "profiles" && kind != "projects" {
        body["status"] = json!("Created");
        body["managed"] = json!(true);
    }
    if kind == "networks" {
        world.subnets.choose(&mut body)?;
    }
    world.things.insert(key, body);
    if kind == "projects" {
        // A new project has a default profile, empty.
        let profile = json!({"name": "default", "config": {}, "devices": {}, "project": name});
        world.things.insert(("profiles", name, "default".into()), profile);
    }
    Ok(empty())
}

pub(crate) async fn one(
    kind: &'static str,
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
) -> Answer {
    let key = (kind, scope(kind, &query), path.0);
    let world = simulator.lock();
    let found = world.things.get(&key).ok_or_else(|| Refusal::not_found(&key.2))?;
    Ok(tagged(shown(&world, kind, &key.2, found)))
}

/// A network also says which instances are on it.
fn shown(world: &World, kind: &str, name: &str, value: &Value) -> Value {
    let mut value = value.clone();
    if kind == "networks" {
        value["used_by"] = json!(users(world, name));
    }
    value
}

fn users(world: &World, network: &str) -> Vec<String> {
    let is_on = |devices: &incus_api::Devices| {
        devices.values().any(|device| device.get("network").is_some_and(|it| it == network))
    };
    world
        .instances
        .iter()
        .filter(|(_, machine)| is_on(&machine.instance.expanded_devices))
        .map(|((_, name), _)| format!("/1.0/instances/{name}"))
        .collect()
}

/// Sets keys of a thing's configuration.
pub(crate) async fn patch(
    kind: &'static str,
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    let key = (kind, scope(kind, &query), path.0);
    let mut world = simulator.lock();
    let mut changed = world.things.get(&key).cloned().ok_or_else(|| Refusal::not_found(&key.2))?;
    for (name, value) in body["config"].as_object().into_iter().flatten() {
        changed["config"][name] = value.clone();
    }
    if kind == "networks" {
        world.subnets.choose(&mut changed)?;
    }
    world.things.insert(key, changed);
    Ok(empty())
}

pub(crate) async fn put(
    kind: &'static str,
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Answer {
    let key = (kind, scope(kind, &query), path.0);
    let mut world = simulator.lock();
    let found = world.things.get(&key).ok_or_else(|| Refusal::not_found(&key.2))?;
    check_tag(&headers, shown(&world, kind, &key.2, found))?;
    let Some(found) = world.things.get_mut(&key) else { return Ok(empty()) };
    for (field, value) in body.as_object().into_iter().flatten() {
        found[field] = value.clone();
    }
    if kind == "profiles" {
        instances::expand_all(&mut world);
        drop(world);
        simulator.tell(&[Lifecycle { action: "profile-updated", project: key.1, name: key.2 }]);
    }
    Ok(empty())
}

pub(crate) async fn delete(
    kind: &'static str,
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
) -> Answer {
    let key = (kind, scope(kind, &query), path.0);
    let mut world = simulator.lock();
    if kind == "projects" && world.instances.keys().any(|(project, _)| *project == key.2) {
        return Err(Refusal::bad("Only empty projects can be removed"));
    }
    if kind == "networks" && !users(&world, &key.2).is_empty() {
        return Err(Refusal::bad("The network is currently in use"));
    }
    world.things.remove(&key).map(|_| empty()).ok_or_else(|| Refusal::not_found(&key.2))
}

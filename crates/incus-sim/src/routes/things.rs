//! Profiles, networks, storage pools, projects: objects that are only stored.

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde_json::{Value, json};

use super::{Params, Path, Query, Sim, instances};
use crate::refusal::{Answer, Refusal, check_tag, empty, sync, tagged};

pub(crate) const KINDS: [&str; 4] = ["profiles", "networks", "storage-pools", "projects"];

/// Only profiles belong to a project here.
fn scope(kind: &'static str, params: &Params) -> String {
    if kind == "profiles" { params.project() } else { String::new() }
}

pub(crate) async fn list(kind: &'static str, State(simulator): Sim, query: Query) -> Answer {
    let scope = scope(kind, &query);
    let world = simulator.lock();
    let found: Vec<&Value> = world
        .things
        .iter()
        .filter(|((k, p, _), _)| *k == kind && *p == scope)
        .map(|(_, value)| value)
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
    simulator.lock().things.get(&key).map(tagged).ok_or_else(|| Refusal::not_found(&key.2))
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
    let found = world.things.get_mut(&key).ok_or_else(|| Refusal::not_found(&key.2))?;
    check_tag(&headers, &*found)?;
    for (field, value) in body.as_object().into_iter().flatten() {
        found[field] = value.clone();
    }
    if kind == "profiles" {
        instances::expand_all(&mut world);
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
    world.things.remove(&key).map(|_| empty()).ok_or_else(|| Refusal::not_found(&key.2))
}

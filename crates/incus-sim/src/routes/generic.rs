//! Generic resources that are only stored: profiles, networks, storage pools, projects.

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde_json::{Value, json};

use super::{Params, Path, Query, Sim, instances};
use crate::api_error::{ApiError, ApiResult, check_tag, empty, sync, tagged};
use crate::server_state::Lifecycle;
use crate::server_state::ServerState;

pub(crate) const KINDS: [&str; 5] =
    ["profiles", "networks", "network-acls", "storage-pools", "projects"];

/// Only profiles belong to a project in the simulator.
fn scope(kind: &'static str, params: &Params) -> String {
    if kind == "profiles" { params.project() } else { String::new() }
}

pub(crate) async fn list(kind: &'static str, State(simulator): Sim, query: Query) -> ApiResult {
    let scope = scope(kind, &query);
    let state = simulator.lock();
    let found: Vec<Value> = state
        .generic
        .iter()
        .filter(|((k, p, _), _)| *k == kind && *p == scope)
        .map(|((_, _, name), value)| shown(&state, kind, name, value))
        .collect();
    Ok(sync(found))
}

pub(crate) async fn create(
    kind: &'static str,
    State(simulator): Sim,
    query: Query,
    Json(mut body): Json<Value>,
) -> ApiResult {
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(ApiError::bad("No name provided"));
    }
    let mut state = simulator.lock();
    let key = (kind, scope(kind, &query), name.clone());
    if state.generic.contains_key(&key) {
        return Err(ApiError::conflict(format!("{kind} {name}")));
    }
    if kind != "profiles" && kind != "projects" {
        body["status"] = json!("Created");
        body["managed"] = json!(true);
    }
    if kind == "networks" {
        state.subnets.choose(&mut body)?;
    }
    state.generic.insert(key, body);
    if kind == "projects" {
        // A new project has an empty default profile.
        let profile = json!({"name": "default", "config": {}, "devices": {}, "project": name});
        state.generic.insert(("profiles", name, "default".into()), profile);
    }
    Ok(empty())
}

pub(crate) async fn one(
    kind: &'static str,
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
) -> ApiResult {
    let key = (kind, scope(kind, &query), path.0);
    let state = simulator.lock();
    let found = state.generic.get(&key).ok_or_else(|| ApiError::not_found(&key.2))?;
    Ok(tagged(shown(&state, kind, &key.2, found)))
}

/// A network also lists the instances that use it.
fn shown(state: &ServerState, kind: &str, name: &str, value: &Value) -> Value {
    let mut value = value.clone();
    if kind == "networks" {
        value["used_by"] = json!(users(state, name));
    }
    value
}

fn users(state: &ServerState, network: &str) -> Vec<String> {
    let is_on = |devices: &incus_api::Devices| {
        devices.values().any(|device| device.get("network").is_some_and(|it| it == network))
    };
    state
        .instances
        .iter()
        .filter(|(_, machine)| is_on(&machine.instance.expanded_devices))
        .map(|((_, name), _)| format!("/1.0/instances/{name}"))
        .collect()
}

/// Sets configuration keys of a resource.
pub(crate) async fn patch(
    kind: &'static str,
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    Json(body): Json<Value>,
) -> ApiResult {
    let key = (kind, scope(kind, &query), path.0);
    let mut state = simulator.lock();
    let mut changed =
        state.generic.get(&key).cloned().ok_or_else(|| ApiError::not_found(&key.2))?;
    for (name, value) in body["config"].as_object().into_iter().flatten() {
        changed["config"][name] = value.clone();
    }
    if kind == "networks" {
        state.subnets.choose(&mut changed)?;
    }
    state.generic.insert(key, changed);
    Ok(empty())
}

pub(crate) async fn put(
    kind: &'static str,
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> ApiResult {
    let key = (kind, scope(kind, &query), path.0);
    let mut state = simulator.lock();
    let found = state.generic.get(&key).ok_or_else(|| ApiError::not_found(&key.2))?;
    check_tag(&headers, shown(&state, kind, &key.2, found))?;
    let Some(found) = state.generic.get_mut(&key) else { return Ok(empty()) };
    for (field, value) in body.as_object().into_iter().flatten() {
        found[field] = value.clone();
    }
    if kind == "profiles" {
        instances::expand_all(&mut state);
        drop(state);
        simulator.publish(&[Lifecycle { action: "profile-updated", project: key.1, name: key.2 }]);
    }
    Ok(empty())
}

pub(crate) async fn delete(
    kind: &'static str,
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
) -> ApiResult {
    let key = (kind, scope(kind, &query), path.0);
    let mut state = simulator.lock();
    if kind == "projects" && state.instances.keys().any(|(project, _)| *project == key.2) {
        return Err(ApiError::bad("Only empty projects can be removed"));
    }
    if kind == "networks" && !users(&state, &key.2).is_empty() {
        return Err(ApiError::bad("The network is currently in use"));
    }
    state.generic.remove(&key).map(|_| empty()).ok_or_else(|| ApiError::not_found(&key.2))
}

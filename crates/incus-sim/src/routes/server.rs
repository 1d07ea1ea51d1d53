//! The server itself, and small read-only routes.

use axum::Json;
use axum::extract::State;
use incus_api::{Flavor, NetworkLease};
use serde_json::{Value, json};

use super::{Path, Query, Sim, balancers};
use crate::api_error::{ApiError, ApiResult, empty, sync};

const EXTENSIONS: [&str; 8] = [
    "instances",
    "projects",
    "api_filtering",
    "event_lifecycle",
    "instance_file_head",
    "operation_wait",
    "instance_create_start",
    "network_acl",
];

pub(crate) async fn get(State(simulator): Sim) -> ApiResult {
    let state = simulator.lock();
    let (server, version) = match state.flavor {
        Flavor::Incus => ("incus", "6.0.4"),
        Flavor::Lxd => ("lxd", "5.0.2"),
    };
    // Extensions that LXD 5.0 lacks.
    let lacking = |name: &str| name == "instance_create_start" || name == "operation_wait";
    let more = state
        .generic
        .keys()
        .filter(|(kind, _, _)| *kind == balancers::EXTENSIONS)
        .map(|(_, _, name)| name.as_str());
    let extensions: Vec<&str> = EXTENSIONS
        .into_iter()
        .filter(|name| state.flavor == Flavor::Incus || !lacking(name))
        .chain(more)
        .collect();
    let clustered = balancers::all(&state, balancers::MEMBERS).next().is_some();
    Ok(sync(json!({
        "api_extensions": extensions, "api_status": "stable", "api_version": "1.0",
        "auth": "trusted", "auth_methods": ["tls"], "config": state.config,
        "environment": {
            "server": server, "server_version": version, "server_name": "simulator",
            "server_clustered": clustered,
            "architectures": ["x86_64"], "driver": "lxc | qemu", "kernel": "Linux", "storage": "dir",
        },
    })))
}

pub(crate) async fn patch(State(simulator): Sim, Json(body): Json<Value>) -> ApiResult {
    if let Some(config) = body.get("config").and_then(Value::as_object) {
        simulator.lock().config.extend(config.clone());
    }
    Ok(empty())
}

pub(crate) async fn cluster(State(simulator): Sim) -> ApiResult {
    let state = simulator.lock();
    let first = balancers::all(&state, balancers::MEMBERS).next();
    let name = first.map(|member| member["server_name"].clone()).unwrap_or_default();
    Ok(sync(json!({"server_name": name.as_str().unwrap_or_default(), "enabled": first.is_some()})))
}

pub(crate) async fn leases(State(simulator): Sim, query: Query, _: Path<String>) -> ApiResult {
    let state = simulator.lock();
    let project = query.project();
    let leases: Vec<NetworkLease> = state
        .instances
        .iter()
        .filter(|((p, _), _)| *p == project)
        .flat_map(|((_, name), machine)| {
            machine.state.global_addresses().into_iter().map(|(_, address)| NetworkLease {
                hostname: name.clone(),
                address: address.address.clone(),
                kind: "dynamic".into(),
                ..NetworkLease::default()
            })
        })
        .collect();
    Ok(sync(leases))
}

pub(crate) async fn network_state(State(simulator): Sim, path: Path<String>) -> ApiResult {
    let key = ("networks", String::new(), path.0);
    if !simulator.lock().generic.contains_key(&key) {
        return Err(ApiError::not_found("Network"));
    }
    Ok(sync(json!({
        "state": "up", "type": "broadcast", "mtu": 1500,
        "addresses": [
            {"family": "inet", "address": "10.99.0.1", "netmask": "16", "scope": "global"},
        ],
    })))
}

pub(crate) async fn pool_resources(State(simulator): Sim, path: Path<String>) -> ApiResult {
    let key = ("storage-pools", String::new(), path.0);
    if !simulator.lock().generic.contains_key(&key) {
        return Err(ApiError::not_found("Storage pool"));
    }
    Ok(sync(json!({"space": {"used": 1u64 << 30, "total": 100u64 << 30}})))
}

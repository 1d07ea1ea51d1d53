//! Load balancers of OVN networks, and members of a server cluster. Both are only stored.

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use incus_api::{ClusterMember, NetworkLoadBalancer, NetworkLoadBalancersPost};
use serde_json::{Value, json};

use super::{Path, Sim};
use crate::api_error::{ApiError, ApiResult, check_tag, empty, sync, tagged};
use crate::server_state::{ServerState, Simulator};

const BALANCERS: &str = "load-balancers";
pub(super) const MEMBERS: &str = "cluster-members";
pub(super) const EXTENSIONS: &str = "extensions";

impl Simulator {
    /// Adds API extensions to the server.
    pub fn add_extensions(&self, names: &[&str]) {
        let mut state = self.lock();
        for name in names {
            state.generic.insert((EXTENSIONS, String::new(), (*name).to_owned()), Value::Null);
        }
    }

    /// Makes the server part of a cluster with these members; without members it is not clustered.
    pub fn set_members(&self, members: &[ClusterMember]) {
        let mut state = self.lock();
        state.generic.retain(|(kind, _, _), _| *kind != MEMBERS);
        for member in members {
            let key = (MEMBERS, String::new(), member.server_name.clone());
            state.generic.insert(key, json!(member));
        }
    }
}

/// Resources of one kind, ordered by name.
pub(super) fn all<'a>(
    state: &'a ServerState,
    wanted: &'a str,
) -> impl Iterator<Item = &'a Value> + 'a {
    state.generic.iter().filter(move |((kind, _, _), _)| *kind == wanted).map(|(_, value)| value)
}

pub(crate) async fn members(State(simulator): Sim) -> ApiResult {
    Ok(sync(all(&simulator.lock(), MEMBERS).cloned().collect::<Vec<_>>()))
}

fn on_ovn(state: &ServerState, network: &str) -> Result<(), ApiError> {
    let found = state.generic.get(&("networks", String::new(), network.to_owned()));
    let kind = found.ok_or_else(|| ApiError::not_found("Network"))?["type"].as_str();
    match kind.unwrap_or("bridge") {
        "ovn" => Ok(()),
        kind => {
            Err(ApiError::bad(format!("Network driver {kind:?} does not support load balancers")))
        }
    }
}

/// Checks that each port refers to existing backends (as Incus 6.0.4 with OVN 23.03 does).
fn leads(balancer: &Value, doing: &str) -> Result<(), ApiError> {
    let failed = |why: String| ApiError::failed(format!("Failed {doing} load balancer: {why}"));
    let entries = |field: &str| balancer[field].as_array().cloned().unwrap_or_default();
    let backends: Vec<Value> =
        entries("backends").iter().map(|backend| backend["name"].clone()).collect();
    for (n, port) in entries("ports").iter().enumerate() {
        let targets = port["target_backend"].as_array().cloned().unwrap_or_default();
        if targets.is_empty() {
            return Err(failed("Failed applying OVN load balancer: Missing VIP target(s)".into()));
        }
        if let Some(target) = targets.iter().find(|target| !backends.contains(target)) {
            let why = format!("Invalid target backend name {target} in port specification {n}");
            return Err(failed(why));
        }
    }
    Ok(())
}

pub(crate) async fn list(State(simulator): Sim, path: Path<String>) -> ApiResult {
    let state = simulator.lock();
    on_ovn(&state, &path.0)?;
    let found: Vec<_> = state
        .generic
        .iter()
        .filter(|((kind, network, _), _)| *kind == BALANCERS && *network == path.0)
        .map(|(_, value)| value)
        .collect();
    Ok(sync(found))
}

pub(crate) async fn create(
    State(simulator): Sim,
    path: Path<String>,
    Json(post): Json<NetworkLoadBalancersPost>,
) -> ApiResult {
    let mut state = simulator.lock();
    on_ovn(&state, &path.0)?;
    let key = (BALANCERS, path.0, post.listen_address.clone());
    if state.generic.contains_key(&key) {
        return Err(ApiError::conflict("A load balancer for that listen address"));
    }
    let NetworkLoadBalancersPost { listen_address, put } = post;
    let made = json!(NetworkLoadBalancer { listen_address, location: String::new(), put });
    leads(&made, "creating")?;
    state.generic.insert(key, made);
    Ok(empty())
}

pub(crate) async fn one(State(simulator): Sim, path: Path<(String, String)>) -> ApiResult {
    let (network, address) = path.0;
    let state = simulator.lock();
    let found = state.generic.get(&(BALANCERS, network, address));
    found.map(tagged).ok_or_else(|| ApiError::not_found("Network load balancer"))
}

pub(crate) async fn put(
    State(simulator): Sim,
    path: Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> ApiResult {
    let (network, address) = path.0;
    let mut state = simulator.lock();
    let found = state.generic.get_mut(&(BALANCERS, network, address));
    let found = found.ok_or_else(|| ApiError::not_found("Network load balancer"))?;
    check_tag(&headers, &*found)?;
    leads(&body, "updating")?;
    for (field, value) in body.as_object().into_iter().flatten() {
        found[field] = value.clone();
    }
    Ok(empty())
}

pub(crate) async fn delete(State(simulator): Sim, path: Path<(String, String)>) -> ApiResult {
    let (network, address) = path.0;
    let removed = simulator.lock().generic.remove(&(BALANCERS, network, address));
    removed.map(|_| empty()).ok_or_else(|| ApiError::not_found("Network load balancer"))
}

//! Operations.

use axum::extract::State;
use std::collections::BTreeMap;
use std::time::Duration;

use incus_api::Operation;
use serde_json::Value;

use super::{Path, Query, Sim};
use crate::api_error::{ApiError, ApiResult, empty, sync};

pub(crate) async fn list(State(simulator): Sim, query: Query) -> ApiResult {
    let project = query.project();
    let state = simulator.lock();
    let mut by_status: BTreeMap<String, Vec<&Operation>> = BTreeMap::new();
    for operation in state.operations.values() {
        let of = operation.metadata.get("project").and_then(Value::as_str);
        if of.is_none_or(|p| p == project) || query.all_projects == "true" {
            by_status.entry(operation.status.to_lowercase()).or_default().push(operation);
        }
    }
    Ok(sync(by_status))
}

pub(crate) async fn one(State(simulator): Sim, path: Path<String>) -> ApiResult {
    let state = simulator.lock();
    state.operations.get(&path.0).map(sync).ok_or_else(|| ApiError::not_found("Operation"))
}

pub(crate) async fn wait(State(simulator): Sim, query: Query, path: Path<String>) -> ApiResult {
    let mut events = simulator.subscribe();
    let is_final = || {
        let state = simulator.lock();
        state.operations.get(&path.0).is_none_or(|o| o.status_code.is_final())
    };
    let waiting = async {
        while !is_final() {
            // Lagging does not matter: the state is read each time.
            if let Err(tokio::sync::broadcast::error::RecvError::Closed) = events.recv().await {
                return;
            }
        }
    };
    let seconds = query.timeout.parse().unwrap_or(600);
    // A timeout is not an error: the current state is returned.
    drop(tokio::time::timeout(Duration::from_secs(seconds), waiting).await);
    one(axum::extract::State(simulator), path).await
}

pub(crate) async fn cancel(State(simulator): Sim, path: Path<String>) -> ApiResult {
    if !simulator.lock().operations.contains_key(&path.0) {
        return Err(ApiError::not_found("Operation"));
    }
    if simulator.lock().sessions.remove(&path.0).is_some() {
        return Ok(empty());
    }
    Err(ApiError::bad("This operation can't be cancelled"))
}

//! Files, metadata and templates. Every directory exists; files must be written first.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::HeaderMap;
use incus_api::{FileHeaders, FileKind, ImageMetadata};

use super::{Path, Query, Sim};
use crate::api_error::{ApiError, ApiResult, check_tag, empty, sync, tagged};
use crate::server_state::SimInstance;

fn missing() -> ApiError {
    ApiError::not_found("Instance")
}

pub(crate) async fn get(State(simulator): Sim, query: Query, path: Path<String>) -> ApiResult {
    let state = simulator.lock();
    let machine = state.instances.get(&query.key(&path)).ok_or_else(missing)?;
    match machine.files.get(&query.path) {
        Some((headers, content)) if headers.kind != FileKind::Directory => {
            Ok((header_map(*headers), content.clone()).into_response())
        }
        found => {
            let names = names_in(machine, &query.path);
            if names.is_empty() && found.is_none() {
                return Err(ApiError::not_found("File"));
            }
            let headers = FileHeaders {
                kind: FileKind::Directory,
                mode: Some(0o755),
                uid: Some(0),
                gid: Some(0),
            };
            let headers = found.map_or(headers, |(headers, _)| *headers);
            Ok((header_map(headers), sync(names)).into_response())
        }
    }
}

fn names_in(machine: &SimInstance, directory: &str) -> Vec<String> {
    let prefix = format!("{}/", directory.trim_end_matches('/'));
    let mut names: Vec<String> = machine
        .files
        .keys()
        .filter_map(|path| path.strip_prefix(&prefix)?.split('/').next())
        .map(str::to_owned)
        .collect();
    names.dedup();
    names
}

fn header_map(headers: FileHeaders) -> HeaderMap {
    let pairs = headers.to_headers().into_iter();
    pairs
        .filter_map(|(key, value)| {
            let key = http::HeaderName::try_from(key.to_lowercase()).ok()?;
            Some((key, http::HeaderValue::try_from(value).ok()?))
        })
        .collect()
}

pub(crate) async fn post(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    headers: HeaderMap,
    content: Bytes,
) -> ApiResult {
    let asked = FileHeaders::from_headers(|name| headers.get(name)?.to_str().ok());
    let mut state = simulator.lock();
    let machine = state.instances.get_mut(&query.key(&path)).ok_or_else(missing)?;
    let mut made = FileHeaders {
        mode: asked.mode.or(Some(0o644)),
        uid: asked.uid.or(Some(0)),
        gid: asked.gid.or(Some(0)),
        ..asked
    };
    // As on the real servers, owner and mode are set only on new files.
    if let Some((old, _)) = machine.files.get(&query.path)
        && old.kind == made.kind
    {
        made = *old;
    }
    machine.files.insert(query.path.clone(), (made, content));
    Ok(empty())
}

pub(crate) async fn delete(State(simulator): Sim, query: Query, path: Path<String>) -> ApiResult {
    let mut state = simulator.lock();
    let machine = state.instances.get_mut(&query.key(&path)).ok_or_else(missing)?;
    if !names_in(machine, &query.path).is_empty() {
        return Err(ApiError::bad("Directory not empty"));
    }
    machine.files.remove(&query.path).map(|_| empty()).ok_or_else(|| ApiError::not_found("File"))
}

pub(crate) async fn metadata(State(simulator): Sim, query: Query, path: Path<String>) -> ApiResult {
    let state = simulator.lock();
    Ok(tagged(&state.instances.get(&query.key(&path)).ok_or_else(missing)?.metadata))
}

pub(crate) async fn set_metadata(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    headers: HeaderMap,
    Json(metadata): Json<ImageMetadata>,
) -> ApiResult {
    let mut state = simulator.lock();
    let machine = state.instances.get_mut(&query.key(&path)).ok_or_else(missing)?;
    check_tag(&headers, &machine.metadata)?;
    machine.metadata = metadata;
    Ok(empty())
}

pub(crate) async fn template(State(simulator): Sim, query: Query, path: Path<String>) -> ApiResult {
    let state = simulator.lock();
    let machine = state.instances.get(&query.key(&path)).ok_or_else(missing)?;
    if query.path.is_empty() {
        return Ok(sync(machine.templates.keys().collect::<Vec<_>>()));
    }
    let content = machine.templates.get(&query.path);
    content.map(|c| c.clone().into_response()).ok_or_else(|| ApiError::not_found("Template"))
}

pub(crate) async fn put_template(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    content: Bytes,
) -> ApiResult {
    let mut state = simulator.lock();
    let machine = state.instances.get_mut(&query.key(&path)).ok_or_else(missing)?;
    machine.templates.insert(query.path.clone(), content);
    Ok(empty())
}

pub(crate) async fn delete_template(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
) -> ApiResult {
    let mut state = simulator.lock();
    let machine = state.instances.get_mut(&query.key(&path)).ok_or_else(missing)?;
    let removed = machine.templates.remove(&query.path);
    removed.map(|_| empty()).ok_or_else(|| ApiError::not_found("Template"))
}

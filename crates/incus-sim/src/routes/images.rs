//! Images and aliases.

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use http::HeaderMap;
use incus_api::{Image, ImageAlias, ImageAliasesEntry, ImageAliasesPost, ImagePut, ImagesPost};
use serde_json::Value;

use super::{Path, Query, Sim};
use crate::api_error::{ApiError, ApiResult, check_tag, empty, started, sync, tagged};
use crate::server_state::ServerState;

fn missing() -> ApiError {
    ApiError::not_found("Image")
}

/// The image with its aliases.
fn with_aliases(state: &ServerState, project: &str, image: &Image) -> Image {
    let aliases = state
        .aliases
        .iter()
        .filter(|((p, _), entry)| p == project && entry.target == image.fingerprint)
        .map(|((_, name), _)| ImageAlias::named(name))
        .collect();
    Image { aliases, ..image.clone() }
}

/// Finds an image by fingerprint or by a prefix of it.
fn find<'a>(
    state: &'a ServerState,
    project: &str,
    fingerprint: &str,
) -> Result<&'a Image, ApiError> {
    let mut found = state
        .images
        .iter()
        .filter(|((p, f), _)| p == project && f.starts_with(fingerprint))
        .map(|(_, image)| image);
    found.next().ok_or_else(missing)
}

pub(crate) async fn list(State(simulator): Sim, query: Query) -> ApiResult {
    let project = query.project();
    let state = simulator.lock();
    let found: Vec<Image> = state
        .images
        .iter()
        .filter(|((p, _), _)| *p == project)
        .map(|(_, image)| with_aliases(&state, &project, image))
        .collect();
    Ok(sync(found))
}

pub(crate) async fn one(State(simulator): Sim, query: Query, path: Path<String>) -> ApiResult {
    let state = simulator.lock();
    let image = find(&state, &query.project(), &path)?;
    Ok(tagged(with_aliases(&state, &query.project(), image)))
}

/// Uploads an image without reading its content, or copies one, which always succeeds.
pub(crate) async fn create(
    State(simulator): Sim,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
) -> ApiResult {
    let header = |name: &str| {
        let value = headers.get(format!("X-Incus-{name}")).and_then(|v| v.to_str().ok());
        value.map(str::to_owned)
    };
    let mut image = Image {
        fingerprint: uuid::Uuid::new_v4().simple().to_string().repeat(2),
        architecture: "x86_64".into(),
        project: query.project(),
        size: body.len() as u64,
        ..Image::default()
    };
    let mut aliases = Vec::new();
    let json = headers.get("content-type").is_some_and(|t| t.as_bytes() == b"application/json");
    if json {
        let post: ImagesPost =
            serde_json::from_slice(&body).map_err(|e| ApiError::bad(e.to_string()))?;
        image.properties = post.properties;
        image.public = post.public;
        aliases = post.aliases;
    } else {
        image.fingerprint = header("fingerprint").unwrap_or(image.fingerprint);
        image.public = header("public").as_deref() == Some("true");
        let properties = header("properties").unwrap_or_default();
        image.properties = form_urlencoded::parse(properties.as_bytes()).into_owned().collect();
    }
    let project = query.project();
    let effect = move |state: &mut ServerState| {
        let key = (project.clone(), image.fingerprint.clone());
        if state.images.contains_key(&key) {
            return Err("Image with same fingerprint already exists".into());
        }
        for alias in aliases {
            let entry = ImageAliasesEntry {
                name: alias.name.clone(),
                target: image.fingerprint.clone(),
                ..ImageAliasesEntry::default()
            };
            state.aliases.insert((project.clone(), alias.name), entry);
        }
        state.images.insert(key, image);
        Ok(Vec::new())
    };
    let operation = simulator.start("Downloading image", &query.project(), "", Box::new(effect));
    Ok(started(&operation))
}

pub(crate) async fn put(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    headers: HeaderMap,
    Json(put): Json<ImagePut>,
) -> ApiResult {
    let project = query.project();
    let mut state = simulator.lock();
    let image = find(&state, &project, &path)?;
    check_tag(&headers, with_aliases(&state, &project, image))?;
    let key = (project, image.fingerprint.clone());
    let image = state.images.get_mut(&key).ok_or_else(missing)?;
    image.properties = put.properties;
    image.public = put.public;
    image.auto_update = put.auto_update;
    Ok(empty())
}

pub(crate) async fn delete(State(simulator): Sim, query: Query, path: Path<String>) -> ApiResult {
    let project = query.project();
    let fingerprint = find(&simulator.lock(), &project, &path)?.fingerprint.clone();
    let effect = move |state: &mut ServerState| {
        state.aliases.retain(|(p, _), entry| *p != project || entry.target != fingerprint);
        state.images.remove(&(project, fingerprint)).ok_or("Image not found")?;
        Ok(Vec::new())
    };
    let operation = simulator.start("Deleting image", &query.project(), "", Box::new(effect));
    Ok(started(&operation))
}

pub(crate) async fn aliases(State(simulator): Sim, query: Query) -> ApiResult {
    let project = query.project();
    let state = simulator.lock();
    let found = state.aliases.iter().filter(|((p, _), _)| *p == project).map(|(_, entry)| entry);
    Ok(sync(found.collect::<Vec<_>>()))
}

pub(crate) async fn alias(State(simulator): Sim, query: Query, path: Path<String>) -> ApiResult {
    let state = simulator.lock();
    let entry = state.aliases.get(&query.key(&path));
    entry.map(tagged).ok_or_else(|| ApiError::not_found("Image alias"))
}

pub(crate) async fn create_alias(
    State(simulator): Sim,
    query: Query,
    Json(post): Json<ImageAliasesPost>,
) -> ApiResult {
    let mut state = simulator.lock();
    find(&state, &query.project(), &post.target)?;
    let key = query.key(&post.name);
    if state.aliases.contains_key(&key) {
        return Err(ApiError::conflict(format!("Alias \"{}\"", post.name)));
    }
    let entry = ImageAliasesEntry {
        name: post.name,
        description: post.description,
        target: post.target,
        image_type: post.image_type,
    };
    state.aliases.insert(key, entry);
    Ok(empty())
}

pub(crate) async fn move_alias(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    Json(body): Json<Value>,
) -> ApiResult {
    let target = body.get("target").and_then(Value::as_str).unwrap_or_default();
    let mut state = simulator.lock();
    let target = find(&state, &query.project(), target)?.fingerprint.clone();
    let entry = state.aliases.get_mut(&query.key(&path));
    entry.ok_or_else(|| ApiError::not_found("Image alias"))?.target = target;
    Ok(empty())
}

pub(crate) async fn delete_alias(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
) -> ApiResult {
    let removed = simulator.lock().aliases.remove(&query.key(&path));
    removed.map(|_| empty()).ok_or_else(|| ApiError::not_found("Image alias"))
}
